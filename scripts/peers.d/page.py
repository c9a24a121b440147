"""The page: where ours is behind, first; a table a group; a picture."""

from chart import card, text
from report import table

COLOURS = {"bare": ("redis", "the command by itself"), "ours": ("native", "ours"), "peer": ("lua", "theirs")}
WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 900, 300, 64, 104, 22, 14
PANELS = (("client_us", "CPU of the caller a hit, us"), ("instructions", "instructions of Redis a hit, thousands"))
PICTURED = ("Node, ioredis", "Node, node-redis", "Python", "Python, asyncio", "Go", "Java, Lettuce", "Java, Jedis")


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(value):
    return "" if value is None else f"{number(value['median'])} ({number(value['low'])} - {number(value['high'])})"


COLUMNS = (
    ("client_us", "CPU, us", spread),
    ("ratio", "of the first row", lambda value: f"{value['median']:.2f}"),
    ("rate", "hits a second", lambda value: number(value["median"])),
    ("server_us", "CPU of Redis, us", spread),
    ("instructions", "its instructions", number),
    ("both_us", "CPU of both, us", spread),
    ("p50_ms", "p50, ms", spread),
    ("p99_ms", "p99, ms", spread),
    ("memory_mib", "memory, MiB", lambda value: number(value["median"])),
    ("commands", "its commands", lambda value: number(value["median"])),
    ("bytes", "bytes a key", number),
    ("admitted", "admitted", number),
)


def group_table(group):
    left_out = {*group["left_out"], *(("ratio",) if "client_us" in group["left_out"] else ())}
    shown = lambda row, key, write: "" if row.get(key) is None else write(row[key]) + (f", {row['errors']} errors" if key == "admitted" and row["errors"] else "")
    columns = [column for column in COLUMNS if column[0] not in left_out and any(row.get(column[0]) is not None for row in group["rows"])]
    name = lambda row: f"**{row['name']}**" if row["whose"] == "ours" else row["name"]
    return table(["", "counts", *(called for _, called, _ in columns)],
                 [[name(row), row["algorithm"], *(shown(row, *column[::2]) for column in columns)] for row in group["rows"]])


def markdown(found):
    facts = found["facts"]
    lines = [[one["group"], one["row"], one["what"], number(one["own"]), f"{one['peer']}: {number(one['best'])}", f"{one['times']:.2f}"]
             for one in found["behind"]]
    parts = [
        f"# Beside what people would otherwise use, {facts['date']}\n",
        "## Where ours is behind\n",
        table(["group", "ours", "what", "", "the best of theirs", "times"], lines) if lines else "Nowhere by more than a twentieth.\n",
        "![What one hit costs the caller, and Redis](peers.svg)\n",
        f"{facts['server']}, module {facts['module']}. {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Linux {facts['kernel']}. "
        + (f"**The machine was busy with other work when it began ({facts['busy']:.0%} of its CPU): mistrust what is timed.** "
           if facts["busy"] > 0.1 else "")
        + ("A quick run, good for a look. " if facts["mode"] == "quick" else "")
        + f"Rows of a group take turns, {found['rounds']} times, in another order each time: medians, with the quartiles in brackets. A "
          "ratio is the median of the turns' ratios, and behind in time is what is so with 95 % by its order statistics. Redis, the caller and, where "
          "there is one, the server between them share the machine: hits a second are worth less than CPU. Commands count those "
          "that a script runs. Instructions are counted by callgrind, with the same callers. A key was hit 20 times. `admitted`: what was "
          f"let through within one window, at most, of a limit of {found['limit']}, when hits crowd around the end of a window of the clock.\n",
    ]
    for group in found["groups"]:
        parts += [f"## {group['name']}\n", f"{group['says']}" + (f" CPU: {group['client']}.\n" if group["client"] else "\n"), group_table(group)]
    if found["regions"]:
        parts += ["## Several regions\n",
                  "One limit of 100 in 10 s over three regions, 50 to 150 ms apart, 1 % of the messages lost; 30 hits a second in all. "
                  "`within a window`: admitted at most, in per cent of the limit; `in all`: of what one exact limiter would admit.\n",
                  table(["", "traffic", "within a window, %", "in all, %"],
                        [[f"**{one['row']}**" if one["whose"] == "ours" else one["row"], one["setting"], str(one["peak"]), str(one["admitted"])]
                         for one in found["regions"]])]
    parts += ["## Not measured here\n", "".join(f"- {one}\n" for one in found["missing"]) or "Nothing was left out.\n"]
    return "\n".join(parts)


def svg(found):
    groups = [group for group in found["groups"] if group["name"] in PICTURED]
    rows = [(group, row) for group in groups for row in group["rows"]]
    height = TOP + STEP * (len(rows) + len(groups)) + 34
    panel = (WIDTH - LEFT) / 2
    most = {key: max((value(row, key) for _, row in rows), default=1) or 1 for key, _ in PANELS}
    out = card(WIDTH, height, "What one hit costs the caller, and Redis", "What one hit costs", COLOURS.values())
    out += [text(LEFT + panel * index, TOP - 16, called, "faint") for index, (_, called) in enumerate(PANELS)]
    y = TOP
    for group in groups:
        out.append(text(20, y + 12, group["name"], "text"))
        y += STEP
        for row in group["rows"]:
            out.append(text(LEFT - 10, y + 12, row["name"].replace("`", ""), "faint", "end"))
            for index, (key, _) in enumerate(PANELS):
                x, own = LEFT + panel * index, value(row, key)
                width = (panel - RIGHT) * own / most[key]
                shown = number(own / 1000 if key == "instructions" else own) if own else ""
                out += [f'<rect class="{COLOURS[row["whose"]][0]}" x="{x:.0f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>', text(x + width + 6, y + 12, shown)]
            y += STEP
    facts = found["facts"]
    out.append(text(20, height - 13, f"{facts['server']}, {facts['date']}. Medians of {found['rounds']} turns; instructions by callgrind.", "faint"))
    return "\n".join([*out, "</svg>"]) + "\n"


def value(row, key):
    found = row.get(key)
    return (found["median"] if isinstance(found, dict) else found) or 0
