"""Applications as people write them: FastAPI, Flask and Django, with a limiter in front. test_apps.py serves them."""

import os

import django.conf
import django.core.asgi
import django.core.wsgi
import django.http
import django.urls
import redis
import redis.asyncio
from fastapi import FastAPI
from flask import Flask
from ratelimit_client import AsyncLimiter, Limiter, Proxies, Window, asgi, by_ip, client_address, wsgi

PORT = int(os.environ["RATELIMIT_PORT"])
address = client_address(Proxies(["127.0.0.0/8"]))  # curl stands for a proxy of ours
FIVE = {"name": "api", "algorithm": "sliding", "limits": Window(5, "15m"), "timeout_ms": 60_000, "next": True}

fastapi_app = FastAPI()
fastapi_limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), prefix="fastapi", **FIVE)


async def limit_fastapi(scope):
    return await fastapi_limiter.hit(by_ip(address(asgi.headers_of(scope), asgi.peer_of(scope))))


fastapi_app.add_middleware(asgi.RateLimitMiddleware, limit=limit_fastapi)


@fastapi_app.get("/")
async def hello_fastapi():
    return {"text": "hello"}


flask_app = Flask(__name__)
flask_limiter = Limiter(redis.Redis(port=PORT), prefix="flask", **FIVE)


def limit_flask(environ):
    return flask_limiter.hit(by_ip(address(wsgi.headers_of(environ), wsgi.peer_of(environ))))


flask_app.wsgi_app = wsgi.RateLimitMiddleware(flask_app.wsgi_app, limit=limit_flask)


@flask_app.get("/")
def hello_flask():
    return {"text": "hello"}


# Django, in one file: settings.py, urls.py, wsgi.py and asgi.py.
django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
urlpatterns = [django.urls.path("", lambda _request: django.http.JsonResponse({"text": "hello"}))]
django_limiter = Limiter(redis.Redis(port=PORT), prefix="django", **FIVE)
django_async_limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), prefix="django-async", **FIVE)


def limit_django(environ):
    return django_limiter.hit(by_ip(address(wsgi.headers_of(environ), wsgi.peer_of(environ))))


async def limit_django_async(scope):
    return await django_async_limiter.hit(by_ip(address(asgi.headers_of(scope), asgi.peer_of(scope))))


django_app = wsgi.RateLimitMiddleware(django.core.wsgi.get_wsgi_application(), limit=limit_django)
django_async_app = asgi.RateLimitMiddleware(django.core.asgi.get_asgi_application(), limit=limit_django_async)
