"""What becomes of each kind of data between versions of the module, on every way from one to another: scripts/upgrades

Each cell is run on real servers: one with a version of the module writes, one with another reads, and what is asked of both
must be answered alike. The table is printed as Markdown.
"""

import contextlib
import re
import sys
import time

from .support import MODULE, Refused, Server, Trouble, eventually, free_port

# What is written, and how it is asked for. Those of the first group every version knows.
COMMON = {
    "FIXED": (["RL.FIXED k{x}:fixed 5 30d"] * 2, "RL.PEEK FIXED k{x}:fixed 5 30d"),
    "SLIDING": (["RL.SLIDING k{x}:sliding 5 30d"] * 2, "RL.PEEK SLIDING k{x}:sliding 5 30d"),
    "BUCKET": (["RL.BUCKET k{x}:bucket 5 1 30d"] * 2, "RL.PEEK BUCKET k{x}:bucket 5 1 30d"),
    "two limits": (["RL.FIXED k{x}:two 5 30d 9 60d"] * 2, "RL.PEEK FIXED k{x}:two 5 30d 9 60d"),
}
NEWER = {
    "LEASE": (["RL.LEASE k{x}:lease 5 30d one"], "RL.PEEK LEASE k{x}:lease 5 30d two"),
    "1mo": (["RL.FIXED k{x}:month 5 1mo"] * 2, "RL.PEEK FIXED k{x}:month 5 1mo"),
    "1d@05:00": (["RL.FIXED k{x}:day 5 1d@05:00"] * 2, "RL.PEEK FIXED k{x}:day 5 1d@05:00"),
    "@first": (["RL.FIXED k{x}:first 5 30d@first"] * 2, "RL.PEEK FIXED k{x}:first 5 30d@first"),
    "ID": (["RL.FIXED k{x}:id 5 30d ID one"], "RL.INFO k{x}:id"),
    "RL.BLOCK": (["RL.BLOCK k{x}:shut 30d"], "RL.PEEK FIXED k{x}:shut 5 30d"),
    "BLOCK": (["RL.FIXED k{x}:block 1 30d BLOCK 30d"] * 2, "RL.PEEK FIXED k{x}:block 1 30d"),
    "STAMP": (["RL.BUCKET k{x}:stamp 5 1 30d STAMP"] * 2, "RL.PEEK BUCKET k{x}:stamp 5 1 30d"),
    "RESERVE": (["RL.BUCKET k{x}:reserve 1 1 30d RESERVE 90d"] * 2, "RL.PEEK BUCKET k{x}:reserve 1 1 30d"),
}
NODE = {
    "policies": (["RL.POLICY SET login SLIDING 5 15m"], "RL.POLICY GET login"),
    "deny lists": (["RL.DENY ADD bad 192.0.2.0/24 mallory"], "RL.DENY HAS bad 192.0.2.7 mallory other"),
    "entries with a TTL": (["RL.DENY ADD hour 192.0.2.9 TTL 10d"], "RL.DENY HAS hour 192.0.2.9 other"),
    "statistics": (["RL.FIXED k{x}:counted 5 30d POLICY login2"] * 2, "RL.STATS GET login2"),
}
NODE_NEWER = {
    "policies with a TTL": (["RL.POLICY SET hour FIXED 1 1m TTL 10d"], "RL.POLICY GET hour"),
    "shadows": (["RL.POLICY SHADOW tried FIXED 1 1m"], "RL.POLICY GET tried"),
}
TOLD = re.compile(r"# (.*(?:load|AUX|format|Fatal|EOF).*)")  # what a server's log says of a file that it does not take


def words_of(line):
    return line.replace("{x}", "{1}").split()


def write(node, groups):
    """What the writer knows of it; what it does not, an older one, is left out."""
    known = {}
    for group in groups:
        for name, (commands, question) in group.items():
            with contextlib.suppress(Refused):
                for command in commands:
                    node.call(*words_of(command))
                known[name] = question
    return known


def asked(node, question):
    """An answer without what passes with time."""
    if question.startswith("RL.STATS"):
        return statistics(node, question)
    try:
        reply = node.call(*words_of(question))
    except Refused as refused:
        return str(refused).split("(")[0].strip()
    if question.startswith("RL.PEEK"):
        return [[part for at, part in enumerate(each) if at < 3] if isinstance(each, list) else each for each in reply[:3]]
    if question.startswith("RL.INFO"):
        return reply and reply["ids"]
    if question.startswith("RL.POLICY") and "TTL" in (reply or []):
        return reply[: reply.index("TTL")]
    return reply


def statistics(node, question):
    """0.1.0 has RL.STATS name."""
    try:
        reply = node.call(*words_of(question))
    except Refused:
        reply = node.call(*words_of(question.replace("GET ", "")))
    return reply and [reply[each] for each in ("allowed", "denied", "deny_listed")]


def compare(known, before, reader):
    """{name: "kept", "lost" or what the reader says}"""
    found = {}
    for name, question in known.items():
        now = asked(reader, question)
        found[name] = "kept" if now == before[name] else f"refused: {now}" if isinstance(now, str) else "lost"
    return found


def summary(found):
    """Names by what became of them."""
    by = {}
    for name, what in found.items():
        by.setdefault(what, []).append(name)
    if set(by) == {"kept"}:
        return "kept"
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in sorted(by.items()))


def log_of(server):
    return (server.dir / "log").read_text(errors="replace")


def why_not(text):
    """Why a server did not start, in its own words."""
    told = [line for line in TOLD.findall(text) if "Configuration loaded" not in line and "Server initialized" not in line]
    return (told or ["?"])[0][:120]


def by_file(writer_module, reader_module, groups, *lines, settle):
    """Written to a file by one, which the other starts from."""
    writer = Server(*lines, module=writer_module)
    try:
        known = write(writer.node, groups)
        before = {name: asked(writer.node, question) for name, question in known.items()}
        settle(writer)
        with contextlib.suppress(Trouble):
            writer.node.call("SHUTDOWN", "NOSAVE")
        writer.process.wait()
        config = writer.dir / "redis.conf"
        config.write_text(config.read_text().replace(str(writer_module), str(reader_module)))
        (writer.dir / "log").unlink()
        try:
            writer.start()
        except AssertionError:
            return f"refused, it does not start: {why_not(log_of(writer))}"
        return summary(compare(known, before, writer.node))
    finally:
        writer.close()


def rdb(writer, reader, groups):
    return by_file(writer, reader, groups, settle=lambda server: server.node.call("SAVE"))


def rewritten(server):
    """Statistics are written once a second: so that what follows finds them there."""
    time.sleep(1.5)
    server.node.call("BGREWRITEAOF")
    eventually("it is written anew", lambda: "aof_rewrite_in_progress:0" in server.call("INFO persistence"))
    eventually("and none waits", lambda: "aof_rewrite_scheduled:0" in server.call("INFO persistence"))


def aof_base(preamble):
    def run(writer, reader, groups):
        return by_file(writer, reader, groups, "appendonly yes", f"aof-use-rdb-preamble {preamble}", settle=rewritten)

    return run


def aof_effects(writer, reader, groups):
    """What has come since the last rewrite: commands, with a preamble and without."""
    return by_file(writer, reader, groups, "appendonly yes", "appendfsync always", settle=lambda server: time.sleep(1.5))


def replica(is_connected):
    """A replica that is connected while the primary is hit, or that copies it whole afterwards. A connected one of an older
    version was the primary until a FAILOVER, as in an upgrade: what a newer version sends it whole would end it."""

    def run(writer, reader, groups):
        primary = Server("repl-diskless-sync-delay 0", module=writer)
        standby = Server("repl-diskless-sync-delay 0", module=reader)
        try:
            if is_connected and reader == MODULE:
                connect(standby, primary)
            elif is_connected:
                connect(primary, standby)
                standby.call("FAILOVER")
                for server, role in ((primary, "role:master"), (standby, "master_link_status:up")):
                    eventually("they have changed places", lambda server=server, role=role: role in server.call("INFO replication"))
            known = write(primary.node, groups)
            before = {name: asked(primary.node, question) for name, question in known.items()}
            if not is_connected:
                try:
                    connect(standby, primary)
                except AssertionError:
                    return f"refused, it does not synchronise: {why_not(log_of(standby))}"
            time.sleep(1.5)  # a record of statistics
            eventually("it is level", lambda: is_level(primary, standby))
            told = summary(compare(known, before, standby.node))
            failed = [line for line in standby.call("INFO commandstats").splitlines() if line.startswith(("cmdstat_rl.apply", "cmdstat_rl.node"))]
            failures = [line.split(":")[0][8:] + " " + line.split("failed_calls=")[1].split(",")[0] for line in failed if "failed_calls=0" not in line]
            return told + (f" (link up; it refused {', '.join(failures)})" if failures else "")
        finally:
            standby.close()
            primary.close()

    return run


def drill(writer, reader, groups):
    """An upgrade as ops/README.md has it: the old primary misses what comes after the FAILOVER, until it is restarted."""
    if reader != MODULE:
        return ""
    old, new = Server('save "3600 1"', "repl-diskless-sync-delay 0", module=writer), Server("repl-diskless-sync-delay 0", module=reader)
    try:
        connect(new, old)
        old.call("FAILOVER")
        for server, role in ((new, "role:master"), (old, "master_link_status:up")):
            eventually("they have changed places", lambda server=server, role=role: role in server.call("INFO replication"))
        old.call("CONFIG REWRITE")
        known = write(new.node, groups)
        before = {name: asked(new.node, question) for name, question in known.items()}
        old.node.call("CONFIG", "SET", "save", "")
        old.process.terminate()
        old.process.wait()
        old.node.close()
        config = old.dir / "redis.conf"
        config.write_text(config.read_text().replace(str(writer), str(reader)))
        old.start()
        eventually("it is in sync", lambda: "master_link_status:up" in old.call("INFO replication"))
        time.sleep(1.5)
        eventually("it is level", lambda: is_level(new, old))
        return summary(compare(known, before, old.node))
    finally:
        old.close()
        new.close()


def is_level(primary, standby):
    def offset(server, name):
        return [line.split(":")[1] for line in server.call("INFO replication").splitlines() if line.startswith(name + ":")]

    return offset(primary, "master_repl_offset") == offset(standby, "slave_repl_offset")


def connect(standby, primary):
    standby.call(f"REPLICAOF 127.0.0.1 {primary.port}")
    until = time.monotonic() + 20
    with contextlib.suppress(Trouble):  # it has ended
        while time.monotonic() < until:
            if "master_link_status:up" in standby.call("INFO replication"):
                return
            time.sleep(0.05)
    raise AssertionError("no link")


def migration(writer, reader, groups):
    """A slot that moves from a node of one version to a node of the other."""
    nodes = [Server("cluster-enabled yes", f"cluster-port {free_port()}", "cluster-node-timeout 60000", module=module) for module in (writer, reader)]
    try:
        one, two = nodes
        one.call("CLUSTER ADDSLOTSRANGE 0 16383")
        bus = two.call("CONFIG GET cluster-port")["cluster-port"]
        one.call(f"CLUSTER MEET 127.0.0.1 {two.port} {bus}")
        for node in nodes:
            eventually("they know each other", lambda node=node: "known_nodes:2" in node.call("CLUSTER INFO"))
            eventually("it serves", lambda node=node: "cluster_state:ok" in node.call("CLUSTER INFO"))
        known = write(one.node, [group for group in groups if group not in (NODE, NODE_NEWER)])
        before = {name: asked(one.node, question) for name, question in known.items()}
        slot = one.call("CLUSTER KEYSLOT {1}")
        ids = [node.call("CLUSTER MYID") for node in nodes]
        two.call(f"CLUSTER SETSLOT {slot} IMPORTING {ids[0]}")
        one.call(f"CLUSTER SETSLOT {slot} MIGRATING {ids[1]}")
        refused, told = {}, []
        for key in one.call(f"CLUSTER GETKEYSINSLOT {slot} 100"):
            try:
                one.node.call("MIGRATE", "127.0.0.1", two.port, key, "0", "5000")
            except Refused as error:
                refused[key] = str(error)[:100]
        for node in (two, one):
            with contextlib.suppress(Refused):
                node.call(f"CLUSTER SETSLOT {slot} NODE {ids[1]}")
        if refused:
            names = {name: next(word for word in words_of(question) if word.startswith("k{1}")) for name, question in known.items()}
            stay = [name for name, key in names.items() if key in refused]
            known = {name: question for name, question in known.items() if name not in stay}
            told.append(f"refused by MIGRATE ({next(iter(refused.values()))}), the key stays: {', '.join(stay)}")
        if known:
            eventually("the slot has moved", lambda: moved(two, known))
            told.append(summary(compare(known, before, two.node)))
        return "; ".join(told)
    finally:
        for node in nodes:
            node.close()


def moved(node, known):
    return not any(str(asked(node.node, question)).startswith(("MOVED", "ASK", "CLUSTERDOWN")) for question in known.values())


WAYS = {
    "RDB": rdb,
    "AOF, with a preamble": aof_base("yes"),
    "AOF, without one": aof_base("no"),
    "AOF, since its last rewrite": aof_effects,
    "a replica that is connected": replica(True),
    "a full synchronisation": replica(False),
    "the drill: FAILOVER, hits, a restart": drill,
    "a slot that moves": migration,
}


def main(old, only):
    """`old`: {version: module}; `only`: some of WAYS, or none for all"""
    for version, module in old.items():
        print(f"| {version} and this one | up | down: what both know | down: what is newer |\n|---|---|---|---|", flush=True)
        for name, way in WAYS.items():
            if only and name not in only:
                continue
            up = way(module, MODULE, [COMMON, NEWER, NODE, NODE_NEWER])
            down = way(MODULE, module, [COMMON, NODE])
            newer = way(MODULE, module, [NEWER, NODE_NEWER])
            print(f"| {name} | {up} | {down} | {newer} |", flush=True)


if __name__ == "__main__":
    modules = [argument for argument in sys.argv[1:] if "=" in argument]
    main(dict(each.split("=", 1) for each in modules), [each for each in sys.argv[1:] if each not in modules])
