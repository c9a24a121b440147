"""A limiter of a WebSocket's messages, for ASGI: Starlette, FastAPI, Django Channels, Quart. The handshake is limited by
``asgi.RateLimitMiddleware``, as any request.

>>> @app.websocket("/chat")
... async def chat(websocket: WebSocket):
...     await websocket.accept()
...     async for message in limit_messages(websocket.receive, websocket.send, lambda _: chat_limiter.hit(key)):
...         await websocket.send_text(answer(message))
"""

from collections.abc import AsyncGenerator, Awaitable, Callable

from ._check import wrong
from .asgi import Receive, Send
from .headers import refusal
from .middleware import AnyVerdict

TRY_LATER, POLICY_VIOLATION, INTERNAL_ERROR = 1013, 1008, 1011

Data = str | bytes
Denied = Callable[[AnyVerdict, Data], Awaitable[object]]


def _code_of(verdict: AnyVerdict) -> int:
    """Of a message that can never be allowed, or is on a deny list: policy violation."""
    is_final = verdict.error is None and (verdict.denied_value is not None or verdict.retry_after_ms < 0)
    return POLICY_VIOLATION if is_final else TRY_LATER


def limit_messages(
    receive: Receive, send: Send, limit: Callable[[Data], Awaitable[AnyVerdict]], *, denied: Denied | None = None
) -> AsyncGenerator[Data, None]:
    """The messages that are allowed, one after the other, of a WebSocket that was accepted. The next one is received when the
    loop comes back, so whoever sends too fast has to wait: the server's own queue is bounded. The loop ends with the socket.
    What ``limit`` or ``denied`` raises closes it (1011), and is raised by the loop.

    :param limit: charges one message. With ``limiter.wait(key)`` it is held back until its turn comes
    :param denied: what is done about a message that is not allowed, and the next one is received. Without it the socket is
        closed: 1013 where trying later helps, 1008 where it does not
    """
    for name, hook in (("receive", receive), ("send", send), ("limit", limit), ("denied", denied or limit)):
        if not callable(hook):
            raise wrong(name, "a function", hook)
    return _allowed(receive, send, limit, denied)


async def _allowed(
    receive: Receive, send: Send, limit: Callable[[Data], Awaitable[AnyVerdict]], denied: Denied | None
) -> AsyncGenerator[Data, None]:
    async def close(code: int, reason: str) -> None:
        await send({"type": "websocket.close", "code": code, "reason": reason})

    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        data: Data = message["bytes"] if text is None else text
        try:
            verdict = await limit(data)
            if not verdict.allowed and denied is not None:
                await denied(verdict, data)
        except Exception:
            await close(INTERNAL_ERROR, "")
            raise
        if verdict.allowed:
            yield data
        elif denied is None:
            await close(_code_of(verdict), refusal(verdict)[1])
            return
