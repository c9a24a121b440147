#!/usr/bin/env python3
"""Measures how much of a limit regions admit together at the worst, state by state: real servers, relays, a way that loses messages.

Callers in every region ask for new keys all at once, in bursts, for more than the limit, and nothing of it ever expires. What is
told is the most that was admitted of any key, in % of the limit, and how much of all limits was admitted in the end. Prints a table.
"""

import argparse
import collections
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lab.delay import Delay  # noqa: E402
from lab.regions import Region, hears  # noqa: E402

NAMES = ("ap", "eu", "us")
LIMIT = 10
LAG_SECONDS = 0.1
LOST, BROKEN = 0.01, 0.1
EVERY = "20ms"
KEYS = 40  # at once
SET_SECONDS = 5.0  # for which the same keys are asked for: several turns of each region
CUT_SECONDS = 13.0  # after which no region counts as heard any more
SEED = 17


class Callers(threading.Thread):
    """Ask in one region, until told to stop."""

    def __init__(self, region, place, costs, current):
        super().__init__(daemon=True)
        self.region, self.costs, self.current = region, costs, current
        self.random = random.Random(SEED + place)
        self.admitted = collections.Counter()
        self.ended = threading.Event()

    def run(self):
        node = self.region.connect()
        while not self.ended.is_set():
            name, cost = self.current(self.random), self.random.choice(self.costs)
            burst = self.random.choice((1, 2, LIMIT)) if cost == 1 else 1
            replies = node.pipeline([["RL.FIXED", name, LIMIT, "30d", "COST", cost]] * burst)
            self.admitted[name] += sum(cost for reply in replies if reply[0] == 1)
            time.sleep(0.002)
        node.close()


class World:
    """Regions, their relays and the ways between them."""

    def __init__(self, module, share, count):
        self.module, self.share, self.names = module, share, NAMES[:count]
        self.regions = [self.start(name) for name in self.names]
        self.ways = []

    def start(self, name):
        return Region(name, self.module, self.share, self.names)

    def join(self):
        """Relays between all, until each hears all others."""
        for here in self.regions:
            own = {}
            for there in self.regions:
                if there is not here:
                    way = Delay(there.port, LAG_SECONDS, LOST, BROKEN)
                    self.ways.append((here, there, way))
                    own[there.name] = way.port
            here.carry_to(own, EVERY)
        for region in self.regions:
            until = time.monotonic() + 60
            while not hears(region.node, [name for name in self.names if name != region.name]):
                if time.monotonic() > until:
                    sys.exit(f"{region.name} does not hear all others")
                time.sleep(0.05)

    def cut(self, region):
        for here, there, way in self.ways:
            if region in (here, there):
                way.cut()
        time.sleep(CUT_SECONDS)

    def ask(self, seconds, costs=(1,), regions=None, prefix="k"):
        """What was admitted of each key."""
        began = time.monotonic()

        def current(chance):
            return f"{prefix}:{int((time.monotonic() - began) / SET_SECONDS)}:{chance.randrange(KEYS)}"

        callers = [Callers(region, place, costs, current) for place, region in enumerate(regions or self.regions)]
        for caller in callers:
            caller.start()
        time.sleep(seconds)
        for caller in callers:
            caller.ended.set()
        for caller in callers:
            caller.join()
        return sum((caller.admitted for caller in callers), collections.Counter())

    def close(self):
        for _, _, way in self.ways:
            way.close()
        for region in self.regions:
            region.close()


def heard(world, seconds):
    world.join()
    return world.ask(seconds)


def heard_large(world, seconds):
    world.join()
    return world.ask(seconds, costs=(1, LIMIT // 2 + 1, LIMIT))


def cut_off(world, seconds):
    world.join()
    world.cut(world.regions[0])
    return world.ask(seconds)


def all_cut_off(world, seconds):
    world.join()
    for region in world.regions:
        world.cut(region)
    return world.ask(seconds)


def all_started(world, seconds):
    return world.ask(seconds)


def one_started(world, seconds):
    """A region comes back with nothing, to what the others have used up."""
    world.join()
    before = world.ask(SET_SECONDS)
    world.regions[0].close()
    world.regions[0] = world.start(world.names[0])
    return before + world.ask(SET_SECONDS, regions=world.regions[:1])


STATES = [
    ("all hear each other, no cost above the share", heard),
    ("all hear each other, any cost", heard_large),
    ("one is cut off", cut_off),
    ("each is cut off from each", all_cut_off),
    ("all have just started", all_started),
    ("one has just started, without its data", one_started),
]


def main():
    parser = argparse.ArgumentParser(prog="region_states.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=os.path.realpath)
    parser.add_argument("--seconds", type=int, default=30, help="of each run (30)")
    parser.add_argument("--only", default="", help="a part of the states' names")
    options = parser.parse_args()
    columns = [(share, count) for share in ("open", "strict") for count in (2, 3)]
    print("| | " + " | ".join(f"`{share}`, {count} regions" for share, count in columns) + " |\n" + "|---" * 5 + "|", flush=True)
    for title, state in STATES:
        if options.only not in title:
            continue
        cells = []
        for share, count in columns:
            world = World(options.module, share, count)
            try:
                admitted = state(world, options.seconds)
            finally:
                world.close()
            most, all_of_it = max(admitted.values()), sum(admitted.values()) / len(admitted)
            cells.append(f"{100 * most / LIMIT:.0f} / {100 * all_of_it / LIMIT:.0f}")
            print(f"# {title}, {share}, {count}: {len(admitted)} keys, most {most} of {LIMIT}", file=sys.stderr, flush=True)
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
