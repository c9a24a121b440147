"""For administrators and dashboards: policies, deny lists, statistics, and what a key holds.

Unlike a hit, these raise the errors of ``errors.py`` where Redis is away or refuses. In a cluster all primaries are asked.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

from . import _admin
from ._admin import (
    Call,
    Counts,
    Day,
    HeldLease,
    Hour,
    KeyInfo,
    KeyLimit,
    LeaseLimit,
    Policy,
    PolicyAlgorithm,
    PolicyLimit,
    Statistics,
    Top,
    TotalStatistics,
)
from ._check import integer
from .client import async_link_of, link_of

__all__ = [
    "Admin",
    "AsyncAdmin",
    "Counts",
    "Day",
    "HeldLease",
    "Hour",
    "KeyInfo",
    "KeyLimit",
    "LeaseLimit",
    "Policy",
    "Statistics",
    "Top",
    "TotalStatistics",
]

T = TypeVar("T")


class Admin:
    """
    >>> admin = Admin(client)
    >>> admin.set_policy("login", "sliding", Window(3, "15m"))

    :param client: as ``Limiter`` takes it
    """

    def __init__(self, client: Any, *, timeout_ms: int = 1000):
        self._link = link_of(client)
        self._timeout_s = integer("timeout_ms", timeout_ms, 1) / 1000

    def _ask(self, call: Call[T]) -> T:
        if call.key is not None:
            return call.read([self._link.ask(call.words, call.key, self._timeout_s)])
        return call.read([node.ask(call.words, "", self._timeout_s) for node in self._link.nodes(self._timeout_s)])

    def set_policy(
        self,
        name: str,
        algorithm: PolicyAlgorithm,
        limits: PolicyLimit | Sequence[PolicyLimit],
        *,
        ttl: str | None = None,
    ) -> None:
        """For all clients from the next hit on.

        :param ttl: stand in front of the lasting policy, which is back when it ends
        """
        self._ask(_admin.put_policy("SET", name, algorithm, limits, ttl))

    def shadow_policy(
        self,
        name: str,
        algorithm: PolicyAlgorithm,
        limits: PolicyLimit | Sequence[PolicyLimit],
        *,
        ttl: str | None = None,
    ) -> None:
        """Tries a policy beside the one of that name: judged and counted at every hit, and never binding. Not of leases."""
        self._ask(_admin.put_policy("SHADOW", name, algorithm, limits, ttl))

    def end_shadow(self, name: str) -> bool:
        """Whether one was tried."""
        return self._ask(_admin.end_shadow(name))

    def get_policy(self, name: str) -> Policy | None:
        return self._ask(_admin.get_policy(name))

    def delete_policies(self, *names: str) -> int:
        """How many there were."""
        return self._ask(_admin.delete_policies(names))

    def policies(self) -> dict[str, Policy]:
        return self._ask(_admin.policies())

    def deny(self, name: str, values: Sequence[str], *, ttl: str | None = None) -> int:
        """Adds addresses, networks, or any text to a list. How many are new."""
        return self._ask(_admin.deny(name, values, ttl))

    def undeny(self, name: str, values: Sequence[str]) -> int:
        """How many there were."""
        return self._ask(_admin.undeny(name, values))

    def are_denied(self, name: str, values: Sequence[str]) -> tuple[bool, ...]:
        """Of each value, whether it is on the list, by a network too."""
        return self._ask(_admin.are_denied(name, values))

    def deny_entries(self, name: str) -> Iterator[tuple[str, int | None]]:
        """Walks a list; each value with what is left of its ttl in ms, None where it has none."""
        cursor = "0"
        while True:
            cursor, entries = self._ask(_admin.deny_entries(name, cursor))
            yield from entries
            if cursor == "0":
                return

    def deny_lists(self) -> dict[str, int]:
        """How many values each list has."""
        return self._ask(_admin.deny_lists())

    def rename_deny_list(self, name: str, new_name: str) -> None:
        self._ask(_admin.rename_deny_list(name, new_name))

    def drop_deny_list(self, name: str) -> bool:
        """Whether there was one."""
        return self._ask(_admin.drop_deny_list(name))

    def statistics(self, name: str) -> Statistics | None:
        """Of the hits that named it last; of a cluster the sum. None where there were none."""
        return self._ask(_admin.statistics(name))

    def total_statistics(self) -> TotalStatistics:
        return self._ask(_admin.total_statistics())

    def reset_statistics(self, name: str | None = None) -> None:
        """Forgets what was counted under a name, or everything."""
        self._ask(_admin.reset_statistics(name))

    def info(self, key: str) -> KeyInfo | None:
        """What a key holds. It is the whole key, with a limiter's prefix."""
        return self._ask(_admin.info(key))


class AsyncAdmin:
    """As ``Admin``, over a client of ``redis.asyncio``."""

    def __init__(self, client: Any, *, timeout_ms: int = 1000):
        self._link = async_link_of(client)
        self._timeout_s = integer("timeout_ms", timeout_ms, 1) / 1000

    async def _ask(self, call: Call[T]) -> T:
        if call.key is not None:
            return call.read([await self._link.ask(call.words, call.key, self._timeout_s)])
        nodes = await self._link.nodes(self._timeout_s)
        return call.read(await asyncio.gather(*(node.ask(call.words, "", self._timeout_s) for node in nodes)))

    async def set_policy(
        self,
        name: str,
        algorithm: PolicyAlgorithm,
        limits: PolicyLimit | Sequence[PolicyLimit],
        *,
        ttl: str | None = None,
    ) -> None:
        await self._ask(_admin.put_policy("SET", name, algorithm, limits, ttl))

    async def shadow_policy(
        self,
        name: str,
        algorithm: PolicyAlgorithm,
        limits: PolicyLimit | Sequence[PolicyLimit],
        *,
        ttl: str | None = None,
    ) -> None:
        await self._ask(_admin.put_policy("SHADOW", name, algorithm, limits, ttl))

    async def end_shadow(self, name: str) -> bool:
        return await self._ask(_admin.end_shadow(name))

    async def get_policy(self, name: str) -> Policy | None:
        return await self._ask(_admin.get_policy(name))

    async def delete_policies(self, *names: str) -> int:
        return await self._ask(_admin.delete_policies(names))

    async def policies(self) -> dict[str, Policy]:
        return await self._ask(_admin.policies())

    async def deny(self, name: str, values: Sequence[str], *, ttl: str | None = None) -> int:
        return await self._ask(_admin.deny(name, values, ttl))

    async def undeny(self, name: str, values: Sequence[str]) -> int:
        return await self._ask(_admin.undeny(name, values))

    async def are_denied(self, name: str, values: Sequence[str]) -> tuple[bool, ...]:
        return await self._ask(_admin.are_denied(name, values))

    async def deny_entries(self, name: str) -> AsyncIterator[tuple[str, int | None]]:
        cursor = "0"
        while True:
            cursor, entries = await self._ask(_admin.deny_entries(name, cursor))
            for entry in entries:
                yield entry
            if cursor == "0":
                return

    async def deny_lists(self) -> dict[str, int]:
        return await self._ask(_admin.deny_lists())

    async def rename_deny_list(self, name: str, new_name: str) -> None:
        await self._ask(_admin.rename_deny_list(name, new_name))

    async def drop_deny_list(self, name: str) -> bool:
        return await self._ask(_admin.drop_deny_list(name))

    async def statistics(self, name: str) -> Statistics | None:
        return await self._ask(_admin.statistics(name))

    async def total_statistics(self) -> TotalStatistics:
        return await self._ask(_admin.total_statistics())

    async def reset_statistics(self, name: str | None = None) -> None:
        await self._ask(_admin.reset_statistics(name))

    async def info(self, key: str) -> KeyInfo | None:
        return await self._ask(_admin.info(key))
