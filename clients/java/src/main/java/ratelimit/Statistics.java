package ratelimit;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.BiFunction;

/**
 * What was counted under a name, or in total (RL.STATS); of a cluster the sum. The lists of the total are those of the hits that
 * named no policy. What an older server does not count is empty.
 *
 * @param counts since the counting began
 * @param mostAllowed the identifiers that were most allowed, most first
 * @param mostDenied the same of denied
 * @param mostShadowDenied those that a policy which is tried would have denied most
 * @param hours the last 8 days, by the hour, without those in which nothing was counted
 * @param days the last 90 days
 * @param algorithms of the total alone: by {@code FIXED}, {@code SLIDING}, {@code BUCKET} and {@code LEASE}
 * @param names of the total alone: those that have statistics of their own
 * @param mostDenyListed of the total alone: the values most deny-listed, for who may run RL.DENY ENTRIES
 * @param recentlyAllowed those of {@code mostAllowed} that were in this hour or in the one before it, most first
 * @param recentlyDenied the same of denied
 * @param recentlyShadowDenied the same of {@code mostShadowDenied}
 * @param recentlyDenyListed the same of {@code mostDenyListed}
 */
public record Statistics(
    Counts counts, List<Top> mostAllowed, List<Top> mostDenied, List<Top> mostShadowDenied, List<Period> hours, List<Period> days,
    Map<String, Counts> algorithms, List<String> names, List<Top> mostDenyListed, List<Recent> recentlyAllowed,
    List<Recent> recentlyDenied, List<Recent> recentlyShadowDenied, List<Recent> recentlyDenyListed) {
    /** @param shadowDenied let through, and a policy that is tried would have denied it */
    public record Counts(long allowed, long denied, long denyListed, long shadowDenied) {
        private static final Counts NONE = new Counts(0, 0, 0, 0);

        private static Counts read(Map<String, Object> found) {
            return new Counts(Replies.integer(found, "allowed"), Replies.integer(found, "denied"), Replies.integer(found, "deny_listed"),
                Replies.integer(found, "shadow_denied"));
        }

        private Counts plus(Counts other) {
            return new Counts(allowed + other.allowed, denied + other.denied, denyListed + other.denyListed, shadowDenied + other.shadowDenied);
        }
    }

    /** @param error at most so many of the count are not its own */
    public record Top(String id, long count, long error) {}

    /** Of the server's clock hours, UTC. Never too many. */
    public record Recent(String id, long thisHour, long hourBefore) {}

    /** An hour, or a day. */
    public record Period(Instant start, Counts counts) {}

    /** Of all primaries; null where nothing was counted at any. */
    static Statistics read(List<? extends List<?>> replies) {
        List<Map<String, Object>> found = new ArrayList<>();
        for (var reply : replies) {
            if (!Replies.isNil(reply)) found.add(Replies.map(reply));
        }
        if (found.isEmpty()) return null;
        var counts = Counts.NONE;
        Map<String, Counts> algorithms = new LinkedHashMap<>();
        var names = new TreeSet<String>();
        for (var one : found) {
            counts = counts.plus(Counts.read(one));
            Replies.map(one.get("algorithms"))
                .forEach((name, each) -> algorithms.merge(name.toUpperCase(Locale.ROOT), Counts.read(Replies.map(each)), Counts::plus));
            for (Object name : Replies.list(one.get("names"))) names.add(Replies.text(name));
        }
        return new Statistics(counts, most(found, "most_allowed"), most(found, "most_denied"), most(found, "most_shadow_denied"),
            periods(found, "hours"), periods(found, "days"), Collections.unmodifiableMap(algorithms), List.copyOf(names),
            most(found, "most_deny_listed"), recently(found, "recently_allowed"), recently(found, "recently_denied"),
            recently(found, "recently_shadow_denied"), recently(found, "recently_deny_listed"));
    }

    private static List<Top> most(List<Map<String, Object>> found, String name) {
        return sums(found, name, Top::new, Comparator.comparingLong(Top::count));
    }

    private static List<Recent> recently(List<Map<String, Object>> found, String name) {
        return sums(found, name, Recent::new, Comparator.comparingLong(one -> one.thisHour + one.hourBefore));
    }

    private interface Row<T> {
        T of(String id, long first, long second);
    }

    /** Rows of an identifier and two numbers: the largest first, of equals by identifier. */
    private static <T> List<T> sums(List<Map<String, Object>> found, String name, Row<T> row, Comparator<T> order) {
        Map<String, long[]> sums = new TreeMap<>();
        for (var one : found) {
            for (Object item : Replies.list(one.get(name))) {
                List<?> values = Replies.list(item, 3);
                long[] sum = sums.computeIfAbsent(Replies.text(values.get(0)), id -> new long[2]);
                for (int i = 0; i < sum.length; i++) sum[i] += Replies.integer(values.get(i + 1));
            }
        }
        List<T> rows = new ArrayList<>();
        sums.forEach((id, sum) -> rows.add(row.of(id, sum[0], sum[1])));
        rows.sort(order.reversed()); // stable
        return List.copyOf(rows);
    }

    private static List<Period> periods(List<Map<String, Object>> found, String name) {
        Map<Instant, Counts> sums = new TreeMap<>();
        BiFunction<List<?>, Integer, Long> number = (row, at) -> at < row.size() ? Replies.integer(row.get(at)) : 0; // 0.1 has no shadow_denied
        for (var one : found) {
            for (Object item : Replies.list(one.get(name))) {
                List<?> row = Replies.list(item, 4);
                var counts = new Counts(number.apply(row, 1), number.apply(row, 2), number.apply(row, 3), number.apply(row, 4));
                sums.merge(Instant.ofEpochSecond(Replies.integer(row.get(0))), counts, Counts::plus);
            }
        }
        return sums.entrySet().stream().map(one -> new Period(one.getKey(), one.getValue())).toList();
    }
}
