"""A server behind a wire that can be cut: the proxy of all languages, and what is done by it to all commands for a while."""

import sys
from pathlib import Path

from servers import PORT

sys.path.append(str(Path(__file__).parents[1]))
from proxy import Proxy  # noqa: E402

WRONG = {"fault": "instead", "bytes": "+OK\r\n"}
NOT_REDIS = {"fault": "instead", "bytes": "HTTP/1.1 400 Bad Request\r\n\r\n"}
LOADING = {"fault": "instead", "bytes": "-LOADING Redis is loading the dataset in memory\r\n"}


def wire():
    return Proxy(PORT)
