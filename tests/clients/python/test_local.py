"""``ratelimit_client.local``: the module in this process, sync and asyncio; the scenarios of every client, and what it is for."""

import asyncio
import importlib.util
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import ratelimit_client
from ratelimit_client import Admin, AsyncLimiter, Deny, Leaser, Limiter, Part, RefusedError, ServerError, Window, hit_all
from ratelimit_client.local import EngineStoppedError, LocalEngine, local_engine
from servers import SCENARIOS
from test_clients import compare, fields

START = 1_700_006_400_000
ENGINE = Path(ratelimit_client.__file__).with_name("engine.wasm")
KNOWN = {"DEL", "PTTL", "EXISTS", "PING"}


def texts(reply):
    if isinstance(reply, bytes):
        return reply.decode()
    return [texts(item) for item in reply] if isinstance(reply, list) else reply


def is_known(step):
    name = step["send"][0]
    return name in KNOWN or (name.startswith("RL.") and name not in ("RL.RESET", "RL.CHANGES", "RL.MERGE", "RL.HEARD", "RL.REGION"))


@unittest.skipUnless(ENGINE.exists() and importlib.util.find_spec("wasmtime"), "no engine: scripts/test-clients has said why")
class Local(unittest.TestCase):
    def setUp(self):
        self.now = START
        self.engine = LocalEngine(now=lambda: self.now)

    def test_scenarios(self):
        """As through any client of a server."""
        scenarios = [one for one in SCENARIOS if all(is_known(step) for step in one["steps"])]
        self.assertGreater(len(scenarios), 10)
        for scenario in scenarios:
            for step in scenario["steps"]:
                words = [word.replace("$", "local:") for word in step["send"]]
                said = f"{scenario['name']}: {' '.join(words)}"
                try:
                    reply = texts(self.engine(words))
                except ServerError as refusal:
                    self.assertTrue(str(refusal).startswith(step["error"]), f"{said}: {refusal}")
                    continue
                self.assertNotIn("error", step, said)
                if "map" in step:
                    for field, value in step["map"].items():
                        compare(self, fields(reply)[field], value, f"{said}: {field}")
                elif "reply" in step:
                    compare(self, reply, step["reply"], said)

    def test_the_month_is_over(self):
        self.now = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000
        limiter = Limiter(self.engine, algorithm="fixed", limits=Window(2, "1mo"))
        hits = [limiter.hit("alice") for _ in range(3)]
        self.assertEqual([(hit.allowed, hit.retry_after_ms) for hit in hits], [(True, 0), (True, 0), (False, 1000)])
        self.now += 1000
        self.assertTrue(limiter.hit("alice").allowed)

    def test_asyncio(self):
        limiter = AsyncLimiter(self.engine, algorithm="sliding", limits=Window(2, "15m"))

        async def hits():
            return [verdict.allowed for verdict in await asyncio.gather(*(limiter.hit("alice") for _ in range(3)))]

        self.assertEqual(sorted(asyncio.run(hits())), [False, True, True])

    def test_policies_leases_and_several_keys(self):
        api = Limiter(self.engine, prefix="api", algorithm="sliding", limits=Window(5, "15m"), policy="api")
        admin = Admin(self.engine)
        admin.set_policy("api", "sliding", Window(2, "15m"))
        admin.deny("bots", ["192.0.2.0/24"])
        self.assertEqual(api.hit("alice", deny=Deny("bots", ["192.0.2.7"])).denied_value, "192.0.2.7")
        verdict = hit_all([Part(api, "alice"), Part(api, "bob", cost=2)])
        self.assertEqual([one.remaining for one in verdict.keys], [1, 0])
        self.assertTrue(api.reset("alice"))
        leaser = Leaser(self.engine, limit=1, ttl="10s")
        self.assertEqual([leaser.acquire("jobs").verdict.allowed for _ in range(2)], [True, False])
        self.now += 10_001  # its holder was killed
        self.assertTrue(leaser.acquire("jobs").verdict.allowed)

    def test_threads(self):
        limiter = Limiter(self.engine, algorithm="fixed", limits=Window(100, "1d"))
        together = threading.Barrier(8)

        def hits(_):
            together.wait()
            return sum(limiter.hit("alice").allowed for _ in range(50))

        with ThreadPoolExecutor(8) as pool:
            self.assertEqual(sum(pool.map(hits, range(8))), 100)

    def test_full(self):
        errors = []
        engine = local_engine(now=lambda: self.now, max_keys=2)
        limiter = Limiter(engine, algorithm="fixed", limits=Window(2, "1m"), unavailable="closed", on_error=errors.append)
        self.assertEqual([limiter.hit(key).allowed for key in ("a", "b", "c", "a")], [True, True, False, True])
        self.assertEqual([str(error)[:47] for error in errors], ["OOM a new key is not allowed: there are 2 keys,"])
        self.now += 70_000
        self.assertTrue(limiter.hit("c").allowed)

    def test_mistakes(self):
        for wrong, text in (
            ({"now": 7}, "now: expected a function that gives Unix milliseconds, got 7"),
            ({"max_keys": 0}, "max_keys: expected an integer of at least 1, got 0"),
            ({"max_keys": 1 << 31}, "max_keys: expected less than 2^31"),
        ):
            with self.assertRaises(TypeError) as raised:
                LocalEngine(**wrong)
            self.assertIn(text, str(raised.exception))
        with self.assertRaisesRegex(RefusedError, "the clock says no time: expected Unix milliseconds"):
            LocalEngine(now=lambda: float("nan"))(["RL.FIXED", "a", 1, "1m"])
        with self.assertRaisesRegex(RefusedError, "ERR a command of 5000027 bytes: expected at most 4194304"):
            self.engine(["RL.FIXED", "k" * 5_000_000, 1, "1m"])
        with self.assertRaisesRegex(RefusedError, "ERR unknown command 'NONE'"):
            self.engine(["NONE"])

    def test_one_that_has_met_a_fault_answers_no_more(self):
        self.engine._call = lambda *_: 1 // 0
        for _ in range(2):
            with self.assertRaises(EngineStoppedError):
                self.engine(["PING"])
