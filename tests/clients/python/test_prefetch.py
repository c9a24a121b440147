"""Units that are taken ahead: never more than the limit, and all that was not used comes back."""

import asyncio
import os
import random
import time
import unittest

import redis.asyncio
from ratelimit_client import AsyncLimiter, Bucket, Limiter, Prefetch, Window
from servers import PORT

LIMIT = 60
HOUR = 3_600_000  # held for longer than any test
SHAPES = [
    {"algorithm": "fixed", "limits": Window(LIMIT, "3650d")},
    {"algorithm": "sliding", "limits": Window(LIMIT, "2h")},
    {"algorithm": "sliding", "limits": [Window(LIMIT, "2h"), Window(90, "4h")], "next": True},
    {"algorithm": "bucket", "limits": Bucket(LIMIT, 1, "24h")},
]


class Prefetching(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which traces each hit
        self.sent = []
        self.client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(self.client.aclose)

    def counted(self):
        own = AsyncLimiter(self.client, algorithm="fixed", limits=Window(1, "1h")).link

        class Counted:
            async def __call__(_, words, key):
                self.sent.append(words)
                return await own.ask(words, key, 60)

        return Counted()

    async def test_processes_and_single_commands_together_admit_the_limit(self):
        client = self.counted()
        for number, shape in enumerate(SHAPES):
            for seed in range(10):
                given = random.Random(seed)
                with self.subTest(shape=shape, seed=seed):
                    make = lambda **options: AsyncLimiter(client, prefix=f"py-prefetch:{number}:{seed}", timeout_ms=60_000, **shape, **options)
                    single = make()
                    processes = [make(prefetch=Prefetch(given.randrange(2, 22), HOUR)) for _ in range(given.randrange(1, 4))]
                    admitted = 0
                    for _ in range(given.randrange(1, 21)):
                        callers = [single if given.random() < 0.25 else given.choice(processes) for _ in range(given.randrange(1, 13))]
                        verdicts = await asyncio.gather(*(limiter.hit("k") for limiter in callers))
                        admitted += sum(one.allowed for one in verdicts)
                        self.assertLessEqual(admitted, LIMIT)
                        for one in verdicts:
                            self.assertEqual(one.taken, 1 if one.allowed else 0)
                            self.assertTrue(0 <= one.remaining < LIMIT)
                            self.assertEqual(one.retry_after_ms == 0, one.allowed)
                    for limiter in processes:
                        await limiter.aclose()
                    self.assertEqual((await single.peek("k", cost=0)).remaining, LIMIT - admitted)
                    while (await single.hit("k")).allowed:
                        admitted += 1
                    self.assertEqual(admitted, LIMIT)

    async def test_what_is_not_used_within_its_time_is_given_back_by_itself(self):
        for number, shape in enumerate(SHAPES):
            with self.subTest(shape=shape):
                api = AsyncLimiter(self.client, prefix=f"py-prefetch:idle:{number}", timeout_ms=60_000, prefetch=Prefetch(20, 50), **shape)
                for _ in range(3):
                    self.assertTrue((await api.hit("k")).allowed)
                until = time.monotonic() + 30
                while (await api.peek("k", cost=0)).remaining < LIMIT - 3:
                    self.assertLess(time.monotonic(), until)
                    await asyncio.sleep(0.02)
                self.assertEqual((await api.peek("k", cost=0)).remaining, LIMIT - 3)

    async def test_a_fixed_window_ends_and_what_was_taken_of_it_ends_with_it(self):
        window_ms, windows = 400, set()
        api = AsyncLimiter(self.client, algorithm="fixed", limits=Window(1_000_000, f"{window_ms}ms"), prefetch=Prefetch(1000, HOUR), timeout_ms=60_000)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            asked = time.time_ns() // 1_000_000  # one machine, one clock
            verdict = await api.hit("py-prefetch:window")
            self.assertTrue(verdict.allowed)
            self.assertGreaterEqual(verdict.charged_at // window_ms, asked // window_ms)
            windows.add(verdict.charged_at // window_ms)
            await asyncio.sleep(0.005)
        self.assertGreaterEqual(len(windows), 2)

    async def test_a_command_for_so_many_hits_of_a_hot_key(self):
        options = {"algorithm": "sliding", "limits": Window(1000, "1h"), "timeout_ms": 60_000}
        api = AsyncLimiter(self.counted(), prefetch=Prefetch(100, HOUR), **options)
        for number in range(1000):
            verdict = await api.hit("py-prefetch:hot")
            self.assertEqual((verdict.allowed, verdict.remaining), (True, 999 - number))
        self.assertEqual(len(self.sent), 10)
        denied, single = await api.hit("py-prefetch:hot"), await AsyncLimiter(self.client, **options).hit("py-prefetch:hot")
        self.assertFalse(denied.allowed or single.allowed)
        self.assertLess(abs(denied.retry_after_ms - single.retry_after_ms), 60_000)

    async def test_who_is_cancelled_takes_nothing(self):
        api = AsyncLimiter(self.client, prefix="py-prefetch:cancelled", prefetch=Prefetch(10, HOUR), timeout_ms=60_000, **SHAPES[0])
        hits = [asyncio.ensure_future(api.hit("k")) for _ in range(8)]
        await asyncio.sleep(0)
        for hit in hits[:5]:
            hit.cancel()
        outcomes = await asyncio.gather(*hits, return_exceptions=True)
        self.assertEqual([getattr(one, "allowed", None) for one in outcomes], [None] * 5 + [True] * 3)
        await api.aclose()
        self.assertEqual((await api.peek("k", cost=0)).remaining, LIMIT - 3)

    async def test_hits_with_options_and_of_a_closed_limiter_are_commands_of_their_own(self):
        api = AsyncLimiter(self.counted(), prefix="py-prefetch:own", prefetch=Prefetch(10, HOUR), timeout_ms=60_000, **SHAPES[0])
        await api.hit("k")
        self.assertEqual([(await api.hit("k", id="one")).repeated for _ in range(2)], [False, True])
        self.assertEqual((await api.hit("k", cost=5)).remaining, LIMIT - 10 - 1 - 5)
        await api.aclose()
        self.assertEqual((await api.peek("k", cost=0)).remaining, LIMIT - 1 - 1 - 5)
        del self.sent[:]
        for _ in range(3):
            await api.hit("k")
        self.assertEqual(len(self.sent), 3)

    async def test_a_key_that_was_reset_or_shut_gives_out_nothing_that_was_taken_before(self):
        api = AsyncLimiter(self.client, prefix="py-prefetch:gone", prefetch=Prefetch(8, HOUR), timeout_ms=60_000, **SHAPES[0])
        await api.hit("k")
        await api.reset("k")
        self.assertEqual(sum([(await api.hit("k")).allowed for _ in range(LIMIT + 5)]), LIMIT)
        await api.hit("shut")
        await api.block("shut", "1h")
        self.assertFalse((await api.hit("shut")).allowed)

    async def test_a_child_hands_out_nothing_of_its_parents(self):
        api = AsyncLimiter(self.client, prefix="py-prefetch:fork", prefetch=Prefetch(8, HOUR), timeout_ms=60_000, **SHAPES[0])
        await api.hit("k")
        if (child := os.fork()) == 0:
            os._exit(len(api._prefetcher._loops))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        await api.aclose()

    async def test_redis_away(self):
        async def away(words, key):
            raise ConnectionError("away")

        api = AsyncLimiter(away, prefetch=5, unavailable="closed", on_error=lambda error: None, **SHAPES[0])
        verdicts = await asyncio.gather(*(api.hit("k") for _ in range(3)))
        self.assertTrue(all(not one.allowed and one.error for one in verdicts))
        await api.aclose()

    async def test_what_it_cannot_go_with_is_refused(self):
        for options in ({"block": "1h", "prefetch": 5}, {"coalesce": True, "prefetch": 5}):
            with self.assertRaisesRegex(TypeError, "prefetch: not with"):
                AsyncLimiter(self.client, **SHAPES[0], **options)
        for prefetch in (0, 1, 2.5, "5", True, Prefetch(5, 0), Prefetch("5")):
            with self.assertRaises(TypeError):
                AsyncLimiter(self.client, **SHAPES[0], prefetch=prefetch)
        with self.assertRaises(TypeError):
            Limiter(redis.Redis(port=PORT), **SHAPES[0], prefetch=5)


if __name__ == "__main__":
    unittest.main()
