package ratelimit;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.RandomAccess;
import java.util.Set;
import java.util.regex.Pattern;

/** The words of a command as the server will read them, so that a mistake is told when a limiter is made. */
final class Words {
    private static final Set<String> COMMANDS = Set.of("RL.FIXED", "RL.SLIDING", "RL.BUCKET");
    private static final Set<String> OPTIONS = Set.of("COST", "MIN", "BLOCK", "POLICY", "DENY", "FORCE", "STAMP", "NEXT");
    private static final Pattern COUNT = Pattern.compile("\\d{1,16}");
    private static final Pattern DURATION = Pattern.compile("(\\d{1,18})(ms|s|m|h|d|w)", Pattern.CASE_INSENSITIVE);
    private static final Pattern CALENDAR = Pattern.compile("[1-9]\\d{0,3}(d|w|mo|y)(@\\S+)?|\\d{1,18}(ms|s|m|h|d|w)@first");
    private static final Map<String, Long> UNIT_MS =
        Map.of("ms", 1L, "s", 1_000L, "m", 60_000L, "h", 3_600_000L, "d", 86_400_000L, "w", 604_800_000L);
    private static final long MAX_MS = 3660L * 86_400_000L;

    private Words() {}

    /** What was read in them when the limiter was made is not read at each hit. */
    private static final class Checked extends AbstractList<String> implements RandomAccess {
        private final String[] words;
        private final int options;
        private final Asked asked;

        Checked(List<String> words, int options, Asked asked) {
            this.words = words.toArray(String[]::new);
            this.options = options;
            this.asked = asked;
        }

        @Override
        public String get(int at) {
            return words[at];
        }

        @Override
        public int size() {
            return words.length;
        }
    }

    static boolean hasNext(List<String> checked) {
        return asked(checked).hasNext();
    }

    static Asked asked(List<String> checked) {
        return ((Checked) checked).asked;
    }

    /** Where the options begin. */
    static int options(List<String> checked) {
        return ((Checked) checked).options;
    }

    /** The limits are what begins with a digit. */
    private static int behindLimits(List<String> words) {
        int step = words.get(0).equals("RL.BUCKET") ? 3 : 2;
        int next = 1;
        while (next < words.size() && Character.isDigit(words.get(next).charAt(0))) next += step;
        return next;
    }

    /** Whether this is one of the options, and not a policy's name or a value. */
    static boolean has(List<String> words, String option) {
        return without(words, Set.of(option)).size() < words.size();
    }

    /** Less these options, and their values. */
    static List<String> without(List<String> words, Set<String> options) {
        List<String> rest = new ArrayList<>(words.subList(0, behindLimits(words)));
        for (int i = rest.size(), next; i < words.size(); i = next) {
            String word = words.get(i).toUpperCase(Locale.ROOT);
            next = switch (word) {
                case "COST", "MIN", "POLICY" -> i + 2;
                case "DENY" -> words.size(); // the rest are its values
                case "BLOCK" -> behindDurations(words, i + 1);
                default -> i + 1;
            };
            next = Math.min(next, words.size());
            if (!options.contains(word)) rest.addAll(words.subList(i, next));
        }
        return rest;
    }

    private static int behindDurations(List<String> words, int at) {
        while (at < words.size() && Character.isDigit(words.get(at).charAt(0))) at++;
        return at;
    }

    static List<String> checked(List<String> words) {
        words = List.copyOf(words);
        if (words.isEmpty() || !COMMANDS.contains(words.get(0))) throw new IllegalArgumentException("expected one of " + COMMANDS + " first, got " + words);
        for (String word : words) {
            if (word.isEmpty()) throw new IllegalArgumentException("an empty word: " + words);
        }
        boolean isBucket = words.get(0).equals("RL.BUCKET");
        int step = isBucket ? 3 : 2;
        Set<String> windows = new HashSet<>();
        int next = 1;
        for (; next < words.size() && Character.isDigit(words.get(next).charAt(0)); next += step) {
            if (next + step > words.size()) throw new IllegalArgumentException("the last limit lacks its window: " + words);
            count("limit", words.get(next));
            if (isBucket) count("refill", words.get(next + 1));
            String window = words.get(next + step - 1);
            if (!(words.get(0).equals("RL.FIXED") && CALENDAR.matcher(window).matches())) ms("window", window);
            if (!windows.add(window)) throw new IllegalArgumentException("two limits of the window " + window);
        }
        if (windows.isEmpty() || windows.size() > 8) throw new IllegalArgumentException("expected 1 to 8 limits, got " + windows.size() + ": " + words);
        return new Checked(words, next, options(words, next));
    }

    /** What the options ask for; these, too, are what the server will read. */
    private static Asked options(List<String> words, int at) {
        boolean hasNext = false, hasMin = false, hasStamp = false, hasDeny = false, isForced = false;
        long cost = 1;
        for (int next; at < words.size(); at = next) {
            String option = words.get(at).toUpperCase(Locale.ROOT);
            next = at + 1;
            switch (option) {
                case "NEXT" -> hasNext = true;
                case "STAMP" -> hasStamp = true;
                case "FORCE" -> isForced = true;
                case "COST" -> cost = count(option, value(words, next++));
                case "MIN" -> hasMin = count(option, value(words, next++)) > 0;
                case "POLICY" -> value(words, next++);
                case "BLOCK" -> {
                    next = behindDurations(words, next);
                    if (next == at + 1 || next > at + 9) throw new IllegalArgumentException("BLOCK: expected 1 to 8 durations, got " + words);
                    for (String block : words.subList(at + 1, next)) ms(option, block);
                }
                case "DENY" -> {
                    hasDeny = true;
                    value(words, next + 1);
                    next = words.size(); // the rest are its values
                }
                case "ID" -> throw new IllegalArgumentException("an id is one hit's, or all hits would be charged once: hit(key, id), got " + words);
                default -> throw new IllegalArgumentException("expected a limit or one of " + OPTIONS + ", got \"" + words.get(at) + '"');
            }
        }
        return new Asked(hasNext, false, hasMin, hasStamp, hasDeny, isForced, cost);
    }

    private static String value(List<String> words, int at) {
        if (at >= words.size()) throw new IllegalArgumentException("the last option lacks its value: " + words);
        return words.get(at);
    }

    static String id(String id) {
        int bytes = id.getBytes(StandardCharsets.UTF_8).length;
        if (bytes < 1 || bytes > 64) throw new IllegalArgumentException("id: expected 1 to 64 bytes, got " + bytes);
        return id;
    }

    /** Rounded up: a short one is no zero, which lifts. */
    static String block(Duration block) {
        if (block.isNegative() || block.compareTo(Duration.ofMillis(MAX_MS)) > 0) {
            throw new IllegalArgumentException("duration: expected zero to 3660 days, got " + block);
        }
        return block.isZero() ? "0" : block.plusNanos(999_999).toMillis() + "ms";
    }

    static String ttl(Duration ttl) {
        if (ttl.compareTo(Duration.ofMillis(1)) < 0 || ttl.compareTo(Duration.ofMillis(MAX_MS)) > 0) {
            throw new IllegalArgumentException("expected 1 ms to 3660 days, got " + ttl);
        }
        return ttl.toMillis() + "ms";
    }

    private static long count(String what, String word) {
        if (!COUNT.matcher(word).matches() || Long.parseLong(word) >= 1L << 53) {
            throw new IllegalArgumentException(what + ": expected an integer from 0 to 2^53 - 1, got \"" + word + '"');
        }
        return Long.parseLong(word);
    }

    /** Whether it begins with a digit, as what belongs to a limit does. */
    static boolean isNumber(Object word) {
        String text = Replies.text(word);
        return !text.isEmpty() && Character.isDigit(text.charAt(0));
    }

    /** The words of a policy of leases. */
    static void lease(List<String> words) {
        if (words.size() != 3) throw new IllegalArgumentException("a lease has one limit, got " + words);
        count("limit", words.get(1));
        ms("ttl", words.get(2));
    }

    /** How long that is. */
    static long ms(String what, String word) {
        var parts = DURATION.matcher(word);
        if (parts.matches()) {
            long unit = UNIT_MS.get(parts.group(2).toLowerCase(Locale.ROOT));
            long number = Long.parseLong(parts.group(1));
            if (number > 0 && number <= MAX_MS / unit) return number * unit;
        }
        throw new IllegalArgumentException(what + ": expected a number with a unit, 1ms to 3660d, such as 500ms or 15m, got \"" + word + '"');
    }
}
