package ratelimit;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;

/** Sends a command to Redis: {@link JedisSender}, {@link LettuceSender}, or any other client. */
@FunctionalInterface
public interface Sender {
    /** The second of the words is the key; of RL.PEEK the third, of RL.ALL and RL.PEEKALL so many from the third on as the second says. The reply's integers are Longs; one that is no list is a list of one. */
    Future<? extends List<?>> send(List<String> words);

    /** The reply, if it is there in time. What has not been sent by then is not sent any more. */
    default List<?> ask(List<String> words, Duration timeout) throws Exception {
        return Deadlines.answer(send(words), timeout);
    }

    /** For what each node holds by itself, which is policies, deny lists and statistics: a sender to each primary of a cluster, always in one order; else this one. */
    default CompletableFuture<List<Sender>> primaries() {
        return CompletableFuture.completedFuture(List.of(this));
    }
}
