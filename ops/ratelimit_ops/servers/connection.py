"""A connection to one server, which speaks RESP3. Strings are str whatever bytes they hold ("surrogateescape")."""

import select
import socket
import ssl

MAX_LINE = 1 << 16
MAX_STRING = 64 << 20
MAX_ITEMS = 1 << 22
MAX_DEPTH = 16


class Trouble(Exception):
    """The server cannot be asked, or did not answer as it should; says why, in its own words or in ours."""


class Refused(Trouble):
    """The server answered by an error."""


class Address:
    """Where a server listens: a host and a port, or the path of a Unix socket."""

    def __init__(self, host=None, port=None, path=None):
        self.host, self.port, self.path = host, port, path

    @classmethod
    def parse(cls, text):
        """HOST, HOST:PORT, [IPV6]:PORT, or a path with a slash in it. ValueError says what is wrong."""
        if "/" in text:
            return cls(path=text)
        host, port = text, "6379"
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError(f"{text}: not [IPV6]:PORT")
            port = rest[1:] or port
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        return cls(host or "127.0.0.1", port_number(port))

    def __str__(self):
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def connect(self, timeout):
        if self.path is None:
            return socket.create_connection((self.host, self.port), timeout)
        unix = socket.socket(socket.AF_UNIX)
        try:
            unix.settimeout(timeout)
            unix.connect(self.path)
        except BaseException:
            unix.close()
            raise
        return unix


def port_number(text):
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ValueError(f"{text!r} is not a port (1 .. 65535)")
    return int(text)


class Access:
    """How servers are reached: the user and password, TLS, and how long each may be silent."""

    def __init__(self, user=None, password=None, tls=None, timeout=5.0):
        self.user, self.password, self.tls, self.timeout = user, password, tls, timeout


def tls_context(cacert=None, cert=None, key=None, insecure=False):
    """What --tls and its options ask for. OSError where a file cannot be read."""
    context = ssl.create_default_context(cafile=cacert)
    if cert is not None:
        context.load_cert_chain(cert, key)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Connection:
    """Connects when it is first asked something, and again after a failure."""

    def __init__(self, address, access):
        self.address, self.access = address, access
        self.socket = self.input = None
        self.is_abandoned = False  # a question was broken off, and its answer may be on its way

    @property
    def local_address(self):
        """HOST:PORT of this end, as a server without anything between tells whom it hears; None where there is none."""
        if self.socket is None or self.socket.family == socket.AF_UNIX:
            return None
        host, port, *_ = self.socket.getsockname()
        return f"{host}:{port}"

    def call(self, *words):
        """The reply of one command. Refused, where it is an error."""
        (reply,) = self.pipeline([words])
        if isinstance(reply, Refused):
            raise reply
        return reply

    def pipeline(self, commands):
        """The replies of several commands that are sent at once; an error is among them as a Refused."""
        try:
            if self.is_abandoned:
                self._settle()
            if self.socket is None:
                self._open()
            return self._exchange(commands)
        except Trouble:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise Trouble(f"no answer within {self.access.timeout:g} s") from error
        except (OSError, ValueError) as error:
            self.close()
            raise Trouble(getattr(error, "strerror", None) or str(error)) from error
        except BaseException:  # somebody's Ctrl-C
            self.is_abandoned = True
            raise

    def send(self, commands):
        """Sends commands whose replies are one line each, and does not wait for them: `arrived` has them."""
        try:
            self.socket.sendall(b"".join(map(encode, commands)))
        except (OSError, AttributeError) as error:
            self.close()
            raise Trouble(getattr(error, "strerror", None) or str(error)) from error

    def arrived(self, seconds):
        """The replies to what was sent, as far as they are there; for the first, waits so long. An error is a Refused."""
        lines = []
        try:
            while not lines:
                pending = getattr(self.socket, "pending", int)()
                if not pending and not select.select([self.socket], [], [], seconds)[0]:
                    break
                data = self.socket.recv(1 << 16)
                if not data:
                    raise Trouble("the server closed the connection")
                *whole, self.rest = (self.rest + data).split(b"\r\n")
                lines += whole
        except ssl.SSLWantReadError:
            pass
        except Trouble:
            self.close()
            raise
        except (OSError, ValueError, AttributeError) as error:
            self.close()
            raise Trouble(getattr(error, "strerror", None) or str(error)) from error
        return [self._one_line(line) for line in lines]

    def _one_line(self, line):
        kind, text = line[:1], line[1:].decode("utf-8", "surrogateescape")
        if kind == b"-":
            return Refused(text)
        if kind == b":" and text.lstrip("-").isdigit():
            return int(text)
        if kind == b"+":
            return text
        raise Trouble("not a sound reply")

    def _open(self):
        access = self.access
        self.rest = b""
        plain = self.address.connect(access.timeout)
        try:
            if plain.family != socket.AF_UNIX:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = access.tls.wrap_socket(plain, server_hostname=self.address.host) if access.tls else plain
        except BaseException:
            plain.close()
            raise
        self.input = self.socket.makefile("rb")
        hello = ["HELLO", "3"]
        if access.user is not None or access.password is not None:
            hello += ["AUTH", access.user or "default", access.password or ""]
        (greeting,) = self._exchange([hello])
        if isinstance(greeting, Refused):
            raise greeting

    def _exchange(self, commands):
        self.socket.sendall(b"".join(map(encode, commands)))
        return [self._reply() for _ in commands]

    def _reply(self):
        reply = self._read(0)
        while isinstance(reply, Push):
            reply = self._read(0)
        return reply

    def _line(self):
        line = self.input.readline(MAX_LINE)
        if not line:
            raise Trouble("the server closed the connection")
        if not line.endswith(b"\r\n"):
            raise Trouble("not the protocol of Redis")
        return line[:1], line[1:-2].decode("utf-8", "surrogateescape")

    def _count(self, text, most):
        if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > most:
            raise Trouble("not a sound reply")
        return int(text)

    def _items(self, text, depth, per_item=1):
        if depth >= MAX_DEPTH:
            raise Trouble("not a sound reply")
        return [self._read(depth + 1) for _ in range(per_item * self._count(text, MAX_ITEMS))]

    def _read(self, depth):
        kind, text = self._line()
        if kind == b"$" and text != "-1":  # most of what there is
            return self._string(kind, self._count(text, MAX_STRING))
        if kind == b"+":
            return text
        if kind == b"-":
            return Refused(text)
        if kind == b":" or kind == b"(":
            return int(text)
        if kind == b",":
            return float(text)
        if kind == b"#":
            return text == "t"
        if kind == b"_" or (kind in b"$*" and text == "-1"):
            return None
        if kind in (b"=", b"!"):
            return self._string(kind, self._count(text, MAX_STRING))
        if kind in (b"*", b"~"):
            return self._items(text, depth)
        if kind == b">":
            return Push(self._items(text, depth))
        if kind == b"%":
            items = self._items(text, depth, 2)
            return dict(zip(items[::2], items[1::2]))
        if kind == b"|":  # attributes of the reply that follows
            self._items(text, depth, 2)
            return self._read(depth)
        raise Trouble("not the protocol of Redis")

    def _string(self, kind, length):
        data = self.input.read(length + 2)
        if len(data) != length + 2 or not data.endswith(b"\r\n"):
            raise Trouble("the server closed the connection")
        text = data[:-2].decode("utf-8", "surrogateescape")
        if kind == b"!":
            return Refused(text)
        return text[4:] if kind == b"=" else text

    def _settle(self):
        """Waits until the server is through with what was broken off, so that it does not come after what is sent next."""
        if self.socket is not None:
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(1 << 16):
                pass
        self.close()

    def close(self):
        self.is_abandoned = False
        for part in (self.input, self.socket):
            if part is not None:
                part.close()
        self.socket = self.input = None


class Push(list):
    """What a server sends unasked."""


def encode(words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = str(word).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
