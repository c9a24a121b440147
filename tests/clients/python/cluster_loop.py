"""The loop of cluster.py, through redis-py's cluster clients, sync and asyncio."""

import asyncio
import json
import sys

from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT


# Told the node, redis-py does not ask for the call's keys first: it would ask one node alone, also where that one is gone.
def call(cluster, line):
    asked = json.loads(line)
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
    if sys.argv[1] == "redis-py":
        main()
    else:
        asyncio.run(main_async())
