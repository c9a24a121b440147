"""Gives a server that joins what another has: policies and deny lists, those for an hour among them, with what is left of it.

Policies and deny lists belong to a server, and a primary that joins a cluster has none. Before it gets slots:

  ratelimit join --from node1:6379 -h node3

What the server has already stays as it is: where it has another policy of the name, or another TTL, that is said, and
left to you. It can be run again at any time. A replica needs none of this: it gets all from its primary.
"""

import argparse
import re
import sys
import time

from .servers import reading
from .servers.connection import Access, Address, Refused, Trouble
from .servers.nodes import EPILOG, Fleet, Node, add_options
from .servers.text import fit, printable

CHUNK = 1000
STAGING = re.compile(r".*\.staging\.[0-9]+\.[0-9]+")  # what `deny sync` is loading
EXIT_FAILED, EXIT_DIFFERS = 1, 3


def say(text):
    print(f"ratelimit join: {text}", file=sys.stderr, flush=True)


def checked(replies):
    for reply in replies:
        if isinstance(reply, Refused):
            raise reply
    return replies


class Left:
    """What is left of a time that a server told, when it is told to another. 0 is none: it is over."""

    def __init__(self):
        self.at = time.monotonic()

    def words(self, ms):
        left = int(ms - (time.monotonic() - self.at) * 1000)
        return ["TTL", f"{left}ms"] if left > 0 else None


def copy_policies(source, target):
    """(how many were set, how many of them for a while, texts about those that differ)"""
    left, theirs, own = Left(), reading.policies(source), reading.policies(target)
    commands, differ, temporary = [], [], 0
    for name, policy in theirs.items():
        had = own.get(name)
        if policy.lasting and had is None:
            commands.append(["RL.POLICY", "SET", name, *policy.lasting])
        if had and had.lasting != policy.lasting:
            differ.append(f"the policy {fit(name, 60)} is {spelled(had.lasting)} there, and {spelled(policy.lasting)} at the source")
            continue
        if policy.temporary and (had is None or not had.temporary):
            ttl = left.words(policy.left_ms)
            if ttl:
                commands.append(["RL.POLICY", "SET", name, *policy.temporary, *ttl])
                temporary += 1
        elif had and had.temporary != policy.temporary:
            differ.append(f"the policy {fit(name, 60)} is {spelled(had.temporary)} for a while there, and {spelled(policy.temporary)} at the source")
        if policy.shadow and (had is None or not had.shadow):
            ttl = [] if policy.shadow_left_ms is None else left.words(policy.shadow_left_ms)
            if ttl is not None:
                commands.append(["RL.POLICY", "SHADOW", name, *policy.shadow, *ttl])
        elif had and had.shadow != policy.shadow:
            differ.append(f"the shadow of {fit(name, 60)} is {spelled(had.shadow)} there, and {spelled(policy.shadow)} at the source")
    for start in range(0, len(commands), CHUNK):
        checked(target.pipeline(commands[start : start + CHUNK]))
    return len({command[2] for command in commands}), temporary, differ


def spelled(words):
    return printable(" ".join(words)) if words else "none"


def pages(node, name):
    """The entries of a list, some at a time: ([(value, how many ms are left, or -1)], when they were told)."""
    cursor = "0"
    while True:
        left = Left()
        cursor, entries = node.call("RL.DENY", "ENTRIES", name, cursor, "COUNT", CHUNK)
        yield list(zip(entries[::2], entries[1::2])), left
        if cursor == "0":
            return


def copy_list(source, target, name, target_size):
    """(how many entries were added, how many of them for a while, texts about those that differ)"""
    own = dict(entry for page, _ in pages(target, name) for entry in page) if target_size else {}
    added, temporary, differ = 0, 0, 0
    for page, left in pages(source, name):
        for_good, commands = [], []
        for value, ms in page:
            if value in own:
                differ += (ms < 0) != (own[value] < 0)
            elif ms < 0:
                for_good.append(value)
            elif ttl := left.words(ms):
                commands.append(["RL.DENY", "ADD", name, value, *ttl])
        temporary += len(commands)
        if for_good:
            commands.append(["RL.DENY", "ADD", name, *for_good])
        added += sum(checked(target.pipeline(commands))) if commands else 0
    return added, temporary, [f"the list {fit(name, 60)} has {differ} entries for a while on one server, and for good on the other"] if differ else []


def copy_lists(source, target):
    theirs, own = source.call("RL.DENY", "LIST"), target.call("RL.DENY", "LIST")
    lists, added, temporary, differ = 0, 0, 0, []
    for name in theirs:
        if STAGING.fullmatch(name):
            continue
        more, ending, texts = copy_list(source, target, name, own.get(name, 0))
        lists, added, temporary, differ = lists + 1, added + more, temporary + ending, differ + texts
        extra = own.get(name, 0) + more - theirs[name]
        if extra > 0:
            differ.append(f"the list {fit(name, 60)} has {extra} more entries there than at the source")
    return lists, added, temporary, differ


def join(source, target):
    """Texts about what differs and was left alone."""
    policies, for_while, differ = copy_policies(source, target)
    lists, added, ending, texts = copy_lists(source, target)
    print(
        f"{target.name}: {policies} policies were set, {for_while} of them for a while;"
        f" {added} entries were added to {lists} deny lists, {ending} of them for a while",
        flush=True,
    )
    return differ + texts


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit join",
        usage="ratelimit join --from ADDRESS [options]",
        description=__doc__,
        epilog=EPILOG + "\nexit status: 0; 1 a server failed; 2 wrong usage; 3 something differs, and was left as it is",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--from", dest="source", required=True, metavar="ADDRESS", help="who has it: HOST:PORT, [IPV6]:PORT or a socket's path")
    add_options(parser)
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, say)
    try:
        source = Node(Address.parse(options.source), Access(options.user, fleet.access.password, fleet.access.tls))
    except ValueError as error:
        parser.error(f"--from {error}")
    name, differ = source.name, []
    try:
        reading.overview(source)
        for target in fleet.nodes():
            name = target.name
            if name != source.name:
                differ += [f"{name}: {text}" for text in join(source, target)]
    except Trouble as trouble:
        say(f"failed: {name}: {trouble}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    finally:
        fleet.close()
        source.close()
    for text in differ:
        say(text)
    return EXIT_DIFFERS if differ else 0
