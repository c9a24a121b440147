"""The strategy tests of ``limits`` itself, from its source distribution, with our storage in its table of storages.

    limits_suite.py DIRECTORY fetch
    limits_suite.py DIRECTORY run URI [ARGUMENT ...]

Fetched into DIRECTORY by pip, in the version that is installed, and run by pytest. Nothing of it is kept here.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# By the exact log that ours is, nothing is weighted: these test the approximation that the library's storages make.
APPROXIMATION = "test_sliding_window_counter_previous_window"
# Two seconds from the first hit. Ours begin by the clock, so that half of the time they end a second later.
FIRST_HIT = "FixedWindow and test_fixed_window and not empty and not multiple"

CONFTEST = """
import os
import pytest
import ratelimit_client.limits
from limits.storage import storage_from_string
from tests import utils

uri, options = os.environ["LIMITS_URI"], {"timeout_ms": 60_000}

@pytest.fixture
def ours():
    storage_from_string(uri, **options).reset()

for name, prefix in (("", ""), ("async_", "async+")):
    storages = [pytest.param(prefix + uri, options, utils.lf("ours"))]
    for strategy in ("all", "moving_window", "sliding_window_counter"):
        setattr(utils, f"{name}{strategy}_storage", pytest.mark.parametrize("uri, args, fixture", storages))
"""


def fetch(directory, version, home):
    if not (home / "tests").exists():
        sdist = directory / "sdist"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--no-binary", "limits", "--dest", sdist, f"limits=={version}"], check=True)
        with tarfile.open(next(sdist.glob("limits-*.tar.gz"))) as archive:
            archive.extractall(sdist, filter="data")
        home.mkdir(parents=True, exist_ok=True)
        source = sdist / f"limits-{version}" / "tests"
        shutil.rmtree(home / "tests.new", ignore_errors=True)
        for name in ("__init__.py", "utils.py", "test_strategy.py", "aio/__init__.py", "aio/test_strategy.py"):
            target = home / "tests.new" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target)
        (home / "tests.new").rename(home / "tests")
    (home / "conftest.py").write_text(CONFTEST, "utf-8")
    (home / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nmarkers =\n    flaky\n", "utf-8")


def run(home, uri, arguments):
    skipped = f"not {APPROXIMATION} and not ({FIRST_HIT})"
    cache = f"cache_dir=.cache-{uri.partition(':')[0]}"
    command = [sys.executable, "-m", "pytest", "-q", "-o", cache, "-k", skipped, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "LIMITS_URI": uri}
    # Its tests look at the clock and allow 10 ms, and are marked as flaky: on a busy machine what failed is run again.
    for again in ([], ["--last-failed"], ["--last-failed"]):
        if (status := subprocess.run([*command, *again], cwd=home, env=environment, check=False).returncode) == 0:
            break
    return status


def main():
    directory, call, *arguments = sys.argv[1:]
    version = importlib.metadata.version("limits")
    home = Path(directory) / f"limits-{version}"
    if call == "fetch":
        fetch(Path(directory), version, home)
    else:
        sys.exit(run(home, *arguments[:1], arguments[1:]))


main()
