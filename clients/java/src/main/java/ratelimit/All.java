package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * Several keys with one command (RL.ALL): charged together, or none of them.
 *
 * <pre>
 * var verdict = All.hit(List.of(new All.Ask(perUser, "{acme}:alice"), new All.Ask(perTeam, "{acme}", 3)));
 * </pre>
 *
 * Of a cluster the keys share a hash tag, and the limiters' prefixes have none. The first limiter says how long Redis may
 * take; where it is away all is closed that one of them closes.
 */
public final class All {
    private static final int KEYS = 16;

    /** @param cost what it takes of this key; 0 is what the limiter's words say */
    public record Ask(RateLimiter limiter, String key, long cost) {
        public Ask {
            Objects.requireNonNull(limiter, "limiter");
            Objects.requireNonNull(key, "key");
            if (cost < 0) throw new IllegalArgumentException("cost: expected 0 or more, got " + cost);
        }

        public Ask(RateLimiter limiter, String key) {
            this(limiter, key, 0);
        }

        private long takes() {
            return cost > 0 ? cost : Words.asked(limiter.words()).cost();
        }

        private List<String> clause() {
            for (String option : List.of("MIN", "FORCE", "DENY")) {
                if (Words.has(limiter.words(), option)) throw new IllegalArgumentException(option + " does not go with several keys: " + limiter.words());
            }
            return clause(cost);
        }

        private List<String> clause(long cost) {
            List<String> clause = Words.without(limiter.words(), cost != 0 ? Set.of("NEXT", "STAMP", "COST") : Set.of("NEXT", "STAMP"));
            clause.set(0, clause.get(0).substring("RL.".length()));
            if (cost != 0) clause.addAll(List.of("COST", Long.toString(cost)));
            return clause;
        }
    }

    /**
     * @param whole the numbers of the whole call
     * @param keys of each key, in the order given: whether this key would let it through. Empty where Redis could not be asked
     * @param binding the index of the key that binds; -1 where Redis could not be asked
     */
    public record Verdict(RateLimiter.Verdict whole, List<RateLimiter.Verdict> keys, int binding) {
        public boolean allowed() {
            return whole.allowed();
        }
    }

    private All() {}

    /** Counts a hit on 1 to 16 keys, or on none. */
    public static Verdict hit(List<Ask> asks) {
        return call("RL.ALL", asks, false);
    }

    /** The same; null where the keys lie in slots of their own, which nobody is told. */
    static Verdict hitInOneSlot(List<Ask> asks) {
        return call("RL.ALL", asks, true);
    }

    /** What {@link #hit} would be answered now. It changes nothing. */
    public static Verdict peek(List<Ask> asks) {
        return call("RL.PEEKALL", asks, false);
    }

    /**
     * Gives back what a hit took of each key, at the time of its charge. What cannot be given back now stays charged, and is in
     * the log.
     *
     * @param charged the verdict of a hit of the same keys, one of whose limiters has {@link RateLimiter#stamp}
     */
    public static void refund(List<Ask> asks, Verdict charged) {
        if (!charged.allowed() || charged.whole().unavailable() != null) return;
        if (charged.keys().size() != asks.size()) throw new IllegalArgumentException("expected the verdict of these keys, got one of " + charged.keys().size());
        if (charged.whole().chargedAt() == 0) throw new IllegalArgumentException("expected a verdict with chargedAt, of a limiter that has stamp()");
        List<String> words = keys("RL.ALL", asks);
        for (int i = 0; i < asks.size(); i++) words.addAll(asks.get(i).clause(-charged.keys().get(i).taken()));
        words.addAll(List.of("AT", Long.toString(charged.whole().chargedAt())));
        var first = asks.get(0).limiter();
        try {
            Call.verdict(first.sender().ask(words, first.timeout()), Asked.of(0));
        } catch (Exception failed) {
            Call.report(failed);
        }
    }

    private static List<String> keys(String command, List<Ask> asks) {
        List<String> words = new ArrayList<>(List.of(command, Integer.toString(asks.size())));
        for (var ask : asks) words.add(ask.limiter().prefix() + ask.key());
        return words;
    }

    private static Verdict call(String command, List<Ask> asks, boolean mayLieApart) {
        if (asks.isEmpty() || asks.size() > KEYS) throw new IllegalArgumentException("expected 1 to " + KEYS + " keys, got " + asks.size());
        var first = asks.get(0).limiter();
        List<String> words = keys(command, asks);
        boolean isClosed = false;
        boolean hasNext = false;
        boolean hasStamp = false;
        for (var ask : asks) {
            if (!ask.limiter().sender().equals(first.sender())) throw new IllegalArgumentException("the limiters of one call have one sender");
            isClosed |= ask.limiter().isClosed();
            hasNext |= Words.hasNext(ask.limiter().words());
            hasStamp |= Words.asked(ask.limiter().words()).hasStamp() && command.equals("RL.ALL");
        }
        for (var ask : asks) words.addAll(ask.clause());
        if (hasNext) words.add("NEXT");
        if (hasStamp) words.add("STAMP");
        long began = System.nanoTime();
        try {
            return told(began, asks, read(first.sender().ask(words, first.timeout()), asks, hasNext, hasStamp));
        } catch (Exception failed) {
            if (mayLieApart && String.valueOf(failed.getMessage()).startsWith("CROSSSLOT ")) return null;
            return told(began, asks, new Verdict(Call.unavailable(failed, isClosed), List.of(), -1));
        }
    }

    /** As one hit of each limiter. */
    private static Verdict told(long began, List<Ask> asks, Verdict verdict) {
        var took = Duration.ofNanos(System.nanoTime() - began);
        for (var ask : asks) {
            Call.tell(ask.limiter().observer(), new RateLimiter.Hit(ask.limiter().prefix(), verdict.whole().outcome(), verdict.whole().reason(), took));
        }
        return verdict;
    }

    private static Verdict read(List<?> reply, List<Ask> asks, boolean hasNext, boolean hasStamp) {
        var asked = new Asked(hasNext, false, false, false, false, false, 0);
        var whole = Call.verdict(reply, asked);
        int at = hasNext ? 6 : 5;
        if (reply.size() <= at || !(reply.get(at) instanceof List<?> each) || each.size() != asks.size()) throw Call.unread(reply);
        List<RateLimiter.Verdict> keys = new ArrayList<>(asks.size());
        for (Object one : each) {
            if (!(one instanceof List<?> numbers)) throw Call.unread(reply);
            keys.add(Call.verdict(numbers, asked.withCost(whole.allowed() ? asks.get(keys.size()).takes() : 0)));
        }
        if (hasStamp) whole = whole.chargedAt(Call.number(reply, at + 2));
        return new Verdict(whole, List.copyOf(keys), (int) Call.number(reply, at + 1) - 1);
    }
}
