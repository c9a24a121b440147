"""The package's limiters, on a real server, sync and asyncio."""

import asyncio
import os
import signal
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import redis
import redis.asyncio
from ratelimit_client import (
    AsyncLimiter,
    BlockedCache,
    Bucket,
    Deny,
    Limiter,
    Part,
    RefusedError,
    Window,
    hit_all,
    hit_all_async,
    presets,
)
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT, PORT, STALLED_PID, STALLED_PORT, stop


def asked_for_keys(cluster):
    """How often any node was asked which keys a command has."""
    infos = cluster.info("commandstats", target_nodes=RedisCluster.ALL_NODES)
    return sum(info.get("cmdstat_command|getkeys", {"calls": 0})["calls"] for info in infos.values())


class Counting:
    """A function that sends, and how many commands went through it."""

    def __init__(self, client):
        self.client = client
        self.calls = 0

    def __call__(self, words, _key):
        self.calls += 1
        return self.client.execute_command(*words)


FIVE = {"algorithm": "fixed", "limits": Window(5, "3650d")}
PATIENT = {**FIVE, "timeout_ms": 60_000}  # for what is not about the deadline, on a busy machine


class Sync(unittest.TestCase):
    def setUp(self):
        self.client = redis.Redis(port=PORT)
        self.addCleanup(self.client.close)

    def test_five_of_six_on_one_server_and_on_a_cluster(self):
        cluster = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addCleanup(cluster.close)
        for client in (self.client, cluster):
            api = Limiter(client, prefix="py", **PATIENT)
            self.assertEqual([api.hit("five").allowed for _ in range(6)], [True] * 5 + [False])
            self.assertEqual((api.reset("five"), api.reset("five"), api.peek("five").remaining), (True, False, 4))
            self.assertEqual((api.block("shut", "1h"), api.hit("shut").allowed), (3_600_000, False))
            self.assertEqual((api.block("shut", "0"), api.hit("shut").remaining), (0, 4))
            self.assertTrue(api.reset("shut"))

    def test_on_a_cluster_several_keys_are_one_command_and_no_node_is_asked_where_they_are(self):
        cluster = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addCleanup(cluster.close)
        parts = [Part(Limiter(cluster, prefix=prefix, **PATIENT), "{py:all}") for prefix in ("py-a", "py-b")]
        before = asked_for_keys(cluster)
        self.assertEqual([hit_all(parts).allowed for _ in range(6)], [True] * 5 + [False])
        self.assertEqual(asked_for_keys(cluster), before)

    def test_several_limits_force_and_a_deny_list(self):
        api = Limiter(self.client, prefix="py", timeout_ms=60_000, algorithm="fixed", limits=[Window(10, "3650d"), Window(4, "3660d")])
        self.client.execute_command("RL.DENY", "ADD", "py:deny", "192.0.2.0/24")
        denied = api.hit("options", deny=Deny("py:deny", ["192.0.2.7"]))
        self.assertEqual((denied.allowed, denied.denied_value), (False, "192.0.2.7"))
        verdict = api.hit("options", cost=5, force=True, deny=Deny("py:deny", ["198.51.100.1"]))
        self.assertEqual((verdict.allowed, verdict.limit, verdict.remaining, verdict.denied_value), (False, 4, 0, None))
        self.assertEqual([(one.name, one.remaining) for one in verdict.limits], [("py-3650d", 5), ("py-3660d", 0)])

    def test_presets_deny_one_more_than_their_limit(self):
        for preset in (presets.LOGIN, presets.PASSWORD_RESET, presets.API, presets.UPLOAD, presets.LLM):
            limiter = Limiter(self.client, timeout_ms=60_000, **preset)
            limit = preset["limits"].limit
            allowed = [limiter.hit("ip:198.51.100.9").allowed for _ in range(limit + 1)]
            self.assertEqual(allowed, [True] * limit + [False], preset)

    def test_an_upgrade_holds_from_the_next_request_on_with_usage_kept(self):
        self.client.execute_command("RL.POLICY", "SET", "py-plan-pro", "SLIDING", 1000, "15m")
        api = Limiter(self.client, prefix="py-plan", timeout_ms=60_000, algorithm="sliding", limits=Window(100, "15m"))
        self.assertTrue(api.hit("user:7", cost=100, policy="py-plan-free").allowed)
        self.assertFalse(api.hit("user:7", policy="py-plan-free").allowed)
        self.assertEqual(api.hit("user:7", policy="py-plan-pro").remaining, 899)

    def test_a_refusal_of_the_server_is_what_unavailable_says_and_is_told(self):
        self.client.set("py:text", "text")
        errors = []
        for unavailable, allowed in (("open", True), ("closed", False)):
            limiter = Limiter(self.client, unavailable=unavailable, on_error=errors.append, **PATIENT)
            verdict = limiter.hit("py:text")
            self.assertEqual((verdict.allowed, verdict.error, verdict.error.code), (allowed, errors[-1], "WRONGTYPE"))
            self.assertIsInstance(verdict.error, RefusedError)

    def test_what_is_no_client_is_refused_at_once(self):
        for wrong in (None, "redis://", object()):
            with self.assertRaisesRegex(TypeError, "client: expected"):
                Limiter(wrong, **FIVE)

    def test_a_server_that_does_not_answer_is_open_by_default_closed_for_logins_and_recovers(self):
        client = redis.Redis(port=STALLED_PORT, socket_timeout=None)
        self.addCleanup(client.close)
        errors = []
        limiters = [
            Limiter(client, prefix="py-away", on_error=errors.append, **FIVE),
            Limiter(client, on_error=errors.append, **presets.LOGIN),
            Limiter(client, prefix="py-away", block="15m", on_error=errors.append, **FIVE),
        ]
        patient = {**FIVE, "timeout_ms": 60_000, "unavailable": "closed"}
        with ThreadPoolExecutor() as threads:  # so many connections
            first = list(threads.map(lambda _: Limiter(client, prefix="py-first", **patient).hit("k"), range(3)))
        self.assertEqual([verdict.error for verdict in first], [None] * 3)
        try:
            stop(STALLED_PID)
            with ThreadPoolExecutor() as threads:
                verdicts = list(threads.map(lambda limiter: limiter.hit("k"), limiters))
        finally:
            os.kill(STALLED_PID, signal.SIGCONT)
        self.assertEqual([verdict.allowed for verdict in verdicts], [True, False, False])
        self.assertRegex(str(verdicts[0].error), "^no (answer from|connection to) Redis within 1000 ms$")
        self.assertEqual(len(errors), 3)
        recovered = Limiter(client, prefix="py-away", timeout_ms=60_000, unavailable="closed", **FIVE)
        until = time.monotonic() + 30
        while (verdict := recovered.hit("k")).error is not None:
            self.assertLess(time.monotonic(), until, verdict.error)
            time.sleep(0.01)
        self.assertTrue(verdict.allowed)

    def test_a_connection_that_is_gone(self):
        client = redis.Redis(port=1)
        errors = []
        verdict = Limiter(client, timeout_ms=None, on_error=errors.append, **FIVE).hit("k")
        self.assertEqual((verdict.allowed, len(errors)), (True, 1))

    def test_a_flood_from_one_identifier_costs_its_limit_and_one_command(self):
        counting = Counting(self.client)
        api = Limiter(counting, prefix="py", timeout_ms=60_000, algorithm="sliding", limits=Window(100, "15m"), blocked_cache=True)
        allowed = sum(api.hit("flood").allowed for _ in range(10_000))
        self.assertEqual((allowed, counting.calls), (100, 101))

    def test_a_blocked_identifier_is_asked_again_when_the_time_has_come(self):
        clock = 0.0
        counting = Counting(self.client)
        cache = BlockedCache(max_ms=1_000_000, now=lambda: clock)
        api = Limiter(counting, prefix="py", timeout_ms=60_000, algorithm="sliding", limits=Window(1, "15m"), blocked_cache=cache)
        api.hit("blocked")
        retry_after_ms = api.hit("blocked").retry_after_ms
        clock += (retry_after_ms - 500) / 1000
        self.assertTrue(499 <= api.hit("blocked").retry_after_ms <= 501)
        self.assertEqual(counting.calls, 2)
        clock += 1
        api.hit("blocked")
        self.assertEqual(counting.calls, 3)

    def test_greater_costs_are_blocked_smaller_ones_asked_and_giving_back_unblocks(self):
        counting = Counting(self.client)
        cache = BlockedCache(max_entries=1)
        api = Limiter(counting, prefix="py", timeout_ms=60_000, algorithm="fixed", limits=Window(10, "3650d"), blocked_cache=cache)
        self.assertEqual([api.hit("cost", cost=cost).allowed for cost in (8, 4, 5)], [True, False, False])
        self.assertEqual(counting.calls, 2)
        self.assertEqual([api.hit("cost", cost=cost).allowed for cost in (1, -5, 4)], [True, True, True])
        self.assertEqual(counting.calls, 5)

    def test_waiting_asks_again_when_it_fits_and_says_no_at_once_where_it_is_too_long(self):
        api = Limiter(self.client, prefix="py", timeout_ms=60_000, algorithm="sliding", limits=Window(2, "200ms"))
        api.hit("wait", cost=2)
        self.assertTrue(api.wait("wait").allowed)
        long = Limiter(self.client, prefix="py", timeout_ms=60_000, algorithm="sliding", limits=Window(2, "15m"))
        long.hit("wait-long", cost=2)
        self.assertFalse(long.wait("wait-long", timeout_ms=1000).allowed)
        self.assertEqual(long.wait("wait-long", cost=3).retry_after_ms, -1)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(self.client.aclose)

    async def test_five_of_six_on_one_server_and_on_a_cluster(self):
        cluster = AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addAsyncCleanup(cluster.aclose)
        for client in (self.client, cluster):
            api = AsyncLimiter(client, prefix="py-async", **PATIENT)
            self.assertEqual([(await api.hit("five")).allowed for _ in range(6)], [True] * 5 + [False])
            self.assertEqual((await api.reset("five"), (await api.peek("five")).remaining), (True, 4))
            self.assertEqual((await api.block("shut", "1h"), (await api.hit("shut")).allowed), (3_600_000, False))
            self.assertEqual((await api.block("shut", "0"), (await api.hit("shut")).remaining), (0, 4))
            self.assertTrue(await api.reset("shut"))

    async def test_on_a_cluster_several_keys_are_one_command_and_no_node_is_asked_where_they_are(self):
        cluster = AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addAsyncCleanup(cluster.aclose)
        parts = [Part(AsyncLimiter(cluster, prefix=prefix, **PATIENT), "{py-async:all}") for prefix in ("py-a", "py-b")]
        self.assertTrue((await hit_all_async(parts)).allowed)  # the cluster is not known before
        sync = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        self.addCleanup(sync.close)
        before = asked_for_keys(sync)
        self.assertEqual([(await hit_all_async(parts)).allowed for _ in range(5)], [True] * 4 + [False])
        self.assertEqual(asked_for_keys(sync), before)

    async def test_a_refusal_of_the_server_is_what_unavailable_says_and_is_told(self):
        await self.client.set("py-async:text", "text")
        errors = []
        verdict = await AsyncLimiter(self.client, unavailable="closed", on_error=errors.append, **PATIENT).hit("py-async:text")
        self.assertEqual((verdict.allowed, [verdict.error], verdict.error.code), (False, errors, "WRONGTYPE"))

    async def test_a_server_that_does_not_answer_is_open_by_default_closed_for_logins_and_recovers(self):
        client = redis.asyncio.Redis(port=STALLED_PORT, socket_timeout=None)
        self.addAsyncCleanup(client.aclose)
        errors = []
        limiters = [
            AsyncLimiter(client, prefix="py-away-async", on_error=errors.append, **FIVE),
            AsyncLimiter(client, on_error=errors.append, **presets.LOGIN),
            AsyncLimiter(client, prefix="py-away-async", block="15m", on_error=errors.append, **FIVE),
        ]
        patient = AsyncLimiter(client, prefix="py-first", timeout_ms=60_000, unavailable="closed", **FIVE)
        self.assertIsNone((await patient.hit("k")).error)
        try:
            stop(STALLED_PID)
            verdicts = await asyncio.gather(*(limiter.hit("k") for limiter in limiters))
        finally:
            os.kill(STALLED_PID, signal.SIGCONT)
        self.assertEqual([verdict.allowed for verdict in verdicts], [True, False, False])
        self.assertRegex(str(verdicts[0].error), "^no (answer from|connection to) Redis within 1000 ms$")
        self.assertEqual(len(errors), 3)
        recovered = AsyncLimiter(client, prefix="py-away-async", timeout_ms=60_000, unavailable="closed", **FIVE)
        until = time.monotonic() + 30
        while (verdict := await recovered.hit("k")).error is not None:
            self.assertLess(time.monotonic(), until, verdict.error)
            await asyncio.sleep(0.01)
        self.assertTrue(verdict.allowed)

    async def test_a_flood_from_one_identifier_costs_its_limit_and_one_command(self):
        counting = Counting(self.client)
        api = AsyncLimiter(counting, prefix="py-async", timeout_ms=60_000, algorithm="sliding", limits=Window(100, "15m"), blocked_cache=True)
        allowed = sum([(await api.hit("flood")).allowed for _ in range(10_000)])
        self.assertEqual((allowed, counting.calls), (100, 101))

    async def test_a_bucket_is_a_bucket(self):
        api = AsyncLimiter(self.client, prefix="py-async", timeout_ms=60_000, algorithm="bucket", limits=Bucket(10, 1, "1h"))
        self.assertEqual([(await api.hit("bucket", cost=cost)).allowed for cost in (7, 4, 3)], [True, False, True])
