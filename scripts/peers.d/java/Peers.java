import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.sun.management.OperatingSystemMXBean;
import io.github.bucket4j.Bandwidth;
import io.github.bucket4j.BucketConfiguration;
import io.github.bucket4j.distributed.ExpirationAfterWriteStrategy;
import io.github.bucket4j.redis.lettuce.Bucket4jLettuce;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.ArrayOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import redis.clients.jedis.ConnectionPoolConfig;
import redis.clients.jedis.UnifiedJedis;

/** One row of Java's: {@code Peers ROW}, for ../workers.py, which says what the lines mean. */
final class Peers {
    private static final int PORT = Integer.parseInt(System.getenv("REDIS_PORT"));
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final ExecutorService POOL = Executors.newFixedThreadPool(50);

    /** Counts one hit of a key, and says whether it was allowed. */
    private interface Counter {
        boolean hit(String key) throws Exception;
    }

    private interface Row {
        Counter of(long limit, Duration window);
    }

    private static final ProtocolKeyword SLIDING = new ProtocolKeyword() {
        @Override
        public byte[] getBytes() {
            return "RL.SLIDING".getBytes(StandardCharsets.US_ASCII);
        }
    };

    private static RedisURI uri() {
        return RedisURI.create("127.0.0.1", PORT);
    }

    private static UnifiedJedis jedis() {
        var pool = new ConnectionPoolConfig();
        pool.setMaxTotal(50);
        pool.setMaxIdle(50);
        return redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).poolConfig(pool).build();
    }

    private static Counter ours(Sender sender, long limit, Duration window) {
        var limiter = RateLimiter.of(sender, "ours:", "RL.SLIDING", Long.toString(limit), window.toMillis() + "ms");
        return key -> {
            var verdict = limiter.hit(key);
            if (verdict.unavailable() != null) throw verdict.unavailable();
            return verdict.allowed();
        };
    }

    private static final Map<String, Row> ROWS = Map.of(
        "lettuce bare", (limit, window) -> {
            var commands = RedisClient.create(uri()).connect().sync();
            RedisCodec<String, String> codec = StringCodec.UTF8;
            String span = window.toMillis() + "ms";
            return key -> (long) commands.dispatch(SLIDING, new ArrayOutput<>(codec),
                new CommandArgs<>(codec).addKey("bare:" + key).add(limit).add(span)).get(0) == 1;
        },
        "lettuce package", (limit, window) -> {
            var client = RedisClient.create(uri());
            client.setOptions(LettuceSender.once(client.getOptions()));
            return ours(new LettuceSender(client.connect()), limit, window);
        },
        "jedis bare", (limit, window) -> {
            var client = jedis();
            String span = window.toMillis() + "ms";
            return key -> (long) ((List<?>) client.sendCommand(() -> SLIDING.getBytes(), "bare:" + key, Long.toString(limit), span)).get(0) == 1;
        },
        "jedis package", (limit, window) -> ours(new JedisSender(jedis()), limit, window),
        "lettuce bucket4j", (limit, window) -> {
            var connection = RedisClient.create(uri()).connect(RedisCodec.of(StringCodec.UTF8, ByteArrayCodec.INSTANCE));
            var buckets = Bucket4jLettuce.casBasedBuilder(connection)
                .expirationAfterWrite(ExpirationAfterWriteStrategy.basedOnTimeForRefillingBucketUpToMax(Duration.ofSeconds(10)))
                .build();
            var configuration = BucketConfiguration.builder()
                .addLimit(Bandwidth.builder().capacity(limit).refillGreedy(limit, window).build())
                .build();
            return key -> buckets.builder().build("bucket4j:" + key, () -> configuration).tryConsume(1);
        });

    private static final Map<String, Counter> COUNTERS = new ConcurrentHashMap<>();
    private static Row row;

    private static Counter counter(long limit, long windowMs) {
        return COUNTERS.computeIfAbsent(limit + " " + windowMs, given -> row.of(limit, Duration.ofMillis(windowMs)));
    }

    private static void together(int callers, Runnable work) throws InterruptedException {
        var done = new CountDownLatch(callers);
        for (int caller = 0; caller < callers; caller++) {
            POOL.execute(() -> {
                try {
                    work.run();
                } finally {
                    done.countDown();
                }
            });
        }
        done.await();
    }

    private static Object hits(JsonObject asked) throws InterruptedException {
        long hits = asked.get("hits").getAsLong();
        long keys = asked.get("keys").getAsLong();
        String prefix = asked.get("prefix").getAsString();
        var counter = counter(asked.get("limit").getAsLong(), 60_000);
        var left = new AtomicLong(hits);
        var allowed = new AtomicLong();
        var failed = new AtomicLong();
        long spent = SYSTEM.getProcessCpuTime();
        long began = System.nanoTime();
        together(asked.get("at_once").getAsInt(), () -> {
            for (long number = left.decrementAndGet(); number >= 0; number = left.decrementAndGet()) {
                try {
                    if (counter.hit(prefix + number % keys)) allowed.incrementAndGet();
                } catch (Exception error) {
                    if (failed.incrementAndGet() == 1) error.printStackTrace();
                }
            }
        });
        return Map.of("hits", hits, "allowed", allowed, "failed", failed, "wall_s", (System.nanoTime() - began) / 1e9,
            "cpu_s", (SYSTEM.getProcessCpuTime() - spent) / 1e9);
    }

    private static double ms() {
        return System.nanoTime() / 1e6;
    }

    private static Object burst(JsonObject asked) throws InterruptedException {
        String key = asked.get("key").getAsString();
        var counter = counter(asked.get("limit").getAsLong(), asked.get("window_ms").getAsLong());
        List<double[]> admitted = Collections.synchronizedList(new ArrayList<>());
        var failed = new AtomicInteger();
        for (var burst : asked.getAsJsonArray("bursts")) {
            long at = asked.get("begin_ms").getAsLong() + burst.getAsJsonArray().get(0).getAsLong();
            Thread.sleep(Math.max(0, at - System.currentTimeMillis()));
            var left = new AtomicInteger(burst.getAsJsonArray().get(1).getAsInt());
            together(10, () -> {
                while (left.decrementAndGet() >= 0) {
                    double sent = ms();
                    try {
                        if (counter.hit(key)) admitted.add(new double[] {sent, ms()});
                    } catch (Exception error) {
                        failed.incrementAndGet();
                    }
                }
            });
        }
        return Map.of("admitted", admitted, "failed", failed);
    }

    public static void main(String[] words) throws Exception {
        row = ROWS.get(words[0]);
        if (row == null) throw new IllegalArgumentException("no such row: " + words[0]);
        var json = new Gson();
        System.out.println("{\"ready\": true}");
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            var asked = json.fromJson(line, JsonObject.class);
            System.out.println(json.toJson(asked.get("op").getAsString().equals("burst") ? burst(asked) : hits(asked)));
        }
        System.exit(0);
    }
}
