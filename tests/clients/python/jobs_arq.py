"""arq's jobs. ``arq jobs_arq.WorkerSettings`` runs them."""

import asyncio
import os
import warnings

import redis.asyncio
from arq import Retry, create_pool, func
from arq.connections import RedisSettings
from jobs import PATIENT, PORT, PREFIX, client, counted, is_first, note
from ratelimit_client import AsyncLeaser, AsyncLimiter, Bucket, Window
from ratelimit_client.arq import hold_slot, rate_limited, shut, take_turn, with_slot

SETTINGS = RedisSettings(port=PORT, database=4)
limiters = redis.asyncio.Redis(port=PORT)
ten_a_second = AsyncLimiter(limiters, prefix=f"{PREFIX}:rate", algorithm="bucket", limits=Bucket(1, 10, "1s"), **PATIENT)
two_in_two_seconds = AsyncLimiter(limiters, prefix=f"{PREFIX}:window", algorithm="sliding", limits=Window(2, "2s"), **PATIENT)
two_at_once = AsyncLeaser(limiters, prefix=f"{PREFIX}:slots", limit=2, ttl="2s", **PATIENT)


async def worked(name, seconds):
    with counted(name):
        client.set(f"{PREFIX}:{name}:pid", os.getpid())
        await asyncio.sleep(seconds)
    note(name)


async def rate(ctx, name):
    note(name, "runs")
    await take_turn(ctx, ten_a_second, name)
    note(name)


@rate_limited(two_in_two_seconds, lambda name: name)
async def window(ctx, name):
    note(name)


@with_slot(two_at_once, lambda name, seconds: name, again="200ms")
async def slot(ctx, name, seconds):
    await worked(name, seconds)


async def provider(ctx, name):
    await take_turn(ctx, ten_a_second, name)
    if is_first(name):
        note(name, "shut")
        await shut(ctx, ten_a_second, name, "1")
    note(name)


async def fails_once(ctx, name):
    await take_turn(ctx, ten_a_second, name)
    note(name)
    if is_first(name):
        raise Retry


async def both(ctx, name):
    async with hold_slot(ctx, two_at_once, name, again="200ms"):
        await take_turn(ctx, ten_a_second, name)
        await worked(name, 0)


class WorkerSettings:
    # Coming back costs no try: of one there is none to give away.
    functions = [*(func(function, max_tries=1) for function in (rate, window, slot, provider, both)), func(fails_once, max_tries=2)]
    queue_name = PREFIX
    redis_settings = SETTINGS
    max_jobs = 2
    poll_delay = 0.05
    keep_result = 0
    job_timeout = 900


async def _enqueue(name, args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # arq's, of redis-py
        pool = await create_pool(SETTINGS, default_queue_name=PREFIX)
    await pool.enqueue_job(name, *args)
    await pool.aclose()


def enqueue(name):
    return lambda *args: asyncio.run(_enqueue(name, args))


TASKS = {name: enqueue(name) for name in ("rate", "window", "slot", "provider", "fails_once", "both")}
