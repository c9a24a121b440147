package ratelimit;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.ClientOptions.DisconnectedBehavior;
import io.lettuce.core.Delegating;
import io.lettuce.core.RedisChannelHandler;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.api.StatefulConnection;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.async.BaseRedisAsyncCommands;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.SlotHash;
import io.lettuce.core.cluster.api.StatefulRedisClusterConnection;
import io.lettuce.core.cluster.models.partitions.ClusterPartitionParser;
import io.lettuce.core.cluster.models.partitions.RedisClusterNode;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.NestedMultiOutput;
import io.lettuce.core.protocol.Command;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.DefaultEndpoint;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.WeakHashMap;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Over Lettuce, a connection of a server or of a cluster:
 *
 * <pre>
 * client.setOptions(LettuceSender.once(ClientOptions.create())); // before it connects
 * var sender = new LettuceSender(client.connect());
 * </pre>
 *
 * As Lettuce is by default, a command whose reply was lost is sent again when it has reconnected, and what is sent while
 * Redis is away is sent when it is back: hits would be charged twice, and late. A connection of such options is refused.
 *
 * The connection is this sender's alone: when hits were given up on it and nothing has been heard for a second, it is closed,
 * and Lettuce connects again.
 */
public final class LettuceSender implements Sender {
    private record Keyword(String word) implements ProtocolKeyword {
        @Override
        public byte[] getBytes() {
            return word.getBytes(StandardCharsets.US_ASCII);
        }

        @Override
        public String toString() {
            return word;
        }
    }

    /** How long nothing has been heard since a command was sent. */
    private static final class Silence {
        private static final long DEAF_NS = 1_000_000_000;
        /** Meanwhile a process that was stopped reads what had arrived. */
        private static final Executor SOON = CompletableFuture.delayedExecutor(50, TimeUnit.MILLISECONDS, Runnable::run);

        /** 0 where no command waits. */
        private final AtomicLong since = new AtomicLong();

        void begins() {
            if (since.get() == 0) since.compareAndSet(0, System.nanoTime() | 1);
        }

        void ends() {
            since.set(0);
        }

        /** A connection that swallows everything would stay until TCP ends it. Closed, it is made anew by Lettuce. */
        void givenUp(StatefulConnection<String, String> connection) {
            long began = since.get();
            if (began == 0 || System.nanoTime() - began < DEAF_NS) return;
            SOON.execute(() -> {
                if (since.compareAndSet(began, 0)) disconnect(connection);
            });
        }

        private static void disconnect(StatefulConnection<String, String> connection) {
            if (!(connection instanceof RedisChannelHandler<?, ?> handler)) return;
            Object writer = handler.getChannelWriter();
            // Around it are time-outs of Lettuce's own, and listeners. Lettuce 6 has no word for that.
            if (!(writer instanceof DefaultEndpoint) && writer instanceof Delegating<?> wrapped) writer = wrapped.unwrap();
            if (writer instanceof DefaultEndpoint endpoint) endpoint.disconnect();
        }
    }

    private final BaseRedisAsyncCommands<String, String> commands;
    /** Null of a cluster's, which has a connection to each node. */
    private final StatefulRedisConnection<String, String> single;
    /** Null where this is no cluster's. */
    private final StatefulRedisClusterConnection<String, String> cluster;
    private final Silence ofSingle = new Silence();
    /** Of the connections to a cluster's nodes. */
    private final Map<StatefulConnection<String, String>, Silence> silences = Collections.synchronizedMap(new WeakHashMap<>());

    public LettuceSender(StatefulRedisConnection<String, String> connection) {
        this(connection.async(), connection.getOptions(), connection, null);
    }

    public LettuceSender(StatefulRedisClusterConnection<String, String> connection) {
        this(connection.async(), connection.getOptions(), null, connection);
    }

    private LettuceSender(BaseRedisAsyncCommands<String, String> commands, ClientOptions options, StatefulRedisConnection<String, String> single,
        StatefulRedisClusterConnection<String, String> cluster) {
        var hit = new Command<>(new Keyword("RL.FIXED"), new NestedMultiOutput<>(StringCodec.UTF8));
        boolean sendsAgain = options.isAutoReconnect() && !options.getReplayFilter().test(hit);
        boolean sendsLater = options.getDisconnectedBehavior() == DisconnectedBehavior.ACCEPT_COMMANDS
            || options.getDisconnectedBehavior() == DisconnectedBehavior.DEFAULT && options.isAutoReconnect();
        if (sendsAgain || sendsLater) {
            throw new IllegalArgumentException("this connection sends a command " + (sendsAgain ? "again after it has reconnected" : "later, when Redis is back")
                + ", so that a hit may be charged more than once: client.setOptions(LettuceSender.once(options)) before it connects");
        }
        this.commands = commands;
        this.single = single;
        this.cluster = cluster;
    }

    /** The same options, but that a command is sent once and now, or not at all. */
    public static ClientOptions once(ClientOptions options) {
        return options.mutate().disconnectedBehavior(DisconnectedBehavior.REJECT_COMMANDS).replayFilter(command -> true).build();
    }

    /** The same of a cluster's. */
    public static ClusterClientOptions once(ClusterClientOptions options) {
        var once = options.mutate();
        once.disconnectedBehavior(DisconnectedBehavior.REJECT_COMMANDS).replayFilter(command -> true);
        return once.build();
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        if (single != null) return dispatch(words, single, ofSingle);
        var node = nodeOf(words.get(Call.firstKey(words)));
        if (node == null) return dispatch(words);
        if (node.isDone() && !node.isCompletedExceptionally()) return dispatchTo(node.join(), words);
        var answer = new CompletableFuture<List<?>>();
        node.whenComplete((connected, failed) -> {
            if (failed != null) {
                answer.completeExceptionally(failed);
            } else if (!answer.isDone()) { // what was given up meanwhile is not sent
                var sent = dispatchTo(connected, words);
                sent.whenComplete((reply, lost) -> {
                    if (lost != null) answer.completeExceptionally(lost);
                    else answer.complete(reply);
                });
                answer.whenComplete((reply, lost) -> {
                    if (answer.isCancelled()) sent.toCompletableFuture().cancel(true);
                });
            }
        });
        return answer;
    }

    /**
     * Lettuce connects to a node at its first command, and refuses that command where none may wait. Null where no node of the
     * key is known, which the command will say.
     */
    private CompletableFuture<StatefulRedisConnection<String, String>> nodeOf(String key) {
        var node = cluster.getPartitions().getPartitionBySlot(SlotHash.getSlot(key));
        return node == null ? null : cluster.getConnectionAsync(node.getUri().getHost(), node.getUri().getPort());
    }

    private RedisFuture<? extends List<?>> dispatchTo(StatefulConnection<String, String> node, List<String> words) {
        return dispatch(words, node, silences.computeIfAbsent(node, one -> new Silence()));
    }

    private RedisFuture<? extends List<?>> dispatch(List<String> words, StatefulConnection<String, String> connection, Silence silence) {
        silence.begins();
        var sent = dispatch(words);
        sent.whenComplete((reply, failed) -> {
            if (failed instanceof CancellationException) silence.givenUp(connection);
            else silence.ends();
        });
        return sent;
    }

    private RedisFuture<? extends List<?>> dispatch(List<String> words) {
        var arguments = new CommandArgs<>(StringCodec.UTF8);
        int firstKey = Call.firstKey(words), behindKeys = Call.behindKeys(words);
        for (int i = 1; i < words.size(); i++) {
            if (i >= firstKey && i < behindKeys) arguments.addKey(words.get(i));
            else arguments.add(words.get(i));
        }
        return commands.dispatch(new Keyword(words.get(0)), new NestedMultiOutput<>(StringCodec.UTF8), arguments);
    }

    /** As a node of the cluster tells now who they are. */
    @Override
    public CompletableFuture<List<Sender>> primaries() {
        return cluster == null ? Sender.super.primaries() : cluster.async().clusterNodes().toCompletableFuture().thenCompose(this::primariesOf);
    }

    private CompletableFuture<List<Sender>> primariesOf(String clusterNodes) {
        var connections = ClusterPartitionParser.parse(clusterNodes).stream()
            .filter(node -> node.is(RedisClusterNode.NodeFlag.UPSTREAM) && !node.hasNoSlots())
            .map(RedisClusterNode::getNodeId).sorted().map(cluster::getConnectionAsync).toList();
        return CompletableFuture.allOf(connections.toArray(CompletableFuture[]::new))
            .thenApply(all -> connections.stream().<Sender>map(one -> new LettuceSender(one.join())).toList());
    }
}
