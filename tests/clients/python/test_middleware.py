"""What the middleware, FastAPI's dependency and Flask's decorator do alike: whom they charge, give back and refuse, and how."""

import time
import unittest

import flask
import redis
import redis.asyncio
from fastapi import Depends, FastAPI, Request, Response, WebSocket
from fastapi.testclient import TestClient
from ratelimit_client import (
    AsyncLimiter,
    Limiter,
    Part,
    Verdict,
    Window,
    add_fields,
    asgi,
    hit_all,
    hit_of,
    hit_of_async,
    problem,
    wsgi,
)
from ratelimit_client.fastapi import RateLimit
from ratelimit_client.flask import rate_limited
from servers import PORT
from starlette.websockets import WebSocketDisconnect


def given(name, limit):
    return {
        "prefix": f"middleware-{name}-{time.time_ns()}",
        "name": name,
        "algorithm": "sliding",
        "limits": Window(limit, "1h"),
        "timeout_ms": 60_000,
    }


def statuses(request):
    """The path is the status: /200, /401."""
    return int(request.rpartition("/")[2] or 200)


class Kinds:
    """Makes an application of each kind, limited by so much, with options; a test is run for each."""

    @staticmethod
    def asgi(limit, *names, **options):
        app = FastAPI()

        @app.api_route("/{status}", methods=["GET", "POST", "HEAD", "OPTIONS"])
        async def answer(status: int):
            if status == 599:
                raise ZeroDivisionError
            return Response("hello", status)

        for name in names or ("one",):
            limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), **given(name, limit))
            app.add_middleware(
                asgi.RateLimitMiddleware, limit=lambda _scope, limiter=limiter: hit_of_async(limiter, "k"), **options
            )
        return TestClient(app, raise_server_exceptions=False)

    @staticmethod
    def _flask(decorate=lambda view: view):
        app = flask.Flask(__name__)

        @app.route("/<int:status>", methods=["GET", "POST", "HEAD", "OPTIONS"])
        @decorate
        def answer(status):
            if status == 599:
                raise ZeroDivisionError
            return flask.Response("hello", status)

        return app

    @classmethod
    def wsgi(cls, limit, *names, **options):
        app = cls._flask()
        for name in names or ("one",):
            limiter = Limiter(redis.Redis(port=PORT), **given(name, limit))
            app.wsgi_app = wsgi.RateLimitMiddleware(
                app.wsgi_app, limit=lambda _environ, limiter=limiter: hit_of(limiter, "k"), **options
            )
        return app.test_client()

    @classmethod
    def decorator(cls, limit, *names, **options):
        def decorate(view):
            for name in names or ("one",):
                view = rate_limited(Limiter(redis.Redis(port=PORT), **given(name, limit)), lambda: "k", **options)(view)
            return view

        return cls._flask(decorate).test_client()


EACH = {"asgi": Kinds.asgi, "wsgi": Kinds.wsgi, "decorator": Kinds.decorator}


class Middleware(unittest.TestCase):
    def each(self):
        for name, make in EACH.items():
            with self.subTest(name):
                yield make

    def seen(self, client, *paths, method="get"):
        return [getattr(client, method)(path).status_code for path in paths]

    def test_a_preflight_is_not_charged_and_head_counts_as_get(self):
        for make in self.each():
            client = make(2)
            seen = [getattr(client, method)("/200").status_code for method in ("options", "post", "options", "head", "options", "get")]
            self.assertEqual(seen, [200] * 5 + [429])
            self.assertNotIn("ratelimit", client.options("/200").headers)
            refused = client.head("/200")
            self.assertEqual((refused.status_code, getattr(refused, "content", None) or refused.data if hasattr(refused, "data") else refused.content), (429, b""))

    def test_skip_message_and_handler(self):
        for make in self.each():
            client = make(0, skip=(lambda: True) if make == Kinds.decorator else (lambda _request: True))
            self.assertEqual(self.seen(client, "/200", "/200"), [200, 200])
            refused = make(0, message="Slow down, please").get("/200")
            self.assertEqual((refused.text, refused.headers["content-type"]), ("Slow down, please", "text/plain; charset=utf-8"))
            refused = make(0, message={"code": 7}).get("/200")
            self.assertEqual(refused.json if make != Kinds.asgi else refused.json(), {"code": 7})
            refused = make(0, handler=problem).get("/200")
            body = refused.json if make != Kinds.asgi else refused.json()
            self.assertEqual((body["status"], refused.headers["content-type"]), (429, "application/problem+json"))
            self.assertIn("quota-exceeded", body["type"])

    def test_what_is_given_back_never_reopens_a_limit(self):
        for make in self.each():
            client = make(3, skip_successful_requests=True)
            self.assertEqual(self.seen(client, *["/200"] * 8), [200] * 8)
            self.assertEqual(self.seen(client, *["/401"] * 6), [401] * 3 + [429] * 3)
            self.assertEqual(self.seen(client, "/200"), [429])
            client = make(3, skip_failed_requests=True)
            self.assertEqual(self.seen(client, *["/401"] * 8), [401] * 8)
            self.assertEqual(self.seen(client, *["/200"] * 6), [200] * 3 + [429] * 3)
            self.assertEqual(self.seen(client, *["/401"] * 3), [429] * 3)
            client = make(3, skip_failed_requests=True)
            self.assertEqual(self.seen(client, *["/599"] * 5), [500] * 5)
            client = make(3, skip_failed_requests=True, skip_successful_requests=True)
            self.assertEqual(self.seen(client, *["/401", "/200"] * 4), [401, 200] * 4)

    def test_two_limiters_are_two_items_and_the_tighter_one_in_the_old_fields(self):
        for make in self.each():
            # The one that is added last stands outside.
            headers = make(5, "inner", "outer").get("/200").headers
            self.assertEqual(headers["ratelimit-policy"], '"inner";q=5;w=3600, "outer";q=5;w=3600')
            self.assertEqual([item.split(";")[:2] for item in headers["ratelimit"].split(", ")], [['"inner"', "r=4"], ['"outer"', "r=4"]])
            self.assertEqual(headers["x-ratelimit-remaining"], "4")

    def test_fields_of_several_verdicts(self):
        tight = Verdict(allowed=True, limit=5, remaining=1, reset_after_ms=1000)
        wide = Verdict(allowed=True, limit=100, remaining=90, reset_after_ms=9000)
        for first, second in ((tight, wide), (wide, tight)):
            fields = dict(add_fields(add_fields([("Set-Cookie", "a"), ("X-Own", "1")], first), second))
            self.assertEqual((fields["X-RateLimit-Limit"], fields["X-RateLimit-Remaining"]), ("5", "1"))
        self.assertEqual(len([1 for name, _ in add_fields([("Set-Cookie", "a"), ("Set-Cookie", "b")], tight) if name == "Set-Cookie"]), 2)

    def test_mistakes(self):
        limiter = Limiter(redis.Redis(port=PORT), **given("mistakes", 1))
        for options in ({"skip": True}, {"message": 7}, {"handler": "x"}):
            with self.assertRaisesRegex(TypeError, f"^{next(iter(options))}: expected"):
                wsgi.RateLimitMiddleware(None, limit=None, **options)
        with self.assertRaisesRegex(TypeError, "^limiter: expected an AsyncLimiter"):
            RateLimit(limiter, None)
        with self.assertRaisesRegex(TypeError, "^limiter: expected a Limiter"):
            rate_limited(None, None)
        middleware = wsgi.RateLimitMiddleware(None, limit=lambda _environ: limiter.hit("k"), skip_failed_requests=True)
        with self.assertRaisesRegex(TypeError, r"hit_of\(limiter, key\)"):
            middleware({}, None)


class FastApi(unittest.TestCase):
    def test_a_dependency_limits_its_path_and_two_are_two_items(self):
        def limiter(name, limit):
            return AsyncLimiter(redis.asyncio.Redis(port=PORT), **given(name, limit))

        async def caller(request: Request):
            return request.headers["x-caller"]

        wide, tight = RateLimit(limiter("wide", 100), caller, cost=2), RateLimit(limiter("tight", 2), caller, skip=lambda r: "skip" in r.url.query)
        app = FastAPI()

        @app.get("/limited", dependencies=[Depends(wide), Depends(tight)])
        async def limited():
            return {"text": "hello"}

        @app.get("/free")
        async def free():
            return {"text": "hello"}

        @app.get("/seen")
        async def seen(verdict: Verdict = Depends(wide)):  # noqa: B008
            return {"remaining": verdict.remaining}

        with TestClient(app) as client:
            alice = {"x-caller": "alice"}
            answers = [client.get("/limited", headers=alice) for _ in range(3)]
            self.assertEqual([one.status_code for one in answers], [200, 200, 429])
            self.assertRegex(answers[0].headers["ratelimit"], r'^"wide";r=98;t=\d+, "tight";r=1;t=\d+$')
            self.assertEqual((answers[0].headers["x-ratelimit-remaining"], answers[2].json()), ("1", {"detail": "Too many requests"}))
            self.assertIn("retry-after", answers[2].headers)
            self.assertEqual(client.get("/limited?skip", headers=alice).status_code, 200)
            self.assertEqual(client.get("/limited", headers={"x-caller": "bob"}).status_code, 200)
            self.assertNotIn("ratelimit", client.get("/free").headers)
            self.assertEqual(client.get("/seen", headers={"x-caller": "carol"}).json(), {"remaining": 98})

    def test_t_is_when_more_becomes_available_not_when_all_is(self):
        shape = {**given("next", 3), "limits": Window(3, "4h")}
        api = Limiter(redis.Redis(port=PORT), **shape)
        now = redis.Redis(port=PORT).time()[0]
        for minutes in (150, 30):
            api.hit("k", at=(now - 60 * minutes) * 1000)
        dependency = RateLimit(AsyncLimiter(redis.asyncio.Redis(port=PORT), **shape), lambda _request: "k", cost=0)
        app = FastAPI()
        app.add_api_route("/", lambda: "hello", dependencies=[Depends(dependency)])
        site = flask.Flask(__name__)
        site.route("/")(rate_limited(api, lambda: "k", cost=0)(lambda: "hello"))
        with TestClient(app) as client:
            fields = [client.get("/").headers["ratelimit"], site.test_client().get("/").headers["RateLimit"]]
        for field in fields:
            name, _, seconds = field.partition(";r=1;t=")
            self.assertEqual(name, '"next"')
            self.assertTrue(5300 < int(seconds) <= 5400, field)
        self.assertIsNone(api.hit("k", cost=0).next_after_ms)
        both = hit_all([Part(api, "k", cost=0), Part(api, "other", cost=0)], next=True)
        self.assertTrue(5_300_000 < both.keys[0].next_after_ms <= 5_400_000, both)
        self.assertEqual(both.keys[1].next_after_ms, 0)

    def test_a_websocket_is_limited_when_it_is_opened(self):
        app = FastAPI()
        limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), **given("websocket", 1))

        @app.websocket("/ws")
        async def echo(websocket: WebSocket):
            await websocket.accept()
            await websocket.send_text("hello")
            await websocket.close()

        app.add_middleware(asgi.RateLimitMiddleware, limit=lambda _scope: limiter.hit("k"))
        with TestClient(app) as client:
            with client.websocket_connect("/ws") as socket:
                self.assertEqual(socket.receive_text(), "hello")
            # With the extension of ASGI it is a response, else the connection is closed.
            with self.assertRaises(Exception) as refused, client.websocket_connect("/ws"):
                pass
            self.assertEqual(getattr(refused.exception, "status_code", None) or refused.exception.code, 429, WebSocketDisconnect)
