import static suite.Suite.await;
import static suite.Suite.refused;
import static suite.Suite.same;
import static suite.Suite.test;

import com.sun.net.httpserver.HttpServer;
import io.github.resilience4j.core.functions.Either;
import io.github.resilience4j.ratelimiter.RateLimiter;
import io.github.resilience4j.ratelimiter.RateLimiterConfig;
import io.github.resilience4j.ratelimiter.RateLimiterRegistry;
import io.github.resilience4j.ratelimiter.RequestNotPermitted;
import io.github.resilience4j.ratelimiter.event.RateLimiterEvent;
import io.github.resilience4j.ratelimiter.event.RateLimiterOnDrainedEvent;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import java.util.logging.LogManager;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.Sender;
import ratelimit.resilience4j.RedisRateLimiters;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.UnifiedJedis;

/** resilience4j's limiters of clients/java/resilience4j over real servers: what its own suite asks of a limiter, and an application. */
public final class Resilience {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final Duration HOUR = Duration.ofHours(1);

    private static String fresh() {
        return UUID.randomUUID().toString();
    }

    private static RateLimiterConfig.Builder config(int limit, Duration period) {
        return RateLimiterConfig.custom().limitForPeriod(limit).limitRefreshPeriod(period).timeoutDuration(Duration.ZERO);
    }

    private static List<String> events(RateLimiter limiter) {
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        limiter.getEventPublisher().onEvent(event -> seen.add(event.getEventType() + " " + event.getNumberOfPermits()));
        return seen;
    }

    private static void permissions(String name, RedisRateLimiters limiters) {
        test(name + ": as many as the limit, of any number at once, and no more", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(10, HOUR).build());
            same(limiter.getMetrics().getAvailablePermissions(), 10, "at the start");
            var seen = events(limiter);
            same(List.of(limiter.acquirePermission(5), limiter.acquirePermission(6), limiter.acquirePermission(5), limiter.acquirePermission()),
                List.of(true, false, true, false), "acquired");
            same(seen, List.of("SUCCESSFUL_ACQUIRE 5", "FAILED_ACQUIRE 6", "SUCCESSFUL_ACQUIRE 5", "FAILED_ACQUIRE 1"), "events");
            same(limiter.getMetrics().getAvailablePermissions(), 0, "at the end");
            same(limiters.rateLimiter(fresh(), config(10, HOUR).timeoutDuration(HOUR).build()).acquirePermission(11), false, "more than there ever are");
            refused(() -> limiter.acquirePermission(0));
        });
        test(name + ": permissions come back", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(10, Duration.ofMillis(200)).build());
            limiter.drainPermissions();
            await("all are there", () -> limiter.getMetrics().getAvailablePermissions() == 10);
            await("one is had", () -> limiter.acquirePermission());
        });
        test(name + ": drained, and drained when nothing is left", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(10, HOUR).build());
            limiter.acquirePermission(3);
            List<RateLimiterEvent> seen = new ArrayList<>();
            limiter.getEventPublisher().onEvent(seen::add);
            limiter.drainPermissions();
            limiter.drainPermissions();
            same(seen.stream().map(event -> event instanceof RateLimiterOnDrainedEvent ? event.getNumberOfPermits() : -1).toList(), List.of(7, 0), "events");
            same(limiter.acquirePermission(), false, "behind it");
        });
        test(name + ": drained by a call's failure or result, where its configuration says so", () -> {
            var onFailure = limiters.rateLimiter(fresh(), config(5, HOUR).drainPermissionsOnResult(
                result -> result.isLeft() && result.getLeft() instanceof IllegalStateException).build());
            refused(IllegalStateException.class, RateLimiter.decorateRunnable(onFailure, () -> {
                throw new IllegalStateException("overload");
            })::run);
            same(onFailure.getMetrics().getAvailablePermissions(), 0, "after a failure");
            var onResult = limiters.rateLimiter(fresh(), config(5, HOUR).drainPermissionsOnResult(Resilience::isOverload).build());
            same(onResult.executeSupplier(() -> "fine"), "fine", "result");
            same(onResult.getMetrics().getAvailablePermissions(), 4, "after a result");
            onResult.executeSupplier(() -> "overload");
            same(onResult.getMetrics().getAvailablePermissions(), 0, "after the other result");
        });
        test(name + ": places are reserved one after another, as far as the time-out", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(1, Duration.ofMinutes(10)).timeoutDuration(Duration.ofMinutes(25)).build());
            var seen = events(limiter);
            same(limiter.reservePermission(), 0L, "the first");
            long second = limiter.reservePermission(), third = limiter.reservePermission();
            long ten = Duration.ofMinutes(10).toNanos();
            same(second > 0 && second <= ten && third > second && third <= 2 * ten, true, second + ", then " + third);
            same(limiter.reservePermission(), -1L, "too far off");
            same(seen, List.of("SUCCESSFUL_ACQUIRE 1", "SUCCESSFUL_ACQUIRE 1", "SUCCESSFUL_ACQUIRE 1", "FAILED_ACQUIRE 1"), "events");
        });
        test(name + ": threads wait for their turns", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(1, Duration.ofMillis(200)).timeoutDuration(HOUR).build());
            var threads = Executors.newFixedThreadPool(4);
            long began = System.nanoTime();
            List<CompletableFuture<Boolean>> acquired = new ArrayList<>();
            for (int i = 0; i < 4; i++) acquired.add(CompletableFuture.supplyAsync(limiter::acquirePermission, threads));
            same(acquired.stream().map(CompletableFuture::join).toList(), List.of(true, true, true, true), "acquired");
            same(System.nanoTime() - began >= 590_000_000, true, "they waited");
            threads.shutdown();
        });
        test(name + ": a thread that waits is counted, and can be interrupted", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(1, HOUR).timeoutDuration(HOUR).build());
            limiter.acquirePermission();
            var ended = new CompletableFuture<String>();
            var thread = new Thread(() -> {
                try {
                    limiter.executeRunnable(() -> ended.complete("it ran"));
                } catch (RuntimeException stopped) {
                    ended.complete(stopped.getClass().getSimpleName());
                }
            });
            thread.start();
            await("it waits", () -> limiter.getMetrics().getNumberOfWaitingThreads() == 1);
            thread.interrupt();
            same(ended.get(), "AcquirePermissionCancelledException", "the end");
            same(limiter.getMetrics().getNumberOfWaitingThreads(), 0, "waiting");
        });
        test(name + ": what is decorated runs while it is permitted", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(4, HOUR).build());
            same(RateLimiter.decorateSupplier(limiter, () -> "hello").get(), "hello", "supplier");
            same(RateLimiter.decorateFunction(limiter, (String who) -> "hello " + who).apply("you"), "hello you", "function");
            same(RateLimiter.decorateCallable(limiter, () -> "called").call(), "called", "callable");
            Supplier<java.util.concurrent.CompletionStage<String>> stage = RateLimiter.decorateCompletionStage(limiter, () -> CompletableFuture.completedFuture("later"));
            same(stage.get().toCompletableFuture().get(), "later", "stage");
            try {
                stage.get().toCompletableFuture().get();
                throw new AssertionError("one too many");
            } catch (ExecutionException refused) {
                same(refused.getCause().getClass(), RequestNotPermitted.class, "stage");
            }
            var ran = new AtomicBoolean();
            refused(RequestNotPermitted.class, () -> limiter.executeRunnable(() -> ran.set(true)));
            same(ran.get(), false, "it ran all the same");
        });
    }

    private static boolean isOverload(Either<? extends Throwable, ?> result) {
        return result.isRight() && "overload".equals(result.get());
    }

    private static void policy(UnifiedJedis direct, String... words) {
        var arguments = new CommandArguments(() -> "RL.POLICY".getBytes(StandardCharsets.US_ASCII));
        for (String word : words) arguments.add(word);
        direct.executeCommand(arguments);
    }

    private static void changes(String name, RedisRateLimiters limiters, UnifiedJedis direct) {
        test(name + ": a limit and a time-out are changed", () -> {
            var limiter = limiters.rateLimiter(fresh(), config(2, HOUR).build());
            limiter.acquirePermission(2);
            limiter.changeLimitForPeriod(5);
            same(limiter.getRateLimiterConfig().getLimitForPeriod(), 5, "the configuration");
            same(List.of(limiter.acquirePermission(3), limiter.acquirePermission()), List.of(true, false), "three more");
            limiter.changeTimeoutDuration(HOUR);
            same(limiter.reservePermission() > 0, true, "now it may wait");
        });
        test(name + ": the server's policy changes the limit of all, and a limiter of it refuses to", () -> {
            String key = fresh();
            var limiter = limiters.policies().rateLimiter(key, config(1, HOUR).build());
            policy(direct, "SET", key, "BUCKET", "3", "3", "1h");
            same(List.of(limiter.acquirePermission(3), limiter.acquirePermission()), List.of(true, false), "by the policy");
            refused(UnsupportedOperationException.class, () -> limiter.changeLimitForPeriod(9));
            policy(direct, "DEL", key);
        });
        test(name + ": a registry's limiters are shared by all registries, and have their configurations and tags", () -> {
            String key = fresh(), other = fresh();
            var slow = config(1, HOUR).build();
            var here = limiters.registry(config(3, HOUR).build());
            var there = limiters.registry(Map.of("default", config(3, HOUR).build(), "slow", slow));
            same(List.of(here.rateLimiter(key).acquirePermission(2), there.rateLimiter(key).acquirePermission(2), there.rateLimiter(key).acquirePermission(1)),
                List.of(true, false, true), "shared");
            same(here.rateLimiter(key) == here.rateLimiter(key), true, "one of a name");
            here.addConfiguration("slow", slow);
            same(there.rateLimiter(other, "slow").acquirePermission() && !here.rateLimiter(other, "slow", Map.of("a", "b")).acquirePermission(), true, "of a named configuration");
            same(here.rateLimiter(other).getTags(), Map.of("a", "b"), "tags");
            same(here.rateLimiter(fresh(), () -> slow).getRateLimiterConfig() == slow, true, "of a supplier");
            same(here.getAllRateLimiters().size(), 3, "all");
        });
        test(name + ": what no bucket can hold is refused when it is made", () -> {
            refused(() -> limiters.rateLimiter(fresh(), RateLimiterConfig.ofDefaults())); // 500 ns
            refused(() -> limiters.registry(RateLimiterConfig.ofDefaults()).rateLimiter("x"));
            refused(() -> limiters.rateLimiter(fresh(), config(1, Duration.ofNanos(1_500_000)).build()));
            refused(() -> limiters.rateLimiter(fresh(), config(1, Duration.ofDays(4000)).build()));
            refused(() -> limiters.timeout(Duration.ZERO));
        });
    }

    private static void away(String name, Sender sender) {
        test(name + ": Redis away is as it says, at once", () -> {
            var limiters = RedisRateLimiters.over(sender);
            var open = limiters.rateLimiter(fresh(), config(1, HOUR).timeoutDuration(HOUR).build());
            same(List.of(open.acquirePermission(), open.acquirePermission()), List.of(true, true), "open");
            same(open.reservePermission(), 0L, "open");
            open.drainPermissions();
            same(open.getMetrics().getAvailablePermissions(), 0, "available");
            var closed = limiters.closed().rateLimiter(fresh(), config(1, HOUR).timeoutDuration(HOUR).build());
            var seen = events(closed);
            same(closed.acquirePermission(), false, "closed");
            same(closed.reservePermission(), -1L, "closed");
            same(seen, List.of("FAILED_ACQUIRE 1", "FAILED_ACQUIRE 1"), "events");
        });
    }

    /** A shop that asks a bank, as often as the bank allows it. Each instance of it has a registry and connections of its own. */
    private static HttpServer shop(RateLimiterRegistry registry, Supplier<String> bank) throws IOException {
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        var asks = RateLimiter.decorateSupplier(registry.rateLimiter("bank"), bank);
        server.createContext("/", exchange -> {
            int status = 200;
            try {
                asks.get();
            } catch (RequestNotPermitted busy) {
                status = 503;
            }
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        return server;
    }

    private static void application(UnifiedJedis jedis, Sender lettuce) {
        test("an application of two instances, over Jedis and Lettuce, asks its bank as often as it may", () -> {
            String prefix = "java-shop:" + fresh() + ":";
            var config = config(20, HOUR).build();
            List<String> asked = Collections.synchronizedList(new ArrayList<>());
            Supplier<String> bank = () -> {
                asked.add("asked");
                return "done";
            };
            var shops = List.of(shop(RedisRateLimiters.over(new JedisSender(jedis)).timeout(Duration.ofSeconds(60)).prefix(prefix).registry(config), bank),
                shop(RedisRateLimiters.over(lettuce).timeout(Duration.ofSeconds(60)).prefix(prefix).registry(config), bank));
            List<CompletableFuture<HttpResponse<Void>>> answers = new ArrayList<>();
            for (int i = 0; i < 60; i++) {
                var uri = URI.create("http://127.0.0.1:" + shops.get(i % 2).getAddress().getPort() + "/");
                answers.add(HTTP.sendAsync(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.discarding()));
            }
            var statuses = answers.stream().map(answer -> answer.join().statusCode()).toList();
            same(Collections.frequency(statuses, 200) + " " + Collections.frequency(statuses, 503), "20 40", "statuses");
            same(asked.size(), 20, "what the bank saw");
            shops.forEach(shop -> shop.stop(0));
        });
    }

    private static void all(String name, Sender sender, UnifiedJedis direct) {
        var limiters = RedisRateLimiters.over(sender).prefix("java-resilience:").timeout(Duration.ofSeconds(60));
        permissions(name, limiters);
        changes(name, limiters, direct);
    }

    public static void main(String[] ignored) throws Exception {
        LogManager.getLogManager().reset(); // Redis' absence is what is tested
        try (var jedis = jedis(PORT); var gone = jedis(1); var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT))) {
            client.setOptions(LettuceSender.once(client.getOptions()));
            var lettuce = new LettuceSender(client.connect());
            var closed = client.connect();
            closed.close();
            all("Jedis", new JedisSender(jedis), jedis);
            all("Lettuce", lettuce, jedis);
            away("Jedis", new JedisSender(gone));
            away("Lettuce", new LettuceSender(closed));
            application(jedis, lettuce);
        }
    }

    private static redis.clients.jedis.RedisClient jedis(int port) {
        return redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", port).build();
    }
}
