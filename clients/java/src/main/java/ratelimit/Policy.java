package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/**
 * Limits under a name, which replace those of the calls that name it (POLICY).
 *
 * <pre>
 * Policy.sliding(new Policy.Limit(100, "15m"), new Policy.Limit(1000, "1d"))
 * Policy.bucket(new Policy.Limit(10, 2, "1s"))
 * Policy.lease(new Policy.Limit(3, "30s"))
 * </pre>
 *
 * @param algorithm {@code FIXED}, {@code SLIDING}, {@code BUCKET} or {@code LEASE}
 * @param limits 1 to 8; of a lease one
 */
public record Policy(String algorithm, List<Limit> limits) {
    /**
     * @param units how many: a bucket's capacity, a lease's holders
     * @param refill of a bucket: so many come back in each interval; else 0
     * @param window with its unit, as the command takes it: {@code 500ms}, {@code 15m}; a bucket's interval, a lease's TTL
     */
    public record Limit(long units, long refill, String window) {
        public Limit {
            Objects.requireNonNull(window, "window");
        }

        public Limit(long units, String window) {
            this(units, 0, window);
        }
    }

    /**
     * A policy as it is in force.
     *
     * @param policy null where only a shadow stands
     * @param endsAfter what is left of one with a TTL, or null
     * @param lasting what is back when one with a TTL ends, or null
     * @param shadow one that is tried beside it, or null: judged and counted, and never binding
     * @param shadowEndsAfter what is left of that, or null
     * @param mismatches how many hits of another algorithm have passed it over since the server began
     */
    public record State(Policy policy, Duration endsAfter, Policy lasting, Policy shadow, Duration shadowEndsAfter, long mismatches) {
        State withMismatches(long mismatches) {
            return new State(policy, endsAfter, lasting, shadow, shadowEndsAfter, mismatches);
        }

        /**
         * {@code fixed 30 1d TTL 5000ms <the lasting one's, or nil> SHADOW [fixed 20 1d] MISMATCHES 1}; a shadow's own TTL is
         * followed by nothing, and where only a shadow stands it begins with SHADOW.
         */
        static State read(Object reply) {
            List<?> words = Replies.list(reply, 2);
            int next = 0;
            Policy policy = null, lasting = null, shadow = null;
            Duration endsAfter = null, shadowEndsAfter = null;
            long mismatches = 0;
            if (!Replies.text(words.get(0)).equals("SHADOW")) {
                policy = Policy.read(words);
                next = 1 + policy.limits.size() * step(policy.algorithm);
            }
            for (; next + 1 < words.size(); next += 2) {
                Object value = words.get(next + 1);
                switch (Replies.text(words.get(next))) {
                    case "TTL" -> {
                        endsAfter = Duration.ofMillis(Words.ms("TTL", Replies.text(value)));
                        next++;
                        if (next + 1 < words.size() && words.get(next + 1) != null) lasting = Policy.read(words.get(next + 1));
                    }
                    case "SHADOW" -> {
                        var tried = read(value);
                        shadow = tried.policy;
                        shadowEndsAfter = tried.endsAfter;
                    }
                    case "MISMATCHES" -> mismatches = Replies.integer(value);
                    default -> { } // a newer server's
                }
            }
            return new State(policy, endsAfter, lasting, shadow, shadowEndsAfter, mismatches);
        }
    }

    /** A mistake in them is told by {@link Admin}, as a policy that is read may be a newer server's. */
    public Policy {
        Objects.requireNonNull(algorithm, "algorithm");
        limits = List.copyOf(limits);
    }

    public static Policy fixed(Limit... limits) {
        return new Policy("FIXED", List.of(limits));
    }

    public static Policy sliding(Limit... limits) {
        return new Policy("SLIDING", List.of(limits));
    }

    public static Policy bucket(Limit... limits) {
        return new Policy("BUCKET", List.of(limits));
    }

    /** Of {@link Leaser}s: so many at once, each for a TTL. */
    public static Policy lease(Limit limit) {
        return new Policy("LEASE", List.of(limit));
    }

    private static int step(String algorithm) {
        return algorithm.equals("BUCKET") ? 3 : 2;
    }

    private static Policy read(Object reply) {
        List<?> words = Replies.list(reply, 1);
        String algorithm = Replies.text(words.get(0)).toUpperCase(Locale.ROOT);
        int step = step(algorithm);
        List<Limit> limits = new ArrayList<>();
        for (int i = 1; i + step <= words.size() && Words.isNumber(words.get(i)); i += step) {
            limits.add(new Limit(Replies.integer(words.get(i)), step == 3 ? Replies.integer(words.get(i + 1)) : 0, Replies.text(words.get(i + step - 1))));
        }
        return new Policy(algorithm, limits);
    }

    /** As SET takes them. */
    List<String> words() {
        List<String> words = new ArrayList<>(List.of(algorithm));
        for (var limit : limits) {
            words.add(Long.toString(limit.units));
            if (step(algorithm) == 3) words.add(Long.toString(limit.refill));
            words.add(limit.window);
        }
        if (algorithm.equals("LEASE")) Words.lease(words);
        else Words.checked(with(words, "RL." + algorithm));
        return words;
    }

    private static List<String> with(List<String> words, String first) {
        List<String> call = new ArrayList<>(words);
        call.set(0, first);
        return call;
    }

    static Map<String, State> readAll(Object reply) {
        Map<String, State> policies = new LinkedHashMap<>();
        Replies.map(reply).forEach((name, words) -> policies.put(name, State.read(words)));
        return policies;
    }
}
