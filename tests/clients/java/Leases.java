import static suite.Suite.await;
import static suite.Suite.refused;
import static suite.Suite.same;
import static suite.Suite.test;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.LogManager;
import ratelimit.All;
import ratelimit.JedisSender;
import ratelimit.Leaser;
import ratelimit.LettuceSender;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import suite.Suite;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.UnifiedJedis;

/** Leases, looks, and several keys in one decision, over Jedis and Lettuce. */
public final class Leases {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final int STALLED_PORT = Integer.parseInt(System.getenv("RATELIMIT_STALLED_PORT"));
    private static final Duration LONG = Duration.ofSeconds(60); // the machine is a busy one

    private static String fresh() {
        return UUID.randomUUID().toString();
    }

    private static RateLimiter limiter(Sender sender, String... words) {
        return RateLimiter.of(sender, "java-leases:", words).timeout(LONG);
    }

    private static void looks(String name, Sender sender) {
        test(name + ": a look changes nothing, whatever the words", () -> {
            for (var limiter : List.of(limiter(sender, "RL.SLIDING", "2", "1h"), limiter(sender, "RL.FIXED", "2", "1d", "FORCE", "STAMP", "BLOCK", "1h").next(),
                limiter(sender, "RL.BUCKET", "2", "1", "1h", "COST", "1", "MIN", "1", "POLICY", "none"))) {
                String key = fresh();
                for (int i = 0; i < 3; i++) same(limiter.peek(key).remaining(), 1L, limiter.words() + ": " + limiter.peek(key));
                same(limiter.hit(key).remaining(), 1L, "the hit");
                same(limiter.peek(key).remaining(), 0L, "the look behind it");
            }
        });
        var user = limiter(sender, "RL.SLIDING", "2", "1h", "POLICY", "none");
        var team = limiter(sender, "RL.BUCKET", "10", "1", "1h", "COST", "2").next();
        test(name + ": several keys are charged together, or none is", () -> {
            String alice = fresh(), acme = fresh();
            var asks = List.of(new All.Ask(user, alice), new All.Ask(team, acme, 4));
            same(All.peek(asks).allowed(), true, "the look");
            var first = All.hit(asks);
            same(first.whole().unavailable() == null && first.allowed(), true, first + "");
            same(first.keys().stream().map(RateLimiter.Verdict::remaining).toList(), List.of(1L, 6L), "remaining");
            same(first.binding(), 0, "the tighter one");
            same(All.hit(asks).keys().get(1).remaining(), 2L, "the second");
            var denied = All.hit(asks);
            same(denied.allowed(), false, denied + "");
            same(denied.keys().stream().map(RateLimiter.Verdict::allowed).toList(), List.of(false, false), "which");
            same(user.peek(alice).remaining() == 0 && team.hit(acme).remaining() == 0, true, "charged all the same");
            same(All.hit(List.of(new All.Ask(team, fresh()))).keys().get(0).remaining(), 8L, "the cost of its words");
        });
        test(name + ": what does not go with several keys is refused", () -> {
            refused(() -> All.hit(List.of()));
            refused(() -> All.hit(java.util.Collections.nCopies(17, new All.Ask(user, "k"))));
            refused(() -> All.hit(List.of(new All.Ask(limiter(sender, "RL.FIXED", "2", "1h", "FORCE"), "k"))));
            refused(() -> All.hit(List.of(new All.Ask(user, "k"), new All.Ask(limiter(call -> null, "RL.FIXED", "2", "1h"), "l"))));
            refused(() -> new All.Ask(user, "k", -1));
        });
        test(name + ": refused by the server, several keys are open, or closed where one of them is", () -> {
            var twice = List.of(new All.Ask(user, "twice"), new All.Ask(user, "twice"));
            same(All.hit(twice).allowed() && All.hit(twice).whole().unavailable() != null, true, "open");
            same(All.hit(List.of(new All.Ask(user, "twice"), new All.Ask(user.closed(), "twice"))).allowed(), false, "closed");
        });
    }

    private static void leases(String name, Sender sender, UnifiedJedis direct) {
        test(name + ": as many as the limit, until one is released", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 3, Duration.ofMinutes(10)).timeout(LONG);
            String key = fresh();
            try (var first = leaser.acquire(key); var second = leaser.acquire(key, 2)) {
                same(first.verdict().allowed() && second.verdict().allowed(), true, "held");
                try (var third = leaser.acquire(key)) {
                    same(third.verdict().allowed(), false, "one too many");
                }
                same(first.renew().allowed(), true, "renewed");
                first.release();
                same(leaser.acquire(key).verdict().allowed(), true, "behind the release");
            }
        });
        test(name + ": a hold is renewed, and released whether the work succeeds, fails or is interrupted", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofSeconds(9)).timeout(LONG);
            String key = fresh(), stored = "java-leases:" + key;
            var done = leaser.hold(key, held -> {
                long end = direct.pexpireTime(stored);
                await("a renewal", () -> direct.pexpireTime(stored) > end);
                same(leaser.hold(key, other -> "not run").value() == null, true, "another one");
                return held.isLost() ? "lost" : "done";
            });
            same(done.value(), "done", "the work");
            same(direct.exists(stored), false, "held behind its end");
            try {
                leaser.hold(key, held -> {
                    throw new java.io.IOException("the work failed");
                });
                throw new AssertionError("the work's error is lost");
            } catch (java.io.IOException failed) {
                same(direct.exists(stored), false, "held behind its failure");
            }
            var began = new CountDownLatch(1);
            var isInterrupted = new AtomicBoolean();
            var working = new Thread(() -> {
                try {
                    leaser.hold(key, held -> {
                        began.countDown();
                        Thread.sleep(600_000);
                        return null;
                    });
                } catch (Exception stopped) {
                    isInterrupted.set(stopped instanceof InterruptedException);
                }
            });
            working.start();
            began.await();
            working.interrupt();
            working.join(60_000);
            same(isInterrupted.get(), true, "interrupted");
            same(direct.exists(stored), false, "held behind its interruption");
        });
        test(name + ": a lease is renewed by the policy's ttl, not by the call's", () -> {
            String key = fresh(), policy = "java-policy-ttl" + key;
            sender.send(List.of("RL.POLICY", "SET", policy, "LEASE", "1", "2s")).get();
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofMinutes(10)).policies(policy).timeout(LONG);
            leaser.hold(key, held -> {
                for (long until = System.nanoTime() + 5_000_000_000L; System.nanoTime() < until && !held.isLost(); Thread.sleep(50)) {
                    same(leaser.acquire(key).verdict().allowed(), false, "two at once");
                }
                return null;
            });
            sender.send(List.of("RL.POLICY", "DEL", policy)).get();
        });
        test(name + ": whoever is denied a lease comes back when one usually ends", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofMinutes(10)).timeout(LONG);
            String key = fresh();
            try (var held = leaser.acquire(key)) {
                same(held.verdict().allowed(), true, "held");
                same(leaser.acquire(key).verdict().retryAfterMs() > 300_000, true, "by its ttl");
                same(leaser.typical(Duration.ofMillis(500)).acquire(key).verdict().retryAfterMs(), 500L, "typical");
                same(leaser.typical(Duration.ofHours(1)).acquire(key).verdict().retryAfterMs() <= 600_000, true, "the ttl is sooner");
            }
            try {
                leaser.typical(Duration.ZERO);
                throw new AssertionError("no time is no mistake");
            } catch (IllegalArgumentException expected) {
                same(expected.getMessage().startsWith("typical"), true, "it is named");
            }
        });
        test(name + ": who waits for a lease is let in when one is free", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofMinutes(10)).timeout(LONG);
            String key = fresh();
            var first = leaser.acquire(key);
            same(leaser.acquire(key, Duration.ofMillis(50)).verdict().allowed(), false, "it is held");
            var waiting = java.util.concurrent.CompletableFuture.supplyAsync(() -> {
                try {
                    return leaser.acquire(key, LONG);
                } catch (InterruptedException nobodyDoes) {
                    throw new AssertionError(nobodyDoes);
                }
            });
            first.release();
            try (var second = waiting.get(60, TimeUnit.SECONDS)) {
                same(second.verdict().allowed(), true, "let in");
            }
        });
        test(name + ": work is told when its lease is lost", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofSeconds(3)).timeout(LONG);
            var others = Leaser.of(sender, "java-leases:", 1, Duration.ofMinutes(10)).timeout(LONG);
            String key = fresh();
            leaser.hold(key, held -> {
                direct.del("java-leases:" + key);
                same(others.acquire(key).verdict().allowed(), true, "taken by another one");
                held.lost().get(60, TimeUnit.SECONDS);
                return null;
            });
            same(direct.exists("java-leases:" + key), true, "the other one's was released");
        });
        test(name + ": a mistake is told when the leaser is made", () -> {
            refused(() -> Leaser.of(sender, "", -1, LONG));
            refused(() -> Leaser.of(sender, "", 1, Duration.ZERO));
            refused(() -> Leaser.of(sender, "", 1, Duration.ofDays(4000)));
            refused(() -> Leaser.of(sender, "", 1, LONG).policies("a", "b", "c", "d", "e"));
            refused(() -> Leaser.of(sender, "", 1, LONG).acquire("k", 0));
        });
    }

    private static void stalled(String name, Sender sender, UnifiedJedis direct) {
        test(name + ": a lease that was granted too late is given back", () -> {
            var leaser = Leaser.of(sender, "java-leases:", 1, Duration.ofMinutes(10)).timeout(Duration.ofMillis(200));
            await("it answers", () -> {
                try (var warm = leaser.acquire(fresh())) {
                    return warm.verdict().unavailable() == null;
                }
            });
            String key = fresh();
            signal("STOP");
            try {
                var stat = Path.of("/proc", System.getenv("RATELIMIT_STALLED_PID"), "stat");
                while (!Files.readString(stat).contains(") T ")) Thread.onSpinWait();
                var open = leaser.acquire(key).verdict();
                same(open.allowed() && open.unavailable() != null, true, open + "");
                same(leaser.closed().acquire(fresh()).verdict().allowed(), false, "closed");
                same(leaser.hold(fresh(), held -> "worked").value(), "worked", "open: without a lease");
            } finally {
                signal("CONT");
            }
            // Each was asked for, and each is gone long before its ttl.
            await("nothing is held", () -> direct.keys("java-leases:*").isEmpty() && direct.info("commandstats").contains("cmdstat_rl.release"));
            await("the place", () -> leaser.timeout(LONG).acquire(key).verdict().allowed());
            direct.flushAll();
        });
    }

    private static void signal(String name) throws Exception {
        same(new ProcessBuilder("kill", "-" + name, System.getenv("RATELIMIT_STALLED_PID")).start().waitFor(), 0, "kill");
    }

    private static redis.clients.jedis.RedisClient jedis(int port) {
        var config = DefaultJedisClientConfig.builder().timeoutMillis(0).build();
        return redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", port).clientConfig(config).build();
    }

    public static void main(String[] ignored) throws Exception {
        LogManager.getLogManager().reset(); // refusals and Redis' absence are what is tested
        try (var direct = jedis(PORT); var other = jedis(STALLED_PORT)) {
            try (var client = lettuce(PORT); var connection = client.connect(); var stalled = lettuce(STALLED_PORT); var stalledConnection = stalled.connect()) {
                Map<String, Sender> senders = Map.of("Jedis", new JedisSender(direct), "Lettuce", new LettuceSender(connection));
                List<Suite.Body> bodies = new ArrayList<>();
                senders.forEach((name, sender) -> bodies.add(() -> {
                    looks(name, sender);
                    leases(name, sender, direct);
                }));
                bodies.add(() -> { // one after the other: both stop the same server
                    stalled("Jedis", new JedisSender(other), other);
                    stalled("Lettuce", new LettuceSender(stalledConnection), other);
                });
                Suite.together(bodies);
            }
        }
    }

    private static RedisClient lettuce(int port) {
        var client = RedisClient.create(RedisURI.create("127.0.0.1", port));
        client.setOptions(LettuceSender.once(client.getOptions()));
        return client;
    }
}
