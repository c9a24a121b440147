"""What tests of ratelimit console share: servers and a console in front of them, traffic, and a real browser, Debian's Chromium.

SCREENSHOTS= names a directory for pictures.
"""

import base64
import os
import pathlib
import shutil
import threading
import unittest

from selenium import webdriver
from selenium.webdriver.common.by import By

from .support import OPS, Program, Server, eventually, free_port, ratelimit

HAS_BROWSER = shutil.which("chromium") and shutil.which("chromedriver") and (OPS / "console/.made-from").exists()
SHOTS = os.environ.get("SCREENSHOTS")


class Case(unittest.TestCase):
    def server(self, *lines, **more):
        server = Server(*lines, **more)
        self.addCleanup(server.close)
        return server

    def console(self, *arguments, environment=None, host="127.0.0.1"):
        port = free_port()
        own = {name: value for name, value in os.environ.items() if name != "CONSOLE_TOKEN"}
        program = Program(ratelimit("console", "--listen", f"{host}:{port}", *arguments), env={**own, **(environment or {})})
        self.addCleanup(program.close)
        eventually("it listens", lambda: " at http://" in program.output)
        self.output = program
        return f"http://127.0.0.1:{port}"


class Traffic(threading.Thread):
    """Somebody hammers; others do not."""

    def __init__(self, servers):
        super().__init__()
        self.nodes, self.is_over = [server.connect() for server in servers], threading.Event()

    def run(self):
        count = 0
        while not self.is_over.wait(0.02):
            count += 1
            for node in self.nodes:
                node.pipeline(
                    ["RL.SLIDING login:203.0.113.77 5 15m POLICY login DENY bad 203.0.113.77".split()] * 4
                    + [f"RL.SLIDING login:198.51.100.{count % 40} 1000 15m POLICY login DENY bad 198.51.100.9".split()]
                    + [f"RL.BUCKET user:{count % 25} 100000 10 1s POLICY api:acme POLICY api".split()] * 3
                )

    def stop(self):
        self.is_over.set()
        self.join()
        for node in self.nodes:
            node.close()


@unittest.skipUnless(HAS_BROWSER, "Chromium cannot be had")
class Page(Case):
    """A browser, and what it shows."""

    @classmethod
    def setUpClass(cls):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
            " --disable-component-update --disable-sync --no-proxy-server --window-size=1240,1400"
        ).split():
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        cls.browser = webdriver.Chrome(options=options, service=service)
        cls.addClassCleanup(cls.browser.quit)

    def tearDown(self):
        # A script that failed, or something that the policy kept from loading.
        severe = [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        self.browser.get("about:blank")  # before its console goes
        self.browser.get_log("browser")
        self.assertEqual(severe, [])

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """The page draws itself anew, and what was found may be gone before it is read."""
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText).join('\\n')", selector
        )

    def await_text(self, selector, text):
        eventually(f"{selector} says {text!r} (it says {self.text(selector)!r})", lambda: text in self.text(selector))

    def click(self, selector, text=None):
        """Clicks on the first of these that says so."""
        script = """const found = [...document.querySelectorAll(arguments[0])]
            .find((each) => each.checkVisibility() && (arguments[1] === null || each.innerText.includes(arguments[1])));
            if (found) found.click();
            return Boolean(found)"""
        eventually(f"{selector} {text!r} is there", lambda: self.browser.execute_script(script, selector, text))

    def type(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def shot(self, name, selector):
        if SHOTS:
            self.find(selector).screenshot(str(pathlib.Path(SHOTS) / f"{name}.png"))

    def shot_page(self, name, width):
        if SHOTS:
            eventually("its chart is worth a look", lambda: self.browser.execute_script("return live[0].length >= 12"))
            height = self.browser.execute_script("return document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": width, "height": min(height, 2600), "scale": 1}
            shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
            (pathlib.Path(SHOTS) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def shape(self, scheme, width, height=844):
        """A window of that width, light or dark, for this test."""
        send = self.browser.execute_cdp_cmd
        send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 1000})
        self.addCleanup(send, "Emulation.clearDeviceMetricsOverride", {})
        self.addCleanup(send, "Emulation.setEmulatedMedia", {"features": []})
