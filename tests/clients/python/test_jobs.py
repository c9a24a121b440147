"""Jobs that come back when it is their turn: real workers of Celery (prefork), of RQ and of arq, over the real Redis."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

os.environ["RATELIMIT_JOBS"] = f"jobs-{time.time_ns()}"  # of this run, also for its workers

import jobs  # noqa: E402
import jobs_arq  # noqa: E402
import jobs_celery  # noqa: E402
import jobs_rq  # noqa: E402
import redis  # noqa: E402
from ratelimit_client import AsyncLeaser, AsyncLimiter, Bucket, Leaser, Limiter, RateLimitError, Window, _jobs, arq, celery, rq  # noqa: E402
from servers import PORT  # noqa: E402

client = redis.Redis(port=PORT, decode_responses=True)


class Jobs:
    """The tests of each. ``command`` is a worker, of which there are two."""

    command: list[str]
    tasks: dict
    slack_ms = 2  # by which it is brought back too early: clocks tell whole milliseconds

    @classmethod
    def setUpClass(cls):
        cls.log = cls.enterClassContext(tempfile.TemporaryFile("w+"))
        cls.workers = [cls.worker(number) for number in range(2)]
        cls.names = iter(f"{cls.__name__}{number}" for number in range(100))

    @classmethod
    def worker(cls, number):
        command = [sys.executable, "-m", *(word.replace("NUMBER", str(number)) for word in cls.command)]
        worker = subprocess.Popen(command, stdout=cls.log, stderr=subprocess.STDOUT, start_new_session=True)

        def end():
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)  # a session of its own: what it has forked, too
            worker.wait()

        cls.addClassCleanup(end)
        return worker

    def noted(self, name, what="acts"):
        return sorted(int(at) for at in client.lrange(f"{jobs.PREFIX}:{name}:{what}", 0, -1))

    def acts(self, name, count):
        until = time.monotonic() + 120
        while len(found := self.noted(name)) < count:
            if time.monotonic() > until:
                self.log.seek(0)
                self.fail(f"{len(found)} of {count} have acted:\n{self.log.read()[-5000:]}")
            time.sleep(0.05)
        return found

    def test_a_rate_of_all_workers_each_knows_its_time(self):
        name, since = next(self.names), jobs.now_ms()
        for _ in range(8):
            self.tasks["rate"](name)
        acts = self.acts(name, 8)
        for number, at in enumerate(acts):
            self.assertGreaterEqual(at - since, number * 100 - self.slack_ms)
        self.assertLessEqual(len(self.noted(name, "runs")), 16)  # at most once did any come back

    def test_windows_ask_again(self):
        name, since = next(self.names), jobs.now_ms()
        for _ in range(4):
            self.tasks["window"](name)
        acts = self.acts(name, 4)
        self.assertGreaterEqual(acts[2] - since, 2000 - self.slack_ms)

    def test_slots_of_all_workers(self):
        name = next(self.names)
        for _ in range(5):
            self.tasks["slot"](name, 0.2)
        self.acts(name, 5)
        self.assertLessEqual(client.zscore(f"{jobs.PREFIX}:{name}:peak", "peak"), 2)
        self.assertEqual(client.exists(f"{jobs.PREFIX}:slots:{name}"), 0)

    def test_a_provider_says_when(self):
        name = next(self.names)
        for _ in range(3):
            self.tasks["provider"](name)
        acts = self.acts(name, 3)
        shut_at = self.noted(name, "shut")[0]
        # Who had acted by then has (and may have been late to say so), and who had a place has waited.
        self.assertEqual([at for at in acts if shut_at + 300 < at < shut_at + 1000 - self.slack_ms], [])

    def test_a_job_that_has_failed_waits_for_another_turn(self):
        name, since = next(self.names), jobs.now_ms()
        jobs.two_in_two_seconds.hit(name)
        busy = [self.tasks["rate"](name) for _ in range(2)]
        self.tasks["fails_once"](name)
        acts = self.acts(name, len(busy) + 2)
        self.assertGreaterEqual(acts[-1] - since, 3 * 100 - self.slack_ms)

    def test_a_slot_and_a_turn_in_one_job(self):
        name = next(self.names)
        for _ in range(3):
            self.tasks["both"](name)
        self.acts(name, 3)
        self.assertEqual(client.exists(f"{jobs.PREFIX}:slots:{name}"), 0)

    def test_zz_the_slots_of_a_worker_that_is_killed_come_back(self):
        name = next(self.names)
        self.tasks["slot"](name, 600)
        until = time.monotonic() + 60
        while not (pid := client.get(f"{jobs.PREFIX}:{name}:pid")):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)
        group = os.getpgid(int(pid))  # Celery's worker, with what it forked; of RQ the one that runs the job
        time.sleep(2.5)  # longer than the ttl: it is renewed
        self.assertEqual(client.exists(f"{jobs.PREFIX}:slots:{name}"), 1)
        os.killpg(group, signal.SIGKILL)
        until = time.monotonic() + 30
        while client.exists(f"{jobs.PREFIX}:slots:{name}"):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)


class Celery(Jobs, unittest.TestCase):
    command = ["celery", "--app", "jobs_celery", "worker", "--pool", "prefork", "--concurrency", "2", "--hostname", "NUMBER@test", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    tasks = jobs_celery.TASKS


class Rq(Jobs, unittest.TestCase):
    command = ["rq.cli", "worker", "--url", f"redis://127.0.0.1:{PORT}/2", "--with-scheduler", "--quiet", jobs.PREFIX]
    tasks = jobs_rq.TASKS


class Arq(Jobs, unittest.TestCase):
    command = ["arq", "jobs_arq.WorkerSettings"]
    tasks = jobs_arq.TASKS


class Here(unittest.TestCase):
    """Where no worker runs it, a job waits where it is."""

    def test_a_task_that_is_called(self):
        name = f"here-{time.time_ns()}"
        since = jobs.now_ms()
        for _ in range(3):
            jobs_celery.rate(name)
        for _ in range(3):
            jobs_rq.rate(name)
        self.assertGreaterEqual(jobs.now_ms() - since, 500)
        self.assertEqual(client.llen(f"{jobs.PREFIX}:{name}:acts"), 6)
        jobs_celery.app.conf.task_always_eager = True
        self.addCleanup(setattr, jobs_celery.app.conf, "task_always_eager", False)
        jobs_celery.slot.delay(name, 0)
        jobs_celery.provider.delay(name)
        self.assertEqual(client.llen(f"{jobs.PREFIX}:{name}:acts"), 8)

    def test_a_coroutine_that_is_awaited(self):
        name = f"here-{time.time_ns()}"

        async def call():
            since = jobs.now_ms()
            await asyncio.gather(*(jobs_arq.rate({}, name) for _ in range(4)))
            await asyncio.gather(*(jobs_arq.slot({}, name, 0) for _ in range(3)))
            await jobs_arq.provider({}, name)
            await jobs_arq.limiters.aclose()
            return jobs.now_ms() - since

        self.assertGreaterEqual(asyncio.run(call()), 1300)  # 300 ms by the rate, 1 s by the provider
        self.assertEqual(client.llen(f"{jobs.PREFIX}:{name}:acts"), 8)

    def test_what_can_never_fit_fails_and_mistakes_are_told_at_once(self):
        limiter = Limiter(client, prefix="jobs", algorithm="bucket", limits=Bucket(1, 1, "1s"))
        with self.assertRaisesRegex(RateLimitError, "a cost of 5 on 'k' can never fit: the limit is 1"):
            rq.take_turn(limiter, "k", cost=5)
        leaser = Leaser(client, limit=1, ttl="5s")
        for package, limiter, leaser in (
            (celery, limiter, leaser),
            (rq, limiter, leaser),
            (arq, AsyncLimiter(jobs_arq.limiters, prefix="jobs", algorithm="bucket", limits=Bucket(1, 1, "1s")), AsyncLeaser(jobs_arq.limiters, limit=1, ttl="5s")),
        ):
            for wrong in (
                lambda: package.rate_limited(leaser, "k"),
                lambda: package.rate_limited(limiter, "k", cost=0),
                lambda: package.rate_limited(limiter, "k", max_wait="1 day"),
                lambda: package.with_slot(limiter, "k"),
                lambda: package.with_slot(leaser, "k", again="soon"),
            ):
                with self.assertRaises(TypeError):
                    wrong()

    def test_retry_after_as_http_has_it(self):
        self.assertEqual([_jobs.seconds_of(value) for value in ("30", 1.5, " 0 ", -1)], [30, 1.5, 0, 0])
        self.assertEqual(_jobs.seconds_of("Wed, 21 Oct 2015 07:28:00 GMT"), 0)
        self.assertTrue(3590 < _jobs.seconds_of(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))) < 3601)
        for value in ("soon", "nan", "inf", "1e300", None, ""):
            with self.assertRaises(TypeError):
                _jobs.seconds_of(value)

    def test_where_redis_is_away_a_closed_limiter_makes_the_job_ask_again(self):
        class Job:
            places, waits = [], []

            def come_back(self, wait_s):
                self.waits.append(wait_s)
                raise LookupError

        for unavailable in ("open", "closed"):
            limiter = Limiter(redis.Redis(port=1), algorithm="sliding", limits=Window(1, "1s"), unavailable=unavailable, on_error=lambda _: None)
            try:
                _jobs.take_turn(Job(), limiter, "k", 1, "1d")
                self.assertEqual(unavailable, "open")
            except LookupError:
                self.assertEqual((unavailable, Job.waits), ("closed", [_jobs.AWAY_S]))


if __name__ == "__main__":
    unittest.main()
