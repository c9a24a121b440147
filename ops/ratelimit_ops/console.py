"""A console in the browser for servers with the module: what is allowed and denied, and whom; policies, deny lists, keys.

It listens on this machine alone, unless --listen says otherwise; then a browser needs the token that is printed. What it
changes it changes on every server that it was given.
"""

import argparse
import contextlib
import hmac
import http.cookies
import http.server
import ipaddress
import json
import os
import re
import secrets
import socket
import sys
import time
import urllib.parse

from .servers import reading, synced
from .servers.connection import Refused, Trouble, port_number
from .servers.nodes import EPILOG, Fleet, add_options
from .servers.reading import Counts
from .servers.text import printable

HERE = os.path.dirname(os.path.realpath(__file__))
PAGE = os.path.join(HERE, "page")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "../../target"))
CHARTS = [  # where a release has them, and where scripts/setup-ops puts them
    os.path.join(PAGE, "uplot"),
    os.path.join(TARGET, "ops/console/node_modules/uplot/dist"),
]
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/uplot.js": ("uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uPlot.min.css", "text/css; charset=utf-8"),
}
HEADERS = {
    # Nothing but this server's own files; no script or style inside a page, whatever gets into one.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
COOKIE = "ratelimit-console"
MAX_BODY = 1 << 16
MAX_NAMES = 500  # names that the page is told about: the busiest, and all policies
MAX_LOOKED = 50  # names whose identifiers are looked at where none is asked for
MAX_TOP = 20
IPV4 = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.])")
IPV6 = re.compile(r"[0-9A-Fa-f:]{3,}")


class Bad(Exception):
    """The page's request makes no sense; says why."""


class Console:
    """What the page may ask for, as values for JSON."""

    def __init__(self, fleet, is_read_only):
        self.fleet, self.is_read_only = fleet, is_read_only

    def ask(self, question):
        """[{"server": name, ...}] of each server; "error" where it did not answer."""
        answers = []
        for name, answer in self.fleet.ask(question):
            more = {"error": str(answer)} if isinstance(answer, Trouble) else answer
            answers.append({"server": name, **more})
        return answers

    # Looking

    def state(self, _query):
        return {"at": time.time(), "read_only": self.is_read_only, "servers": self.ask(state_of)}

    def series(self, query):
        """Counts by the hour and top lists, of all servers together: of a name, or of all hits."""
        name = query.get("name")

        def look(node):
            names = [name]
            if name is None:  # who hits without a name, and under the names that are hit most
                counts = reading.overview(node).names
                names += sorted(counts, key=lambda one: (-counts[one].denied, -sum(counts[one]), one))[:MAX_LOOKED]
            return reading.series(node, names)

        hours, tops, errors = {}, [], []
        for server, answer in self.fleet.ask(look):
            if isinstance(answer, Trouble):
                errors.append({"server": server, "error": str(answer)})
                continue
            tops += answer.values()
            for hour in answer[name].hours if name in answer else ():
                hours[hour.start] = hours.get(hour.start, Counts()).plus(hour.counts)
        found = {kind: top_of(tops, kind) for kind in ("most_allowed", "most_denied", "most_deny_listed")}
        return {"hours": [[start, *counts] for start, counts in sorted(hours.items())], "errors": errors, **found}

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
            seen = set()
            if network is not None:
                names = list(reading.overview(node).names)[:MAX_LOOKED]
                for series in reading.series(node, [None, *names]).values():
                    for one in (*series.most_allowed, *series.most_denied):
                        address = address_in(one.identifier)
                        if address is not None and address in network:
                            seen.add(one.identifier)
            return {"has": has, "seen": sorted(seen)}

        servers = self.ask(look)
        seen = sorted({one for answer in servers for one in answer.pop("seen", ())})
        return {**told, "servers": servers, "seen": seen[:MAX_TOP], "seen_count": len(seen)}

    # Changing

    def deny(self, body):
        command = ["RL.DENY", "ADD", needed(body, "list"), needed(body, "value"), *ttl_words(body)]
        return self.change(lambda node: node.call(*command))

    def allow(self, body):
        return self.change(lambda node: node.call("RL.DENY", "DEL", needed(body, "list"), needed(body, "value")))

    def set_policy(self, body):
        words = needed(body, "words").split()
        if len(words) < 3 or not all("0" <= word[0] <= "9" for word in words[1:]):
            raise Bad("limits are numbers and durations, such as: sliding 5 15m")
        command = ["RL.POLICY", "SET", needed(body, "name"), *words, *ttl_words(body)]
        return self.change(lambda node: node.call(*command))

    def delete_policy(self, body):
        return self.change(lambda node: node.call("RL.POLICY", "DEL", needed(body, "name")))

    def reset(self, body):
        key = needed(body, "key")

        def forget(node):
            watched, holds = node.pipeline([["WATCH", key], ["RL.INFO", key]])
            try:
                if isinstance(holds, Refused):  # a key of another type is not ours to delete
                    raise holds
                if isinstance(watched, Refused):
                    raise watched
                if holds is None:
                    return "nothing was used"
                if reading.overview(node).region is not None:  # DEL would forget it here, and other regions bring it back
                    node.call("RL.RESET", key)
                    return "reset"
                deleted = node.pipeline([["MULTI"], ["DEL", key], ["EXEC"]])[-1]
                if isinstance(deleted, Refused):
                    raise deleted
                if deleted is None:
                    raise Trouble("the key changed meanwhile: try again")
                return "reset"
            except Refused as refused:
                if str(refused).startswith("MOVED "):
                    return None
                raise
            finally:
                node.call("UNWATCH")

        told = self.change(forget)
        return {"servers": [answer for answer in told["servers"] if answer.get("reply", "") is not None]}

    def change(self, action):
        return {"servers": self.ask(lambda node: {"reply": action(node)})}


def state_of(node):
    overview = reading.overview(node, "replication", "memory")
    policies = reading.policies(node)
    notes = synced.read(node, overview.lists)
    busiest = sorted(overview.names, key=lambda name: (name not in policies, -sum(overview.names[name]), name))
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
            name: {"lasting": policy.lasting, "temporary": policy.temporary, "left_ms": policy.left_ms}
            for name, policy in policies.items()
        },
        "lists": {
            name: {
                "entries": deny_list.entries,
                "fingerprint": deny_list.fingerprint,
                "synced": vars(notes[name]) if name in notes else None,
            }
            for name, deny_list in overview.lists.items()
            if not name.endswith(synced.SUFFIX)
        },
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


def ttl_words(body):
    ttl = body.get("ttl")
    if ttl is None:
        return []
    if not isinstance(ttl, str) or not re.fullmatch(r"[0-9]{1,10}(?:ms|[smhdw])", ttl):
        raise Bad("ttl is a duration such as 1h")
    return ["TTL", ttl]


# The web server


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ratelimit-console", ""
    timeout = 30  # for a client that says nothing

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if not self.is_host_ours():
            return self.tell(421, {"error": "this console is not of that host"})
        if url.path == "/" and "token=" in url.query:
            return self.log_in(urllib.parse.parse_qs(url.query))
        if url.path in FILES and (url.path != "/" or self.is_known()):
            return self.file(*FILES[url.path])
        if not self.is_known():
            return self.tell(401, {"error": "open the address with the token, as the console printed it when it started"})
        actions = {"/api/state": "state", "/api/series": "series", "/api/key": "key", "/api/cover": "cover"}
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query, errors="surrogateescape").items()}
        return self.act(actions.get(url.path), query)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length[:9]) <= MAX_BODY):
            self.close_connection = True
            return self.tell(413, {"error": "too long"})
        body = self.rfile.read(int(length))
        # A form of another site can send neither this type nor this header.
        is_ours = self.headers.get("Content-Type") == "application/json" and self.headers.get("X-Console") == "1"
        if not self.is_host_ours() or not is_ours:
            return self.tell(403, {"error": "not from the console's own page"})
        if not self.is_known():
            return self.tell(401, {"error": "the token is missing"})
        if self.server.console.is_read_only:
            return self.tell(403, {"error": "this console is read-only"})
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return self.tell(400, {"error": "not an object of JSON"})
        actions = {
            "/api/deny": "deny",
            "/api/allow": "allow",
            "/api/policy": "set_policy",
            "/api/policy/delete": "delete_policy",
            "/api/reset": "reset",
        }
        return self.act(actions.get(self.path), values)

    def act(self, action, values):
        if action is None:
            return self.tell(404, {"error": "there is no such thing"})
        try:
            return self.tell(200, getattr(self.server.console, action)(values))
        except Bad as bad:
            return self.tell(400, {"error": str(bad)})
        except Trouble as trouble:
            return self.tell(502, {"error": str(trouble)})

    def is_host_ours(self):
        """Without a token, by no other name than this machine's own: a name that somebody points here is none of them."""
        if self.server.token is not None:
            return True
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        return host in ("localhost", "127.0.0.1", "[::1]") or host.strip("[]") == self.server.server_address[0]

    def is_known(self):
        if self.server.token is None:
            return True
        try:
            cookie = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except http.cookies.CookieError:
            return False
        return cookie is not None and self.is_token(cookie.value)

    def is_token(self, text):
        return hmac.compare_digest(text.encode("utf-8", "replace"), (self.server.token or "").encode())

    def log_in(self, query):
        if self.server.token is not None and not self.is_token(query.get("token", [""])[0]):
            return self.tell(401, {"error": "that is not the token"})
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Set-Cookie", f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Content-Length", "0")
        self.end()

    def file(self, name, kind):
        for directory in (PAGE, *CHARTS):
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    return self.answer(200, kind, file.read())
            except FileNotFoundError:
                continue
        return self.tell(404, {"error": f"{name} is missing: scripts/setup-ops console"})

    def tell(self, status, value):
        self.answer(status, "application/json", json.dumps(value).encode())

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def log_request(self, code="-", size="-"):
        if self.command == "POST":  # who changed what is worth a line
            self.log_message('"%s" %s', printable(self.path), code)

    def log_message(self, format, *args):
        say(f"{self.client_address[0]} {printable(format % args)}")


class Web(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, console, token):
        self.console, self.token = console, token
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def server_bind(self):  # without the look-up of a name for the address
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a browser that went away is none
            say(f"{client_address[0]} {type(error).__name__}: {printable(str(error))}")


def say(text):
    print(f"ratelimit console: {text}", file=sys.stderr, flush=True)


def listen_address(text):
    host, _, port = text.rpartition(":")
    try:
        host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
        return str(ipaddress.ip_address({"localhost": "127.0.0.1"}.get(host, host))), port_number(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT") from None


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="ratelimit console",
        usage="ratelimit console [options]",
        description=__doc__,
        epilog=EPILOG + "\ntoken:    CONSOLE_TOKEN in the environment, 16 characters or more; else one is made up at each start",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument("--read-only", action="store_true", help="show, but change nothing")
    parser.add_argument(
        "--listen",
        type=listen_address,
        default=("127.0.0.1", 9879),
        metavar="ADDRESS:PORT",
        help="where the browser finds it (127.0.0.1:9879). Elsewhere than on this machine put a proxy with TLS in front",
    )
    options = parser.parse_args(arguments)
    fleet = Fleet.of(parser, options, say, timeout=3.0)
    token = os.environ.get("CONSOLE_TOKEN")
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", token):
        parser.error("CONSOLE_TOKEN has 16 to 128 letters, digits, - and _")
    if token is None and not ipaddress.ip_address(options.listen[0]).is_loopback:
        token = secrets.token_urlsafe(24)
    host, port = options.listen
    try:
        web = Web((host, port), Console(fleet, options.read_only), token)
    except OSError as error:
        sys.exit(f"ratelimit console: cannot listen on {host}:{port}: {error.strerror or error}")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    say(f"{printable(fleet.title)} at http://{place}/" + (f"?token={token}" if token else ""))
    try:
        web.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        fleet.close()
