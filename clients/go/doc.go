// Package ratelimit limits what Go programs let through by the native Redis commands RL.*, over go-redis.
//
//	client, err := ratelimit.NewClient(redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"}))
//	api, err := client.Limiter(ratelimit.Options{
//		Prefix: "api", Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 100, Window: "15m"}},
//	})
//	verdict := api.Hit(ctx, ratelimit.ByUser("42"))
//
// What it promises, whatever happens to Redis or to the way there:
//
//   - A hit is charged at most once: no command is sent a second time.
//   - A call returns within its deadline (Options.Timeout, or the context's if that is sooner).
//   - A call never fails. Where the server did not answer, or refused, the verdict has Err, and Allowed is what
//     Options.Unavailable says. Each such error is counted and told to Options.OnError, at most once a second.
//   - A mistake in the options is told when the limiter is made.
//
// client.go has the connection, options.go what a limiter is made of, limiter.go the calls on one key, all.go those on
// several, login.go a login's two, lease.go how many may be at work at once, middleware.go and headers.go what stands in
// front of net/http handlers, identify.go the names of callers.
package ratelimit
