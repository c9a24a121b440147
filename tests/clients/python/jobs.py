"""What the workers of test_jobs.py run: the same jobs for Celery and for RQ. What they did is noted in Redis."""

import os
import time
from contextlib import contextmanager

import redis
from ratelimit_client import Bucket, Leaser, Limiter, Window

PORT = int(os.environ["RATELIMIT_PORT"])
PREFIX = os.environ.get("RATELIMIT_JOBS", "jobs")
client = redis.Redis(port=PORT, decode_responses=True)
limiters = redis.Redis(port=PORT)
PATIENT = {"timeout_ms": 60_000}
ten_a_second = Limiter(limiters, prefix=f"{PREFIX}:rate", algorithm="bucket", limits=Bucket(1, 10, "1s"), **PATIENT)
two_in_two_seconds = Limiter(limiters, prefix=f"{PREFIX}:window", algorithm="sliding", limits=Window(2, "2s"), **PATIENT)
two_at_once = Leaser(limiters, prefix=f"{PREFIX}:slots", limit=2, ttl="2s", **PATIENT)


def now_ms():
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def note(name, what="acts"):
    client.rpush(f"{PREFIX}:{name}:{what}", now_ms())


@contextmanager
def counted(name):
    """How many are in it at once."""
    now = client.incr(f"{PREFIX}:{name}:now")
    client.zadd(f"{PREFIX}:{name}:peak", {"peak": now}, gt=True)
    try:
        yield
    finally:
        client.decr(f"{PREFIX}:{name}:now")


def worked(name, seconds):
    with counted(name):
        client.set(f"{PREFIX}:{name}:pid", os.getpid())
        time.sleep(seconds)
    note(name)


def is_first(name):
    return client.incr(f"{PREFIX}:{name}:tries") == 1
