"""The arithmetic of the page."""

import statistics

BEHIND = 1.05  # less is no difference that is seen again


def summary(values):
    return {"low": min(values), "median": statistics.median(values), "high": max(values)}


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


def per_hit(sample, before, after):
    """One round of a row: microseconds and commands a hit."""
    hits = sample["hits"]
    return {
        "client_us": sample["cpu_s"] / hits * 1e6,
        "rate": hits / sample["wall_s"],
        "server_us": (after["cpu_s"] - before["cpu_s"]) / hits * 1e6,
        "commands": (after["commands"] - before["commands"]) / hits,
    }


def of_rounds(rounds, first):
    """What a row's rounds say together; `first` are those of the row that the group is compared with, round by round."""
    found = {name: summary([one[name] for one in rounds]) for name in rounds[0]}
    found["ratio"] = summary([own["client_us"] / other["client_us"] for own, other in zip(rounds, first, strict=True)])
    return found


# What is better the smaller it is, and how it is called.
SMALLER = {
    "client_us": "client CPU a hit, us",
    "server_us": "CPU of Redis a hit, us",
    "instructions": "instructions of Redis a hit",
    "commands": "commands a hit",
    "bytes": "bytes a key",
    "admitted": "admitted of the limit",
}


def value_of(row, name, limit):
    value = row.get(name)
    if isinstance(value, dict):
        value = value["median"]
    return max(limit, value) if name == "admitted" and value is not None else value


def behind(groups, limit):
    """Where a row of ours is behind the best of its peers: the farthest first. To admit
    less than the limit is no merit; a window of the clock is compared with such windows; a bucket refills while it is asked."""
    found = []
    for group in groups:
        ours = [row for row in group["rows"] if row["whose"] == "ours"]
        peers = [row for row in group["rows"] if row["whose"] == "peer"]
        for name, called in (*SMALLER.items(), ("rate", "hits a second")):
            if name in group["left_out"]:
                continue
            for row in ours:
                own = value_of(row, name, limit)
                known = [(value_of(peer, name, limit), peer["name"]) for peer in peers if value_of(peer, name, limit) is not None
                         and (name != "admitted" or peer["algorithm"] == row["algorithm"] != "bucket")]
                if own is None or not known:
                    continue
                best, whose = max(known) if name == "rate" else min(known)
                times = best / own if name == "rate" else own / best
                if times > BEHIND:
                    found.append({"group": group["name"], "row": row["name"], "what": called, "own": own, "peer": whose, "best": best, "times": times})
    return sorted(found, key=lambda one: -one["times"])
