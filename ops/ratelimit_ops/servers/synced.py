"""The note that `ratelimit deny sync` leaves about a list: when it replaced it, and by what.

It is a deny list of its own, named after the other, with one text in it. So it goes where the list goes (replicas, RDB,
AOF, every primary of a cluster), FLUSHALL leaves it alone, and whoever may write the list may write it.
"""

import re

SUFFIX = ".synced"
MAX_SOURCE = 800  # of the 1,024 bytes that a value may have
NOTE = re.compile(r"synced at=([0-9]{1,15}) entries=([0-9]{1,15}) source=([ -~]*)")


class Note:
    def __init__(self, at, entries, source):
        self.at, self.entries, self.source = at, entries, source


def note_name(list_name):
    return list_name + SUFFIX


def write(at, entries, source):
    """The note's text. `source` is printable already."""
    shown = source.encode("ascii", "backslashreplace").decode()[:MAX_SOURCE]
    return f"synced at={int(at)} entries={entries} source={shown}"


def read(node, list_names):
    """The notes on a server, by the name of the list that each is about. `list_names`: those of all its lists."""
    notes = [name for name in list_names if name.endswith(SUFFIX) and len(name) > len(SUFFIX)]
    replies = node.pipeline([["RL.DENY", "ENTRIES", name, "0", "COUNT", "10"] for name in notes]) if notes else []
    found = {}
    for name, reply in zip(notes, replies):
        entries = reply[1] if isinstance(reply, list) and len(reply) == 2 else []
        for value in entries[::2]:
            match = NOTE.fullmatch(value)
            if match:
                found[name.removesuffix(SUFFIX)] = Note(int(match[1]), int(match[2]), match[3])
    return found
