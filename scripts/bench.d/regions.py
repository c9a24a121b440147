#!/usr/bin/env python3
"""Measures what one limit over several regions admits: real servers, their relays, and a distance that loses messages.

Each setting is a key and a traffic of its own; those of the same distance run at once, on the same servers. Beside each result
is the simulation's for the same arrivals. Prints a table.
"""

import argparse
import dataclasses
import heapq
import itertools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lab.delay import Delay  # noqa: E402
from lab.regions import Region, hears  # noqa: E402
from simulation import arrivals, exact, peak, simulate  # noqa: E402

NAMES = ("eu", "us", "ap", "sa", "af")
SHARES = ("no", "open", "strict")
EVERY_MS = 50
LOST = 0.01
BROKEN = 0.1
SEED = 13
LEAD_SECONDS = 1.0
UPSTASH_LEAD_SECONDS = 0.5  # as in upstash.mjs
TOKEN = "only on this machine"
UPSTASH = ("slidingWindow",)  # as what it is measured beside


@dataclasses.dataclass(frozen=True)
class Setting:
    name: str
    rates: tuple  # hits a second, of each region
    limit: int
    window: int  # ms
    until: int  # ms
    spread: tuple  # the shortest and the longest way, ms
    burst: tuple = None  # (every ms, hits in each region)
    cut: tuple = None  # (from, until), ms
    lost: float = LOST

    @property
    def regions(self):
        return len(self.rates)

    def lag(self, one, other):
        least, most = self.spread
        return least + (most - least) * ((one + other) * 7 % 10) / 9


def settings(seconds):
    """Groups of what runs at once."""
    until = 1000 * seconds
    near, far, apart = (50, 150), (250, 500), (400, 500)
    even = (10.0, 10.0, 10.0)
    cut = (3 * until // 10, 6 * until // 10)
    return [
        [
            Setting("even", even, 100, 10_000, until, near),
            Setting("skewed 80/15/5", (24.0, 4.5, 1.5), 100, 10_000, until, near),
            Setting("roaming bursts", (3.0, 3.0, 3.0), 100, 10_000, until, near, burst=(20_000, 100)),
            Setting("fast", (150.0, 150.0, 150.0), 150, 1_000, until, near),
            Setting("fast, 80/15/5", (360.0, 67.5, 22.5), 150, 1_000, until, near),
        ],
        [Setting("five regions, far", (6.0,) * 5, 100, 10_000, until, far)],
        [Setting("one cut off", even, 100, 10_000, until, near, cut=cut)],
        [Setting("fast, two far", (150.0, 150.0), 150, 1_000, until, apart)],
    ]


class Callers(threading.Thread):
    """Ask in one region, each hit at its time."""

    def __init__(self, region, calls, began):
        super().__init__(daemon=True)
        self.region, self.calls, self.began = region, calls, began
        self.admitted = []  # (ms, setting)
        self.latest = 0.0

    def run(self):
        node = self.region.connect()
        for at, setting in self.calls:
            time.sleep(max(0.0, self.began + at / 1000 - time.monotonic()))
            reply = node.call("RL.SLIDING", setting.name, setting.limit, f"{setting.window}ms")
            now = 1000 * (time.monotonic() - self.began)
            self.latest = max(self.latest, now - at)
            if reply[0] == 1:
                self.admitted.append((now, setting))
        node.close()


def measure(group, module, share, hits):
    """{setting: when hits were admitted}, and how late the latest hit was."""
    first = group[0]
    regions, ways = [], []
    try:
        names = NAMES[: first.regions]
        regions += [Region(name, module, share, names) for name in names]
        for one, here in enumerate(regions):
            own = {}
            for other, there in enumerate(regions):
                if other != one:
                    way = Delay(there.port, first.lag(one, other) / 1000, LOST, BROKEN)
                    ways.append((one, other, way))
                    own[there.name] = way.port
            here.carry_to(own, f"{EVERY_MS}ms")
        await_all(regions)
        began = time.monotonic() + LEAD_SECONDS
        callers = []
        for place, region in enumerate(regions):
            calls = heapq.merge(*([(at, setting) for at, where in hits[setting] if where == place] for setting in group), key=lambda call: call[0])
            callers.append(Callers(region, list(calls), began))
            callers[-1].start()
        if first.cut:
            switch(first.cut, began, ways)
        for each in callers:
            each.join()
        admitted = {setting: [at for each in callers for at, which in each.admitted if which is setting] for setting in group}
        sent, lost, broken = (sum(getattr(way, what) for _, _, way in ways) for what in ("messages", "losses", "breaks"))
        print(f"# {share}: {sent:,} messages, {lost:,} lost, {broken:,} with their connection", file=sys.stderr)
        return admitted, max(each.latest for each in callers)
    finally:
        for _, _, way in ways:
            way.close()
        for region in regions:
            region.close()


def await_all(regions):
    until = time.monotonic() + 30
    for region in regions:
        while not hears(region.node, [other.name for other in regions if other is not region]):
            if time.monotonic() > until:
                sys.exit(f"{region.name} does not hear all others")
            time.sleep(0.05)


def upstash(setting, module, packages, algorithm, hits):
    """The same traffic through MultiRegionRatelimit, over the comparison's own bridge (ratelimit-rest lets no script through):
    when hits were admitted, and how late the latest was."""
    regions, ways, programs = [], [], []
    # Imports are found from where a program stands.
    for source in (HERE / "upstash.mjs", HERE / "upstash-database.mjs", HERE.parent / "peers.d" / "node" / "bridge.mjs"):
        (packages / source.name).write_bytes(source.read_bytes())
    try:
        regions += [Region(name, module, "no") for name in NAMES[: setting.regions]]
        ports = []
        for region in regions:
            command = ["node", packages / "bridge.mjs", str(region.port)]
            programs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            ports.append(int(programs[-1].stdout.readline()))
        urls = [[f"http://127.0.0.1:{port}" for port in ports] for _ in regions]
        for one in range(setting.regions):
            for other, port in enumerate(ports):
                if one != other:
                    ways.append((one, other, Delay(port, setting.lag(one, other) / 1000, LOST)))
                    urls[one][other] = f"http://127.0.0.1:{ways[-1][2].port}"
        request = {"algorithm": algorithm, "limit": setting.limit, "windowMs": setting.window, "token": TOKEN, "hits": hits, "urls": urls}
        program = subprocess.Popen(["node", packages / "upstash.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        programs.append(program)
        program.stdin.write(json.dumps(request))
        program.stdin.close()
        program.stdout.readline()
        began = time.monotonic() + UPSTASH_LEAD_SECONDS
        if setting.cut:
            switch(setting.cut, began, ways)
        told = json.loads(program.stdout.readline())
        print(f"# {algorithm}, {setting.name}: {told['failed']:,} of {len(hits):,} failed or were not repaired, "
              f"{told['repairs']:,} repairs under way at the end", file=sys.stderr)
        return told["admitted"], told["latest"]
    finally:
        for program in programs:
            program.kill()
            program.wait()
        for _, _, way in ways:
            way.close()
        for region in regions:
            region.close()


def switch(cut, began, ways):
    """Cuts the first region off, and joins it again."""
    for at, change in zip(cut, (Delay.cut, Delay.join)):
        time.sleep(max(0.0, began + at / 1000 - time.monotonic()))
        for one, other, way in ways:
            if 0 in (one, other):
                change(way)


def cell(setting, times, hits):
    return "{} / {}".format(*shares(setting, times, hits))


def shares(setting, times, hits):
    """What was admitted within one window, at most, in per cent of the limit; and in all, of what one exact limiter would."""
    return round(100 * peak(times, setting.window) / setting.limit), round(100 * len(times) / exact(setting, hits))


def main():
    parser = argparse.ArgumentParser(prog="regions.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=os.path.realpath)
    parser.add_argument("--seconds", type=int, default=60, help="of each run (60)")
    parser.add_argument("--only", default="", help="a part of the settings' names")
    parser.add_argument("--upstash", type=pathlib.Path, metavar="DIR",
                        help="@upstash/ratelimit instead, installed in DIR by scripts/bench-peers (target/peers/node)")
    options = parser.parse_args()
    groups = [[setting for setting in group if options.only in setting.name] for group in settings(options.seconds)]
    columns = UPSTASH if options.upstash else [f"{share} | simulated" for share in SHARES]
    titles = ["", *" | ".join(columns).split(" | "), "latest hit, ms"]
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|", flush=True)
    for group in filter(None, groups):
        hits = {setting: arrivals(setting, SEED) for setting in group}
        cells, latest = {setting: [] for setting in group}, 0.0
        if options.upstash:
            for setting, algorithm in itertools.product(group, UPSTASH):
                times, late = upstash(setting, options.module, options.upstash, algorithm, hits[setting])
                cells[setting].append(cell(setting, times, hits[setting]))
                latest = max(latest, late)
        else:
            for share in SHARES:
                admitted, late = measure(group, options.module, share, hits)
                latest = max(latest, late)
                for setting in group:
                    simulated = simulate(setting, hits[setting], share, EVERY_MS, SEED)
                    cells[setting] += [cell(setting, times, hits[setting]) for times in (admitted[setting], simulated)]
        for setting in group:
            print(f"| {setting.name} | " + " | ".join(cells[setting]) + f" | {latest:.0f} |", flush=True)


if __name__ == "__main__":
    main()
