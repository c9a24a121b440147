package ratelimit;

import jakarta.servlet.http.HttpServletRequest;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

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
        return byIp(request, hops, 32, 64);
    }

    /** The same, of IPv4 and of IPv6 by so many bits: some providers give a customer a /56. */
    public static String byIp(HttpServletRequest request, int hops, int ipv4, int ipv6) {
        if (hops < 0) throw new IllegalArgumentException("hops must not be negative: " + hops);
        List<String> chain = new ArrayList<>();
        for (String field : Collections.list(request.getHeaders("X-Forwarded-For"))) {
            for (String hop : field.split(",")) if (!hop.isBlank()) chain.add(hop);
        }
        chain.add(request.getRemoteAddr());
        return byIp(chain.get(Math.max(0, chain.size() - 1 - hops)), ipv4, ipv6);
    }

    /**
     * Addresses of NAT64 (64:ff9b::/96) and 6to4 are read as the IPv4 address in them. What is no address is
     * {@code ip:unknown}: a stranger who writes nonsense is no new caller each time.
     */
    public static String byIp(String written) {
        return byIp(written, 32, 64);
    }

    /**
     * The same, by so many bits.
     *
     * @param ipv4 1 to 32
     * @param ipv6 1 to 128
     */
    public static String byIp(String written, int ipv4, int ipv6) {
        if (ipv4 < 1 || ipv4 > 32) throw new IllegalArgumentException("ipv4: expected 1 to 32, got " + ipv4);
        if (ipv6 < 1 || ipv6 > 128) throw new IllegalArgumentException("ipv6: expected 1 to 128, got " + ipv6);
        InetAddress address = written == null ? null : parse(written.strip());
        if (address == null) return "ip:unknown";
        byte[] bytes = embeddedIpv4(address.getAddress());
        if (bytes.length == 4) {
            mask(bytes, ipv4);
            String whole = "ip:" + (bytes[0] & 0xff) + '.' + (bytes[1] & 0xff) + '.' + (bytes[2] & 0xff) + '.' + (bytes[3] & 0xff);
            return ipv4 == 32 ? whole : whole + '/' + ipv4;
        }
        mask(bytes, ipv6);
        var groups = new ArrayList<String>();
        for (int i = 0; i < (ipv6 + 15) / 16 * 2; i += 2) groups.add(Integer.toHexString((bytes[i] & 0xff) << 8 | bytes[i + 1] & 0xff));
        return "ip:" + String.join(":", groups) + (groups.size() == 8 ? "" : "::") + '/' + ipv6;
    }

    private static void mask(byte[] bytes, int bits) {
        for (int bit = bits; bit < bytes.length * 8; bit++) bytes[bit / 8] &= (byte) ~(0x80 >> bit % 8);
    }

    /** Somebody who is logged in. */
    public static String byUser(String id) {
        return "user:" + Objects.requireNonNull(id, "id");
    }

    /** A hash: an API key must not lie readable in Redis, its slow log or its dumps. */
    public static String byApiKey(String apiKey) {
        return "key:" + hash(apiKey, null);
    }

    /** A hash of an e-mail address as a person means it: no control and no zero-width characters, NFKC, no spaces, lower case. */
    public static String byAccount(String email) {
        return byAccount(email, null);
    }

    /**
     * The same by a key of the application's own: an HMAC, so that an address that somebody guesses cannot be looked up in Redis
     * or its dumps. With another secret all accounts begin anew.
     */
    public static String byAccount(String email, String identitySecret) {
        String visible = Normalizer.normalize(email.replaceAll("[\\p{Cc}\\p{Cf}]", ""), Normalizer.Form.NFKC).strip();
        // Again, as the lower case of what has no precomposed form may have one (J and a caron).
        String normal = Normalizer.normalize(visible.toLowerCase(Locale.ROOT).replace('\u03c2', '\u03c3'), Normalizer.Form.NFKC);
        return "account:" + hash(normal, identitySecret);
    }

    private static String hash(String secret, String key) {
        try {
            byte[] bytes = secret.getBytes(StandardCharsets.UTF_8);
            byte[] digest;
            if (key == null) {
                digest = MessageDigest.getInstance("SHA-256").digest(bytes);
            } else {
                if (key.isEmpty()) throw new IllegalArgumentException("identitySecret: expected a text, got an empty one");
                Mac mac = Mac.getInstance("HmacSHA256");
                mac.init(new SecretKeySpec(key.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
                digest = mac.doFinal(bytes);
            }
            return HexFormat.of().formatHex(digest, 0, 16);
        } catch (GeneralSecurityException everyJavaHasThem) {
            throw new IllegalStateException(everyJavaHasThem);
        }
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
