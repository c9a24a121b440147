"""What INFO and RL.STATS tell, as values. Whatever a server leaves out is None, zero or empty; other nonsense is Trouble."""

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .connection import Trouble

PREFIX = "ratelimit_"
PART = re.compile("([^,=]*)=([^,]*)")
OUTCOMES = ("allowed", "denied", "deny_listed")
SHADOW_DENIED = "shadow_denied"  # no outcome: part of what was allowed
ALGORITHMS = ("fixed", "sliding", "bucket", "lease")


class Counts(NamedTuple):
    allowed: int = 0
    denied: int = 0
    deny_listed: int = 0

    def plus(self, other):
        return Counts(*map(sum, zip(self, other)))

    def since(self, before):
        """What has come since. A count that went down was reset: what it is now came after that."""
        return Counts(*(now - old if now >= old else now for now, old in zip(self, before)))


class DenyList(NamedTuple):
    entries: int
    fingerprint: str  # of what it holds for good
    changed_ms: int  # when that changed last, in Unix milliseconds


class Region(NamedTuple):
    """What a server tells of another region; None where it has not heard it, or nothing was acknowledged."""

    heard_ms_ago: int | None
    echo_ms_ago: int | None
    merges: int
    news: int
    refused: int


class Overview(NamedTuple):
    """A server in one INFO."""

    fields: dict  # every other field of INFO's that was asked for, as its text
    total: Counts
    algorithms: dict  # name: Counts
    names: dict  # a policy's name, or another that hits were counted under: Counts
    lists: dict  # name: DenyList
    regions: dict  # name: Region
    shadow_denied: dict  # a name: hits that were allowed, and that a shadow would have denied; of names that have such
    before: dict  # a name: the last name of calls that name it in front, under which these hits count too

    def text(self, field):
        return self.fields.get(field)

    def number(self, field):
        """A field that is a whole number; None where the server has none of that name."""
        text = self.fields.get(field, "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def unnamed(self):
        """The hits without a name. A name that was reset alone leaves its hits here."""
        if told := self.text(PREFIX + "unnamed"):
            return _counts(told)
        total = Counts()  # an earlier version counted each hit under one name
        for counts in self.names.values():
            total = total.plus(counts)
        return Counts(*(max(0, all_ - named) for all_, named in zip(self.total, total)))

    @property
    def policies_fingerprint(self):
        return self.text(PREFIX + "policies_fingerprint")

    @property
    def region(self):
        """Its own region's name; None where it has none."""
        return self.text(PREFIX + "region") or None

    @property
    def changes_lost(self):
        """Changed keys that its ring had no room for until every other region had read them."""
        return self.number(PREFIX + "changes_lost")


def overview(node, *sections):
    """INFO's sections of the module, and these others."""
    fields, names, lists, algorithms, regions, shadow_denied, before = {}, {}, {}, {}, {}, {}, {}
    kinds = {"name": (names, _counts), "list": (lists, _deny_list), "region": (regions, _region)}
    for line in node.call("INFO", "ratelimit", *sections).splitlines():
        field, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        prefix, _, rest = field.partition("_")
        kind, _, name = rest.partition("_")
        if prefix == "ratelimit" and name and kind in kinds:
            found, read = kinds[kind]
            found[_name(name)] = read(value)
            if kind == "name":
                parts = _parts(value)
                if count := _number(parts.get(SHADOW_DENIED, "0")):
                    shadow_denied[_name(name)] = count
                if last := parts.get("before"):
                    before[_name(name)] = _name(last)
        else:
            fields[field] = value
    if PREFIX + "version" not in fields:
        raise Trouble("the server has no rate limiting module")
    for algorithm in ALGORITHMS:
        if PREFIX + algorithm in fields:
            algorithms[algorithm] = _counts(fields[PREFIX + algorithm])
    total = Counts(*(_number(fields.get(PREFIX + outcome, "")) for outcome in OUTCOMES))
    return Overview(fields, total, algorithms, names, lists, regions, shadow_denied, before)


def _name(text):
    """INFO writes a name's bytes as %xx where they might be read as something else."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape") if "%" in text else text


def _parts(value):
    """`a=1,b=2`, as INFO has several values in one field."""
    return dict(PART.findall(value))


def _counts(value):
    parts = _parts(value)
    return Counts(*[_number(parts.get(outcome, "")) for outcome in OUTCOMES])


def _deny_list(value):
    parts = _parts(value)
    return DenyList(_number(parts.get("entries", "")), parts.get("fingerprint", ""), _number(parts.get("changed_ms", "")))


def _region(value):
    parts = _parts(value)
    ago = (parts.get(key, "-1") for key in ("heard_ms_ago", "echo_ms_ago"))
    counts = (_number(parts.get(key, "")) for key in ("merges", "news", "refused"))
    return Region(*(None if text == "-1" else _number(text) for text in ago), *counts)


def _number(text):
    if not (text.isascii() and text.isdigit()):
        raise Trouble("INFO ratelimit is not as it should be")
    return int(text)


def commands(fields):
    """INFO commandstats: for each command of the module's that was called, how often it was, failed and was rejected."""
    found = {}
    for field, value in fields.items():
        name = field.removeprefix("cmdstat_")
        if name != field and name.lower().startswith("rl."):
            parts = _parts(value)
            numbers = (parts.get(key, "0") for key in ("calls", "failed_calls", "rejected_calls"))
            found[name.lower()] = tuple(map(_number, numbers))
    return found


def replicas(fields):
    """INFO replication of a primary: how many seconds ago each replica said how far it is."""
    found = {}
    for field, value in fields.items():
        if field.startswith("slave") and field[5:].isdigit():
            parts = _parts(value)
            found[f"{parts.get('ip', '')}:{parts.get('port', '')}"] = _number(parts.get("lag", ""))
    return found


class Change(NamedTuple):
    """Something that was changed on a server."""

    at: float  # in Unix seconds, by the server's clock
    by: str  # `user 'ops' at 10.0.0.7:4711`; nobody, where a TTL was over
    subject: str  # `policy 'login'`
    done: str  # `set: from none to sliding 5 15m`


def changes(node, count):
    """RL.AUDIT, newest first."""
    try:
        return [Change(at_ms / 1000, *map(str, texts)) for at_ms, *texts in node.call("RL.AUDIT", "COUNT", count)]
    except (TypeError, ValueError) as error:
        raise Trouble("RL.AUDIT is not as it should be") from error


class Frequent(NamedTuple):
    """An identifier in a top list: its count, and by how much that may be too high."""

    identifier: str
    count: int
    max_error: int


class Recent(NamedTuple):
    """An identifier of a top list: its hits in this clock hour, and in the one before it. Neither is too high."""

    identifier: str
    this_hour: int
    hour_before: int

    @property
    def hits(self):
        return self.this_hour + self.hour_before


class Row(NamedTuple):
    """An hour or a day with traffic."""

    start: int  # in Unix seconds
    counts: Counts


class Series(NamedTuple):
    """What is counted under a name, or in total."""

    counts: Counts
    most_allowed: tuple
    most_denied: tuple
    most_deny_listed: tuple
    most_shadow_denied: tuple
    recently_allowed: tuple | None  # None: the server does not tell
    recently_denied: tuple | None
    hours: tuple  # of 8 days
    days: tuple  # 90 of them


def series(node, names):
    """RL.STATS GET of each name (None: the total), in one round trip; names that nothing is known of are left out."""
    names = list(names)
    replies = node.pipeline([["RL.STATS", "GET", *([] if name is None else [name])] for name in names]) if names else []
    found = {}
    for name, reply in zip(names, replies):
        if isinstance(reply, Trouble):
            raise reply
        if reply is not None:
            found[name] = _series(reply)
    return found


def _series(reply):
    try:
        return Series(
            Counts(*(reply[outcome] for outcome in OUTCOMES)),
            *(tuple(Frequent(*one) for one in reply.get("most_" + outcome, ())) for outcome in (*OUTCOMES, SHADOW_DENIED)),
            *(_recent(reply, "recently_" + outcome) for outcome in OUTCOMES[:2]),
            _rows(reply, "hours"),
            _rows(reply, "days"),
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise Trouble("RL.STATS is not as it should be") from error


def _recent(reply, kind):
    return tuple(Recent(*one) for one in reply[kind]) if kind in reply else None


def _rows(reply, kind):
    """Oldest first: of each its start, and its counts in the order of OUTCOMES."""
    return tuple(Row(start, Counts(*counts[: len(OUTCOMES)])) for start, *counts in reply.get(kind, ()))


class Policy(NamedTuple):
    """What stands under a name: words as RL.POLICY SET and SHADOW take them, the algorithm first. One at least is not None."""

    lasting: tuple | None
    temporary: tuple | None  # stands in front of the lasting one
    left_ms: int  # until the temporary one ends
    shadow: tuple | None = None  # is tried beside them, and never binds
    shadow_left_ms: int | None = None  # until the shadow ends; None where it does not

    @property
    def in_force(self):
        return self.temporary or self.lasting


def policies(node):
    """The policies, by name."""
    try:
        return {name: policy(words) for name, words in node.call("RL.POLICY", "LIST").items()}
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise Trouble("RL.POLICY LIST is not as it should be") from error


def policy(words):
    """`sliding 5 15m`, or `sliding 1 15m TTL 3600000ms` and then the lasting one's words or nil; then `SHADOW` and its words."""
    shadow, shadow_left_ms = None, None
    if "MISMATCHES" in words:
        words = words[: words.index("MISMATCHES")]
    if "SHADOW" in words:
        at = words.index("SHADOW")
        words, (shadow, shadow_left_ms) = words[:at], _until(words[at + 1])
    if "TTL" not in words:
        return Policy(tuple(words) or None, None, 0, shadow, shadow_left_ms)
    lasting = words[-1]
    return Policy(lasting and tuple(lasting), *_until(words[:-1]), shadow, shadow_left_ms)


def _until(words):
    """The words before TTL, and the milliseconds behind it, if there are any."""
    if "TTL" not in words:
        return tuple(words), None
    *words, _, left = words
    return tuple(words), int(left.removesuffix("ms"))
