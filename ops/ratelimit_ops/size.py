"""Reckons, without a server, what a number of limiters takes: memory, files, copies, and how many servers.

  ratelimit size --keys 10M --algorithm sliding --entries 5 --hits 20k --replicas 1

The bytes are those of Redis 7.0 and are checked against one; newer servers take less. Times and rates are those of `make bench`
on two cores: measure on your own machine what you must rely on.
"""

import argparse
import math
import re

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
MIB, PAGE = 1 << 20, 4096

# What the server has of a key: its entry and that of its TTL, the object, and the module's value; each as malloc gives it out.
SERVER_BYTES = 4 * 24
POINTER_BYTES = 8
START_BYTES = 3 * MIB  # an empty server with the module
SPARE = 1.1  # what malloc loses to holes

# Seconds for a key, and hits a second of one core: scripts/bench.d/results.
SAVE_SECONDS = {"fixed": 1.75e-6, "sliding": 2.2e-6, "bucket": 2.13e-6, "lease": 2.5e-6}
LOAD_SECONDS = {"fixed": 1.92e-6, "sliding": 2.3e-6, "bucket": 2.19e-6, "lease": 2.6e-6}
HITS_A_CORE = 65_000  # without pipelines, as an application's connections send them
PIPELINED = {"fixed": 314_000, "sliding": 250_000, "bucket": 316_000, "lease": 250_000}
BUSY = 0.5  # of a core, at most: what is left takes a peak, a BGSAVE and a slow command
MAX_NODE_BYTES = 24 << 30  # above it a fork, a load and a full synchronisation take minutes


def malloc(length):
    """What glibc's malloc gives out for so many bytes."""
    return max(24, (length + 8 + 15) // 16 * 16 - 8)


def key_bytes(length):
    """A name as the server keeps it: a header of 3 bytes (5 from 256 on) and a NUL."""
    return malloc(length + (4 if length < 256 else 6))


def log_bytes(entries):
    """A sliding window's log: 2 to 3 bytes an entry, in a buffer that grows by steps."""
    return max(48, 50 + 2.3 * entries)


def state_bytes(algorithm, limits, entries):
    """What the module has of a key. One limit of few bytes lies in the value itself; several share a table that doubles."""
    places = 1 << max(1, math.ceil(math.log2(limits)))
    if algorithm == "fixed":
        return 8 if limits == 1 else 48 + 32 * places
    if algorithm == "bucket":
        return 8 if limits == 1 else 64 + 48 * places
    if algorithm == "sliding":
        if limits > 1:
            return 56 + 48 * places + limits * log_bytes(entries)
        return 24 if entries <= 3 else 56 + log_bytes(entries)
    return 90 + 165 * entries  # with ids of 36 bytes, such as a UUID's


def rdb_bytes(algorithm, limits, entries, name_bytes):
    """In the file: the name, its TTL, and what is used of each limit."""
    body = {"fixed": 3 + 9 * limits, "bucket": 6 + 8 * limits, "sliding": 10 * limits + 2.3 * entries, "lease": 9 + 45 * entries}
    return 32 + name_bytes + body[algorithm]


def table_bytes(keys):
    """The server's two tables, of all keys and of those with a TTL, which double when they are full."""
    return 2 * POINTER_BYTES * (1 << max(2, math.ceil(math.log2(max(1, keys)))))


def used_bytes(keys, algorithm, limits, entries, name_bytes):
    """used_memory: of all keys together."""
    return START_BYTES + table_bytes(keys) + keys * (SERVER_BYTES + key_bytes(name_bytes) + state_bytes(algorithm, limits, entries))


def copied_bytes(resident, hits):
    """What a saving child makes the server copy: each page that a hit touches while it saves, once."""
    pages = resident / PAGE
    return PAGE * pages * (1 - math.exp(-hits / pages))


class Plan:
    def __init__(self, options):
        self.options = options
        what = options.algorithm, options.limits, options.entries, options.name_bytes
        total = options.keys
        self.nodes = max(1, math.ceil(options.hits / (HITS_A_CORE * BUSY)))
        while True:
            self.keys = math.ceil(total / self.nodes)
            self.used = used_bytes(self.keys, *what)
            self.resident = self.used * SPARE
            self.save_seconds = self.keys * SAVE_SECONDS[options.algorithm]
            self.copied = copied_bytes(self.resident, self.hits * self.save_seconds)
            self.machine = self.resident + self.copied
            if self.machine <= MAX_NODE_BYTES:
                break
            self.nodes = max(self.nodes + 1, math.ceil(self.nodes * self.machine / MAX_NODE_BYTES))
        self.rdb = self.keys * rdb_bytes(*what)
        self.load_seconds = self.keys * LOAD_SECONDS[options.algorithm]
        self.load = self.hits / HITS_A_CORE

    @property
    def hits(self):
        return self.options.hits / self.nodes

    def lines(self):
        options = self.options
        each = "" if self.nodes == 1 else f", on each of {self.nodes} primaries"
        yield f"{self.keys:,} limiters{each}: {options.algorithm}, limits: {options.limits}" + (
            f", entries: {options.entries}" if options.algorithm in ("sliding", "lease") else ""
        )
        yield ""
        yield row("a key", f"{self.used / self.keys:,.0f} B", f"with its name of {options.name_bytes} bytes, its TTL and its place in the tables")
        yield row("used_memory", size(self.used), "")
        yield row("resident", size(self.resident), "with what malloc loses")
        yield row("BGSAVE", f"{self.save_seconds:,.0f} s", f"copies up to {size(self.copied)} meanwhile, at {self.hits:,.0f} hits a second")
        yield row("RDB file", size(self.rdb), f"loaded in {self.load_seconds:,.0f} s; a full synchronisation takes {2 * self.load_seconds:,.0f} s")
        yield row("maxmemory", size(self.used * 1.25), "a quarter more than is used; noeviction, so that no limit is forgotten")
        yield row("the machine", size(self.machine + self.used * 0.25), "what maxmemory allows, holes, and the copies of a BGSAVE")
        yield row("one core", f"{100 * self.load:,.0f} %", f"of {HITS_A_CORE:,} hits a second; in pipelines up to {PIPELINED[options.algorithm]:,}")
        servers = self.nodes * (1 + options.replicas)
        yield row("servers", str(servers), f"primaries: {self.nodes}, replicas of each: {options.replicas}; {size(servers * self.machine)} in all")
        if self.nodes > 1:
            yield ""
            yield f"A cluster: one server would have more than {size(MAX_NODE_BYTES)} or be busier than {BUSY:.0%}. One key stays on one server."


def row(name, value, note):
    return f"  {name:<12} {value:>10}   {note}".rstrip()


def size(count):
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def number(text):
    """10M, 20k, 1.5k or 3000."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([kMGmg]?)", text)
    value = match and float(match[1]) * UNITS[match[2].lower()]
    if not match or value > 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 3000, 20k or 10M")
    return int(value)


def between(least, most):
    def read(text):
        value = number(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return read


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit size",
        usage="ratelimit size --keys N --algorithm ALGORITHM [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--keys", type=between(1, 10**12), required=True, metavar="N", help="identifiers at one time: 3000, 20k, 10M")
    parser.add_argument("--algorithm", choices=sorted(PIPELINED), required=True)
    parser.add_argument("--limits", type=between(1, 8), default=1, metavar="N", help="limits of each (1)")
    parser.add_argument(
        "--entries", type=between(1, 4096), default=3, metavar="N", help="sliding: hits in the window; lease: holders, at one time (3)"
    )
    parser.add_argument("--name-bytes", type=between(1, 65536), default=14, metavar="N", help="bytes of a key's name (14)")
    parser.add_argument("--hits", type=number, default=1000, metavar="N", help="hits a second at the peak (1000)")
    parser.add_argument("--replicas", type=between(0, 10), default=1, metavar="N", help="replicas of each primary (1)")
    options = parser.parse_args(arguments)
    if options.algorithm == "lease" and options.limits > 1:
        parser.error("a lease has one limit")
    print("\n".join(Plan(options).lines()))
