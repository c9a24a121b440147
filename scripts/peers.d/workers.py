"""A worker is a program that has one row of one language. It says `{"ready": true}`, then answers each line with a line.

    {"op": "hits", "hits": 5000, "at_once": 50, "keys": 1000, "limit": 1000000, "prefix": "a:"}
    {"hits": 5000, "allowed": 5000, "failed": 0, "cpu_s": 0.21, "wall_s": 0.26}

makes so many hits over so many keys, within a minute's window, and tells the CPU that its own process spent. Where a service is
asked, the CPU is the service's, and it tells of `p50_ms`, `p99_ms` and `memory_mib`, too;

    {"op": "burst", "begin_ms": 1800000000000, "bursts": [[20, 1], [1700, 150]], "limit": 100, "window_ms": 2000, "key": "k"}
    {"admitted": [[20.1, 20.4], ...], "failed": 0}

makes hits on one key so many ms after that time, ten at once, and tells when each that was admitted was sent, and when its
answer was there.
"""

import json
import os
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent


def programs(target):
    """How a worker is started, by its language. Node looks for packages upwards from a file, so its files were copied."""
    return {
        "node": (["node", str(target / "node" / "worker.mjs")], target / "node"),
        "python": ([str(target / "python" / "bin" / "python"), "-B", str(HERE / "python" / "worker.py")], HERE / "python"),
        "java": (["java", "-cp", f"{target}/java/classes:{target}/java/jars/*", "Peers"], target / "java"),
        "spring": (["java", "-cp", f"{target}/spring/classes:{target}/spring/jars/*", "SpringPeers"], target / "spring"),
        "gateway": ([str(target / "gateway" / "asker")], target / "gateway"),
        "go": ([str(target / "go" / "peers")], target / "go"),
    }


class Failed(Exception):
    """A worker ended, or its hits failed: nothing that it says is a figure."""


class Worker:
    def __init__(self, program, row, port):
        words, directory = program
        self.name, self.log = row, tempfile.TemporaryFile()
        environment = {**os.environ, "REDIS_PORT": str(port), "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        self.process = subprocess.Popen([*words, row], cwd=directory, env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.answer()

    def ask(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: the worker ended: {self.said()}")
        answer = json.loads(line)
        if answer.get("failed") and "hits" in answer:  # of a burst it is part of the figure
            raise Failed(f"{self.name}: {answer['failed']} hits failed: {self.said()}")
        return answer

    def said(self):
        """The end of what it said to standard error."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-300:]

    def hits(self, load, hits, prefix):
        self.ask(op="hits", hits=hits, at_once=load.at_once, keys=load.keys, limit=load.limit, prefix=prefix)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
