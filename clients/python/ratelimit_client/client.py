"""The one place that knows Redis clients: how a connection of the package's own is made from each.

The application's client is never asked to send a command: by its defaults it would send one again whose reply was lost, and
charge twice. Taken from it are its address, its credentials and its TLS.
"""

import asyncio
import socket
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

from redis.backoff import NoBackoff
from redis.retry import Retry

from ._cluster import AsyncCluster, Cluster
from ._pool import DIAL_S, Pool
from ._stream import Dialled, Streams
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


# What redis-py and valkey-py give a connection that ours must not have: ways to send again, and notices between replies.
_LEFT_OUT = (
    "cache",
    "cache_config",
    "command_packer",
    "event_dispatcher",
    "health_check_interval",
    "himport_registry",
    "legacy_responses",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "maintenance_notification_hash",
    "maintenance_state",
    "max_connections",
    "orig_host_address",
    "orig_socket_connect_timeout",
    "orig_socket_timeout",
    "oss_cluster_maint_notifications_handler",
    "parser_class",
    "response_callbacks",
    "retry_on_error",
    "retry_on_timeout",
)


def _made(connection_class: Any, given: dict[str, Any], pool: Any = None) -> Callable[..., Any]:
    kwargs = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    kwargs.update(protocol=2, decode_responses=False, encoding="utf-8")
    if connection_class.__module__.startswith("redis."):
        kwargs["retry"] = Retry(NoBackoff(), 0)
    else:
        kwargs.pop("retry", None)  # valkey-py's default is none
    for name in ("socket_timeout", "socket_connect_timeout"):
        kwargs[name] = min(kwargs.get(name) or DIAL_S, DIAL_S)
    # The pool is kept, as Sentinel's connections refer to theirs weakly.
    return lambda pool=pool, **address: connection_class(**{**kwargs, **address})


def _like(pool: Any) -> Callable[..., Any]:
    return _made(pool.connection_class, pool.connection_kwargs, pool)


def _dial(make: Callable[..., Any], address: dict[str, Any]) -> socket.socket:
    connection = make(**address)
    connection.connect()
    sock: socket.socket = connection._sock
    connection._sock = None
    return sock


async def _dial_async(make: Callable[..., Any], address: dict[str, Any]) -> Dialled:
    connection = make(**address)
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    writer: asyncio.StreamWriter = connection._writer
    connection._reader = connection._writer = None
    transport: Any = writer.transport
    return transport, writer


def _pool(make: Callable[..., Any], **address: Any) -> Pool:
    return Pool(lambda: _dial(make, address))


def _streams(make: Callable[..., Any], **address: Any) -> Streams:
    return Streams(lambda: _dial_async(make, address))


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
        make = _like(node.connection_pool)
        remap = getattr(client.nodes_manager, "address_remap", None)
        return Cluster(lambda host, port: _pool(make, host=host, port=port), _addresses(client), remap)
    if hasattr(client, "connection_pool") and not hasattr(client, "command_stack"):
        return _pool(_like(client.connection_pool))
    if callable(client):
        return Function(client)
    raise _expected(kind, client)


def _async_link(client: Any) -> AsyncLink:
    kind = "an asyncio client of redis-py or valkey-py, or an async function"
    if hasattr(client, "execute_command") and not _is_async(client):
        raise TypeError(f"client: expected {kind}, got a client for threads: {client!r}. Limiter and Leaser take it")
    if hasattr(client, "nodes_manager"):
        given = dict(client.connection_kwargs)
        make = _made(given.pop("connection_class"), given)
        remap = getattr(client.nodes_manager, "address_remap", None)
        return AsyncCluster(lambda host, port: _streams(make, host=host, port=port), _addresses(client), remap)
    if hasattr(client, "connection_pool") and not hasattr(client, "command_stack"):
        return _streams(_like(client.connection_pool))
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
