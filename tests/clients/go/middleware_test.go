// The middleware of clients/go, in front of a real net/http server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

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
	limiter := ratelimit.Limiter{Client: client(t, 3), Command: "RL.SLIDING", Limits: []any{5, "15m"}, Prefix: "go-http:"}
	server := httptest.NewServer(limiter.Middleware(func(r *http.Request) string { return ratelimit.ByIP(r, 1) }, hello))
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

// The table that the other packages are held to.
func TestByAddressIsTheSameInEveryLanguage(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(os.Getenv("RATELIMIT_CLIENT_TESTS"), "inputs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var inputs struct{ ByIp [][2]*string }
	if err := json.Unmarshal(file, &inputs); err != nil || len(inputs.ByIp) == 0 {
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
}

type failing struct{ err error }

func (f failing) Do(ctx context.Context, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetErr(f.err)
	return cmd
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

func TestMiddlewareWhereRedisIsAwayOrRefuses(t *testing.T) {
	for _, row := range []struct {
		err    error
		closed bool
		status int
	}{
		{errors.New("away"), false, http.StatusOK},
		{errors.New("away"), true, http.StatusServiceUnavailable},
		{refusal("LOADING Redis is loading"), false, http.StatusOK},
		{refusal("WRONGTYPE another type"), false, http.StatusInternalServerError},
	} {
		limiter := ratelimit.Limiter{Client: failing{row.err}, Command: "RL.FIXED", Limits: []any{5, "1h"}, Closed: row.closed}
		recorder := httptest.NewRecorder()
		limiter.Middleware(func(*http.Request) string { return "k" }, hello).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
		if recorder.Code != row.status {
			t.Errorf("%v: %d", row, recorder.Code)
		}
	}
}
