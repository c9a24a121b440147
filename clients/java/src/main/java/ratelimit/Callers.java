package ratelimit;

import jakarta.servlet.http.HttpServletRequest;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.Arrays;
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

    /**
     * Addresses of NAT64 (64:ff9b::/96) and 6to4 are read as the IPv4 address in them. What is no address is
     * {@code ip:unknown}: a stranger who writes nonsense is no new caller each time.
     */
    public static String byIp(String written) {
        InetAddress address = written == null ? null : parse(written.strip());
        if (address == null) return "ip:unknown";
        byte[] bytes = embeddedIpv4(address.getAddress());
        if (bytes.length == 4) {
            return "ip:" + (bytes[0] & 0xff) + '.' + (bytes[1] & 0xff) + '.' + (bytes[2] & 0xff) + '.' + (bytes[3] & 0xff);
        }
        var groups = new ArrayList<String>();
        for (int i = 0; i < 8; i += 2) groups.add(Integer.toHexString((bytes[i] & 0xff) << 8 | bytes[i + 1] & 0xff));
        return "ip:" + String.join(":", groups) + "::/64";
    }

    private static final byte[] NAT64 = {0, 0x64, (byte) 0xff, (byte) 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}; // RFC 6052's well-known prefix
    private static final byte[] SIIT = {0, 0, 0, 0, 0, 0, 0, 0, (byte) 0xff, (byte) 0xff, 0, 0};

    /** The IPv4 address that an IPv6 one is made of by NAT64 and its like, or by 6to4; else the address as it is. */
    private static byte[] embeddedIpv4(byte[] address) {
        if (address.length == 4) return address;
        byte[] prefix = Arrays.copyOf(address, 12);
        if (Arrays.equals(prefix, NAT64) || Arrays.equals(prefix, SIIT)) return Arrays.copyOfRange(address, 12, 16);
        return address[0] == 0x20 && address[1] == 0x02 ? Arrays.copyOfRange(address, 2, 6) : address;
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
            return InetAddress.getByName(v6.group(1) == null ? v6.group(2) : v6.group(1)); // IPv4-mapped: four bytes
        } catch (UnknownHostException invalid) {
            return null;
        }
    }
}
