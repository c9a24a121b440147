"""One limit over several regions: ours, and MultiRegionRatelimit on the same hits and distances."""

import pathlib

import regions

SEED = 13
TITLE = "Several regions"


def measured(module, packages, seconds):
    """`[{"row", "whose", "setting", "peak", "admitted", "late"}]`; the last three in per cent, per cent and ms."""
    found = []
    group = regions.settings(seconds)[0][:2]  # even, and 80/15/5
    hits = {setting: regions.arrivals(setting, SEED) for setting in group}

    def add(name, whose, setting, times, late):
        most, admitted = regions.shares(setting, times, hits[setting])
        found.append({"row": name, "whose": whose, "setting": setting.name, "peak": most, "admitted": admitted, "late": round(late)})

    for share in ("open", "strict"):
        admitted, late = regions.measure(group, module, share, hits)
        for setting in group:
            add(f"`ratelimit.region-share {share}`", "ours", setting, admitted[setting], late)
    for setting in group:
        add("@upstash/ratelimit, MultiRegionRatelimit, slidingWindow", "peer", setting,
            *regions.upstash(setting, module, pathlib.Path(packages), "slidingWindow", hits[setting]))
    return found
