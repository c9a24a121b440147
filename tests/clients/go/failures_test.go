// What clients/go promises, whatever happens between it and a server: through a client of one node and one of a cluster,
// both as they are by default.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

// The machine that runs the tests is a busy one.
const slack = 4 * time.Second

// limits is of a client of go-redis, or of a redis.FailoverOptions.
func limits(t *testing.T, of any) *ratelimit.Client {
	t.Helper()
	var limiting *ratelimit.Client
	var err error
	switch given := of.(type) {
	case *redis.FailoverOptions:
		limiting, err = ratelimit.NewFailoverClient(given)
	case redis.UniversalClient:
		limiting, err = ratelimit.NewClient(given)
	default:
		t.Fatalf("no client: %T", of)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiting.Close() })
	return limiting
}

func limiter(t *testing.T, client any, options ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	if options.Algorithm == "" {
		options.Algorithm = ratelimit.Sliding
	}
	if options.Limits == nil {
		options.Limits = []ratelimit.Limit{{Units: 5, Window: "15m"}}
	}
	if options.OnError == nil {
		options.OnError = func(error, int) {}
	}
	if options.Timeout == 0 {
		options.Timeout = 30 * time.Second // for what is not about the deadline
	}
	l, err := limits(t, client).Limiter(options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// kinds are what a limiter is made of.
var kinds = []string{"one node", "cluster", "ring", "sentinel"}

// behind is one of these, with its default settings, behind proxies. A Sentinel is asked past them.
func behind(t *testing.T, p *proxies, kind string) any {
	port := environment(t, "RATELIMIT_PORT")
	var client redis.UniversalClient
	switch kind {
	case "one node":
		client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Dialer: p.dial})
	case "cluster":
		client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + environment(t, "RATELIMIT_CLUSTER_PORT")}, Dialer: p.dial})
	case "ring": // of one server, so that all that is charged is seen
		client = redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:" + port, "b": "localhost:" + port}, Dialer: p.dial})
	case "sentinel":
		sentinel := "127.0.0.1:" + environment(t, "RATELIMIT_SENTINEL_PORT")
		return &redis.FailoverOptions{MasterName: master, SentinelAddrs: []string{sentinel}, Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == sentinel {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
			return p.dial(ctx, network, address)
		}}
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// used asks past the proxies.
func used(t *testing.T, kind, key string) int64 {
	var direct redis.UniversalClient = client(t, 3)
	if kind == "cluster" {
		direct = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + environment(t, "RATELIMIT_CLUSTER_PORT")}})
		defer direct.Close()
	}
	cmd := redis.NewCmd(background, "RL.PEEK", "SLIDING", key, 5, "15m", "COST", 0)
	cmd.SetFirstKeyPos(2)
	if err := direct.Process(background, cmd); err != nil {
		t.Fatal(err)
	}
	return 5 - cmd.Val().([]any)[2].(int64)
}

func TestAHitIsChargedAtMostOnceAndAnswersWithinItsDeadline(t *testing.T) {
	t.Parallel()
	for name, f := range lasting {
		for _, kind := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				const timeout = 300 * time.Millisecond
				p := newProxies(t)
				l := limiter(t, behind(t, p, kind), ratelimit.Options{Prefix: "go-fault", Timeout: timeout})
				isUp := func() bool { return l.Hit(background, "warm"+kind).Err == nil }
				eventually(t, "it is up", isUp)
				p.set(f)
				for i := range 3 {
					key := fmt.Sprintf("%s:%s:%d:%d", name, kind, i, time.Now().UnixNano())
					sent, began := p.commands.Load(), time.Now()
					v := l.Hit(background, key)
					if took := time.Since(began); took > timeout+slack {
						t.Errorf("took %s", took)
					}
					if v.Err == nil || !v.Allowed {
						t.Errorf("%+v: it is open, and knows nothing", v)
					}
					if sent = p.commands.Load() - sent; sent > 1 {
						t.Errorf("sent %d times", sent)
					}
					p.set(none)
					if n := used(t, kind, "go-fault:"+key); n > 1 {
						t.Errorf("charged %d times", n)
					}
					p.set(f)
				}
				p.set(none)
				eventually(t, "it is back", isUp) // connections that broke are made anew
			})
		}
	}
}

// failures.json, for the packages of all languages.
func TestEachRowOfTheFailureTableIsAnsweredAndChargedAsItSays(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile(filepath.Join(environment(t, "RATELIMIT_CLIENT_TESTS"), "failures.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Faults []struct {
			fault
			Failed  bool
			Charged int64
			Reason  string
		}
	}
	if err := json.Unmarshal(file, &table); err != nil || len(table.Faults) < 20 {
		t.Fatal(err, table)
	}
	const promptly = 300 * time.Millisecond
	for i, row := range table.Faults {
		timeout := promptly
		if row.Reason != ratelimit.TimedOut { // what is answered before it, however busy the machine is
			timeout = 30 * time.Second
		}
		for _, kind := range kinds {
			for _, unavailable := range []ratelimit.Unavailable{ratelimit.Open, ratelimit.Closed} {
				t.Run(fmt.Sprintf("%s %q %s %d", row.Fault, row.Bytes, kind, unavailable), func(t *testing.T) {
					t.Parallel()
					p := newProxies(t)
					fromStart := row.fault == refuse || row.fault == silent
					if fromStart {
						p.set(row.fault)
					}
					through := behind(t, p, kind)
					isOpen := unavailable == ratelimit.Open
					sound := limiter(t, through, ratelimit.Options{Prefix: "go-table"})
					l := sound
					if row.Failed {
						l = limiter(t, through, ratelimit.Options{Prefix: "go-table", Timeout: timeout, Unavailable: unavailable})
					}
					if !fromStart {
						eventually(t, "it is up", func() bool { return l.Hit(background, "warm"+kind).Err == nil })
						p.next(row.fault)
					}
					key := fmt.Sprintf("%d:%s:%d:%d", i, kind, unavailable, time.Now().UnixNano())
					began := time.Now()
					v := l.Hit(background, key)
					if took := time.Since(began); row.Failed && took > promptly+slack {
						t.Errorf("took %s", took)
					}
					reasons := map[bool][]string{true: {ratelimit.TimedOut, ratelimit.Disconnected, ratelimit.NotNow, ratelimit.Refused}, false: {""}}
					if row.Reason != "" {
						reasons[true] = []string{row.Reason}
					}
					if reason := ratelimit.ReasonOf(v.Err); !slices.Contains(reasons[row.Failed], reason) {
						t.Errorf("%q is not one of %q: %v", reason, reasons[row.Failed], v.Err)
					}
					outcome := map[bool]string{true: "open", false: "closed"}[isOpen]
					if !row.Failed {
						outcome = "allowed"
					}
					if v.Outcome() != outcome {
						t.Errorf("%s is not %s", v.Outcome(), outcome)
					}
					if (v.Err != nil) != row.Failed || v.Allowed != (!row.Failed || isOpen) {
						t.Errorf("%+v", v)
					}
					p.set(none)
					eventually(t, "it is sound", func() bool { return l.Hit(background, "sound"+kind).Err == nil })
					if n := used(t, kind, "go-table:"+key); n != row.Charged {
						t.Errorf("charged %d times", n)
					}
					eventually(t, "the next hit is counted", func() bool { return sound.Hit(background, key).Err == nil })
					if n := used(t, kind, "go-table:"+key); n != row.Charged+1 {
						t.Errorf("charged %d times with the next hit", n)
					}
				})
			}
		}
	}
}

func TestAServerThatIsStoppedHoldsNobodyLongerThanTheDeadline(t *testing.T) {
	pid, _ := strconv.Atoi(environment(t, "RATELIMIT_STALLED_PID"))
	stalled := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(t, "RATELIMIT_STALLED_PORT")})
	defer stalled.Close()
	closed := limiter(t, stalled, ratelimit.Options{Prefix: "go-stop", Timeout: 200 * time.Millisecond, Unavailable: ratelimit.Closed})
	healthy := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-stop", Limits: []ratelimit.Limit{{Units: 100_000, Window: "1d"}}})
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	eventually(t, "it is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	var group sync.WaitGroup
	var late, refused atomic.Int32
	for range 64 {
		group.Add(1)
		go func() {
			defer group.Done()
			began := time.Now()
			if v := closed.Hit(background, "k"); !v.Allowed && v.Err != nil && v.RetryAfter == time.Second {
				refused.Add(1)
			}
			if time.Since(began) > 200*time.Millisecond+slack {
				late.Add(1)
			}
			if v := healthy.Hit(background, "k"); v.Err != nil {
				t.Errorf("the other server: %v", v.Err)
			}
		}()
	}
	group.Wait()
	if late.Load() != 0 || refused.Load() != 64 {
		t.Errorf("%d late, %d refused", late.Load(), refused.Load())
	}
}

func TestAConnectionThatIsNeverMadeHoldsNobodyLongerThanTheDeadline(t *testing.T) {
	t.Parallel()
	made := make(chan struct{})
	never := redis.NewClient(&redis.Options{PoolSize: 1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		<-made
		return nil, errors.New("never")
	}})
	defer never.Close()
	defer close(made)
	l := limiter(t, never, ratelimit.Options{Timeout: 200 * time.Millisecond})
	ofRequest, cancel := context.WithCancel(background)
	defer cancel()
	began := time.Now()
	for _, ctx := range []context.Context{background, ofRequest, background} {
		if v := l.Hit(ctx, "k"); !errors.Is(v.Err, context.DeadlineExceeded) {
			t.Errorf("%v", v.Err)
		}
	}
	if took := time.Since(began); took < 600*time.Millisecond || took > 600*time.Millisecond+slack {
		t.Errorf("three of 200 ms took %s", took)
	}
}

func TestErrorsAreToldAtMostOnceASecondWithTheirNumber(t *testing.T) {
	var told, counted atomic.Int32
	l := limiter(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), ratelimit.Options{
		Timeout: 50 * time.Millisecond,
		OnError: func(_ error, count int) { told.Add(1); counted.Add(int32(count)) },
	})
	began := time.Now()
	for range 100 {
		l.Hit(background, "k")
	}
	if most := int32(time.Since(began)/time.Second) + 1; told.Load() > most || counted.Load() < 1 {
		t.Errorf("told %d times in %s", told.Load(), time.Since(began))
	}
}

func TestWhatAnAdministratorDoesMeetsUnavailableLoudly(t *testing.T) {
	direct := client(t, 3)
	if err := direct.Do(background, "SET", "go-refused:text", "a").Err(); err != nil {
		t.Fatal(err)
	}
	for _, unavailable := range []ratelimit.Unavailable{ratelimit.Open, ratelimit.Closed} {
		var told error
		l := limiter(t, direct, ratelimit.Options{Prefix: "go-refused", Unavailable: unavailable, OnError: func(err error, _ int) { told = err }})
		v := l.Hit(background, "text")
		if v.Allowed != (unavailable == ratelimit.Open) || v.Err == nil || told == nil || !strings.HasPrefix(told.Error(), "WRONGTYPE") {
			t.Errorf("%+v, told %v", v, told)
		}
	}
}

func TestAMistakeIsToldWhenTheLimiterIsMade(t *testing.T) {
	c := limits(t, client(t, 3))
	minute := []ratelimit.Limit{{Units: 5, Window: "1m"}}
	for says, options := range map[string]ratelimit.Options{
		"Algorithm":        {Limits: minute},
		"Limits: expected": {Algorithm: ratelimit.Fixed},
		"\"1min\"":         {Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 5, Window: "1min"}}},
		"\"60\"":           {Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 5, Window: "60"}}},
		"\"1mo\"":          {Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 5, Window: "1mo"}}},
		"\"9999d\"":        {Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 5, Window: "9999d"}}},
		"Units":            {Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: -1, Window: "1m"}}},
		"expected 1 to":    {Algorithm: ratelimit.Bucket, Limits: minute},
		"only a Bucket":    {Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 5, Window: "1m", Refill: 2}}},
		"a second limit":   {Algorithm: ratelimit.Fixed, Limits: append(minute, minute...)},
		"Block[0]":         {Algorithm: ratelimit.Fixed, Limits: minute, Block: []string{"15"}},
		"Policies":         {Algorithm: ratelimit.Fixed, Limits: minute, Policies: []string{""}},
		"Timeout":          {Algorithm: ratelimit.Fixed, Limits: minute, Timeout: -1},
	} {
		if _, err := c.Limiter(options); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := ratelimit.NewClient(nil); err == nil {
		t.Error("no client is no mistake")
	}
	if _, err := c.Leaser(ratelimit.LeaserOptions{Limit: 1, TTL: "soon"}); err == nil || !strings.Contains(err.Error(), "TTL") {
		t.Errorf("TTL: %v", err)
	}
	if _, err := c.Leaser(ratelimit.LeaserOptions{Limit: 1, TTL: "1m", Typical: -time.Second}); err == nil || !strings.Contains(err.Error(), "Typical") {
		t.Errorf("Typical: %v", err)
	}
	for _, window := range []string{"1mo@15,Europe/Berlin", "1w", "3mo", "5h", "500ms"} {
		if _, err := c.Limiter(ratelimit.Options{Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 5, Window: window}}}); err != nil {
			t.Errorf("%s: %v", window, err)
		}
	}
	l := limiter(t, client(t, 3), ratelimit.Options{Unavailable: ratelimit.Closed})
	if v := l.Hit(background, ""); v.Allowed || !errors.Is(v.Err, ratelimit.ErrNoKey) {
		t.Errorf("%+v", v)
	}
}

func TestAKeyIsShutByOrderAndOpenedByZero(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-shut"})
	key := fmt.Sprint(time.Now().UnixNano())
	if left, err := l.Block(background, key, time.Hour); err != nil || left != time.Hour {
		t.Errorf("%s %v", left, err)
	}
	if v := l.Hit(background, key); v.Err != nil || v.Allowed || v.RetryAfter <= time.Hour-time.Minute {
		t.Errorf("it is open: %+v", v)
	}
	if left, err := l.Block(background, key, time.Nanosecond); err != nil || left <= time.Hour-time.Minute {
		t.Errorf("a short block lifted a long one: %s %v", left, err)
	}
	if left, err := l.Block(background, key, 0); err != nil || left != 0 {
		t.Errorf("%s %v", left, err)
	}
	if v := l.Hit(background, key); !v.Allowed || v.Remaining != 4 {
		t.Errorf("it is shut: %+v", v)
	}
	if left, err := l.Block(background, key, 3660*24*time.Hour); err != nil || left != 3660*24*time.Hour {
		t.Errorf("%s %v", left, err)
	}
	if was, err := l.Reset(background, key); !was || err != nil {
		t.Error(was, err)
	}
	for _, wrong := range []time.Duration{-1, 3660*24*time.Hour + 1} {
		if _, err := l.Block(background, key, wrong); err == nil || !strings.Contains(err.Error(), "3660 days") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if _, err := l.Block(background, "", time.Hour); !errors.Is(err, ratelimit.ErrNoKey) {
		t.Error(err)
	}
	away := limiter(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), ratelimit.Options{Timeout: time.Second})
	if _, err := away.Block(background, key, time.Hour); err == nil {
		t.Error("shut, where no server is")
	}
}

func leaser(t *testing.T, client any, options ratelimit.LeaserOptions) *ratelimit.Leaser {
	t.Helper()
	if options.OnError == nil {
		options.OnError = func(error, int) {}
	}
	if options.Timeout == 0 {
		options.Timeout = 30 * time.Second
	}
	l, err := limits(t, client).Leaser(options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func TestALeaseWhoseReplyWasLostIsGivenBack(t *testing.T) {
	t.Parallel()
	p := newProxies(t)
	through := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(t, "RATELIMIT_PORT"), Dialer: p.dial})
	defer through.Close()
	const key = "go-lost-lease"
	client(t, 3).Del(background, key)
	l := leaser(t, through, ratelimit.LeaserOptions{Limit: 3, TTL: "10m", Timeout: 200 * time.Millisecond, Unavailable: ratelimit.Closed})
	p.set(after)
	for range 3 {
		if lease := l.Acquire(background, key); lease.Verdict.Err == nil {
			t.Fatal("the reply was not lost")
		}
	}
	p.set(none)
	direct := client(t, 3)
	eventually(t, "all three are free", func() bool {
		five, err := direct.Do(background, "RL.PEEK", "LEASE", key, 3, "10m", "x", "COST", 3).Slice()
		return err == nil && five[0].(int64) == 1
	})
}

func TestWorkThatOutlastsItsTtlKeepsItsLease(t *testing.T) {
	t.Parallel()
	direct := client(t, 3)
	l := leaser(t, direct, ratelimit.LeaserOptions{Limit: 2, TTL: "1s"})
	for tries := 0; ; tries++ { // a lease is lost where the machine stood still for as long
		key := unique("hold")
		var begun, ended atomic.Int32
		var errs [2]error
		var group sync.WaitGroup
		for i := range errs {
			group.Add(1)
			go func() {
				defer group.Done()
				_, errs[i] = l.Hold(background, key, func(ctx context.Context) error {
					begun.Add(1)
					defer ended.Add(1)
					return sleep(ctx, 2500*time.Millisecond) // the work
				})
			}()
		}
		eventually(t, "both are at work", func() bool { return begun.Load() == 2 })
		thirds := 0
		for ; ended.Load() == 0; time.Sleep(20 * time.Millisecond) {
			if other := l.Acquire(background, key); other.Verdict.Allowed && ended.Load() == 0 {
				thirds++
			}
		}
		group.Wait()
		lost := errors.Is(errs[0], ratelimit.ErrLeaseLost) || errors.Is(errs[1], ratelimit.ErrLeaseLost)
		if lost && tries < 5 {
			continue
		}
		if err := errors.Join(errs[:]...); err != nil || thirds > 0 {
			t.Errorf("%v; %d more at once where two may", err, thirds)
		}
		if left, _ := direct.Exists(background, key).Result(); left != 0 {
			t.Error("leases are left")
		}
		return
	}
}

// sleep is so long, or until the context ends: then its error is why.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestALeaseIsRenewedByThePolicysTtlNotByTheCalls(t *testing.T) {
	t.Parallel()
	direct := client(t, 3)
	key := fmt.Sprintf("go-policy-ttl:%d", time.Now().UnixNano())
	policy := strings.Replace(key, ":", "-", 1)
	if err := direct.Do(background, "RL.POLICY", "SET", policy, "LEASE", 1, "900ms").Err(); err != nil {
		t.Fatal(err)
	}
	defer direct.Do(background, "RL.POLICY", "DEL", policy)
	l := leaser(t, direct, ratelimit.LeaserOptions{Limit: 1, TTL: "10m", Policies: []string{policy}})
	v, err := l.Hold(background, key, func(ctx context.Context) error {
		for until := time.Now().Add(3 * time.Second); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			if other := l.Acquire(background, key); other.Verdict.Allowed {
				return fmt.Errorf("two at once: %+v", other.Verdict)
			}
		}
		return context.Cause(ctx)
	})
	if !v.Allowed || err != nil && !errors.Is(err, ratelimit.ErrLeaseLost) { // lost where the machine stood still
		t.Errorf("%+v %v", v, err)
	}
}

func TestWhoWaitsForALeaseIsLetInWhenOneIsFree(t *testing.T) {
	key := fmt.Sprintf("go-lease-wait:%d", time.Now().UnixNano())
	l := leaser(t, client(t, 3), ratelimit.LeaserOptions{Limit: 1, TTL: "10m"})
	first := l.Acquire(background, key)
	if v, err := l.Wait(background, key, 50*time.Millisecond); v.Verdict.Allowed || v.Verdict.Err != nil || err != nil {
		t.Errorf("%+v %v: it is held", v, err)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if v, err := l.Wait(ctx, key, time.Minute); v.Verdict.Err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v %v: cancelled", v, err)
	}
	done := make(chan *ratelimit.Lease)
	go func() {
		lease, _ := l.Wait(background, key, time.Minute)
		done <- lease
	}()
	first.Release(background)
	second := <-done
	if !second.Verdict.Allowed || second.Verdict.Err != nil {
		t.Errorf("%+v", second.Verdict)
	}
	second.Release(background)
}

func TestWhoeverIsDeniedALeaseComesBackWhenOneUsuallyEnds(t *testing.T) {
	key := fmt.Sprintf("go-lease-typical:%d", time.Now().UnixNano())
	held := leaser(t, client(t, 3), ratelimit.LeaserOptions{Limit: 1, TTL: "10m"}).Acquire(background, key)
	defer held.Release(background)
	after := func(limit int64, typical time.Duration) time.Duration {
		return leaser(t, client(t, 3), ratelimit.LeaserOptions{Limit: limit, TTL: "10m", Typical: typical}).Acquire(background, key).Verdict.RetryAfter
	}
	if without, with, longer := after(1, 0), after(1, time.Second), after(1, time.Hour); without < 5*time.Minute || with != time.Second || longer > 10*time.Minute {
		t.Errorf("%s, %s, %s", without, with, longer)
	}
	if never := after(0, time.Second); never >= 0 {
		t.Errorf("%s: of a limit of 0 there is no lease", never)
	}
}

func TestALeaseThatIsLostIsSaid(t *testing.T) {
	t.Parallel()
	direct := client(t, 3)
	key := fmt.Sprintf("go-steal:%d", time.Now().UnixNano())
	l := leaser(t, direct, ratelimit.LeaserOptions{Limit: 1, TTL: "900ms"})
	v, err := l.Hold(background, key, func(ctx context.Context) error {
		direct.Del(background, key)
		if other := l.Acquire(background, key); !other.Verdict.Allowed {
			t.Errorf("%+v", other.Verdict)
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !v.Allowed || !errors.Is(err, ratelimit.ErrLeaseLost) {
		t.Errorf("%+v %v", v, err)
	}
	boom := errors.New("boom")
	if _, err := leaser(t, direct, ratelimit.LeaserOptions{Limit: 1, TTL: "10m"}).Hold(background, key+"2", func(context.Context) error { return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	if left, _ := direct.Exists(background, key+"2").Result(); left != 0 {
		t.Error("work that failed keeps its lease")
	}
}

func TestASettlementGivesBackOnlyItsOwn(t *testing.T) {
	direct := client(t, 3)
	key := fmt.Sprintf("%d", time.Now().UnixNano())
	l := limiter(t, direct, ratelimit.Options{Prefix: "go-settle", Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 1000, Window: "30d"}}})
	for used, remaining := range map[int64]int64{800: 200, 1200: -200, 900: 100} {
		r := l.Reserve(background, key, 900)
		r.Settle(background, used)
		r.Settle(background, 7) // the first one counts
		if v := l.Peek(background, key, ratelimit.Cost(0)); v.Remaining != max(0, remaining) {
			t.Errorf("%d used: %d remain", used, v.Remaining)
		}
		if forgot, err := l.Reset(background, key); !forgot || err != nil {
			t.Error(forgot, err)
		}
	}
}

func TestSeveralKeysAreChargedTogetherOrNotAtAll(t *testing.T) {
	c := limits(t, client(t, 3))
	tag := fmt.Sprintf("{go%d}", time.Now().UnixNano())
	make := func(units int64, policies ...string) *ratelimit.Limiter {
		l, err := c.Limiter(ratelimit.Options{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: units, Window: "1m"}}, Policies: policies})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	asks := []ratelimit.Ask{{Limiter: make(2, "none-such"), Key: tag + "rpm"}, {Limiter: make(1000), Key: tag + "tpm", Cost: 600}}
	first := c.HitAll(background, asks, ratelimit.Stamp())
	if !first.Allowed || first.ChargedAt == 0 || first.Keys[1].Remaining != 400 || first.Keys[1].Taken != 600 {
		t.Errorf("%+v", first)
	}
	second := c.HitAll(background, asks)
	if second.Allowed || second.Binding != 1 || second.Keys[0].Taken != 0 || !second.Keys[0].Allowed {
		t.Errorf("%+v", second)
	}
	if peeked := c.PeekAll(background, asks[:1]); !peeked.Allowed || peeked.Remaining != 0 {
		t.Errorf("%+v", peeked)
	}
}

func TestABucketsWaitersAreServedOneAfterAnother(t *testing.T) {
	t.Parallel()
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-wait", Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: 1, Refill: 1, Window: "300ms"}}})
	key := fmt.Sprintf("%d", time.Now().UnixNano())
	began := time.Now()
	for range 3 {
		if v, err := l.Wait(background, key, time.Minute); err != nil || !v.Allowed {
			t.Fatalf("%+v %v", v, err)
		}
	}
	if took := time.Since(began); took < 599*time.Millisecond { // the server's clock tells whole milliseconds
		t.Errorf("three within %s", took)
	}
	if v, _ := l.Wait(background, key, time.Millisecond); v.Allowed {
		t.Errorf("%+v: the wait would be too long", v)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := l.Wait(ctx, key, time.Minute); err == nil {
		t.Error("cancelled, and no error")
	}
}

func TestAWaitThatIsCancelledMovesNobodysTurn(t *testing.T) {
	l := limiter(t, client(t, 3), ratelimit.Options{Prefix: "go-turns", Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: 1, Refill: 1, Window: "1h"}}})
	key := fmt.Sprintf("%d", time.Now().UnixNano())
	l.Hit(background, key)
	waits := func() time.Duration { return l.Peek(background, key).RetryAfter }
	// A waiter that has its place, and what cancels it.
	waiter := func() func() {
		before, ended := waits(), make(chan error)
		ctx, cancel := context.WithCancel(background)
		go func() {
			_, err := l.Wait(ctx, key, 100*time.Hour)
			ended <- err
		}()
		for waits() <= before {
			time.Sleep(time.Millisecond)
		}
		return func() {
			cancel()
			if err := <-ended; err == nil {
				t.Error("cancelled, and no error")
			}
		}
	}
	first, second, last := waiter(), waiter(), waiter()
	second()
	if next := waits(); next <= 4*time.Hour-time.Minute {
		t.Errorf("%s: the last place is another's", next)
	}
	last()
	if next := waits(); next > 3*time.Hour || next <= 3*time.Hour-time.Minute {
		t.Errorf("%s: the last place is free again", next)
	}
	first()
	if next := waits(); next <= 3*time.Hour-time.Minute {
		t.Errorf("%s", next)
	}
}
