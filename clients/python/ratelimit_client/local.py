"""The module's own commands in this process, without a server: the engine as WebAssembly, run by wasmtime.

``pip install ratelimit-client[local]``. It is the same code as the server's, so replies are too; keys are in memory, and the clock
is whatever the caller gives.
"""

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ._check import integer, wrong
from ._resp import ErrorReply, encode, parse
from .errors import RateLimitError, Reason, RefusedError, refusal_of

MAX_REQUEST_BYTES = 4 << 20


class EngineStoppedError(RateLimitError):
    """The engine has met a fault of its own and answers no more: what it has counted is not to be trusted."""

    reason: Reason = "server"


def _now() -> float:
    return time.time_ns() // 1_000_000


_engines: "weakref.WeakSet[LocalEngine]" = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.forked()


os.register_at_fork(after_in_child=_after_fork)


@cache
def _compiled(file: Path) -> tuple[Any, Any]:
    import wasmtime

    if not file.exists():
        raise FileNotFoundError(f"no engine at {file}: in a checkout scripts/engine builds it and prints where it is")
    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, file.read_bytes())


class LocalEngine:
    """A client for ``Limiter``, ``AsyncLimiter``, ``Leaser``, ``Admin`` and the rest, with keys and policies of its own. Threads may
    share it.

    >>> now = 1_800_000_000_000
    >>> limiter = Limiter(LocalEngine(now=lambda: now), algorithm="fixed", limits=Window(1000, "1mo"))
    """

    def __init__(self, *, now: Callable[[], float] = _now, max_keys: int = 100_000):
        """
        :param now: the time, in Unix milliseconds: a test's own, that it moves as it likes
        :param max_keys: the most keys that are kept. When it is full, keys that have expired make room; where none has, a hit on
            a new key is refused
        """
        if not callable(now):
            raise wrong("now", "a function that gives Unix milliseconds", now)
        if integer("max_keys", max_keys, 1) >= 1 << 31:
            raise wrong("max_keys", "less than 2^31", max_keys)
        import wasmtime

        engine, module = _compiled(Path(__file__).with_name("engine.wasm"))
        self._now = now
        self._lock = threading.Lock()
        _engines.add(self)
        self._stopped: EngineStoppedError | None = None
        self._store = wasmtime.Store(engine)
        exports: Any = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = exports["memory"]
        self._request, self._call, self._reply = (exports[f"ratelimit_{name}"] for name in ("request", "call", "reply"))
        exports["ratelimit_start"](self._store, max_keys, *(secrets.randbelow(1 << 31) for _ in range(4)))

    def __call__(self, words: Sequence[str | int], key: str = "") -> Any:
        """Runs a command. Raises what a server would answer as an error."""
        encoded = [encode(word) if isinstance(word, str) else str(word).encode() for word in words]
        request = b"".join(len(word).to_bytes(4, "little") + word for word in encoded)
        if len(request) > MAX_REQUEST_BYTES:
            raise RefusedError(f"ERR a command of {len(request)} bytes: expected at most {MAX_REQUEST_BYTES}")
        now = float(self._now())
        with self._lock:
            data = self._run(request, now)
        reply, _ = parse(data)
        if isinstance(reply, ErrorReply):
            raise refusal_of(reply)
        return reply

    @property
    def is_stopped(self) -> bool:
        return self._stopped is not None

    def forked(self) -> None:
        """In a child process, where a thread that was in the middle of a call is none."""
        if self._lock.locked():
            self._stopped = EngineStoppedError("the process was forked in the middle of a call of the engine")
            self._lock = threading.Lock()

    async def call_async(self, words: Sequence[str | int], key: str = "") -> Any:
        return self(words, key)

    def _run(self, request: bytes, now: float) -> bytes:
        if self._stopped is not None:
            raise self._stopped
        store = self._store
        try:
            at = self._request(store, len(request))
            self._memory.write(store, request, at)
            length = self._call(store, now)
            at = self._reply(store)
            return bytes(self._memory.read(store, at, at + length))
        except Exception as cause:
            self._stopped = EngineStoppedError("the engine in this process has stopped")
            raise self._stopped from cause


def local_engine(*, now: Callable[[], float] = _now, max_keys: int = 100_000) -> LocalEngine:
    """See ``LocalEngine``."""
    return LocalEngine(now=now, max_keys=max_keys)
