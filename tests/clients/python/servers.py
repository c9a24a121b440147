"""The servers that scripts/test-clients started."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis

PORT = int(os.environ["RATELIMIT_PORT"])
CLUSTER_PORT = int(os.environ["RATELIMIT_CLUSTER_PORT"])
# A server that a test may hold still with SIGSTOP: as slow as a server can be.
STALLED_PORT = int(os.environ["RATELIMIT_STALLED_PORT"])
STALLED_PID = int(os.environ["RATELIMIT_STALLED_PID"])
SCENARIOS = json.loads(Path(os.environ["RATELIMIT_SCENARIOS"]).read_text("utf-8"))["scenarios"]
SERVER = os.environ["RATELIMIT_SERVER"]
MODULE = os.environ["RATELIMIT_MODULE"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def stop(pid):
    """Holds a server still, and returns when it is. SIGCONT lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text("utf-8"))


class OwnServer:
    """A server of the test's own, which it may stop, kill and start again on its port."""

    def __init__(self, test):
        self._dir = tempfile.TemporaryDirectory(prefix="ratelimit-away-")
        self.port = free_port()
        test.addCleanup(self._dir.cleanup)
        test.addCleanup(self.kill)
        self.start()

    def start(self):
        log = Path(self._dir.name, "log")
        log.unlink(missing_ok=True)
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._dir.name, "--save", "", "--logfile", str(log), "--loadmodule", MODULE]
        self.process = subprocess.Popen([SERVER, *words])
        until(lambda: log.exists() and "eady to accept connections" in log.read_text())

    def command(self, *words):
        with redis.Redis(port=self.port, protocol=2) as client:
            return client.execute_command(*words)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def used(self, key):
        info = self.command("RL.INFO", key)
        if info is None:
            return 0
        limit = info[info.index(b"limits") + 1][0]
        return limit[limit.index(b"used") + 1]


class Sentinel:
    """A redis-sentinel of a test's own. What it knows as a master is never taken for dead."""

    def __init__(self, test):
        directory = tempfile.TemporaryDirectory(prefix="ratelimit-sentinel-")
        test.addCleanup(directory.cleanup)
        self.port = free_port()
        conf = Path(directory.name, "conf")
        conf.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {directory.name}\n", "utf-8")
        process = subprocess.Popen([SERVER, conf, "--sentinel"], stdout=subprocess.DEVNULL)
        test.addCleanup(process.wait)
        test.addCleanup(process.kill)
        self._client = redis.Redis(port=self.port)
        test.addCleanup(self._client.close)
        until(self._answers)

    def _answers(self):
        try:
            return self._client.ping()
        except redis.ConnectionError:
            return False

    def watch(self, name, port):
        self._client.execute_command("SENTINEL", "MONITOR", name, "127.0.0.1", port, 1)
        self._client.execute_command("SENTINEL", "SET", name, "down-after-milliseconds", 3_600_000)

    def forget(self, name):
        self._client.execute_command("SENTINEL", "REMOVE", name)

    def master(self, module, port, also):
        """A client that finds the server behind this port by asking; ``also`` takes those by which it asks."""
        self.watch(f"port-{port}", port)
        manager = module.Sentinel([("127.0.0.1", self.port)])
        also += manager.sentinels
        return manager.master_for(f"port-{port}")
