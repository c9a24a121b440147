"""failures.json, the table that the packages of all languages are run through: sync and asyncio, one node and a cluster, with
redis-py's own settings."""

import asyncio
import json
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis
import redis.asyncio
from faults import Proxy
from ratelimit_client import AsyncLimiter, Limiter, Window
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT, PORT

ROWS = json.loads((Path(__file__).parents[1] / "failures.json").read_text("utf-8"))["faults"]
FROM_START = ("refuse", "silent")
TIMEOUT_MS = 300
PROMISED_S = 0.35
BUSY_S = 5.0  # of a busy machine
PATIENT_MS = 30_000
LIMIT = {"algorithm": "fixed", "limits": Window(1000, "3650d"), "on_error": lambda _: None}
TAG = "{a}"  # of keys that lie on the node behind the proxy


def owner():
    """The port of the primary that has such keys."""
    with RedisCluster(host="127.0.0.1", port=CLUSTER_PORT) as cluster:
        return cluster.get_node_from_key(TAG).port


class Case:
    """One row of the table, one client, open or closed: behind a proxy of its own."""

    def __init__(self, row, unavailable, is_cluster):
        self.row, self.unavailable = row, unavailable
        self.server_port = owner() if is_cluster else PORT
        self.proxy = Proxy(self.server_port)
        self.prefix = f"failures-{TAG}-{time.time_ns()}"
        self.is_from_start = row["fault"] in FROM_START
        self.events = []
        if row["fault"] == "refuse":
            self.proxy.refuse()
        self.proxy.is_silent = row["fault"] == "silent"

    def remap(self, address):
        return ("127.0.0.1", self.proxy.port) if address[1] == self.server_port else address

    def options(self):
        timeout_ms = TIMEOUT_MS if self.row["failed"] else PATIENT_MS
        return {**LIMIT, "prefix": self.prefix, "timeout_ms": timeout_ms, "unavailable": self.unavailable, "on_hit": self.events.append}

    def begin(self):
        self.events.clear()
        if not self.is_from_start:
            self.proxy.next = self.row
        self.since = time.monotonic()

    def over(self, verdict):
        took_s = time.monotonic() - self.since
        self.proxy.is_silent = False
        self.proxy.held.set()
        if self.row["fault"] == "refuse":
            self.proxy.refuse(False)
        outcome = self.unavailable if self.row["failed"] else "allowed"
        return [
            (took_s < PROMISED_S + BUSY_S or not self.row["failed"], True),
            (verdict.error is not None, self.row["failed"]),
            (verdict.allowed, outcome != "closed"),
            ([event.outcome for event in self.events], [outcome]),
            (self.events[0].reason, self.row.get("reason", self.events[0].reason)),
            (self.events[0].reason in ("timeout", "connection", "server", "refused"), self.row["failed"]),
        ]

    def used(self):
        with redis.Redis(port=self.server_port) as direct:
            _, limit, remaining, *_ = direct.execute_command("RL.PEEK", "FIXED", f"{self.prefix}:k", 1000, "3650d", "COST", 0)
        return limit - remaining


def cases(is_cluster):
    for row in ROWS:
        if is_cluster and row["fault"] in FROM_START:
            continue  # redis-py asks a node before there is a client of a cluster
        for unavailable in ("open", "closed"):
            yield Case(row, unavailable, is_cluster)


class Failures(unittest.TestCase):
    def check(self, run, is_cluster):
        self.assertGreaterEqual(len(ROWS), 20)
        every = list(cases(is_cluster))
        for case, seen in zip(every, run(every), strict=True):
            case.proxy.close()
            with self.subTest(**case.row, unavailable=case.unavailable):
                self.assertEqual([found for found, _ in seen], [expected for _, expected in seen])

    def sync(self, make, is_cluster=False):
        def one(case):
            client = make(case)
            api = Limiter(client, **case.options())
            until = time.monotonic() + 30

            def up(key):
                while (verdict := api.hit(key)).error is not None:
                    assert time.monotonic() < until, verdict.error
                    time.sleep(0.01)

            if not case.is_from_start:
                up("warm")
            case.begin()
            seen = case.over(api.hit("k"))
            up("sound")
            seen.append((case.used(), case.row["charged"]))
            up("k")
            seen.append((case.used(), case.row["charged"] + 1))
            client.close()
            return seen

        with ThreadPoolExecutor(8) as threads:
            self.check(lambda every: list(threads.map(one, every)), is_cluster)

    def asyncio(self, make, is_cluster=False):
        async def one(case, turns):
            async with turns:
                client = make(case)
                api = AsyncLimiter(client, **case.options())
                until = time.monotonic() + 30

                async def up(key):
                    while (verdict := await api.hit(key)).error is not None:
                        assert time.monotonic() < until, verdict.error
                        await asyncio.sleep(0.01)

                if not case.is_from_start:
                    await up("warm")
                case.begin()
                seen = case.over(await api.hit("k"))
                await up("sound")
                seen.append((await asyncio.to_thread(case.used), case.row["charged"]))
                await up("k")
                seen.append((await asyncio.to_thread(case.used), case.row["charged"] + 1))
                await api.aclose()
                await client.aclose()
                return seen

        async def run(every):
            turns = asyncio.Semaphore(8)
            return await asyncio.gather(*(one(case, turns) for case in every))

        self.check(lambda every: asyncio.run(run(every)), is_cluster)

    def test_sync(self):
        self.sync(lambda case: redis.Redis(port=case.proxy.port))

    def test_sync_in_a_cluster(self):
        self.sync(lambda case: RedisCluster(host="127.0.0.1", port=CLUSTER_PORT, address_remap=case.remap), is_cluster=True)

    def test_asyncio(self):
        self.asyncio(lambda case: redis.asyncio.Redis(port=case.proxy.port))

    def test_asyncio_in_a_cluster(self):
        self.asyncio(lambda case: AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT, address_remap=case.remap), is_cluster=True)


if __name__ == "__main__":
    unittest.main()
