"""``unavailable="local"``: processes that go on counting by themselves while Redis is away, and charge it when it is back."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import ratelimit_client
import redis
import redis.asyncio
from ratelimit_client import AsyncLimiter, Bucket, Limiter, Part, Window, hit_all
from servers import OwnServer, stop, until

ENGINE = Path(ratelimit_client.__file__).with_name("engine.wasm")
HAS_ENGINE = ENGINE.exists() and importlib.util.find_spec("wasmtime") is not None
PROCESSES = 4


# One of several processes that hit the same key until they are told to end; what they have counted stands in a line each.
HAMMER = """
import asyncio, json, sys, threading, time
import redis, redis.asyncio
from ratelimit_client import AsyncLimiter, Limiter, Window
port, is_async, instances, limit = json.loads(sys.argv[1])
given = dict(algorithm="sliding", limits=Window(limit, "1h"), timeout_ms=2000, unavailable="local", instances=instances, on_error=lambda error: None)
counts = dict(redis=0, local=0, denied=0, errors=0)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
told = 0.0
def count(verdict):
    global told
    counts["errors" if verdict.error else "denied" if not verdict.allowed else "local" if verdict.local else "redis"] += 1
    if time.monotonic() > told + 0.05:
        told = time.monotonic()
        print(json.dumps(counts), flush=True)
if is_async:
    async def main():
        limiter = AsyncLimiter(redis.asyncio.Redis(port=port), **given)
        async def hit():
            count(await limiter.hit("all"))
        while not ended.is_set():
            await asyncio.gather(*(hit() for _ in range(8)))
            await asyncio.sleep(0.005)
    asyncio.run(main())
else:
    limiter = Limiter(redis.Redis(port=port), **given)
    while not ended.is_set():
        count(limiter.hit("all"))
        time.sleep(0.002)
print(json.dumps(counts), flush=True)
"""


class Hammers:
    def __init__(self, test, *given):
        self._files = [tempfile.NamedTemporaryFile() for _ in range(PROCESSES)]
        words = [sys.executable, "-c", HAMMER, json.dumps(given)]
        self._all = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file) for file in self._files]
        for file in self._files:
            test.addCleanup(file.close)
        for one in self._all:
            test.addCleanup(one.wait)
            test.addCleanup(one.kill)
            test.addCleanup(one.stdin.close)

    def each(self):
        lines = [Path(file.name).read_text().rpartition("\n")[0].rpartition("\n")[2] for file in self._files]
        return [json.loads(line) if line else {"redis": 0, "local": 0, "denied": 0, "errors": 0} for line in lines]

    def sum(self):
        return {name: sum(one[name] for one in self.each()) for name in ("redis", "local", "denied", "errors")}


@unittest.skipUnless(HAS_ENGINE, "no engine: scripts/test-clients has said why")
class Away(unittest.TestCase):
    def under_load(self, is_async, instances, limit):
        server = OwnServer(self)
        hammers = Hammers(self, server.port, is_async, instances, limit)
        share = limit // instances * PROCESSES
        until(lambda: all(one["redis"] + one["denied"] > 0 for one in hammers.each()))
        stop(server.process.pid)
        until(lambda: all(one["local"] >= limit // instances for one in hammers.each()))
        denied = [one["denied"] for one in hammers.each()]
        until(lambda: all(one["denied"] > before for one, before in zip(hammers.each(), denied, strict=True)))
        away = hammers.sum()
        self.assertEqual((away["local"], away["errors"]), (share, 0))
        os.kill(server.process.pid, signal.SIGCONT)
        until(lambda: server.used("all") >= away["redis"] + share)
        denied = [one["denied"] for one in hammers.each()]
        until(lambda: all(one["denied"] > before + 200 for one, before in zip(hammers.each(), denied, strict=True)))
        self.assertEqual({**hammers.sum(), "denied": 0}, {**away, "denied": 0})  # it admits nothing more of that window

    def test_four_processes_with_instances(self):
        self.under_load(False, 4, 200)

    def test_four_processes_of_asyncio_with_instances(self):
        self.under_load(True, 4, 200)

    def test_four_processes(self):
        self.under_load(False, 1, 30)

    def test_what_was_let_through_is_charged(self):
        server = OwnServer(self)
        client = redis.Redis(port=server.port)
        events = []
        given = {"unavailable": "local", "on_error": lambda error: None, "on_hit": events.append}
        fixed = Limiter(client, prefix="fixed", algorithm="fixed", limits=Window(9, "3650d"), **given)
        sliding = Limiter(client, prefix="sliding", algorithm="sliding", limits=Window(9, "1h"), **given)
        bucket = Limiter(client, prefix="bucket", algorithm="bucket", limits=Bucket(9, 1, "1h"), **given)
        self.addCleanup(fixed.close)
        self.assertFalse(fixed.hit("before").local)
        server.kill()
        first = fixed.hit("a", cost=4)
        self.assertEqual((first.allowed, first.remaining, first.local, first.error), (True, 5, True, None))
        hits = [fixed.hit("a", cost=6), fixed.hit("a", cost=7, min=2), fixed.hit("a")]
        self.assertEqual([(hit.allowed, hit.taken) for hit in hits], [(False, 0), (True, 5), (False, 0)])
        once = [sliding.hit("a", id="delivery"), sliding.hit("a", id="delivery", next=True)]
        self.assertEqual([(hit.allowed, hit.repeated) for hit in once], [(True, False), (True, True)])
        stamped = sliding.hit("a", cost=5, stamp=True)
        time.sleep(0.005)  # a charge is given back by the time that was told
        sliding.hit("a", cost=-5, at=stamped.charged_at)
        both = hit_all([Part(sliding, "a", cost=2), Part(bucket, "a", cost=7)])
        self.assertEqual((both.allowed, both.local, [key.remaining for key in both.keys]), (True, True, [6, 2]))
        self.assertFalse(hit_all([Part(sliding, "a", cost=2), Part(bucket, "a", cost=7)]).allowed)
        self.assertFalse(bucket.hit("a", cost=5, force=True).allowed)
        self.assertFalse(bucket.peek("a").allowed)
        self.assertTrue(all(event.local and event.reason is None for event in events[1:]), events)
        server.start()
        expected = {"fixed:a": 9, "sliding:a": 3, "bucket:a": 12}
        until(lambda: {key: server.used(key) for key in expected} == expected)
        self.assertEqual((fixed.hit("a").allowed, sliding.hit("a", id="delivery").repeated), (False, True))
        self.assertEqual({key: server.used(key) for key in expected}, expected)

    def test_asyncio_charges_too(self):
        server = OwnServer(self)

        async def main():
            client = redis.asyncio.Redis(port=server.port)
            limiter = AsyncLimiter(client, algorithm="fixed", limits=Window(9, "3650d"), unavailable="local", coalesce=True, on_error=lambda error: None)
            await limiter.hit("before")
            server.kill()
            hits = await asyncio.gather(*(limiter.hit("a") for _ in range(12)))
            self.assertEqual((sum(hit.allowed for hit in hits), all(hit.local for hit in hits)), (9, True))
            server.start()
            end = time.monotonic() + 60
            while server.used("a") != 9:
                self.assertLess(time.monotonic(), end)
                await asyncio.sleep(0.02)
            self.assertFalse((await limiter.hit("a")).allowed)
            while [task for task in asyncio.all_tasks() if "_flush" in repr(task)]:  # nothing is left of it
                self.assertLess(time.monotonic(), end)
                await asyncio.sleep(0.02)
            await limiter.aclose()
            await client.aclose()

        asyncio.run(main())

    def test_a_child_charges_nothing_of_its_parents(self):
        server = OwnServer(self)
        limiter = Limiter(redis.Redis(port=server.port), algorithm="fixed", limits=Window(9, "3650d"), unavailable="local", on_error=lambda error: None)
        self.addCleanup(limiter.close)
        limiter.hit("before")
        server.kill()
        self.assertTrue(limiter.hit("a").local)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                limiter.hit("a")  # its own
                os.write(tell, b"1" if limiter.fallback.owes else b"0")
                until(lambda: not limiter.fallback.owes)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(tell)
        self.addCleanup(os.close, told)
        self.assertEqual(os.read(told, 1), b"1")
        server.start()
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        until(lambda: not limiter.fallback.owes)
        self.assertEqual(server.used("a"), 2)

    def test_full(self):
        server = OwnServer(self)
        errors = []
        limiter = Limiter(
            redis.Redis(port=server.port), algorithm="fixed", limits=Window(1, "3650d"), unavailable="local", max_keys=2, on_error=errors.append
        )
        self.addCleanup(limiter.close)
        limiter.hit("before")
        server.kill()
        self.assertEqual([(hit.allowed, hit.local) for hit in map(limiter.hit, "abc")], [(True, True), (True, True), (False, False)])
        self.assertIn("OOM a new key is not allowed", " ".join(map(str, errors)))
        server.start()
        until(lambda: limiter.hit("c").allowed)  # Redis has room

    def test_options(self):
        given = {"algorithm": "bucket", "limits": Bucket(1, 1, "3000d")}
        client = redis.Redis()
        for options, text in (
            ({"unavailable": "locally"}, 'unavailable: expected "open" or "closed" or "local"'),
            ({"instances": 4}, 'instances, max_keys: expected only with unavailable="local"'),
            ({"unavailable": "local", "instances": 0}, "instances: expected an integer of at least 1"),
            ({"unavailable": "local", "instances": 4}, "instances: expected at most 1"),
        ):
            with self.subTest(options), self.assertRaises(TypeError) as raised:
                Limiter(client, **given, **options)
            self.assertIn(text, str(raised.exception))
        with self.assertRaisesRegex(TypeError, 'prefetch: not with unavailable="local"'):
            AsyncLimiter(redis.asyncio.Redis(), **given, unavailable="local", prefetch=10)
        Limiter(client, **given, unavailable="local", max_keys=5)
        with self.assertRaisesRegex(TypeError, "max_keys: expected 5, as of the client's other limiters, got 6"):
            Limiter(client, **given, unavailable="local", max_keys=6)
