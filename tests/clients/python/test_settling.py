"""Estimates that are settled, places that are reserved, several keys, leases and blocks, on a real server."""

import asyncio
import contextlib
import time
import unittest
from unittest import mock

import redis
import redis.asyncio
from ratelimit_client import (
    AsyncLeaser,
    AsyncLimiter,
    Bucket,
    Leaser,
    Limiter,
    Part,
    Window,
    by_ip,
    hit_all,
    hit_all_async,
    peek_all,
)
from servers import PORT

BUDGET = {"prefix": "py-tokens", "algorithm": "fixed", "limits": Window(50_000, "3650d"), "timeout_ms": 60_000}


class Away:
    """A function that sends, and fails from when it is told to."""

    def __init__(self, client, error=None):
        self.client = client
        self.error = error

    def __call__(self, words, _key):
        if self.error:
            raise self.error
        return self.client.execute_command(*words)


class Sync(unittest.TestCase):
    def setUp(self):
        self.client = redis.Redis(port=PORT)
        self.addCleanup(self.client.close)
        self.budget = Limiter(self.client, **BUDGET)

    def used(self, key):
        return 50_000 - self.budget.peek(key, cost=0).remaining

    def test_tokens_are_settled_with_what_was_used_or_stay_as_estimated(self):
        for key, tokens, expected in (("less", 800, 800), ("more", 1200, 1200), ("unknown", None, 900), ("nan", float("nan"), 900)):
            spent = self.budget.spend(key, 900, lambda _: {"tokens": tokens}, lambda answer: answer["tokens"])
            self.assertEqual((spent.allowed, 50_000 - spent.verdict.remaining, self.used(key)), (True, expected, expected))
        spent = self.budget.spend("report", 900, lambda _: "text", lambda answer: answer["tokens"])
        self.assertEqual((spent.result, self.used("report")), ("text", 900))

    def test_an_estimate_that_does_not_fit_makes_no_call(self):
        self.budget.hit("full", cost=50_000)
        asked = []
        spent = self.budget.spend("full", 1, asked.append, lambda _: 1)
        self.assertEqual((spent.allowed, asked), (False, []))
        with self.assertRaises(LookupError):
            spent.result

    def test_50_streams_that_fail_after_800_of_900_are_charged_40_000(self):
        def failing():
            for _ in range(8):
                yield "word " * 100
            raise ConnectionError("model away")

        for _ in range(50):
            reservation = self.budget.reserve("failing", 900)
            with self.assertRaisesRegex(ConnectionError, "model away"):
                for _chunk in reservation.iterate(failing(), lambda _: 100):
                    pass
        self.assertEqual(self.used("failing"), 40_000)

    def test_a_stream_that_is_no_longer_read_is_charged_as_far_as_it_went(self):
        with contextlib.closing(self.budget.reserve("aborted", 900).iterate(iter(range(100)), lambda _: 100)) as chunks:
            next(chunks)
            next(chunks)
        self.assertEqual(self.used("aborted"), 200)

    def test_a_reservation_that_failed_open_settles_nothing(self):
        self.budget.hit("open", cost=40_000)
        client = Away(self.client, ConnectionError("away"))
        reservation = Limiter(client, on_error=lambda error: None, **BUDGET).reserve("open", 20_000)
        client.error = None
        self.assertTrue(reservation.allowed)
        reservation.settle(300)
        self.assertEqual(self.used("open"), 40_000)

    def test_redis_failing_at_settling_does_not_lose_the_answer(self):
        for error in (ConnectionError("away"), redis.ResponseError("WRONGTYPE another type by now")):
            client, errors = Away(self.client), []

            def call(_, client=client, error=error):
                client.error = error
                return "what was paid for"

            spent = Limiter(client, on_error=errors.append, **BUDGET).spend("fails", 900, call, lambda _: 800)
            self.assertEqual((spent.result, errors), ("what was paid for", [error]))

    def test_settling_in_the_next_window_takes_nothing_from_others(self):
        short = Limiter(self.client, timeout_ms=60_000, prefix="py-tokens", algorithm="fixed", limits=Window(50_000, "1s"))
        reservation = short.reserve("next-window", 20_000)
        charged_in = reservation.verdict.charged_at // 1000
        for _ in range(20):  # another try where the machine was too busy
            while int(time.time()) <= charged_in:
                time.sleep(0.005)
            now = int(time.time())
            short.hit("next-window", cost=30_000)
            reservation.settle(100)
            remaining = short.peek("next-window", cost=0).remaining
            if int(time.time()) == now:
                self.assertEqual(remaining, 20_000)
                return
            short.reset("next-window")
            charged_in = int(time.time())
        self.fail("no second was long enough")

    def test_several_keys_are_charged_together_or_not_at_all(self):
        per_ip = Limiter(self.client, timeout_ms=60_000, prefix="py-all-ip", algorithm="sliding", limits=Window(3, "1h"))
        tokens = Limiter(self.client, timeout_ms=60_000, prefix="py-all-tokens", algorithm="fixed", limits=Window(1000, "3650d"))
        parts = [Part(per_ip, by_ip("203.0.113.9")), Part(tokens, "user:1", cost=900)]
        first = hit_all(parts, stamp=True)
        self.assertGreater(first.charged_at, 0)
        self.assertEqual([(key.allowed, key.remaining, key.taken) for key in first.keys], [(True, 2, 1), (True, 100, 900)])
        second = hit_all(parts)
        self.assertEqual((second.allowed, second.binding), (False, 1))
        self.assertEqual([(key.allowed, key.remaining, key.taken) for key in second.keys], [(True, 2, 0), (False, 100, 0)])
        self.assertFalse(peek_all(parts).allowed)

    def test_leases(self):
        leaser = Leaser(self.client, prefix="py-lease", limit=1, ttl="10m")
        self.assertTrue(leaser.acquire("user:1", id="job-1").verdict.allowed)
        self.assertTrue(leaser.acquire("user:1", id="job-1").verdict.allowed)
        with leaser.hold("user:1") as verdict:
            self.assertFalse(verdict.allowed)
        self.assertEqual((leaser.release("user:1", "job-1"), leaser.release("user:1", "job-1")), (True, False))
        with self.assertRaises(ZeroDivisionError), leaser.hold("user:1") as verdict:
            self.assertTrue(verdict.allowed)
            1 / 0  # noqa: B018
        self.assertEqual(self.client.exists("py-lease:user:1"), 0)

    def test_a_login_that_is_denied_once_is_denied_for_the_block(self):
        login = Limiter(self.client, timeout_ms=60_000, prefix="py-block", algorithm="sliding", limits=Window(2, "1m"), block=["15m", "1h"])
        self.assertEqual([login.hit("ip:203.0.113.9").allowed for _ in range(3)], [True, True, False])
        verdict = login.hit("ip:203.0.113.9")
        self.assertTrue(60_000 < verdict.retry_after_ms <= 900_000)
        login.reset("ip:203.0.113.9")
        self.assertTrue(login.hit("ip:203.0.113.9").allowed)

    def test_a_waiter_that_is_interrupted_gives_its_place_back(self):
        lane = Limiter(self.client, timeout_ms=60_000, prefix="py-interrupted", algorithm="bucket", limits=Bucket(1, 1, "1h"))
        lane.hit("k")
        with mock.patch("time.sleep", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            lane.wait("k", timeout_ms=7_200_000)
        self.assertLessEqual(lane.peek("k").retry_after_ms, 3_600_000)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(self.client.aclose)
        self.budget = AsyncLimiter(self.client, **BUDGET)

    async def used(self, key):
        return 50_000 - (await self.budget.peek(key, cost=0)).remaining

    async def test_tokens_are_settled_with_what_was_used_or_stay_as_estimated(self):
        for key, tokens, expected in (("async-less", 800, 800), ("async-more", 1200, 1200), ("async-unknown", None, 900)):

            async def call(_, tokens=tokens):
                return tokens

            spent = await self.budget.spend(key, 900, call, lambda answer: answer)
            self.assertEqual((spent.result, await self.used(key)), (tokens, expected))

    async def test_streams_that_fail_or_are_no_longer_read(self):
        async def failing():
            for _ in range(8):
                yield "word"
            raise ConnectionError("model away")

        with self.assertRaisesRegex(ConnectionError, "model away"):
            async for _chunk in (await self.budget.reserve("async-failing", 900)).iterate(failing(), lambda _: 100):
                pass
        self.assertEqual(await self.used("async-failing"), 800)
        reservation = await self.budget.reserve("async-aborted", 900)
        async with contextlib.aclosing(reservation.iterate(failing(), lambda _: 100)) as chunks:
            await anext(chunks)
        self.assertEqual(await self.used("async-aborted"), 100)

    async def test_a_call_that_is_cancelled_stays_charged(self):
        started = asyncio.Event()

        async def call(reservation):
            reservation.add(300)
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(self.budget.spend("async-cancelled", 900, call, lambda _: 0))
        await started.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(await self.used("async-cancelled"), 300)

    async def test_20_waiters_are_20_commands_each_served_at_its_turn(self):
        answered, turns, served = [], [], {}
        clock = asyncio.get_running_loop().time

        class Counting:
            async def __call__(_, words, _key):
                reply = await self.client.execute_command(*words)
                answered.append((clock(), reply[3]))
                turns.append(reply[5] + reply[3])
                return reply

        lane = AsyncLimiter(Counting(), timeout_ms=60_000, prefix="py-wait", algorithm="bucket", limits=Bucket(1, 1, "100ms"))

        async def wait(waiter):
            self.assertTrue((await lane.wait("lane")).allowed)
            served[waiter] = clock()

        tasks = []
        for waiter in range(20):  # each has its place before the next one asks
            tasks.append(asyncio.create_task(wait(waiter)))
            while len(answered) <= waiter:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        self.assertEqual(len(answered), 20)
        for turn, following in zip(turns, turns[1:]):  # by the server's clock
            self.assertGreaterEqual(following - turn, 100)
        for waiter, (at, wait_ms) in enumerate(answered):
            # To the clock's own resolution. (How late a busy machine wakes one up says nothing of the turns.)
            self.assertGreaterEqual(served[waiter], at + wait_ms / 1000 - 0.002)

    async def test_a_waiter_that_is_cancelled_gives_its_place_back(self):
        lane = AsyncLimiter(self.client, timeout_ms=60_000, prefix="py-wait", algorithm="bucket", limits=Bucket(1, 1, "1h"))
        await lane.hit("cancelled")
        task = asyncio.create_task(lane.wait("cancelled", timeout_ms=7_200_000))
        while (await lane.peek("cancelled")).retry_after_ms <= 3_600_000:
            await asyncio.sleep(0.005)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertLessEqual((await lane.peek("cancelled")).retry_after_ms, 3_600_000)

    async def test_waiters_that_are_cancelled_move_nobodys_turn(self):
        hour, turns = 3_600_000, []

        class Counting:
            async def __call__(_, words, _key):
                reply = await self.client.execute_command(*words)
                if "RESERVE" in words:
                    turns.append(reply[5] + reply[3])
                return reply

        lane = AsyncLimiter(Counting(), timeout_ms=60_000, prefix="py-turns", algorithm="bucket", limits=Bucket(1, 1, "1h"))
        await lane.hit("k")

        async def waiter():
            place = len(turns)
            task = asyncio.create_task(lane.wait("k", timeout_ms=100 * hour))
            while len(turns) == place:
                await asyncio.sleep(0.001)
            return task, turns[place]

        async def cancel(task):
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        waiters = [await waiter() for _ in range(12)]
        for task, _ in waiters[1::2]:
            await cancel(task)
        left = waiters[::2] + [await waiter() for _ in range(6)]
        acts = sorted(turn for _, turn in left)
        for turn, following in zip(acts, acts[1:]):
            self.assertGreater(following - turn, hour - 1000)
        self.assertLess(left[6][1], waiters[11][1] + 60_000)  # the last place was free again
        for task, _ in left:
            await cancel(task)

    async def test_several_keys_and_leases(self):
        tokens = AsyncLimiter(self.client, timeout_ms=60_000, prefix="py-all-async", algorithm="fixed", limits=Window(1000, "3650d"))
        verdict = await hit_all_async([Part(tokens, "a", cost=1000), Part(tokens, "b")])
        self.assertEqual([key.remaining for key in verdict.keys], [0, 999])
        leaser = AsyncLeaser(self.client, prefix="py-lease-async", limit=1, ttl="10m")
        async with leaser.hold("k") as verdict:
            self.assertTrue(verdict.allowed)
            self.assertFalse((await leaser.acquire("k")).verdict.allowed)
        self.assertEqual(await self.client.exists("py-lease-async:k"), 0)
