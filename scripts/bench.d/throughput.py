"""Throughput and latency by redis-benchmark, and what the server's CPU spent on it."""

import os
import re
import subprocess

from rows import INCR, database

CLIENT = os.environ.get("REDIS_BENCHMARK", "redis-benchmark")
CONNECTIONS = 50
EVERY = 3  # INCR is measured again after so many rows


def run(server, row, keys, pipeline, requests):
    """One run of redis-benchmark: requests per second, the server's CPU time per command, latencies in ms."""
    before = cpu_seconds(server)
    command = [CLIENT, "-s", server.socket, "-n", str(requests), "-c", str(CONNECTIONS), "-P", str(pipeline),
               "-r", str(keys), "--dbnum", str(database(row)), "--precision", "3", *row.argv]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    spent = cpu_seconds(server) - before
    if ended.returncode or "Error from server" in ended.stdout:
        raise RuntimeError(f"redis-benchmark, {row.name}: {ended.stdout[-500:]}")
    summary = re.search(r"avg +min +p50 +p95 +p99 +max\n +(.+)", ended.stdout)[1].split()
    steps = re.findall(r"^([\d.]+)% <= ([\d.]+) milliseconds", ended.stdout, re.M)
    return {"rps": float(re.search(r"throughput summary: ([\d.]+)", ended.stdout)[1]), "cpu_us": spent / requests * 1e6,
            "p50_ms": float(summary[2]), "p95_ms": float(summary[3]), "p99_ms": float(summary[4]),
            "p99_9_ms": next(float(ms) for share, ms in steps if float(share) >= 99.9)}


def cpu_seconds(server):
    """Of the thread that runs the commands."""
    info = server.connection.info("cpu")
    return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


def fill(server, rows, keys, logs):
    for row in rows:
        server.connection.call("SELECT", database(row))
        if row.log == "burst":
            logs.restore(row, server.connection, keys)
        else:  # a steady log grows by itself at the pace of the run
            server.connection.fill(row.state(), keys)


def compare(server, rows, keys, pipeline, rounds, seconds, step):
    """Every row `rounds` times, all interleaved, each run about `seconds` long.

    INCR goes first, last and after each few rows; a row's ratio is to the mean of the two INCRs around it, so that a
    machine that is slower for a while does not count against one row. Answers {row: [run, ...]}, a run with the ratios.
    """
    measured = {INCR: [], **{row: [] for row in rows}}
    others = [row for row in rows if row is not INCR]
    requests = {}
    for row in measured:  # how long a run must be, and a warm-up
        trial = run(server, row, keys, pipeline, 20_000 if pipeline > 1 else 5_000)
        requests[row] = max(5_000, int(trial["rps"] * seconds))
    for number in range(rounds):
        before = None
        for start in range(0, max(1, len(others)), EVERY):
            before = before or run(server, INCR, keys, pipeline, requests[INCR])
            between = []
            for row in others[start:start + EVERY]:
                step(f"{row.name}, -P {pipeline}, round {number + 1} of {rounds}")
                between.append((row, run(server, row, keys, pipeline, requests[row])))
            after = run(server, INCR, keys, pipeline, requests[INCR])
            for row, result in between:
                for field in ("rps", "cpu_us"):
                    result[f"{field}_ratio"] = result[field] / ((before[field] + after[field]) / 2)
                measured[row].append(result)
            before["rps_ratio"] = before["cpu_us_ratio"] = 1.0
            measured[INCR].append(before)
            before = after
    return measured
