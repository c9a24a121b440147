import static suite.Suite.same;
import static suite.Suite.test;

import io.lettuce.core.RedisClient;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpFilter;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;
import ratelimit.LettuceSender;
import ratelimit.Sender;

/** The starter of clients/java/spring in front of the servlets of a real Spring Boot application, which has properties alone. */
public final class Web {
    private static final String REDIS = "ratelimit.uri=redis://127.0.0.1:" + System.getenv("RATELIMIT_PORT");
    private static final String AWAY = "ratelimit.uri=redis://127.0.0.1:1";
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @SpringBootConfiguration
    @EnableAutoConfiguration
    @RestController
    static class Application {
        @GetMapping({"/api/hello", "/login", "/free"})
        String hello() {
            return "hello";
        }

        @GetMapping("/api/later")
        Callable<String> later() {
            return () -> "later";
        }

        /** Stands for what logs a user in, at the place of Spring Security's chain. */
        @Bean
        FilterRegistrationBean<Filter> login() {
            var login = new FilterRegistrationBean<Filter>(new HttpFilter() {
                private static final long serialVersionUID = 1;

                @Override
                protected void doFilter(HttpServletRequest request, HttpServletResponse response, FilterChain chain) throws IOException, ServletException {
                    response.setHeader("X-Seen", "login");
                    chain.doFilter(new HttpServletRequestWrapper(request) {
                        @Override
                        public String getRemoteUser() {
                            return request.getHeader("X-User");
                        }
                    }, response);
                }
            });
            login.setOrder(-100);
            return login;
        }
    }

    static class WithSender extends Application {
        @Bean(destroyMethod = "shutdown")
        RedisClient client() {
            var client = RedisClient.create("redis://127.0.0.1:" + System.getenv("RATELIMIT_PORT"));
            client.setOptions(LettuceSender.once(client.getOptions()));
            return client;
        }

        @Bean
        Sender sender(RedisClient client) {
            return new LettuceSender(client.connect());
        }
    }

    /** As arguments, which no variable of the environment comes before. The keys of each are its own. */
    private static ConfigurableApplicationContext start(Class<?> application, String... properties) {
        Map<String, String> all = new HashMap<>(Map.of("server.port", "0", "server.address", "127.0.0.1", "logging.level.root", "off", "spring.main.banner-mode", "off"));
        for (String property : properties) {
            String name = property.substring(0, property.indexOf('='));
            all.put(name, property.substring(name.length() + 1)); // the later one counts
            if (name.endsWith(".paths")) all.put(name.replace(".paths", ".prefix"), "java-web-" + UUID.randomUUID());
        }
        return new SpringApplicationBuilder(application)
            .run(all.entrySet().stream().map(property -> "--" + property.getKey() + "=" + property.getValue()).toArray(String[]::new));
    }

    private static HttpResponse<String> get(ConfigurableApplicationContext application, String path, String... headers) throws Exception {
        var uri = URI.create("http://127.0.0.1:" + application.getEnvironment().getProperty("local.server.port") + path);
        var request = HttpRequest.newBuilder(uri);
        if (headers.length > 0) request.headers(headers);
        return HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    private static List<Integer> statuses(ConfigurableApplicationContext application, String path, int many, String... headers) throws Exception {
        List<Integer> seen = new ArrayList<>();
        for (int i = 0; i < many; i++) seen.add(get(application, path, headers).statusCode());
        return seen;
    }

    private static String field(HttpResponse<?> response, String name) {
        return response.headers().firstValue(name).orElse("");
    }

    private static String[] api(String... more) {
        var all = Stream.of("paths=/api/*", "limit=3", "window=1h", "hops=1", "timeout=60s");
        return Stream.concat(Stream.of(REDIS), Stream.concat(all, Arrays.stream(more)).map(property -> "ratelimit.filters.api." + property)).toArray(String[]::new);
    }

    private static String[] and(String[] some, String... more) {
        return Stream.concat(Arrays.stream(some), Arrays.stream(more)).toArray(String[]::new);
    }

    /** It must not start, and say which property is wrong. */
    private static void mistake(String says, String... properties) {
        try {
            start(Application.class, properties).close();
        } catch (RuntimeException told) {
            for (Throwable cause = told; cause != null; cause = cause.getCause()) {
                if (String.valueOf(cause.getMessage()).contains(says)) return;
            }
            throw new AssertionError("it does not say \"" + says + "\"", told);
        }
        throw new AssertionError("it started with " + List.of(properties));
    }

    private static void limits() {
        test("a limit by address, and what it answers", () -> {
            try (var application = start(Application.class, api())) {
                String[] alice = {"X-Forwarded-For", "198.51.100.1, 203.0.113.7"}, bob = {"X-Forwarded-For", "203.0.113.8"};
                var first = get(application, "/api/hello", alice);
                same(first.body(), "hello", "body");
                same(field(first, "RateLimit-Policy"), "\"api\";q=3", "RateLimit-Policy");
                same(field(first, "RateLimit").startsWith("\"api\";r=2;t="), true, field(first, "RateLimit"));
                same(field(first, "X-RateLimit-Remaining"), "2", "X-RateLimit-Remaining");
                same(statuses(application, "/api/later", 2, alice), List.of(200, 200), "an asynchronous servlet");
                var denied = get(application, "/api/hello", alice);
                same(denied.statusCode(), 429, "denied");
                same(Integer.parseInt(field(denied, "Retry-After")) > 0, true, "Retry-After");
                same(field(denied, "X-Seen"), "", "it got as far as the login");
                same(statuses(application, "/api/hello", 1, bob), List.of(200), "another address");
                same(statuses(application, "/free", 5, alice), List.of(200, 200, 200, 200, 200), "another path");
            }
        });
        test("the properties that the README shows", () -> {
            var readme = Files.readString(Path.of(System.getenv("RATELIMIT_CLIENT_TESTS"), "../../clients/README.md"));
            var block = Pattern.compile("^```properties\n([^`]*filters[^`]*)^```", Pattern.MULTILINE).matcher(readme);
            same(block.find(), true, "there is one");
            try (var application = start(Application.class, and(block.group(1).split("\n"), REDIS))) {
                var first = get(application, "/api/hello", "X-Forwarded-For", "203.0.113.7");
                same(first.statusCode(), 200, "status");
                same(field(first, "RateLimit-Policy"), "\"api\";q=100", "RateLimit-Policy");
            }
        });
        test("a limit by user, behind the login, and by address before it", () -> {
            try (var application = start(Application.class, api("key=user", "algorithm=fixed", "limit=2", "window=3650d"))) {
                same(statuses(application, "/api/hello", 3, "X-User", "alice"), List.of(200, 200, 429), "alice");
                same(statuses(application, "/api/hello", 1, "X-User", "bob"), List.of(200), "bob");
                same(statuses(application, "/api/hello", 3), List.of(200, 200, 429), "who has not logged in");
                same(statuses(application, "/api/hello", 1, "X-Forwarded-For", "203.0.113.9"), List.of(200), "who has not, elsewhere");
            }
        });
        test("two limits in front of one path: an item of each, and the tighter one's numbers", () -> {
            var all = and(api("algorithm=bucket", "limit=9", "refill=1"), "ratelimit.filters.hello.paths=/api/hello", "ratelimit.filters.hello.limit=5",
                "ratelimit.filters.hello.window=1h", "ratelimit.filters.hello.hops=0", "ratelimit.filters.hello.cost=2", "ratelimit.filters.hello.timeout=60s");
            try (var application = start(Application.class, all)) {
                var both = get(application, "/api/hello");
                same(field(both, "RateLimit-Policy").split(", ").length, 2, "RateLimit-Policy");
                same(field(both, "RateLimit").contains("\"api\";r=8") && field(both, "RateLimit").contains("\"hello\";r=3"), true, field(both, "RateLimit"));
                same(field(both, "X-RateLimit-Limit") + " " + field(both, "X-RateLimit-Remaining"), "5 3", "the tighter one");
                same(statuses(application, "/api/hello", 2), List.of(200, 429), "the tighter one decides");
                same(statuses(application, "/api/later", 1), List.of(200), "the other one");
            }
        });
        test("a policy of the server counts in place of a filter's limit; and a Sender of one's own", () -> {
            String policy = "web-" + UUID.randomUUID();
            var properties = api("policy=" + policy);
            try (var application = start(WithSender.class, Arrays.copyOfRange(properties, 1, properties.length))) {
                var sender = application.getBean(Sender.class);
                sender.send(List.of("RL.POLICY", "SET", policy, "SLIDING", "1", "1h")).get();
                same(statuses(application, "/api/hello", 2), List.of(200, 429), "by the policy");
                sender.send(List.of("RL.POLICY", "DEL", policy)).get();
            }
        });
    }

    private static void failures() {
        test("Redis away: open, or closed where that is said; the application starts all the same", () -> {
            var all = and(api("timeout=1s"), AWAY, "ratelimit.filters.login.paths=/login", "ratelimit.filters.login.limit=5", "ratelimit.filters.login.window=15m",
                "ratelimit.filters.login.hops=0", "ratelimit.filters.login.unavailable=closed");
            try (var application = start(Application.class, Arrays.copyOfRange(all, 1, all.length))) {
                same(statuses(application, "/api/hello", 5), List.of(200, 200, 200, 200, 200), "open");
                var closed = get(application, "/login");
                same(closed.statusCode() + " " + field(closed, "Retry-After"), "503 1", "closed");
            }
        });
        test("an application without such properties has no limits", () -> {
            for (var properties : List.of(new String[0], new String[] {REDIS})) {
                try (var application = start(Application.class, properties)) {
                    same(statuses(application, "/api/hello", 5), List.of(200, 200, 200, 200, 200), "statuses");
                }
            }
        });
        test("a mistake stops the start, and says which", () -> {
            String api = "ratelimit.filters.api";
            mistake(api + ": window", api("window=1min"));
            mistake(api + ": algorithm", api("algorithm=leaky"));
            mistake(api + ": key", api("key=header"));
            mistake(api + ": hops", api("hops=-1"));
            mistake(api + ": paths", api("paths=api"));
            mistake(api + ": limit", api("limit=-5"));
            mistake(api + ": unavailable", api("unavailable=maybe"));
            mistake("ratelimit.filters.api.limt", api("limt=5"));
            var withoutUri = api();
            mistake("ratelimit.uri", Arrays.copyOfRange(withoutUri, 1, withoutUri.length));
        });
    }

    public static void main(String[] ignored) throws Exception {
        limits();
        failures();
    }
}
