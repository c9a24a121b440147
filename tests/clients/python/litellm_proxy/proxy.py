"""LiteLLM's proxy in front of the model of model.py, and who asks it. For test_proxy.py and figures.py."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = os.environ["RATELIMIT_LITELLM_PYTHON"]
PORT = int(os.environ["RATELIMIT_PORT"])
CONFIG = """
model_list:
  - model_name: words
    litellm_params: {model: openai/words, api_base: "http://127.0.0.1:MODEL/v1", api_key: none}
litellm_settings:
  num_retries: 0
  request_timeout: 120
  SETTINGS
general_settings: {custom_auth: limits.auth}
router_settings: {num_retries: 0, disable_cooldowns: true}
"""
SETTINGS = {
    "ours": "callbacks: limits.hook",
    # Its limits are counted in Redis where its cache is there; it caches no answers.
    "own": f'cache: true\n  cache_params: {{type: redis, host: 127.0.0.1, port: {PORT}, supported_call_types: [], namespace: "NAMESPACE"}}',
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def get(port, path, timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def await_that(what, condition, timeout=120):
    until = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.05)
    return found


class Proxy:
    def __init__(self, directory, limiter="ours", workers=4, **environment):
        self.directory = Path(directory)
        self.port, self.model_port = free_port(), free_port()
        settings = SETTINGS[limiter].replace("NAMESPACE", str(time.time_ns()))
        config = CONFIG.replace("MODEL", str(self.model_port)).replace("SETTINGS", settings)
        (self.directory / "config.yaml").write_text(config, "utf-8")
        (self.directory / "limits.py").write_text((HERE / "limits.py").read_text("utf-8"), "utf-8")
        self._model = subprocess.Popen([sys.executable, HERE / "model.py", str(self.model_port)])
        given = {
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # nothing is fetched
            "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
            "PROXY_LIMITER": limiter,
            "PROXY_PIDS": str(self.directory),
            **environment,
        }
        command = [PYTHON, "-m", "litellm.proxy.proxy_cli", "--config", self.directory / "config.yaml"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", str(workers), "--run_gunicorn", "--telemetry", "False"]
        self._log = (self.directory / "log").open("w")
        self._proxy = subprocess.Popen(command, env=given, cwd=self.directory, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        self._workers = workers

    def await_ready(self):
        def started():
            if self._proxy.poll() is not None:
                raise RuntimeError(self.log())
            return self.log().count("Application startup complete") >= self._workers

        await_that(f"{self._workers} workers of the proxy", started, 300)

    def log(self):
        return (self.directory / "log").read_text("utf-8")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._proxy.pid, signal.SIGKILL)  # a session of its own: its workers with it
        self._proxy.wait()
        self._model.kill()
        self._model.wait()
        self._log.close()

    def all_seen(self):
        return json.loads(get(self.model_port, "/seen")[1])

    def seen(self, who):
        return self.all_seen()[who]

    def pid(self, name):
        return int((self.directory / name).read_text("ascii"))

    def begin(self, key, want, **body):
        """The connection of a call that has been sent."""
        name = key.removeprefix("sk-").partition("-")[0]
        content = json.dumps({"who": name, **want})
        asked = json.dumps({"model": "words", "messages": [{"role": "user", "content": content}], **body})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/v1/chat/completions", asked, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        return connection

    @contextlib.contextmanager
    def asking(self, key, want, **body):
        """The connection of a call that goes on, and the response once its head has come."""
        with contextlib.closing(self.begin(key, want, **body)) as connection:
            yield connection, connection.getresponse()

    def ask(self, key, want, **body):
        """The status, the fields and the body."""
        with self.asking(key, want, **body) as (_, response):
            return response.status, response.headers, response.read()

    def ask_often(self, count, at_once, key, want, **body):
        """The answers, as ``ask`` gives them."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda _: self.ask(key, want, **body), range(count)))
