"""A login of two keys: its address and its account, charged and given back together."""

import asyncio
import unittest

import redis
import redis.asyncio
from ratelimit_client import AsyncLimiter, AsyncLogin, Limiter, Login, Window, by_account, wsgi
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT, PORT

ALICE = {"address": "203.0.113.9", "email": "Alice@Example.com "}


class LoginTest(unittest.TestCase):
    def kinds(self, test):
        """A function that makes a login of each kind, and one that runs its calls."""
        clients = (
            ("sync", redis.Redis(port=PORT), Limiter, Login, lambda found: found),
            ("sync cluster", RedisCluster(host="127.0.0.1", port=CLUSTER_PORT), Limiter, Login, lambda found: found),
        )
        with asyncio.Runner() as runner:
            async_clients = (
                ("asyncio", redis.asyncio.Redis(port=PORT), AsyncLimiter, AsyncLogin, runner.run),
                ("asyncio cluster", AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT), AsyncLimiter, AsyncLogin, runner.run),
            )
            for name, client, limiter, login, run in (*clients, *async_clients):

                def made(address=3, account=5, limiter=limiter, login=login, client=client, name=name, **options):
                    tag = f"{{{test}-{name}}}"
                    given = {"algorithm": "sliding", "timeout_ms": 60_000, "unavailable": "closed"}
                    both = (
                        limiter(client, prefix=f"{tag}:{what}", limits=Window(limit, "15m"), **given)
                        for what, limit in (("address", address), ("account", account))
                    )
                    return login(per_address=next(both), per_account=next(both), **options)

                with self.subTest(name):
                    yield made, run
            for _, client, *_ in async_clients:
                runner.run(client.aclose())
        for _, client, *_ in clients:
            client.close()

    def test_three_times_an_address_and_five_times_an_account(self):
        for made, run in self.kinds("login-wrong"):
            login = made()

            def allowed(address, email, login=login, run=run):
                return run(login.hit(address=address, email=email)).verdict.allowed

            self.assertEqual([allowed("203.0.113.9", f"{i}@example.com") for i in range(3)], [True] * 3)
            self.assertFalse(allowed("203.0.113.9:4711", "4@example.com"))  # another port is nobody else
            self.assertEqual([allowed(f"198.51.100.{i}", "bob@example.com") for i in range(5)], [True] * 5)
            self.assertFalse(allowed("198.51.100.9", " BOB@example.com"))
            self.assertTrue(allowed("198.51.100.9", "carol@example.com"))  # the denied try was charged to nobody

    def test_a_right_password_gives_both_back_and_a_denied_try_opens_nothing(self):
        for made, run in self.kinds("login-right"):
            login = made(address=1)
            for _ in range(4):
                attempt = run(login.hit(**ALICE))
                self.assertTrue(attempt.verdict.allowed)
                run(attempt.give_back())
            self.assertTrue(run(login.hit(**ALICE)).verdict.allowed)
            for _ in range(2):
                attempt = run(login.hit(**ALICE))
                self.assertFalse(attempt.verdict.allowed)
                run(attempt.give_back())
            left = run(login._per_account.peek(by_account(ALICE["email"]), cost=0))
            self.assertEqual(left.remaining, 4)

    def test_in_front_of_an_application(self):
        for made, _ in self.kinds("login-wsgi"):
            login = made(address=1)
            if isinstance(login, AsyncLogin):
                continue
            status = ["200 OK"]
            seen = []

            def app(_environ, start_response, status=status):
                start_response(status[0], [])
                return []

            limited = wsgi.RateLimitMiddleware(app, limit=lambda _environ, login=login: login.hit(**ALICE), skip_successful_requests=True)
            for status[0] in ("200 OK", "200 OK", "401 Unauthorized", "200 OK"):
                limited({"REQUEST_METHOD": "POST"}, lambda status, fields, *_, seen=seen: seen.append((status[:3], dict(fields))))
            self.assertEqual([status for status, _ in seen], ["200", "200", "401", "429"])
            self.assertRegex(seen[2][1]["RateLimit"], r'^"\{.*\}:address";r=0;t=\d+, "\{.*\}:account";r=4;t=\d+$')

    def test_mistakes(self):
        limiter = Limiter(redis.Redis(port=PORT), algorithm="fixed", limits=Window(1, "1h"))
        self.assertRaisesRegex(TypeError, "^per_account: expected", Login, per_address=limiter, per_account=None)
        self.assertRaisesRegex(TypeError, "^per_address: expected", AsyncLogin, per_address=limiter, per_account=limiter)
        login = Login(per_address=limiter, per_account=limiter)
        self.assertRaisesRegex(TypeError, "^address", login.hit, address=None, email="a@b.c")
        self.assertRaisesRegex(TypeError, "^email", login.hit, address="unknown", email="")


if __name__ == "__main__":
    unittest.main()
