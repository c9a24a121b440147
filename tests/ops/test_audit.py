"""scripts/audit: which licences and which versions it lets pass."""

import importlib.machinery
import importlib.util
import pathlib
import tempfile
import unittest

from .support import ROOT

LOADER = importlib.machinery.SourceFileLoader("audit", str(ROOT / "scripts/audit"))
audit = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit", LOADER))
LOADER.exec_module(audit)

ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2021-0003"
package = "smallvec"
date = "2021-01-08"
{more}
[versions]
patched = [">= 0.6.14, < 1.0.0", ">= 1.6.1"]
unaffected = ["< 0.6.3"]
```

# Text
"""


class Audit(unittest.TestCase):
    def test_licences(self):
        fine = ["MIT", "MIT/Apache-2.0", "MIT OR GPL-3.0", "(MIT OR GPL-2.0) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
        for expression in fine:
            self.assertTrue(audit.is_allowed(expression), expression)
        for expression in ("GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-2.0 OR LGPL-2.1)", "", "(MIT", "MIT)", "GPL-2.0 WITH X"):
            self.assertFalse(audit.is_allowed(expression), expression)

    def test_versions(self):
        for version, requirement in [("1.2.3", ">= 1.2.3"), ("1.2.3", "^1.2"), ("0.3.1", "^0.3.0"), ("1.5.0", ">=1.2, <2"), ("1.2.9", "~1.2.3")]:
            self.assertTrue(audit.matches(version, requirement), (version, requirement))
        for version, requirement in [("2.0.0", "^1.2"), ("0.4.0", "^0.3.0"), ("1.2.3-alpha", ">=1.2.3"), ("1.5.0", "< 1.2.0"), ("1.3.0", "~1.2.3")]:
            self.assertFalse(audit.matches(version, requirement), (version, requirement))

    def test_advisories(self):
        place = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (place / "crates/smallvec").mkdir(parents=True)
        file = place / "crates/smallvec/RUSTSEC-2021-0003.md"
        file.write_text(ADVISORY.format(more=""))
        for version, is_told in (("0.6.2", False), ("0.6.13", True), ("0.6.14", False), ("1.6.0", True), ("1.6.1", False)):
            self.assertEqual(bool(audit.advisories(place, [{"name": "smallvec", "version": version}])), is_told, version)
        file.write_text(ADVISORY.format(more='withdrawn = "2021-02-01"'))
        self.assertEqual(audit.advisories(place, [{"name": "smallvec", "version": "1.6.0"}]), [])


if __name__ == "__main__":
    unittest.main()
