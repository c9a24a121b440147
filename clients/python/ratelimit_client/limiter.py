"""A limiter: its limits, its client, and what is done where Redis is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, Unpack

from ._check import flag, integer, one_of, retries
from .blocked import BlockedCache
from ._ask import ask, ask_async, send_async, told_async
from ._coalesce import Coalescer
from ._fallback import AsyncFallback, AsyncLocalLink, LocalLink, Plain, SyncFallback, fallback_of, share_of
from ._prefetch import Prefetch, Prefetcher, prefetched
from .client import AsyncLink, Link, async_link_of, link_of
from .plan import Algorithm, Bucket, Deny, Names, Plan, Window
from .report import OnError, OnHit
from .reservation import AsyncReservation, Reservation, Spent, reported
from .verdict import Verdict, unavailable, verdict

T = TypeVar("T")


class LimiterOptions(TypedDict):
    """What ``Limiter`` takes beside its client."""

    algorithm: Algorithm
    limits: Window | Bucket | Sequence[Window] | Sequence[Bucket]
    prefix: NotRequired[str | None]
    name: NotRequired[str | None]
    policy: NotRequired[Names | None]
    block: NotRequired[Names | None]
    timeout_ms: NotRequired[int | None]
    unavailable: NotRequired[Literal["open", "closed", "local"] | None]
    instances: NotRequired[int | None]
    max_keys: NotRequired[int | None]
    on_error: NotRequired[OnError | None]
    on_hit: NotRequired[OnHit | None]
    blocked_cache: NotRequired[BlockedCache | bool]
    next: NotRequired[bool]


class _Limiter:
    plan: Plan
    _going_on: tuple[type[Any], type[Any]]

    @staticmethod
    def _link_of(client: Any) -> Any:
        raise NotImplementedError

    def __init__(
        self,
        client: Any,
        *,
        algorithm: Algorithm,
        limits: Window | Bucket | Sequence[Window] | Sequence[Bucket],
        prefix: str | None = None,
        name: str | None = None,
        policy: Names | None = None,
        block: Names | None = None,
        timeout_ms: int | None = 1000,
        unavailable: Literal["open", "closed", "local"] | None = None,
        instances: int | None = None,
        max_keys: int | None = None,
        on_error: OnError | None = None,
        on_hit: OnHit | None = None,
        blocked_cache: BlockedCache | bool = False,
        next: bool = False,
    ):
        """
        :param client: of redis-py or valkey-py: the address, credentials and TLS of it are taken for connections of the
            limiter's own, so that no hit is ever sent twice; or a function ``(words, key) -> reply``
        :param limits: one or several; for ``bucket`` a ``Bucket``, else a ``Window``
        :param prefix: stands before each key, with a colon
        :param name: in the RateLimit fields. Default: the prefix, or ``default``
        :param policy: policies of the server whose limits replace these; the first that exists counts
        :param block: a hit that is denied starts a block of the first duration, the next block takes the second, and so on
        :param timeout_ms: how long Redis may take to answer; ``None`` waits for ever
        :param unavailable: what a hit is where Redis is away: let through (``open``) or not (``closed``). Default ``open``,
            and ``closed`` with ``block``
            With ``local`` (``pip install ratelimit-client[local]``) this process goes on counting by itself, and charges it to
            Redis when that is back
        :param instances: with ``local``: how many processes share the limits, so that each goes on with its part, and at
            least with 1
        :param max_keys: with ``local``: the most keys that this process counts by itself; a hit on one more is not let
            through. Default 100,000
        :param on_error: told of each failure that a verdict hides. Default: the log, a line a second at most
        :param on_hit: told of each hit and what became of it, for metrics
        :param blocked_cache: remember who is denied until when, and deny them without asking Redis
        :param next: ask also when more becomes available: the ``t`` of the ``RateLimit`` field, which is left out without
            it. For limiters in front of HTTP
        """
        is_local = unavailable == "local"
        if unavailable is not None:
            one_of("unavailable", unavailable, ("open", "closed", "local"))
        if not is_local and (instances is not None or max_keys is not None):
            raise TypeError('instances, max_keys: expected only with unavailable="local"')
        self.plan = Plan(
            algorithm=algorithm,
            limits=limits,
            prefix=prefix,
            name=name,
            policy=policy,
            block=block,
            timeout_ms=timeout_ms,
            unavailable="closed" if unavailable == "local" else unavailable,
            on_error=on_error,
            on_hit=on_hit,
            next=next,
        )
        self.link: Any = self._link_of(client)
        self.share: list[str | int] = []
        self.fallback: Any = None
        if is_local:
            self._go_on(integer("instances", 1 if instances is None else instances, 1), 100_000 if max_keys is None else max_keys)
        self._blocked = BlockedCache() if blocked_cache is True else blocked_cache or None
        self._command = f"RL.{self.plan.algorithm}"
        self._words = self.plan.plain_words
        self._read = partial(verdict, asked=self.plan.plain)

    def _go_on(self, instances: int, max_keys: int) -> None:
        plan, on_error = self.plan, self.plan.reach.on_error
        self.share = share_of(plan.algorithm, plan.limits, instances)
        make, link = self._going_on
        self.fallback = fallback_of(self.link, make, integer("max_keys", max_keys, 1), on_error)
        self.link = link(self.fallback, Plain(plan.algorithm, plan.limits, self.share), on_error)

    def _cache(self, min: int | None, policy: Names | None) -> BlockedCache | None:
        # A hit that takes what fits, or that goes on another policy, says nothing of the next one and learns nothing from it.
        return self._blocked if min is None and policy is None else None

    def _reserves_places(self) -> bool:
        return self.plan.algorithm == "BUCKET" and not self.plan.block


def _too_long(answer: Verdict, deadline: float) -> bool:
    wait_s = answer.retry_after_ms / 1000
    return answer.allowed or answer.error is not None or wait_s <= 0 or time.monotonic() + wait_s > deadline


_ZERO, _ONE = 0, 1


def _is_plain(
    cost: object, min: object, force: object, stamp: object, at: object, id: object, retry: object, policy: object, next: object, deny: object
) -> bool:
    """A hit without options: what it says was made with the limiter. What is equal and not the same is checked, as any option."""
    return (
        cost is _ONE
        and min is None
        and force is False
        and stamp is False
        and at is None
        and id is None
        and retry is _ZERO
        and policy is None
        and next is None
        and deny is None
    )


class Limiter(_Limiter):
    """
    >>> api = Limiter(client, prefix="api", algorithm="sliding", limits=Window(100, "15m"))
    >>> verdict = api.hit(by_user(user_id))
    """

    link: Link
    _link_of = staticmethod(link_of)
    _going_on = (SyncFallback, LocalLink)

    def _ask(self, command: Sequence[str], key: str, options: dict[str, Any], retry: int = 0) -> Verdict:
        words, full, asked = self.plan.hit(command, key, **options)
        reach = self.plan.reach
        return ask(self.link, reach, words, full, lambda reply: verdict(reply, asked), unavailable, reach.open, retry)

    def hit(
        self,
        key: str,
        *,
        cost: int = 1,
        min: int | None = None,
        force: bool = False,
        stamp: bool = False,
        at: int | None = None,
        id: str | None = None,
        retry: int = 0,
        policy: Names | None = None,
        next: bool | None = None,
        deny: Deny | None = None,
    ) -> Verdict:
        """Counts one hit, or says why not.

        :param cost: what it uses. 0 asks, a negative cost gives back
        :param min: take as much as fits, and at least so much
        :param force: charge it whether or not it fits
        :param stamp: ask for the charge time
        :param at: the charge time of the hit that this one settles
        :param id: charge it once, however often a hit of this id is sent; the verdict says ``repeated``. Your own name of
            the work (an order's, a webhook's), never what a caller may choose freely: who repeats one is not limited
        :param retry: send it again, up to so often, where Redis did not answer, within ``timeout_ms``. Only with an ``id``
        :param next: ask when more becomes available. Default: what the limiter says
        """
        full = self.plan.key(key)
        if _is_plain(cost, min, force, stamp, at, id, retry, policy, next, deny) and self._blocked is None:
            reach = self.plan.reach
            return ask(self.link, reach, [self._command, full, *self._words], full, self._read, unavailable, reach.open)
        cache = self._cache(min, policy)
        retries(retry, id)
        if cache and id is None and (known := cache.find(full, cost, force)):
            return known
        since = cache.now() if cache else 0.0
        options = {
            "cost": cost,
            "min": min,
            "force": force,
            "stamp": stamp,
            "at": at,
            "id": id,
            "policy": policy,
            "next": next,
            "deny": deny,
        }
        answer = self._ask([self._command], key, options, retry)
        if cache:
            cache.learn(full, cost, force, since, answer)
        return answer

    def peek(
        self,
        key: str,
        *,
        cost: int = 1,
        min: int | None = None,
        policy: Names | None = None,
        next: bool | None = None,
        deny: Deny | None = None,
    ) -> Verdict:
        """What a hit would be answered now. Changes nothing."""
        options = {"cost": cost, "min": min, "policy": policy, "next": next, "deny": deny}
        return self._ask(["RL.PEEK", self.plan.algorithm], key, options)

    def reserve(self, key: str, estimate: int, *, policy: Names | None = None, deny: Deny | None = None) -> Reservation:
        """Charges an estimate, to be settled with what was really used."""
        answer = self.hit(key, cost=integer("estimate", estimate, 1), stamp=True, policy=policy, deny=deny)

        def charge(cost: int, at: int) -> Verdict:
            return self.hit(key, cost=cost, at=at, force=cost > 0, policy=policy)

        return Reservation(answer, estimate, charge, self.plan.reach.on_error)

    def spend(
        self, key: str, estimate: int, call: Callable[[Reservation], T], used: Callable[[T], float | None]
    ) -> Spent[T]:
        """Reserves, calls, settles. The model's own error is passed on; an error of settling is not.

        :param call: asks the model. It may ``add`` to the reservation what is used on the way, which then counts if it fails
        :param used: the usage that the model reports
        """
        reservation = self.reserve(key, estimate)
        if not reservation.allowed:
            return Spent(reservation.verdict, False, None)
        try:
            result = call(reservation)
        except BaseException:
            reservation.settle()
            raise
        return Spent(reservation.settle(reported(used, result)), True, result)

    def wait(self, key: str, *, cost: int = 1, timeout_ms: int = 60_000) -> Verdict:
        """Waits for its turn.

        A bucket reserves its place with one command, and callers are served in order; the others ask again when the time
        has come, so there a later caller may be first. Denied at once where the wait would be too long. Interrupted or
        cancelled, it gives its place back: the last one is free for the next caller, an earlier one stays empty.
        """
        integer("cost", cost, 1)
        integer("timeout_ms", timeout_ms, 1)
        if self._reserves_places():
            answer = self._ask([self._command], key, {"cost": cost, "stamp": True, "reserve_ms": timeout_ms})
            if answer.allowed:
                try:
                    time.sleep(answer.retry_after_ms / 1000)
                except BaseException:  # a signal's handler may raise
                    if answer.charged_at:
                        self.hit(key, cost=-cost, at=answer.charged_at)
                    raise
            return answer
        deadline = time.monotonic() + timeout_ms / 1000
        while not _too_long(answer := self.hit(key, cost=cost), deadline):
            time.sleep(answer.retry_after_ms / 1000)
        return answer

    def reset(self, key: str) -> bool:
        """Forgets all that was used. Whether there was anything."""
        full = self.plan.key(key)
        if self._blocked:
            self._blocked.forget(full)
        return int(self.link.ask(["DEL", full], full, self.plan.reach.timeout_s)) == 1

    def block(self, key: str, duration: str) -> int:
        """Shuts the key for so long, whatever its limits say; ``"0"`` lifts any block. Milliseconds until it opens.

        :param duration: such as ``"30s"``, what a provider's ``Retry-After`` says
        """
        full = self.plan.key(key)
        if self._blocked:
            self._blocked.forget(full)
        return int(self.link.ask(["RL.BLOCK", full, duration], full, self.plan.reach.timeout_s))

    def close(self) -> None:
        """Closes the connections of all limiters of this client. A later call opens new ones."""
        self.link.close()


class AsyncLimiter(_Limiter):
    """As ``Limiter``, over a client of ``redis.asyncio``.

    :param coalesce: hits without options on one key that are made in the same turn of the event loop become one command.
        Nobody is let in whom single commands would not have let in; the server's statistics count commands
    :param prefetch: this process takes so many units of a key ahead, hands them out from memory, and gives back what it did
        not use within a time, and when the limiter is closed. Not with ``block`` or ``coalesce``
    """

    link: AsyncLink
    _link_of = staticmethod(async_link_of)
    _going_on = (AsyncFallback, AsyncLocalLink)

    def __init__(
        self, client: Any, *, coalesce: bool = False, prefetch: int | Prefetch | None = None, **options: Unpack[LimiterOptions]
    ):
        super().__init__(client, **options)
        self._coalescer = Coalescer(self._several) if flag("coalesce", coalesce) else None
        self._prefetcher: Prefetcher | None = None
        if prefetch is not None:
            if coalesce:
                raise TypeError("prefetch: not with coalesce: hits that wait for the same key share a command already")
            if self.fallback is not None:
                raise TypeError('prefetch: not with unavailable="local": units of two counts would be handed out as one')
            self._prefetcher = Prefetcher(*prefetched(prefetch, self.plan), self._take, self._return)

    async def _take(self, key: str, units: int) -> Verdict:
        return await self._several(key, units, stamp=True)

    async def _return(self, key: str, units: int, at: int) -> None:
        words, full, asked = self.plan.hit([self._command], key, cost=-units, at=at)
        reach = self.plan.reach
        await send_async(self.link, reach, words, full, lambda reply: verdict(reply, asked), unavailable, reach.open)

    async def _several(self, key: str, count: int, stamp: bool = False) -> Verdict:
        options: dict[str, Any] = {} if count == 1 else {"cost": count, "min": 1}
        words, full, asked = self.plan.hit([self._command], key, stamp=stamp, **options)
        reach = self.plan.reach
        return await send_async(self.link, reach, words, full, lambda reply: verdict(reply, asked), unavailable, reach.open)

    def _plain(self, key: str, full: str) -> Awaitable[Verdict]:
        reach = self.plan.reach
        if self._coalescer and not (self.fallback and self.fallback.is_doubtful):
            return told_async(reach, self._coalescer.hit(key))
        if self._prefetcher:
            return told_async(reach, self._prefetcher.hit(key))
        return ask_async(self.link, reach, [self._command, full, *self._words], full, self._read, unavailable, reach.open)

    async def _ask(self, command: Sequence[str], key: str, options: dict[str, Any], retry: int = 0) -> Verdict:
        words, full, asked = self.plan.hit(command, key, **options)
        reach = self.plan.reach
        return await ask_async(
            self.link, reach, words, full, lambda reply: verdict(reply, asked), unavailable, reach.open, retry
        )

    async def hit(
        self,
        key: str,
        *,
        cost: int = 1,
        min: int | None = None,
        force: bool = False,
        stamp: bool = False,
        at: int | None = None,
        id: str | None = None,
        retry: int = 0,
        policy: Names | None = None,
        next: bool | None = None,
        deny: Deny | None = None,
    ) -> Verdict:
        full = self.plan.key(key)
        is_plain = _is_plain(cost, min, force, stamp, at, id, retry, policy, next, deny)
        if is_plain and self._blocked is None:
            return await self._plain(key, full)
        cache = self._cache(min, policy)
        retries(retry, id)
        if cache and id is None and (known := cache.find(full, cost, force)):
            return known
        since = cache.now() if cache else 0.0
        options = {
            "cost": cost,
            "min": min,
            "force": force,
            "stamp": stamp,
            "at": at,
            "id": id,
            "policy": policy,
            "next": next,
            "deny": deny,
        }
        answer = await (self._plain(key, full) if is_plain else self._ask([self._command], key, options, retry))
        if cache:
            cache.learn(full, cost, force, since, answer)
        return answer

    async def peek(
        self,
        key: str,
        *,
        cost: int = 1,
        min: int | None = None,
        policy: Names | None = None,
        next: bool | None = None,
        deny: Deny | None = None,
    ) -> Verdict:
        options = {"cost": cost, "min": min, "policy": policy, "next": next, "deny": deny}
        return await self._ask(["RL.PEEK", self.plan.algorithm], key, options)

    async def reserve(
        self, key: str, estimate: int, *, policy: Names | None = None, deny: Deny | None = None
    ) -> AsyncReservation:
        answer = await self.hit(key, cost=integer("estimate", estimate, 1), stamp=True, policy=policy, deny=deny)

        def charge(cost: int, at: int) -> Awaitable[Verdict]:
            return self.hit(key, cost=cost, at=at, force=cost > 0, policy=policy)

        return AsyncReservation(answer, estimate, charge, self.plan.reach.on_error)

    async def spend(
        self,
        key: str,
        estimate: int,
        call: Callable[[AsyncReservation], Awaitable[T]],
        used: Callable[[T], float | None],
    ) -> Spent[T]:
        reservation = await self.reserve(key, estimate)
        if not reservation.allowed:
            return Spent(reservation.verdict, False, None)
        try:
            result = await call(reservation)
        except BaseException:
            await asyncio.shield(reservation.settle())  # also where the caller was cancelled
            raise
        return Spent(await reservation.settle(reported(used, result)), True, result)

    async def wait(self, key: str, *, cost: int = 1, timeout_ms: int = 60_000) -> Verdict:
        integer("cost", cost, 1)
        integer("timeout_ms", timeout_ms, 1)
        if self._reserves_places():
            options = {"cost": cost, "stamp": True, "reserve_ms": timeout_ms}
            asking = asyncio.ensure_future(self._ask([self._command], key, options))
            try:
                answer = await asyncio.shield(asking)
                if answer.allowed:
                    await asyncio.sleep(answer.retry_after_ms / 1000)
                return answer
            except asyncio.CancelledError:
                await asyncio.shield(self._give_back(asking, key, cost))
                raise
        deadline = time.monotonic() + timeout_ms / 1000
        while not _too_long(answer := await self.hit(key, cost=cost), deadline):
            await asyncio.sleep(answer.retry_after_ms / 1000)
        return answer

    async def _give_back(self, asking: "asyncio.Future[Verdict]", key: str, cost: int) -> None:
        """The place of one who waits no longer, also where it had not been answered yet."""
        answer = await asking
        if answer.charged_at:
            await self.hit(key, cost=-cost, at=answer.charged_at)

    async def reset(self, key: str) -> bool:
        full = self.plan.key(key)
        if self._blocked:
            self._blocked.forget(full)
        if self._prefetcher:
            self._prefetcher.forget(key)
        return int(await self.link.ask(["DEL", full], full, self.plan.reach.timeout_s)) == 1

    async def block(self, key: str, duration: str) -> int:
        full = self.plan.key(key)
        if self._blocked:
            self._blocked.forget(full)
        if self._prefetcher:
            self._prefetcher.shut(key)
        return int(await self.link.ask(["RL.BLOCK", full, duration], full, self.plan.reach.timeout_s))

    async def aclose(self) -> None:
        """Closes the connection of all limiters of this client. A later call opens a new one.

        A limiter with ``prefetch`` first gives back what it has taken ahead, and takes nothing ahead any more.
        """
        if self._prefetcher:
            await self._prefetcher.close()
        self.link.close()
