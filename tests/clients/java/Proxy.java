import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/** Stands in front of a server, and does to RL.* commands what networks and servers do. */
final class Proxy implements Closeable {
    enum Fault {
        NONE, BEFORE, AFTER, MIDDLE, STALL, SILENT, REFUSE, RESET, NONSENSE,
        /** AFTER, of one reply alone. */
        AFTER_ONCE,
        /** The reply is passed on once that is over. */
        LATE,
        /** The reply is passed on byte by byte. */
        SLOW,
        /** The same, and it takes longer than anybody waits. */
        TRICKLE
    }

    final AtomicInteger commands = new AtomicInteger();
    volatile Fault fault = Fault.NONE;
    private final int to;
    private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());

    Proxy(int to) throws IOException {
        this.to = to;
        thread(() -> {
            while (true) serve(listener.accept());
        });
    }

    int port() {
        return listener.getLocalPort();
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
        if (fault == Fault.RESET) client.setSoLinger(true, 0);
        if (fault == Fault.RESET || fault == Fault.REFUSE) {
            client.close();
            return;
        }
        if (fault == Fault.SILENT) {
            thread(() -> {
                try (client) {
                    hangs(Fault.SILENT);
                }
            });
            return;
        }
        var server = new Socket(InetAddress.getLoopbackAddress(), to);
        var asked = new boolean[1];
        thread(() -> {
            try (client; server) {
                pass(client, server, asked);
            }
        });
        thread(() -> {
            try (client; server) {
                replies(client, server, asked);
            }
        });
    }

    private void pass(Socket client, Socket server, boolean[] asked) throws IOException {
        var buffer = new byte[1 << 16];
        for (int n; (n = client.getInputStream().read(buffer)) > 0; ) {
            int seen = new String(buffer, 0, n, java.nio.charset.StandardCharsets.ISO_8859_1).split("\r\nRL\\.", -1).length - 1;
            if (seen > 0) {
                commands.addAndGet(seen);
                synchronized (asked) {
                    asked[0] = true;
                }
                if (fault == Fault.RESET) client.setSoLinger(true, 0);
                if (Set.of(Fault.BEFORE, Fault.REFUSE, Fault.RESET).contains(fault)) return;
                if (hangs(Fault.SILENT)) return;
            }
            server.getOutputStream().write(buffer, 0, n);
        }
    }

    /** Whether that is the fault; then for as long as it is, after which the connection breaks: it has lost a reply. */
    private boolean hangs(Fault here) {
        if (fault != here) return false;
        while (fault == here) LockSupport.parkNanos(1_000_000);
        return true;
    }

    private void replies(Socket client, Socket server, boolean[] asked) throws IOException {
        InputStream from = server.getInputStream();
        var buffer = new byte[1 << 16];
        for (int n; (n = from.read(buffer)) > 0; ) {
            boolean isLimit;
            synchronized (asked) {
                isLimit = asked[0];
                asked[0] = false;
            }
            byte[] reply = Arrays.copyOf(buffer, n);
            if (isLimit) {
                if (fault == Fault.AFTER) return;
                if (fault == Fault.AFTER_ONCE) {
                    fault = Fault.NONE;
                    return;
                }
                if (hangs(Fault.STALL)) return;
                hangs(Fault.LATE);
                if (fault == Fault.SLOW || fault == Fault.TRICKLE) {
                    drip(client, reply);
                    continue;
                }
                if (fault == Fault.MIDDLE) reply = Arrays.copyOf(buffer, n / 2);
                if (fault == Fault.NONSENSE) reply = "*1\r\n+OK\r\n".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
            }
            client.getOutputStream().write(reply);
            if (isLimit && fault == Fault.MIDDLE) return;
        }
    }

    private void drip(Socket client, byte[] reply) throws IOException {
        client.setTcpNoDelay(true);
        for (byte one : reply) {
            client.getOutputStream().write(one);
            long until = System.nanoTime() + 200_000_000;
            if (fault == Fault.SLOW) LockSupport.parkNanos(1_000_000);
            while (fault == Fault.TRICKLE && System.nanoTime() - until < 0) LockSupport.parkNanos(1_000_000);
        }
    }

    @Override
    public void close() throws IOException {
        listener.close();
    }
}
