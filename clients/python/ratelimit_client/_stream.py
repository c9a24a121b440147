"""The package's own connection to one server, for an event loop: commands of one turn are written together and answered in
order, with neither a task nor a timer a hit.

What counts as waiting is the time in which the loop turned: of a stall of the application (a long computation, a burst of
30,000 requests) a turn's worth counts and no more, for a reply that lies in the socket unread is no fault of Redis.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from ._pool import DIAL_S, late, unreachable
from ._resp import ErrorReply, Incomplete, pack, parse
from .errors import UnansweredError, WrongReplyError, refusal_of

TICK_S = 0.02
TURN_S = 0.05

# What redis-py made, and what must stay referenced while it is used.
Dialled = tuple[asyncio.Transport, object]


class Call:
    __slots__ = ("data", "due", "future", "replies", "timeout_s")

    def __init__(self, future: "asyncio.Future[Any]", data: bytes, replies: int, due: float, timeout_s: float | None):
        self.future = future
        self.data = data
        self.replies = replies
        self.due = due
        self.timeout_s = timeout_s


class Session(asyncio.Protocol):
    """A connection. ``sent`` are the calls that wait for their replies, in order."""

    def __init__(self, stream: "Stream", transport: asyncio.Transport, keep: object):
        self.stream = stream
        self.transport = transport
        self.keep = keep
        self.sent: deque[Call] = deque()
        self.unsent: list[Call] = []
        self.buffer = b""

    def send(self, call: Call) -> None:
        if not self.unsent:
            self.stream.loop.call_soon(self.flush)
        self.unsent.append(call)

    def flush(self) -> None:
        calls = [call for call in self.unsent if not call.future.done()]  # who has gone meanwhile is not charged
        self.unsent = []
        if calls:
            self.sent += calls
            self.transport.write(calls[0].data if len(calls) == 1 else b"".join([call.data for call in calls]))

    def data_received(self, data: bytes) -> None:
        buffer, at, sent = self.buffer + data if self.buffer else data, 0, self.sent
        try:
            while at < len(buffer):
                reply, at = parse(buffer, at)
                if not sent:
                    raise WrongReplyError("a reply that nobody has asked for")
                call = sent[0]
                call.replies -= 1
                if call.replies:
                    continue
                sent.popleft()
                if not call.future.done():
                    if type(reply) is ErrorReply:
                        call.future.set_exception(refusal_of(reply))
                        if reply.startswith("READONLY "):
                            self.stream.retire(self)
                    else:
                        call.future.set_result(reply)
        except Incomplete:
            pass
        except WrongReplyError as error:
            self.stream.lost(self, error)
            return
        self.buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.stream.lost(self, exc)

    def waiting(self) -> "list[Call]":
        return [call for call in (*self.sent, *self.unsent) if not call.future.done()]


class Stream:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, dial: Callable[[], Awaitable[Dialled]]):
        self.loop = loop
        self._dial = dial
        self._session: Session | None = None
        self._retired: list[Session] = []  # what they owe may still come; nothing more is sent by them
        self._waiting: list[Call] = []
        self._dialling: asyncio.Task[None] | None = None
        self._is_slow = False
        self._failures = 0
        self._not_before = 0.0
        self._cause: Exception | None = None
        self._clock = 0.0  # seconds in which the loop turned
        self._turned = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self._next_due = float("inf")
        self._until_shutdown: AsyncGenerator[None] | None = None

    def exchange(self, data: bytes, timeout_s: float | None, replies: int = 1) -> "asyncio.Future[Any]":
        now = monotonic()
        if self._ticking is None:
            self._turned = now
            self._ticking = self.loop.call_later(TICK_S, self._tick)
        if timeout_s is None:
            due = float("inf")
        else:
            due = self._clock + min(now - self._turned, TURN_S) + timeout_s
            if due < self._next_due:
                self._next_due = due
        call = Call(self.loop.create_future(), data, replies, due, timeout_s)
        if self._session is not None:
            self._session.send(call)
        else:
            self._wait(call, now)
        return call.future

    def _wait(self, call: Call, now: float) -> None:
        if self._dialling is None:
            if now < self._not_before:
                call.future.set_exception(unreachable(self._cause))
                return
            self._dialling = self.loop.create_task(self._connect(), name="ratelimit-client-dial")
        elif self._is_slow:
            call.future.set_exception(unreachable("it does not answer"))
            return
        self._waiting.append(call)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(DIAL_S):
                transport, keep = await self._dial()
            if self._until_shutdown is None:
                self._until_shutdown = _closing(self)
                await anext(self._until_shutdown)  # asyncio.run closes it, and so us, before it closes the loop
        except Exception as error:
            self._dialling, self._is_slow, self._cause = None, False, error
            self._not_before = monotonic() + min(0.025 * 2 ** min(self._failures, 6), 1.0)
            self._failures += 1
            self._fail(self._waiting, lambda: unreachable(error))
            return
        except BaseException:  # the loop is closed
            self._dialling = None
            self._fail(self._waiting, lambda: unreachable("the event loop was closed"))
            raise
        self._dialling, self._is_slow, self._failures, self._cause = None, False, 0, None
        session = self._session = Session(self, transport, keep)
        transport.set_protocol(session)
        transport.resume_reading()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if not call.future.done():
                session.send(call)

    def retire(self, session: Session) -> None:
        """Nothing more is sent by it. Closed as soon as nobody waits for it."""
        if self._session is session:
            self._session = None
            self._retired.append(session)

    def lost(self, session: Session, error: Exception | None) -> None:
        if self._session is session:
            self._session = None
        elif session in self._retired:
            self._retired.remove(session)
        session.transport.abort()
        calls, session.unsent = session.waiting(), []
        session.sent.clear()
        if isinstance(error, WrongReplyError):
            self._fail(calls, lambda: WrongReplyError(*error.args))
        else:
            self._fail(calls, lambda: UnansweredError("connection", f"the connection to Redis broke: {error or 'closed by Redis'}"))

    def distrust(self) -> None:
        """What answers is not Redis, or not in step."""
        if self._session is not None:
            self.lost(self._session, WrongReplyError("a reply of another form than expected"))

    def close(self) -> None:
        for session in (self._session, *self._retired):
            if session is not None:
                self.lost(session, ConnectionError("closed by the application"))
        if self._dialling is not None:
            self._dialling.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    @staticmethod
    def _fail(calls: list[Call], error: Callable[[], Exception]) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error())
        calls.clear()

    def _tick(self) -> None:
        now = monotonic()
        self._clock += min(now - self._turned, TURN_S)
        self._turned = now
        if self._clock >= self._next_due:
            self._expire()
        for session in [one for one in self._retired if not one.waiting()]:
            self.lost(session, None)
        is_idle = not self._waiting and not self._retired and not (self._session and (self._session.sent or self._session.unsent))
        self._ticking = None if is_idle else self.loop.call_later(TICK_S, self._tick)

    def _expire(self) -> None:
        self._next_due = float("inf")
        waiting = [call for call in self._waiting if not call.future.done()]
        for call in waiting:
            if self._is_due(call):
                call.future.set_exception(late(call.timeout_s, "no connection to"))
                self._is_slow = self._dialling is not None
        self._waiting = [call for call in waiting if not call.future.done()]
        for session in (self._session, *self._retired):
            if session is None:
                continue
            for call in session.waiting():
                if self._is_due(call):
                    call.future.set_exception(late(call.timeout_s))
                    self.retire(session)

    def _is_due(self, call: Call) -> bool:
        if call.due <= self._clock:
            return True
        self._next_due = min(self._next_due, call.due)
        return False


async def _closing(stream: Stream) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        stream.close()


class Streams:
    """One for each event loop that the limiter is used from."""

    def __init__(self, dial: Callable[[], Awaitable[Dialled]]):
        self._dial = dial
        self._of: dict[asyncio.AbstractEventLoop, Stream] = {}

    def stream(self) -> Stream:
        loop = asyncio.get_running_loop()
        found = self._of.get(loop)
        if found is None:
            for closed in [one for one in self._of if one.is_closed()]:
                del self._of[closed]
            found = self._of[loop] = Stream(loop, self._dial)
        return found

    def ask(self, words: Sequence[str | int], key: str, timeout_s: float | None) -> "asyncio.Future[Any]":
        return self.stream().exchange(pack(words), timeout_s)

    def exchange(self, data: bytes, timeout_s: float | None, replies: int = 1) -> "asyncio.Future[Any]":
        return self.stream().exchange(data, timeout_s, replies)

    async def nodes(self, timeout_s: float | None) -> "list[Streams]":
        return [self]

    def distrust(self) -> None:
        self.stream().distrust()

    def close(self) -> None:
        self.stream().close()
