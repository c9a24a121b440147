// What a hit through clients/go costs this process beside the bare command, in CPU:
//
//	RATELIMIT_PORT=6379 go test -run '^$' -bench . -count 5
package main

import (
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Fifty at once, as a busy program asks.
func measure(b *testing.B, hit func(key string)) {
	b.SetParallelism(25)
	var number atomic.Int64
	began := cpu()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hit(strconv.FormatInt(number.Add(1)%1000, 10))
		}
	})
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-us/op")
}

func benchmarkClient(b *testing.B) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(b, "RATELIMIT_PORT"), PoolSize: 50})
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func BenchmarkBare(b *testing.B) {
	c := benchmarkClient(b)
	measure(b, func(key string) {
		if err := c.Do(background, "RL.SLIDING", "go-bench:"+key, 1_000_000, "1m").Err(); err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkHit(b *testing.B) {
	limiting, err := ratelimit.NewClient(benchmarkClient(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = limiting.Close() })
	l, err := limiting.Limiter(ratelimit.Options{Prefix: "go-bench", Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 1_000_000, Window: "1m"}}})
	if err != nil {
		b.Fatal(err)
	}
	measure(b, func(key string) {
		if v := l.Hit(background, key); v.Err != nil {
			b.Error(v.Err)
		}
	})
}
