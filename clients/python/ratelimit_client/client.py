"""What an application passes as its client, and the link of the package's own that is made from it."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

from . import _dial
from ._cluster import AsyncCluster, Cluster
from .local import LocalEngine

Words = Sequence[str | int]


class Link(Protocol):
    """Sends a command once, or never, and gives the reply within so many seconds; raises the errors of ``errors.py``."""

    def ask(self, words: Words, key: str, timeout_s: float | None) -> Any: ...
    def nodes(self, timeout_s: float | None) -> "Sequence[Link]": ...
    def distrust(self) -> None: ...
    def close(self) -> None: ...


class AsyncLink(Protocol):
    def ask(self, words: Words, key: str, timeout_s: float | None) -> Awaitable[Any]: ...
    async def nodes(self, timeout_s: float | None) -> "Sequence[AsyncLink]": ...
    def distrust(self) -> None: ...
    def close(self) -> None: ...


class Function:
    """A function ``(words, key) -> reply`` of the application's, which then has to see to the deadline and to sending once."""

    def __init__(self, function: Callable[[Words, str], Any]):
        self._function = function

    def ask(self, words: Words, key: str, timeout_s: float | None) -> Any:
        return self._function(words, key)

    def nodes(self, timeout_s: float | None) -> Sequence[Link]:
        return [self]

    def distrust(self) -> None:
        pass

    def close(self) -> None:
        pass


class AsyncFunction:
    def __init__(self, function: Callable[[Words, str], Awaitable[Any]]):
        self._function = function

    async def ask(self, words: Words, key: str, timeout_s: float | None) -> Any:
        async with asyncio.timeout(timeout_s):
            return await self._function(words, key)

    async def nodes(self, timeout_s: float | None) -> Sequence[AsyncLink]:
        return [self]

    def distrust(self) -> None:
        pass

    def close(self) -> None:
        pass


def _is_async(client: object) -> bool:
    return any(".asyncio" in base.__module__ for base in type(client).__mro__)


def _expected(kind: str, client: object) -> TypeError:
    return TypeError(f"client: expected {kind}, got {client!r}")


def _addresses(client: Any) -> list[tuple[str, int]]:
    return [(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()]


def _sync_link(client: Any) -> Link:
    kind = "a client of redis-py or valkey-py, or a function"
    if _is_async(client):
        raise TypeError(f"client: expected {kind}, got an asyncio client: {client!r}. AsyncLimiter and AsyncLeaser take it")
    if hasattr(client, "nodes_manager"):
        manager = client.nodes_manager
        create = getattr(manager, "create_redis_node", None) or manager.create_valkey_node
        node = create("127.0.0.1", 6379, **manager.connection_kwargs)
        make = _dial.like(node.connection_pool, _dial.Service)
        remap = getattr(client.nodes_manager, "address_remap", None)
        return Cluster(lambda host, port: _dial.pool_of(make, host=host, port=port), _addresses(client), remap)
    if hasattr(client, "connection_pool") and not hasattr(client, "command_stack"):
        return _dial.pool_of(_dial.like(client.connection_pool, _dial.Service))
    if callable(client):
        return Function(client)
    raise _expected(kind, client)


def _async_link(client: Any) -> AsyncLink:
    kind = "an asyncio client of redis-py or valkey-py, or an async function"
    if hasattr(client, "execute_command") and not _is_async(client):
        raise TypeError(f"client: expected {kind}, got a client for threads: {client!r}. Limiter and Leaser take it")
    if hasattr(client, "nodes_manager"):
        given = dict(client.connection_kwargs)
        make = _dial.made(given.pop("connection_class"), given)
        remap = getattr(client.nodes_manager, "address_remap", None)
        return AsyncCluster(lambda host, port: _dial.streams_of(make, host=host, port=port), _addresses(client), remap)
    if hasattr(client, "connection_pool") and not hasattr(client, "command_stack"):
        return _dial.streams_of(_dial.like(client.connection_pool, _dial.AsyncService))
    if isinstance(client, LocalEngine):
        return AsyncFunction(client.call_async)
    if callable(client):
        return AsyncFunction(cast("Callable[..., Any]", client))
    raise _expected(kind, client)


# One for each client, however many limiters use it.
_links: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def _known(client: Any, make: Callable[[Any], Any]) -> Any:
    if not hasattr(client, "execute_command"):
        return make(client)
    found = _links.get(client)
    if found is None:
        found = _links[client] = make(client)
    return found


def link_of(client: Any) -> Link:
    if _is_async(client):
        return _sync_link(client)  # refused
    link: Link = _known(client, _sync_link)
    return link


def async_link_of(client: Any) -> AsyncLink:
    if hasattr(client, "execute_command") and not _is_async(client):
        return _async_link(client)  # refused
    link: AsyncLink = _known(client, _async_link)
    return link
