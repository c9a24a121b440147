"""ratelimit exporter and ops/prometheus, with a real Prometheus that scrapes real servers under traffic."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

from prometheus_client.parser import text_string_to_metric_families

from .support import OPS, ROOT, SHIPPED, Program, Server, eventually, free_port, get, get_at_once, ratelimit, run

PROMETHEUS = OPS / "debs/usr/bin"
RULES = SHIPPED / "prometheus/rules.yml"


def metrics(url):
    """{(name, labels): value}, of a look at the servers that began after this was called."""
    called = time.time()

    def fresh():
        found = scrape(url)
        return min(value for (name, *_), value in found.items() if name == "ratelimit_collected_timestamp_seconds") >= called and found

    return eventually("a fresh look", fresh)


def scrape(url):
    families = text_string_to_metric_families(get(url))
    samples = itertools.chain.from_iterable(family.samples for family in families)
    found = {}
    for sample in samples:
        key = (sample.name, *sorted(sample.labels.items()))
        assert key not in found, f"twice: {key}"
        found[key] = sample.value
    return found


class Exporter(unittest.TestCase):
    def exporter(self, *arguments):
        port = free_port()
        program = Program(ratelimit("exporter", "--listen", f"127.0.0.1:{port}", *arguments))
        self.addCleanup(program.close)
        url = f"http://127.0.0.1:{port}/metrics"
        program.await_url(url)
        return url, program

    def server(self, *lines, **more):
        server = Server(*lines, **more)
        self.addCleanup(server.close)
        return server

    def get(self, url, name, **labels):
        """The one sample with these labels among others; None where there is none."""
        wanted = set(labels.items())
        found = [value for (have, *rest), value in metrics(url).items() if have == name and wanted <= set(rest)]
        self.assertLessEqual(len(found), 1, (name, labels))
        return found[0] if found else None

    def test_hits_are_told_by_policy_algorithm_and_outcome(self):
        server = self.server()
        server.call("RL.POLICY SET login SLIDING 5 15m")
        server.hits(7, "RL.SLIDING user:1 9 1h POLICY login")
        server.hits(3, "RL.FIXED user:2 2 1d POLICY made-up")
        server.hits(2, "RL.BUCKET user:3 9 1 1h")
        url, _ = self.exporter("-p", server.port)
        hits = "ratelimit_hits_total"
        for labels, count in [
            ({"policy": "login", "algorithm": "sliding", "outcome": "allowed"}, 5),
            ({"policy": "login", "algorithm": "sliding", "outcome": "denied"}, 2),
            ({"policy": "login", "algorithm": "sliding", "outcome": "deny_listed"}, 0),
            ({"policy": "made-up", "algorithm": "", "outcome": "allowed"}, 2),
            ({"policy": "made-up", "algorithm": "", "outcome": "denied"}, 1),
        ]:
            self.assertEqual(self.get(url, hits, server=server.address, **labels), count, labels)
        self.assertEqual(self.get(url, "ratelimit_unnamed_hits_total", outcome="allowed"), 2)
        by_algorithm = "ratelimit_algorithm_hits_total"
        self.assertEqual(self.get(url, by_algorithm, algorithm="bucket", outcome="allowed"), 2)
        self.assertEqual(self.get(url, by_algorithm, algorithm="sliding", outcome="denied"), 2)
        server.hits(4, "RL.SLIDING user:1 9 1h POLICY login")
        server.hits(2, "RL.SLIDING user:4 9 1h POLICY login POLICY everybody")
        self.assertEqual(self.get(url, hits, policy="login", outcome="denied"), 6, "the next scrape asks anew")
        self.assertEqual(self.get(url, hits, policy="login", outcome="allowed"), 7, "in force")
        self.assertEqual(self.get(url, hits, policy="everybody", outcome="allowed"), 2, "the last name")
        self.assertEqual(self.get(url, by_algorithm, algorithm="sliding", outcome="allowed"), 7, "each hit once")
        self.assertEqual(self.get(url, "ratelimit_unnamed_hits_total", outcome="allowed"), 2)
        self.assertIn("# TYPE ratelimit_hits_total counter", get(url))
        self.assertEqual(self.get(url, "ratelimit_policies"), 1)
        self.assertGreater(self.get(url, "ratelimit_memory_bytes"), 0)

    def test_errors_lists_and_syncs_are_told(self):
        server = self.server()
        server.call("RL.DENY ADD other mallory")
        source = server.dir / "list"
        source.write_text("192.0.2.1\n192.0.2.2\n")
        before = int(time.time())
        status, _, said = run("deny sync", "-p", server.port, "bad", source)
        self.assertEqual(status, 0, said)
        server.call("SET text x")
        with self.assertRaises(Exception):
            server.call("RL.FIXED text 1 1h")
        url, _ = self.exporter("-p", server.port)
        self.assertEqual(self.get(url, "ratelimit_deny_list_entries", list="bad"), 2)
        self.assertEqual(self.get(url, "ratelimit_deny_list_entries", list="other"), 1)
        self.assertIsNone(self.get(url, "ratelimit_deny_list_entries", list="bad.synced"))
        self.assertGreaterEqual(self.get(url, "ratelimit_deny_list_changed_timestamp_seconds", list="bad"), before)
        self.assertEqual(self.get(url, "ratelimit_deny_sync_entries", list="bad"), 2)
        at = self.get(url, "ratelimit_deny_sync_timestamp_seconds", list="bad")
        self.assertTrue(before <= at <= time.time(), at)
        self.assertEqual(self.get(url, "ratelimit_command_failed_total", command="rl.fixed"), 1)
        self.assertEqual(self.get(url, "ratelimit_replica"), 0)

    def test_fingerprints_tell_servers_apart(self):
        servers = [self.server(), self.server()]
        for server in servers:
            server.call("RL.POLICY SET login SLIDING 5 15m")
            server.call("RL.DENY ADD bad 192.0.2.1")
        url, _ = self.exporter(*itertools.chain.from_iterable(("--server", server.address) for server in servers))

        def fingerprints(name):
            return {dict(rest)["fingerprint"] for have, *rest in metrics(url) if have == name}

        names = "ratelimit_policies_fingerprint", "ratelimit_deny_list_fingerprint"
        for name in names:
            self.assertEqual(len(fingerprints(name)), 1, name)
        servers[0].call("RL.POLICY SET login SLIDING 6 15m")
        servers[0].call("RL.DENY ADD bad 192.0.2.2")
        for name in names:
            self.assertEqual(len(fingerprints(name)), 2, name)

    def test_one_server_that_is_gone_does_not_hide_the_others(self):
        server, other = self.server(), self.server()
        url, program = self.exporter("--server", server.address, "--server", other.address)
        other.kill()
        self.assertEqual(self.get(url, "ratelimit_up", server=server.address), 1)
        self.assertEqual(self.get(url, "ratelimit_up", server=other.address), 0)
        self.assertIsNone(self.get(url, "ratelimit_policies", server=other.address))
        self.assertIn(f"{other.address}: Connection refused", program.output)
        other.start()
        self.assertEqual(self.get(url, "ratelimit_up", server=other.address), 1)
        bare = self.server(module=None)
        url, program = self.exporter("-p", bare.port)
        self.assertEqual(self.get(url, "ratelimit_up"), 0)
        self.assertIn("no rate limiting module", program.output)

    def test_names_of_any_bytes_are_labels_and_stay_bounded(self):
        server = self.server()
        names = ['"', "\\", "\n", "a\\x0a", "\x1b[2J", b"\xff", "\xff", "<b>", "{}", "x" * 128, "'", "\u2028", "other"]
        for name in names:
            server.node.call("RL.FIXED", "k", "1", "1h", "POLICY", name if isinstance(name, str) else "\udcff")
        server.call("RL.POLICY SET zebra FIXED 5 1h")
        server.hits(1, "RL.FIXED z 5 1h POLICY zebra")
        url, _ = self.exporter("-p", server.port)
        labels = {dict(rest)["policy"] for have, *rest in metrics(url) if have == "ratelimit_hits_total"}
        self.assertEqual(len(labels), len(names) + 1)
        url, _ = self.exporter("-p", server.port, "--max-names", 3)
        labels = {dict(rest)["policy"] for have, *rest in metrics(url) if have == "ratelimit_hits_total"}
        self.assertEqual(len(labels), 3)
        self.assertIn("zebra", labels, "policies go first")
        self.assertEqual(self.get(url, "ratelimit_names_left_out"), len(names) + 1 - 3)
        # Whoever has a series keeps it, also when a policy comes later.
        server.call("RL.POLICY SET yak FIXED 5 1h")
        server.hits(1, "RL.FIXED y 5 1h POLICY yak")
        again = {dict(rest)["policy"] for have, *rest in metrics(url) if have == "ratelimit_hits_total"}
        self.assertEqual(again, labels)

    def test_scrapes_at_once_share_one_look_and_series_are_bounded(self):
        server = self.server("ratelimit.policies 10000", "ratelimit.deny-lists 10000")
        count = 3000
        server.node.pipeline([["RL.POLICY", "SET", f"policy:{n}", "SLIDING", "5", "15m"] for n in range(count)])
        server.node.pipeline([["RL.SLIDING", "k", "5", "15m", "POLICY", f"policy:{n}"] for n in range(count)])
        server.node.pipeline([["RL.DENY", "ADD", f"list:{n}", "192.0.2.1"] for n in range(count)])
        url, _ = self.exporter("-p", server.port)
        found = metrics(url)
        for name, most in (("ratelimit_hits_total", 3 * 1000), ("ratelimit_deny_list_entries", 1000)):
            self.assertEqual(sum(1 for have, *_ in found if have == name), most, name)
        self.assertEqual(self.get(url, "ratelimit_deny_lists_left_out"), count - 1000)

        def looks():
            lines = server.call("INFO commandstats").lower().splitlines()
            return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines if line.startswith("cmdstat_rl.policy|list"))

        before = looks()
        get_at_once(url, 20)
        self.assertLess(looks() - before, 15)

    def test_wrong_usage_is_said(self):
        for arguments in (["--listen", "nowhere"], ["--max-names", "-1"], ["-p", "x"], ["--insecure"], ["--tls", "--cacert", "/no"]):
            status, _, said = run("exporter", *arguments)
            self.assertEqual(status, 2, said)
        server = self.server()
        status, _, said = run("exporter", "--listen", server.address)
        self.assertEqual(status, 1)
        self.assertIn("Address already in use", said)


class Traffic(threading.Thread):
    """Hits of every kind, some of them errors, until it is told to stop."""

    def __init__(self, server):
        super().__init__()
        self.node, self.is_over = server.connect(), threading.Event()

    def run(self):
        while not self.is_over.wait(0.05):
            self.node.pipeline(
                [
                    "RL.SLIDING user:1 3 1h POLICY login".split(),
                    "RL.FIXED user:2 1000000 1h POLICY api".split(),
                    "RL.BUCKET user:3 1000000 1 1h DENY bad 192.0.2.1".split(),
                    "RL.BUCKET text 5 1 1h".split(),
                    ["RL.FIXED", f"user:{time.time_ns()}", "5", "1h"],
                ]
            )

    def stop(self):
        self.is_over.set()
        self.join()
        self.node.close()


class Prometheus(unittest.TestCase):
    """Debian's Prometheus, servers of two regions that hear each other, and the exporter between them."""

    @classmethod
    def setUpClass(cls):
        if not (PROMETHEUS / "prometheus").exists():
            raise unittest.SkipTest("Debian's Prometheus cannot be had")
        cls.server = Server("maxmemory 1gb", "maxmemory-policy allkeys-lru")
        cls.addClassCleanup(cls.server.close)
        server = cls.server
        server.call("RL.POLICY SET login SLIDING 3 1h")
        server.call("SET text x")
        server.call("CONFIG SET ratelimit.region eu")
        cls.other = Server("ratelimit.region us")
        cls.addClassCleanup(cls.other.close)
        for here, there in ((server, f"us={cls.other.address}"), (cls.other, f"eu={server.address}")):
            relay = Program(ratelimit("region sync", "--from", here.address, "--to", there))
            cls.addClassCleanup(relay.close)
        cls.replica = Server(f"replicaof 127.0.0.1 {server.port}", "repl-diskless-sync-delay 0")
        cls.addClassCleanup(cls.replica.close)
        source = server.dir / "list"
        source.write_text("192.0.2.1\n")
        status, _, said = run("deny sync", "-p", server.port, "bad", source)
        assert status == 0, said
        cls.alone = Server()  # of no region: a shadow does not go with one
        cls.addClassCleanup(cls.alone.close)
        cls.alone.call("RL.POLICY SHADOW api FIXED 1 1h")
        for each in (server, cls.alone):
            traffic = Traffic(each)
            traffic.start()
            cls.addClassCleanup(traffic.stop)
        exporter_port, application_port, port = free_port(), free_port(), free_port()
        application = Program(
            [sys.executable, ROOT / "tests/ops/application.py", server.port, free_port(), application_port],
            env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python")},
        )
        cls.addClassCleanup(application.close)
        application.await_url(f"http://127.0.0.1:{application_port}/metrics")
        named = itertools.chain.from_iterable(("--server", each.address) for each in (server, cls.other, cls.replica, cls.alone))
        exporter = Program(ratelimit("exporter", *named, "--listen", f"127.0.0.1:{exporter_port}"))
        cls.addClassCleanup(exporter.close)
        exporter.await_url(f"http://127.0.0.1:{exporter_port}/metrics")
        config = (SHIPPED / "prometheus/prometheus.yml").read_text()
        config = config.replace("15s", "1s").replace("127.0.0.1:9878", f"127.0.0.1:{exporter_port}")
        config += f"  - job_name: shop\n    static_configs:\n      - targets: ['127.0.0.1:{application_port}']\n"
        (server.dir / "prometheus.yml").write_text(config.replace("rules.yml", str(RULES)))
        cls.url = f"http://127.0.0.1:{port}"
        prometheus = Program(
            [
                PROMETHEUS / "prometheus",
                f"--config.file={server.dir}/prometheus.yml",
                f"--storage.tsdb.path={server.dir}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ]
        )
        cls.addClassCleanup(prometheus.close)
        prometheus.await_url(f"{cls.url}/-/ready")

        # What us knows of eu comes back to an eu that has lost it, as after a failover.
        eventually("us knows", lambda: cls.other.call("EXISTS user:2"))
        cursor, _, pairs, _ = cls.other.call("RL.CHANGES 0 COUNT 100000")
        payload = dict(zip(pairs[::2], pairs[1::2]))["user:2"]

        def lost():
            server.call("DEL user:2")
            server.node.call("RL.MERGE", "user:2", payload)
            told = json.loads(get(f"{cls.url}/api/v1/query?query=ratelimit_region_news_total"))["data"]["result"]
            return any(one["metric"]["region"] == "eu" and one["metric"]["server"] == server.address for one in told)

        eventually("eu is told of itself", lost)

    def query(self, expression):
        answer = json.loads(get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        self.assertEqual(answer["status"], "success", expression)
        return answer["data"]["result"]

    def assert_data(self, what, expression):
        eventually(f"{what} has data: {expression}", lambda: self.query(expression))

    def test_every_rule_reads_data(self):
        rules = json.loads(get(f"{self.url}/api/v1/rules"))["data"]["groups"][0]["rules"]
        self.assertEqual(len(rules), RULES.read_text().count("- alert:"))
        for name, text in re.findall(r"- alert: (\w+)\n\s+expr: \|\n((?: {10}.*\n)+)", RULES.read_text()):
            *expression, threshold = text.strip().splitlines()
            self.assertRegex(threshold.strip(), r"^[<>] [0-9. *]+$", name)
            self.assert_data(name, "\n".join(expression))
        for rule in rules:
            self.assertNotEqual(rule["health"], "err", rule)

    def test_every_panel_of_the_dashboard_shows_data(self):
        dashboard = json.loads((SHIPPED / "prometheus/dashboard.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in (("$job", ".*"), ("$server", ".*"), ("$__rate_interval", "1m")):
                    expression = expression.replace(variable, value)
                self.assertNotIn("$", expression)
                self.assert_data(panel["title"], expression)

    def test_the_rules_fire_when_they_should(self):
        promtool = subprocess.run(
            [PROMETHEUS / "promtool", "test", "rules", SHIPPED / "prometheus/rules.test.yml"], capture_output=True, text=True
        )
        self.assertEqual(promtool.returncode, 0, promtool.stdout + promtool.stderr)
        tested = set(re.findall(r"alertname: (\w+)", (SHIPPED / "prometheus/rules.test.yml").read_text()))
        self.assertEqual(tested, set(re.findall(r"- alert: (\w+)", RULES.read_text())), "each has a test")

    def test_redis_exporter_tells_them_by_a_script(self):
        port = free_port()
        program = Program(
            [
                PROMETHEUS / "prometheus-redis-exporter",
                f"-redis.addr=redis://{self.server.address}",
                f"-web.listen-address=127.0.0.1:{port}",
                f"-script={SHIPPED}/prometheus/redis_exporter.lua",
            ]
        )
        self.addCleanup(program.close)
        url = f"http://127.0.0.1:{port}/metrics"
        program.await_url(url)

        def told():
            samples = scrape(url)
            return {dict(rest).get("key"): value for (have, *rest), value in samples.items() if have == "redis_script_values"}

        eventually("hits are told", lambda: told().get("policy:login:denied", 0) > 0)
        found = told()
        for key in ("allowed", "denied", "deny_listed", "sliding:denied", "fixed:allowed", "policy:api:allowed", "policies"):
            self.assertGreater(found[key], 0, key)
        self.assertEqual(found["list:bad"], 1)
        self.assertFalse([key for key in found if "fingerprint" in key])


if __name__ == "__main__":
    unittest.main()
