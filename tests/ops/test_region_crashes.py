"""Three regions, each a primary, a replica and a relay, of which one is killed under load and started again, round by round.

REGION_ROUNDS is how many rounds, SEED another sequence of them; scripts/soak asks for many.
"""

import contextlib
import os
import random
import subprocess
import threading
import unittest

from .support import Refused, Server, Trouble, eventually, ratelimit

from lab.delay import Delay  # noqa: E402, isort: skip
from lab.regions import hears  # noqa: E402, isort: skip

NAMES = ("eu", "us", "ap")
ROUNDS = int(os.environ.get("REGION_ROUNDS", "3"))
SEED = int(os.environ.get("SEED", "13"))
LAG_SECONDS = 0.1  # far enough that without the share rule the bound is passed
HITS = 700  # of each region in a round
AT_ONCE = 10
LIMIT = 60
# Who is killed, and how far a limit may be overrun then: "open" goes on without who is not heard, "strict" does not.
VICTIMS = ("relay", "primary", "replica")
BOUNDS = {"open": LIMIT * len(NAMES), "strict": 2 * LIMIT - LIMIT // len(NAMES)}


class Region:
    def __init__(self, name):
        own = (f"ratelimit.region {name}", "enable-debug-command local", "repl-diskless-sync-delay 0", "appendonly yes")
        self.name = name
        self.primary = Server(*own)
        self.replica = Server(*own, f"replicaof 127.0.0.1 {self.primary.port}")
        self.relay = self.targets = None

    def carry_to(self, targets):
        """`targets`: {name: port}"""
        self.targets = [word for name, port in targets.items() for word in ("--to", f"{name}=127.0.0.1:{port}")]
        self.start("relay")

    def kill(self, which):
        getattr(self, which).kill()
        if which == "relay":
            self.relay.wait()

    def start(self, which):
        if which != "relay":
            return getattr(self, which).start()
        command = ratelimit("region sync", "--from", self.primary.address, "--every", "10ms", *self.targets)
        with open(self.primary.dir / "relay", "ab") as log:
            self.relay = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def hears_all(self):
        with contextlib.suppress(Trouble):
            return hears(self.primary.node, [name for name in NAMES if name != self.name])

    def limit(self, key):
        """What is used of a key, and by which regions."""
        info = self.primary.call(f"RL.INFO {key}")
        return info and (info["limits"][0]["used"], sorted(map(tuple, info["limits"][0]["regions"])))

    def close(self):
        if self.relay is not None:
            self.kill("relay")
        self.replica.close()
        self.primary.close()


class Callers(threading.Thread):
    """Charge in one region, whatever becomes of it."""

    def __init__(self, region, calls, seed):
        super().__init__(daemon=True)
        self.region, self.calls, self.random = region, calls, random.Random(seed)
        self.admitted = dict.fromkeys((key for _, key, _ in calls), 0)
        self.unanswered = dict(self.admitted)
        self.asked = 0
        self.error = None
        self.pause = threading.Event()

    def run(self):
        node = self.region.primary.connect()
        while self.asked < HITS and self.error is None:
            batch = [self.random.choice(self.calls) for _ in range(AT_ONCE)]
            is_there = False
            try:
                is_there = node.call("PING") == "PONG"
                replies = node.pipeline([(command, key, *limits) for command, key, limits in batch])
            except Trouble:
                for _, key, _ in batch:  # nobody knows how many of them were charged
                    self.unanswered[key] += is_there
                self.pause.wait(0.01)
                continue
            for (_, key, _), reply in zip(batch, replies):
                if isinstance(reply, Refused):
                    self.error = reply
                elif reply[0] == 1:
                    self.admitted[key] += 1
            self.asked += AT_ONCE
            self.pause.wait(0.005)
        node.close()


class RegionCrashes(unittest.TestCase):
    def setUp(self):
        self.regions = []
        for name in NAMES:
            self.regions.append(Region(name))
            self.addCleanup(self.regions[-1].close)
        for here in self.regions:
            ways = {there.name: Delay(there.primary.port, LAG_SECONDS) for there in self.regions if there is not here}
            for way in ways.values():
                self.addCleanup(way.close)
            here.carry_to({name: way.port for name, way in ways.items()})

    def test_whoever_is_killed_all_regions_agree_afterwards_and_the_bound_holds(self):
        most = {}
        for number in range(ROUNDS):
            # Each of them in each region before any comes again.
            victim, place = VICTIMS[number % 3], self.regions[number // 3 % 3]
            choice = random.Random(SEED * 1_000_003 + number)
            share = choice.choice(tuple(BOUNDS))
            with self.subTest(round=number, victim=victim, region=place.name, share=share):
                used = self.round(number, victim, place, share, choice)
                most[victim, share] = max(used, most.get((victim, share), 0))
        if ROUNDS > 3:
            for (victim, share), used in sorted(most.items()):
                print(f"killed: {victim:<8} share rule {share:<6} most admitted: {100 * used / LIMIT:.0f} % of the limit")

    def round(self, number, victim, place, share, choice):
        for region in self.regions:
            region.primary.call(f"CONFIG SET ratelimit.region-share {share}")
            region.primary.call("CONFIG REWRITE")
            eventually(f"{region.name} hears all", region.hears_all)
        hot, cool = [
            [
                ("RL.FIXED", f"{number}:{name}:fixed", (limit, "30d")),
                ("RL.SLIDING", f"{number}:{name}:sliding", (limit, "30d")),
                ("RL.BUCKET", f"{number}:{name}:bucket", (limit, 1, "30d")),
            ]
            for name, limit in (("hot", LIMIT), ("cool", 1_000_000))
        ]
        short = ("RL.SLIDING", f"{number}:short", (20, "1s"))
        callers = [Callers(region, [*hot, *cool, short], choice.random()) for region in self.regions]
        for each in callers:
            each.start()
        others = [each for each in callers if each.region is not place]
        self.await_asked(others, choice.randrange(0, HITS // 2))
        place.kill(victim)
        self.await_asked(others, max(each.asked for each in others) + choice.randrange(0, HITS // 2))
        place.start(victim)
        for each in callers:
            each.join()
            self.assertIsNone(each.error)
        return self.agree(callers, hot, cool, short, BOUNDS[share])

    def await_asked(self, callers, count):
        eventually(f"{count} hits", lambda: all(each.asked >= min(count, HITS) or each.error for each in callers))

    def agree(self, callers, hot, cool, short, bound):
        most = 0
        for _, key, _ in hot + cool:
            known = eventually(f"all regions hold the same of {key}", lambda key=key: self.same(key))
            admitted, unanswered = (sum(count[key] for count in counts) for counts in zip(*((c.admitted, c.unanswered) for c in callers)))
            # Of a bucket's debt, a merge leaves no more than the limit once more.
            least = min(admitted, 2 * LIMIT) if key.endswith("hot:bucket") else admitted
            self.assertGreaterEqual(known[0], least, key)
            self.assertLessEqual(known[0], admitted + unanswered, key)
            self.assertEqual(known[0], sum(used for _, used in known[1]), key)
        for _, key, _ in hot:
            used = self.same(key)[0]
            self.assertLessEqual(used, bound, key)
            most = max(most, used)
        for region in self.regions:
            for other in self.regions:
                if other is not region:
                    self.assertEqual(self.news(region, other), [])
        for region in self.regions:
            for command, key, limits in [*cool, short]:
                words = (command, key, *limits)
                eventually(f"{region.name} admits {key}", lambda region=region, words=words: region.primary.call(words)[0] == 1)
            eventually(f"{region.name}'s replica holds the same", lambda region=region: self.is_replicated(region))
        return most

    def same(self, key):
        """What all regions hold of a key, where that is the same."""
        with contextlib.suppress(Trouble):
            held = [region.limit(key) for region in self.regions]
            return held[0] if held[0] == held[1] == held[2] else None

    def news(self, region, other):
        """Keys of which one region would learn something from a pass over the other's. Not asked of buckets, whose levels
        differ by what they gain in a lag until they are told again."""
        cursor, until_ms, news, flat = "0", 0, [], [None]
        while flat or not until_ms:
            cursor, until_ms, flat, _ = region.primary.call(f"RL.CHANGES {cursor}")
            pairs = list(zip(flat[::2], flat[1::2]))
            replies = other.primary.node.pipeline([("RL.MERGE", key, payload) for key, payload in pairs])
            news += [key for (key, _), reply in zip(pairs, replies) if reply != 0 and not key.endswith("bucket")]
        return news

    def is_replicated(self, region):
        with contextlib.suppress(Trouble):
            return region.primary.call("DEBUG DIGEST") == region.replica.call("DEBUG DIGEST")
