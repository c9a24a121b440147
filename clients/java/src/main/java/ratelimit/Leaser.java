package ratelimit;

import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import ratelimit.RateLimiter.Verdict;

/**
 * How many may be at work at once.
 *
 * <pre>
 * var exports = Leaser.of(sender, "export:", 3, Duration.ofSeconds(30));
 * var done = exports.hold("acme", held -> export(held));
 * if (!done.verdict().allowed()) throw new TooManyExports(done.verdict().retryAfterMs());
 * </pre>
 *
 * A lease that is not released ends by itself after its ttl, so a holder that was killed costs at most that.
 */
public final class Leaser {
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final long FIRST_PAUSE_MS = 20;
    private static final long LONGEST_PAUSE_MS = 500;
    private static final long MAX_COUNT = (1L << 53) - 1;
    private final Sender sender;
    private final String prefix;
    private final long limit;
    private final Duration ttl;
    private final List<String> policies;
    private final Duration timeout;
    private final boolean isClosed;
    private final long typicalMs;
    private final Returns returns;

    private Leaser(Sender sender, String prefix, long limit, Duration ttl, List<String> policies, Duration timeout, boolean isClosed, long typicalMs) {
        this.sender = Objects.requireNonNull(sender, "sender");
        this.prefix = Objects.requireNonNull(prefix, "prefix");
        if (limit < 0 || limit > MAX_COUNT) throw new IllegalArgumentException("limit: expected 0 to 2^53 - 1, got " + limit);
        Words.ttl(ttl);
        if (policies.size() > 4) throw new IllegalArgumentException("policies: expected 4 at most, got " + policies);
        if (timeout.isNegative() || timeout.isZero()) throw new IllegalArgumentException("timeout must be positive: " + timeout);
        this.limit = limit;
        this.ttl = ttl;
        this.policies = List.copyOf(policies);
        this.timeout = timeout;
        this.isClosed = isClosed;
        if (typicalMs <= 0) throw new IllegalArgumentException("typical: expected 1 ms at least");
        this.typicalMs = typicalMs;
        returns = new Returns(ttl, timeout, this::released);
    }

    /** So many at once, each for the ttl and while it is renewed. Open where Redis is away, or takes longer than a second. */
    public static Leaser of(Sender sender, String prefix, long limit, Duration ttl) {
        return new Leaser(sender, prefix, limit, ttl, List.of(), Duration.ofSeconds(1), false, Long.MAX_VALUE);
    }

    /** The same, closed where Redis is away. */
    public Leaser closed() {
        return new Leaser(sender, prefix, limit, ttl, policies, timeout, true, typicalMs);
    }

    /** The same, with so much time for Redis. */
    public Leaser timeout(Duration timeout) {
        return new Leaser(sender, prefix, limit, ttl, policies, timeout, isClosed, typicalMs);
    }

    /** The same, by these policies of the server, of which the first that exists counts. */
    public Leaser policies(String... policies) {
        return new Leaser(sender, prefix, limit, ttl, List.of(policies), timeout, isClosed, typicalMs);
    }

    /**
     * The same, of leases that are usually held for so long: whoever is denied is told to come back in that time at most. By
     * default when the next lease ends by its ttl, which is the only thing that the server knows of.
     */
    public Leaser typical(Duration held) {
        return new Leaser(sender, prefix, limit, ttl, policies, timeout, isClosed, held.toMillis());
    }

    /** One that is held, where its verdict allows it and Redis could be asked. */
    public final class Lease implements AutoCloseable {
        private final String key;
        private final String id;
        private final long cost;
        private final Verdict verdict;
        /** A call for it may be on its way still, and be carried out behind the release. */
        private volatile boolean isInDoubt;

        private Lease(String key, long cost) {
            this.key = key;
            this.cost = cost;
            byte[] random = new byte[16];
            RANDOM.nextBytes(random);
            id = HexFormat.of().formatHex(random);
            verdict = ask(timeout);
            // It may have been granted all the same.
            if (verdict.unavailable() != null) returns.add(key, id);
        }

        public String id() {
            return id;
        }

        public Verdict verdict() {
            return verdict;
        }

        /** Sets its end anew. Denied where it has ended meanwhile, and its place was taken. */
        public Verdict renew() {
            return ask(timeout);
        }

        private Verdict ask(Duration within) {
            try {
                return tryAsk(within);
            } catch (Exception failed) {
                return Call.unavailable(failed, isClosed);
            }
        }

        private Verdict tryAsk(Duration within) throws Exception {
            List<String> words = new ArrayList<>(List.of("RL.LEASE", prefix + key, Long.toString(limit), Words.ttl(ttl), id, "COST", Long.toString(cost)));
            for (String policy : policies) words.addAll(List.of("POLICY", policy));
            try {
                return Call.verdict(sender.ask(words, within), Asked.of(cost)).retryWithinMs(typicalMs);
            } catch (Exception failed) {
                isInDoubt = true;
                throw failed;
            }
        }

        /** Gives it back. Where Redis does not answer, it goes on trying behind the caller's back, for as long as the lease may last. */
        public void release() {
            if (!verdict.allowed() || verdict.unavailable() != null) return;
            boolean isInterrupted = Thread.interrupted(); // or nothing could be asked any more
            try {
                released(key, id);
                if (isInDoubt) returns.add(key, id);
            } catch (Exception failed) {
                Call.report(failed);
                returns.add(key, id);
            } finally {
                if (isInterrupted) Thread.currentThread().interrupt();
            }
        }

        @Override
        public void close() {
            release();
        }
    }

    /** Takes a lease of an id of its own: {@code try (var lease = exports.acquire("acme")) ...}. It never throws. */
    public Lease acquire(String key) {
        return acquire(key, 1);
    }

    /** Takes so many units. */
    public Lease acquire(String key, long cost) {
        Objects.requireNonNull(key, "key");
        if (cost < 1 || cost > MAX_COUNT) throw new IllegalArgumentException("cost: expected 1 to 2^53 - 1, got " + cost);
        return new Lease(key, cost);
    }

    /**
     * Takes a lease as soon as one is free: asks again after 20 ms, then 40 and so on, up to half a second. The verdict's
     * {@code retryAfterMs} is until a lease ends by itself, and its holder may be done long before. What was not granted in time
     * was denied.
     */
    public Lease acquire(String key, Duration maxWait) throws InterruptedException {
        long until = System.nanoTime() + maxWait.toNanos();
        for (long pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
            var lease = acquire(key);
            var verdict = lease.verdict();
            long next = pauseMs / 2 + RANDOM.nextLong(pauseMs / 2 + 1); // so that waiters do not come together
            if (verdict.allowed() || verdict.unavailable() != null || verdict.retryAfterMs() < 0
                || System.nanoTime() + Duration.ofMillis(next).toNanos() > until) return lease;
            Thread.sleep(next);
        }
    }

    private long released(String key, String id) throws Exception {
        return Call.number(sender.ask(List.of("RL.RELEASE", prefix + key, id), timeout), 0);
    }

    /** What work is told while it holds a lease. */
    public static final class Held {
        private final CompletableFuture<Void> lost = new CompletableFuture<>();

        private Held() {}

        /** Whether the lease has ended: others may have its place. */
        public boolean isLost() {
            return lost.isDone();
        }

        /** Completes when the lease has ended: {@code held.lost().thenRun(Thread.currentThread()::interrupt)}. */
        public CompletableFuture<Void> lost() {
            return lost.copy();
        }
    }

    /** @param <T> what comes of it */
    @FunctionalInterface
    public interface Work<T> {
        T run(Held held) throws Exception;
    }

    /** @param value what came of the work; null where it was not run, as the verdict did not allow it */
    public record Done<T>(Verdict verdict, T value) {}

    /**
     * Runs work while a lease is held, which is renewed at a third of its ttl and given back when the work ends, fails or is
     * interrupted. Should it be lost (a renewal was denied, or Redis did not answer for so long that it has ended), the work
     * is told. Where no lease was had the work is not run; where Redis could not be asked and this is open, it runs without one.
     *
     * @throws Exception what the work throws
     */
    public <T> Done<T> hold(String key, Work<T> work) throws Exception {
        long asked = System.nanoTime();
        var held = new Held();
        try (var lease = acquire(key)) {
            var verdict = lease.verdict();
            if (!verdict.allowed()) return new Done<>(verdict, null);
            if (verdict.unavailable() != null) return new Done<>(verdict, work.run(held));
            var renewing = new Thread(() -> keep(lease, held, asked), "ratelimit-lease");
            renewing.setDaemon(true);
            renewing.start();
            try {
                return new Done<>(verdict, work.run(held));
            } finally {
                renewing.interrupt();
                join(renewing); // a renewal behind the release would take the place again
            }
        }
    }

    /** A policy may have another ttl than ours. The last lease to end is the newest, or a longer one. */
    private long lasts(Verdict granted) {
        long ours = ttl.toNanos();
        return granted.resetAfterMs() > 0 ? Math.min(ours, Duration.ofMillis(granted.resetAfterMs()).toNanos()) : ours;
    }

    /** Renews until it is interrupted. The lease surely lasts until its ttl after the call that set it began. */
    private void keep(Lease lease, Held held, long asked) {
        try {
            long lasts = lasts(lease.verdict());
            long ends = asked + lasts;
            while (true) {
                Thread.sleep(Duration.ofNanos(Math.max(0, Math.min(lasts / 3, ends - System.nanoTime()))).toMillis());
                asked = System.nanoTime();
                if (asked >= ends - 1_000_000) break; // what is less than a millisecond is not slept
                try {
                    var renewed = lease.tryAsk(Duration.ofNanos(Math.min(timeout.toNanos(), ends - asked)));
                    if (!renewed.allowed()) break;
                    lasts = lasts(renewed);
                    ends = asked + lasts;
                } catch (InterruptedException done) {
                    throw done;
                } catch (Exception failed) { // asked again until it ends
                    Call.report(failed);
                }
            }
            held.lost.complete(null);
        } catch (InterruptedException done) {
            // the work is over
        }
    }

    private static void join(Thread thread) {
        boolean isInterrupted = false;
        while (true) {
            try {
                thread.join();
                break;
            } catch (InterruptedException again) {
                isInterrupted = true; // it ends at once: it was interrupted
            }
        }
        if (isInterrupted) Thread.currentThread().interrupt();
    }
}
