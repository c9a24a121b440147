"""Several keys with one command: a hit is charged to all of them, or to none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._check import flag, integer, wrong
from ._ask import ask, ask_async
from .limiter import AsyncLimiter, Limiter
from .plan import Deny, Names, deny_words
from .verdict import AllVerdict, Asked, all_unavailable, all_verdict

L = TypeVar("L", Limiter, AsyncLimiter)


@dataclass(frozen=True, slots=True)
class Part(Generic[L]):
    limiter: L
    key: str
    cost: int = 1
    policy: Names | None = None


def _words(
    command: str, parts: Sequence[Part[L]], *, force: bool, stamp: bool, at: int | None, next: bool | None, deny: Deny | None
) -> tuple[list[str | int], list[Asked]]:
    if not 1 <= len(parts) <= 16:
        raise wrong("parts", "1 to 16 limiters with their keys", parts)
    words: list[str | int] = [command, len(parts), *(part.limiter.plan.key(part.key) for part in parts)]
    for part in parts:
        words += part.limiter.plan.clause(integer("cost", part.cost), part.policy)
    if force:
        words.append("FORCE")
    if at is not None:
        words += ["AT", integer("at", at, 0)]
    if stamp:
        words.append("STAMP")
    is_next = any(part.limiter.plan.next for part in parts) if next is None else flag("next", next)
    if is_next:
        words.append("NEXT")
    words += deny_words(deny)
    asked = [
        part.limiter.plan.asked(cost=part.cost, min=False, force=force, stamp=False, next=is_next, policy=part.policy, deny=None)
        for part in parts
    ]
    return words, asked


def _open(parts: Sequence[Part[L]]) -> bool:
    """One that is closed while Redis is away closes them all."""
    return all(part.limiter.plan.reach.open for part in parts)


def _ask(
    command: str, parts: Sequence[Part[Limiter]], *, force: bool, stamp: bool, at: int | None, next: bool | None, deny: Deny | None
) -> AllVerdict:
    words, asked = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny)
    first = parts[0].limiter

    def read(reply: Any) -> AllVerdict:
        return all_verdict(reply, asked, stamp=stamp, deny=deny is not None)

    return ask(first.link, first.plan.reach, words, str(words[2]), read, all_unavailable, _open(parts))


async def _ask_async(
    command: str, parts: Sequence[Part[AsyncLimiter]], *, force: bool, stamp: bool, at: int | None, next: bool | None, deny: Deny | None
) -> AllVerdict:
    words, asked = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny)
    first = parts[0].limiter

    def read(reply: Any) -> AllVerdict:
        return all_verdict(reply, asked, stamp=stamp, deny=deny is not None)

    return await ask_async(first.link, first.plan.reach, words, str(words[2]), read, all_unavailable, _open(parts))


def hit_all(
    parts: Sequence[Part[Limiter]],
    *,
    force: bool = False,
    stamp: bool = False,
    at: int | None = None,
    next: bool | None = None,
    deny: Deny | None = None,
) -> AllVerdict:
    """On a cluster the keys share a slot: ``{user:1}:minute``, ``{user:1}:tokens``. The first limiter's client is asked.

    :param next: ask when more becomes available. Default: where one of the limiters does

    >>> hit_all([Part(per_ip, by_ip(address)), Part(tokens, by_user(user_id), cost=900)])
    """
    return _ask("RL.ALL", parts, force=force, stamp=stamp, at=at, next=next, deny=deny)


def peek_all(parts: Sequence[Part[Limiter]], *, next: bool | None = None, deny: Deny | None = None) -> AllVerdict:
    """What ``hit_all`` would be answered now. Changes nothing."""
    return _ask("RL.PEEKALL", parts, force=False, stamp=False, at=None, next=next, deny=deny)


async def hit_all_async(
    parts: Sequence[Part[AsyncLimiter]],
    *,
    force: bool = False,
    stamp: bool = False,
    at: int | None = None,
    next: bool | None = None,
    deny: Deny | None = None,
) -> AllVerdict:
    return await _ask_async("RL.ALL", parts, force=force, stamp=stamp, at=at, next=next, deny=deny)


async def peek_all_async(
    parts: Sequence[Part[AsyncLimiter]], *, next: bool | None = None, deny: Deny | None = None
) -> AllVerdict:
    return await _ask_async("RL.PEEKALL", parts, force=False, stamp=False, at=None, next=next, deny=deny)
