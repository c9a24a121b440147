"""What somebody without a token can make the console and the exporter hold: little, and not for long."""

import contextlib
import socket
import time
import unittest

from .support import Program, Server, eventually, free_port, get, ratelimit

from ratelimit_ops import web  # isort: skip: support says where it is

FAR_MORE = 100 * web.HEAD_BYTES


class Bounds(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def programs(self):
        """The port of each that listens."""
        for command in ("console", "exporter"):
            port = free_port()
            program = Program(ratelimit(command, "-p", self.server.port, "--listen", f"127.0.0.1:{port}"))
            self.addCleanup(program.close)
            program.await_url(f"http://127.0.0.1:{port}/")
            yield command, port, program

    def test_of_a_request_no_more_is_read_than_its_head_may_have(self):
        line = b"X-More: " + b"x" * 60_000 + b"\r\n"
        for command, port, _ in self.programs():
            for first in (b"GET / HTTP/1.1\r\n", b"GET /" + b"x" * FAR_MORE):
                with self.subTest(command, first=first[:6]), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    # It ends before all of it is sent: the rest is refused by a connection that is gone, or never read.
                    with contextlib.suppress(ConnectionError):
                        client.sendall(first + line * (FAR_MORE // len(line)) + b"\r\n")
                    answer = b""
                    with contextlib.suppress(ConnectionError):
                        answer = client.makefile("rb").read()
                    self.assertIn(answer.split(b" ")[1:2], ([], [b"431"]), answer[:60])
            self.assertTrue(answers(port), "it lives")

    def test_connections_that_are_held_are_bounded_in_number(self):
        for command, port, program in self.programs():
            with self.subTest(command), contextlib.ExitStack() as stack:
                held = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(2 * web.MAX_CONNECTIONS)]
                eventually("some are closed", lambda: any(is_closed(each) for each in held))
                self.assertIn("too many connections", program.output)
            eventually("it answers again", lambda: answers(port))

    def test_a_head_arrives_in_its_time_or_not_at_all(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            arriving = web.Arriving(ours)
            theirs.sendall(b"slowly")
            self.assertEqual(arriving.read(6), b"slowly")
            arriving.until = time.monotonic()  # however often it sends a byte
            with self.assertRaises(TimeoutError):
                arriving.read(1)

    def test_what_is_told_is_written_once_whatever_format_is_asked_for(self):
        _, (_, port, _) = self.programs()
        url = f"http://127.0.0.1:{port}/metrics"
        self.assertIn("ratelimit_up", get(url))
        kinds = {kind_of(port, accept) for accept in ("", "application/openmetrics-text; version=1.0.0", "text/plain; version=1.0.0.7")}
        self.assertEqual(kinds, {b"text/plain; version=0.0.4; charset=utf-8"})


def answers(port):
    with contextlib.suppress(OSError):
        return get(f"http://127.0.0.1:{port}/")


def kind_of(port, accept):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
        head = client.makefile("rb").read().split(b"\r\n\r\n")[0]
    (kind,) = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Type")]
    return kind


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
