// Package ratelimit limits net/http handlers by the native Redis commands RL.*, over go-redis.
//
//	limiter := ratelimit.Limiter{Client: client, Command: "RL.SLIDING", Limits: []any{100, "15m"}, Prefix: "api:"}
//	http.Handle("/", limiter.Middleware(func(r *http.Request) string { return ratelimit.ByIP(r, 1) }, handler))
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Doer is redis.Client, redis.ClusterClient and redis.Ring.
type Doer interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}

// Limiter is one limiter for all keys.
type Limiter struct {
	Client Doer
	// Command is RL.FIXED, RL.SLIDING or RL.BUCKET.
	Command string
	// Limits are the command's words behind the key: 100, "15m".
	Limits []any
	// Prefix stands before each key.
	Prefix string
	// Timeout is how long Redis may take; 0 is a second.
	Timeout time.Duration
	// Closed denies where Redis is away. For logins: guessing must not be free while it is.
	Closed bool
}

// Verdict is what the server answered. With Err set, Redis could not be asked, and the numbers are 0.
type Verdict struct {
	Allowed          bool
	Limit, Remaining int64
	// RetryAfter is negative where this can never be allowed.
	RetryAfter, ResetAfter time.Duration
	Err                    error
}

// Hit counts one hit. The error is a refusal of the server, a mistake in the set-up; what else fails is in the verdict.
func (l *Limiter) Hit(ctx context.Context, key string) (Verdict, error) {
	timeout := l.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	five, err := l.Client.Do(ctx, append([]any{l.Command, l.Prefix + key}, l.Limits...)...).Int64Slice()
	if err != nil {
		if isMistake(err) {
			return Verdict{}, err
		}
		return Verdict{Allowed: !l.Closed, Err: err}, nil
	}
	if len(five) < 5 {
		return Verdict{}, fmt.Errorf("not a reply of %s: %v", l.Command, five)
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return Verdict{five[0] == 1, five[1], five[2], ms(five[3]), ms(five[4]), nil}, nil
}

func isMistake(err error) bool {
	var refusal redis.Error
	if !errors.As(err, &refusal) {
		return false
	}
	code, _, _ := strings.Cut(err.Error(), " ")
	switch code {
	case "ERR", "WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS", "CROSSSLOT":
		return true
	}
	return false
}

// What pages of other origins may read.
const exposed = "X-RateLimit-Limit, X-RateLimit-Remaining, RateLimit-Policy, RateLimit, Retry-After"

// Middleware answers 429 where the limiter says no, and 503 where it is closed because Redis is away.
func (l *Limiter) Middleware(key func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verdict, err := l.Hit(r.Context(), key(r))
		if err != nil {
			slog.ErrorContext(r.Context(), "rate limiter", "error", err)
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		status := http.StatusTooManyRequests
		if verdict.Err != nil {
			slog.WarnContext(r.Context(), "rate limiter: Redis could not be asked", "error", verdict.Err)
			status = http.StatusServiceUnavailable
			if !verdict.Allowed {
				w.Header().Set("Retry-After", "1")
			}
		} else {
			w.Header().Set("X-RateLimit-Limit", strconv.FormatInt(verdict.Limit, 10))
			w.Header().Set("X-RateLimit-Remaining", strconv.FormatInt(verdict.Remaining, 10))
			w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"default";q=%d`, verdict.Limit))
			w.Header().Set("RateLimit", fmt.Sprintf(`"default";r=%d;t=%d`, verdict.Remaining, seconds(verdict.ResetAfter)))
			if !verdict.Allowed && verdict.RetryAfter > 0 {
				w.Header().Set("Retry-After", strconv.FormatInt(seconds(verdict.RetryAfter), 10))
			}
		}
		w.Header().Add("Access-Control-Expose-Headers", exposed)
		if !verdict.Allowed {
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Rounded up: never an invitation to come too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// ByIP is the caller's address behind so many proxies of ours, of IPv6 its /64. One proxy too many, and callers invent
// their address; one too few, and all are one. 0: nothing stands in front.
func ByIP(r *http.Request, hops int) string {
	chain := []string{}
	for _, hop := range strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",") {
		if hop = strings.TrimSpace(hop); hop != "" {
			chain = append(chain, hop)
		}
	}
	chain = append(chain, r.RemoteAddr)
	return ByAddress(chain[max(0, len(chain)-1-hops)])
}

// ByAddress is the key of an address as it arrives: with a port, in brackets, with a zone, mapped from IPv4. What is no
// address is "ip:unknown": a stranger who writes nonsense is no new caller each time.
func ByAddress(written string) string {
	written = strings.TrimSpace(written)
	host, hasPort := written, portAtEnd.FindString(written)
	if strings.HasPrefix(written, "[") {
		host = strings.TrimSuffix(written, hasPort)
		if !strings.HasSuffix(host, "]") {
			return "ip:unknown"
		}
		host = strings.TrimSuffix(host[1:], "]")
		if !strings.Contains(host, ":") {
			return "ip:unknown"
		}
	} else if strings.Count(written, ":") == 1 {
		host = strings.TrimSuffix(written, hasPort)
	}
	host, _, _ = strings.Cut(host, "%")
	address, err := netip.ParseAddr(host)
	if err != nil {
		return "ip:unknown"
	}
	if address = address.Unmap(); address.Is4() {
		return "ip:" + address.String()
	}
	// As the packages for other languages write it, so that a caller is one to all of them.
	bytes := address.As16()
	group := func(i int) uint16 { return uint16(bytes[i])<<8 | uint16(bytes[i+1]) }
	return fmt.Sprintf("ip:%x:%x:%x:%x::/64", group(0), group(2), group(4), group(6))
}

var portAtEnd = regexp.MustCompile(`:[0-9]{1,5}$`)
