"""What the console and the exporter listen with: the standard library's server, with bounds.

One request a connection: whatever is left of a request, such as a body where none belongs, is thrown away with its connection and
can never be read as another request. Before it is known who asks, a request is HEAD_BYTES at most and here within SECONDS, and
so many are heard at once.
"""

import http.server
import io
import socket
import sys
import threading
import time

from .servers.text import printable

HEAD_BYTES = 1 << 14
SECONDS = 20
MAX_CONNECTIONS = 128


class TooLong(OSError):
    """More was sent than is read from whoever it is."""


class Arriving(io.RawIOBase):
    """What a client sends: so many bytes, until a time. `expect` lets it send more."""

    def __init__(self, connection):
        self.connection, self.left, self.until = connection, HEAD_BYTES, time.monotonic() + SECONDS

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.left:
            raise TooLong
        patience = self.connection.gettimeout()
        self.connection.settimeout(max(0.001, self.until - time.monotonic()))
        try:
            count = self.connection.recv_into(memoryview(buffer)[: self.left])
        finally:
            self.connection.settimeout(patience)
        self.left -= count
        return count

    def expect(self, more):
        self.left += more


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # the connection ends with the answer
    sys_version = ""
    timeout = 30  # for a client that does not take its answer

    def setup(self):
        super().setup()
        self.arriving = Arriving(self.connection)
        self.rfile = io.BufferedReader(self.arriving)

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except TooLong:
            self.requestline, self.request_version, self.command = "", self.protocol_version, None
            self.send_error(431)

    def log_error(self, format, *args):
        """Nothing: who is not understood is told so, and a log would be theirs to fill."""

    def read_body(self, length):
        """A body of whom it may come from."""
        self.arriving.expect(length)
        return self.rfile.read(length)


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address, handler, say):
        self.say = say
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.is_full = False
        self.address_family, *_, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        super().__init__(place, handler)

    def server_bind(self):  # without the look-up of a name for the address
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request, client_address):
        if self.room.acquire(blocking=False):
            self.is_full = False
            return super().process_request(request, client_address)
        if not self.is_full:  # said once, not for each
            self.is_full = True
            self.say(f"too many connections: those beyond {MAX_CONNECTIONS} are closed")
        return self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # whoever asked went away
            self.say(f"{client_address[0]} {type(error).__name__}: {printable(str(error))}")
