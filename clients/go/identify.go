package ratelimit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// ByUser is the key of somebody who is logged in.
func ByUser(id string) string { return "user:" + id }

// ByAPIKey is a hash: an API key must not lie readable in Redis, its slow log or its dumps.
func ByAPIKey(apiKey string) string { return "key:" + hash(apiKey) }

// ByAccount is a hash of an e-mail address as a person means it: no control and no zero-width characters, NFKC, no spaces
// around it, lower case, a final sigma as any other. Who can read Redis can look up an address that they guess, but for one of Accounts with a secret.
func ByAccount(email string) string { return Accounts{}.ByAccount(email) }

// Accounts hashes e-mail addresses with a key.
type Accounts struct {
	// Secret is the application's own. With it the hash is an HMAC: an address that somebody guesses cannot be looked up in
	// Redis or its dumps without it. With another secret all accounts begin anew.
	Secret string
}

// ByAccount is as the function, with this secret.
func (a Accounts) ByAccount(email string) string {
	visible := func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			return -1
		}
		return r
	}
	written := strings.TrimSpace(norm.NFKC.String(strings.Map(visible, email)))
	lower := strings.ReplaceAll(cases.Lower(language.Und).String(written), "ς", "σ")
	// Again, as the lower case of what has no precomposed form may have one (J and a caron).
	normal := norm.NFKC.String(lower)
	if a.Secret == "" {
		return "account:" + hash(normal)
	}
	digest := hmac.New(sha256.New, []byte(a.Secret))
	digest.Write([]byte(normal))
	return "account:" + hex.EncodeToString(digest.Sum(nil)[:16])
}

func hash(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(digest[:16])
}

// Prefixes are how much of an address is one caller: a customer is given a whole range of IPv6 to choose from.
type Prefixes struct {
	// IPv4 is 1 to 32; 0 stands for 32. IPv6 is 1 to 128; 0 stands for 64. Some providers give customers a /56.
	IPv4, IPv6 int
}

// ByIP is the caller's address behind so many proxies of ours. One proxy too many, and callers invent their address; one
// too few, and all are one. 0: nothing stands in front.
func ByIP(r *http.Request, hops int) string { return Prefixes{}.ByIP(r, hops) }

// ByAddress is the key of an address as it arrives: with a port, in brackets, with a zone, mapped from IPv4. Those of NAT64
// (64:ff9b::/96) and 6to4 are read as the IPv4 address in them. What is no address is "ip:unknown": a stranger who writes nonsense is no new caller each time.
func ByAddress(written string) string { return Prefixes{}.ByAddress(written) }

// ByIP is as the function, with these prefixes.
func (p Prefixes) ByIP(r *http.Request, hops int) string { return p.ByAddress(ClientAddress(r, hops)) }

// ClientAddress is what ByIP makes a key of, as it arrives.
func ClientAddress(r *http.Request, hops int) string {
	chain := []string{}
	for _, hop := range strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",") {
		if hop = strings.TrimSpace(hop); hop != "" {
			chain = append(chain, hop)
		}
	}
	chain = append(chain, r.RemoteAddr)
	return chain[max(0, len(chain)-1-hops)]
}

// ByAddress is as the function, with these prefixes.
func (p Prefixes) ByAddress(written string) string {
	address, ok := parseAddress(written)
	if !ok {
		return "ip:unknown"
	}
	if ipv4, ok := embeddedIPv4(address); ok {
		address = ipv4
	}
	if address.Is4() {
		if p.IPv4 < 1 || p.IPv4 >= 32 {
			return "ip:" + address.String()
		}
		return "ip:" + netip.PrefixFrom(address, p.IPv4).Masked().String()
	}
	bits := p.IPv6
	if bits < 1 || bits > 128 {
		bits = 64
	}
	bytes := netip.PrefixFrom(address, bits).Masked().Addr().As16()
	group := func(i int) uint16 { return uint16(bytes[i])<<8 | uint16(bytes[i+1]) }
	// As the packages for other languages write it, so that a caller is one to all of them.
	groups := make([]string, 0, 8)
	for i := 0; i < (bits+15)/16; i++ {
		groups = append(groups, fmt.Sprintf("%x", group(2*i)))
	}
	end := "::"
	if len(groups) == 8 {
		end = ""
	}
	return fmt.Sprintf("ip:%s%s/%d", strings.Join(groups, ":"), end, bits)
}

func parseAddress(written string) (netip.Addr, bool) {
	written = strings.TrimSpace(written)
	host, hasPort := written, portAtEnd.FindString(written)
	if strings.HasPrefix(written, "[") {
		host = strings.TrimSuffix(written, hasPort)
		if !strings.HasSuffix(host, "]") {
			return netip.Addr{}, false
		}
		host = strings.TrimSuffix(host[1:], "]")
		if !strings.Contains(host, ":") {
			return netip.Addr{}, false
		}
	} else if strings.Count(written, ":") == 1 {
		host = strings.TrimSuffix(written, hasPort)
	}
	host, _, _ = strings.Cut(host, "%")
	address, err := netip.ParseAddr(host)
	return address.Unmap(), err == nil
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052's well-known prefix
	siit   = netip.MustParsePrefix("::ffff:0:0:0/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// embeddedIPv4 is the IPv4 address that an IPv6 one is made of by NAT64 and its like, or by 6to4.
func embeddedIPv4(address netip.Addr) (netip.Addr, bool) {
	bytes := address.As16()
	switch {
	case nat64.Contains(address), siit.Contains(address):
		return netip.AddrFrom4([4]byte(bytes[12:])), true
	case sixTo4.Contains(address):
		return netip.AddrFrom4([4]byte(bytes[2:6])), true
	}
	return netip.Addr{}, false
}

var portAtEnd = regexp.MustCompile(`:[0-9]{1,5}$`)
