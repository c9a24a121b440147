"""The drills of ops/README.md and ops/backup.md, run from its own lines on real servers.

A block marked `console` has commands (`machine$ command`) and, below each, all the lines that it prints. Behind three spaces
is a comment; one that begins with `varies` lets the line's last number be another, `about` one that a minute makes. Each machine is a server with a place of
its own for the page's paths and addresses, and the words that only a whole machine knows (`systemctl`, `date -s`) are the test's.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import unittest

from .support import MODULE, ROOT, SHIPPED, Clock, Refused, Server, Trouble, eventually, free_port

PAGE = "".join((SHIPPED / page).read_text() for page in ("README.md", "backup.md"))
FAILED = "Job for redis-server.service failed because the control process exited with error code.\n"
# What a terminal's user sees of redis-cli is --no-raw's; what a pipe reads is not.
SHELL = r"""
redis-cli() { if [ -p /dev/fd/1 ]; then command redis-cli -p "$PORT" "$@"; else command redis-cli --no-raw -p "$PORT" "$@"; fi; }
sleep() { command sleep 0.02; }
"""
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
NEAR_MS = 60_000


def drills():
    """{heading: [(machine, command, the lines it must print)]}"""
    found, heading, inside = {}, None, False
    for line in PAGE.splitlines():
        if line.startswith("```"):
            inside = line == "```console"
        elif line.startswith("## "):
            heading = line.removeprefix("## ")
        elif inside and (match := re.fullmatch(r"([a-z0-9]+)\$ (.+)", line)):
            found.setdefault(heading, []).append((match[1], match[2], []))
        elif inside:
            found[heading][-1][2].append(line)
    return found


def agree(said, seen):
    text, _, comment = said.partition("   ")
    comment = comment.lstrip()
    if comment.startswith(("about", "varies")):
        (before, number), (seen_before, seen_number) = split(text), split(seen)
        is_near = number is not None and seen_number is not None and abs(number - seen_number) <= NEAR_MS
        return before == seen_before and (is_near or comment.startswith("varies"))
    return seen in (said, text)


def split(line):
    """A line without its last number, and that."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", line)
    return (match[1] + match[3], int(match[2])) if match else (line, None)


class Machine:
    """A server, and where the page's names are in truth."""

    def __init__(self, name, directory, machines, *lines, with_module=True, clock=None):
        self.name, self.machines = name, machines
        self.root = directory / name
        for place in ("opt", "etc", "root"):
            (self.root / place).mkdir(parents=True)
        for place in ("opt", "root"):
            shutil.copy(MODULE, self.root / place / "libratelimit.so")
        (self.root / "opt/ops").symlink_to(SHIPPED)
        load = [f"loadmodule {self.root}/opt/libratelimit.so"] if with_module else []
        self.server = Server(*load, "enable-debug-command yes", *lines, module=None, environment=clock and clock.environment)
        self.clock = clock
        machines[name] = self

    @property
    def places(self):
        own = {
            "/etc/redis/redis.conf": self.server.dir / "redis.conf",
            "/var/log/redis/redis-server.log": self.server.dir / "log",
            "/var/lib/redis": self.server.dir,
            "/opt/ratelimit": self.root / "opt",
            "/etc/ratelimit": self.root / "etc",
            "/root": self.root / "root",
        }
        for name, machine in self.machines.items():
            own |= {f"{name}:6379": machine.server.address, f"{name} 6379": machine.server.address.replace(":", " ")}
        return own

    def run(self, command):
        """What it prints, with the page's names."""
        if match := re.fullmatch(r"systemctl (start|restart) redis-server", command):
            return self.systemctl(match[1])
        if match := re.fullmatch(r"date -s '([+-][0-9]+) hours'", command):
            self.clock.set(self.clock.now_ms + int(match[1]) * 3_600_000)
            return ""
        for name, place in self.places.items():
            command = re.sub(rf"(?<![\w./]){re.escape(name)}", str(place), command)
        with tempfile.TemporaryFile() as output:
            subprocess.run(
                ["bash", "-c", SHELL + command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PORT": str(self.server.port), "no_proxy": "127.0.0.1"},
                timeout=120,
            )
            output.seek(0)
            printed = output.read().decode()
        for name, place in sorted(self.places.items(), key=lambda both: -len(str(both[1]))):  # a file before its directory
            printed = printed.replace(str(place), name.replace("server:6379", "127.0.0.1:6379"))
        return printed

    def systemctl(self, verb):
        if verb == "restart":
            self.server.process.terminate()
        self.server.process.wait()
        self.server.node.close()
        try:
            self.server.start()
        except AssertionError:
            return FAILED
        return ""


def is_redis_7_0():
    command = shlex.split(os.environ.get("RATELIMIT_SERVER", "redis-server"))
    return " v=7.0." in subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout


@unittest.skipUnless(is_redis_7_0(), "the page says what Redis 7.0 answers")
class Drills(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ratelimit-drill."))
        self.addCleanup(shutil.rmtree, self.dir)
        self.machines = {}

    def machine(self, name, *lines, **more):
        machine = Machine(name, self.dir, self.machines, *lines, **more)
        self.addCleanup(machine.server.close)
        return machine

    def replica_of(self, name, primary, *lines, **more):
        replica = self.machine(name, f"replicaof 127.0.0.1 {primary.server.port}", "repl-diskless-sync-delay 0", *lines, **more)
        self.await_in_sync(replica)
        # The primary has still to reap the child that wrote the snapshot, and refuses a SAVE until then.
        info = primary.server.call
        eventually("the snapshot is over", lambda: "rdb_bgsave_in_progress:0" in info("INFO persistence"))
        return replica

    def await_in_sync(self, replica):
        eventually("it is in sync", lambda: "master_link_status:up" in replica.server.call("INFO replication"))

    def drill(self, heading, of=None):
        """Runs a section's commands, those `of` some machines if it says so; each must print what the page says."""
        steps = [step for step in drills()[heading] if of is None or step[0] in of]
        self.assertTrue(steps, heading)
        for machine, command, said in steps:
            seen = self.machines[machine].run(command).splitlines()
            told = [line.replace("VERSION", VERSION) for line in said]
            if len(told) != len(seen) or not all(map(agree, told, seen)):
                self.fail(f"{machine}$ {command}\nthe page says:\n" + "\n".join(told) + "\nseen:\n" + "\n".join(seen))

    def test_every_drill_of_the_page_is_run(self):
        tested = re.findall(r'self\.drill\("([^"]+)"', pathlib.Path(__file__).read_text())
        self.assertEqual(set(tested), set(drills()))

    def test_a_rollout(self):
        primary = self.machine("primary", with_module=False)
        self.replica_of("replica", primary, with_module=False)
        self.drill("A rollout: replicas first", of=("primary", "replica"))

    def test_a_rollout_that_began_with_the_primary(self):
        first = self.machine("first", "enable-module-command yes", with_module=False)
        bare = self.replica_of("bare", first, with_module=False)
        first.server.call(f"MODULE LOAD {MODULE}")
        first.server.call("RL.SLIDING login:alice 5 1d")
        eventually("it has said so", lambda: b"rl.apply" in (bare.server.dir / "log").read_bytes())
        self.drill("A rollout: replicas first", of=("bare",))

    def test_an_upgrade(self):
        primary = self.machine("primary", 'save "3600 1"')
        self.replica_of("replica", primary)
        primary.server.hits(1, "RL.SLIDING login:alice 5 1d")
        self.drill("An upgrade")

    def test_a_downgrade(self):
        server = self.machine("server", 'save "3600 1000000"')
        server.server.hits(1, "RL.SLIDING login:alice 5 1d")
        server.server.call("SAVE")
        dump, before = server.server.dir / "dump.rdb", server.server.dir / "before-upgrade.rdb"
        shutil.copy(dump, before)
        server.server.hits(2, "RL.SLIDING login:alice 5 1d")
        server.server.call("SAVE")
        server.server.kill()
        # What a module with the next encoding leaves: the type's version is the last ten bits of its name in the file.
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        name = 0
        for letter in "ratelimit":
            name = name << 6 | letters.index(letter)
        own, newer = ((name << 10 | version).to_bytes(8, "big") for version in (1, 2))
        data = dump.read_bytes()
        self.assertGreaterEqual(data.count(own), 2, "a key and what is the node's")
        dump.write_bytes(data.replace(own, newer)[:-8] + bytes(8))  # without a checksum
        self.drill("A downgrade")

    def used(self, server):
        """Three hits, and their statistics are where a restart finds them."""
        server.call("RL.POLICY SET login SLIDING 5 1d")
        server.hits(3, "RL.SLIDING login:alice 5 1d POLICY login")

    def test_a_backup_as_an_rdb_file(self):
        self.used(self.machine("server", 'save "3600 1000000"').server)
        self.drill("From an RDB file")

    def test_a_backup_as_an_aof(self):
        server = self.machine("aof", "appendonly yes", "appendfsync always").server
        self.used(server)
        log = server.dir / "appendonlydir/appendonly.aof.1.incr.aof"
        eventually("a record of statistics was written", lambda: b"rl.node" in log.read_bytes().lower().rpartition(b"rl.apply")[2])
        self.drill("From an AOF")

    def test_what_every_rdb_file_keeps(self):
        self.machine("server", 'save "3600 1"').server.call("SET greeting hello")
        self.drill("What Redis 7.0 keeps in every RDB file")

    def test_removal(self):
        server = self.machine("server", 'save "3600 1"').server
        server.call("SET greeting hello")
        server.call("RL.POLICY SET login SLIDING 5 15m")
        server.call("RL.DENY ADD bad 192.0.2.1")
        server.call("RL.SLIDING login:alice 5 15m POLICY login")
        self.drill("Removal")

    def fill(self, server, done):
        """Writes until it is."""
        for index in range(100_000):
            if done():
                return
            with contextlib.suppress(Refused):
                for reply in server.node.pipeline([["SET", f"cache:{index}:{part}", "x" * 10_000] for part in range(20)]):
                    if isinstance(reply, Refused):
                        raise reply
        self.fail("it never was full")

    def test_a_full_server(self):
        server = self.machine("server", "maxmemory 8mb", "maxmemory-policy noeviction").server
        server.call("RL.SLIDING login:alice 5 1d")
        self.fill(server, lambda: "errorstat_OOM" in server.call("INFO errorstats"))
        self.drill("A full server")

    def test_eviction(self):
        server = self.machine("server", "maxmemory 8mb", "maxmemory-policy allkeys-lru", "maxmemory-samples 64").server
        server.hits(5, "RL.SLIDING login:alice 5 15m")
        self.fill(server, lambda: not server.call("EXISTS login:alice"))
        self.drill("Eviction")

    def test_a_damaged_aof(self):
        machine = self.machine("server", "appendonly yes", "appendfsync always")
        server = machine.server
        server.hits(3, "RL.SLIDING login:alice 5 1d")
        path = server.dir / "appendonlydir/appendonly.aof.1.incr.aof"
        whole = path.stat().st_size
        server.hits(2, "RL.SLIDING login:alice 5 1d")
        server.kill()
        with open(path, "r+b") as file:
            file.seek(whole)
            file.write(b"#")
        (machine.root / "etc/policies.toml").write_text('[policies]\nlogin = "sliding 5 15m"\n')
        self.drill("A damaged AOF")

    def test_a_node_joins_a_cluster(self):
        for name in ("node1", "node2", "node3"):
            self.machine(name, "cluster-enabled yes", f"cluster-port {free_port()}", "cluster-node-timeout 60000")
        one, two = (self.machines[name] for name in ("node1", "node2"))
        one.server.call("CLUSTER ADDSLOTSRANGE 0 16000")
        two.server.call("CLUSTER ADDSLOTSRANGE 16001 16383")
        bus = two.server.call("CONFIG GET cluster-port")["cluster-port"]
        one.server.call(f"CLUSTER MEET 127.0.0.1 {two.server.port} {bus}")
        for node in (one, two):
            eventually("it serves", lambda node=node: "cluster_state:ok" in node.server.call("CLUSTER INFO"))
            eventually("they know each other", lambda node=node: "known_nodes:2" in node.server.call("CLUSTER INFO"))
        (one.root / "etc/policies.toml").write_text('[policies]\nlogin = "sliding 5 15m"\napi = "fixed 1000 1m"\n')
        one.run("/opt/ratelimit/ops/ratelimit policy sync --server node1:6379 --server node2:6379 /etc/ratelimit/policies.toml")
        one.server.call("RL.POLICY SET api FIXED 5000 1m TTL 1h")
        one.server.call("RL.DENY ADD bad 192.0.2.0/24 203.0.113.9")
        one.server.call("RL.DENY ADD attack 198.51.100.0/24 TTL 1h")
        self.drill("A node joins a cluster")

    def test_a_clock_that_jumps(self):
        self.machine("server", clock=Clock(self.dir))
        self.drill("A clock that jumps")

    def test_one_customers_limit(self):
        self.machine("server").server.hits(3, "RL.SLIDING api:acme 3 1d POLICY api:acme POLICY api")
        self.drill("One customer's limit")

    def test_a_range_for_an_hour(self):
        server = self.machine("server").server
        server.hits(25, "RL.SLIDING login:203.0.113.77 5 15m POLICY login DENY bad 203.0.113.77")
        self.drill("A range, for an hour")


if __name__ == "__main__":
    unittest.main()
