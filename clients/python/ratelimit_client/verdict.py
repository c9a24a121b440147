"""What the server answered. The numbers are the ones of the limit that binds; ``limits`` has each one's."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import WrongReplyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What is said of one limit."""

    allowed: bool
    limit: int = 0  # in force; a bucket's capacity
    remaining: int = 0
    # 0: allowed. -1: this can never be allowed. Where a wait was reserved: how long to wait before acting.
    retry_after_ms: int = 0
    reset_after_ms: int = 0  # until nothing is used any more
    # Until more remains than ``remaining`` says; 0 where nothing is used, -1 where it never will. Only where ``next`` was asked for.
    next_after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState(Numbers):
    """One limit of a limiter."""

    name: str  # for the RateLimit fields: the limiter's, with the window where there are several
    # Absent for a calendar's window, and where a policy of the server may have set another.
    window_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Numbers):
    """What a hit was answered. The numbers are those of the limit that binds."""

    limits: tuple[LimitState, ...] = ()  # one for each limit, in the order given
    taken: int = 0  # what was charged: less than the cost where ``min`` was given
    charged_at: int | None = None  # by the server's clock, 0 where nothing was; only where ``stamp`` was asked for
    # A hit of this ``id`` was charged before, maybe by an earlier try of this one: nothing was charged now.
    repeated: bool = False
    denied_value: str | None = None  # what was found in the deny list
    error: Exception | None = None  # Redis could not be asked: the numbers are 0
    # This process has decided, as Redis is away or just back (``unavailable="local"``): the numbers are its own.
    local: bool = False


class LocalReply(list[Any]):
    """A reply of this process's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllVerdict(Numbers):
    """The verdict on several keys."""

    keys: tuple[Verdict, ...] = ()  # one for each key, in the order given: whether this key would let it through
    binding: int | None = None  # the index of the key that binds; None where a deny list or an error decided
    charged_at: int | None = None
    denied_value: str | None = None
    error: Exception | None = None
    local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the reply is an answer to."""

    name: str
    described: tuple[tuple[str, int | None], ...]  # name and window in seconds, of each limit
    cost: int = 1
    force: bool = False
    id: bool = False
    min: bool = False
    stamp: bool = False
    next: bool = False
    deny: bool = False

    length: int = field(init=False)  # each limit has so many numbers
    has_more: bool = field(init=False)  # behind its limits' numbers

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", 6 if self.next else 5)
        object.__setattr__(self, "has_more", self.id or self.min or self.stamp or self.deny)


def _numbers(reply: Any, length: int) -> list[int]:
    """Of one limit: ``next_after_ms`` is the sixth of them."""
    if not isinstance(reply, list) or len(reply) < length:
        raise WrongReplyError(f"not a reply of RL.*: {reply!r}")
    numbers = reply[:length]
    for value in numbers:
        if type(value) is not int:  # a client may bring texts
            try:
                return [int(value) for value in numbers]
            except (TypeError, ValueError):
                raise WrongReplyError(f"not a reply of RL.*: {reply!r}") from None
    return numbers


def _denied(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _state(numbers: list[int], name: str, seconds: int | None) -> LimitState:
    return LimitState(
        allowed=numbers[0] == 1,
        limit=numbers[1],
        remaining=numbers[2],
        retry_after_ms=numbers[3],
        reset_after_ms=numbers[4],
        next_after_ms=numbers[5] if len(numbers) > 5 else None,
        name=name,
        window_seconds=seconds,
    )


def _limits(replies: Sequence[Any], asked: Asked) -> tuple[LimitState, ...]:
    described = asked.described
    if len(replies) != len(described):  # a policy's: nothing is known of its limits but their order
        count = len(replies)
        described = tuple((asked.name if count == 1 else f"{asked.name}-{i + 1}", None) for i in range(count))
    return tuple([_state(_numbers(reply, asked.length), *about) for reply, about in zip(replies, described, strict=True)])


def verdict(reply: Any, asked: Asked) -> Verdict:
    length = asked.length
    own = _numbers(reply, length)
    allowed = own[0] == 1
    each, denied_value, repeated, charged_at = [reply], None, False, None
    taken = asked.cost if allowed or asked.force else 0
    if len(reply) > length or asked.has_more:
        rest = reply[length:]
        if len(rest) < asked.id + asked.min + asked.stamp + asked.deny:
            raise WrongReplyError(f"not a reply of RL.*: {reply!r}")
        if rest and isinstance(rest[0], list):
            each = rest.pop(0)
        denied_value = _denied(rest.pop()) if asked.deny else None
        repeated = asked.id and int(rest.pop(0)) == 1
        if asked.min:
            taken = int(rest.pop(0))
        elif denied_value is not None and not allowed:
            taken = 0
        charged_at = int(rest.pop(0)) if asked.stamp else None
    return Verdict(
        allowed=allowed,
        limit=own[1],
        remaining=own[2],
        retry_after_ms=own[3],
        reset_after_ms=own[4],
        next_after_ms=own[5] if length > 5 else None,
        limits=_limits(each, asked),
        taken=taken,
        charged_at=charged_at,
        repeated=repeated,
        denied_value=denied_value,
        local=type(reply) is LocalReply,
    )


def all_verdict(reply: Any, asked: Sequence[Asked], *, stamp: bool, deny: bool) -> AllVerdict:
    length = asked[0].length
    own = _numbers(reply, length)
    if len(reply) < length + 2 + stamp + deny or not isinstance(reply[length], list) or len(reply[length]) != len(asked):
        raise WrongReplyError(f"not a reply of RL.*: {reply!r}")
    denied_value = _denied(reply[-1]) if deny else None
    allowed = own[0] == 1
    charged = allowed or (asked[0].force and denied_value is None)
    keys = (verdict(one, about) for one, about in zip(reply[length], asked, strict=True))
    binding = int(reply[length + 1])
    return AllVerdict(
        allowed=allowed,
        limit=own[1],
        remaining=own[2],
        retry_after_ms=own[3],
        reset_after_ms=own[4],
        next_after_ms=own[5] if length > 5 else None,
        # All or nothing.
        keys=tuple(replace(key, taken=about.cost if charged else 0) for key, about in zip(keys, asked, strict=True)),
        binding=binding - 1 if binding > 0 else None,
        charged_at=int(reply[length + 2]) if stamp else None,
        denied_value=denied_value,
        local=type(reply) is LocalReply,
    )


def unavailable(error: Exception, open: bool) -> Verdict:
    return Verdict(allowed=open, retry_after_ms=0 if open else 1000, charged_at=0, error=error)


def all_unavailable(error: Exception, open: bool) -> AllVerdict:
    return AllVerdict(allowed=open, retry_after_ms=0 if open else 1000, charged_at=0, error=error)
