"""ratelimit top in a terminal of 80 columns and 24 lines, and when that changes."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import unittest

from .support import Server, eventually, ratelimit, run

from ratelimit_ops import top  # isort: skip
from ratelimit_ops.servers import reading  # isort: skip

HOME = "\x1b[H"


class Top(unittest.TestCase):
    def open(self, server, columns, lines):
        main, side = pty.openpty()
        self.addCleanup(os.close, main)
        self.main, self.said = main, ""
        self.resize(columns, lines)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        # Once an hour: what is drawn after the first picture is drawn for the size alone.
        command = list(map(str, ratelimit("top", "-p", server.port, "--interval", 3600)))
        process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True, env=environment,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
        os.close(side)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def resize(self, columns, lines):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def picture(self, number):
        """The lines of the picture of that number, once it is there, which its last escape says."""

        def drawn():
            if select.select([self.main], [], [], 0.05)[0]:
                self.said += os.read(self.main, 1 << 16).decode()
            return self.said.split(HOME)[number + 1 :][:1] if self.said.count("\x1b[J") > number else None

        (text,) = eventually(f"picture {number}", drawn)
        return [line.rstrip("\r") for line in re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", text).split("\n")]

    def test_versions_that_differ_are_said(self):
        def server(version):
            return reading.Overview({"ratelimit_version": version}, reading.Counts(), {}, {}, {}, {}, {}, {})

        self.assertEqual(top.drift([server("0.2.0"), server("0.2.0")]), "")
        self.assertEqual(top.drift([server("0.2.0"), server("0.1.0")]), "THE SERVERS DIFFER: versions")

    def test_a_policy_in_front_stands_with_the_one_behind_it_and_no_hit_is_lost_by_it(self):
        server = Server()
        self.addCleanup(server.close)
        server.call("RL.POLICY SET api:acme FIXED 2 1d")
        server.hits(9, "RL.FIXED acme 9 1d POLICY api:acme POLICY api")
        server.hits(4, "RL.FIXED nameless 9 1d")
        status, said, _ = run("top", "-p", server.port, "--once", "--interval", "0.1", environment={"COLUMNS": "130"})
        self.assertEqual(status, 0)
        for row, total in (("api:acme > api", 7), ("api", 7), ("(no policy)", 0)):
            self.assertRegex(said, rf"(?m)^{re.escape(row)} .* {9 - total if total else 4} +{total} +0$")

    def test_it_fits_the_terminal_and_follows_it(self):
        server = Server()
        self.addCleanup(server.close)
        for name in range(40):
            server.call(["RL.FIXED", f"user:{name}:" + "x" * 90, "1", "1h", "POLICY", f"policy:{name}"])
            server.call(["RL.FIXED", f"user:{name}:" + "x" * 90, "1", "1h", "POLICY", f"policy:{name}"])
        process = self.open(server, 80, 24)
        first = self.picture(0)
        self.assertLessEqual(len(first), 24)
        self.assertLessEqual(max(map(len, first)), 80)
        for table in ("ALL HITS", "POLICY", "MOST DENIED", "MOST ALLOWED"):
            self.assertTrue([line for line in first if line.startswith(table)], table)
        self.resize(60, 40)
        second = self.picture(1)
        self.assertTrue(24 < len(second) <= 40, len(second))
        self.assertLessEqual(max(map(len, second)), 60)
        os.write(self.main, b"q")
        self.assertEqual(process.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
