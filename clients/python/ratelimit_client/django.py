"""A decorator for Django's views, sync with a ``Limiter`` and async with an ``AsyncLimiter``.

>>> @rate_limited(login, caller, skip_successful_requests=True)
... def sign_in(request): ...
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation  # type: ignore[import-untyped,unused-ignore]
from django.http import Http404, HttpRequest, HttpResponse  # type: ignore[import-untyped,unused-ignore]

from ._check import wrong
from .headers import fields_to_set
from .limiter import AsyncLimiter, Limiter
from .middleware import Counted, Handler, Rules, given_back, hit_of, hit_of_async

View = Callable[..., Any]
_STATUS: dict[type[Exception], int] = {Http404: 404, PermissionDenied: 403, SuspiciousOperation: 400, BadRequest: 400}


def _status_of(error: Exception) -> int:
    """What Django answers where a view raises."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def rate_limited(
    limiter: Limiter | AsyncLimiter,
    key: Callable[[HttpRequest], str],
    *,
    cost: int = 1,
    skip: Callable[[HttpRequest], bool] | None = None,
    skip_successful_requests: bool = False,
    skip_failed_requests: bool = False,
    message: str | dict[str, Any] | None = None,
    handler: Handler | None = None,
) -> Callable[[View], View]:
    """The options are those of the middleware; ``request.rate_limit`` is the verdict."""
    if not isinstance(limiter, (Limiter, AsyncLimiter)):
        raise wrong("limiter", "a Limiter, or of an async view an AsyncLimiter", limiter)
    rules: Rules[HttpRequest] = Rules(
        skip=skip,
        skip_successful_requests=skip_successful_requests,
        skip_failed_requests=skip_failed_requests,
        message=message,
        handler=handler,
    )

    def refused(request: HttpRequest, limited: Counted) -> HttpResponse | None:
        verdict = request.rate_limit = limited.verdict
        if verdict.allowed:
            return None
        status, fields, body = rules.refuse(verdict)
        return HttpResponse(body, status=status, headers=dict(fields))

    def with_fields(response: HttpResponse, limited: Counted) -> HttpResponse:
        for name, value in fields_to_set(response.items(), limited.verdict).items():
            response[name] = value
        return response

    def decorate(view: View) -> View:
        if iscoroutinefunction(view) != isinstance(limiter, AsyncLimiter):
            kind = "an async view needs an AsyncLimiter, another one a Limiter"
            raise TypeError(f"limiter: {kind}: {getattr(view, '__qualname__', view)!r}")

        @wraps(view)
        def limited_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if rules.is_skipped(request.method, request):
                return view(request, *args, **kwargs)
            limited = hit_of(limiter, key(request), cost=cost)  # type: ignore[arg-type]  # checked above
            if (refusal := refused(request, limited)) is not None:
                return refusal
            try:
                response = view(request, *args, **kwargs)
            except Exception as error:
                if rules.is_uncounted(_status_of(error)):
                    limited.give_back()
                raise
            if rules.is_uncounted(response.status_code):
                limited.give_back()
            return with_fields(response, limited)

        @wraps(view)
        async def limited_async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if rules.is_skipped(request.method, request):
                return await view(request, *args, **kwargs)
            limited = await hit_of_async(limiter, key(request), cost=cost)  # type: ignore[arg-type]
            if (refusal := refused(request, limited)) is not None:
                return refusal
            try:
                response = await view(request, *args, **kwargs)
            except Exception as error:
                if rules.is_uncounted(_status_of(error)):
                    await given_back(limited)
                raise
            if rules.is_uncounted(response.status_code):
                await given_back(limited)
            return with_fields(response, limited)

        return limited_async_view if iscoroutinefunction(view) else limited_view

    return decorate
