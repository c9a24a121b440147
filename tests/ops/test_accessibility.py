"""The console's page for those who use it by keyboard, by ear, by touch or in the dark: axe-core's rules, and what it cannot see."""

import unittest

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from .browser import Page, Traffic
from .support import OPS, eventually
from .test_regions_shown import regions

AXE = OPS / "axe/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]  # contrast AA and targets of 24 px among them
SHAPES = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


@unittest.skipUnless(AXE.exists(), "axe-core cannot be had")
class Accessibility(Page):
    def inspect(self, what):
        self.browser.execute_script("if (!window.axe) { " + AXE.read_text() + " }")
        found = self.browser.execute_async_script(
            """const [rules, done] = arguments;
            axe.run(document, { runOnly: rules, resultTypes: ["violations"] }).then(({ violations, passes }) =>
              done({ passes: passes.map((one) => one.id), violations: violations.map((one) => [one.id, one.help, one.nodes.map((node) => node.html.slice(0, 200))]) }),
              (error) => done({ passes: [], violations: [["axe", String(error), []]] }))""",
            RULES,
        )
        self.assertIn("color-contrast", found["passes"] + [rule for rule, *_ in found["violations"]], "it looked")
        self.assertEqual(found["violations"], [], what)

    def settle(self):
        """Nothing fades or moves while it is looked at."""
        self.browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'; scrollTo(0, 0)")

    def test_axe_finds_nothing_in_any_view(self):
        one, other = self.server(), self.server()
        for server in (one, other):
            server.call("RL.POLICY SET login SLIDING 5 15m")
            server.call("RL.POLICY SHADOW login SLIDING 3 15m")
            server.call("RL.DENY ADD bad 198.51.100.9")
        one.call("RL.POLICY SET drift FIXED 1 1h")  # the servers differ
        one.hits(2, "RL.SLIDING login:mallory 1 15m BLOCK 1h")
        traffic = Traffic([one, other])
        traffic.start()
        self.addCleanup(traffic.stop)
        gone = f"127.0.0.1:{one.port + 1}"
        url = self.console("--server", one.address, "--server", other.address, "--server", gone)
        for scheme, width in SHAPES:
            with self.subTest(scheme=scheme, width=width):
                self.shape(scheme, width)
                self.browser.get(url + "/?policy=login")
                self.await_text("#trouble", "does not answer")
                self.await_text("#drift", "different policies")
                self.await_text("#most_denied", "login:203.0.113.77")
                self.type("#key", "login:mallory")
                self.click("#key-form button")
                self.await_text("#key-found", "shut out for another")
                self.settle()
                self.inspect("the page")
                self.type("#deny-value", "203.0.113.0/24")
                self.click("#deny-form button", "Deny")
                self.await_text("#said", gone)
                self.inspect("what it says")
        url = self.console("--server", one.address, "--server", other.address)
        for scheme, width in SHAPES:
            with self.subTest(scheme=scheme, width=width):
                self.shape(scheme, width)
                self.browser.get(url)
                self.type("#deny-value", f"203.0.{width % 256}.0/{24 if scheme == 'light' else 25}")
                self.type("#deny-list", "bad")
                self.click("#deny-form button", "Deny")
                self.await_text("#ask[open]", "It covers")
                self.inspect("the question")
                self.click("#ask-yes")
                self.await_text("#said", "Undo")
                self.settle()
                self.inspect("what was done")

    def test_axe_finds_nothing_in_what_regions_and_readers_see(self):
        found = regions(self, ("eu", "us"))
        named = [word for server, _ in found.values() for word in ("--server", server.address)]
        url = self.console(*named, "--read-only")
        found["us"][1].close()  # its relay: a region that is missed
        for scheme, width in SHAPES:
            with self.subTest(scheme=scheme, width=width):
                self.shape(scheme, width)
                self.browser.get(url)
                self.await_text("#region-trouble", "eu has not heard us")
                self.settle()
                self.inspect("regions")


class Keyboard(Page):
    def press(self, *keys):
        actions = ActionChains(self.browser)
        for key in keys:
            actions = actions.send_keys(key)
        actions.perform()

    def focused(self):
        return self.browser.execute_script(
            "const { activeElement: here } = document; return [here.id || here.innerText || here.tagName, here.matches(':focus-visible')]"
        )

    def tab_to(self, name, most=40):
        """Presses Tab until that has the focus, and sees to it that each stop on the way is shown to have it."""
        for _ in range(most):
            self.press(Keys.TAB)
            here, is_shown = self.focused()
            if here == name:
                self.assertTrue(is_shown, f"{here} does not show the focus")
                return
        self.fail(f"{most} tabs do not reach {name}")

    def test_a_range_is_denied_and_let_go_again_by_keys_alone(self):
        one = self.server()
        one.call("RL.DENY ADD bad 198.51.100.9")
        self.browser.get(self.console("-p", one.port))
        self.await_text("#list-rows", "bad")
        self.tab_to("deny-value")
        self.press("203.0.113.0/24")
        self.tab_to("Deny…")
        self.press(Keys.ENTER)
        self.await_text("#ask[open]", "It covers 256 addresses")
        # Escape leaves it, and the focus is where it was.
        self.press(Keys.ESCAPE)
        eventually("the question is gone", lambda: not self.text("#ask[open]"))
        eventually("the focus is back", lambda: self.focused()[0] == "Deny…")
        self.assertEqual(one.call("RL.DENY HAS bad 203.0.113.7"), [0])
        self.press(Keys.ENTER)
        self.await_text("#ask[open]", "It covers 256 addresses")
        self.tab_to("ask-yes", 3)
        self.press(Keys.ENTER)
        eventually("it is denied", lambda: one.call("RL.DENY HAS bad 203.0.113.7") == [1])
        # What was done has the focus, and Undo is the next.
        eventually("it is said", lambda: self.focused()[0] == "said")
        self.press(Keys.ENTER)
        self.tab_to("undo", 1)
        self.press(Keys.ENTER)
        eventually("it is not any more", lambda: one.call("RL.DENY HAS bad 203.0.113.7") == [0])
        eventually("the focus is where it was", lambda: self.focused()[0] == "Deny…")

    def test_what_is_said_is_announced(self):
        """A screen reader hears what changes in these; politely, but for what is wrong."""
        self.browser.get(self.console("-p", self.server().port))
        roles = "return [...document.querySelectorAll('[role=alert], [role=status], [aria-live]')].map((one) => one.id)"
        announced = {"trouble", "drift", "region-trouble", "said", "key-found"}
        self.assertEqual(set(self.browser.execute_script(roles)), announced)


if __name__ == "__main__":
    unittest.main()
