// The middleware of clients/go, in front of a real net/http server.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })

func ask(t *testing.T, url, forwardedFor string) *http.Response {
	request, _ := http.NewRequest(http.MethodGet, url, nil)
	request.Header.Set("X-Forwarded-For", forwardedFor)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response
}

func TestMiddlewareFiveOfSixWhateverTheCallerInvents(t *testing.T) {
	api := limiter(t, client(t, 3), ratelimit.Options{Prefix: unique("http")})
	server := httptest.NewServer(api.Middleware(func(r *http.Request) string { return ratelimit.ByIP(r, 1) }, hello))
	defer server.Close()
	for hit, forwardedFor := range []string{"203.0.113.9", "203.0.113.9:40001", "::ffff:203.0.113.9", "1.1.1.1, 203.0.113.9", "203.0.113.9", "203.0.113.9"} {
		response := ask(t, server.URL, forwardedFor)
		if (response.StatusCode == http.StatusOK) != (hit < 5) || (response.Header.Get("Retry-After") != "") != (hit == 5) ||
			response.Header.Get("Access-Control-Expose-Headers") == "" {
			t.Fatalf("hit %d: %d, %v", hit, response.StatusCode, response.Header)
		}
	}
	for _, forwardedFor := range []string{"203.0.113.10", "nonsense", "fe80::1%eth0", "[2001:db8::1]:443"} {
		if response := ask(t, server.URL, forwardedFor); response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d", forwardedFor, response.StatusCode)
		}
	}
}

func TestTIsWhenMoreBecomesAvailableNotWhenAllIs(t *testing.T) {
	direct := client(t, 3)
	api := limiter(t, direct, ratelimit.Options{Prefix: fmt.Sprintf("go-next-%d", time.Now().UnixNano()), Name: "api", Limits: []ratelimit.Limit{{Units: 3, Window: "4h"}}})
	now := direct.Time(background).Val()
	for _, ago := range []time.Duration{150 * time.Minute, 30 * time.Minute} {
		api.Hit(background, "k", ratelimit.At(now.Add(-ago).UnixMilli()))
	}
	looks := func(*http.Request) []ratelimit.Option { return []ratelimit.Option{ratelimit.Cost(0)} }
	server := httptest.NewServer(ratelimit.Middleware{Limiter: api, Key: func(*http.Request) string { return "k" }, Options: looks}.Handler(hello))
	defer server.Close()
	field := ask(t, server.URL, "").Header.Get("RateLimit")
	var seconds int
	if _, err := fmt.Sscanf(field, `"api";r=1;t=%d`, &seconds); err != nil || seconds <= 5300 || seconds > 5400 {
		t.Errorf("%s: in 90 minutes", field)
	}
	if v := api.Hit(background, "k", ratelimit.Cost(0)); v.NextAfter >= 0 || v.Limits[0].NextAfter >= 0 {
		t.Errorf("%+v: it was not asked for", v)
	}
	all := limits(t, direct).HitAll(background, []ratelimit.Ask{{Limiter: api, Key: "k"}, {Limiter: api, Key: "other"}}, ratelimit.Next())
	if all.Err != nil || all.Keys[0].NextAfter != all.NextAfter || all.NextAfter <= 5300*time.Second || all.Keys[1].NextAfter <= 14_300*time.Second {
		t.Errorf("%+v", all)
	}
}

// The table that the other packages are held to.
func TestKeysOfCallersAreTheSameInEveryLanguage(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(os.Getenv("RATELIMIT_CLIENT_TESTS"), "inputs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var inputs struct {
		ByIp, ByAccount [][]*string
		ByIpPrefixes    [][]any
	}
	if err := json.Unmarshal(file, &inputs); err != nil || len(inputs.ByIp) == 0 || len(inputs.ByAccount) == 0 || len(inputs.ByIpPrefixes) == 0 {
		t.Fatal("no rows", err)
	}
	for _, row := range inputs.ByIp {
		written := ""
		if row[0] != nil {
			written = *row[0]
		}
		if key := ratelimit.ByAddress(written); key != *row[1] {
			t.Errorf("%q: %s is not %s", written, key, *row[1])
		}
	}
	for _, row := range inputs.ByIpPrefixes {
		prefixes := ratelimit.Prefixes{IPv4: int(row[1].(float64)), IPv6: int(row[2].(float64))}
		if key := prefixes.ByAddress(row[0].(string)); key != row[3] {
			t.Errorf("%v: %s", row, key)
		}
	}
	for _, row := range inputs.ByAccount {
		accounts := ratelimit.Accounts{}
		if row[1] != nil {
			accounts.Secret = *row[1]
		} else if key := ratelimit.ByAccount(*row[0]); key != *row[2] {
			t.Errorf("%q: %s is not %s", *row[0], key, *row[2])
		}
		if key := accounts.ByAccount(*row[0]); key != *row[2] {
			t.Errorf("%q, %q: %s is not %s", *row[0], accounts.Secret, key, *row[2])
		}
	}
}

func answer(t *testing.T, m ratelimit.Middleware, method string, header http.Header, next http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	if m.Key == nil {
		m.Key = func(*http.Request) string { return "k" }
	}
	request := httptest.NewRequest(method, "/", nil)
	for name, values := range header {
		request.Header[name] = values
	}
	recorder := httptest.NewRecorder()
	m.Handler(next).ServeHTTP(recorder, request)
	return recorder
}

func TestMiddlewareWhereRedisIsAwayOrRefuses(t *testing.T) {
	direct := client(t, 3)
	if err := direct.Set(background, "go-http-refused:k", "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	for _, row := range []struct {
		client      *redis.Client
		unavailable ratelimit.Unavailable
		status      int
	}{
		{nowhere, ratelimit.Open, http.StatusOK},
		{nowhere, ratelimit.Closed, http.StatusServiceUnavailable},
		{direct, ratelimit.Open, http.StatusOK},
		{direct, ratelimit.Closed, http.StatusServiceUnavailable},
	} {
		l := limiter(t, row.client, ratelimit.Options{Prefix: "go-http-refused", Unavailable: row.unavailable})
		if got := answer(t, ratelimit.Middleware{Limiter: l}, http.MethodGet, nil, hello); got.Code != row.status {
			t.Errorf("%v: %d", row, got.Code)
		}
	}
}

func TestPreflightsAndWhatIsSkippedAreNotCharged(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-http-skip", Limits: []ratelimit.Limit{{Units: 2, Window: "15m"}}})
	_, _ = l.Reset(background, "k")
	m := ratelimit.Middleware{Limiter: l, Skip: func(r *http.Request) bool { return r.Header.Get("X-Health") != "" }}
	preflight := http.Header{"Access-Control-Request-Method": {"POST"}}
	for _, row := range []struct {
		method string
		header http.Header
		status int
	}{
		{http.MethodOptions, preflight, 200}, {http.MethodPost, nil, 200}, {http.MethodOptions, preflight, 200},
		{http.MethodGet, http.Header{"X-Health": {"1"}}, 200}, {http.MethodPost, nil, 200}, {http.MethodPost, nil, 429},
	} {
		if got := answer(t, m, row.method, row.header, hello); got.Code != row.status {
			t.Errorf("%v: %d", row, got.Code)
		}
	}
}

// Never more than the limit, whichever answers are skipped: a hit that was denied charged nothing, and gives nothing back.
func TestOfALoginOnlyWhatFailedCounts(t *testing.T) {
	for _, row := range []struct {
		failed, successful bool
		status, admitted   int
	}{
		{false, true, http.StatusUnauthorized, 3}, {true, false, http.StatusOK, 3}, {false, true, http.StatusOK, 10},
		{true, false, http.StatusUnauthorized, 10}, {true, true, http.StatusOK, 10},
	} {
		l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-http-login", Limits: []ratelimit.Limit{{Units: 3, Window: "15m"}}})
		_, _ = l.Reset(background, "k")
		m := ratelimit.Middleware{Limiter: l, SkipFailed: row.failed, SkipSuccessful: row.successful}
		admitted := 0
		for range 10 {
			answer(t, m, http.MethodPost, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				admitted++
				w.WriteHeader(row.status)
			}))
		}
		if admitted != row.admitted {
			t.Errorf("%+v: %d", row, admitted)
		}
	}
}

func TestTwoLimitersInFrontOfOneHandlerAreBothShown(t *testing.T) {
	of := func(name string, units int64) *ratelimit.Limiter {
		return limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-http-two-" + name, Name: name, Limits: []ratelimit.Limit{{Units: units, Window: "15m"}}})
	}
	for _, order := range [][2]*ratelimit.Limiter{{of("address", 9), of("user", 4)}, {of("user", 4), of("address", 9)}} {
		for _, l := range order {
			_, _ = l.Reset(background, "k")
		}
		inner := ratelimit.Middleware{Limiter: order[1], Key: func(*http.Request) string { return "k" }}.Handler(hello)
		header := answer(t, ratelimit.Middleware{Limiter: order[0]}, http.MethodGet, nil, inner).Header()
		for _, name := range []string{`"address";q=9;w=900`, `"user";q=4;w=900`} {
			if !strings.Contains(header.Get("RateLimit-Policy"), name) {
				t.Errorf("%v", header)
			}
		}
		if header.Get("X-RateLimit-Limit") != "4" || header.Get("X-RateLimit-Remaining") != "3" || header.Get("X-RateLimit-Reset") == "" {
			t.Errorf("%v", header)
		}
	}
}

func TestACustomersRangeIsOneCaller(t *testing.T) {
	wide := ratelimit.Prefixes{IPv4: 24, IPv6: 56}
	for written, key := range map[string]string{
		"2001:db8:0:1ff::1": "ip:2001:db8:0:100::/56", "2001:db8:0:1aa::1": "ip:2001:db8:0:100::/56",
		"203.0.113.9:443": "ip:203.0.113.0/24", "nonsense": "ip:unknown",
	} {
		if got := wide.ByAddress(written); got != key {
			t.Errorf("%s: %s is not %s", written, got, key)
		}
	}
}
