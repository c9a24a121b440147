"""Limits to begin with.

As policies of the server they are changed for the whole fleet at once, without a deploy:
``RL.POLICY SET login SLIDING 10 15m``.

>>> login = Limiter(client, **presets.LOGIN)
"""

from typing import Literal, NotRequired, TypedDict

from .plan import Window


class Preset(TypedDict):
    """Options of a limiter, to be spread: ``Limiter(client, **presets.API)``."""

    prefix: str
    policy: str
    algorithm: Literal["sliding"]
    limits: Window
    unavailable: NotRequired[Literal["open", "closed"]]


LOGIN: Preset = {
    "prefix": "login",
    "policy": "login",
    "algorithm": "sliding",
    "limits": Window(5, "15m"),
    "unavailable": "closed",
}
PASSWORD_RESET: Preset = {
    "prefix": "password-reset",
    "policy": "password-reset",
    "algorithm": "sliding",
    "limits": Window(3, "1h"),
    "unavailable": "closed",
}
API: Preset = {"prefix": "api", "policy": "api", "algorithm": "sliding", "limits": Window(100, "15m")}
UPLOAD: Preset = {"prefix": "upload", "policy": "upload", "algorithm": "sliding", "limits": Window(10, "1h")}
LLM: Preset = {"prefix": "llm", "policy": "llm", "algorithm": "sliding", "limits": Window(20, "1h")}
