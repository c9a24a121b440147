"""A cluster: which node has a key, and what its redirections say. What a node redirects it has not charged."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

from redis.crc import key_slot

from ._pool import Pool
from ._resp import encode, pack
from ._stream import Streams
from .errors import RateLimitError, ServerError, UnansweredError

Node = TypeVar("Node", Pool, Streams)
Address = tuple[str, int]

PAUSE_S = 0.05  # between two tries at keys that are half moved
REFRESH_S = 0.2  # no node is asked for the map more often
MAX_TRIES = 16
_MAP = pack(["CLUSTER", "SLOTS"])


class _To(NamedTuple):
    """Where to send, what, and how many replies that has."""

    address: Address
    data: bytes
    replies: int


class _Slots(Generic[Node]):
    def __init__(
        self,
        make: Callable[[str, int], Node],
        seeds: Sequence[Address],
        remap: Callable[[Address], Address] | None,
    ):
        self._make: Callable[[str, int], Node] = make
        self._seeds = list(seeds)
        self._remap = remap or (lambda address: address)
        self._nodes: dict[Address, Node] = {}
        self._primaries: list[Address] = []
        self._owner: dict[int, Address] = {}
        self._is_stale = True
        self._refresh_at = 0.0
        self._turn = 0

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, self._make(*address))
        return node

    def _to_refresh(self) -> Address | None:
        """Whom to ask for the map now, if it is old: one after another, as any of them may be dead."""
        now = monotonic()
        if not self._is_stale or now < self._refresh_at:
            return None
        self._refresh_at = now + REFRESH_S
        known = list(dict.fromkeys([*self._primaries, *self._seeds]))
        self._turn += 1
        return known[self._turn % len(known)]

    def _learn(self, asked: Address, reply: Any) -> None:
        owner: dict[int, Address] = {}
        try:
            for first, last, primary, *_ in reply:
                host = primary[0].decode() if primary[0] else asked[0]
                owner.update(dict.fromkeys(range(first, last + 1), self._remap((host, primary[1]))))
        except (TypeError, ValueError, AttributeError):
            return
        if owner:
            self._owner, self._primaries, self._is_stale = owner, list(dict.fromkeys(owner.values())), False

    def _known_primaries(self) -> list[Address]:
        if not self._primaries:
            raise UnansweredError("connection", "no node of the cluster has answered")
        return self._primaries

    def _first(self, words: Sequence[str | int], key: str) -> tuple[int, _To]:
        slot = key_slot(encode(key))
        address = self._owner.get(slot) or (self._primaries or self._seeds)[0]
        return slot, _To(address, pack(words), 1)

    def _redirected(self, slot: int, to: _To, plain: bytes, error: RateLimitError) -> _To | None:
        """Where to send it next, if that is known."""
        if isinstance(error, UnansweredError):
            self._is_stale = True  # somebody else may have taken over
            return None
        code, _, rest = str(error).partition(" ")
        if code == "TRYAGAIN":
            return to
        if code == "CLUSTERDOWN" or code == "READONLY":
            self._is_stale = True
        if code not in ("MOVED", "ASK"):
            return None
        host, _, port = rest.partition(" ")[2].rpartition(":")
        target = self._remap((host or to.address[0], int(port)))
        if code == "ASK":
            return _To(target, pack(["ASKING"]) + plain, 2)
        self._owner[slot] = target
        self._is_stale = True
        return _To(target, plain, 1)

    def distrust(self) -> None:
        for node in list(self._nodes.values()):
            node.distrust()

    def close(self) -> None:
        for node in list(self._nodes.values()):
            node.close()


def _pauses(error: RateLimitError, left: float | None) -> bool:
    return isinstance(error, ServerError) and error.code == "TRYAGAIN" and (left is None or left > PAUSE_S)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(PAUSE_S, deadline - monotonic())


class Cluster(_Slots[Pool]):
    def _refresh(self, asked: Address, timeout_s: float | None) -> None:
        with suppress(RateLimitError):
            self._learn(asked, self._node(asked).exchange(_MAP, timeout_s))

    def nodes(self, timeout_s: float | None) -> list[Pool]:
        """The primaries."""
        if (asked := self._to_refresh()) is not None:
            self._refresh(asked, timeout_s)
        return [self._node(address) for address in self._known_primaries()]

    def ask(self, words: Sequence[str | int], key: str, timeout_s: float | None) -> Any:
        deadline = None if timeout_s is None else monotonic() + timeout_s
        if (asked := self._to_refresh()) is not None:
            self._refresh(asked, None if timeout_s is None else timeout_s / 2)  # the other half is the hit's
        slot, to = self._first(words, key)
        plain = to.data
        for _ in range(MAX_TRIES):
            try:
                return self._node(to.address).exchange(to.data, _left(deadline), to.replies)
            except RateLimitError as error:
                again = self._redirected(slot, to, plain, error)
                if again is None:
                    raise
                if again is to:
                    if not _pauses(error, _left(deadline)):
                        raise
                    time.sleep(PAUSE_S)
                to = again
        raise UnansweredError("connection", f"the cluster has redirected {MAX_TRIES} times")


class AsyncCluster(_Slots[Streams]):
    async def _refresh(self, asked: Address, timeout_s: float | None) -> None:
        with suppress(RateLimitError):
            self._learn(asked, await self._node(asked).exchange(_MAP, timeout_s))

    async def nodes(self, timeout_s: float | None) -> list[Streams]:
        if (asked := self._to_refresh()) is not None:
            await self._refresh(asked, timeout_s)
        return [self._node(address) for address in self._known_primaries()]

    async def ask(self, words: Sequence[str | int], key: str, timeout_s: float | None) -> Any:
        deadline = None if timeout_s is None else monotonic() + timeout_s
        if (asked := self._to_refresh()) is not None:
            await self._refresh(asked, None if timeout_s is None else timeout_s / 2)
        slot, to = self._first(words, key)
        plain = to.data
        for _ in range(MAX_TRIES):
            try:
                return await self._node(to.address).exchange(to.data, _left(deadline), to.replies)
            except RateLimitError as error:
                again = self._redirected(slot, to, plain, error)
                if again is None:
                    raise
                if again is to:
                    if not _pauses(error, _left(deadline)):
                        raise
                    await asyncio.sleep(PAUSE_S)
                to = again
        raise UnansweredError("connection", f"the cluster has redirected {MAX_TRIES} times")
