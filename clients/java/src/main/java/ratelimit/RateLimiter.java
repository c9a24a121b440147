package ratelimit;

import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

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
 */
public record RateLimiter(Sender sender, String prefix, List<String> words, Duration timeout, boolean isClosed) {
    /**
     * What the server answered. Where {@code unavailable} is set Redis could not be asked, and the numbers are 0.
     *
     * @param retryAfterMs negative where this can never be allowed
     * @param nextAfterMs until more remains than {@code remaining} says; negative where it never will, and where the words
     *     have no {@code NEXT}
     */
    public record Verdict(
        boolean allowed, long limit, long remaining, long retryAfterMs, long resetAfterMs, long nextAfterMs, Exception unavailable) {}

    private static final System.Logger LOG = System.getLogger(RateLimiter.class.getName());
    private static final Report REPORT = new Report((error, count) ->
        LOG.log(Level.WARNING, "rate limiter: the server could not be asked (" + count + " times since the last line)", error));

    public RateLimiter {
        Objects.requireNonNull(sender, "sender");
        Objects.requireNonNull(prefix, "prefix");
        words = Words.checked(words);
        if (timeout.isNegative() || timeout.isZero()) throw new IllegalArgumentException("timeout must be positive: " + timeout);
    }

    /** Open where Redis is away, or takes longer than a second. */
    public static RateLimiter of(Sender sender, String prefix, String... words) {
        return new RateLimiter(sender, prefix, List.of(words), Duration.ofSeconds(1), false);
    }

    /** The same, closed where Redis is away. */
    public RateLimiter closed() {
        return new RateLimiter(sender, prefix, words, timeout, true);
    }

    /** The same, with so much time for Redis. */
    public RateLimiter timeout(Duration timeout) {
        return new RateLimiter(sender, prefix, words, timeout, isClosed);
    }

    /** The same, asking also when more becomes available. What stands in front of HTTP does: it is the {@code t} of RateLimit. */
    public RateLimiter next() {
        if (Words.isNext(words)) return this;
        List<String> more = new ArrayList<>(words);
        more.add(Words.options(words), "NEXT");
        return new RateLimiter(sender, prefix, more, timeout, isClosed);
    }

    /** Counts one hit, or says why not. */
    public Verdict hit(String key) {
        Objects.requireNonNull(key, "key"); // or all without one would be one caller
        List<String> call = new ArrayList<>(words.size() + 1);
        call.addAll(words);
        call.add(1, prefix + key);
        Future<? extends List<?>> reply = null;
        try {
            reply = sender.send(call);
            return verdict(reply.get(timeout.toNanos(), TimeUnit.NANOSECONDS), Words.isNext(words) ? 6 : 5);
        } catch (TimeoutException late) {
            reply.cancel(true); // what has not been sent yet is not sent any more
            return unavailable(late);
        } catch (InterruptedException stopped) {
            reply.cancel(true);
            Thread.currentThread().interrupt();
            return unavailable(stopped);
        } catch (ExecutionException failed) {
            return unavailable(failed.getCause() instanceof Exception cause ? cause : failed);
        } catch (RuntimeException failed) {
            return unavailable(failed);
        }
    }

    private static Verdict verdict(List<?> reply, int count) {
        long[] numbers = {0, 0, 0, 0, 0, -1};
        if (reply == null || reply.size() < count) throw new IllegalStateException("not a reply of RL.*: " + reply);
        for (int i = 0; i < count; i++) {
            if (!(reply.get(i) instanceof Long number)) throw new IllegalStateException("not a reply of RL.*: " + reply);
            numbers[i] = number;
        }
        return new Verdict(numbers[0] == 1, numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], null);
    }

    private Verdict unavailable(Exception cause) {
        REPORT.error(cause);
        return new Verdict(!isClosed, 0, 0, isClosed ? 1000 : 0, 0, -1, cause);
    }
}
