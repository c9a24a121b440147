import static suite.Suite.await;
import static suite.Suite.same;
import static suite.Suite.test;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.function.Supplier;
import java.util.logging.LogManager;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.RateLimiter;
import redis.clients.jedis.ConnectionPoolConfig;

/**
 * A JVM that is stopped while hits are on their way, as a container is that has used up its share of the CPU: Redis answers
 * in time, and the reply lies unread until the deadline has long passed. What it says counts: a limit of one admits one.
 * The program starts itself again as the one that is stopped.
 */
public final class Stalls {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final Duration TIMEOUT = Duration.ofSeconds(3);
    /** At once, in each of the ways to hit. */
    private static final int HITS = 8;
    private static final List<String> WAYS = List.of("Jedis", "Jedis, async", "Lettuce", "Lettuce, async");

    public static void main(String[] words) throws Exception {
        LogManager.getLogManager().reset();
        if (words.length > 0) {
            stopped(Integer.parseInt(words[0]));
            System.exit(0);
        }
        try (var proxy = new Proxy(PORT)) {
            var java = ProcessHandle.current().info().command().orElseThrow();
            var child = new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), "Stalls", Integer.toString(proxy.port()))
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
            try {
                stall(proxy, child);
            } finally {
                child.destroyForcibly().waitFor();
            }
        }
    }

    private static void stall(Proxy proxy, Process child) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(child.getInputStream(), StandardCharsets.UTF_8));
        same(lines.readLine(), "warm", "the child");
        int before = proxy.commands.get();
        proxy.set(Proxy.Fault.LATE);
        child.getOutputStream().write('\n');
        child.getOutputStream().flush();
        await("all are sent", () -> proxy.commands.get() == before + WAYS.size() * HITS);
        signal("STOP", child);
        var stat = Path.of("/proc", Long.toString(child.pid()), "stat");
        await("it is stopped", () -> read(stat).contains(") T "));
        proxy.set(Proxy.Fault.NONE); // the replies are passed on
        Thread.sleep(TIMEOUT.plusMillis(500).toMillis()); // the deadline passes
        signal("CONT", child);
        Map<String, List<String>> answers = new HashMap<>();
        for (int i = 0; i < WAYS.size() * HITS; i++) {
            String[] answer = lines.readLine().split(": ");
            answers.computeIfAbsent(answer[0], way -> new ArrayList<>()).add(answer[1]);
        }
        var expected = new ArrayList<>(java.util.Collections.nCopies(HITS - 1, "denied"));
        expected.add(0, "allowed");
        for (String way : WAYS) {
            test(way + ": a stall of the whole process is not Redis being late", () -> same(answers.get(way).stream().sorted().toList(), expected, "answers"));
        }
    }

    private static void signal(String name, Process child) throws Exception {
        same(new ProcessBuilder("kill", "-" + name, Long.toString(child.pid())).start().waitFor(), 0, "kill");
    }

    private static String read(Path stat) {
        try {
            return Files.readString(stat);
        } catch (IOException gone) {
            throw new AssertionError(gone);
        }
    }

    /** The child: on a line it hits in each way at once, each way a key of its own, and says what each was answered. */
    private static void stopped(int port) throws Exception {
        var pool = new ConnectionPoolConfig();
        pool.setMaxTotal(2 * HITS);
        pool.setMaxIdle(2 * HITS);
        var jedis = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", port).poolConfig(pool).build();
        jedis.getPool().addObjects(2 * HITS);
        var lettuce = RedisClient.create(RedisURI.create("127.0.0.1", port));
        lettuce.setOptions(LettuceSender.once(lettuce.getOptions()));
        var overJedis = RateLimiter.of(new JedisSender(jedis), "stall:", "RL.SLIDING", "1", "15m");
        var overLettuce = RateLimiter.of(new LettuceSender(lettuce.connect()), "stall:", "RL.SLIDING", "1", "15m");
        var threads = Executors.newFixedThreadPool(WAYS.size() * HITS);
        String run = Long.toString(System.nanoTime());
        // Classes are loaded, and connections made, by all at once.
        hits(threads, overJedis.timeout(Duration.ofSeconds(60)), overLettuce.timeout(Duration.ofSeconds(60)), "warm" + run);
        System.out.println("warm");
        System.in.read();
        var answers = hits(threads, overJedis.timeout(TIMEOUT), overLettuce.timeout(TIMEOUT), run);
        for (int i = 0; i < answers.size(); i++) {
            var verdict = answers.get(i);
            System.out.println(WAYS.get(i / HITS) + ": " + (verdict.unavailable() != null ? verdict.unavailable() : verdict.allowed() ? "allowed" : "denied"));
        }
    }

    private static List<RateLimiter.Verdict> hits(java.util.concurrent.Executor threads, RateLimiter jedis, RateLimiter lettuce, String key) throws Exception {
        List<Supplier<RateLimiter.Verdict>> ways = List.of(() -> jedis.hit("Jedis" + key), () -> jedis.hitAsync("Jedis, async" + key).join(),
            () -> lettuce.hit("Lettuce" + key), () -> lettuce.hitAsync("Lettuce, async" + key).join());
        var ready = new CountDownLatch(ways.size() * HITS);
        List<CompletableFuture<RateLimiter.Verdict>> asked = new ArrayList<>();
        for (var way : ways) {
            for (int i = 0; i < HITS; i++) {
                asked.add(CompletableFuture.supplyAsync(() -> {
                    ready.countDown();
                    return way.get();
                }, threads));
            }
        }
        ready.await();
        return asked.stream().map(CompletableFuture::join).toList();
    }
}
