"""The commands of administrators and dashboards, and what their replies say."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from ._check import fixed_window, integer, one_of, span, text, wrong
from .errors import WrongReplyError
from .plan import Bucket, Window

T = TypeVar("T")
Row = TypeVar("Row", "Hour", "Day")
PolicyAlgorithm = Literal["fixed", "sliding", "bucket", "lease"]
ALGORITHMS: tuple[PolicyAlgorithm, ...] = ("fixed", "sliding", "bucket", "lease")


@dataclass(frozen=True, slots=True)
class LeaseLimit:
    """The limit of a leaser: so many at once, each for a ttl."""

    limit: int
    ttl: str


PolicyLimit = Window | Bucket | LeaseLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy as it is in force."""

    algorithm: PolicyAlgorithm | None  # None, and no limits, where only a shadow stands
    limits: tuple[PolicyLimit, ...]
    ends_after_ms: int | None = None  # of one with a ttl, what is left of it
    lasting: "Policy | None" = None  # of one with a ttl, what is back when it ends
    shadow: "Policy | None" = None  # judged and counted beside it, without binding anybody
    mismatches: int = 0  # hits of another algorithm that have passed it over since the server began


@dataclass(frozen=True, slots=True)
class Top:
    """One of those that were counted most."""

    id: str
    count: int
    error: int  # at most so many of them are not its own


@dataclass(frozen=True, slots=True)
class Hour:
    start: int  # in Unix seconds
    allowed: int
    denied: int
    deny_listed: int
    shadow_denied: int = 0  # let through, and a shadow would have denied them


@dataclass(frozen=True, slots=True)
class Day:
    start: int  # in Unix seconds
    allowed: int
    denied: int
    deny_listed: int
    shadow_denied: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    allowed: int
    denied: int
    deny_listed: int
    shadow_denied: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(Counts):
    """Without a name, the lists are those of the hits that named no policy."""

    most_allowed: tuple[Top, ...]
    most_denied: tuple[Top, ...]
    hours: tuple[Hour, ...]  # of the last 8 days
    most_shadow_denied: tuple[Top, ...] = ()
    days: tuple[Day, ...] = ()  # the last 90


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalStatistics(Statistics):
    """What was counted under all names together."""

    algorithms: dict[PolicyAlgorithm, Counts]
    names: tuple[str, ...]  # that have statistics of their own
    most_deny_listed: tuple[Top, ...]  # only with the right to RL.DENY ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimit:
    """What a key holds of one limit: with a ``window``, a ``refill`` and an ``interval``, or a ``ttl``."""

    limit: int
    used: int
    remaining: int
    reset_after_ms: int
    window: str | None = None
    refill: int | None = None
    interval: str | None = None
    ttl: str | None = None


@dataclass(frozen=True, slots=True)
class HeldLease:
    id: str
    cost: int
    ends_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What a key holds (RL.INFO)."""

    algorithm: PolicyAlgorithm
    limits: tuple[KeyLimit, ...]
    leases: tuple[HeldLease, ...] = ()
    blocked_for_ms: int | None = None  # None where it is not blocked


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """What is asked of every primary, and what their replies say; with a key, of its primary alone."""

    words: Sequence[str | int]
    read: Callable[[Sequence[Any]], T]
    key: str | None = None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise WrongReplyError(f"not a reply of RL.*: {value!r}")
    return value


def _map(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):  # a function in the place of a client may speak RESP3
        return {_text(name): one for name, one in value.items()}
    items = _list(value)
    return dict(zip(map(_text, items[::2]), items[1::2], strict=True))


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise WrongReplyError(f"not a reply of RL.*: {value!r}") from None


def _most(replies: Sequence[Any]) -> int:
    """All primaries hold the same."""
    return max(map(_int, replies))


def _nothing(_replies: Sequence[Any]) -> None:
    return None


def _ttl(ttl: str | None) -> list[str | int]:
    return [] if ttl is None else ["TTL", span("ttl", ttl)]


def _limit_words(algorithm: str, limits: PolicyLimit | Sequence[PolicyLimit]) -> list[str | int]:
    given = [limits] if isinstance(limits, (Window, Bucket, LeaseLimit)) else list(limits)
    if not 1 <= len(given) <= 8:
        raise wrong("limits", "1 to 8 limits", limits)
    words: list[str | int] = []
    for i, one in enumerate(given):
        match algorithm, one:
            case "bucket", Bucket(capacity, refill, interval):
                words += [integer(f"limits[{i}].capacity", capacity, 0), integer(f"limits[{i}].refill", refill, 1)]
                words.append(span(f"limits[{i}].interval", interval))
            case "lease", LeaseLimit(limit, ttl):
                words += [integer(f"limits[{i}].limit", limit, 0), span(f"limits[{i}].ttl", ttl)]
            case ("fixed" | "sliding"), Window(limit, window):
                words.append(integer(f"limits[{i}].limit", limit, 0))
                words.append((fixed_window if algorithm == "fixed" else span)(f"limits[{i}].window", window))
            case _:
                kind = {"bucket": "a Bucket", "lease": "a LeaseLimit"}.get(algorithm, "a Window")
                raise wrong(f"limits[{i}]", kind, one)
    return words


def _policy(reply: Any) -> Policy:
    """``["fixed", "30", "1d", "TTL", "5000ms", <the lasting one's, or nil>, "SHADOW", ["fixed", "20", "1d"],
    "MISMATCHES", 1]``; a shadow's own TTL is followed by nothing, and where only a shadow stands it begins with SHADOW."""
    words = _list(reply)
    is_shadow_alone = bool(words) and _text(words[0]) == "SHADOW"
    algorithm: Any = None if is_shadow_alone else one_of("algorithm", _text(words[0]), ALGORITHMS)
    step = 3 if algorithm == "bucket" else 2
    limits: list[PolicyLimit] = []
    at = 0 if is_shadow_alone else 1
    while at < len(words) and _text(words[at])[:1].isdigit():
        fields = words[at : at + step]
        at += step
        if algorithm == "bucket":
            limits.append(Bucket(_int(fields[0]), _int(fields[1]), _text(fields[2])))
        else:
            limits.append((LeaseLimit if algorithm == "lease" else Window)(_int(fields[0]), _text(fields[1])))
    ends_after_ms = lasting = shadow = None
    mismatches = 0
    while at < len(words):
        word = _text(words[at])
        if word == "TTL":
            ends_after_ms = _int(_text(words[at + 1]).removesuffix("ms"))
            if at + 2 < len(words) and (words[at + 2] is None or isinstance(words[at + 2], list)):
                lasting = None if words[at + 2] is None else _policy(words[at + 2])
                at += 1
        elif word == "SHADOW":
            shadow = _policy(words[at + 1])
        elif word == "MISMATCHES":
            mismatches = _int(words[at + 1])
        at += 2
    return Policy(
        algorithm=algorithm,
        limits=tuple(limits),
        ends_after_ms=ends_after_ms,
        lasting=lasting,
        shadow=shadow,
        mismatches=mismatches,
    )


def put_policy(
    verb: Literal["SET", "SHADOW"],
    name: str,
    algorithm: PolicyAlgorithm,
    limits: PolicyLimit | Sequence[PolicyLimit],
    ttl: str | None,
) -> Call[None]:
    known = one_of("algorithm", algorithm, ALGORITHMS)
    return Call(["RL.POLICY", verb, text("name", name), known.upper(), *_limit_words(known, limits), *_ttl(ttl)], _nothing)


def end_shadow(name: str) -> Call[bool]:
    return Call(["RL.POLICY", "SHADOW", text("name", name), "OFF"], lambda replies: _most(replies) == 1)


def get_policy(name: str) -> Call[Policy | None]:
    return Call(["RL.POLICY", "GET", text("name", name)], lambda replies: None if replies[0] is None else _policy(replies[0]))


def delete_policies(names: Iterable[str]) -> Call[int]:
    return Call(["RL.POLICY", "DEL", *(text("name", name) for name in names)], _most)


def policies() -> Call[dict[str, Policy]]:
    return Call(["RL.POLICY", "LIST"], lambda replies: {name: _policy(words) for name, words in _map(replies[0]).items()})


def deny(name: str, values: Sequence[str], ttl: str | None) -> Call[int]:
    if isinstance(values, str):
        raise wrong("values", "several texts", values)
    return Call(["RL.DENY", "ADD", text("name", name), *values, *_ttl(ttl)], _most)


def undeny(name: str, values: Sequence[str]) -> Call[int]:
    if isinstance(values, str):
        raise wrong("values", "several texts", values)
    return Call(["RL.DENY", "DEL", text("name", name), *values], _most)


def are_denied(name: str, values: Sequence[str]) -> Call[tuple[bool, ...]]:
    if isinstance(values, str):
        raise wrong("values", "several texts", values)
    return Call(["RL.DENY", "HAS", text("name", name), *values], lambda replies: tuple(_int(one) == 1 for one in _list(replies[0])))


def deny_entries(name: str, cursor: str) -> Call[tuple[str, list[tuple[str, int | None]]]]:
    def read(replies: Sequence[Any]) -> tuple[str, list[tuple[str, int | None]]]:
        following, values = _list(replies[0])
        return _text(following), [(value, None if _int(left) < 0 else _int(left)) for value, left in _map(values).items()]

    return Call(["RL.DENY", "ENTRIES", text("name", name), cursor, "COUNT", 1000], read)


def deny_lists() -> Call[dict[str, int]]:
    return Call(["RL.DENY", "LIST"], lambda replies: {name: _int(count) for name, count in _map(replies[0]).items()})


def rename_deny_list(name: str, new_name: str) -> Call[None]:
    return Call(["RL.DENY", "RENAME", text("name", name), text("new_name", new_name)], _nothing)


def drop_deny_list(name: str) -> Call[bool]:
    return Call(["RL.DENY", "DROP", text("name", name)], lambda replies: _most(replies) == 1)


def _counts(replies: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(replies)
    names = ("allowed", "denied", "deny_listed", "shadow_denied")
    return {name: sum(_int(one.get(name, 0)) for one in found) for name in names}


def _top(lists: Iterable[Any]) -> tuple[Top, ...]:
    found: dict[str, tuple[int, int]] = {}
    for item in (item for one in lists for item in _list(one)):
        name, (count, error) = _text(item[0]), found.get(_text(item[0]), (0, 0))
        found[name] = count + _int(item[1]), error + _int(item[2])
    tops = (Top(name, *numbers) for name, numbers in found.items())
    return tuple(sorted(tops, key=lambda top: -top.count))


def _rows(kind: Callable[..., Row], lists: Iterable[Any]) -> tuple[Row, ...]:
    found: dict[int, list[int]] = {}
    for row in (row for one in lists for row in _list(one)):
        start, *counts = map(_int, row[:5])
        counts += [0] * (4 - len(counts))  # shadow_denied is not in those of 0.1
        found[start] = [a + b for a, b in zip(found.get(start, [0, 0, 0, 0]), counts, strict=True)]
    return tuple(kind(start, *counts) for start, counts in sorted(found.items()))


def _statistics(replies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_counts(replies),
        "most_allowed": _top(one.get("most_allowed", []) for one in replies),
        "most_denied": _top(one.get("most_denied", []) for one in replies),
        "most_shadow_denied": _top(one.get("most_shadow_denied", []) for one in replies),
        "hours": _rows(Hour, (one.get("hours", []) for one in replies)),
        "days": _rows(Day, (one.get("days", []) for one in replies)),
    }


def statistics(name: str) -> Call[Statistics | None]:
    def read(replies: Sequence[Any]) -> Statistics | None:
        found = [_map(one) for one in replies if one is not None]
        return Statistics(**_statistics(found)) if found else None

    return Call(["RL.STATS", "GET", text("name", name)], read)


def total_statistics() -> Call[TotalStatistics]:
    def read(replies: Sequence[Any]) -> TotalStatistics:
        found = [_map(one) for one in replies]
        algorithms = [_map(one["algorithms"]) for one in found]
        return TotalStatistics(
            **_statistics(found),
            algorithms={name: Counts(**_counts(_map(one[name]) for one in algorithms)) for name in ALGORITHMS},
            names=tuple(sorted({_text(name) for one in found for name in _list(one["names"])})),
            most_deny_listed=_top(one.get("most_deny_listed", []) for one in found),
        )

    return Call(["RL.STATS", "GET"], read)


def reset_statistics(name: str | None) -> Call[None]:
    return Call(["RL.STATS", "RESET", *([] if name is None else [text("name", name)])], _nothing)


def _key_limit(reply: Any) -> KeyLimit:
    fields = _map(reply)
    texts = {name: _text(fields[name]) for name in ("window", "interval", "ttl") if name in fields}
    numbers = {name: _int(fields[name]) for name in ("limit", "refill", "used", "remaining", "reset_after_ms") if name in fields}
    return KeyLimit(**numbers, **texts)  # type: ignore[arg-type]


def info(key: str) -> Call[KeyInfo | None]:
    def read(replies: Sequence[Any]) -> KeyInfo | None:
        if replies[0] is None:
            return None
        found = _map(replies[0])
        leases = (_map(one) for one in _list(found.get("leases", [])))
        block = _map(found.get("block", []))
        algorithm: Any = _text(found["algorithm"])
        return KeyInfo(
            algorithm=algorithm,
            limits=tuple(map(_key_limit, _list(found["limits"]))),
            leases=tuple(HeldLease(_text(one["id"]), _int(one["cost"]), _int(one["ends_after_ms"])) for one in leases),
            blocked_for_ms=_int(block["left_ms"]) if "left_ms" in block else None,
        )

    return Call(["RL.INFO", text("key", key)], read, key)
