"""What ten million keys take beside as many counters: resident memory, the RDB file, a BGSAVE while hits arrive and what it
copies meanwhile, a restart from the file, a replica's full synchronisation.
"""

import random
import time

import growth
import memory
from rows import HOUR_MS, KEY, Row, words
from server import Server, free_port

KEYS = 10_000_000
PACE = 20_000  # hits a second during a BGSAVE
BATCH = 16
CASES = (
    Row("counter with a TTL", ("INCR", KEY), "redis", fill=(("SET", KEY, "0", "PX", str(24 * HOUR_MS)),)),
    Row("RL.FIXED", words("RL.FIXED KEY 1000000 1d"), "native", allowed=1),
    Row("RL.BUCKET", words("RL.BUCKET KEY 1000000 1000 30d"), "native", allowed=1),
)
STEPS = 5 * len(CASES)


def measure(module, step, keys=KEYS):
    """{case: {figure: value}}; nothing where there is no memory for it."""
    if keys * growth.BYTES_PER_KEY * 3 > growth.available_bytes() * 0.7:  # a server, one that copies it, and room
        return {}
    return {row.name: measure_one(module, row, keys, step) for row in CASES}


def measure_one(module, row, keys, step):
    at = lambda text: step(f"{keys:,} keys, {row.name}: {text}")
    port = free_port()
    with Server(module, "--port", port, "--repl-diskless-sync-delay", "0", "--hz", "10") as server:
        at("filling")
        before = memory.at_rest(server.connection, "used_memory_rss")
        server.connection.fill(row.state(), keys)
        figures = {"rss": (memory.at_rest(server.connection, "used_memory_rss") - before) / keys}
        at("BGSAVE")
        figures["bgsave_s"] = bgsave(server, row, keys)
        figures["cow_mb"] = int(server.connection.info("persistence")["rdb_last_cow_size"]) / 1e6
        at("SAVE")
        server.connection.call("SAVE")
        figures["rdb"] = (server.dir / "dump.rdb").stat().st_size / keys
        at("full synchronisation")
        figures["sync_s"] = synchronise(module, port, keys)
        at("load")
        figures["load_s"] = load(module, server, keys)
    return figures


def bgsave(server, row, keys):
    """Seconds that it took, with hits at PACE meanwhile."""
    chosen = random.Random(1)
    started = time.monotonic()
    server.connection.call("BGSAVE")
    while server.connection.info("persistence")["rdb_bgsave_in_progress"] == "1":
        server.connection.hit(row, [chosen.randrange(keys) for _ in range(PACE // 20)], BATCH, 1000 / PACE)
    return time.monotonic() - started


def synchronise(module, port, keys):
    with Server(module) as replica:
        started = time.monotonic()
        replica.connection.call("REPLICAOF", "127.0.0.1", port)
        replica.await_synchronised()
        seconds = time.monotonic() - started
        held(replica, keys)
        return seconds


def load(module, server, keys):
    """Seconds of a start from the file, less those of one without."""
    started = time.monotonic()
    with Server(module):
        empty = time.monotonic() - started
    started = time.monotonic()
    with Server(module, "--dir", str(server.dir)) as loaded:
        seconds = time.monotonic() - started
        held(loaded, keys)
        return seconds - empty


def held(server, keys):
    found = server.connection.call("DBSIZE")
    if found != keys:
        raise SystemExit(f"{found} keys of {keys} arrived")
