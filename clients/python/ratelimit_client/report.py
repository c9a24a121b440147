"""What a verdict hides is said: which limiter let whom through uncounted, and why. One line a second at most."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ._check import wrong
from .errors import Reason, reason_of

_log = logging.getLogger("ratelimit_client")

OnError = Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class HitEvent:
    """For metrics: one for each hit.

    >>> def count(event):
    ...     HITS.labels(event.limiter, event.outcome, event.reason or "").inc()
    ...     DURATION.labels(event.limiter).observe(event.duration_s)
    """

    limiter: str  # its name
    # ``open`` and ``closed``: Redis was not asked, or did not answer, and ``unavailable`` decided.
    outcome: Literal["allowed", "denied", "open", "closed"]
    reason: Reason | None
    duration_s: float
    local: bool = False  # this process decided by itself (``unavailable="local"``)


OnHit = Callable[[HitEvent], None]


def logger(name: str) -> OnError:
    """The default of ``on_error``: of many within a second, one line."""
    until = kept = 0.0

    def log(error: Exception) -> None:
        nonlocal until, kept
        now = time.monotonic()
        if now < until:
            kept += 1
            return
        alike = f" (and {kept:.0f} more since the last line)" if kept else ""
        until, kept = now + 1, 0
        _log.warning("rate limiter %r: %s: %s%s", name, reason_of(error), error, alike)

    return log


def guarded(name: str, hook: Callable[[Any], None] | None) -> Callable[[Any], None] | None:
    """A hook of the application's that raises must not turn into a failed hit."""
    if hook is None:
        return None
    if not callable(hook):
        raise wrong(name, "a function", hook)

    def call(argument: Any) -> None:
        try:
            hook(argument)
        except Exception:
            _log.exception("rate limiter: %s has raised", name)

    return call
