"""The results as Markdown, and what the bounds say. A bound that is missed is reported, never an error."""

import ending
import scale
from memory import CASES
from rows import ROWS

GROWTH_BOUND = 0.15


def instruction_checks(row, counted):
    """As [`checks`], of one row's instructions."""
    multiple = lambda name: counted[name]["multiple"]["median"]
    if row.bound:
        yield at_most(f"{row.name}: instructions", row.bound, multiple(row.name), "x INCR")
    if row.share and row.share[0] in counted:
        base, times, bound = row.share
        share = multiple(row.name) / (times * multiple(base))
        yield at_most(f"{row.name}: instructions", bound, share, f"of {times} x {base}")
    if row.over and row.over[0] in counted:
        base, steps, bound = row.over
        each = f", each of {steps}" if steps > 1 else ""
        over = multiple(row.name) - multiple(base)
        yield at_most(f"{row.name}: instructions over {base}{each}", bound, over / steps, "x INCR")
        empty, empty_base = row.empty, next(other.empty for other in ROWS if other.name == base)
        if empty in counted and empty_base in counted:
            words = multiple(empty) - multiple(empty_base)
            yield at_most(f"the same, less what the further words and replies take in an empty command{each}", bound,
                          (over - words) / steps, "x INCR")


def checks(figures):
    """[{what, bound, measured, met}] for every bound whose row was measured."""
    found = []
    counted = figures["instructions"]
    for row in ROWS:
        if row.name not in counted:
            continue
        found += instruction_checks(row, counted)
        if row.ratio_bound:
            ratio = figures["throughput"]["pipelined"][row.name]["rps_ratio"]["median"]
            found.append({"what": f"{row.name}: throughput with -P 64", "bound": f">= {row.ratio_bound} of INCR",
                          "measured": round(ratio, 3), "met": ratio >= row.ratio_bound})
    for case in CASES:
        if case.bound and figures["memory"].get(case.name):
            found.append(at_most(f"{case.name}: memory", case.bound, figures["memory"][case.name], "bytes per key"))
    growth = figures["growth"]
    if len(growth) > 1:
        least, most = min(growth, key=int), max(growth, key=int)
        for name in growth[least]:
            if name == "INCR":
                continue
            small, large = (growth[size][name]["pipelined"]["rps_ratio"]["median"] for size in (least, most))
            change = large / small - 1  # below zero: it falls behind INCR as keys are added
            found.append({"what": f"{name}: ratio to INCR, from {int(least):,} to {int(most):,} keys",
                          "bound": f"within {GROWTH_BOUND:.0%}", "measured": f"{change:+.1%}",
                          "met": abs(change) <= GROWTH_BOUND})
    return found


def at_most(what, bound, measured, unit):
    return {"what": what, "bound": f"<= {bound} {unit}", "measured": round(measured, 3), "met": measured <= bound}


def table(head, lines):
    """Markdown, the first column to the left and the others to the right."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows) + "\n"


def times(value):
    return f"{value:.2f}"


def spread(value, write=times):
    low, middle, high = write(value["low"]), write(value["median"]), write(value["high"])
    return middle if low == high else f"{middle} ({low} - {high})"


def thousands(value):
    return f"{value / 1000:,.0f} k"


def markdown(figures):
    facts = figures["facts"]
    parts = [
        f"# Benchmark, {facts['date']}\n",
        f"{facts['server']}, {facts['allocator']}, module {facts['module']} (loaded: {facts['module_loaded']}). "
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, Linux {facts['kernel']}. "
        f"{facts['valgrind']}. "
        + (f"**The machine was busy with other work when it began ({facts['busy']:.0%} of its CPU): mistrust what is timed.** "
           if facts["busy"] > 0.1 else "")
        + ("A quick run: short and once, good for a look. " if facts["mode"] == "quick" else "")
        + "Every figure is the median, with the least and the most in brackets. The client runs on the same machine "
          "as the server.\n",
        "## Bounds\n",
        table(["what", "bound", "measured", "met"],
              [[c["what"], c["bound"], c["measured"], "yes" if c["met"] else "**no**"] for c in figures["checks"]]),
        "## Instructions per command\n",
        "Under callgrind, 1,000 keys, 16 commands to a write; the difference of two run lengths, so that start-up cancels "
        "out. `x INCR`: as a multiple of INCR in the same repetition. `empty`: the multiple of a command that does nothing, "
        "with as many words and a reply of the same shape. Sliding rows say how many entries the log had.\n",
        instructions(figures),
        "## Throughput\n",
        "redis-benchmark, 50 connections, 100,000 keys at random. `of INCR`: to the mean of the INCR runs just before and "
        "after. `server us`: CPU time of the server's main thread for one command, and its multiple of INCR's, which neither "
        "the client's own cost nor other work on the machine blurs much.\n",
        throughput(figures["throughput"]),
        "## Latency, in ms\n",
        "50 connections, one command at a time each.\n",
        latency(figures["throughput"]["single"]),
        "## Memory\n",
        "What used_memory grows by, per key: names of 14 bytes, TTL included, 200,000 keys (20,000 for the full logs).\n",
        table(["key", "bytes", "bound"],
              [[case.name, f"{figures['memory'][case.name]:,.0f}", f"{case.bound:,}" if case.bound else ""]
               for case in CASES if figures["memory"].get(case.name)]),
        "## What propagation costs\n",
        "Throughput with -P 64, one run on each server in turn. `of alone`: to the same command on a server without AOF "
        "and replica. The replica runs on the same machine and takes its share of the CPU.\n",
        propagation(figures["propagation"]),
    ]
    if figures["growth"]:
        parts += ["## Growth\n", growth(figures["growth"]), growth_instructions(figures["growth_instructions"])]
    if figures["growth_left_out"]:
        parts.append(f"Left out, for want of memory: {', '.join(f'{size:,}' for size in figures['growth_left_out'])} keys.\n")
    if figures["scale"]:
        parts += [f"## {scale.KEYS:,} keys\n",
                  f"Names of 14 bytes. BGSAVE while {scale.PACE:,} hits a second arrive at keys at random; `copied` is what that copies. "
                  "A replica that synchronises runs on the same machine, its master's file not on a disk.\n",
                  large(figures["scale"])]
    elif facts["mode"] != "quick":
        parts.append(f"Left out, for want of memory: {scale.KEYS:,} keys.\n")
    if figures["ending"]:
        parts += [f"## {ending.KEYS:,} keys that end at one moment\n",
                  "A PING each millisecond, from a second before until all keys are gone (`hz` 10, no lazy freeing).\n",
                  ends(figures["ending"])]
    if figures["skipped"]:
        parts += ["## Skipped\n", *(f"- {name}: `{why[:100]}`" for name, why in figures["skipped"].items()), ""]
    return "\n".join(parts)


def instructions(figures):
    lines = []
    for row in ROWS:
        if row.name not in figures["instructions"]:
            continue
        found, aof = figures["instructions"][row.name], figures["instructions_aof"].get(row.name)
        entries = found.get("entries")
        lines.append([
            row.name,
            spread(found["instructions"], lambda value: f"{value:,.0f}"),
            spread(found["multiple"]),
            times(figures["instructions"][row.empty]["multiple"]["median"]) if row.empty in figures["instructions"] else "",
            f"{aof['instructions']['median']:,.0f} ({times(aof['multiple']['median'])})" if aof else "",
            " - ".join(map(str, dict.fromkeys(entries))) if entries else "",
        ])
    return table(["command", "instructions", "x INCR", "empty", "with AOF everysec (x INCR)", "entries"], lines)


def throughput(views):
    lines = []
    for name, pipelined in views["pipelined"].items():
        single = views["single"][name]
        lines.append([
            name, thousands(pipelined["rps"]["median"]), spread(pipelined["rps_ratio"]), times(pipelined["cpu_us"]["median"]),
            spread(pipelined["cpu_us_ratio"]),
            thousands(single["rps"]["median"]), spread(single["rps_ratio"]), times(single["cpu_us"]["median"]),
        ])
    return table(["command", "-P 64: a second", "of INCR", "server us", "x INCR", "no pipelining: a second", "of INCR", "server us"], lines)


def latency(rows):
    fields = ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms")
    return table(["command", "p50", "p95", "p99", "p99.9"],
                 [[name, *(spread(found[field], lambda value: f"{value:.3f}") for field in fields)]
                  for name, found in rows.items()])


def propagation(conditions):
    names = list(conditions)
    lines = []
    for name in conditions["alone"]:
        alone = conditions["alone"][name]["rps"]["median"]
        line = [name]
        for condition in names:
            found = conditions[condition][name]
            share = "" if condition == "alone" else f", {times(found['rps']['median'] / alone)} of alone"
            line.append(f"{thousands(found['rps']['median'])}, {times(found['rps_ratio']['median'])} of INCR{share}")
        lines.append(line)
    return table(["command", *names], lines)


def growth(sizes):
    lines = [
        [f"{int(size):,}", name, f"{found['bytes']:,.0f}", thousands(found["pipelined"]["rps"]["median"]),
         spread(found["pipelined"]["rps_ratio"]), times(found["pipelined"]["cpu_us_ratio"]["median"]),
         spread(found["single"]["rps_ratio"]),
         *(f"{found['single'][field]['median']:.3f}" for field in ("p50_ms", "p99_ms"))]
        for size, rows in sizes.items() for name, found in rows.items()
    ]
    return table(["keys", "command", "bytes a key", "-P 64: a second", "of INCR", "server CPU, x INCR",
                  "no pipelining: of INCR", "p50 ms", "p99 ms"], lines)


def large(cases):
    return table(["keys", "resident bytes a key", "RDB bytes a key", "BGSAVE s", "copied MB", "load s", "full sync s"],
                 [[name, f"{found['rss']:,.0f}", f"{found['rdb']:.1f}", f"{found['bgsave_s']:.1f}", f"{found['cow_mb']:,.0f}",
                   f"{found['load_s']:.1f}", f"{found['sync_s']:.1f}"] for name, found in cases.items()])


def ends(cases):
    fields = ("p50_ms", "p99_ms", "worst_ms", "gone_s")
    return table(["keys", "PING: p50 ms", "p99 ms", "worst ms", "all gone after s"],
                 [[name, *(spread(found[field]) for field in fields)] for name, found in cases.items()])


def growth_instructions(sizes):
    names = list(next(iter(sizes.values())))
    multiple = lambda counts, name: f"{counts[name]:,.0f} ({times(counts[name] / counts['INCR'])} x INCR)"
    lines = [[f"{int(size):,}", *(multiple(counts, name) for name in names)] for size, counts in sizes.items()]
    return table(["keys", *(f"{name}: instructions" for name in names)], lines)
