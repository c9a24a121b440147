"""What a limiter is made of, and how that becomes a command's words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ._check import fixed_window, flag, hit_id, integer, one_of, span, text, wrong
from .report import OnError, OnHit, guarded, logger
from .verdict import Asked

Algorithm = Literal["fixed", "sliding", "bucket"]
# One or several.
Names = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Window:
    """A limit of a fixed or a sliding window."""

    limit: int
    window: str  # 500ms 10s 15m 1h 30d 4w; fixed windows may be a calendar's: 1mo, 1d@Europe/Berlin


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit of a token bucket."""

    capacity: int
    refill: int  # so much flows back per interval
    interval: str


@dataclass(frozen=True, slots=True)
class Deny:
    """Values that are looked up in a deny list of the server, in the same round trip."""

    list: str
    values: Sequence[str]


def several(names: Names | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def policies(names: Names | None) -> tuple[str, ...]:
    found = several(names)
    if len(found) > 4:
        raise wrong("policy", "at most 4 names", names)
    return tuple(text(f"policy[{i}]", name) for i, name in enumerate(found))


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _window_seconds(window: str) -> int | None:
    """Whole seconds, as the ``w`` of RateLimit-Policy wants them; a calendar's window has no one length."""
    found = re.fullmatch(r"(\d+)([smhdwSMHDW])", window)
    return int(found[1]) * _SECONDS[found[2].lower()] if found else None


class Reach:
    """How long Redis may take, what is answered where it does not, and who is told."""

    def __init__(
        self,
        *,
        name: str,
        timeout_ms: int | None,
        unavailable: Literal["open", "closed"] | None,
        on_error: OnError | None,
        on_hit: OnHit | None,
        open: bool,
    ):
        self.name: str = name
        self.timeout_s: float | None = None if timeout_ms is None else integer("timeout_ms", timeout_ms, 1) / 1000
        self.open: bool = open if unavailable is None else one_of("unavailable", unavailable, ("open", "closed")) == "open"
        self.on_error: OnError = guarded("on_error", on_error) or logger(name)
        self.on_hit: OnHit | None = guarded("on_hit", on_hit)


class Plan:
    """The options of a limiter, checked. ``LimiterOptions`` in Node."""

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        limits: Window | Bucket | Sequence[Window] | Sequence[Bucket],
        prefix: str | None,
        name: str | None,
        policy: Names | None,
        block: Names | None,
        timeout_ms: int | None,
        unavailable: Literal["open", "closed"] | None,
        on_error: OnError | None = None,
        on_hit: OnHit | None = None,
        next: bool = False,
    ):
        self.algorithm: str = one_of("algorithm", algorithm, ("fixed", "sliding", "bucket")).upper()
        given: Sequence[object] = (limits,) if isinstance(limits, (Window, Bucket)) else tuple(limits)
        if not 1 <= len(given) <= 8:
            raise wrong("limits", "1 to 8 limits", limits)
        self.limits: list[str | int] = []
        self.windows: list[str] = []
        for i, one in enumerate(given):
            if algorithm == "bucket":
                if not isinstance(one, Bucket):
                    raise wrong(f"limits[{i}]", "a Bucket", one)
                self.limits.append(integer(f"limits[{i}].capacity", one.capacity, 0))
                # A refill of 0 would never let anybody in again.
                self.limits.append(integer(f"limits[{i}].refill", one.refill, 1))
                self.windows.append(span(f"limits[{i}].interval", one.interval))
            else:
                if not isinstance(one, Window):
                    raise wrong(f"limits[{i}]", "a Window", one)
                self.limits.append(integer(f"limits[{i}].limit", one.limit, 0))
                self.windows.append((fixed_window if algorithm == "fixed" else span)(f"limits[{i}].window", one.window))
            self.limits.append(self.windows[-1])
        self.prefix: str = "" if prefix is None else text("prefix", prefix) + ":"
        self.name: str = (prefix or "default") if name is None else text("name", name)
        if not re.fullmatch(r"[\x20-\x7e]+", self.name):
            raise wrong("name", "printable ASCII, for it becomes a field of HTTP", self.name)
        self.policy: tuple[str, ...] = policies(policy)
        self.next: bool = flag("next", next)
        self.block: tuple[str, ...] = tuple(span(f"block[{i}]", duration) for i, duration in enumerate(several(block)))
        self._described = self._names(replaced=False)
        self._replaced = self._names(replaced=True)
        # Of a hit without options: what stands behind its key, and what its reply is an answer to.
        next_words: list[str | int] = ["NEXT"] if self.next else []
        self.plain_words: list[str | int] = [*self.limits, *next_words, *self.block_words(), *self.policy_words(None)]
        self.plain: Asked = self.asked(cost=1, min=False, force=False, stamp=False, next=self.next, policy=None, deny=None)
        self.reach: Reach = Reach(
            name=self.name,
            timeout_ms=timeout_ms,
            unavailable=unavailable,
            on_error=on_error,
            on_hit=on_hit,
            open=not self.block,  # guessing must not be free while Redis is down
        )

    def key(self, key: str) -> str:
        return self.prefix + text("key", key)

    def _names(self, replaced: bool) -> tuple[tuple[str, int | None], ...]:
        """Of each limit, with its window in seconds, which is not known where a policy has replaced it."""
        if len(self.windows) == 1:
            suffixes = [""]
        else:
            suffixes = [f"-{i + 1}" if replaced else f"-{window}" for i, window in enumerate(self.windows)]
        seconds = [None if replaced else _window_seconds(window) for window in self.windows]
        return tuple((self.name + suffix, each) for suffix, each in zip(suffixes, seconds, strict=True))

    def policy_words(self, policy: Names | None) -> list[str | int]:
        names = self.policy if policy is None else policies(policy)
        return [word for name in names for word in ("POLICY", name)]

    def block_words(self) -> list[str | int]:
        return ["BLOCK", *self.block] if self.block else []

    def clause(self, cost: int, policy: Names | None, limits: Sequence[str | int] | None = None) -> list[str | int]:
        """Of RL.ALL."""
        words: list[str | int] = [self.algorithm, *(self.limits if limits is None else limits), *cost_words(cost)]
        return [*words, *self.policy_words(policy), *self.block_words()]

    def hit(
        self,
        command: Sequence[str],
        key: str,
        *,
        cost: int = 1,
        min: int | None = None,
        force: bool = False,
        at: int | None = None,
        stamp: bool = False,
        id: str | None = None,
        reserve_ms: int | None = None,
        policy: Names | None = None,
        next: bool | None = None,
        deny: Deny | None = None,
    ) -> tuple[list[str | int], str, Asked]:
        """The command's words, its key, and what its reply is an answer to."""
        full = self.key(key)
        words: list[str | int] = [*command, full, *self.limits, *cost_words(integer("cost", cost))]
        if min is not None:
            words += ["MIN", integer("min", min, 1)]
        if force:
            words.append("FORCE")
        if at is not None:
            words += ["AT", integer("at", at, 0)]
        if stamp:
            words.append("STAMP")
        if id is not None:
            words += ["ID", hit_id(id)]
        if reserve_ms is not None:
            words += ["RESERVE", f"{reserve_ms}ms"]
        is_next = self.next if next is None else flag("next", next)
        if is_next:
            words.append("NEXT")
        words += [*self.block_words(), *self.policy_words(policy), *deny_words(deny)]
        asked = self.asked(
            cost=cost,
            min=min is not None,
            force=force,
            stamp=stamp,
            id=id is not None,
            next=is_next,
            policy=policy,
            deny=deny,
        )
        return words, full, asked

    def asked(
        self,
        *,
        cost: int,
        min: bool,
        force: bool,
        stamp: bool,
        next: bool,
        policy: Names | None,
        deny: Deny | None,
        id: bool = False,
    ) -> Asked:
        return Asked(
            name=self.name,
            # The reply does not tell a policy's window.
            described=self._replaced if self.policy or policy is not None else self._described,
            cost=cost,
            force=force,
            id=id,
            min=min,
            stamp=stamp,
            next=next,
            deny=deny is not None,
        )


def cost_words(cost: int) -> list[str | int]:
    return [] if cost == 1 else ["COST", cost]


def deny_words(deny: Deny | None) -> list[str | int]:
    """DENY takes the rest of the line."""
    if deny is None:
        return []
    return ["DENY", text("deny.list", deny.list), *(text(f"deny.values[{i}]", value) for i, value in enumerate(deny.values))]
