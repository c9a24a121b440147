"""Who was told to come back in 900 s is told so by this process until then, and costs no round trip.

Only denials are kept; what is allowed is always counted by the server.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import TypeVar

from ._check import integer
from .verdict import Numbers, Verdict


N = TypeVar("N", bound=Numbers)


def _aged(one: N, elapsed_ms: float) -> N:
    def left(ms: int) -> int:
        return ms if ms < 0 else max(0, ceil(ms - elapsed_ms))

    return replace(
        one,
        retry_after_ms=left(one.retry_after_ms),
        reset_after_ms=left(one.reset_after_ms),
        next_after_ms=None if one.next_after_ms is None else left(one.next_after_ms),
    )


def aged(verdict: Verdict, elapsed_ms: float) -> Verdict:
    """What a verdict says that is so old."""
    return replace(_aged(verdict, elapsed_ms), limits=tuple([_aged(one, elapsed_ms) for one in verdict.limits]))


class BlockedCache:
    """``max_ms``: how long this process may not notice that a limit was raised, usage given back or the key deleted."""

    def __init__(self, *, max_entries: int = 10_000, max_ms: int = 60_000, now: Callable[[], float] = time.monotonic):
        self._max_entries = integer("max_entries", max_entries, 1)
        self._max_ms = integer("max_ms", max_ms, 1)
        self.now = now
        self._entries: dict[str, tuple[float, float, int, Verdict]] = {}  # since, until, cost, verdict; the oldest first
        self._lock = threading.Lock()
        _caches.add(self)

    def after_fork(self) -> None:
        """The lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._entries = dict(self._entries)

    def find(self, key: str, cost: int, force: bool) -> Verdict | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            since, until, denied_cost, verdict = entry
            if self.now() >= until:
                del self._entries[key]
                return None
        if cost < denied_cost or force:  # a cost that does not fit: no greater one does either
            return None
        return aged(verdict, (self.now() - since) * 1000)

    def learn(self, key: str, cost: int, force: bool, since: float, verdict: Verdict) -> None:
        with self._lock:
            if cost < 0:
                self._entries.pop(key, None)  # something was given back
            # An error tells nothing, nor does a repeat; a deny list blames another value than the key.
            if verdict.allowed or verdict.error or verdict.local or verdict.repeated or verdict.denied_value is not None or cost <= 0 or force:
                return
            if len(self._entries) >= self._max_entries:
                del self._entries[next(iter(self._entries))]
            wait_ms = self._max_ms if verdict.retry_after_ms < 0 else min(verdict.retry_after_ms, self._max_ms)
            self._entries[key] = (since, since + wait_ms / 1000, cost, verdict)

    def forget(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)


_caches: "weakref.WeakSet[BlockedCache]" = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache.after_fork()


os.register_at_fork(after_in_child=_after_fork)
