"""Every block of Python in the packages' READMEs runs as it stands there, on another port."""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import ratelimit_client
from servers import PORT

ENGINE = Path(ratelimit_client.__file__).with_name("engine.wasm")
CLIENTS = Path(__file__).parents[3] / "clients"
ENV = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # or LiteLLM fetches one when it is imported
READMES = (CLIENTS / "README.md", CLIENTS / "python" / "README.md")


class Readme(unittest.TestCase):
    def test_blocks(self):
        text = "\n".join(readme.read_text("utf-8") for readme in READMES)
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertGreaterEqual(len(blocks), 2)
        for block in blocks:
            if ("ratelimit_client.local" in block or '"local"' in block) and not ENGINE.exists():
                continue  # scripts/test-clients has said why
            with self.subTest(block):
                ours = block.replace("6379", str(PORT))
                command = [sys.executable, "-W", "error", "-c", ours]
                run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENV)
                self.assertEqual((run.returncode, run.stderr), (0, ""), run.stdout)
