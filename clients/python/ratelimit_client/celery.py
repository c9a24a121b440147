"""Rates and slots of Celery's tasks over all workers. A task that may not act yet comes back, and occupies no worker.

>>> provider = Limiter(client, prefix="provider", algorithm="bucket", limits=Bucket(1, 5, "1s"))  # 5 a second
>>> @app.task(bind=True)
... @rate_limited(provider, "mailgun")
... def send(self, mail): ...

Coming back costs none of the task's ``max_retries``. Celery's own ``rate_limit`` is each worker's.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from celery import Task
from celery.exceptions import Retry

from . import _jobs
from ._jobs import Here, Job, Key
from .lease import Held, Leaser
from .limiter import Limiter

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[Concatenate[Any, P], R]
PLACES = "ratelimit_places"  # a header of the task's message


class _Job:
    def __init__(self, task: Any):
        self._task = task
        request = task.request
        if request.headers is None:
            request.headers = {}
        self.places: list[str] = request.headers.setdefault(PLACES, [])

    def save(self) -> None:
        pass  # the headers of whatever this request makes

    def come_back(self, wait_s: float) -> NoReturn:
        request = self._task.request
        again = self._task.signature_from_request(request, countdown=wait_s)
        again.apply_async()
        raise Retry(f"it comes back in {wait_s:.3f} s", when=wait_s, sig=again)


def _job(task: Any) -> Job:
    return Here() if task.request.called_directly or task.request.is_eager else _Job(task)


def take_turn(task: Task, limiter: Limiter, key: str, *, cost: int = 1, max_wait: str = "1d") -> None:
    """Returns when it is the task's turn. When it is not, the task ends here, and is run from its beginning when it is.

    In a bucket it has its place from the first time on: tasks act in the order in which they came, each came back once. In
    windows it asks again when there should be room.

    :param max_wait: how far ahead a place is reserved; beyond that the task comes back to ask again
    """
    _jobs.take_turn(_job(task), limiter, key, cost, max_wait)


def hold_slot(task: Task, leaser: Leaser, key: str, *, cost: int = 1, again: str = "5s") -> AbstractContextManager[Held]:
    """A slot for as long as the block runs, renewed by a thread; one of a worker that was killed comes back after its ttl.
    Where none is free the task comes back.

    :param again: when to ask again, at the latest
    """
    return _jobs.hold_slot(_job(task), leaser, key, cost, again)


def shut(task: Task, limiter: Limiter, key: str, retry_after: str | float) -> None:
    """A provider has said ``Retry-After``: nobody has a turn until then, and the task comes back.

    :param retry_after: seconds, or a date as HTTP has them
    """
    _jobs.shut(_job(task), limiter, key, retry_after)


def rate_limited(limiter: Limiter, key: Key, *, cost: int = 1, max_wait: str = "1d") -> Callable[[Function[P, R]], Function[P, R]]:
    """``take_turn`` before the function of a task with ``bind=True``.

    :param key: or a function of the task's arguments
    """
    _jobs.check_turn(limiter, cost, max_wait)

    def decorate(function: Function[P, R]) -> Function[P, R]:
        @wraps(function)
        def limited(task: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            take_turn(task, limiter, _jobs.key_of(key, args, kwargs), cost=cost, max_wait=max_wait)
            return function(task, *args, **kwargs)

        return limited

    return decorate


def with_slot(leaser: Leaser, key: Key, *, cost: int = 1, again: str = "5s") -> Callable[[Function[P, R]], Function[P, R]]:
    """``hold_slot`` around the function of a task with ``bind=True``."""
    _jobs.check_slot(leaser, cost, again)

    def decorate(function: Function[P, R]) -> Function[P, R]:
        @wraps(function)
        def limited(task: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with hold_slot(task, leaser, _jobs.key_of(key, args, kwargs), cost=cost, again=again):
                return function(task, *args, **kwargs)

        return limited

    return decorate
