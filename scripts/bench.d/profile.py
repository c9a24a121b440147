"""Where the instructions of one row go: callgrind on the running server, listed per command by function or by line."""

import collections
import pathlib
import re
import shutil
import sys

import instructions
from logs import Logs
from rows import ROWS, named
from server import SERVER, Server

ROUNDS = 5
SHOWN = 40


def main(module, text, *options):
    exact = [row for row in ROWS if row.name.lower() == text.lower()]
    chosen = exact or named(text)
    if len(chosen) != 1 or set(options) - {"--lines"}:
        names = "\n  ".join(row.name for row in chosen or ROWS)
        raise SystemExit(f"usage: scripts/profile [ROW [--lines]], where ROW names one of\n  {names}")
    row = chosen[0]
    print(f"profile: {row.name}: {' '.join(row.argv)}", file=sys.stderr)
    logs = Logs(module, [row])
    try:
        with instructions.Callgrind(module) as server:
            if refused := server.refusal(row):
                raise SystemExit(f"the server refuses {' '.join(row.argv)}: {refused}")
            if row.log == "steady":
                print(f"profile: the log takes {logs.ready_in():.0f} s to reach its steady state", file=sys.stderr)
            print(listings(server, row, logs, SHOWN, "--lines" in options))
    finally:
        logs.stop()


def listings(server, row, logs, shown, with_lines=False):
    """Where the row's instructions go, as text, on a server under callgrind that has been prepared for the row."""
    server.prepare(row, logs)
    server.mark()
    server.hit(row, ROUNDS)
    with server.mark().open() as part:
        functions, lines, called = read(part)
    hits, total = ROUNDS * instructions.KEYS, sum(functions.values())
    binaries = collections.Counter()
    for function, cost in functions.items():
        binaries[function.rsplit("[", 1)[-1].rstrip("]")] += cost
    tables = [("By binary", binaries), ("Exclusive: spent in the function itself", functions)]
    if with_lines:
        tables.append(("By source line, inlined code where it was written", lines))
    tables.append(("Inclusive: with all that it calls", functions + called))
    head = f"# {row.name}: {total / hits:,.0f} instructions a command\n\n    {' '.join(row.argv)}\n"
    return "\n".join([head, *(listing(title, costs, hits, total, shown) for title, costs in tables)])


def read(part):
    """A callgrind file: Counters of instructions by function itself, by source line, and by function in its calls."""
    functions, lines, called = collections.Counter(), collections.Counter(), collections.Counter()
    server = pathlib.Path(shutil.which(SERVER)).resolve().name  # Debian's is a link to a program of another name
    names = {"ob": {}, "fl": {}, "fn": {}}  # a name stands in full once, then by its number
    spaces = {"ob": "ob", "cob": "ob", "fl": "fl", "fi": "fl", "fe": "fl", "cfi": "fl", "cfl": "fl", "fn": "fn", "cfn": "fn"}
    now = dict.fromkeys(("ob", "fl", "fn"), "")
    line = 0
    after_call = False
    for text in part:
        if match := re.match(r"(c?ob|c?fl|c?fi|fe|c?fn)=\((\d+)\)(?: (.*))?$", text):
            field, number, name = match.groups()
            known = names[spaces[field]]
            if name is not None:
                known[number] = name
            if not field.startswith("c"):
                now[spaces[field]] = known[number]
        elif text.startswith("calls="):
            after_call = True
        elif match := re.match(r"([+-]?\d+|\*) (\d+)$", text):
            position, cost = match[1], int(match[2])
            line = line if position == "*" else line + int(position) if position[0] in "+-" else int(position)
            binary = now["ob"].rsplit("/", 1)[-1]
            function = f"{now['fn']} [{'server' if binary == server else binary}]"
            if after_call:
                called[function] += cost
            else:
                functions[function] += cost
                if line:  # the server of a package comes without its line numbers
                    lines[f"{'/'.join(now['fl'].rsplit('/', 3)[-3:])}:{line}  {now['fn']}"] += cost
            after_call = False
    return functions, lines, called


def listing(title, costs, hits, total, shown):
    lines = [f"{title}\n", f"    {'instructions':>12}  share"]
    lines += [f"    {cost / hits:12,.0f}  {100 * cost / total:4.1f} %  {what}" for what, cost in costs.most_common(shown)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1], *(sys.argv[2:] or ["RL.FIXED allowed"]))
