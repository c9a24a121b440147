package ratelimit;

import java.lang.System.Logger.Level;
import java.util.List;
import java.util.regex.Pattern;

/** Where the keys of a command are, and what the numbers of its reply say. */
final class Call {
    private static final System.Logger LOG = System.getLogger(RateLimiter.class.getName());
    private static final Report REPORT = new Report((error, count) ->
        LOG.log(Level.WARNING, "rate limiter: the server could not be asked (" + count + " times since the last line)", error));

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
        return new RateLimiter.Verdict(!isClosed, 0, 0, isClosed ? 1000 : 0, 0, -1, false, failed);
    }

    /** Whether the server said what trying again does not mend. The clients' errors have the reply's text. */
    static boolean isRefusal(Exception failed) {
        String text = String.valueOf(failed.getMessage());
        return REFUSAL.matcher(text).lookingAt() && !text.startsWith("ERR max number of clients");
    }

    static void report(Exception failed) {
        REPORT.error(failed);
    }

    /** Five, or six with {@code NEXT}. */
    static RateLimiter.Verdict verdict(List<?> reply, boolean hasNext, boolean isRepeated) {
        long[] numbers = {0, 0, 0, 0, 0, -1};
        int count = hasNext ? 6 : 5;
        if (reply == null || reply.size() < count) throw unread(reply);
        for (int i = 0; i < count; i++) numbers[i] = number(reply, i);
        return new RateLimiter.Verdict(numbers[0] == 1, numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], isRepeated, null);
    }

    static long number(List<?> reply, int at) {
        if (reply == null || reply.size() <= at || !(reply.get(at) instanceof Long number)) throw unread(reply);
        return number;
    }

    static IllegalStateException unread(List<?> reply) {
        return new IllegalStateException("not a reply of RL.*: " + reply);
    }
}
