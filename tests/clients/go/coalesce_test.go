// Hits of one key that meet become one command: the same answers as single commands give, in fewer of them.
package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

// counting is a client whose commands are counted.
func counting(t *testing.T) (*redis.Client, *atomic.Int64) {
	p := newProxies(t)
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(t, "RATELIMIT_PORT"), Dialer: p.dial, PoolSize: 1})
	t.Cleanup(func() { _ = c.Close() })
	return c, &p.commands
}

// together hits each key of the list, all at once.
func together(l *ratelimit.Limiter, keys []string) []ratelimit.Verdict {
	verdicts := make([]ratelimit.Verdict, len(keys))
	var group sync.WaitGroup
	for i, key := range keys {
		group.Add(1)
		go func() {
			defer group.Done()
			verdicts[i] = l.Hit(background, key)
		}()
	}
	group.Wait()
	return verdicts
}

// seen is what must be alike, whoever came first.
func seen(keys []string, verdicts []ratelimit.Verdict) []string {
	all := make([]string, len(keys))
	for i, v := range verdicts {
		all[i] = fmt.Sprint(keys[i], v.Allowed, v.Limit, v.Remaining, v.Taken, v.RetryAfter > 0, v.Err)
		for _, one := range v.Limits {
			all[i] += fmt.Sprint(" ", one.Name, one.Remaining)
		}
	}
	slices.SortFunc(all, cmp.Compare)
	return all
}

func TestCoalescedHitsAreAnsweredAsSingleOnes(t *testing.T) {
	client, _ := counting(t)
	for i, options := range []ratelimit.Options{
		{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 7, Window: "3650d"}}},
		{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 9, Window: "1h"}, {Units: 5, Window: "2h"}}},
		{Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: 6, Refill: 1, Window: "1h"}}},
		{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 4, Window: "1h"}}, Block: []string{"1h"}},
		{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 0, Window: "3650d"}}},
	} {
		for seed := range int64(10) {
			given := rand.New(rand.NewSource(seed))
			options.Name = "n"
			options.Prefix = fmt.Sprintf("go-coalesce:%d:%d:singly:%d", i, seed, time.Now().UnixNano())
			singly := limiter(t, client, options)
			options.Prefix += ":together"
			options.Coalesce = true
			coalesced := limiter(t, client, options)
			options.Coalesce = false
			for turn := range 4 {
				keys := make([]string, 1+given.Intn(12))
				for k := range keys {
					keys[k] = fmt.Sprint("k", given.Intn(2))
				}
				expected := make([]ratelimit.Verdict, len(keys))
				for k, key := range keys {
					expected[k] = singly.Hit(background, key)
				}
				if got, want := seen(keys, together(coalesced, keys)), seen(keys, expected); !slices.Equal(got, want) {
					t.Fatalf("%+v, seed %d, turn %d:\n%q\n%q", options, seed, turn, got, want)
				}
			}
		}
	}
}

func TestManyCallersOfOneHotKeyTakeFewCommands(t *testing.T) {
	client, commands := counting(t)
	l := limiter(t, client, ratelimit.Options{Prefix: fmt.Sprintf("go-coalesce-hot:%d", time.Now().UnixNano()), Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 12_345, Window: "3650d"}}, Coalesce: true})
	l.Hit(background, "k", ratelimit.Cost(0))
	before := commands.Load()
	var allowed, left atomic.Int64
	left.Store(20_000)
	var group sync.WaitGroup
	for range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			for left.Add(-1) >= 0 {
				if l.Hit(background, "k", ratelimit.Next()).Allowed {
					allowed.Add(1)
				}
			}
		}()
	}
	group.Wait()
	if sent := commands.Load() - before; allowed.Load() != 12_345 || sent > 2000 {
		t.Errorf("%d allowed by %d commands", allowed.Load(), sent)
	}
}

func TestWhoGivesUpBeforeItWasSentIsNotCharged(t *testing.T) {
	release := make(chan struct{})
	var held atomic.Bool
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &holding{conn, &held, release}, err
	}
	through := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(t, "RATELIMIT_PORT"), Dialer: dial})
	defer through.Close()
	key := fmt.Sprintf("go-coalesce-gone:%d", time.Now().UnixNano())
	l := limiter(t, through, ratelimit.Options{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 5, Window: "3650d"}}, Coalesce: true})
	l.Hit(background, key, ratelimit.Cost(0))
	held.Store(true)
	first, gone := make(chan ratelimit.Verdict), make(chan ratelimit.Verdict)
	go func() { first <- l.Hit(background, key) }()
	for held.Load() { // until it is on its way
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(background)
	go func() { gone <- l.Hit(ctx, key) }()
	cancel()
	if v := <-gone; v.Err == nil {
		t.Errorf("%+v", v)
	}
	close(release)
	if v := <-first; v.Err != nil || v.Remaining != 4 {
		t.Errorf("%+v", v)
	}
	if v := l.Hit(background, key); v.Remaining != 3 {
		t.Errorf("%+v: who gave up was charged", v)
	}
}

// holding holds the next command back until it is released.
type holding struct {
	net.Conn
	held    *atomic.Bool
	release chan struct{}
}

func (h *holding) Write(data []byte) (int, error) {
	if h.held.CompareAndSwap(true, false) {
		<-h.release
	}
	return h.Conn.Write(data)
}
