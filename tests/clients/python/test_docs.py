"""What an editor shows: each name that the package exports says what it is."""

import importlib
import inspect
import os
import unittest

import ratelimit_client

# What is imported beside the package itself; DRF wants an application that is set up.
MODULES = ("admin", "arq", "asgi", "celery", "django", "fastapi", "flask", "limits", "litellm", "local", "rq", "websocket", "wsgi")
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the network for one


def exports():
    yield from ((ratelimit_client, name) for name in ratelimit_client.__all__)
    for name in MODULES:
        module = importlib.import_module(f"ratelimit_client.{name}")
        yield module, "__doc__"
        yield from ((module, name) for name, one in vars(module).items() if name[0] != "_" and getattr(one, "__module__", "") == module.__name__)


class Docs(unittest.TestCase):
    def test_each_export_says_what_it_is(self):
        self.maxDiff = None
        bare, count = [], 0
        for module, name in exports():
            one = getattr(module, name)
            count += 1
            if inspect.isclass(one) or inspect.isfunction(one):
                doc = one.__doc__ or ""
                if not doc or doc.startswith(f"{name}("):  # what a dataclass says of itself
                    bare.append(f"{module.__name__}.{name}")
            elif name == "__doc__" and not one:
                bare.append(module.__name__)
        self.assertEqual(sorted(set(bare)), [])
        self.assertGreater(count, 100)


if __name__ == "__main__":
    unittest.main()
