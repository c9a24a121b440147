"""Instructions per command, counted by callgrind.

The server runs under valgrind, its client beside it. LASTSAVE is the mark: callgrind writes out what it has counted and
starts anew each time that the server enters lastsaveCommand. Between the marks the client sends N1 and then N2 hits,
16 to a write, over 1,000 keys; (I2 - I1) / (N2 - N1) is free of the start-up, of the marks and of the warm-up.
"""

import itertools
import re

from rows import STEADY_GAP_MS, database
from server import Server

KEYS = 1000
PIPELINE = 16
WARM_UP = 2  # rounds over all keys: fills caches of the allocator, ends every rehash


class Callgrind(Server):
    def __init__(self, module, *options):
        self.parts = itertools.count(1)
        self.filled = set()
        # What scripts/matrix fetches is a script that becomes the server: callgrind has to go along.
        super().__init__(module, "--activerehashing", "no", *options, under=(
            "valgrind", "--tool=callgrind", "--trace-children=yes", "--dump-before=lastsaveCommand",
            "--callgrind-out-file={dir}/part"))
        # Else the keys of one row, expiring, are cleared away while another is counted.
        self.connection.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")

    def mark(self):
        """The file of what was counted since the mark before."""
        self.connection.call("LASTSAVE")
        part = self.dir / f"part.{next(self.parts)}"
        if not part.exists():
            raise SystemExit("callgrind wrote nothing at the mark: does this redis-server export its symbols?")
        return part

    def count(self):
        part = self.mark()
        with part.open() as lines:
            total = next(int(match[1]) for line in lines if (match := re.match(r"summary: (\d+)", line)))
        part.unlink()
        return total

    def prepare(self, row, logs):
        """Selects the row's database, its keys in their state, and warms up."""
        self.connection.call("SELECT", database(row))
        if row.log and (row.log == "steady" or row not in self.filled):
            logs.restore(row, self.connection, KEYS)
        elif row not in self.filled:
            self.connection.fill(row.state(), KEYS)
        self.filled.add(row)
        self.hit(row, WARM_UP)

    def hit(self, row, rounds):
        gap_ms = STEADY_GAP_MS if row.log == "steady" else 0
        self.connection.hits(row, KEYS, rounds, PIPELINE, gap_ms)

    def per_command(self, row, logs, rounds):
        """Instructions of one command; `rounds` are the two lengths, in rounds over all keys."""
        rounds = [times * row.period for times in rounds]
        self.prepare(row, logs)
        self.count()
        counts = []
        for times in rounds:
            self.hit(row, times)
            counts.append(self.count())
        return (counts[1] - counts[0]) / ((rounds[1] - rounds[0]) * KEYS)

    def entries(self, row):
        """How many entries the logs of a native row hold: the least and the most over some keys."""
        found = []
        for number in range(0, KEYS, 50):
            found += values(self.connection.call("RL.INFO", f"k:{number:012d}"), b"entries")
        return (min(found), max(found)) if found else None


def values(reply, field):
    """Every value that follows the field's name, however deep in the reply."""
    if not isinstance(reply, list):
        return []
    here = [after for name, after in zip(reply, reply[1:]) if name == field]
    return here + [value for item in reply for value in values(item, field)]
