package ratelimit.resilience4j;

import io.github.resilience4j.ratelimiter.RateLimiter;
import io.github.resilience4j.ratelimiter.RateLimiterConfig;
import io.github.resilience4j.ratelimiter.RateLimiterRegistry;
import io.github.resilience4j.ratelimiter.internal.InMemoryRateLimiterRegistry;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import ratelimit.Sender;

/**
 * Makes resilience4j's limiters over Redis: all processes that have one of a name share its permissions.
 *
 * <pre>
 * RateLimiterRegistry registry = RedisRateLimiters.over(sender).registry(RateLimiterConfig.custom()
 *     .limitForPeriod(100).limitRefreshPeriod(Duration.ofSeconds(1)).timeoutDuration(Duration.ofSeconds(5)).build());
 * var call = RateLimiter.decorateSupplier(registry.rateLimiter("backend"), backend::call);
 * </pre>
 *
 * @param prefix before each name, which is the key
 * @param hasPolicies whether a policy of the server that has a limiter's name counts in place of its configuration
 * @param timeout how long Redis may take
 * @param isClosed whether nothing is permitted while Redis is away
 */
public record RedisRateLimiters(Sender sender, String prefix, boolean hasPolicies, Duration timeout, boolean isClosed) {
    public RedisRateLimiters {
        Objects.requireNonNull(sender, "sender");
        Objects.requireNonNull(prefix, "prefix");
        if (timeout.isNegative() || timeout.isZero()) throw new IllegalArgumentException("timeout must be positive: " + timeout);
    }

    /** Open where Redis is away, or takes longer than a second; names with {@code resilience4j:} before them. */
    public static RedisRateLimiters over(Sender sender) {
        return new RedisRateLimiters(sender, "resilience4j:", false, Duration.ofSeconds(1), false);
    }

    /** The same, with that before each name. */
    public RedisRateLimiters prefix(String prefix) {
        return new RedisRateLimiters(sender, prefix, hasPolicies, timeout, isClosed);
    }

    /** The same, by the server's policy of a limiter's name where there is one: limits change for all without a deploy. */
    public RedisRateLimiters policies() {
        return new RedisRateLimiters(sender, prefix, true, timeout, isClosed);
    }

    /** The same, with so much time for Redis. */
    public RedisRateLimiters timeout(Duration timeout) {
        return new RedisRateLimiters(sender, prefix, hasPolicies, timeout, isClosed);
    }

    /** The same, closed where Redis is away. */
    public RedisRateLimiters closed() {
        return new RedisRateLimiters(sender, prefix, hasPolicies, timeout, true);
    }

    /** @throws IllegalArgumentException where the configuration has no limit that Redis can hold */
    public RateLimiter rateLimiter(String name, RateLimiterConfig config) {
        return rateLimiter(name, config, Map.of());
    }

    /** The same with tags, which are for metrics. */
    public RateLimiter rateLimiter(String name, RateLimiterConfig config, Map<String, String> tags) {
        return new RedisRateLimiter(this, name, config, tags);
    }

    /** A registry whose limiters are all of these. */
    public RateLimiterRegistry registry(RateLimiterConfig defaultConfig) {
        return registry(Map.of("default", defaultConfig));
    }

    /** The same of named configurations; {@code default} is that of limiters which name none. */
    public RateLimiterRegistry registry(Map<String, RateLimiterConfig> configs) {
        return new Registry(this, configs);
    }

    /** Whatever its supplier makes becomes one over Redis. */
    private static final class Registry extends InMemoryRateLimiterRegistry {
        private final RedisRateLimiters limiters;

        Registry(RedisRateLimiters limiters, Map<String, RateLimiterConfig> configs) {
            super(configs);
            this.limiters = limiters;
        }

        @Override
        protected RateLimiter computeIfAbsent(String name, Supplier<RateLimiter> supplier) {
            return super.computeIfAbsent(name, () -> {
                var local = supplier.get();
                return limiters.rateLimiter(name, local.getRateLimiterConfig(), local.getTags());
            });
        }
    }
}
