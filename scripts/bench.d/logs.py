"""Keys whose log is in use: a hundred entries, each of its own millisecond, made once and copied to every key.

A limiter in its steady state takes a whole window to grow. So one key for each such row is hit at an even pace on a
server beside the measured one, from the start, and DUMP and RESTORE carry it over when the row's turn comes.
"""

import threading
import time

from rows import STEADY_ENTRIES, STEADY_GAP_MS, database
from server import Server, Template


class Logs:
    def __init__(self, module, rows):
        self.server = Server(module)
        self.steady = [row for row in rows if row.log == "steady" and self.server.refusal(row) is None]
        self.bursts = set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.failure = None
        self.started = time.monotonic()
        self.thread = threading.Thread(target=self.pace, daemon=True)
        self.thread.start()

    def pace(self):
        beat = 0
        try:
            while not self.stopping.wait(max(0, self.started + beat * STEADY_GAP_MS / 1000 - time.monotonic())):
                beat += 1
                for row in self.steady:
                    self.hit(row)
        except Exception as error:  # reported where the log is asked for
            self.failure = error

    def hit(self, row):
        with self.lock:
            connection = self.server.connection
            connection.call("SELECT", database(row))
            connection.socket.sendall(Template(row.state()[0]).command(0))
            connection.reply()

    def ready_in(self):
        """Seconds until the steady logs have filled their window."""
        return max(0.0, self.started + STEADY_ENTRIES * STEADY_GAP_MS / 1000 + 1 - time.monotonic())

    def restore(self, row, connection, keys):
        """Gives `keys` keys of the selected database the row's log."""
        if row.log == "steady":
            time.sleep(self.ready_in())
        elif row not in self.bursts:
            self.bursts.add(row)
            for _ in range(STEADY_ENTRIES):
                self.hit(row)
                time.sleep(0.0011)
        if self.failure:
            raise self.failure
        with self.lock:
            seed = self.server.connection
            seed.call("SELECT", database(row))
            payload, ttl_ms = seed.call("DUMP", "k:000000000000"), seed.call("PTTL", "k:000000000000")
        connection.fill([("RESTORE", "k:__rand_int__", str(ttl_ms), payload, "REPLACE")], keys)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.server.stop()
