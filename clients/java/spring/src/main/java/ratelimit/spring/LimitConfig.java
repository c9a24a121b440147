package ratelimit.spring;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import ratelimit.RateLimiter;
import ratelimit.Sender;

/** A limit as configuration has it: of a route of the gateway, or of a filter in front of servlets. */
public abstract class LimitConfig {
    private String algorithm = "sliding";
    private long limit = -1;
    private long refill = -1;
    private String window = "";
    private long cost = 1;
    private String policy = "";
    private String prefix;
    private String unavailable = "open";
    private Duration timeout = Duration.ofSeconds(1);

    LimitConfig(String prefix) {
        this.prefix = prefix;
    }

    /** @param name of the route or filter, whose keys are its own */
    RateLimiter limiter(Sender sender, String name) {
        // A colon ends the name, so no name and caller are another name and another caller.
        var before = prefix + ":" + name.replace("%", "%25").replace(":", "%3A") + ":";
        var limiter = RateLimiter.of(sender, before, words().toArray(String[]::new)).timeout(timeout).next();
        return switch (unavailable) {
            case "open" -> limiter;
            case "closed" -> limiter.closed();
            default -> throw new IllegalArgumentException("unavailable: expected open or closed, got " + unavailable);
        };
    }

    private List<String> words() {
        List<String> words = new ArrayList<>();
        words.add(switch (algorithm) {
            case "sliding" -> "RL.SLIDING";
            case "fixed" -> "RL.FIXED";
            case "bucket" -> "RL.BUCKET";
            default -> throw new IllegalArgumentException("algorithm: expected sliding, fixed or bucket, got " + algorithm);
        });
        if (limit < 0) throw new IllegalArgumentException("limit: expected a number of 0 or more");
        words.add(Long.toString(limit));
        if (algorithm.equals("bucket") != refill > 0) throw new IllegalArgumentException("refill: a bucket has one, of 1 or more, and nothing else has");
        if (refill > 0) words.add(Long.toString(refill));
        if (window.isEmpty()) throw new IllegalArgumentException("window: expected a duration, such as 15m");
        words.add(window);
        if (cost < 1) throw new IllegalArgumentException("cost: expected a number of 1 or more, got " + cost);
        if (cost > 1) words.addAll(List.of("COST", Long.toString(cost)));
        if (!policy.isEmpty()) words.addAll(List.of("POLICY", policy));
        return words;
    }

    /** {@code sliding}, {@code fixed} or {@code bucket}. */
    public void setAlgorithm(String algorithm) {
        this.algorithm = algorithm;
    }

    /** A bucket's is its capacity. */
    public void setLimit(long limit) {
        this.limit = limit;
    }

    /** Of a bucket: so much in each window. */
    public void setRefill(long refill) {
        this.refill = refill;
    }

    /** A number with a unit: {@code 500ms}, {@code 15m}. */
    public void setWindow(String window) {
        this.window = window;
    }

    /** What a request takes: 1 by default. */
    public void setCost(long cost) {
        this.cost = cost;
    }

    /** Of the server, whose limits count in place of these. */
    public void setPolicy(String policy) {
        this.policy = policy;
    }

    /** Before each key. */
    public void setPrefix(String prefix) {
        this.prefix = prefix;
    }

    /** How long Redis may take: 1s by default. */
    public void setTimeout(Duration timeout) {
        this.timeout = timeout;
    }

    /** Where Redis is away: {@code open} or {@code closed}. */
    public void setUnavailable(String unavailable) {
        this.unavailable = unavailable;
    }
}
