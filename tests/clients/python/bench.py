"""What a hit costs the client: the package beside the bare command of redis-py, in turns, in CPU time of this process.

    RATELIMIT_PORT=6379 python bench.py [hits a turn] [turns]

The ratio is what counts; microseconds are this machine's. The package promises at most 1.25.
"""

import asyncio
import os
import statistics
import sys
import time

import redis
import redis.asyncio
from ratelimit_client import AsyncLimiter, Limiter, Window

PORT = int(os.environ["RATELIMIT_PORT"])
HITS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
TURNS = int(sys.argv[2]) if len(sys.argv) > 2 else 15
LIMIT, WINDOW = 1_000_000_000, "15m"
COMMAND = ("RL.SLIDING", "bench:user:1", LIMIT, WINDOW)
GIVEN = {"prefix": "bench", "algorithm": "sliding", "limits": Window(LIMIT, WINDOW), "timeout_ms": 60_000}


def report(what, bare, package):
    ratios = [ours / theirs for ours, theirs in zip(package, bare, strict=True)]
    us = [statistics.median(one) / HITS * 1e6 for one in (bare, package)]
    print(f"{what}: bare {us[0]:.1f} us, package {us[1]:.1f} us of client CPU a hit; ratio {statistics.median(ratios):.2f}"
          f" ({min(ratios):.2f} .. {max(ratios):.2f})")


def timed(work):
    since = time.process_time()
    work()
    return time.process_time() - since


def sync():
    client = redis.Redis(port=PORT)
    api = Limiter(client, **GIVEN)

    def bare():
        for _ in range(HITS):
            client.execute_command(*COMMAND)

    def package():
        for _ in range(HITS):
            api.hit("user:1")

    bare(), package()
    times = [(timed(bare), timed(package)) for _ in range(TURNS)]
    report("sync", *zip(*times, strict=True))


async def asynchronous(at_once):
    client = redis.asyncio.Redis(port=PORT)
    api = AsyncLimiter(client, **GIVEN)

    async def bare():
        for _ in range(HITS // at_once):
            await asyncio.gather(*(client.execute_command(*COMMAND) for _ in range(at_once)))

    async def package():
        for _ in range(HITS // at_once):
            await asyncio.gather(*(api.hit("user:1") for _ in range(at_once)))

    async def timed(work):
        since = time.process_time()
        await work()
        return time.process_time() - since

    await bare()
    await package()
    times = [(await timed(bare), await timed(package)) for _ in range(TURNS)]
    report(f"asyncio, {at_once} at once", *zip(*times, strict=True))
    await client.aclose()


if __name__ == "__main__":
    sync()
    for at_once in (1, 50):
        asyncio.run(asynchronous(at_once))
