"""The arithmetic of the page."""

import math
import statistics

BEHIND = 1.05  # less is no difference that is seen again
SURE = 0.95


def summary(values):
    """The median, and the quartiles: the extremes are other people's work on the machine."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"low": low, "median": median, "high": high}


def surely_above(values):
    """What the median of all such values lies above, with 95 %, whatever their distribution is: an order statistic. Of few
    values the least.
    """
    ordered, count = sorted(values), len(values)
    below, rank = 0.5**count, 0  # below: the chance that no more than `rank` of the values lie under the median
    while rank + 1 < count and below + math.comb(count, rank + 1) * 0.5**count <= 1 - SURE:
        rank += 1
        below += math.comb(count, rank) * 0.5**count
    return ordered[rank]


def most_within(admitted, window_ms):
    """The most hits that were admitted within a window, whenever that began. Of each is known when it was sent and when its
    answer was there; the server decided between the two. Counted are those of which both lie in the window: so never too many.
    """
    return max((sum(since <= sent and done < since + window_ms for sent, done in admitted) for since, _ in admitted), default=0)


def bursts(window_ms, limit):
    """Hits that show what a limiter admits at the worst: one that begins the key's own window, many shortly before a window of
    the clock ends, and many when the next one has begun. `ms after the begin of a window, how many`.
    """
    half = limit + limit // 2
    return [[window_ms // 100, 1], [window_ms * 7 // 10, half], [window_ms * 6 // 5, half]]


# What the worker of a service tells besides.
SERVICE = ("p50_ms", "p99_ms", "memory_mib")


def per_hit(sample, before, after):
    """One round of a row: microseconds and commands a hit."""
    hits = sample["hits"]
    found = {
        "client_us": sample["cpu_s"] / hits * 1e6,
        "rate": hits / sample["wall_s"],
        "server_us": (after["cpu_s"] - before["cpu_s"]) / hits * 1e6,
        "commands": None if after["commands"] is None else (after["commands"] - before["commands"]) / hits,
    }
    if SERVICE[0] in sample:
        found |= {"both_us": found["client_us"] + found["server_us"], **{name: sample[name] for name in SERVICE}}
    return found


def summary_of(rounds):
    return {name: None if rounds[0][name] is None else summary([one[name] for one in rounds]) for name in rounds[0]}


def of_rounds(rounds, first):
    """What a row's rounds say together; `first` are those of the row that the group is compared with, round by round."""
    found = summary_of(rounds)
    found["ratio"] = summary([own["client_us"] / other["client_us"] for own, other in zip(rounds, first, strict=True)])
    return found


# What is better the smaller it is, and how it is called.
SMALLER = {
    "client_us": "client CPU a hit, us",
    "server_us": "CPU of Redis a hit, us",
    "instructions": "instructions of Redis a hit",
    "both_us": "CPU of both a hit, us",
    "p50_ms": "half are answered within, ms",
    "p99_ms": "99 of 100 are answered within, ms",
    "memory_mib": "memory, MiB",
    "commands": "commands a hit",
    "bytes": "bytes a key",
    "admitted": "admitted of the limit",
}


TIMED = ("client_us", "server_us", "both_us", *SERVICE, "rate")  # in rounds, in which the rows of a group take turns


def value_of(row, name, limit):
    value = row.get(name)
    if isinstance(value, dict):
        value = value["median"]
    return max(limit, value) if name == "admitted" and value is not None else value


def times_of(row, peer, name, limit):
    """How many times as much `row` takes as `peer`, and what that surely is at the least: of what is timed round by round,
    as the machine was equally busy for both.
    """
    if name not in TIMED:
        times = value_of(row, name, limit) / value_of(peer, name, limit)
        return times, times
    pairs = [(own[name], other[name]) for own, other in zip(row["rounds"], peer["rounds"], strict=True)]
    ratios = [other / own if name == "rate" else own / other for own, other in pairs]
    return statistics.median(ratios), surely_above(ratios)


def behind(groups, limit):
    """Where a row of ours is behind the best of its peers, and surely so: the farthest first. To admit
    less than the limit is no merit; a window of the clock is compared with such windows; a bucket refills while it is asked."""
    found = []
    for group in groups:
        ours = [row for row in group["rows"] if row["whose"] == "ours"]
        peers = [row for row in group["rows"] if row["whose"] == "peer"]
        for name, called in (*SMALLER.items(), ("rate", "hits a second")):
            if name in group["left_out"]:
                continue
            for row in ours:
                if value_of(row, name, limit) is None:
                    continue
                known = [(*times_of(row, peer, name, limit), peer) for peer in peers if value_of(peer, name, limit)
                         and (name != "admitted" or peer["algorithm"] == row["algorithm"] != "bucket")]
                times, least, peer = max(known, key=lambda one: one[0], default=(0, 0, None))
                if times > BEHIND and least > 1:
                    found.append({"group": group["name"], "row": row["name"], "what": called, "own": value_of(row, name, limit),
                                  "peer": peer["name"], "best": value_of(peer, name, limit), "times": times})
    return sorted(found, key=lambda one: -one["times"])
