"""Policies, deny lists, statistics and what a key holds, on one server and on a cluster, sync and asyncio."""

import asyncio
import inspect
import unittest

import redis
import redis.asyncio
from ratelimit_client import (
    Admin,
    AsyncAdmin,
    Bucket,
    Deny,
    LeaseLimit,
    Leaser,
    Limiter,
    RefusedError,
    UnansweredError,
    Window,
)
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from servers import CLUSTER_PORT, PORT

PATIENT = {"timeout_ms": 60_000}


class Both:
    """Calls the sync and the asyncio class alike."""

    def __init__(self, client, run=None):
        self.run = run
        self.admin = (AsyncAdmin if run else Admin)(client, **PATIENT)

    def __getattr__(self, name):
        def call(*args, **kwargs):
            found = getattr(self.admin, name)(*args, **kwargs)
            if inspect.isasyncgen(found):

                async def entries():
                    return [entry async for entry in found]

                return self.run(entries())
            return self.run(found) if self.run else found

        return call


class AdminTest(unittest.TestCase):
    def kinds(self):
        one, cluster = redis.Redis(port=PORT), RedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
        with asyncio.Runner() as runner:
            async_one, async_cluster = redis.asyncio.Redis(port=PORT), AsyncRedisCluster(host="127.0.0.1", port=CLUSTER_PORT)
            for name, client, admin in (
                ("sync", one, Both(one)),
                ("sync cluster", cluster, Both(cluster)),
                ("asyncio", one, Both(async_one, runner.run)),
                ("asyncio cluster", cluster, Both(async_cluster, runner.run)),
            ):
                with self.subTest(name):
                    yield f"admin:{name}", client, admin
            runner.run(async_one.aclose())
            runner.run(async_cluster.aclose())
        one.close()
        cluster.close()

    def limiter(self, client, *limits, **options):
        return Limiter(client, algorithm="sliding", limits=limits or [Window(5, "1h")], **PATIENT, **options)

    def test_policies(self):
        for own, client, admin in self.kinds():
            lasting = "sliding", (Window(30, "1d"), Window(5, "1h"))
            bucket, lease = ("bucket", (Bucket(10, 2, "1s"),)), ("lease", (LeaseLimit(3, "30s"),))
            names = [f"{own}:{kind}" for kind in ("sliding", "bucket", "lease")]
            for name, (algorithm, limits) in zip(names, (lasting, bucket, lease), strict=True):
                self.assertIsNone(admin.get_policy(name))
                admin.set_policy(name, algorithm, limits)
                policy = admin.get_policy(name)
                self.assertEqual((policy.algorithm, policy.limits, policy.ends_after_ms), (algorithm, limits, None))
            api = self.limiter(client, policy=names[0])
            for key in "abcdef":  # every node holds it
                self.assertEqual(len(api.hit(f"{own}:{key}").limits), 2)
            admin.set_policy(names[0], "sliding", Window(1, "1h"), ttl="1h")
            policy = admin.policies()[names[0]]
            self.assertEqual((policy.limits, policy.lasting.limits), ((Window(1, "1h"),), lasting[1]))
            self.assertTrue(3_500_000 < policy.ends_after_ms <= 3_600_000)
            self.limiter(client, policy=names[1]).hit(f"{own}:other")
            if "cluster" not in own:  # else of whichever node
                self.assertEqual(admin.get_policy(names[1]).mismatches, 1)
            self.assertEqual(admin.delete_policies(*names, f"{own}:none"), 3)
            self.assertIsNone(admin.get_policy(names[0]))

    def command(self, client, *words):
        """To every primary, as policies are."""
        nodes = [client] if isinstance(client, redis.Redis) else [one.redis_connection for one in client.get_primaries()]
        for node in nodes:
            node.execute_command(*words)

    def test_shadows(self):
        for own, client, admin in self.kinds():
            admin.shadow_policy(own, "sliding", Window(2, "1h"), ttl="1h")
            for alone in (admin.get_policy(own), admin.policies()[own]):
                self.assertEqual((alone.algorithm, alone.limits, alone.lasting), (None, (), None))
                self.assertEqual((alone.shadow.algorithm, alone.shadow.limits), ("sliding", (Window(2, "1h"),)))
                self.assertTrue(3_500_000 < alone.shadow.ends_after_ms <= 3_600_000)
            admin.shadow_policy(own, "sliding", Window(2, "1h"))
            admin.set_policy(own, "sliding", Window(9, "1h"))
            admin.set_policy(own, "sliding", Window(5, "1h"), ttl="1h")
            policy = admin.get_policy(own)
            self.assertEqual((policy.limits, policy.lasting.limits), ((Window(5, "1h"),), (Window(9, "1h"),)))
            self.assertEqual((policy.shadow.limits, policy.shadow.ends_after_ms), ((Window(2, "1h"),), None))
            api = self.limiter(client, prefix=f"{own}:shadow", policy=own)
            self.assertEqual([api.hit(key).allowed for key in "aaabbb"], [True] * 6)
            found = admin.statistics(own)
            self.assertEqual((found.allowed, found.denied, found.shadow_denied), (6, 0, 2))
            most = sorted((one.id, one.count) for one in found.most_shadow_denied)
            self.assertEqual(most, [(f"{own}:shadow:{key}", 1) for key in "ab"])
            for rows in (found.hours, found.days):
                self.assertEqual((sum(row.allowed for row in rows), sum(row.shadow_denied for row in rows)), (6, 2))
            self.assertEqual({row.start % 86_400 for row in found.days}, {0})
            self.assertGreaterEqual(admin.total_statistics().algorithms["sliding"].shadow_denied, 2)
            self.assertEqual((admin.end_shadow(own), admin.end_shadow(own)), (True, False))
            self.assertIsNone(admin.get_policy(own).shadow)
            admin.delete_policies(own)
            self.assertIsNone(admin.get_policy(own))

    def test_deny_lists(self):
        for own, client, admin in self.kinds():
            admin.drop_deny_list(own)
            self.assertEqual(admin.deny(own, ["192.0.2.0/24", "eve"]), 2)
            self.assertEqual(admin.deny(own, ["bob"], ttl="1h"), 1)
            self.assertEqual(admin.are_denied(own, ["192.0.2.7", "alice", "bob"]), (True, False, True))
            entries = dict(admin.deny_entries(own))
            self.assertEqual(sorted(entries), ["192.0.2.0/24", "bob", "eve"])
            self.assertTrue(entries["eve"] is None and entries["bob"] > 3_500_000)
            self.assertEqual(admin.deny_lists()[own], 3)
            for key in "abcd":
                self.assertEqual(self.limiter(client).hit(f"{own}:deny:{key}", deny=Deny(own, ["eve"])).denied_value, "eve")
            self.assertEqual(admin.undeny(own, ["eve", "nobody"]), 1)
            admin.rename_deny_list(own, f"{own}:2")
            self.assertEqual([admin.drop_deny_list(own), admin.drop_deny_list(f"{own}:2")], [False, True])
            with self.assertRaises(RefusedError):
                admin.rename_deny_list(own, "other")

    def test_statistics_of_a_cluster_are_the_sum(self):
        for own, client, admin in self.kinds():
            admin.reset_statistics(own)
            api = self.limiter(client, Window(1, "1h"), prefix=f"{own}:stats", policy=own)
            for key in "abcdefgh":
                for _ in range(2):
                    api.hit(key)
            found = admin.statistics(own)
            self.assertEqual((found.allowed, found.denied, found.deny_listed), (8, 8, 0))
            for top in (found.most_allowed, found.most_denied):
                self.assertEqual(sorted(one.id for one in top), [f"{own}:stats:{key}" for key in "abcdefgh"])
            self.assertEqual(sum(hour.denied for hour in found.hours), 8)
            self.limiter(client).hit(f"{own}:eve", deny=Deny(own, ["eve"]))
            total = admin.total_statistics()
            self.assertIn(own, total.names)
            self.assertGreaterEqual(total.algorithms["sliding"].denied, 8)
            admin.reset_statistics(own)
            self.assertIsNone(admin.statistics(own))

    def test_what_a_key_holds(self):
        for own, client, admin in self.kinds():
            self.limiter(client, Window(1, "1h"), Window(9, "1d"), prefix=own, block="1h").hit("info")
            info = admin.info(f"{own}:info")
            seen = [(one.limit, one.window, one.used, one.remaining) for one in info.limits]
            self.assertEqual((info.algorithm, seen, info.blocked_for_ms), ("sliding", [(1, "1h", 1, 0), (9, "1d", 1, 8)], None))
            self.limiter(client, Window(1, "1h"), prefix=own, block="1h").hit("info")
            self.assertGreater(admin.info(f"{own}:info").blocked_for_ms, 3_500_000)
            lease = Leaser(client, prefix=own, limit=2, ttl="10m", **PATIENT).acquire("leased")
            info = admin.info(f"{own}:leased")
            self.assertEqual(([one.ttl for one in info.limits], [(one.id, one.cost) for one in info.leases]), (["10m"], [(lease.id, 1)]))
            self.assertIsNone(admin.info(f"{own}:none"))

    def test_mistakes_and_a_server_that_is_away_are_errors(self):
        admin = Admin(redis.Redis(port=1))
        for wrong in (
            lambda: admin.set_policy("p", "sliding", Window(1, "1mo")),
            lambda: admin.set_policy("p", "bucket", Window(1, "1h")),
            lambda: admin.set_policy("p", "fixed", []),
            lambda: admin.set_policy("", "lease", LeaseLimit(1, "1h")),
            lambda: admin.deny("list", "eve"),
        ):
            self.assertRaises(TypeError, wrong)
        self.assertRaises(UnansweredError, admin.policies)


if __name__ == "__main__":
    unittest.main()
