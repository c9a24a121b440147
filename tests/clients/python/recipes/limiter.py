"""One call, one verdict.

A limiter is a coroutine function ``limit(key, **options) -> Verdict``; the other recipes wrap one and keep this shape.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    limit: int = 0
    remaining: int = 0
    retry_after_ms: int = 0  # 0: allowed. -1: this cost can never fit
    reset_after_ms: int = 0
    denied_value: str | bytes | None = None  # what was found in the deny list
    error: Exception | None = None  # the server could not be asked: the numbers mean nothing


Limiter = Callable[..., Awaitable[Verdict]]


def limiter(client, algorithm: str, *limits: int | str, policy: str | None = None) -> Limiter:
    """``client`` is a ``redis.asyncio.Redis`` or ``RedisCluster``; ``limits`` as the command takes them.

    >>> api = limiter(client, "SLIDING", 100, "15m", policy="api")
    >>> verdict = await api(f"user:{user_id}")
    """
    default_policy = policy

    async def limit(
        key: str,
        *,
        cost: int = 1,
        force: bool = False,
        policy: str | None = default_policy,
        deny: tuple[str, ...] = (),  # (list, value, ...)
    ) -> Verdict:
        args = [f"RL.{algorithm}", key, *limits, "COST", cost]
        if force:
            args.append("FORCE")
        if policy:
            args += ["POLICY", policy]
        if deny:
            args += ["DENY", *deny]  # takes the rest of the line
        reply = await client.execute_command(*args)
        allowed, *numbers = reply[:5]
        return Verdict(allowed == 1, *numbers, denied_value=reply[-1] if deny else None)

    return limit
