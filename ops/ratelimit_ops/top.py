"""Shows, each second, what servers' rate limits allow and deny: by algorithm, by policy, and whom; and what regions there are.

A picture costs a server one INFO ratelimit and one round trip of RL.STATS for the busiest names, however many there are.
What is counted is what has gone through these very servers: with several, or with --cluster, they are added up.
"""

import argparse
import contextlib
import errno
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty

from .servers import reading, synced
from .servers.connection import Trouble
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.reading import Counts
from .servers.text import fit

NO_POLICY = "(no policy)"
ASKED_NAMES = 12  # by their growth, and as many again by their totals: their identifiers are looked at

CLEAR_LINE, CLEAR_BELOW, HOME = "\x1b[K", "\x1b[J", "\x1b[H"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the other screen without a cursor, and back
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


class Look:
    """What the servers told at one instant: an Overview and Series of each, and who told nothing."""

    def __init__(self, fleet, before=None):
        self.at = time.monotonic()
        self.overviews, self.series, self.troubles = {}, {}, {}
        for node in fleet.nodes():
            try:
                overview = reading.overview(node, "replication")
                names = busiest(overview.names, before.overviews.get(node.name) if before else None)
                self.series[node.name] = reading.series(node, [None, *names])
                self.overviews[node.name] = overview
            except Trouble as trouble:
                self.troubles[node.name] = str(trouble)
        if not self.overviews:
            raise Trouble(self.trouble)

    @property
    def trouble(self):
        return "; ".join(f"{name}: {text}" for name, text in self.troubles.items())


def busiest(names, before):
    """The names whose identifiers are worth a look: of the largest counts, and of the largest growth."""

    def most(counts_of):
        return sorted(names, key=lambda name: (-counts_of(name)[1], -sum(counts_of(name)), name))[:ASKED_NAMES]

    chosen = most(names.get)
    if before is not None:
        chosen += most(lambda name: names[name].since(before.names.get(name, Counts())))
    return dict.fromkeys(chosen)


class Row:
    """What is shown of an algorithm or a policy: how many a second, and how many in all."""

    def __init__(self, name):
        self.name = name
        self.before = None  # the last name of its calls, under which its hits count too
        self.grown = self.total = Counts()
        self.rate = (0.0, 0.0, 0.0)

    def add(self, now, before):
        """`before` is None where nobody was there to look."""
        self.total = self.total.plus(now)
        if before is not None:
            self.grown = self.grown.plus(now.since(before))

    def sort_key(self):
        return (-sum(self.rate[1:]), -sum(self.rate), -sum(self.total), self.name)


def drift(overviews):
    """What differs between servers that are meant to be alike, as one line; empty where nothing does."""
    lists = {name for overview in overviews for name in overview.lists if not name.endswith(synced.SUFFIX)}
    found = ["versions"] if len({overview.text("ratelimit_version") for overview in overviews}) > 1 else []
    found += ["policies"] if len({overview.policies_fingerprint for overview in overviews}) > 1 else []
    for name in sorted(lists):
        if len({overview.lists[name].fingerprint if name in overview.lists else None for overview in overviews}) > 1:
            found.append("deny list " + name)
    return "THE SERVERS DIFFER: " + ", ".join(found) if found else ""


def regions(before, now):
    """(line's name, cells) of each region that a server hears, and what is wrong with it."""
    seconds = max(now.at - before.at, 1e-3)
    for node, overview in sorted(now.overviews.items(), key=lambda one: (one[1].region or "", one[0])):
        if overview.region is None:
            continue
        old = before.overviews.get(node)
        known = old.regions if old else {}
        for name, region in overview.regions.items():
            grown = region.news - known[name].news if name in known else 0
            cells = (age(region.heard_ms_ago), age(region.echo_ms_ago), number(max(0, grown) / seconds), number(region.refused))
            yield f"{overview.region} < {name}", cells, "ITSELF: IT HAD LOST THIS, OR TWO PRIMARIES HAVE THIS NAME" if name == overview.region else ""
        if not overview.regions and overview.text("role") != "slave":
            yield f"{overview.region} < nobody", (age(None), age(None), "", ""), "NO RELAY?"
        if overview.changes_lost:
            yield overview.region, ("", "", "", ""), f"RING FULL: {number(overview.changes_lost)} changes lost, sent again by a pass"


def rows(before, now):
    """The rows of all hits, by algorithm, and by policy with the busiest first."""
    total, algorithms, policies = Row("all"), {}, {}
    for node, overview in now.overviews.items():
        old = before.overviews.get(node)

        def add(row, of, get, old=old, overview=overview):
            row.add(get(overview, of), None if old is None else get(old, of))

        add(total, None, lambda look, _: look.total)
        for name in overview.algorithms:
            add(algorithms.setdefault(name, Row(name)), name, lambda look, name: look.algorithms.get(name, Counts()))
        for name in overview.names:
            add(policies.setdefault(name, Row(name)), name, lambda look, name: look.names.get(name, Counts()))
        for name, last in overview.before.items():
            policies[name].before = last
        if any(overview.unnamed):
            add(policies.setdefault(None, Row(NO_POLICY)), None, lambda look, _: look.unnamed)
    seconds = max(now.at - before.at, 1e-3)
    for row in (total, *algorithms.values(), *policies.values()):
        row.rate = tuple(count / seconds for count in row.grown)
    return total, list(algorithms.values()), sorted(policies.values(), key=Row.sort_key)


def offenders(before, now, kind):
    """(policy, identifier, how many a second, count, by how much that may be too high), the worst first."""
    seconds = max(now.at - before.at, 1e-3)
    found = {}
    for node, by_name in now.series.items():
        for name, series in by_name.items():
            old = before.series.get(node, {}).get(name)
            is_new = node in before.overviews and name is not None and name not in before.overviews[node].names
            counts = {one.identifier: one.count for one in getattr(old, kind)} if old else {}
            for identifier, count, error in getattr(series, kind):
                # One that was not in the list before took another's place, with its count: the error is what it may
                # not have had. Where nobody had looked, how fast it is cannot be told.
                grown = max(0, count - counts.get(identifier, error)) if old or is_new else 0
                key = (NO_POLICY if name is None else name, identifier)
                have = found.get(key, (0, 0, 0))
                found[key] = (have[0] + grown, have[1] + count, have[2] + error)
    listed = [(*key, grown / seconds, count, error) for key, (grown, count, error) in found.items()]
    return sorted(listed, key=lambda one: (-one[2], -one[3], one[0], one[1]))


# The picture


def number(value):
    """A whole number in at most 7 columns."""
    for limit, divisor, unit in ((10**6, 1, ""), (10**9, 10**6, "M"), (10**12, 10**9, "G")):
        if value < limit:
            return f"{value / divisor:.1f}{unit}" if unit else f"{value:,.0f}"
    return f"{value / 10**12:,.0f}T"


def age(ms):
    """How long ago, in at most 7 columns."""
    if ms is None:
        return "never"
    for limit, divisor, unit in ((1000, 1, "ms"), (120_000, 1000, "s"), (7_200_000, 60_000, "min")):
        if ms < limit:
            return f"{ms // divisor} {unit}"
    return f"{number(ms / 3_600_000)} h"


def table_line(name, cells, name_width):
    return f"{fit(name, name_width):<{name_width}}" + "".join(f"{cell:>10}" for cell in cells)


def frame(title, before, now, width, height):
    """The lines of one picture: at most `height`, none wider than `width`. The first of each table is its head."""
    total, algorithms, policies = rows(before, now)
    columns = 3 if width < 90 else 6  # the totals have to go first
    name_width = max(8, min(40, width - 10 * columns))

    def line(row):
        name = row.name if row.before is None else f"{row.name} > {row.before}"
        return table_line(name, [number(value) for value in (*row.rate, *row.total)][:columns], name_width)

    def head(name):
        cells = ["allowed/s", "denied/s", "listed/s", "allowed", "denied", "listed"][:columns]
        return ("head", table_line(name, cells, name_width))

    tables = [[head("ALL HITS")] + [("row", line(row)) for row in (total, *algorithms)]]
    heard = list(regions(before, now))
    if heard:
        columns_head = table_line("REGION < IT HEARS", ("heard", "lag", "news/s", "refused"), name_width)
        rows_ = [table_line(name, cells, name_width) + ("  " + wrong if wrong else "") for name, cells, wrong in heard]
        tables.append([("head", columns_head), *(("row", row) for row in rows_)])
    room = max(4, height - 2 - sum(len(table) + 1 for table in tables) - 2)
    who = [
        (head_, offenders(before, now, kind))
        for head_, kind in (
            ("MOST DENIED", "most_denied"),
            ("MOST ALLOWED", "most_allowed"),
            ("MOST DENY-LISTED", "most_deny_listed"),
            ("MOST SHADOW-DENIED", "most_shadow_denied"),
        )
    ]
    shares = share(room - 2 * len(who), [len(policies), *(len(found) for _, found in who)])
    tables.append([head("POLICY")] + [("row", line(row)) for row in policies[: shares[0]]])
    if len(policies) > shares[0]:
        tables[-1].append(("row", f"and {len(policies) - shares[0]} more"))
    for (name, found), count in zip(who, shares[1:]):
        tables.append(who_table(name, found[:count], width))
    lines = [("row", title), ("head", fit(drift(now.overviews.values()), width))]
    for table in tables:
        if len(table) > 1:
            lines += [*table, ("row", "")]
    return [(kind, text[:width].rstrip()) for kind, text in lines[:height]]


def share(room, wanted):
    """Splits `room` lines among what is wanted: evenly, and what one does not need the others get."""
    shares = [0] * len(wanted)
    while room > 0 and shares != wanted:
        for place, (have, want) in enumerate(zip(shares, wanted)):
            if have < want and room > 0:
                shares[place] += 1
                room -= 1
    return shares


def who_table(name, who, width):
    policy_width = max(8, min(20, width // 5))
    identifier_width = max(8, min(60, width - policy_width - 1 - 20))
    table = [("head", f"{name:<{policy_width}} {'IDENTIFIER':<{identifier_width}}{'a second':>10}{'count':>10}")]
    for policy, identifier, rate, count, error in who:
        about = "~" if error else ""  # a count that may be too high
        table.append(
            (
                "row",
                f"{fit(policy, policy_width):<{policy_width}} "
                f"{fit(identifier, identifier_width):<{identifier_width}}"
                f"{number(rate):>10}{about + number(count):>10}",
            )
        )
    return table


def draw(lines, is_terminal):
    if not is_terminal:
        sys.stdout.write("".join(text + "\n" for _, text in lines))
    else:
        styled = [f"{BOLD}{text}{PLAIN}" if kind == "head" else text for kind, text in lines]
        sys.stdout.write(HOME + "\r\n".join(text + CLEAR_LINE for text in styled) + CLEAR_BELOW)
    sys.stdout.flush()


# The command line


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit top",
        usage="ratelimit top [options]",
        description=__doc__,
        epilog=EPILOG + "\n"
        "keys: q ends it\n"
        "a count behind a ~ may be too high: the module keeps the most frequent identifiers in bounded memory.\n"
        "acme > api: calls name POLICY acme POLICY api, and their hits count under both.\n"
        "exit status: 0; 1 no server answered (with --once, or at first) or is no such server; 2 wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument("--interval", type=float, default=1, metavar="S", help="seconds between pictures (1)")
    parser.add_argument("--once", action="store_true", help="measure for one interval, print one picture, exit")
    options = parser.parse_args(arguments)
    if not 0.05 <= options.interval <= 3600:
        parser.error("--interval must be from 0.05 to 3600")
    if not options.once and not sys.stdout.isatty():
        parser.error("the output is no terminal: use --once")
    return options, Fleet.of(parser, options)


def title(fleet, interval, trouble=None):
    clock = time.strftime("%H:%M:%S")
    name = fit(fleet.title + (" and its cluster" if fleet.cluster else ""), 60)
    if trouble:
        return f"{name}  {clock}  NO ANSWER: {trouble}"
    return f"{name}  {clock}  every {interval:g} s  (a second: over the last {interval:g} s)"


def once(fleet, options):
    before = Look(fleet)
    time.sleep(options.interval)
    now = Look(fleet, before)
    width, height = shutil.get_terminal_size((100, 50))
    draw(frame(title(fleet, options.interval, now.trouble), before, now, width, max(height, 24)), False)


@contextlib.contextmanager
def keys():
    """The terminal tells each key at once, without showing it. Yields a wait that says whether q was pressed, and draws anew
    when the terminal has another size."""
    resized, tell = os.pipe()
    os.set_blocking(tell, False)

    def is_q_pressed(seconds, draw_anew):
        until = time.monotonic() + seconds
        while ready := select.select(watched, [], [], max(0, until - time.monotonic()))[0]:
            if resized in ready:
                os.read(resized, 4096)
                draw_anew()
            if file in ready:
                read = os.read(file, 64)
                if not read or b"q" in read.lower():
                    return True
        return False

    def note_size(_signal, _frame):
        with contextlib.suppress(BlockingIOError):  # it is full: nobody has looked yet
            os.write(tell, b".")

    signal.signal(signal.SIGWINCH, note_size)
    file = sys.stdin.fileno() if sys.stdin.isatty() else None
    watched = [resized] if file is None else [resized, file]
    before = None if file is None else termios.tcgetattr(file)
    try:
        if file is not None:
            tty.setcbreak(file)
        yield is_q_pressed
    finally:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        if file is not None:
            with contextlib.suppress(termios.error):  # a terminal that is gone
                termios.tcsetattr(file, termios.TCSADRAIN, before)
        os.close(resized)
        os.close(tell)


def watch(fleet, options):
    before = Look(fleet)  # a wrong address is said on the screen that stays
    now = before
    with keys() as is_q_pressed:
        try:
            sys.stdout.write(ENTER)
            while not is_leaving():  # where Python loses an exception, as in a destructor
                started = time.monotonic()
                try:
                    before, now = now, Look(fleet, now)
                    trouble = now.trouble
                except Trouble as error:
                    trouble = str(error)

                def picture(before=before, now=now, heading=title(fleet, options.interval, trouble)):
                    draw(frame(heading, before, now, *shutil.get_terminal_size()), True)

                picture()
                if is_q_pressed(max(0, options.interval - (time.monotonic() - started)), picture):
                    return
        finally:
            sys.stdout.write(LEAVE)
            sys.stdout.flush()


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GONE = (errno.EPIPE, errno.EIO)  # who read the output, or the terminal


def stop(_signal, _frame):
    """Ends it, once: what comes while it is leaving, such as another Ctrl-C or the terminal's hangup, has no say."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    raise KeyboardInterrupt


def is_leaving():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def main(arguments):
    options, fleet = parse_arguments(arguments)
    for number_ in STOPPING:
        signal.signal(number_, stop)
    try:
        try:
            (once if options.once else watch)(fleet, options)
        finally:
            fleet.close()
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        if error.errno not in GONE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Trouble as error:
        print(f"ratelimit top: {error}", file=sys.stderr)
        return 1
    return 0
