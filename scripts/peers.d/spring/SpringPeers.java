import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.sun.management.OperatingSystemMXBean;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
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
import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.gateway.event.FilterArgsEvent;
import org.springframework.cloud.gateway.filter.ratelimit.KeyResolver;
import org.springframework.cloud.gateway.filter.ratelimit.RateLimiter;
import org.springframework.cloud.gateway.filter.ratelimit.RedisRateLimiter;
import org.springframework.context.ApplicationContext;
import org.springframework.context.annotation.Bean;
import ratelimit.spring.GatewayRateLimiter;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** One row of Spring Cloud Gateway's: {@code SpringPeers ROW}, for ../workers.py, which says what the lines mean. */
public final class SpringPeers {
    private static final String PORT = System.getenv("REDIS_PORT");
    private static final OperatingSystemMXBean SYSTEM = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    @SpringBootConfiguration
    @EnableAutoConfiguration
    static class Application {
        @Bean
        KeyResolver caller() {
            return exchange -> Mono.just("somebody");
        }
    }

    /** Counts one hit of a key, and says whether it was allowed; an error where Redis did not decide. */
    private interface Counter {
        Mono<Boolean> hit(String key);
    }

    private interface Row {
        Counter of(ApplicationContext gateway, long limit, Duration window);
    }

    private static final ProtocolKeyword SLIDING = new ProtocolKeyword() {
        @Override
        public byte[] getBytes() {
            return "RL.SLIDING".getBytes(StandardCharsets.US_ASCII);
        }
    };

    private static Counter asRoute(ApplicationContext gateway, RateLimiter<?> limiter, Map<String, Object> args) {
        String route = "route-" + args.hashCode();
        // As the gateway itself tells both of a route.
        var event = new FilterArgsEvent(gateway, route, args);
        gateway.getBean(GatewayRateLimiter.class).onApplicationEvent(event);
        gateway.getBean(RedisRateLimiter.class).onApplicationEvent(event);
        return key -> limiter.isAllowed(route, key).map(response -> {
            // Each fails open; Spring's says -1, ours says nothing.
            if (Long.parseLong(response.getHeaders().getOrDefault("X-RateLimit-Remaining", "-1")) < 0) throw new IllegalStateException("Redis did not decide");
            return response.isAllowed();
        });
    }

    private static Map<String, Object> springs(long limit, Duration window) {
        return Map.of("redis-rate-limiter.burstCapacity", limit, "redis-rate-limiter.replenishRate", Math.max(1, limit * 1000 / window.toMillis()));
    }

    private static final Map<String, Row> ROWS = Map.of(
        "bare", (gateway, limit, window) -> {
            var commands = RedisClient.create(RedisURI.create("redis://127.0.0.1:" + PORT)).connect().async();
            String span = window.toMillis() + "ms";
            return key -> Mono.fromFuture(() -> commands.dispatch(SLIDING, new ArrayOutput<>(StringCodec.UTF8),
                new CommandArgs<>(StringCodec.UTF8).addKey("bare:" + key).add(limit).add(span)).toCompletableFuture()).map(reply -> (long) reply.get(0) == 1);
        },
        "package, sliding", (gateway, limit, window) -> asRoute(gateway, gateway.getBean(GatewayRateLimiter.class),
            Map.of("ratelimit.limit", limit, "ratelimit.window", window.toMillis() + "ms")),
        "package, its arguments", (gateway, limit, window) -> asRoute(gateway, gateway.getBean(GatewayRateLimiter.class), springs(limit, window)),
        "its own", (gateway, limit, window) -> asRoute(gateway, gateway.getBean(RedisRateLimiter.class), springs(limit, window)));

    private final Map<String, Counter> counters = new ConcurrentHashMap<>();
    private final ApplicationContext gateway;
    private final Row row;

    private SpringPeers(ApplicationContext gateway, Row row) {
        this.gateway = gateway;
        this.row = row;
    }

    private Counter counter(long limit, long windowMs) {
        return counters.computeIfAbsent(limit + " " + windowMs, given -> row.of(gateway, limit, Duration.ofMillis(windowMs)));
    }

    private Object hits(JsonObject asked) {
        int hits = asked.get("hits").getAsInt();
        long keys = asked.get("keys").getAsLong();
        String prefix = asked.get("prefix").getAsString();
        var counter = counter(asked.get("limit").getAsLong(), 60_000);
        var allowed = new AtomicInteger();
        var failed = new AtomicInteger();
        long spent = SYSTEM.getProcessCpuTime();
        long began = System.nanoTime();
        Flux.range(0, hits).flatMap(number -> counter.hit(prefix + number % keys).doOnNext(isAllowed -> {
            if (isAllowed) allowed.incrementAndGet();
        }).onErrorResume(error -> {
            if (failed.incrementAndGet() == 1) error.printStackTrace();
            return Mono.empty();
        }), asked.get("at_once").getAsInt()).blockLast();
        return Map.of("hits", hits, "allowed", allowed, "failed", failed, "wall_s", (System.nanoTime() - began) / 1e9,
            "cpu_s", (SYSTEM.getProcessCpuTime() - spent) / 1e9);
    }

    private static double ms() {
        return System.nanoTime() / 1e6;
    }

    private Object burst(JsonObject asked) throws InterruptedException {
        String key = asked.get("key").getAsString();
        var counter = counter(asked.get("limit").getAsLong(), asked.get("window_ms").getAsLong());
        List<double[]> admitted = Collections.synchronizedList(new ArrayList<>());
        var failed = new AtomicInteger();
        for (var burst : asked.getAsJsonArray("bursts")) {
            long at = asked.get("begin_ms").getAsLong() + burst.getAsJsonArray().get(0).getAsLong();
            Thread.sleep(Math.max(0, at - System.currentTimeMillis()));
            Flux.range(0, burst.getAsJsonArray().get(1).getAsInt()).flatMap(number -> Mono.defer(() -> {
                double sent = ms();
                return counter.hit(key).doOnNext(isAllowed -> {
                    if (isAllowed) admitted.add(new double[] {sent, ms()});
                });
            }).onErrorResume(error -> {
                failed.incrementAndGet();
                return Mono.empty();
            }), 10).blockLast();
        }
        return Map.of("admitted", admitted, "failed", failed);
    }

    public static void main(String[] words) throws Exception {
        var row = ROWS.get(words[0]);
        if (row == null) throw new IllegalArgumentException("no such row: " + words[0]);
        var gateway = new SpringApplicationBuilder(Application.class).run("--server.port=0", "--server.address=127.0.0.1", "--logging.level.root=off",
            "--spring.main.banner-mode=off", "--spring.data.redis.host=127.0.0.1", "--spring.data.redis.port=" + PORT, "--ratelimit.uri=redis://127.0.0.1:" + PORT);
        var peers = new SpringPeers(gateway, row);
        var json = new Gson();
        System.out.println("{\"ready\": true}");
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            var asked = json.fromJson(line, JsonObject.class);
            System.out.println(json.toJson(asked.get("op").getAsString().equals("burst") ? peers.burst(asked) : peers.hits(asked)));
        }
        System.exit(0);
    }
}
