"""A verdict as fields of HTTP.

X-RateLimit-*, Retry-After, and the RateLimit and RateLimit-Policy fields of the IETF draft "RateLimit header fields for
HTTP" (draft-ietf-httpapi-ratelimit-headers), which are lists: one item a limit.
"""

import re
import time

from .verdict import AllVerdict, Verdict

# For Access-Control-Expose-Headers: without it a page of another origin cannot read these fields.
EXPOSED = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Policy, RateLimit, Retry-After"


def _seconds(ms: int) -> int:
    """Rounded up: never an invitation to come too early."""
    return -(-ms // 1000)


def _quoted(name: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


def rate_limit_headers(verdict: Verdict | AllVerdict, now_ms: int | None = None) -> dict[str, str]:
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
        "RateLimit": ", ".join(f"{_quoted(one.name)};r={one.remaining};t={_seconds(one.reset_after_ms)}" for one in limits),
    }
    # -1: there is no use in trying again. A wait that was granted is not the caller's business.
    if not verdict.allowed and verdict.retry_after_ms > 0:
        headers["Retry-After"] = str(_seconds(verdict.retry_after_ms))
    return headers


def refusal(verdict: Verdict | AllVerdict) -> tuple[int, str]:
    """The status and the text to answer where it is not allowed."""
    if verdict.error:
        return 503, "Try again shortly"  # closed while Redis is away
    if verdict.denied_value is not None:
        return 403, "Forbidden"  # on a deny list
    return 429, "Too many requests"
