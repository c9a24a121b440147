"""One sliding limit over several regions, simulated: the same arrivals that scripts/bench.d/regions.py sends to servers.

Times are milliseconds. `exact` is one limiter that every region reaches at once: what is admitted is measured against it.
"""

import collections
import heapq
import itertools
import random

ENTRIES = 32  # of an exported log
HEARD_MS = 2000
TURN_MS = 1000


class Network:
    """One-way delays; what is lost arrives when it is sent again. `cut` is (from, until): region 0 reaches nobody then."""

    def __init__(self, setting, seed):
        self.setting, self.random = setting, random.Random(seed)

    def is_cut(self, at, one, other):
        begin, end = self.setting.cut or (0, 0)
        return begin <= at < end and 0 in (one, other)

    def delay(self, at, one, other):
        """None where it does not arrive."""
        if self.is_cut(at, one, other):
            return None
        lag = self.setting.lag(one, other)
        delay = lag * (1 + self.random.expovariate(8))
        if self.random.random() < self.setting.lost:
            delay += max(200, 2 * lag)
        return int(delay) + 1


class Log:
    def __init__(self, window):
        self.window, self.times = window, collections.deque()

    def used(self, now):
        while self.times and self.times[0] + self.window <= now:
            self.times.popleft()
        return len(self.times)

    def export(self, now):
        """Times and counts; of each part of a window one entry, at the latest time."""
        self.used(now)
        width = max(1, self.window // ENTRIES)
        parts = {}
        for time in self.times:
            last, count = parts.get(time // width, (0, 0))
            parts[time // width] = (max(last, time), count + 1)
        return tuple(parts.values())


class Regions:
    """A log per region; each tells the others every `every` ms. `share`: no, open, strict."""

    def __init__(self, setting, share, every, network, push):
        self.setting, self.share, self.every, self.network, self.push = setting, share, every, network, push
        count = setting.regions
        self.own = [Log(setting.window) for _ in range(count)]
        self.seen = [[(0, ())] * count for _ in range(count)]
        self.heard, self.echo, self.at = ([[0] * count for _ in range(count)] for _ in range(3))
        self.arrives = {}
        for region in range(count):
            push(1 + network.random.randrange(every), region, None, None)

    def hit(self, now, region):
        mine = self.own[region].used(now)
        others = (told for other, (_, told) in enumerate(self.seen[region]) if other != region)
        view = mine + sum(count for told in others for time, count in told if time + self.setting.window > now)
        if view + 1 > self.setting.limit or not self.is_fair(now, region, view):
            return False
        self.own[region].times.append(now)
        return True

    def is_fair(self, now, region, view):
        others = [other for other in range(self.setting.regions) if other != region]
        if self.share == "open":
            others = [other for other in others if now - self.at[region][other] < HEARD_MS + self.every]
        if self.share == "no" or not others:
            return True
        since, count = min(self.echo[region][other] for other in others), len(others) + 1
        recent = sum(time > since for time in self.own[region].times)
        share, rest = divmod(self.setting.limit - (view - recent), count)
        # A turn counts once each other region is heard past its beginning.
        is_turn = all(self.heard[region][other] >= now - now % TURN_MS for other in others)
        return recent + 1 <= share + (is_turn and (region + now // TURN_MS) % count < rest)

    def event(self, now, region, sender, told):
        if sender is None:
            self.push(now + self.every, region, None, None)
            for other in range(self.setting.regions):
                delay = None if other == region else self.network.delay(now, region, other)
                if delay is not None:
                    # One connection: nothing overtakes.
                    arrival = max(now + delay, self.arrives.get((region, other), 0))
                    self.arrives[region, other] = arrival
                    self.push(arrival, other, region, (now, self.own[region].export(now), self.heard[region][other]))
        else:
            stamp, log, echo = told
            self.heard[region][sender] = max(self.heard[region][sender], stamp)
            self.echo[region][sender] = max(self.echo[region][sender], echo)
            self.at[region][sender] = now
            if stamp > self.seen[region][sender][0]:
                self.seen[region][sender] = (stamp, log)


def arrivals(setting, seed):
    """(ms, region) of every hit."""
    chance, hits = random.Random(seed), []
    for region, per_second in enumerate(setting.rates):
        at = chance.expovariate(per_second / 1000)
        while at < setting.until:
            hits.append((int(at), region))
            at += chance.expovariate(per_second / 1000)
        if setting.burst:
            every, count = setting.burst
            for begin in range(every // 2, setting.until, every):
                hits += [(begin + chance.randrange(setting.window // 60), region) for _ in range(count)]
    return sorted(hits)


def exact(setting, hits):
    log, admitted = Log(setting.window), 0
    for at, _ in hits:
        if log.used(at) < setting.limit:
            log.times.append(at)
            admitted += 1
    return admitted


def peak(times, window):
    """The most in any window."""
    log, most = Log(window), 0
    for at in sorted(times):
        log.times.append(at)
        most = max(most, log.used(at))
    return most


def simulate(setting, hits, share, every, seed):
    """When hits are admitted."""
    events, order = [], itertools.count()
    regions = Regions(setting, share, every, Network(setting, seed), lambda at, *rest: heapq.heappush(events, (at, next(order), rest)))
    admitted = []
    for at, region in hits:
        while events and events[0][0] <= at:
            when, _, rest = heapq.heappop(events)
            regions.event(when, *rest)
        if regions.hit(at, region):
            admitted.append(at)
    return admitted
