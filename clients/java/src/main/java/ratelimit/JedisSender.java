package ratelimit;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Supplier;
import redis.clients.jedis.Builder;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.CommandObject;
import redis.clients.jedis.Connection;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.StaticCommandFlagsRegistry;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.executors.ClusterCommandExecutor;
import redis.clients.jedis.providers.ClusterConnectionProvider;
import redis.clients.jedis.util.Pool;

/**
 * Over Jedis. Where its pool has an idle connection, the caller's own thread sends and waits for the reply. Where one has first
 * to be made, or is waited for, that may take longer than a hit has time: threads of this do it, and so for a cluster.
 *
 * <pre>
 * new JedisSender(RedisClient.builder().hostAndPort("127.0.0.1", 6379).build());
 * new JedisSender(new ClusterConnectionProvider(nodes, config)); // a cluster
 * </pre>
 *
 * Jedis' cluster clients and MultiDbClient send a command again when its connection breaks, up to five times, so that a hit
 * whose reply was lost would be charged each time: they are refused. Of a cluster's provider a command is sent once; redirections are followed.
 */
public final class JedisSender implements Sender {
    private static final int THREADS = 16;
    private static final int WAITING = 1024;
    /** Of a command that was not carried out: redirected, or never sent. */
    private static final int CLUSTER_ATTEMPTS = 5;

    /** Sends a command on a connection of Jedis', unless it was given up while that was had. */
    private interface Execution {
        Object of(CommandArguments arguments, BooleanSupplier isGivenUp);
    }

    private final Execution execution;
    /**
     * Of which the caller's own thread may take a connection; over Sentinels that of who is master now. Null where there is none
     * such: in a cluster it depends on the key.
     */
    private final Supplier<Pool<Connection>> pool;
    /** Null where this is no cluster's. */
    private final ClusterConnectionProvider cluster;
    private final AtomicInteger borrowing = new AtomicInteger();
    private final BlockingQueue<Runnable> queue = new LinkedBlockingQueue<>();
    private final ThreadPoolExecutor threads = new ThreadPoolExecutor(THREADS, THREADS, 10, TimeUnit.SECONDS, queue, task -> {
        var thread = new Thread(task, "ratelimit");
        thread.setDaemon(true);
        return thread;
    });

    /** @param client a {@link RedisClient} or a {@link RedisSentinelClient}; others send a command again, and are refused */
    public JedisSender(UnifiedJedis client) {
        if (!(client instanceof RedisClient || client instanceof RedisSentinelClient)) {
            throw new IllegalArgumentException(client.getClass().getSimpleName() + ": this client of Jedis sends a command again where its connection breaks, so that"
                + " a hit may be charged more than once: a RedisClient, a RedisSentinelClient, or new JedisSender(new ClusterConnectionProvider(nodes, config))");
        }
        pool = poolOf(client);
        cluster = null;
        execution = pool == null ? (arguments, isGivenUp) -> client.executeCommand(arguments) : (arguments, isGivenUp) -> of(pool.get()).of(arguments, isGivenUp);
        threads.allowCoreThreadTimeOut(true);
    }

    private static Supplier<Pool<Connection>> poolOf(UnifiedJedis client) {
        if (client instanceof RedisSentinelClient sentinel) return () -> sentinel.getPrimaryNodesConnectionMap().values().iterator().next();
        try {
            var own = ((RedisClient) client).getPool();
            return () -> own;
        } catch (ClassCastException ownProvider) {
            return null; // of connections that come from elsewhere
        }
    }

    public JedisSender(ClusterConnectionProvider cluster) {
        pool = null;
        this.cluster = cluster;
        execution = new Once(cluster)::call;
        threads.allowCoreThreadTimeOut(true);
    }

    @Override
    public List<?> ask(List<String> words, Duration timeout) throws Exception {
        var from = pool == null ? null : pool.get();
        var connection = idle(from);
        if (connection == null) return Sender.super.ask(words, timeout);
        int ownTimeout = connection.getSoTimeout();
        var arguments = arguments(words);
        var wait = Deadlines.begin(timeout, () -> disconnect(connection));
        try {
            connection.setSoTimeout(0);
            return list(connection.executeCommand(arguments));
        } catch (JedisConnectionException failed) {
            if (Deadlines.end(wait)) throw new TimeoutException("no reply within " + timeout);
            throw failed;
        } finally {
            boolean isLate = Deadlines.end(wait);
            if (isLate || connection.isBroken()) {
                disconnect(connection);
                threads.execute(() -> discard(from, connection));
            } else {
                connection.setSoTimeout(ownTimeout);
                from.returnResource(connection);
            }
        }
    }

    /**
     * One that is neither made, tested nor waited for, which might take longer than the deadline: null where there is none, or
     * where as many callers are about to take one.
     */
    private Connection idle(Pool<Connection> pool) {
        if (pool == null || pool.getTestOnBorrow() || pool.getTestOnReturn()) return null;
        try {
            return borrowing.incrementAndGet() <= pool.getNumIdle() ? pool.borrowObject(Duration.ZERO) : null;
        } catch (Exception none) {
            return null; // somebody else took it; the slow path says what is wrong
        } finally {
            borrowing.decrementAndGet();
        }
    }

    private static void disconnect(Connection connection) {
        try {
            connection.forceDisconnect();
        } catch (IOException closed) {
            // as it should be
        }
    }

    /** For a thread of this: the pool makes another connection in its place, and waits for it. */
    private static void discard(Pool<Connection> pool, Connection connection) {
        try {
            pool.returnBrokenResource(connection);
        } catch (JedisException away) {
            // the next hit says so
        }
    }

    private static CommandArguments arguments(List<String> words) {
        byte[] command = words.get(0).getBytes(StandardCharsets.UTF_8);
        var arguments = new CommandArguments(() -> command);
        int firstKey = Call.firstKey(words), behindKeys = Call.behindKeys(words);
        for (int i = 1; i < words.size(); i++) {
            if (i >= firstKey && i < behindKeys) arguments.key(words.get(i));
            else arguments.add(words.get(i));
        }
        return arguments;
    }

    private static List<?> list(Object reply) {
        return reply instanceof List<?> list ? list : Collections.singletonList(reply);
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        return send(words, execution);
    }

    private CompletableFuture<List<?>> send(List<String> words, Execution execution) {
        var arguments = arguments(words);
        return inThread(isGivenUp -> list(execution.of(arguments, isGivenUp)));
    }

    private <T> CompletableFuture<T> inThread(Function<BooleanSupplier, T> work) {
        var answer = new CompletableFuture<T>();
        // Connections that are given back are never refused: a pool has only so many.
        if (queue.size() >= WAITING) throw new RejectedExecutionException("more than " + WAITING + " calls wait for a connection");
        threads.execute(() -> {
            if (answer.isDone()) return; // given up meanwhile
            try {
                answer.complete(work.apply(answer::isDone));
            } catch (RuntimeException | Error failed) {
                answer.completeExceptionally(failed);
            }
        });
        return answer;
    }

    private static Execution of(Pool<Connection> pool) {
        return (arguments, isGivenUp) -> {
            try (var connection = pool.getResource()) {
                if (isGivenUp.getAsBoolean()) throw new GivenUp();
                return connection.executeCommand(arguments);
            }
        };
    }

    /** As a node of the cluster tells now who they are. */
    @Override
    public CompletableFuture<List<Sender>> primaries() {
        if (cluster == null) return Sender.super.primaries();
        return inThread(isGivenUp -> {
            cluster.renewSlotCache();
            return new TreeMap<>(cluster.getPrimaryNodesConnectionMap()).values().stream().<Sender>map(node -> words -> send(words, of(node))).toList();
        });
    }

    /** Nobody hears of it. */
    private static final class GivenUp extends JedisException {
        private static final long serialVersionUID = 1L;

        GivenUp() {
            super("given up before it was sent");
        }
    }

    /** A connection that breaks once a command was sent ends it. */
    private static final class Once extends ClusterCommandExecutor {
        private static final Builder<Object> AS_IT_IS = new Builder<>() {
            @Override
            public Object build(Object reply) {
                return reply;
            }
        };

        Once(ClusterConnectionProvider provider) {
            super(provider, CLUSTER_ATTEMPTS, Duration.ofSeconds(1), StaticCommandFlagsRegistry.registry());
        }

        private static final class Sending extends CommandObject<Object> {
            private final BooleanSupplier isGivenUp;

            Sending(CommandArguments arguments, BooleanSupplier isGivenUp) {
                super(arguments, AS_IT_IS);
                this.isGivenUp = isGivenUp;
            }
        }

        Object call(CommandArguments arguments, BooleanSupplier isGivenUp) {
            // As the server says it, of which Jedis would not know whom to ask.
            if (arguments.getKeyHashSlots().size() > 1) throw new JedisException("CROSSSLOT Keys in request don't hash to the same slot");
            return executeCommand(new Sending(arguments, isGivenUp));
        }

        @Override
        protected <T> T execute(Connection connection, CommandObject<T> command) {
            if (command instanceof Sending sending && sending.isGivenUp.getAsBoolean()) throw new GivenUp();
            try {
                return super.execute(connection, command);
            } catch (JedisConnectionException lost) {
                throw new JedisException("the connection broke; the command is not sent again", lost);
            }
        }
    }
}
