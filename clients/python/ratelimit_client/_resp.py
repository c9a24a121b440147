"""The protocol of Redis (RESP2): a command as bytes, and bytes as replies."""

from collections.abc import Sequence
from typing import Any

from .errors import WrongReplyError

MAX_DEPTH = 16


class ErrorReply(str):
    """What the server refused, with its code."""

    __slots__ = ()


class Incomplete(Exception):
    """The rest of a reply has not come yet."""


def encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")  # whatever a stranger's JSON may say is a key


def pack(words: Sequence[str | int]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode("utf-8", "surrogatepass") if type(word) is str else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def parse(data: bytes, start: int = 0, depth: int = 0) -> tuple[Any, int]:
    """The reply that begins at ``start``, and where it ends."""
    end = data.find(b"\r\n", start)
    if end < 0:
        if len(data) - start > 65_536:
            raise WrongReplyError("not a reply of Redis: a line without an end")
        raise Incomplete
    kind, line, after = data[start : start + 1], data[start + 1 : end], end + 2
    if kind == b":":
        return _int(line), after
    if kind == b"*":
        count = _int(line)
        if count < 0:
            return None, after
        if depth == MAX_DEPTH:
            raise WrongReplyError("not a reply of Redis: nested too deeply")
        items = []
        for _ in range(count):
            item, after = parse(data, after, depth + 1)
            items.append(item)
        return items, after
    if kind == b"$":
        size = _int(line)
        if size < 0:
            return None, after
        if len(data) < after + size + 2:
            raise Incomplete
        return data[after : after + size], after + size + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return ErrorReply(line.decode(errors="replace")), after
    raise WrongReplyError(f"not a reply of Redis: {data[start : start + 60]!r}")


def _int(line: bytes) -> int:
    try:
        return int(line)
    except ValueError:
        raise WrongReplyError(f"not a reply of Redis: {line[:60]!r} is no number") from None
