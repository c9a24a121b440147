"""How a connection of the package's own is made from a client of redis-py or valkey-py.

The application's client is never asked to send a command: by its defaults it would send one again whose reply was lost, and
charge twice. Taken from it are its address, its credentials and its TLS, or whom to ask for its address.
"""

import asyncio
import copy
import socket
from collections.abc import Callable
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from ._pool import DIAL_S, Pool
from ._stream import Dialled, Streams

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


def _once(connection_class: Any, given: dict[str, Any], within_s: float) -> dict[str, Any]:
    """The arguments of a connection that is tried once."""
    kwargs = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    if any(base.__module__.startswith("redis.") for base in connection_class.__mro__):
        kwargs["retry"] = Retry(NoBackoff(), 0)
    else:
        kwargs.pop("retry", None)  # valkey-py's default is none
    for name in ("socket_timeout", "socket_connect_timeout"):
        kwargs[name] = min(kwargs.get(name) or within_s, within_s)
    return kwargs


def made(connection_class: Any, given: dict[str, Any]) -> Callable[..., Any]:
    kwargs = _once(connection_class, given, DIAL_S)
    kwargs.update(protocol=2, decode_responses=False, encoding="utf-8")
    return lambda **address: connection_class(**{**kwargs, **address})


def like(known: Any, service: "type[_Service]") -> Callable[..., Any]:
    """From the pool of a client's."""
    make = made(known.connection_class, known.connection_kwargs)
    if not hasattr(known, "sentinel_manager"):
        return make
    if not known.is_master:
        raise TypeError(f"client: expected Sentinel's master_for(), got slave_for(), and a replica counts nothing: {known!r}")
    asked = service(known)
    return lambda **address: make(connection_pool=asked, **address)


class _Service:
    """Stands for the pool of a client of Sentinel's where a connection is made.

    The sentinels are asked by connections of this one time: those of the application's client belong to an event loop, and are
    tried for seconds where a sentinel is dead.
    """

    is_master = True

    def __init__(self, known: Any):
        self.service_name = known.service_name
        self.check_connection = known.check_connection
        self._manager = known.sentinel_manager
        self._sentinels = list(self._manager.sentinels)  # the one that answered last is the first
        self._within_s = DIAL_S / (len(self._sentinels) + 1)

    def _alone(self, sentinel: Any) -> tuple[Any, Any]:
        """What asks only this one, and its connections."""
        known = sentinel.connection_pool
        given = _once(known.connection_class, known.connection_kwargs, self._within_s)
        own = type(known)(connection_class=known.connection_class, **given)
        manager = copy.copy(self._manager)
        manager.sentinels = [type(sentinel)(connection_pool=own)]
        return manager, own

    def _answered(self, sentinel: Any) -> None:
        self._sentinels = [sentinel, *(one for one in self._sentinels if one is not sentinel)]

    def _nobody(self, failed: list[Exception]) -> Exception:
        said = sorted({f": {error}" for error in failed if type(error).__name__ != "MasterNotFoundError"})
        return ConnectionError(f"none of {len(failed)} sentinels could say where {self.service_name!r} is{''.join(said)}")


class Service(_Service):
    def get_master_address(self) -> Any:
        failed = []
        for sentinel in self._sentinels:
            manager, own = self._alone(sentinel)
            try:
                address = manager.discover_master(self.service_name)
                self._answered(sentinel)
                return address
            except Exception as error:  # another one may know
                failed.append(error)
            finally:
                own.disconnect()
        raise self._nobody(failed)


class AsyncService(_Service):
    async def get_master_address(self) -> Any:
        failed = []
        for sentinel in self._sentinels:
            manager, own = self._alone(sentinel)
            try:
                address = await manager.discover_master(self.service_name)
                self._answered(sentinel)
                return address
            except Exception as error:
                failed.append(error)
            finally:
                await own.disconnect()
        raise self._nobody(failed)


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


def pool_of(make: Callable[..., Any], **address: Any) -> Pool:
    return Pool(lambda: _dial(make, address))


def streams_of(make: Callable[..., Any], **address: Any) -> Streams:
    return Streams(lambda: _dial_async(make, address))
