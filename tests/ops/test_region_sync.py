"""ratelimit region sync: one limit over servers of several regions, whatever becomes of the relays and the way between."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from .support import MODULE, ROOT, Program, Refused, Server, Trouble, eventually, free_port, get, ratelimit, run

from lab.delay import Delay  # noqa: E402, isort: skip

SLOTS = 16384


class RegionSync(unittest.TestCase):
    def region(self, name, *lines, **more):
        server = Server(f"ratelimit.region {name}", *lines, **more)
        self.addCleanup(server.close)
        return server

    def relay(self, source, *targets, environment=None):
        """`targets`: (name, port)"""
        to = [word for name, port in targets for word in ("--to", f"{name}=127.0.0.1:{port}")]
        command = ratelimit("region sync", "--from", f"127.0.0.1:{source.port}", "--every", "5ms", *to)
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

    def test_it_says_where_a_region_is_not_listed_and_goes_on_once_it_is(self):
        eu, us = self.region("eu", 'ratelimit.regions "eu ap"'), self.region("us", "ratelimit.regions us")
        eu.hits(3, "RL.FIXED k 100 30d")
        self.relay(eu, ("us", us.port))
        eventually("the target's refusal is told", lambda: "ERR ratelimit.regions does not list 'eu'" in self.said(eu))
        self.assertIn("eu takes nothing from us: its ratelimit.regions does not list it", self.said(eu))
        self.assertEqual(us.call("EXISTS k"), 0)
        us.call("CONFIG SET ratelimit.regions eu")
        self.await_used((us,), "k", 3)

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
        us.call("ACL SETUSER relay on >secret ~* +rl.merge +rl.heard")
        us.call("ACL SETUSER default >other")
        target = ("us", us.port)
        self.relay(eu, target, environment={"REGION_AUTH": "wrong"})
        eventually("it says so", lambda: "WRONGPASS" in self.said(eu))
        command = ratelimit("region sync", "--from", f"127.0.0.1:{eu.port}", "--to", f"us=127.0.0.1:{us.port}", "--user", "relay")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "REGION_AUTH": "secret"})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)

    def cluster(self, name, count):
        """Primaries that share the slots."""
        nodes = [self.region(name, "cluster-enabled yes", f"cluster-port {free_port()}") for _ in range(count)]
        edges = [SLOTS * place // count for place in range(count + 1)]
        for node, first, end in zip(nodes, edges, edges[1:]):
            node.call(f"CLUSTER ADDSLOTSRANGE {first} {end - 1}")
            bus = node.call("CONFIG GET cluster-port")["cluster-port"]
            nodes[0].call(f"CLUSTER MEET 127.0.0.1 {node.port} {bus}")
        for node in nodes:
            eventually("all slots are served", lambda node=node: "cluster_state:ok" in node.call("CLUSTER INFO"))
        return nodes

    def in_cluster(self, nodes, words):
        """Asks whom it has to ask."""
        for node in nodes:
            with contextlib.suppress(Refused):
                return node.call(words)
        raise AssertionError(f"no node takes {words}")

    def program(self, source, *words, environment=None):
        command = ratelimit("region sync", "--from", source.address, "--every", "5ms", *words)
        program = Program(command, env={**os.environ, **(environment or {})})
        self.addCleanup(program.close)
        return program

    def test_clusters_of_different_shapes(self):
        eu, us = self.cluster("eu", 2), self.cluster("us", 3)
        self.program(eu[0], "--cluster", "--to", f"us={us[0].address}")
        self.program(us[0], "--cluster", "--to", f"eu={eu[0].address}")
        keys = [f"k{number}" for number in range(50)]
        for number, key in enumerate(keys):
            self.in_cluster((eu, us)[number % 2], f"RL.FIXED {key} 100 30d COST 3")

        def is_everywhere():
            infos = [self.in_cluster(nodes, f"RL.INFO {key}") for nodes in (eu, us) for key in keys]
            return all(info and info["limits"][0]["used"] == 3 for info in infos)

        eventually("all keys are known", is_everywhere)
        for nodes, other in ((eu, "us"), (us, "eu")):
            for node in nodes:
                self.assertGreater(node.call("DBSIZE"), 0)
                eventually("each has heard", lambda node=node: node.call("RL.REGION LIST").get(other, {}).get("echo_ms_ago", -1) >= 0)

    def test_a_node_of_a_cluster_that_was_away_gets_what_it_missed(self):
        eu, us = self.cluster("eu", 1), self.cluster("us", 2)
        relay = self.program(eu[0], "--cluster", "--to", f"us={us[0].address}")
        eu[0].hits(3, "RL.FIXED k 100 30d")
        eventually("it is known", lambda: self.in_cluster(us, "RL.INFO k"))
        us[1].kill()
        eventually("it says so", lambda: "us: " in relay.output)
        for number in range(20):
            eu[0].hits(1, f"RL.FIXED later:{number} 100 30d")
        us[1].start()
        for number in range(20):
            eventually("what was missed is known", lambda: self.known_in(us, f"later:{number}"))

    def known_in(self, nodes, key):
        with contextlib.suppress(AssertionError, Trouble):
            return self.in_cluster(nodes, f"RL.INFO {key}")

    def certificates(self):
        """An authority, and two certificates that it has signed: of the server at 127.0.0.1, and of a client."""
        place = pathlib.Path(tempfile.mkdtemp(prefix="ratelimit-ops."))
        self.addCleanup(shutil.rmtree, place)

        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority", "-days", "2")
        for name in ("server", "client"):
            (place / "names").write_text("subjectAltName = IP:127.0.0.1\n")
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                    "-out", f"{name}.crt", "-days", "2", "-extfile", "names")
        return place

    def test_tls_to_a_target_that_wants_a_certificate_too(self):
        place, port = self.certificates(), free_port()
        tls = (f"tls-port {port}", f"tls-ca-cert-file {place}/ca.crt", f"tls-cert-file {place}/server.crt",
               f"tls-key-file {place}/server.key", "tls-auth-clients yes")
        eu, us = self.region("eu"), self.region("us", *tls)
        eu.hits(3, "RL.FIXED k 100 30d")
        to = ("--to", f"us=127.0.0.1:{port}", "--tls")
        for words, text in (
            (to, "certificate verify failed"),
            ((*to, "--cacert", place / "ca.crt"), "us: "),  # without a certificate of its own
        ):
            relay = self.program(eu, *words)
            eventually(f"it says {text}", lambda relay=relay, text=text: text in relay.output)
            relay.close()
        self.assertEqual(self.used(us, "k"), 0)
        own = ("--cacert", place / "ca.crt", "--cert", place / "client.crt", "--key", place / "client.key")
        self.program(eu, *to, *own)
        self.await_used((us,), "k", 3)
        # More than fits into one record of TLS.
        eu.node.pipeline([("RL.FIXED", f"many:{number}", 100, "30d") for number in range(2000)])
        eventually("all keys are there", lambda: us.call("DBSIZE") == 2001)

    def test_tls_to_the_source(self):
        place, port = self.certificates(), free_port()
        tls = (f"tls-port {port}", f"tls-ca-cert-file {place}/ca.crt", f"tls-cert-file {place}/server.crt",
               f"tls-key-file {place}/server.key", "tls-auth-clients yes")
        eu, us = self.region("eu", *tls), self.region("us")
        eu.hits(3, "RL.FIXED k 100 30d")
        words = ("--from", f"127.0.0.1:{port}", "--every", "5ms", "--to", f"us={us.address}", "--from-tls")
        stranger = Program(ratelimit("region sync", *words))
        self.addCleanup(stranger.close)
        eventually("it trusts no stranger", lambda: "certificate verify failed" in stranger.output)
        self.assertEqual(self.used(us, "k"), 0)
        own = ("--from-cacert", place / "ca.crt", "--from-cert", place / "client.crt", "--from-key", place / "client.key")
        relay = Program(ratelimit("region sync", *words, *own))
        self.addCleanup(relay.close)
        self.await_used((us,), "k", 3)

    def test_the_exporter_tells_how_old_what_is_known_is(self):
        eu, us = self.region("eu"), self.region("us")
        self.relay(eu, ("us", us.port))
        self.relay(us, ("eu", eu.port))
        eu.hits(3, "RL.FIXED k 100 30d")
        self.await_used((us,), "k", 3)
        port = free_port()
        exporter = Program(ratelimit("exporter", "-p", us.port, "--listen", f"127.0.0.1:{port}"))
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
            found, _, error = run("region sync", "--from", f"127.0.0.1:{server.port}", "--to", to)
            self.assertEqual((found, text in error), (status, True), error)

    def test_the_demonstration_shows_three_phases(self):
        command = [ROOT / "scripts/regions", "--module", MODULE, "--seconds", "2", "--window", "1", "--limit", "50"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        shown = done.stdout
        self.assertEqual(done.returncode, 0, done.stderr)
        for phase in ("all regions hear each other", "eu is cut off", "eu is back"):
            self.assertIn(phase, shown)
        self.assertEqual(shown.count("of the limit"), 3, shown)
