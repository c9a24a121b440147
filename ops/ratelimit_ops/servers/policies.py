"""Policies in the server's own spelling, and the fingerprint of a set of them."""

import hashlib
import re

DAY_MS = 86_400_000
UNITS = {"w": 7 * DAY_MS, "d": DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
SET, SHADOW = "SET", "SHADOW"  # the subcommands of RL.POLICY that set a policy, and a shadow that is tried beside it
WORDS_PER_LIMIT = {"fixed": 2, "sliding": 2, "bucket": 3, "lease": 2}


def canonical(words):
    """The words of RL.POLICY SET as RL.POLICY GET would answer them. What is no policy comes back as it is."""
    algorithm, *limits = words
    algorithm = algorithm.lower()
    size = WORDS_PER_LIMIT.get(algorithm)
    if size is None:
        return (algorithm, *limits)
    spelled = [
        _window(algorithm, word) if index % size == size - 1 else _number(word) for index, word in enumerate(limits)
    ]
    return (algorithm, *spelled)


def _number(word):
    return str(int(word)) if re.fullmatch(r"[0-9]{1,20}", word) else word


def _window(algorithm, word):
    """`90s`, `24h` and `1w@mon` as `90s`, `1d` and `1w`."""
    match = re.fullmatch(r"([0-9]{1,12})(ms|[smhdw]|mo|y)(?:@(.+))?", word, re.IGNORECASE)
    if not match:
        return word
    number, unit, place = int(match[1]), match[2].lower(), match[3]
    if place is not None or unit in ("mo", "y"):
        return f"{number}{unit}{_place(unit, place or '')}"
    if algorithm == "fixed" and unit == "w":
        return f"{number}w"  # weeks of the calendar, which days are not
    ms = number * UNITS[unit]
    units = [unit for unit in UNITS if not (algorithm == "fixed" and unit == "w")]
    best = next((unit for unit in units if ms % UNITS[unit] == 0), "ms")
    return f"{ms // UNITS[best]}{best}"


def _place(unit, text):
    """Where a calendar window begins, without what goes without saying: Mondays, the 1st, UTC."""
    parts = []
    for part in text.split(","):
        anchor = part.lower()
        if re.fullmatch(r"[0-9]{1,2}", part):
            anchor = str(int(part))
        elif not re.fullmatch(r"mon|tue|wed|thu|fri|sat|sun", anchor):
            anchor = part
        if anchor not in ("", "mon" if unit == "w" else "1", "UTC", "+00:00"):
            parts.append(anchor)
    return "@" + ",".join(parts) if parts else ""


def fingerprint(policies):
    """INFO's policies_fingerprint of these lasting policies and shadows: {(name, SET or SHADOW): words in the server's spelling}."""
    lines = []
    for (name, how), words in policies.items():
        words = ("shadow", *words) if how == SHADOW else words
        lines.append((name.encode("utf-8", "surrogateescape"), how, " ".join(words).encode()))
    text = b"".join(b"%d:%b %b\n" % (len(name), name, words) for name, _, words in sorted(lines))
    return hashlib.sha256(text).hexdigest()[:16]
