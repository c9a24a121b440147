"""Every block of Python in clients/README.md runs as it stands there, on another port."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

from servers import PORT

README = Path(__file__).parents[3] / "clients" / "README.md"


class Readme(unittest.TestCase):
    def test_blocks(self):
        blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        self.assertGreaterEqual(len(blocks), 2)
        for block in blocks:
            with self.subTest(block):
                ours = block.replace("6379", str(PORT))
                run = subprocess.run([sys.executable, "-W", "error", "-c", ours], capture_output=True, text=True, timeout=60)
                self.assertEqual((run.returncode, run.stderr), (0, ""), run.stdout)
