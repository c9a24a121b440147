"""The package over valkey-py's clients, whose connections it makes its own from as from redis-py's."""

import time
import unittest

import valkey
import valkey.asyncio
from ratelimit_client import AsyncLimiter, Limiter, Window
from servers import CLUSTER_PORT, PORT

TWO = {"algorithm": "fixed", "limits": Window(2, "3650d"), "timeout_ms": 60_000}


class Valkey(unittest.IsolatedAsyncioTestCase):
    async def test_two_of_three_on_one_server_and_on_a_cluster(self):
        key = str(time.time_ns())
        for client in (valkey.Valkey(port=PORT), valkey.ValkeyCluster(host="127.0.0.1", port=CLUSTER_PORT)):
            self.addCleanup(client.close)
            api = Limiter(client, prefix="valkey", **TWO)
            self.assertEqual([api.hit(key).allowed for _ in range(3)], [True, True, False])
        for client in (valkey.asyncio.Valkey(port=PORT), valkey.asyncio.ValkeyCluster(host="127.0.0.1", port=CLUSTER_PORT)):
            self.addAsyncCleanup(client.aclose)
            api = AsyncLimiter(client, prefix="valkey-async", **TWO)
            self.assertEqual([(await api.hit(key)).allowed for _ in range(3)], [True, True, False])
