package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What a key holds (RL.INFO).
 *
 * @param algorithm {@code FIXED}, {@code SLIDING}, {@code BUCKET} or {@code LEASE}; null where nothing was used yet
 * @param limits of each limit of the key
 * @param leases who holds it
 * @param block what a denied hit has shut it for (BLOCK), or null
 * @param blockByOrder what is left of {@link RateLimiter#block}; zero where there is none
 * @param shadow what a policy that is tried on it has let through
 * @param ids how many ids of hits it remembers
 */
public record KeyInfo(
    String algorithm, List<Limit> limits, List<Lease> leases, Block block, Duration blockByOrder, List<Limit> shadow, long ids) {
    /** What it holds of one limit. */
    public record Limit(Policy.Limit limit, long used, long remaining, Duration resetAfter) {
        private static Limit read(Object reply) {
            var found = Replies.map(reply);
            String window = "";
            for (String name : List.of("window", "interval", "ttl")) {
                if (found.get(name) != null) window = Replies.text(found.get(name));
            }
            return new Limit(new Policy.Limit(Replies.integer(found, "limit"), Replies.integer(found, "refill"), window),
                Replies.integer(found, "used"), Replies.integer(found, "remaining"), Replies.ms(found, "reset_after_ms"));
        }
    }

    /** A lease that it holds. */
    public record Lease(String id, long cost, Duration endsAfter) {
        private static Lease read(Object reply) {
            var found = Replies.map(reply);
            return new Lease(Replies.text(found.get("id")), Replies.integer(found, "cost"), Replies.ms(found, "ends_after_ms"));
        }
    }

    /**
     * @param left zero where it is over, and not yet forgotten
     * @param nth which it was of the call's durations
     */
    public record Block(Duration left, long nth, Duration forgottenAfter) {}

    /** Until when it is shut, by whichever block; zero where it is not. */
    public Duration blockedFor() {
        return block == null || blockByOrder.compareTo(block.left) > 0 ? blockByOrder : block.left;
    }

    static KeyInfo read(List<?> reply) {
        var found = Replies.map(reply);
        Object algorithm = found.get("algorithm");
        var block = found.get("block") == null ? null : Replies.map(found.get("block"));
        return new KeyInfo(algorithm == null ? null : Replies.text(algorithm).toUpperCase(Locale.ROOT), limits(found, "limits"),
            Replies.list(found.get("leases")).stream().map(Lease::read).toList(),
            block == null ? null : new Block(Replies.ms(block, "left_ms"), Replies.integer(block, "nth"), Replies.ms(block, "forgotten_after_ms")),
            Replies.ms(Replies.map(found.get("block_by_order")), "left_ms"), limits(found, "shadow"), Replies.integer(found, "ids"));
    }

    private static List<Limit> limits(Map<String, Object> found, String name) {
        List<Limit> limits = new ArrayList<>();
        for (Object each : Replies.list(found.get(name))) limits.add(Limit.read(each));
        return List.copyOf(limits);
    }
}
