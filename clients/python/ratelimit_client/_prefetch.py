"""Units are taken ahead (COST n MIN 1 STAMP) and handed out from memory.

What is not used within its time is given back AT the time of its charge. All that is handed out was charged by the server
before, and no longer ago than it may be held: nothing is counted twice, or not at all.
"""

import asyncio
import os
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from ._check import integer, least_ms, wrong
from ._coalesce import earlier
from .blocked import aged
from .plan import Plan
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Prefetch:
    """``units``: how many are taken at once, 2 or more. ``hold_ms``: how long they are held; by default 1000, or a tenth of the
    shortest window where that is less.
    """

    units: int
    hold_ms: int | None = None


def prefetched(given: object, plan: Plan) -> tuple[int, float]:
    """The units, and for how many seconds they are held."""
    prefetch = given if isinstance(given, Prefetch) else Prefetch(given) if type(given) is int else None
    if prefetch is None:
        raise wrong("prefetch", "how many units, or Prefetch(units, hold_ms)", given)
    if plan.block:
        raise TypeError("prefetch: not with block: who is blocked would be let in by units that were taken before")
    shortest = min(least_ms(window) for window in plan.windows)
    hold_ms = max(1, min(1000, shortest // 10)) if prefetch.hold_ms is None else integer("prefetch.hold_ms", prefetch.hold_ms, 1)
    return integer("prefetch.units", prefetch.units, 2), hold_ms / 1000


@dataclass(slots=True, eq=False)
class _Held:
    """What was taken of one key."""

    taken: Verdict
    since: float  # before the server decided, so that no unit is held for longer than it counts
    until: float
    left: int
    timer: asyncio.TimerHandle | None = None

    def is_fresh(self) -> bool:
        return self.left > 0 and time.monotonic() < self.until

    def next(self) -> Verdict:
        self.left -= 1
        return replace(earlier(aged(self.taken, (time.monotonic() - self.since) * 1000), self.left), charged_at=self.taken.charged_at)


@dataclass(slots=True, eq=False)
class _Keys:
    """Of one event loop."""

    held: dict[str, _Held] = field(default_factory=dict)
    waiting: dict[str, "deque[asyncio.Future[Verdict]]"] = field(default_factory=dict)
    under_way: set["asyncio.Task[None]"] = field(default_factory=set)


class Prefetcher:
    """``take`` takes so many units of a key, as many as fit, at least one; ``give_back`` gives back so many of what was charged then."""

    def __init__(
        self,
        units: int,
        hold_s: float,
        take: Callable[[str, int], Awaitable[Verdict]],
        give_back: Callable[[str, int, int], Coroutine[Any, Any, None]],
    ):
        self._units, self._hold_s, self._take, self._give_back = units, hold_s, take, give_back
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Keys] = weakref.WeakKeyDictionary()
        self._is_closed = False
        _prefetchers.add(self)

    def after_fork(self) -> None:
        """What the parent holds is the parent's."""
        self._loops = weakref.WeakKeyDictionary()

    async def hit(self, key: str) -> Verdict:
        if self._is_closed:
            return await self._take(key, 1)
        loop = asyncio.get_running_loop()
        keys = self._loops.get(loop)
        if keys is None:
            keys = self._loops[loop] = _Keys()
        held = keys.held.get(key)
        if held is not None:
            if held.is_fresh():
                return held.next()
            self._release(keys, key, held)
        hit: asyncio.Future[Verdict] = loop.create_future()
        waiting = keys.waiting.get(key)
        if waiting is not None:
            waiting.append(hit)
        else:
            keys.waiting[key] = deque([hit])
            self._start(keys, self._fill(loop, keys, key))
        return await hit

    def _start(self, keys: _Keys, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="ratelimit-client-prefetch")
        keys.under_way.add(task)
        task.add_done_callback(keys.under_way.discard)

    async def _fill(self, loop: asyncio.AbstractEventLoop, keys: _Keys, key: str) -> None:
        """One command of a key at a time: whoever comes meanwhile waits for what it brings."""
        waiting = keys.waiting[key]
        try:
            while self._next(waiting) is not None:
                since = time.monotonic()
                taken = await self._take(key, 1 if self._is_closed else self._units)
                if not taken.allowed or taken.error is not None:
                    while waiting:
                        hit = waiting.popleft()  # the wait is until one unit fits
                        if not hit.done():
                            hit.set_result(taken)
                    break
                # A fixed window ends, and with it what was taken of it; a bucket that is full again owes nothing. Times are
                # rounded up.
                hold_s = min(self._hold_s, *((limit.reset_after_ms - 1) / 1000 for limit in taken.limits))
                held = _Held(taken, since, since + hold_s, taken.taken)
                while held.left > 0 and (one := self._next(waiting)) is not None:
                    waiting.popleft()
                    one.set_result(held.next())
                if held.left == 0:
                    continue
                keys.held[key] = held
                if self._is_closed or not held.is_fresh():
                    self._release(keys, key, held)
                else:
                    held.timer = loop.call_later(self._hold_s, self._release, keys, key, held)
        finally:
            del keys.waiting[key]
            for hit in waiting:  # the loop is closed
                hit.cancel()

    @staticmethod
    def _next(waiting: "deque[asyncio.Future[Verdict]]") -> "asyncio.Future[Verdict] | None":
        """Who was cancelled is not charged."""
        while waiting and waiting[0].done():
            waiting.popleft()
        return waiting[0] if waiting else None

    def _release(self, keys: _Keys, key: str, held: _Held) -> None:
        self._drop(keys, key, held)
        left, held.left = held.left, 0
        if left > 0 and held.taken.charged_at:
            self._start(keys, self._give_back(key, left, held.taken.charged_at))

    @staticmethod
    def _drop(keys: _Keys, key: str, held: _Held) -> None:
        if held.timer is not None:
            held.timer.cancel()
        if keys.held.get(key) is held:
            del keys.held[key]

    def forget(self, key: str) -> None:
        """Of a key that is gone, nothing is given back."""
        keys = self._loops.get(asyncio.get_running_loop())
        if keys is not None and (held := keys.held.get(key)) is not None:
            self._drop(keys, key, held)

    def shut(self, key: str) -> None:
        """Of a key that is being shut, nothing is handed out any more."""
        keys = self._loops.get(asyncio.get_running_loop())
        if keys is not None and (held := keys.held.get(key)) is not None:
            self._release(keys, key, held)

    async def close(self) -> None:
        """Gives back all that this loop holds, and takes nothing ahead any more: each hit is a command."""
        self._is_closed = True
        keys = self._loops.get(asyncio.get_running_loop())
        if keys is None:
            return
        for key, held in list(keys.held.items()):
            self._release(keys, key, held)
        while keys.under_way:
            await asyncio.wait(set(keys.under_way))


_prefetchers: "weakref.WeakSet[Prefetcher]" = weakref.WeakSet()


def _after_fork() -> None:
    for prefetcher in list(_prefetchers):
        prefetcher.after_fork()


os.register_at_fork(after_in_child=_after_fork)
