"""Hits that are made in one turn become one command: the same answers as single commands give, in fewer of them."""

import asyncio
import random
import unittest

import redis.asyncio
from ratelimit_client import AsyncLimiter, Bucket, Window
from servers import PORT

SHAPES = [
    {"algorithm": "fixed", "limits": Window(7, "3650d")},
    {"algorithm": "sliding", "limits": Window(9, "1h")},
    {"algorithm": "sliding", "limits": [Window(9, "1h"), Window(5, "2h")], "next": True},
    {"algorithm": "bucket", "limits": Bucket(6, 1, "1h")},
    {"algorithm": "sliding", "limits": Window(4, "1h"), "block": "1h", "unavailable": "open"},
    {"algorithm": "fixed", "limits": Window(0, "3650d")},
    {"algorithm": "fixed", "limits": Window(7, "3650d"), "blocked_cache": True},
]


class Coalescing(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which traces each hit
        self.sent = 0
        self.client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(self.client.aclose)

    def counted(self):
        own = AsyncLimiter(self.client, algorithm="fixed", limits=Window(1, "1h")).link

        class Counted:
            async def __call__(_, words, key):
                self.sent += 1
                return await own.ask(words, key, 60)

        return Counted()

    async def test_as_single_commands_answer_whatever_comes_together(self):
        client = self.counted()
        for number, shape in enumerate(SHAPES):
            for seed in range(10):
                given = random.Random(seed)
                with self.subTest(shape=shape, seed=seed):
                    together, singly = (
                        AsyncLimiter(client, prefix=f"py-coalesce:{number}:{kind}:{seed}", timeout_ms=60_000, coalesce=kind == "together", **shape)
                        for kind in ("together", "singly")
                    )
                    for _ in range(4):
                        keys = [f"k{given.randrange(2)}" for _ in range(given.randrange(1, 9))]
                        answers = await asyncio.gather(*(together.hit(key) for key in keys))
                        expected = [await singly.hit(key) for key in keys]
                        self.assertEqual(*([self.seen(one) for one in verdicts] for verdicts in (answers, expected)), keys)
                        for one, other in zip(answers, expected, strict=True):
                            for ms, single in ((one.retry_after_ms, other.retry_after_ms), (one.next_after_ms or 0, other.next_after_ms or 0)):
                                self.assertEqual(ms > 0, single > 0)
                                self.assertLess(abs(ms - single), 60_000)  # asked a little later

    @staticmethod
    def seen(verdict):
        limits = [one.remaining for one in verdict.limits]
        return verdict.allowed, verdict.limit, verdict.remaining, verdict.taken, limits, verdict.error

    async def test_200_callers_of_one_hot_key_take_a_twentieth_of_the_commands_at_most(self):
        events = []
        api = AsyncLimiter(
            self.counted(), algorithm="fixed", limits=Window(1234, "3650d"), timeout_ms=60_000, coalesce=True, on_hit=events.append
        )
        left = iter(range(2000))

        async def caller():
            return sum([(await api.hit("py-coalesce:hot")).allowed for _ in left])

        allowed = await asyncio.gather(*(caller() for _ in range(200)))
        self.assertEqual((sum(allowed), len(events)), (1234, 2000))
        self.assertLessEqual(self.sent, 100)
        self.assertEqual(sum(event.outcome == "allowed" for event in events), 1234)

    async def test_who_is_cancelled_before_it_was_sent_is_not_charged_and_takes_nobodys_answer(self):
        api = AsyncLimiter(self.counted(), algorithm="fixed", limits=Window(5, "3650d"), prefix="py-coalesce", timeout_ms=60_000, coalesce=True)
        hits = [asyncio.create_task(api.hit("cancelled")) for _ in range(4)]
        await asyncio.sleep(0)  # they ask
        hits[1].cancel()
        answers = await asyncio.gather(*hits, return_exceptions=True)
        self.assertIsInstance(answers[1], asyncio.CancelledError)
        self.assertEqual([one.remaining for one in answers if not isinstance(one, BaseException)], [4, 3, 2])
        self.assertEqual((await api.hit("cancelled", cost=0)).remaining, 2)
        self.assertEqual(self.sent, 2)
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

    async def test_redis_away_and_mistakes(self):
        async def away(_words, _key):
            raise ConnectionError("away")

        errors = []
        api = AsyncLimiter(away, algorithm="fixed", limits=Window(5, "1h"), coalesce=True, unavailable="closed", on_error=errors.append)
        verdicts = await asyncio.gather(*(api.hit("k") for _ in range(3)))
        self.assertEqual([(one.allowed, one.error is None) for one in verdicts], [(False, False)] * 3)
        self.assertEqual(len(errors), 1)
        with self.assertRaises(TypeError):
            await api.hit(None)
        with self.assertRaisesRegex(TypeError, "^coalesce"):
            AsyncLimiter(away, algorithm="fixed", limits=Window(5, "1h"), coalesce=1)

    def test_it_lives_through_several_loops(self):
        limiter = []

        async def hits():
            if not limiter:
                limiter.append(
                    AsyncLimiter(redis.asyncio.Redis(port=PORT), algorithm="fixed", limits=Window(9, "3650d"), timeout_ms=60_000, coalesce=True)
                )
            return [one.remaining for one in await asyncio.gather(*(limiter[0].hit("py-coalesce:loops") for _ in range(2)))]

        self.assertEqual([asyncio.run(hits()) for _ in range(2)], [[8, 7], [6, 5]])


if __name__ == "__main__":
    unittest.main()
