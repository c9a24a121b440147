"""Many hits of one key in one turn of the event loop become one command: COST n MIN 1.

What is granted is handed out in the order of the hits, and nobody is let in whom single commands would not have let in.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable

from .verdict import LimitState, Verdict

Hits = list["asyncio.Future[Verdict]"]


def earlier(last: Verdict, later: int) -> Verdict:
    """The verdict of a hit that others of the same command came after: so many more were left."""
    return Verdict(
        allowed=True,
        limit=last.limit,
        remaining=min(last.limit, last.remaining + later),
        retry_after_ms=last.retry_after_ms,
        reset_after_ms=last.reset_after_ms,
        next_after_ms=last.next_after_ms,
        limits=tuple(
            [
                LimitState(
                    allowed=one.allowed,
                    limit=one.limit,
                    remaining=min(one.limit, one.remaining + later),
                    retry_after_ms=one.retry_after_ms,
                    reset_after_ms=one.reset_after_ms,
                    next_after_ms=one.next_after_ms,
                    name=one.name,
                    window_seconds=one.window_seconds,
                )
                for one in last.limits
            ]
        ),
        taken=1,
        local=last.local,
    )


class Coalescer:
    """``ask`` takes a key, and how many are asked for at once: what fits of them, at least one."""

    def __init__(self, ask: Callable[[str, int], Awaitable[Verdict]]):
        self._ask = ask
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Hits]] = weakref.WeakKeyDictionary()
        self._settling: set[asyncio.Task[None]] = set()

    def hit(self, key: str) -> "asyncio.Future[Verdict]":
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._waiting[loop] = {}
        if not waiting:
            loop.call_soon(self._flush, loop)  # behind all that is ready in this turn
        hit = loop.create_future()
        waiting.setdefault(key, []).append(hit)
        return hit

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        for key, hits in self._waiting.pop(loop).items():
            asked_for = [hit for hit in hits if not hit.done()]  # who was cancelled before is not charged
            if asked_for:
                task = loop.create_task(self._settle(key, asked_for), name="ratelimit-client-coalesce")
                self._settling.add(task)
                task.add_done_callback(self._settling.discard)

    async def _settle(self, key: str, hits: Hits) -> None:
        done, is_partial = 0, False
        try:
            while done < len(hits):
                # Those whom a grant left out ask as one: a denial of 1 has the times of each.
                count = 1 if is_partial else len(hits) - done
                verdict = await self._ask(key, count)
                if verdict.error is not None or (not verdict.allowed and count == 1):
                    for hit in hits[done:]:
                        _answer(hit, verdict)
                    return
                for later in range(verdict.taken - 1, -1, -1):
                    _answer(hits[done], earlier(verdict, later))
                    done += 1
                is_partial = verdict.taken < count
        finally:
            for hit in hits[done:]:  # the loop is closed
                hit.cancel()


def _answer(hit: "asyncio.Future[Verdict]", verdict: Verdict) -> None:
    if not hit.done():
        hit.set_result(verdict)
