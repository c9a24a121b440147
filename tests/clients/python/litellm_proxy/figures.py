"""The same traffic through LiteLLM's proxy with 4 workers, limited by our hook and by LiteLLM's own limiter: a table.

Limits are of one key, a minute's. What counts is what the model has seen.
"""

import os
import signal
import tempfile
import time

import redis
from proxy import PORT, Proxy, await_that

server = redis.Redis(port=PORT, decode_responses=True, protocol=2)


def key(limiter, requests=10**6, tokens=10**8, parallel=10**4):
    name = f"n{time.time_ns()}"
    if limiter == "ours":
        for kind, limit in (("requests", requests), ("tokens", tokens)):
            server.execute_command("RL.POLICY", "SET", f"litellm:key:{kind}:key-{name}", "SLIDING", limit, "1m")
        server.execute_command("RL.POLICY", "SET", f"litellm:key:parallel:key-{name}", "LEASE", parallel, "10s")
    return name, f"sk-{name}-{requests}-{tokens}-{parallel}"


def calls():
    """How many commands Redis has run, those inside of scripts too, but without ours and those of connections."""
    stats = server.info("commandstats")
    left_out = ("info", "rl.policy", "client", "hello", "ping", "select", "auth")
    return sum(one["calls"] for name, one in stats.items() if name.removeprefix("cmdstat_").partition("|")[0] not in left_out)


def measured(proxy, limiter):
    name, mine = key(limiter, requests=50)
    proxy.ask_often(200, 16, mine, {"tokens": 1}, max_tokens=4)
    yield "50 requests a minute, 200 at once by 16 callers: let through", proxy.seen(name)["calls"]

    name, mine = key(limiter, tokens=5000)
    proxy.ask_often(120, 16, mine, {"tokens": 100}, max_tokens=200)
    yield "5,000 tokens a minute, answers of 107, max_tokens 200: tokens used", proxy.seen(name)["tokens"]

    name, mine = key(limiter, tokens=5000)
    proxy.ask_often(120, 16, mine, {"tokens": 1500}, stream=True, stream_options={"include_usage": True})
    yield "the same of streams of 1,507 that name no max_tokens: tokens used", proxy.seen(name)["tokens"]

    name, mine = key(limiter, parallel=3)
    proxy.ask_often(48, 12, mine, {"tokens": 3, "pause": 0.1}, max_tokens=4, stream=True)
    yield "3 at once, 48 streams by 12 callers: most at once", proxy.seen(name)["peak"]

    name, mine = key(limiter, requests=20)
    began = time.monotonic()
    proxy.ask(mine, {"tokens": 1}, max_tokens=4)
    time.sleep(52)
    proxy.ask_often(40, 8, mine, {"tokens": 1}, max_tokens=4)
    time.sleep(max(0, began + 61 - time.monotonic()))
    since = time.monotonic()
    proxy.ask_often(40, 8, mine, {"tokens": 1}, max_tokens=4)
    yield "20 requests a minute: let through in the 20 s around a window's end", proxy.seen(name)["calls"] - 1
    assert time.monotonic() - since < 20

    name, mine = key(limiter, parallel=1)
    with proxy.asking(mine, {"tokens": 1000, "pause": 0.02}, max_tokens=1000, stream=True) as (_, response):
        response.readline()
    since = time.monotonic()
    await_that("free", lambda: proxy.ask(mine, {"tokens": 1}, max_tokens=4)[0] == 200)
    yield "a stream is aborted: seconds until its slot is free", round(time.monotonic() - since, 1)

    name, mine = key(limiter, parallel=1)
    with proxy.asking(mine, {"tokens": 10_000, "pause": 0.02}, max_tokens=10_000, stream=True) as (_, response):
        response.readline()
        os.kill(proxy.pid(name), signal.SIGKILL)
    since = time.monotonic()

    def is_free():
        try:
            return proxy.ask(mine, {"tokens": 1}, max_tokens=4)[0] == 200
        except OSError:
            return False

    try:
        await_that("free", is_free, 90)
        yield "a worker is killed: seconds until its slot is free", round(time.monotonic() - since)
    except TimeoutError:
        yield "a worker is killed: seconds until its slot is free", "more than 90"

    name, mine = key(limiter)
    proxy.ask_often(50, 4, mine, {"tokens": 1}, max_tokens=4)
    before = calls()
    proxy.ask_often(300, 4, mine, {"tokens": 1}, max_tokens=4)
    time.sleep(2)
    yield "commands of Redis for a call", round((calls() - before) / 300, 1)


def main():
    found = {}
    for limiter in ("ours", "own"):
        with tempfile.TemporaryDirectory() as directory:
            proxy = Proxy(directory, limiter, PROXY_TTL="10s")
            try:
                proxy.await_ready()
                for what, figure in measured(proxy, limiter):
                    found.setdefault(what, []).append(figure)
            finally:
                proxy.close()
    print("| | our hook | LiteLLM's own |\n|---|---|---|")
    for what, (ours, own) in found.items():
        print(f"| {what} | {ours} | {own} |")


if __name__ == "__main__":
    main()
