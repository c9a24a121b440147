package ratelimit;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What an administrator's commands are answered, by RESP2 and RESP3 alike, whatever a newer server adds. */
final class Replies {
    private Replies() {}

    static String text(Object value) {
        return value instanceof byte[] bytes ? new String(bytes, StandardCharsets.UTF_8) : String.valueOf(value);
    }

    static long integer(Object value) {
        if (value instanceof Number number) return number.longValue();
        try {
            return Long.parseLong(text(value));
        } catch (NumberFormatException notOne) {
            throw Call.unread(List.of(text(value)));
        }
    }

    /** Of an entry that an older server does not have, an empty one. */
    static List<?> list(Object value) {
        if (value == null) return List.of();
        if (value instanceof List<?> list) return list;
        throw Call.unread(List.of(text(value)));
    }

    /** Of a list that has no fewer. */
    static List<?> list(Object value, int least) {
        List<?> list = list(value);
        if (list.size() < least) throw Call.unread(list);
        return list;
    }

    /** Names and values by turns, or pairs of them, in the reply's order. */
    static Map<String, Object> map(Object value) {
        Map<String, Object> found = new LinkedHashMap<>();
        if (value instanceof Map<?, ?> map) {
            map.forEach((name, one) -> found.put(text(name), one));
            return found;
        }
        List<?> items = list(value);
        if (!items.isEmpty() && items.get(0) instanceof Map.Entry<?, ?>) {
            for (Object item : items) {
                if (!(item instanceof Map.Entry<?, ?> pair)) throw Call.unread(items);
                found.put(text(pair.getKey()), pair.getValue());
            }
            return found;
        }
        if (items.size() % 2 != 0) throw Call.unread(items);
        for (int i = 0; i < items.size(); i += 2) found.put(text(items.get(i)), items.get(i + 1));
        return found;
    }

    /** 0 where there is none. */
    static long integer(Map<String, Object> found, String name) {
        Object value = found.get(name);
        return value == null ? 0 : integer(value);
    }

    /** Zero where there is none. */
    static Duration ms(Map<String, Object> found, String name) {
        return Duration.ofMillis(integer(found, name));
    }

    /** Whether a reply is nil, which senders give in a list as they do all that is none. */
    static boolean isNil(List<?> reply) {
        return reply == null || reply.size() == 1 && reply.get(0) == null;
    }
}
