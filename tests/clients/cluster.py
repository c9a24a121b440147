"""Calls over several keys through a cluster client, while their slot moves and its primary dies: one scenario for all languages.

    cluster.py CLIENT COMMAND [ARGUMENT ...]

COMMAND is a loop in some language. It reads a call a line, {"key": ..., "words": [...]}, sends it through its cluster client as
a user of that client would, and writes {"reply": ...} or {"error": ...}; the key is the first of the call's keys. What is sent,
when slots move and what must come of it stands here. The cluster is the one that scripts/test-clients started: three primaries,
each with a replica.
"""

import binascii
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ops"))
from ratelimit_ops.servers.connection import Access, Address, Connection, Refused, Trouble  # noqa: E402

DEADLINE_S = 60  # only reached when something is broken
REQUESTS, TOKENS, JOBS = 1000, 100_000, 500
TOKENS_EACH = 7


def eventually(what, condition):
    """What the condition answers, once it is true of it."""
    end = time.monotonic() + DEADLINE_S
    while not (seen := condition()):
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)
    return seen


def slot(key):
    tag = re.search(r"\{(.+?)\}", key)
    return binascii.crc_hqx((tag[1] if tag else key).encode(), 0) % 16384


class Node:
    def __init__(self, port):
        self.port = port
        self.connection = Connection(Address("127.0.0.1", port), Access(timeout=DEADLINE_S))

    def call(self, *words):
        return self.connection.call(*words)

    def info(self, section):
        return dict(line.split(":", 1) for line in self.call("INFO", section).splitlines() if ":" in line)

    def try_again(self):
        """How often it said TRYAGAIN."""
        count = self.info("errorstats").get("errorstat_TRYAGAIN", "count=0")
        return int(count.removeprefix("count="))


class Cluster:
    def __init__(self, ports):
        self.nodes = {port: Node(port) for port in ports}
        eventually("every node serves, and every replica is in step", self.is_whole)

    def is_whole(self):
        try:
            if any("cluster_state:ok" not in node.call("CLUSTER", "INFO") for node in self.nodes.values()):
                return False
            maps = [node.call("CLUSTER", "SLOTS") for node in self.nodes.values()]
            shards = {primary[1]: [replica[1] for replica in replicas] for _, _, primary, *replicas in maps[0]}
            is_agreed = all(owners(one) == owners(maps[0]) for one in maps)
            return is_agreed and len(shards) == 3 and all(map(self.is_in_step, shards, shards.values()))
        except Trouble:
            return False

    def is_in_step(self, primary, replicas):
        if len(replicas) != 1:
            return False
        replica = self.nodes[replicas[0]].info("replication")
        offset = self.nodes[primary].info("replication")["master_repl_offset"]
        return replica.get("master_link_status") == "up" and replica["slave_repl_offset"] == offset

    def shard(self, number):
        """The primary of a slot, and its replica."""
        for node in self.nodes.values():
            try:
                ranges = node.call("CLUSTER", "SLOTS")
            except Trouble:
                continue
            for first, last, primary, *replicas in ranges:
                if first <= number <= last:
                    return self.nodes[primary[1]], [self.nodes[replica[1]] for replica in replicas]
        raise AssertionError(f"nobody serves slot {number}")

    def another(self, owner):
        """A primary that is not this one."""
        primaries = {primary[1] for _, _, primary, *_ in owner.call("CLUSTER", "SLOTS")}
        return self.nodes[min(primaries - {owner.port})]

    def fail_over(self, number):
        """The slot's primary is gone at once, and its replica serves; soon it is back, as a replica."""
        primary, replicas = self.shard(number)
        eventually("the replica is in step", lambda: self.is_in_step(primary.port, [node.port for node in replicas]))
        replicas[0].call("CLUSTER", "FAILOVER", "TAKEOVER")
        eventually("the replica serves", lambda: "role:master" in replicas[0].call("INFO", "replication"))
        try:
            primary.call("DEBUG", "CRASH-AND-RECOVER", 1500)
        except Trouble:
            return  # as it should: it answers no more
        raise AssertionError("the primary lives")


def owners(ranges):
    return sorted((first, last, primary[1]) for first, last, primary, *_ in ranges)


class Move:
    """A slot that moves key by key."""

    def __init__(self, cluster, number):
        self.number = number
        self.source, _ = cluster.shard(number)
        self.target = cluster.another(self.source)
        self.ids = {node: node.call("CLUSTER", "MYID") for node in (self.source, self.target)}

    def begin(self):
        self.target.call("CLUSTER", "SETSLOT", self.number, "IMPORTING", self.ids[self.source])
        self.source.call("CLUSTER", "SETSLOT", self.number, "MIGRATING", self.ids[self.target])

    def keys(self, *keys):
        for key in keys:
            assert self.source.call("MIGRATE", "127.0.0.1", self.target.port, key, 0, 60_000) == "OK", key

    def end(self):
        for node in (self.target, self.source):
            node.call("CLUSTER", "SETSLOT", self.number, "NODE", self.ids[self.target])

    def try_again(self):
        return self.source.try_again() + self.target.try_again()


class Client:
    """The loop that speaks through a cluster client."""

    def __init__(self, command):
        self.command = command
        self.begin()

    def begin(self):
        self.loop = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self.read, args=(self.loop, self.answers), daemon=True).start()

    @staticmethod
    def read(loop, answers):
        for line in loop.stdout:
            answers.put(json.loads(line))
        answers.put(None)

    def send(self, key, *words):
        self.loop.stdin.write(json.dumps({"key": key, "words": [str(word) for word in words]}) + "\n")
        self.loop.stdin.flush()

    def answer(self, timeout=DEADLINE_S):
        answer = self.answers.get(timeout=timeout)
        assert answer is not None, "the client's program has ended"
        return answer

    def answer_or_crash(self):
        """The answer. A program that crashes is begun again, as a web server begins its workers: phpredis 5.3.7, which is
        Debian 12's, sometimes crashes where a cluster's node is gone."""
        answer = self.answers.get(timeout=DEADLINE_S)
        if answer is None and self.loop.wait(DEADLINE_S) == -signal.SIGSEGV:
            self.begin()
            return {"error": "the client's program has crashed, and is begun again"}
        assert answer is not None, "the client's program has ended"
        return answer

    def has_answered(self):
        return not self.answers.empty()

    def close(self):
        self.loop.stdin.close()
        try:
            self.loop.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.loop.kill()
            self.loop.wait()


class Tenant:
    """Three keys of one tag, and how often they were charged."""

    def __init__(self, tag):
        self.keys = [f"{{{tag}}}:{name}" for name in ("requests", "tokens", "jobs")]
        self.slot = slot(self.keys[0])
        self.charged = 0

    def words(self):
        clauses = ["FIXED", REQUESTS, "3660d", "SLIDING", TOKENS, "365d", "COST", TOKENS_EACH]
        return ["RL.ALL", 3, *self.keys, *clauses, "LEASE", JOBS, "1d", f"id{self.charged}"]

    def left(self):
        return [REQUESTS - self.charged, TOKENS - TOKENS_EACH * self.charged, JOBS - self.charged]

    def send(self, client):
        client.send(self.keys[0], *self.words())

    def take(self, answer):
        """An answer that must be a charge."""
        assert "reply" in answer, answer
        self.charged += 1
        each = answer["reply"][5]
        assert [answer["reply"][0], [five[2] for five in each]] == [1, self.left()], (answer, self.left())

    def call(self, client):
        self.send(client)
        self.take(client.answer())

    def assert_held(self, node):
        """Demands of a primary that its keys hold what was answered."""
        fixed, sliding, lease = (node.call("RL.INFO", key) for key in self.keys)
        used = [fixed["limits"][0]["used"], sliding["limits"][0]["used"], len(lease["leases"])]
        assert used == [self.charged, TOKENS_EACH * self.charged, self.charged], used


def one_of_each(cluster, name):
    """Tenants of every primary, two each."""
    tenants, found = [], {}
    number = 0
    while len(tenants) < 6:
        tenant = Tenant(f"{name}-{number}")
        number += 1
        owner, _ = cluster.shard(tenant.slot)
        if found.get(owner.port, 0) < 2:
            found[owner.port] = found.get(owner.port, 0) + 1
            tenants.append(tenant)
    return tenants


def in_two_slots(client, first, second):
    keys = [first.keys[0], second.keys[0]]
    client.send(keys[0], "RL.ALL", 2, *keys, "FIXED", REQUESTS, "3660d", "FIXED", REQUESTS, "3660d")
    answer = client.answer()
    print(f"# answered: {answer}")
    assert re.search("CROSS-?SLOT|same slot|multiple hash slots", answer.get("error", ""), re.IGNORECASE), answer


def half_moved(client, tenant, move):
    move.begin()
    tenant.call(client)
    move.keys(*tenant.keys[:2])
    before = move.try_again()
    tenant.send(client)
    eventually("TRYAGAIN", lambda: client.has_answered() or move.try_again() > before)
    is_refused = move.try_again() > before
    move.keys(tenant.keys[2])
    # Some clients try again until the keys are in one place, others hand the refusal on.
    answer = client.answer()
    print(f"# answered: {answer}")
    assert is_refused, answer
    if "error" not in answer:
        tenant.take(answer)


def failed_over(cluster, client, tenant):
    cluster.fail_over(tenant.slot)
    errors = []

    def is_answered():
        tenant.send(client)
        answer = client.answer_or_crash()
        if "error" in answer:
            errors.append(answer["error"])
            return False
        tenant.take(answer)
        return True

    eventually(f"a call is answered: {errors}", is_answered)
    print(f"# errors until the replica was found: {errors[:3]} ({len(errors)})")


def main():
    name, *command = sys.argv[1:]
    cluster = Cluster([int(port) for port in os.environ["RATELIMIT_CLUSTER_PORTS"].split()])
    client = Client(command)
    tenants = one_of_each(cluster, name)
    moved = tenants[0]
    move = Move(cluster, moved.slot)
    passed = failed = 0

    def call_all():
        for tenant in tenants * 3:
            tenant.call(client)

    def after(change, *args):
        change(*args)
        call_all()

    def held():
        for tenant in tenants:
            primary, _ = cluster.shard(tenant.slot)
            tenant.assert_held(primary)

    for what, test in (
        ("keys of one tag are charged together, wherever they are", call_all),
        ("keys in two slots are refused", lambda: after(in_two_slots, client, *tenants[:2])),
        ("keys in two places are charged once or not at all (TRYAGAIN)", lambda: half_moved(client, moved, move)),
        ("keys that have moved before their slot are found (ASK)", call_all),
        ("a slot that has moved is found (MOVED)", lambda: after(move.end)),
        ("a replica that took over is found", lambda: after(failed_over, cluster, client, moved)),
        ("the keys hold what was answered", held),
    ):
        try:
            test()
            passed += 1
            print(f"ok - {name}: {what}")
        except Exception as error:
            failed += 1
            print(f"not ok - {name}: {what}\n    {type(error).__name__}: {error}")
    client.close()
    print(f"\n# {passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
