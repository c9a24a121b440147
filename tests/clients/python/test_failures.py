"""failures.json, the table that the packages of all languages are run through: sync and asyncio, over each kind of client that
redis-py and valkey-py have, by their own settings."""

import asyncio
import json
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
import valkey
import valkey.asyncio
import valkey.asyncio.sentinel
import valkey.sentinel
from faults import Proxy
from ratelimit_client import AsyncLimiter, Limiter, Window
from servers import CLUSTER_PORT, PORT, Sentinel

ROWS = json.loads((Path(__file__).parents[1] / "failures.json").read_text("utf-8"))["faults"]
FROM_START = ("refuse", "silent")
TIMEOUT_MS = 300
PATIENT_MS = 60_000  # where no deadline is to pass, also on a busy machine
PROMISED_S = 0.35
BUSY_S = 10.0
TOGETHER = 16
LIMIT = {"algorithm": "fixed", "limits": Window(1000, "3650d"), "on_error": lambda _: None}
TAG = "{a}"  # of keys that lie on the node behind the proxy


def owner():
    """The port of the primary that has such keys."""
    with redis.RedisCluster(host="127.0.0.1", port=CLUSTER_PORT) as cluster:
        return cluster.get_node_from_key(TAG).port


class Case:
    """One row of the table, one client, open or closed: behind a proxy of its own."""

    def __init__(self, row, unavailable, server_port):
        self.row, self.unavailable = row, unavailable
        self.server_port = server_port
        self.proxy = Proxy(self.server_port)
        self.prefix = f"failures-{TAG}-{time.time_ns()}"
        self.is_from_start = row["fault"] in FROM_START
        self.events = []
        self.also = []  # clients to close

    def remap(self, address):
        return ("127.0.0.1", self.proxy.port) if address[1] == self.server_port else address

    def patient(self):
        return {**LIMIT, "prefix": self.prefix, "timeout_ms": PATIENT_MS}

    def options(self):
        timeout_ms = TIMEOUT_MS if self.row.get("reason") == "timeout" else PATIENT_MS
        return {**self.patient(), "timeout_ms": timeout_ms, "unavailable": self.unavailable, "on_hit": self.events.append}

    def begin(self):
        if self.row["fault"] == "refuse":
            self.proxy.refuse()
        self.proxy.is_silent = self.row["fault"] == "silent"
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
            ([(event.outcome, event.reason) for event in self.events], [(outcome, self.row.get("reason", "refused" if self.row["failed"] else None))]),
        ]

    def used(self):
        with redis.Redis(port=self.server_port) as direct:
            _, limit, remaining, *_ = direct.execute_command("RL.PEEK", "FIXED", f"{self.prefix}:k", 1000, "3650d", "COST", 0)
        return limit - remaining


def cases(server_port):
    for row in ROWS:
        for unavailable in ("open", "closed"):
            yield Case(row, unavailable, server_port)


class Failures(unittest.TestCase):
    def check(self, run, server_port):
        self.assertGreaterEqual(len(ROWS), 20)
        every = list(cases(server_port))
        for case, seen in zip(every, run(every), strict=True):
            case.proxy.close()
            with self.subTest(**case.row, unavailable=case.unavailable):
                self.assertEqual([found for found, _ in seen], [expected for _, expected in seen])

    def sync(self, make, server_port=PORT):
        def one(case):
            client = make(case)
            api, patient = Limiter(client, **case.options()), Limiter(client, **case.patient())
            until = time.monotonic() + 2 * PATIENT_MS / 1000

            def up(key):
                while (verdict := patient.hit(key)).error is not None:
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
            api.close()
            for one in (client, *case.also):
                one.close()
            return seen

        with ThreadPoolExecutor(TOGETHER) as threads:
            self.check(lambda every: list(threads.map(one, every)), server_port)

    def asyncio(self, make, server_port=PORT):
        async def one(case, turns):
            async with turns:
                client = make(case)
                api, patient = AsyncLimiter(client, **case.options()), AsyncLimiter(client, **case.patient())
                until = time.monotonic() + 2 * PATIENT_MS / 1000

                async def up(key):
                    while (verdict := await patient.hit(key)).error is not None:
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
                for one in (client, *case.also):
                    await one.aclose()
                return seen

        async def run(every):
            turns = asyncio.Semaphore(TOGETHER)
            return await asyncio.gather(*(one(case, turns) for case in every))

        self.check(lambda every: asyncio.run(run(every)), server_port)

    def test_one_server(self):
        for make in (redis.Redis, valkey.Valkey):
            self.sync(lambda case: make(port=case.proxy.port))

    def test_one_server_by_asyncio(self):
        for make in (redis.asyncio.Redis, valkey.asyncio.Valkey):
            self.asyncio(lambda case: make(port=case.proxy.port))

    def test_cluster(self):
        for make in (redis.RedisCluster, valkey.ValkeyCluster):
            self.sync(lambda case: make(host="127.0.0.1", port=CLUSTER_PORT, address_remap=case.remap), owner())

    def test_cluster_by_asyncio(self):
        for make in (redis.asyncio.RedisCluster, valkey.asyncio.ValkeyCluster):
            self.asyncio(lambda case: make(host="127.0.0.1", port=CLUSTER_PORT, address_remap=case.remap), owner())

    def test_sentinel(self):
        sentinel = Sentinel(self)
        for module in (redis.sentinel, valkey.sentinel):
            self.sync(lambda case: sentinel.master(module, case.proxy.port, case.also))

    def test_sentinel_by_asyncio(self):
        sentinel = Sentinel(self)
        for module in (redis.asyncio.sentinel, valkey.asyncio.sentinel):
            self.asyncio(lambda case: sentinel.master(module, case.proxy.port, case.also))


if __name__ == "__main__":
    unittest.main()
