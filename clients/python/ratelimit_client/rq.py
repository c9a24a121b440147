"""Rates and slots of RQ's jobs over all workers. A job that may not act yet comes back, and occupies no worker.

>>> provider = Limiter(client, prefix="provider", algorithm="bucket", limits=Bucket(1, 5, "1s"))  # 5 a second
>>> @rate_limited(provider, "mailgun")
... def send(mail): ...

RQ brings jobs back by whole seconds, and only where a worker runs with its scheduler (``--with-scheduler``). Coming back costs
none of the retries that a job was given for its failures.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

from rq import Retry, get_current_job

from . import _jobs
from ._jobs import Here, Job, Key
from .lease import Held, Leaser
from .limiter import Limiter

P = ParamSpec("P")
R = TypeVar("R")
PLACES = "ratelimit_places"  # of the job's meta


class _Later(BaseException):
    """For ``comes_back``, past what catches the job's own errors."""

    def __init__(self, wait_s: float):
        super().__init__("rate limited: the function of the job needs ratelimit_client.rq.comes_back")
        self.wait_s = wait_s


class _Job:
    def __init__(self, job: Any):
        self._job = job
        self.places: list[str] = job.meta.setdefault(PLACES, [])

    def save(self) -> None:
        self._job.save_meta()

    def come_back(self, wait_s: float) -> NoReturn:
        raise _Later(wait_s)


def _job() -> Job:
    job = get_current_job()
    return Here() if job is None or job.worker_name in (None, "", "sync") else _Job(job)


def comes_back(function: Callable[P, R]) -> Callable[P, R | Retry]:
    """Around a job that calls ``take_turn``, ``hold_slot`` or ``shut`` itself."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | Retry:
        try:
            return function(*args, **kwargs)
        except _Later as later:
            return Retry(max=2**31, interval=math.ceil(later.wait_s))  # never earlier

    return run


def take_turn(limiter: Limiter, key: str, *, cost: int = 1, max_wait: str = "1d") -> None:
    """Returns when it is the job's turn. When it is not, the job ends here, and is run from its beginning when it is.

    In a bucket it has its place from the first time on: jobs act in the order in which they came, each came back once. In
    windows it asks again when there should be room.

    :param max_wait: how far ahead a place is reserved; beyond that the job comes back to ask again
    """
    _jobs.take_turn(_job(), limiter, key, cost, max_wait)


def hold_slot(leaser: Leaser, key: str, *, cost: int = 1, again: str = "5s") -> AbstractContextManager[Held]:
    """A slot for as long as the block runs, renewed by a thread; one of a worker that was killed comes back after its ttl.
    Where none is free the job comes back.

    :param again: when to ask again, at the latest
    """
    return _jobs.hold_slot(_job(), leaser, key, cost, again)


def shut(limiter: Limiter, key: str, retry_after: str | float) -> None:
    """A provider has said ``Retry-After``: nobody has a turn until then, and the job comes back.

    :param retry_after: seconds, or a date as HTTP has them
    """
    _jobs.shut(_job(), limiter, key, retry_after)


def rate_limited(limiter: Limiter, key: Key, *, cost: int = 1, max_wait: str = "1d") -> Callable[[Callable[P, R]], Callable[P, R | Retry]]:
    """``take_turn`` before the function of a job.

    :param key: or a function of the job's arguments
    """
    _jobs.check_turn(limiter, cost, max_wait)

    def decorate(function: Callable[P, R]) -> Callable[P, R | Retry]:
        @comes_back
        @wraps(function)
        def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            take_turn(limiter, _jobs.key_of(key, args, kwargs), cost=cost, max_wait=max_wait)
            return function(*args, **kwargs)

        return limited

    return decorate


def with_slot(leaser: Leaser, key: Key, *, cost: int = 1, again: str = "5s") -> Callable[[Callable[P, R]], Callable[P, R | Retry]]:
    """``hold_slot`` around the function of a job."""
    _jobs.check_slot(leaser, cost, again)

    def decorate(function: Callable[P, R]) -> Callable[P, R | Retry]:
        @comes_back
        @wraps(function)
        def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            with hold_slot(leaser, _jobs.key_of(key, args, kwargs), cost=cost, again=again):
                return function(*args, **kwargs)

        return limited

    return decorate
