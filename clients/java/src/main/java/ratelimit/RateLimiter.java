package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * One limiter for all keys.
 *
 * <pre>
 * var api = RateLimiter.of(new JedisSender(client), "api:", "RL.SLIDING", "100", "15m");
 * var login = RateLimiter.of(new LettuceSender(connection.async()), "login:", "RL.SLIDING", "5", "15m", "BLOCK", "15m", "1h").closed();
 * </pre>
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
     */
    public record Verdict(
        boolean allowed, long limit, long remaining, long retryAfterMs, long resetAfterMs, Exception unavailable) {}

    /** The server refuses the call: a mistake in the set-up, by which no limit is switched off. */
    public static final class RefusedException extends RuntimeException {
        private static final long serialVersionUID = 1;

        RefusedException(Throwable cause) {
            super(cause.getMessage(), cause);
        }
    }

    private static final Set<String> COMMANDS = Set.of("RL.FIXED", "RL.SLIDING", "RL.BUCKET");
    /** What another try may change (LOADING, OOM, CLUSTERDOWN, ..) is not among them. */
    private static final Set<String> MISTAKES = Set.of("ERR", "WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS", "CROSSSLOT");

    public RateLimiter {
        Objects.requireNonNull(sender, "sender");
        Objects.requireNonNull(prefix, "prefix");
        words = List.copyOf(words);
        if (words.isEmpty() || !COMMANDS.contains(words.get(0))) throw new IllegalArgumentException("the command must be one of " + COMMANDS);
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

    /**
     * Counts one hit.
     *
     * @throws RefusedException where the server refuses the call
     */
    public Verdict hit(String key) {
        Objects.requireNonNull(key, "key"); // or all without one would be one caller
        List<String> call = new ArrayList<>(words);
        call.add(1, prefix + key);
        Future<? extends List<?>> reply = null;
        try {
            reply = sender.send(call);
            return verdict(reply.get(timeout.toNanos(), TimeUnit.NANOSECONDS));
        } catch (TimeoutException late) {
            reply.cancel(true); // what has not been sent yet is not sent any more
            return unavailable(late);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            return unavailable(stopped);
        } catch (ExecutionException failed) {
            return failed.getCause() instanceof Exception cause ? judge(cause) : judge(failed);
        } catch (RuntimeException failed) {
            return judge(failed);
        }
    }

    private Verdict verdict(List<?> reply) {
        long[] five = new long[5];
        for (int i = 0; i < five.length; i++) five[i] = (Long) reply.get(i);
        return new Verdict(five[0] == 1, five[1], five[2], five[3], five[4], null);
    }

    private Verdict judge(Exception failed) {
        String code = String.valueOf(failed.getMessage()).split(" ", 2)[0];
        if (MISTAKES.contains(code)) throw new RefusedException(failed);
        return unavailable(failed);
    }

    private Verdict unavailable(Exception cause) {
        return new Verdict(!isClosed, 0, 0, 0, 0, cause);
    }
}
