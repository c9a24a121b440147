"""A local cache of blocked identifiers: who was told to come back in 900 s costs no round trip until then.

Only denials are kept. ``max_s`` bounds how long this process may not notice that a limit was raised, usage given back
or the key deleted.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from .limiter import Limiter, Verdict


def with_blocked_cache(
    limit: Limiter, *, max_entries: int = 10_000, max_s: float = 60.0, now: Callable[[], float] = time.monotonic
) -> Limiter:
    blocked: dict[str, tuple[float, float, int, Verdict]] = {}  # key: (since, until, cost, verdict), the oldest first

    async def cached(key: str, *, cost: int = 1, force: bool = False, **options) -> Verdict:
        if entry := blocked.get(key):
            since, until, denied_cost, verdict = entry
            if now() >= until:
                blocked.pop(key, None)
            elif cost >= denied_cost and not force:  # a cost that does not fit: no greater one does either
                elapsed_ms = (now() - since) * 1000
                retry, reset = (
                    ms if ms < 0 else max(0, ceil(ms - elapsed_ms)) for ms in (verdict.retry_after_ms, verdict.reset_after_ms)
                )
                return replace(verdict, retry_after_ms=retry, reset_after_ms=reset)

        since = now()
        verdict = await limit(key, cost=cost, force=force, **options)
        learnt = not verdict.allowed and verdict.error is None and verdict.denied_value is None
        if learnt and cost > 0 and not force:
            if len(blocked) >= max_entries:
                del blocked[next(iter(blocked))]
            wait_s = max_s if verdict.retry_after_ms < 0 else min(verdict.retry_after_ms / 1000, max_s)
            blocked[key] = (since, since + wait_s, cost, verdict)
        elif cost < 0:
            blocked.pop(key, None)  # something was given back
        return verdict

    return cached
