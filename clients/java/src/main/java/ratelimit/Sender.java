package ratelimit;

import java.util.List;
import java.util.concurrent.Future;

/** Sends a command to Redis: {@link JedisSender}, {@link LettuceSender}, or any other client. */
@FunctionalInterface
public interface Sender {
    /** The second of the words is the key; of RL.PEEK the third, of RL.ALL and RL.PEEKALL so many from the third on as the second says. The reply's integers are Longs; one that is no list is a list of one. */
    Future<? extends List<?>> send(List<String> words);
}
