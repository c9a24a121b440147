package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"ratelimit"
	"ratelimit-peers/worker"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	throttledredis "github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/ulule/limiter/v3"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"
)

var background = context.Background()

func client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Getenv("REDIS_PORT"), PoolSize: 50})
}

// What is compared in Go. Each library is used as its documentation shows, over go-redis with fifty connections.
var rows = map[string]worker.Row{
	"bare": func(limit int, window time.Duration) (worker.Counter, error) {
		c, span := client(), fmt.Sprintf("%dms", window.Milliseconds())
		return func(key string) (bool, error) {
			reply, err := c.Do(background, "RL.SLIDING", "bare:"+key, limit, span).Int64Slice()
			return err == nil && reply[0] == 1, err
		}, nil
	},
	"package":   func(limit int, window time.Duration) (worker.Counter, error) { return ours(limit, window, false) },
	"coalesced": func(limit int, window time.Duration) (worker.Counter, error) { return ours(limit, window, true) },
	"redis_rate": func(limit int, window time.Duration) (worker.Counter, error) {
		l, rate := redis_rate.NewLimiter(client()), redis_rate.Limit{Rate: limit, Burst: limit, Period: window}
		return func(key string) (bool, error) {
			result, err := l.Allow(background, key, rate)
			return err == nil && result.Allowed > 0, err
		}, nil
	},
	"throttled": func(limit int, window time.Duration) (worker.Counter, error) {
		store, err := throttledredis.NewCtx(client(), "throttled:")
		if err != nil {
			return nil, err
		}
		// The first hit beside the burst.
		quota := throttled.RateQuota{MaxRate: throttled.PerDuration(limit, window), MaxBurst: limit - 1}
		l, err := throttled.NewGCRARateLimiterCtx(store, quota)
		return func(key string) (bool, error) {
			limited, _, err := l.RateLimitCtx(background, key, 1)
			return !limited, err
		}, err
	},
	"ulule": func(limit int, window time.Duration) (worker.Counter, error) {
		store, err := ululeredis.NewStore(client())
		if err != nil {
			return nil, err
		}
		l := limiter.New(store, limiter.Rate{Limit: int64(limit), Period: window})
		return func(key string) (bool, error) {
			state, err := l.Get(background, key)
			return err == nil && !state.Reached, err
		}, nil
	},
}

func ours(limit int, window time.Duration, coalesce bool) (worker.Counter, error) {
	c, err := ratelimit.NewClient(client())
	if err != nil {
		return nil, err
	}
	l, err := c.Limiter(ratelimit.Options{
		Prefix: "ours", Algorithm: ratelimit.Sliding, Coalesce: coalesce,
		Limits: []ratelimit.Limit{{Units: int64(limit), Window: fmt.Sprintf("%dms", window.Milliseconds())}},
	})
	return func(key string) (bool, error) {
		verdict := l.Hit(background, key)
		return verdict.Allowed, verdict.Err
	}, err
}
