package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * For administrators and dashboards: policies, deny lists, statistics, and what a key holds.
 *
 * <pre>
 * var admin = Admin.of(sender);
 * admin.setPolicy("signup", Policy.sliding(new Policy.Limit(3, "15m")), Duration.ofHours(1)); // stands in front of the lasting one
 * admin.deny("crawlers", Duration.ofDays(1), "192.0.2.0/24");
 * admin.totalStatistics().mostDenied();
 * </pre>
 *
 * Unlike a hit its calls throw {@link RateLimiter.UnavailableException} where Redis is away or refuses. Of a cluster all
 * primaries are asked, one after another: where a call throws, some of them may have carried it out, and it may be made again.
 *
 * @param timeout how long a call may take
 */
public record Admin(Sender sender, Duration timeout) {
    private static final String PAGE = "1000";

    public Admin {
        Objects.requireNonNull(sender, "sender");
        if (timeout.isNegative() || timeout.isZero()) throw new IllegalArgumentException("timeout must be positive: " + timeout);
    }

    /** Calls may take a second. */
    public static Admin of(Sender sender) {
        return new Admin(sender, Duration.ofSeconds(1));
    }

    /** The same, with so much time for Redis. */
    public Admin timeout(Duration timeout) {
        return new Admin(sender, timeout);
    }

    /** For all clients from the next hit on. It ends one of that name that has a TTL. */
    public void setPolicy(String name, Policy policy) {
        each(policy("SET", name, policy), replies -> replies);
    }

    /** The same until its TTL ends: it stands in front of the lasting one of that name, which is back then. */
    public void setPolicy(String name, Policy policy, Duration ttl) {
        each(with(policy("SET", name, policy), ttl), replies -> replies);
    }

    /** Tries a policy beside the one of that name: judged and counted at every hit, and never binding. Not of leases. */
    public void shadowPolicy(String name, Policy policy) {
        each(policy("SHADOW", name, policy), replies -> replies);
    }

    /** The same until its TTL ends. */
    public void shadowPolicy(String name, Policy policy, Duration ttl) {
        each(with(policy("SHADOW", name, policy), ttl), replies -> replies);
    }

    /** Whether one was tried. */
    public boolean endShadow(String name) {
        return most(words("RL.POLICY", "SHADOW", named("name", name), "OFF")) == 1;
    }

    /** Null where there is none of that name. */
    public Policy.State policy(String name) {
        return each(words("RL.POLICY", "GET", named("name", name)), replies -> {
            Policy.State state = null;
            for (var reply : replies) {
                if (Replies.isNil(reply)) continue;
                var here = Policy.State.read(reply);
                state = state == null ? here : state.withMismatches(state.mismatches() + here.mismatches());
            }
            return state;
        });
    }

    /** All of them by name, without their mismatches. */
    public Map<String, Policy.State> policies() {
        return any(words("RL.POLICY", "LIST"), Policy::readAll);
    }

    /** How many there were. */
    public long deletePolicies(String... names) {
        return most(words(List.of("RL.POLICY", "DEL"), names));
    }

    /** Adds addresses, networks, or any text to a list. How many are new. */
    public long deny(String list, String... values) {
        return most(words(List.of("RL.DENY", "ADD", named("list", list)), values));
    }

    /** The same until a TTL ends. */
    public long deny(String list, Duration ttl, String... values) {
        return most(with(words(List.of("RL.DENY", "ADD", named("list", list)), values), ttl));
    }

    /** How many there were. */
    public long undeny(String list, String... values) {
        return most(words(List.of("RL.DENY", "DEL", named("list", list)), values));
    }

    /** Of each value, whether it is on the list, by a network too. */
    public List<Boolean> areDenied(String list, String... values) {
        return any(words(List.of("RL.DENY", "HAS", named("list", list)), values), reply -> reply.stream().map(found -> Replies.integer(found) == 1).toList());
    }

    /** @param endsAfter what is left of its TTL, or null where it has none */
    public record DenyEntry(String value, Duration endsAfter) {}

    /** Walks a list, a thousand at a time, as the stream is read. */
    public Stream<DenyEntry> denyEntries(String list) {
        named("list", list);
        return Stream.iterate(page(list, "0"), Objects::nonNull, page -> page.next.equals("0") ? null : page(list, page.next))
            .flatMap(page -> page.entries.stream());
    }

    private record Page(String next, Collection<DenyEntry> entries) {}

    private Page page(String list, String cursor) {
        return any(words("RL.DENY", "ENTRIES", list, cursor, "COUNT", PAGE), reply -> {
            List<DenyEntry> entries = new ArrayList<>();
            Replies.map(Replies.list(reply, 2).get(1)).forEach((value, left) -> {
                long ms = Replies.integer(left);
                entries.add(new DenyEntry(value, ms < 0 ? null : Duration.ofMillis(ms)));
            });
            return new Page(Replies.text(reply.get(0)), entries);
        });
    }

    /** How many values each list has. */
    public Map<String, Long> denyLists() {
        return any(words("RL.DENY", "LIST"), reply -> {
            Map<String, Long> lists = new LinkedHashMap<>();
            Replies.map(reply).forEach((name, count) -> lists.put(name, Replies.integer(count)));
            return lists;
        });
    }

    /** Throws where there is no such list, or one of the new name. */
    public void renameDenyList(String list, String newName) {
        each(words("RL.DENY", "RENAME", named("list", list), named("newName", newName)), replies -> replies);
    }

    /** Whether there was one. */
    public boolean dropDenyList(String list) {
        return most(words("RL.DENY", "DROP", named("list", list))) == 1;
    }

    /** Of the hits that named it last. Null where there were none. */
    public Statistics statistics(String name) {
        return each(words("RL.STATS", "GET", named("name", name)), Statistics::read);
    }

    /** What was counted under all names together, and without one. */
    public Statistics totalStatistics() {
        return each(words("RL.STATS", "GET"), Statistics::read);
    }

    /** Forgets what was counted under a name. */
    public void resetStatistics(String name) {
        each(words("RL.STATS", "RESET", named("name", name)), replies -> replies);
    }

    /** Forgets what was counted under all names, and without one. */
    public void resetAllStatistics() {
        each(words("RL.STATS", "RESET"), replies -> replies);
    }

    /**
     * What a key holds, or null where there is no such key.
     *
     * @param key the whole key, with a limiter's prefix
     */
    public KeyInfo info(String key) {
        try {
            List<?> reply = sender.ask(words("RL.INFO", named("key", key)), timeout);
            return Replies.isNil(reply) ? null : KeyInfo.read(reply);
        } catch (Exception failed) {
            throw new RateLimiter.UnavailableException(failed);
        }
    }

    private static List<String> words(String... words) {
        return List.of(words);
    }

    private static List<String> words(List<String> words, String... more) {
        List<String> call = new ArrayList<>(words);
        call.addAll(Arrays.asList(more));
        return call;
    }

    private static List<String> with(List<String> words, Duration ttl) {
        return words(words, "TTL", Words.ttl(ttl));
    }

    private static List<String> policy(String verb, String name, Policy policy) {
        List<String> call = new ArrayList<>(words("RL.POLICY", verb, named("name", name)));
        call.addAll(policy.words());
        return call;
    }

    private static String named(String what, String text) {
        if (text.isEmpty()) throw new IllegalArgumentException(what + ": expected a text, got an empty one");
        return text;
    }

    /** Of each primary. */
    private <T> T each(List<String> words, Function<List<List<?>>, T> read) {
        return ask(words, Integer.MAX_VALUE, read);
    }

    /** Of the first primary: they all hold the same. */
    private <T> T any(List<String> words, Function<List<?>, T> read) {
        return ask(words, 1, replies -> read.apply(replies.get(0)));
    }

    /** The largest count that a primary answers. */
    private long most(List<String> words) {
        return each(words, replies -> replies.stream().mapToLong(reply -> Replies.integer(Replies.list(reply, 1).get(0))).max().orElse(0));
    }

    private <T> T ask(List<String> words, int most, Function<List<List<?>>, T> read) {
        long deadline = System.nanoTime() + timeout.toNanos();
        try {
            List<List<?>> replies = new ArrayList<>();
            for (Sender primary : Deadlines.answer(sender.primaries(), timeout).stream().limit(most).toList()) {
                replies.add(primary.ask(words, Duration.ofNanos(Math.max(deadline - System.nanoTime(), 1_000_000))));
            }
            if (replies.isEmpty()) throw new IllegalStateException("the cluster has no primary that could be asked");
            return read.apply(replies);
        } catch (Exception failed) {
            throw new RateLimiter.UnavailableException(failed);
        }
    }
}
