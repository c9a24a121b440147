"""Where the run is, on standard error: a line that is rewritten on a terminal, one line a step elsewhere."""

import sys
import time


class Progress:
    def __init__(self, steps):
        self.steps, self.done, self.started = steps, 0, time.monotonic()

    def step(self, text):
        self.done += 1
        total = max(self.steps, self.done)
        filled = 20 * self.done // total
        line = f"[{'#' * filled}{'.' * (20 - filled)}] {self.done}/{total} {time.monotonic() - self.started:4.0f} s  {text}"
        if sys.stderr.isatty():
            print(f"\r\033[K{line[:150]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self):
        print(f"{chr(10) if sys.stderr.isatty() else ''}done in {time.monotonic() - self.started:.0f} s", file=sys.stderr)
