"""The web server: files of the page, and what is asked of Looking and Changing.

Who asks is looked at before what is sent.
"""

import hmac
import http.cookies
import json
import os
import re
import urllib.parse

from .. import web
from ..servers.connection import Trouble
from ..servers.text import fit, printable
from .looking import Bad

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "page")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(PAGE, "../../../target"))
CHARTS = [  # where a release has them, and where scripts/setup-ops puts them
    os.path.join(PAGE, "uplot"),
    os.path.join(TARGET, "ops/console/node_modules/uplot/dist"),
]
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dom.js": ("dom.js", "text/javascript; charset=utf-8"),
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

CHANGES = {
    "/api/deny": "deny",
    "/api/allow": "allow",
    "/api/policy": "set_policy",
    "/api/policy/delete": "delete_policy",
    "/api/reset": "reset",
}


class Handler(web.Handler):
    server_version = "ratelimit-console"

    def do_GET(self):
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return self.tell(400, {"error": "a GET has no body"})
        url = urllib.parse.urlsplit(self.path)
        if not self.is_host_ours():
            return self.tell(421, {"error": "this console is not of that host"})
        if url.path == "/" and "token=" in url.query:
            return self.log_in(urllib.parse.parse_qs(url.query))
        if url.path in FILES and (url.path != "/" or self.is_known()):
            return self.file(*FILES[url.path])
        if not self.is_known():
            return self.tell(401, {"error": "open the address with the token, as the console printed it when it started"})
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query, errors="surrogateescape").items()}
        looking, changing = self.server.looking, self.server.changing
        looks = {
            "/api/state": looking.state,
            "/api/series": looking.series,
            "/api/key": looking.key,
            "/api/cover": looking.cover,
            "/api/changes": changing.changes,
        }
        return self.act(looks.get(url.path), query)

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        # A form of another site can send neither this type nor this header.
        is_ours = self.headers.get("Content-Type") == "application/json" and self.headers.get("X-Console") == "1"
        if not self.is_host_ours() or not is_ours:
            return self.tell(403, {"error": "not from the console's own page"})
        if not self.is_known():
            return self.tell(401, {"error": "the token is missing"})
        if self.server.looking.is_read_only:
            return self.tell(403, {"error": "this console is read-only"})
        lengths = self.headers.get_all("Content-Length", [])
        is_sound = len(lengths) == 1 and re.fullmatch(r"[0-9]{1,5}", lengths[0]) and "Transfer-Encoding" not in self.headers
        if not is_sound or int(lengths[0]) > MAX_BODY:
            return self.tell(413, {"error": f"a body has one Content-Length, of at most {MAX_BODY}"})
        try:
            values = json.loads(self.read_body(int(lengths[0])))
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return self.tell(400, {"error": "not an object of JSON"})
        change = CHANGES.get(self.path)
        return self.act(change and getattr(self.server.changing, change), values, self.who())

    def act(self, action, *words):
        if action is None:
            return self.tell(404, {"error": "there is no such thing"})
        try:
            return self.tell(200, action(*words))
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
        secure = "; Secure" if self.headers.get("X-Forwarded-Proto") == "https" else ""  # as a proxy with TLS says
        self.send_header("Set-Cookie", f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/{secure}")
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

    def who(self):
        """Who asks, as far as that is known: a proxy may say whom it let in."""
        claims = [(name, self.headers.get(name)) for name in ("X-Forwarded-User", "X-Forwarded-For")]
        said = [f"{name} {fit(value, 100)}" for name, value in claims if value]
        return " ".join([self.client_address[0], *([f"({', '.join(said)})"] if said else [])])

    def log_request(self, code="-", size="-"):
        if self.command == "POST" and code != 200:  # a change that was made has a line of its own
            self.log_message('"%s" %s', fit(self.path, 200), int(code))

    def log_message(self, format, *args):
        self.server.say(f"{self.client_address[0]} {printable(format % args)}")


class Web(web.Web):
    def __init__(self, address, looking, changing, token, say):
        self.looking, self.changing, self.token = looking, changing, token
        super().__init__(address, Handler, say)
