package ratelimit;

import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Ends waits that are past their deadline: no timer a wait, but a look at all of them, 100 times a second while there are any.
 * A wait is given up by the fourth look that finds it late: what held up the whole process (a collection, a stopped container)
 * held up the reader too, whose reply may have come meanwhile. On a busy machine the looks come later, as the reader does.
 */
final class Deadlines {
    static final int LOOKS = 4;
    static final long LOOK_MS = 10;
    private static final Executor NEXT = CompletableFuture.delayedExecutor(LOOK_MS, TimeUnit.MILLISECONDS, Runnable::run);
    private static final Set<Wait> WAITS = ConcurrentHashMap.newKeySet();
    private static final AtomicBoolean IS_LOOKING = new AtomicBoolean();

    private Deadlines() {}

    private enum State { WAITING, OVER, LATE }

    static final class Wait {
        private final long deadline;
        private final Runnable giveUp;
        private final AtomicReference<State> state = new AtomicReference<>(State.WAITING);
        private int late;

        private Wait(long deadline, Runnable giveUp) {
            this.deadline = deadline;
            this.giveUp = giveUp;
        }

        private void look(long now) {
            if (now - deadline < 0) return;
            if (++late >= LOOKS && state.compareAndSet(State.WAITING, State.LATE)) giveUp.run();
        }
    }

    static Wait begin(Duration timeout, Runnable giveUp) {
        var wait = new Wait(System.nanoTime() + timeout.toNanos(), giveUp);
        WAITS.add(wait);
        if (!IS_LOOKING.get() && IS_LOOKING.compareAndSet(false, true)) NEXT.execute(Deadlines::look);
        return wait;
    }

    /** Whether it was late, and given up. From here on it is not given up any more. */
    static boolean end(Wait wait) {
        WAITS.remove(wait);
        return !wait.state.compareAndSet(State.WAITING, State.OVER) && wait.state.get() == State.LATE;
    }

    private static void look() {
        long now = System.nanoTime();
        for (var wait : WAITS) wait.look(now);
        if (WAITS.isEmpty()) {
            IS_LOOKING.set(false);
            if (WAITS.isEmpty() || !IS_LOOKING.compareAndSet(false, true)) return; // or one that began meanwhile is not seen
        }
        NEXT.execute(Deadlines::look);
    }

    /** What a future holds, for a thread that waits. */
    static <T> T await(Future<T> reply, Duration timeout) throws InterruptedException, ExecutionException, TimeoutException {
        try {
            return reply.get(timeout.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException late) {
            for (int look = 1; look < LOOKS && !reply.isDone(); look++) TimeUnit.MILLISECONDS.sleep(LOOK_MS);
            return reply.get(0, TimeUnit.NANOSECONDS);
        }
    }

    /** The same; what is late is given up, and what failed throws its cause. */
    static <T> T answer(Future<T> reply, Duration timeout) throws Exception {
        try {
            return await(reply, timeout);
        } catch (TimeoutException late) {
            reply.cancel(true);
            throw late;
        } catch (InterruptedException stopped) {
            reply.cancel(true);
            Thread.currentThread().interrupt();
            throw stopped;
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof Exception cause ? cause : failed;
        }
    }

    /** The same where no thread waits. */
    static <T> CompletableFuture<T> within(Duration timeout, CompletableFuture<T> reply) {
        var wait = begin(timeout, () -> reply.completeExceptionally(new TimeoutException("no reply within " + timeout)));
        reply.whenComplete((answer, failed) -> end(wait));
        return reply;
    }
}
