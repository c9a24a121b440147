import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.RedisClusterClient;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.logging.LogManager;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.providers.ClusterConnectionProvider;

/** What clients/java promises, whatever happens between it and a server: each hit is charged once at most, and answered in time. */
public final class Failures {
    private enum Fault { NONE, BEFORE, AFTER, MIDDLE, STALL, SILENT, REFUSE, RESET, NONSENSE }

    private static final Duration TIMEOUT = Duration.ofMillis(300);
    private static final long SLACK_MS = 3000; // the machine that runs the tests is a busy one
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    /** Among so many keys each of three primaries has some. */
    private static final int TAGS = 100;
    private static int passed;
    private static int failed;

    /** Stands in front of a server, and does to RL.* commands what networks and servers do. */
    private static final class Proxy implements Closeable {
        final AtomicInteger commands = new AtomicInteger();
        volatile Fault fault = Fault.NONE;
        private final int to;
        private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());

        Proxy(int to) throws IOException {
            this.to = to;
            thread(() -> {
                while (true) serve(listener.accept());
            });
        }

        int port() {
            return listener.getLocalPort();
        }

        private interface Work {
            void run() throws IOException;
        }

        private static void thread(Work work) {
            var thread = new Thread(() -> {
                try {
                    work.run();
                } catch (IOException closed) {
                    // that is what proxies are for
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        private void serve(Socket client) throws IOException {
            if (fault == Fault.RESET) client.setSoLinger(true, 0);
            if (fault == Fault.RESET || fault == Fault.REFUSE) {
                client.close();
                return;
            }
            if (fault == Fault.SILENT) {
                thread(() -> {
                    try (client) {
                        hangs(Fault.SILENT);
                    }
                });
                return;
            }
            var server = new Socket(InetAddress.getLoopbackAddress(), to);
            var asked = new boolean[1];
            thread(() -> {
                try (client; server) {
                    pass(client, server, asked);
                }
            });
            thread(() -> {
                try (client; server) {
                    replies(client, server, asked);
                }
            });
        }

        private void pass(Socket client, Socket server, boolean[] asked) throws IOException {
            var buffer = new byte[1 << 16];
            for (int n; (n = client.getInputStream().read(buffer)) > 0; ) {
                if (new String(buffer, 0, n, java.nio.charset.StandardCharsets.ISO_8859_1).contains("\r\nRL.")) {
                    commands.incrementAndGet();
                    synchronized (asked) {
                        asked[0] = true;
                    }
                    if (fault == Fault.RESET) client.setSoLinger(true, 0);
                    if (Set.of(Fault.BEFORE, Fault.REFUSE, Fault.RESET).contains(fault)) return;
                    if (hangs(Fault.SILENT)) return;
                }
                server.getOutputStream().write(buffer, 0, n);
            }
        }

        /** Whether that is the fault; then for as long as it is, after which the connection breaks: it has lost a reply. */
        private boolean hangs(Fault here) {
            if (fault != here) return false;
            while (fault == here) LockSupport.parkNanos(1_000_000);
            return true;
        }

        private void replies(Socket client, Socket server, boolean[] asked) throws IOException {
            InputStream from = server.getInputStream();
            var buffer = new byte[1 << 16];
            for (int n; (n = from.read(buffer)) > 0; ) {
                boolean isLimit;
                synchronized (asked) {
                    isLimit = asked[0];
                    asked[0] = false;
                }
                byte[] reply = Arrays.copyOf(buffer, n);
                if (isLimit) {
                    if (fault == Fault.AFTER) return;
                    if (hangs(Fault.STALL)) return;
                    if (fault == Fault.MIDDLE) reply = Arrays.copyOf(buffer, n / 2);
                    if (fault == Fault.NONSENSE) reply = "*1\r\n+OK\r\n".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
                }
                client.getOutputStream().write(reply);
                if (isLimit && fault == Fault.MIDDLE) return;
            }
        }

        @Override
        public void close() throws IOException {
            listener.close();
        }
    }

    private static void test(String name, String wrong) {
        if (wrong.isEmpty()) passed++;
        else failed++;
        System.out.println((wrong.isEmpty() ? "ok - " : "not ok - ") + name + wrong);
    }

    private static void faults(String name, Proxy proxy, Sender sender, Sender direct) throws Exception {
        var limiter = RateLimiter.of(sender, "java-fault:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        for (Fault fault : Fault.values()) {
            var wrong = new StringBuilder();
            for (int i = 0; i < 3; i++) {
                eventually(limiter);
                String key = name + fault + i + System.nanoTime();
                int before = proxy.commands.get();
                proxy.fault = fault;
                long began = System.nanoTime();
                var verdict = (fault == Fault.NONE ? limiter.timeout(Duration.ofSeconds(30)) : limiter).hit(key);
                long took = (System.nanoTime() - began) / 1_000_000;
                if (took > TIMEOUT.toMillis() + SLACK_MS) wrong.append("\n    took ms: ").append(took);
                if (!verdict.allowed() || (verdict.unavailable() == null) != (fault == Fault.NONE)) wrong.append("\n    ").append(verdict);
                if (fault != Fault.NONE) { // whoever sends again does so once it has connected again
                    proxy.fault = Fault.NONE;
                    eventually(limiter);
                }
                long used = 5 - (Long) direct.send(List.of("RL.SLIDING", "java-fault:" + key, "5", "15m", "COST", "0")).get().get(2);
                if (used > 1) wrong.append("\n    charged: ").append(used);
                if (fault == Fault.NONE && used != 1) wrong.append("\n    not charged");
            }
            test(name + ": " + fault, wrong.toString());
        }
    }

    /** Its reply is lost, and it is made again. */
    private static void lost(String name, Proxy proxy, Sender sender) throws Exception {
        var limiter = RateLimiter.of(sender, "java-id-lost:", "RL.SLIDING", "5", "15m").timeout(TIMEOUT);
        eventually(limiter);
        String key = name + System.nanoTime();
        proxy.fault = Fault.AFTER;
        var lost = limiter.hit(key, "a");
        proxy.fault = Fault.NONE;
        eventually(limiter);
        var again = limiter.timeout(Duration.ofSeconds(30)).hit(key, "a");
        boolean isRight = lost.unavailable() != null && again.unavailable() == null && again.repeated() && again.allowed() && again.remaining() == 4;
        test(name + ": a hit whose reply was lost is made again and charged once", isRight ? "" : "\n    " + lost + "\n    " + again);
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
            }
        }
        cluster(primary());
        System.out.println("\n# " + passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
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
