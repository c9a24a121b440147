"""Text that others chose (names, addresses, a server's words), made harmless."""

import re

HARMLESS = re.compile(r"[ -\[\]-~]*")  # ASCII that is printable, but for the backslash


def printable(text):
    """`text` with everything escaped that is not printable, such as a terminal's commands. Two texts never become one."""
    return text if HARMLESS.fullmatch(text) else "".join(map(_printable, text))


def _printable(char):
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if " " <= char <= "~" or (char > "\xa0" and char.isprintable()):
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as the error handler "surrogateescape" has it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def fit(text, width):
    """`text`, printable and in at most `width` columns."""
    shown = printable(text)
    return shown if len(shown) <= width else shown[: max(0, width - 2)] + ".."
