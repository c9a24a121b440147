"""What a caller passes is checked before anything is sent. An error names the option and what it should have been."""

import re

LARGEST = 2**53 - 1


def wrong(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name}: expected {expected}, got {value!r}")


def text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(name, "a non-empty string", value)
    return value


def integer(name: str, value: object, least: int = -LARGEST) -> int:
    if type(value) is not int or not least <= value <= LARGEST:
        raise wrong(name, f"an integer of at least {least}" if least > -LARGEST else "an integer", value)
    return value


_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MAX_SPAN_MS = 3660 * 86_400_000


def _duration_ms(value: object) -> int | None:
    found = re.fullmatch(r"([1-9][0-9]{0,18})(ms|s|m|h|d|w)", value.lower()) if isinstance(value, str) else None
    ms = int(found[1]) * _UNITS[found[2]] if found else None
    return None if ms is None or ms > MAX_SPAN_MS else ms


def span_ms(name: str, value: object) -> int:
    """A duration in ms."""
    ms = _duration_ms(value)
    if ms is None:
        raise wrong(name, 'a duration such as "15m" (ms, s, m, h, d, w; up to 3660d)', value)
    return ms


def span(name: str, value: object) -> str:
    """A duration, as the server reads one: it is told here and now, and not by the first hit."""
    span_ms(name, value)
    return str(value)


def least_ms(window: str) -> int:
    """A window's length in ms; of the calendar's, which are a day and more, a day."""
    return _duration_ms(window.partition("@")[0]) or 86_400_000


def fixed_window(name: str, value: object) -> str:
    """A duration, one that begins with the first hit (``5h@first``), or a window of the calendar."""
    written = value if isinstance(value, str) else ""
    lower = written.lower()
    calendar = re.fullmatch(r"(?:[1-9][0-9]*[dw]@|(?:[13]mo|1y)(?:@|\Z))(?<=[@oy])[\x21-\x7e]*", lower)
    if lower.endswith("@first"):
        calendar = None
    if _duration_ms(lower.removesuffix("@first")) is None and (calendar is None or lower.endswith("@")):
        raise wrong(name, 'a duration such as "15m", or a window of the calendar such as "1mo", "1w@thu" or "1d@Europe/Berlin"', value)
    return written


MAX_RETRIES = 10


def hit_id(value: object) -> str:
    """Of a hit. It is the application's own, and never what a caller may choose."""
    if not isinstance(value, str) or not 1 <= len(value.encode(errors="surrogatepass")) <= 64:
        raise wrong("id", "a text of 1 to 64 bytes", value)
    return value


def retries(value: object, id: object) -> int:
    """Without an id a hit that is sent again may be charged again."""
    found = integer("retry", value, 0)
    if found > MAX_RETRIES:
        raise wrong("retry", f"an integer of 0 to {MAX_RETRIES}", value)
    if found and id is None:
        raise wrong("retry", "an id beside it, by which the hit is charged once", value)
    return found


def one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise wrong(name, " or ".join(f'"{choice}"' for choice in choices), value)
    return str(value)


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value)
    return value
