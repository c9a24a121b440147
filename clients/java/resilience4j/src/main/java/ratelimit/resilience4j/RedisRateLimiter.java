package ratelimit.resilience4j;

import io.github.resilience4j.ratelimiter.RateLimiter;
import io.github.resilience4j.ratelimiter.RateLimiterConfig;
import io.github.resilience4j.ratelimiter.event.RateLimiterOnDrainedEvent;
import io.github.resilience4j.ratelimiter.event.RateLimiterOnFailureEvent;
import io.github.resilience4j.ratelimiter.event.RateLimiterOnSuccessEvent;
import io.github.resilience4j.ratelimiter.internal.RateLimiterEventProcessor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import ratelimit.RateLimiter.Verdict;

/**
 * A bucket of {@code limitForPeriod} that fills in {@code limitRefreshPeriod}, by RL.BUCKET. Whoever comes while it is empty
 * reserves a place in it with the same command, as long as it is had within {@code timeoutDuration}.
 */
final class RedisRateLimiter implements RateLimiter {
    private static final long MAX_COST = (1L << 53) - 1;

    /** What a call reads at once: the bucket, a look at it, and all that is in it. */
    private record Plan(RateLimiterConfig config, ratelimit.RateLimiter bucket, ratelimit.RateLimiter look, ratelimit.RateLimiter all) {}

    private final RedisRateLimiters limiters;
    private final String name;
    private final Map<String, String> tags;
    private final AtomicInteger waiting = new AtomicInteger();
    private final RateLimiterEventProcessor events = new RateLimiterEventProcessor();
    private volatile Plan plan;

    RedisRateLimiter(RedisRateLimiters limiters, String name, RateLimiterConfig config, Map<String, String> tags) {
        this.limiters = limiters;
        this.name = Objects.requireNonNull(name, "name");
        this.tags = Objects.requireNonNull(tags, "tags");
        plan = plan(config);
    }

    private Plan plan(RateLimiterConfig config) {
        return new Plan(config, bucket(config, List.of()), bucket(config, List.of("COST", "0")),
            bucket(config, List.of("COST", Long.toString(MAX_COST), "MIN", "1")));
    }

    private ratelimit.RateLimiter bucket(RateLimiterConfig config, List<String> options) {
        var period = config.getLimitRefreshPeriod();
        if (period.toNanosPart() % 1_000_000 != 0 || period.toMillis() < 1) {
            throw new IllegalArgumentException("limitRefreshPeriod: expected whole milliseconds, 1 or more, got " + period + " (resilience4j's default is 500 ns)");
        }
        String limit = Integer.toString(config.getLimitForPeriod());
        List<String> words = new ArrayList<>(List.of("RL.BUCKET", limit, limit, period.toMillis() + "ms"));
        words.addAll(options);
        if (limiters.hasPolicies()) words.addAll(List.of("POLICY", name));
        var bucket = ratelimit.RateLimiter.of(limiters.sender(), limiters.prefix(), words.toArray(String[]::new)).timeout(limiters.timeout());
        return limiters.isClosed() ? bucket.closed() : bucket;
    }

    @Override
    public boolean acquirePermission(int permits) {
        var verdict = take(permits);
        boolean isPermitted = verdict.allowed() && waited(verdict.retryAfterMs());
        tell(isPermitted, permits);
        return isPermitted;
    }

    @Override
    public long reservePermission(int permits) {
        var verdict = take(permits);
        tell(verdict.allowed(), permits);
        return verdict.allowed() ? TimeUnit.MILLISECONDS.toNanos(verdict.retryAfterMs()) : -1;
    }

    private Verdict take(int permits) {
        var now = plan;
        return now.bucket().reserve(name, permits, now.config().getTimeoutDuration());
    }

    /** Until its place has come, or it is interrupted: then its place stays empty. */
    private boolean waited(long ms) {
        if (ms <= 0) return true;
        waiting.incrementAndGet();
        try {
            Thread.sleep(ms);
            return true;
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            return false;
        } finally {
            waiting.decrementAndGet();
        }
    }

    private void tell(boolean isPermitted, int permits) {
        if (!events.hasConsumers()) return;
        events.consumeEvent(isPermitted ? new RateLimiterOnSuccessEvent(name, permits) : new RateLimiterOnFailureEvent(name, permits));
    }

    @Override
    public void drainPermissions() {
        int available = events.hasConsumers() ? getMetrics().getAvailablePermissions() : 0;
        if (plan.all().hit(name).unavailable() != null || !events.hasConsumers()) return;
        events.consumeEvent(new RateLimiterOnDrainedEvent(name, available));
    }

    @Override
    public synchronized void changeTimeoutDuration(Duration timeoutDuration) {
        plan = plan(RateLimiterConfig.from(plan.config()).timeoutDuration(timeoutDuration).build());
    }

    /** Of this process: the others go on with theirs, at the same bucket. */
    @Override
    public synchronized void changeLimitForPeriod(int limitForPeriod) {
        if (limiters.hasPolicies()) {
            throw new UnsupportedOperationException("the server's policy decides: RL.POLICY SET " + name + " BUCKET ...");
        }
        plan = plan(RateLimiterConfig.from(plan.config()).limitForPeriod(limitForPeriod).build());
    }

    @Override
    public String getName() {
        return name;
    }

    @Override
    public RateLimiterConfig getRateLimiterConfig() {
        return plan.config();
    }

    @Override
    public Map<String, String> getTags() {
        return tags;
    }

    @Override
    public Metrics getMetrics() {
        return new Metrics() {
            @Override
            public int getNumberOfWaitingThreads() {
                return waiting.get();
            }

            /** 0 where Redis is away. */
            @Override
            public int getAvailablePermissions() {
                return (int) Math.min(plan.look().peek(name).remaining(), Integer.MAX_VALUE);
            }
        };
    }

    @Override
    public EventPublisher getEventPublisher() {
        return events;
    }

    @Override
    public String toString() {
        return "RedisRateLimiter{name='" + name + "', rateLimiterConfig=" + plan.config() + '}';
    }
}
