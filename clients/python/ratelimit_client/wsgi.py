"""WSGI middleware: Flask, Django, Pyramid, Bottle."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .headers import add_fields
from .middleware import Counted, Handler, Limited, Rules, phrase

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def headers_of(environ: "WSGIEnvironment") -> dict[str, str]:
    """For ``client_address``."""
    return {name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")}


def peer_of(environ: "WSGIEnvironment") -> str | None:
    """The peer's address, for ``client_address``."""
    return environ.get("REMOTE_ADDR") or None


class RateLimitMiddleware:
    """429 where ``limit`` says no, and the fields of ``headers.py`` on every response; ``environ["rate_limit"]`` is the
    verdict. The options are those of ``asgi.RateLimitMiddleware``; to give hits back, ``limit`` uses ``hit_of``.

    >>> def limit(environ):
    ...     return api.hit(by_ip(address(headers_of(environ), peer_of(environ))))
    >>> app.wsgi_app = RateLimitMiddleware(app.wsgi_app, limit=limit)
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        limit: Callable[["WSGIEnvironment"], Limited],
        skip: "Callable[[WSGIEnvironment], bool] | None" = None,
        skip_successful_requests: bool = False,
        skip_failed_requests: bool = False,
        message: str | dict[str, Any] | None = None,
        handler: Handler | None = None,
    ):
        self.app = app
        self.limit = limit
        self._rules: Rules[WSGIEnvironment] = Rules(
            skip=skip,
            skip_successful_requests=skip_successful_requests,
            skip_failed_requests=skip_failed_requests,
            message=message,
            handler=handler,
        )

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        rules = self._rules
        if rules.is_skipped(environ.get("REQUEST_METHOD", "GET"), environ):
            return self.app(environ, start_response)
        limited = self.limit(environ)
        verdict = rules.verdict_of(limited)
        environ["rate_limit"] = verdict
        if not verdict.allowed:
            status, fields, body = rules.refuse(verdict)
            start_response(phrase(status), fields)
            return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]
        has_started = False

        def start_with_fields(
            status: str, headers: list[tuple[str, str]], exc_info: "ExcInfo | None" = None, /
        ) -> Callable[[bytes], object]:
            nonlocal has_started
            if not has_started and rules.is_uncounted(int(status[:3])) and isinstance(limited, Counted):
                limited.give_back()
            has_started = True
            return start_response(status, add_fields(headers, verdict), exc_info)

        try:
            return self.app(environ, start_with_fields)
        except Exception:
            if not has_started and rules.is_uncounted(500) and isinstance(limited, Counted):
                limited.give_back()
            raise
