"""ASGI middleware: Starlette, FastAPI, Django, Quart."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .headers import add_fields
from .middleware import Handler, Limited, Rules, given_back

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
    """The peer's address, for ``client_address``."""
    client = scope.get("client")
    return client[0] if client else None


def _texts(headers: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _bytes(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


class RateLimitMiddleware:
    """429 where ``limit`` says no, and the fields of ``headers.py`` on every response; ``scope["rate_limit"]`` is the verdict.

    A WebSocket is limited when it is opened; its messages are hits of the application's own. A preflight of CORS is never
    charged.

    >>> async def limit(scope):
    ...     return await api.hit(by_ip(address(headers_of(scope), peer_of(scope))))
    >>> app.add_middleware(RateLimitMiddleware, limit=limit)
    """

    def __init__(
        self,
        app: App,
        *,
        limit: Callable[[Scope], Awaitable[Limited]],
        skip: Callable[[Scope], bool] | None = None,
        skip_successful_requests: bool = False,
        skip_failed_requests: bool = False,
        message: str | dict[str, Any] | None = None,
        handler: Handler | None = None,
    ):
        """
        :param skip: true of requests that are not limited at all
        :param skip_successful_requests: gives the hit back where the status is below 400; ``limit`` then uses ``hit_of_async``
        :param skip_failed_requests: gives it back where the status is 400 or more, or the application fails
        :param message: the body of a refusal, as text or as JSON
        :param handler: makes a refusal of one's own; ``problem`` answers as RFC 9457 has it
        """
        self.app = app
        self.limit = limit
        self._rules: Rules[Scope] = Rules(
            skip=skip,
            skip_successful_requests=skip_successful_requests,
            skip_failed_requests=skip_failed_requests,
            message=message,
            handler=handler,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rules = self._rules
        if scope["type"] not in ("http", "websocket") or rules.is_skipped(scope.get("method", "GET"), scope):
            await self.app(scope, receive, send)
            return
        limited = await self.limit(scope)
        verdict = rules.verdict_of(limited)
        scope["rate_limit"] = verdict
        if not verdict.allowed:
            await self._refuse(scope, receive, send, *rules.refuse(verdict))
            return
        has_started = False

        async def send_with_fields(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if rules.is_uncounted(message["status"]):
                    await given_back(limited)
                message = {**message, "headers": _bytes(add_fields(_texts(message.get("headers", ())), verdict))}
            await send(message)

        try:
            await self.app(scope, receive, send_with_fields)
        except Exception:
            if not has_started and rules.is_uncounted(500):
                await given_back(limited)
            raise

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, status: int, fields: list[tuple[str, str]], body: bytes
    ) -> None:
        kind = "http"
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
            if "websocket.http.response" not in (scope.get("extensions") or {}):
                await send({"type": "websocket.close", "code": 1013})  # before it is accepted: the server answers 403
                return
            kind = "websocket.http"
        await send({"type": f"{kind}.response.start", "status": status, "headers": _bytes(fields)})
        await send({"type": f"{kind}.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
