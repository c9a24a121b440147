package org.springframework.cloud.gateway.filter.ratelimit; // in which the tests of its limiter are

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.AbstractMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.stream.Collectors;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.ImportAutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.cloud.gateway.event.FilterArgsEvent;
import org.springframework.cloud.gateway.route.RouteDefinitionRouteLocator;
import org.springframework.cloud.gateway.support.ConfigurationService;
import org.springframework.context.ApplicationContext;
import org.springframework.core.convert.ConversionService;
import org.springframework.core.convert.support.DefaultConversionService;
import ratelimit.spring.GatewayRateLimiter;
import ratelimit.spring.GatewayRateLimiterAutoConfiguration;
import ratelimit.spring.SenderAutoConfiguration;
import reactor.core.publisher.Mono;

/**
 * Spring Cloud Gateway's own tests over the limiter that our auto-configuration makes. They ask for a {@code RedisRateLimiter} by
 * its class, so this is one: what they configure becomes a route's arguments, and a configuration is what an answer's fields say of it.
 */
public final class Ours extends RedisRateLimiter {
    private static final List<String> RUN = List.of("RedisRateLimiterTests", "RedisRateLimiterConfigTests", "RedisRateLimiterDefaultFilterConfigTests",
        "RedisRateLimiterUnitTests", "PrincipalNameKeyResolverIntegrationTests");
    private static final Map<String, String> FILES_LEFT_OUT = Map.of(
        "RequestRateLimiterGatewayFilterFactoryTests", "a filter over a limiter that is a mock",
        "RedisRateLimiterLuaScriptTests", "the script of its limiter",
        "GatewayRedisAutoConfigurationTests", "whether the beans of its limiter are there",
        "Bucket4jRateLimiterTests", "the arguments of another limiter: a style of refill, a field's name");
    private static final Map<String, String> LEFT_OUT = Map.of(
        "RedisRateLimiterTests.keysUseRedisKeyHashTags", "its keys",
        "RedisRateLimiterTests.redisRateLimiterDoesNotSendHeadersIfDeactivated", "includeHeaders, which ours has not",
        "RedisRateLimiterConfigTests.shouldThrowAnErrorWhenReplenishRateIsHigherThanBurstCapacity", "its class; a bucket of ours may be so",
        "RedisRateLimiterConfigTests.shouldThrowAnErrorWhenBurstCapacityExceedsMaxAllowed", "its class; ours says it when the route is made",
        "RedisRateLimiterUnitTests.shouldThrowWhenNotInitialized", "its class without an application",
        "RedisRateLimiterUnitTests.shouldReturnHeadersWhenRedisIssueOccurs", "-1 remaining: ours says nothing of what it does not know");

    private GatewayRateLimiter ours;

    /** The application's. */
    Ours() {
        super(null, null, null);
    }

    /** Those that are made in Java. */
    Ours(int rate, long burst) {
        super(rate, burst);
    }

    Ours(int rate, long burst, int tokens) {
        super(rate, burst, tokens);
    }

    @Override
    public void setApplicationContext(ApplicationContext context) {
        var made = context.getBeanProvider(GatewayRateLimiter.class);
        ours = made == null ? away() : made.getObject();
        var defaults = super.getDefaultConfig();
        if (defaults != null) getConfig().put(RouteDefinitionRouteLocator.DEFAULT_FILTERS, defaults);
    }

    /** In their unit tests the application is a mock, and Redis fails: ours has one that is not there. */
    private static GatewayRateLimiter away() {
        return new SpringApplicationBuilder(Away.class).web(WebApplicationType.NONE).run("--ratelimit.uri=redis://127.0.0.1:1").getBean(GatewayRateLimiter.class);
    }

    @ImportAutoConfiguration({SenderAutoConfiguration.class, GatewayRateLimiterAutoConfiguration.class})
    static class Away {
        @org.springframework.context.annotation.Bean
        ConfigurationService configurationService(BeanFactory beans) {
            ConversionService conversions = DefaultConversionService.getSharedInstance();
            return new ConfigurationService(beans, () -> conversions, () -> null);
        }
    }

    @Override
    public Mono<Response> isAllowed(String routeId, String id) {
        return ours.isAllowed(routeId, id);
    }

    /** Nothing: ours hears of it by itself. */
    @Override
    public void onApplicationEvent(FilterArgsEvent event) {}

    @Override
    public Map<String, Config> getConfig() {
        return new AbstractMap<>() {
            @Override
            public Set<Entry<String, Config>> entrySet() {
                return ours.getConfig().keySet().stream().map(route -> Map.entry(route, answered(route))).collect(Collectors.toSet());
            }

            @Override
            public Config put(String routeId, Config config) {
                ours.onApplicationEvent(new FilterArgsEvent(this, routeId, Map.of("redis-rate-limiter.replenishRate", config.getReplenishRate(),
                    "redis-rate-limiter.burstCapacity", config.getBurstCapacity(), "redis-rate-limiter.requestedTokens", config.getRequestedTokens())));
                return null;
            }
        };
    }

    @Override
    Config getDefaultConfig() {
        return answered("a route that has none of its own");
    }

    @Override
    Config loadConfiguration(String routeId) {
        return answered(routeId);
    }

    private Config answered(String routeId) {
        var fields = isAllowed(routeId, UUID.randomUUID().toString()).block().getHeaders();
        if (!fields.get(BURST_CAPACITY_HEADER).equals(fields.get("X-RateLimit-Limit"))) throw new AssertionError("the server has another burst: " + fields);
        return new Config().setBurstCapacity(Long.parseLong(fields.get(BURST_CAPACITY_HEADER)))
            .setReplenishRate(Integer.parseInt(fields.get(REPLENISH_RATE_HEADER))).setRequestedTokens(Integer.parseInt(fields.get(REQUESTED_TOKENS_HEADER)));
    }

    /** Beside ours, where a test makes none. */
    @AutoConfiguration(beforeName = "org.springframework.cloud.gateway.config.GatewayRedisAutoConfiguration")
    static class Bean {
        @org.springframework.context.annotation.Bean
        @ConditionalOnMissingBean(RedisRateLimiter.class)
        Ours ours() {
            return new Ours();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var known = new TreeSet<>(RUN);
        known.addAll(FILES_LEFT_OUT.keySet());
        var there = new TreeSet<String>();
        try (var files = Files.walk(Path.of(arguments[0]))) {
            for (Path file : files.filter(file -> file.toString().endsWith("Tests.java")).toList()) {
                if (Files.readString(file).contains("RateLimiter")) there.add(file.getFileName().toString().replace(".java", ""));
            }
        }
        if (!there.equals(known)) throw new AssertionError("neither run nor left out, or not there: " + there + " " + known);

        System.setProperty("ratelimit.uri", "redis://127.0.0.1:" + System.getenv("RATELIMIT_PORT"));
        System.setProperty("logging.level.root", "error");
        System.setProperty("spring.main.banner-mode", "off");
        var absent = new HashSet<>(LEFT_OUT.keySet());
        PostDiscoveryFilter filter = test -> {
            if (!(test.getSource().orElse(null) instanceof MethodSource method)) return FilterResult.included("");
            String name = method.getJavaClass().getSimpleName() + "." + method.getMethodName();
            absent.remove(name);
            return FilterResult.includedIf(!LEFT_OUT.containsKey(name));
        };
        var request = LauncherDiscoveryRequestBuilder.request().filters(filter);
        for (String name : RUN) request.selectors(DiscoverySelectors.selectClass(Ours.class.getPackageName() + "." + name));
        var listener = new SummaryGeneratingListener();
        LauncherFactory.create().execute(request.build(), listener);
        if (!absent.isEmpty()) throw new AssertionError("left out, and no test has the name: " + absent);

        var summary = listener.getSummary();
        summary.getFailures().forEach(failure -> {
            System.out.println("FAILED: " + failure.getTestIdentifier().getUniqueId());
            failure.getException().printStackTrace(System.out);
        });
        FILES_LEFT_OUT.forEach((name, why) -> System.out.println("left out: " + name + ": " + why));
        LEFT_OUT.forEach((name, why) -> System.out.println("left out: " + name + ": " + why));
        System.out.println("# " + summary.getTestsSucceededCount() + " passed, " + summary.getTotalFailureCount() + " failed");
        System.exit(summary.getTotalFailureCount() == 0 && summary.getTestsSucceededCount() > 0 ? 0 : 1); // what the clients' threads would hold up
    }
}
