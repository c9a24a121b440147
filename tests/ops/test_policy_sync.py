"""ratelimit policy sync against real servers, alone and in a cluster."""

import contextlib
import subprocess
import unittest

from .support import Refused, Server, eventually, free_port, run

FILE = """
# the limits of the shop
[policies]
login = "SLIDING 5 15m 20 24h"
api = "fixed 1000 60s"
"api:acme" = "fixed 10000 1m"
"llm \\u001b[2J" = "bucket 50000 50000 1440m"
"""


class PolicySync(unittest.TestCase):
    def server(self, *lines, **more):
        server = Server(*lines, **more)
        self.addCleanup(server.close)
        return server

    def setUp(self):
        self.one = self.server()
        self.path = self.one.dir / "policies.toml"
        self.write(FILE)

    def write(self, text):
        self.path.write_text(text)

    def sync(self, *options, servers=None):
        servers = servers or [self.one]
        named = [word for server in servers for word in ("--server", server.address)]
        return run("policy sync", *named, *options, self.path)

    def list(self, server=None):
        return (server or self.one).call("RL.POLICY LIST")

    def fingerprint(self, server=None):
        info = (server or self.one).call("INFO ratelimit")
        (line,) = (line for line in info.splitlines() if line.startswith("ratelimit_policies_fingerprint:"))
        return line.partition(":")[2]

    def test_the_servers_have_what_the_file_says(self):
        self.one.call("RL.POLICY SET old FIXED 5 1h")
        self.one.call("RL.POLICY SET login SLIDING 9 15m")
        self.one.call("RL.POLICY SET api SLIDING 9 15m")
        status, said, errors = self.sync("--diff")
        self.assertEqual((status, errors), (3, ""), said)
        for line in (
            "- old                      fixed 5 1h",
            "~ login                    sliding 9 15m -> sliding 5 15m 20 1d",
            "~ api                      sliding 9 15m -> fixed 1000 1m",
            "+ api:acme                 fixed 10000 1m",
            "+ llm \\x1b[2J",
        ):
            self.assertIn(line, said)
        self.assertNotIn("\x1b", said)
        self.assertIn("old", self.list(), "--diff changes nothing")
        status, said, errors = self.sync()
        self.assertEqual((status, errors), (0, ""), said)
        self.assertEqual(
            self.list(),
            {
                "login": ["sliding", "5", "15m", "20", "1d"],
                "api": ["fixed", "1000", "1m"],
                "api:acme": ["fixed", "10000", "1m"],
                "llm \x1b[2J": ["bucket", "50000", "50000", "1d"],
            },
        )
        self.assertIn(f"4 policies, fingerprint {self.fingerprint()}, on {self.one.address}", said)
        self.assertEqual(run("policy sync", "--fingerprint", self.path)[1].strip(), self.fingerprint())
        self.assertEqual(self.sync("--diff"), (0, "", ""))

    def test_shadows_stand_in_the_file_too(self):
        for line in (
            "RL.POLICY SET login SLIDING 9 15m",
            "RL.POLICY SHADOW login SLIDING 2 15m",
            "RL.POLICY SHADOW gone FIXED 2 1h",
            "RL.POLICY SHADOW incident FIXED 2 1h TTL 1h",
            "RL.POLICY SET api SLIDING 9 1m",
        ):
            self.one.call(line)
        self.write(FILE + '[shadows]\nlogin = "sliding 3 900s"\napi = "FIXED 500 1m"\nonly = "bucket 5 1 1s"\n')
        status, said, errors = self.sync("--diff")
        self.assertEqual((status, errors), (3, ""), said)
        for line in (
            "~ login                    shadow sliding 2 15m -> sliding 3 15m",
            "- gone                     shadow fixed 2 1h",
            "+ api                      shadow fixed 500 1m",
        ):
            self.assertIn(line, said)
        status, said, errors = self.sync()
        self.assertEqual((status, errors), (0, ""), said)
        self.assertIn(f"4 policies and 3 shadows, fingerprint {self.fingerprint()}, on {self.one.address}", said)
        list = self.list()
        self.assertEqual(list["login"], ["sliding", "5", "15m", "20", "1d", "SHADOW", ["sliding", "3", "15m"]])
        self.assertEqual(list["api"], ["fixed", "1000", "1m", "SHADOW", ["fixed", "500", "1m"]])
        self.assertEqual(list["only"], ["SHADOW", ["bucket", "5", "1", "1s"]])
        self.assertEqual(list["incident"][1][:4], ["fixed", "2", "1h", "TTL"], "what has a TTL is left alone")
        self.assertNotIn("gone", list)
        self.assertEqual(self.sync("--diff"), (0, "", ""))
        # A policy that goes, and of which a shadow stays.
        self.write('[policies]\nlogin = "sliding 5 15m 20 1d"\n[shadows]\napi = "fixed 500 1m"\n')
        self.assertEqual(self.sync()[::2], (0, ""))
        self.assertEqual(self.list()["api"], ["SHADOW", ["fixed", "500", "1m"]])
        self.write('[policies]\nlogin = "sliding 5 15m"\n[shadows]\njobs = "lease 5 1m"\n')
        status, _, errors = self.sync()
        self.assertEqual(status, 2)
        self.assertIn("jobs: a lease has no shadow", errors)

    def test_a_mistake_applies_nothing(self):
        self.one.call("RL.POLICY SET old FIXED 5 1h")
        before = self.list()
        for line, what in [
            ('x = "sliding 5 60"', "window needs a unit"),
            ('x = "slidng 5 60s"', "slidng is none of fixed, sliding"),
            ('x = "sliding 5 15m 6 900s"', "x: sliding 5 15m 6 15m"),
            ('x = "bucket 5 15m"', "x: bucket 5 15m"),
            ('x = "fixed -5 1m"', "x: -5 is neither"),
            ('x = "fixed 5 1m COST 3"', "x: COST is neither"),
            ('x = "fixed 5 1m"\ny = "fixed 5"', "y: fixed 5"),
            ("x = 5", "x: not a text"),
            ('x = ""', "x: not a text"),
            ("x = ", "not TOML"),
            ("x = [", "not TOML"),
            ('api = "fixed 1 1m"', "not TOML"),  # twice
            ('"" = "fixed 1 1m"', "a name has 1 to 128 bytes"),
            (f'"{"é" * 65}" = "fixed 1 1m"', "a name has 1 to 128 bytes"),
            ("[polices]", "polices: unexpected"),
        ]:
            self.write(FILE + line + "\n")
            status, said, errors = self.sync()
            self.assertEqual((status, said), (2, ""), line)
            self.assertIn(what, errors)
            self.assertIn("nothing was changed", errors)
            self.assertEqual(self.list(), before, line)
        for text in ("", "[policies]\n", "policies = 5\n"):
            self.write(text)
            status, _, errors = self.sync()
            self.assertEqual(status, 2, errors)
            self.assertEqual(self.list(), before, text)
        self.write("")
        self.assertEqual(self.sync("--allow-empty")[0], 0)
        self.assertEqual(self.list(), {})
        self.assertEqual(run("policy sync", "/no/such/file")[0], 2)
        self.path.write_bytes(b"\xff\x1b[2J")
        status, _, errors = self.sync()
        self.assertEqual(status, 2)
        self.assertNotIn("\x1b", errors)

    def test_a_server_that_cannot_keeps_all_as_they_were(self):
        full = self.server()
        full.call("CONFIG SET ratelimit.policies 3")
        status, _, errors = self.sync(servers=[self.one, full])
        self.assertEqual(status, 2, errors)
        self.assertIn(f"4 policies are more than {full.address} takes (ratelimit.policies is 3)", errors)
        bare = self.server(module=None)
        status, _, errors = self.sync(servers=[self.one, bare])
        self.assertEqual(status, 1, errors)
        self.assertIn(f"{bare.address}: the server has no rate limiting module", errors)
        replica = self.server(f"replicaof 127.0.0.1 {self.one.port}")
        status, _, errors = self.sync(servers=[replica])
        self.assertEqual(status, 1, errors)
        self.assertIn("name its primary", errors)
        self.assertEqual(self.list(), {})

    def test_one_transaction_changes_a_server(self):
        self.assertEqual(self.sync()[0], 0)
        self.one.call("CONFIG RESETSTAT")
        self.write(FILE.replace("SLIDING 5", "FIXED 6").replace("fixed 1000 ", "fixed 1001 "))
        self.assertEqual(self.sync()[0], 0)
        stats = self.one.call("INFO commandstats")
        self.assertIn("cmdstat_exec:calls=1,", stats)
        self.assertEqual(self.list()["login"][0], "fixed")

    def test_a_temporary_policy_is_left_alone(self):
        self.assertEqual(self.sync()[0], 0)
        self.one.call("RL.POLICY SET api FIXED 1 1m TTL 1h")
        self.one.call("RL.POLICY SET lone SLIDING 1 1m TTL 1h")
        self.assertEqual(self.sync("--diff"), (0, "", ""))
        self.assertEqual(self.sync()[0], 0)
        self.assertEqual(self.list()["api"][:4], ["fixed", "1", "1m", "TTL"])
        self.assertIn("lone", self.list())

    def test_drift_between_servers_is_seen_and_mended(self):
        other = self.server()
        both = [self.one, other]
        self.assertEqual(self.sync(servers=both)[0], 0)
        self.assertEqual(self.fingerprint(), self.fingerprint(other))
        other.call("RL.POLICY DEL login")
        self.assertNotEqual(self.fingerprint(), self.fingerprint(other))
        status, said, _ = self.sync("--diff", servers=both)
        self.assertEqual(status, 3)
        self.assertIn(other.address, said)
        self.assertNotIn(self.one.address, said)
        self.assertEqual(self.sync(servers=both)[0], 0)
        self.assertEqual(self.fingerprint(), self.fingerprint(other))

    def test_every_primary_of_a_cluster_has_them_also_one_that_joins(self):
        def node():
            return self.server("cluster-enabled yes", f"cluster-port {free_port()}", "cluster-node-timeout 60000")

        nodes = [node(), node(), node()]
        nodes[0].call("CLUSTER ADDSLOTSRANGE 0 16000")
        nodes[1].call("CLUSTER ADDSLOTSRANGE 16001 16383")

        def meet(new):
            bus = new.call("CONFIG GET cluster-port")["cluster-port"]
            nodes[0].call(f"CLUSTER MEET 127.0.0.1 {new.port} {bus}")

        def knows(count):
            for each in nodes[:count]:
                eventually("they know each other", lambda each=each: f"cluster_known_nodes:{count}" in each.call("CLUSTER INFO"))
                eventually("it serves", lambda each=each: "cluster_state:ok" in each.call("CLUSTER INFO"))

        meet(nodes[1])
        knows(2)
        status, _, errors = run("policy sync", "--cluster", "-p", nodes[0].port, self.path)
        self.assertEqual(status, 0, errors)
        meet(nodes[2])
        knows(3)
        self.assertEqual(self.list(nodes[2]), {}, "one that joins has none")
        status, said, errors = run("policy sync", "--cluster", "--diff", "-p", nodes[1].port, self.path)
        self.assertEqual(status, 3, errors)
        self.assertIn(nodes[2].address, said)
        status, _, errors = run("policy sync", "--cluster", "-p", nodes[1].port, self.path)
        self.assertEqual(status, 0, errors)
        self.assertEqual(len({self.fingerprint(each) for each in nodes}), 1)
        # One node's typo is every node's: the check comes before any change.
        self.write(FILE + 'x = "fixed 5 60"\n')
        self.assertEqual(run("policy sync", "--cluster", "-p", nodes[0].port, self.path)[0], 2)

    def test_the_spelling_is_the_servers(self):
        lines = {
            "a": "fixed 007 1440m",
            "b": "SLIDING 5 90S 6 120s 7 61m 8 7d",
            "c": "bucket 5 5 1000ms 6 5 1500ms",
            "d": "fixed 5 1d 6 36h",
        }
        self.write("[policies]\n" + "".join(f'{name} = "{text}"\n' for name, text in lines.items()))
        status, _, errors = self.sync()
        self.assertEqual(status, 0, errors)
        self.assertEqual(self.sync("--diff"), (0, "", ""))

    def test_rights_that_suffice(self):
        self.one.call("ACL SETUSER syncer on >secret -@all ~policy-sync:* +multi +exec +info +rl.peek +rl.policy")
        status, _, errors = run("policy sync", "-p", self.one.port, "--user", "syncer", self.path, environment={"REDISCLI_AUTH": "secret"}
        )
        self.assertEqual(status, 0, errors)
        status, _, errors = run("policy sync", "-p", self.one.port, "--user", "syncer", self.path)
        self.assertEqual(status, 1, errors)
        self.assertIn("WRONGPASS", errors)


if __name__ == "__main__":
    unittest.main()
