import static suite.Suite.same;
import static suite.Suite.test;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Pattern;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.gateway.event.FilterArgsEvent;
import org.springframework.cloud.gateway.filter.ratelimit.KeyResolver;
import org.springframework.cloud.gateway.filter.ratelimit.RateLimiter;
import org.springframework.cloud.gateway.filter.ratelimit.RedisRateLimiter;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import ratelimit.spring.GatewayConfig;
import ratelimit.spring.GatewayRateLimiter;
import reactor.core.publisher.Mono;

/** The limiter of clients/java/spring in a real Spring Cloud Gateway, in front of a real server. */
public final class Gateway {
    private static final String REDIS = "redis://127.0.0.1:" + System.getenv("RATELIMIT_PORT");
    private static final String CLUSTER = "redis://127.0.0.1:" + System.getenv("RATELIMIT_CLUSTER_PORT");
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @SpringBootConfiguration
    @EnableAutoConfiguration
    static class Application {
        @Bean
        KeyResolver caller() {
            return exchange -> Mono.justOrEmpty(exchange.getRequest().getHeaders().getFirst("X-Caller"));
        }
    }

    /** A gateway whose routes are called as their paths, each with what its limiter is told. The line is {@code ratelimit.uri}. */
    private static ConfigurableApplicationContext gateway(int backend, String redis, Map<String, String> routes, String... defaults) {
        Map<String, Object> properties = new HashMap<>(Map.of("server.port", "0", "server.address", "127.0.0.1", "ratelimit.uri", redis,
            "ratelimit.cluster", Boolean.toString(redis.equals(CLUSTER)), "logging.level.root", "off", "spring.main.banner-mode", "off"));
        String own = "spring.cloud.gateway.server.webflux.";
        int at = 0;
        for (var route : routes.entrySet()) {
            String name = own + "routes[" + at++ + "].";
            properties.put(name + "id", route.getKey());
            properties.put(name + "uri", "http://127.0.0.1:" + backend);
            properties.put(name + "predicates[0]", "Path=/" + route.getKey());
            if (!route.getValue().isEmpty()) filter(properties, name + "filters[0].", route.getValue().split(" "));
        }
        if (defaults.length > 0) filter(properties, own + "default-filters[0].", defaults);
        // As arguments, which no variable of the environment comes before.
        return new SpringApplicationBuilder(Application.class)
            .run(properties.entrySet().stream().map(property -> "--" + property.getKey() + "=" + property.getValue()).toArray(String[]::new));
    }

    private static void filter(Map<String, Object> properties, String name, String... arguments) {
        properties.put(name + "name", "RequestRateLimiter");
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            properties.put(name + "args[" + (parts[0].contains(".") ? "" : "ratelimit.") + parts[0] + "]", parts[1]);
        }
    }

    private static HttpRequest request(ConfigurableApplicationContext gateway, String route, String caller) {
        String port = gateway.getEnvironment().getProperty("local.server.port");
        var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/" + route));
        return (caller == null ? request : request.header("X-Caller", caller)).build();
    }

    private static HttpResponse<String> ask(ConfigurableApplicationContext gateway, String route, String caller) throws Exception {
        return HTTP.send(request(gateway, route, caller), HttpResponse.BodyHandlers.ofString());
    }

    private static List<Integer> statuses(ConfigurableApplicationContext gateway, String route, String caller, int many) throws Exception {
        List<Integer> seen = new ArrayList<>();
        for (int i = 0; i < many; i++) seen.add(ask(gateway, route, caller).statusCode());
        return seen;
    }

    /** What the README has a route say. */
    private static String shown() throws IOException {
        var readme = Files.readString(Path.of(System.getenv("RATELIMIT_CLIENT_TESTS"), "../../clients/README.md"));
        var line = Pattern.compile("^  args: \\{ (.*) }$", Pattern.MULTILINE).matcher(readme);
        if (!line.find()) throw new AssertionError("the README shows none");
        return line.group(1).replace("ratelimit.", "").replace(": ", "=").replace(",", "");
    }

    public static void main(String[] ignored) throws Exception {
        var backend = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        backend.createContext("/", exchange -> {
            exchange.sendResponseHeaders(204, -1);
            exchange.close();
        });
        backend.start();
        int port = backend.getAddress().getPort();
        String prefix = " timeout=60s prefix=gateway-" + UUID.randomUUID(); // the machine is a busy one

        var routes = Map.of("sliding", "limit=3 window=1m" + prefix, "fixed", "algorithm=fixed limit=3 window=1d" + prefix,
            "bucket", "algorithm=bucket limit=3 refill=1 window=1m" + prefix, "none", "limit=0 window=1m" + prefix,
            "springs", "redis-rate-limiter.replenishRate=1 redis-rate-limiter.burstCapacity=3600 redis-rate-limiter.requestedTokens=1800",
            "readme", shown() + prefix, "springs-none", "redis-rate-limiter.replenishRate=1 redis-rate-limiter.burstCapacity=0");
        try (var gateway = gateway(port, REDIS, routes)) {
            for (String route : List.of("sliding", "fixed", "bucket")) {
                test(route + ": three of five, each caller by itself, with the fields", () -> {
                    var first = ask(gateway, route, "alice");
                    same(first.statusCode(), 204, "status");
                    same(first.headers().firstValue("X-RateLimit-Limit").orElse(""), "3", "limit");
                    same(first.headers().firstValue("RateLimit").orElse("").startsWith("\"default\";r=2"), true, first.headers() + "");
                    same(statuses(gateway, route, "alice", 4), List.of(204, 204, 429, 429), "statuses");
                    same(ask(gateway, route, "bob").statusCode(), 204, "another caller");
                    var denied = ask(gateway, route, "alice");
                    same(denied.headers().firstValue("X-RateLimit-Remaining").orElse(""), "0", "remaining");
                    long wait = Long.parseLong(denied.headers().firstValue("Retry-After").orElse("0"));
                    same(wait > (route.equals("fixed") ? 0 : 30) && wait <= 86_400, true, "Retry-After " + wait);
                });
            }
            test("the arguments that the README shows", () -> {
                var first = ask(gateway, "readme", "alice");
                same(first.statusCode(), 204, "status");
                same(first.headers().firstValue("X-RateLimit-Limit").orElse(""), "100", "limit");
            });
            test("a limit of 0 lets nobody in", () -> same(statuses(gateway, "none", "alice", 2), List.of(429, 429), "statuses"));
            test("who is nobody is refused by the gateway", () -> same(ask(gateway, "sliding", null).statusCode(), 403, "status"));
            test("forty at once: as many as the limit", () -> {
                for (String route : List.of("sliding", "bucket")) {
                    var asked = new ArrayList<CompletableFuture<HttpResponse<String>>>();
                    for (int i = 0; i < 40; i++) asked.add(HTTP.sendAsync(request(gateway, route, "crowd"), HttpResponse.BodyHandlers.ofString()));
                    long in = asked.stream().filter(each -> each.join().statusCode() == 204).count();
                    same(in, 3L, route);
                }
            });
            test("the arguments of the gateway's own limiter, which is there as well, work as they are", () -> {
                same(gateway.getBean(RateLimiter.class).getClass(), GatewayRateLimiter.class, "the limiter");
                same(gateway.getBeansOfType(RedisRateLimiter.class).size(), 1, "the gateway's own");
                String caller = UUID.randomUUID().toString();
                var first = ask(gateway, "springs", caller);
                same(first.headers().firstValue("X-RateLimit-Remaining").orElse(""), "1800", "remaining");
                same(first.headers().firstValue("X-RateLimit-Burst-Capacity").orElse(""), "3600", "capacity");
                same(first.headers().firstValue("X-RateLimit-Replenish-Rate").orElse(""), "1", "rate");
                same(first.headers().firstValue("X-RateLimit-Requested-Tokens").orElse(""), "1800", "requested");
                same(statuses(gateway, "springs", caller, 2), List.of(204, 429), "statuses");
                same(statuses(gateway, "springs-none", caller, 1), List.of(429), "a capacity of 0");
            });
            test("a mistake in a route is said when it is made, and nobody is let through", () -> {
                var limiter = gateway.getBean(GatewayRateLimiter.class);
                Map<String, Map<String, Object>> mistakes = Map.of(".window", Map.of("ratelimit.limit", 3), ".limit", Map.of("ratelimit.window", "1m"),
                    ".refill", Map.of("ratelimit.algorithm", "bucket", "ratelimit.limit", 3, "ratelimit.window", "1m"),
                    ".unavailble", Map.of("ratelimit.limit", 3, "ratelimit.window", "1m", "ratelimit.unavailble", "closed"),
                    ".unavailable", Map.of("ratelimit.limit", 3, "ratelimit.window", "1m", "ratelimit.unavailable", "shut"),
                    "1min", Map.of("ratelimit.limit", 3, "ratelimit.window", "1min"),
                    "not both", Map.of("ratelimit.limit", 3, "ratelimit.window", "1m", "redis-rate-limiter.replenishRate", 1));
                for (var mistake : mistakes.entrySet()) {
                    try {
                        limiter.onApplicationEvent(new FilterArgsEvent(HTTP, "mistaken", mistake.getValue()));
                    } catch (IllegalArgumentException told) {
                        same(told.getMessage().contains(mistake.getKey()), true, told.getMessage());
                        continue;
                    }
                    throw new AssertionError("nothing was said of " + mistake);
                }
            });
            test("a route without arguments is no limit: it is refused", () -> {
                try {
                    gateway.getBean(GatewayRateLimiter.class).isAllowed("unknown", "alice");
                } catch (IllegalArgumentException told) {
                    return;
                }
                throw new AssertionError("it was let through");
            });
            test("what is configured in Java, and changed later", () -> {
                var limiter = gateway.getBean(GatewayRateLimiter.class);
                for (int limit = 1; limit <= 2; limit++) {
                    var config = new GatewayConfig();
                    config.setLimit(limit);
                    config.setWindow("1h");
                    config.setTimeout(Duration.ofSeconds(60));
                    limiter.getConfig().put("in-java", config);
                    String caller = UUID.randomUUID().toString();
                    for (int i = 0; i < 3; i++) same(limiter.isAllowed("in-java", caller).block().isAllowed(), i < limit, limit + ": " + i);
                }
            });
            test("a route of another name does not share a caller's key", () -> {
                var limiter = gateway.getBean(GatewayRateLimiter.class);
                var config = limiter.getConfig().get("sliding");
                limiter.getConfig().put("a:b", config);
                limiter.getConfig().put("a", config);
                for (int i = 0; i < 3; i++) same(limiter.isAllowed("a:b", "c").block().isAllowed(), true, "a:b");
                same(limiter.isAllowed("a:b", "c").block().isAllowed(), false, "a:b");
                same(limiter.isAllowed("a", "b:c").block().isAllowed(), true, "a");
            });
        }

        try (var gateway = gateway(port, CLUSTER, Map.of("plain", "", "other", ""), ("limit=2 window=1m" + prefix).split(" "))) {
            test("default-filters, and a cluster: each route counts by itself", () -> {
                for (String route : List.of("plain", "other")) same(statuses(gateway, route, "alice", 3), List.of(204, 204, 429), route);
            });
        }

        var silent = new ServerSocket(0, 200, InetAddress.getLoopbackAddress());
        try (var gateway = gateway(port, "redis://127.0.0.1:" + silent.getLocalPort(), Map.of("open", "limit=1 window=1m", "closed", "limit=1 window=1m unavailable=closed"))) {
            test("Redis silent: the application starts, and answers within the deadline, all at once", () -> {
                long began = System.nanoTime();
                var asked = new ArrayList<CompletableFuture<HttpResponse<String>>>();
                for (int i = 0; i < 100; i++) asked.add(HTTP.sendAsync(request(gateway, "open", "alice"), HttpResponse.BodyHandlers.ofString()));
                for (var each : asked) same(each.join().statusCode(), 204, "open");
                long seconds = (System.nanoTime() - began) / 1_000_000_000L;
                same(seconds < 20, true, seconds + " s"); // one second, and what a busy machine takes; one after another 100
            });
            silent.close();
            test("Redis away: answers as unavailable says", () -> {
                same(statuses(gateway, "open", "alice", 3), List.of(204, 204, 204), "open");
                var closed = ask(gateway, "closed", "alice");
                same(closed.statusCode(), 429, "closed");
                same(closed.headers().firstValue("Retry-After").orElse(""), "1", "Retry-After");
            });
        }

        test("a mistake stops the start", () -> {
            try (var gateway = gateway(port, REDIS, Map.of("wrong", "limit=3 window=1min"))) {
                throw new AssertionError("it started, and answered " + statuses(gateway, "wrong", "alice", 2));
            } catch (Exception told) {
                // the application does not start
            }
        });
        backend.stop(0);
    }
}
