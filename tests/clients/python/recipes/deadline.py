"""When Redis is slow or away: an answer within the timeout all the same.

Open (let through) suits most endpoints; closed suits logins, where guessing must not be free while Redis is down.
"""

import asyncio
import logging
from collections.abc import Callable

from redis.exceptions import RedisError

from .limiter import Limiter, Verdict


def with_deadline(
    limit: Limiter, *, open: bool, timeout_s: float = 0.1, on_error: Callable[[Exception], None] | None = None
) -> Limiter:
    """``on_error``: a refusal of the server, such as WRONGTYPE, comes this way too. Default: the log."""
    on_error = on_error or (lambda error: logging.getLogger(__name__).warning("rate limiter: %r", error))

    async def guarded(key: str, **options) -> Verdict:
        try:
            async with asyncio.timeout(timeout_s):
                return await limit(key, **options)
        except (RedisError, OSError, TimeoutError) as error:
            on_error(error)
            return Verdict(allowed=open, error=error)

    return guarded
