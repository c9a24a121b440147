"""One row of Python's: ``python worker.py ROW``, for ../workers.py, which says what the lines mean."""

import asyncio
import json
import resource
import sys
import time

from rows import ROWS

WINDOW_MS = 60_000


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def result(outcomes, began, spent):
    allowed = sum(outcome is True for outcome in outcomes)
    failed = sum(outcome is None for outcome in outcomes)
    return {"hits": len(outcomes), "allowed": allowed, "failed": failed, "cpu_s": cpu_s() - spent, "wall_s": time.perf_counter() - began}


def outcome(hit, key):
    """Whether it was allowed; None where it failed."""
    try:
        return bool(hit(key))
    except Exception as error:
        print(error, file=sys.stderr)
        return None


class Sync:
    """One hit after the other."""

    def __init__(self, row):
        self.row, self.limiters = row, {}

    def limiter(self, limit, window_ms):
        if (limit, window_ms) not in self.limiters:
            self.limiters[limit, window_ms] = self.row(limit, window_ms)
        return self.limiters[limit, window_ms]

    def hits(self, hits, at_once, keys, limit, prefix):
        hit = self.limiter(limit, WINDOW_MS)
        began, spent = time.perf_counter(), cpu_s()
        return result([outcome(hit, f"{prefix}{number % keys}") for number in range(hits)], began, spent)

    def burst(self, begin_ms, bursts, limit, window_ms, key):
        hit, admitted, failed = self.limiter(limit, window_ms), [], 0
        for at, count in bursts:
            time.sleep(max(0, (begin_ms + at) / 1000 - time.time()))
            for _ in range(count):
                sent = time.perf_counter() * 1000
                is_allowed = outcome(hit, key)
                failed += is_allowed is None
                if is_allowed:
                    admitted.append([sent, time.perf_counter() * 1000])
        return {"admitted": admitted, "failed": failed}


class Async:
    def __init__(self, row):
        self.row, self.limiters = row, {}

    async def limiter(self, limit, window_ms):
        if (limit, window_ms) not in self.limiters:
            self.limiters[limit, window_ms] = await self.row(limit, window_ms)
        return self.limiters[limit, window_ms]

    async def outcome(self, hit, key):
        try:
            return bool(await hit(key))
        except Exception as error:
            print(error, file=sys.stderr)
            return None

    async def hits(self, hits, at_once, keys, limit, prefix):
        hit, outcomes, numbers = await self.limiter(limit, WINDOW_MS), [], iter(range(hits))

        async def caller():
            for number in numbers:
                outcomes.append(await self.outcome(hit, f"{prefix}{number % keys}"))

        began, spent = time.perf_counter(), cpu_s()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return result(outcomes, began, spent)

    async def burst(self, begin_ms, bursts, limit, window_ms, key):
        hit, admitted, failed = await self.limiter(limit, window_ms), [], 0

        async def once():
            sent = time.perf_counter() * 1000
            return await self.outcome(hit, key), [sent, time.perf_counter() * 1000]

        for at, count in bursts:
            await asyncio.sleep(max(0, (begin_ms + at) / 1000 - time.time()))
            for left in range(count, 0, -10):
                for is_allowed, times in await asyncio.gather(*(once() for _ in range(min(left, 10)))):
                    failed += is_allowed is None
                    if is_allowed:
                        admitted.append(times)
        return {"admitted": admitted, "failed": failed}


def lines():
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        yield asked.pop("op"), asked


def main(name):
    row = ROWS[name]
    if not asyncio.iscoroutinefunction(row):
        worker = Sync(row)
        for op, asked in lines():
            print(json.dumps(getattr(worker, op)(**asked)), flush=True)
        return
    worker = Async(row)
    with asyncio.Runner() as runner:  # one loop for all lines, which stands still between them
        for op, asked in lines():
            print(json.dumps(runner.run(getattr(worker, op)(**asked))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
