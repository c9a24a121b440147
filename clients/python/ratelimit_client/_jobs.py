"""When a job may act. One that may not yet comes back, so that it occupies no worker while it waits.

What is asked, and what is done about the answers, is a generator (``Steps``): it yields each question, and is sent the answer.
Jobs that are functions run it with ``run``, jobs that are coroutines with ``run_async``, whose questions are awaited.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from inspect import isawaitable
from random import uniform
from typing import Any, Protocol

from ._ask import ask, ask_async
from ._check import LARGEST, integer, span_ms, wrong
from .errors import RateLimitError
from .lease import AsyncLeaser, Held, Leaser
from .limiter import AsyncLimiter, Limiter
from .verdict import Asked, Verdict, unavailable, verdict

AWAY_S = 5.0  # until a job asks again whose limiter is closed because Redis is away

Key = str | Callable[..., str]  # or what makes it of the job's arguments


Steps = Generator[Any, Any, None]


class Job(Protocol):
    """One that is running. ``places`` are those that it has reserved in buckets; once saved, they come back with it.
    ``come_back`` raises what ends it."""

    places: list[str]

    def save(self) -> Awaitable[None] | None: ...
    def come_back(self, wait_s: float) -> Awaitable[None] | None: ...


class Here:
    """No worker runs it, so nobody brings it back."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def save(self) -> None:
        pass

    def come_back(self, wait_s: float) -> None:
        time.sleep(wait_s)


class AsyncHere(Here):
    async def come_back(self, wait_s: float) -> None:  # type: ignore[override]
        await asyncio.sleep(wait_s)


def run(steps: Steps) -> None:
    answer = None
    while True:
        try:
            answer = steps.send(answer)
        except StopIteration:
            return


async def run_async(steps: Steps) -> None:
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        answer = await step if isawaitable(step) else step


def key_of(key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return key if isinstance(key, str) else key(*args, **kwargs)


def _wait_s(answer: Verdict, what: str) -> float:
    if answer.error is not None:
        return AWAY_S
    if answer.retry_after_ms < 0:
        raise RateLimitError(f"{what} can never fit: the limit is {answer.limit}")
    return max(answer.retry_after_ms, 1) / 1000


def check_turn(limiter: object, cost: object, max_wait: object, kind: type[Limiter] | type[AsyncLimiter] = Limiter) -> None:
    if not isinstance(limiter, kind):
        raise wrong("limiter", f"a{'n' * (kind is AsyncLimiter)} {kind.__name__}", limiter)
    integer("cost", cost, 1)
    span_ms("max_wait", max_wait)


def check_slot(leaser: object, cost: object, again: object, kind: type[Leaser] | type[AsyncLeaser] = Leaser) -> None:
    if not isinstance(leaser, kind):
        raise wrong("leaser", f"a{'n' * (kind is AsyncLeaser)} {kind.__name__}", leaser)
    integer("cost", cost, 1)
    span_ms("again", again)


def _shut(limiter: Limiter | AsyncLimiter, key: str) -> Any:
    """Whether a block has shut the key, whoever else has a place there: to a bucket of any size a cost of 0 fits, but in a
    block."""
    plan = limiter.plan
    words: list[str | int] = ["RL.PEEK", plan.algorithm, plan.key(key)]
    for refill_and_interval in zip(plan.limits[1::3], plan.limits[2::3], strict=True):
        words += [LARGEST, *refill_and_interval]
    read = partial(verdict, asked=Asked(name=plan.name, described=()))
    reach = plan.reach
    asking: Any = ask if isinstance(limiter, Limiter) else ask_async
    return asking(limiter.link, reach, [*words, "COST", 0], plan.key(key), read, unavailable, reach.open)


def turn(job: Job, limiter: Limiter | AsyncLimiter, key: str, cost: int, max_wait: str) -> Steps:
    what, place = f"a cost of {cost} on {key!r}", f"{limiter.plan.name}:{key}"
    while True:
        answer: Verdict
        if place in job.places:
            answer = yield _shut(limiter, key)  # no block recalls a place: who has waited for one asks once more
            if answer.allowed:
                job.places.remove(place)  # another try of this job waits for another turn
                yield job.save()
                return
        elif limiter.plan.algorithm == "BUCKET" and not limiter.plan.block:
            options = {"cost": cost, "reserve_ms": span_ms("max_wait", max_wait)}
            answer = yield limiter._ask(["RL.BUCKET"], key, options)
            if answer.allowed and answer.retry_after_ms == 0:
                return
            if answer.allowed:
                job.places.append(place)
                yield job.save()
        else:
            answer = yield limiter.hit(key, cost=cost)
            if answer.allowed:
                return
        yield job.come_back(_wait_s(answer, what))


def take_turn(job: Job, limiter: Limiter, key: str, cost: int, max_wait: str) -> None:
    check_turn(limiter, cost, max_wait)
    run(turn(job, limiter, key, cost, max_wait))


async def take_turn_async(job: Job, limiter: AsyncLimiter, key: str, cost: int, max_wait: str) -> None:
    check_turn(limiter, cost, max_wait, AsyncLimiter)
    await run_async(turn(job, limiter, key, cost, max_wait))


def _again_s(held: Held, key: str, cost: int, again: str) -> float:
    """The end that the server names is of a holder who may be done long before, or go on."""
    wait_s = _wait_s(held.verdict, f"a cost of {cost} on {key!r}")
    return min(wait_s, span_ms("again", again) / 1000 * uniform(0.5, 1))


@contextmanager
def hold_slot(job: Job, leaser: Leaser, key: str, cost: int, again: str) -> Iterator[Held]:
    check_slot(leaser, cost, again)
    with ExitStack() as stack:
        while not (held := stack.enter_context(leaser.hold(key, cost=cost))).allowed:
            job.come_back(_again_s(held, key, cost, again))
        yield held


@asynccontextmanager
async def hold_slot_async(job: Job, leaser: AsyncLeaser, key: str, cost: int, again: str) -> AsyncIterator[Held]:
    check_slot(leaser, cost, again, AsyncLeaser)
    async with AsyncExitStack() as stack:
        while not (held := await stack.enter_async_context(leaser.hold(key, cost=cost))).allowed:
            coming = job.come_back(_again_s(held, key, cost, again))
            if coming is not None:
                await coming
        yield held


def _shutting(job: Job, limiter: Limiter | AsyncLimiter, key: str, retry_after: str | float) -> Steps:
    wait_ms = round(seconds_of(retry_after) * 1000)
    left_ms = yield limiter.block(key, f"{max(1, wait_ms)}ms")
    yield job.come_back(left_ms / 1000)


def shut(job: Job, limiter: Limiter, key: str, retry_after: str | float) -> None:
    run(_shutting(job, limiter, key, retry_after))


async def shut_async(job: Job, limiter: AsyncLimiter, key: str, retry_after: str | float) -> None:
    await run_async(_shutting(job, limiter, key, retry_after))


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
