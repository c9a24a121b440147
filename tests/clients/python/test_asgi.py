"""Real requests, by curl and by urllib, to a real ASGI server."""

import asyncio
import json
import socket
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

import redis.asyncio
import uvicorn
from recipes.asgi import RateLimitMiddleware, rate_limit_headers
from recipes.deadline import with_deadline
from recipes.identify import by_ip, client_ip
from recipes.limiter import Verdict, limiter
from servers import PORT


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def identify(scope):
    forwarded_for = dict(scope["headers"]).get(b"x-forwarded-for", b"").decode("latin-1")
    peer = scope["client"][0] if scope["client"] else None
    # curl stands for a proxy of ours
    return f"asgi:{by_ip(client_ip(forwarded_for, peer, lambda address: address == '127.0.0.1'))}"


class Asgi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        listener = socket.create_server(("127.0.0.1", 0))
        cls.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        cls.client = redis.asyncio.Redis(port=PORT)
        limit = limiter(cls.client, "SLIDING", 5, "15m")
        app = RateLimitMiddleware(hello, limit=limit, identify=identify, name="api", window_seconds=900)
        cls.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))

        async def serve():
            await cls.server.serve([listener])
            await cls.client.aclose()

        cls.thread = threading.Thread(target=asyncio.run, args=(serve(),))
        cls.thread.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.should_exit = True
        cls.thread.join()

    def curl(self, ip):
        command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
        return subprocess.check_output([*command, "--header", f"X-Forwarded-For: {ip}", self.url], text=True)

    def test_curl_six_times_with_5_per_window(self):
        statuses = [self.curl("203.0.113.9") for _ in range(6)]
        self.assertEqual(" ".join(statuses), "200 200 200 200 200 429")
        self.assertEqual(self.curl("203.0.113.10"), "200")  # somebody else
        self.assertEqual(self.curl("198.51.100.1, 203.0.113.9"), "429")  # an invented hop changes nothing

    def test_every_response_carries_the_fields(self):
        for hit in range(1, 7):
            request = urllib.request.Request(self.url, headers={"X-Forwarded-For": "203.0.113.77"})
            now = int(time.time())
            try:
                response = urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                headers, body = response.headers, response.read()
            remaining = max(0, 5 - hit)
            self.assertEqual(response.status, 200 if hit <= 5 else 429)
            self.assertEqual(headers["X-RateLimit-Limit"], "5")
            self.assertEqual(headers["X-RateLimit-Remaining"], str(remaining))
            self.assertTrue(800 < int(headers["X-RateLimit-Reset"]) - now <= 902)
            self.assertEqual(headers["RateLimit-Policy"], '"api";q=5;w=900')
            self.assertRegex(headers["RateLimit"], rf'^"api";r={remaining};t=(8\d\d|900)$')
            if hit <= 5:
                self.assertEqual((headers["Retry-After"], headers["X-Own"], body), (None, "1", b"hello"))
            else:
                self.assertRegex(headers["Retry-After"], r"^(8\d\d|900)$")
                self.assertEqual(json.loads(body), {"error": "Too many requests"})


class Headers(unittest.TestCase):
    def test_rounded_up_so_that_nobody_is_told_to_come_too_early(self):
        headers = rate_limit_headers(Verdict(False, 5, 0, 1, 1001), "api", None)
        self.assertLessEqual(time.time() + 1, int(headers.pop("x-ratelimit-reset")))
        self.assertEqual(
            headers,
            {
                "x-ratelimit-limit": "5",
                "x-ratelimit-remaining": "0",
                "ratelimit-policy": '"api";q=5',
                "ratelimit": '"api";r=0;t=2',
                "retry-after": "1",
            },
        )


class Refusals(unittest.IsolatedAsyncioTestCase):
    async def ask(self, limit):
        sent = []

        async def send(message):
            sent.append(message)

        app = RateLimitMiddleware(hello, limit=limit, identify=lambda scope: "k")
        await app({"type": "http", "headers": []}, None, send)
        return sent[0]["status"], dict(sent[0]["headers"])

    async def test_open_answers_200_without_fields_closed_503(self):
        async def broken(key):
            raise ConnectionError("away")

        status, headers = await self.ask(with_deadline(broken, open=True, on_error=lambda error: None))
        self.assertEqual((status, headers), (200, {b"x-own": b"1"}))
        status, headers = await self.ask(with_deadline(broken, open=False, on_error=lambda error: None))
        self.assertEqual((status, headers[b"retry-after"]), (503, b"1"))

    async def test_a_deny_listed_caller_is_forbidden_and_never_has_no_retry_after(self):
        client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(client.aclose)
        await client.execute_command("RL.DENY", "ADD", "asgi:deny", "192.0.2.7")
        limit = limiter(client, "FIXED", 5, "3650d")
        status, headers = await self.ask(lambda key: limit(f"asgi:{key}", deny=("asgi:deny", "192.0.2.7")))
        self.assertEqual((status, b"retry-after" in headers), (403, False))
        status, headers = await self.ask(lambda key: limit(f"asgi:{key}", cost=6))
        self.assertEqual((status, b"retry-after" in headers), (429, False))
