package ratelimit;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Gives leases back of which it is not known whether they are held: a call that was not answered in time may still be
 * carried out, and its lease would shut a place for a whole ttl. One thread serves them all, and is there only while there
 * are any.
 */
final class Returns {
    /** So many are remembered; past that they are left to their ttl. */
    private static final int MOST = 10_000;
    /** Once is not enough: the call that asks for the lease may be on its way still. */
    private static final int ANSWERS = 2;

    interface Release {
        /** How many it released. */
        long release(String key, String id) throws Exception;
    }

    private static final class Doubtful {
        private final String key;
        private final String id;
        private final long until;
        private int answers;

        Doubtful(String key, String id, long until) {
            this.key = key;
            this.id = id;
            this.until = until;
        }
    }

    private final Duration ttl;
    private final Duration pause;
    private final Release release;
    private List<Doubtful> open = new ArrayList<>();
    private boolean isRunning;

    Returns(Duration ttl, Duration pause, Release release) {
        this.ttl = ttl;
        this.pause = pause;
        this.release = release;
    }

    synchronized void add(String key, String id) {
        if (open.size() >= MOST) {
            Call.report(new IllegalStateException("more than " + MOST + " leases are in doubt; further ones end by themselves"));
            return;
        }
        open.add(new Doubtful(key, id, System.nanoTime() + ttl.toNanos()));
        if (isRunning) return;
        isRunning = true;
        var thread = new Thread(this::run, "ratelimit-returns");
        thread.setDaemon(true);
        thread.start();
    }

    private synchronized List<Doubtful> take() {
        var round = open;
        open = new ArrayList<>();
        if (round.isEmpty()) isRunning = false;
        return round;
    }

    private synchronized void back(List<Doubtful> left) {
        left.addAll(open);
        open = left;
    }

    private void run() {
        for (var round = take(); !round.isEmpty(); round = take()) {
            back(once(round));
            try {
                Thread.sleep(pause.toMillis());
            } catch (InterruptedException nobodyDoes) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Tries all, and says which are still open. A server that is away is asked once a round. */
    private List<Doubtful> once(List<Doubtful> round) {
        List<Doubtful> left = new ArrayList<>();
        boolean isAway = false;
        for (var one : round) {
            if (System.nanoTime() - one.until > 0) continue;
            if (!isAway) {
                try {
                    boolean isReleased = release.release(one.key, one.id) > 0;
                    one.answers++;
                    if (isReleased || one.answers >= ANSWERS) continue;
                } catch (Exception away) {
                    isAway = true;
                }
            }
            left.add(one);
        }
        return left;
    }
}
