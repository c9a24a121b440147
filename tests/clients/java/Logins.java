import static suite.Suite.refused;
import static suite.Suite.same;
import static suite.Suite.test;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.logging.LogManager;
import ratelimit.All;
import ratelimit.Callers;
import ratelimit.JedisSender;
import ratelimit.LettuceSender;
import ratelimit.Login;
import ratelimit.RateLimiter;
import ratelimit.Sender;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.providers.ClusterConnectionProvider;

/** A login of two keys: its address and its account, charged and given back together, or each on its own. */
public final class Logins {
    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final int CLUSTER_PORT = Integer.parseInt(System.getenv("RATELIMIT_CLUSTER_PORT"));
    private static final Duration LONG = Duration.ofSeconds(60); // the machine is a busy one
    private static final String ADDRESS = "203.0.113.9";
    private static final String ALICE = "Alice@Example.com ";

    private final String name;
    private final Sender sender;
    private final boolean isTagged;
    private int made;

    /** @param isTagged whether the keys of a login have one hash tag */
    private Logins(String name, Sender sender, boolean isTagged) {
        this.name = name;
        this.sender = sender;
        this.isTagged = isTagged;
        test(name + ": an address may try three times, whichever account; an account five times, from wherever", this::wrong);
        test(name + ": a right password gives both back, a denied try opens nothing", this::right);
        test(name + ": a denied try is charged to neither", this::neither);
        test(name + ": a hit is told to each limiter once", this::told);
    }

    private Login login(RateLimiter... limiters) {
        return new Login(limiters[0], limiters[1]);
    }

    private RateLimiter[] limiters(int address, int account) {
        String own = "java-login:" + name + ++made + System.nanoTime();
        String tagged = isTagged ? '{' + own + '}' : own;
        return new RateLimiter[] {limiter(tagged + ":address:", address), limiter(tagged + ":account:", account)};
    }

    private RateLimiter limiter(String prefix, int limit) {
        return RateLimiter.of(sender, prefix, "RL.SLIDING", Integer.toString(limit), "15m").timeout(LONG).closed();
    }

    private static boolean allows(Login login, String address, String email) {
        return login.hit(address, email).verdict().allowed();
    }

    private void wrong() {
        var login = login(limiters(3, 5));
        for (int i = 0; i < 3; i++) same(allows(login, ADDRESS, i + "@example.com"), true, "an account each");
        same(allows(login, ADDRESS + ":4711", "4@example.com"), false, "another port is nobody else");
        for (int i = 0; i < 5; i++) same(allows(login, "198.51.100." + i, "bob@example.com"), true, "an address each");
        same(allows(login, "198.51.100.9", " BOB@example.com"), false, "the account");
        same(allows(login, "198.51.100.9", "carol@example.com"), true, "what was denied was charged to nobody");
    }

    private void right() {
        var limiters = limiters(1, 5);
        var login = login(limiters);
        for (int i = 0; i < 4; i++) {
            var attempt = login.hit(ADDRESS, ALICE);
            same(attempt.verdict().whole().outcome(), "allowed", "given back");
            attempt.giveBack();
        }
        same(allows(login, ADDRESS, ALICE), true, "a wrong one");
        for (int i = 0; i < 2; i++) {
            var denied = login.hit(ADDRESS, ALICE);
            same(denied.verdict().allowed(), false, "behind a wrong one");
            same(denied.verdict().whole().retryAfterMs() > 0, true, denied.verdict() + "");
            same(List.of(denied.verdict().binding(), denied.verdict().keys().size()), List.of(0, 2), denied.verdict() + "");
            denied.giveBack();
        }
        same(limiters[1].peek(Callers.byAccount(ALICE)).remaining(), 3L, "of the account the wrong one alone, and what a look would take");
    }

    private void neither() {
        var limiters = limiters(3, 1);
        var login = login(limiters);
        same(allows(login, ADDRESS, ALICE), true, "the first");
        same(allows(login, ADDRESS, ALICE), false, "the account");
        same(limiters[0].peek(Callers.byIp(ADDRESS)).remaining(), 1L, "of the address the first alone, and what a look would take");
    }

    private void told() {
        List<String> told = new ArrayList<>();
        var limiters = limiters(3, 5);
        for (int i = 0; i < limiters.length; i++) limiters[i] = limiters[i].onHit(hit -> told.add(hit.outcome()));
        var login = login(limiters);
        for (int i = 0; i < 2; i++) login.hit(ADDRESS, ALICE).giveBack();
        same(told, List.of("allowed", "allowed", "allowed", "allowed"), "told");
    }

    private static void withoutRedis() {
        Sender away = words -> CompletableFuture.failedFuture(new java.io.IOException("away"));
        var limiter = RateLimiter.of(away, "away:", "RL.FIXED", "1", "1h");
        test("it is closed where Redis is away, and gives nothing back", () -> {
            var attempt = new Login(limiter.closed(), limiter).hit(ADDRESS, ALICE);
            attempt.giveBack();
            same(List.of(attempt.verdict().whole().outcome(), attempt.verdict().whole().reason()), List.of("closed", "connection"), "verdict");
            same(new Login(limiter, limiter).hit(ADDRESS, ALICE).verdict().whole().outcome(), "open", "of open ones");
        });
        test("a mistake is told at once", () -> {
            var login = new Login(limiter, limiter, "ours");
            refused(() -> login.hit(ALICE, ADDRESS)); // by turns
            refused(() -> login.hit(ADDRESS, " "));
            refused(NullPointerException.class, () -> login.hit(null, ALICE));
            refused(() -> new Login(limiter, RateLimiter.of(words -> null, "other:", "RL.FIXED", "1", "1h")));
            refused(() -> new Login(limiter, RateLimiter.of(away, "forced:", "RL.FIXED", "1", "1h", "FORCE")));
            var unstamped = List.of(new All.Ask(limiter, "k"));
            All.refund(unstamped, All.hit(unstamped)); // nothing was charged
        });
    }

    public static void main(String[] ignored) {
        LogManager.getLogManager().reset();
        withoutRedis();
        try (var client = redis.clients.jedis.RedisClient.builder().hostAndPort("127.0.0.1", PORT).build()) {
            new Logins("Jedis", new JedisSender(client), false);
        }
        try (var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT))) {
            client.setOptions(LettuceSender.once(client.getOptions()));
            new Logins("Lettuce", new LettuceSender(client.connect()), false);
        }
        try (var cluster = new ClusterConnectionProvider(Set.of(new HostAndPort("127.0.0.1", CLUSTER_PORT)), DefaultJedisClientConfig.builder().build());
            var client = RedisClusterClient.create(RedisURI.create("127.0.0.1", CLUSTER_PORT))) {
            client.setOptions(LettuceSender.once(ClusterClientOptions.create()));
            var jedis = new JedisSender(cluster);
            var lettuce = new LettuceSender(client.connect());
            for (boolean isTagged : new boolean[] {true, false}) {
                String how = isTagged ? " cluster, one slot" : " cluster, slots of their own";
                new Logins("Jedis" + how, jedis, isTagged);
                new Logins("Lettuce" + how, lettuce, isTagged);
            }
        }
    }
}
