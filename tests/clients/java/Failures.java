import static suite.Suite.done;
import static suite.Suite.same;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.RedisClusterClient;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.logging.LogManager;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import suite.Suite;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.providers.ClusterConnectionProvider;

/** What clients/java promises, whatever happens between it and a server: each hit is charged once at most, and answered in time. */
public final class Failures {
    private static final Duration TIMEOUT = Duration.ofMillis(300);
    private static final long SLACK_MS = 3000; // the machine that runs the tests is a busy one
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    /** Among so many keys each of three primaries has some. */
    private static final int TAGS = 100;

    /** @param wrong what was, a line each */
    private static void test(String name, String wrong) {
        Suite.test(name, () -> same(wrong, "", "wrong"));
    }

    private static void faults(String name, Proxy proxy, Sender sender, Sender direct) throws Exception {
        var limiter = RateLimiter.of(sender, "java-fault:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        for (var fault : Proxy.Fault.values()) {
            var wrong = new StringBuilder();
            boolean isInTime = fault == Proxy.Fault.NONE || fault == Proxy.Fault.SLOW;
            for (int i = 0; i < 3; i++) {
                eventually(limiter);
                String key = name + fault + i + System.nanoTime();
                proxy.fault = fault;
                long began = System.nanoTime();
                var verdict = (isInTime ? limiter.timeout(Duration.ofSeconds(30)) : limiter).hit(key);
                long took = (System.nanoTime() - began) / 1_000_000;
                if (!isInTime && took > TIMEOUT.toMillis() + SLACK_MS) wrong.append("\n    took ms: ").append(took);
                if (!verdict.allowed() || (verdict.unavailable() == null) != isInTime) wrong.append("\n    ").append(verdict);
                proxy.fault = Proxy.Fault.NONE;
                eventually(limiter); // whoever sends again does so once it has connected again
                long used = 5 - (Long) direct.send(List.of("RL.SLIDING", "java-fault:" + key, "5", "15m", "COST", "0")).get().get(2);
                if (used > 1) wrong.append("\n    charged: ").append(used);
                if (isInTime && used != 1) wrong.append("\n    not charged");
            }
            test(name + ": " + fault, wrong.toString());
        }
    }

    /** Its reply is lost, and it is made again. */
    private static void lost(String name, Proxy proxy, Sender sender) throws Exception {
        var limiter = RateLimiter.of(sender, "java-id-lost:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        eventually(limiter);
        String key = name + System.nanoTime();
        proxy.fault = Proxy.Fault.AFTER;
        var lost = limiter.hit(key, "a");
        proxy.fault = Proxy.Fault.NONE;
        eventually(limiter);
        var again = limiter.timeout(Duration.ofSeconds(30)).hit(key, "a");
        boolean isRight = lost.unavailable() != null && again.unavailable() == null && again.repeated() && again.allowed() && again.remaining() == 4;
        test(name + ": a hit whose reply was lost is made again and charged once", isRight ? "" : "\n    " + lost + "\n    " + again);
    }

    /** Its reply is lost, and it is sent again by itself; what is refused is not. */
    private static void retried(String name, Proxy proxy, Sender sender, Sender direct) throws Exception {
        var limiter = RateLimiter.of(sender, "java-id-lost:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        eventually(limiter);
        var patient = limiter.timeout(Duration.ofSeconds(30));
        String key = name + System.nanoTime();
        proxy.fault = Proxy.Fault.AFTER_ONCE;
        var verdict = patient.hit(key, "a", 10);
        boolean isRight = verdict.unavailable() == null && verdict.repeated() && verdict.allowed() && verdict.remaining() == 4;
        test(name + ": a hit with an id whose reply was lost is sent again, and charged once", isRight ? "" : "\n    " + verdict);
        direct.send(List.of("RL.FIXED", "java-id-lost:fixed" + key, "5", "15m")).get();
        int before = proxy.commands.get();
        var refused = patient.hit("fixed" + key, "a", 10);
        int sent = proxy.commands.get() - before;
        test(name + ": a hit that was refused is not sent again", refused.unavailable() != null && sent == 1 ? "" : "\n    " + refused + "\n    sent: " + sent);
    }

    /** Waits until its connections are whole again. */
    private static void eventually(RateLimiter limiter) throws InterruptedException {
        for (long until = System.nanoTime() + 30_000_000_000L; limiter.hit("warm" + System.nanoTime()).unavailable() != null; Thread.sleep(5)) {
            if (System.nanoTime() > until) throw new AssertionError("it does not come back", limiter.hit("warm").unavailable());
        }
    }

    private static String refusal(Runnable make) {
        try {
            make.run();
            return "\n    nothing was refused";
        } catch (IllegalArgumentException said) {
            return said.getMessage().contains("charged more than once") ? "" : "\n    " + said;
        }
    }

    public static void main(String[] ignored) throws Exception {
        LogManager.getLogManager().reset(); // what goes wrong is what is tested
        try (var proxy = new Proxy(PORT);
            var jedis = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", proxy.port()).build();
            var direct = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).build()) {
            faults("Jedis", proxy, new JedisSender(jedis), new JedisSender(direct));
            lost("Jedis", proxy, new JedisSender(jedis));
            retried("Jedis", proxy, new JedisSender(jedis), new JedisSender(direct));
        }
        try (var proxy = new Proxy(PORT);
            var client = RedisClient.create(RedisURI.create("127.0.0.1", proxy.port()));
            var direct = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).build()) {
            try (var connection = client.connect()) {
                test("Lettuce: a connection that sends again is refused", refusal(() -> new LettuceSender(connection)));
            }
            client.setOptions(LettuceSender.once(client.getOptions()));
            try (var connection = client.connect()) {
                faults("Lettuce", proxy, new LettuceSender(connection), new JedisSender(direct));
                lost("Lettuce", proxy, new LettuceSender(connection));
                retried("Lettuce", proxy, new LettuceSender(connection), new JedisSender(direct));
            }
        }
        cluster(primary());
        done();
    }

    /** Its nodes name their own ports: one proxy stands in front of one of them, whose keys are asked for. */
    private static void cluster(HostAndPort node) throws Exception {
        try (var jedis = redis.clients.jedis.RedisClusterClient.builder().nodes(Set.of(node)).build()) {
            test("Jedis: a cluster client, which sends again, is refused", refusal(() -> new JedisSender(jedis)));
        }
        try (var proxy = new Proxy(node.getPort())) {
            var config = DefaultJedisClientConfig.builder()
                .hostAndPortMapper(address -> address.getPort() == node.getPort() ? new HostAndPort("127.0.0.1", proxy.port()) : address).build();
            var provider = new ClusterConnectionProvider(Set.of(node), config);
            var direct = new ClusterConnectionProvider(Set.of(node), DefaultJedisClientConfig.builder().build());
            var own = new OwnSlot(node, new JedisSender(provider));
            faults("Jedis, cluster", proxy, own, new OwnSlot(node, new JedisSender(direct)));
            lost("Jedis, cluster", proxy, own);
            retried("Jedis, cluster", proxy, own, new OwnSlot(node, new JedisSender(direct)));
            provider.close();
            direct.close();
        }
        try (var client = RedisClusterClient.create(RedisURI.create(node.getHost(), node.getPort()))) {
            try (var connection = client.connect()) {
                test("Lettuce: a cluster connection that sends again is refused", refusal(() -> new LettuceSender(connection)));
            }
        }
    }

    /** A primary: the tests before this one may have made another one of any node. */
    private static HostAndPort primary() {
        for (String port : System.getenv("RATELIMIT_CLUSTER_PORTS").split(" ")) {
            var node = new HostAndPort("127.0.0.1", Integer.parseInt(port));
            for (int i = 0; i < TAGS; i++) {
                if (answers(node, "{" + i + "}")) return node;
            }
        }
        throw new AssertionError("no primary");
    }

    private static boolean answers(HostAndPort node, String key) {
        try (var client = redis.clients.jedis.RedisClient.builder().hostAndPort(node).build()) {
            client.get(key);
            return true;
        } catch (redis.clients.jedis.exceptions.JedisMovedDataException elsewhere) {
            return false;
        }
    }

    /** Gives each key a hash tag by which it lies on that node. */
    private record OwnSlot(String tag, Sender sender) implements Sender {
        OwnSlot(HostAndPort node, Sender sender) {
            this(find(node), sender);
        }

        private static String find(HostAndPort node) {
            for (int i = 0; i < TAGS; i++) {
                if (answers(node, "{" + i + "}")) return "{" + i + "}";
            }
            throw new AssertionError("no primary: " + node);
        }

        @Override
        public java.util.concurrent.Future<? extends List<?>> send(List<String> words) {
            var tagged = new java.util.ArrayList<>(words);
            tagged.set(1, tag + words.get(1));
            return sender.send(tagged);
        }
    }
}
