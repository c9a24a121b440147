"""What all middleware has: whom it does not charge, what it gives back, and what it answers where it refuses."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from ._check import wrong
from .headers import add_fields, refusal
from .limiter import AsyncLimiter, Limiter
from .verdict import AllVerdict, Verdict

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of one's own."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


AnyVerdict = Verdict | AllVerdict
Handler = Callable[[AnyVerdict], Refusal]


def problem(verdict: AnyVerdict) -> Refusal:
    """A body as RFC 9457 has it, with the problem types of the IETF draft on RateLimit fields: ``handler=problem``."""
    status, title = refusal(verdict)
    kind = "https://iana.org/assignments/http-problem-types#quota-exceeded" if status == 429 else "about:blank"
    body = json.dumps({"type": kind, "title": title, "status": status}).encode()
    return Refusal(status, body, (("Content-Type", "application/problem+json"),))


@dataclass(frozen=True, slots=True)
class Counted:
    """A hit that can be given back, for ``skip_successful_requests`` and ``skip_failed_requests``."""

    verdict: AnyVerdict
    give_back: Callable[[], Any]  # nothing where nothing was charged


def hit_of(limiter: Limiter, key: str, **options: Any) -> Counted:
    """
    >>> RateLimitMiddleware(app, limit=lambda environ: hit_of(login, by_ip(...)), skip_successful_requests=True)
    """
    answer = limiter.hit(key, **{"stamp": True, "next": True, **options})

    def give_back() -> None:
        if answer.taken > 0 and answer.charged_at:  # a denied hit has charged nothing: a refund would reopen the limit
            limiter.hit(key, cost=-answer.taken, at=answer.charged_at, policy=options.get("policy"))

    return Counted(answer, give_back)


async def hit_of_async(limiter: AsyncLimiter, key: str, **options: Any) -> Counted:
    """As ``hit_of``, of an ``AsyncLimiter``."""
    answer = await limiter.hit(key, **{"stamp": True, "next": True, **options})

    async def give_back() -> None:
        if answer.taken > 0 and answer.charged_at:
            await limiter.hit(key, cost=-answer.taken, at=answer.charged_at, policy=options.get("policy"))

    return Counted(answer, give_back)


Limited = AnyVerdict | Counted


class Rules(Generic[R]):
    """The options of a middleware, checked; ``R`` is what it calls a request."""

    def __init__(
        self,
        *,
        skip: Callable[[R], bool] | None = None,
        skip_successful_requests: bool = False,
        skip_failed_requests: bool = False,
        message: str | dict[str, Any] | None = None,
        handler: Handler | None = None,
    ):
        for name, hook in (("skip", skip), ("handler", handler)):
            if hook is not None and not callable(hook):
                raise wrong(name, "a function", hook)
        if not isinstance(message, (str, dict, type(None))):
            raise wrong("message", "a text, or a dict that becomes JSON", message)
        self._skip = skip
        self._skip_successful = skip_successful_requests
        self._skip_failed = skip_failed_requests
        self._message = message
        self._handler = handler

    def is_skipped(self, method: str | None, request: R) -> bool:
        """A preflight of CORS is the browser's, not the caller's: charged, each request would count twice."""
        return method == "OPTIONS" or (self._skip is not None and self._skip(request))

    def verdict_of(self, limited: Limited) -> AnyVerdict:
        if isinstance(limited, Counted):
            return limited.verdict
        if self._skip_successful or self._skip_failed:
            raise TypeError("skip_successful_requests and skip_failed_requests give a hit back: limit with hit_of(limiter, key)")
        return limited

    def is_uncounted(self, status: int) -> bool:
        return self._skip_successful if status < 400 else self._skip_failed

    def refuse(self, verdict: AnyVerdict) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._handler is not None:
            own = self._handler(verdict)
        else:
            status, error = refusal(verdict)
            body = {"error": error} if self._message is None else self._message
            kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            own = Refusal(status, data, (("Content-Type", kind),))
        fields = [*own.headers, ("Content-Length", str(len(own.body)))]
        return own.status, add_fields(fields, verdict), own.body


def phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Refused"


async def given_back(limited: Limited) -> None:
    if isinstance(limited, Counted):
        again = limited.give_back()
        if isinstance(again, Awaitable):
            await again
