"""Regions on one machine, for demonstrations, measurements and tests: servers with their relays, and a distance between them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ops"))
