"""ratelimit remove: a server that held the module's data runs on without the module."""

import contextlib
import re
import unittest

from .support import MODULE, Server, Trouble, eventually, run


class Remove(unittest.TestCase):
    def server(self, *lines, **more):
        server = Server(*lines, **more)
        self.addCleanup(server.close)
        return server

    def fill(self, server):
        server.call("SET plain x")
        server.node.pipeline([["SELECT", "3"], ["SET", "other", "y"], "RL.FIXED in:3 5 30d".split(), ["SELECT", "0"]])
        server.node.pipeline([f"RL.SLIDING user:{index} 5 30d POLICY login".split() for index in range(2500)])
        server.call("RL.POLICY SET login SLIDING 5 30d")
        server.call("RL.POLICY SET hour FIXED 1 1m TTL 1h")
        server.call("RL.DENY ADD bad 192.0.2.1 mallory")
        server.call("RL.FIXED user 5 30d DENY bad mallory")

    def without_module(self, server, *lines):
        """The same server, started as the script says."""
        with contextlib.suppress(Trouble):  # it closes the connection
            server.node.call("SHUTDOWN", "NOSAVE")
        server.process.wait()
        path = server.dir / "redis.conf"
        kept = [line for line in path.read_text().splitlines() if MODULE not in line]
        path.write_text("\n".join([*kept, *lines]) + "\n")
        server.start()

    def assert_plain(self, server):
        self.assertNotIn("ratelimit", [module["name"] for module in server.call("MODULE LIST")])
        self.assertEqual(server.call("GET plain"), "x")
        self.assertEqual(server.node.pipeline([["SELECT", "3"], ["GET", "other"], ["DBSIZE"], ["SELECT", "0"]])[1:3], ["y", 1])
        self.assertEqual(server.call("DBSIZE"), 1)

    def test_nothing_is_changed_without_yes(self):
        server = self.server()
        self.fill(server)
        status, said, errors = run("remove", "-p", server.port)
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("2501 limiters, 2 policies, 1 deny lists, statistics of 1 names", said)
        self.assertIn("nothing was changed", said)
        self.assertEqual(server.call("DBSIZE"), 2501)

    def test_a_server_runs_on_without_the_module(self):
        for is_aof_on in (False, True):
            with self.subTest(appendonly=is_aof_on):
                server = self.server(f"appendonly {'yes' if is_aof_on else 'no'}", 'save "3600 1"')
                self.fill(server)
                status, said, errors = run("remove", "-p", server.port, "--yes")
                self.assertEqual(status, 0, errors)
                self.assertIn("take the loadmodule line out of", said)
                self.assertIn("redis.conf", said)
                wants_aof = "set `appendonly yes` in its configuration" in said
                self.without_module(server, *(["appendonly yes"] if wants_aof else []))
                self.assert_plain(server)
                # And again, on what it writes itself from then on.
                server.call("CONFIG SET aof-use-rdb-preamble yes")
                if wants_aof or is_aof_on:
                    server.call("BGREWRITEAOF")
                    eventually("it is rewritten", lambda: "aof_rewrite_in_progress:0" in server.call("INFO persistence"))
                self.without_module(server)
                self.assert_plain(server)

    def test_a_replica_goes_first(self):
        primary = self.server()
        self.fill(primary)
        replica = self.server(f"replicaof 127.0.0.1 {primary.port}")
        eventually("it is in sync", lambda: "master_link_status:up" in replica.call("INFO replication"))
        status, said, errors = run("remove", "--yes", "--server", replica.address, "--server", primary.address)
        self.assertEqual(status, 0, errors)
        self.assertRegex(said, rf"(?s){re.escape(replica.address)}: nothing.*{re.escape(primary.address)}: nothing")
        wants_aof = ["appendonly yes"] if "set `appendonly yes`" in said else []
        self.without_module(replica, *wants_aof)
        self.assertEqual(replica.call("GET plain"), "x")

    def test_what_cannot_be_is_said(self):
        bare = self.server(module=None)
        status, _, errors = run("remove", "-p", bare.port)
        self.assertEqual(status, 1)
        self.assertIn("no rate limiting module", errors)


if __name__ == "__main__":
    unittest.main()
