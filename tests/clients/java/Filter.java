import static suite.Suite.await;
import static suite.Suite.refused;
import static suite.Suite.same;
import static suite.Suite.test;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.logging.LogManager;
import org.apache.catalina.Context;
import org.apache.catalina.LifecycleException;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.descriptor.web.FilterDef;
import org.apache.tomcat.util.descriptor.web.FilterMap;
import ratelimit.Callers;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.RateLimitFilter;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import redis.clients.jedis.DefaultJedisClientConfig;

/** The filter of clients/java in front of a servlet of a real Tomcat, over Jedis and over Lettuce. */
public final class Filter {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final int STALLED_PORT = Integer.parseInt(System.getenv("RATELIMIT_STALLED_PORT"));
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    /** A Tomcat whose one servlet is behind the limiter; the path is the limiter's name. */
    private static final class Site implements AutoCloseable {
        private final Tomcat tomcat = new Tomcat();
        private final Path dir = Files.createTempDirectory("ratelimit-tomcat");
        private final Context context;

        Site() throws IOException {
            tomcat.setBaseDir(dir.toString());
            tomcat.setPort(0);
            tomcat.getConnector();
            context = tomcat.addContext("", null);
            var servlet = Tomcat.addServlet(context, "hello", new HttpServlet() {
                private static final long serialVersionUID = 1;

                @Override
                protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
                    String asked = request.getParameter("answer");
                    if (asked == null) {
                        response.getWriter().print("hello");
                    } else if (asked.equals("throws")) {
                        throw new IllegalStateException("as it was asked to");
                    } else if (asked.startsWith("later")) {
                        var later = request.startAsync();
                        later.start(() -> {
                            response.setStatus(Integer.parseInt(asked.substring("later".length())));
                            later.complete();
                        });
                    } else if (asked.equals("verdict")) {
                        response.getWriter().print(((RateLimiter.Verdict) request.getAttribute(RateLimitFilter.VERDICT)).remaining());
                    } else {
                        response.setStatus(Integer.parseInt(asked));
                    }
                }
            });
            servlet.setAsyncSupported(true);
            servlet.addMapping("/*");
        }

        void guard(String path, RateLimiter limiter) {
            guard(path, new RateLimitFilter(limiter, request -> Callers.byIp(request, 1)));
        }

        void guard(String path, RateLimitFilter filter) {
            var definition = new FilterDef();
            definition.setFilterName(path);
            definition.setFilter(filter);
            definition.setAsyncSupported("true");
            context.addFilterDef(definition);
            var mapping = new FilterMap();
            mapping.setFilterName(path);
            mapping.addURLPattern(path);
            context.addFilterMap(mapping);
        }

        void start() throws Exception {
            tomcat.start();
        }

        HttpResponse<String> get(String path, String forwardedFor) throws Exception {
            var url = URI.create("http://127.0.0.1:" + tomcat.getConnector().getLocalPort() + path);
            var request = HttpRequest.newBuilder(url).header("X-Forwarded-For", forwardedFor).timeout(Duration.ofSeconds(60)).build();
            return HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        }

        @Override
        public void close() throws IOException, LifecycleException {
            tomcat.stop();
            tomcat.destroy();
            try (var files = Files.walk(dir)) {
                for (Path file : files.sorted(java.util.Comparator.reverseOrder()).toList()) Files.delete(file);
            }
        }
    }

    private static String header(HttpResponse<?> response, String name) {
        return response.headers().firstValue(name).orElse("none");
    }

    private static long remaining(RateLimiter limiter, String key) {
        return limiter.peek(key).remaining() + (limiter.peek(key).allowed() ? 1 : 0); // what would be left, and the one that asks
    }

    /** For what is not about the deadline, on a busy machine. */
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private static void filters(String name, Sender sender, Sender stalled, Sender away) throws Exception {
        sender.send(List.of("RL.SLIDING", "java-other:ip:203.0.113.9", "5", "1h")).get(); // what RL.FIXED refuses
        try (var site = new Site()) {
            site.guard("/five", RateLimiter.of(sender, name + ":", "RL.SLIDING", "5", "15m").timeout(PATIENCE));
            site.guard("/next", RateLimiter.of(sender, name + "-next:", "RL.SLIDING", "3", "4h", "COST", "0").timeout(PATIENCE));
            site.guard("/refused", RateLimiter.of(sender, "java-other:", "RL.FIXED", "5", "1h").timeout(PATIENCE));
            site.guard("/refused-closed", RateLimiter.of(sender, "java-other:", "RL.FIXED", "5", "1h").closed().timeout(PATIENCE));
            site.guard("/away", RateLimiter.of(away, name + ":", "RL.FIXED", "5", "1h"));
            site.guard("/away-closed", RateLimiter.of(away, name + ":", "RL.FIXED", "5", "1h").closed());
            var three = RateLimiter.of(sender, name + "-skips:" + System.nanoTime(), "RL.SLIDING", "3", "15m").timeout(PATIENCE);
            var login = new RateLimitFilter(three, request -> "login" + request.getRequestURI());
            site.guard("/skip-successful", login.skipSuccessful());
            site.guard("/skip-failed", login.skipFailed().refusal((request, response, status, verdict) -> {
                response.setStatus(status);
                response.getWriter().print("come back in " + (verdict.retryAfterMs() > 0));
            }));
            site.guard("/skip-some", login.skip(request -> request.getHeader("X-Forwarded-For").equals("10.0.0.1")));
            site.guard("/deny", new RateLimitFilter(RateLimiter.of(sender, name + "-deny:", "RL.SLIDING", "3", "15m", "DENY", "java-crawlers", "203.0.113.66").timeout(PATIENCE), request -> "k"));
            site.guard("/stalled", RateLimiter.of(stalled, name + ":", "RL.FIXED", "5", "1h").timeout(Duration.ofMillis(100)));
            site.start();

            test(name + ": five of six, whatever the caller invents", () -> {
                var addresses = List.of("203.0.113.9", "203.0.113.9:40001", "::ffff:203.0.113.9", "1.1.1.1, 203.0.113.9", "203.0.113.9", "203.0.113.9");
                for (int hit = 0; hit < addresses.size(); hit++) {
                    var response = site.get("/five", addresses.get(hit));
                    same(response.statusCode(), hit < 5 ? 200 : 429, "hit " + hit);
                    same(response.body().equals("hello"), hit < 5, "the servlet ran");
                    same(header(response, "X-RateLimit-Limit"), "5", "limit");
                    same(header(response, "X-RateLimit-Remaining"), String.valueOf(Math.max(0, 4 - hit)), "remaining");
                    same(header(response, "RateLimit-Policy"), "\"default\";q=5", "policy");
                    same(header(response, "RateLimit").startsWith("\"default\";r="), true, "fields");
                    same(header(response, "Access-Control-Expose-Headers").contains("RateLimit-Policy"), true, "CORS");
                    same(!header(response, "Retry-After").equals("none"), hit == 5, "Retry-After");
                }
                same(site.get("/five", "203.0.113.10").statusCode(), 200, "another caller");
            });
            test(name + ": t is when more becomes available, not when all is", () -> {
                long now = System.currentTimeMillis();
                for (long minutes : List.of(150, 30)) {
                    sender.send(List.of("RL.SLIDING", name + "-next:ip:203.0.113.9", "3", "4h", "AT", Long.toString(now - minutes * 60_000))).get();
                }
                String field = header(site.get("/next", "203.0.113.9"), "RateLimit");
                same(field.startsWith("\"default\";r=1;t="), true, field);
                long seconds = Long.parseLong(field.substring(field.lastIndexOf('=') + 1));
                same(seconds > 5300 && seconds <= 5401, true, field);
                same(RateLimiter.of(sender, name + "-next:", "RL.SLIDING", "3", "4h", "POLICY", "NEXT", "COST", "0").hit("k").nextAfterMs(), -1L, "not asked");
            });
            test(name + ": a key is shut by order, and opened by zero", () -> {
                var limiter = RateLimiter.of(sender, name + "-shut:", "RL.SLIDING", "5", "15m").timeout(PATIENCE);
                String key = Long.toString(System.nanoTime());
                Duration hour = Duration.ofHours(1);
                same(limiter.block(key, hour), hour, "what is left");
                same(limiter.hit(key).allowed(), false, "shut");
                same(limiter.block(key, Duration.ofNanos(1)).compareTo(hour.minusMinutes(1)) > 0, true, "the later end wins");
                same(limiter.block(key, Duration.ZERO), Duration.ZERO, "lifted");
                same(limiter.hit(key).remaining(), 4L, "open");
                refused(RateLimiter.UnavailableException.class, () -> RateLimiter.of(away, "", "RL.FIXED", "5", "1h").block(key, hour));
                sender.send(List.of("SET", name + "-shut:text", "no limiter")).get();
                refused(RateLimiter.UnavailableException.class, () -> limiter.block("text", hour));
            });
            test(name + ": a hit with an id is charged once, and says so", () -> {
                String key = Long.toString(System.nanoTime());
                for (var limiter : List.of(
                    RateLimiter.of(sender, name + "-id:", "RL.SLIDING", "5", "15m"),
                    RateLimiter.of(sender, name + "-ids:", "RL.SLIDING", "5", "15m", "9", "1h", "COST", "7", "MIN", "1", "STAMP", "DENY", "java-id", "ID").next())) {
                    var first = limiter.timeout(PATIENCE).hit(key, "a");
                    var again = limiter.timeout(PATIENCE).hit(key, "a");
                    same(List.of(first.allowed(), first.repeated(), again.allowed(), again.repeated()), List.of(true, false, true, true), first + " " + again);
                    same(again.remaining(), first.remaining(), "nothing is charged");
                    same(limiter.timeout(PATIENCE).hit(key, "b").repeated(), false, "another");
                }
            });
            test(name + ": of a login only wrong passwords count", () -> {
                for (String right : List.of("200", "302", "later204", "200")) same(site.get("/skip-successful?answer=" + right, "203.0.113.9").statusCode() < 400, true, right);
                await("all is given back", () -> remaining(three, "login/skip-successful") == 3);
                for (String wrong : List.of("401", "later403", "throws")) same(site.get("/skip-successful?answer=" + wrong, "203.0.113.9").statusCode() >= 400, true, wrong);
                same(site.get("/skip-successful?answer=200", "203.0.113.9").statusCode(), 429, "the fourth");
                same(site.get("/skip-successful?answer=200", "203.0.113.9").statusCode(), 429, "what was denied gives nothing back");
            });
            test(name + ": what failed does not count, with an answer of one's own", () -> {
                for (String wrong : List.of("500", "throws", "later400", "404")) site.get("/skip-failed?answer=" + wrong, "203.0.113.9");
                await("all is given back", () -> remaining(three, "login/skip-failed") == 3);
                for (int hit = 0; hit < 3; hit++) same(site.get("/skip-failed", "203.0.113.9").statusCode(), 200, "hit " + hit);
                var refused = site.get("/skip-failed", "203.0.113.9");
                same(refused.statusCode() + refused.body(), "429come back in true", "refused");
                same(header(refused, "X-RateLimit-Remaining"), "0", "fields");
            });
            test(name + ": some are left alone; a handler sees the verdict; who is on a deny list is told so", () -> {
                for (int hit = 0; hit < 5; hit++) {
                    var skipped = site.get("/skip-some", "10.0.0.1");
                    same(skipped.statusCode() + header(skipped, "RateLimit"), "200none", "skipped");
                }
                same(site.get("/skip-some?answer=verdict", "203.0.113.9").body(), "2", "the verdict");
                sender.send(List.of("RL.DENY", "ADD", "java-crawlers", "203.0.113.66")).get();
                same(site.get("/deny", "203.0.113.9").statusCode(), 403, "denied");
            });
            test(name + ": a verdict says what was taken, when, and which value was denied", () -> {
                String key = Long.toString(System.nanoTime()), run = name + key;
                var some = RateLimiter.of(sender, name + "-taken:", "RL.SLIDING", "5", "15m", "9", "1h", "COST", "7", "MIN", "2").timeout(PATIENCE).stamp().next();
                var first = some.hit(key);
                same(List.of(first.taken(), first.allowed(), first.chargedAt() > 1_600_000_000_000L, first.outcome()), List.of(5L, true, true, "allowed"), first.toString());
                same(some.peek(key).taken(), 0L, "a look");
                var second = some.hit(key, "an-id");
                same(List.of(second.taken(), second.allowed(), second.chargedAt(), second.outcome()), List.of(0L, false, 0L, "denied"), second.toString());
                some.refund(key, first);
                same(some.hit(key, 3).taken(), 3L, "given back");
                var forced = RateLimiter.of(sender, name + "-forced:", "RL.SLIDING", "1", "15m", "FORCE", "DENY", run + "-forced", "v").timeout(PATIENCE);
                same(List.of(forced.hit(key, 5).taken(), forced.hit(key, 5).taken()), List.of(5L, 5L), "forced");
                sender.send(List.of("RL.DENY", "ADD", run + "-forced", "v")).get();
                var denied = forced.hit(key, 5);
                same(denied.taken() + denied.deniedValue(), "0v", denied.toString());
                var plain = RateLimiter.of(sender, name + "-plain:", "RL.SLIDING", "5", "15m").timeout(PATIENCE);
                refused(() -> plain.refund(key, plain.hit(key)));
            });
            test(name + ": each hit is told for metrics, and a hook that throws breaks none", () -> {
                var told = new java.util.concurrent.CopyOnWriteArrayList<RateLimiter.Hit>();
                var one = RateLimiter.of(sender, name + "-told:" + System.nanoTime(), "RL.SLIDING", "1", "15m").timeout(PATIENCE).onHit(hit -> {
                    told.add(hit);
                    throw new IllegalStateException("a hook");
                });
                same(List.of(one.hit("k").allowed(), one.hitAsync("k").join().allowed(), one.hit("k", "id").allowed()), List.of(true, false, false), "hits");
                same(told.stream().map(RateLimiter.Hit::outcome).toList(), List.of("allowed", "denied", "denied"), "told");
                same(told.get(0).limiter().equals(one.prefix()) && told.get(0).took().toNanos() > 0 && told.get(0).reason() == null, true, told.toString());
                var gone = RateLimiter.of(away, name + "-told:", "RL.SLIDING", "1", "15m").onHit(told::add);
                same(List.of(gone.hit("k").reason(), gone.closed().hit("k").outcome(), told.get(3).outcome(), told.get(4).reason()), List.of("connection", "closed", "open", "connection"), "away");
            });
            test(name + ": a refusal of the server is no outage: it meets what was said of one", () -> {
                same(site.get("/refused", "203.0.113.9").statusCode(), 200, "open");
                same(site.get("/refused-closed", "203.0.113.9").statusCode(), 503, "closed");
            });
            test(name + ": open or closed where Redis is away", () -> {
                same(site.get("/away", "203.0.113.9").statusCode(), 200, "open");
                var closed = site.get("/away-closed", "203.0.113.9");
                same(closed.statusCode(), 503, "closed");
                same(header(closed, "Retry-After"), "1", "Retry-After");
            });
            test(name + ": the deadline holds where Redis hangs", () -> {
                for (long until = System.nanoTime() + 30_000_000_000L; site.get("/stalled", "203.0.113.9").headers().firstValue("RateLimit").isEmpty(); ) {
                    if (System.nanoTime() > until) throw new AssertionError("Redis is never asked");
                }
                signal("STOP");
                try {
                    var stat = Path.of("/proc", System.getenv("RATELIMIT_STALLED_PID"), "stat");
                    while (!Files.readString(stat).contains(") T ")) Thread.onSpinWait();
                    var response = site.get("/stalled", "203.0.113.9");
                    same(response.statusCode(), 200, "open");
                    same(response.headers().firstValue("RateLimit").isPresent(), false, "answered by Redis");
                } finally {
                    signal("CONT");
                }
            });
        }
    }

    private static void signal(String name) throws Exception {
        same(new ProcessBuilder("kill", "-" + name, System.getenv("RATELIMIT_STALLED_PID")).start().waitFor(), 0, "kill");
    }

    private static RedisClient lettuce(int port) {
        var client = RedisClient.create(RedisURI.create("127.0.0.1", port));
        client.setOptions(LettuceSender.once(client.getOptions()));
        return client;
    }

    private static redis.clients.jedis.RedisClient jedis(int port) {
        // No time-out of its own: the limiter's is what is tested.
        var config = DefaultJedisClientConfig.builder().timeoutMillis(0).build();
        return redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", port).clientConfig(config).build();
    }

    public static void main(String[] ignored) throws Exception {
        LogManager.getLogManager().reset(); // refusals and Redis' absence are what is tested
        var table = JsonParser.parseString(Files.readString(Path.of(System.getenv("RATELIMIT_CLIENT_TESTS"), "inputs.json"))).getAsJsonObject();
        for (JsonElement row : table.getAsJsonArray("byIp")) {
            JsonElement written = row.getAsJsonArray().get(0);
            test("byIp " + written, () -> same(Callers.byIp(written.isJsonNull() ? null : written.getAsString()), row.getAsJsonArray().get(1).getAsString(), "key"));
        }
        for (JsonElement each : table.getAsJsonArray("byIpPrefixes")) {
            var row = each.getAsJsonArray();
            test("byIp " + row, () -> same(Callers.byIp(row.get(0).getAsString(), row.get(1).getAsInt(), row.get(2).getAsInt()), row.get(3).getAsString(), "key"));
        }
        for (JsonElement each : table.getAsJsonArray("byAccount")) {
            var row = each.getAsJsonArray();
            String secret = row.get(1).isJsonNull() ? null : row.get(1).getAsString();
            test("byAccount " + row, () -> same(Callers.byAccount(row.get(0).getAsString(), secret), row.get(2).getAsString(), "key"));
        }
        test("a mistake is told when the limiter is made", () -> {
            for (List<String> words : List.of(
                List.<String>of(), List.of("RL.SLIDNG", "5", "1h"), List.of("RL.FIXED"), List.of("RL.FIXED", "5"), List.of("RL.FIXED", "5", "1min"),
                List.of("RL.FIXED", "5", "60"), List.of("RL.SLIDING", "5", "1mo"), List.of("RL.SLIDING", "5", "9999d"), List.of("RL.BUCKET", "5", "1h"),
                List.of("RL.FIXED", "5", "1h", "5", "1h"), List.of("RL.FIXED", "9007199254740992", "1h"), List.of("RL.FIXED", "5", "1h", "BLOK", "1h"),
                List.of("RL.FIXED", "5", "1h", "COST"), List.of("RL.FIXED", "5", "1h", "COST", "one"), List.of("RL.FIXED", "5", "1h", "MIN", "-1"), List.of("RL.FIXED", "5", "1h", "POLICY"),
                List.of("RL.FIXED", "5", "1h", "BLOCK"), List.of("RL.FIXED", "5", "1h", "BLOCK", "15"), List.of("RL.FIXED", "5", "1h", "DENY", "list"), List.of("RL.FIXED", "5", "1h", "FORCE", "1h"))) {
                refused(IllegalArgumentException.class, () -> RateLimiter.of(call -> null, "", words.toArray(String[]::new)));
            }
            refused(IllegalArgumentException.class, () -> RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h").timeout(Duration.ZERO));
            refused(NullPointerException.class, () -> RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h").hit(null));
            for (String wrong : List.of("", "x".repeat(65), "\u00e4".repeat(33))) {
                refused(IllegalArgumentException.class, () -> RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h").hit("k", wrong));
            }
            refused(IllegalArgumentException.class, () -> RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h", "COST", "2", "id", "a"));
            RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h", "POLICY", "ID");
            for (Duration wrong : List.of(Duration.ofNanos(-1), Duration.ofDays(3660).plusNanos(1))) {
                refused(IllegalArgumentException.class, () -> RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1h").block("k", wrong));
            }
            RateLimiter.of(call -> null, "", "RL.FIXED", "5", "1mo@15,Europe/Berlin", "9", "500ms", "COST", "2", "BLOCK", "1h", "POLICY", "p");
        });

        try (var client = jedis(PORT); var stalled = jedis(STALLED_PORT); var away = jedis(1)) {
            filters("Jedis", new JedisSender(client), new JedisSender(stalled), new JedisSender(away));
        }
        try (var client = lettuce(PORT); var stalled = lettuce(STALLED_PORT); var connection = client.connect(); var other = stalled.connect()) {
            // A connection that is gone for good.
            var gone = client.connect();
            gone.close();
            filters("Lettuce", new LettuceSender(connection), new LettuceSender(other), new LettuceSender(gone));
        }
    }
}
