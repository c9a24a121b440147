"""The throttling tests of Django REST framework itself, from its source distribution, with our throttles in the place of its own.

    drf_suite.py DIRECTORY

Fetched into DIRECTORY by pip, in the version that is installed, and run by pytest. Nothing of it is kept here.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# These set the clock of the throttle's process. Ours has none: time is the server's.
CLOCK = [
    "test_request_throttling_expires",
    "test_request_throttling_multiple_throttles",
    "test_next_rate_remains_constant_if_followed",
    "test_scoped_rate_throttle",
]
# These write the list of requests that the framework keeps, and ask how long that makes them wait.
HISTORY = ["test_wait_returns_correct_waiting_time_without_history", "test_wait_returns_none_if_there_are_no_available_requests"]

CONFTEST = """
import os
import time

import django
import pytest
from django.conf import settings
from django.core.management import call_command

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SECRET_KEY="tests",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    RATELIMIT={"client": f"redis://127.0.0.1:{os.environ['RATELIMIT_PORT']}", "timeout_ms": 60_000},
)
django.setup()
call_command("migrate", verbosity=0)

from ratelimit_client import drf
from rest_framework import throttling

throttling.SimpleRateThrottle = drf.RateLimitThrottle
for name in ("AnonRateThrottle", "UserRateThrottle", "ScopedRateThrottle"):
    setattr(throttling, name, getattr(drf, name))


@pytest.fixture(autouse=True)
def as_if_the_cache_were_empty():
    settings.RATELIMIT = {**settings.RATELIMIT, "prefix": f"drf-{time.time_ns()}"}
    drf._limiter.cache_clear()
"""


def fetch(directory, version, home):
    if not (home / "tests").exists():
        sdist = directory / "sdist"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", sdist, f"djangorestframework=={version}"], check=True)
        with tarfile.open(next(sdist.glob("djangorestframework-*.tar.gz"))) as archive:
            archive.extractall(sdist, filter="data")
        new = home / "tests.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        shutil.copy(sdist / f"djangorestframework-{version}" / "tests" / "test_throttling.py", new)
        (new / "__init__.py").touch()
        new.rename(home / "tests")
    (home / "conftest.py").write_text(CONFTEST, "utf-8")


def main():
    directory = Path(sys.argv[1])
    version = importlib.metadata.version("djangorestframework")
    home = directory / f"djangorestframework-{version}"
    fetch(directory, version, home)
    skipped = " and ".join(f"not {name}" for name in (*CLOCK, *HISTORY))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", skipped, "tests"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    sys.exit(subprocess.run(command, cwd=home, env=environment, check=False).returncode)


main()
