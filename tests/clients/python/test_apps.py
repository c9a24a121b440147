"""Real requests, by curl and by urllib, to FastAPI, Flask and Django under uvicorn and gunicorn; what the middleware adds."""

import json
import os
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import redis
from ratelimit_client import Deny, Limiter, Verdict, Window, asgi, wsgi
from servers import PORT, free_port


def serve(case, *command, **environment):
    """Starts a server of this directory's until the test case (or its class) is cleaned up, and gives its URL."""
    port = free_port()
    arguments = [word.replace("PORT", str(port)) for word in command]
    environment = {**os.environ, **environment}
    process = subprocess.Popen([sys.executable, "-m", *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    add_cleanup = case.addClassCleanup if isinstance(case, type) else case.addCleanup
    add_cleanup(process.communicate, timeout=120)
    add_cleanup(process.terminate)
    until = time.monotonic() + 60
    while True:
        if process.poll() is not None:
            raise RuntimeError(process.stderr.read())
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return f"http://127.0.0.1:{port}/"
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class App:
    """The tests of each; ``command`` serves one of apps.py."""

    command: list[str]
    prefix: str

    @classmethod
    def setUpClass(cls):
        cls.url = serve(cls, *cls.command)

    def curl(self, ip):
        command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
        return subprocess.check_output([*command, "--header", f"X-Forwarded-For: {ip}", self.url], text=True)

    def test_curl_six_times_with_5_per_window(self):
        statuses = [self.curl("203.0.113.9") for _ in range(6)]
        self.assertEqual(" ".join(statuses), "200 200 200 200 200 429")
        self.assertEqual(self.curl("203.0.113.10"), "200")  # somebody else
        self.assertEqual(self.curl("198.51.100.1, 203.0.113.9"), "429")  # an invented hop changes nothing
        self.assertEqual(self.curl("203.0.113.9:40001"), "429")  # nor does another port

    def test_every_response_carries_the_fields(self):
        for hit in range(1, 7):
            request = urllib.request.Request(self.url, headers={"X-Forwarded-For": "203.0.113.77"})
            now = int(time.time())
            try:
                response = urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                headers, body = response.headers, json.loads(response.read())
            remaining = max(0, 5 - hit)
            self.assertEqual(response.status, 200 if hit <= 5 else 429)
            self.assertEqual(headers["X-RateLimit-Limit"], "5")
            self.assertEqual(headers["X-RateLimit-Remaining"], str(remaining))
            self.assertTrue(800 < int(headers["X-RateLimit-Reset"]) - now <= 902)
            self.assertEqual(headers["RateLimit-Policy"], '"api";q=5;w=900')
            self.assertRegex(headers["RateLimit"], rf'^"api";r={remaining};t=(8\d\d|900)$')
            self.assertIn("RateLimit-Policy", headers["Access-Control-Expose-Headers"])
            self.assertEqual(headers["Retry-After"] is None, hit <= 5)
            self.assertEqual(body, {"text": "hello"} if hit <= 5 else {"error": "Too many requests"})


class FastApi(App, unittest.TestCase):
    command = ["uvicorn", "apps:fastapi_app", "--port", "PORT", "--log-level", "warning"]


class Flask(App, unittest.TestCase):
    # Two processes with threads: the limiter's own threads must survive the fork.
    command = ["gunicorn", "apps:flask_app", "--bind", "127.0.0.1:PORT", "--workers", "2", "--threads", "4", "--log-level", "warning", "--preload"]


class Django(App, unittest.TestCase):
    command = ["gunicorn", "apps:django_app", "--bind", "127.0.0.1:PORT", "--threads", "4", "--log-level", "warning"]


class DjangoAsync(App, unittest.TestCase):
    command = ["uvicorn", "apps:django_async_app", "--port", "PORT", "--lifespan", "off", "--log-level", "warning"]


class Refusals(unittest.IsolatedAsyncioTestCase):
    async def ask(self, verdict):
        """Status and fields that an application of ASGI and one of WSGI answer with: both the same."""
        sent = []

        async def limit(_scope):
            return verdict

        async def app(_scope, _receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})

        async def send(message):
            sent.append(message)

        await asgi.RateLimitMiddleware(app, limit=limit)({"type": "http", "headers": []}, None, send)

        started = []

        def wsgi_app(_environ, start_response):
            start_response("200 OK", [("X-Own", "1")])
            return []

        def start_response(status, headers, exc_info=None):
            started.extend([int(status[:3]), {name.lower(): value for name, value in headers}])
            return lambda data: None

        list(wsgi.RateLimitMiddleware(wsgi_app, limit=lambda _environ: verdict)({}, start_response))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.assertEqual(started, [sent[0]["status"], headers])
        return sent[0]["status"], headers

    async def test_open_answers_200_without_fields_closed_503(self):
        status, headers = await self.ask(Verdict(allowed=True, error=ConnectionError("away")))
        self.assertEqual((status, headers["x-own"], "x-ratelimit-limit" in headers), (200, "1", False))
        status, headers = await self.ask(Verdict(allowed=False, error=ConnectionError("away")))
        self.assertEqual((status, headers["retry-after"]), (503, "1"))

    async def test_a_deny_listed_caller_is_forbidden_and_never_has_no_retry_after(self):
        with redis.Redis(port=PORT) as client:
            client.execute_command("RL.DENY", "ADD", "apps:deny", "192.0.2.7")
            api = Limiter(client, prefix="apps", algorithm="fixed", limits=Window(5, "3650d"))
            status, headers = await self.ask(api.hit("k", deny=Deny("apps:deny", ["192.0.2.7"])))
            self.assertEqual((status, "retry-after" in headers), (403, False))
            status, headers = await self.ask(api.hit("k", cost=6))
            self.assertEqual((status, "retry-after" in headers), (429, False))

    async def test_what_is_no_request_passes(self):
        seen = []

        async def app(scope, receive, send):
            seen.append(scope["type"])

        await asgi.RateLimitMiddleware(app, limit=None)({"type": "lifespan"}, None, None)
        self.assertEqual(seen, ["lifespan"])
