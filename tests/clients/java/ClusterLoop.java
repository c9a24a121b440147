import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParser;
import io.lettuce.core.RedisURI;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.NestedMultiOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import redis.clients.jedis.CommandArguments;
import redis.clients.jedis.HostAndPort;

/** The loop of cluster.py, through Jedis' and Lettuce's cluster clients. */
public final class ClusterLoop {
    private interface Sender {
        Object send(List<String> words);
    }

    private static final int PORT = Integer.parseInt(System.getenv("RATELIMIT_CLUSTER_PORT"));
    /** Where a call has its keys: behind their number. */
    private static final int FIRST_KEY = 2;

    private static boolean isKey(List<String> words, int place) {
        return place >= FIRST_KEY && place < FIRST_KEY + Integer.parseInt(words.get(1));
    }

    private static Sender jedis() {
        var cluster = redis.clients.jedis.RedisClusterClient.builder()
            .nodes(Set.of(new HostAndPort("127.0.0.1", PORT)))
            .build();
        return words -> {
            var arguments = new CommandArguments(() -> words.get(0).getBytes(StandardCharsets.UTF_8));
            for (int place = 1; place < words.size(); place++) {
                if (isKey(words, place)) arguments.key(words.get(place));
                else arguments.add(words.get(place));
            }
            return cluster.executeCommand(arguments);
        };
    }

    private static Sender lettuce() {
        var client = RedisClusterClient.create(RedisURI.create("127.0.0.1", PORT));
        var commands = client.connect().sync();
        return words -> {
            var arguments = new CommandArgs<>(StringCodec.UTF8);
            for (int place = 1; place < words.size(); place++) {
                if (isKey(words, place)) arguments.addKey(words.get(place));
                else arguments.add(words.get(place));
            }
            ProtocolKeyword keyword = () -> words.get(0).getBytes(StandardCharsets.UTF_8);
            return commands.dispatch(keyword, new NestedMultiOutput<>(StringCodec.UTF8), arguments);
        };
    }

    public static void main(String[] client) throws Exception {
        Gson gson = new GsonBuilder().disableHtmlEscaping().create();
        Sender sender = client[0].equals("Jedis") ? jedis() : lettuce();
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = input.readLine()) != null; ) {
            List<String> words = new ArrayList<>();
            JsonParser.parseString(line).getAsJsonObject().getAsJsonArray("words").forEach(word -> words.add(word.getAsString()));
            Map<String, Object> answer = new HashMap<>();
            try {
                answer.put("reply", sender.send(words));
            } catch (RuntimeException error) {
                answer.put("error", error.toString());
            }
            System.out.println(gson.toJson(answer));
        }
        System.exit(0);
    }
}
