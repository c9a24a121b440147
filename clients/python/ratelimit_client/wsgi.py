"""WSGI middleware: Flask, Django, Pyramid, Bottle."""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from .headers import EXPOSED, rate_limit_headers, refusal
from .verdict import AllVerdict, Verdict

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def headers_of(environ: "WSGIEnvironment") -> dict[str, str]:
    """For ``client_address``."""
    return {name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")}


def peer_of(environ: "WSGIEnvironment") -> str | None:
    return environ.get("REMOTE_ADDR") or None


class RateLimitMiddleware:
    """429 where ``limit`` says no, and the fields of ``headers.py`` on every response.

    >>> def limit(environ):
    ...     return api.hit(by_ip(address(headers_of(environ), peer_of(environ))))
    >>> app.wsgi_app = RateLimitMiddleware(app.wsgi_app, limit=limit)
    """

    def __init__(self, app: "WSGIApplication", *, limit: Callable[["WSGIEnvironment"], Verdict | AllVerdict]):
        self.app = app
        self.limit = limit

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        verdict = self.limit(environ)
        fields = [*rate_limit_headers(verdict).items(), ("Access-Control-Expose-Headers", EXPOSED)]

        def start_with_fields(
            status: str, headers: list[tuple[str, str]], exc_info: "ExcInfo | None" = None, /
        ) -> Callable[[bytes], object]:
            return start_response(status, [*headers, *fields], exc_info)

        if verdict.allowed:
            return self.app(environ, start_with_fields)
        status, error = refusal(verdict)
        body = json.dumps({"error": error}).encode()
        own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_with_fields(f"{status} {HTTPStatus(status).phrase}", own)
        return [body]
