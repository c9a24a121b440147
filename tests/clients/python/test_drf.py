"""Django REST framework with our throttles, under gunicorn."""

import os
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

from test_apps import serve


class Throttles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        command = ["gunicorn", "drf_app:app", "--bind", "127.0.0.1:PORT", "--workers", "2", "--log-level", "warning"]
        cls.url = serve(cls, *command, RATELIMIT_PREFIX=f"drf-{time.time_ns()}")

    def get(self, path, caller):
        write = ["--output", os.devnull, "--write-out", "%{http_code} %header{retry-after}"]
        curl = ["curl", "--silent", *write, "--header", f"X-Forwarded-For: {caller}", self.url + path]
        return subprocess.check_output(curl, text=True).split()

    def test_rates_and_scopes_of_the_framework(self):
        self.assertEqual([self.get("", "203.0.113.9")[0] for _ in range(5)], ["200"] * 5)
        status, retry_after = self.get("", "203.0.113.9")
        self.assertEqual(status, "429")
        self.assertTrue(86_000 < int(retry_after) <= 86_400)
        self.assertEqual([self.get("upload", "203.0.113.10")[0] for _ in range(3)], ["200", "200", "429"])
        self.assertEqual(self.get("", "203.0.113.10")[0], "200")

    def test_who_has_waited_as_long_as_it_said_is_let_in(self):
        until = time.monotonic() + 60
        while (answer := self.get("second", "203.0.113.11"))[0] == "200":
            self.assertLess(time.monotonic(), until, "one a second, and many are let in")
        self.assertEqual(answer, ["429", "1"])
        time.sleep(1)
        self.assertEqual(self.get("second", "203.0.113.11")[0], "200")

    def test_the_throttling_tests_of_the_framework_pass(self):
        command = [sys.executable, Path(__file__).parent / "drf_suite.py", os.environ["RATELIMIT_DOWNLOADS"]]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertGreaterEqual(int(re.search(r"(\d+) passed", run.stdout)[1]), 21, run.stdout)
