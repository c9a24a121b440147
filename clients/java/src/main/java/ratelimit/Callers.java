package ratelimit;

import jakarta.servlet.http.HttpServletRequest;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Pattern;

/** Who asks. */
public final class Callers {
    private static final String PORT = "(?::[0-9]{1,5})?";
    private static final String OCTET = "(?:0|[1-9][0-9]{0,2})";
    private static final Pattern V4 = Pattern.compile("(" + OCTET + "(?:\\." + OCTET + "){3})" + PORT);
    /** Whatever InetAddress may be asked without asking a name server: it has a colon, and begins as an address does. */
    private static final String GROUPS = "([0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*)(?:%[^\\]]*)?";
    private static final Pattern V6 = Pattern.compile(GROUPS + "|\\[" + GROUPS + "\\]" + PORT);

    private Callers() {}

    /**
     * The caller's address behind so many proxies of ours, of IPv6 its /64. One proxy too many, and callers invent their
     * address; one too few, and all are one. 0: nothing stands in front.
     */
    public static String byIp(HttpServletRequest request, int hops) {
        if (hops < 0) throw new IllegalArgumentException("hops must not be negative: " + hops);
        List<String> chain = new ArrayList<>();
        for (String field : Collections.list(request.getHeaders("X-Forwarded-For"))) {
            for (String hop : field.split(",")) if (!hop.isBlank()) chain.add(hop);
        }
        chain.add(request.getRemoteAddr());
        return byIp(chain.get(Math.max(0, chain.size() - 1 - hops)));
    }

    /** What is no address is {@code ip:unknown}: a stranger who writes nonsense is no new caller each time. */
    public static String byIp(String written) {
        InetAddress address = written == null ? null : parse(written.strip());
        if (address == null) return "ip:unknown";
        if (address instanceof Inet4Address) return "ip:" + address.getHostAddress();
        byte[] bytes = address.getAddress();
        var groups = new ArrayList<String>();
        for (int i = 0; i < 8; i += 2) groups.add(Integer.toHexString((bytes[i] & 0xff) << 8 | bytes[i + 1] & 0xff));
        return "ip:" + String.join(":", groups) + "::/64";
    }

    private static InetAddress parse(String written) {
        try {
            var v4 = V4.matcher(written);
            if (v4.matches()) {
                byte[] octets = new byte[4];
                String[] numbers = v4.group(1).split("\\.");
                for (int i = 0; i < 4; i++) {
                    int octet = Integer.parseInt(numbers[i]);
                    if (octet > 255) return null;
                    octets[i] = (byte) octet;
                }
                return InetAddress.getByAddress(octets);
            }
            var v6 = V6.matcher(written);
            if (!v6.matches()) return null;
            return InetAddress.getByName(v6.group(1) == null ? v6.group(2) : v6.group(1)); // IPv4-mapped: an Inet4Address
        } catch (UnknownHostException invalid) {
            return null;
        }
    }
}
