"""ratelimit join: a server that joins denies and limits as the others do, also for what is left of an hour."""

import unittest

from .support import Server, eventually, run


class Join(unittest.TestCase):
    def setUp(self):
        self.one, self.other = Server(), Server()
        self.addCleanup(self.one.close)
        self.addCleanup(self.other.close)

    def join(self, *more):
        return run("join", "--from", self.one.address, "-p", self.other.port, *more)

    def test_it_has_what_the_source_has_with_what_is_left(self):
        for line in (
            "RL.POLICY SET login SLIDING 5 15m",
            "RL.POLICY SET login SLIDING 1 15m TTL 1h",
            "RL.POLICY SET incident FIXED 9 1m TTL 1h",
            "RL.POLICY SET gone FIXED 9 1m TTL 1ms",
            "RL.POLICY SHADOW login SLIDING 3 15m",
            "RL.POLICY SHADOW only FIXED 9 1m TTL 1h",
            "RL.DENY ADD bad 192.0.2.0/24 2001:db8::/32 a-text",
            "RL.DENY ADD bad 198.51.100.7 TTL 1h",
            "RL.DENY ADD bad.staging.1700000000.1 192.0.2.1",
        ):
            self.one.call(line)
        self.one.node.pipeline([["RL.DENY", "ADD", "many", *(f"10.0.{n // 256}.{n % 256}" for n in range(2500))]])
        self.one.node.pipeline([["RL.DENY", "ADD", "many", f"10.1.{n // 256}.{n % 256}", "TTL", f"{n + 1000}s"] for n in range(1500)])
        status, said, errors = self.join()
        self.assertEqual((status, errors), (0, ""), said)
        self.assertIn("3 policies were set, 2 of them for a while", said)
        self.assertIn("4004 entries were added to 2 deny lists, 1501 of them for a while", said)
        self.assertEqual(self.other.call("RL.DENY LIST"), {"bad": 4, "many": 4000})
        theirs, own = self.one.call("RL.POLICY LIST"), self.other.call("RL.POLICY LIST")
        for name in ("login", "incident"):
            before, after = (words[name][4].removesuffix("ms") for words in (theirs, own))
            self.assertLessEqual(int(after), 3_600_000)
            self.assertAlmostEqual(int(before), int(after), delta=60_000)
            theirs[name][4] = own[name][4] = ""
        shadows = (words["only"][1].pop() for words in (theirs, own))
        self.assertTrue(all(0 < int(left.removesuffix("ms")) <= 3_600_000 for left in shadows))
        self.assertEqual(own, theirs)
        entries = self.other.call("RL.DENY ENTRIES bad 0 COUNT 10")[1]
        left = dict(zip(entries[::2], entries[1::2]))
        self.assertEqual(left.pop("198.51.100.7") // 60_000, 59)
        self.assertEqual(set(left.values()), {-1})
        # Once more: nothing is there to be done.
        status, said, errors = self.join()
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("0 policies were set, 0 of them for a while; 0 entries were added", said)

    def test_what_it_has_already_is_left_to_whoever_runs_it(self):
        self.one.call("RL.POLICY SET login SLIDING 5 15m")
        self.one.call("RL.POLICY SET api FIXED 5 15m")
        self.one.call("RL.DENY ADD bad 192.0.2.1")
        self.other.call("RL.POLICY SET login BUCKET 5 1 1s")
        self.other.call("RL.DENY ADD bad 192.0.2.2")
        status, _, errors = self.join()
        self.assertEqual(status, 3, errors)
        self.assertIn("the policy login is bucket 5 1 1s there, and sliding 5 15m at the source", errors)
        self.assertIn("the list bad has 1 more entries there", errors)
        self.assertEqual(self.other.call("RL.POLICY GET login")[0], "bucket")
        self.assertEqual(self.other.call("RL.POLICY GET api"), ["fixed", "5", "15m"])
        self.assertEqual(self.other.call("RL.DENY HAS bad 192.0.2.1 192.0.2.2"), [1, 1])

    def test_who_cannot_be_asked_is_named(self):
        replica = Server(f"replicaof 127.0.0.1 {self.one.port}", "repl-diskless-sync-delay 0")
        self.addCleanup(replica.close)
        eventually("it is in sync", lambda: "master_link_status:up" in replica.call("INFO replication"))
        self.other.call("RL.POLICY SET login SLIDING 5 15m")
        status, _, errors = run("join", "--from", self.other.address, "-p", replica.port)
        self.assertEqual(status, 1)
        self.assertIn(f"{replica.address}: READONLY", errors)
        for words in (("-p", self.one.port), ("--from", "[::1", "-p", self.one.port), ("--from", "1.2.3.4:0", "-p", self.one.port)):
            self.assertEqual(run("join", *words)[0], 2, words)
        self.other.kill()
        self.assertEqual(run("join", "--from", self.other.address, "-p", self.one.port)[0], 1)


if __name__ == "__main__":
    unittest.main()
