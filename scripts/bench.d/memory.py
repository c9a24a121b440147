"""Bytes per key: what used_memory grows by, shared among the keys, key names and TTL included."""

import time
from dataclasses import dataclass

from rows import BUCKET, FIXED, FIXED_THREE, HOUR_MS, KEY, LUA_COUNTERS, LUA_PREVIOUS, NOW_MS, Row, lua, words
from server import Server

KEYS = 200_000
FULL_KEYS = 20_000  # for logs that take 128 hits a key
FULL = 128


@dataclass(frozen=True)
class Case:
    name: str
    fill: tuple  # commands for each key, one round over all keys after the other
    bound: int | None = None  # bytes per key, at most
    keys: int = KEYS


def hit(script, *args, keys=(KEY,)):
    return lua(script, keys, *args)


SLIDING = words("RL.SLIDING KEY 1000000 1h")
LOG = hit("log", 1_000_000, HOUR_MS, "__rand_int__")

CASES = (
    Case("counter with a TTL (SET PX, INCR)", (("SET", KEY, "0", "PX", str(HOUR_MS)), ("INCR", KEY))),
    Case("RL.FIXED, 1 limit", (FIXED,), 152),
    Case("RL.FIXED, 3 limits", (FIXED_THREE,)),
    Case("RL.BUCKET, 1 limit", (BUCKET,), 152),
    Case("RL.SLIDING, 3 hits in the window", (SLIDING,) * 3, 168),
    Case("RL.SLIDING, log full at 128 entries", (SLIDING,) * FULL, 1300, FULL_KEYS),
    Case("Lua fixed window", (hit("fixed", 1_000_000, HOUR_MS, 1, NOW_MS),)),
    Case("Lua token bucket in a hash", (hit("bucket", 1_000_000, 1000, 24 * HOUR_MS, 1, NOW_MS),)),
    Case("Lua two weighted counters", (LUA_PREVIOUS, hit("weighted", 1_000_000, HOUR_MS, 1, NOW_MS, keys=LUA_COUNTERS))),
    Case("Lua sorted-set log, 3 hits in the window", (LOG,) * 3),
    Case("Lua sorted-set log, 128 entries", (LOG,) * FULL, None, FULL_KEYS),
)


def bytes_per_key(module, case, quick):
    """On a server of its own, so that nothing that an earlier case left behind is counted. None if it refuses."""
    with Server(module) as server:
        probe = Row(case.name, case.fill[-1], "", fill=case.fill[:1])
        if server.refusal(probe):
            return None
        server.connection.call("CONFIG", "SET", "hz", 100)  # ends the rehash sooner
        before = at_rest(server.connection)
        keys = case.keys // 4 if quick and len(case.fill) >= FULL else case.keys
        server.connection.fill(case.fill, keys)
        return (at_rest(server.connection) - before) / keys


def at_rest(connection, field="used_memory"):
    """What is used once it stands still: a dictionary that grows holds two tables for a while."""
    last = None
    while (now := int(connection.info("memory")[field])) != last:
        last = now
        time.sleep(0.25)
    return now
