"""Makes the lasting policies of servers those of a file.

The file is TOML; each policy is one line, with the words that RL.POLICY SET takes:

  [policies]
  login = "sliding 5 15m 20 1d"
  api = "fixed 1000 1m"
  "api:acme" = "fixed 10000 1m"

  [shadows]
  api = "fixed 500 1m"

Shadows are tried and counted beside the policy of their name, and never bind. Everything is checked first, by the servers themselves, and nothing is changed on any of them unless all agree. Then each
gets what differs in one transaction: no hit meets half of it. Policies and shadows that the file does not have are deleted.
Those with a TTL, for an incident's hour, are left alone, unless the lasting policy of their name changes.
"""

import argparse
import binascii
import itertools
import re
import secrets
import sys
import tomllib

from .servers import policies, reading
from .servers.connection import Refused, Trouble
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.text import printable

EXIT_FAILED, EXIT_WRONG, EXIT_DIFFERS = 1, 2, 3
MAX_FILE_BYTES = 8 << 20
MAX_NAME_BYTES = 128
TABLES = {"policies": policies.SET, "shadows": policies.SHADOW}
SLOTS = 16384

EPILOG = f"""\
{EPILOG}
exit status: 0 the servers have the file's policies; 1 a server failed; 2 wrong usage, or a file that is wrong: nothing was
             changed; 3 with --diff: a server has others

In CI:       ratelimit policy sync --diff --cluster -h redis.example policies.toml
To mend:     ratelimit policy sync --cluster -h redis.example policies.toml     (also after a node has joined)
To watch:    INFO ratelimit has policies_fingerprint; --fingerprint prints what it should be
"""


class Wrong(Exception):
    """The file is wrong; says how."""


def read_file(path):
    """{(name, how it is set): words, in the server's spelling}"""
    try:
        with (open(sys.stdin.fileno(), "rb", closefd=False) if path == "-" else open(path, "rb")) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Wrong(f"more than {MAX_FILE_BYTES} bytes")
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise Wrong(error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Wrong(f"not TOML: {printable(str(error))}") from error
    for name in document:
        if name not in TABLES:
            raise Wrong(f"{printable(name)}: unexpected; policies stand under [policies], and what is tried under [shadows]")
    found = {}
    for table, how in TABLES.items():
        if not isinstance(document.get(table, {}), dict):
            raise Wrong(f"{table}: not a table: begin it by a line [{table}]")
        found |= read_table(document.get(table, {}), how)
    return found


def read_table(table, how):
    found = {}
    for name, text in table.items():
        if not isinstance(text, str) or not text.split():
            raise Wrong(f'{printable(name)}: not a text such as "sliding 5 15m"')
        if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
            raise Wrong(f"{printable(name)}: a name has 1 to {MAX_NAME_BYTES} bytes")
        words = policies.canonical(text.split())
        if words[0] not in policies.WORDS_PER_LIMIT:
            raise Wrong(f"{printable(name)}: {printable(words[0])} is none of {', '.join(policies.WORDS_PER_LIMIT)}")
        if how == policies.SHADOW and words[0] == "lease":
            raise Wrong(f"{printable(name)}: a lease has no shadow")
        for word in words[1:]:
            if not "0" <= word[0] <= "9":  # an option of a hit's is none of a policy's
                raise Wrong(f"{printable(name)}: {printable(word)} is neither a number nor a duration")
        found[name, how] = words
    return found


def own_key(node):
    """A key that no one uses, in a slot of the node's. None where it has no slot."""
    slots = None
    try:
        for line in node.call("CLUSTER", "NODES").splitlines():
            columns = line.split()
            if len(columns) >= 8 and "myself" in columns[2].split(","):
                slots = set()
                for word in columns[8:]:
                    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", word)  # others are slots that move
                    if match:
                        slots.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    except Refused:
        pass  # no cluster, or its nodes are not to be told
    if slots == set():
        return None
    token = secrets.token_hex(8)
    keys = (f"policy-sync:{token}:{index}" for index in itertools.count())
    return next(key for key in keys if slots is None or binascii.crc_hqx(key.encode(), 0) % SLOTS in slots)


def check(node, wanted):
    """Asks the server for each policy whether it is one: by a peek, which changes nothing."""
    key = own_key(node)
    if key is None:
        return
    commands = []
    for algorithm, *limits in wanted.values():
        tail = ["id"] if algorithm == "lease" else []
        commands.append(["RL.PEEK", algorithm, key, *limits, *tail])
    for ((name, _), words), reply in zip(wanted.items(), node.pipeline(commands) if commands else []):
        if not isinstance(reply, Refused):
            continue
        text = str(reply)
        if not text.startswith("ERR ") or "unknown command" in text:
            raise reply
        # Which argument of a peek it was is of no help.
        text = re.sub(r"^ERR (?:argument [0-9]+ \(([^)]*)\))?", lambda match: match[1] or "", text)
        raise Wrong(f"{printable(name)}: {printable(' '.join(words))}: {text.strip()}")


class Plan:
    """What a server has, and what is to be done there."""

    def __init__(self, node, wanted):
        self.node, self.wanted = node, wanted
        self.has = reading.policies(node)
        lasting = {(name, policies.SET): policy.lasting for name, policy in self.has.items() if policy.lasting}
        for name, policy in self.has.items():
            if policy.shadow and policy.shadow_left_ms is None:
                lasting[name, policies.SHADOW] = policy.shadow
        self.deleted = {one: words for one, words in lasting.items() if one not in wanted}
        self.changed = {one: (lasting.get(one), words) for one, words in wanted.items() if lasting.get(one) != words}

    def __bool__(self):
        return bool(self.deleted or self.changed)

    def check_room(self):
        try:
            bound = int(self.node.call("CONFIG", "GET", "ratelimit.policies")["ratelimit.policies"])
        except (Refused, KeyError, TypeError, ValueError):
            return  # not for everybody to know: then the server says so in the transaction
        new = {name for name, _ in self.changed if name not in self.has}
        gone = {name for name, _ in self.deleted} - {name for name, _ in self.wanted}
        count = len(self.has) - len(gone) + len(new)
        if new and count > bound:
            raise Wrong(f"{count} policies are more than {self.node.name} takes (ratelimit.policies is {bound})")

    def lines(self):
        rows = [("-", *one, " ".join(words)) for one, words in self.deleted.items()]
        for one, (old, new) in self.changed.items():
            rows.append(("~" if old else "+", *one, " ".join([*old, "->", *new] if old else new)))
        rows = [(sign, name, f"shadow {text}" if how == policies.SHADOW else text) for sign, name, how, text in rows]
        return [f"  {sign} {printable(name):<24} {printable(text)}" for sign, name, text in sorted(rows, key=lambda row: row[1])]

    def apply(self):
        doomed = [name for name, how in self.deleted if how == policies.SET]
        # What counts with one algorithm cannot be set to another: it is deleted first, in the same transaction.
        for (name, how), (_, new) in self.changed.items():
            policy = self.has.get(name)
            if policy and how == policies.SET and any(words and words[0] != new[0] for words in policy[:2]):
                doomed.append(name)
        commands = [["RL.POLICY", "DEL", *doomed]] if doomed else []
        shadows = [name for name, how in self.deleted if how == policies.SHADOW and name not in doomed]
        commands += [["RL.POLICY", "SHADOW", name, "OFF"] for name in shadows]
        # (With its policy, a shadow is deleted too.)
        wanted = [one for one in self.wanted if one in self.changed or one[0] in doomed]
        commands += [["RL.POLICY", how, name, *self.wanted[name, how]] for name, how in wanted]
        *queued, done = self.node.pipeline([["MULTI"], *commands, ["EXEC"]])
        for reply in [*queued, *(done if isinstance(done, list) else [done])]:
            if isinstance(reply, Refused):
                raise Refused(f"{reply}" + (" (it has some of the changes)" if isinstance(done, list) else ""))
        if not isinstance(done, list):
            raise Trouble("did not carry out the transaction")

    def verify(self):
        after = Plan(self.node, self.wanted)
        if after:
            raise Trouble("has others all the same (somebody else changed them, or it spells them so):\n" + "\n".join(after.lines()))
        told = reading.overview(self.node).policies_fingerprint
        if told != policies.fingerprint(self.wanted):
            raise Trouble(f"tells the fingerprint {told}, and not {policies.fingerprint(self.wanted)}")


def named(node, action):
    try:
        return action()
    except Trouble as trouble:
        raise Trouble(f"{node.name}: {trouble}") from trouble


def sync(fleet, wanted, is_diff):
    """The exit status. Wrong, where the file is; Trouble, where a server fails."""
    nodes = fleet.nodes()
    for node in nodes:
        named(node, lambda node=node: check(node, wanted))
    plans = [named(node, lambda node=node: Plan(node, wanted)) for node in nodes]
    for plan in plans:
        named(plan.node, plan.check_room)
    for plan in filter(None, plans):
        print("\n".join([f"{plan.node.name}:", *plan.lines()]), flush=True)
    if is_diff:
        return EXIT_DIFFERS if any(plans) else 0
    done = []
    for plan in filter(None, plans):
        try:
            named(plan.node, plan.apply)
        except Trouble as trouble:
            raise Trouble(f"{trouble}. Done on {', '.join(done) or 'no server'}: run this again") from trouble
        done.append(plan.node.name)
    for plan in plans:
        named(plan.node, plan.verify)
    count = sum(how == policies.SET for _, how in wanted)
    shadows = f" and {len(wanted) - count} shadows" if count < len(wanted) else ""
    print(f"{count} policies{shadows}, fingerprint {policies.fingerprint(wanted)}, on {', '.join(node.name for node in nodes)}")
    return 0


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit policy sync",
        usage="ratelimit policy sync [options] FILE",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the policies; - is standard input")
    parser.add_argument("--diff", action="store_true", help="show what differs, change nothing")
    parser.add_argument("--fingerprint", action="store_true", help="print the file's fingerprint, ask no server")
    parser.add_argument("--allow-empty", action="store_true", help="a file without policies deletes all")
    add_options(parser)
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, lambda text: print(f"ratelimit policy sync: {text}", file=sys.stderr))
    try:
        wanted = read_file(options.file)
        if options.fingerprint:
            print(policies.fingerprint(wanted))
            return 0
        if not wanted and not options.allow_empty:
            raise Wrong("no policy in it (--allow-empty would delete all)")
        return sync(fleet, wanted, options.diff)
    except Wrong as wrong:
        print(f"ratelimit policy sync: {printable(options.file)}: {wrong}: nothing was changed", file=sys.stderr)
        return EXIT_WRONG
    except Trouble as trouble:
        print(f"ratelimit policy sync: failed: {trouble}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    finally:
        fleet.close()
