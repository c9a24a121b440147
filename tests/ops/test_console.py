"""ratelimit console: what it answers, and what its page does in a real browser, in front of real servers."""

import contextlib
import http.client
import json
import pathlib
import re
import shutil
import tempfile
import unittest
import urllib.error
import urllib.request

from selenium.webdriver.support.ui import Select

from .browser import SHOTS, Case, Page, Traffic
from .support import NO_PROXY, Clock, eventually, get, run
from .test_regions_shown import regions


class Api(Case):
    """What somebody may send who is not the page."""

    def setUp(self):
        self.one = self.server()
        self.url = self.console("-p", self.one.port)

    def post(self, path, body, headers=(), url=None):
        own = {"Content-Type": "application/json", "X-Console": "1", **dict(headers)}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request((url or self.url) + path, data, {name: value for name, value in own.items() if value})
        try:
            with NO_PROXY.open(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def raw(self, method, path, headers):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def test_another_sites_page_changes_nothing(self):
        deny = {"list": "bad", "value": "192.0.2.1", "ttl": None}
        for headers in ({"X-Console": ""}, {"Content-Type": "text/plain"}, {"Host": "evil.example"}):
            status, _ = self.post("/api/deny", deny, headers)
            self.assertEqual(status, 403, headers)
        self.assertEqual(self.raw("GET", "/api/state", {"Host": "evil.example"})[0], 421, "a name that was pointed here")
        self.assertEqual(self.one.call("RL.DENY LIST"), {})
        self.assertEqual(self.post("/api/deny", deny)[0], 200)
        self.assertEqual(self.one.call("RL.DENY LIST"), {"bad": 1})

    def test_nothing_that_is_sent_harms_it(self):
        for path, body, expected in [
            ("/api/deny", b"{", 400),
            ("/api/deny", b"[" * 60000, 400),
            ("/api/deny", [], 400),
            ("/api/deny", {}, 400),
            ("/api/deny", {"list": 5, "value": "x"}, 400),
            ("/api/deny", {"list": "x" * 5000, "value": "x"}, 400),
            ("/api/deny", {"list": "x", "value": "y", "ttl": "1h x"}, 400),
            ("/api/policy", {"name": "x", "words": "fixed 5 1m TTL 1h"}, 400),
            ("/api/policy", {"name": "x", "words": " "}, 400),
            ("/api/nothing", {}, 404),
            ("/../console", {}, 404),
            ("/api/deny", b" " * 70000, 413),
        ]:
            self.assertEqual(self.post(path, body)[0], expected, (path, body[:50] if isinstance(body, bytes) else body))
        for path in ("/../console.py", "/page/index.html", "/api/key", "/api/cover?list=&value=", "/%2e%2e/console"):
            self.assertIn(self.raw("GET", path, {"Host": "localhost"})[0], (400, 404), path)
        status, answer = self.post("/api/policy", {"name": "x", "words": "fixed 5 60"})
        self.assertEqual(status, 200)
        self.assertIn("needs a unit", answer["servers"][0]["error"])
        self.assertNotIn("Traceback", self.output.output)
        self.assertNotIn("Error:", self.output.output)

    def test_a_page_may_load_nothing_but_its_own_files(self):
        for path in ("/", "/console.js", "/uplot.js", "/api/state"):
            _, headers, body = self.raw("GET", path, {"Host": "localhost"})
            self.assertTrue(headers["Content-Security-Policy"].startswith("default-src 'none'"), path)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            if path == "/":
                self.assertNotIn(b"http:", body)
                self.assertNotIn(b"https:", body)

    def test_only_a_limiter_is_reset(self):
        self.one.call("SET precious x")
        self.one.hits(3, "RL.FIXED user 5 1d")
        _, answer = self.post("/api/reset", {"key": "precious"})
        self.assertIn("WRONGTYPE", answer["servers"][0]["error"])
        self.assertEqual(self.one.call("GET precious"), "x")
        _, answer = self.post("/api/reset", {"key": "user"})
        self.assertEqual(answer["servers"], [{"server": self.one.address, "reply": "reset"}])
        self.assertEqual(self.one.call("EXISTS user"), 0)

    def test_read_only_changes_nothing(self):
        url = self.console("-p", self.one.port, "--read-only")
        for path in ("deny", "allow", "policy", "policy/delete", "reset"):
            status, answer = self.post(f"/api/{path}", {"list": "bad", "value": "x", "name": "x", "words": "fixed 1 1m", "key": "x"}, url=url)
            self.assertEqual((status, answer["error"]), (403, "this console is read-only"))
        self.assertTrue(json.loads(get(url + "/api/state"))["read_only"])

    def test_who_did_what_is_told_of_others_too(self):
        other = self.server()
        url = self.console("--server", self.one.address, "--server", other.address)

        def rows():
            return json.loads(get(url + "/api/changes"))["changes"]

        self.post("/api/deny", {"list": "bad", "value": "192.0.2.1"}, url=url)
        for server in (self.one, other):
            server.call("ACL SETUSER ops on >secret +@all")
            with contextlib.closing(server.connect()) as ops:
                ops.call("AUTH", "ops", "secret")
                ops.call(*"RL.POLICY SET login SLIDING 5 15m".split())
        self.one.call("RL.DENY DEL bad 192.0.2.1")
        eventually("all are there", lambda: len(rows()) == 3)
        alone, both, own = rows()
        self.assertEqual(alone["what"], "deny list 'bad' changed: 1 deleted: '192.0.2.1'")
        self.assertEqual((alone["who"], alone["servers"]), ("user 'default' at 127.0.0.1", [self.one.address]))
        self.assertEqual(both["what"], "policy 'login' set: from none to sliding 5 15m")
        self.assertEqual((both["who"], sorted(both["servers"])), ("user 'ops' at 127.0.0.1", sorted([self.one.address, other.address])))
        # What was done here stands there once, with who asked for it.
        self.assertEqual((own["what"], own["who"]), ("RL.DENY ADD bad 192.0.2.1", "127.0.0.1"))
        self.assertEqual(sorted(own["servers"]), sorted([self.one.address, other.address]))
        # Who may not read it is told so, and sees what was done here.
        other.call("ACL SETUSER default -rl.audit")
        untold = eventually("one does not tell", lambda: json.loads(get(url + "/api/changes"))["untold"])
        self.assertEqual([one["server"] for one in untold], [other.address])
        self.assertIn("NOPERM", untold[0]["why"])
        self.assertEqual(len(rows()), 3)

    def test_what_a_range_would_have_hit_is_of_the_last_hour(self):
        directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        clock = Clock(directory)
        one, other = (self.server(environment=clock.environment) for _ in range(2))
        url = self.console("--server", one.address, "--server", other.address)

        def cover(value):
            return json.loads(get(f"{url}/api/cover?list=bad&value={value}"))

        self.assertEqual([cover("0.0.0.0/0")[key] for key in ("active_count", "hit_count", "hits", "hit")], [0, 0, 0, []])
        for server in (one, other):
            for name in ("api", "api:acme"):
                server.call(f"RL.POLICY SET {name} FIXED 2 1d")
        # In a chain of policies a hit counts under two names. Two of five are denied; and one more, without a name.
        chain = "1 1h POLICY api:acme POLICY api"
        for last, hour, server, times in ((5, 0, one, 9), (6, 3, one, 5), (6, 3, other, 1), (7, 4, one, 1)):
            clock.set(1_700_000_000_000 + hour * 3_600_000)
            for _ in range(times):
                server.call(f"RL.FIXED api:203.0.113.{last} {chain}")
        one.call("RL.FIXED login:198.51.100.7 1 1h")
        one.call("RL.FIXED nobody 1 1h")
        found = cover("203.0.113.0/24")
        self.assertEqual(found["hit"], [["api:203.0.113.6", 6], ["api:203.0.113.7", 1]])
        self.assertEqual([found[key] for key in ("active_count", "hit_count", "hits")], [3, 2, 7])
        self.assertEqual([server["tells_recent"] for server in found["servers"]], [True, True])
        self.assertEqual(cover("192.0.2.0/24")["hit"], [])
        self.assertEqual(cover("198.51.100.7")["hit"], [["login:198.51.100.7", 1]])

    def test_elsewhere_than_on_this_machine_it_wants_a_token(self):
        token = "x" * 40
        url = self.console("-p", self.one.port, host="0.0.0.0", environment={"CONSOLE_TOKEN": token})

        def status(path, cookie=None):
            request = urllib.request.Request(url + path, headers={"Cookie": f"ratelimit-console={cookie}"} if cookie else {})
            try:
                with NO_PROXY.open(request) as response:
                    return response.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        for path in ("/", "/api/state"):
            self.assertEqual(status(path), 401)
            self.assertEqual(status(path, "wrong"), 401)
            self.assertEqual(status(path, "é"), 401)
            self.assertEqual(status(path, token), 200)
        self.assertEqual(status("/?token=wrong"), 401)
        deny = {"list": "bad", "value": "192.0.2.1"}
        self.assertEqual(self.post("/api/deny", deny, url=url)[0], 401)
        self.assertEqual(self.post("/api/deny", deny, {"Cookie": f"ratelimit-console={token}"}, url=url)[0], 200)
        status_, _, said = run("console", "-p", self.one.port, environment={"CONSOLE_TOKEN": "short"})
        self.assertEqual(status_, 2, said)


class Browser(Page):
    def test_from_something_is_hammering_us_to_it_is_blocked_for_an_hour(self):
        one, other = self.server(), self.server()
        for server in (one, other):
            server.call("RL.POLICY SET login SLIDING 5 15m")
            server.call("RL.DENY ADD bad 198.51.100.9")
        traffic = Traffic([one, other])
        traffic.start()
        self.addCleanup(traffic.stop)
        self.browser.get(self.console("--server", one.address, "--server", other.address))
        # Something is hammering us: denials, and of which policy.
        eventually("denials show", lambda: float(self.text("#rate-denied").replace("–", "0").replace(",", "") or 0) > 1)
        eventually("the policy that denies most is the first", lambda: self.text("#policy-rows tr:first-child").startswith("login"))
        self.await_text("#policy-rows tr:first-child", "sliding 5 15m")
        eventually("two points are drawn", lambda: self.browser.execute_script("return live[0].length > 3"))
        # Who is it?
        self.click("#policy-rows button", "login")
        self.await_text("#who-name", "login")
        self.await_text("#most_denied tr:first-child", "login:203.0.113.77")
        self.shot("who", "main")
        # What does it hold?
        self.click("#most_denied button", "login:203.0.113.77")
        self.await_text("#key-found", "5 of 5 used")
        self.await_text("#key-found", "all of it is back in")
        self.shot("lookup", "#lookup")
        # It is blocked for an hour: what it will cover is said first.
        self.click("#most_denied button", "Deny")
        self.assertEqual(self.find("#deny-value").get_attribute("value"), "203.0.113.77")
        self.type("#deny-value", "203.0.113.0/24")
        self.type("#deny-list", "bad")
        self.click("#deny-form button", "Deny")
        self.await_text("#ask", "It covers 256 addresses: 203.0.113.0 to 203.0.113.255")
        self.await_text("#ask", "Of the 1 identifier with an address that was most active in this hour and the one before it, it would have hit 1, with at least ")
        self.await_text("#ask", " hits: login:203.0.113.77 (")
        self.await_text("#ask", f"On: {one.address}, {other.address}")
        self.assertEqual(one.call("RL.DENY HAS bad 203.0.113.77"), [0], "nothing before it is confirmed")
        self.shot("deny", "#ask")
        self.click("#ask button", "Cancel")
        eventually("the question is gone", lambda: not self.text("#ask[open]"))
        self.assertEqual(one.call("RL.DENY HAS bad 203.0.113.77"), [0])
        self.click("#deny-form button", "Deny")
        self.click("#ask-yes")
        self.await_text("#said", "Done")
        for server in (one, other):
            entries = server.call("RL.DENY ENTRIES bad 0")[1]
            left_ms = dict(zip(entries[::2], entries[1::2]))["203.0.113.0/24"]
            self.assertTrue(3_500_000 < left_ms <= 3_600_000, left_ms)
        eventually("it is seen", lambda: float(self.text("#rate-deny_listed").replace("–", "0").replace(",", "") or 0) > 1)
        self.shot("blocked", "#now")
        # And let go again.
        self.click("#deny-allow")
        self.click("#ask-yes")
        eventually("it is off the list", lambda: other.call("RL.DENY HAS bad 203.0.113.77") == [0])

    def test_a_policy_is_changed_for_an_hour_or_for_good(self):
        one = self.server()
        one.call("RL.POLICY SET login SLIDING 5 15m")
        self.browser.get(self.console("-p", one.port))
        self.click("#policy-rows button", "login")
        eventually("its limits are there", lambda: self.find("#policy-words").get_attribute("value") == "sliding 5 15m")
        self.type("#policy-words", "sliding 1 15m")
        Select(self.find("#policy-ttl")).select_by_value("1h")
        self.click("#policy-form button", "Set")
        self.await_text("#ask", "Limits now: sliding 5 15m")
        self.click("#ask-yes")
        eventually("it has another for an hour", lambda: one.call("RL.POLICY GET login")[:4] == ["sliding", "1", "15m", "TTL"])
        self.await_text("#policy-rows", "then sliding 5 15m")
        self.type("#policy-words", "sliding 7 15")
        self.click("#policy-form button", "Set")
        self.assertFalse(self.find("#policy-words").get_property("validity")["valid"], "a duration without a unit")
        self.assertEqual(self.text("#ask[open]"), "", "what is wrong is said before it is asked for")
        Select(self.find("#policy-ttl")).select_by_value("")
        self.type("#policy-words", "sliding 7 15m")
        self.click("#policy-form button", "Set")
        self.click("#ask-yes")
        eventually("it is set for good", lambda: one.call("RL.POLICY GET login") == ["sliding", "7", "15m"])
        self.click("#policy-delete")
        self.click("#ask-yes")
        eventually("it is gone", lambda: one.call("RL.POLICY GET login") is None)

    def test_what_was_done_can_be_undone_for_a_minute(self):
        one = self.server()
        one.call("RL.POLICY SET login SLIDING 5 15m")
        one.call("RL.DENY ADD bad 198.51.100.9")
        self.browser.get(self.console("-p", one.port))
        self.await_text("#list-rows", "bad")
        self.type("#deny-value", "203.0.113.0/24")
        self.click("#deny-form button", "Deny")
        self.click("#ask-yes")
        eventually("it is denied", lambda: one.call("RL.DENY HAS bad 203.0.113.7") == [1])
        self.click("#undo")
        eventually("it is not any more", lambda: one.call("RL.DENY HAS bad 203.0.113.7") == [0])
        self.await_text("#said", "Undone")
        self.await_text("#change-rows", "RL.DENY DEL bad 203.0.113.0/24")
        # A limit for an hour, and for good: what stood before is back.
        for ttl, words in (("1h", ["sliding", "1", "15m", "TTL"]), ("", ["sliding", "2", "15m"])):
            self.browser.get(self.browser.current_url.split("?")[0] + "?policy=login")
            eventually("its limits are there", lambda: self.find("#policy-words").get_attribute("value") == "sliding 5 15m")
            self.type("#policy-words", " ".join(words[:3]))
            Select(self.find("#policy-ttl")).select_by_value(ttl)
            self.click("#policy-form button", "Set")
            self.click("#ask-yes")
            eventually("it is set", lambda words=words: one.call("RL.POLICY GET login")[:4] == words)
            self.click("#undo")
            eventually("it is as it was", lambda: one.call("RL.POLICY GET login") == ["sliding", "5", "15m"])
        # What stood on the list before cannot be undone by taking it off.
        self.type("#deny-value", "198.51.100.9")
        self.click("#deny-form button", "Deny")
        self.click("#ask-yes")
        self.await_text("#said", "Done: Deny 198.51.100.9")
        self.assertEqual(self.browser.execute_script("return document.getElementById('undo')"), None)

    def test_a_policy_in_front_is_shown_with_the_one_behind_it_and_who_set_it(self):
        one = self.server()
        one.call("RL.POLICY SET api FIXED 100 1d")
        one.call("RL.POLICY SET api:acme FIXED 2 1d")
        url = self.console("-p", one.port)
        self.browser.get(url)
        one.hits(9, "RL.FIXED acme 9 1d POLICY api:acme POLICY api")
        self.await_text("#policy-rows", "api:acme before api")
        cells = "return [...document.querySelectorAll('#policy-rows tr')].map((row) => [...row.cells].slice(-4, -1).map((cell) => cell.innerText))"
        eventually("both count them", lambda: self.browser.execute_script(cells) == [["2", "7", "0"]] * 2)
        self.click("#policy-rows button", "api:acme")
        self.await_text("#who-chain", "Calls name it before api")
        self.await_text("#who-set", "user 'default' at 127.0.0.1, ")
        self.await_text("#who-set", "policy 'api:acme' set: from none to fixed 2 1d")
        self.await_text("#most_denied", "acme")
        self.browser.get(url + "/?policy=api")
        self.await_text("#who-chain", "api:acme may stand before it")
        self.await_text("#change-rows", "policy 'api' set: from none to fixed 100 1d")

    def test_a_policy_has_an_address_and_a_new_one_can_be_made(self):
        one = self.server()
        one.call("RL.POLICY SET api:acme+ SLIDING 5 15m")
        url = self.console("-p", one.port)
        self.browser.get(url)
        self.click("#policy-rows button", "api:acme+")
        self.await_text("#who-name", "api:acme+")
        address = self.browser.current_url
        self.assertIn("?policy=api", address)
        self.browser.get("about:blank")
        self.browser.get(address)
        self.await_text("#who-name", "api:acme+")
        # The same, found by its name in the field on top.
        self.browser.get(url)
        self.await_text("#policy-rows", "api:acme+")
        self.type("#key", "api:acme+")
        self.click("#key-form button")
        self.await_text("#who-name", "api:acme+")
        self.type("#policy-name", "new one")
        self.click("#policy-new button")
        self.type("#policy-words", "lease 5 30s")
        self.click("#policy-form button", "Set")
        self.click("#ask-yes")
        eventually("it is there", lambda: one.node.call("RL.POLICY", "GET", "new one") == ["lease", "5", "30s"])

    def test_focus_and_rows_stay_where_they_are(self):
        one = self.server()
        traffic = Traffic([one])
        traffic.start()
        self.addCleanup(traffic.stop)
        for name in ("aaa", "bbb", "ccc"):
            one.call(f"RL.POLICY SET {name} FIXED 1 1d")
        self.browser.get(self.console("-p", one.port))
        self.await_text("#policy-rows", "ccc")
        self.browser.execute_script("[...document.querySelectorAll('#policy-rows button')].find((one) => one.innerText === 'ccc').focus()")
        names = self.text("#policy-rows td:first-child")
        points = "return live[0].length"
        seen = self.browser.execute_script(points)
        # What is denied most would come first, were nobody about to press a button.
        one.node.pipeline([["RL.FIXED", "k", "1", "1d", "POLICY", "bbb"]] * 5000)
        eventually("three pictures later", lambda: self.browser.execute_script(points) >= seen + 3)
        self.assertEqual(self.browser.execute_script("return document.activeElement.innerText"), "ccc")
        self.assertEqual(self.text("#policy-rows td:first-child"), names)
        self.browser.execute_script("document.activeElement.blur()")
        eventually("then it does", lambda: self.text("#policy-rows td:first-child").splitlines() != names.splitlines())

    def test_a_phone_shows_all_of_it_light_and_dark(self):
        one, other = self.server(), self.server()
        for server in (one, other):
            server.call("RL.POLICY SET login SLIDING 5 15m")
            server.call("RL.DENY ADD bad 198.51.100.9")
            server.call("RL.POLICY SHADOW login SLIDING 3 15m TTL 1d")
            server.call("RL.POLICY SET api:acme BUCKET 100000 10 1s")
            if not SHOTS:  # the documentation's pictures show names as people choose them
                server.call(f"RL.POLICY SET {'x' * 128} SLIDING 5 15m 10 1h 20 1d 30 1w")
            server.hits(8_000, "RL.SLIDING login:203.0.113.77 5 15m POLICY login")  # numbers of five digits take room
        traffic = Traffic([one, other])
        traffic.start()
        self.addCleanup(traffic.stop)
        url = self.console("--server", one.address, "--server", other.address)
        colors = set()
        for scheme in ("light", "dark"):
            for width in (1280, 390, 320):
                self.shape(scheme, width)
                self.browser.get(url + "/?policy=login")
                self.await_text("#most_denied", "login:203.0.113.77")
                eventually("a second", lambda: re.search(r"[1-9]", self.text("#most_denied td:nth-child(2)")))
                self.assertLessEqual(self.browser.execute_script("return document.documentElement.scrollWidth"), width)
                small = self.browser.execute_script(
                    "return [...document.querySelectorAll('button, input, select')].filter((each) => each.checkVisibility() && "
                    "(each.getBoundingClientRect().height < 24 || each.getBoundingClientRect().width < 24)).map((each) => each.outerHTML)"
                )
                self.assertEqual(small, [])
                self.shot_page(f"{scheme}-{width}", width)
            colors.add(self.browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        self.assertEqual(len(colors), 2, "dark is another colour")

    def test_an_identifier_is_looked_up_and_reset(self):
        one, other = self.server(), self.server()
        one.hits(3, "RL.SLIDING user:7 5 15m 20 1d")
        self.browser.get(self.console("--server", one.address, "--server", other.address))
        self.type("#key", "user:7")
        self.click("#key-form button")
        self.await_text("#key-found", "3 of 20 used")
        self.await_text("#key-found", "Nothing is used: the key is not there.")
        self.click("#key-found button", "Reset")
        self.await_text("#ask", "Reset user:7")
        self.click("#ask-yes")
        eventually("it is reset", lambda: one.call("EXISTS user:7") == 0)
        eventually("and shown", lambda: self.text("#key-found").count("Nothing is used") == 2)

    def test_a_key_that_is_shut_out_says_so(self):
        one = self.server()
        one.hits(2, "RL.SLIDING login:mallory 1 15m BLOCK 1h 1d")
        self.browser.get(self.console("-p", one.port))
        self.type("#key", "login:mallory")
        self.click("#key-form button")
        self.await_text("#key-found", "min: block 1")
        self.await_text("#key-found", "shut out for another")

    def test_what_regions_have_used_is_shown_and_reset_in_all(self):
        found = regions(self, ("eu", "us"))
        (eu, _), (us, _) = found.values()
        eu.hits(2, "RL.FIXED user:7 9 30d")
        us.hits(3, "RL.FIXED user:7 9 30d")
        for server in (eu, us):
            eventually("it knows both", lambda server=server: server.call("RL.INFO user:7")["limits"][0]["used"] == 5)
        self.browser.get(self.console("-p", eu.port))
        self.type("#key", "user:7")
        self.click("#key-form button")
        self.await_text("#key-found", "5 of 9 used")
        self.await_text("#key-found", "eu 2, us 3")
        self.click("#key-found button", "Reset")
        self.await_text("#ask", "in no region")
        self.click("#ask-yes")
        for server in (us, eu):
            eventually("nothing is used", lambda server=server: server.call("RL.INFO user:7")["limits"][0]["used"] == 0)

    def test_nodes_stand_side_by_side_and_drift_is_shown(self):
        servers = [self.server() for _ in range(3)]
        for server in servers:
            server.call("RL.POLICY SET login SLIDING 5 15m")
            server.call("RL.DENY ADD bad 192.0.2.1")
        named = [word for server in servers for word in ("--server", server.address)]
        self.browser.get(self.console(*named))
        eventually("three rows", lambda: self.text("#server-rows tr").count("primary") == 3)
        self.assertEqual(self.text("#drift"), "")
        servers[1].call("RL.POLICY SET login SLIDING 9 15m")
        self.await_text("#drift", "The servers have different policies")
        self.await_text("#server-rows tr:nth-child(2)", "differs")
        self.assertNotIn("differs", self.text("#server-rows tr:nth-child(1)"))
        servers[2].call("RL.DENY ADD bad 192.0.2.2")
        self.await_text("#drift", "The deny list bad is not the same on all servers")
        self.shot("servers", "#side")
        servers[2].kill()
        self.await_text("#trouble", f"{servers[2].address} does not answer")
        self.await_text("#server-rows", "Connection refused")
        servers[2].start()
        eventually("it is back", lambda: not self.text("#trouble"))

    def test_regions_stand_side_by_side(self):
        found = regions(self)
        named = [word for server, _ in found.values() for word in ("--server", server.address)]
        found["eu"][0].call("RL.FIXED k 100 30d")
        self.browser.get(self.console(*named))
        rows = "return [...document.querySelectorAll('#region-rows tr')].map((row) => [...row.cells].map((cell) => cell.innerText))"
        eventually("each hears two", lambda: len(self.browser.execute_script(rows)) == 6)
        pairs = {(row[0], row[2]): row for row in self.browser.execute_script(rows)}
        self.assertEqual(set(pairs), {(here, there) for here in found for there in found if here != there})
        for row in pairs.values():
            self.assertRegex(row[3], r"^[0-9]+ m?s$")
            self.assertRegex(row[4], r"^[0-9]+ m?s$")
        self.assertEqual(self.text("#region-trouble"), "")
        self.shot("regions", "#regions")
        # One whose relay ends is missed; one that starts anew says whom it does not hear.
        found["eu"][1].close()
        self.await_text("#region-trouble", "us has not heard eu for")
        self.await_text("#region-trouble", "ap has not heard eu for")
        self.assertNotIn("eu has not heard", self.text("#region-trouble"))
        found["ap"][1].close()
        server = found["us"][0]
        server.kill()
        server.start()
        self.await_text("#region-trouble", "us hears no other region")
        # Where there are none, nothing is said of them.
        self.browser.get(self.console("-p", self.server().port))
        eventually("it is drawn", lambda: "primary" in self.text("#server-rows"))
        self.assertFalse(self.find("#regions").is_displayed())

    def test_hours_and_days_are_drawn(self):
        one = self.server()
        one.hits(5, "RL.FIXED user 3 1d POLICY api")
        self.browser.get(self.console("-p", one.port))
        eventually("it is drawn", lambda: self.browser.execute_script("return pastChart.data[0].length === 48"))
        drawn = "return pastChart.data.map((values) => [values.length, values.at(-1)])"
        for span, rows in (("8 days by the hour", 192), ("90 days by the day", 90)):
            Select(self.find("#span")).select_by_visible_text(span)
            eventually("the last has its hits", lambda rows=rows: self.browser.execute_script(drawn)[1:3] == [[rows, 3], [rows, 2]])
        self.assertTrue(self.find("#past canvas").is_displayed())

    def test_dates_are_in_the_readers_locale(self):
        one = self.server()
        one.hits(5, "RL.FIXED user 3 1d POLICY api")
        one.call("RL.POLICY SET api FIXED 3 1d")
        self.browser.execute_cdp_cmd("Emulation.setLocaleOverride", {"locale": "de-DE"})
        self.addCleanup(self.browser.execute_cdp_cmd, "Emulation.setLocaleOverride", {})
        self.browser.get(self.console("-p", one.port))
        eventually("it is told when", lambda: re.search(r"\b\d{1,2}\.\d{1,2}\.\d{4}, \d\d:\d\d:\d\d", self.text("#change-rows")))
        drawn = "return pastChart.axes[0]._values.map(String)"
        Select(self.find("#span")).select_by_visible_text("2 days by the hour")
        labels = eventually("there are labels", lambda: self.browser.execute_script(drawn))
        self.assertRegex(labels[0], r"^\d\d?:\d\d\n\d{1,2}\.\d{1,2}\.$")
        self.assertRegex(labels[1], r"^\d\d?:\d\d(\n|$)")
        Select(self.find("#span")).select_by_visible_text("90 days by the day")
        eventually("days alone", lambda: all(re.match(r"\d{1,2}\.\d{1,2}\.$", label) for label in self.browser.execute_script(drawn)))

    def test_hostile_names_do_no_harm(self):
        one = self.server()
        hostile = [
            "<img src=x onerror=\"document.title='owned'\">",
            "<script>document.title='owned'</script>",
            "'\"><svg/onload=document.title='owned'>",
            "\x1b[2J\x00\r\n\u202e\u2028",
            "\udcff\udcfe",
            "__proto__",
            "constructor",
            "javascript:document.title='owned'",
            "x" * 128,
            "é{{1}}${1}",
        ]
        for name in hostile:
            one.node.call("RL.POLICY", "SET", name, "FIXED", "0", "1h")
            for identifier in (name, name + "k" * 900):
                one.node.call("RL.FIXED", identifier, "0", "1h", "POLICY", name)
                one.node.call("RL.FIXED", identifier, "1", "1h")
            one.node.call("RL.DENY", "ADD", name, name + "v" * (1000 - len(name)))
            one.node.call("RL.FIXED", "k", "1", "1h", "DENY", name, name + "v" * (1000 - len(name)))
        self.browser.get(self.console("-p", one.port))
        eventually("all are shown", lambda: self.text("#policy-rows tr").count("fixed 0 1h") == len(hostile))
        self.await_text("#policy-rows", "\\x1b[2J\\x00\\x0d\\x0a\\u202e\\u2028")
        self.await_text("#policy-rows", "\\xff\\xfe")
        for index in range(len(hostile)):
            rows = "#policy-rows tr"
            self.browser.execute_script(f"document.querySelectorAll('{rows} button')[{index}].click()")
            self.await_text("#most_denied", self.text("#who-name")[:8])
            shown = self.text("#who-name")
            # By the page alone, whatever bytes it is: looked up as it was hit.
            eventually("it is asked for", lambda: self.text("#who-name") == shown)
            self.browser.execute_script("document.querySelector('#most_denied button').click()")
            self.await_text("#key-found", "holds a fixed limiter")
            self.browser.execute_script("document.querySelector('#key-found').replaceChildren()")
        self.assertEqual(self.browser.title, "Rate limits")
        self.assertEqual(self.browser.execute_script("return document.querySelectorAll('main img, main script, main svg').length"), 0)
        wide = self.browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.assertEqual(wide, 0, "nothing is wider than the page")

    def test_read_only_shows_nothing_to_change_by(self):
        one = self.server()
        one.hits(3, "RL.FIXED user:192.0.2.1 1 1d POLICY api")
        self.browser.get(self.console("-p", one.port, "--read-only"))
        self.await_text("#mode", "read-only")
        self.click("#policy-rows button", "api")
        self.await_text("#most_denied", "user:192.0.2.1")
        self.click("#most_denied button", "user:192.0.2.1")
        self.await_text("#key-found", "1 of 1 used")
        for word in ("Deny…", "Set…", "Reset…", "Take off"):
            self.assertNotIn(word, self.text("body"))

    def test_a_token_lets_a_browser_in(self):
        one = self.server()
        url = self.console("-p", one.port, environment={"CONSOLE_TOKEN": "x" * 40})
        self.browser.get(url + "/?token=" + "x" * 40)
        self.await_text("#server-rows", one.address)
        self.assertEqual(self.browser.current_url, url + "/", "the token is not left in the address")


if __name__ == "__main__":
    unittest.main()
