package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/**
 * One limiter for all keys.
 *
 * <pre>
 * var api = RateLimiter.of(new JedisSender(client), "api:", "RL.SLIDING", "100", "15m");
 * var login = RateLimiter.of(new LettuceSender(connection), "login:", "RL.SLIDING", "5", "15m", "BLOCK", "15m", "1h").closed();
 * </pre>
 *
 * A hit is charged at most once, and answered within the timeout. It never throws: where the server did not answer in
 * time, or refused, the verdict says why, and whether that is allowed. A mistake in the words is told here.
 *
 * @param prefix before each key
 * @param words the command, and what follows its key
 * @param timeout how long Redis may take
 * @param isClosed whether to deny where Redis is away. For logins: guessing must not be free while it is
 * @param observer told of each hit
 */
public record RateLimiter(
    Sender sender, String prefix, List<String> words, Duration timeout, boolean isClosed, Consumer<Hit> observer) {
    private static final int MAX_RETRIES = 10;
    private static final long PAUSE_MS = 25;

    /**
     * What the server answered. Where {@code unavailable} is set Redis could not be asked, and the numbers are 0.
     *
     * @param retryAfterMs negative where this can never be allowed
     * @param nextAfterMs until more remains than {@code remaining} says; negative where it never will, and where the words
     *     have no {@code NEXT}
     * @param taken what was charged: less than the cost where the words have {@code MIN}
     * @param chargedAt when, in Unix milliseconds of the server's clock, where the words have {@code STAMP}; 0 where nothing was
     * @param repeated a hit of the same id was charged before, and this one was not
     * @param deniedValue what was found in the deny list, or null
     */
    public record Verdict(
        boolean allowed, long limit, long remaining, long retryAfterMs, long resetAfterMs, long nextAfterMs, long taken, long chargedAt,
        boolean repeated, String deniedValue, Exception unavailable) {
        Verdict chargedAt(long chargedAt) {
            return new Verdict(allowed, limit, remaining, retryAfterMs, resetAfterMs, nextAfterMs, taken, chargedAt, repeated, deniedValue, unavailable);
        }

        Verdict retryWithinMs(long most) {
            return retryAfterMs <= most ? this
                : new Verdict(allowed, limit, remaining, most, resetAfterMs, nextAfterMs, taken, chargedAt, repeated, deniedValue, unavailable);
        }

        /** {@code allowed} or {@code denied}; {@code open} or {@code closed} where Redis could not be asked. */
        public String outcome() {
            if (unavailable == null) return allowed ? "allowed" : "denied";
            return allowed ? "open" : "closed";
        }

        /**
         * Why Redis could not be asked, or null. {@code timeout}: no answer in time. {@code connection}: there is none, or it
         * broke. {@code server}: it is there and cannot (loading, memory full, a replica). {@code refused}: it does not
         * understand or does not permit, or what answers is no such server, and somebody has to mend that.
         */
        public String reason() {
            return unavailable == null ? null : Call.reason(unavailable);
        }
    }

    /**
     * A hit, for metrics: {@code ratelimit_hits_total{limiter, outcome, reason}}.
     *
     * @param limiter its prefix
     * @param outcome the verdict's {@link Verdict#outcome}
     * @param reason the verdict's {@link Verdict#reason}, or null
     * @param took how long the caller waited
     */
    public record Hit(String limiter, String outcome, String reason, Duration took) {}

    /** Redis could not be asked, or it refused: the cause says which. */
    public static final class UnavailableException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnavailableException(Exception cause) {
            super(cause);
        }

        /** As {@link Verdict#reason}. */
        public String reason() {
            return Call.reason((Exception) getCause());
        }
    }

    public RateLimiter {
        Objects.requireNonNull(sender, "sender");
        Objects.requireNonNull(prefix, "prefix");
        Objects.requireNonNull(observer, "observer");
        words = Words.checked(words);
        if (timeout.isNegative() || timeout.isZero()) throw new IllegalArgumentException("timeout must be positive: " + timeout);
    }

    /** Open where Redis is away, or takes longer than a second. */
    public static RateLimiter of(Sender sender, String prefix, String... words) {
        return new RateLimiter(sender, prefix, List.of(words), Duration.ofSeconds(1), false, hit -> {});
    }

    /** The same, closed where Redis is away. */
    public RateLimiter closed() {
        return new RateLimiter(sender, prefix, words, timeout, true, observer);
    }

    /** The same, with so much time for Redis. */
    public RateLimiter timeout(Duration timeout) {
        return new RateLimiter(sender, prefix, words, timeout, isClosed, observer);
    }

    /** The same, telling of each hit, for metrics. It is told by the thread that hits, and must not block. */
    public RateLimiter onHit(Consumer<Hit> observer) {
        return new RateLimiter(sender, prefix, words, timeout, isClosed, observer);
    }

    /** The same, asking also when more becomes available. What stands in front of HTTP does: it is the {@code t} of RateLimit. */
    public RateLimiter next() {
        return Words.asked(words).hasNext() ? this : with("NEXT");
    }

    /** The same, asking when a hit was charged, so that {@link #refund} can give it back. */
    public RateLimiter stamp() {
        return Words.asked(words).hasStamp() ? this : with("STAMP");
    }

    private RateLimiter with(String option) {
        List<String> more = new ArrayList<>(words);
        more.add(Words.options(words), option);
        return new RateLimiter(sender, prefix, more, timeout, isClosed, observer);
    }

    /** Counts one hit, or says why not. */
    public Verdict hit(String key) {
        return answer(call(key, List.of()), Words.asked(words));
    }

    /**
     * Counts one hit once: where one of the same id has counted already, nothing is charged, and {@code repeated} says so. So
     * a hit whose reply was lost can be made again. The server remembers the newest ids of a key, for ten minutes.
     *
     * @param id 1 to 64 bytes, the application's own: who may choose ids freely repeats one for ever, so never a caller's
     *     header as it comes
     */
    public Verdict hit(String key, String id) {
        return hit(key, id, 0);
    }

    /**
     * The same, sent again where Redis did not answer or could not, by whichever connection there is then: after 25 ms, then 50
     * and so on, within the timeout. Each try has its share of that. What the server refuses is not sent again.
     *
     * @param retries 0 to 10
     */
    public Verdict hit(String key, String id, int retries) {
        if (retries < 0 || retries > MAX_RETRIES) throw new IllegalArgumentException("retries: expected 0 to " + MAX_RETRIES + ", got " + retries);
        List<String> call = call(key, List.of("ID", Words.id(id)));
        Asked asked = Words.asked(words).withId();
        long began = System.nanoTime();
        long deadline = began + timeout.toNanos();
        for (int tried = 0; ; tried++) {
            try {
                long share = (deadline - System.nanoTime()) / (retries - tried + 1);
                return told(began, Call.verdict(sender.ask(call, Duration.ofNanos(Math.max(share, 1_000_000))), asked));
            } catch (Exception failed) {
                if (tried == retries || Call.isRefusal(failed) || !paused(PAUSE_MS << tried, deadline)) {
                    return told(began, Call.unavailable(failed, isClosed));
                }
            }
        }
    }

    /** Whether there is time to go on behind it. */
    private static boolean paused(long ms, long deadline) {
        if (deadline - System.nanoTime() <= TimeUnit.MILLISECONDS.toNanos(ms)) return false;
        try {
            Thread.sleep(ms);
            return true;
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    /** Counts so many at once, or none, whatever the words say of {@code COST}. */
    public Verdict hit(String key, long cost) {
        return answer(call(key, cost, List.of()), Words.asked(words).withCost(cost));
    }

    /**
     * Takes a place for so many, if they fit within the wait: where that is allowed, the verdict's {@code retryAfterMs} is how
     * long to wait before acting, so callers act one after another. Where it would take longer nothing is charged.
     *
     * @param maxWait rounded down to milliseconds; less than one is a hit
     * @throws IllegalStateException where this is no bucket, or has words that do not go with it
     */
    public Verdict reserve(String key, long cost, Duration maxWait) {
        if (!words.get(0).equals("RL.BUCKET") || Words.without(words, Set.of("FORCE", "MIN", "BLOCK")).size() < words.size()) {
            throw new IllegalStateException("what reserves is an RL.BUCKET without FORCE, MIN and BLOCK, not " + words);
        }
        return answer(call(key, cost, maxWait.toMillis() < 1 ? List.of() : List.of("RESERVE", Words.ttl(maxWait))), Words.asked(words).withCost(cost));
    }

    /**
     * Counts one hit and holds no thread meanwhile, for what is reactive. The stage completes within the timeout, and never
     * with an exception.
     *
     * @throws UnsupportedOperationException where the replies of a sender of your own are no stages
     */
    public CompletableFuture<Verdict> hitAsync(String key) {
        List<String> call = call(key, List.of());
        long began = System.nanoTime();
        CompletableFuture<? extends List<?>> reply;
        try {
            Future<? extends List<?>> sent = sender.send(call);
            if (!(sent instanceof CompletionStage<?> stage)) throw new UnsupportedOperationException("hitAsync needs a sender whose replies are stages");
            reply = Deadlines.within(timeout, stage.thenApply(answer -> (List<?>) answer).toCompletableFuture());
            // What has not been sent yet is not sent any more.
            reply.whenComplete((answer, failed) -> {
                if (failed instanceof TimeoutException) sent.cancel(true);
            });
        } catch (UnsupportedOperationException mistake) {
            throw mistake;
        } catch (RuntimeException failed) {
            reply = CompletableFuture.failedFuture(failed);
        }
        CompletableFuture<Verdict> verdict = reply.handle((answer, failed) -> {
            try {
                if (failed == null) return Call.verdict(answer, Words.asked(words));
                return Call.unavailable(failed instanceof CompletionException wrapped && wrapped.getCause() instanceof Exception cause ? cause
                    : failed instanceof Exception exception ? exception : new ExecutionException(failed), isClosed);
            } catch (RuntimeException unread) {
                return Call.unavailable(unread, isClosed);
            }
        });
        return verdict.thenApply(answer -> told(began, answer));
    }

    /** What a hit would be answered now. It changes nothing. */
    public Verdict peek(String key) {
        List<String> call = new ArrayList<>(words.size() + 2);
        call.add("RL.PEEK");
        call.add(words.get(0).substring("RL.".length()));
        call.add(prefix + Objects.requireNonNull(key, "key"));
        List<String> rest = Words.without(words, Set.of("FORCE", "STAMP"));
        call.addAll(rest.subList(1, rest.size()));
        return answer(call, Words.asked(words).aLook());
    }

    /**
     * Gives back what a hit took, at the time of its charge, so that a hit that should not count (the password was right) does
     * not. What cannot be given back now stays charged, and is in the log.
     *
     * @param charged the verdict of a hit of this key, by a limiter with {@code STAMP}: {@link #stamp}
     */
    public void refund(String key, Verdict charged) {
        if (charged.taken() < 1 || charged.repeated() || charged.unavailable() != null) return;
        if (charged.chargedAt() == 0) throw new IllegalArgumentException("expected a verdict with chargedAt, of a limiter that has stamp()");
        List<String> call = Words.without(words, Set.of("COST", "MIN", "FORCE", "STAMP", "DENY", "NEXT"));
        call.addAll(Words.options(words), List.of("COST", Long.toString(-charged.taken()), "AT", Long.toString(charged.chargedAt())));
        call.add(1, prefix + Objects.requireNonNull(key, "key"));
        try {
            Call.verdict(sender.ask(call, timeout), Asked.of(-charged.taken()));
        } catch (Exception failed) {
            Call.report(failed);
        }
    }

    private Verdict answer(List<String> call, Asked asked) {
        long began = System.nanoTime();
        try {
            return told(began, Call.verdict(sender.ask(call, timeout), asked));
        } catch (Exception failed) {
            return told(began, Call.unavailable(failed, isClosed));
        }
    }

    private Verdict told(long began, Verdict verdict) {
        Call.tell(observer, new Hit(prefix, verdict.outcome(), verdict.reason(), Duration.ofNanos(System.nanoTime() - began)));
        return verdict;
    }

    private List<String> call(String key, List<String> id) {
        Objects.requireNonNull(key, "key"); // or all without one would be one caller
        int options = Words.options(words);
        List<String> call = new ArrayList<>(words.size() + 1 + id.size());
        call.add(words.get(0));
        call.add(prefix + key);
        call.addAll(words.subList(1, options));
        call.addAll(id);
        call.addAll(words.subList(options, words.size()));
        return call;
    }

    private List<String> call(String key, long cost, List<String> option) {
        if (cost < 1 || cost >= 1L << 53) throw new IllegalArgumentException("cost: expected 1 to 2^53 - 1, got " + cost);
        int options = Words.options(words);
        List<String> call = Words.without(words, Set.of("COST")); // which is among its options
        call.addAll(options, option);
        call.addAll(options, List.of("COST", Long.toString(cost)));
        call.add(1, prefix + Objects.requireNonNull(key, "key"));
        return call;
    }

    /**
     * Shuts the key for so long, whatever its limits say: what a provider's {@code Retry-After} asks for. Zero lifts any block.
     *
     * @return how long until the key opens
     * @throws UnavailableException where Redis did not answer in time, or refused
     */
    public Duration block(String key, Duration duration) {
        Objects.requireNonNull(key, "key");
        var call = List.of("RL.BLOCK", prefix + key, Words.block(duration));
        try {
            return Duration.ofMillis(Call.number(sender.ask(call, timeout), 0));
        } catch (Exception failed) {
            throw new UnavailableException(failed);
        }
    }
}
