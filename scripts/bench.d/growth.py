"""The same with more keys: throughput with -P 64, latency without pipelining, bytes per key; and instructions."""

import contextlib
import random

import memory
import throughput
from instructions import PIPELINE, Callgrind
from rows import INCR, database
from server import Server

SIZES = (10_000, 1_000_000, 10_000_000)
BYTES_PER_KEY = 250  # more than any of the measured rows takes: what must be free before a size is tried


def measure(module, rows, rounds, seconds, step):
    """({size: {row: {"pipelined": [run, ...], "single": [run, ...], "bytes": bytes per key}}}, the sizes left out)"""
    measured, servers = {}, {}
    needed = lambda size: size * BYTES_PER_KEY * (len(rows) + 1)
    fitting = [size for size in SIZES if needed(size) < available_bytes() * 0.7]
    with contextlib.ExitStack() as stack:
        for size in fitting:
            server = servers[size] = stack.enter_context(Server(module))
            measured[size] = {}
            for row in (INCR, *rows):
                step(f"{size:,} keys: filling {row.name}")
                server.connection.call("SELECT", database(row))
                before = memory.at_rest(server.connection)
                server.connection.fill(row.state(), size)
                grown = memory.at_rest(server.connection) - before
                measured[size][row] = {"pipelined": [], "single": [], "bytes": grown / size}
        for _ in range(rounds):
            for pipeline, view in ((64, "pipelined"), (1, "single")):
                for size, server in servers.items():
                    runs = throughput.compare(server, rows, size, pipeline, 1, seconds,
                                              lambda text: step(f"{size:,} keys: {text}"))
                    for row, results in runs.items():
                        measured[size][row][view] += results
    return measured, [size for size in SIZES if size not in fitting]


COUNTED_SIZES = (10_000, 1_000_000)  # to load ten million keys under callgrind takes half an hour
COUNTED_HITS = (5_000, 20_000)  # the two lengths, each over keys at random


def instructions(module, rows, step):
    """{size: {row: instructions per command}}. The keys are made on a server beside, and loaded from its RDB file."""
    counted = {}
    for size in COUNTED_SIZES:
        counted[size] = {}
        with Server(module) as server:
            for row in (INCR, *rows):
                step(f"{size:,} keys: filling {row.name}, to count instructions")
                server.connection.call("SELECT", database(row))
                server.connection.fill(row.state(), size)
            server.connection.call("SAVE")
            step(f"{size:,} keys: loading them under callgrind")
            with Callgrind(module, "--dir", str(server.dir)) as counting:
                for row in (INCR, *rows):
                    step(f"{size:,} keys: instructions of {row.name}")
                    counted[size][row] = per_command(counting, row, size)
    return counted


def per_command(counting, row, size):
    counting.connection.call("SELECT", database(row))
    keys = random.Random(1)
    counts = []
    for hits in (COUNTED_HITS[0], *COUNTED_HITS):  # the first warms up
        counting.connection.hit(row, [keys.randrange(size) for _ in range(hits)], PIPELINE)
        counts.append(counting.count())
    return (counts[2] - counts[1]) / (COUNTED_HITS[1] - COUNTED_HITS[0])


def available_bytes():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
