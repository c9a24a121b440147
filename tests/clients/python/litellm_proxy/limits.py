"""What the proxy's configuration names: who asks, and the limits. Beside ours, as ``own``, LiteLLM's."""

import os
from pathlib import Path

import redis.asyncio
from litellm.proxy._types import UserAPIKeyAuth
from ratelimit_client import Window
from ratelimit_client.litellm import Limits, RateLimitHook

WINDOW = os.environ.get("PROXY_WINDOW", "1h")
# A key says what it may do: sk-NAME-requests-tokens-parallel. A user and a team may do 1,000 times as much.
hook = RateLimitHook(
    redis.asyncio.Redis(port=int(os.environ["RATELIMIT_PORT"])),
    key=Limits(requests=Window(10**6, WINDOW), tokens=Window(10**9, WINDOW), parallel=10**4),
    user=Limits(requests=Window(10**6, WINDOW), tokens=Window(10**9, WINDOW), parallel=10**4),
    team=Limits(requests=Window(10**6, WINDOW), tokens=Window(10**9, WINDOW), parallel=10**4),
    model=Limits(requests=Window(10**6, WINDOW), tokens=Window(10**9, WINDOW), parallel=10**4),
    ttl=os.environ.get("PROXY_TTL", "30s"),
    timeout_ms=60_000,
    output_tokens=int(os.environ.get("PROXY_OUTPUT_TOKENS", "1024")),
)


async def auth(request, api_key):
    name, requests, tokens, parallel = api_key.removeprefix("sk-").split("-")
    if "PROXY_PIDS" in os.environ:
        (Path(os.environ["PROXY_PIDS"]) / name).write_text(str(os.getpid()), "ascii")
    own = {"rpm_limit": int(requests), "tpm_limit": int(tokens), "max_parallel_requests": int(parallel)}
    given = own if os.environ.get("PROXY_LIMITER") == "own" else {}
    return UserAPIKeyAuth(api_key=f"key-{name}", user_id=f"user-{name}", team_id=f"team-{name}", **given)
