"""One question to the server: its answer, or what stands for one where there is none. Nothing that Redis does is raised."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Protocol, TypeVar

from .client import AsyncLink, Link
from .errors import RateLimitError, RefusedError, WrongReplyError, reason_of
from .plan import Reach
from .report import HitEvent


class Answer(Protocol):
    @property
    def allowed(self) -> bool: ...
    @property
    def error(self) -> Exception | None: ...
    @property
    def local(self) -> bool: ...


A = TypeVar("A", bound=Answer)
Instead = Callable[[Exception, bool], A]  # of the error, and whether to let through
Words = Sequence[str | int]
PAUSE_S = 0.05  # before a hit is sent again


class _Tries:
    """Of a hit with an id. Each has its share of the deadline, so that a reply which is lost leaves time to ask again."""

    def __init__(self, timeout_s: float | None, retry: int):
        self._deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self._left = retry + 1

    def share(self) -> float | None:
        left_s = self._deadline - time.monotonic()
        return None if left_s == float("inf") else max(left_s / self._left, 0.001)

    def again(self, error: Exception | None) -> bool:
        self._left -= 1
        if error is None or self._left == 0 or isinstance(error, RefusedError):
            return False
        return self._deadline - time.monotonic() > PAUSE_S


def _failed(link: Link | AsyncLink, reach: Reach, error: Exception, instead: Instead[A], open: bool) -> A:
    if isinstance(error, WrongReplyError):
        link.distrust()
    if isinstance(error, RateLimitError):
        error.__traceback__ = None  # a verdict that is kept must not keep our frames
    reach.on_error(error)
    return instead(error, open)


def _tell(reach: Reach, answer: Answer, since: float) -> None:
    if reach.on_hit is None:
        return
    error = answer.error
    outcome = ("allowed" if answer.allowed else "denied") if error is None else "open" if answer.allowed else "closed"
    reason = None if error is None else reason_of(error)
    reach.on_hit(HitEvent(reach.name, outcome, reason, perf_counter() - since, answer.local))  # type: ignore[arg-type]  # mypy joins to str


def ask(
    link: Link, reach: Reach, words: Words, key: str, read: Callable[[Any], A], instead: Instead[A], open: bool, retry: int = 0
) -> A:
    since = perf_counter() if reach.on_hit else 0.0
    tries = _Tries(reach.timeout_s, retry) if retry else None
    while True:
        try:
            answer = read(link.ask(words, key, tries.share() if tries else reach.timeout_s))
        except Exception as error:
            answer = _failed(link, reach, error, instead, open)
        if tries is None or not tries.again(answer.error):
            break
        time.sleep(PAUSE_S)
    _tell(reach, answer, since)
    return answer


async def send_async(
    link: AsyncLink, reach: Reach, words: Words, key: str, read: Callable[[Any], A], instead: Instead[A], open: bool, retry: int = 0
) -> A:
    """Without telling ``on_hit``."""
    tries = _Tries(reach.timeout_s, retry) if retry else None
    while True:
        try:
            answer = read(await link.ask(words, key, tries.share() if tries else reach.timeout_s))
        except Exception as error:
            answer = _failed(link, reach, error, instead, open)
        if tries is None or not tries.again(answer.error):
            return answer
        await asyncio.sleep(PAUSE_S)


async def told_async(reach: Reach, answering: Awaitable[A]) -> A:
    since = perf_counter() if reach.on_hit else 0.0
    answer = await answering
    _tell(reach, answer, since)
    return answer


async def ask_async(
    link: AsyncLink, reach: Reach, words: Words, key: str, read: Callable[[Any], A], instead: Instead[A], open: bool, retry: int = 0
) -> A:
    if reach.on_hit is None:
        return await send_async(link, reach, words, key, read, instead, open, retry)
    since = perf_counter()
    answer = await send_async(link, reach, words, key, read, instead, open, retry)
    _tell(reach, answer, since)
    return answer
