package ratelimit.spring;

import io.lettuce.core.AbstractRedisClient;
import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.ClusterTopologyRefreshOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.resource.ClientResources;
import io.lettuce.core.resource.Delay;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Future;
import java.util.function.Supplier;
import ratelimit.LettuceSender;
import ratelimit.Sender;

/** Connects at the start, and holds no thread: an application starts also while Redis is away. */
final class ConnectingSender implements Sender, AutoCloseable {
    /** A server that accepts and says nothing is given up then, and asked anew. */
    private static final Duration CONNECT = Duration.ofSeconds(2);
    private static final ClusterTopologyRefreshOptions FAILOVERS = ClusterTopologyRefreshOptions.builder().enableAllAdaptiveRefreshTriggers().build();

    /** An attempt that failed is followed by another so much later at the earliest. */
    private static final Duration AGAIN = Duration.ofMillis(100);

    private final AbstractRedisClient client;
    private final Supplier<CompletionStage<LettuceSender>> connect;
    private CompletableFuture<LettuceSender> connecting;
    private long began;

    private ConnectingSender(AbstractRedisClient client, Supplier<CompletionStage<LettuceSender>> connect) {
        this.client = client;
        this.connect = connect;
        connected();
    }

    static ConnectingSender of(RedisURI uri, boolean isCluster) {
        if (uri.getTimeout().equals(RedisURI.DEFAULT_TIMEOUT_DURATION)) uri.setTimeout(CONNECT);
        // Lettuce by itself waits up to half a minute before it reconnects.
        var resources = ClientResources.builder().reconnectDelay(Delay.constant(AGAIN)).build();
        var socket = SocketOptions.builder().connectTimeout(CONNECT).keepAlive(true).build();
        if (isCluster) {
            var client = RedisClusterClient.create(resources, uri);
            client.setOptions(LettuceSender.once(ClusterClientOptions.builder().socketOptions(socket).topologyRefreshOptions(FAILOVERS).build()));
            return new ConnectingSender(client, () -> client.refreshPartitionsAsync()
                .thenCompose(known -> client.connectAsync(StringCodec.UTF8)).thenApply(LettuceSender::new));
        }
        var client = RedisClient.create(resources);
        client.setOptions(LettuceSender.once(ClientOptions.builder().socketOptions(socket).build()));
        return new ConnectingSender(client, () -> client.connectAsync(StringCodec.UTF8, uri).thenApply(LettuceSender::new));
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        var answer = new CompletableFuture<List<?>>();
        connected().whenComplete((sender, failed) -> {
            if (failed != null) answer.completeExceptionally(failed);
            else if (!answer.isDone()) pass(sender, words, answer); // what was given up meanwhile is not sent
        });
        return answer;
    }

    @Override
    public CompletableFuture<List<Sender>> primaries() {
        return connected().thenCompose(LettuceSender::primaries);
    }

    private static void pass(LettuceSender sender, List<String> words, CompletableFuture<List<?>> answer) {
        Future<? extends List<?>> sent;
        try {
            sent = sender.send(words);
        } catch (RuntimeException refused) {
            answer.completeExceptionally(refused);
            return;
        }
        ((CompletionStage<?>) sent).whenComplete((reply, failed) -> {
            if (failed != null) answer.completeExceptionally(failed);
            else answer.complete((List<?>) reply);
        });
        answer.whenComplete((reply, failed) -> {
            if (answer.isCancelled()) sent.cancel(true);
        });
    }

    /** One attempt at a time; one that failed is followed by another, with the next hit. Lettuce itself reconnects. */
    private synchronized CompletableFuture<LettuceSender> connected() {
        if (connecting == null || connecting.isCompletedExceptionally() && System.nanoTime() - began >= AGAIN.toNanos()) {
            began = System.nanoTime();
            connecting = connect.get().toCompletableFuture();
        }
        return connecting;
    }

    @Override
    public void close() {
        client.shutdown();
        client.getResources().shutdown();
    }
}
