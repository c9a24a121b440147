"""inputs.json: what this package and Node's must do alike. What is sent is kept, and answered as the table says."""

import asyncio
import json
import re
import unittest
from pathlib import Path

from ratelimit_client import (
    AsyncLimiter,
    Bucket,
    Deny,
    Header,
    Hops,
    Limiter,
    Part,
    Proxies,
    Window,
    by_account,
    by_ip,
    client_address,
    hit_all,
    hit_all_async,
    rate_limit_headers,
)

TABLE = json.loads((Path(__file__).parent.parent / "inputs.json").read_text("utf-8"))
NOW_MS = 1_700_000_000_000


class Answering:
    """A function that answers with ``reply``, and what it was sent."""

    def __init__(self, reply):
        self.reply = reply
        self.sent = []

    def __call__(self, words, _key):
        self.sent.append([str(word) for word in words])
        if self.reply == "fails":
            raise ConnectionError("away")
        return self.reply


class AsyncAnswering(Answering):
    async def __call__(self, words, key):
        return super().__call__(words, key)


def snake(name):
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: "_" + found[0].lower(), name)


def limit(given):
    return Bucket(**given) if "capacity" in given else Window(**given)


def options(given):
    """Node's options as Python's."""
    found = {snake(name): value for name, value in given.items()}
    if "limits" in found:
        limits = found["limits"]
        found["limits"] = [limit(one) for one in limits] if isinstance(limits, list) else limit(limits)
    if "deny" in found:
        found["deny"] = Deny(**found["deny"])
    return found


def trust(given):
    match given:
        case {"hops": count}:
            return Hops(count)
        case {"proxies": networks}:
            return Proxies(networks)
        case {"header": name}:
            return Header(name)
    return given


LIMITER = {"algorithm": "sliding", "limits": {"limit": 5, "window": "15m"}}


class Table(unittest.TestCase):
    def check(self, actual, expected):
        for name, value in expected.items():
            found = getattr(actual, snake(name))
            if name == "limits":
                found = [{member: getattr(one, snake(member)) for member in value[0]} for one in found]
            self.assertEqual(found, value, name)

    def test_addresses(self):
        for written, expected in TABLE["byIp"]:
            with self.subTest(written):
                self.assertEqual(by_ip(written), expected)
        for written, ipv4, ipv6, expected in TABLE["byIpPrefixes"]:
            with self.subTest(written, ipv4=ipv4, ipv6=ipv6):
                self.assertEqual(by_ip(written, ipv4=ipv4, ipv6=ipv6), expected)

    def test_accounts(self):
        for email, secret, expected in TABLE["byAccount"]:
            with self.subTest(email, secret=secret):
                self.assertEqual(by_account(email, identity_secret=secret), expected)

    def test_the_callers_address(self):
        for case in TABLE["clientAddress"]:
            with self.subTest(**case):
                headers = dict(case.get("headers", {}))
                if "forwarded" in case:
                    headers["x-forwarded-for"] = case["forwarded"]
                self.assertEqual(client_address(trust(case["trust"]))(headers, case.get("peer")), case["is"])

    def test_wrong_trust_is_refused(self):
        for given in TABLE["trustRefused"]:
            with self.subTest(given=given), self.assertRaisesRegex(TypeError, "^trust"):
                client_address(trust(given))

    def both(self, reply, run, run_async):
        """What the sync and the asyncio limiter answer; both must have sent the same."""
        client, async_client = Answering(reply), AsyncAnswering(reply)
        answers = run(client), asyncio.run(run_async(async_client))
        self.assertEqual(client.sent, async_client.sent)
        return answers, client.sent

    def test_exchanges(self):
        for case in TABLE["exchanges"]:
            method, key, given = case["call"]

            def run(client):
                return getattr(Limiter(client, **options(case["limiter"])), method)(key, **options(given))

            async def run_async(client):
                return await getattr(AsyncLimiter(client, **options(case["limiter"])), method)(key, **options(given))

            with self.subTest(case["name"]):
                answers, sent = self.both(case["reply"], run, run_async)
                self.assertEqual(sent, [case["sends"]])
                for answer in answers:
                    self.check(answer, case["verdict"])
                    if "fields" in case:
                        self.assertEqual(rate_limit_headers(answer, NOW_MS), case["fields"])

    def test_several_keys(self):
        for case in TABLE["all"]:

            def parts(make, client):
                rows = zip(case["limiters"], case["keys"], case["costs"], strict=True)
                return [Part(make(client, **options(limiter)), key, cost) for limiter, key, cost in rows]

            def run(client):
                return hit_all(parts(Limiter, client), **options(case["options"]))

            async def run_async(client):
                return await hit_all_async(parts(AsyncLimiter, client), **options(case["options"]))

            with self.subTest(case["name"]):
                answers, sent = self.both(case["reply"], run, run_async)
                self.assertEqual(sent, [case["sends"]])
                for answer in answers:
                    self.check(answer, case["verdict"])
                    self.assertEqual([key.allowed for key in answer.keys], case["allowed"])
                    self.assertEqual([key.taken for key in answer.keys], case["taken"])
                    self.assertEqual(rate_limit_headers(answer, NOW_MS), case["fields"])

    def test_replies_of_another_server_are_an_error_and_no_open_door(self):
        given = {"algorithm": "fixed", "limits": Window(5, "1h"), "unavailable": "closed", "on_error": lambda error: None}
        for reply in TABLE["unread"]:
            with self.subTest(reply=reply):
                answers = [
                    Limiter(Answering(reply), **given).hit("k", stamp=True),
                    asyncio.run(AsyncLimiter(AsyncAnswering(reply), **given).hit("k", stamp=True)),
                ]
                for answer in answers:
                    self.assertRegex(str(answer.error), "^not a reply of RL")
                    self.assertFalse(answer.allowed)

    def test_refused_before_anything_is_sent(self):
        for case in TABLE["refused"]:
            call = case.get("call", ["hit", "k", {}])
            method, key = call[:2]

            def given():
                limiter = options({**LIMITER, **case.get("limiter", {})})
                rest = [call[2]] if method == "reserve" else []
                return limiter, rest, {} if rest else options(call[2])

            def run(client):
                limiter, rest, named = given()
                return getattr(Limiter(client, **limiter), method)(key, *rest, **named)

            async def run_async(client):
                limiter, rest, named = given()
                return await getattr(AsyncLimiter(client, **limiter), method)(key, *rest, **named)

            with self.subTest(**case):
                client = AsyncAnswering([1, 5, 4, 0, 0])
                said = re.escape(snake(case["says"]))
                with self.assertRaisesRegex(TypeError, said):
                    run(client)
                with self.assertRaisesRegex(TypeError, said):
                    asyncio.run(run_async(client))
                self.assertEqual(client.sent, [])

    def test_settling(self):
        given = {"algorithm": "fixed", "limits": Window(1000, "1h"), "on_error": lambda error: None}
        for case in TABLE["settling"]:

            def run(client):
                reservation = Limiter(client, **given).reserve("k", 900)
                for amount in case.get("add", []):
                    reservation.add(amount)
                reservation.settle(case["used"])
                return reservation.settle(7)  # the first one counts

            async def run_async(client):
                reservation = await AsyncLimiter(client, **given).reserve("k", 900)
                for amount in case.get("add", []):
                    reservation.add(amount)
                await reservation.settle(case["used"])
                return await reservation.settle(7)

            with self.subTest(case["name"]):
                _, sent = self.both(case["reserved"], run, run_async)
                settling = [] if case["sends"] is None else [["RL.FIXED", "k", "1000", "1h", *case["sends"]]]
                self.assertEqual(sent, [["RL.FIXED", "k", "1000", "1h", "COST", "900", "STAMP"], *settling])
