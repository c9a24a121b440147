"""A decorator for Flask's views.

>>> @app.get("/search")
... @rate_limited(api, lambda: by_ip(address(request.headers, request.remote_addr)))
... def search(): ...
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import flask

from ._check import wrong
from .headers import fields_to_set
from .limiter import Limiter
from .middleware import Handler, Rules, hit_of


def rate_limited(
    limiter: Limiter,
    key: Callable[[], str],
    *,
    cost: int = 1,
    skip: Callable[[], bool] | None = None,
    skip_successful_requests: bool = False,
    skip_failed_requests: bool = False,
    message: str | dict[str, Any] | None = None,
    handler: Handler | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options are those of the middleware; ``flask.g.rate_limit`` is the verdict."""
    if not isinstance(limiter, Limiter):
        raise wrong("limiter", "a Limiter", limiter)
    rules: Rules[None] = Rules(
        skip=None if skip is None else lambda _request: skip(),
        skip_successful_requests=skip_successful_requests,
        skip_failed_requests=skip_failed_requests,
        message=message,
        handler=handler,
    )

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def limited_view(*args: Any, **kwargs: Any) -> Any:
            if rules.is_skipped(flask.request.method, None):
                return view(*args, **kwargs)
            limited = hit_of(limiter, key(), cost=cost)
            verdict = flask.g.rate_limit = limited.verdict
            if not verdict.allowed:
                status, fields, body = rules.refuse(verdict)
                return flask.Response(body, status, fields)
            try:
                response = flask.make_response(flask.current_app.ensure_sync(view)(*args, **kwargs))
            except Exception as error:
                if rules.is_uncounted(getattr(error, "code", None) or 500):
                    limited.give_back()
                raise
            if rules.is_uncounted(response.status_code):
                limited.give_back()
            for name, value in fields_to_set(response.headers.items(), verdict).items():
                response.headers[name] = value
            return response

        return limited_view

    return decorate
