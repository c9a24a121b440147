package ratelimit.spring;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.cloud.gateway.event.FilterArgsEvent;
import org.springframework.cloud.gateway.filter.ratelimit.AbstractRateLimiter;
import org.springframework.cloud.gateway.route.RouteDefinitionRouteLocator;
import org.springframework.cloud.gateway.support.ConfigurationService;
import ratelimit.RateLimiter;
import ratelimit.RateLimiter.Verdict;
import ratelimit.Sender;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * Spring Cloud Gateway's {@code RateLimiter}: with a bean of it the filter {@code RequestRateLimiter} decides by RL.SLIDING,
 * RL.FIXED or RL.BUCKET. Of a route:
 *
 * <pre>
 * - name: RequestRateLimiter
 *   args: { ratelimit.limit: 100, ratelimit.window: 15m }
 * - name: RequestRateLimiter
 *   args: { ratelimit.algorithm: bucket, ratelimit.limit: 20, ratelimit.refill: 10, ratelimit.window: 1s, ratelimit.unavailable: closed }
 * </pre>
 *
 * Routes with {@code redis-rate-limiter.*}, the arguments of the gateway's own limiter, work as they are: they are a bucket.
 * No thread waits for Redis. What it answers where Redis is away is {@code ratelimit.unavailable}: open by default.
 */
public class GatewayRateLimiter extends AbstractRateLimiter<GatewayConfig> {
    /** What stands before each of the arguments. */
    public static final String ARGUMENTS = "ratelimit";
    private static final String SPRINGS = "redis-rate-limiter";
    private static final Set<String> KNOWN = Set.of("algorithm", "limit", "refill", "window", "cost", "policy", "prefix", "timeout", "unavailable");

    /** A route's limiter, and of what it was made. */
    private record Made(GatewayConfig config, RateLimiter limiter) {}

    private final Sender sender;
    private final ConfigurationService configurationService;
    private final Map<String, Made> made = new ConcurrentHashMap<>();

    /** @param sender one whose replies are stages: a {@code LettuceSender}, a {@code JedisSender} */
    public GatewayRateLimiter(Sender sender, ConfigurationService configurationService) {
        super(GatewayConfig.class, ARGUMENTS, configurationService);
        this.sender = Objects.requireNonNull(sender, "sender");
        this.configurationService = configurationService;
    }

    /** A mistake in a route is told when the route is made. */
    @Override
    public void onApplicationEvent(FilterArgsEvent event) {
        var args = event.getArgs();
        boolean isSprings = has(args, SPRINGS);
        if (has(args, ARGUMENTS)) {
            if (isSprings) throw new IllegalArgumentException("route " + event.getRouteId() + ": either " + ARGUMENTS + ".* or " + SPRINGS + ".*, not both");
            for (String name : args.keySet()) {
                if (name.startsWith(ARGUMENTS + ".") && !KNOWN.contains(name.substring(ARGUMENTS.length() + 1))) {
                    throw new IllegalArgumentException("route " + event.getRouteId() + ": no such argument: " + name);
                }
            }
            super.onApplicationEvent(event);
        } else if (isSprings) {
            var bound = configurationService.with(new SpringsConfig()).name(SPRINGS).normalizedProperties(args).bind();
            getConfig().put(event.getRouteId(), bound.asOurs());
        } else {
            return;
        }
        limiter(event.getRouteId());
    }

    private static boolean has(Map<String, Object> args, String prefix) {
        return args.keySet().stream().anyMatch(name -> name.startsWith(prefix + "."));
    }

    @Override
    public Mono<Response> isAllowed(String routeId, String id) {
        var limiter = limiter(routeId);
        // The rest of the request runs neither on the thread that reads what Redis answers nor on the deadlines' one.
        return Mono.fromFuture(() -> limiter.limiter.hitAsync(id), true).publishOn(Schedulers.parallel())
            .map(verdict -> new Response(verdict.allowed(), fields(verdict, limiter.config)));
    }

    private Made limiter(String routeId) {
        var config = getConfig().get(routeId);
        if (config == null) config = getConfig().get(RouteDefinitionRouteLocator.DEFAULT_FILTERS);
        if (config == null) throw new IllegalArgumentException("no " + ARGUMENTS + ".limit and .window for the route " + routeId + ", nor for default-filters");
        var limiter = made.get(routeId);
        if (limiter == null || limiter.config != config) {
            limiter = new Made(config, made(config, routeId));
            made.put(routeId, limiter);
        }
        return limiter;
    }

    private RateLimiter made(GatewayConfig config, String routeId) {
        try {
            return config.limiter(sender, routeId);
        } catch (IllegalArgumentException mistake) {
            throw new IllegalArgumentException("route " + routeId + ": " + ARGUMENTS + "." + mistake.getMessage(), mistake);
        }
    }

    private static Map<String, String> fields(Verdict verdict, GatewayConfig config) {
        Map<String, String> fields = new LinkedHashMap<>(config.fields());
        if (verdict.unavailable() == null) {
            fields.put("X-RateLimit-Limit", Long.toString(verdict.limit()));
            fields.put("X-RateLimit-Remaining", Long.toString(verdict.remaining()));
            fields.put("X-RateLimit-Reset", Long.toString(seconds(System.currentTimeMillis() + verdict.resetAfterMs())));
            fields.put("RateLimit-Policy", "\"default\";q=" + verdict.limit());
            fields.put("RateLimit", "\"default\";r=" + verdict.remaining() + (verdict.nextAfterMs() < 0 ? "" : ";t=" + seconds(verdict.nextAfterMs())));
        }
        if (!verdict.allowed() && verdict.retryAfterMs() > 0) fields.put("Retry-After", Long.toString(seconds(verdict.retryAfterMs())));
        return fields;
    }

    /** Rounded up: never an invitation to come too early. */
    private static long seconds(long ms) {
        return (ms + 999) / 1000;
    }

    /** The arguments of the gateway's own limiter, with its defaults. */
    static final class SpringsConfig {
        private long replenishRate;
        private long burstCapacity = 1;
        private long requestedTokens = 1;

        GatewayConfig asOurs() {
            var ours = new GatewayConfig();
            ours.setAlgorithm("bucket");
            ours.setLimit(burstCapacity);
            ours.setRefill(replenishRate);
            ours.setWindow("1s");
            ours.setCost(requestedTokens);
            ours.fields(Map.of("X-RateLimit-Replenish-Rate", Long.toString(replenishRate), "X-RateLimit-Burst-Capacity", Long.toString(burstCapacity),
                "X-RateLimit-Requested-Tokens", Long.toString(requestedTokens)));
            return ours;
        }

        public void setReplenishRate(long replenishRate) {
            this.replenishRate = replenishRate;
        }

        public void setBurstCapacity(long burstCapacity) {
            this.burstCapacity = burstCapacity;
        }

        public void setRequestedTokens(long requestedTokens) {
            this.requestedTokens = requestedTokens;
        }
    }
}
