package ratelimit;

import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.Objects;
import java.util.function.Function;
import java.util.regex.Pattern;

/**
 * A limiter in front of servlets: 429 where it says no, and 503 where it is closed because Redis is away.
 *
 * <pre>
 * context.addFilter("limit", new RateLimitFilter(api, request -> Callers.byIp(request, 1)))
 *     .addMappingForUrlPatterns(null, false, "/*");
 * </pre>
 */
public final class RateLimitFilter implements Filter {
    private static final String EXPOSED = "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy";
    private static final String EXPOSE = "Access-Control-Expose-Headers";
    private static final String REMAINING = "X-RateLimit-Remaining";
    private static final int TOO_MANY_REQUESTS = 429;
    private final RateLimiter limiter;
    private static final Pattern DIGITS = Pattern.compile("\\d{1,18}");
    private static final Pattern NAME = Pattern.compile("[ !#-\\[\\]-~]+");
    private final Function<HttpServletRequest, String> key;
    private final String name;

    public RateLimitFilter(RateLimiter limiter, Function<HttpServletRequest, String> key) {
        this(limiter, key, "default");
    }

    /** @param name in the RateLimit fields, where several limiters stand in front of one servlet: an item of each, in ASCII */
    public RateLimitFilter(RateLimiter limiter, Function<HttpServletRequest, String> key, String name) {
        if (!NAME.matcher(name).matches()) throw new IllegalArgumentException("name: expected printable ASCII without quotes and backslashes, got " + name);
        this.name = '"' + name + '"';
        this.limiter = Objects.requireNonNull(limiter, "limiter").next();
        this.key = Objects.requireNonNull(key, "key");
    }

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain) throws IOException, ServletException {
        var asked = (HttpServletRequest) request;
        var http = (HttpServletResponse) response;
        if (asked.getMethod().equals("OPTIONS") && asked.getHeader("Access-Control-Request-Method") != null) { // a browser's preflight
            chain.doFilter(request, response);
            return;
        }
        var verdict = limiter.hit(key.apply(asked));
        int status = TOO_MANY_REQUESTS;
        if (verdict.unavailable() != null) {
            status = HttpServletResponse.SC_SERVICE_UNAVAILABLE;
            if (!verdict.allowed()) http.setHeader("Retry-After", "1");
        } else {
            if (isTightest(http, verdict.remaining())) {
                http.setHeader("X-RateLimit-Limit", Long.toString(verdict.limit()));
                http.setHeader(REMAINING, Long.toString(verdict.remaining()));
                http.setHeader("X-RateLimit-Reset", Long.toString(seconds(System.currentTimeMillis() + verdict.resetAfterMs())));
            }
            item(http, "RateLimit-Policy", name + ";q=" + verdict.limit());
            String next = verdict.nextAfterMs() < 0 ? "" : ";t=" + seconds(verdict.nextAfterMs());
            item(http, "RateLimit", name + ";r=" + verdict.remaining() + next);
            if (!verdict.allowed() && verdict.retryAfterMs() > 0) http.setHeader("Retry-After", Long.toString(seconds(verdict.retryAfterMs())));
        }
        if (!http.getHeaders(EXPOSE).contains(EXPOSED)) http.addHeader(EXPOSE, EXPOSED);
        if (verdict.allowed()) {
            chain.doFilter(request, response);
        } else {
            http.sendError(status);
        }
    }

    /** Of those in front of one servlet. */
    private static boolean isTightest(HttpServletResponse response, long remaining) {
        String others = response.getHeader(REMAINING);
        return others == null || !DIGITS.matcher(others).matches() || remaining < Long.parseLong(others);
    }

    private static void item(HttpServletResponse response, String field, String item) {
        String before = response.getHeader(field);
        response.setHeader(field, before == null ? item : before + ", " + item);
    }

    /** Rounded up: never an invitation to come too early. */
    private static long seconds(long ms) {
        return (ms + 999) / 1000;
    }
}
