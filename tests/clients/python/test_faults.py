"""The failure contract of clients/README.md, through a wire that is cut, with the clients' own default settings."""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import redis
import redis.asyncio
from faults import LOADING, NOT_REDIS, WRONG, wire
from ratelimit_client import AsyncLeaser, AsyncLimiter, Leaser, Limiter, RefusedError, Window
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT, PORT

TIMEOUT_MS = 300
PROMISED_S = 0.35
BUSY_S = 4.0  # of a busy machine; what fails without its deadline takes 5 s and more
LIMIT = {"algorithm": "fixed", "limits": Window(1000, "3650d")}
# What a fault that lasts makes of a hit: the reason, and how often the hit was charged. Those of one command are in test_failures.py.
FAULTS = {
    "silent": ("silent", "timeout", 0),
    "trickle": ("trickle", "timeout", 1),
    "wrong": (WRONG, "refused", 1),
    "not redis": (NOT_REDIS, "refused", 1),
    "loading": (LOADING, "server", 1),
}


def eventually(what, condition, seconds=30):
    until = time.monotonic() + seconds
    while not (seen := condition()):
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.01)
    return seen


class Faults(unittest.TestCase):
    """Of ``sync`` and of ``asyncio``: ``hits`` sends some at once, from one limiter."""

    def setUp(self):
        self.server = redis.Redis(port=PORT)
        self.addCleanup(self.server.close)
        self.wire = wire()
        self.run_id = time.time_ns()  # its keys are its own
        self.addCleanup(self.wire.close)
        self.errors = []

    def options(self, **options):
        name = f"faults-{self.id().rsplit('.', 1)[1]}-{type(self).__name__}-{self.run_id}"
        return {"prefix": name, "timeout_ms": TIMEOUT_MS, "on_error": self.errors.append, **LIMIT, **options}

    def used(self, key):
        info = self.server.execute_command("RL.INFO", f"{self.options()['prefix']}:{key}")
        if info is None:
            return 0
        fields = info if isinstance(info, dict) else dict(zip(info[::2], info[1::2], strict=True))
        limits = fields.get(b"limits", fields.get("limits"))
        first = limits[0] if isinstance(limits[0], dict) else dict(zip(limits[0][::2], limits[0][1::2], strict=True))
        return first.get(b"used", first.get("used"))


class Sync(Faults):
    def on_alarm(self, handler):
        signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, signal.SIG_DFL)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)  # first

    def limiter(self, port=None, **options):
        return Limiter(redis.Redis(port=port or self.wire.port), **self.options(**options))

    def test_a_fault_that_lasts_charges_at_most_once_within_the_deadline_and_is_over_when_it_is_over(self):
        for name, (fault, reason, charged) in FAULTS.items():
            with self.subTest(name):
                api = self.limiter(unavailable="closed")
                eventually("it is up", lambda: api.hit("before").error is None)
                self.wire.fault = fault
                if name == "silent":
                    self.wire.is_silent = True
                    self.wire.cut()
                since = time.monotonic()
                verdict = api.hit(name)
                took_s = time.monotonic() - since
                self.wire.fault, self.wire.is_silent = None, False
                self.assertEqual((verdict.allowed, verdict.error.reason), (False, reason), verdict)
                self.assertLess(took_s, PROMISED_S + BUSY_S)
                eventually("it is up again", lambda: api.hit("after").error is None)
                self.assertEqual(self.used(name), charged)

    def test_who_is_away_is_told_at_once_and_nothing_is_sent_later(self):
        api = self.limiter()
        eventually("it is up", lambda: api.hit("before").error is None)
        self.wire.refuse()
        verdicts = [api.hit("away") for _ in range(50)]
        self.assertEqual({(one.allowed, one.error.reason) for one in verdicts}, {(True, "connection")})
        self.wire.refuse(False)
        eventually("it is up again", lambda: api.hit("after").error is None)
        self.assertEqual(self.used("away"), 0)
        self.assertEqual(len(self.errors), len([one for one in self.errors if one.reason == "connection"]))

    def test_what_the_server_closed_while_nobody_used_it_costs_nobody_a_hit(self):
        api = self.limiter(timeout_ms=60_000)
        for _ in range(5):
            self.assertIsNone(api.hit("idle").error)
            connections = self.wire.connections
            self.wire.cut()
        self.assertEqual((self.used("idle"), self.wire.connections), (5, connections))

    def test_a_stopped_server_makes_threads_wait_once_and_hurts_no_other_server(self):
        self.wire.is_silent = True
        dead, healthy = self.limiter(), Limiter(redis.Redis(port=PORT), prefix="faults-healthy", timeout_ms=60_000, **LIMIT)
        with ThreadPoolExecutor(100) as threads:
            dying = [threads.submit(dead.hit, "k") for _ in range(90)]
            living = [threads.submit(healthy.hit, "k") for _ in range(100)]
            self.assertEqual({hit.result().error for hit in living}, {None})
            self.assertEqual({hit.result().error.reason for hit in dying} - {"timeout", "connection"}, set())
        since = time.monotonic()
        for _ in range(100):  # the connection that is being made has outlasted a deadline: nobody waits for it any more
            self.assertTrue(dead.hit("k").error)
        self.assertLess(time.monotonic() - since, 100 * TIMEOUT_MS / 1000 / 2)
        self.assertLessEqual(sum(thread.name == "ratelimit-client-dial" for thread in threading.enumerate()), 64)

    def test_a_burst_of_threads_on_a_cold_limiter_admits_the_limit(self):
        api = self.limiter(limits=Window(1, "3650d"), timeout_ms=60_000)
        with ThreadPoolExecutor(100) as threads:
            verdicts = list(threads.map(lambda _: api.hit("burst"), range(2000)))
        self.assertEqual((sum(one.allowed for one in verdicts), [one.error for one in verdicts if one.error]), (1, []))
        self.assertLessEqual(self.wire.connections, 64)

    def test_what_arrived_while_the_process_was_held_up_is_read(self):
        api = self.limiter(limits=Window(1, "3650d"))
        api.hit("held-up")
        self.on_alarm(lambda *_: time.sleep(3 * TIMEOUT_MS / 1000))
        stalled = self.wire
        stalled.fault = "trickle"  # so that the signal comes while the reply is awaited
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            verdict = api.hit("held-up")
            if verdict.error is None:
                self.assertFalse(verdict.allowed)
        stalled.fault = None
        direct = self.limiter(port=PORT, limits=Window(1, "3650d"))
        eventually("it is up", lambda: direct.hit("held-up").error is None)
        for _ in range(4):
            signal.setitimer(signal.ITIMER_REAL, 0.0001)
            verdict = direct.hit("held-up")
            self.assertEqual((verdict.allowed, verdict.error), (False, None))

    def test_an_interrupted_hit_leaves_no_reply_for_the_next_one(self):
        class Interrupted(BaseException):
            pass

        def interrupt(*_):
            raise Interrupted

        self.on_alarm(interrupt)
        five, nine = (self.limiter(limits=Window(limit, "3650d"), timeout_ms=60_000) for limit in (5, 9))
        nine.link = five.link
        five.hit("five")
        self.wire.fault = "stall"
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with self.assertRaises(Interrupted):
            five.hit("five")
        self.wire.fault = None
        self.assertEqual(nine.hit("nine").limit, 9)

    def test_a_fork_with_connections_locks_and_leases_in_use(self):
        # As gunicorn with preload, Celery's prefork and multiprocessing do it.
        api = Limiter(redis.Redis(port=PORT), blocked_cache=True, **self.options(limits=Window(10, "3650d"), timeout_ms=60_000))
        leaser = Leaser(redis.Redis(port=PORT), limit=50, ttl="30s", prefix="faults-fork", timeout_ms=60_000)
        stop = threading.Event()

        def hammer(number):
            while not stop.is_set():
                api.hit(f"fork-{number}")

        threads = [threading.Thread(target=hammer, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        fork = multiprocessing.get_context("fork")

        def child(results):
            allowed = sum(api.hit("children").allowed for _ in range(20))
            with leaser.hold("child") as held:
                results.put((allowed, held.allowed))

        results = fork.SimpleQueue()
        with leaser.hold("parent"):
            children = [fork.Process(target=child, args=(results,)) for _ in range(3)]
            for one in children:
                one.start()
            for one in children:
                one.join(60)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual([one.exitcode for one in children], [0, 0, 0])
        seen = [results.get() for _ in children]
        self.assertEqual((sum(allowed for allowed, _ in seen), {held for _, held in seen}), (10, {True}))

    def test_one_log_line_a_second_with_a_count(self):
        self.wire.refuse()
        api = Limiter(redis.Redis(port=self.wire.port), **{**self.options(), "on_error": None})
        with self.assertLogs("ratelimit_client", logging.WARNING) as logs:
            since = time.monotonic()
            for _ in range(1000):
                api.hit("k")
            time.sleep(max(0.0, since + 1.05 - time.monotonic()))
            api.hit("k")
            took_s = time.monotonic() - since
        self.assertLessEqual(len(logs.output), 1 + took_s)
        self.assertRegex(logs.output[0], "rate limiter .*: connection: no connection to Redis: .*refused")
        counted = sum(int(line.rpartition("(and ")[2].split()[0]) for line in logs.output if "(and " in line)
        self.assertEqual(counted + len(logs.output), 1001)

    def test_on_hit_is_told_of_each_hit_and_a_hook_that_raises_breaks_none(self):
        events = []

        def hook(event):
            events.append(event)
            raise ZeroDivisionError

        api = self.limiter(limits=Window(1, "3650d"), on_hit=hook, timeout_ms=60_000)
        with self.assertLogs("ratelimit_client", logging.ERROR):
            api.hit("k")
            api.hit("k")
            self.wire.refuse()
            api.hit("k")
        seen = [(event.outcome, event.reason) for event in events]
        self.assertEqual(seen, [("allowed", None), ("denied", None), ("open", "connection")])
        self.assertTrue(all(event.limiter == self.options()["prefix"] and event.duration_s > 0 for event in events))

    def test_what_an_administrator_does_is_what_unavailable_says(self):
        self.server.execute_command("ACL", "SETUSER", "faults-reader", "on", ">secret", "~*", "+@connection", "+ping")
        self.addCleanup(self.server.execute_command, "ACL", "DELUSER", "faults-reader")
        forbidden = redis.Redis(port=PORT, username="faults-reader", password="secret")
        wrong = redis.Redis(port=PORT, username="faults-reader", password="wrong")
        for client, reason in ((forbidden, "refused"), (wrong, "connection")):
            for unavailable, allowed in (("open", True), ("closed", False)):
                verdict = Limiter(client, **self.options(unavailable=unavailable, timeout_ms=60_000)).hit("k")
                self.assertEqual((verdict.allowed, verdict.error.reason), (allowed, reason), verdict.error)
        self.assertEqual(self.errors[0].code, "NOPERM")
        self.server.set(f"{self.options()['prefix']}:text", "text")
        self.assertIsInstance(self.limiter(timeout_ms=60_000).hit("text").error, RefusedError)

    def test_mistakes_are_told_when_the_limiter_is_made(self):
        client, asyncio_client = redis.Redis(port=PORT), redis.asyncio.Redis(port=PORT)
        for wrong, said in ((asyncio_client, "got an asyncio client"), (client.pipeline(), "expected"), ("redis://", "expected")):
            with self.assertRaisesRegex(TypeError, f"^client: .*{said}"):
                Limiter(wrong, **LIMIT)
            with self.assertRaisesRegex(TypeError, f"^client: .*{said}"):
                Leaser(wrong, limit=1, ttl="10s")
        for wrong in (client, None):
            with self.assertRaisesRegex(TypeError, "^client: expected an asyncio client"):
                AsyncLimiter(wrong, **LIMIT)
        for algorithm in ("fixed", "sliding"):
            for window in ("1min", "1M5", "60", "-1s", "0s", "4000d", "1.5h", "s", "1 m", "1s@", "१s"):
                with self.assertRaisesRegex(TypeError, r"^limits\[0\].window: expected a duration"):
                    Limiter(client, algorithm=algorithm, limits=Window(5, window))
        for window in ("1mo", "3mo", "1y", "1w@thu", "1mo@15,Europe/Berlin", "1d@05:00,Europe/Berlin", "1d@+02:00", "5h@first", "1MO"):
            Limiter(client, algorithm="fixed", limits=Window(5, window))
            with self.assertRaisesRegex(TypeError, r"^limits\[0\].window: expected a duration"):
                Limiter(client, algorithm="sliding", limits=Window(5, window))
        for window in ("2mo", "1mo@", "1mo@first", "5h@noon"):
            with self.assertRaisesRegex(TypeError, r"^limits\[0\].window"):
                Limiter(client, algorithm="fixed", limits=Window(5, window))

    def test_a_slot_comes_back_after_a_time_out(self):
        leaser = Leaser(redis.Redis(port=self.wire.port), prefix="faults-lease", limit=3, ttl="10m", timeout_ms=TIMEOUT_MS)
        self.assertTrue(leaser.release("k", leaser.acquire("k").id))
        self.wire.fault = "stall"
        leases = [leaser.acquire("k") for _ in range(3)]
        self.assertTrue(all(lease.verdict.error for lease in leases))
        self.assertGreater(self.server.exists("faults-lease:k"), 0)
        self.wire.fault = None
        eventually("all are released", lambda: not self.server.exists("faults-lease:k"))

    def test_work_that_outlasts_its_ttl_holds_its_slot_and_one_that_lost_it_is_told(self):
        leaser = Leaser(redis.Redis(port=PORT), prefix="faults-hold", limit=1, ttl="2s", timeout_ms=60_000)
        with leaser.hold("k") as held:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                self.assertFalse(leaser.acquire("k").verdict.allowed)
                time.sleep(0.05)
            self.assertEqual((held.allowed, held.lost), (True, False))
        self.assertEqual(self.server.exists("faults-hold:k"), 0)
        lost = []
        with leaser.hold("k", on_lost=lost.append) as held:
            self.server.delete("faults-hold:k")
            self.server.execute_command("RL.LEASE", "faults-hold:k", 1, "10m", "another")
            eventually("it is told", lambda: held.lost)
        self.assertRegex(str(lost[0]), "was lost: its renewal was denied")
        self.assertEqual(self.server.execute_command("RL.RELEASE", "faults-hold:k", "another"), 1)

    def test_a_hold_that_cannot_be_released_now_is_released_later(self):
        leaser = Leaser(redis.Redis(port=self.wire.port), prefix="faults-late", limit=1, ttl="10m", timeout_ms=TIMEOUT_MS, on_error=self.errors.append)
        with leaser.hold("k") as held:
            self.assertTrue(held.allowed)
            self.wire.fault = "swallow"
        self.assertEqual(self.errors[-1].reason, "timeout")
        self.assertEqual(self.server.exists("faults-late:k"), 1)
        self.wire.fault = None
        eventually("it is released", lambda: not self.server.exists("faults-late:k"))

    def test_whoever_is_denied_comes_back_when_a_lease_usually_ends(self):
        def leaser(limit, typical_ms=None):
            return Leaser(redis.Redis(port=PORT), prefix="faults-typical", limit=limit, ttl="10m", typical_ms=typical_ms, timeout_ms=60_000)

        first = leaser(1).acquire("k")
        self.addCleanup(leaser(1).release, "k", first.id)
        self.assertGreater(leaser(1).acquire("k").verdict.retry_after_ms, 300_000)
        self.assertEqual(leaser(1, 500).acquire("k").verdict.retry_after_ms, 500)
        self.assertLessEqual(leaser(1, 3_600_000).acquire("k").verdict.retry_after_ms, 600_000)
        self.assertEqual(leaser(0, 500).acquire("k").verdict.retry_after_ms, -1)
        for wrong in (0, -1, "1s"):
            with self.assertRaisesRegex((TypeError, ValueError), "typical_ms"):
                leaser(1, wrong)

    def test_waiting_for_a_lease_takes_it_when_it_is_free(self):
        leaser = Leaser(redis.Redis(port=PORT), prefix="faults-wait", limit=1, ttl="10m", timeout_ms=60_000)
        first = leaser.acquire("k")
        self.assertFalse(leaser.wait("k", timeout_ms=100).verdict.allowed)
        timer = threading.Timer(0.2, leaser.release, ("k", first.id))
        timer.start()
        self.assertTrue(leaser.wait("k", timeout_ms=60_000).verdict.allowed)
        timer.join()

    def test_a_cluster_has_the_same_promises(self):
        cluster = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addCleanup(cluster.close)
        api = Limiter(cluster, **self.options(limits=Window(1, "3650d"), timeout_ms=60_000))
        with ThreadPoolExecutor(50) as threads:
            verdicts = list(threads.map(lambda i: api.hit(f"k{i % 100}"), range(1000)))
        self.assertEqual((sum(one.allowed for one in verdicts), [one.error for one in verdicts if one.error]), (100, []))


class Asyncio(Faults, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which traces each of 30,000 hits

    def limiter(self, port=None, **options):
        return AsyncLimiter(redis.asyncio.Redis(port=port or self.wire.port), **self.options(**options))

    async def up(self, api, key):
        until = time.monotonic() + 30
        while (verdict := await api.hit(key)).error is not None:
            self.assertLess(time.monotonic(), until, verdict.error)
            await asyncio.sleep(0.01)

    async def until(self, what, condition):
        end = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), end, f"never happened: {what}")
            await asyncio.sleep(0.01)

    async def test_a_fault_that_lasts_charges_at_most_once_within_the_deadline_and_is_over_when_it_is_over(self):
        for name, (fault, reason, charged) in FAULTS.items():
            with self.subTest(name):
                api = self.limiter(unavailable="closed")
                await self.up(api, "before")
                self.wire.fault = fault
                if name == "silent":
                    self.wire.is_silent = True
                    self.wire.cut()
                    await self.until("the loop notices", lambda: api.link.stream()._session is None)  # noqa: B023
                since = time.monotonic()
                verdict = await api.hit(name)
                took_s = time.monotonic() - since
                self.wire.fault, self.wire.is_silent = None, False
                self.assertEqual((verdict.allowed, verdict.error.reason), (False, reason), verdict)
                self.assertLess(took_s, PROMISED_S + BUSY_S)
                await self.up(api, "after")
                self.assertEqual(self.used(name), charged)

    async def test_who_is_away_is_told_at_once_and_nothing_is_sent_later(self):
        api = self.limiter()
        await self.up(api, "before")
        self.wire.refuse()
        await self.until("the loop notices", lambda: api.link.stream()._session is None)
        verdicts = [await api.hit("away") for _ in range(50)]
        self.assertEqual({(one.allowed, one.error.reason) for one in verdicts}, {(True, "connection")})
        self.wire.refuse(False)
        await self.up(api, "after")
        self.assertEqual(self.used("away"), 0)

    async def test_a_stopped_server_hurts_no_other_and_nobody_waits_for_it_twice(self):
        self.wire.is_silent = True
        dead = self.limiter()
        healthy = AsyncLimiter(redis.asyncio.Redis(port=PORT), prefix="faults-healthy-async", timeout_ms=60_000, **LIMIT)
        dying = [asyncio.create_task(dead.hit("k")) for _ in range(1000)]
        self.assertEqual({(await healthy.hit("k")).error for _ in range(100)}, {None})
        self.assertEqual({one.error.reason for one in await asyncio.gather(*dying)}, {"timeout"})
        since = time.monotonic()
        for _ in range(100):
            self.assertTrue((await dead.hit("k")).error)
        self.assertLess(time.monotonic() - since, 100 * TIMEOUT_MS / 1000 / 2)

    async def test_a_reply_that_came_while_the_loop_was_blocked_counts(self):
        for window in (Window(1, "3650d"), Window(0, "3650d")):
            api = self.limiter(limits=window)
            await self.up(api, "blocked")
            for _ in range(4):
                task = asyncio.create_task(api.hit("blocked"))
                await asyncio.sleep(0)  # it is asked
                await asyncio.sleep(0)  # and sent
                time.sleep(1.1)
                verdict = await task
                self.assertEqual((verdict.allowed, verdict.error), (False, None))

    async def test_30_000_hits_at_once_on_a_cold_limiter_admit_the_limit(self):
        api = self.limiter(port=PORT, limits=Window(1, "3650d"), timeout_ms=5000)
        verdicts = await asyncio.gather(*(api.hit("burst") for _ in range(30_000)))
        self.assertEqual((sum(one.allowed for one in verdicts), [one.error for one in verdicts if one.error][:1]), (1, []))

    async def test_hits_that_are_cancelled_take_no_other_hits_answer(self):
        limiters = [self.limiter(limits=Window(limit, "3650d"), timeout_ms=60_000) for limit in range(10, 20)]
        for other in limiters[1:]:
            other.link = limiters[0].link
        for _ in range(20):
            tasks = [asyncio.create_task(api.hit(f"k{i}", cost=0)) for i, api in enumerate(limiters * 5)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.sleep(0.001)
            for task in tasks[1::3]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for i, answer in enumerate(answers):
                if not isinstance(answer, asyncio.CancelledError):
                    self.assertEqual(answer.limit, 10 + i % 10)
        self.assertEqual(self.wire.connections, 1)

    async def test_a_hit_that_is_cancelled_before_it_was_sent_is_not_charged(self):
        api = self.limiter(timeout_ms=60_000)
        await api.hit("other")
        task = asyncio.create_task(api.hit("cancelled"))
        asyncio.get_running_loop().call_soon(task.cancel)  # in the turn in which it asks
        with self.assertRaises(asyncio.CancelledError):
            await task
        await api.hit("other")
        self.assertEqual(self.used("cancelled"), 0)

    async def test_no_task_and_no_timer_is_left_behind(self):
        api = self.limiter(timeout_ms=60_000)
        await api.hit("k")
        for _ in range(200):
            await api.hit("k")
            self.assertEqual(len(asyncio.all_tasks()), 1)
        await self.until("the timer ends", lambda: api.link.stream()._ticking is None)
        await api.aclose()

    async def test_a_limiter_lives_through_several_loops_and_closes_its_connection_with_each(self):
        api = self.limiter(timeout_ms=60_000)

        def run():
            async def hits():
                return [(await api.hit("loops")).error for _ in range(3)]

            return asyncio.run(hits())

        for _ in range(3):
            self.assertEqual(await asyncio.to_thread(run), [None] * 3)
        await self.until("they are closed", lambda: not self.wire.open)

    async def test_a_slot_comes_back_after_a_time_out_and_after_a_cancellation(self):
        client = redis.asyncio.Redis(port=self.wire.port)
        leaser = AsyncLeaser(client, prefix="faults-lease-async", limit=3, ttl="10m", timeout_ms=TIMEOUT_MS)
        self.assertTrue(await leaser.release("k", (await leaser.acquire("k")).id))
        self.wire.fault = "stall"
        leases = await asyncio.gather(*(leaser.acquire("k") for _ in range(2)))
        self.assertTrue(all(lease.verdict.error for lease in leases))
        cancelled = asyncio.create_task(leaser.acquire("cancelled"))
        await self.until("it is held", lambda: self.server.exists("faults-lease-async:cancelled"))
        cancelled.cancel()
        self.wire.fault = None
        for key in ("k", "cancelled"):
            await self.until("all are released", lambda: not self.server.exists(f"faults-lease-async:{key}"))  # noqa: B023

    async def test_work_that_outlasts_its_ttl_holds_its_slot_and_a_cancelled_one_releases_it(self):
        leaser = AsyncLeaser(redis.asyncio.Redis(port=PORT), prefix="faults-hold-async", limit=1, ttl="2s", timeout_ms=60_000)
        holding = asyncio.Event()

        async def work():
            async with leaser.hold("k") as held:
                self.assertTrue(held.allowed)
                holding.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await holding.wait()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            self.assertFalse((await leaser.acquire("k")).verdict.allowed)
            await asyncio.sleep(0.05)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(self.server.exists("faults-hold-async:k"), 0)
        lost = []
        async with leaser.hold("k", on_lost=lost.append) as held:
            self.server.execute_command("RL.RELEASE", "faults-hold-async:k", held.id)
            self.server.execute_command("RL.LEASE", "faults-hold-async:k", 1, "10m", "another")
            await self.until("it is told", lambda: held.lost)
        self.assertEqual(len(lost), 1)

    async def test_a_cluster_has_the_same_promises(self):
        cluster = AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addAsyncCleanup(cluster.aclose)
        api = AsyncLimiter(cluster, **self.options(limits=Window(1, "3650d"), timeout_ms=60_000))
        verdicts = await asyncio.gather(*(api.hit(f"k{i % 100}") for i in range(3000)))
        self.assertEqual((sum(one.allowed for one in verdicts), [one.error for one in verdicts if one.error][:1]), (100, []))


class KilledHolder(unittest.TestCase):
    def test_a_lease_of_a_process_that_is_killed_ends_after_its_ttl(self):
        server = redis.Redis(port=PORT)
        self.addCleanup(server.close)
        leaser = Leaser(redis.Redis(port=PORT), prefix="faults-killed", limit=1, ttl="900ms", timeout_ms=60_000)

        def work():
            with leaser.hold("k"):
                time.sleep(60)

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        eventually("it holds", lambda: server.exists("faults-killed:k"))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        eventually("it has ended", lambda: leaser.acquire("k").verdict.allowed)


del Faults
