"""The users of ops/README.md have the rights that their commands need, and no other."""

import json
import os
import re
import unittest

from .support import SHIPPED, Program, Server, eventually, free_port, get, ratelimit, run

USERS = dict(re.findall(r"^user (\S+) +(on >secret -@all .+)$", (SHIPPED / "README.md").read_text(), re.MULTILINE))
PASSWORD = {"REDISCLI_AUTH": "secret"}


class Rights(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        for name, rights in USERS.items():
            self.server.call(f"ACL SETUSER {name} {rights}")
        self.server.call("RL.DENY ADD bad 192.0.2.1")
        self.server.hits(7, "RL.SLIDING login:alice 5 15m POLICY login DENY bad 192.0.2.2")

    def run_as(self, user, *arguments):
        status, said, errors = run(user.replace("-", " "), "-p", self.server.port, "--user", user, *arguments, environment=PASSWORD)
        self.assertEqual(status, 0, errors)
        self.assertNotIn("NOPERM", said + errors)
        return said

    def serve_as(self, command, *arguments):
        port = free_port()
        words = ratelimit(command, "-p", self.server.port, "--user", command, "--listen", f"127.0.0.1:{port}", *arguments)
        program = Program(words, env={**os.environ, **PASSWORD})
        self.addCleanup(program.close)
        eventually("it listens", lambda: "at http://" in program.output)
        return lambda path: get(f"http://127.0.0.1:{port}{path}")

    def test_deny_sync(self):
        source = self.server.dir / "list"
        source.write_text("192.0.2.1\n192.0.2.2\n")
        self.run_as("deny-sync", "bad", source)
        self.assertEqual(self.server.call("RL.DENY HAS bad 192.0.2.2"), [1])

    def test_policy_sync(self):
        policies = self.server.dir / "policies.toml"
        policies.write_text('[policies]\nlogin = "sliding 5 15m"\n')
        self.run_as("policy-sync", policies)
        self.assertEqual(self.server.call("RL.POLICY GET login"), ["sliding", "5", "15m"])

    def test_join(self):
        joining = Server()
        self.addCleanup(joining.close)
        joining.call(f"ACL SETUSER join {USERS['join']}")
        words = "join", "--from", self.server.address, "-p", joining.port, "--user", "join"
        status, _, errors = run(*words, environment=PASSWORD)
        self.assertEqual(status, 0, errors)
        self.assertEqual(joining.call("RL.DENY HAS bad 192.0.2.1"), [1])

    def test_top(self):
        self.assertRegex(self.run_as("top", "--once", "--interval", "0.1"), r"login +login:alice")

    def test_exporter(self):
        source = self.server.dir / "list"
        source.write_text("192.0.2.1\n")
        self.assertEqual(run("deny sync", "-p", self.server.port, "bad", source)[0], 0)
        told = self.serve_as("exporter")("/metrics")
        self.assertRegex(told, r"ratelimit_hits_total{.*} 5.0")
        self.assertRegex(told, r"ratelimit_deny_sync_entries{.*} 1.0")

    def test_console(self):
        ask = self.serve_as("console", "--read-only")
        self.server.call("RL.POLICY SET api FIXED 5 1m")
        for path, what in (
            ("/api/changes", "from none to fixed 5 1m"),
            ("/api/state", "login"),
            ("/api/series?name=login", "login:alice"),
            ("/api/key?key=login:alice", "sliding"),
            ("/api/cover?list=bad&value=192.0.2.0/24", "192.0.2.255"),
        ):
            answer = ask(path)
            self.assertIn(what, answer)
            self.assertNotIn("error", [*json.loads(answer).get("servers", [{}])[0]])

    def test_each_user_of_the_page_is_tried(self):
        tried = {name.removeprefix("test_").replace("_", "-") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(set(USERS), tried - {"each-user-of-the-page-is-tried"})


if __name__ == "__main__":
    unittest.main()
