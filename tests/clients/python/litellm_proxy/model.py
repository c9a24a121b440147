"""A model as OpenAI's API has them, which makes nothing but words, and notes what it was asked: ``model.py PORT``.

What it does is said by the prompt, a JSON object: ``who`` asks; ``tokens`` to answer with (default: ``max_tokens``),
``pause`` before each, in seconds; ``fail`` with a status. ``GET /seen`` tells how many calls, tokens and calls at once
there were, of each who.
"""

import asyncio
import contextlib
import json
import sys

PROMPT_TOKENS = 7  # whatever the prompt
seen = {}


def note(who):
    return seen.setdefault(who, {"calls": 0, "tokens": 0, "now": 0, "peak": 0})


def chunk(content=None, usage=None):
    choices = [] if usage else [{"index": 0, "delta": {"content": content} if content else {}, "finish_reason": None if content else "stop"}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "words", "choices": choices, "usage": usage}


def usage_of(tokens):
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}


class Answer:
    def __init__(self, writer):
        self._writer = writer

    def whole(self, status, value):
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    def begin(self):
        self._writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def event(self, value):
        data = f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    def end(self):
        self._writer.write(b"0\r\n\r\n")


async def answer(asked, to):
    want = json.loads(asked["messages"][-1]["content"])
    mine = note(want["who"])
    mine["calls"] += 1
    mine["now"] += 1
    mine["peak"] = max(mine["peak"], mine["now"])
    try:
        if "fail" in want:
            await asyncio.sleep(want.get("pause", 0))
            to.whole(want["fail"], {"error": {"message": "no words", "type": "server_error", "code": None}})
            return
        tokens, pause = want.get("tokens", asked.get("max_tokens", 16)), want.get("pause", 0)
        if not asked.get("stream"):
            await asyncio.sleep(pause * tokens)
            mine["tokens"] += PROMPT_TOKENS + tokens
            message = {"role": "assistant", "content": " word" * tokens}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            to.whole(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "words", "choices": [choice], "usage": usage_of(tokens)})
            return
        mine["tokens"] += PROMPT_TOKENS
        to.begin()
        for number in range(tokens):
            await asyncio.sleep(pause)
            mine["tokens"] += 1
            await to.event(chunk((" word", " more")[number % 2]))  # LiteLLM ends a stream that repeats one
        await to.event(chunk())
        if (asked.get("stream_options") or {}).get("include_usage"):
            await to.event(chunk(usage=usage_of(tokens)))
        await to.event("[DONE]")
        to.end()
    finally:
        mine["now"] -= 1


async def serve(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            if head.startswith("get "):
                Answer(writer).whole(200, seen)
            else:
                working = asyncio.ensure_future(answer(json.loads(body), Answer(writer)))
                leaving = asyncio.ensure_future(reader.read(1))  # nothing comes while it works, unless the caller goes
                await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
                leaving.add_done_callback(lambda done: done.cancelled() or done.exception())
                if not working.done():
                    working.cancel()
                    await asyncio.gather(working, return_exceptions=True)
                    break
                await working
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
