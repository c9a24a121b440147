package ratelimit;

import java.lang.System.Logger.Level;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/** Where the keys of a command are, and what the numbers of its reply say. */
final class Call {
    private static final System.Logger LOG = System.getLogger(RateLimiter.class.getName());
    private static final Report REPORT = new Report((error, count) ->
        LOG.log(Level.WARNING, "rate limiter: " + reason(error) + ": the server could not be asked (" + count + " times since the last line)", error));

    private static final Pattern REPLY = Pattern.compile("[A-Z]{2,} ");
    private static final Pattern REFUSAL = Pattern.compile("(ERR|WRONGTYPE|CROSSSLOT|NOPERM|NOAUTH|WRONGPASS|EXECABORT|MOVED) ");

    private Call() {}

    /** The index of the first key. */
    static int firstKey(List<String> words) {
        return switch (words.get(0)) {
            case "RL.PEEK", "RL.ALL", "RL.PEEKALL" -> 2;
            default -> 1;
        };
    }

    /** The index behind the last key. */
    static int behindKeys(List<String> words) {
        return switch (words.get(0)) {
            case "RL.ALL", "RL.PEEKALL" -> 2 + Integer.parseInt(words.get(1));
            default -> firstKey(words) + 1;
        };
    }

    static RateLimiter.Verdict unavailable(Exception failed, boolean isClosed) {
        report(failed);
        return new RateLimiter.Verdict(!isClosed, 0, 0, isClosed ? 1000 : 0, 0, -1, 0, 0, false, null, failed);
    }

    /** Whether the server said what trying again does not mend. The clients' errors have the reply's text. */
    static boolean isRefusal(Exception failed) {
        String text = String.valueOf(failed.getMessage());
        return REFUSAL.matcher(text).lookingAt() && !text.startsWith("ERR max number of clients");
    }

    /** One of four words: what a metric and the log say of it. */
    static String reason(Exception failed) {
        if (failed instanceof UnreadException || isRefusal(failed)) return "refused";
        if (REPLY.matcher(String.valueOf(failed.getMessage())).lookingAt()) return "server";
        for (Throwable cause = failed; cause != null; cause = cause.getCause()) {
            if (cause instanceof TimeoutException || cause instanceof SocketTimeoutException) return "timeout";
        }
        return "connection";
    }

    static void report(Exception failed) {
        REPORT.error(failed);
    }

    /** A hook of the application's that throws is no failed hit. */
    static void tell(Consumer<RateLimiter.Hit> observer, RateLimiter.Hit hit) {
        try {
            observer.accept(hit);
        } catch (RuntimeException thrown) {
            LOG.log(Level.ERROR, "rate limiter: a hook has thrown", thrown);
        }
    }

    static RateLimiter.Verdict verdict(List<?> reply, Asked asked) {
        long[] numbers = {0, 0, 0, 0, 0, -1};
        int at = asked.hasNext() ? 6 : 5;
        if (reply == null || reply.size() < at) throw unread(reply);
        for (int i = 0; i < at; i++) numbers[i] = number(reply, i);
        if (reply.size() > at && reply.get(at) instanceof List<?>) at++; // of each limit
        boolean isRepeated = asked.hasId() && number(reply, at++) == 1;
        String denied = asked.hasDeny() ? text(reply, reply.size() - 1) : null;
        boolean isCharged = numbers[0] == 1 || asked.isForced() && denied == null;
        long taken = asked.hasMin() ? number(reply, at++) : isCharged ? asked.cost() : 0;
        long chargedAt = asked.hasStamp() ? number(reply, at) : 0;
        return new RateLimiter.Verdict(
            numbers[0] == 1, numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], taken, chargedAt, isRepeated, denied, null);
    }

    private static String text(List<?> reply, int at) {
        Object value = reply.get(at);
        return value instanceof byte[] bytes ? new String(bytes, StandardCharsets.UTF_8) : value instanceof String text ? text : null;
    }

    static long number(List<?> reply, int at) {
        if (reply == null || reply.size() <= at || !(reply.get(at) instanceof Long number)) throw unread(reply);
        return number;
    }

    static final class UnreadException extends IllegalStateException {
        private static final long serialVersionUID = 1L;

        UnreadException(String message) {
            super(message);
        }
    }

    static UnreadException unread(List<?> reply) {
        return new UnreadException("not a reply of RL.*: " + reply);
    }
}
