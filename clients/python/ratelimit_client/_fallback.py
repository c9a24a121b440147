"""What limiters of one client do by themselves while Redis is away (``unavailable="local"``), and how Redis learns of it.

::

    Redis is there         it alone is asked
    a hit had no answer    the engine in this process decides, and what it lets through is noted
    from then on           both must let a hit through: a denial of the engine's ends it, what it lets through is asked of Redis,
                           and stands where Redis has no answer
    Redis answers again    what is noted is charged there (FORCE, AT its time, each once by an id); for RETURN_S more both must let a
                           hit through, while the other processes, too, charge what they have noted

So from the first failure on until everything is charged a process lets through what its own limits do, and no more.
"""

import asyncio
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._check import MAX_SPAN_MS, span_ms, wrong
from .client import AsyncLink, Link
from .errors import RefusedError
from .local import LocalEngine
from .verdict import LocalReply

Words = Sequence[str | int]
OnError = Callable[[Exception], None]

RETURN_S = 5.0  # how long Redis is not believed alone once it is back
PROBE_S = 0.25  # how often Redis is asked to take what is noted
ASK_S = 1.0  # how long it may take for that
MAX_ENTRIES = 32  # charges noted for one key; more are put together, at the later time
TOGETHER_MS = 10  # charges of a key that are no further apart become one


@dataclass(slots=True)
class Entry:
    at: int
    cost: int
    id: str
    is_known: bool  # the application knows its id or its time, so it stays a charge of its own
    is_sent: bool = False


@dataclass(slots=True)
class Noted:
    """What a key was charged: what the words of its hits begin and end with, and when they were."""

    head: list[str | int]
    tail: list[str | int]
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Charge:
    key: str
    head: list[str | int]
    tail: list[str | int]
    cost: int
    at: int | None = None
    id: str | None = None
    is_stamped: bool = False  # its time was told, by which it may be given back


@dataclass(frozen=True, slots=True)
class Question:
    """As the engine is asked it, and what its reply has charged."""

    words: Words
    charges: Callable[[Any], Sequence[Charge]]


def share_of(algorithm: str, limits: Sequence[str | int], instances: int) -> list[str | int]:
    """The limits of which each of so many processes goes on with its part: rounded down, and no less than 1."""
    if instances == 1:
        return list(limits)

    def share(amount: str | int) -> int:
        return max(1, int(amount) // instances) if int(amount) else 0

    if algorithm != "BUCKET":
        return [share(word) if i % 2 == 0 else word for i, word in enumerate(limits)]
    most = min(MAX_SPAN_MS // span_ms("interval", interval) for interval in limits[2::3])
    if instances > most:
        raise wrong("instances", f"at most {most}, as the interval of each process's part is that much longer", instances)
    # A bucket's tokens flow back that much slower.
    words: list[str | int] = []
    for capacity, refill, interval in zip(limits[::3], limits[1::3], limits[2::3], strict=True):
        words += [share(capacity), refill, f"{span_ms('interval', interval) * instances}ms"]
    return words


class Plain:
    """The questions of one limiter's hits: its commands' words, with this process's part of the limits."""

    def __init__(self, algorithm: str, limits: Sequence[str | int], share: Sequence[str | int]):
        self._command = f"RL.{algorithm}"
        self._limits, self._share = list(limits), list(share)
        self._several = len(limits) > (3 if algorithm == "BUCKET" else 2)

    def question(self, words: Words, key: str) -> Question:
        begins = 3 if words[0] == "RL.PEEK" else 2
        ends = begins + len(self._limits)
        is_own = list(words[begins:ends]) == self._limits
        local = [*words[:begins], *self._share, *words[ends:]] if is_own else words
        if words[0] != self._command:
            return Question(local, lambda _: [])
        return Question(local, lambda reply: self._charges(reply, key, words[ends:]))

    def _charges(self, reply: Any, key: str, options: Words) -> Sequence[Charge]:
        """``options`` stand in the order of ``Plan.hit``."""
        said: dict[str, Any] = {}
        i = 0
        while i < len(options) and options[i] in ("COST", "MIN", "FORCE", "AT", "STAMP", "ID", "RESERVE", "NEXT"):
            takes = options[i] in ("COST", "MIN", "AT", "ID", "RESERVE")
            said[str(options[i])] = options[i + 1] if takes else True
            i += 2 if takes else 1
        at = (6 if "NEXT" in said else 5) + self._several
        if "ID" in said:
            if reply[at] == 1:
                return []  # it was charged before
            at += 1
        if "MIN" in said:
            taken = reply[at]
            at += 1
        else:
            taken = int(said.get("COST", 1)) if reply[0] == 1 or "FORCE" in said else 0
        if taken == 0:
            return []
        stamp = reply[at] if "STAMP" in said else 0
        head: list[str | int] = [self._command, key, *self._limits]
        return [Charge(key, head, policies_of(options[i:]), taken, stamp or said.get("AT"), said.get("ID"), stamp > 0)]


def policies_of(words: Words) -> list[str | int]:
    """The POLICY options, which stand between BLOCK and DENY."""
    first = next((i for i, word in enumerate(words) if word in ("POLICY", "DENY")), len(words))
    last = first
    while last < len(words) and words[last] == "POLICY":
        last += 2
    return list(words[first:last])


class Fallback:
    """One for each client, as keys are."""

    def __init__(self, max_keys: int, on_error: OnError):
        self.max_keys = max_keys
        self.on_error = on_error
        self._engine = LocalEngine(max_keys=max_keys)
        self._noted: dict[str, Noted] = {}
        self._is_away = False
        self._trusted_from = 0.0
        self._lock = threading.RLock()
        _all.add(self)

    def forked(self) -> None:
        """What is noted is the parent's to charge."""
        self._lock = threading.RLock()
        self._noted = {}
        if self._engine.is_stopped:
            self._engine = LocalEngine(max_keys=self.max_keys)

    @property
    def is_doubtful(self) -> bool:
        """Whether the engine is asked before Redis."""
        return self._is_away or self.owes or time.monotonic() < self._trusted_from

    @property
    def owes(self) -> bool:
        return bool(self._noted)

    def decide(self, question: Question) -> LocalReply:
        return LocalReply(self._engine(question.words))

    def _local(self, question: Question, on_error: OnError) -> LocalReply | None:
        """None where the engine is full of keys that count: Redis may have room."""
        try:
            return self.decide(question)
        except Exception as error:
            on_error(error)
            return None

    def _before(self, question: Question, on_error: OnError) -> tuple[LocalReply | None, bool]:
        """What the engine says where Redis is doubtful, and whether that is the answer: a denial that charges nothing."""
        local = self._local(question, on_error) if self.is_doubtful else None
        return local, local is not None and local[0] == 0 and not question.charges(local)

    def _instead(self, question: Question, local: LocalReply | None, error: Exception, on_error: OnError) -> LocalReply:
        """The answer where Redis has none. What it lets through is noted, to be charged."""
        self.lost(error)
        if local is None:
            local = self.decide(question)
        on_error(error)
        self.note(question.charges(local))
        self._run()
        return local

    def _run(self) -> None:
        """Sees to it that what is noted is charged."""
        raise NotImplementedError

    def forget(self, key: str) -> None:
        with self._lock:
            self._noted.pop(key, None)
        self._engine(["DEL", key])

    def lost(self, error: Exception) -> None:
        if not isinstance(error, RefusedError):
            self._is_away = True

    def heard(self) -> None:
        if self._is_away:
            self._is_away = False
            self._trusted_from = time.monotonic() + RETURN_S

    def note(self, charges: Iterable[Charge]) -> None:
        with self._lock:
            for charge in charges:
                noted = self._noted.setdefault(charge.key, Noted(charge.head, charge.tail))
                entries = noted.entries
                now = time.time_ns() // 1_000_000 if charge.at is None else charge.at
                is_known = charge.id is not None or charge.is_stamped
                last = entries[-1] if entries else None
                if (
                    last is not None
                    and not last.is_sent
                    and not last.is_known
                    and not is_known
                    and (last.cost > 0) == (charge.cost > 0)
                    and abs(now - last.at) <= TOGETHER_MS
                ):
                    last.cost += charge.cost
                    last.at = max(last.at, now)
                else:
                    name = f"local:{uuid.uuid4()}" if charge.id is None else charge.id
                    entries.append(Entry(now, charge.cost, name, is_known))
                if len(entries) > MAX_ENTRIES:
                    self._put_together(entries)
            if len(self._noted) > self.max_keys:
                self.prune(list(self._noted))

    @staticmethod
    def _put_together(entries: list[Entry]) -> None:
        """The two oldest that are not under way become one, at the later time: it may count for longer, and not for less."""
        for i in range(len(entries) - 1):
            first, second = entries[i], entries[i + 1]
            if not first.is_sent and not second.is_sent:
                second.cost += first.cost
                second.at = max(first.at, second.at)
                del entries[i : i + 1 if second.cost else i + 2]
                return

    def prune(self, keys: Iterable[str]) -> None:
        """What the engine has no key for any more counts nowhere."""
        with self._lock:
            for key in keys:
                if not self._engine(["EXISTS", key]):
                    self._noted.pop(key, None)

    def keys(self, most: int) -> list[str]:
        with self._lock:
            return [key for key, _ in zip(self._noted, range(most), strict=False)]

    def take(self, key: str) -> list[tuple[Entry, list[str | int]]]:
        """What is to be charged to a key, each with its words: whoever is given them has them sent, and says so."""
        with self._lock:
            noted = self._noted.get(key)
            if noted is None:
                return []
            entries = [entry for entry in noted.entries if not entry.is_sent]
            if noted.head[0] == "RL.BUCKET" and entries:
                entries = self._left(key, noted, entries)
            for entry in entries:
                entry.is_sent = True
            return [(entry, self._words(noted, entry)) for entry in entries]

    def _left(self, key: str, noted: Noted, entries: list[Entry]) -> list[Entry]:
        """Of a bucket, what has not flowed off meanwhile: Redis counts it from now on."""
        info = self._engine(["RL.INFO", key])
        used = max((_field(limit, b"used") for limit in _field(info, b"limits")), default=0) if info else 0
        first = entries[0]
        first.cost = min(used, sum(entry.cost for entry in entries))
        noted.entries = [entry for entry in noted.entries if entry is first or entry not in entries]
        if first.cost > 0:
            return [first]
        noted.entries.remove(first)
        self._drop_if_done(key, noted)
        return []

    @staticmethod
    def _words(noted: Noted, entry: Entry) -> list[str | int]:
        force: list[str | int] = ["FORCE"] if entry.cost > 0 else []
        at: list[str | int] = [] if noted.head[0] == "RL.BUCKET" else ["AT", entry.at]
        return [*noted.head, "COST", entry.cost, *force, *at, "ID", entry.id, *noted.tail]

    def sent(self, key: str, entry: Entry, error: Exception | None) -> bool:
        """Whether Redis has answered."""
        is_refused = isinstance(error, RefusedError)
        if error is None:
            self.heard()
        elif is_refused:
            self.on_error(error)  # it never takes it
        with self._lock:
            noted = self._noted.get(key)
            if error is not None and not is_refused:
                entry.is_sent = False
                return False
            if noted is not None and entry in noted.entries:
                noted.entries.remove(entry)
                self._drop_if_done(key, noted)
            return True

    def _drop_if_done(self, key: str, noted: Noted) -> None:
        if not noted.entries and self._noted.get(key) is noted:
            del self._noted[key]


def _field(flat: Any, name: bytes) -> Any:
    return flat[flat.index(name) + 1]


class SyncFallback(Fallback):
    """Charges what it owes in a thread, which there is while something is owed."""

    def __init__(self, link: Link, max_keys: int, on_error: OnError):
        super().__init__(max_keys, on_error)
        self.link = link
        self._thread: threading.Thread | None = None

    def ask(self, question: Question, words: Words, key: str, timeout_s: float | None, on_error: OnError) -> Any:
        local, is_final = self._before(question, on_error)
        if is_final:
            return local
        try:
            reply = self.link.ask(words, key, timeout_s)
        except Exception as error:
            return self._instead(question, local, error, on_error)
        self.heard()
        return reply

    def charge(self, key: str) -> bool:
        is_heard = True
        for entry, words in self.take(key):
            try:
                self.link.ask(words, key, ASK_S)
            except Exception as error:
                is_heard = self.sent(key, entry, error) and is_heard
            else:
                self.sent(key, entry, None)
        return is_heard

    def _run(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._flush, name="ratelimit-charges", daemon=True)
                self._thread.start()

    def _flush(self) -> None:
        while True:
            with self._lock:
                if not self.owes:
                    self._thread = None
                    return
            # One key, to see whether Redis is back; then all of them.
            count = 1
            while all([self.charge(key) for key in self.keys(count)]) and self.owes:
                if count > 1:
                    time.sleep(0.001)
                count = 64
            if self.owes:
                self.prune(self.keys(1))
                time.sleep(PROBE_S)


class AsyncFallback(Fallback):
    """Charges what it owes in a task, which there is while something is owed."""

    def __init__(self, link: AsyncLink, max_keys: int, on_error: OnError):
        super().__init__(max_keys, on_error)
        self.link = link
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Question, words: Words, key: str, timeout_s: float | None, on_error: OnError) -> Any:
        local, is_final = self._before(question, on_error)
        if is_final:
            return local
        try:
            reply = await self.link.ask(words, key, timeout_s)
        except Exception as error:
            return self._instead(question, local, error, on_error)
        self.heard()
        return reply

    def _run(self) -> None:
        if self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            self._task = asyncio.create_task(self._flush())

    async def charge(self, key: str) -> bool:
        taken = self.take(key)
        return all(await asyncio.gather(*(self._send(key, entry, words) for entry, words in taken)))

    async def _send(self, key: str, entry: Entry, words: Words) -> bool:
        try:
            await self.link.ask(words, key, ASK_S)
        except Exception as error:
            return self.sent(key, entry, error)
        except BaseException:
            entry.is_sent = False
            raise
        return self.sent(key, entry, None)

    async def _flush(self) -> None:
        while self.owes:
            count = 1
            while all(await asyncio.gather(*(self.charge(key) for key in self.keys(count)))) and self.owes:
                count = 64
                await asyncio.sleep(0.001)
            if self.owes:
                self.prune(self.keys(1))
                await asyncio.sleep(PROBE_S)


class LocalLink:
    """A limiter's way to Redis, or to the engine."""

    def __init__(self, fallback: SyncFallback, plain: Plain, on_error: OnError):
        self.fallback, self._plain, self._on_error = fallback, plain, on_error

    def ask(self, words: Words, key: str, timeout_s: float | None) -> Any:
        if words[0] == "DEL":
            self.fallback.forget(key)
        if words[0] in ("DEL", "RL.BLOCK"):
            return self.fallback.link.ask(words, key, timeout_s)
        return self.fallback.ask(self._plain.question(words, key), words, key, timeout_s, self._on_error)

    def asking(self, question: Question) -> "LocalLink":
        """The same, for a call of several keys."""
        return LocalLink(self.fallback, _Given(question), self._on_error)

    def nodes(self, timeout_s: float | None) -> Sequence[Link]:
        return self.fallback.link.nodes(timeout_s)

    def distrust(self) -> None:
        self.fallback.link.distrust()

    def close(self) -> None:
        self.fallback.link.close()


class AsyncLocalLink:
    def __init__(self, fallback: AsyncFallback, plain: Plain, on_error: OnError):
        self.fallback, self._plain, self._on_error = fallback, plain, on_error

    async def ask(self, words: Words, key: str, timeout_s: float | None) -> Any:
        if words[0] == "DEL":
            self.fallback.forget(key)
        if words[0] in ("DEL", "RL.BLOCK"):
            return await self.fallback.link.ask(words, key, timeout_s)
        return await self.fallback.ask(self._plain.question(words, key), words, key, timeout_s, self._on_error)

    def asking(self, question: Question) -> "AsyncLocalLink":
        return AsyncLocalLink(self.fallback, _Given(question), self._on_error)

    async def nodes(self, timeout_s: float | None) -> Sequence[AsyncLink]:
        return await self.fallback.link.nodes(timeout_s)

    def distrust(self) -> None:
        self.fallback.link.distrust()

    def close(self) -> None:
        self.fallback.link.close()


class _Given(Plain):
    def __init__(self, question: Question):
        self._question = question

    def question(self, words: Words, key: str) -> Question:
        return self._question


_all: "weakref.WeakSet[Fallback]" = weakref.WeakSet()


def fallback_of(link: Any, make: type[Any], max_keys: int, on_error: OnError) -> Any:
    """One for each client."""
    found = getattr(link, "fallback", None)
    if found is None:
        found = link.fallback = make(link, max_keys, on_error)
    if found.max_keys != max_keys:
        raise wrong("max_keys", f"{found.max_keys}, as of the client's other limiters", max_keys)
    return found


def _after_fork() -> None:
    for fallback in list(_all):
        fallback.forked()


os.register_at_fork(after_in_child=_after_fork)
