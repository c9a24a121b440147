"""What a stranger, a dead server or a reader of the journal can do to `ratelimit console`: as little as possible."""

import contextlib
import json
import os
import pathlib
import socket
import stat
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from .browser import Case
from .support import NO_PROXY, Program, eventually, free_port, get, get_at_once, ratelimit, run

TOKEN = "t" * 40
PATIENCE_SECONDS = 20  # far more than one dead server costs, and far less than a queue of readers behind it


class Silent:
    """A server that takes connections and never says a word."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def close(self):
        self.listener.close()


class Attacks(Case):
    def setUp(self):
        self.one = self.server()

    def exchange(self, url, data):
        """Everything that comes back until the console closes the connection."""
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(data)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(1 << 16):
                    parts.append(part)
        return b"".join(parts)

    def post(self, url, path, body, **headers):
        own = {"Content-Type": "application/json", "X-Console": "1", **headers}
        request = urllib.request.Request(url + path, json.dumps(body).encode(), own)
        with NO_PROXY.open(request, timeout=60) as response:
            return json.loads(response.read())

    def test_a_body_is_never_taken_for_the_next_request(self):
        url = self.console("-p", self.one.port)
        hidden = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for length in (f"Content-Length: {len(hidden)}", "Transfer-Encoding: chunked", f"Content-Length: 0{len(hidden)}"):
            for line in ("GET /console.css", "HEAD /console.css", "GET /api/nothing", "POST /api/deny", "PUT /"):
                data = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n{length}\r\n\r\n".encode() + hidden
                answer = self.exchange(url, data)
                self.assertLessEqual(answer.count(b"HTTP/1."), 1, (line, length))
                self.assertNotIn(b'"servers"', answer, (line, length))

    def test_who_is_not_known_is_told_so_before_a_body_is_read(self):
        url = self.console("-p", self.one.port, environment={"CONSOLE_TOKEN": TOKEN})
        head = "POST /api/deny HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Console: 1\r\n"
        cookie = f"Cookie: ratelimit-console={TOKEN}\r\n"
        for more, length, status in (
            ("", "000000000400000000", b" 401 "),
            ("", "5", b" 401 "),
            (cookie, "000000000400000000", b" 413 "),
            (cookie, "65537", b" 413 "),
            (cookie, "-1", b" 413 "),
            (cookie, "5\r\nContent-Length: 6", b" 413 "),
            (cookie, "²", b" 413 "),
        ):
            # Nothing of the body is sent: whoever waits for it answers never.
            answer = self.exchange(url, f"{head}{more}Content-Length: {length}\r\n\r\n".encode("latin-1"))
            self.assertIn(status, answer.split(b"\r\n")[0], (more, length))

    def test_a_change_waits_for_no_reader_and_no_dead_server(self):
        dead = Silent()
        self.addCleanup(dead.close)
        url = self.console("--server", self.one.address, "--server", dead.address)
        stopped = threading.Event()

        def read():
            while not stopped.is_set():
                attempt(url + "/api/state")
                attempt(url + "/api/series")

        tabs = [threading.Thread(target=read) for _ in range(16)]
        for tab in tabs:
            tab.start()
        try:
            time.sleep(0.5)  # so that they are all under way; a shorter time would only be kinder
            started = time.monotonic()
            answer = self.post(url, "/api/deny", {"list": "bad", "value": "192.0.2.1", "ttl": "1h"})
            self.assertLess(time.monotonic() - started, PATIENCE_SECONDS)
        finally:
            stopped.set()
            for tab in tabs:
                tab.join()
        told = {each.pop("server"): each for each in answer["servers"]}
        self.assertEqual(told[self.one.address], {"reply": 1})
        self.assertIn("no answer", told[dead.address]["error"])
        self.assertEqual(self.one.call("RL.DENY HAS bad 192.0.2.1"), [1])

    def test_readers_share_one_look_at_the_servers(self):
        url = self.console("-p", self.one.port)
        get(url + "/api/state")
        before = self.calls()
        get_at_once(url + "/api/state", 40)
        self.assertLess(self.calls() - before, 20)

    def calls(self):
        lines = self.one.call("INFO commandstats").splitlines()
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines if line.startswith("cmdstat_RL.POLICY|LIST") or line.lower().startswith("cmdstat_rl.policy"))

    def test_what_was_changed_is_seen_at_once(self):
        url = self.console("-p", self.one.port)
        for index in range(5):
            self.post(url, "/api/policy", {"name": f"p{index}", "words": "fixed 5 1m"})
            self.assertIn(f"p{index}", json.loads(get(url + "/api/state"))["servers"][0]["policies"])

    def test_a_token_is_in_no_journal(self):
        self.console("-p", self.one.port, environment={"CONSOLE_TOKEN": TOKEN}, host="0.0.0.0")
        self.assertNotIn(TOKEN, self.output.output)
        # Made up, there is no terminal to show it on.
        status, _, said = run("console", "-p", self.one.port, "--listen", f"0.0.0.0:{free_port()}")
        self.assertEqual(status, 2, said)
        self.assertIn("--token-file", said)
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "token"
            url = self.console("-p", self.one.port, "--token-file", path, host="0.0.0.0")
            token = path.read_text().strip()
            self.assertGreaterEqual(len(token), 32)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            self.assertNotIn(token, self.output.output)
            self.assertIn("servers", attempt(url + "/api/state", token))
            # The next start takes the same; one that others may read is refused.
            url = self.console("-p", self.one.port, "--token-file", path)
            self.assertIn("servers", attempt(url + "/api/state", token))
            self.assertEqual(attempt(url + "/api/state"), "401")
            path.chmod(0o644)
            status, _, said = run("console", "-p", self.one.port, "--token-file", path)
            self.assertEqual(status, 2, said)
            self.assertIn("others", said)

    def test_the_cookie_is_secure_behind_tls(self):
        url = self.console("-p", self.one.port, environment={"CONSOLE_TOKEN": TOKEN})
        for headers, is_secure in (("", False), ("X-Forwarded-Proto: https\r\n", True)):
            answer = self.exchange(url, f"GET /?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
            (cookie,) = [line for line in answer.split(b"\r\n") if line.startswith(b"Set-Cookie:")]
            self.assertEqual(b"; Secure" in cookie, is_secure)

    def test_who_changed_what_is_logged(self):
        url = self.console("-p", self.one.port)
        self.post(url, "/api/deny", {"list": "bad\r\nforged", "value": "192.0.2.0/24", "ttl": "1h"}, **{"X-Forwarded-User": "alice\x1b[2J"})
        said = eventually("it is logged", lambda: "RL.DENY ADD" in self.output.output and self.output.output)
        (line,) = [line for line in said.splitlines() if "RL.DENY ADD" in line]
        for part in ("127.0.0.1", "alice\\x1b[2J", "bad\\x0d\\x0aforged", "192.0.2.0/24", "1h", f"{self.one.address}: 1"):
            self.assertIn(part, line)
        (change,) = json.loads(get(url + "/api/changes"))["changes"]
        self.assertEqual(change["what"], "RL.DENY ADD bad\r\nforged 192.0.2.0/24 TTL 1h")


def attempt(url, token=None):
    request = urllib.request.Request(url, headers={"Cookie": f"ratelimit-console={token}"} if token else {})
    try:
        with NO_PROXY.open(request, timeout=60) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return str(error.code)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    unittest.main()
