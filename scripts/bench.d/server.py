"""Real servers and a connection that reads every reply."""

import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

from rows import LUA

SERVER = os.environ.get("REDIS_SERVER", "redis-server")
NAME = b"__rand_int__"
# One database a row, so that each finds its keys as it left them.
OPTIONS = ("--save", "", "--appendonly", "no", "--hz", "1", "--io-threads", "1", "--databases", "64",
           "--enable-debug-command", "yes")


class Refused(Exception):
    """The server answered with an error."""


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")

    def close(self):
        self.reader.close()
        self.socket.close()

    def call(self, *args):
        self.socket.sendall(encode(args))
        return self.reply()

    def reply(self):
        line = self.reader.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2]
        if kind == b"-":
            raise Refused(rest.decode())
        return rest

    def info(self, *sections):
        """INFO as a dictionary of its fields."""
        lines = self.call("INFO", *sections).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def hits(self, row, keys, times=1, batch=16, gap_ms=0):
        """Sends the row's command to every key, `times` over, each time in another random order. With a gap, each key is hit
        once in that many milliseconds, in turn."""
        draw = random.Random(1)
        order = list(range(keys)) * times if gap_ms else [key for _ in range(times) for key in draw.sample(range(keys), keys)]
        self.hit(row, order, batch, gap_ms / keys)

    def hit(self, row, order, batch=16, gap_ms=0):
        """Sends the row's command to these keys, `batch` to a write and one in `gap_ms`, and holds every verdict to what
        the row says."""
        templates, start = [Template(argv) for argv in (row.argv, row.then) if argv], time.monotonic()
        for first in range(0, len(order), batch):
            if gap_ms:
                time.sleep(max(0, start + first * gap_ms / 1000 - time.monotonic()))
            part = order[first:first + batch]
            self.socket.sendall(b"".join(template.command(number) for number in part for template in templates))
            for _ in part:
                self.verdict(row, self.reply())
                if row.then:
                    self.reply()

    @staticmethod
    def verdict(row, reply):
        if row.allowed is not None and (not isinstance(reply, list) or reply[0] != row.allowed):
            raise Refused(f"expected allowed = {row.allowed}, got {reply}")

    def fill(self, commands, keys, first=0):
        """Brings keys first .. first + keys into the state that the commands make. Replies are left unsent; an error
        among them shows in the server's own count."""
        before = self.info("stats")["total_error_replies"]
        self.socket.sendall(encode(("CLIENT", "REPLY", "OFF")))
        for argv in commands:
            template = Template(argv)
            for start in range(first, first + keys, 1000):
                names = range(start, min(start + 1000, first + keys))
                self.socket.sendall(b"".join(map(template.command, names)))
        self.call("CLIENT", "REPLY", "ON")
        after = self.info("stats")["total_error_replies"]
        if after != before:
            raise Refused(f"{int(after) - int(before)} errors while filling with {commands}")


class Template:
    """A command for many keys: the number goes where redis-benchmark would put it."""

    def __init__(self, argv):
        encoded = encode(argv)
        self.names = encoded.count(NAME)
        self.text = encoded.replace(b"%", b"%%").replace(NAME, b"%012d")

    def command(self, number):
        return self.text % ((number,) * self.names)


def encode(args):
    args = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


class Server:
    """A redis-server on a unix socket in a directory of its own, with the module if there is one. Ends by its pid."""

    def __init__(self, module, *options, under=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ratelimit-bench."))
        self.socket = str(self.dir / "socket")
        command = [*(arg.replace("{dir}", str(self.dir)) for arg in under), SERVER, "--port", "0",
                   "--unixsocket", self.socket, "--dir", str(self.dir), *OPTIONS, *options]
        if module:
            command += ["--loadmodule", module]
        self.log = self.dir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.connection = self.connect()
            self.await_loaded()
            for text in LUA.values():
                self.connection.call("SCRIPT", "LOAD", text)
        except BaseException:
            self.stop()
            raise

    def connect(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                return Connection(self.socket)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.02)

    def await_loaded(self):
        while True:
            try:
                return self.connection.call("PING")
            except Refused as loading:
                if not str(loading).startswith("LOADING"):
                    raise
                time.sleep(0.1)

    def await_synchronised(self):
        """Until this replica has all that its primary had."""
        while self.connection.info("replication")["master_link_status"] != "up":
            time.sleep(0.01)

    def refusal(self, row):
        """Prepares the server for a row. Why it cannot run it, or None."""
        try:
            for argv in row.setup:
                self.connection.call(*argv)
            self.connection.call("SELECT", 63)
            for argv in row.state():
                self.connection.socket.sendall(Template(argv).command(0))
                self.connection.reply()
            self.connection.socket.sendall(Template(row.argv).command(0))
            self.connection.reply()
            self.connection.call("FLUSHDB")
        except Refused as error:
            return str(error)
        return None

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
