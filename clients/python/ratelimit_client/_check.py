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


def span(name: str, value: object) -> str:
    """A duration or a calendar window: the server says what is wrong with one; a number without a unit is a common slip."""
    if not isinstance(value, str) or not re.match(r"[1-9]\d*[A-Za-z]", value):
        raise wrong(name, 'a duration such as "15m"', value)
    return value
