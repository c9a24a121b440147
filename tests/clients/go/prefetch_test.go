// Units that are taken ahead: never more than the limit, and all that was not used comes back.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

const prefetchLimit = 60

var prefetchShapes = []ratelimit.Options{
	{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: prefetchLimit, Window: "3650d"}}},
	{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: prefetchLimit, Window: "2h"}, {Units: 90, Window: "4h"}}},
	{Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: prefetchLimit, Refill: 1, Window: "24h"}}},
}

func prefetching(t *testing.T, client *redis.Client, options ratelimit.Options, prefix string, units int64, hold time.Duration) *ratelimit.Limiter {
	options.Prefix, options.Name, options.Timeout = prefix, "n", time.Minute
	options.Prefetch, options.PrefetchHold = units, hold
	return limiter(t, client, options)
}

func remaining(l *ratelimit.Limiter) int64 {
	return l.Peek(background, "k", ratelimit.Cost(0)).Remaining
}

func TestProcessesThatTakeAheadAndSingleCommandsAdmitTheLimit(t *testing.T) {
	client, _ := counting(t)
	for i, options := range prefetchShapes {
		for seed := range int64(10) {
			given := rand.New(rand.NewSource(seed))
			prefix := fmt.Sprintf("go-prefetch:%d:%d:%d", i, seed, time.Now().UnixNano())
			single := prefetching(t, client, options, prefix, 0, 0)
			processes := make([]*ratelimit.Limiter, 1+given.Intn(3))
			for n := range processes {
				processes[n] = prefetching(t, client, options, prefix, 2+given.Int63n(20), time.Hour)
			}
			admitted := int64(0)
			for range 1 + given.Intn(20) {
				verdicts := make([]ratelimit.Verdict, 1+given.Intn(12))
				var group sync.WaitGroup
				for n := range verdicts {
					from := single
					if given.Intn(4) > 0 {
						from = processes[given.Intn(len(processes))]
					}
					group.Add(1)
					go func() {
						defer group.Done()
						verdicts[n] = from.Hit(background, "k")
					}()
				}
				group.Wait()
				for _, v := range verdicts {
					if v.Err != nil || v.Allowed != (v.Taken == 1) || v.Allowed != (v.RetryAfter == 0) || v.Remaining < 0 || v.Remaining >= prefetchLimit {
						t.Fatalf("seed %d: %+v", seed, v)
					}
					admitted += v.Taken
				}
				if admitted > prefetchLimit {
					t.Fatalf("seed %d: %d of %d", seed, admitted, prefetchLimit)
				}
			}
			for _, process := range processes {
				process.Close()
			}
			if left := remaining(single); left != prefetchLimit-admitted {
				t.Fatalf("seed %d: %d admitted, %d left", seed, admitted, left)
			}
			for single.Hit(background, "k").Allowed {
				admitted++
			}
			if admitted != prefetchLimit {
				t.Fatalf("seed %d: %d of %d", seed, admitted, prefetchLimit)
			}
		}
	}
}

func TestWhatIsNotUsedWithinItsTimeIsGivenBackByItself(t *testing.T) {
	client, _ := counting(t)
	for i, options := range prefetchShapes {
		l := prefetching(t, client, options, fmt.Sprintf("go-prefetch-idle:%d:%d", i, time.Now().UnixNano()), 20, 50*time.Millisecond)
		for range 3 {
			if v := l.Hit(background, "k"); !v.Allowed {
				t.Fatalf("%+v", v)
			}
		}
		for until := time.Now().Add(30 * time.Second); remaining(l) < prefetchLimit-3; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("never given back: %d", remaining(l))
			}
		}
		if left := remaining(l); left != prefetchLimit-3 {
			t.Fatalf("%d left", left)
		}
	}
}

func TestACommandForSoManyHitsOfAHotKey(t *testing.T) {
	client, commands := counting(t)
	l := prefetching(t, client, ratelimit.Options{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 1000, Window: "1h"}}}, fmt.Sprintf("go-prefetch-hot:%d", time.Now().UnixNano()), 100, time.Hour)
	before := commands.Load()
	for n := range int64(1000) {
		if v := l.Hit(background, "k"); !v.Allowed || v.Remaining != 999-n {
			t.Fatalf("%d: %+v", n, v)
		}
	}
	if sent := commands.Load() - before; sent > 12 { // the connection's own with them
		t.Fatalf("%d commands", sent)
	}
	if v := l.Hit(background, "k"); v.Allowed || v.RetryAfter <= 50*time.Minute {
		t.Fatalf("%+v", v)
	}
}

func TestAFixedWindowEndsAndWhatWasTakenOfItEndsWithIt(t *testing.T) {
	t.Parallel()
	client, _ := counting(t)
	l := prefetching(t, client, ratelimit.Options{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 1_000_000, Window: "400ms"}}}, fmt.Sprintf("go-prefetch-window:%d", time.Now().UnixNano()), 1000, time.Hour)
	windows := map[int64]bool{}
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		asked := time.Now().UnixMilli() // one machine, one clock
		v := l.Hit(background, "k")
		if !v.Allowed || v.ChargedAt/400 < asked/400 {
			t.Fatalf("asked at %d: %+v", asked, v)
		}
		windows[v.ChargedAt/400] = true
	}
	if len(windows) < 2 {
		t.Fatalf("%d windows", len(windows))
	}
}

func TestOthersAreCommandsOfTheirOwn(t *testing.T) {
	client, commands := counting(t)
	l := prefetching(t, client, prefetchShapes[0], fmt.Sprintf("go-prefetch-own:%d", time.Now().UnixNano()), 10, time.Hour)
	l.Hit(background, "k")
	if first, second := l.Hit(background, "k", ratelimit.ID("one")), l.Hit(background, "k", ratelimit.ID("one")); first.Repeated || !second.Repeated {
		t.Fatal("an id was not asked of the server")
	}
	if v := l.Hit(background, "k", ratelimit.Cost(5)); v.Remaining != prefetchLimit-10-1-5 {
		t.Fatalf("%+v", v)
	}
	cancelled, cancel := context.WithCancel(background)
	cancel()
	if v := l.Hit(cancelled, "other"); v.Err == nil {
		t.Fatalf("%+v", v)
	}
	l.Close()
	if left := remaining(l); left != prefetchLimit-1-1-5 {
		t.Fatalf("%d left", left)
	}
	before := commands.Load()
	for range 3 {
		l.Hit(background, "k")
	}
	if sent := commands.Load() - before; sent != 3 {
		t.Fatalf("%d commands", sent)
	}
}

func TestAKeyThatWasResetOrShutGivesOutNothingThatWasTakenBefore(t *testing.T) {
	client, _ := counting(t)
	l := prefetching(t, client, prefetchShapes[0], fmt.Sprintf("go-prefetch-gone:%d", time.Now().UnixNano()), 8, time.Hour)
	l.Hit(background, "k")
	if there, err := l.Reset(background, "k"); !there || err != nil {
		t.Fatal(there, err)
	}
	admitted := 0
	for l.Hit(background, "k").Allowed {
		admitted++
	}
	if admitted != prefetchLimit {
		t.Fatalf("%d admitted", admitted)
	}
	l.Hit(background, "shut")
	if _, err := l.Block(background, "shut", time.Hour); err != nil {
		t.Fatal(err)
	}
	if v := l.Hit(background, "shut"); v.Allowed {
		t.Fatalf("%+v", v)
	}
}

func TestWhatPrefetchCannotGoWithIsRefused(t *testing.T) {
	client, _ := counting(t)
	c, err := ratelimit.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*ratelimit.Options){
		func(o *ratelimit.Options) { o.Block = []string{"1h"} },
		func(o *ratelimit.Options) { o.Coalesce = true },
		func(o *ratelimit.Options) { o.Prefetch = 1 },
		func(o *ratelimit.Options) { o.Prefetch = -5 },
		func(o *ratelimit.Options) { o.PrefetchHold = -1 },
		func(o *ratelimit.Options) { o.Prefetch, o.PrefetchHold = 0, time.Second },
	} {
		options := prefetchShapes[0]
		options.Prefetch = 5
		change(&options)
		if _, err := c.Limiter(options); err == nil || !strings.Contains(err.Error(), "Prefetch") {
			t.Errorf("%+v: %v", options, err)
		}
	}
}
