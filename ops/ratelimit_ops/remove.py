"""Takes the module's data out of servers, so that they can be started without the module.

It counts what is there: limiters (keys), policies, deny lists, statistics. With --yes it deletes all of it and has the
server write its files anew, and then says what is left to do by hand: a module with a type of its own cannot be unloaded,
the server has to be started without it. Other keys are not touched.

Replicas go first: name each replica and each primary (--server may be repeated). What is deleted on a primary is deleted
on its replicas, but each writes its own files.
"""

import argparse
import sys
import time

from .servers import reading
from .servers.connection import Refused, Trouble
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.text import printable

SCAN_COUNT = 1000
REWRITE_SECONDS = 3600
POLL_SECONDS = 0.2
# RL.APPLY and RL.NODE are how replicas and the AOF are told; they are no client's.
CLIENTS_COMMANDS = ("rl.fixed", "rl.sliding", "rl.bucket", "rl.lease", "rl.release", "rl.block", "rl.all")


class Server:
    """One server, and what is to be done there."""

    def __init__(self, node):
        self.node, self.name = node, node.name
        overview = reading.overview(node, "server", "replication", "persistence", "cluster")
        self.fields = overview.fields
        self.is_replica = self.fields.get("role") == "slave"
        self.policies = list(reading.policies(node))
        self.lists = list(overview.lists)
        self.names = len(overview.names)

    @property
    def keeps_aux(self):
        """Redis before 7.2 writes into every RDB file that the module was there, and reads none of these without it."""
        if "valkey_version" in self.fields:
            return False
        parts = self.fields.get("redis_version", "0.0").split(".")
        return tuple(int(part) if part.isdigit() else 0 for part in parts[:2]) < (7, 2)

    def keys(self):
        """Batches of the limiters' keys, of all databases: (database, keys)."""
        databases = [0]
        if self.fields.get("cluster_enabled") != "1":
            keyspace = self.node.call("INFO", "keyspace").splitlines()
            databases = [int(line[2:].partition(":")[0]) for line in keyspace if line.startswith("db")]
        for database in databases:
            if database:
                self.node.call("SELECT", database)
            cursor = "0"
            while True:
                cursor, keys = self.node.call("SCAN", cursor, "COUNT", SCAN_COUNT, "TYPE", "ratelimit")
                if keys:
                    yield database, keys
                if cursor == "0":
                    break
            if database:
                self.node.call("SELECT", 0)

    def count(self):
        return sum(len(keys) for _, keys in self.keys())

    def describe(self):
        role = "replica" if self.is_replica else "primary"
        return (
            f"{self.name} ({role}): {self.count()} limiters, {len(self.policies)} policies, {len(self.lists)} deny lists,"
            f" statistics of {self.names} names"
        )

    def delete(self):
        """Everything of the module's, but on a replica, where its primary does it."""
        if self.is_replica:
            return
        deleted = 0
        for _, keys in self.keys():
            for reply in self.node.pipeline([["UNLINK", key] for key in keys]):
                if isinstance(reply, Refused):
                    raise reply
                deleted += reply
        if self.policies:
            self.node.call("RL.POLICY", "DEL", *self.policies)
        for name in self.lists:
            self.node.call("RL.DENY", "DROP", name)
        self.node.call("RL.STATS", "RESET")
        say(f"{self.name}: deleted {deleted} limiters, {len(self.policies)} policies, {len(self.lists)} deny lists, statistics")

    def is_clean(self):
        told = reading.overview(self.node)
        return not told.names and not told.lists and not any(told.total) and not reading.policies(self.node) and not self.count()

    def await_clean(self):
        until = time.monotonic() + 60
        while not self.is_clean():
            if time.monotonic() > until:
                raise Trouble("something of the module's comes anew: stop its callers, and other regions' relays, first" if not self.is_replica else
                              "it still holds something of the module's: run this on its primary too")
            time.sleep(POLL_SECONDS)

    def calls(self):
        fields = reading.overview(self.node, "commandstats").fields
        return sum(calls for name, (calls, *_) in reading.commands(fields).items() if name in CLIENTS_COMMANDS)

    def write_files(self):
        """Has its files written anew, without the module's data. Returns what is left to do because of how."""
        config = self.node.call("CONFIG", "GET", "appendonly") | self.node.call("CONFIG", "GET", "aof-use-rdb-preamble")
        is_aof_on = config["appendonly"] == "yes"
        left = []
        if self.keeps_aux:
            # The AOF in the form of commands is the only file of this version's that is free of it.
            self.node.call("CONFIG", "SET", "aof-use-rdb-preamble", "no")
            say(f"{self.name}: writing the AOF as commands, as this version's RDB files need the module to be read")
            if is_aof_on:
                self.rewrite()
            else:
                self.node.call("CONFIG", "SET", "appendonly", "yes")
                self.await_rewrite()
            left.append("set `appendonly yes` in its configuration, so that it reads the AOF, and nothing else")
            left.append("stop it by SHUTDOWN NOSAVE: an RDB file that it writes now would need the module again")
            if config["aof-use-rdb-preamble"] == "yes":
                left.append("once it runs: CONFIG SET aof-use-rdb-preamble yes, BGREWRITEAOF" + ("" if is_aof_on else ", and appendonly no, if you want no AOF"))
            return left
        if is_aof_on:
            self.rewrite()
        say(f"{self.name}: saving an RDB file")
        self.node.call("BGSAVE", "SCHEDULE")
        self.await_done("rdb_bgsave_in_progress", "rdb_last_bgsave_status")
        return left

    def rewrite(self):
        say(f"{self.name}: rewriting the AOF")
        self.node.call("BGREWRITEAOF")
        self.await_rewrite()

    def await_rewrite(self):
        self.await_done("aof_rewrite_in_progress", "aof_last_bgrewrite_status", "aof_rewrite_scheduled")

    def await_done(self, busy, status, scheduled=None):
        until = time.monotonic() + REWRITE_SECONDS
        while True:
            fields = reading.overview(self.node, "persistence").fields
            is_busy = fields.get(busy) != "0" or (scheduled and fields.get(scheduled) != "0")
            if not is_busy:
                break
            if time.monotonic() > until:
                raise Trouble(f"not done within {REWRITE_SECONDS} s")
            time.sleep(POLL_SECONDS)
        if fields.get(status) != "ok":
            raise Trouble(f"it failed: its log says why ({status} is {fields.get(status)})")


def steps(server, left):
    """What a person still has to do."""
    config = server.fields.get("config_file") or "the command that starts it"
    all_ = [*left, f"take the loadmodule line out of {printable(config)}", "start it again without the module"]
    return "\n".join(f"  {number}. {step}" for number, step in enumerate(all_, 1))


def say(text):
    print(f"ratelimit remove: {text}", file=sys.stderr, flush=True)


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit remove",
        usage="ratelimit remove [options]",
        description=__doc__,
        epilog=EPILOG + "\nexit status: 0; 1 a server failed, or callers still use the module; 2 wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--yes", action="store_true", help="delete it; without this nothing is changed")
    add_options(parser)
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, say, timeout=60.0)
    name = fleet.title
    try:
        servers = []
        for node in fleet.nodes():
            name = node.name
            servers.append(Server(node))
            print(servers[-1].describe(), flush=True)
        if not options.yes:
            print("nothing was changed: --yes deletes it")
            return 0
        for server in servers:
            name = server.name
            server.delete()
        for server in servers:
            name = server.name
            server.await_clean()
            before = server.calls()
            left = server.write_files()
            if server.calls() != before or not server.is_clean():
                raise Trouble("callers still use the module: stop them, and run this again")
            print(f"{server.name}: nothing of the module's is left. What is to be done by hand:\n{steps(server, left)}", flush=True)
        return 0
    except Trouble as trouble:
        say(f"failed: {name}: {trouble}")
        return 1
    except KeyboardInterrupt:
        return 1
    finally:
        fleet.close()
