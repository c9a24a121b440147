"""Real servers, and programs that watch them: each in a directory of its own, and gone with its test.

RATELIMIT_MODULE is the module; RATELIMIT_SERVER another server than redis-server; OPS where scripts/setup-ops installs.
"""

import contextlib
import os
import pathlib
import random
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "ops"
MODULE = os.environ["RATELIMIT_MODULE"]
OPS = pathlib.Path(os.environ["OPS"])
DEADLINE_SECONDS = 120  # only a test that fails waits for so long

sys.path[:0] = [str(SHIPPED), str(ROOT / "scripts")]

from ratelimit_ops.servers.connection import Access, Address, Refused, Trouble  # noqa: E402
from ratelimit_ops.servers.nodes import Node  # noqa: E402

__all__ = ["Refused", "Trouble"]


def eventually(what, condition):
    """What `condition` answers once that is true."""
    until = time.monotonic() + DEADLINE_SECONDS
    while not (answer := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.01)
    return answer


def free_port():
    """Below those that the system gives to connections, so that it stays free."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as given:
        end = int(given.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(10000, end if end >= 20000 else 65536)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """A server with the module, unless another is named; None is none."""

    def __init__(self, *lines, module=MODULE, port=None, environment=None):
        self.environment = {**os.environ, **(environment or {})}
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ratelimit-ops."))
        self.port = port or free_port()
        load = [f'loadmodule "{module}"'] if module else []
        own = [f"dir {self.dir}", f"port {self.port}", "bind 127.0.0.1", "logfile log", 'save ""', *load, *lines]
        (self.dir / "redis.conf").write_text("\n".join(own) + "\n")
        self.start()

    def start(self):
        command = shlex.split(os.environ.get("RATELIMIT_SERVER", "redis-server"))
        self.process = subprocess.Popen(
            [*command, str(self.dir / "redis.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # where a file that cannot be loaded is told at length
            env=self.environment,
        )
        self.node = self.connect()
        eventually("the server answers", self.answers)

    def connect(self):
        """A connection, for one thread."""
        return Node(Address("127.0.0.1", self.port), Access(timeout=30))

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the server did not start:\n" + (self.dir / "log").read_text())
        with contextlib.suppress(Trouble):
            return self.node.call("PING") == "PONG"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def call(self, line):
        """A line of words; of a list, its items."""
        return self.node.call(*(line.split() if isinstance(line, str) else line))

    def hits(self, count, line):
        for reply in self.node.pipeline([line.split()] * count):
            if isinstance(reply, Refused):
                raise reply

    def kill(self):
        self.node.close()
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.dir)


class Clock:
    """A wall clock for servers that are started on it."""

    def __init__(self, directory):
        self.library, self.file = directory / "clock.so", directory / "clock"
        source = ROOT / "tests/support/clock.c"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.library, source], check=True)
        self.set(1_700_000_000_000)  # 22:13:20 UTC

    def set(self, now_ms):
        self.now_ms = now_ms
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(now_ms.to_bytes(8, "little"))

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}


class Program:
    """A program that runs beside a test. What it says is in `output`."""

    def __init__(self, command, **more):
        self.file = tempfile.NamedTemporaryFile(prefix="ratelimit-ops.")
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.file, stderr=subprocess.STDOUT, **more
        )

    @property
    def output(self):
        return pathlib.Path(self.file.name).read_text(errors="replace")

    def await_url(self, url):
        """The answer of a URL that it serves once it is ready."""

        def answer():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended: {self.output}")
            with contextlib.suppress(OSError):
                return get(url)

        return eventually(f"{url} answers", answer)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.file.close()


def get(url):
    with NO_PROXY.open(url, timeout=30) as response:
        return response.read().decode()


def get_at_once(url, count):
    """Asks for a URL so many times in one instant: all are connected before the first says what it wants."""
    place = urllib.parse.urlsplit(url)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=60)) for _ in range(count)]
        for client in clients:
            client.sendall(f"GET {place.path} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
        for client in clients:
            answer = client.makefile("rb").read()
            assert answer.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")), answer[:200]


NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ratelimit(command, *arguments):
    """The words that run a subcommand: ratelimit("deny sync", ...)."""
    return [SHIPPED / "ratelimit", *command.split(), *arguments]


def run(command, *arguments, environment=None, **more):
    """(status, standard output, standard error) of a subcommand."""
    own = {name: value for name, value in os.environ.items() if name not in ("PORT", "REDISCLI_AUTH")}
    done = subprocess.run(
        list(map(str, ratelimit(command, *arguments))),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        env={**own, **(environment or {})},
        **more,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr
