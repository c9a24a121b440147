package ratelimit;

import java.util.function.ObjIntConsumer;

/** Tells of errors, at most once a second, with how many there have been: an outage must not fill a disk. */
final class Report {
    private static final long SECOND_NS = 1_000_000_000;
    private final ObjIntConsumer<Exception> tell;
    private long last = System.nanoTime() - SECOND_NS;
    private int count;

    Report(ObjIntConsumer<Exception> tell) {
        this.tell = tell;
    }

    void error(Exception error) {
        int since;
        synchronized (this) {
            count++;
            long now = System.nanoTime();
            if (now - last < SECOND_NS) return;
            last = now;
            since = count;
            count = 0;
        }
        tell.accept(error, since);
    }
}
