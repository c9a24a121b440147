"""Every recipe, on a real server."""

import os
import signal
import time
import unittest
from ipaddress import ip_address, ip_network

import redis.asyncio
from recipes.blocked import with_blocked_cache
from recipes.deadline import with_deadline
from recipes.identify import by_api_key, by_ip, by_login, by_user, client_ip
from recipes.limiter import Verdict, limiter
from recipes.tokens import daily_budget, spend_tokens
from recipes.wait import until_ready
from servers import PORT, STALLED_PID, STALLED_PORT


class Counting:
    """Answers like the limiter, and counts how often it was asked."""

    def __init__(self, limit):
        self.limit = limit
        self.calls = 0

    async def __call__(self, *args, **options):
        self.calls += 1
        return await self.limit(*args, **options)


class Recipes(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = redis.asyncio.Redis(port=PORT, decode_responses=True)
        self.addAsyncCleanup(self.client.aclose)

    def limiter(self, *args, **options):
        return limiter(self.client, *args, **options)

    async def test_limiter_names_the_five_integers(self):
        limit = self.limiter("SLIDING", 1, "15m")
        first = await limit("py:limiter")
        self.assertEqual(first, Verdict(True, 1, 0, 0, first.reset_after_ms))
        second = await limit("py:limiter")
        self.assertFalse(second.allowed)
        self.assertTrue(0 < second.retry_after_ms <= 900_000)

    async def test_limiter_takes_a_cost_force_a_policy_and_a_deny_list(self):
        limit = self.limiter("FIXED", 10, "3650d")
        await self.client.execute_command("RL.DENY", "ADD", "py:deny", "192.0.2.0/24")
        await self.client.execute_command("RL.POLICY", "SET", "py:plan", "FIXED", 4, "3650d")
        self.assertEqual((await limit("py:options", deny=("py:deny", "192.0.2.7"))).denied_value, "192.0.2.7")
        verdict = await limit("py:options", cost=5, force=True, policy="py:plan", deny=("py:deny", "198.51.100.1"))
        self.assertEqual((verdict.allowed, verdict.limit, verdict.denied_value), (False, 4, None))

    async def test_identify(self):
        self.assertEqual(by_user(42), "user:42")
        self.assertRegex(by_api_key("sk-live-secret"), r"^key:[0-9a-f]{32}$")
        self.assertEqual(by_login("203.0.113.9", " Alice@Example.com"), by_login("203.0.113.9", "alice@example.com"))
        self.assertEqual(by_ip("::ffff:203.0.113.9"), "ip:203.0.113.9")
        self.assertEqual(by_ip("2001:DB8::1"), by_ip("2001:db8:0:0:ffff::2"))
        self.assertNotEqual(by_ip("2001:db8::1"), by_ip("2001:db8:0:1::1"))
        self.assertEqual(by_ip("unknown"), "ip:unknown")

    async def test_client_ip_is_the_right_most_untrusted_hop(self):
        ours = ip_network("10.0.0.0/8")
        cases = [
            ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
            ("1.1.1.1, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
            ("1.1.1.1", "203.0.113.9", "203.0.113.9"),  # did not come through a proxy of ours
            (None, "203.0.113.9", "203.0.113.9"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"),
        ]
        for forwarded_for, peer, expected in cases:
            found = client_ip(forwarded_for, peer, lambda address: ip_address(address) in ours)
            self.assertEqual(found, expected, forwarded_for)
        self.assertEqual(client_ip(None, None, lambda address: False), "unknown")

    async def remaining(self, key):
        return (await self.client.execute_command("RL.PEEK", "FIXED", key, 50_000, "1d", "COST", 0))[2]

    async def test_tokens_are_settled_with_what_was_used(self):
        key, budget = "py:tokens", daily_budget(self.client, "free")

        async def less():
            return 1500, "text"

        async def more():
            return 1200, "text"

        async def fails():
            raise ConnectionError("model away")

        _, result = await spend_tokens(budget, key, 2000, less)
        self.assertEqual((result, await self.remaining(key)), ("text", 48_500))
        await spend_tokens(budget, key, 1000, more)
        self.assertEqual(await self.remaining(key), 47_300)
        with self.assertRaises(ConnectionError):
            await spend_tokens(budget, key, 4000, fails)
        self.assertEqual(await self.remaining(key), 47_300)
        verdict, result = await spend_tokens(budget, key, 50_000, fails)  # does not fit: makes no call
        self.assertEqual((verdict.allowed, result), (False, None))
        self.assertEqual((await daily_budget(self.client, "paid")("py:paid", cost=400_000)).limit, 500_000)

    async def test_a_server_that_does_not_answer_open_lets_through_closed_does_not_and_it_recovers(self):
        patient = redis.asyncio.Redis(port=STALLED_PORT)
        self.addAsyncCleanup(patient.aclose)
        await patient.ping()
        limit = limiter(patient, "FIXED", 5, "3650d")
        errors = []
        try:
            os.kill(STALLED_PID, signal.SIGSTOP)
            opened = await with_deadline(limit, open=True, timeout_s=0.05, on_error=errors.append)("py:k")
            closed = await with_deadline(limit, open=False, timeout_s=0.05, on_error=errors.append)("py:k")
        finally:
            os.kill(STALLED_PID, signal.SIGCONT)
        self.assertEqual((opened.allowed, closed.allowed, len(errors)), (True, False, 2))
        self.assertIsInstance(closed.error, TimeoutError)
        recovered = await with_deadline(limit, open=False, timeout_s=10)("py:k")
        self.assertEqual((recovered.allowed, recovered.error), (True, None))

    async def test_a_refusal_of_the_server_is_reported_not_hidden(self):
        await self.client.set("py:text", "text")
        errors = []
        await with_deadline(self.limiter("FIXED", 5, "3650d"), open=True, on_error=errors.append)("py:text")
        self.assertIn("WRONGTYPE", str(errors[0]))

    async def test_a_flood_from_one_identifier_costs_its_limit_and_one_command(self):
        asked = Counting(self.limiter("SLIDING", 100, "15m"))
        limit = with_blocked_cache(asked)
        allowed = sum([(await limit("py:flood")).allowed for _ in range(10_000)])
        self.assertEqual((allowed, asked.calls), (100, 101))

    async def test_a_blocked_identifier_is_asked_again_when_the_time_has_come(self):
        clock = 0.0
        asked = Counting(self.limiter("SLIDING", 1, "15m"))
        limit = with_blocked_cache(asked, max_s=1000, now=lambda: clock)
        await limit("py:blocked")
        retry_after_ms = (await limit("py:blocked")).retry_after_ms
        clock += (retry_after_ms - 500) / 1000
        last = await limit("py:blocked")
        self.assertTrue(499 <= last.retry_after_ms <= 501)
        self.assertEqual(asked.calls, 2)
        clock += 1
        await limit("py:blocked")
        self.assertEqual(asked.calls, 3)

    async def test_greater_costs_are_blocked_smaller_ones_asked_and_giving_back_unblocks(self):
        asked = Counting(self.limiter("FIXED", 10, "3650d"))
        limit = with_blocked_cache(asked, max_entries=1)
        await limit("py:cost", cost=8)
        self.assertFalse((await limit("py:cost", cost=4)).allowed)
        self.assertFalse((await limit("py:cost", cost=5)).allowed)
        self.assertEqual(asked.calls, 2)
        self.assertTrue((await limit("py:cost", cost=1)).allowed)
        await limit("py:cost", cost=-5)
        self.assertTrue((await limit("py:cost", cost=4)).allowed)
        self.assertEqual(asked.calls, 5)

    async def test_waiting_asks_when_it_fits_and_says_no_at_once_where_it_is_too_long(self):
        asked = Counting(self.limiter("SLIDING", 2, "200ms"))
        await asked("py:wait", cost=2)
        self.assertTrue((await until_ready(asked, "py:wait")).allowed)
        self.assertLessEqual(asked.calls, 4)  # a timer may fire early by less than a millisecond
        long = Counting(self.limiter("SLIDING", 2, "15m"))
        await long("py:wait-long", cost=2)
        before = time.monotonic()
        self.assertFalse((await until_ready(long, "py:wait-long", timeout_s=60)).allowed)
        self.assertEqual((await until_ready(long, "py:wait-long", cost=3)).retry_after_ms, -1)
        self.assertLess(time.monotonic() - before, 60)
        self.assertEqual(long.calls, 3)
