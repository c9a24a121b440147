"""What the page may ask for, as values for JSON. Nothing here changes anything."""

import contextlib
import ipaddress
import re
import time

from ..servers import reading, synced
from ..servers.connection import Refused, Trouble
from ..servers.once import Once
from ..servers.reading import Counts

KEPT_SECONDS = 1.0  # what the servers told stands for so long, for all who ask
MAX_NAMES = 500  # names, policies and lists that the page is told about: the busiest, and what is temporary
MAX_LOOKED = 50  # names whose identifiers are looked at where none is asked for
MAX_TOP = 20
IPV4 = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.])")
IPV6 = re.compile(r"[0-9A-Fa-f:]{3,}")


class Bad(Exception):
    """The page's request makes no sense; says why."""


def answers_of(fleet, question, patience=None):
    """[{"server": name, ...}] of each server; "error" where it did not answer."""
    answers = []
    for name, answer in fleet.ask(question, patience):
        more = {"error": str(answer)} if isinstance(answer, Trouble) else answer
        answers.append({"server": name, **more})
    return answers


class Looking:
    def __init__(self, fleet, is_read_only):
        self.fleet, self.is_read_only = fleet, is_read_only
        self.states = Once(lambda _: self.ask(state_of), KEPT_SECONDS)
        self.found = Once(self.look_at_series, KEPT_SECONDS)

    def forget(self):
        """What was looked at is no longer so."""
        self.states.forget()
        self.found.forget()

    def ask(self, question):
        return answers_of(self.fleet, question)

    def state(self, _query):
        return {"at": time.time(), "read_only": self.is_read_only, "servers": self.states.get()}

    def series(self, query):
        """Counts by the hour and by the day and top lists, of all servers together: of a name, or of all hits."""
        return self.found.get(query.get("name"))

    def look_at_series(self, name):
        def look(node):
            names = [name]
            if name is None:  # who hits without a name, and under the names that are hit most
                counts = reading.overview(node).names
                names += sorted(counts, key=lambda one: (-counts[one].denied, -sum(counts[one]), one))[:MAX_LOOKED]
            return reading.series(node, names)

        rows, tops, errors, at = {"hours": {}, "days": {}}, [], [], time.time()
        for server, answer in self.fleet.ask(look):
            if isinstance(answer, Trouble):
                errors.append({"server": server, "error": str(answer)})
                continue
            tops += answer.values()
            for kind, sums in rows.items():
                for row in getattr(answer[name], kind) if name in answer else ():
                    sums[row.start] = sums.get(row.start, Counts()).plus(row.counts)
        found = {kind: top_of(tops, kind) for kind in ("most_allowed", "most_denied", "most_deny_listed")}
        found |= {kind: [[start, *counts] for start, counts in sorted(sums.items())] for kind, sums in rows.items()}
        return {"at": at, "errors": errors, **found}

    def key(self, query):
        """What a key holds, on each server that may have it."""
        key = needed(query, "key")

        def look(node):
            try:
                info, ttl = node.pipeline([["RL.INFO", key], ["PTTL", key]])
                for reply in (info, ttl):
                    if isinstance(reply, Refused):
                        raise reply
            except Refused as refused:
                if str(refused).startswith("MOVED "):
                    return {"elsewhere": True}
                raise
            return {"holds": info, "ttl_ms": ttl}

        return {"servers": [answer for answer in self.ask(look) if not answer.get("elsewhere")]}

    def cover(self, query):
        """What a value would cover if it were denied."""
        name, value = needed(query, "list"), needed(query, "value")
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            network = None
        told = {"value": value, "kind": "text"}
        if network is not None:
            told = {
                "value": value,
                "kind": "address" if network.num_addresses == 1 else "range",
                "addresses": str(network.num_addresses),
                "first": str(network[0]),
                "last": str(network[-1]),
            }

        def look(node):
            (has,) = node.call("RL.DENY", "HAS", name, value)
            if network is None:
                return {"has": has}
            counts = reading.overview(node).names
            names = sorted(counts, key=lambda one: (-sum(counts[one]), one))[:MAX_LOOKED]
            found = list(reading.series(node, [None, *names]).values())
            return {"has": has, "tells_recent": all(tells_recent(one) for one in found), "active": active_of(found)}

        servers, active = self.ask(look), {}
        for answer in servers:
            for identifier, hits in answer.pop("active", {}).items():
                active[identifier] = active.get(identifier, 0) + hits
        active = {one: (address, hits) for one, hits in active.items() if (address := address_in(one)) is not None}
        hit = {one: hits for one, (address, hits) in active.items() if network is not None and address in network}
        most = sorted(hit.items(), key=lambda one: (-one[1], one[0]))[:MAX_TOP]
        return {
            **told,
            "servers": servers,
            "active_count": len(active),
            "hit_count": len(hit),
            "hits": sum(hit.values()),
            "hit": most,
        }


def tells_recent(series):
    return series.recently_allowed is not None and series.recently_denied is not None


def active_of(found):
    """{identifier: hits in this hour and the one before it} of a server's top lists. Hits of one identifier under two names
    may be the same hits, as of a chain of policies: those of one name count, of which there are most."""
    active = {}
    for series in filter(tells_recent, found):
        hits = {}
        for one in (*series.recently_allowed, *series.recently_denied):
            hits[one.identifier] = hits.get(one.identifier, 0) + one.hits
        active |= {one: max(count, active.get(one, 0)) for one, count in hits.items()}
    return active


def state_of(node):
    overview = reading.overview(node, "replication", "memory")
    policies = reading.policies(node)
    notes = synced.read(node, overview.lists)
    busiest = sorted(overview.names, key=lambda name: (name not in policies, -sum(overview.names[name]), name))
    hits = {name: sum(overview.names.get(name, ())) for name in policies}
    shown = sorted(policies, key=lambda name: (policies[name].temporary is None, -hits[name], name))[:MAX_NAMES]
    lists = [name for name in overview.lists if not name.endswith(synced.SUFFIX)]
    return {
        "version": overview.text("ratelimit_version"),
        "role": {"slave": "replica"}.get(overview.text("role"), "primary"),
        "memory_bytes": overview.number("ratelimit_memory_bytes"),
        "used_memory": overview.number("used_memory"),
        "maxmemory": overview.number("maxmemory"),
        "total": overview.total,
        "algorithms": overview.algorithms,
        "names": {name: overview.names[name] for name in busiest[:MAX_NAMES]},
        "names_count": len(busiest),
        "region": overview.region,
        "regions": {name: region._asdict() for name, region in overview.regions.items()},
        "changes_lost": overview.changes_lost,
        "policies_fingerprint": overview.policies_fingerprint,
        "policies": {
            name: policy._asdict()
            for name, policy in ((name, policies[name]) for name in shown)
        },
        "policies_count": len(policies),
        "before": {name: last for name, last in overview.before.items() if name in shown or name in busiest[:MAX_NAMES]},
        "shadow_denied": {name: count for name, count in overview.shadow_denied.items() if name in shown},
        "lists": {
            name: {
                "entries": deny_list.entries,
                "fingerprint": deny_list.fingerprint,
                "synced": vars(notes[name]) if name in notes else None,
            }
            for name, deny_list in ((name, overview.lists[name]) for name in lists[:MAX_NAMES])
        },
        "lists_count": len(lists),
    }


def top_of(found, kind):
    """[[identifier, count, by how much that may be too high, the address in it]] of several series, added up."""
    merged = {}
    for series in found:
        for one in getattr(series, kind):
            count, error = merged.get(one.identifier, (0, 0))
            merged[one.identifier] = (count + one.count, error + one.max_error)
    ranked = sorted(((name, *counts) for name, counts in merged.items()), key=lambda one: (-one[1], one[0]))
    return [(*one, str(address) if (address := address_in(one[0])) else None) for one in ranked[:MAX_TOP]]


def address_in(identifier):
    """The address in an identifier such as login:192.0.2.7 or api:2001:db8::1; None where there is none."""
    for text in IPV4.findall(identifier):
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(text)
    for text in IPV6.findall(identifier):
        while text.count(":") >= 2:  # what is in front of a colon may be the identifier's own
            with contextlib.suppress(ValueError):
                return ipaddress.ip_address(text)
            text = text.partition(":")[2]
    return None


def needed(values, name):
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise Bad(f"{name} is missing")
    if len(value) > 4096:
        raise Bad(f"{name} is too long")
    return value
