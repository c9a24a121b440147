"""A storage for ``limits``, and so for Flask-Limiter and slowapi: one import, and another URI.

>>> import ratelimit_client.limits
>>> Limiter(get_remote_address, app=app, storage_uri="ratelimit://localhost:6379", strategy="moving-window")

``ratelimit://`` and ``ratelimits://`` (TLS) as redis:// and rediss://, ``ratelimit+unix://``,
``ratelimit+sentinel://host:port,host:port/service``, ``ratelimit+cluster://host:port,host:port``; for asyncio with
``async+`` before them. Options that are not named here are redis-py's.

``moving-window`` and ``sliding-window-counter`` are one exact sliding log, in which a denied hit counts nothing. To
``fixed-window`` the library does not say the limit, so it counts denied hits too, as the library's own storages do; its
windows begin by the clock.
"""

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from limits.aio.storage import MovingWindowSupport as AsyncMovingWindowSupport
from limits.aio.storage import SlidingWindowCounterSupport as AsyncSlidingWindowCounterSupport
from limits.aio.storage import Storage as AsyncStorage
from limits.errors import ConfigurationError
from limits.storage import MovingWindowSupport, SlidingWindowCounterSupport, Storage

from ._check import integer, wrong
from .client import async_link_of, link_of
from .errors import RateLimitError

_SCHEMES = ["ratelimit", "ratelimits", "ratelimit+unix", "ratelimit+sentinel", "ratelimit+cluster"]
_MOST = 2**53 - 1
Words = list[str | int]


def _client(uri: str, asyncio: bool, options: dict[str, Any]) -> Any:
    """The client that redis-py makes of the rest of the URI."""
    scheme, _, rest = uri.removeprefix("async+").partition("://")
    url = urlsplit(f"redis://{rest}")
    module: Any = redis.asyncio if asyncio else redis
    if scheme == "ratelimit+cluster":
        nodes = [_address(one, 6379) for one in url.netloc.rpartition("@")[2].split(",")]
        node: Any = module.cluster.ClusterNode
        return module.RedisCluster(startup_nodes=[node(*address) for address in nodes], **_login(url), **options)
    if scheme == "ratelimit+sentinel":
        service = url.path.strip("/") or options.pop("service_name", None)
        if not service:
            raise ConfigurationError("ratelimit+sentinel: expected the service's name at the end: host:26379/mymaster")
        sentinels = [_address(one, 26379) for one in url.netloc.rpartition("@")[2].split(",")]
        given = {**_login(url), **options.pop("sentinel_kwargs", {})}
        return module.sentinel.Sentinel(sentinels, sentinel_kwargs=given, **_login(url), **options).master_for(service)
    kind = {"ratelimit": "redis", "ratelimits": "rediss", "ratelimit+unix": "unix"}[scheme]
    return module.from_url(f"{kind}://{rest}", **options)


def _address(written: str, port: int) -> tuple[str, int]:
    one = urlsplit(f"//{written}")
    if not one.hostname:
        raise ConfigurationError(f"expected host:port, got {written!r}")
    return one.hostname, one.port or port


def _login(url: Any) -> dict[str, str]:
    found = {"username": url.username, "password": url.password}
    return {name: unquote(value) for name, value in found.items() if value}


def _fields(reply: Any) -> dict[bytes, Any]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


class _Keys:
    """What is sent for each call, and what its reply says."""

    def __init__(self, key_prefix: str, timeout_ms: int):
        self._prefix = key_prefix
        self.timeout_s = integer("timeout_ms", timeout_ms, 1) / 1000
        if not isinstance(key_prefix, str) or not key_prefix:
            raise wrong("key_prefix", "a non-empty string", key_prefix)

    def fixed(self, key: str) -> str:
        return f"{self._prefix}:fixed:{key}"

    def sliding(self, key: str) -> str:
        return f"{self._prefix}:sliding:{key}"

    def scan(self, cursor: str) -> Words:
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in self._prefix)
        return ["SCAN", cursor, "MATCH", f"{pattern}:*", "COUNT", 1000]

    def count(self, key: str, expiry: int, amount: int) -> Words:
        return ["RL.FIXED", self.fixed(key), _MOST, f"{expiry}s", "COST", amount]

    def acquire(self, key: str, limit: int, expiry: int, amount: int) -> Words:
        return ["RL.SLIDING", self.sliding(key), limit, f"{expiry}s", "COST", amount]

    def look(self, key: str, limit: int, expiry: int, amount: int) -> Words:
        return ["RL.PEEK", "SLIDING", self.sliding(key), limit, f"{expiry}s", "COST", amount]


def _counted(reply: Any) -> int:
    return int(reply[1]) - int(reply[2])


def _held(info: Any) -> tuple[int, int, float]:
    """The limit, how much of it is used, and the seconds until nothing is. A key of ours has one limit."""
    if info is None:
        return 0, 0, 0.0
    one = _fields(_fields(info)[b"limits"][0])
    return int(one[b"limit"]), int(one[b"used"]), int(one[b"reset_after_ms"]) / 1000


def _window(used: int, next_ms: int, expiry: int) -> tuple[float, int]:
    """Where the window begins that ends when the oldest entry leaves it."""
    return time.time() - expiry + next_ms / 1000, used


def _sliding_window(used: int, next_ms: int, expiry: int) -> tuple[int, float, int, float]:
    return 0, 0.0, used, min(next_ms / 1000, expiry * (1 - 1e-9))  # the library takes it modulo the window


class RatelimitStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """A storage of ``limits``, for Flask-Limiter and slowapi: ``ratelimit://``."""

    STORAGE_SCHEME: list[str] | None = _SCHEMES

    def __init__(
        self,
        uri: str,
        wrap_exceptions: bool = False,
        key_prefix: str = "LIMITS",
        timeout_ms: int = 1000,
        **options: Any,
    ):
        """
        :param timeout_ms: how long Redis may take to answer. Later is an error, and the application's setting for errors of
            its storage decides (Flask-Limiter: ``swallow_errors``, ``in_memory_fallback``)
        """
        super().__init__(uri, wrap_exceptions)
        self._keys = _Keys(key_prefix, timeout_ms)
        self._link = link_of(_client(uri, False, options))

    @property
    def base_exceptions(self) -> type[Exception]:
        return RateLimitError

    def _ask(self, words: Words, key: str) -> Any:
        return self._link.ask(words, key, self._keys.timeout_s)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return _counted(self._ask(self._keys.count(key, expiry, amount), self._keys.fixed(key)))

    def get(self, key: str) -> int:
        return self._info(self._keys.fixed(key))[1]

    def get_expiry(self, key: str) -> float:
        return time.time() + self._info(self._keys.fixed(key))[2]

    def _info(self, full: str) -> tuple[int, int, float]:
        return _held(self._ask(["RL.INFO", full], full))

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool(self._ask(self._keys.acquire(key, limit, expiry, amount), self._keys.sliding(key))[0] == 1)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        full = self._keys.sliding(key)
        reply = self._ask(self._keys.look(key, limit, expiry, 0), full)
        if not (used := _counted(reply)):
            return time.time(), 0
        following = self._ask(self._keys.look(key, limit, expiry, reply[2] + 1), full)  # when one more would remain
        return _window(used, following[3], expiry)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool(self._ask(self._keys.acquire(key, limit, expiry, amount), self._keys.sliding(key))[0] == 1)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        full = self._keys.sliding(key)
        limit, used, _ = self._info(full)
        if not used:
            return 0, 0.0, 0, 0.0
        following = self._ask(self._keys.look(key, limit, expiry, max(0, limit - used) + 1), full)
        return _sliding_window(used, following[3], expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        self._delete([self._keys.sliding(key)])

    def clear(self, key: str) -> None:
        self._delete([self._keys.fixed(key), self._keys.sliding(key)])

    def _delete(self, keys: Sequence[str]) -> int:
        return sum(int(self._ask(["DEL", key], key)) for key in keys)

    def check(self) -> bool:
        try:
            return bool(self._ask(["PING"], "") == b"PONG")
        except RateLimitError:
            return False

    def reset(self) -> int | None:
        deleted = 0
        for node in self._link.nodes(self._keys.timeout_s):
            cursor = "0"
            while True:
                found, keys = node.ask(self._keys.scan(cursor), "", self._keys.timeout_s)
                deleted += self._delete([key.decode("utf-8", "surrogatepass") for key in keys])
                if (cursor := found.decode()) == "0":
                    break
        return deleted


class AsyncRatelimitStorage(AsyncStorage, AsyncMovingWindowSupport, AsyncSlidingWindowCounterSupport):
    """As ``RatelimitStorage``."""

    STORAGE_SCHEME: list[str] | None = [f"async+{scheme}" for scheme in _SCHEMES]

    def __init__(
        self,
        uri: str,
        wrap_exceptions: bool = False,
        key_prefix: str = "LIMITS",
        timeout_ms: int = 1000,
        **options: Any,
    ):
        super().__init__(uri, wrap_exceptions)
        self._keys = _Keys(key_prefix, timeout_ms)
        self._link = async_link_of(_client(uri, True, options))

    @property
    def base_exceptions(self) -> type[Exception]:
        return RateLimitError

    async def _ask(self, words: Words, key: str) -> Any:
        return await self._link.ask(words, key, self._keys.timeout_s)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return _counted(await self._ask(self._keys.count(key, expiry, amount), self._keys.fixed(key)))

    async def get(self, key: str) -> int:
        return (await self._info(self._keys.fixed(key)))[1]

    async def get_expiry(self, key: str) -> float:
        return time.time() + (await self._info(self._keys.fixed(key)))[2]

    async def _info(self, full: str) -> tuple[int, int, float]:
        return _held(await self._ask(["RL.INFO", full], full))

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool((await self._ask(self._keys.acquire(key, limit, expiry, amount), self._keys.sliding(key)))[0] == 1)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        full = self._keys.sliding(key)
        reply = await self._ask(self._keys.look(key, limit, expiry, 0), full)
        if not (used := _counted(reply)):
            return time.time(), 0
        following = await self._ask(self._keys.look(key, limit, expiry, reply[2] + 1), full)
        return _window(used, following[3], expiry)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return bool((await self._ask(self._keys.acquire(key, limit, expiry, amount), self._keys.sliding(key)))[0] == 1)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        full = self._keys.sliding(key)
        limit, used, _ = await self._info(full)
        if not used:
            return 0, 0.0, 0, 0.0
        following = await self._ask(self._keys.look(key, limit, expiry, max(0, limit - used) + 1), full)
        return _sliding_window(used, following[3], expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        await self._delete([self._keys.sliding(key)])

    async def clear(self, key: str) -> None:
        await self._delete([self._keys.fixed(key), self._keys.sliding(key)])

    async def _delete(self, keys: Sequence[str]) -> int:
        return sum([int(await self._ask(["DEL", key], key)) for key in keys])

    async def check(self) -> bool:
        try:
            return bool(await self._ask(["PING"], "") == b"PONG")
        except RateLimitError:
            return False

    async def reset(self) -> int | None:
        deleted = 0
        for node in await self._link.nodes(self._keys.timeout_s):
            cursor = "0"
            while True:
                found, keys = await node.ask(self._keys.scan(cursor), "", self._keys.timeout_s)
                deleted += await self._delete([key.decode("utf-8", "surrogatepass") for key in keys])
                if (cursor := found.decode()) == "0":
                    break
        return deleted
