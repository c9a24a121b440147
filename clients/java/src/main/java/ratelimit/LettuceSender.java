package ratelimit;

import io.lettuce.core.api.async.BaseRedisAsyncCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.NestedMultiOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.Future;

/** Over Lettuce: {@code new LettuceSender(connection.async())}, of a server or of a cluster. */
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

    public LettuceSender(BaseRedisAsyncCommands<String, String> commands) {
        this.commands = commands;
    }

    @Override
    public Future<? extends List<?>> send(List<String> words) {
        var arguments = new CommandArgs<>(StringCodec.UTF8).addKey(words.get(1));
        words.subList(2, words.size()).forEach(arguments::add);
        return commands.dispatch(new Keyword(words.get(0)), new NestedMultiOutput<>(StringCodec.UTF8), arguments);
    }
}
