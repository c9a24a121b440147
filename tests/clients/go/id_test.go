// A hit with an id is charged once, however often it is made.
package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ratelimit"
)

func TestAHitWithAnIDIsChargedOnceAndSaysSo(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-id", Limits: []ratelimit.Limit{{Units: 5, Window: "15m"}, {Units: 9, Window: "1h"}}})
	key := fmt.Sprint(time.Now().UnixNano())
	all := []ratelimit.Option{ratelimit.ID("a"), ratelimit.Cost(7), ratelimit.Min(1), ratelimit.Stamp(), ratelimit.Next(), ratelimit.Deny("go-id-list", "v")}
	first, again := l.Hit(background, key, all...), l.Hit(background, key, all...)
	if first.Err != nil || !first.Allowed || first.Repeated || first.Taken != 5 || first.ChargedAt == 0 || first.Remaining != 0 {
		t.Errorf("%+v", first)
	}
	if again.Err != nil || !again.Allowed || !again.Repeated || again.Taken != 5 || again.ChargedAt != first.ChargedAt || again.Limits[1].Remaining != 4 {
		t.Errorf("%+v", again)
	}
	if denied := l.Hit(background, key, ratelimit.ID("b")); denied.Err != nil || denied.Allowed || denied.Repeated {
		t.Errorf("%+v", denied)
	}
	for _, wrong := range []string{"", strings.Repeat("x", 65)} {
		if v := l.Hit(background, key, ratelimit.ID(wrong)); v.Err == nil || !strings.Contains(v.Err.Error(), "1 to 64 bytes") {
			t.Errorf("%q: %+v", wrong, v)
		}
	}
}

// ofEachKind runs a test for all that a limiter is made of, behind proxies of its own.
func ofEachKind(t *testing.T, test func(t *testing.T, kind string, p *proxies)) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind, newProxies(t))
		})
	}
}

func TestAHitWhoseReplyWasLostIsMadeAgainAndChargedOnce(t *testing.T) {
	ofEachKind(t, func(t *testing.T, kind string, p *proxies) {
		l := limiter(t, behind(t, p, kind), ratelimit.Options{Prefix: "go-id-lost"})
		eventually(t, "it is up", func() bool { return l.Hit(background, "warm"+kind).Err == nil })
		key := fmt.Sprint(kind, time.Now().UnixNano())
		p.set(after)
		if v := l.Hit(background, key, ratelimit.ID("a")); v.Err == nil {
			t.Fatalf("the reply was not lost: %+v", v)
		}
		p.set(none)
		var v ratelimit.Verdict
		eventually(t, "it is back", func() bool {
			v = l.Hit(background, key, ratelimit.ID("a"))
			return v.Err == nil
		})
		if n := used(t, kind, "go-id-lost:"+key); !v.Allowed || !v.Repeated || v.Remaining != 4 || n != 1 {
			t.Errorf("charged %d times: %+v", n, v)
		}
	})
}

func TestAHitWithAnIDIsMadeAgainWithinItsDeadlineAndChargedOnce(t *testing.T) {
	ofEachKind(t, func(t *testing.T, kind string, p *proxies) {
		through := behind(t, p, kind)
		for name, fault := range map[string]fault{"before": before, "after": after, "middle": middle, "refuse": refuse, "reset": reset} {
			told := 0
			l := limiter(t, through, ratelimit.Options{Prefix: "go-id-retry", OnError: func(error, int) { told++ }})
			p.set(none)
			eventually(t, "it is up", func() bool { return l.Hit(background, "warm"+kind).Err == nil })
			key, sent := fmt.Sprint(kind, name, time.Now().UnixNano()), p.commands.Load()
			told = 0
			p.set(fault)
			go func() {
				for until := time.Now().Add(200 * time.Millisecond); p.commands.Load() < sent+2 && time.Now().Before(until); {
					time.Sleep(time.Millisecond)
				}
				p.set(none)
			}()
			v := l.Hit(background, key, ratelimit.ID("a"), ratelimit.Retry(10))
			if n := used(t, kind, "go-id-retry:"+key); v.Err != nil || !v.Allowed || v.Remaining != 4 || n != 1 || told != 0 {
				t.Errorf("%s: charged %d times, told %d times: %+v", name, n, told, v)
			}
		}
	})
}

func TestWhatIsRefusedAndWhatIsSilentIsNotMadeAgain(t *testing.T) {
	ofEachKind(t, func(t *testing.T, kind string, p *proxies) {
		told := 0
		through := behind(t, p, kind)
		l := limiter(t, through, ratelimit.Options{Prefix: "go-id-no-retry", Timeout: 300 * time.Millisecond, OnError: func(error, int) { told++ }})
		patient := limiter(t, through, ratelimit.Options{Prefix: "go-id-no-retry"})
		eventually(t, "it is up", func() bool { return patient.Hit(background, "warm"+kind).Err == nil })
		key, sent := fmt.Sprint(kind, time.Now().UnixNano()), p.commands.Load()
		strange := patient.Hit(background, key, ratelimit.ID("a"), ratelimit.Retry(10), ratelimit.Min(5))
		if strange.Err == nil || !strings.Contains(strange.Err.Error(), "ERR") {
			t.Errorf("%+v", strange)
		}
		if n := p.commands.Load() - sent; n != 1 {
			t.Errorf("what was refused was sent %d times", n)
		}
		for _, fault := range []fault{stall, silent} {
			p.set(fault)
			began := time.Now()
			if v := l.Hit(background, key, ratelimit.ID("b"), ratelimit.Retry(10)); v.Err == nil || time.Since(began) > 300*time.Millisecond+slack {
				t.Errorf("after %s: %+v", time.Since(began), v)
			}
		}
		if told == 0 || told > 2 {
			t.Errorf("told %d times of two failures", told)
		}
	})
}

func TestWhatIsWrongAboutARetryIsSaid(t *testing.T) {
	c := limits(t, client(t, 3))
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-id-no-retry"})
	for wrong, options := range map[string][]ratelimit.Option{
		"expected an ID": {ratelimit.Retry(1)}, "expected 0 to 10": {ratelimit.ID("a"), ratelimit.Retry(11)}, "0 to 10, got -1": {ratelimit.ID("a"), ratelimit.Retry(-1)},
	} {
		if v := l.Hit(background, "k", options...); v.Err == nil || !strings.Contains(v.Err.Error(), wrong) {
			t.Errorf("%s: %+v", wrong, v)
		}
	}
	if v := c.HitAll(background, []ratelimit.Ask{{Limiter: l, Key: "k"}}, ratelimit.ID("a"), ratelimit.Retry(1)); v.Err == nil || !strings.Contains(v.Err.Error(), "several keys") {
		t.Errorf("%+v", v)
	}
}

func TestAHitWithAnIDIsNeverCoalesced(t *testing.T) {
	client, commands := counting(t)
	l := limiter(t, client, ratelimit.Options{Prefix: "go-id-coalesce", Limits: []ratelimit.Limit{{Units: 1000, Window: "1h"}}, Coalesce: true})
	key := fmt.Sprint(time.Now().UnixNano())
	l.Hit(background, key)
	before := commands.Load()
	var firsts, repeats atomic.Int64
	var group sync.WaitGroup
	for i := range 60 {
		group.Add(1)
		go func() {
			defer group.Done()
			if v := l.Hit(background, key, ratelimit.ID(fmt.Sprint(i%20))); v.Repeated {
				repeats.Add(1)
			} else if v.Err == nil && v.Allowed {
				firsts.Add(1)
			}
		}()
	}
	group.Wait()
	if sent := commands.Load() - before; firsts.Load() != 20 || repeats.Load() != 40 || sent != 60 {
		t.Errorf("%d commands, %d were charged, %d were repeats", sent, firsts.Load(), repeats.Load())
	}
	if v := l.Peek(background, key); v.Remaining != 1000-21-1 {
		t.Errorf("%+v", v)
	}
}

func TestOfSeveralKeysWhatWasChargedIsNotChargedAgain(t *testing.T) {
	direct := client(t, 3)
	c := limits(t, direct)
	l, err := c.Limiter(ratelimit.Options{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 5, Window: "15m"}}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	one := fmt.Sprintf("{go-id-all}:%d", time.Now().UnixNano())
	asks := []ratelimit.Ask{{Limiter: l, Key: one}, {Limiter: l, Key: one + "b"}}
	l.Hit(background, one, ratelimit.ID("a"))
	for _, expected := range []bool{false, true} { // the second key is new to it, and then is not
		v := c.HitAll(background, asks, ratelimit.ID("a"), ratelimit.Stamp(), ratelimit.Next(), ratelimit.Deny("go-id-list", "v"))
		if v.Err != nil || !v.Allowed || v.Repeated != expected || v.ChargedAt == 0 || v.Keys[0].Remaining != 4 || v.Keys[1].Remaining != 4 {
			t.Errorf("%v: %+v", expected, v)
		}
	}
	if v := c.HitAll(background, asks, ratelimit.ID("")); v.Err == nil {
		t.Errorf("%+v", v)
	}
}

func TestASettlementWithAnIDCountsOnce(t *testing.T) {
	var told error
	l := limiter(t, client(t, 3), ratelimit.Options{
		Prefix: "go-id-settle", Limits: []ratelimit.Limit{{Units: 10, Window: "15m"}}, OnError: func(err error, _ int) { told = err },
	})
	key := fmt.Sprint(time.Now().UnixNano())
	for range 2 {
		r := l.Reserve(background, key, 6, ratelimit.ID("job"))
		r.Settle(background, 2, ratelimit.ID("job:settled"))
	}
	l.Reserve(background, key, 6, ratelimit.ID("job")).Settle(background, 9, ratelimit.ID("job"))
	if told == nil || !strings.Contains(told.Error(), "Settle") {
		t.Errorf("with the reservation's ID: %v", told)
	}
	if v := l.Peek(background, key, ratelimit.Cost(0)); v.Remaining != 8 {
		t.Errorf("%+v", v)
	}
}

func TestAWaitWithAnIDThatIsCancelledGivesItsOwnPlaceBack(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{
		Prefix: "go-id-wait", Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: 1, Refill: 1, Window: "1h"}},
	})
	key := fmt.Sprint(time.Now().UnixNano())
	l.Hit(background, key)
	next := func() time.Duration { return l.Peek(background, key).RetryAfter }
	cancelled := func(options ...ratelimit.Option) {
		ctx, cancel := context.WithCancel(background)
		ended := make(chan error, 1)
		go func() {
			_, err := l.Wait(ctx, key, 100*time.Hour, options...)
			ended <- err
		}()
		eventually(t, "it has a place", func() bool { return next() > time.Hour })
		cancel()
		if err := <-ended; err == nil {
			t.Error("cancelled, and no error")
		}
	}
	cancelled(ratelimit.ID("a"))
	eventually(t, "the place is free again", func() bool { return next() <= time.Hour })
}

func TestARepeatedRequestGivesNothingBack(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: fmt.Sprintf("go-id-http:%d", time.Now().UnixNano()), Limits: []ratelimit.Limit{{Units: 3, Window: "15m"}}})
	m := ratelimit.Middleware{Limiter: l, SkipSuccessful: true, Options: func(*http.Request) []ratelimit.Option { return []ratelimit.Option{ratelimit.ID("a")} }}
	for _, status := range []int{http.StatusUnauthorized, http.StatusOK} {
		answer(t, m, http.MethodPost, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	}
	if v := l.Peek(background, "k", ratelimit.Cost(0)); v.Remaining != 2 {
		t.Errorf("%+v", v)
	}
}
