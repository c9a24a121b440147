package ratelimit.spring;

import jakarta.servlet.http.HttpServletRequest;
import java.util.List;
import java.util.function.Function;
import ratelimit.Callers;

/** What stands in front of servlets: {@code ratelimit.filters.NAME.*}. */
public class FilterConfig extends LimitConfig {
    private List<String> paths = List.of();
    private String key = "ip";
    private int hops = -1;

    /** A sliding window by the caller's address, whose limit, window, paths and hops have to be set. */
    public FilterConfig() {
        super("web");
    }

    String[] paths() {
        if (paths.isEmpty()) throw new IllegalArgumentException("paths: expected one or more, such as /api/*");
        for (String path : paths) {
            if (!path.startsWith("/") && !path.startsWith("*.")) throw new IllegalArgumentException("paths: expected such as /login, /api/* or *.json, got " + path);
        }
        return paths.toArray(String[]::new);
    }

    /** Who asks, before somebody has logged in or behind that. */
    Function<HttpServletRequest, String> key() {
        if (hops < 0) throw new IllegalArgumentException("hops: expected how many proxies of yours stand in front, 0 or more");
        return switch (key) {
            case "ip" -> request -> Callers.byIp(request, hops);
            case "user" -> request -> request.getRemoteUser() == null ? Callers.byIp(request, hops) : "user:" + request.getRemoteUser();
            default -> throw new IllegalArgumentException("key: expected ip or user, got " + key);
        };
    }

    boolean isOfUsers() {
        return key.equals("user");
    }

    /** As servlets are mapped: {@code /login}, {@code /api/*}, {@code *.json}. */
    public void setPaths(List<String> paths) {
        this.paths = paths;
    }

    /** {@code ip}, or {@code user}: who has logged in, and the address of who has not. */
    public void setKey(String key) {
        this.key = key;
    }

    /** So many proxies of yours stand in front, always: one too many, and callers invent their address. */
    public void setHops(int hops) {
        this.hops = hops;
    }
}
