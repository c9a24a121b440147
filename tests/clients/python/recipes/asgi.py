"""ASGI middleware: Starlette, FastAPI, Django, Quart.

>>> app.add_middleware(RateLimitMiddleware, limit=limit, identify=identify, name="api", window_seconds=900)

Every response carries X-RateLimit-*, and the RateLimit and RateLimit-Policy fields of the IETF draft
draft-ietf-httpapi-ratelimit-headers; a denied one is 429 with Retry-After.
"""

import json
import time
from collections.abc import Callable

from .limiter import Limiter, Verdict


def seconds(ms: float) -> int:
    """Rounded up: never an invitation to come too early."""
    return int(-(-ms // 1000))


def rate_limit_headers(verdict: Verdict, name: str, window_seconds: int | None) -> dict[str, str]:
    """Leave ``window_seconds`` out where a POLICY of the server may replace the window: the reply does not tell it."""
    if verdict.error:
        return {} if verdict.allowed else {"retry-after": "1"}
    window = "" if window_seconds is None else f";w={window_seconds}"
    headers = {
        "x-ratelimit-limit": str(verdict.limit),
        "x-ratelimit-remaining": str(verdict.remaining),
        "x-ratelimit-reset": str(seconds(time.time() * 1000 + verdict.reset_after_ms)),  # Unix time
        "ratelimit-policy": f'"{name}";q={verdict.limit}{window}',
        "ratelimit": f'"{name}";r={verdict.remaining};t={seconds(verdict.reset_after_ms)}',
    }
    if verdict.retry_after_ms > 0:  # -1: no use in retrying
        headers["retry-after"] = str(seconds(verdict.retry_after_ms))
    return headers


def refusal(verdict: Verdict) -> tuple[int, str]:
    if verdict.error:
        return 503, "Try again shortly"  # closed while Redis is away
    if verdict.denied_value is not None:
        return 403, "Forbidden"  # on a deny list
    return 429, "Too many requests"


class RateLimitMiddleware:
    def __init__(
        self,
        app,
        *,
        limit: Limiter,
        identify: Callable[[dict], str],  # from the ASGI scope to the key
        name: str = "default",
        window_seconds: int | None = None,
    ):
        self.app = app
        self.limit = limit
        self.identify = identify
        self.policy = (name, window_seconds)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        verdict = await self.limit(self.identify(scope))
        headers = rate_limit_headers(verdict, *self.policy)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

        async def send_with_fields(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            await send(message)

        if verdict.allowed:
            await self.app(scope, receive, send_with_fields)
            return
        status, error = refusal(verdict)
        body = json.dumps({"error": error}).encode()
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send_with_fields({"type": "http.response.start", "status": status, "headers": own})
        await send({"type": "http.response.body", "body": body})
