"""How many at once. A lease that is not released ends by itself after its ttl, so a holder whose process is killed costs at
most that. Whatever else happens, it comes back: after a time-out too its id is released.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

from ._ask import ask, ask_async
from ._check import integer, span_ms, text
from ._keeper import Keeper
from .client import AsyncLink, Link, async_link_of, link_of
from .errors import LeaseLostError, RateLimitError
from .plan import Deny, Names, Reach, cost_words, deny_words, policies
from .report import OnError, OnHit
from .verdict import Asked, Verdict, unavailable, verdict

OnLost = Callable[[LeaseLostError], None]

# Pauses of who waits for a lease. The end that the server names is of a holder who may be done long before.
_POLL_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.5)
_RETRY_S = 1.0  # between two tries to give back


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease, where its verdict allows it."""

    id: str
    verdict: Verdict


class Held:
    """What ``hold`` gives to its block."""

    def __init__(self, lease: Lease):
        self.id: str = lease.id
        self.verdict: Verdict = lease.verdict
        self.allowed: bool = lease.verdict.allowed
        self.lost: bool = False  # the lease ended before the work did: somebody else may have been let in


class _Leaser:
    @staticmethod
    def _link_of(client: Any) -> Any:
        raise NotImplementedError

    def __init__(
        self,
        client: Any,
        *,
        limit: int,
        ttl: str,
        typical_ms: int | None = None,
        prefix: str | None = None,
        policy: Names | None = None,
        timeout_ms: int | None = 1000,
        unavailable: Literal["open", "closed"] | None = None,
        on_error: OnError | None = None,
        on_hit: OnHit | None = None,
    ):
        """
        :param limit: how many units may be held at once
        :param ttl: when a lease ends that nobody renews or releases. ``hold`` renews it, so 10 to 60 s will do for work of
            any length
        :param typical_ms: how long a lease is usually held: whoever is denied is told to come back in that time at most. By
            default when the next lease ends by its ttl, which is the only thing that the server knows of
        :param policy: policies of the server whose limit and ttl replace these; the first that exists counts
        """
        self._ttl_s = span_ms("ttl", ttl) / 1000
        self._typical_ms = None if typical_ms is None else integer("typical_ms", typical_ms, 1)
        self._words: list[str | int] = [integer("limit", limit, 0), ttl]
        self._prefix = "" if prefix is None else text("prefix", prefix) + ":"
        self._name = prefix or "default"
        self._policy: list[str | int] = [word for name in policies(policy) for word in ("POLICY", name)]
        self.reach: Reach = Reach(
            name=self._name, timeout_ms=timeout_ms, unavailable=unavailable, on_error=on_error, on_hit=on_hit, open=True
        )
        self.link: Any = self._link_of(client)

    def _full(self, key: str) -> str:
        return self._prefix + text("key", key)

    def _acquire_words(self, full: str, id: str, cost: int, deny: Deny | None) -> tuple[list[str | int], Asked]:
        words: list[str | int] = ["RL.LEASE", full, *self._words, text("id", id)]
        words += [*cost_words(integer("cost", cost, 0)), *self._policy, *deny_words(deny)]
        return words, Asked(name=self._name, described=((self._name, None),), cost=cost, deny=deny is not None)

    def _read(self, reply: Any, asked: Asked) -> Verdict:
        answer = verdict(reply, asked)
        most = self._typical_ms
        return answer if most is None or answer.retry_after_ms <= most else replace(answer, retry_after_ms=most)


def _granted_s(answer: Verdict, ttl_s: float) -> float:
    """How long a lease lasts: a policy may have another ttl than ours. The last lease to end is the newest, or a longer one."""
    return min(answer.reset_after_ms / 1000, ttl_s) if answer.reset_after_ms > 0 else ttl_s


class _Renewal:
    """When a held lease is to be renewed, and whether it is lost. Whoever drives it asks the server."""

    def __init__(self, lease: Lease, ttl_s: float, since: float, held: Held, on_lost: OnLost | None):
        self.id = lease.id
        self._ttl_s = ttl_s
        self._held = held
        self._on_lost = on_lost
        self.is_over = False
        self._extend(lease.verdict, since)

    def _extend(self, answer: Verdict, since: float) -> None:
        lasts = _granted_s(answer, self._ttl_s)
        self._until = since + lasts
        self._every = lasts / 3
        self.pause_s = lasts / 3

    def renewed(self, answer: Verdict, since: float) -> None:
        if self.is_over:
            return
        if answer.error is None and answer.allowed:
            self._extend(answer, since)
        elif answer.error is None:
            self._lose("its renewal was denied")
        elif monotonic() >= self._until:
            self._lose("it could not be renewed before its end", answer.error)
        else:
            self.pause_s = min(self._every / 3, max(0.0, self._until - monotonic()))

    def _lose(self, why: str, cause: Exception | None = None) -> None:
        self.is_over = self._held.lost = True
        error = LeaseLostError(f"the lease {self.id} was lost: {why}")
        error.__cause__ = cause
        if self._on_lost is not None:
            self._on_lost(error)


class _GivingBack:
    """Releases for as long as the lease may be held, and once more where nothing was: what was asked for by a connection
    that broke may be granted after the first release."""

    def __init__(self, ttl_s: float):
        self._until = monotonic() + ttl_s
        self._unheld = 0
        self.is_over = False
        self.pause_s = 0.0

    def released(self, count: int | None) -> None:
        """How many were held, or None where there was no answer."""
        self._unheld += count == 0
        self.is_over = count == 1 or self._unheld == 2 or monotonic() >= self._until
        self.pause_s = _RETRY_S if self._unheld or self.pause_s else 0.05


class Leaser(_Leaser):
    """
    >>> exports = Leaser(client, prefix="export", limit=3, ttl="30s")
    >>> with exports.hold(by_user(user_id)) as held:
    ...     if held.allowed: ...
    """

    link: Link
    _link_of = staticmethod(link_of)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._keeper = Keeper()

    def _acquire(self, full: str, id: str, cost: int, deny: Deny | None) -> Verdict:
        words, asked = self._acquire_words(full, id, cost, deny)
        return ask(self.link, self.reach, words, full, lambda reply: self._read(reply, asked), unavailable, self.reach.open)

    def acquire(self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None) -> Lease:
        """Takes a lease, or with the id of one that is held renews it."""
        full, holder = self._full(key), uuid.uuid4().hex if id is None else id
        try:
            answer = self._acquire(full, holder, cost, deny)
        except BaseException:  # interrupted: it may have been granted all the same
            if id is None and cost:
                self._give_back(full, holder)
            raise
        # What was not answered may have been granted, too. Of a renewal the lease stays, if it is held.
        if answer.error is not None and id is None and cost:
            self._give_back(full, holder)
        return Lease(holder, answer)

    def wait(
        self, key: str, *, id: str | None = None, cost: int = 1, timeout_ms: int = 60_000, deny: Deny | None = None
    ) -> Lease:
        """Asks until it is let in, with pauses that grow to half a second. What is not granted in time was denied."""
        deadline = monotonic() + integer("timeout_ms", timeout_ms, 1) / 1000
        attempt = 0
        while _is_worth_waiting(lease := self.acquire(key, id=id, cost=cost, deny=deny)):
            pause_s = _pause(attempt)
            if monotonic() + pause_s > deadline:
                break
            time.sleep(pause_s)
            attempt += 1
        return lease

    def _release(self, full: str, id: str) -> int:
        return int(self.link.ask(["RL.RELEASE", full, id], full, self.reach.timeout_s))

    def release(self, key: str, id: str) -> bool:
        """Whether it was still held. Raises where Redis is away: the lease then ends by its ttl."""
        return self._release(self._full(key), text("id", id)) == 1

    def _give_back(self, full: str, id: str) -> None:
        """As soon as Redis is back, by a thread that ends when it is done."""
        giving = _GivingBack(self._ttl_s)

        def again() -> float | None:
            try:
                giving.released(self._release(full, id))
            except RateLimitError:
                giving.released(None)
            return None if giving.is_over else giving.pause_s

        self._keeper.add(0.05, again)

    @contextmanager
    def hold(
        self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None, on_lost: OnLost | None = None
    ) -> Iterator[Held]:
        """A lease for as long as the block runs: renewed at a third of its ttl by one thread of the leaser's, and released
        at the end, whichever way it ends.

        :param on_lost: told, by that thread, when the lease has been lost while the block runs
        """
        since = monotonic()
        lease = self.acquire(key, id=id, cost=cost, deny=deny)
        held = Held(lease)
        if not held.allowed or lease.verdict.error is not None or not cost:
            yield held
            return
        full = self._full(key)
        renewal = _Renewal(lease, self._ttl_s, since, held, on_lost)

        def renew() -> float | None:
            if not renewal.is_over:
                since = monotonic()
                renewal.renewed(self._acquire(full, lease.id, cost, deny), since)
            return None if renewal.is_over else renewal.pause_s

        entry = self._keeper.add(renewal.pause_s, renew)
        try:
            yield held
        finally:
            renewal.is_over = True
            self._keeper.remove(entry)  # after a renewal that is on its way: it must not come after the release
            try:
                self._release(full, lease.id)
            except RateLimitError as error:
                self.reach.on_error(error)
                self._give_back(full, lease.id)


class AsyncLeaser(_Leaser):
    """As ``Leaser``, over a client of ``redis.asyncio``."""

    link: AsyncLink
    _link_of = staticmethod(async_link_of)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._tasks: set[asyncio.Task[None]] = set()

    async def _acquire(self, full: str, id: str, cost: int, deny: Deny | None) -> Verdict:
        words, asked = self._acquire_words(full, id, cost, deny)
        reach = self.reach
        return await ask_async(self.link, reach, words, full, lambda reply: self._read(reply, asked), unavailable, reach.open)

    async def acquire(self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None) -> Lease:
        full, holder = self._full(key), uuid.uuid4().hex if id is None else id
        try:
            answer = await self._acquire(full, holder, cost, deny)
        except BaseException:  # cancelled
            if id is None and cost:
                self._give_back(full, holder)
            raise
        if answer.error is not None and id is None and cost:
            self._give_back(full, holder)
        return Lease(holder, answer)

    async def wait(
        self, key: str, *, id: str | None = None, cost: int = 1, timeout_ms: int = 60_000, deny: Deny | None = None
    ) -> Lease:
        deadline = monotonic() + integer("timeout_ms", timeout_ms, 1) / 1000
        attempt = 0
        while _is_worth_waiting(lease := await self.acquire(key, id=id, cost=cost, deny=deny)):
            pause_s = _pause(attempt)
            if monotonic() + pause_s > deadline:
                break
            await asyncio.sleep(pause_s)
            attempt += 1
        return lease

    async def _release(self, full: str, id: str) -> int:
        return int(await self.link.ask(["RL.RELEASE", full, id], full, self.reach.timeout_s))

    async def release(self, key: str, id: str) -> bool:
        return await self._release(self._full(key), text("id", id)) == 1

    def _give_back(self, full: str, id: str) -> None:
        async def again() -> None:
            giving = _GivingBack(self._ttl_s)
            while not giving.is_over:
                await asyncio.sleep(giving.pause_s)
                try:
                    giving.released(await self._release(full, id))
                except RateLimitError:
                    giving.released(None)

        self._start(again())

    def _start(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # a task that nobody refers to may vanish
        task.add_done_callback(self._tasks.discard)
        return task

    @asynccontextmanager
    async def hold(
        self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None, on_lost: OnLost | None = None
    ) -> AsyncIterator[Held]:
        """As ``Leaser.hold``; renewed by a task. ``on_lost=lambda error: task.cancel()`` stops the work."""
        since = monotonic()
        lease = await self.acquire(key, id=id, cost=cost, deny=deny)
        held = Held(lease)
        if not held.allowed or lease.verdict.error is not None or not cost:
            yield held
            return
        full = self._full(key)
        renewal = _Renewal(lease, self._ttl_s, since, held, on_lost)

        async def renew() -> None:
            while not renewal.is_over:
                await asyncio.sleep(renewal.pause_s)
                since = monotonic()
                renewal.renewed(await self._acquire(full, lease.id, cost, deny), since)

        renewing = self._start(renew())
        try:
            yield held
        finally:
            renewal.is_over = True
            renewing.cancel()  # a renewal that was sent comes before the release: there is one connection
            await asyncio.shield(self._start(self._let_go(full, lease.id)))  # also where the caller was cancelled

    async def _let_go(self, full: str, id: str) -> None:
        try:
            await self._release(full, id)
        except RateLimitError as error:
            self.reach.on_error(error)
            self._give_back(full, id)


def _is_worth_waiting(lease: Lease) -> bool:
    answer = lease.verdict
    return not answer.allowed and answer.error is None and answer.denied_value is None and answer.retry_after_ms >= 0


def _pause(attempt: int) -> float:
    return _POLL_S[min(attempt, len(_POLL_S) - 1)] * random.uniform(0.5, 1)  # so that waiters do not come together
