"""The storage for ``limits``: the library's own strategy tests, Flask-Limiter and slowapi, and what a storage must do besides."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import ClassVar

import ratelimit_client.limits
import redis
from faults import wire as wired
from limits import RateLimitItemPerHour, aio, strategies
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string
from ratelimit_client import RateLimitError, UnansweredError
from servers import CLUSTER_PORT, PORT, SERVER, free_port
from test_apps import serve

HERE = Path(__file__).parent
DOWNLOADS = os.environ["RATELIMIT_DOWNLOADS"]
URIS = {"one": f"ratelimit://127.0.0.1:{PORT}", "cluster": f"ratelimit+cluster://127.0.0.1:{CLUSTER_PORT}"}
PATIENT = {"timeout_ms": 60_000}


def load_tests(_loader, tests, _pattern):
    """The library's tests mostly wait: they begin as soon as ours are looked for, and run beside them."""
    subprocess.run([sys.executable, HERE / "limits_suite.py", DOWNLOADS, "fetch"], check=True)
    for uri in URIS.values():
        command = [sys.executable, HERE / "limits_suite.py", DOWNLOADS, "run", uri]
        Suite.runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    return tests


class Suite(unittest.TestCase):
    runs: ClassVar[list] = []

    def test_the_strategy_tests_of_limits_pass_on_one_server_and_on_a_cluster(self):
        self.assertEqual(len(self.runs), len(URIS))
        for run in self.runs:
            report, _ = run.communicate(timeout=400)
            with self.subTest(run.args[-1]):
                self.assertEqual(run.returncode, 0, report)
                self.assertGreaterEqual(int(re.search(r"(\d+) passed", report)[1]), 31, report)


class Storage(unittest.TestCase):
    def both(self, uri, **options):
        """The same calls, sync and asyncio."""
        yield storage_from_string(uri, **PATIENT, **options), lambda call: call
        runner = asyncio.Runner()
        self.addCleanup(runner.close)
        runner.get_loop().set_debug(False)
        yield storage_from_string(f"async+{uri}", **PATIENT, **options), runner.run

    def test_a_denied_hit_of_the_moving_window_counts_nothing(self):
        for uri in URIS.values():
            for number, (storage, run) in enumerate(self.both(uri, key_prefix="limits-denied")):
                key = f"{time.time_ns()}-{number}"
                self.assertEqual([run(storage.acquire_entry(key, 5, 3600)) for _ in range(8)], [True] * 5 + [False] * 3)
                start, used = run(storage.get_moving_window(key, 5, 3600))
                self.assertEqual(used, 5)
                self.assertLess(abs(time.time() - start), 60)
                self.assertEqual(run(storage.get_sliding_window(key, 3600))[2], 5)

    def test_reset_clears_its_own_keys_alone(self):
        for uri in URIS.values():
            for storage, run in self.both(uri, key_prefix="limits-[reset]*"):
                other = storage_from_string(uri, key_prefix="limits-other", **PATIENT)
                other.incr("k", 3600)
                for number in range(30):
                    run(storage.incr(f"k{number}", 3600))
                    run(storage.acquire_entry(f"k{number}", 5, 3600))
                self.assertEqual(run(storage.reset()), 60)
                self.assertEqual((run(storage.get("k0")), other.get("k") > 0), (0, True))
                self.assertEqual((run(storage.clear("k0")), run(storage.check())), (None, True))

    def test_by_sentinel_and_with_credentials(self):
        sentinel = free_port()
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (directory / "conf").write_text(
            f"port {sentinel}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor mymaster 127.0.0.1 {PORT} 1\n", "utf-8"
        )
        process = subprocess.Popen([SERVER, directory / "conf", "--sentinel"], stdout=subprocess.DEVNULL)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        until = time.monotonic() + 60
        for storage, run in self.both(f"ratelimit+sentinel://127.0.0.1:{sentinel}/mymaster", key_prefix="limits-sentinel"):
            while not run(storage.check()):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
            self.assertEqual(run(storage.incr(str(time.time_ns()), 3600, 3)), 3)
        with redis.Redis(port=PORT) as server:
            server.execute_command("ACL", "SETUSER", "limits-user", "on", ">p@ss/word", "~*", "+@all")
            self.addCleanup(redis.Redis(port=PORT).execute_command, "ACL", "DELUSER", "limits-user")
        for storage, run in self.both(f"ratelimit://limits-user:p%40ss%2Fword@127.0.0.1:{PORT}/0"):
            self.assertTrue(run(storage.check()))

    def test_over_tls_and_by_a_socket(self):
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        files = ["-keyout", "key", "-out", "certificate", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(["openssl", *words, *files], cwd=directory, check=True, capture_output=True)
        with redis.Redis(port=PORT, protocol=2, decode_responses=True) as server:
            modules = server.execute_command("MODULE", "LIST")
        module = next(path for one in modules if (path := dict(zip(one[::2], one[1::2], strict=True))["path"]))
        port = free_port()
        options = {"--port": 0, "--tls-port": port, "--tls-auth-clients": "no", "--loadmodule": module, "--dir": directory, "--bind": "127.0.0.1", "--unixsocket": directory / "socket"}
        files = {"--tls-cert-file": directory / "certificate", "--tls-key-file": directory / "key", "--tls-ca-cert-file": directory / "certificate"}
        command = [SERVER, *(str(word) for option in {**options, **files}.items() for word in option), "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until = time.monotonic() + 60
        both = self.both(f"ratelimits://localhost:{port}", ssl_ca_certs=str(directory / "certificate"))
        for storage, run in (*both, *self.both(f"ratelimit+unix://{directory}/socket")):
            while not run(storage.check()):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
            key = str(time.time_ns())
            self.assertEqual([run(storage.acquire_entry(key, 2, 3600)) for _ in range(3)], [True, True, False])
        # A certificate that nobody vouches for, and what is no TLS, are not spoken to.
        for uri in (f"ratelimits://localhost:{port}", f"ratelimits://127.0.0.1:{PORT}"):
            for storage, run in self.both(uri):
                self.assertFalse(run(storage.check()))

    def test_mistakes(self):
        for uri, options in (
            ("ratelimit+sentinel://127.0.0.1:26379", {}),
            ("ratelimit+cluster://", {}),
        ):
            for scheme in ("", "async+"):
                with self.assertRaises(ConfigurationError):
                    storage_from_string(scheme + uri, **options)
        for options in ({"timeout_ms": 0}, {"key_prefix": ""}):
            with self.assertRaises(TypeError):
                storage_from_string(URIS["one"], **options)

    def test_an_error_is_raised_once_the_deadline_is_over_and_the_hit_was_charged_once(self):
        wire = wired()
        self.addCleanup(wire.close)
        key = str(time.time_ns())
        for wrap, expected in ((False, UnansweredError), (True, StorageError)):
            storage = storage_from_string(f"ratelimit://127.0.0.1:{wire.port}", timeout_ms=300, wrap_exceptions=wrap)
            self.assertTrue(storage.check())
            wire.fault = "cut-after"
            with self.assertRaises(expected):
                strategies.MovingWindowRateLimiter(storage).hit(RateLimitItemPerHour(5), key)
            wire.fault = None
        left = strategies.MovingWindowRateLimiter(storage_from_string(URIS["one"], **PATIENT))
        self.assertEqual(left.get_window_stats(RateLimitItemPerHour(5), key).remaining, 3)
        self.assertIs(ratelimit_client.limits.RatelimitStorage.base_exceptions.fget(None), RateLimitError)
        self.assertTrue(issubclass(ratelimit_client.limits.AsyncRatelimitStorage, aio.storage.Storage))


class Peers(unittest.TestCase):
    def served(self, *command):
        for uri in URIS.values():
            url = serve(self, *command, RATELIMIT_LIMITS_URI=uri)
            caller = str(time.time_ns())
            for hit in range(1, 8):
                write = "%{http_code} %header{x-ratelimit-remaining} %header{retry-after}"
                curl = ["curl", "--silent", "--output", os.devnull, "--write-out", write, "--header", f"X-Caller: {caller}", url]
                status, *fields = subprocess.check_output(curl, text=True).split()
                self.assertEqual(status, "200" if hit <= 5 else "429")
                self.assertEqual(fields[0], str(max(0, 5 - hit)))
                self.assertTrue(800 < int(fields[1]) <= 901, fields)

    def test_flask_limiter(self):
        self.served("gunicorn", "peers:flask_app", "--bind", "127.0.0.1:PORT", "--threads", "4", "--log-level", "warning")

    def test_slowapi(self):
        self.served("uvicorn", "peers:fastapi_app", "--port", "PORT", "--log-level", "warning")
