import static suite.Suite.same;

import com.google.gson.Gson;
import com.google.gson.JsonParser;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.resource.ClientResources;
import io.lettuce.core.resource.DnsResolvers;
import io.lettuce.core.resource.MappingSocketAddressResolver;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
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
    private static final int SENTINEL_PORT = Integer.parseInt(System.getenv("RATELIMIT_SENTINEL_PORT"));
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    /** Among so many keys each of three primaries has some. */
    private static final int TAGS = 100;

    /** @param wrong what was, a line each */
    private static void test(String name, String wrong) {
        Suite.test(name, () -> same(wrong, "", "wrong"));
    }

    /** A client as it is by default, behind a proxy. */
    private interface Client {
        Opened open(Proxy proxy) throws Exception;
    }

    private record Opened(Sender sender, Runnable end) implements AutoCloseable {
        @Override
        public void close() {
            end.run();
        }
    }

    private record Row(String fault, String bytes, boolean failed, String reason, long charged) {
        boolean isFromStart() {
            return fault.equals("refuse") || fault.equals("silent");
        }
    }

    private static List<Row> table() throws Exception {
        var table = JsonParser.parseString(Files.readString(Path.of(System.getenv("RATELIMIT_CLIENT_TESTS"), "failures.json"))).getAsJsonObject();
        List<Row> rows = new ArrayList<>();
        for (var row : table.getAsJsonArray("faults")) rows.add(new Gson().fromJson(row, Row.class));
        if (rows.size() < 20) throw new AssertionError("no table: " + rows);
        return rows;
    }

    /**
     * @param port the server's, before which the proxy stands
     * @param direct asks the same server past the proxy
     * @param connectsFirst who has to be connected before there is a sender has none of a server that is not there
     */
    private record Kind(String name, int port, Client client, Sender direct, boolean connectsFirst) {
        /** A proxy each, so that some may run at the same time. */
        List<Suite.Body> bodies() throws Exception {
            List<Suite.Body> bodies = new ArrayList<>();
            bodies.add(this::lasts);
            for (var row : table()) {
                if (connectsFirst && row.isFromStart()) continue; // it goes away later in what lasts
                test(bodies, row);
            }
            return bodies;
        }

        private void test(List<Suite.Body> bodies, Row row) {
            String first = Objects.toString(row.bytes(), "").split("\r\n")[0];
            bodies.add(() -> Suite.test(name + ": " + row.fault() + ' ' + first, () -> same(wrongIn(this, row), "", "wrong")));
        }

        private void lasts() throws Exception {
            try (var proxy = new Proxy(port); var opened = client.open(proxy)) {
                lasting(name, proxy, opened.sender(), direct);
                lost(name, proxy, opened.sender());
                retried(name, proxy, opened.sender(), direct);
            }
        }
    }

    /** failures.json, for the packages of all languages. */
    private static String wrongIn(Kind kind, Row row) throws Exception {
        var wrong = new StringBuilder();
        var name = kind.name();
        var direct = kind.direct();
        try (var proxy = new Proxy(kind.port())) {
            if (row.fault().equals("refuse")) proxy.refuse(true);
            if (row.fault().equals("silent")) proxy.set(Proxy.Fault.SILENT);
            try (var opened = kind.client().open(proxy)) {
                for (boolean isClosed : new boolean[] {false, true}) {
                    if (isClosed && row.isFromStart()) continue; // it has been connected meanwhile
                    List<RateLimiter.Hit> told = new ArrayList<>();
                    var patient = RateLimiter.of(opened.sender(), "java-fault:", "RL.SLIDING", "5", "15m").timeout(Duration.ofSeconds(30));
                    var limiter = (row.failed() ? patient.timeout(TIMEOUT) : patient).onHit(told::add);
                    if (isClosed) limiter = limiter.closed();
                    String key = name + row.fault() + isClosed + System.nanoTime();
                    if (!row.isFromStart()) {
                        eventually(limiter);
                        proxy.once(Proxy.Fault.of(row.fault()), Objects.toString(row.bytes(), ""));
                    }
                    told.clear();
                    String reason = row.reason();
                    long began = System.nanoTime();
                    var verdict = limiter.hit(key);
                    long took = (System.nanoTime() - began) / 1_000_000;
                    if (row.failed() && took > TIMEOUT.toMillis() + SLACK_MS) wrong.append("\n    took ms: ").append(took);
                    String outcome = !row.failed() ? "allowed" : isClosed ? "closed" : "open";
                    if (told.size() != 1 || !told.get(0).outcome().equals(outcome) || reason != null && !reason.equals(told.get(0).reason()) || row.failed() != (told.get(0).reason() != null)) wrong.append("\n    told ").append(told);
                    if (!verdict.outcome().equals(outcome) || (verdict.unavailable() != null) != row.failed()) wrong.append("\n    ").append(verdict);
                    proxy.set(Proxy.Fault.NONE);
                    if (row.fault().equals("refuse")) proxy.refuse(false);
                    eventually(limiter); // whoever sends again does so once it has connected again
                    long used = used(direct, key);
                    if (used != row.charged()) wrong.append("\n    charged: ").append(used);
                    patient.hit(key);
                    if (used(direct, key) != row.charged() + 1) wrong.append("\n    the next hit is not counted");
                }
            }
        }
        return wrong.toString();
    }

    private static long used(Sender direct, String key) throws Exception {
        return 5 - (Long) direct.send(List.of("RL.SLIDING", "java-fault:" + key, "5", "15m", "COST", "0")).get().get(2);
    }

    /** All that is sent meets it. */
    private static void lasting(String name, Proxy proxy, Sender sender, Sender direct) throws Exception {
        var limiter = RateLimiter.of(sender, "java-fault:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        for (var fault : List.of(Proxy.Fault.CUT_AFTER, Proxy.Fault.SILENT, Proxy.Fault.REFUSE, Proxy.Fault.RESET_BEFORE, Proxy.Fault.ERROR, Proxy.Fault.TRICKLE)) {
            var wrong = new StringBuilder();
            eventually(limiter);
            proxy.set(fault);
            for (int i = 0; i < 3; i++) {
                String key = name + fault + i + System.nanoTime();
                long began = System.nanoTime();
                var verdict = limiter.hit(key);
                long took = (System.nanoTime() - began) / 1_000_000;
                if (took > TIMEOUT.toMillis() + SLACK_MS) wrong.append("\n    took ms: ").append(took);
                if (!verdict.outcome().equals("open")) wrong.append("\n    ").append(verdict);
                long used = used(direct, key);
                if (used > 1) wrong.append("\n    charged: ").append(used);
            }
            proxy.set(Proxy.Fault.NONE);
            test(name + ": " + fault + " that lasts", wrong.toString());
        }
    }

    /** Its reply is lost, and it is made again. */
    private static void lost(String name, Proxy proxy, Sender sender) throws Exception {
        var limiter = RateLimiter.of(sender, "java-id-lost:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        eventually(limiter);
        String key = name + System.nanoTime();
        proxy.set(Proxy.Fault.CUT_AFTER);
        var lost = limiter.hit(key, "a");
        proxy.set(Proxy.Fault.NONE);
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
        proxy.once(Proxy.Fault.CUT_AFTER, "");
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
        var node = primary();
        refusals(node);
        try (var one = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).build();
            var cluster = new ClusterConnectionProvider(Set.of(node), DefaultJedisClientConfig.builder().build())) {
            var past = new JedisSender(one);
            var pastCluster = new OwnSlot(node, new JedisSender(cluster));
            List<Suite.Body> bodies = new ArrayList<>();
            for (var kind : List.of(new Kind("Jedis", PORT, Failures::jedis, past, false), new Kind("Lettuce", PORT, Failures::lettuce, past, true),
                new Kind("Jedis, Sentinel", PORT, Failures::jedisSentinel, past, false), new Kind("Lettuce, Sentinel", PORT, Failures::lettuceSentinel, past, true),
                new Kind("Jedis, cluster", node.getPort(), proxy -> jedisCluster(node, proxy), pastCluster, true),
                new Kind("Lettuce, cluster", node.getPort(), proxy -> lettuceCluster(node, proxy), pastCluster, true))) {
                bodies.addAll(kind.bodies());
            }
            Suite.together(bodies);
        }
    }

    private static Opened jedis(Proxy proxy) {
        var jedis = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", proxy.port()).build();
        return new Opened(new JedisSender(jedis), jedis::close);
    }

    private static Opened lettuce(Proxy proxy) {
        var client = RedisClient.create(RedisURI.create("127.0.0.1", proxy.port()));
        client.setOptions(LettuceSender.once(client.getOptions()));
        return new Opened(new LettuceSender(client.connect()), client::close);
    }

    /** A Sentinel names the server's own port: it is asked past the proxy, the server through it. */
    private static Opened jedisSentinel(Proxy proxy) {
        var jedis = redis.clients.jedis.RedisSentinelClient.builder().masterName("ours").sentinels(Set.of(new HostAndPort("127.0.0.1", SENTINEL_PORT)))
            .clientConfig(DefaultJedisClientConfig.builder().hostAndPortMapper(address -> new HostAndPort("127.0.0.1", proxy.port())).build()).build();
        return new Opened(new JedisSender(jedis), jedis::close);
    }

    private static Opened lettuceSentinel(Proxy proxy) {
        var resources = through(proxy, PORT);
        var client = RedisClient.create(resources, RedisURI.Builder.sentinel("127.0.0.1", SENTINEL_PORT, "ours").build());
        client.setOptions(LettuceSender.once(client.getOptions()));
        return new Opened(new LettuceSender(client.connect()), () -> {
            client.close();
            resources.shutdown(0, 0, TimeUnit.SECONDS);
        });
    }

    private static ClientResources through(Proxy proxy, int port) {
        return ClientResources.builder().socketAddressResolver(MappingSocketAddressResolver.create(DnsResolvers.UNRESOLVED,
            address -> address.getPort() == port ? io.lettuce.core.internal.HostAndPort.of("127.0.0.1", proxy.port()) : address)).build();
    }

    /** The nodes of a cluster name their own ports: one proxy stands in front of one of them, whose keys are asked for. */
    private static Opened jedisCluster(HostAndPort node, Proxy proxy) {
        var config = DefaultJedisClientConfig.builder()
            .hostAndPortMapper(address -> address.getPort() == node.getPort() ? new HostAndPort("127.0.0.1", proxy.port()) : address).build();
        var provider = new ClusterConnectionProvider(Set.of(node), config);
        return new Opened(new OwnSlot(node, new JedisSender(provider)), provider::close);
    }

    private static Opened lettuceCluster(HostAndPort node, Proxy proxy) {
        var resources = through(proxy, node.getPort());
        var client = RedisClusterClient.create(resources, RedisURI.create(node.getHost(), node.getPort()));
        client.setOptions(LettuceSender.once(ClusterClientOptions.create()));
        return new Opened(new OwnSlot(node, new LettuceSender(client.connect())), () -> {
            client.close();
            resources.shutdown(0, 0, TimeUnit.SECONDS);
        });
    }

    /** Clients that would send a command again. */
    @SuppressWarnings("deprecation") // who still has one is told as well
    private static void refusals(HostAndPort node) {
        try (var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT)); var connection = client.connect()) {
            test("Lettuce: a connection that sends again is refused", refusal(() -> new LettuceSender(connection)));
        }
        try (var jedis = redis.clients.jedis.RedisClusterClient.builder().nodes(Set.of(node)).build()) {
            test("Jedis: a cluster client, which sends again, is refused", refusal(() -> new JedisSender(jedis)));
        }
        try (var jedis = new redis.clients.jedis.JedisCluster(node)) {
            test("Jedis: the older cluster client, which sends again, is refused", refusal(() -> new JedisSender(jedis)));
        }
        try (var client = RedisClusterClient.create(RedisURI.create(node.getHost(), node.getPort())); var connection = client.connect()) {
            test("Lettuce: a cluster connection that sends again is refused", refusal(() -> new LettuceSender(connection)));
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
