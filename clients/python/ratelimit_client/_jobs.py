"""When a job may act. One that may not yet comes back, so that it occupies no worker while it waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from random import uniform
from typing import Any, NoReturn, Protocol

from ._ask import ask
from ._check import LARGEST, integer, span_ms, wrong
from .errors import RateLimitError
from .lease import Held, Leaser
from .limiter import Limiter
from .verdict import Asked, Verdict, unavailable, verdict

AWAY_S = 5.0  # until a job asks again whose limiter is closed because Redis is away

Key = str | Callable[..., str]  # or what makes it of the job's arguments


class Job(Protocol):
    """One that is running. ``places`` are those that it has reserved in buckets; once saved, they come back with it."""

    places: list[str]

    def save(self) -> None: ...
    def come_back(self, wait_s: float) -> NoReturn: ...


class Here:
    """No worker runs it, so nobody brings it back."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def save(self) -> None:
        pass

    def come_back(self, wait_s: float) -> None:
        time.sleep(wait_s)


AnyJob = Job | Here


def key_of(key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return key if isinstance(key, str) else key(*args, **kwargs)


def _wait_s(answer: Verdict, what: str) -> float:
    if answer.error is not None:
        return AWAY_S
    if answer.retry_after_ms < 0:
        raise RateLimitError(f"{what} can never fit: the limit is {answer.limit}")
    return max(answer.retry_after_ms, 1) / 1000


def check_turn(limiter: object, cost: object, max_wait: object) -> None:
    if not isinstance(limiter, Limiter):
        raise wrong("limiter", "a Limiter", limiter)
    integer("cost", cost, 1)
    span_ms("max_wait", max_wait)


def check_slot(leaser: object, cost: object, again: object) -> None:
    if not isinstance(leaser, Leaser):
        raise wrong("leaser", "a Leaser", leaser)
    integer("cost", cost, 1)
    span_ms("again", again)


def _shut(limiter: Limiter, key: str) -> Verdict:
    """Whether a block has shut the key, whoever else has a place there: to a bucket of any size a cost of 0 fits, but in a
    block."""
    plan = limiter.plan
    words: list[str | int] = ["RL.PEEK", plan.algorithm, plan.key(key)]
    for refill_and_interval in zip(plan.limits[1::3], plan.limits[2::3], strict=True):
        words += [LARGEST, *refill_and_interval]
    read = partial(verdict, asked=Asked(name=plan.name, described=()))
    reach = plan.reach
    return ask(limiter.link, reach, [*words, "COST", 0], plan.key(key), read, unavailable, reach.open)


def take_turn(job: AnyJob, limiter: Limiter, key: str, cost: int, max_wait: str) -> None:
    check_turn(limiter, cost, max_wait)
    what, place = f"a cost of {cost} on {key!r}", f"{limiter.plan.name}:{key}"
    while True:
        if place in job.places:
            answer = _shut(limiter, key)  # no block recalls a place: who has waited for one asks once more
            if answer.allowed:
                job.places.remove(place)  # another try of this job waits for another turn
                job.save()
                return
        elif limiter.plan.algorithm == "BUCKET" and not limiter.plan.block:
            options = {"cost": cost, "reserve_ms": span_ms("max_wait", max_wait)}
            answer = limiter._ask(["RL.BUCKET"], key, options)
            if answer.allowed and answer.retry_after_ms == 0:
                return
            if answer.allowed:
                job.places.append(place)
                job.save()
        elif (answer := limiter.hit(key, cost=cost)).allowed:
            return
        job.come_back(_wait_s(answer, what))


@contextmanager
def hold_slot(job: AnyJob, leaser: Leaser, key: str, cost: int, again: str) -> Iterator[Held]:
    check_slot(leaser, cost, again)
    with ExitStack() as stack:
        while not (held := stack.enter_context(leaser.hold(key, cost=cost))).allowed:
            # The end that the server names is of a holder who may be done long before, or go on.
            wait_s = _wait_s(held.verdict, f"a cost of {cost} on {key!r}")
            job.come_back(min(wait_s, span_ms("again", again) / 1000 * uniform(0.5, 1)))
        yield held


def shut(job: AnyJob, limiter: Limiter, key: str, retry_after: str | float) -> None:
    wait_ms = round(seconds_of(retry_after) * 1000)
    job.come_back(limiter.block(key, f"{max(1, wait_ms)}ms") / 1000)


def seconds_of(retry_after: object) -> float:
    """Of a field of HTTP: seconds, or a date."""
    written = str(retry_after).strip()
    try:
        wait_s = float(written)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(written).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            wait_s = float("nan")
    if not wait_s < 3660 * 86_400:
        raise wrong("retry_after", "seconds, or a date as HTTP has them", retry_after)
    return max(0.0, wait_s)
