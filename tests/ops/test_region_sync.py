"""scripts/region-sync: one limit over servers of several regions, whatever becomes of the relays and the way between."""

import contextlib
import os
import subprocess
import unittest

from .support import MODULE, SCRIPTS, Program, Server, Trouble, eventually, free_port, get, run

from rl.delay import Delay  # noqa: E402, isort: skip


class RegionSync(unittest.TestCase):
    def region(self, name, *lines, **more):
        server = Server(f"ratelimit.region {name}", *lines, **more)
        self.addCleanup(server.close)
        return server

    def relay(self, source, *targets, environment=None):
        """`targets`: (name, port)"""
        to = [word for name, port in targets for word in ("--to", f"{name}=127.0.0.1:{port}")]
        command = [SCRIPTS / "region-sync", "--from", f"127.0.0.1:{source.port}", "--every", "5ms", *to]
        log = open(source.dir / "relay", "ab")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
        )

        def end():
            process.kill()
            process.wait()

        self.addCleanup(end)
        return process

    def used(self, server, key):
        with contextlib.suppress(Trouble):
            info = server.call(f"RL.INFO {key}")
            return info["limits"][0]["used"] if info else 0

    def await_used(self, servers, key, used):
        for server in servers:
            eventually(f"{key} has {used} used", lambda server=server: self.used(server, key) == used)

    def said(self, source):
        return (source.dir / "relay").read_text()

    def test_what_is_used_in_one_region_counts_in_the_others(self):
        eu, us, ap = (self.region(name) for name in ("eu", "us", "ap"))
        for own, others in ((eu, (("us", us), ("ap", ap))), (us, (("eu", eu), ("ap", ap))), (ap, (("eu", eu), ("us", us)))):
            self.relay(own, *((name, other.port) for name, other in others))
        for server, algorithm in ((eu, "FIXED k 100 30d"), (us, "SLIDING l 100 30d"), (ap, "BUCKET b 100 1 30d")):
            server.hits(7, f"RL.{algorithm}")
        for key in ("k", "l", "b"):
            self.await_used((eu, us, ap), key, 7)
        us.hits(5, "RL.FIXED k 100 30d")
        self.await_used((eu, us, ap), "k", 12)

    def test_it_may_be_killed_and_run_twice(self):
        eu, us = self.region("eu"), self.region("us")
        relay = self.relay(eu, ("us", us.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        relay.kill()
        relay.wait()
        eu.hits(4, "RL.FIXED k 100 30d")
        for _ in range(2):
            self.relay(eu, ("us", us.port))
        self.await_used((us,), "k", 7)

    def test_a_region_that_was_away_gets_what_it_missed(self):
        eu, us = self.region("eu"), self.region("us")
        self.relay(eu, ("us", us.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        us.kill()
        eu.hits(4, "RL.FIXED k 100 30d")
        eventually("it says so", lambda: "us: " in self.said(eu))
        us.start()
        self.await_used((us,), "k", 7)

    def test_the_source_may_start_anew(self):
        eu = self.region("eu", "appendonly yes", "appendfsync always")
        us = self.region("us")
        self.relay(eu, ("us", us.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        eu.kill()
        eu.start()
        eu.hits(2, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 5)

    def test_a_way_that_is_cut_and_joined_again(self):
        eu, us = self.region("eu"), self.region("us")
        delay = Delay(us.port, 0.02)
        self.addCleanup(delay.close)
        self.relay(eu, ("us", delay.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        delay.cut()
        eu.hits(4, "RL.FIXED k 100 30d")
        eventually("it says so", lambda: "us: " in self.said(eu))
        self.assertEqual(self.used(us, "k"), 3)
        delay.join()
        self.await_used((us,), "k", 7)

    def test_a_key_of_another_kind_over_there_holds_up_no_other(self):
        eu, us = self.region("eu"), self.region("us")
        us.call("SET k x")
        eu.hits(3, "RL.FIXED k 100 30d")
        eu.hits(3, "RL.FIXED other 100 30d")
        self.relay(eu, ("us", us.port))
        self.await_used((us,), "other", 3)
        self.assertEqual(us.call("GET k"), "x")

    def test_the_targets_user_needs_two_commands(self):
        eu, us = self.region("eu"), self.region("us")
        us.call("ACL SETUSER relay on >secret ~* +ping +rl.merge +rl.heard")
        us.call("ACL SETUSER default >other")
        target = ("us", us.port)
        self.relay(eu, target, environment={"REGION_AUTH": "wrong"})
        eventually("it says so", lambda: "WRONGPASS" in self.said(eu))
        command = [SCRIPTS / "region-sync", "--from", f"127.0.0.1:{eu.port}", "--to", f"us=127.0.0.1:{us.port}", "--user", "relay"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "REGION_AUTH": "secret"})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)

    def test_the_exporter_tells_how_old_what_is_known_is(self):
        eu, us = self.region("eu"), self.region("us")
        self.relay(eu, ("us", us.port))
        self.relay(us, ("eu", eu.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        port = free_port()
        exporter = Program([SCRIPTS / "exporter", "-p", us.port, "--listen", f"127.0.0.1:{port}"])
        self.addCleanup(exporter.close)
        url = f"http://127.0.0.1:{port}/metrics"
        exporter.await_url(url)
        told = f'{{region="eu",server="127.0.0.1:{us.port}"}} '
        eventually("eu has acknowledged", lambda: "ratelimit_region_echo_seconds" + told in get(url))
        lines = dict(line.rsplit(" ", 1) for line in get(url).splitlines() if not line.startswith("#"))
        value = {name.partition("{")[0]: float(text) for name, text in lines.items() if f"{name} ".endswith(told)}
        self.assertEqual((value["ratelimit_region_news_total"], value["ratelimit_region_refused_total"]), (1, 0))
        self.assertGreaterEqual(value["ratelimit_region_heard_seconds"], 0)
        self.assertIn(f'ratelimit_region_info{{region="us",server="127.0.0.1:{us.port}"}} 1.0', get(url))

    def test_what_cannot_work_is_said_at_once(self):
        eu = self.region("eu")
        plain = Server()
        self.addCleanup(plain.close)
        without = Server(module=None)
        self.addCleanup(without.close)
        for server, to, status, text in (
            (plain, "us=127.0.0.1:1", 1, "no region is set"),
            (without, "us=127.0.0.1:1", 1, "rate limiting module"),
            (eu, "eu=127.0.0.1:1", 1, "of that region itself"),
            (eu, "us", 2, "is not REGION=HOST:PORT"),
            (eu, "Us=127.0.0.1:1", 2, "is not REGION=HOST:PORT"),
            (eu, "us=127.0.0.1:0", 2, "is not a port"),
        ):
            found, _, error = run("region-sync", "--from", f"127.0.0.1:{server.port}", "--to", to)
            self.assertEqual((found, text in error), (status, True), error)

    def test_the_demonstration_shows_three_phases(self):
        status, shown, error = run("regions", "--module", MODULE, "--seconds", 2, "--window", 1, "--limit", 50)
        self.assertEqual(status, 0, error)
        for phase in ("all regions hear each other", "eu is cut off", "eu is back"):
            self.assertIn(phase, shown)
        self.assertEqual(shown.count("of the limit"), 3, shown)
