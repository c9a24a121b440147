"""A region on this machine: a server with the module, and the relay beside it."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from ratelimit_ops.servers.connection import Access, Address, Trouble
from ratelimit_ops.servers.nodes import Node

RATELIMIT = pathlib.Path(__file__).resolve().parents[2] / "ops/ratelimit"
START_SECONDS = 30


def hears(node, names):
    """Whether a region hears all of these, and they have heard it."""
    told = node.call("RL.REGION", "LIST")
    return all(told.get(name, {}).get("echo_ms_ago", -1) >= 0 for name in names)


class Region:
    """A server and its relay."""

    def __init__(self, name, module, share, known=()):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix=f"ratelimit-{name}.")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        server = os.environ.get("REDIS_SERVER", "redis-server")
        own = f"--bind 127.0.0.1 --port {self.port} --dir {self.dir} --logfile {self.dir}/log --appendonly no --loadmodule".split()
        settings = ["--ratelimit.region", name, "--ratelimit.region-share", share]
        if known:
            settings += ["--ratelimit.regions", " ".join(known)]
        self.process = subprocess.Popen([server, *own, module, *settings, "--save", ""], stdin=subprocess.DEVNULL)
        self.relay = None
        self.node = self.connect()
        self._await()

    def _await(self):
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.node.call("PING")
            except Trouble as trouble:
                if self.process.poll() is not None or time.monotonic() > until:
                    with open(f"{self.dir}/log", encoding="utf-8", errors="replace") as log:
                        sys.exit(f"regions: the server of {self.name} did not start ({trouble}):\n{log.read()[-2000:]}")
                time.sleep(0.05)

    def connect(self):
        return Node(Address("127.0.0.1", self.port), Access())

    def carry_to(self, others, every):
        """`others`: {name: port}"""
        targets = [word for name, port in others.items() for word in ("--to", f"{name}=127.0.0.1:{port}")]
        command = [RATELIMIT, "region", "sync", "--from", f"127.0.0.1:{self.port}", "--every", every, *targets]
        with open(f"{self.dir}/relay", "wb") as log:
            self.relay = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def knows(self, key):
        """What this region counts as used of a key."""
        info = self.node.call("RL.INFO", key)
        return info["limits"][0]["used"] if info else 0

    def close(self):
        for process in (self.relay, self.process):
            if process is not None:
                process.terminate()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
