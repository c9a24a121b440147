"""The scenarios, pipelining, MULTI, concurrency and the cluster through redis-py, sync and asyncio, on RESP2 and RESP3."""

import asyncio
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

import redis
import redis.asyncio
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.exceptions import ResponseError
from servers import CLUSTER_PORT, PORT, SCENARIOS

def compare(test, actual, expected, path):
    """As scenarios.json says."""
    if isinstance(expected, list):
        test.assertIsInstance(actual, list, path)
        test.assertEqual(len(actual), len(expected), f"{path}: {actual}")
        for index, item in enumerate(expected):
            compare(test, actual[index], item, f"{path}[{index}]")
    elif isinstance(expected, str) and (bounds := re.fullmatch(r"(\d+)\.\.(\d+)", expected)):
        test.assertIsInstance(actual, int, path)
        test.assertTrue(int(bounds[1]) <= actual <= int(bounds[2]), f"{path}: {actual} is not in {expected}")
    elif expected == "OK":
        test.assertIn(actual, ("OK", True), path)  # what redis-py makes of SET's answer
    else:
        test.assertEqual(actual, expected, path)


def fields(reply):
    """A map of RESP3, or the flat array of RESP2."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def check_step(test, step, said, actual):
    if "error" in step:
        test.assertIsInstance(actual, ResponseError, f"{said}: {actual}")
        # redis-py takes the code ERR off the text, and no other one.
        test.assertTrue(str(actual).startswith(step["error"].removeprefix("ERR ")), f"{said}: {actual}")
    elif "map" in step:
        for name, value in step["map"].items():
            test.assertEqual(fields(actual).get(name), value, f"{said}: {name}")
    else:
        compare(test, actual, step["reply"], said)


def words(step, prefix):
    return [word.replace("$", prefix, 1) for word in step["send"]]


SEEN = [(1, 4), (1, 3), (1, 2), (1, 1), (1, 0), (0, 0)]  # allowed and remaining, of six hits with a limit of 5


class Sync(unittest.TestCase):
    def client(self, protocol):
        client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
        self.addCleanup(client.close)
        return client

    def scenario(self, scenario, protocol):
        client = self.client(protocol)
        for step in scenario["steps"]:
            args = words(step, f"redis-py-{protocol}:")
            try:
                actual = client.execute_command(*args)
            except ResponseError as error:
                actual = error
            check_step(self, step, " ".join(args), actual)

    def six(self, protocol, transaction):
        pipeline = self.client(protocol).pipeline(transaction=transaction)
        for _ in range(6):
            pipeline.execute_command("RL.FIXED", f"redis-py-{protocol}:six-{transaction}", 5, "3650d")
        self.assertEqual([(reply[0], reply[2]) for reply in pipeline.execute()], SEEN)

    def cluster(self, protocol):
        cluster = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT, protocol=protocol)
        self.addCleanup(cluster.close)
        keys = [f"redis-py-{protocol}:{i}" for i in range(60)]
        replies = [cluster.execute_command("RL.FIXED", key, 1, "3650d") for key in keys * 2]
        self.assertEqual([reply[0] for reply in replies], [1] * 60 + [0] * 60)
        self.assertEqual(len(cluster.get_primaries()), 3)

    def test_a_pool_of_10_connections_under_20_threads_admits_the_limit_and_not_one_more(self):
        pool = redis.BlockingConnectionPool(port=PORT, max_connections=10)
        client = redis.Redis(connection_pool=pool)
        with ThreadPoolExecutor(20) as threads:
            hits = [threads.submit(client.execute_command, "RL.SLIDING", "pool:redis-py", 100, "1h") for _ in range(400)]
        self.assertEqual(sum(hit.result()[0] for hit in hits), 100)
        client.close()
        pool.disconnect()


class Asyncio(unittest.IsolatedAsyncioTestCase):
    def client(self, protocol):
        client = redis.asyncio.Redis(port=PORT, protocol=protocol, decode_responses=True)
        self.addAsyncCleanup(client.aclose)
        return client

    async def scenario(self, scenario, protocol):
        client = self.client(protocol)
        for step in scenario["steps"]:
            args = words(step, f"redis-py-asyncio-{protocol}:")
            try:
                actual = await client.execute_command(*args)
            except ResponseError as error:
                actual = error
            check_step(self, step, " ".join(args), actual)

    async def six(self, protocol, transaction):
        pipeline = self.client(protocol).pipeline(transaction=transaction)
        for _ in range(6):
            pipeline.execute_command("RL.FIXED", f"redis-py-asyncio-{protocol}:six-{transaction}", 5, "3650d")
        self.assertEqual([(reply[0], reply[2]) for reply in await pipeline.execute()], SEEN)

    async def cluster(self, protocol):
        cluster = AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT, protocol=protocol)
        self.addAsyncCleanup(cluster.aclose)
        keys = [f"redis-py-asyncio-{protocol}:{i}" for i in range(60)]
        replies = [await cluster.execute_command("RL.FIXED", key, 1, "3650d") for key in keys * 2]
        self.assertEqual([reply[0] for reply in replies], [1] * 60 + [0] * 60)

    async def test_a_pool_of_10_connections_admits_the_limit_and_not_one_more(self):
        pool = redis.asyncio.BlockingConnectionPool(port=PORT, max_connections=10)
        client = redis.asyncio.Redis(connection_pool=pool)
        hits = (client.execute_command("RL.SLIDING", "pool:redis-py-asyncio", 100, "1h") for _ in range(400))
        self.assertEqual(sum(reply[0] for reply in await asyncio.gather(*hits)), 100)
        await client.aclose()
        await pool.disconnect()


def named(words):
    return "test_" + re.sub(r"\W+", "_", words)


def a_test(case, method, *args):
    if case is Asyncio:

        async def test(self):
            await getattr(self, method)(*args)
    else:

        def test(self):
            getattr(self, method)(*args)

    return test


def add_tests(case):
    """One test for each scenario and protocol, so that a report names what failed."""
    for protocol in (2, 3):
        for scenario in SCENARIOS:
            setattr(case, named(f"RESP{protocol} {scenario['name']}"), a_test(case, "scenario", scenario, protocol))
        setattr(case, f"test_RESP{protocol}_pipeline", a_test(case, "six", protocol, False))
        setattr(case, f"test_RESP{protocol}_multi", a_test(case, "six", protocol, True))
        setattr(case, f"test_RESP{protocol}_cluster", a_test(case, "cluster", protocol))


add_tests(Sync)
add_tests(Asyncio)
