"""What is asked of a client of redis-py, when it must have answered, and what its errors mean."""

import asyncio
import os
import queue
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Protocol, TypeVar

from redis.exceptions import AuthenticationError, RedisError, ResponseError, SlotNotCoveredError

from .plan import OnError

T = TypeVar("T")


class Client(Protocol):
    """redis.Redis and redis.RedisCluster."""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...


class AsyncClient(Protocol):
    """redis.asyncio.Redis and redis.asyncio.RedisCluster."""

    def execute_command(self, *args: Any, **options: Any) -> Awaitable[Any]: ...


# Where another try may succeed. All else that the server refuses is a mistake in the call or in the set-up.
_AWAY = {"LOADING", "BUSY", "OOM", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"}


def is_refusal(error: Exception) -> bool:
    if isinstance(error, AuthenticationError):
        return True
    code = re.match(r"([A-Z]+) ", str(error))
    # redis-py takes the code off some errors and makes a class of it; a class other than ResponseError itself is named so.
    named = type(error).__name__ in ("ReadOnlyError", "OutOfMemoryError", "ClusterDownError", "MasterDownError", "TryAgainError")
    return isinstance(error, ResponseError) and not named and not (code is not None and code[1] in _AWAY)


def or_instead(error: Exception, on_error: OnError, instead: Callable[[Exception], T]) -> T:
    """A refusal is raised; any other failure is told to ``on_error``, and ``instead`` stands for an answer."""
    if is_refusal(error):
        raise error
    on_error(error)
    return instead(error)


FAILURES = (RedisError, OSError, TimeoutError)


def _late(timeout_s: float) -> TimeoutError:
    return TimeoutError(f"no answer from Redis within {timeout_s * 1000:.0f} ms")


class _Workers:
    """Threads that send, so that the caller can stop waiting: a blocking socket knows no deadline for the whole.

    They are daemons: a server that never answers must not keep the process from ending.
    """

    def __init__(self, most: int = 64):
        self._most = most
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._started = 0
        self._idle = 0
        self._lock = threading.Lock()

    def run(self, work: Callable[[], Any], timeout_s: float) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            if self._idle == 0 and self._started < self._most:
                self._started += 1
                threading.Thread(target=self._work, name="ratelimit-client", daemon=True).start()
            else:
                self._idle = max(0, self._idle - 1)
        self._jobs.put((future, work))
        try:
            return future.result(timeout_s)
        except FutureTimeoutError:
            if future.done():  # the work itself timed out
                raise
            future.cancel()  # what no thread has begun is not sent any more, and so not counted later
            raise _late(timeout_s) from None

    def _work(self) -> None:
        while True:
            future, work = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work
            with self._lock:
                self._idle += 1


_workers = _Workers()


def _after_fork() -> None:  # threads do not survive a fork, as of gunicorn's workers
    global _workers
    _workers = _Workers()


os.register_at_fork(after_in_child=_after_fork)


def _told(client: Any, args: list[str | int]) -> dict[str, Any]:
    """A cluster's node for a call of several keys. By itself redis-py asks one node where such a command has its keys, and
    fails for as long as that one is away. Before the cluster is known there is none to tell."""
    if args[0] not in ("RL.ALL", "RL.PEEKALL") or not hasattr(client, "get_node_from_key"):
        return {}
    try:
        return {"target_nodes": client.get_node_from_key(args[2])}
    except SlotNotCoveredError:
        return {}


def ask(client: Client, args: list[str | int], timeout_s: float | None) -> Any:
    def send() -> Any:
        return client.execute_command(*args, **_told(client, args))

    return send() if timeout_s is None else _workers.run(send, timeout_s)


async def ask_async(client: AsyncClient, args: list[str | int], timeout_s: float | None) -> Any:
    if timeout_s is None:
        return await client.execute_command(*args, **_told(client, args))
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            return await client.execute_command(*args, **_told(client, args))
    except TimeoutError:
        if deadline.expired():
            raise _late(timeout_s) from None
        raise
