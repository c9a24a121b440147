"""Applications of Flask-Limiter and slowapi, as their readmes have them: the URI of the storage is ours. test_limits.py serves them."""

import os

import ratelimit_client.limits  # noqa: F401  # registers the schemes
from fastapi import FastAPI, Request
from flask import Flask
from flask_limiter import Limiter as FlaskLimiter
from slowapi import Limiter as SlowLimiter
from slowapi import _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded

URI = os.environ["RATELIMIT_LIMITS_URI"]


def caller_of_flask():
    from flask import request

    return request.headers["X-Caller"]


def caller_of_starlette(request):
    return request.headers["X-Caller"]


flask_app = Flask(__name__)
flask_limiter = FlaskLimiter(
    caller_of_flask,
    app=flask_app,
    storage_uri=URI,
    storage_options={"timeout_ms": 60_000, "key_prefix": "flask-limiter"},
    strategy="moving-window",
    headers_enabled=True,
)


@flask_app.get("/")
@flask_limiter.limit("5/15minutes")
def hello_flask():
    return {"text": "hello"}


fastapi_app = FastAPI()
slow_limiter = SlowLimiter(
    key_func=caller_of_starlette,
    storage_uri=URI,
    storage_options={"timeout_ms": 60_000, "key_prefix": "slowapi"},
    strategy="moving-window",
    headers_enabled=True,
)
fastapi_app.state.limiter = slow_limiter
fastapi_app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@fastapi_app.get("/")
@slow_limiter.limit("5/15minutes")
async def hello_fastapi(request: Request):
    from fastapi.responses import JSONResponse

    return JSONResponse({"text": "hello"})
