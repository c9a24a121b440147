"""What a client feels when a million keys end at one moment: a PING each millisecond, from a second before it until they
are all gone. Fixed windows end so by themselves, as theirs are aligned to the clock.
"""

import time

from rows import KEY, words
from server import Server

KEYS = 1_000_000
WINDOW_MS = 30_000
ROUNDS = 3
CASES = {
    "counter with a TTL": lambda end_ms: ("SET", KEY, "1", "PXAT", str(end_ms)),
    "RL.FIXED": lambda end_ms: words(f"RL.FIXED KEY 5 {WINDOW_MS}ms"),
}
STEPS = ROUNDS * len(CASES)


def measure(module, step, keys=KEYS):
    """{case: [{"p50_ms", "p99_ms", "worst_ms", "gone_s"}, ...]}, the cases in turn."""
    measured = {name: [] for name in CASES}
    for number in range(ROUNDS):
        for name, fill in CASES.items():
            step(f"{keys:,} keys end at one moment: {name}, {number + 1} of {ROUNDS}")
            measured[name].append(measure_one(module, fill, keys))
    return measured


def measure_one(module, fill, keys):
    with Server(module, "--hz", "10") as server:
        now_ms = time.time() * 1000
        end_ms = int((now_ms // WINDOW_MS + 1) * WINDOW_MS)
        if end_ms - now_ms < WINDOW_MS * 0.8:  # there must be time to fill them
            time.sleep((end_ms - now_ms) / 1000 + 0.01)
            end_ms += WINDOW_MS
        server.connection.fill((fill(end_ms),), keys)
        if time.time() * 1000 > end_ms - 1000 or server.connection.call("DBSIZE") != keys:
            raise SystemExit("the keys were not made in time")
        time.sleep(end_ms / 1000 - 1 - time.time())
        found, last_look = [], 0.0
        while True:
            started = time.perf_counter()
            server.connection.call("PING")
            found.append(time.perf_counter() - started)
            since = time.time() - end_ms / 1000
            if since > last_look + 0.1:
                last_look = since
                if server.connection.call("DBSIZE") == 0:
                    break
            time.sleep(0.001)
    found.sort()
    at = lambda share: found[int(share * (len(found) - 1))] * 1000
    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "worst_ms": at(1), "gone_s": since}
