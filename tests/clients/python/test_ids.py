"""A hit with an id is charged once: sent twice by the application, or again by the limiter whose reply was lost."""

import asyncio
import time
import unittest

import redis
import redis.asyncio
from faults import LOADING, NOT_REDIS, WRONG, wire
from ratelimit_client import AsyncLimiter, Deny, Limiter, RefusedError, Window
from servers import PORT

LIMITS = {"algorithm": "fixed", "limits": Window(1000, "3650d")}
BUSY_S = 5.0  # of a busy machine
# What a first try meets, and whether the server had charged it by then.
FAULTS = {
    "cut-before": ("cut-before", False),
    "cut-after": ("cut-after", True),
    "cut-middle": ("cut-middle", True),
    "stall": ("stall", True),
    "swallow": ("swallow", False),
    "reset-before": ("reset-before", False),
    "wrong": (WRONG, True),
    "not redis": (NOT_REDIS, True),
    "loading": (LOADING, True),
}


class Ids(unittest.TestCase):
    """Of the sync limiter; the asyncio one below."""

    def setUp(self):
        self.server = redis.Redis(port=PORT)
        self.addCleanup(self.server.close)
        self.wire = wire()
        self.run_id = time.time_ns()  # its keys are its own
        self.addCleanup(self.wire.close)
        self.errors = []

    def limiter(self, port=PORT, **options):
        return Limiter(redis.Redis(port=port), **self.options(**options))

    def options(self, **options):
        name = f"py-{self.id().partition('.')[2]}-{self.run_id}"
        return {"prefix": name, "timeout_ms": 60_000, "on_error": self.errors.append, **LIMITS, **options}

    def used(self, key):
        return 1000 - Limiter(self.server, **self.options()).peek(key, cost=0).remaining

    def test_the_same_id_is_charged_once_and_said(self):
        api = self.limiter()
        first, second, third = api.hit("k", cost=5, id="a"), api.hit("k", cost=5, id="a"), api.hit("k", cost=5, id="b")
        seen = [(one.allowed, one.remaining, one.repeated) for one in (first, second, third)]
        self.assertEqual(seen, [(True, 995, False), (True, 995, True), (True, 990, False)])
        self.assertFalse(api.hit("k").repeated)

    def test_it_goes_with_the_other_options(self):
        several = self.limiter(limits=[Window(10, "3650d"), Window(5, "365d")], next=True)
        answers = [several.hit("k", cost=8, min=1, stamp=True, id="a", deny=Deny("py-ids", ["eve"])) for _ in range(2)]
        for answer, repeated in zip(answers, (False, True), strict=True):
            self.assertEqual((answer.error, answer.repeated, answer.taken, answer.denied_value), (None, repeated, 5, None))
            self.assertEqual([one.remaining for one in answer.limits], [5, 0])
        self.assertEqual(answers[0].charged_at, answers[1].charged_at)
        self.assertEqual([several.hit("k", cost=-2, at=answers[0].charged_at, id="b").remaining for _ in range(2)], [2, 2])

    def test_a_hit_that_was_denied_is_a_new_try_and_no_cache_answers_for_an_id(self):
        one = self.limiter(limits=Window(1, "3650d"), blocked_cache=True)
        self.assertTrue(one.hit("k", id="a").allowed)
        self.assertEqual([one.hit("k", id="b").repeated for _ in range(2)], [False, False])
        self.assertFalse(one.hit("k").allowed)  # known to this process by now
        repeat = one.hit("k", id="a")
        self.assertEqual((repeat.allowed, repeat.repeated), (True, True))

    def test_a_lost_reply_is_asked_for_again_and_charged_once(self):
        for name, (fault, charged) in FAULTS.items():
            with self.subTest(name):
                self.errors.clear()
                self.wire.fault = None
                events = []
                api = self.limiter(self.wire.port, on_error=self.mended, on_hit=events.append, timeout_ms=4000)
                api.hit("before")
                self.wire.fault = fault
                verdict = api.hit(name, id="a", retry=1)
                self.assertEqual((verdict.error, verdict.allowed, verdict.repeated), (None, True, charged))
                self.assertEqual((self.used(name), len(self.errors)), (1, 1))
                self.assertEqual([event.outcome for event in events], ["allowed", "allowed"])

    def mended(self, error):
        """Before the next try."""
        self.errors.append(error)
        self.wire.fault = None

    def test_without_retry_it_is_sent_once_and_with_it_so_often_at_most(self):
        api = self.limiter(self.wire.port, unavailable="closed")
        for options, sent in (({}, 1), ({"id": "a"}, 1), ({"id": "b", "retry": 2}, 3)):
            self.wire.fault, self.wire.commands = "cut-after", 0
            verdict = api.hit(f"sent-{sent}-{len(options)}", **options)
            self.assertEqual((verdict.allowed, verdict.error.reason, self.wire.commands), (False, "connection", sent))
            self.assertEqual(self.used(f"sent-{sent}-{len(options)}"), 1)
        self.assertEqual(len(self.errors), 5)

    def test_all_tries_are_within_the_deadline(self):
        api = self.limiter(self.wire.port, timeout_ms=300, unavailable="closed")
        self.wire.fault = "stall"
        since = time.monotonic()
        verdict = api.hit("late", id="a", retry=10)
        self.assertLess(time.monotonic() - since, 0.35 + BUSY_S)
        self.assertEqual((verdict.allowed, verdict.error.reason), (False, "timeout"))
        self.assertLessEqual(self.used("late"), 1)
        self.errors.clear()
        self.limiter(self.wire.port, timeout_ms=50).hit("late", id="b", retry=10)
        self.assertEqual(len(self.errors), 1)  # as there is no time for another one

    def test_what_the_server_refuses_is_not_tried_again(self):
        api = self.limiter()
        self.server.set(f"{self.options()['prefix']}:text", "text")
        self.assertIsInstance(api.hit("text", id="a", retry=3).error, RefusedError)
        self.assertEqual(len(self.errors), 1)

    def test_mistakes(self):
        api = self.limiter()
        for wrong, said in (
            ({"retry": 1}, "^retry: expected an id beside it"),
            ({"id": "a", "retry": -1}, "^retry: expected an integer of at least 0"),
            ({"id": "a", "retry": 11}, "^retry: expected an integer of 0 to 10"),
            ({"id": "a", "retry": True}, "^retry: expected an integer"),
            ({"id": ""}, "^id: expected a text of 1 to 64 bytes"),
            ({"id": "ü" * 33}, "^id: expected"),
            ({"id": 7}, "^id: expected"),
        ):
            with self.assertRaisesRegex(TypeError, said):
                api.hit("k", **wrong)
        self.assertIsNone(api.hit("k", id="ü" * 32).error)
        self.assertEqual(self.used("k"), 1)


class Blocking:
    """An asyncio limiter, called as the sync one."""

    def __init__(self, run, limiter):
        self.run = run
        self.limiter = limiter

    def hit(self, *args, **kwargs):
        return self.run(self.limiter.hit(*args, **kwargs))


class AsyncioIds(Ids):
    def setUp(self):
        super().setUp()
        self.runner = asyncio.Runner()
        self.addCleanup(self.runner.close)

    def limiter(self, port=PORT, **options):
        client = redis.asyncio.Redis(port=port)
        self.addCleanup(lambda: self.runner.run(client.aclose()))
        return Blocking(self.runner.run, AsyncLimiter(client, **self.options(**options)))

    def test_it_is_never_coalesced(self):
        api = self.limiter(coalesce=True).limiter

        async def hits():
            return await asyncio.gather(*(api.hit("k", id=name) for name in "abab"), api.hit("k"), api.hit("k"))

        answers = self.runner.run(hits())
        self.assertEqual([one.repeated for one in answers], [False, False, True, True, False, False])
        self.assertEqual(self.used("k"), 4)


if __name__ == "__main__":
    unittest.main()
