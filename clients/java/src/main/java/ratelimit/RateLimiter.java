package ratelimit;

import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
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
     * @param repeated a hit of the same id was charged before, and this one was not
     */
    public record Verdict(
        boolean allowed, long limit, long remaining, long retryAfterMs, long resetAfterMs, long nextAfterMs, boolean repeated,
        Exception unavailable) {}

    /** Redis could not be asked, or it refused: the cause says which. */
    public static final class UnavailableException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnavailableException(Exception cause) {
            super(cause);
        }
    }

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
        if (Words.has(words, "NEXT")) return this;
        List<String> more = new ArrayList<>(words);
        more.add(Words.options(words), "NEXT");
        return new RateLimiter(sender, prefix, more, timeout, isClosed);
    }

    /** Counts one hit, or says why not. */
    public Verdict hit(String key) {
        return hit(key, List.of());
    }

    /**
     * Counts one hit once: where one of the same id has counted already, nothing is charged, and {@code repeated} says so. So
     * a hit whose reply was lost can be made again. The server remembers the newest ids of a key, for ten minutes.
     *
     * @param id 1 to 64 bytes, the application's own: who may choose ids freely repeats one for ever, so never a caller's
     *     header as it comes
     */
    public Verdict hit(String key, String id) {
        return hit(key, List.of("ID", Words.id(id)));
    }

    /**
     * Counts one hit and holds no thread meanwhile, for what is reactive. The stage completes within the timeout, and never
     * with an exception.
     *
     * @throws UnsupportedOperationException where the replies of a sender of your own are no stages
     */
    public CompletableFuture<Verdict> hitAsync(String key) {
        List<String> call = call(key, List.of());
        CompletableFuture<? extends List<?>> reply;
        try {
            Future<? extends List<?>> sent = sender.send(call);
            if (!(sent instanceof CompletionStage<?> stage)) throw new UnsupportedOperationException("hitAsync needs a sender whose replies are stages");
            reply = stage.thenApply(answer -> (List<?>) answer).toCompletableFuture().orTimeout(timeout.toNanos(), TimeUnit.NANOSECONDS);
            // What has not been sent yet is not sent any more.
            reply.whenComplete((answer, failed) -> {
                if (failed instanceof TimeoutException) sent.cancel(true);
            });
        } catch (UnsupportedOperationException mistake) {
            throw mistake;
        } catch (RuntimeException failed) {
            reply = CompletableFuture.failedFuture(failed);
        }
        return reply.handle((answer, failed) -> {
            try {
                if (failed == null) return read(answer, false);
                return unavailable(failed instanceof CompletionException wrapped && wrapped.getCause() instanceof Exception cause ? cause
                    : failed instanceof Exception exception ? exception : new ExecutionException(failed));
            } catch (RuntimeException unread) {
                return unavailable(unread);
            }
        });
    }

    private Verdict hit(String key, List<String> id) {
        List<String> call = call(key, id);
        try {
            return read(ask(call), !id.isEmpty());
        } catch (Exception failed) {
            return unavailable(failed);
        }
    }

    private List<String> call(String key, List<String> id) {
        Objects.requireNonNull(key, "key"); // or all without one would be one caller
        List<String> call = new ArrayList<>(words.size() + 3);
        call.addAll(words);
        call.addAll(Words.options(words), id);
        call.add(1, prefix + key);
        return call;
    }

    private Verdict read(List<?> reply, boolean hasId) {
        return verdict(reply, Words.has(words, "NEXT") ? 6 : 5, hasId);
    }

    private Verdict unavailable(Exception failed) {
        REPORT.error(failed);
        return new Verdict(!isClosed, 0, 0, isClosed ? 1000 : 0, 0, -1, false, failed);
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
            List<?> reply = ask(call);
            if (reply == null || reply.size() != 1 || !(reply.get(0) instanceof Long left)) throw unread(reply);
            return Duration.ofMillis(left);
        } catch (Exception failed) {
            throw new UnavailableException(failed);
        }
    }

    private List<?> ask(List<String> call) throws Exception {
        Future<? extends List<?>> reply = sender.send(call);
        try {
            return reply.get(timeout.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException late) {
            reply.cancel(true); // what has not been sent yet is not sent any more
            throw late;
        } catch (InterruptedException stopped) {
            reply.cancel(true);
            Thread.currentThread().interrupt();
            throw stopped;
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof Exception cause ? cause : failed;
        }
    }

    /** It stands behind the numbers, and behind those of each limit where there are several. */
    private static boolean repeated(List<?> reply, int at) {
        if (reply.size() > at && reply.get(at) instanceof List<?>) at++;
        if (reply.size() <= at || !(reply.get(at) instanceof Long repeated)) throw unread(reply);
        return repeated == 1;
    }

    private static IllegalStateException unread(List<?> reply) {
        return new IllegalStateException("not a reply of RL.*: " + reply);
    }

    private static Verdict verdict(List<?> reply, int count, boolean hasId) {
        long[] numbers = {0, 0, 0, 0, 0, -1};
        if (reply == null || reply.size() < count) throw unread(reply);
        for (int i = 0; i < count; i++) {
            if (!(reply.get(i) instanceof Long number)) throw unread(reply);
            numbers[i] = number;
        }
        return new Verdict(numbers[0] == 1, numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], hasId && repeated(reply, count), null);
    }
}
