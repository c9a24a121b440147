"""The hook for LiteLLM with the library itself and a model that is none: what the proxy calls, in its order. The whole proxy
with several workers is run by scripts/test-litellm."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import types
import unittest
import warnings
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is deprecated here and there
    import litellm

import redis.asyncio  # noqa: E402
from fastapi import HTTPException  # noqa: E402
from faults import wire as wired  # noqa: E402
from ratelimit_client import AsyncAdmin, LeaseLostError, Window  # noqa: E402
from ratelimit_client.litellm import Limits, RateLimitHook  # noqa: E402
from servers import CLUSTER_PORT, PORT, free_port  # noqa: E402

litellm.suppress_debug_info = True
MODEL = Path(__file__).parent / "litellm_proxy" / "model.py"
PATIENT = {"timeout_ms": 60_000}


def auth(name, **others):
    return types.SimpleNamespace(api_key=name, user_id=f"{name}-user", team_id=f"{name}-team", end_user_id=None, **others)


async def eventually(condition):
    until = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


class Hook(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.model_port = free_port()
        model = subprocess.Popen([sys.executable, MODEL, str(cls.model_port)])
        cls.addClassCleanup(model.wait)
        cls.addClassCleanup(model.kill)
        until = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection(("127.0.0.1", cls.model_port)).close()
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # LiteLLM's
        self.client = redis.asyncio.Redis(port=PORT)
        self.addAsyncCleanup(self.client.aclose)
        self.name = f"n{time.time_ns()}"
        self.prefix = f"t{time.time_ns()}"

    async def asyncTearDown(self):
        litellm.callbacks.clear()
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()

    def hook(self, client=None, **options):
        hook = RateLimitHook(client or self.client, prefix=self.prefix, **{**PATIENT, **options})
        litellm.callbacks[:] = [hook]
        return hook

    def call(self, hook, want, name=None, model="words", stop_after=None, **body):
        """One request as the proxy treats it, in a task of its own. ``stop_after`` so many chunks the caller leaves."""
        name = name or self.name

        async def run():
            data = {
                "model": model,
                "messages": [{"role": "user", "content": json.dumps({"who": name, **want})}],
                "litellm_call_id": f"call-{time.time_ns()}",
                **body,
            }
            await hook.async_pre_call_hook(auth(name), None, data, "acompletion")
            sent = {**data, "model": "openai/words"}
            try:
                response = await litellm.acompletion(**sent, api_base=f"http://127.0.0.1:{self.model_port}/v1", api_key="none", max_retries=0)
            except Exception as error:
                await hook.async_post_call_failure_hook(data, error, auth(name))
                raise
            if not body.get("stream"):
                await hook.async_post_call_success_hook(data, auth(name), response)
                return response
            chunks = hook.async_post_call_streaming_iterator_hook(auth(name), response, data)
            count = 0
            async for _ in chunks:
                count += 1
                if count == stop_after:
                    await chunks.aclose()
                    await response.aclose()
                    break
            return count

        return asyncio.create_task(run())

    async def used(self, kind, scope="key", name=None):
        info = await AsyncAdmin(self.client).info(f"{{{self.prefix}}}:{scope}:{kind}:{name or self.name}")
        return 0 if info is None else info.limits[0].used

    async def are_free(self, name=None):
        return await self.client.exists(f"{{{self.prefix}}}:key:parallel:{name or self.name}") == 0

    async def refused(self, task):
        with self.assertRaises(HTTPException) as refused:
            await task
        return refused.exception

    async def test_all_or_nothing_and_who_was_it(self):
        hook = self.hook(
            key=Limits(requests=Window(3, "1h"), tokens=Window(10_000, "1h"), parallel=10),
            team=Limits(requests=Window(2, "1h")),
        )
        for _ in range(2):
            await self.call(hook, {"tokens": 1}, max_tokens=4)
        error = await self.refused(self.call(hook, {"tokens": 1}, max_tokens=4))
        self.assertEqual(error.status_code, 429)
        self.assertIn(f"requests of team {self.name}-team: 2 allowed, 0 left, 1 asked for; retry in ", error.detail["error"])
        self.assertTrue(3000 < int(error.headers["Retry-After"]) <= 3600)
        self.assertEqual((await self.used("requests"), await self.used("tokens")), (2, 2 * 8))
        self.assertTrue(await self.are_free())

    async def test_an_answer_is_settled_before_it_is_sent_and_a_stream_when_it_is_over(self):
        hook = self.hook(key=Limits(tokens=Window(1000, "1h"), parallel=1))
        await self.call(hook, {"tokens": 5}, max_tokens=500)
        self.assertEqual((await self.used("tokens"), await self.are_free()), (12, True))
        await self.call(hook, {"tokens": 5}, max_tokens=500, stream=True, stream_options={"include_usage": True})
        self.assertTrue(await self.are_free())

        async def settled():
            return await self.used("tokens") == 24

        await eventually(settled)
        # More than was estimated is charged all the same, and the next one waits.
        await self.call(hook, {"tokens": 990}, max_tokens=100)
        self.assertEqual(await self.used("tokens"), 24 + 997)
        await self.refused(self.call(hook, {"tokens": 1}, max_tokens=1))

    async def test_streams_that_name_no_most_are_charged_in_full_as_soon_as_they_end(self):
        hook = self.hook(key=Limits(tokens=Window(3000, "1h")))
        calls = [self.call(hook, {"tokens": 1200}, stream=True, stream_options={"include_usage": True}) for _ in range(5)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        self.assertEqual(sum(isinstance(one, int) for one in ended), 2)  # 1,051 each is estimated
        self.assertEqual(await self.used("tokens"), 2 * 1207)
        await self.refused(self.call(hook, {"tokens": 1}))

    async def test_an_aborted_stream_is_charged_as_far_as_it_came_and_a_failed_call_not(self):
        hook = self.hook(key=Limits(requests=Window(9, "1h"), tokens=Window(1000, "1h"), parallel=1))
        self.assertEqual(await self.call(hook, {"tokens": 500, "pause": 0.01}, max_tokens=500, stream=True, stop_after=10), 10)
        await eventually(self.are_free)

        async def settled():
            return await self.used("tokens") < 500

        await eventually(settled)
        came = await self.used("tokens")
        self.assertTrue(10 <= came < 100, came)
        with self.assertRaises(litellm.InternalServerError):
            await self.call(hook, {"fail": 500}, max_tokens=500)
        await eventually(self.are_free)

        async def given_back():
            return await self.used("tokens") == came

        await eventually(given_back)
        self.assertEqual(await self.used("requests"), 2)

    async def test_a_caller_who_leaves_at_any_moment_leaves_no_slot(self):
        hook = self.hook(key=Limits(parallel=1))
        for after in (0, 0.001, 0.02):
            task = self.call(hook, {"tokens": 100, "pause": 0.05}, max_tokens=100)
            await asyncio.sleep(after)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            await eventually(self.are_free)

    async def test_slots_are_renewed_and_who_loses_one_is_told(self):
        lost = []
        hook = self.hook(key=Limits(parallel=1), user=Limits(parallel=5), ttl="300ms", on_error=lost.append)
        task = self.call(hook, {"tokens": 100, "pause": 0.02}, max_tokens=100)
        slot = f"{{{self.prefix}}}:key:parallel:{self.name}"

        async def is_held():
            return await self.client.exists(slot)

        await eventually(is_held)
        until = time.monotonic() + 1  # more than three times as long as the ttl
        while time.monotonic() < until:
            await self.refused(self.call(hook, {"tokens": 1}, max_tokens=4))
            await asyncio.sleep(0.05)
        await self.client.delete(slot)
        await self.client.execute_command("RL.LEASE", slot, 1, "1h", "somebody")
        await task
        self.assertEqual([type(error) for error in lost], [LeaseLostError])
        self.assertIn(f"the slot of key {self.name} was lost", str(lost[0]))

    async def test_policies_of_the_server_are_the_limits_of_one_and_of_all(self):
        admin = AsyncAdmin(self.client)
        hook = self.hook(key=Limits(requests=Window(100, "1h"), parallel=100), model=Limits(tokens=Window(100, "1h")))
        for policy, limits in ((f"{self.prefix}:key:requests", Window(1, "1h")), (f"{self.prefix}:key:requests:{self.name}", Window(2, "1h"))):
            await admin.set_policy(policy, "sliding", limits)
            self.addAsyncCleanup(self.client.execute_command, "RL.POLICY", "DEL", policy)
        for name, limit in ((self.name, 2), (self.name + "b", 1)):
            for _ in range(limit):
                await self.call(hook, {"tokens": 1}, max_tokens=4, name=name)
            await self.refused(self.call(hook, {"tokens": 1}, max_tokens=4, name=name))

    async def test_what_strangers_write_neither_crashes_nor_gets_by(self):
        hook = self.hook(end_user=Limits(requests=Window(1, "1h")), model=Limits(requests=Window(1, "1h"), tokens=Window(10**6, "1h")))
        long = "\ud800" + "x" * 10_000
        who = types.SimpleNamespace(api_key=None, user_id=None, team_id=None, end_user_id=long)
        for most in ("many", -5, 10**400, [], True, float("nan"), "1e999"):
            with self.subTest(most=most):
                data = {"model": f"m-{time.time_ns()}", "messages": [{"role": 5}, "x", None], "max_tokens": most, "n": most}
                for expected in (None, 429):
                    who.end_user_id = f"{data['model']}{long}"
                    try:
                        await asyncio.create_task(hook.async_pre_call_hook(who, None, data, "acompletion"))
                        found = None
                    except HTTPException as error:
                        found = error.status_code
                    if most not in (10**400,):  # more than any limit
                        self.assertEqual(found, expected)
        with self.assertRaises(HTTPException) as refused:
            await hook.async_pre_call_hook(who, None, {"model": ",".join(map(str, range(99)))}, "acompletion")
        self.assertEqual(refused.exception.status_code, 400)
        # Several models are several requests.
        await asyncio.create_task(hook.async_pre_call_hook(auth(self.name), None, {"model": f"{self.prefix}a, {self.prefix}b"}, "acompletion"))
        self.assertEqual([await self.used("requests", "model", f"{self.prefix}{one}") for one in "ab"], [1, 1])

    async def test_where_redis_is_away_it_is_open_or_closed_as_said_and_no_slot_is_lost(self):
        wire = wired()
        self.addCleanup(wire.close)
        told, hits = [], []
        for unavailable in ("open", "closed"):
            client = redis.asyncio.Redis(port=wire.port)
            self.addAsyncCleanup(client.aclose)
            hook = self.hook(
                client,
                key=Limits(tokens=Window(100, "1h"), parallel=1),
                timeout_ms=300,
                ttl="1h",
                unavailable=unavailable,
                on_error=told.append,
                on_hit=hits.append,
            )
            wire.fault = "cut-after"  # it was granted, and nobody knows
            task = self.call(hook, {"tokens": 1}, max_tokens=4)
            if unavailable == "open":
                await task
            else:
                self.assertEqual((await self.refused(task)).status_code, 503)
            wire.fault = None
            await eventually(self.are_free)
        self.assertTrue(told)
        self.assertEqual([(hit.limiter, hit.outcome) for hit in hits], [(self.prefix, "open"), (self.prefix, "closed")])

    async def test_one_slot_of_a_cluster_holds_all(self):
        client = redis.asyncio.RedisCluster("127.0.0.1", CLUSTER_PORT)
        self.addAsyncCleanup(client.aclose)
        hook = self.hook(client, **{scope: Limits(requests=Window(9, "1h"), tokens=Window(999, "1h"), parallel=1) for scope in ("key", "user", "team", "model")})
        for _ in range(2):
            await self.call(hook, {"tokens": 1}, max_tokens=4)

    async def test_mistakes(self):
        for options in ({}, {"key": 5}, {"key": Limits()}, {"key": Limits(parallel=-1)}, {"team": Limits(tokens=Window(1, "1min"))}):
            with self.assertRaises(TypeError):
                RateLimitHook(self.client, **options)
        good = {"key": Limits(parallel=1)}
        for options in ({"prefix": "a{b"}, {"prefix": "x" * 33}, {"ttl": "5"}, {"output_tokens": -1}, {"estimate": 5}, {"timeout_ms": 0}):
            with self.assertRaises(TypeError):
                RateLimitHook(self.client, **good, **options)
        with self.assertRaises(TypeError):
            RateLimitHook(redis.Redis(port=PORT), **good)


if __name__ == "__main__":
    unittest.main()
