package ratelimit;

import java.time.Duration;
import java.util.List;

/**
 * Limits a login by the address that it comes from and by the account that it is for. Each try is charged to both, or to
 * neither, and both get back what a right password was charged.
 *
 * <pre>
 * var login = new Login(
 *     RateLimiter.of(sender, "{login}:address:", "RL.SLIDING", "20", "15m").closed(),
 *     RateLimiter.of(sender, "{login}:account:", "RL.SLIDING", "50", "1d").closed());
 * var attempt = login.hit(address, email);
 * if (!attempt.verdict().allowed()) return 429;
 * if (!isRight(password)) return 401;
 * attempt.giveBack();
 * </pre>
 *
 * It is one command. In a cluster that takes one hash tag in both prefixes, as above; where the keys share no slot, each is
 * charged by a command of its own: first the address, then, if that let it through, the account. An address that is denied
 * then still uses up nothing of an account; what an account denies is given back to the address.
 */
public final class Login {
    private final RateLimiter perAddress;
    private final RateLimiter perAccount;
    private final String identitySecret;
    /** The keys lie in slots of their own, as the server has said. */
    private volatile boolean isApart;

    /**
     * @param perAddress who tries many accounts
     * @param perAccount who tries one account from many addresses. Wider than {@code perAddress}: whoever knows an e-mail
     *     address can use it up
     */
    public Login(RateLimiter perAddress, RateLimiter perAccount) {
        this(perAddress, perAccount, null);
    }

    /** @param identitySecret as {@link Callers#byAccount(String, String)} takes it, or null */
    public Login(RateLimiter perAddress, RateLimiter perAccount, String identitySecret) {
        this.perAddress = perAddress.stamp();
        this.perAccount = perAccount.stamp();
        this.identitySecret = identitySecret;
        if (!perAddress.sender().equals(perAccount.sender())) throw new IllegalArgumentException("the limiters of a login have one sender");
        for (var limiter : List.of(perAddress, perAccount)) {
            for (String option : List.of("MIN", "FORCE", "DENY")) {
                if (Words.has(limiter.words(), option)) throw new IllegalArgumentException(option + " does not go with a login: " + limiter.words());
            }
        }
    }

    /** A try that was counted. */
    public static final class Attempt {
        private final All.Verdict verdict;
        private final Runnable refund;

        private Attempt(All.Verdict verdict, Runnable refund) {
            this.verdict = verdict;
            this.refund = refund;
        }

        /** The first of its keys is the address, the second the account. */
        public All.Verdict verdict() {
            return verdict;
        }

        /** Once the password was right. It gives nothing back where the try was denied, or Redis was away. */
        public void giveBack() {
            refund.run();
        }
    }

    /**
     * Counts a try of both, or of neither.
     *
     * @param address where the caller is, behind the proxies: not what a caller may write
     * @param email or whatever else an account is named by
     */
    public Attempt hit(String address, String email) {
        if (address.contains("@")) throw new IllegalArgumentException("address: expected one such as 203.0.113.9, got " + address);
        if (email.isBlank()) throw new IllegalArgumentException("email: expected a text, got an empty one");
        var asks = List.of(new All.Ask(perAddress, Callers.byIp(address)), new All.Ask(perAccount, Callers.byAccount(email, identitySecret)));
        var together = isApart ? null : All.hitInOneSlot(asks);
        if (together != null) return new Attempt(together, () -> All.refund(asks, together));
        isApart = true;
        return apart(asks);
    }

    private static Attempt apart(List<All.Ask> asks) {
        var perAddress = asks.get(0).limiter();
        long deadline = System.nanoTime() + perAddress.timeout().toNanos();
        var address = perAddress.hit(asks.get(0).key());
        var perAccount = asks.get(1).limiter().timeout(Duration.ofNanos(Math.max(deadline - System.nanoTime(), 1_000_000)));
        String key = asks.get(1).key();
        if (!address.allowed()) return new Attempt(both(address, perAccount.peek(key)), () -> { });
        var account = perAccount.hit(key);
        Runnable ofAddress = () -> perAddress.refund(asks.get(0).key(), address);
        if (!account.allowed()) {
            ofAddress.run();
            return new Attempt(both(address, account), () -> { });
        }
        return new Attempt(both(address, account), () -> {
            ofAddress.run();
            asks.get(1).limiter().refund(key, account);
        });
    }

    private static All.Verdict both(RateLimiter.Verdict address, RateLimiter.Verdict account) {
        int binding = isTighter(account, address) ? 1 : 0;
        var keys = List.of(address, account);
        return new All.Verdict(keys.get(binding), keys, binding);
    }

    /** What denies binds, then what could not be asked, then what has less left. */
    private static boolean isTighter(RateLimiter.Verdict one, RateLimiter.Verdict other) {
        if (one.allowed() != other.allowed()) return !one.allowed();
        if ((one.unavailable() == null) != (other.unavailable() == null)) return one.unavailable() != null;
        return one.remaining() < other.remaining();
    }
}
