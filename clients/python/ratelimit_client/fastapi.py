"""A dependency for FastAPI: a limit of one path, or of a router.

>>> limited = RateLimit(api, lambda request: by_ip(address(request.headers, request.client and request.client.host)))
>>> @app.get("/search", dependencies=[Depends(limited)])
"""

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from fastapi import HTTPException, Request, Response

from ._check import wrong
from .headers import fields_to_set, refusal
from .limiter import AsyncLimiter
from .verdict import Verdict


class RateLimit:
    """Raises an ``HTTPException`` with the fields of ``headers.py`` where the hit is denied; else they are on the response,
    and the dependency's value is the verdict.

    :param key: what is limited, of a request; it may be a coroutine function
    :param cost: of a hit, or of a request
    """

    def __init__(
        self,
        limiter: AsyncLimiter,
        key: Callable[[Request], str | Awaitable[str]],
        *,
        cost: int | Callable[[Request], int] = 1,
        skip: Callable[[Request], bool] | None = None,
    ):
        if not isinstance(limiter, AsyncLimiter):
            raise wrong("limiter", "an AsyncLimiter", limiter)
        self._limiter = limiter
        self._key = key
        self._cost = cost
        self._skip = skip

    async def __call__(self, request: Request, response: Response) -> Verdict | None:
        """None where it was skipped."""
        if request.method == "OPTIONS" or (self._skip is not None and self._skip(request)):
            return None
        key = self._key(request)
        cost = self._cost(request) if callable(self._cost) else self._cost
        verdict = await self._limiter.hit(await key if isawaitable(key) else key, cost=cost, next=True)
        fields = fields_to_set(response.headers.items(), verdict)
        if not verdict.allowed:
            status, error = refusal(verdict)
            raise HTTPException(status, error, fields)
        for name, value in fields.items():
            response.headers[name] = value
        return verdict
