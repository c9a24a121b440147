"""Waiting until ready: sleep for as long as the server said, ask again. No polling: asking earlier is denied for sure."""

import asyncio
import time

from .limiter import Limiter, Verdict


async def until_ready(limit: Limiter, key: str, *, cost: int = 1, timeout_s: float = 60.0) -> Verdict:
    """The last verdict: denied at once where the wait would outlast ``timeout_s``, or where the cost can never fit."""
    deadline = time.monotonic() + timeout_s
    while True:
        verdict = await limit(key, cost=cost)
        wait_s = verdict.retry_after_ms / 1000
        if verdict.allowed or wait_s <= 0 or time.monotonic() + wait_s > deadline:
            return verdict
        await asyncio.sleep(wait_s)
