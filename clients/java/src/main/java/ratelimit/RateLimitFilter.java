package ratelimit;

import jakarta.servlet.AsyncEvent;
import jakarta.servlet.AsyncListener;
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
import java.util.function.Predicate;
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
    private static final Pattern DIGITS = Pattern.compile("\\d{1,18}");
    private static final Pattern NAME = Pattern.compile("[ !#-\\[\\]-~]+");
    /** The attribute of a request in which its {@link RateLimiter.Verdict} is; of several limiters that of the last one. */
    public static final String VERDICT = "ratelimit.verdict";

    /** Answers a request that is not let through. The fields are set already. */
    @FunctionalInterface
    public interface Refusal {
        /** @param status 429, 403 where a deny list named the caller, or 503 where Redis could not be asked */
        void answer(HttpServletRequest request, HttpServletResponse response, int status, RateLimiter.Verdict verdict) throws IOException, ServletException;
    }

    private final RateLimiter limiter;
    private final Function<HttpServletRequest, String> key;
    private final String name;
    private final Predicate<HttpServletRequest> skips;
    private final Refusal refusal;
    private final boolean skipsSuccessful;
    private final boolean skipsFailed;

    public RateLimitFilter(RateLimiter limiter, Function<HttpServletRequest, String> key) {
        this(limiter, key, "default");
    }

    /** @param name in the RateLimit fields, where several limiters stand in front of one servlet: an item of each, in ASCII */
    public RateLimitFilter(RateLimiter limiter, Function<HttpServletRequest, String> key, String name) {
        this(limiter.next(), key, name, request -> false, (request, response, status, verdict) -> response.sendError(status), false, false);
    }

    private RateLimitFilter(
        RateLimiter limiter, Function<HttpServletRequest, String> key, String name, Predicate<HttpServletRequest> skips, Refusal refusal,
        boolean skipsSuccessful, boolean skipsFailed) {
        if (!NAME.matcher(name).matches()) throw new IllegalArgumentException("name: expected printable ASCII without quotes and backslashes, got " + name);
        this.limiter = skipsSuccessful || skipsFailed ? limiter.stamp() : limiter;
        this.key = Objects.requireNonNull(key, "key");
        this.name = name;
        this.skips = Objects.requireNonNull(skips, "skips");
        this.refusal = Objects.requireNonNull(refusal, "refusal");
        this.skipsSuccessful = skipsSuccessful;
        this.skipsFailed = skipsFailed;
    }

    /** The same, leaving those requests alone. A browser's preflight (OPTIONS) is never charged. */
    public RateLimitFilter skip(Predicate<HttpServletRequest> requests) {
        return new RateLimitFilter(limiter, key, name, requests, refusal, skipsSuccessful, skipsFailed);
    }

    /** The same, answering so in the place of the container's error page. */
    public RateLimitFilter refusal(Refusal refusal) {
        return new RateLimitFilter(limiter, key, name, skips, refusal, skipsSuccessful, skipsFailed);
    }

    /** The same, giving back the hits of answers with a status below 400: of a login, only what failed counts. */
    public RateLimitFilter skipSuccessful() {
        return new RateLimitFilter(limiter, key, name, skips, refusal, true, skipsFailed);
    }

    /** The same, giving back the hits of answers with a status of 400 or more, and of what threw. */
    public RateLimitFilter skipFailed() {
        return new RateLimitFilter(limiter, key, name, skips, refusal, skipsSuccessful, true);
    }

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain) throws IOException, ServletException {
        var asked = (HttpServletRequest) request;
        var http = (HttpServletResponse) response;
        boolean isPreflight = asked.getMethod().equals("OPTIONS") && asked.getHeader("Access-Control-Request-Method") != null;
        if (isPreflight || skips.test(asked)) {
            chain.doFilter(request, response);
            return;
        }
        String caller = key.apply(asked);
        var verdict = limiter.hit(caller);
        asked.setAttribute(VERDICT, verdict);
        tell(http, verdict);
        if (verdict.allowed()) {
            pass(caller, verdict, asked, http, chain);
        } else {
            int status = verdict.unavailable() != null ? HttpServletResponse.SC_SERVICE_UNAVAILABLE
                : verdict.deniedValue() != null ? HttpServletResponse.SC_FORBIDDEN : TOO_MANY_REQUESTS;
            refusal.answer(asked, http, status, verdict);
        }
    }

    private void pass(String caller, RateLimiter.Verdict verdict, HttpServletRequest request, HttpServletResponse response, FilterChain chain)
        throws IOException, ServletException {
        boolean isThrough = false;
        try {
            chain.doFilter(request, response);
            isThrough = true;
        } finally {
            if (isThrough && request.isAsyncStarted()) {
                if (skipsSuccessful || skipsFailed) request.getAsyncContext().addListener(new WhenDone(caller, verdict, response));
            } else {
                skip(caller, verdict, isThrough ? response.getStatus() : HttpServletResponse.SC_INTERNAL_SERVER_ERROR);
            }
        }
    }

    private void skip(String caller, RateLimiter.Verdict verdict, int status) {
        if (status < HttpServletResponse.SC_BAD_REQUEST ? skipsSuccessful : skipsFailed) limiter.refund(caller, verdict);
    }

    /** A servlet that answers later. */
    private final class WhenDone implements AsyncListener {
        private final String caller;
        private final RateLimiter.Verdict verdict;
        private final HttpServletResponse response;

        WhenDone(String caller, RateLimiter.Verdict verdict, HttpServletResponse response) {
            this.caller = caller;
            this.verdict = verdict;
            this.response = response;
        }

        @Override
        public void onComplete(AsyncEvent event) {
            skip(caller, verdict, response.getStatus());
        }

        @Override
        public void onTimeout(AsyncEvent event) {
            // it completes
        }

        @Override
        public void onError(AsyncEvent event) {
            // it completes
        }

        @Override
        public void onStartAsync(AsyncEvent event) {
            event.getAsyncContext().addListener(this); // a new one forgets its listeners
        }
    }

    private void tell(HttpServletResponse http, RateLimiter.Verdict verdict) {
        if (verdict.unavailable() != null) {
            if (!verdict.allowed()) http.setHeader("Retry-After", "1");
        } else {
            if (isTightest(http, verdict.remaining())) {
                http.setHeader("X-RateLimit-Limit", Long.toString(verdict.limit()));
                http.setHeader(REMAINING, Long.toString(verdict.remaining()));
                http.setHeader("X-RateLimit-Reset", Long.toString(seconds(System.currentTimeMillis() + verdict.resetAfterMs())));
            }
            item(http, "RateLimit-Policy", '"' + name + "\";q=" + verdict.limit());
            String next = verdict.nextAfterMs() < 0 ? "" : ";t=" + seconds(verdict.nextAfterMs());
            item(http, "RateLimit", '"' + name + "\";r=" + verdict.remaining() + next);
            if (!verdict.allowed() && verdict.retryAfterMs() > 0) http.setHeader("Retry-After", Long.toString(seconds(verdict.retryAfterMs())));
        }
        if (!http.getHeaders(EXPOSE).contains(EXPOSED)) http.addHeader(EXPOSE, EXPOSED);
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
