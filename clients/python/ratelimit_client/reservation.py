"""LLM tokens and the like: an estimate is charged before the call, and settled with what was really used.

What is never settled stays charged as estimated, so a crash, an abort or a lost count gives nothing away. Settling never
raises: the answer that was paid for must not be lost to an error there, which goes to ``on_error``.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from typing import Generic, TypeVar

from .report import OnError
from .verdict import Verdict

T = TypeVar("T")
Settled = TypeVar("Settled")


def _is_amount(used: object) -> bool:
    return isinstance(used, (int, float)) and not isinstance(used, bool) and math.isfinite(used) and used >= 0


class _Reservation(Generic[Settled]):
    allowed: bool  # whether the estimate was let through
    verdict: Verdict  # the reservation's; once it is settled, the settlement's, with what is left then

    def __init__(self, verdict: Verdict, estimate: int, charge: Callable[[int, int], Settled], on_error: OnError):
        self.allowed = verdict.allowed
        self.verdict = verdict
        self.estimate = estimate
        self._charge = charge
        self._on_error = on_error
        self._counted: float | None = None
        self._settled = False

    def add(self, used: float | None) -> None:
        """What has been used so far: known even if the rest fails. None is not counted."""
        if used is not None and _is_amount(used):
            self._counted = (self._counted or 0) + used

    def _begin(self, used: float | None) -> tuple[int, int] | None:
        """The cost and the time to charge it at; None where there is nothing to do."""
        if self._settled:
            return None
        self._settled = True
        amount = used if used is not None and _is_amount(used) else self._counted
        at = self.verdict.charged_at or 0
        difference = 0 if amount is None else math.ceil(amount) - self.estimate
        return None if at == 0 or difference == 0 else (difference, at)


class Reservation(_Reservation[Verdict]):
    """An estimate that was charged, to be settled with what was used."""

    def settle(self, used: float | None = None) -> Verdict:
        """With ``used``, or else with what was added; with neither the estimate stays charged. The first call counts."""
        charge = self._begin(used)
        if charge is not None:
            try:
                settled = self._charge(*charge)
                if settled.error is None:
                    self.verdict = settled
            except Exception as error:
                self._on_error(error)
        return self.verdict

    def iterate(self, source: Iterable[T], tokens_of: Callable[[T], float | None]) -> Generator[T, None, None]:
        """Passes the chunks on, adds what each used, and settles when they end, fail or are no longer read."""
        try:
            for chunk in source:
                self.add(tokens_of(chunk))
                yield chunk
        finally:
            self.settle()


class AsyncReservation(_Reservation[Awaitable[Verdict]]):
    """An estimate that was charged, to be settled with what was used."""

    async def settle(self, used: float | None = None) -> Verdict:
        """As ``Reservation.settle``."""
        charge = self._begin(used)
        if charge is not None:
            try:
                settled = await self._charge(*charge)
                if settled.error is None:
                    self.verdict = settled
            except Exception as error:
                self._on_error(error)
        return self.verdict

    async def iterate(self, source: AsyncIterable[T], tokens_of: Callable[[T], float | None]) -> AsyncGenerator[T, None]:
        """As ``Reservation.iterate``. Close it (``contextlib.aclosing``) where you may stop reading."""
        try:
            async for chunk in source:
                self.add(tokens_of(chunk))
                yield chunk
        finally:
            await self.settle()


class Spent(Generic[T]):
    """``result`` keeps the model's type; it is there where ``allowed``."""

    __slots__ = ("_result", "allowed", "verdict")

    def __init__(self, verdict: Verdict, allowed: bool, result: T | None):
        self.verdict: Verdict = verdict
        self.allowed: bool = allowed
        self._result = result

    @property
    def result(self) -> T:
        if not self.allowed:
            raise LookupError("the call was not allowed: there is no result")
        return self._result  # type: ignore[return-value]  # allowed: it was set


def reported(used: Callable[[T], float | None], result: T) -> float | None:
    try:
        return used(result)
    except Exception:
        return None  # a report of another form than expected: the estimate stays
