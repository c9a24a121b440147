import java.io.Closeable;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;

/** Stands in front of a server, and does to RL.* commands what networks and servers do. */
final class Proxy implements Closeable {
    /** Those of failures.json, by its names. */
    enum Fault {
        NONE, CUT_BEFORE, CUT_AFTER, CUT_MIDDLE, STALL, SILENT, REFUSE, RESET_BEFORE,
        /** Takes the command and all that follows it. */
        SWALLOW,
        /** {@code bytes} are the reply. */
        ERROR,
        /** The reply is passed on once that is over. */
        LATE,
        /** The reply is passed on byte by byte. */
        SLOW,
        /** The same, and it takes longer than anybody waits. */
        TRICKLE;

        static Fault of(String name) {
            return valueOf(name.toUpperCase(java.util.Locale.ROOT).replace('-', '_'));
        }
    }

    /** A fault for as long as it lasts. */
    private static final class Spell {
        private final Fault fault;
        private final byte[] bytes;
        private volatile boolean isOver;

        Spell(Fault fault, String bytes) {
            this.fault = fault;
            this.bytes = bytes.getBytes(StandardCharsets.UTF_8);
        }

        /** Whether that is the fault; then it waits for its end. */
        boolean hangs(Fault here) {
            while (fault == here && !isOver) LockSupport.parkNanos(1_000_000);
            return fault == here;
        }
    }

    private static final Spell NONE = new Spell(Fault.NONE, "");
    final AtomicInteger commands = new AtomicInteger();
    private final AtomicReference<Spell> next = new AtomicReference<>(NONE);
    private volatile Spell lasting = NONE;
    private volatile Spell last = NONE;
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final int to;
    private ServerSocket listener;

    Proxy(int to) throws IOException {
        this.to = to;
        listen(0);
    }

    private void listen(int port) throws IOException {
        var listening = new ServerSocket(port, 50, InetAddress.getLoopbackAddress());
        listener = listening;
        thread(() -> {
            while (true) serve(listening.accept());
        });
    }

    int port() {
        return listener.getLocalPort();
    }

    /** From now on. */
    void set(Fault fault) {
        next.set(NONE);
        lasting = over(new Spell(fault, "*1\r\n+OK\r\n"));
    }

    /** To the next command of RL.* alone. */
    void once(Fault fault, String bytes) {
        lasting = NONE;
        next.set(over(new Spell(fault, bytes)));
    }

    private Spell over(Spell spell) {
        last.isOver = true;
        last = spell;
        return spell;
    }

    /** Nobody listens, and whatever was connected is gone; or somebody listens again. */
    void refuse(boolean isRefusing) throws IOException {
        if (!isRefusing) {
            listen(port());
            return;
        }
        listener.close();
        cut();
    }

    /** Whatever is connected is gone. */
    void cut() throws IOException {
        for (var one : open) one.close();
    }

    private interface Work {
        void run() throws IOException;
    }

    private static void thread(Work work) {
        var thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException closed) {
                // that is what proxies are for
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private void serve(Socket client) throws IOException {
        var spell = lasting;
        if (spell.fault == Fault.RESET_BEFORE) client.setSoLinger(true, 0);
        if (spell.fault == Fault.RESET_BEFORE || spell.fault == Fault.REFUSE) {
            client.close();
            return;
        }
        if (spell.fault == Fault.SILENT) {
            thread(() -> {
                try (client) {
                    spell.hangs(Fault.SILENT);
                }
            });
            return;
        }
        var server = new Socket(InetAddress.getLoopbackAddress(), to);
        open.addAll(Set.of(client, server));
        var owed = new AtomicReference<>(NONE); // to the reply that comes next
        for (Work work : new Work[] {() -> pass(client, server, owed), () -> replies(client, server, owed)}) {
            thread(() -> {
                try (client; server) {
                    work.run();
                } finally {
                    open.removeAll(Set.of(client, server));
                }
            });
        }
    }

    private void pass(Socket client, Socket server, AtomicReference<Spell> owed) throws IOException {
        var buffer = new byte[1 << 16];
        boolean isDeaf = false; // a connection does not lose bytes in its middle: after one, all
        for (int n; (n = client.getInputStream().read(buffer)) > 0; ) {
            int seen = new String(buffer, 0, n, StandardCharsets.ISO_8859_1).split("\r\nRL\\.", -1).length - 1;
            if (seen > 0) {
                commands.addAndGet(seen);
                var once = next.getAndSet(NONE);
                var spell = once != NONE ? once : lasting;
                switch (spell.fault) {
                    case RESET_BEFORE -> {
                        client.setSoLinger(true, 0);
                        return;
                    }
                    case CUT_BEFORE, REFUSE -> {
                        return;
                    }
                    case SILENT -> {
                        spell.hangs(Fault.SILENT);
                        return;
                    }
                    case SWALLOW -> isDeaf = true;
                    case ERROR -> {
                        client.getOutputStream().write(spell.bytes);
                        continue;
                    }
                    default -> owed.set(spell);
                }
            }
            if (!isDeaf) server.getOutputStream().write(buffer, 0, n);
        }
    }

    private void replies(Socket client, Socket server, AtomicReference<Spell> owed) throws IOException {
        var buffer = new byte[1 << 16];
        for (int n; (n = server.getInputStream().read(buffer)) > 0; ) {
            byte[] reply = Arrays.copyOf(buffer, n);
            var spell = owed.getAndSet(NONE);
            switch (spell.fault) {
                case CUT_AFTER -> {
                    return;
                }
                case CUT_MIDDLE -> {
                    client.getOutputStream().write(reply, 0, n / 2);
                    return;
                }
                case STALL -> {
                    spell.hangs(Fault.STALL);
                    return;
                }
                case LATE -> spell.hangs(Fault.LATE);
                case SLOW, TRICKLE -> {
                    drip(client, reply, spell);
                    continue;
                }
                default -> { }
            }
            client.getOutputStream().write(reply);
        }
    }

    private static void drip(Socket client, byte[] reply, Spell spell) throws IOException {
        client.setTcpNoDelay(true);
        for (byte one : reply) {
            client.getOutputStream().write(one);
            long until = System.nanoTime() + 200_000_000;
            if (spell.fault == Fault.SLOW) LockSupport.parkNanos(1_000_000);
            while (spell.fault == Fault.TRICKLE && !spell.isOver && System.nanoTime() - until < 0) LockSupport.parkNanos(1_000_000);
        }
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }
}
