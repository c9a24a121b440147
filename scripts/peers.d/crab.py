"""throttlecrab's own server, which is no Redis: it speaks RESP and has PING and THROTTLE alone."""

import pathlib
import socket
import subprocess
import tempfile
import time

from server import free_port


class Crab:
    """As `Redis` of peers.py, of a program that tells nothing of itself: its CPU is the system's figure, and of its memory and
    its commands nothing is known.
    """

    def __init__(self, program):
        self.port = free_port()
        self.log = tempfile.TemporaryFile()
        command = [program, "--redis", "--redis-host", "127.0.0.1", "--redis-port", self.port, "--log-level", "error"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.server = self
        deadline = time.monotonic() + 30
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit("throttlecrab did not start")
            time.sleep(0.02)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", int(self.port)), timeout=1) as connection:
                connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def state(self):
        """Of all its threads: nanoseconds on a CPU, as /proc has them."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return {"cpu_s": sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9, "commands": None}

    def bytes_of_keys(self):
        return 0

    def clear(self):
        """Cannot be. Rounds have keys of their own, of a limit as good as none."""

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
