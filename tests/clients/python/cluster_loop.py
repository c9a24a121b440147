"""The loop of cluster.py, through redis-py's cluster clients and through the package's own, sync and asyncio."""

import asyncio
import json
import sys

from ratelimit_client.client import async_link_of, link_of
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT


def call(cluster, line):
    asked = json.loads(line)
    if sys.argv[1].startswith("package"):
        link = async_link_of if sys.argv[1] == "package-asyncio" else link_of
        return link(cluster).ask(asked["words"], asked["key"], 10)
    # Told the node, redis-py does not ask for the call's keys first: it would ask one node alone, also where that one is gone.
    return cluster.execute_command(*asked["words"], target_nodes=cluster.get_node_from_key(asked["key"]))


def write(answer):
    print(json.dumps(answer), flush=True)


def refused(error):
    return {"error": f"{type(error).__name__}: {error}"}


def main():
    cluster = RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
    for line in sys.stdin:
        try:
            write({"reply": call(cluster, line)})
        except Exception as error:
            write(refused(error))


async def main_async():
    cluster = await AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            write({"reply": await call(cluster, line)})
        except Exception as error:
            write(refused(error))
    await cluster.aclose()


if __name__ == "__main__":
    if sys.argv[1].endswith("asyncio"):
        asyncio.run(main_async())
    else:
        main()
