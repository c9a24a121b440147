package ratelimit;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.CommandObject;
import redis.clients.jedis.Builder;
import redis.clients.jedis.Connection;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.StaticCommandFlagsRegistry;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.executors.ClusterCommandExecutor;
import redis.clients.jedis.providers.ClusterConnectionProvider;

/**
 * Over Jedis, which waits: so its commands are sent by threads of their own.
 *
 * <pre>
 * new JedisSender(RedisClient.builder().hostAndPort("127.0.0.1", 6379).build());
 * new JedisSender(new ClusterConnectionProvider(nodes, config)); // a cluster
 * </pre>
 *
 * Jedis' cluster client sends a command again when its connection breaks, up to five times, so that a hit whose reply was
 * lost would be charged each time: it is refused. Of a cluster's provider a command is sent once; redirections are followed.
 */
public final class JedisSender implements Sender {
    private static final int THREADS = 16;
    private static final int WAITING = 1024;
    /** Of a command that was not carried out: redirected, or never sent. */
    private static final int CLUSTER_ATTEMPTS = 5;
    private final Function<CommandArguments, Object> execute;
    private final ThreadPoolExecutor threads =
        new ThreadPoolExecutor(THREADS, THREADS, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(WAITING), task -> {
            var thread = new Thread(task, "ratelimit");
            thread.setDaemon(true);
            return thread;
        });

    public JedisSender(UnifiedJedis client) {
        this(client::executeCommand);
        if (client instanceof RedisClusterClient) {
            throw new IllegalArgumentException("a cluster client of Jedis sends a command up to five times, so that a hit may be charged more than once:"
                + " new JedisSender(new ClusterConnectionProvider(nodes, config))");
        }
    }

    public JedisSender(ClusterConnectionProvider cluster) {
        this(new Once(cluster)::call);
    }

    private JedisSender(Function<CommandArguments, Object> execute) {
        this.execute = execute;
        threads.allowCoreThreadTimeOut(true);
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        byte[] command = words.get(0).getBytes(StandardCharsets.UTF_8);
        var arguments = new CommandArguments(() -> command);
        int firstKey = Call.firstKey(words), behindKeys = Call.behindKeys(words);
        for (int i = 1; i < words.size(); i++) {
            if (i >= firstKey && i < behindKeys) arguments.key(words.get(i));
            else arguments.add(words.get(i));
        }
        var answer = new CompletableFuture<List<?>>();
        threads.execute(() -> {
            if (answer.isDone()) return; // given up meanwhile: not sent
            try {
                Object reply = execute.apply(arguments);
                answer.complete(reply instanceof List<?> list ? list : Collections.singletonList(reply));
            } catch (RuntimeException | Error failed) {
                answer.completeExceptionally(failed);
            }
        });
        return answer;
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

        Object call(CommandArguments arguments) {
            return executeCommand(new CommandObject<>(arguments, AS_IT_IS));
        }

        @Override
        protected <T> T execute(Connection connection, CommandObject<T> command) {
            try {
                return super.execute(connection, command);
            } catch (JedisConnectionException lost) {
                throw new JedisException("the connection broke; the command is not sent again", lost);
            }
        }
    }
}
