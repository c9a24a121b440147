// What a hit through clients/go costs this process beside the bare command, in CPU; in turns, so that a busy machine is busy
// for all:
//
//	RATELIMIT_PORT=6379 go test -run '^$' -bench . -benchtime 40000x
//
// The medians of the turns: of the bare command in microseconds, of the others as a multiple of it.
package main

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

const turns = 15

func cpuMicroseconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1000
}

// Fifty at once, as a busy program asks.
func measured(hits int, hit func(ctx context.Context, key string)) float64 {
	var group sync.WaitGroup
	var number atomic.Int64
	began := cpuMicroseconds()
	for range 50 {
		group.Add(1)
		go func() {
			defer group.Done()
			ctx, cancel := context.WithCancel(background) // a request's
			defer cancel()
			for n := number.Add(1); n <= int64(hits); n = number.Add(1) {
				hit(ctx, strconv.FormatInt(n%1000, 10))
			}
		}()
	}
	group.Wait()
	return (cpuMicroseconds() - began) / float64(hits)
}

func BenchmarkHit(b *testing.B) {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(b, "RATELIMIT_PORT"), PoolSize: 50})
	b.Cleanup(func() { _ = c.Close() })
	limiting, err := ratelimit.NewClient(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = limiting.Close() })
	l, err := limiting.Limiter(ratelimit.Options{Prefix: "go-bench", Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 1_000_000, Window: "1m"}}})
	if err != nil {
		b.Fatal(err)
	}
	through := func(ctx context.Context, key string) {
		if v := l.Hit(ctx, key); v.Err != nil {
			b.Error(v.Err)
		}
	}
	contestants := []func(context.Context, string){
		func(ctx context.Context, key string) {
			if err := c.Do(ctx, "RL.SLIDING", "go-bench:"+key, 1_000_000, "1m").Err(); err != nil {
				b.Error(err)
			}
		},
		func(_ context.Context, key string) { through(background, key) },
		through,
	}
	seen := make([][]float64, len(contestants))
	for turn := range turns + 1 {
		for i, hit := range contestants {
			if spent := measured(max(100, b.N/turns), hit); turn > 0 { // the first one warms up
				seen[i] = append(seen[i], spent)
			}
		}
	}
	median := func(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }
	b.ReportMetric(median(seen[0]), "bare-us")
	b.ReportMetric(median(seen[1])/median(seen[0]), "hit/bare")
	b.ReportMetric(median(seen[2])/median(seen[0]), "hit-of-request/bare")
	b.ReportMetric(0, "ns/op")
}
