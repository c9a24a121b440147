package ratelimit.spring;

import java.util.Map;

/** The arguments of a route, or of the default filters: each with {@code ratelimit.} before it. */
public class GatewayConfig extends LimitConfig {
    private Map<String, String> fields = Map.of();

    /** A sliding window, whose limit and window have to be set. */
    public GatewayConfig() {
        super("gateway");
    }

    /** Of each answer, besides those of the verdict. */
    Map<String, String> fields() {
        return fields;
    }

    void fields(Map<String, String> fields) {
        this.fields = fields;
    }
}
