package suite;

import java.util.function.BooleanSupplier;

/** Runs tests one after another, says how each went, and counts them for scripts/test-clients. */
public final class Suite {
    private static int passed;
    private static int failed;

    public interface Body {
        void run() throws Exception;
    }

    private Suite() {}

    public static void test(String name, Body body) {
        try {
            body.run();
            passed++;
            System.out.println("ok - " + name);
        } catch (Exception | AssertionError error) {
            failed++;
            System.out.println("not ok - " + name + "\n    " + error);
        }
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

    /** The end of the program. */
    public static void done() {
        System.out.println("\n# " + passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
