"""Carries what is used of limits from one region's server to the servers of other regions.

Runs beside each region's primary. It asks that server which keys have changed (RL.CHANGES) and hands their usage to the
others (RL.MERGE), every 50 ms by default. Messages may be lost, doubled or late without harm, so it may die, run twice or be
started again at any time: what was missed is sent once more.

  eu$ ratelimit region sync --from 127.0.0.1:6379 --to us=us.example:6379 --to ap=ap.example:6379
  us$ ratelimit region sync --from 127.0.0.1:6379 --to eu=eu.example:6379 --to ap=ap.example:6379

Each server has its region's name, and knows the others': CONFIG SET ratelimit.region eu ratelimit.regions "eu us ap"
"""

import argparse
import binascii
import collections
import os
import re
import shutil
import signal
import sys
import threading
import time

from .servers.connection import Access, Address, Refused, Trouble, tls_context
from .servers.nodes import PASSWORD, Fleet, cluster, explain
from .servers.text import fit, printable

SLOTS = 16384
KEYS_AT_ONCE = 1000
MAX_UNANSWERED = 64  # batches on their way: a distance of 3 s at 50 ms
LONGEST_PAUSE = 1.0  # while it lasts, regions that could hear each other do not
REGION = re.compile(r"[a-z0-9-]{1,8}")
TARGET_PASSWORD = "REGION_AUTH"
# A key of which the other region holds something else stays so; everything else may be taken when it is sent once more.
PASSED_OVER = re.compile(r"WRONGTYPE|ERR argument 2 ")

EPILOG = f"""\
passwords: in the environment, {PASSWORD} for --from, {TARGET_PASSWORD} for the targets

the targets' user needs: +rl.merge +rl.heard ~* (and with --cluster: +cluster|nodes)
the source's user needs: %R~* +rl.changes +rl.region +config|get (and with --cluster: +cluster|nodes)
keys that the source's user may not read are not shared: %R~shared:* shares those alone
exit status: 0 ended by a signal; 1 the source cannot be read as things stand; 2 wrong usage
"""


def duration(text):
    match = re.fullmatch(r"(\d{1,6})(ms|s)", text)
    seconds = match and int(match[1]) / (1000 if match[2] == "ms" else 1)
    if not match or not 0.001 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1ms .. 60s")
    return seconds


def target(text):
    region, equals, address = text.partition("=")
    if not equals or not REGION.fullmatch(region):
        raise argparse.ArgumentTypeError(f"{text!r} is not REGION=HOST:PORT, with a region of 1 to 8 of a-z, 0-9 and -")
    try:
        return region, Address.parse(address)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def slot(key):
    """By the part in braces, where there is one, as a cluster has it."""
    data = key.encode("utf-8", "surrogateescape")
    start = data.find(b"{")
    end = data.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        data = data[start + 1 : end]
    return binascii.crc_hqx(data, 0) % SLOTS


class Reader:
    """Reads what changes on one server of this region; each link has its own, with its own cursor."""

    def __init__(self, node, cursor):
        self.node, self.cursor = node, cursor
        self.until_ms = self.withheld = 0

    def read(self):
        """Key after payload, as a list of pairs; `until_ms` is until when all that changed has been read."""
        self.cursor, self.until_ms, flat, self.withheld = self.node.call("RL.CHANGES", self.cursor, "COUNT", KEYS_AT_ONCE)
        return list(zip(flat[::2], flat[1::2]))

    def heard_ms(self, region):
        """Until when this server has all of a region's, by that region's clock; 0 where it has not heard it."""
        return self.node.call("RL.REGION", "LIST").get(region, {}).get("heard_ms", 0)


class Line:
    """A connection to one server of the target. What is sent is answered later: nobody waits for a round trip."""

    def __init__(self, node):
        self.node = node
        self.waiting = collections.deque()  # (round, when, how many) of what was sent, oldest first
        self.replies = []
        self.done = 0  # the last round that was answered whole
        self.round_trip = None
        node.pipeline([])  # connects, in one round trip

    def send(self, number, commands):
        self.waiting.append((number, time.monotonic(), len(commands)))
        self.node.send(commands)

    def receive(self, seconds):
        """The replies of each round that has been answered whole; waits for the next so long."""
        until = time.monotonic() + seconds
        while self.waiting:
            self.replies += self.node.arrived(max(0.0, until - time.monotonic()))
            number, sent, count = self.waiting[0]
            if len(self.replies) < count:
                if time.monotonic() - sent > self.node.connection.access.timeout:
                    raise Trouble(f"no answer within {self.node.connection.access.timeout:g} s")
                if time.monotonic() >= until:
                    return
                continue
            replies, self.replies = self.replies[:count], self.replies[count:]
            self.waiting.popleft()
            self.done, self.round_trip = number, time.monotonic() - sent
            yield replies


class Owners:
    """Which of the target's servers a key is on."""

    def __init__(self, fleet, nodes):
        self.only = None if fleet.cluster else nodes[0].name
        self.slots = {}
        if fleet.cluster:
            self._read(nodes[0], {node.name for node in nodes})

    def _read(self, node, names):
        for address, _, slots in cluster(node, node.address):
            if str(address) not in names:
                continue
            for part in slots:
                first, _, last = part.partition("-")
                if first.isdigit():
                    self.slots.update(dict.fromkeys(range(int(first), int(last or first) + 1), str(address)))

    def of(self, key):
        name = self.only or self.slots.get(slot(key))
        if name is None:
            raise Trouble(f"no server there has slot {slot(key)}")
        return name


class Link(threading.Thread):
    """Carries to one region."""

    def __init__(self, own, source, region, target, every):
        super().__init__(name=region, daemon=True)
        self.own, self.source, self.region, self.target, self.every = own, source, region, target, every
        self.ended = threading.Event()
        self.cursors = {}  # for each server of the source, from where on nothing was answered yet
        self.rounds = collections.deque()  # (round, cursors behind it), not answered yet
        self.sent = self.news = self.refused = self.withheld = self.restarts = 0
        self.answered_at = self.round_trip = self.trouble = None

    def run(self):
        pause = self.every
        while not self.ended.is_set():
            try:
                for _ in self.carry():
                    pause = self.every
            except Trouble as trouble:
                self.restarts += 1
                self.note(str(trouble))
                self.ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:  # nothing that a server says may end the others' links
                self.note(f"unexpected: {error!r}")
                self.ended.wait(LONGEST_PAUSE)

    def note(self, trouble):
        if trouble != self.trouble:
            print(f"ratelimit region sync: {self.region}: {printable(trouble or 'well again')}", file=sys.stderr, flush=True)
        self.trouble = trouble

    def carry(self):
        """Until something fails: what was not answered until then is sent once more. Yields after each answered round."""
        self.rounds.clear()
        try:
            readers = [Reader(node, self.cursors.get(node.name, "0")) for node in self.source.nodes()]
            nodes = self.target.nodes()
            owners, lines = Owners(self.target, nodes), {node.name: Line(node) for node in nodes}
            number = 0
            while not self.ended.is_set():
                number, begun = number + 1, time.monotonic()
                is_full = self.send(number, readers, owners, lines)
                wait = 0 if is_full else max(0.0, self.every - (time.monotonic() - begun))
                if len(self.rounds) >= MAX_UNANSWERED:
                    wait = LONGEST_PAUSE
                yield from self.receive(lines, wait)
                if not is_full:
                    self.ended.wait(max(0.0, self.every - (time.monotonic() - begun)))
        finally:
            self.source.close()
            self.target.close()

    def send(self, number, readers, owners, lines):
        # What was heard is asked first: so what is sent is never older than what it acknowledges.
        heard_ms = min(reader.heard_ms(self.region) for reader in readers)
        merges = collections.defaultdict(list)
        is_full = False
        for reader in readers:
            pairs = reader.read()
            self.withhold(reader)
            is_full |= len(pairs) >= KEYS_AT_ONCE
            for key, payload in pairs:
                merges[owners.of(key)].append(("RL.MERGE", key, payload))
        # In a cluster, a region has told what all of its servers have told, and heard what all of them have heard.
        until_ms = min(reader.until_ms for reader in readers)
        heard = ("RL.HEARD", self.own, until_ms, *([self.region, heard_ms] if heard_ms else []))
        self.rounds.append((number, {reader.node.name: reader.cursor for reader in readers}))
        for name, line in lines.items():
            line.send(number, [*merges.get(name, []), heard])
        return is_full

    def withhold(self, reader):
        if reader.withheld and not self.withheld:
            print(
                f"ratelimit region sync: {self.region}: {reader.node.name} withholds keys that its user may not read: they are not shared"
                " (give it %R~ and a pattern of those that are to be)",
                file=sys.stderr,
                flush=True,
            )
        self.withheld += reader.withheld

    def receive(self, lines, seconds):
        until = time.monotonic() + seconds
        for line in lines.values():
            for replies in line.receive(max(0.0, until - time.monotonic())):
                self.count(line, replies)
        done = min(line.done for line in lines.values())
        while self.rounds and self.rounds[0][0] <= done:
            self.cursors = self.rounds.popleft()[1]
            self.answered_at = time.monotonic()
            self.note(None)
            yield

    def count(self, line, replies):
        self.round_trip = line.round_trip
        for reply in replies:
            if not isinstance(reply, Refused):
                self.news += reply == 1
            elif PASSED_OVER.match(str(reply)):
                self.refused += 1
            else:
                raise Trouble(f"{line.node.name}: {explain(str(reply))}")
        self.sent += len(replies) - 1

    def picture(self):
        ago = "not answered yet"
        if self.answered_at is not None:
            ago = f"answered {time.monotonic() - self.answered_at:.1f} s ago, round trip {1000 * self.round_trip:.0f} ms"
        counts = f"keys sent {self.sent:,}, news {self.news:,}, refused {self.refused:,}, withheld {self.withheld:,}, begun again {self.restarts:,}"
        return f"{self.region:<8} {ago}   {counts}" + (f"   {printable(self.trouble)}" if self.trouble else "")


def setting(fleet, name):
    """The values that a setting has on this region's servers."""
    return {node.call("CONFIG", "GET", name).get(name, "") for node in fleet.nodes()}


def unlisted(fleet, names):
    """Those of these regions that some server here does not take anything from."""
    lists = [known.split() for known in setting(fleet, "ratelimit.regions")]
    return [name for name in names if any(known and name not in known for known in lists)]


def own_region(fleet):
    """What the servers of this region call it."""
    regions = setting(fleet, "ratelimit.region")
    if regions == {""} or not regions:
        raise Trouble("no region is set there (CONFIG SET ratelimit.region NAME), or it has no rate limiting module")
    if len(regions) > 1:
        raise Trouble("its servers have several regions: " + ", ".join(sorted(regions)))
    return regions.pop()


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit region sync", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", metavar="ADDRESS", default="127.0.0.1:6379", help="this region's server")
    parser.add_argument("--to", dest="targets", metavar="REGION=ADDRESS", type=target, action="append", required=True,
                        help="another region and its server, HOST:PORT or [IPV6]:PORT; once for each")
    parser.add_argument("--every", metavar="TIME", type=duration, default=0.05, help="how often: 1ms .. 60s (50ms)")
    parser.add_argument("--cluster", action="store_true", help="both sides are clusters: every primary of each")
    parser.add_argument("--from-user", metavar="NAME", help=f"the source's user, of the password in {PASSWORD}")
    parser.add_argument("--user", metavar="NAME", help=f"the targets' user, of the password in {TARGET_PASSWORD}")
    parser.add_argument("--from-tls", action="store_true", help="speak TLS with the source")
    parser.add_argument("--from-cacert", metavar="FILE", help="with --from-tls: whom to trust")
    parser.add_argument("--from-cert", metavar="FILE", help="with --from-tls: the client's certificate")
    parser.add_argument("--from-key", metavar="FILE", help="with --from-tls: and its key")
    parser.add_argument("--tls", action="store_true", help="speak TLS with the targets")
    parser.add_argument("--cacert", metavar="FILE", help="with --tls: whom to trust, instead of the system's authorities")
    parser.add_argument("--cert", metavar="FILE", help="with --tls: the client's certificate")
    parser.add_argument("--key", metavar="FILE", help="with --tls: and its key")
    parser.add_argument("--status", metavar="TIME", type=duration, help="how often to say how it goes (1s on a terminal)")
    options = parser.parse_args(arguments)
    if len(dict(options.targets)) < len(options.targets):
        parser.error("--to names a region twice")
    if not options.tls and (options.cacert or options.cert or options.key):
        parser.error("--cacert, --cert and --key go with --tls")
    if not options.from_tls and (options.from_cacert or options.from_cert or options.from_key):
        parser.error("--from-cacert, --from-cert and --from-key go with --from-tls")
    try:
        options.source = Address.parse(options.source)
        options.context = tls_context(options.cacert, options.cert, options.key) if options.tls else None
        own = (options.from_cacert, options.from_cert, options.from_key)
        options.from_context = tls_context(*own) if options.from_tls else None
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--tls, --from-tls: {error}")
    return options


def main(arguments):
    options = parse(arguments)
    here = Access(options.from_user, os.environ.get(PASSWORD), options.from_context)
    there = Access(options.user, os.environ.get(TARGET_PASSWORD), options.context)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    source = Fleet([options.source], here, options.cluster)
    own = None
    while own is None and not ended.is_set():
        try:
            own = own_region(source)
            for region in unlisted(source, dict(options.targets)):
                note = f"{own} takes nothing from {region}: its ratelimit.regions does not list it"
                print(f"ratelimit region sync: {options.source}: {note}", file=sys.stderr, flush=True)
        except Refused as refused:
            sys.exit(f"ratelimit region sync: {options.source}: {refused}")
        except Trouble as trouble:
            if "region" in str(trouble):
                sys.exit(f"ratelimit region sync: {options.source}: {trouble}")
            print(f"ratelimit region sync: {options.source}: {trouble}", file=sys.stderr, flush=True)
            ended.wait(1)
    source.close()
    if own in dict(options.targets):
        sys.exit(f"ratelimit region sync: --to {own}: {options.source} is of that region itself")
    links = [
        Link(own, Fleet([options.source], here, options.cluster), region, Fleet([address], there, options.cluster), options.every)
        for region, address in options.targets
    ]
    for link in links:
        link.start()
    is_terminal = sys.stdout.isatty()
    status = options.status or (1.0 if is_terminal else None)
    while not ended.wait(status):
        if is_terminal:
            width = shutil.get_terminal_size().columns
            pictures = [fit(f"{own} > {link.picture()}", width) for link in links]
            print("\033[J" + "\n".join(pictures) + f"\033[{len(pictures)}F", end="", flush=True)
        else:
            for link in links:
                print(f"{own} > {link.picture()}", flush=True)
    if is_terminal:
        print("\n" * len(links), end="")
    for link in links:
        link.ended.set()
