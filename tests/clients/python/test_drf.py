"""Django REST framework with our throttles, under gunicorn."""

import os
import subprocess
import time
import unittest

from test_apps import serve


class Throttles(unittest.TestCase):
    def test_rates_and_scopes_of_the_framework(self):
        command = ["gunicorn", "drf_app:app", "--bind", "127.0.0.1:PORT", "--workers", "2", "--log-level", "warning"]
        url = serve(self, *command, RATELIMIT_PREFIX=f"drf-{time.time_ns()}")

        def get(path, caller):
            write = ["--output", os.devnull, "--write-out", "%{http_code} %header{retry-after}"]
            curl = ["curl", "--silent", *write, "--header", f"X-Forwarded-For: {caller}", url + path]
            return subprocess.check_output(curl, text=True).split()

        self.assertEqual([get("", "203.0.113.9")[0] for _ in range(5)], ["200"] * 5)
        status, retry_after = get("", "203.0.113.9")
        self.assertEqual(status, "429")
        self.assertTrue(86_000 < int(retry_after) <= 86_400)
        self.assertEqual([get("upload", "203.0.113.10")[0] for _ in range(3)], ["200", "200", "429"])
        self.assertEqual(get("", "203.0.113.10")[0], "200")
