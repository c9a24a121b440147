"""ratelimit size, against what a real server takes."""

import contextlib
import random
import re
import unittest
import uuid

from .support import Server, eventually, run
from .test_drills import is_redis_7_0

from ratelimit_ops import size  # isort: skip: support says where it is

KEYS = 4_000
TOLERANCE = 0.12
# algorithm, limits, entries, bytes of a name
SHAPES = [
    ("fixed", 1, 1, 14),
    ("fixed", 3, 1, 14),
    ("fixed", 1, 1, 60),
    ("sliding", 1, 3, 14),
    ("sliding", 1, 12, 30),
    ("sliding", 2, 8, 14),
    ("bucket", 1, 1, 14),
    ("bucket", 3, 1, 14),
    ("lease", 1, 3, 14),
]


def limits_of(algorithm, count):
    one = {"fixed": "1000000 {}h", "sliding": "1000000 {}h", "bucket": "1000000 1000 {}h", "lease": "1000000 {}h"}[algorithm]
    return [word for index in range(count) for word in one.format(index + 1).split()]


class Size(unittest.TestCase):
    def used(self, server):
        """Once it stands still: a table that grows is there twice for a while, and a client that has gone is not freed at once."""

        def at_rest():
            looks = [int(re.search(r"used_memory:(\d+)", server.call("INFO memory"))[1]) for _ in range(20)]
            return looks[0] == looks[-1] and looks[0]

        return eventually("it is at rest", at_rest)

    def fill(self, server, shape):
        """The keys' names."""
        algorithm, limits, entries, name_bytes = shape
        chance = random.Random(1)
        names = [chance.randbytes(name_bytes).hex()[:name_bytes] for _ in range(KEYS)]
        node = server.connect()
        for entry in range(entries):
            for start in range(0, KEYS, 500):
                holder = [str(uuid.uuid4())] if algorithm == "lease" else []
                words = [*limits_of(algorithm, limits), *holder]
                node.pipeline([[f"RL.{algorithm}", name, *words] for name in names[start : start + 500]])
        node.close()
        return names

    def test_what_a_key_takes_is_what_a_server_says(self):
        for shape in SHAPES:
            with self.subTest(shape), contextlib.closing(Server()) as server:
                before = self.used(server)
                names = self.fill(server, shape)
                grown = self.used(server) - before
                wanted = size.used_bytes(KEYS, *shape) - size.START_BYTES
                self.assertLess(grown / wanted, 1 + TOLERANCE, "it would be too little")
                if is_redis_7_0():
                    self.assertGreater(grown / wanted, 1 - TOLERANCE)
                    # The name, its entry, and what the module has.
                    own = server.node.call("MEMORY", "USAGE", names[0], "SAMPLES", "0")
                    reckoned = size.key_bytes(shape[-1]) + 24 + size.state_bytes(*shape[:3])
                    self.assertLess(abs(own - reckoned) / (grown / KEYS), TOLERANCE, (own, reckoned))
                server.call("SAVE")
                file = (server.dir / "dump.rdb").stat().st_size
                self.assertLess(abs(file / (KEYS * size.rdb_bytes(*shape)) - 1), 2 * TOLERANCE)

    def test_it_says_how_many_servers(self):
        status, said, _ = run("size", "--keys", "10M", "--algorithm", "sliding", "--entries", "5", "--hits", "20k")
        self.assertEqual(status, 0)
        self.assertIn("10,000,000 limiters: sliding, limits: 1, entries: 5\n", said)
        self.assertRegex(said, r"servers +2   primaries: 1, replicas of each: 1")
        self.assertNotIn("A cluster", said)
        status, said, _ = run("size", "--keys", "10M", "--algorithm", "fixed", "--hits", "200k", "--replicas", "0")
        self.assertRegex(said, r"servers +7   primaries: 7, replicas of each: 0")
        self.assertIn("A cluster", said)

    def test_what_makes_no_sense_is_refused(self):
        for words in (
            "--keys x --algorithm fixed",
            "--keys 0 --algorithm fixed",
            "--keys 5",
            "--keys 5 --algorithm lease --limits 2",
            "--keys 5 --algorithm fixed --hits -1",
        ):
            status, _, said = run("size", *words.split())
            self.assertEqual(status, 2, (words, said))


if __name__ == "__main__":
    unittest.main()
