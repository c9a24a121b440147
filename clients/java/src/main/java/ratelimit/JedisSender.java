package ratelimit;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.UnifiedJedis;

/** Over Jedis (RedisClient, RedisClusterClient, ..), which waits: so its commands are sent by threads of their own. */
public final class JedisSender implements Sender {
    private static final int THREADS = 16;
    private static final int WAITING = 1024;
    private final UnifiedJedis client;
    private final ThreadPoolExecutor threads =
        new ThreadPoolExecutor(THREADS, THREADS, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(WAITING), task -> {
            var thread = new Thread(task, "ratelimit");
            thread.setDaemon(true);
            return thread;
        });

    public JedisSender(UnifiedJedis client) {
        this.client = client;
        threads.allowCoreThreadTimeOut(true);
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        var arguments = new CommandArguments(() -> words.get(0).getBytes(StandardCharsets.UTF_8)).key(words.get(1));
        words.subList(2, words.size()).forEach(arguments::add);
        return threads.submit(() -> (List<?>) client.executeCommand(arguments));
    }
}
