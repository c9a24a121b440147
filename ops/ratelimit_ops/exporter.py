"""Tells Prometheus what servers' rate limits allow and deny: http://127.0.0.1:9878/metrics

Each scrape asks each server for one INFO, the policies, and the notes of deny-sync. A server that does not answer has
ratelimit_up 0, and the others are told all the same. What was told stands for a second, for all who scrape.
"""

import argparse
import gzip
import math
import os
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
# Where a release has its libraries, and where scripts/setup-ops puts them; else the system's are taken.
TARGET = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/../../target")
sys.path[1:1] = [os.path.join(HERE, "lib"), os.path.join(TARGET, "ops/lib")]

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import generate_latest
except ImportError:
    sys.exit(
        "ratelimit exporter: prometheus_client is missing: scripts/setup-ops exporter installs it for this tree,"
        " apt-get install python3-prometheus-client for the machine"
    )

from . import web
from .servers import reading, synced
from .servers.connection import Trouble, port_number
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.once import Once
from .servers.reading import OUTCOMES
from .servers.text import fit, printable

# The series of one server and name are three. Names come from callers too, so there is a bound.
MAX_NAMES = 1000
KEPT_SECONDS = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTERS = {
    "ratelimit_hits": (
        "Hits with a POLICY name, by the name, its policy's algorithm ('' where it has none) and what became of them. Of a call"
        " that names several, under the policy in force and under the last.",
        ["policy", "algorithm", "outcome"],
    ),
    "ratelimit_shadow_denied": ("Hits with a POLICY name that were allowed, and that a shadow would have denied.", ["policy"]),
    "ratelimit_unnamed_hits": ("Hits without a POLICY name, by what became of them.", ["outcome"]),
    "ratelimit_algorithm_hits": ("All hits, with a name or without, by algorithm.", ["algorithm", "outcome"]),
    "ratelimit_command_calls": ("Calls of the module's commands.", ["command"]),
    "ratelimit_command_failed": ("Calls that were answered by an error.", ["command"]),
    "ratelimit_command_rejected": ("Calls that the server refused before they ran: OOM, rights, arguments.", ["command"]),
    "ratelimit_policy_mismatches": ("Times that a call passed a policy over, as it is of another algorithm.", []),
    "ratelimit_region_merges": ("Keys that another region has sent.", ["region"]),
    "ratelimit_region_news": ("Of them, those that had something new.", ["region"]),
    "ratelimit_region_refused": ("Windows and origins of another region's that were not taken.", ["region"]),
    "ratelimit_region_changes_lost": ("Changed keys that were dropped before every reader had them; they got a pass instead.", []),
    "ratelimit_server_oom_errors": ("Commands, of any kind, that the server refused as its memory was full.", []),
    "ratelimit_server_evicted_keys": ("Keys, of any kind, that were evicted: limits among them are forgotten.", []),
}
GAUGES = {
    "ratelimit_up": ("Whether the server told.", []),
    "ratelimit_collected_timestamp_seconds": ("When the server was asked: what it told stands for a second.", []),
    "ratelimit_module_info": ("The module's version.", ["version"]),
    "ratelimit_replica": ("Whether it is a replica.", []),
    "ratelimit_replica_link_up": ("Of a replica: whether it is connected to its primary and in sync.", []),
    "ratelimit_replica_heard_seconds": ("Of a replica that is connected: how long ago its primary sent something.", []),
    "ratelimit_replica_lag_seconds": ("Of a primary: how long ago each replica said how far it is.", ["replica"]),
    "ratelimit_policies": ("Policies.", []),
    "ratelimit_policies_fingerprint": ("Always 1: the fingerprint of the lasting policies and shadows.", ["fingerprint"]),
    "ratelimit_deny_list_entries": ("Entries of a deny list.", ["list"]),
    "ratelimit_deny_list_fingerprint": ("Always 1: the fingerprint of what a deny list holds for good.", ["list", "fingerprint"]),
    "ratelimit_deny_list_changed_timestamp_seconds": ("When what it holds last changed.", ["list"]),
    "ratelimit_deny_sync_timestamp_seconds": ("When deny-sync last replaced the list.", ["list"]),
    "ratelimit_deny_sync_entries": ("How many entries the list was given then.", ["list"]),
    "ratelimit_names": ("Names that hits are counted under.", []),
    "ratelimit_names_left_out": ("Names beyond --max-names, which ratelimit_hits_total leaves out.", []),
    "ratelimit_deny_lists_left_out": ("Deny lists beyond --max-names, which have no series.", []),
    "ratelimit_memory_bytes": ("Memory of policies, deny lists and statistics. Limiters are keys, and not in it.", []),
    "ratelimit_region_info": ("Always 1: the server's own region.", ["region"]),
    "ratelimit_region_heard_seconds": ("How long ago another region was heard.", ["region"]),
    "ratelimit_region_echo_seconds": ("How old what another region has acknowledged is.", ["region"]),
    "ratelimit_server_memory_used_bytes": ("The server's memory.", []),
    "ratelimit_server_memory_max_bytes": ("Its maxmemory; 0 is no limit.", []),
}
FROM_INFO = {
    "ratelimit_policy_mismatches": "ratelimit_policy_mismatches",
    "ratelimit_policies": "ratelimit_policies",
    "ratelimit_names": "ratelimit_names",
    "ratelimit_memory_bytes": "ratelimit_memory_bytes",
    "ratelimit_server_memory_used_bytes": "used_memory",
    "ratelimit_server_memory_max_bytes": "maxmemory",
    "ratelimit_server_evicted_keys": "evicted_keys",
}


class Samples:
    """The metrics of one look at the servers. They are written once, however many scrape, and in one format, which every
    Prometheus reads: a format of the caller's choice would be written for each choice."""

    def __init__(self):
        self.families = {}
        self.written = Once(self._write, math.inf)
        for families, kind in ((COUNTERS, CounterMetricFamily), (GAUGES, GaugeMetricFamily)):
            for name, (help_, labels) in families.items():
                self.families[name] = kind(name, help_, labels=["server", *labels])

    def add(self, name, value, *labels):
        if value is not None:
            self.families[name].add_metric(list(map(printable, labels)), value)

    def collect(self):
        return self.families.values()

    def _write(self, is_zipped):
        return gzip.compress(self.written.get(False), 1) if is_zipped else generate_latest(self)


class Names:
    """Which names of a server have series. One that has them keeps them, so that a counter never jumps."""

    def __init__(self, most):
        self.most, self.kept = most, {}

    def choose(self, server, names, policies):
        kept = self.kept.setdefault(server, {})
        for gone in kept.keys() - names.keys():
            del kept[gone]
        # Whoever operates the server has named its policies; the rest callers may have made up.
        for name in sorted(names, key=lambda name: (name not in policies, name)):
            if len(kept) >= self.most:
                break
            kept[name] = None
        return [name for name in names if name in kept]


class Collector:
    def __init__(self, fleet, max_names):
        self.fleet, self.max_names, self.names = fleet, max_names, Names(max_names)
        self.looks = Once(lambda _: self.look(), KEPT_SECONDS)  # one at a time, however many scrape at once

    def look(self):
        samples, at = Samples(), time.time()
        try:
            answers = self.fleet.ask(ask)
        except Trouble as trouble:
            answers = [(self.fleet.title, trouble)]
        for name, answer in answers:
            samples.add("ratelimit_collected_timestamp_seconds", at, name)
            if isinstance(answer, Trouble):
                warn(f"{name}: {answer}")
                samples.add("ratelimit_up", 0, name)
            else:
                samples.add("ratelimit_up", 1, name)
                self.add(samples, name, *answer)
        return samples

    def add(self, samples, server, overview, policies, notes):
        """One server's samples."""
        for name in self.names.choose(server, overview.names, policies):
            in_force = policies[name].in_force if name in policies else None
            algorithm = in_force[0] if in_force else ""
            for outcome, count in zip(OUTCOMES, overview.names[name]):
                samples.add("ratelimit_hits", count, server, name, algorithm, outcome)
            if name in overview.shadow_denied:
                samples.add("ratelimit_shadow_denied", overview.shadow_denied[name], server, name)
        samples.add("ratelimit_names_left_out", len(overview.names) - len(self.names.kept[server]), server)
        for outcome, count in zip(OUTCOMES, overview.unnamed):
            samples.add("ratelimit_unnamed_hits", count, server, outcome)
        for algorithm, counts in overview.algorithms.items():
            for outcome, count in zip(OUTCOMES, counts):
                samples.add("ratelimit_algorithm_hits", count, server, algorithm, outcome)
        for command, (calls, failed, rejected) in reading.commands(overview.fields).items():
            samples.add("ratelimit_command_calls", calls, server, command)
            samples.add("ratelimit_command_failed", failed, server, command)
            samples.add("ratelimit_command_rejected", rejected, server, command)
        oom = overview.text("errorstat_OOM") or "count=0"
        samples.add("ratelimit_server_oom_errors", int(oom.removeprefix("count=")), server)
        for metric, field in FROM_INFO.items():
            samples.add(metric, overview.number(field), server)
        samples.add("ratelimit_replica", int(overview.text("role") == "slave"), server)
        self.add_replication(samples, server, overview)
        samples.add("ratelimit_module_info", 1, server, overview.text("ratelimit_version"))
        samples.add("ratelimit_policies_fingerprint", 1, server, overview.policies_fingerprint)
        # A note is told by what is in it.
        lists = [name for name in sorted(overview.lists) if not name.endswith(synced.SUFFIX)]
        samples.add("ratelimit_deny_lists_left_out", max(0, len(lists) - self.max_names), server)
        for name in lists[: self.max_names]:
            deny_list = overview.lists[name]
            samples.add("ratelimit_deny_list_entries", deny_list.entries, server, name)
            samples.add("ratelimit_deny_list_changed_timestamp_seconds", deny_list.changed_ms / 1000, server, name)
            samples.add("ratelimit_deny_list_fingerprint", 1, server, name, deny_list.fingerprint)
        if overview.region is not None:
            samples.add("ratelimit_region_info", 1, server, overview.region)
        samples.add("ratelimit_region_changes_lost", overview.changes_lost, server)
        for name, region in overview.regions.items():
            for metric, ms in (("heard", region.heard_ms_ago), ("echo", region.echo_ms_ago)):
                samples.add(f"ratelimit_region_{metric}_seconds", None if ms is None else ms / 1000, server, name)
            for metric in ("merges", "news", "refused"):
                samples.add(f"ratelimit_region_{metric}", getattr(region, metric), server, name)
        for name, note in sorted(notes.items())[: self.max_names]:
            samples.add("ratelimit_deny_sync_timestamp_seconds", note.at, server, name)
            samples.add("ratelimit_deny_sync_entries", note.entries, server, name)

    def add_replication(self, samples, server, overview):
        if overview.text("role") == "slave":
            samples.add("ratelimit_replica_link_up", int(overview.text("master_link_status") == "up"), server)
            samples.add("ratelimit_replica_heard_seconds", overview.number("master_last_io_seconds_ago"), server)
        for replica, seconds in reading.replicas(overview.fields).items():
            samples.add("ratelimit_replica_lag_seconds", seconds, server, replica)


def ask(node):
    """What one server tells."""
    overview = reading.overview(node, "commandstats", "errorstats", "memory", "stats", "replication")
    return overview, reading.policies(node), synced.read(node, overview.lists)


class Handler(web.Handler):
    server_version = "ratelimit-exporter"

    def do_GET(self):
        is_zipped = "gzip" in self.headers.get("Accept-Encoding", "")
        body = self.server.collector.looks.get().written.get(is_zipped)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        if is_zipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format, *args):
        pass


class Web(web.Web):
    def __init__(self, address, collector):
        self.collector = collector
        super().__init__(address, Handler, warn)


def warn(text):
    print(f"ratelimit exporter: {text}", file=sys.stderr, flush=True)


def listen_address(text):
    host, _, port = text.rpartition(":")
    try:
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", port_number(port)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text):
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100000")
    return int(text)


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit exporter",
        usage="ratelimit exporter [options]",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument(
        "--listen",
        type=listen_address,
        default=("127.0.0.1", 9878),
        metavar="HOST:PORT",
        help="where Prometheus finds it (127.0.0.1:9878). It asks for no password: elsewhere than on this machine,"
        " see to it who reaches it",
    )
    parser.add_argument(
        "--max-names",
        type=count,
        default=MAX_NAMES,
        metavar="N",
        help=f"names, and deny lists, that have series of their own on each server ({MAX_NAMES}); policies go first",
    )
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, warn, timeout=3.0)
    host, port = options.listen
    try:
        web = Web(options.listen, Collector(fleet, options.max_names))
    except OSError as error:
        sys.exit(f"ratelimit exporter: cannot listen on {fit(host, 60)}:{port}: {error.strerror or error}")
    warn(f"metrics of {printable(fleet.title)} at http://{host}:{port}/metrics")
    try:
        web.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        fleet.close()
