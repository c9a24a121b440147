"""The picture: instructions per command as multiples of INCR, one bar a row."""

from html import escape

from rows import ROWS

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 860, 290, 70, 98, 24, 15
NAMES = {"redis": "Redis itself", "native": "this module", "lua": "Lua, by EVALSHA"}
STYLE = """
    .card { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d0d7de }
    .redis { fill: #8c959f } .native { fill: #0a7d4f } .lua { fill: #bc4c00 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #3d444d }
      .redis { fill: #6e7681 } .native { fill: #2da877 } .lua { fill: #e0813b }
    }
    text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif }
    .title { font-size: 17px; font-weight: 600 }
"""


def text(x, y, words, kind="text", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def card(width, height, label, title, colours):
    """The lines that begin a picture: its frame, its title, and what each colour (a class of STYLE) stands for."""
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        text(20, 32, title, "text title"),
    ]
    at = 20
    for colour, name in colours:
        out += [f'<rect class="{colour}" x="{at}" y="46" width="12" height="12" rx="2"/>', text(at + 18, 57, name, "faint")]
        at += 18 + 8 * len(name) + 24
    return out


def svg(figures):
    counted, facts = figures["instructions"], figures["facts"]
    bars = [(row, counted[row.name]["multiple"]["median"]) for row in ROWS if row.name in counted and row.kind in NAMES]
    height = TOP + STEP * len(bars) + 34
    most = max(value for _, value in bars)
    tick = next(tick for tick in (1, 2, 5, 10, 20, 50) if most / tick <= 12)
    across = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * value / most
    title = "Instructions per command, as multiples of INCR"
    kinds = {row.kind for row, _ in bars}
    out = card(WIDTH, height, title, title, [(kind, name) for kind, name in NAMES.items() if kind in kinds])
    for number in range(int(most / tick) + 1):
        x = across(number * tick)
        out.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 34}"/>')
        out.append(text(x, TOP - 14, str(number * tick), "faint", "middle"))
    for number, (row, value) in enumerate(bars):
        y = TOP + STEP * number
        out += [
            text(LEFT - 10, y + 12, row.name, "text", "end"),
            f'<rect class="{row.kind}" x="{LEFT}" y="{y}" width="{across(value) - LEFT:.1f}" height="{BAR}" rx="2"/>',
            text(across(value) + 6, y + 12, f"{value:.2f}" if value < 10 else f"{value:.1f}"),
        ]
    incr = counted["INCR"]["instructions"]["median"]
    out.append(text(20, height - 13, f"{facts['server']}, {facts['date']}: INCR takes {incr:,.0f} instructions. "
                                     "callgrind, 1,000 keys, 16 commands to a write.", "faint"))
    return "\n".join([*out, "</svg>"]) + "\n"
