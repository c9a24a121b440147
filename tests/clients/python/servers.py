"""The servers that scripts/test-clients started."""

import json
import os
import signal
import socket
import time
from pathlib import Path

PORT = int(os.environ["RATELIMIT_PORT"])
CLUSTER_PORT = int(os.environ["RATELIMIT_CLUSTER_PORT"])
# A server that a test may hold still with SIGSTOP: as slow as a server can be.
STALLED_PORT = int(os.environ["RATELIMIT_STALLED_PORT"])
STALLED_PID = int(os.environ["RATELIMIT_STALLED_PID"])
SCENARIOS = json.loads(Path(os.environ["RATELIMIT_SCENARIOS"]).read_text("utf-8"))["scenarios"]
SERVER = os.environ["RATELIMIT_SERVER"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def stop(pid):
    """Holds a server still, and returns when it is. SIGCONT lets it go on."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 30
    while ") T " not in Path(f"/proc/{pid}/stat").read_text("utf-8"):
        assert time.monotonic() < until, "it does not stop"
        time.sleep(0.001)
