"""LLM tokens: reserve an estimate before the call, settle with what it really used."""

from collections.abc import Awaitable, Callable
from typing import Any

from .limiter import Limiter, Verdict, limiter

DAILY_TOKENS = {"free": 50_000, "paid": 500_000}  # by plan, a day in UTC


def daily_budget(client, plan: str) -> Limiter:
    return limiter(client, "FIXED", DAILY_TOKENS[plan], "1d", policy=f"tokens-{plan}")


async def spend_tokens(
    budget: Limiter, key: str, estimate: int, call: Callable[[], Awaitable[tuple[int, Any]]]
) -> tuple[Verdict, Any]:
    """``call`` asks the model and returns (tokens used, result). Returns the verdict, and the result where allowed."""
    verdict = await budget(key, cost=estimate)
    if not verdict.allowed:
        return verdict, None
    used = 0  # a call that failed is given back whole
    try:
        used, result = await call()
        return verdict, result
    finally:
        if used != estimate:  # FORCE: what was spent is spent, even beyond the budget
            await budget(key, cost=used - estimate, force=True)
