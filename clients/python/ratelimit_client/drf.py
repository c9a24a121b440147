"""Throttles for Django REST framework: its own classes, rates and scopes, with an exact window in one command.

>>> RATELIMIT = {"client": "redis://localhost:6379"}  # settings.py; or a client of redis-py, and options of a Limiter
>>> REST_FRAMEWORK = {
...     "DEFAULT_THROTTLE_CLASSES": ["ratelimit_client.drf.AnonRateThrottle", "ratelimit_client.drf.UserRateThrottle"],
...     "DEFAULT_THROTTLE_RATES": {"anon": "100/day", "user": "1000/day"},
... }
"""

from functools import lru_cache
from typing import Any

import redis
from django.conf import settings  # type: ignore[import-untyped,unused-ignore]
from rest_framework import throttling  # type: ignore[import-untyped,unused-ignore]

from .limiter import Limiter
from .verdict import Verdict
from .plan import Window


@lru_cache
def _limiter(limit: int, seconds: int) -> Limiter:
    options = dict(getattr(settings, "RATELIMIT", None) or {})
    client = options.pop("client", None)
    if isinstance(client, str):
        client = _client(client)
    given: dict[str, Any] = {"prefix": "throttle", **options}
    return Limiter(client, algorithm="sliding", limits=Window(limit, f"{seconds}s"), **given)


@lru_cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


class RateLimitThrottle(throttling.SimpleRateThrottle):  # type: ignore[misc,unused-ignore]
    """For a throttle of one's own: give it a ``scope``, and ``get_cache_key``."""

    def allow_request(self, request: Any, view: Any) -> bool:
        if self.rate is None or (key := self.get_cache_key(request, view)) is None:
            return True
        self.verdict: Verdict = _limiter(self.num_requests, self.duration).hit(key)
        return self.verdict.allowed

    def wait(self) -> float | None:
        """For Retry-After, exact; None where it can never fit."""
        wait_ms = self.verdict.retry_after_ms
        return wait_ms / 1000 if wait_ms >= 0 else None


class AnonRateThrottle(throttling.AnonRateThrottle, RateLimitThrottle):  # type: ignore[misc,unused-ignore]
    pass


class UserRateThrottle(throttling.UserRateThrottle, RateLimitThrottle):  # type: ignore[misc,unused-ignore]
    pass


class ScopedRateThrottle(throttling.ScopedRateThrottle, RateLimitThrottle):  # type: ignore[misc,unused-ignore]
    pass
