#!/usr/bin/env python3
"""Measures what one limit over several regions costs: memory, merges, the AOF, and a million keys that change.

Prints tables. What is merged comes from other servers, as a relay would carry it, so that all of it is real.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lab.connection import encode  # noqa: E402
from lab.regions import Region  # noqa: E402
from instructions import Callgrind  # noqa: E402
from rows import ROWS  # noqa: E402

NAMES = ("eu", "us", "ap", "sa", "af")
LIMITS = (("RL.FIXED", "100 30d"), ("RL.SLIDING", "100 30d"), ("RL.BUCKET", "100 1 30d"))
AT_ONCE = 1000


def commands(command, limits, keys):
    return [(command, f"k:{number:012d}", *limits.split()) for number in range(keys)]


def info(region, section):
    lines = (line.partition(":") for line in region.node.call("INFO", section).splitlines())
    return {name: value for name, _, value in lines}


def changes(region):
    """RL.MERGE of all that it has, as a relay sends it."""
    cursor, until_ms, flat, words = "0", 0, [None], []
    while flat or not until_ms:
        cursor, until_ms, flat, _ = region.node.call("RL.CHANGES", cursor, "COUNT", AT_ONCE)
        words += [("RL.MERGE", key, payload) for key, payload in zip(flat[::2], flat[1::2])]
    return words


def memory_usage(region, keys):
    names = [("MEMORY", "USAGE", f"k:{number:012d}", "SAMPLES", 0) for number in range(0, keys, max(1, keys // 1000))]
    sizes = region.node.pipeline(names)
    return sum(sizes) / len(sizes)


def fresh(module, name=""):
    region = Region(name or "eu", module, "no")
    if not name:
        region.node.call("CONFIG", "SET", "ratelimit.region", "")
    return region


def memory(module, keys):
    """Bytes a key: as MEMORY USAGE says, as the server's memory grows, and as it is resident."""
    print("| bytes a key | no region | " + " | ".join(f"{count} region{'s'[: count > 1]}" for count in (1, 2, 3, 5)) + " |\n|---|---|---|---|---|---|")
    for command, limits in LIMITS:
        hits, told, cells = 3 * commands(command, limits, keys), [], []
        for name in NAMES[1:]:
            other = fresh(module, name)
            bulk(other, hits)
            told.append(changes(other))
            other.close()
        for count in (0, 1, 2, 3, 5):
            region = fresh(module, NAMES[0] if count else "")
            before = [int(info(region, "memory")[name]) for name in ("used_memory", "used_memory_rss")]
            for words in (hits, *told[: max(0, count - 1)]):
                bulk(region, words)
            after = [int(info(region, "memory")[name]) for name in ("used_memory", "used_memory_rss")]
            used, resident = ((now - then) / keys for now, then in zip(after, before))
            cells.append(f"{memory_usage(region, keys):.0f}; {used:.0f}; {resident:.0f}")
            region.close()
        print(f"| {command}, 3 hits in each region | " + " | ".join(cells) + " |", flush=True)


def merges(module, keys):
    """A second on the server's one thread, by the processor time it took; and what the AOF grows by."""
    print("\n| merges | a second of the server's processor | known already | AOF bytes a merge | AOF bytes a hit, with a region | without |\n|---|---|---|---|---|---|")
    for command, limits in LIMITS:
        us = fresh(module, "us")
        bulk(us, commands(command, limits, keys))
        words = changes(us)
        us.close()
        eu = fresh(module, "eu")
        rates = []
        for _ in range(2):  # news, then known
            began = processor(eu)
            bulk(eu, words)
            rates.append(len(words) / (processor(eu) - began))
        eu.node.call("FLUSHALL")
        eu.node.call("CONFIG", "SET", "appendonly", "yes")
        settled(eu)
        sizes = []
        for batch in (words, commands(command, limits, keys)):
            before = int(info(eu, "persistence")["aof_current_size"])
            bulk(eu, batch)
            sizes.append((int(info(eu, "persistence")["aof_current_size"]) - before) / keys)
        eu.node.call("FLUSHALL")
        eu.node.call("CONFIG", "SET", "ratelimit.region", "")
        before = int(info(eu, "persistence")["aof_current_size"])
        bulk(eu, commands(command, limits, keys))
        sizes.append((int(info(eu, "persistence")["aof_current_size"]) - before) / keys)
        eu.close()
        print(f"| {command} | {rates[0]:,.0f} | {rates[1]:,.0f} | " + " | ".join(f"{size:.0f}" for size in sizes) + " |", flush=True)


def instructions(module):
    """Of a hit: without a region, with one, and with two others that are heard and the share rule."""
    own = ("--ratelimit.region", "eu", "--ratelimit.region-share", "strict")
    heard = [("RL.HEARD", name, 1, "eu", 1) for name in ("us", "ap")]
    rows = [row for row in ROWS if row.name in ("INCR", "RL.FIXED allowed", "RL.BUCKET allowed")]
    counts = {row: [] for row in rows}
    for options, words in (((), ()), (own, ()), (own, heard)):
        with Callgrind(module, *options) as server:
            for each in words:
                server.connection.call(*each)
            for row in rows:
                counts[row].append(server.per_command(row, None, (2, 6)))
    incr = counts.pop(rows[0])
    print("\n| instructions of a hit | no region | a region | with two others heard |\n|---|---|---|---|")
    print(f"| {rows[0].name} | " + " | ".join(f"{count:,.0f}" for count in incr) + " |")
    for row, found in counts.items():
        cells = [f"{found[0]:,.0f}", *(f"{count:,.0f}: +{(count - found[0]) / incr[0]:.2f} x INCR" for count in found[1:])]
        print(f"| {row.name} | " + " | ".join(cells) + " |", flush=True)


def settled(region):
    while int(info(region, "persistence")["aof_rewrite_in_progress"]) or int(info(region, "persistence")["aof_rewrite_scheduled"]):
        time.sleep(0.05)


def processor(region):
    """Seconds that the server has run."""
    cpu = info(region, "cpu")
    return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])


def bulk(region, words):
    """All is encoded first, and replies are hardly looked at."""
    batches = [words[first : first + AT_ONCE] for first in range(0, len(words), AT_ONCE)]
    batches = [(len(batch), b"".join(map(encode, batch))) for batch in batches]
    region.node.call("PING")
    sock, reader = region.node.connection.socket, region.node.connection.input
    for count, batch in batches:
        sock.sendall(batch)
        for _ in range(count):
            line = reader.readline()
            if line[:1] not in b"*:":
                raise SystemExit(f"unexpected: {line}")
            for _ in range(int(line[1:]) if line[:1] == b"*" else 0):
                reader.readline()


def million(module, keys):
    """Keys that change once while a relay carries them: how long until the other region has all, and what the ring lost."""
    eu, us = fresh(module, "eu"), fresh(module, "us")
    eu.carry_to({"us": us.port}, "50ms")
    while not us.node.call("RL.REGION", "LIST"):
        time.sleep(0.05)
    words = commands("RL.FIXED", "100 30d", keys)
    began = time.monotonic()
    bulk(eu, words)
    changed = time.monotonic() - began
    while (known := us.node.call("DBSIZE")) < keys:
        if time.monotonic() > began + 1200:
            break
        time.sleep(0.1)
    took = time.monotonic() - began
    relay = subprocess.check_output(["ps", "-o", "cputimes=", "-p", str(eu.relay.pid)], text=True).strip()
    lost = info(eu, "ratelimit").get("ratelimit_changes_lost")
    print(f"\n{keys:,} keys changed within {changed:.1f} s; {known:,} known in the other region after {took:.1f} s "
          f"({keys / took:,.0f} a second; the relay's processor {relay} s, the target's {processor(us):.1f} s); {lost} entries of the ring overwritten before "
          f"they were read", flush=True)
    eu.close()
    us.close()


def main():
    parser = argparse.ArgumentParser(prog="regions_cost.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=os.path.realpath)
    parser.add_argument("--keys", type=int, default=100_000, help="for memory and merges (100000)")
    parser.add_argument("--changing", type=int, default=1_000_000, help="keys that change (1000000)")
    parser.add_argument("--no-callgrind", action="store_true", help="instructions are not counted")
    options = parser.parse_args()
    if options.keys:
        memory(options.module, options.keys)
        merges(options.module, options.keys)
    if options.changing:
        million(options.module, options.changing)
    if not options.no_callgrind:
        instructions(options.module)


if __name__ == "__main__":
    main()
