"""Three regions that hear each other by their relays, as ratelimit top tells of them. (The console's page: test_console.)"""

import re
import unittest

from .support import Program, Server, eventually, ratelimit, run

from lab.regions import hears  # noqa: E402, isort: skip


def regions(case, names=("eu", "us", "ap")):
    """{region: (its server, its relay)}, the relays carrying both ways between all."""
    servers = {}
    for name in names:
        servers[name] = Server(f"ratelimit.region {name}")
        case.addCleanup(servers[name].close)
    found = {}
    for name, server in servers.items():
        others = [word for other in names if other != name for word in ("--to", f"{other}={servers[other].address}")]
        relay = Program(ratelimit("region sync", "--from", server.address, "--every", "10ms", *others))
        case.addCleanup(relay.close)
        found[name] = (server, relay)
    for name, (server, _) in found.items():
        others = found.keys() - {name}
        eventually("it hears and is heard by the others", lambda server=server, others=others: hears(server.node, others))
    return found


def heard(server):
    return server.call("RL.REGION LIST")


class Top(unittest.TestCase):
    def picture(self, servers):
        named = [word for server in servers for word in ("--server", server.address)]
        status, said, errors = run("top", *named, "--once", "--interval", "0.1", environment={"COLUMNS": "130"})
        self.assertEqual((status, errors), (0, ""))
        return said

    def row(self, picture, name):
        (found,) = [line for line in picture.splitlines() if line.startswith(name + " ")]
        return re.split(r"\s{2,}", found)

    def test_what_each_region_hears_of_the_others(self):
        found = regions(self)
        servers = [server for server, _ in found.values()]
        found["eu"][0].call("RL.FIXED k 100 30d")
        eventually("us knows", lambda: found["us"][0].call("EXISTS k"))
        picture = self.picture(servers)
        for here in found:
            for there in found.keys() - {here}:
                _, since, lag, *_ = self.row(picture, f"{here} < {there}")
                self.assertRegex(since, r"^[0-9]+ m?s$")
                self.assertRegex(lag, r"^[0-9]+ m?s$")
        self.assertNotIn("DIFFER", picture)
        # One that is cut off is heard no more.
        before = heard(found["us"][0])["eu"]["heard_ms_ago"]
        found["eu"][1].close()
        eventually("time goes on", lambda: heard(found["us"][0])["eu"]["heard_ms_ago"] > before + 3000)
        since = self.row(self.picture(servers), "us < eu")[1]
        self.assertGreaterEqual(int(since.removesuffix(" s")), 3)

    def test_what_is_wrong_is_said(self):
        lone = Server("ratelimit.region eu", "ratelimit.region-changes 1000")
        self.addCleanup(lone.close)
        self.assertIn("eu < nobody", self.picture([lone]))
        self.assertIn("NO RELAY?", self.picture([lone]))
        # A reader that comes back when more keys have changed than the ring holds.
        cursor = lone.call("RL.CHANGES 0")[0]
        lone.node.pipeline([["RL.FIXED", f"k:{index}", "5", "30d"] for index in range(2500)])
        lone.call(["RL.CHANGES", cursor])
        self.assertIn("RING FULL", self.picture([lone]))
        plain = Server()
        self.addCleanup(plain.close)
        self.assertNotIn("REGION", self.picture([plain]))
        # What one region has lost comes back to it by another.
        us = Server("ratelimit.region us")
        self.addCleanup(us.close)
        payload = self.one_change(lone, "k:2400")
        us.node.call("RL.MERGE", "k:2400", payload)
        lone.call("DEL k:2400")
        lone.node.call("RL.MERGE", "k:2400", self.one_change(us, "k:2400"))
        self.assertIn("ITSELF", self.picture([lone]))

    def one_change(self, server, key):
        cursor = "0"
        for _ in range(100):
            cursor, _, pairs, _ = server.call(["RL.CHANGES", cursor])
            changes = dict(zip(pairs[::2], pairs[1::2]))
            if key in changes:
                return changes[key]
        self.fail(f"{key} is in no change")

    def test_servers_that_differ_are_told_apart(self):
        one, other = Server(), Server()
        for server in (one, other):
            self.addCleanup(server.close)
            server.call("RL.DENY ADD bad 192.0.2.1")
            server.call("RL.POLICY SET login SLIDING 5 15m")
        self.assertNotIn("DIFFER", self.picture([one, other]))
        other.call("RL.POLICY SET login SLIDING 6 15m")
        other.call("RL.DENY DROP bad")
        self.assertIn("THE SERVERS DIFFER: policies, deny list bad", self.picture([one, other]))


if __name__ == "__main__":
    unittest.main()
