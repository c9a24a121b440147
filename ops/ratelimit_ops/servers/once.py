"""What is costly to collect is collected once at a time, and stands for a moment for all who ask."""

import collections
import threading
import time

MAX_KEYS = 64


class Once:
    """Of `collect(key)`: who asks while it is being collected waits for that and gets the same, a failure included."""

    def __init__(self, collect, seconds):
        self.collect, self.seconds = collect, seconds
        self.lock = threading.Lock()
        self.entries = collections.OrderedDict()
        self.generation = 0

    def get(self, key=None):
        with self.lock:
            entry = self.entries.setdefault(key, Entry())
            self.entries.move_to_end(key)
            if len(self.entries) > MAX_KEYS:
                self.entries.popitem(last=False)
        with entry.lock:
            if entry.generation != self.generation or time.monotonic() >= entry.until:
                generation = self.generation
                try:
                    entry.value, entry.error = self.collect(key), None
                except Exception as error:
                    entry.value, entry.error = None, error
                entry.generation, entry.until = generation, time.monotonic() + self.seconds
            if entry.error is not None:
                raise entry.error
            return entry.value

    def forget(self):
        """What has been collected, or is being collected now, is out of date."""
        self.generation += 1


class Entry:
    def __init__(self):
        self.lock = threading.Lock()
        self.generation, self.until = -1, 0.0
        self.value = self.error = None
