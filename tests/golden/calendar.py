"""Where the calendar's windows begin, by Python's zoneinfo: a digest of a century of boundaries per zone and window.

calendar.py DIRECTORY ZONE... everywhere ZONE...: the directory has the zones' TZif files; of those behind "everywhere" one
window is asked for, of the others all. A test writes them from the time zone database that is
compiled in, runs this where it is told to (REGENERATE_GOLDEN=1), and compares the library's boundaries with the output.
"""

import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
END = date(2101, 1, 1)


def days(count, first):
    """Every count-th day from `first` on, those from 2000 on."""
    at = first
    while at < END:
        if at.year >= 2000:
            yield at
        at += count * DAY


def months(count, day):
    for month in range(0, 12 * 101, count):
        year, month = 2000 + month // 12, month % 12 + 1
        last = (date(year + month // 12, month % 12 + 1, 1) - DAY).day
        yield date(year, month, min(day, last))


MONDAY, THURSDAY = date(1970, 1, 5), date(1970, 1, 8)
WINDOWS = {
    "1d": lambda: days(1, date(1970, 1, 1)),
    "3d": lambda: days(3, date(1970, 1, 1)),
    "1w": lambda: days(7, MONDAY),
    "2w@thu": lambda: days(14, THURSDAY),
    "1mo": lambda: months(1, 1),
    "1mo@31": lambda: months(1, 31),
    "3mo": lambda: months(3, 1),
    "1y": lambda: months(12, 1),
    "1d@05:00": lambda: days(1, date(1970, 1, 1)),
    "1d@02:30": lambda: days(1, date(1970, 1, 1)),
    "1w@thu,00:30": lambda: days(7, THURSDAY),
    "1mo@31,23:59": lambda: months(1, 31),
}
EVERYWHERE = {"1w@sun,02:30": lambda: days(7, date(1970, 1, 11))}


def first_time(window, day, zone):
    """The first time of day of a window on a day, in Unix seconds, or where clocks are set over it the instant when they are."""
    hour, minute = map(int, window[-5:].split(":")) if ":" in window else (0, 0)
    wall = datetime(day.year, day.month, day.day, hour, minute)
    at = int(wall.replace(tzinfo=zone, fold=0).timestamp())
    if local(at, zone) == wall:
        return at
    # There is none. The clocks jump past it at the first instant whose local time is later.
    before, after = at - 30 * 3600, at
    while after - before > 1:
        middle = (before + after) // 2
        if local(middle, zone) > wall:
            after = middle
        else:
            before = middle
    return after


def local(at, zone):
    return datetime.fromtimestamp(at, timezone.utc).astimezone(zone).replace(tzinfo=None)


def main():
    directory, zones = Path(sys.argv[1]), sys.argv[2:]
    windows = WINDOWS
    for name in zones:
        if name == "everywhere":
            windows = EVERYWHERE
            continue
        with open(directory / name, "rb") as file:
            zone = ZoneInfo.from_file(file, key=name)
        for window, dates in windows.items():
            # A day that was left out has no window of its own.
            boundaries = sorted({first_time(window, day, zone) for day in dates()})
            digest = 0
            for at in boundaries:
                digest = (digest * 0x0100000001B3 + at * 1000) % 2**64
            print(f"{name} {window} {len(boundaries)} {digest:016x}")


main()
