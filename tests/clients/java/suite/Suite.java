package suite;

import java.lang.reflect.InvocationTargetException;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;

/**
 * Runs programs of tests, says how each test went, and counts them for scripts/test-clients. An argument names programs that are
 * run one after another, as "Filter Leases", because they share a server that one of them stops, say; those of different
 * arguments are run at the same time, in one process.
 */
public final class Suite {
    /** Tests that mostly wait are run so many at a time. */
    private static final int TOGETHER = 6;

    private static final InheritableThreadLocal<String> PROGRAM = new InheritableThreadLocal<>();
    private static int passed;
    private static int failed;

    public interface Body {
        void run() throws Exception;
    }

    private Suite() {}

    public static void main(String[] lanes) throws Exception {
        together(Stream.of(lanes).<Body>map(lane -> () -> {
            for (String name : lane.split(" ")) program(name);
        }).toList());
        System.out.println("\n# " + passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static void program(String name) {
        PROGRAM.set(name);
        long began = System.nanoTime();
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) new String[0]);
            System.out.println("# " + name + ": " + (System.nanoTime() - began) / 1_000_000_000 + " s");
        } catch (ReflectiveOperationException ended) {
            tell("not whole", ended instanceof InvocationTargetException ? ended.getCause() : ended);
        }
    }

    /** They begin in their order, some at the same time, and all are over when this returns. */
    public static void together(List<? extends Body> bodies) throws Exception {
        var threads = Executors.newFixedThreadPool(TOGETHER);
        List<Future<?>> running = bodies.stream().<Future<?>>map(body -> threads.submit(() -> {
            body.run();
            return null;
        })).toList();
        threads.shutdown();
        for (var one : running) one.get();
    }

    public static void test(String name, Body body) {
        try {
            body.run();
            tell(name, null);
        } catch (Exception | AssertionError error) {
            tell(name, error);
        }
    }

    private static synchronized void tell(String name, Throwable error) {
        if (error == null) passed++;
        else failed++;
        System.out.println((error == null ? "ok - " : "not ok - ") + PROGRAM.get() + ": " + name + (error == null ? "" : "\n    " + error));
    }

    public static void same(Object actual, Object expected, String what) {
        if (!expected.equals(actual)) throw new AssertionError(what + ": " + actual + " is not " + expected);
    }

    public static void refused(Body body) throws Exception {
        refused(IllegalArgumentException.class, body);
    }

    public static void refused(Class<? extends Exception> how, Body body) throws Exception {
        try {
            body.run();
        } catch (Exception expected) {
            if (how.isInstance(expected)) return;
            throw expected;
        }
        throw new AssertionError("nothing was refused");
    }

    public static void await(String what, BooleanSupplier condition) throws InterruptedException {
        for (long until = System.nanoTime() + 60_000_000_000L; !condition.getAsBoolean(); Thread.sleep(5)) {
            if (System.nanoTime() > until) throw new AssertionError("never happened: " + what);
        }
    }
}
