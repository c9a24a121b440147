"""The benchmark. Measures the rows of rows.py in every view and writes results.md, .json and .svg, and profile.md: where
the instructions of those rows go that are over a bound."""

import json
import os
import pathlib
import statistics
import sys

import chart
import ending
import growth
import instructions
import machine
import memory
import profile
import propagation
import report
import scale
import throughput
from logs import Logs
from progress import Progress
from rows import INCR, ROWS
from server import Server

QUICK = os.environ.get("QUICK", "") not in ("", "0")
KEYS = 100_000
PROPAGATED = ("SET PX", "RL.FIXED allowed", "RL.FIXED denied", "RL.SLIDING allowed", "RL.BUCKET allowed",
              "Lua fixed window, allowed", "Lua sorted-set log, allowed")
GROWN = ("RL.FIXED allowed", "RL.FIXED denied")
LISTED = 30  # functions in each listing of where the instructions go

# repetitions, the two lengths of a callgrind count in rounds over the keys, seconds for a run of redis-benchmark
if QUICK:
    COUNTS, ROUNDS, RUNS, SECONDS = 2, (1, 3), 1, 0.3
else:
    COUNTS, ROUNDS, RUNS, SECONDS = 3, (2, 8), 7, 0.8


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summary(runs):
    """Median, least and most of every figure of the runs."""
    return {field: spread([run[field] for run in runs]) for field in runs[0]}


def count_instructions(module, rows, logs, step, aof):
    """{row: (its counts, INCR's multiple of each repetition, entries in its logs)}"""
    counts, entries = {row: [] for row in rows}, {}
    with instructions.Callgrind(module, *(propagation.AOF if aof else ())) as server:
        for row in rows:
            server.refusal(row)  # whatever the row needs once
        for number in range(COUNTS):
            for row in sorted(rows, key=lambda row: row.log == "steady"):  # those wait for their logs, so they go last
                step(f"instructions{', AOF everysec' if aof else ''}: {row.name}, {number + 1} of {COUNTS}")
                if QUICK and number and row.kind == "lua":
                    continue  # once is enough for a look: these take the longest
                counts[row].append(server.per_command(row, logs, ROUNDS))
                if row.log and row.kind == "native":
                    entries[row] = server.entries(row)
    return {
        row.name: {
            "instructions": spread(counts[row]),
            "multiple": spread([count / incr for count, incr in zip(counts[row], counts[INCR])]),
            **({"entries": entries[row]} if entries.get(row) else {}),
        }
        for row in rows
    }


def list_instructions(module, rows, logs, step):
    """Where the instructions of these rows go, as text."""
    found = []
    with instructions.Callgrind(module) as server:
        for row in rows:
            step(f"where they go: {row.name}")
            server.refusal(row)
            found.append(profile.listings(server, row, logs, LISTED))
    return "\n".join(found)


def main(module, results):
    with Server(module) as server:
        skipped = {row.name: why for row in ROWS if (why := server.refusal(row))}
        facts = machine.facts(server, QUICK)
    rows = [row for row in ROWS if row.name not in skipped]
    written = [row for row in rows if row.writes]
    timed = [row for row in rows if not row.then]
    carried = [row for row in rows if row.name in PROPAGATED]
    grown = [row for row in rows if row.name in GROWN]
    aof_rows = [row for row in written if not QUICK or row is INCR or row.name in PROPAGATED and row.kind != "lua"]
    progress = Progress((len(rows) + len(aof_rows)) * COUNTS + 2 * (len(timed) - 1) * RUNS + len(memory.CASES)
                        + 3 * len(carried) * RUNS
                        + (0 if QUICK else len(growth.SIZES) * (1 + len(grown) + 2 * len(grown) * RUNS)
                           + len(growth.COUNTED_SIZES) * (3 + 2 * len(grown)) + scale.STEPS + ending.STEPS))
    step = progress.step
    logs = Logs(module, rows)
    try:
        counted = count_instructions(module, rows, logs, step, aof=False)
        counted_aof = count_instructions(module, aof_rows, logs, step, aof=True)
        missed = [row for row in rows if not all(check["met"] for check in report.instruction_checks(row, counted))]
        listed = list_instructions(module, missed, logs, step)
        with Server(module) as server:
            for row in rows:
                server.refusal(row)
            throughput.fill(server, timed, KEYS, logs)
            runs = {
                name: {row.name: summary(results) for row, results in
                       throughput.compare(server, timed, KEYS, pipeline, RUNS, SECONDS, step).items()}
                for name, pipeline in (("pipelined", 64), ("single", 1))
            }
        carried_runs = propagation.measure(module, carried, logs, RUNS, SECONDS / 2, step)
    finally:
        logs.stop()
    sizes = {}
    for case in memory.CASES:
        step(f"memory: {case.name}")
        sizes[case.name] = memory.bytes_per_key(module, case, QUICK)
    growing, left_out, growing_counts, large, ended = {}, [], {}, {}, {}
    if not QUICK:
        growing, left_out = growth.measure(module, grown, RUNS, SECONDS, step)
        growing_counts = growth.instructions(module, grown, step)
        large = scale.measure(module, step)
        ended = ending.measure(module, step)
    progress.end()

    figures = {
        "facts": facts,
        "skipped": skipped,
        "instructions": counted,
        "instructions_aof": counted_aof,
        "throughput": runs,
        "propagation": {condition: {row.name: summary(results) for row, results in rows.items()}
                        for condition, rows in carried_runs.items()},
        "memory": sizes,
        "growth": {str(size): {row.name: {"bytes": found["bytes"], **{view: summary(found[view])
                                                                      for view in ("pipelined", "single")}}
                               for row, found in by_row.items()}
                   for size, by_row in growing.items()},
        "growth_left_out": left_out,
        "growth_instructions": {str(size): {row.name: count for row, count in by_row.items()}
                                for size, by_row in growing_counts.items()},
        "scale": large,
        "ending": {case: summary(results) for case, results in ended.items()},
    }
    figures["checks"] = report.checks(figures)
    text = report.markdown(figures)
    results.mkdir(parents=True, exist_ok=True)
    (results / "results.json").write_text(json.dumps(figures, indent=1) + "\n")
    (results / "results.md").write_text(text)
    (results / "results.svg").write_text(chart.svg(figures))
    (results / "profile.md").write_text(listed)
    print(text)
    print(f"written to {results}/results.md, .json, .svg and profile.md", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
