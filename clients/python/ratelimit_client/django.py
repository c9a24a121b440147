"""For Django: a decorator for views, and a middleware for a whole site. Sync with a ``Limiter``, async with an ``AsyncLimiter``.

>>> @rate_limited(login, caller, skip_successful_requests=True)
... def sign_in(request): ...

>>> MIDDLEWARE = ["ratelimit_client.django.RateLimitMiddleware", ...]  # settings.py
>>> RATELIMIT_MIDDLEWARE = {"limit": "mysite.limits.limit"}
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings  # type: ignore[import-untyped,unused-ignore]
from django.core.exceptions import (  # type: ignore[import-untyped,unused-ignore]
    BadRequest,
    ImproperlyConfigured,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404, HttpRequest, HttpResponse  # type: ignore[import-untyped,unused-ignore]
from django.utils.module_loading import import_string  # type: ignore[import-untyped,unused-ignore]

from ._check import wrong
from .headers import fields_to_set
from .limiter import AsyncLimiter, Limiter
from .middleware import AnyVerdict, Counted, Handler, Limited, Rules, given_back, hit_of, hit_of_async

View = Callable[..., Any]
_STATUS: dict[type[Exception], int] = {Http404: 404, PermissionDenied: 403, SuspiciousOperation: 400, BadRequest: 400}


def _status_of(error: Exception) -> int:
    """What Django answers where a view raises."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def _refused(rules: Rules[HttpRequest], request: HttpRequest, verdict: AnyVerdict) -> HttpResponse | None:
    setattr(request, "rate_limit", verdict)  # HttpRequest has none of its own
    if verdict.allowed:
        return None
    status, fields, body = rules.refuse(verdict)
    return HttpResponse(body, status=status, headers=dict(fields))


def _with_fields(response: HttpResponse, verdict: AnyVerdict) -> HttpResponse:
    for name, value in fields_to_set(response.items(), verdict).items():
        response[name] = value
    return response


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

    def decorate(view: View) -> View:
        if iscoroutinefunction(view) != isinstance(limiter, AsyncLimiter):
            kind = "an async view needs an AsyncLimiter, another one a Limiter"
            raise TypeError(f"limiter: {kind}: {getattr(view, '__qualname__', view)!r}")

        @wraps(view)
        def limited_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if rules.is_skipped(request.method, request):
                return view(request, *args, **kwargs)
            limited = hit_of(limiter, key(request), cost=cost)  # type: ignore[arg-type]  # checked above
            if (refusal := _refused(rules, request, limited.verdict)) is not None:
                return refusal
            try:
                response = view(request, *args, **kwargs)
            except Exception as error:
                if rules.is_uncounted(_status_of(error)):
                    limited.give_back()
                raise
            if rules.is_uncounted(response.status_code):
                limited.give_back()
            return _with_fields(response, limited.verdict)

        @wraps(view)
        async def limited_async_view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if rules.is_skipped(request.method, request):
                return await view(request, *args, **kwargs)
            limited = await hit_of_async(limiter, key(request), cost=cost)  # type: ignore[arg-type]
            if (refusal := _refused(rules, request, limited.verdict)) is not None:
                return refusal
            try:
                response = await view(request, *args, **kwargs)
            except Exception as error:
                if rules.is_uncounted(_status_of(error)):
                    await given_back(limited)
                raise
            if rules.is_uncounted(response.status_code):
                await given_back(limited)
            return _with_fields(response, limited.verdict)

        return limited_async_view if iscoroutinefunction(view) else limited_view

    return decorate


class RateLimitMiddleware:
    """Limits all requests of a site, as its setting says: ``RATELIMIT_MIDDLEWARE = {"limit": ..., "skip": ...}``.

    ``limit`` is a function, or its dotted name, that is given the request and answers a verdict, ``hit_of(limiter, key)``, or
    None of a request that is not limited. Under ASGI it may be async. The other options are those of ``rate_limited``;
    ``skip`` and ``handler`` may be dotted names, too. ``request.rate_limit`` is the verdict.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]):
        options = dict(getattr(settings, "RATELIMIT_MIDDLEWARE", None) or {})
        for name in ("limit", "skip", "handler"):
            if isinstance(options.get(name), str):
                options[name] = import_string(options[name])
        self._limit: Any = options.pop("limit", None)
        if not callable(self._limit):
            raise ImproperlyConfigured("RATELIMIT_MIDDLEWARE: expected limit, a function that is given the request, or its dotted name")
        try:
            self._rules: Rules[HttpRequest] = Rules(**options)
        except TypeError as error:
            raise ImproperlyConfigured(f"RATELIMIT_MIDDLEWARE: {error}") from error
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            self._limit = self._limit if iscoroutinefunction(self._limit) else sync_to_async(self._limit)
        elif iscoroutinefunction(self._limit):
            raise ImproperlyConfigured("RATELIMIT_MIDDLEWARE: limit is async, and the site is not served by ASGI")

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._answer(request)
        if self._rules.is_skipped(request.method, request) or (limited := self._limit(request)) is None:
            return self._get_response(request)
        verdict = self._rules.verdict_of(limited)
        if (refusal := _refused(self._rules, request, verdict)) is not None:
            return refusal
        response = self._get_response(request)
        if self._gives_back(limited, response):
            limited.give_back()
        return _with_fields(response, verdict)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if self._rules.is_skipped(request.method, request) or (limited := await self._limit(request)) is None:
            return await self._get_response(request)
        verdict = self._rules.verdict_of(limited)
        if (refusal := _refused(self._rules, request, verdict)) is not None:
            return refusal
        response = await self._get_response(request)
        if self._gives_back(limited, response):
            await _given_back_async(limited)
        return _with_fields(response, verdict)

    def _gives_back(self, limited: Limited, response: HttpResponse) -> bool:
        return isinstance(limited, Counted) and self._rules.is_uncounted(response.status_code)


async def _given_back_async(limited: Counted) -> None:
    if iscoroutinefunction(limited.give_back):
        await limited.give_back()
    else:
        await sync_to_async(limited.give_back)()
