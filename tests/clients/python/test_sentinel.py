"""Sentinel's clients: who the master is, is asked for each new connection, by connections that no event loop and no dead sentinel
spoils."""

import asyncio
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import redis.asyncio.sentinel
import redis.sentinel
import valkey.asyncio.sentinel
import valkey.sentinel
from faults import Proxy
from ratelimit_client import AsyncLimiter, Limiter, Window
from servers import PORT, OwnServer, Sentinel, free_port

SYNC = (redis.sentinel, valkey.sentinel)
ASYNCIO = (redis.asyncio.sentinel, valkey.asyncio.sentinel)
TEN = {"algorithm": "fixed", "limits": Window(10, "3650d"), "timeout_ms": 60_000, "unavailable": "closed"}


class Sentinels(unittest.TestCase):
    def setUp(self):
        self.sentinel = Sentinel(self)
        self.sentinel.watch("api", PORT)
        self.key = f"sentinel-{time.time_ns()}"

    def client(self, module, *before, service="api"):
        return module.Sentinel([*before, ("127.0.0.1", self.sentinel.port)]).master_for(service)

    def test_from_one_event_loop_after_another(self):
        for module in ASYNCIO:
            api = AsyncLimiter(self.client(module), prefix=module.__name__, **TEN)
            hits = [asyncio.run(api.hit(self.key)) for _ in range(4)]
            self.assertEqual([(hit.remaining, hit.error) for hit in hits], [(9, None), (8, None), (7, None), (6, None)])

    def test_sentinels_that_are_dead_or_silent(self):
        silent = Proxy(PORT)
        self.addCleanup(silent.close)
        silent.is_silent = True
        before = [("127.0.0.1", free_port()), ("127.0.0.1", silent.port)]

        def twice(module):
            api = Limiter(self.client(module, *before), prefix=module.__name__, **TEN)
            for remaining in (9, 8):
                self.assertEqual(api.hit(self.key).remaining, remaining)
                api.close()

        async def twice_async(module):
            api = AsyncLimiter(self.client(module, *before), prefix=module.__name__, **TEN)
            for remaining in (9, 8):
                self.assertEqual((await api.hit(self.key)).remaining, remaining)
                await api.aclose()

        with ThreadPoolExecutor() as threads:
            running = [threads.submit(twice, module) for module in SYNC]
            running += [threads.submit(lambda module: asyncio.run(twice_async(module)), module) for module in ASYNCIO]
        for one in running:
            one.result()
        self.assertEqual(silent.connections, len(running))  # once each: whoever answered last is asked first

    def test_no_sentinel_knows(self):
        given = {**TEN, "on_error": lambda error: None}
        dead = [("127.0.0.1", free_port())]
        for verdict in (
            *(Limiter(module.Sentinel(dead).master_for("api"), **given).hit("k") for module in SYNC),
            *(asyncio.run(AsyncLimiter(module.Sentinel(dead).master_for("api"), **given).hit("k")) for module in ASYNCIO),
        ):
            self.assertEqual((verdict.allowed, verdict.error.reason), (False, "connection"))
            self.assertEqual(str(verdict.error), "no connection to Redis: none of 1 sentinels could say where 'api' is")

    def test_another_server_is_the_master(self):
        old = OwnServer(self)
        self.sentinel.watch("moves", old.port)
        errors = []
        given = {**TEN, "on_error": errors.append}

        async def moves():
            apis = [Limiter(self.client(module, service="moves"), prefix=module.__name__, **given) for module in SYNC]
            async_apis = [AsyncLimiter(self.client(module, service="moves"), prefix=module.__name__, **given) for module in ASYNCIO]

            async def hits():
                return [*(api.hit(self.key) for api in apis), *[await api.hit(self.key) for api in async_apis]]

            self.assertEqual([hit.remaining for hit in await hits()], [9] * 4)
            self.assertEqual(old.used(f"redis.sentinel:{self.key}"), 1)
            self.sentinel.forget("moves")
            self.sentinel.watch("moves", PORT)
            old.command("REPLICAOF", "127.0.0.1", PORT)
            # One hit of each meets a replica; the next one's connection is to the master.
            self.assertEqual([hit.error.code for hit in await hits()], ["READONLY"] * 4)
            self.assertEqual([hit.remaining for hit in await hits()], [9] * 4)
            for api in apis:
                api.close()
            for api in async_apis:
                await api.aclose()

        asyncio.run(moves())
        self.assertEqual([error.reason for error in errors], ["server"] * 4)

    def test_replicas_are_refused(self):
        for modules, make in ((SYNC, Limiter), (ASYNCIO, AsyncLimiter)):
            for module in modules:
                with self.assertRaisesRegex(TypeError, r"^client: expected Sentinel's master_for\(\), got slave_for\(\)"):
                    make(module.Sentinel([("127.0.0.1", 1)]).slave_for("api"), **TEN)


if __name__ == "__main__":
    unittest.main()
