"""What is compared in Python. A row makes, for a limit and a window, a function that counts one hit of a key and says whether
it was allowed. Each library is used as its documentation shows, over redis-py with its defaults.
"""

import os
import pathlib
import time

import limits
import pyrate_limiter
import redis
import redis.asyncio
import ratelimit_client.limits  # registers ratelimit://
from limits.aio.storage import RedisStorage as AsyncRedisStorage
from limits.aio.strategies import (
    FixedWindowRateLimiter as AsyncFixed,
    MovingWindowRateLimiter as AsyncMoving,
    SlidingWindowCounterRateLimiter as AsyncCounter,
)
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from ratelimit_client import AsyncLimiter, Limiter, Window

LUA = pathlib.Path(__file__).parents[2] / "bench.d" / "lua"
PORT = int(os.environ["REDIS_PORT"])
ADDRESS = f"127.0.0.1:{PORT}"


def item(limit, window_ms):
    return limits.RateLimitItemPerSecond(limit, window_ms // 1000)


def bare(limit, window_ms):
    client = redis.Redis(port=PORT)
    return lambda key: client.execute_command("RL.SLIDING", f"bare:{key}", limit, f"{window_ms}ms")[0] == 1


def package(limit, window_ms):
    limiter = Limiter(redis.Redis(port=PORT), prefix="ours", algorithm="sliding", limits=Window(limit, f"{window_ms}ms"))
    return lambda key: limiter.hit(key).allowed


def by_limits(strategy, scheme):
    def make(limit, window_ms):
        limiter, one = strategy(storage_from_string(f"{scheme}://{ADDRESS}")), item(limit, window_ms)
        return lambda key: limiter.hit(one, key)

    return make


class Buckets(pyrate_limiter.BucketFactory):
    """A bucket for each key."""

    def __init__(self, rates):
        self.client, self.rates, self.buckets = redis.Redis(port=PORT), rates, {}

    def wrap_item(self, name, weight=1):
        return pyrate_limiter.RateItem(name, time.time_ns() // 1_000_000, weight=weight)  # as its bucket reckons

    def get(self, item):
        if item.name not in self.buckets:
            bucket = pyrate_limiter.RedisBucket.init(self.rates, self.client, f"pyrate:{item.name}")
            self.schedule_leak(bucket)
            self.buckets[item.name] = bucket
        return self.buckets[item.name]


def pyrate(limit, window_ms):
    limiter = pyrate_limiter.Limiter(Buckets([pyrate_limiter.Rate(limit, window_ms)]))
    return lambda key: limiter.try_acquire(key, blocking=False)


async def bare_async(limit, window_ms):
    client = redis.asyncio.Redis(port=PORT)

    async def hit(key):
        return (await client.execute_command("RL.SLIDING", f"bare:{key}", limit, f"{window_ms}ms"))[0] == 1

    return hit


def package_async(**options):
    async def make(limit, window_ms):
        limits = Window(limit, f"{window_ms}ms")
        limiter = AsyncLimiter(redis.asyncio.Redis(port=PORT), prefix="ours", algorithm="sliding", limits=limits, **options)

        async def hit(key):
            return (await limiter.hit(key)).allowed

        return hit

    return make


def by_limits_async(strategy, storage):
    async def make(limit, window_ms):
        limiter, one = strategy(storage()), item(limit, window_ms)
        return lambda key: limiter.hit(one, key)

    return make


def own_async():
    return AsyncRedisStorage(f"async+redis://{ADDRESS}", implementation="redispy")


def ours_async():
    return storage_from_string(f"async+ratelimit://{ADDRESS}")


def command(name, after, **options):
    """What stands after the key is made of a limit and a window in ms."""

    def make(limit, window_ms):
        client, words = redis.Redis(port=PORT, **options), after(limit, window_ms)
        return lambda key: client.execute_command(name, key, *words)[0] == (0 if name == "CL.THROTTLE" else 1)

    return make


def incr(limit, window_ms):
    client = redis.Redis(port=PORT)

    def hit(key):
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("INCR", key)
        pipeline.execute_command("PEXPIRE", key, window_ms, "NX")
        return pipeline.execute()[0] <= limit

    return hit


def lua(name, keys, words):
    def make(limit, window_ms):
        client = redis.Redis(port=PORT)
        sha = client.script_load((LUA / f"{name}.lua").read_text())

        def hit(key):
            now = time.time_ns() // 1_000_000
            named = keys(key, now // window_ms)
            return client.execute_command("EVALSHA", sha, len(named), *named, *words(limit, window_ms), 1, now)[0] == 1

        return hit

    return make


STRATEGIES = {
    "moving window": (MovingWindowRateLimiter, AsyncMoving),
    "sliding counter": (SlidingWindowCounterRateLimiter, AsyncCounter),
    "fixed window": (FixedWindowRateLimiter, AsyncFixed),
}

ROWS = {
    "bare": bare,
    "package": package,
    "limits moving window, our storage": by_limits(MovingWindowRateLimiter, "ratelimit"),
    **{f"limits {name}": by_limits(sync, "redis") for name, (sync, _) in STRATEGIES.items()},
    "pyrate-limiter": pyrate,
    "server RL.FIXED": command("RL.FIXED", lambda limit, window_ms: (limit, f"{window_ms}ms")),
    "server RL.SLIDING": command("RL.SLIDING", lambda limit, window_ms: (limit, f"{window_ms}ms")),
    "server RL.BUCKET": command("RL.BUCKET", lambda limit, window_ms: (limit, limit, f"{window_ms}ms")),
    "server CL.THROTTLE": command("CL.THROTTLE", lambda limit, window_ms: (limit - 1, limit, window_ms // 1000)),
    "server THROTTLE": command("THROTTLE", lambda limit, window_ms: (limit, limit, window_ms // 1000), protocol=2),
    "server INCR": incr,
    "server Lua fixed": lua("fixed", lambda key, number: [f"{key}:{number}"], lambda limit, window_ms: (limit, window_ms)),
    "server Lua bucket": lua("bucket", lambda key, number: [key], lambda limit, window_ms: (limit, limit, window_ms)),
    "server Lua weighted": lua(
        "weighted", lambda key, number: [f"{key}:{number}", f"{key}:{number - 1}"], lambda limit, window_ms: (limit, window_ms)
    ),
    "asyncio bare": bare_async,
    "asyncio package": package_async(),
    "asyncio coalesced": package_async(coalesce=True),
    "asyncio limits moving window, our storage": by_limits_async(AsyncMoving, ours_async),
    **{f"asyncio limits {name}": by_limits_async(aio, own_async) for name, (_, aio) in STRATEGIES.items()},
}
