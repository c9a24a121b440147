"""The decorator for Django's views, sync and async, through Django's own handlers."""

import asyncio
import time
import unittest

import django
import django.conf
import redis
import redis.asyncio
from servers import PORT

if not django.conf.settings.configured:
    django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="tests", DEBUG=False)
    django.setup()

from django.core.exceptions import ImproperlyConfigured, PermissionDenied  # noqa: E402
from django.http import Http404, HttpResponse  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from ratelimit_client import AsyncLimiter, Limiter, Window, hit_of, hit_of_async, problem  # noqa: E402
from ratelimit_client.django import RateLimitMiddleware, rate_limited  # noqa: E402

RAISES = {404: Http404, 403: PermissionDenied}
urlpatterns = []


def answer(request, status):
    if status in RAISES:
        raise RAISES[status]
    verdict = getattr(request, "rate_limit", None)
    return HttpResponse(f"remaining {verdict and verdict.remaining}", status=status)


class Decorator(unittest.TestCase):
    """Each test is run for sync views and for async ones."""

    def sites(self, limit, **options):
        """What asks a view that is limited so: its status, fields and body."""
        for kind in ("sync", "async"):
            given = {"prefix": f"django-{time.time_ns()}", "name": "web", "algorithm": "sliding", "limits": Window(limit, "1h"), "timeout_ms": 60_000}
            url = f"{kind}-{time.time_ns()}/<int:status>"
            if kind == "sync":
                view = rate_limited(Limiter(redis.Redis(port=PORT), **given), lambda request: request.GET.get("who", "k"), **options)(answer)
                client = Client(raise_request_exception=False)

                def ask(address, method="get", client=client):
                    return getattr(client, method)(address)

            else:
                limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), **given)

                @rate_limited(limiter, lambda request: request.GET.get("who", "k"), **options)
                async def view(request, status):
                    return answer(request, status)

                runner = asyncio.Runner()
                self.addCleanup(runner.close)
                client = AsyncClient(raise_request_exception=False)

                def ask(address, method="get", client=client, run=runner.run):
                    return run(getattr(client, method)(address))

            urlpatterns.append(path(url, view))
            with self.subTest(kind):
                django.urls.clear_url_caches()
                yield lambda status=200, query="", method="get", ask=ask, url=url: ask(f"/{url.partition('<')[0]}{status}{query}", method)

    def test_two_of_three_with_fields_and_somebody_else(self):
        for ask in self.sites(2):
            answers = [ask() for _ in range(3)]
            self.assertEqual([one.status_code for one in answers], [200, 200, 429])
            self.assertEqual(answers[0].content, b"remaining 1")
            self.assertRegex(answers[1]["RateLimit"], r'^"web";r=0;t=\d+$')
            self.assertEqual((answers[2].json(), answers[2]["X-RateLimit-Remaining"]), ({"error": "Too many requests"}, "0"))
            self.assertIn("Retry-After", answers[2])
            self.assertEqual((ask(query="?who=bob").status_code, ask(method="options").status_code), (200, 200))

    def test_only_what_failed_counts_or_what_did_not(self):
        for ask in self.sites(1, skip_successful_requests=True):
            self.assertEqual([ask(status).status_code for status in (200, 200, 302, 404, 200)], [200, 200, 302, 404, 429])
        for ask in self.sites(1, skip_failed_requests=True):
            self.assertEqual([ask(status).status_code for status in (404, 403, 401, 200, 404)], [404, 403, 401, 200, 429])

    def test_options_of_the_middleware(self):
        for ask in self.sites(0, handler=problem):
            self.assertEqual((ask().status_code, ask()["Content-Type"]), (429, "application/problem+json"))
        for ask in self.sites(0, message="slow down"):
            self.assertEqual(ask().content, b"slow down")
        for ask in self.sites(5, cost=5):
            self.assertEqual([ask().status_code, ask().status_code], [200, 429])

    def test_a_limiter_of_the_other_kind_is_refused_when_the_view_is_made(self):
        async def view(request):
            return HttpResponse()

        limiter = Limiter(redis.Redis(port=PORT), algorithm="fixed", limits=Window(1, "1h"))
        with self.assertRaisesRegex(TypeError, "an async view needs an AsyncLimiter"):
            rate_limited(limiter, lambda _request: "k")(view)
        with self.assertRaisesRegex(TypeError, "^limiter: expected"):
            rate_limited(None, lambda _request: "k")


class Middleware(unittest.TestCase):
    """A site of Django's own handlers, sync and async, with the middleware before everything."""

    def sites(self, limit, **options):
        for kind in ("sync", "async", "sync limit in an async site"):
            given = {"prefix": f"django-site-{time.time_ns()}", "name": "web", "algorithm": "sliding", "limits": Window(limit, "1h"), "timeout_ms": 60_000}
            if kind == "async":
                limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), **given)

                async def limit_of(request, limiter=limiter):
                    who = request.GET.get("who", "k")
                    return None if who == "nobody" else await hit_of_async(limiter, who)

            else:
                limiter = Limiter(redis.Redis(port=PORT), **given)
                self.addCleanup(limiter.close)

                def limit_of(request, limiter=limiter):
                    who = request.GET.get("who", "k")
                    return None if who == "nobody" else hit_of(limiter, who)

            urlpatterns.append(path(f"{(name := f'site-{time.time_ns()}')}/<int:status>", answer))
            settings = {
                "MIDDLEWARE": ["ratelimit_client.django.RateLimitMiddleware"],
                "RATELIMIT_MIDDLEWARE": {"limit": limit_of, **options},
            }
            with self.subTest(kind), override_settings(**settings):
                django.urls.clear_url_caches()
                if kind == "sync":
                    client = Client(raise_request_exception=False)
                    yield lambda status=200, query="", method="get": getattr(client, method)(f"/{name}/{status}{query}")
                else:
                    runner = asyncio.Runner()
                    self.addCleanup(runner.close)
                    runner.get_loop().set_debug(False)
                    client = AsyncClient(raise_request_exception=False)
                    yield lambda status=200, query="", method="get": runner.run(getattr(client, method)(f"/{name}/{status}{query}"))

    def test_a_whole_site_with_fields_and_who_is_not_limited(self):
        for ask in self.sites(2):
            answers = [ask(), ask(404), ask()]
            self.assertEqual([one.status_code for one in answers], [200, 404, 429])
            self.assertEqual(answers[0].content, b"remaining 1")
            self.assertRegex(answers[1]["RateLimit"], r'^"web";r=0;t=\d+$')
            self.assertIn("Retry-After", answers[2])
            self.assertEqual([ask(query="?who=nobody").status_code, ask(method="options").status_code, ask(query="?who=bob").status_code], [200] * 3)

    def test_only_what_failed_counts(self):
        for ask in self.sites(1, skip_successful_requests=True):
            self.assertEqual([ask(status).status_code for status in (200, 200, 302, 404, 200)], [200, 200, 302, 404, 429])

    def test_options_by_their_names_and_mistakes(self):
        for ask in self.sites(0, handler="ratelimit_client.problem"):
            self.assertEqual(ask()["Content-Type"], "application/problem+json")

        async def limit(_request):
            return None

        for wrong in (None, {}, {"limit": 5}, {"limit": "no.such.name"}, {"limit": limit}, {"limit": print, "skipp": print}, {"limit": print, "skip": 5}):
            with override_settings(RATELIMIT_MIDDLEWARE=wrong), self.assertRaises((ImproperlyConfigured, ImportError)):
                RateLimitMiddleware(lambda _request: HttpResponse())


if __name__ == "__main__":
    unittest.main()
