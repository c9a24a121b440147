"""Messages of a WebSocket, by uvicorn, over real sockets: of FastAPI, and of ASGI by itself."""

import asyncio
import time
import unittest

import redis.asyncio
import uvicorn
import websockets
from fastapi import FastAPI, WebSocket
from ratelimit_client import AsyncLimiter, Bucket, Window
from ratelimit_client.websocket import limit_messages
from servers import PORT


class Messages(unittest.IsolatedAsyncioTestCase):
    def limiter(self, limits=Window(3, "1h"), algorithm="sliding"):
        client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(client.aclose)
        prefix = f"messages:{self.id()}:{time.time_ns()}"
        return AsyncLimiter(client, prefix=prefix, algorithm=algorithm, limits=limits, timeout_ms=60_000)

    async def serving(self, app):
        config = uvicorn.Config(app, port=0, ws="websockets-sansio", ws_max_size=2**20, log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())

        async def end():
            server.should_exit = server.force_exit = True
            await serving

        self.addAsyncCleanup(end)
        while not server.started:
            await asyncio.sleep(0.01)
        self.port = server.servers[0].sockets[0].getsockname()[1]

    async def calling(self, path="/"):
        socket = await websockets.connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, compression=None)
        self.addAsyncCleanup(socket.close)
        return socket

    async def heard(self, socket):
        """All until it is closed, and how it was."""
        heard = []
        try:
            while True:
                heard.append(await socket.recv())
        except websockets.ConnectionClosed:
            return heard, socket.close_code, socket.close_reason

    def fastapi(self, limit, **options):
        app = FastAPI()

        @app.websocket("/")
        async def echo(websocket: WebSocket):
            await websocket.accept()
            async for message in limit_messages(websocket.receive, websocket.send, limit, **options):
                await websocket.send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

        return app

    async def test_they_are_let_through_in_order_and_one_too_many_closes(self):
        api = self.limiter()
        await self.serving(self.fastapi(lambda _: api.hit("k")))
        socket = await self.calling()
        for message in ("a", b"b", "c", "d", "e"):
            await socket.send(message)
        self.assertEqual(await self.heard(socket), (["a", b"b", "c"], 1013, "Too many requests"))

    async def test_by_asgi_alone_and_for_good_where_trying_again_is_of_no_use(self):
        api = self.limiter(Window(0, "1h"))

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            async for _ in limit_messages(receive, send, lambda _: api.hit("k")):
                self.fail("it was let through")

        await self.serving(app)
        socket = await self.calling()
        await socket.send("a")
        self.assertEqual(await self.heard(socket), ([], 1008, "Too many requests"))

    async def test_they_are_dropped_and_the_socket_stays_where_the_application_says_so(self):
        api, dropped = self.limiter(), []

        async def denied(verdict, message):
            dropped.append((message, verdict.retry_after_ms > 0))
            if message == "e":
                await api.reset("k")

        await self.serving(self.fastapi(lambda _: api.hit("k"), denied=denied))
        socket = await self.calling()
        for message in "abcdefg":
            await socket.send(message)
        self.assertEqual([await socket.recv() for _ in range(5)], ["a", "b", "c", "f", "g"])
        self.assertEqual(dropped, [("d", True), ("e", True)])

    async def test_they_wait_for_their_turn(self):
        api = self.limiter(Bucket(1, 10, "1s"), "bucket")
        await self.serving(self.fastapi(lambda _: api.wait("k")))
        socket = await self.calling()
        since = time.monotonic()
        for message in "abcd":
            await socket.send(message)
        self.assertEqual([await socket.recv() for _ in range(4)], ["a", "b", "c", "d"])
        self.assertGreaterEqual(time.monotonic() - since, 0.29)

    async def test_who_sends_too_fast_is_not_read(self):
        api, held = self.limiter(Window(10_000, "1h")), asyncio.Event()

        async def limit(_message):
            await held.wait()
            return await api.hit("k")

        await self.serving(self.fastapi(limit))
        socket = await self.calling()
        listening = asyncio.create_task(self.numbers(socket, 1000))
        sent = 0

        async def send():
            nonlocal sent
            for number in range(1000):
                await socket.send(f"{number:04}" + "x" * 65_000)
                sent += 1

        sending = asyncio.create_task(send())
        seen = -1
        while sent == 0 or sent != seen:  # until nothing more goes out
            seen = sent
            await asyncio.sleep(0.2)
        self.assertLess(sent, 1000)
        held.set()
        await sending
        self.assertEqual(await listening, [f"{number:04}" for number in range(1000)])

    async def numbers(self, socket, count):
        return [(await socket.recv())[:4] for _ in range(count)]

    async def test_a_mistake_closes_and_is_raised(self):
        api, raised = self.limiter(), []

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            try:
                async for _ in limit_messages(receive, send, lambda _: api.hit(None)):
                    pass
            except TypeError as error:
                raised.append(str(error))

        await self.serving(app)
        socket = await self.calling()
        await socket.send("a")
        self.assertEqual((await self.heard(socket))[:2], ([], 1011))
        self.assertEqual(raised, ["key: expected a non-empty string, got None"])
        for wrong in ({"limit": None}, {"limit": app, "denied": 7}):
            with self.assertRaisesRegex(TypeError, "^(limit|denied): expected a function"):
                limit_messages(app, app, **wrong)

    async def test_who_has_gone_ends_the_loop(self):
        api, ended = self.limiter(), asyncio.Event()

        async def app(_scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            async for _ in limit_messages(receive, send, lambda _: api.hit("k")):
                pass
            ended.set()

        await self.serving(app)
        socket = await self.calling()
        await socket.send("a")
        await socket.close()
        await asyncio.wait_for(ended.wait(), 30)


if __name__ == "__main__":
    unittest.main()
