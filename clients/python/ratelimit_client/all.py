"""Several keys with one command: a hit is charged to all of them, or to none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._check import flag, integer, wrong
from ._ask import ask, ask_async
from ._fallback import Charge, Question
from .limiter import AsyncLimiter, Limiter
from .plan import Deny, Names, Plan, deny_words
from .verdict import AllVerdict, Asked, all_unavailable, all_verdict

L = TypeVar("L", Limiter, AsyncLimiter)


@dataclass(frozen=True, slots=True)
class Part(Generic[L]):
    """One key of several, and what is taken of it."""

    limiter: L
    key: str
    cost: int = 1
    policy: Names | None = None


def _words(
    command: str,
    parts: Sequence[Part[L]],
    *,
    force: bool,
    stamp: bool,
    at: int | None,
    next: bool | None,
    deny: Deny | None,
    is_local: bool = False,
) -> tuple[list[str | int], list[Asked]]:
    if not 1 <= len(parts) <= 16:
        raise wrong("parts", "1 to 16 limiters with their keys", parts)
    words: list[str | int] = [command, len(parts), *(part.limiter.plan.key(part.key) for part in parts)]
    for part in parts:
        limits = part.limiter.share if is_local else None
        words += part.limiter.plan.clause(integer("cost", part.cost), part.policy, limits)
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


def _goes_on(parts: Sequence[Part[L]]) -> bool:
    """Whether this process goes on counting all of them while Redis is away."""
    first = parts[0].limiter.fallback
    return first is not None and all(part.limiter.fallback is first for part in parts)


def _question(
    command: str, parts: Sequence[Part[L]], words: list[str | int], at: int | None, force: bool, stamp: bool, next: bool | None
) -> Question:
    keys = [part.limiter.plan.key(part.key) for part in parts]

    def charges(reply: Any) -> list[Charge]:
        if command == "RL.PEEKALL" or not (reply[0] == 1 or force):
            return []
        is_next = any(part.limiter.plan.next for part in parts) if next is None else next
        charged_at = reply[8 if is_next else 7] if stamp else 0
        found = []
        for part, key in zip(parts, keys, strict=True):
            plan: Plan = part.limiter.plan
            if part.cost:
                found.append(Charge(key, [f"RL.{plan.algorithm}", key, *plan.limits], plan.policy_words(part.policy), part.cost, charged_at or at, None, charged_at > 0))
        return found

    return Question(words, charges)


def _ask(
    command: str, parts: Sequence[Part[Limiter]], *, force: bool, stamp: bool, at: int | None, next: bool | None, deny: Deny | None
) -> AllVerdict:
    words, asked = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny)
    first = parts[0].limiter

    def read(reply: Any) -> AllVerdict:
        return all_verdict(reply, asked, stamp=stamp, deny=deny is not None)

    link: Any = first.link
    if _goes_on(parts):
        local, _ = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny, is_local=True)
        link = link.asking(_question(command, parts, local, at, force, stamp, next))
    return ask(link, first.plan.reach, words, str(words[2]), read, all_unavailable, _open(parts))


async def _ask_async(
    command: str, parts: Sequence[Part[AsyncLimiter]], *, force: bool, stamp: bool, at: int | None, next: bool | None, deny: Deny | None
) -> AllVerdict:
    words, asked = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny)
    first = parts[0].limiter

    def read(reply: Any) -> AllVerdict:
        return all_verdict(reply, asked, stamp=stamp, deny=deny is not None)

    link: Any = first.link
    if _goes_on(parts):
        local, _ = _words(command, parts, force=force, stamp=stamp, at=at, next=next, deny=deny, is_local=True)
        link = link.asking(_question(command, parts, local, at, force, stamp, next))
    return await ask_async(link, first.plan.reach, words, str(words[2]), read, all_unavailable, _open(parts))


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
    """As ``hit_all``, of ``AsyncLimiter``."""
    return await _ask_async("RL.ALL", parts, force=force, stamp=stamp, at=at, next=next, deny=deny)


async def peek_all_async(
    parts: Sequence[Part[AsyncLimiter]], *, next: bool | None = None, deny: Deny | None = None
) -> AllVerdict:
    """As ``peek_all``, of ``AsyncLimiter``."""
    return await _ask_async("RL.PEEKALL", parts, force=False, stamp=False, at=None, next=next, deny=deny)
