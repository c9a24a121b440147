"""ASGI middleware: Starlette, FastAPI, Django, Quart."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .headers import EXPOSED, rate_limit_headers, refusal
from .verdict import AllVerdict, Verdict

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def headers_of(scope: Scope) -> dict[str, str]:
    """For ``client_address``: fields that come several times are one list, as HTTP says."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def peer_of(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


class RateLimitMiddleware:
    """429 where ``limit`` says no, and the fields of ``headers.py`` on every response.

    >>> async def limit(scope):
    ...     return await api.hit(by_ip(address(headers_of(scope), peer_of(scope))))
    >>> app.add_middleware(RateLimitMiddleware, limit=limit)
    """

    def __init__(self, app: App, *, limit: Callable[[Scope], Awaitable[Verdict | AllVerdict]]):
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        verdict = await self.limit(scope)
        fields = {**rate_limit_headers(verdict), "Access-Control-Expose-Headers": EXPOSED}
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *encoded]}
            await send(message)

        if verdict.allowed:
            await self.app(scope, receive, send_with_fields)
            return
        status, error = refusal(verdict)
        body = json.dumps({"error": error}).encode()
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send_with_fields({"type": "http.response.start", "status": status, "headers": own})
        await send({"type": "http.response.body", "body": body})
