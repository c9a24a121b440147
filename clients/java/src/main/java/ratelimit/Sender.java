package ratelimit;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeoutException;

/** Sends a command to Redis: {@link JedisSender}, {@link LettuceSender}, or any other client. */
@FunctionalInterface
public interface Sender {
    /** The second of the words is the key; of RL.PEEK the third, of RL.ALL and RL.PEEKALL so many from the third on as the second says. The reply's integers are Longs; one that is no list is a list of one. */
    Future<? extends List<?>> send(List<String> words);

    /** The reply, if it is there in time. What has not been sent by then is not sent any more. */
    default List<?> ask(List<String> words, Duration timeout) throws Exception {
        Future<? extends List<?>> reply = send(words);
        try {
            return Deadlines.await(reply, timeout);
        } catch (TimeoutException late) {
            reply.cancel(true);
            throw late;
        } catch (InterruptedException stopped) {
            reply.cancel(true);
            Thread.currentThread().interrupt();
            throw stopped;
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof Exception cause ? cause : failed;
        }
    }
}
