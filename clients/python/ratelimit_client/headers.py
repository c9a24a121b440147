"""A verdict as fields of HTTP.

X-RateLimit-*, Retry-After, and the RateLimit and RateLimit-Policy fields of the IETF draft "RateLimit header fields for
HTTP" (draft-ietf-httpapi-ratelimit-headers), which are lists: one item a limit.
"""

import re
import time
from collections.abc import Iterable

from .verdict import AllVerdict, LimitState, Verdict

# For Access-Control-Expose-Headers: without it a page of another origin cannot read these fields.
EXPOSED = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Policy, RateLimit, Retry-After"


def _seconds(ms: int) -> int:
    """Rounded up: never an invitation to come too early."""
    return -(-ms // 1000)


def _quoted(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def _next(one: LimitState) -> str:
    """When more becomes available: not known where the limiter does not ask for it, and of no use where it is never."""
    return "" if one.next_after_ms is None or one.next_after_ms < 0 else f";t={_seconds(one.next_after_ms)}"


def rate_limit_headers(verdict: Verdict | AllVerdict, now_ms: int | None = None) -> dict[str, str]:
    """The fields of a verdict for a response: ``X-RateLimit-*``, ``RateLimit``, ``RateLimit-Policy`` and ``Retry-After``."""
    if verdict.error:
        return {} if verdict.allowed else {"Retry-After": "1"}  # no numbers are known
    keys = verdict.keys if isinstance(verdict, AllVerdict) else (verdict,)
    limits = [limit for key in keys for limit in key.limits]
    now = int(time.time() * 1000) if now_ms is None else now_ms
    headers = {
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(_seconds(now + verdict.reset_after_ms)),  # Unix time
        "RateLimit-Policy": ", ".join(
            f"{_quoted(one.name)};q={one.limit}" + ("" if one.window_seconds is None else f";w={one.window_seconds}")
            for one in limits
        ),
        "RateLimit": ", ".join(f"{_quoted(one.name)};r={one.remaining}{_next(one)}" for one in limits),
    }
    # -1: there is no use in trying again. A wait that was granted is not the caller's business.
    if not verdict.allowed and verdict.retry_after_ms > 0:
        headers["Retry-After"] = str(_seconds(verdict.retry_after_ms))
    return headers


_LISTS = ("ratelimit-policy", "ratelimit")


def fields_to_set(fields: Iterable[tuple[str, str]], verdict: Verdict | AllVerdict) -> dict[str, str]:
    """What to set in a response that has these fields.

    Where another limiter's are there already, ``RateLimit`` and ``RateLimit-Policy`` have the items of both, and the others
    are those of the one with the least remaining.
    """
    known = {name.lower(): value for name, value in fields}
    own = rate_limit_headers(verdict)
    remaining = known.get("x-ratelimit-remaining", "")
    is_tighter = not remaining.isdigit() or verdict.error is not None or not verdict.allowed or verdict.remaining < int(remaining)
    set_: dict[str, str] = {}
    for name, value in own.items():
        lower = name.lower()
        if lower in _LISTS and known.get(lower):
            set_[name] = f"{known[lower]}, {value}"
        elif lower in _LISTS or is_tighter:
            set_[name] = value
    exposed = known.get("access-control-expose-headers")
    if exposed is None or EXPOSED not in exposed:
        set_["Access-Control-Expose-Headers"] = EXPOSED if exposed is None else f"{exposed}, {EXPOSED}"
    return set_


def add_fields(fields: Iterable[tuple[str, str]], verdict: Verdict | AllVerdict) -> list[tuple[str, str]]:
    """The fields of a response with those of a verdict, as ``fields_to_set`` says."""
    kept = list(fields)
    new = fields_to_set(kept, verdict)
    replaced = {name.lower() for name in new}
    return [*((name, value) for name, value in kept if name.lower() not in replaced), *new.items()]


def refusal(verdict: Verdict | AllVerdict) -> tuple[int, str]:
    """The status and the text to answer where it is not allowed."""
    if verdict.error:
        return 503, "Try again shortly"  # closed while Redis is away
    if verdict.denied_value is not None:
        return 403, "Forbidden"  # on a deny list
    return 429, "Too many requests"
