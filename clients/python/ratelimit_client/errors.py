"""Why there was no answer, or why the server gave none. A verdict carries it; ``reason`` is one word for metrics."""

import re
from typing import Literal

# ``timeout``: no answer within ``timeout_ms``. ``connection``: there is none, or it broke. ``server``: Redis is there and
# cannot (loading, memory full, a replica). ``refused``: it does not understand or does not permit, or what answers is no such
# server; somebody has to mend that.
Reason = Literal["timeout", "connection", "server", "refused"]


class RateLimitError(Exception):
    """Redis could not be asked, or refused; ``reason`` says which."""

    reason: Reason = "connection"


class UnansweredError(RateLimitError):
    """Redis could not be asked, or did not answer in time."""

    def __init__(self, reason: Literal["timeout", "connection"], message: str):
        super().__init__(message)
        self.reason: Reason = reason


class ServerError(RateLimitError):
    """Redis cannot answer now; another try may succeed."""

    reason: Reason = "server"

    def __init__(self, message: str):
        super().__init__(message)
        self.code: str = message.partition(" ")[0]


class RefusedError(ServerError):
    """A mistake in the set-up, on either side, which trying again does not mend."""

    reason: Reason = "refused"


class LeaseLostError(RateLimitError):
    """A lease ended before the work that it was held for."""


class WrongReplyError(RateLimitError, ValueError):
    """What answers does not speak as this module does."""

    reason: Reason = "refused"


_REFUSALS = {"ERR", "WRONGTYPE", "CROSSSLOT", "NOPERM", "NOAUTH", "WRONGPASS", "EXECABORT", "MOVED"}


def refusal_of(message: str) -> ServerError:
    """An error reply as an error."""
    code = re.match(r"([A-Z]+) ", message)
    refused = code is not None and code[1] in _REFUSALS and not message.startswith("ERR max number of clients")
    return RefusedError(message) if refused else ServerError(message)


def reason_of(error: BaseException) -> Reason:
    """One of four words for metrics, of whatever was raised."""
    if isinstance(error, RateLimitError):
        return error.reason
    return "timeout" if isinstance(error, TimeoutError) else "connection"
