import static suite.Suite.test;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.ClientOptions;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.NestedMultiOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import io.lettuce.core.protocol.ProtocolVersion;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.regex.Pattern;
import redis.clients.jedis.Connection;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.commands.ProtocolCommand;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.util.KeyValue;

/**
 * The scenarios, concurrency and the cluster through Jedis and Lettuce, on RESP2 and RESP3.
 *
 * <p>To know: Jedis answers texts as bytes; Lettuce needs to be told what a command it does not know answers:
 * NestedMultiOutput takes everything, a single value as a list of one.
 */
public final class Scenarios {
    private interface Sender {
        /** The reply, or a {@link Refusal}. */
        Object send(List<String> words);
    }

    private record Refusal(String message) {}

    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_PORT"));
    private static final int CLUSTER_PORT = Integer.parseInt(System.getenv("RATELIMIT_CLUSTER_PORT"));
    private static final Pattern RANGE = Pattern.compile("(\\d+)\\.\\.(\\d+)");

    private static void same(Object actual, JsonElement expected, String path) {
        if (expected.isJsonArray()) {
            JsonArray items = expected.getAsJsonArray();
            if (!(actual instanceof List<?> list) || list.size() != items.size()) throw new AssertionError(path + ": " + actual);
            for (int i = 0; i < items.size(); i++) same(list.get(i), items.get(i), path + "[" + i + "]");
            return;
        }
        if (expected.isJsonPrimitive() && expected.getAsJsonPrimitive().isString()) {
            var bounds = RANGE.matcher(expected.getAsString());
            if (bounds.matches()) {
                if (actual instanceof Long number && number >= Long.parseLong(bounds.group(1)) && number <= Long.parseLong(bounds.group(2))) return;
                throw new AssertionError(path + ": " + actual + " is not in " + expected);
            }
        }
        Object wanted = expected.isJsonNull() ? null : expected.getAsJsonPrimitive().isNumber() ? (Object) expected.getAsLong() : expected.getAsString();
        if (!Objects.equals(text(actual), wanted)) throw new AssertionError(path + ": " + text(actual) + " is not " + wanted);
    }

    private static Object text(Object value) {
        return value instanceof byte[] bytes ? new String(bytes, StandardCharsets.UTF_8) : value;
    }

    /** A field of a map of RESP3, or of the flat array of RESP2. */
    private static Object field(Object reply, String name) {
        if (reply instanceof Map<?, ?> map) {
            for (var entry : map.entrySet()) if (name.equals(text(entry.getKey()))) return entry.getValue();
        } else if (reply instanceof List<?> list) {
            for (int i = 0; i < list.size(); i++) {
                if (list.get(i) instanceof KeyValue<?, ?> pair) {
                    if (name.equals(text(pair.getKey()))) return pair.getValue();
                } else if (i % 2 == 0 && i + 1 < list.size() && name.equals(text(list.get(i)))) {
                    return list.get(i + 1);
                }
            }
        }
        return null;
    }

    private static void run(Sender sender, JsonObject step, String prefix) {
        List<String> words = new ArrayList<>();
        for (JsonElement word : step.getAsJsonArray("send")) {
            String text = word.getAsString();
            int at = text.indexOf('$');
            words.add(at < 0 ? text : text.substring(0, at) + prefix + text.substring(at + 1));
        }
        String said = String.join(" ", words);
        Object reply = sender.send(words);
        if (step.has("error")) {
            if (!(reply instanceof Refusal refusal) || !refusal.message().startsWith(step.get("error").getAsString())) throw new AssertionError(said + ": " + reply);
        } else if (reply instanceof Refusal refusal) {
            throw new AssertionError(said + ": " + refusal.message());
        } else if (step.has("map")) {
            for (var wanted : step.getAsJsonObject("map").entrySet()) same(field(reply, wanted.getKey()), wanted.getValue(), said + ": " + wanted.getKey());
        } else {
            same(reply, step.get("reply"), said);
        }
    }

    private static ProtocolCommand command(String name) {
        return () -> name.getBytes(StandardCharsets.UTF_8);
    }

    private static Sender jedis(Jedis client) {
        return words -> {
            try {
                return client.sendCommand(command(words.get(0)), words.subList(1, words.size()).toArray(String[]::new));
            } catch (JedisDataException refused) {
                return new Refusal(refused.getMessage());
            }
        };
    }

    private record Keyword(String word) implements ProtocolKeyword {
        @Override
        public byte[] getBytes() {
            return word.getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public String toString() {
            return word;
        }
    }

    /** Tells a value from a list of one. */
    private static final class AnyOutput extends NestedMultiOutput<String, String> {
        private boolean isList;

        AnyOutput() {
            super(StringCodec.UTF8);
        }

        @Override
        public void multi(int count) {
            isList |= count >= 0;
            super.multi(count);
        }

        Object value(List<Object> read) {
            return isList ? read : read.isEmpty() ? null : read.get(0);
        }
    }

    private static Sender lettuce(StatefulRedisConnection<String, String> connection) {
        return words -> {
            var args = new CommandArgs<>(StringCodec.UTF8);
            words.subList(1, words.size()).forEach(args::add);
            try {
                var output = new AnyOutput();
                return output.value(connection.sync().dispatch(new Keyword(words.get(0)), output, args));
            } catch (RedisCommandExecutionException refused) {
                return new Refusal(refused.getMessage());
            }
        };
    }

    private static void scenarios(JsonArray scenarios, String name, Sender sender) {
        for (JsonElement scenario : scenarios) {
            test(name + ": " + scenario.getAsJsonObject().get("name").getAsString(), () -> {
                for (JsonElement step : scenario.getAsJsonObject().getAsJsonArray("steps")) run(sender, step.getAsJsonObject(), name + ":");
            });
        }
    }

    private static long allowed(Object reply) {
        return (Long) ((List<?>) reply).get(0);
    }

    /** 10 threads with a connection each. */
    private static void concurrency(String name, java.util.function.Supplier<Sender> open) {
        test(name + ": 10 connections admit the limit and not one more", () -> {
            var threads = Executors.newFixedThreadPool(10);
            List<Future<Long>> sums = new ArrayList<>();
            for (int thread = 0; thread < 10; thread++) {
                sums.add(threads.submit(() -> {
                    Sender sender = open.get();
                    long sum = 0;
                    for (int hit = 0; hit < 40; hit++) sum += allowed(sender.send(List.of("RL.SLIDING", "pool:" + name, "100", "1h")));
                    return sum;
                }));
            }
            long sum = 0;
            for (var one : sums) sum += one.get();
            threads.shutdown();
            if (sum != 100) throw new AssertionError(sum + " were allowed");
        });
    }

    public static void main(String[] ignored) throws Exception {
        String file = Files.readString(Path.of(System.getenv("RATELIMIT_SCENARIOS")));
        JsonArray scenarios = JsonParser.parseString(file).getAsJsonObject().getAsJsonArray("scenarios");
        for (RedisProtocol protocol : List.of(RedisProtocol.RESP2, RedisProtocol.RESP3)) {
            var config = DefaultJedisClientConfig.builder().protocol(protocol).timeoutMillis(60_000).build();
            try (var client = new Jedis(new HostAndPort("127.0.0.1", PORT), config)) {
                scenarios(scenarios, "Jedis " + protocol, jedis(client));
            }
            test("Jedis " + protocol + ": every key is one command on one node", () -> {
                try (var cluster = RedisClusterClient.builder().nodes(java.util.Set.of(new HostAndPort("127.0.0.1", CLUSTER_PORT))).clientConfig(config).build()) {
                    for (long expected : new long[] {1, 0}) {
                        for (int i = 0; i < 60; i++) {
                            String key = "Jedis-" + protocol + ":" + i;
                            long seen = allowed(cluster.executeCommand(
                                new redis.clients.jedis.CommandArguments(command("RL.FIXED")).key(key).add("1").add("3650d")));
                            if (seen != expected) throw new AssertionError(key + ": " + seen);
                        }
                    }
                }
            });
        }
        concurrency("Jedis", () -> jedis(new Jedis("127.0.0.1", PORT, 60_000)));

        for (ProtocolVersion protocol : List.of(ProtocolVersion.RESP2, ProtocolVersion.RESP3)) {
            try (var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT))) {
                client.setOptions(ClientOptions.builder().protocolVersion(protocol).build());
                scenarios(scenarios, "Lettuce " + protocol, lettuce(client.connect()));
            }
        }
        try (var client = RedisClient.create(RedisURI.create("127.0.0.1", PORT))) {
            concurrency("Lettuce", () -> lettuce(client.connect()));
        }
    }
}
