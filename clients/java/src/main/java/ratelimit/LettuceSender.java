package ratelimit;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.ClientOptions.DisconnectedBehavior;
import io.lettuce.core.RedisFuture;
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
import io.lettuce.core.protocol.ProtocolKeyword;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;

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

    private final BaseRedisAsyncCommands<String, String> commands;
    /** Null where this is no cluster's. */
    private final StatefulRedisClusterConnection<String, String> cluster;

    public LettuceSender(StatefulRedisConnection<String, String> connection) {
        this(connection.async(), connection.getOptions(), null);
    }

    public LettuceSender(StatefulRedisClusterConnection<String, String> connection) {
        this(connection.async(), connection.getOptions(), connection);
    }

    private LettuceSender(BaseRedisAsyncCommands<String, String> commands, ClientOptions options, StatefulRedisClusterConnection<String, String> cluster) {
        var hit = new Command<>(new Keyword("RL.FIXED"), new NestedMultiOutput<>(StringCodec.UTF8));
        boolean sendsAgain = options.isAutoReconnect() && !options.getReplayFilter().test(hit);
        boolean sendsLater = options.getDisconnectedBehavior() == DisconnectedBehavior.ACCEPT_COMMANDS
            || options.getDisconnectedBehavior() == DisconnectedBehavior.DEFAULT && options.isAutoReconnect();
        if (sendsAgain || sendsLater) {
            throw new IllegalArgumentException("this connection sends a command " + (sendsAgain ? "again after it has reconnected" : "later, when Redis is back")
                + ", so that a hit may be charged more than once: client.setOptions(LettuceSender.once(options)) before it connects");
        }
        this.commands = commands;
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
        var node = cluster == null ? null : nodeOf(words.get(Call.firstKey(words)));
        if (node == null || node.isDone() && !node.isCompletedExceptionally()) return dispatch(words);
        var answer = new CompletableFuture<List<?>>();
        node.whenComplete((connected, failed) -> {
            if (failed != null) {
                answer.completeExceptionally(failed);
            } else if (!answer.isDone()) { // what was given up meanwhile is not sent
                dispatch(words).whenComplete((reply, lost) -> {
                    if (lost != null) answer.completeExceptionally(lost);
                    else answer.complete(reply);
                });
            }
        });
        return answer;
    }

    /**
     * Lettuce connects to a node at its first command, and refuses that command where none may wait. Null where no node of the
     * key is known, which the command will say.
     */
    private CompletableFuture<?> nodeOf(String key) {
        var node = cluster.getPartitions().getPartitionBySlot(SlotHash.getSlot(key));
        return node == null ? null : cluster.getConnectionAsync(node.getUri().getHost(), node.getUri().getPort());
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
