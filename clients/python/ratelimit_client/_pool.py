"""The package's own connections to one server, for threads: a command is sent at most once, and its deadline holds.

A blocking socket waits in the calling thread, for as long as the deadline says. Only a new connection is made in a thread of
its own, as nothing bounds a look-up of a name; whoever needs it waits for it within its own deadline.
"""

import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from ssl import SSLWantReadError, SSLWantWriteError
from time import monotonic
from typing import Any

from ._resp import ErrorReply, Incomplete, pack, parse
from .errors import UnansweredError, refusal_of

MAX_CONNECTIONS = 64
DIAL_S = 5.0  # a connection that takes longer to be made has failed
GRACE_S = 0.05  # for a server to answer what was sent late, because this process was held up or a connection was late
CHUNK = 65_536

_NOT_NOW = (BlockingIOError, SSLWantReadError, SSLWantWriteError)


class Session:
    """A connection: one command at a time."""

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket):
        self.sock = sock

    def is_fresh(self) -> bool:
        """Not closed by the server while nobody used it: what would be sent then is lost, and may not be sent again."""
        try:
            self.sock.settimeout(0)
            self.sock.recv(1)
        except _NOT_NOW:
            return True
        except OSError:
            pass
        return False  # closed, or data that nobody has asked for

    def exchange(self, data: bytes, deadline: float, least_s: float, replies: int) -> Any:
        """Sends ``data``, and gives the last of so many replies. The server is given ``least_s`` in any case."""
        sock, buffer, at = self.sock, b"", 0
        sock.settimeout(None if deadline == float("inf") else max(deadline - monotonic(), least_s))
        sock.sendall(data)
        while True:
            try:
                chunk = sock.recv(CHUNK)
            except TimeoutError:
                sock.settimeout(0)  # late is what has not arrived: once more without waiting
                continue
            except _NOT_NOW:
                raise TimeoutError from None
            if not chunk:
                raise ConnectionError("closed by Redis")
            buffer += chunk
            try:
                while True:
                    reply, at = parse(buffer, at)
                    replies -= 1
                    if not replies:
                        return reply
            except Incomplete:
                sock.settimeout(_left(deadline))

    def close(self) -> None:
        self.sock.close()

    def __del__(self) -> None:
        self.sock.close()


def _left(deadline: float) -> float | None:
    return None if deadline == float("inf") else max(0.0, deadline - monotonic())


def late(timeout_s: float | None, what: str = "no answer from") -> UnansweredError:
    return UnansweredError("timeout", f"{what} Redis within {(timeout_s or 0) * 1000:.0f} ms")


def unreachable(cause: Exception | str | None) -> UnansweredError:
    error = UnansweredError("connection", f"no connection to Redis: {cause or type(cause).__name__}")
    error.__cause__ = cause if isinstance(cause, Exception) else None
    return error


class Pool:
    """``dial`` makes a connected socket, or raises."""

    def __init__(self, dial: Callable[[], socket.socket]):
        self._dial_socket = dial
        self._epoch = 0
        self.reset()
        _pools.add(self)

    def reset(self) -> None:
        """As new. After a fork, too: the sockets are the parent's, and a lock may be held by a thread that is not here."""
        self._idle: deque[Session] = deque()
        self._changed = threading.Condition()
        self._count = 0  # sessions, in use or idle
        self._waiting = 0
        self._dialling = 0
        self._dialled_at = 0.0
        self._is_slow = False  # a connection in the making has outlasted a call's deadline: others do not wait for it
        self._failures = 0
        self._failed = 0  # how often, ever
        self._not_before = 0.0
        self._cause: Exception | None = None
        self._epoch += 1

    def close(self) -> None:
        """Closes what is idle; what is in use when it comes back. A later call connects anew."""
        with self._changed:
            self._epoch += 1
            self._idle.clear()
            self._count = self._dialling = 0
            self._is_slow = False
            self._changed.notify_all()

    def ask(self, words: Sequence[str | int], key: str, timeout_s: float | None) -> Any:
        return self.exchange(pack(words), timeout_s)

    def exchange(self, data: bytes, timeout_s: float | None, replies: int = 1) -> Any:
        epoch = self._epoch
        wait_s = float("inf") if timeout_s is None else timeout_s
        deadline = monotonic() + wait_s
        session = self._idle_session() or self._wait(deadline, timeout_s)
        try:
            reply = session.exchange(data, deadline, min(wait_s, GRACE_S), replies)
        except BaseException as error:  # also an interrupt: a connection with a reply to come is not used again
            self._drop(session, epoch)
            if isinstance(error, TimeoutError):
                raise late(timeout_s) from None
            if isinstance(error, OSError):
                raise UnansweredError("connection", f"the connection to Redis broke: {error}") from error
            raise
        if type(reply) is ErrorReply:
            if reply.startswith("READONLY "):
                self._drop(session, epoch)  # the server has become a replica: a new connection finds the primary
            else:
                self._give_back(session, epoch)
            raise refusal_of(reply)
        self._give_back(session, epoch)
        return reply

    def nodes(self, timeout_s: float | None) -> "list[Pool]":
        return [self]

    def distrust(self) -> None:
        """What answers is not Redis, or not in step."""
        while (session := self._pop()) is not None:
            self._drop(session, self._epoch)

    def _pop(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _idle_session(self) -> Session | None:
        while (session := self._pop()) is not None:
            if session.is_fresh():
                return session
            self._drop(session, self._epoch)
        return None

    def _give_back(self, session: Session, epoch: int) -> None:
        if epoch != self._epoch:
            session.close()
            return
        self._idle.append(session)
        if self._waiting:  # who begins to wait says so before it looks
            with self._changed:
                self._changed.notify()

    def _drop(self, session: Session, epoch: int) -> None:
        session.close()
        with self._changed:
            if epoch == self._epoch:
                self._count -= 1
                self._changed.notify()

    def _wait(self, deadline: float, timeout_s: float | None) -> Session:
        with self._changed:
            self._waiting += 1
            try:
                failed = self._failed
                while True:
                    while (session := self._pop()) is not None:
                        if session.is_fresh():
                            return session
                        session.close()
                        self._count -= 1
                    now = monotonic()
                    if self._dialling and now > self._dialled_at + 2 * DIAL_S:
                        self._epoch += 1  # a thread that hangs is left to itself
                        self._count = self._dialling = 0
                        self._is_slow = False
                    if self._is_slow:
                        raise unreachable("it does not answer")
                    if self._failed != failed or now < self._not_before:
                        raise unreachable(self._cause)
                    if now >= deadline:
                        self._is_slow = self._dialling > 0 and self._count == 0
                        raise late(timeout_s, "no connection to")
                    if self._dialling < self._waiting and self._count + self._dialling < MAX_CONNECTIONS:
                        self._dialling += 1
                        self._dialled_at = now
                        threading.Thread(target=self._dial, args=(self._epoch,), name="ratelimit-client-dial", daemon=True).start()
                    self._changed.wait(_left(deadline))
            finally:
                self._waiting -= 1

    def _dial(self, epoch: int) -> None:
        session, cause = None, None
        try:
            session = Session(self._dial_socket())
        except Exception as error:
            cause = error
        with self._changed:
            if epoch != self._epoch:
                return  # closed, or given up
            self._dialling -= 1
            self._is_slow = False
            self._cause = cause
            if session is not None:
                self._count += 1
                self._failures = 0
                self._idle.append(session)
                self._changed.notify()
            else:
                self._failed += 1
                self._not_before = monotonic() + min(0.025 * 2 ** min(self._failures, 6), 1.0)
                self._failures += 1
                self._changed.notify_all()


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.reset()


os.register_at_fork(after_in_child=_after_fork)
