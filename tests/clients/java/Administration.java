import static suite.Suite.refused;
import static suite.Suite.same;
import static suite.Suite.test;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.protocol.ProtocolVersion;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.logging.LogManager;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import ratelimit.Admin;
import ratelimit.JedisSender;
import ratelimit.KeyInfo;
import ratelimit.Leaser;
import ratelimit.LettuceSender;
import ratelimit.Policy;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import ratelimit.Statistics.Counts;
import ratelimit.Statistics.Period;
import ratelimit.Statistics.Recent;
import ratelimit.Statistics.Top;
import suite.Suite;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.providers.ClusterConnectionProvider;

/** Policies, deny lists, statistics and what a key holds, over Jedis and Lettuce, on one server and on a cluster. */
public final class Administration {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final int CLUSTER_PORT = Integer.parseInt(System.getenv("RATELIMIT_CLUSTER_PORT"));
    private static final Duration LONG = Duration.ofSeconds(60); // the machine is a busy one
    private static final Duration HOUR = Duration.ofHours(1);

    private final String name;
    private final Sender sender;
    private final Admin admin;
    private final String own;

    private Administration(String name, Sender sender) {
        this.name = name;
        this.sender = sender;
        admin = Admin.of(sender).timeout(LONG);
        own = "java-admin:" + name + ':' + System.nanoTime();
        test(name + ": policies", this::policies);
        test(name + ": policies that are tried", this::shadows);
        test(name + ": deny lists", this::denyLists);
        test(name + ": statistics", this::statistics);
        test(name + ": what a key holds", this::keyInfo);
    }

    private RateLimiter limiter(String... words) {
        return RateLimiter.of(sender, own, words).timeout(LONG);
    }

    private static void within(Duration left, Duration most) {
        same(left.compareTo(most) <= 0 && left.compareTo(most.minusMinutes(1)) > 0, true, "what is left: " + left);
    }

    private void policies() throws Exception {
        var lasting = Policy.sliding(new Policy.Limit(30, "1d"), new Policy.Limit(5, "1h"));
        var bucket = Policy.bucket(new Policy.Limit(10, 2, "1s"));
        var lease = Policy.lease(new Policy.Limit(3, "30s"));
        for (var one : Map.of(own, lasting, own + ":bucket", bucket, own + ":lease", lease).entrySet()) {
            same(admin.policy(one.getKey()) == null, true, "before");
            admin.setPolicy(one.getKey(), one.getValue());
            same(admin.policy(one.getKey()), new Policy.State(one.getValue(), null, null, null, null, 0), "as it was set");
        }
        var api = limiter("RL.SLIDING", "7", "1h", "POLICY", own);
        for (String key : List.of("a", "b", "c", "d", "e", "f")) same(api.hit(key).limit(), 5L, "every node holds it");
        var incident = Policy.sliding(new Policy.Limit(1, "1h"));
        admin.setPolicy(own, incident, HOUR);
        var state = admin.policies().get(own);
        same(List.of(state.policy(), state.lasting()), List.of(incident, lasting), "with a TTL");
        within(state.endsAfter(), HOUR);
        limiter("RL.SLIDING", "7", "1h", "POLICY", own + ":bucket").hit("other");
        same(admin.policy(own + ":bucket").mismatches(), 1L, "of whichever node");
        same(admin.deletePolicies(own, own + ":bucket", own + ":lease", own + ":none"), 3L, "deleted");
        for (var wrong : List.of(Policy.sliding(), Policy.sliding(new Policy.Limit(1, "1mo")), Policy.fixed(new Policy.Limit(-1, "1h")), new Policy("LEASE", List.of()))) {
            refused(() -> admin.setPolicy(own, wrong));
        }
        refused(() -> admin.setPolicy("", lease));
        refused(() -> admin.setPolicy(own, lease, Duration.ZERO));
    }

    private void shadows() throws Exception {
        String tried = own + ":tried";
        var first = Policy.sliding(new Policy.Limit(2, "1h"));
        var second = Policy.sliding(new Policy.Limit(1, "1h"));
        var binding = Policy.sliding(new Policy.Limit(3, "1h"));
        admin.shadowPolicy(tried, first, HOUR);
        var alone = admin.policies().get(tried);
        same(alone.policy() == null && alone.endsAfter() == null, true, alone + "");
        same(alone.shadow(), first, "a shadow alone");
        within(alone.shadowEndsAfter(), HOUR);
        admin.setPolicy(tried, binding);
        admin.shadowPolicy(tried, second);
        same(admin.policy(tried), new Policy.State(binding, null, null, second, null, 0), "beside it");
        var api = limiter("RL.SLIDING", "3", "1h", "POLICY", tried);
        for (String key : List.of("a", "b", "c", "d")) {
            for (int i = 0; i < 3; i++) same(api.hit("tried" + key).outcome(), "allowed", "bound by a shadow");
        }
        var found = admin.statistics(tried);
        var expected = new Counts(12, 0, 0, 8);
        same(found.counts(), expected, "counts");
        same(found.mostShadowDenied().size(), 4, "most");
        same(found.mostShadowDenied().get(0), new Top(own + "trieda", 2, 0), "the first");
        same(List.of(sum(found.hours()), sum(found.days())), List.of(expected, expected), "hours and days");
        same(admin.info(own + "trieda").shadow().get(0).used(), 1L, "what a shadow has let through");
        same(List.of(admin.endShadow(tried), admin.endShadow(tried)), List.of(true, false), "ended");
        same(admin.deletePolicies(tried), 1L, "deleted");
        refused(RateLimiter.UnavailableException.class, () -> admin.shadowPolicy(tried, Policy.lease(new Policy.Limit(3, "30s"))));
    }

    private static Counts sum(List<Period> periods) {
        long allowed = 0, denied = 0, denyListed = 0, shadowDenied = 0;
        for (var one : periods) {
            allowed += one.counts().allowed();
            denied += one.counts().denied();
            denyListed += one.counts().denyListed();
            shadowDenied += one.counts().shadowDenied();
        }
        return new Counts(allowed, denied, denyListed, shadowDenied);
    }

    private void denyLists() throws Exception {
        same(admin.deny(own, "192.0.2.0/24", "eve"), 2L, "new");
        same(admin.deny(own, HOUR, "bob", "eve"), 1L, "new of two");
        same(admin.areDenied(own, "192.0.2.7", "alice", "bob"), List.of(true, false, true), "denied");
        var entries = admin.denyEntries(own).collect(Collectors.toMap(Admin.DenyEntry::value, entry -> entry.endsAfter() != null));
        same(entries, Map.of("192.0.2.0/24", false, "eve", true, "bob", true), "which ends");
        within(admin.denyEntries(own).filter(entry -> entry.value().equals("bob")).findFirst().orElseThrow().endsAfter(), HOUR);
        same(admin.denyLists().get(own), 3L, "entries");
        for (String key : List.of("a", "b", "c", "d")) {
            same(limiter("RL.SLIDING", "7", "1h", "DENY", own, "eve").hit("deny" + key).deniedValue(), "eve", "every node holds it");
        }
        same(admin.undeny(own, "eve", "nobody"), 1L, "there was one");
        String[] many = Stream.iterate(0, i -> i + 1).limit(2500).map(i -> "u" + i).toArray(String[]::new);
        admin.deny(own, many);
        same(admin.denyEntries(own).map(Admin.DenyEntry::value).distinct().count(), 2502L, "more than a page");
        admin.renameDenyList(own, own + ":2");
        same(List.of(admin.dropDenyList(own), admin.dropDenyList(own + ":2")), List.of(false, true), "dropped");
        try {
            admin.renameDenyList(own, "other");
            throw new AssertionError("there is no such list, and no exception");
        } catch (RateLimiter.UnavailableException expected) {
            same(expected.reason(), "refused", expected + "");
        }
    }

    private void statistics() throws Exception {
        String counted = own + ":stats";
        var api = limiter("RL.SLIDING", "1", "1h", "POLICY", counted);
        var keys = List.of("a", "b", "c", "d", "e", "f", "g", "h");
        for (String key : keys) {
            for (int i = 0; i < (key.equals("h") ? 4 : 2); i++) api.hit("stats" + key);
        }
        admin.deny(counted, "mallory");
        limiter("RL.SLIDING", "1", "1h", "DENY", counted, "mallory").hit("mallory");
        var found = admin.statistics(counted);
        same(found.counts(), new Counts(8, 10, 0, 0), "counts");
        same(found.mostAllowed().stream().map(Top::id).toList(), keys.stream().map(key -> own + "stats" + key).toList(), "of equals by identifier");
        same(found.mostDenied().get(0), new Top(own + "statsh", 3, 0), "most first");
        var recent = found.recentlyDenied().get(0);
        same(List.of(recent.id(), recent.thisHour() + recent.hourBefore()), List.of(own + "statsh", 3L), "recently");
        same(found.recentlyAllowed().size(), 8, "recently allowed");
        same(List.of(sum(found.hours()), sum(found.days())), List.of(found.counts(), found.counts()), "hours and days");
        var total = admin.totalStatistics();
        same(total.algorithms().get("SLIDING").denied() >= 10 && total.names().contains(counted), true, total + "");
        same(total.mostDenyListed().stream().anyMatch(one -> one.id().equals("mallory")), true, total + "");
        same(total.recentlyDenyListed().stream().map(Recent::id).toList().contains("mallory"), true, total + "");
        admin.resetStatistics(counted);
        same(admin.statistics(counted) == null, true, "after a reset");
        admin.dropDenyList(counted);
    }

    private void keyInfo() {
        var hour = new Policy.Limit(1, "1h");
        var day = new Policy.Limit(9, "1d");
        limiter("RL.SLIDING", "1", "1h", "9", "1d").hit("info");
        var info = admin.info(own + "info");
        same(info.algorithm(), "SLIDING", "algorithm");
        same(info.limits().stream().map(KeyInfo.Limit::limit).toList(), List.of(hour, day), "limits");
        same(List.of(info.limits().get(0).used(), info.limits().get(1).remaining(), info.blockedFor()), List.of(1L, 8L, Duration.ZERO), "used");
        within(info.limits().get(0).resetAfter(), HOUR);
        var api = limiter("RL.SLIDING", "1", "1h", "BLOCK", "1h");
        api.hit("info", "an id");
        var blocked = admin.info(own + "info");
        within(blocked.blockedFor(), HOUR);
        same(blocked.block().nth(), 1L, "nth");
        api.block("info", Duration.ofHours(2));
        within(admin.info(own + "info").blockedFor(), Duration.ofHours(2));
        api.hit("id", "an id");
        same(admin.info(own + "id").ids(), 1L, "ids");
        limiter("RL.BUCKET", "10", "2", "1s").hit("bucket");
        same(admin.info(own + "bucket").limits().get(0).limit(), new Policy.Limit(10, 2, "1s"), "a bucket");
        var lease = Leaser.of(sender, own, 2, Duration.ofMinutes(10)).timeout(LONG).acquire("leased");
        info = admin.info(own + "leased");
        same(info.limits().get(0).limit(), new Policy.Limit(2, "10m"), "a lease's limit");
        same(info.leases().stream().map(one -> List.of(one.id(), one.cost())).toList(), List.of(List.of(lease.id(), 1L)), "leases");
        lease.release();
        api.block("shut", HOUR);
        same(admin.info(own + "shut").algorithm() == null, true, "a block alone");
        same(admin.info(own + "none") == null, true, "no key");
    }

    /** Answers that, to whatever. */
    private static Admin answering(Object... reply) {
        return Admin.of(words -> CompletableFuture.completedFuture(Arrays.asList(reply)));
    }

    private static void ofOtherVersions() {
        test("a newer server: what it adds is passed over", () -> {
            var policy = answering("fixed", "30", "1d", "TTL", "5000ms", null, "NEWER", List.of("x"), "SHADOW", List.of("fixed", "2", "1d", "NEWER", 1L), "MISMATCHES", 4L);
            same(policy.policy("p"), new Policy.State(Policy.fixed(new Policy.Limit(30, "1d")), Duration.ofSeconds(5), null,
                Policy.fixed(new Policy.Limit(2, "1d")), null, 4), "a policy");
            same(answering("newer", "30", "1d").policy("p").policy(), new Policy("NEWER", List.of(new Policy.Limit(30, "1d"))), "an algorithm");
            var stats = answering("newer", Map.of("a", 1L), "allowed", 3L, "hours", List.of(List.of(7200L, 3L, 0L, 0L, 0L, 9L, 9L)), "most_allowed",
                List.of(List.of("u", 3L, 0L, 9L)), "algorithms", List.of("newer", List.of("allowed", 3L, "newer", 1L))).totalStatistics();
            same(List.of(stats.counts().allowed(), sum(stats.hours()).allowed(), stats.mostAllowed()), List.of(3L, 3L, List.of(new Top("u", 3, 0))), "statistics");
            same(stats.algorithms().get("NEWER").allowed(), 3L, "an algorithm's");
            var info = answering("newer", null, "algorithm", "newer", "limits", List.of(List.of("limit", 3L, "newer", List.of(), "used", 1L)), "block",
                List.of("left_ms", 5L, "newer", 1L)).info("k");
            same(List.of(info.algorithm(), info.limits().get(0).used(), info.blockedFor()), List.of("NEWER", 1L, Duration.ofMillis(5)), "a key");
        });
        test("an older server: what it lacks is empty", () -> {
            var stats = answering("allowed", 3L, "denied", 1L, "deny_listed", 0L, "hours", List.of(List.of(7200L, 3L, 1L, 0L))).statistics("s");
            same(List.of(stats.counts(), stats.hours().get(0).counts()), List.of(new Counts(3, 1, 0, 0), new Counts(3, 1, 0, 0)), "counts");
            same(stats.recentlyDenied().isEmpty() && stats.days().isEmpty(), true, stats + "");
        });
        test("a map of RESP3, as pairs, and texts as bytes", () -> {
            var info = answering(Map.entry("algorithm", "bucket".getBytes()), Map.entry("limits", List.of(List.of(Map.entry("limit", 3L))))).info("k");
            same(List.of(info.algorithm(), info.limits().get(0).limit().units()), List.of("BUCKET", 3L), "a key");
        });
        test("what is no reply of RL.*, or nobody, is an exception with its reason", () -> {
            for (Object[] reply : new Object[][] {{"OK"}, {7L}}) {
                var wrong = answering(reply);
                for (Suite.Body call : List.<Suite.Body>of(() -> wrong.policy("p"), wrong::policies, wrong::denyLists, () -> wrong.denyEntries("l").toList(), wrong::totalStatistics, () -> wrong.info("k"))) {
                    refused(RateLimiter.UnavailableException.class, call);
                }
            }
            try {
                Admin.of(words -> new CompletableFuture<List<?>>()).timeout(Duration.ofMillis(50)).policies();
                throw new AssertionError("nobody has answered");
            } catch (RateLimiter.UnavailableException expected) {
                same(expected.reason(), "timeout", expected + "");
            }
            refused(() -> Admin.of(words -> null).timeout(Duration.ZERO));
        });
    }

    public static void main(String[] ignored) {
        LogManager.getLogManager().reset();
        ofOtherVersions();
        for (var protocol : List.of(RedisProtocol.RESP2, RedisProtocol.RESP3)) {
            var config = DefaultJedisClientConfig.builder().protocol(protocol).socketTimeoutMillis(60_000).build();
            try (var client = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).clientConfig(config).build()) {
                new Administration("Jedis " + protocol, new JedisSender(client));
            }
            var cluster = new ClusterConnectionProvider(Set.of(new HostAndPort("127.0.0.1", CLUSTER_PORT)), config);
            new Administration("Jedis cluster " + protocol, new JedisSender(cluster));
            cluster.close();
        }
        for (var protocol : List.of(ProtocolVersion.RESP2, ProtocolVersion.RESP3)) {
            try (var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT))) {
                client.setOptions(LettuceSender.once(ClientOptions.builder().protocolVersion(protocol).build()));
                new Administration("Lettuce " + protocol, new LettuceSender(client.connect()));
            }
            try (var client = RedisClusterClient.create(RedisURI.create("127.0.0.1", CLUSTER_PORT))) {
                client.setOptions(LettuceSender.once(ClusterClientOptions.builder().protocolVersion(protocol).build()));
                new Administration("Lettuce cluster " + protocol, new LettuceSender(client.connect()));
            }
        }
    }
}
