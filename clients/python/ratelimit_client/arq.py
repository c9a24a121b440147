"""Rates and slots of arq's jobs over all workers. A job that may not act yet comes back, and occupies no worker.

>>> provider = AsyncLimiter(client, prefix="provider", algorithm="bucket", limits=Bucket(1, 5, "1s"))  # 5 a second
>>> @rate_limited(provider, "mailgun")
... async def send(ctx, mail): ...

Coming back costs none of the job's ``max_tries``. A worker looks for what is due every ``poll_delay``, and gives up a job that
is older than its ``_expires``, which is a day where nothing is said.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import wraps
from math import ceil
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from arq.constants import retry_key_prefix
from arq.worker import Retry

from . import _jobs
from ._jobs import AsyncHere, Key
from .lease import AsyncLeaser, Held
from .limiter import AsyncLimiter

P = ParamSpec("P")
R = TypeVar("R")
Context = dict[Any, Any]
Function = Callable[Concatenate[Context, P], Awaitable[R]]
PLACES = "ratelimit_places"  # of the context, while the job runs
_LASTS = timedelta(days=2)  # longer than a job waits


class _Job:
    def __init__(self, ctx: Context):
        self._ctx = ctx
        self._redis = ctx["redis"]  # the worker's
        self.places: list[str] = ctx.get(PLACES, [])
        # Another job may be given the id of one that has ended.
        self._saved = f"arq:ratelimit-places:{ctx['job_id']}:{ctx['enqueue_time'].timestamp()}"

    async def load(self) -> None:
        if PLACES not in self._ctx:
            places = await self._redis.smembers(self._saved)
            self._ctx[PLACES] = self.places = [place.decode() if isinstance(place, bytes) else place for place in places]

    async def save(self) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._saved)
            if self.places:
                pipe.sadd(self._saved, *self.places)
                pipe.expire(self._saved, _LASTS)
            await pipe.execute()

    async def come_back(self, wait_s: float) -> NoReturn:
        await self._redis.decr(retry_key_prefix + self._ctx["job_id"])  # this was counted as a try
        raise Retry(timedelta(milliseconds=ceil(wait_s * 1000)))


def _job(ctx: Context) -> _Job | AsyncHere:
    """Of the context that a worker gives. Without one nobody brings the job back."""
    return _Job(ctx) if "job_id" in ctx else AsyncHere()


async def take_turn(ctx: Context, limiter: AsyncLimiter, key: str, *, cost: int = 1, max_wait: str = "1d") -> None:
    """Returns when it is the job's turn. When it is not, the job ends here, and is run from its beginning when it is.

    In a bucket it has its place from the first time on: jobs act in the order in which they came, each came back once. In
    windows it asks again when there should be room.

    :param max_wait: how far ahead a place is reserved; beyond that the job comes back to ask again
    """
    job = _job(ctx)
    if isinstance(job, _Job):
        await job.load()
    await _jobs.take_turn_async(job, limiter, key, cost, max_wait)


def hold_slot(ctx: Context, leaser: AsyncLeaser, key: str, *, cost: int = 1, again: str = "5s") -> AbstractAsyncContextManager[Held]:
    """A slot for as long as the block runs, renewed by a task; one of a worker that was killed comes back after its ttl.
    Where none is free the job comes back.

    :param again: when to ask again, at the latest
    """
    return _jobs.hold_slot_async(_job(ctx), leaser, key, cost, again)


async def shut(ctx: Context, limiter: AsyncLimiter, key: str, retry_after: str | float) -> None:
    """A provider has said ``Retry-After``: nobody has a turn until then, and the job comes back.

    :param retry_after: seconds, or a date as HTTP has them
    """
    await _jobs.shut_async(_job(ctx), limiter, key, retry_after)


def rate_limited(limiter: AsyncLimiter, key: Key, *, cost: int = 1, max_wait: str = "1d") -> Callable[[Function[P, R]], Function[P, R]]:
    """``take_turn`` before the function of a job.

    :param key: or a function of the job's arguments
    """
    _jobs.check_turn(limiter, cost, max_wait, AsyncLimiter)

    def decorate(function: Function[P, R]) -> Function[P, R]:
        @wraps(function)
        async def limited(ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
            await take_turn(ctx, limiter, _jobs.key_of(key, args, kwargs), cost=cost, max_wait=max_wait)
            return await function(ctx, *args, **kwargs)

        return limited

    return decorate


def with_slot(leaser: AsyncLeaser, key: Key, *, cost: int = 1, again: str = "5s") -> Callable[[Function[P, R]], Function[P, R]]:
    """``hold_slot`` around the function of a job."""
    _jobs.check_slot(leaser, cost, again, AsyncLeaser)

    def decorate(function: Function[P, R]) -> Function[P, R]:
        @wraps(function)
        async def limited(ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
            async with hold_slot(ctx, leaser, _jobs.key_of(key, args, kwargs), cost=cost, again=again):
                return await function(ctx, *args, **kwargs)

        return limited

    return decorate
