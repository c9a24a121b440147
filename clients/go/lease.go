package ratelimit

import (
	"cmp"
	"context"
	crypto "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// LeaserOptions are what a leaser is made of.
type LeaserOptions struct {
	// Limit is how many units may be held at once.
	Limit int64
	// TTL is after what a lease ends that is not renewed: "30s".
	TTL string
	// Typical is how long a lease is usually held: whoever is denied is told to come back in that time at most. By default
	// when the next lease ends by its TTL, which is the only thing that the server knows of.
	Typical time.Duration
	// Prefix, Name, Policies, Timeout, Unavailable, OnError and Observe are as of a limiter.
	Prefix, Name string
	Policies     []string
	Timeout      time.Duration
	Unavailable  Unavailable
	OnError      func(err error, count int)
	Observe      func(verdict Verdict, took time.Duration)
}

// Leaser says how many may be at work at once. A lease that is not released ends by itself after its TTL, so a holder
// that crashed costs at most that. It is safe for concurrent use.
type Leaser struct {
	client *Client
	prefix string
	words  []any // limit, ttl
	tail   []any
	names  []described
	ttl    time.Duration
	// Never 0: the longest RetryAfter.
	typical time.Duration
	reach
	returns *returns
}

// Leaser makes a leaser. An error names the option that is wrong.
func (c *Client) Leaser(options LeaserOptions) (*Leaser, error) {
	if options.Limit < 0 || options.Limit > maxCount {
		return nil, fmt.Errorf("ratelimit: Limit: expected 0 to 2^53 - 1, got %d", options.Limit)
	}
	if err := checkDuration("TTL", options.TTL); err != nil {
		return nil, err
	}
	if options.Typical < 0 {
		return nil, fmt.Errorf("ratelimit: Typical: expected a positive duration, got %s", options.Typical)
	}
	tail, err := policyWords(options.Policies)
	if err != nil {
		return nil, err
	}
	described := described{name: (&Options{Name: options.Name, Prefix: options.Prefix}).name()}
	reach, err := newReach(described.name, options.Timeout, options.Unavailable, false, options.OnError, options.Observe)
	if err != nil {
		return nil, err
	}
	l := &Leaser{client: c, words: []any{options.Limit, options.TTL}, tail: tail, reach: reach}
	l.names = append(l.names, described)
	l.ttl = time.Duration(milliseconds(options.TTL)) * time.Millisecond
	l.typical = cmp.Or(options.Typical, math.MaxInt64)
	if options.Prefix != "" {
		l.prefix = options.Prefix + ":"
	}
	l.returns = newReturns(l.ttl, l.timeout, l.release, l.report.error)
	return l, nil
}

// Lease is one that is held, where Verdict.Allowed.
type Lease struct {
	ID      string
	Verdict Verdict
	leaser  *Leaser
	key     string
	cost    int64
}

// Acquire takes a lease of an id of its own. One that the server did not answer in time may have been granted all the
// same, so its id is given back, in the background.
func (l *Leaser) Acquire(ctx context.Context, key string, options ...Option) *Lease {
	id := make([]byte, 16)
	if _, err := crypto.Read(id); err != nil { // no kernel that Go runs on answers so, and newer Go asks nobody
		panic(err)
	}
	return l.acquire(ctx, key, hex.EncodeToString(id), options)
}

// longestPause is between two tries of who waits for a lease.
const longestPause = 500 * time.Millisecond

// Wait takes a lease as soon as one is free, at most so long: it asks again after 20 ms, then 40 and so on, up to half a
// second. The verdict's RetryAfter is until a lease ends by itself, and its holder may be done long before. What was not
// granted in time was denied. The error is the context's.
func (l *Leaser) Wait(ctx context.Context, key string, most time.Duration, options ...Option) (*Lease, error) {
	until := time.Now().Add(most)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		lease := l.Acquire(ctx, key, options...)
		v := lease.Verdict
		next := pause/2 + rand.N(pause/2) // so that waiters do not come together
		if v.Allowed || v.Err != nil || v.Denied != "" || v.RetryAfter < 0 || time.Now().Add(next).After(until) {
			return lease, ctx.Err()
		}
		if err := sleep(ctx, next); err != nil {
			return lease, err
		}
	}
}

func (l *Leaser) acquire(ctx context.Context, key, id string, options []Option) *Lease {
	began := time.Now()
	h := hit{cost: 1}
	for _, option := range options {
		option(&h)
	}
	lease := &Lease{ID: id, leaser: l, key: key, cost: h.cost}
	verdict, err := l.ask(ctx, lease, &h)
	lease.Verdict = l.answer(verdict, err, began)
	if err != nil && key != "" {
		l.returns.add(key, id)
	}
	return lease
}

func (l *Leaser) ask(ctx context.Context, lease *Lease, h *hit) (Verdict, error) {
	if lease.key == "" {
		return Verdict{}, ErrNoKey
	}
	words := append([]any{"RL.LEASE", l.prefix + lease.key}, l.words...)
	words = append(words, lease.ID)
	words = append(h.words(words), l.tail...)
	words = h.denyWords(words)
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	reply, err := l.client.do(ctx, words, 1)
	if err != nil {
		return Verdict{}, err
	}
	verdict, err := readVerdict(reply, asked{described: l.names, name: l.names[0].name, cost: h.cost, deny: h.list != ""})
	verdict.RetryAfter = min(verdict.RetryAfter, l.typical)
	return verdict, err
}

// Renew sets the lease's end anew. It is denied where the lease has ended meanwhile and its place was taken.
func (l *Lease) Renew(ctx context.Context) Verdict {
	began := time.Now()
	verdict, err := l.leaser.ask(ctx, l, &hit{cost: l.cost})
	return l.leaser.answer(verdict, err, began)
}

// Release gives the lease back. Where the server does not answer it goes on trying in the background, for as long as the
// lease may last. It is not stopped by the context's cancellation.
func (l *Lease) Release(ctx context.Context) {
	if l.Verdict.Err != nil || !l.Verdict.Allowed {
		return
	}
	if _, err := l.leaser.release(context.WithoutCancel(ctx), l.key, []string{l.ID}); err != nil {
		l.leaser.report.error(err)
		l.leaser.returns.add(l.key, l.ID)
	}
}

func (l *Leaser) release(ctx context.Context, key string, ids []string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	words := []any{"RL.RELEASE", l.prefix + key}
	for _, id := range ids {
		words = append(words, id)
	}
	reply, err := l.client.do(ctx, words, 1)
	released, _ := reply.(int64)
	return released, err
}

// ErrLeaseLost is the cause of the context of a Hold whose lease could not be renewed in time.
var ErrLeaseLost = errors.New("ratelimit: the lease was lost")

// Hold runs work while a lease is held, which it renews at a third of its TTL and gives back when work is done, however
// it ends. Should the lease be lost (a renewal was denied, or the server did not answer for so long that it has ended),
// work's context is cancelled, with ErrLeaseLost as its cause: others may have its place. Where no lease was had, work
// is not run and the verdict says why. Where the server could not be asked and the leaser is open, work runs without one.
func (l *Leaser) Hold(ctx context.Context, key string, work func(context.Context) error, options ...Option) (Verdict, error) {
	asked := time.Now()
	lease := l.Acquire(ctx, key, options...)
	if !lease.Verdict.Allowed {
		return lease.Verdict, nil
	}
	if lease.Verdict.Err != nil {
		return lease.Verdict, work(ctx)
	}
	held, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		lease.keep(held, cancel, asked)
	}()
	defer func() {
		cancel(nil)
		<-stopped
		lease.Release(ctx)
	}()
	return lease.Verdict, work(held)
}

// lasts is for how long it was granted: a policy may have another TTL than ours. The last lease to end is the newest, or a
// longer one.
func (l *Leaser) lasts(verdict Verdict) time.Duration {
	if verdict.ResetAfter > 0 {
		return min(verdict.ResetAfter, l.ttl)
	}
	return l.ttl
}

// keep renews until the context is done. The lease surely lasts for its ttl after the call that set it began.
func (l *Lease) keep(ctx context.Context, lost context.CancelCauseFunc, asked time.Time) {
	ttl := l.leaser.lasts(l.Verdict)
	ends := asked.Add(ttl)
	for {
		next := min(ttl/3, time.Until(ends))
		if sleep(ctx, next) != nil {
			return
		}
		if !time.Now().Before(ends) {
			lost(ErrLeaseLost)
			return
		}
		asked = time.Now()
		within, stop := context.WithDeadline(ctx, ends)
		verdict := l.Renew(within)
		stop()
		switch {
		case ctx.Err() != nil:
			return
		case verdict.Err != nil: // asked again until it ends
		case !verdict.Allowed:
			lost(ErrLeaseLost)
			return
		default:
			ttl = l.leaser.lasts(verdict)
			ends = asked.Add(ttl)
		}
	}
}
