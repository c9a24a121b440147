"""The command itself: its usage, and what it does where nobody reads what it prints."""

import signal
import subprocess
import sys
import unittest

from .support import SHIPPED

COMMAND = [sys.executable, str(SHIPPED / "ratelimit")]
# Its own text, one of argparse's, one of a subcommand's, and one that is written to the standard error.
WORDS = (["--help"], ["top", "--help"], ["size", "--keys", "1000", "--algorithm", "fixed"], ["unheard-of"])


class Cli(unittest.TestCase):
    def test_it_ends_quietly_where_nobody_reads_on(self):
        for words in WORDS:
            with self.subTest(words):
                whole = subprocess.run([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
                self.assertGreater(len(whole.stdout), 20)
                status, errors = self.cut(words, errors_too=words == ["unheard-of"])
                self.assertEqual(errors, "")
                self.assertIn(status, (-signal.SIGPIPE, 0))

    @staticmethod
    def cut(words, errors_too):
        """How it ends, and what it says of it, with a pipe that is closed before it prints."""
        command = subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT if errors_too else subprocess.PIPE, text=True
        )
        command.stdout.close()
        errors = "" if errors_too else command.stderr.read()
        if command.stderr:
            command.stderr.close()
        return command.wait(120), errors


if __name__ == "__main__":
    unittest.main()
