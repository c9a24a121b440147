"""What the AOF and a replica cost: the same runs on three servers, a round on each in turn."""

import contextlib
import shutil
import tempfile

import throughput
from server import Server, free_port

KEYS = 100_000
PIPELINE = 64
DISK_NEEDED = 6 << 30
AOF = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")


def measure(module, rows, logs, rounds, seconds, step):
    """{condition: {row: [run, ...]}}"""
    measured = {}
    with contextlib.ExitStack() as stack:
        servers = {"alone": stack.enter_context(Server(module))}
        if shutil.disk_usage(tempfile.gettempdir()).free > DISK_NEEDED:
            servers["AOF everysec"] = stack.enter_context(Server(module, *AOF))
        port = free_port()
        servers["a replica"] = stack.enter_context(Server(module, "--port", port))
        replica = stack.enter_context(Server(module, "--replicaof", "127.0.0.1", port))
        replica.await_synchronised()
        for server in servers.values():
            for row in rows:
                server.refusal(row)  # whatever the row needs once
            throughput.fill(server, rows, KEYS, logs)
        for _ in range(rounds):
            for condition, server in servers.items():
                runs = throughput.compare(server, rows, KEYS, PIPELINE, 1, seconds, lambda text: step(f"{condition}: {text}"))
                for row, results in runs.items():
                    measured.setdefault(condition, {}).setdefault(row, []).extend(results)
    return measured
