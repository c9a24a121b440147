"""A thread that does what is due, and ends when nothing is. Started when it is needed, so also after a fork."""

import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic

Work = Callable[[], float | None]  # seconds until it is due again; None: it is done


class Keeper:
    def __init__(self) -> None:
        self.reset()
        _keepers.add(self)

    def reset(self) -> None:
        """After a fork: neither the thread nor what it was to do is the child's."""
        self._changed = threading.Condition()
        self._due: dict[int, tuple[float, Work]] = {}
        self._next = 0
        self._is_running = False
        self._at_work: int | None = None

    def add(self, after_s: float, work: Work) -> int:
        with self._changed:
            self._next += 1
            entry = self._next
            self._due[entry] = (monotonic() + after_s, work)
            if self._is_running:
                self._changed.notify_all()
            else:
                self._is_running = True
                threading.Thread(target=self._run, args=(self._changed,), name="ratelimit-client-leases", daemon=True).start()
            return entry

    def remove(self, entry: int) -> None:
        """Waits for it, where it is being done."""
        with self._changed:
            self._due.pop(entry, None)
            self._changed.notify_all()
            while self._at_work == entry:
                self._changed.wait()

    def _run(self, changed: threading.Condition) -> None:
        with changed:
            while self._due:
                entry, (due, work) = min(self._due.items(), key=lambda item: item[1][0])
                left = due - monotonic()
                if left > 0:
                    changed.wait(left)
                    continue
                self._at_work = entry
                changed.release()
                pause = None
                try:
                    pause = work()
                finally:
                    changed.acquire()
                    self._at_work = None
                    changed.notify_all()
                    if pause is None:
                        self._due.pop(entry, None)
                    elif entry in self._due:
                        self._due[entry] = (monotonic() + pause, work)
            self._is_running = False


_keepers: "weakref.WeakSet[Keeper]" = weakref.WeakSet()


def _after_fork() -> None:
    for keeper in list(_keepers):
        keeper.reset()


os.register_at_fork(after_in_child=_after_fork)
