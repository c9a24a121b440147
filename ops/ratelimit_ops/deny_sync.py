"""Replaces a deny list by the addresses and ranges of a file or a URL, at once.

One address or range a line (IPv4 or IPv6, such as 192.0.2.7 or 2001:db8::/32). What follows # or ; is a comment. The
first column counts; a second one, behind a tab or spaces, may hold a count (the format of the public ipsum lists), which
--min-count looks at. Lines that are none of this are skipped and reported.

A source is not trusted. It is refused as a whole if it has a range wider than --widest, covers more of all addresses than
--max-share, or is smaller than the list by more than --max-shrink or larger by more than --max-growth; values that touch a
range of --never are left out and reported. What is in a line that is no address is shown on a terminal alone: a log or a
mail gets its number, as the source may have led elsewhere than you think.

The values are loaded into a staging list, which takes the list's name by RL.DENY RENAME when it is whole: no check ever
sees half a list. Running it again ends with the same list. A list that is kept by this script holds nothing else: what
was added to it by hand is gone after the next run, so keep such values in a list of their own. Beside the list stands a
note, the list LIST.synced, whose one entry says when it was replaced and from what.
"""

import argparse
import base64
import bisect
import http.client
import ipaddress
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from .servers import synced
from .servers.connection import Refused, Trouble
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.text import fit, printable

CHUNK = 1000  # values in one RL.DENY ADD: about a millisecond of the server's time
SHOWN_LINES = 5
SPACES = {4: 1 << 32, 6: 1 << 125}  # of IPv6 what is given out at all: 2000::/3
MAX_SHARE = 2.0
MAX_GROWTH = 400
FREE_GROWTH = 100  # entries by which any list may grow
STALE_SECONDS = 3600  # a staging list as old as this was left behind by a run that was killed
SILENT_SECONDS = 60  # that a server may take for an answer
READ_BYTES = 1 << 16

NEVER_DENIED = re.compile(r"ERR argument ([0-9]+) (must not be denied: .*)")  # by ratelimit.never-deny

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}")  # most lines of most lists, in half the time

EXIT_FAILED, EXIT_DOUBTFUL = 1, 3  # and 2, argparse's own, for wrong usage

EPILOG = f"""\
sources:      a path, - for standard input, or a file://, http:// or https:// URL, whose user and password, if it has
              some, are sent to its host alone and never shown
{EPILOG.replace("password:", "password:    ")}
exit status:  0 the list was replaced (or, with --dry-run, could be); 1 it was not: the source or the server failed;
              2 wrong usage; 3 it was not, as the source is not to be believed: no address in it, a range that is too
              wide, too much of the address space, too small or too large; or it has what a server never denies
Whenever the status is not 0, checks go on with the list as it was. (In a cluster, a primary that fails at the very last
step is named; run it again.)

example:      ratelimit deny sync --min-count 3 --never 192.0.2.0/24 bad-hosts https://example.com/ipsum.txt
"""


class Failure(Exception):
    """The list cannot be replaced; says why."""


class Doubt(Exception):
    """The source can be read, and is not to be believed; says why."""


def show(text):
    """Shows it, if there is anybody left to see it: a terminal that is gone is no reason not to clean up."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass


def say(text):
    show(f"ratelimit deny sync: {text}\n")


# The source


class Source:
    """What is read. `shown` is its name without what is nobody's business: a user, a password, a query."""

    def __init__(self, text):
        self.path = self.url = self.authorization = None
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
        if text == "-":
            self.shown = "standard input"
        elif scheme is None:
            self.path, self.shown = text, printable(text)
        else:
            self._url(scheme[1].lower(), text)

    def _url(self, scheme, text):
        if scheme not in ("http", "https", "file"):
            raise ValueError(f"SOURCE: {printable(scheme)} is neither http, https nor file")
        try:
            parts = urllib.parse.urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("SOURCE is not a URL") from None
        if scheme == "file":
            if host not in (None, "localhost"):
                raise ValueError("SOURCE: a file:// URL is of this machine: file:///path")
            self.path = urllib.request.url2pathname(parts.path)
            self.shown = printable(self.path)
            return
        if not host:
            raise ValueError("SOURCE: the URL names no host")
        place = f"[{host}]" if ":" in host else host
        place += "" if port is None else f":{port}"
        self.url = urllib.parse.urlunsplit((scheme, place, parts.path or "/", parts.query, ""))
        self.shown = printable(f"{scheme}://{place}{parts.path}")
        if parts.username is not None:
            user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
            self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def lines(self, max_bytes, timeout):
        """The lines, as bytes."""

        def late(_signal, _frame):
            raise Failure(f"cannot read {self.shown}: not there within {timeout:g} s")

        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            with self._open() as file:
                data = read_at_most(file, max_bytes)
        except TooMuch:
            raise Failure(f"cannot read {self.shown}: more than {max_bytes} bytes (--max-bytes)") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Failure(f"cannot read {self.shown}: {fit(reason(error), 200)}") from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return data.removeprefix(b"\xef\xbb\xbf").splitlines()

    def _open(self):
        if self.path is not None:
            return open(self.path, "rb")
        if self.url is None:
            return open(sys.stdin.fileno(), "rb", closefd=False)
        request = urllib.request.Request(self.url, headers={"User-Agent": "deny-sync"})
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            Redirects(),
        ):
            opener.add_handler(handler)
        return opener.open(request)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to where the source itself could be."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https"):
            raise OSError(f"it redirects to {scheme}:, which is neither http nor https")
        if req.type == "https" and scheme == "http":
            raise OSError("it redirects from https to http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class TooMuch(Exception):
    """There is more than may be."""


def read_at_most(file, max_bytes):
    parts, size = [], 0
    while part := file.read(min(READ_BYTES, max_bytes + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise TooMuch
    # A body that is cut off ends a read() of its whole length by an error, but not a read of a part.
    left = getattr(file, "length", None)
    if left:
        raise OSError(f"it ended {left} bytes early")
    return b"".join(parts)


def reason(error):
    """Why, without the place: that may be where a redirect leads, secrets and all."""
    if isinstance(error, urllib.error.HTTPError):
        what = "it redirects to no http or https URL: " if 300 <= error.code < 400 else ""
        return f"{what}HTTP status {error.code}"
    if isinstance(error, (ValueError, http.client.InvalidURL)):
        return "not a sound URL"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error) or type(error).__name__


def canonical(text):
    """The one way in which a server is told this address or range. ValueError where it is neither."""
    if IPV4.fullmatch(text):
        return text
    base, slash, length = text.partition("/")
    if "%" in base or (slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", length)):
        raise ValueError("not an address or a range")
    if not slash:
        address = ipaddress.ip_address(base)
        return str(getattr(address, "ipv4_mapped", None) or address)
    network = ipaddress.ip_network(text)  # strict: bits past the length are an error
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


class Entries:
    """What a source holds: values without duplicates in the order of the lines, and what was left out."""

    def __init__(self):
        self.values = {}
        self.bad = []  # (number, text)
        self.below = 0
        self.spared = []  # (number, text)


def parse(lines, min_count, widest, never):
    """Doubt, where a range is too wide."""
    entries, wide = Entries(), []
    for number, raw in enumerate(lines, 1):
        columns = re.split(rb"[#;]", raw)[0].decode("ascii", "replace").split()
        if not columns:
            continue
        try:
            count = None
            if len(columns) > 1:
                if len(columns) > 2 or not re.fullmatch(r"[0-9]{1,18}", columns[1]):
                    raise ValueError("more than an address and a count")
                count = int(columns[1])
            value = canonical(columns[0])
        except ValueError:
            entries.bad.append((number, raw.decode("utf-8", "replace").strip()))
            continue
        # A line without a count is somebody's own addition: it is taken.
        if count is not None and count < min_count:
            entries.below += 1
        elif never.touches(value):
            entries.spared.append((number, value))
        else:
            if is_wider(value, widest):
                wide.append((number, value))
            entries.values[value] = None
    if wide:
        report_lines(wide)
        raise Doubt(f"{len(wide)} of its ranges cover more than /{widest[4]} (IPv6: /{widest[6]}; --widest)")
    return entries


def check_share(values, most):
    """How much of all addresses the values cover, each address counted once."""
    for version, bits in ((4, 32), (6, 128)):
        own = [value for value in values if (":" in value) == (version == 6)]
        lengths = (value.partition("/")[2] for value in own)
        counted = sum(1 << bits - int(length or bits) for length in lengths)  # what is in two ranges, twice: quickly
        if counted * 100 > SPACES[version] * most:
            counted = sum(each.num_addresses for each in ipaddress.collapse_addresses(map(ipaddress.ip_network, own)))
        share = min(100, 100 * counted / SPACES[version])
        if share > most:
            raise Doubt(f"it covers {share:.3g} % of all IPv{version} addresses, more than {most:g} % (--max-share)")


def is_wider(value, widest):
    _, slash, length = value.partition("/")
    return bool(slash) and int(length) < widest[6 if ":" in value else 4]


class Never:
    """Ranges that are never denied, not even in part."""

    def __init__(self, ranges):
        self.spans = {4: [], 6: []}
        for version, spans in self.spans.items():
            merged = ipaddress.collapse_addresses(each for each in ranges if each.version == version)
            spans.extend(sorted((int(each[0]), int(each[-1])) for each in merged))
        self.starts = {version: [start for start, _ in spans] for version, spans in self.spans.items()}

    def touches(self, value):
        if not self.spans[6 if ":" in value else 4]:
            return False
        network = ipaddress.ip_network(value)
        at = bisect.bisect_right(self.starts[network.version], int(network[-1])) - 1
        return at >= 0 and self.spans[network.version][at][1] >= int(network[0])


def report_lines(lines, is_address=True):
    """Which lines, and what is in them; what is no address is shown only to somebody who sits before a terminal."""
    for number, text in lines[:SHOWN_LINES]:
        is_shown = is_address or sys.stderr.isatty()
        say(f"  line {number}" + (f": {ascii(text if len(text) <= 60 else text[:57] + '...')[1:-1]}" if is_shown else ""))
    if len(lines) > SHOWN_LINES:
        say(f"  and {len(lines) - SHOWN_LINES} more")


def report(lines, entries, min_count):
    if entries.bad:
        what = "line is no address and no range, and was"
        if len(entries.bad) > 1:
            what = "lines are no address and no range, and were"
        say(f"{len(entries.bad)} {what} skipped:")
        report_lines(entries.bad, is_address=False)
    if entries.spared:
        say(f"left out {len(entries.spared)} that touch a range that is never denied:")
        report_lines(entries.spared)
    if entries.below:
        say(f"left out {entries.below} of a count below {min_count}")
    say(f"{len(entries.values)} addresses and ranges in {len(lines)} lines")


# The server


class Progress:
    """A bar on a terminal; nothing elsewhere."""

    WIDTH = 40

    def __init__(self, total):
        self.total = max(total, 1)
        self.is_shown = sys.stderr.isatty()
        self.next_at = 0.0

    def reach(self, done, name):
        now = time.monotonic()
        if not self.is_shown or (now < self.next_at and done < self.total):
            return
        self.next_at = now + 0.1
        filled = self.WIDTH * done // self.total
        bar = "#" * filled + "." * (self.WIDTH - filled)
        show(f"\r[{bar}] {100 * done // self.total:3d} %  {done}/{self.total}  {name}\x1b[K")

    def end(self):
        if self.next_at:
            show("\n")
        self.next_at = 0.0


def sizes(node):
    """How many entries each deny list has."""
    reply = node.call("RL.DENY", "LIST")
    if not isinstance(reply, dict) or not all(isinstance(size, int) for size in reply.values()):
        raise Failure("the sizes of its lists are not sound")
    return reply


def check_shrink(list_name, have, count, max_shrink):
    # Whoever says that a list may be emptied has said that it may shrink.
    if count and count * 100 < have * (100 - max_shrink):
        raise Doubt(f"{list_name} would shrink from {have} to {count} entries, by more than {max_shrink} % (--max-shrink)")


def check_growth(list_name, have, count, max_growth):
    """A list that was empty may become as large as it likes."""
    if have and count > have + FREE_GROWTH and (count - have) * 100 > have * max_growth:
        raise Doubt(f"{list_name} would grow from {have} to {count} entries, by more than {max_growth} % (--max-growth)")


class Staging:
    """The lists that are loaded before they take the names of others."""

    def __init__(self, list_name, values, source):
        mark = f".staging.{int(time.time())}.{os.getpid()}"
        self.target, self.note_target = list_name, synced.note_name(list_name)
        self.name, self.note_name = self.target + mark, self.note_target + mark
        self.values = values
        self.note = synced.write(time.time(), len(values), source)

    def load(self, node, progress, done):
        """Loads them on one server, and makes sure that they are whole."""
        added = 0
        for start in range(0, len(self.values), CHUNK):
            chunk = self.values[start : start + CHUNK]
            try:
                added += node.call("RL.DENY", "ADD", self.name, *chunk)
            except Refused as refused:
                never = NEVER_DENIED.match(str(refused))
                if not never:
                    raise
                value = chunk[int(never[1]) - len(["RL.DENY", "ADD", self.name])]
                raise Doubt(f"{value} {never[2]}: --never {value} leaves it out") from refused
            progress.reach(done + start + len(chunk), node.name)
        added += node.call("RL.DENY", "ADD", self.note_name, self.note)
        have = sizes(node)
        if not added == len(self.values) + 1 == have.get(self.name, 0) + have.get(self.note_name, 0):
            raise Failure(f"took {added - 1} of {len(self.values)} values")

    def swap(self, node):
        swap = ["RL.DENY", "RENAME", self.name, self.target] if self.values else ["RL.DENY", "DROP", self.target]
        for reply in node.pipeline([swap, ["RL.DENY", "RENAME", self.note_name, self.note_target]]):
            if isinstance(reply, Refused):
                raise reply

    def drop(self, node):
        for name in (self.name, self.note_name):
            try:
                node.call("RL.DENY", "DROP", name)
            except Trouble:
                say(f"{node.name}: {printable(name)} is left for a later run to remove")

    def drop_stale(self, node, names):
        """Removes what earlier runs, killed before they could, have left behind."""
        kept = "|".join(map(re.escape, (self.target, self.note_target)))
        pattern = re.compile(rf"(?:{kept})\.staging\.([0-9]+)\.[0-9]+")
        for name in names:
            match = pattern.fullmatch(name)
            if match and int(match[1]) + STALE_SECONDS < time.time():
                node.call("RL.DENY", "DROP", name)
                say(f"{node.name}: removed {printable(name)}, left behind by a run that was killed")


def named(node, action, *arguments):
    """Carries it out; an error says on which server it was."""
    try:
        return action(node, *arguments)
    except (Trouble, Failure) as error:
        raise Failure(f"{node.name}: {error}") from error
    except Doubt as doubt:
        raise Doubt(f"{node.name}: {doubt}") from doubt


def prepare(node, staging, max_shrink, max_growth):
    have = sizes(node)
    staging.drop_stale(node, have)
    sizes_ = printable(staging.target), have.get(staging.target, 0), len(staging.values)
    check_shrink(*sizes_, max_shrink)
    check_growth(*sizes_, max_growth)


def replace(nodes, staging, max_shrink, max_growth):
    """Stages the list on every server; only when all have it, each swaps it in."""
    progress = Progress(len(staging.values) * len(nodes))
    staged, swapped = [], []
    try:
        for node in nodes:
            named(node, prepare, staging, max_shrink, max_growth)
        for index, node in enumerate(nodes):
            staged.append(node)
            named(node, staging.load, progress, index * len(staging.values))
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # what is left takes milliseconds
        for node in nodes:
            named(node, staging.swap)
            swapped.append(node)
    except BaseException as error:
        progress.end()
        for node in staged:
            if node not in swapped:
                staging.drop(node)
        if swapped:
            done = ", ".join(node.name for node in swapped)
            raise Failure(f"{error}. The new list is in force on {done} only: run this again") from error
        raise
    finally:
        progress.end()


# The command line


def widest_lengths(text):
    match = re.fullmatch(r"/?([0-9]{1,2})(?:,/?([0-9]{1,3}))?", text)
    if not match or int(match[1]) > 32 or int(match[2] or 0) > 128:
        raise argparse.ArgumentTypeError(f"{text!r} is not a prefix length such as /8, or two: /8,/19")
    return {4: int(match[1]), 6: int(match[2] or WIDEST[6])}


WIDEST = {4: 8, 6: 19}


def never_range(text):
    try:
        return ipaddress.ip_network(canonical(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither an address nor a range") from None


def number(least, most, what):
    def read(text):
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} from {least} to {most}")
        return int(text)

    return read


def percentage(text):
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,6})?", text) or float(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return float(text)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit deny sync",
        usage="ratelimit deny sync [options] LIST SOURCE",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("list", metavar="LIST", help="the deny list to replace")
    parser.add_argument("source", metavar="SOURCE", help="a file, - or a URL")
    parser.add_argument(
        "--min-count", type=number(0, 10**9, "a count"), default=0, metavar="N", help="leave out lines with a count below N"
    )
    parser.add_argument(
        "--widest",
        type=widest_lengths,
        default=WIDEST,
        metavar="/N[,/N6]",
        help="refuse a source with a wider range (IPv4: /8; IPv6: /19)",
    )
    parser.add_argument(
        "--never",
        type=never_range,
        action="append",
        default=[],
        metavar="RANGE",
        help="leave out what touches this address or range, such as your own; may be repeated",
    )
    parser.add_argument(
        "--max-shrink",
        type=number(0, 100, "a percentage"),
        default=50,
        metavar="PERCENT",
        help="refuse a source that is smaller than the list by more than that (50; 100 takes any but an empty one)",
    )
    parser.add_argument(
        "--max-growth",
        type=number(0, 10**9, "a percentage"),
        default=MAX_GROWTH,
        metavar="PERCENT",
        help=f"refuse a source that is larger than the list by more than that ({MAX_GROWTH}); {FREE_GROWTH} entries more are"
        " always let through, and a list that is empty takes any",
    )
    parser.add_argument(
        "--max-share",
        type=percentage,
        default=MAX_SHARE,
        metavar="PERCENT",
        help=f"refuse a source that covers more of all IPv4, or of all IPv6, addresses in all ({MAX_SHARE:g})",
    )
    parser.add_argument("--allow-empty", action="store_true", help="a source without addresses empties the list")
    parser.add_argument(
        "--max-bytes",
        type=number(1, 1 << 32, "a number of bytes"),
        default=64 << 20,
        metavar="N",
        help="refuse a source of more bytes (67108864)",
    )
    parser.add_argument(
        "--timeout",
        type=number(1, 86400, "a number of seconds"),
        default=300,
        metavar="S",
        help="seconds in which the source must be read (300)",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check the source, send nothing")
    add_options(parser)
    options = parser.parse_args(arguments)
    if not 1 <= len(os.fsencode(options.list)) <= 90 or not options.list.isprintable():
        parser.error("LIST must be from 1 to 90 bytes long, and printable")
    if options.list.endswith(synced.SUFFIX):
        parser.error(f"LIST must not end in {synced.SUFFIX}: that is a note about another list")
    try:
        options.source = Source(options.source)
    except ValueError as error:
        parser.error(str(error))
    return options, Fleet.of(parser, options, say, SILENT_SECONDS)


def stop(_signal, _frame):
    """Ends it, once: another Ctrl-C must not break off what cleans up after the first."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    raise KeyboardInterrupt


def main(arguments):
    options, fleet = parse_arguments(arguments)
    for number_ in STOPPING:
        signal.signal(number_, stop)
    started = time.monotonic()
    try:
        lines = options.source.lines(options.max_bytes, options.timeout)
        entries = parse(lines, options.min_count, options.widest, Never(options.never))
        report(lines, entries, options.min_count)
        check_share(entries.values, options.max_share)
        if not entries.values and not options.allow_empty:
            raise Doubt("nothing to deny in it (--allow-empty would empty the list)")
        if options.dry_run:
            return 0
        nodes = fleet.nodes()
        replace(nodes, Staging(options.list, list(entries.values), options.source.shown), options.max_shrink, options.max_growth)
    except Doubt as doubt:
        say(f"refused: {doubt}: the list stays as it was")
        return EXIT_DOUBTFUL
    except (Failure, Trouble) as failure:
        say(f"failed: {failure}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("stopped: the list stays as it was")
        return EXIT_FAILED
    finally:
        fleet.close()
    where = ", ".join(node.name for node in nodes)
    say(f"{options.list} holds {len(entries.values)} entries on {where} ({time.monotonic() - started:.1f} s)")
    return 0
