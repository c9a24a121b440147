import static suite.Suite.same;
import static suite.Suite.test;

import io.github.resilience4j.ratelimiter.RateLimiterConfig;
import io.lettuce.core.RedisClient;
import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.tools.ToolProvider;

/** The blocks of Java in the packages' README: compiled as they stand there, one behind the other, and run. */
public final class Readme {
    private static final String SHOWN = """
        import io.github.resilience4j.ratelimiter.RateLimiterConfig;
        import io.github.resilience4j.ratelimiter.RateLimiterRegistry;
        import io.lettuce.core.*;
        import java.time.Duration;
        import ratelimit.*;
        import ratelimit.resilience4j.*;

        public final class Shown {
            public static String run(RedisClient client, RateLimiterConfig config) throws Exception {
        BLOCKS
                return verdict.allowed() + " " + registry.rateLimiter("readme").acquirePermission();
            }
        }
        """;

    private Readme() {}

    public static void main(String[] ignored) throws Exception {
        var dir = Files.createTempDirectory("ratelimit-readme");
        var client = RedisClient.create("redis://127.0.0.1:" + System.getenv("RATELIMIT_PORT"));
        test("what the README shows", () -> {
            var readme = Files.readString(Path.of(System.getenv("RATELIMIT_CLIENT_TESTS"), "../../clients/README.md"));
            var blocks = Pattern.compile("^```java\n(.*?)^```", Pattern.DOTALL | Pattern.MULTILINE).matcher(readme).results().map(block -> block.group(1));
            var source = dir.resolve("Shown.java");
            Files.writeString(source, SHOWN.replace("BLOCKS\n", blocks.collect(Collectors.joining())));
            var compiled = ToolProvider.getSystemJavaCompiler().run(null, null, null, "-cp", System.getProperty("java.class.path"), "-d", dir.toString(), source.toString());
            same(compiled, 0, "what javac says");
            var config = RateLimiterConfig.custom().limitForPeriod(5).limitRefreshPeriod(Duration.ofMinutes(1)).timeoutDuration(Duration.ZERO).build();
            try (var loader = new URLClassLoader(new URL[] {dir.toUri().toURL()})) {
                var run = loader.loadClass("Shown").getMethod("run", RedisClient.class, RateLimiterConfig.class);
                same(run.invoke(null, client, config), "true true", "what it answers");
            } catch (InvocationTargetException error) {
                throw new AssertionError(error.getCause());
            }
        });
        client.shutdown();
    }
}
