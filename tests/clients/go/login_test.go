// A login of two keys: its address and its account, charged and given back together.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

// logins are what a login stands on: the server and the cluster, a Ring of them, and prefixes that share no slot.
func logins(t *testing.T) map[string]struct {
	client           redis.UniversalClient
	address, account string
} {
	ports := strings.Fields(environment(t, "RATELIMIT_CLUSTER_PORTS"))
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + ports[0]}})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{
		"a": "127.0.0.1:" + environment(t, "RATELIMIT_PORT"), "b": "127.0.0.1:" + environment(t, "RATELIMIT_STALLED_PORT"),
	}})
	t.Cleanup(func() { _ = cluster.Close(); _ = ring.Close() })
	type row = struct {
		client           redis.UniversalClient
		address, account string
	}
	return map[string]row{
		"one server":       {client(t, 3), "address", "account"},
		"cluster":          {cluster, "{login}:address", "{login}:account"},
		"cluster, no slot": {cluster, "address", "account"},
		"cluster, two":     {cluster, "{a}:address", "{b}:account"},
		"ring":             {ring, "{login}:address", "{login}:account"},
		"ring, no slot":    {ring, "address", "account"},
	}
}

func login(t *testing.T, client redis.UniversalClient, address, account ratelimit.Options) (*ratelimit.Login, *ratelimit.Limiter) {
	t.Helper()
	c := limits(t, client)
	made := func(options ratelimit.Options) *ratelimit.Limiter {
		options.Algorithm, options.OnError = ratelimit.Sliding, func(error, int) {}
		if options.Timeout == 0 {
			options.Timeout = 30 * time.Second
		}
		return must(c.Limiter(options))
	}
	perAccount := made(account)
	return must(c.Login(ratelimit.LoginOptions{PerAddress: made(address), PerAccount: perAccount})), perAccount
}

func tries(units int64, prefix string) ratelimit.Options {
	return ratelimit.Options{Prefix: prefix, Limits: []ratelimit.Limit{{Units: units, Window: "15m"}}, Unavailable: ratelimit.Closed}
}

func TestALoginChargesItsAddressAndItsAccountOrNeither(t *testing.T) {
	for name, row := range logins(t) {
		t.Run(name, func(t *testing.T) {
			own := ":" + unique("login")
			l, perAccount := login(t, row.client, tries(3, row.address+own), tries(5, row.account+own))
			allowed := func(address, email string) bool {
				v := l.Hit(background, ratelimit.Credentials{Address: address, Email: email}).Verdict
				if v.Err != nil || len(v.Keys) != 2 || v.Allowed != (v.Keys[0].Allowed && v.Keys[1].Allowed) || !v.Allowed && v.Keys[v.Binding].Allowed {
					t.Errorf("%+v", v)
				}
				return v.Allowed
			}
			for i := range 3 {
				equal(t, allowed("203.0.113.9", fmt.Sprintf("%d@example.com", i)), true)
			}
			equal(t, allowed("203.0.113.9:4711", "4@example.com"), false) // another port is nobody else
			equal(t, perAccount.Peek(background, ratelimit.ByAccount("4@example.com"), ratelimit.Cost(0)).Remaining, int64(5))
			for i := range 5 {
				equal(t, allowed(fmt.Sprintf("198.51.100.%d", i), "bob@example.com"), true)
			}
			equal(t, allowed("198.51.100.9", " BOB@example.com"), false)
			for i := range 3 { // the denied try was charged to nobody
				equal(t, allowed("198.51.100.9", fmt.Sprintf("carol%d@example.com", i)), true)
			}
		})
	}
}

func TestARightPasswordGivesBothTriesBackAndADeniedOneOpensNothing(t *testing.T) {
	for name, row := range logins(t) {
		t.Run(name, func(t *testing.T) {
			own := ":" + unique("login")
			l, perAccount := login(t, row.client, tries(1, row.address+own), tries(5, row.account+own))
			status := http.StatusOK
			handler := ratelimit.Middleware{
				Login: l, SkipSuccessful: true,
				Credentials: func(r *http.Request) ratelimit.Credentials {
					return ratelimit.Credentials{Address: ratelimit.ClientAddress(r, 1), Email: r.FormValue("email")}
				},
			}.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				equal(t, r.FormValue("email"), "Alice@Example.com ")
				w.WriteHeader(status)
			}))
			post := func() *httptest.ResponseRecorder {
				request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("email=Alice%40Example.com+"))
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				request.Header.Set("X-Forwarded-For", "1.1.1.1, 203.0.113.9")
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, request)
				return recorder
			}
			for range 4 {
				equal(t, post().Code, http.StatusOK)
			}
			status = http.StatusUnauthorized
			wrong := post()
			equal(t, wrong.Code, status)
			field := regexp.MustCompile(fmt.Sprintf(`^"%s";r=0;t=\d+, "%s";r=4;t=\d+$`, regexp.QuoteMeta(row.address+own), regexp.QuoteMeta(row.account+own)))
			if got := wrong.Header().Get("RateLimit"); !field.MatchString(got) || wrong.Header().Get("X-RateLimit-Remaining") != "0" {
				t.Errorf("%s is not %s", got, field)
			}
			status = http.StatusOK
			equal(t, []int{post().Code, post().Code}, []int{http.StatusTooManyRequests, http.StatusTooManyRequests})
			denied := l.Hit(background, ratelimit.Credentials{Address: "203.0.113.9", Email: "alice@example.com"})
			denied.GiveBack(background)
			left := func() int64 {
				return perAccount.Peek(background, ratelimit.ByAccount("alice@example.com"), ratelimit.Cost(0)).Remaining
			}
			equal(t, []any{denied.Verdict.Allowed, left()}, []any{false, int64(4)})
			gone, cancel := context.WithCancel(background)
			other := l.Hit(gone, ratelimit.Credentials{Address: "203.0.113.10", Email: "alice@example.com"})
			equal(t, []any{other.Verdict.Allowed, left()}, []any{true, int64(3)})
			cancel()
			other.GiveBack(gone)
			other.GiveBack(gone) // the first one counts
			equal(t, left(), int64(4))
		})
	}
}

// What is given back is of the window in which it was charged.
func TestALoginThatOutlastsItsWindowGivesBackNobodyElsesTries(t *testing.T) {
	for name, row := range logins(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := ":" + unique("login")
			short := ratelimit.Options{Limits: []ratelimit.Limit{{Units: 5, Window: "300ms"}}}
			address, account := short, short
			address.Prefix, account.Prefix = row.address+own, row.account+own
			l, perAccount := login(t, row.client, address, account)
			credentials := ratelimit.Credentials{Address: "203.0.113.9", Email: "alice@example.com"}
			old := l.Hit(background, credentials)
			key := ratelimit.ByAccount(credentials.Email)
			eventually(t, "its window is over", func() bool { return perAccount.Peek(background, key, ratelimit.Cost(0)).Remaining == 5 })
			if v := perAccount.Hit(background, key, ratelimit.Cost(5)); !v.Allowed {
				t.Fatalf("%+v", v)
			}
			old.GiveBack(background)
			v := perAccount.Peek(background, key, ratelimit.Cost(0))
			if v.Err != nil || v.Remaining != 0 && v.Remaining != 5 { // 5: meanwhile that window is over, too
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestALoginWhereRedisIsAway(t *testing.T) {
	for name, row := range logins(t) {
		t.Run(name, func(t *testing.T) {
			own := ":" + unique("login")
			nowhere := func() redis.UniversalClient {
				if _, isCluster := row.client.(*redis.ClusterClient); isCluster {
					return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
				}
				return redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
			}()
			defer nowhere.Close()
			open := tries(3, row.account+own)
			open.Unavailable = ratelimit.Open
			credentials := ratelimit.Credentials{Address: "203.0.113.9", Email: "alice@example.com"}
			for _, one := range []struct {
				address ratelimit.Options
				allowed bool
			}{{tries(3, row.address+own), false}, {open, true}} {
				l, _ := login(t, nowhere, one.address, open)
				attempt := l.Hit(background, credentials)
				attempt.GiveBack(background)
				if v := attempt.Verdict; v.Err == nil || v.Allowed != one.allowed || v.Binding != -1 || (v.RetryAfter > 0) == one.allowed {
					t.Errorf("%+v", v)
				}
			}
		})
	}
}

// Of keys that share no slot each is asked on its own, so one may fail by itself.
func TestALoginOfWhichOneLimitFails(t *testing.T) {
	row := logins(t)["cluster, no slot"]
	for _, unavailable := range []ratelimit.Unavailable{ratelimit.Open, ratelimit.Closed} {
		own := ":" + unique("login")
		address, account := tries(2, row.address+own), tries(1, row.account+own)
		address.Unavailable, account.Unavailable = unavailable, unavailable
		l, perAccount := login(t, row.client, address, account)
		isOpen := unavailable == ratelimit.Open
		credentials := func(email string) ratelimit.Credentials {
			return ratelimit.Credentials{Address: "203.0.113.9", Email: email}
		}
		broken := account.Prefix + ":" + ratelimit.ByAccount("broken")
		if err := row.client.Set(background, broken, "text", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			v := l.Hit(background, credentials("broken")).Verdict
			if v.Err == nil || v.Allowed != isOpen || v.Keys[0].Err != nil || v.Keys[1].Err == nil {
				t.Errorf("%+v", v)
			}
		}
		// The address' limit is on where the account's is open; a try that was not let through is not charged.
		v := l.Hit(background, credentials("carol")).Verdict
		if v.Err != nil || v.Allowed == isOpen || v.Keys[0].Allowed == isOpen {
			t.Errorf("%+v", v)
		}
		if left := perAccount.Peek(background, ratelimit.ByAccount("carol"), ratelimit.Cost(0)).Remaining; (left == 1) != isOpen {
			t.Errorf("%d left", left)
		}
		// So is the account's where the address' fails.
		if err := row.client.Set(background, address.Prefix+":ip:203.0.113.7", "text", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		perAccount.Hit(background, ratelimit.ByAccount("dave"))
		v = l.Hit(background, ratelimit.Credentials{Address: "203.0.113.7", Email: "dave"}).Verdict
		if v.Err != nil || v.Allowed || v.Binding != 1 || v.Keys[0].Err == nil {
			t.Errorf("%+v", v)
		}
	}
}

func TestALoginsMistakesAreToldWhenItIsMade(t *testing.T) {
	c, other := limits(t, client(t, 3)), limits(t, client(t, 3))
	minute := ratelimit.Options{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 5, Window: "1m"}}}
	ours, theirs := must(c.Limiter(minute)), must(other.Limiter(minute))
	for says, options := range map[string]ratelimit.LoginOptions{
		"PerAddress: expected a limiter of this client": {PerAccount: ours}, "PerAccount": {PerAddress: ours},
		"PerAddress": {PerAddress: theirs, PerAccount: ours}, "PerAccount: expected": {PerAddress: ours, PerAccount: theirs},
	} {
		if _, err := c.Login(options); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	l := must(c.Login(ratelimit.LoginOptions{PerAddress: ours, PerAccount: ours}))
	key := func(*http.Request) string { return "k" }
	credentials := func(*http.Request) ratelimit.Credentials { return ratelimit.Credentials{} }
	for i, m := range []ratelimit.Middleware{
		{}, {Limiter: ours}, {Key: key}, {Login: l}, {Credentials: credentials}, {Login: l, Key: key}, {Limiter: ours, Key: key, Credentials: credentials},
		{Login: l, Credentials: credentials, Options: func(*http.Request) []ratelimit.Option { return nil }},
	} {
		func() {
			defer func() {
				if said := recover(); said == nil || !strings.Contains(fmt.Sprint(said), "Middleware: expected") {
					t.Errorf("%d: %v", i, said)
				}
			}()
			m.Handler(hello)
		}()
	}
}

func TestKeysThatOneCallOnARingWouldChargeWhereNobodyLooksForThemAreRefused(t *testing.T) {
	c := limits(t, logins(t)["ring"].client)
	l := must(c.Limiter(ratelimit.Options{
		Prefix:    unique("ring"),
		Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 5, Window: "1m"}}, Unavailable: ratelimit.Closed, OnError: func(error, int) {},
	}))
	for _, key := range []string{"other", "{", "{}", "}{ring}", "{ringg}"} {
		v := c.HitAll(background, []ratelimit.Ask{{Limiter: l, Key: "{ring}a"}, {Limiter: l, Key: key}})
		if isSame := key == "}{ring}"; (v.Err == nil) != isSame || v.Allowed != isSame || !isSame && ratelimit.ReasonOf(v.Err) != ratelimit.Refused {
			t.Errorf("%s: %+v", key, v)
		}
	}
}
