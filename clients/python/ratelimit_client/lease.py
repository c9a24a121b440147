"""How many at once. A lease that is not released ends by itself after its ttl, so a crashed holder costs at most that."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ._check import integer, span, text, wrong
from .client import FAILURES, AsyncClient, Client, ask, ask_async, or_instead
from .plan import Deny, OnError, _log, cost_words, deny_words
from .verdict import Asked, Verdict, unavailable, verdict


@dataclass(frozen=True, slots=True)
class Lease:
    id: str
    verdict: Verdict


class _Leaser:
    def __init__(
        self,
        client: Any,
        *,
        limit: int,
        ttl: str,
        prefix: str | None = None,
        policy: str | None = None,
        timeout_ms: int | None = 1000,
        unavailable: Literal["open", "closed"] = "open",
        on_error: OnError | None = None,
    ):
        self.client = client
        self._words: list[str | int] = [integer("limit", limit, 0), span("ttl", ttl)]
        self._prefix = "" if prefix is None else text("prefix", prefix) + ":"
        self._name = prefix or "default"
        self._policy: list[str | int] = [] if policy is None else ["POLICY", text("policy", policy)]
        self._timeout_s = None if timeout_ms is None else integer("timeout_ms", timeout_ms, 1) / 1000
        if unavailable not in ("open", "closed"):
            raise wrong("unavailable", '"open" or "closed"', unavailable)
        self._open = unavailable == "open"
        self._on_error = on_error or _log

    def _acquire_words(self, key: str, id: str, cost: int, deny: Deny | None) -> tuple[list[str | int], Asked]:
        words: list[str | int] = ["RL.LEASE", self._prefix + text("key", key), *self._words, text("id", id)]
        words += [*cost_words(integer("cost", cost, 0)), *self._policy, *deny_words(deny)]
        return words, Asked(name=self._name, described=((self._name, None),), cost=cost, deny=deny is not None)

    def _release_words(self, key: str, id: str) -> list[str | int]:
        return ["RL.RELEASE", self._prefix + text("key", key), text("id", id)]

    def _instead(self, error: Exception) -> Verdict:
        return or_instead(error, self._on_error, lambda error: unavailable(error, open=self._open))


class Leaser(_Leaser):
    """
    >>> exports = Leaser(client, prefix="export", limit=3, ttl="10m")
    >>> with exports.hold(by_user(user_id)) as verdict:
    ...     if verdict.allowed: ...
    """

    client: Client

    def acquire(self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None) -> Lease:
        """Takes a lease, or with the id of one that is held renews it."""
        holder = uuid.uuid4().hex if id is None else id
        words, asked = self._acquire_words(key, holder, cost, deny)
        try:
            return Lease(holder, verdict(ask(self.client, words, self._timeout_s), asked))
        except FAILURES as error:
            return Lease(holder, self._instead(error))

    def release(self, key: str, id: str) -> bool:
        """Whether it was still held."""
        return int(ask(self.client, self._release_words(key, id), self._timeout_s)) == 1

    @contextmanager
    def hold(self, key: str, *, cost: int = 1, deny: Deny | None = None) -> Iterator[Verdict]:
        """A lease for as long as the block runs. One that cannot be released ends by itself."""
        lease = self.acquire(key, cost=cost, deny=deny)
        try:
            yield lease.verdict
        finally:
            if lease.verdict.allowed and lease.verdict.error is None:
                try:
                    self.release(key, lease.id)
                except FAILURES as error:
                    self._on_error(error)


class AsyncLeaser(_Leaser):
    """As ``Leaser``, over a client of ``redis.asyncio``."""

    client: AsyncClient

    async def acquire(self, key: str, *, id: str | None = None, cost: int = 1, deny: Deny | None = None) -> Lease:
        holder = uuid.uuid4().hex if id is None else id
        words, asked = self._acquire_words(key, holder, cost, deny)
        try:
            return Lease(holder, verdict(await ask_async(self.client, words, self._timeout_s), asked))
        except FAILURES as error:
            return Lease(holder, self._instead(error))

    async def release(self, key: str, id: str) -> bool:
        return int(await ask_async(self.client, self._release_words(key, id), self._timeout_s)) == 1

    @asynccontextmanager
    async def hold(self, key: str, *, cost: int = 1, deny: Deny | None = None) -> AsyncIterator[Verdict]:
        lease = await self.acquire(key, cost=cost, deny=deny)
        try:
            yield lease.verdict
        finally:
            if lease.verdict.allowed and lease.verdict.error is None:
                try:
                    await self.release(key, lease.id)
                except FAILURES as error:
                    self._on_error(error)
