// Package ulule is a store for github.com/ulule/limiter/v3: limiter.New(store, rate) decides by RL.SLIDING, or RL.FIXED.
package ulule

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ulule/limiter/v3"

	"ratelimit"
)

// Options of a store. The zero value is a store of sliding windows.
type Options struct {
	// Algorithm is ratelimit.Sliding, where it is empty, or ratelimit.Fixed: windows that begin with the clock's.
	Algorithm ratelimit.Algorithm
	// Prefix stands before each key, with a colon; "limiter" where it is empty.
	Prefix string
	// Policies are names of the server's policies: the first that exists replaces the rate for the whole fleet.
	Policies []string
	// CountDenied counts also what is denied, as the library's own stores do: a caller who goes on is shut out for as long
	// as they go on. Without it Peek says Reached as soon as the next Get would be denied.
	CountDenied bool
	// Coalesce makes one command of the hits on one key that come while another one of it is on its way.
	Coalesce    bool
	Timeout     time.Duration
	Unavailable ratelimit.Unavailable
	OnError     func(err error, count int)
	Observe     func(verdict ratelimit.Verdict, took time.Duration)
}

// Store is a limiter.Store. Whatever Redis does, Get, Peek and Increment return no error but for a wrong argument:
// Options.Unavailable decides.
type Store struct {
	client   *ratelimit.Client
	options  ratelimit.Options
	counting []ratelimit.Option
	peeked   int64
	limiters sync.Map // of limiter.Rate without its text
}

// New makes a store. An error names the option that is wrong.
func New(client *ratelimit.Client, options Options) (*Store, error) {
	own := ratelimit.Options{
		Algorithm: options.Algorithm, Prefix: options.Prefix, Policies: options.Policies, Coalesce: options.Coalesce,
		Timeout: options.Timeout, Unavailable: options.Unavailable, OnError: options.OnError, Observe: options.Observe,
	}
	switch own.Algorithm {
	case "":
		own.Algorithm = ratelimit.Sliding
	case ratelimit.Sliding, ratelimit.Fixed:
	default:
		return nil, fmt.Errorf("ulule: Algorithm: expected Sliding or Fixed, got %q", own.Algorithm)
	}
	if own.Prefix == "" {
		own.Prefix = limiter.DefaultPrefix
	}
	s := &Store{client: client, options: own, peeked: 1}
	if options.CountDenied {
		s.counting, s.peeked = []ratelimit.Option{ratelimit.Force()}, 0
	}
	if _, err := s.of(limiter.Rate{Limit: 1, Period: time.Minute}); err != nil {
		return nil, err
	}
	return s, nil
}

// of a rate: an application has few of them.
func (s *Store) of(rate limiter.Rate) (*ratelimit.Limiter, error) {
	rate.Formatted = ""
	if known, ok := s.limiters.Load(rate); ok {
		return known.(*ratelimit.Limiter), nil
	}
	options := s.options
	options.Limits = []ratelimit.Limit{{Units: rate.Limit, Window: fmt.Sprintf("%dms", rate.Period.Milliseconds())}}
	made, err := s.client.Limiter(options)
	if err != nil {
		return nil, err
	}
	known, _ := s.limiters.LoadOrStore(rate, made)
	return known.(*ratelimit.Limiter), nil
}

// Get counts one.
func (s *Store) Get(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	l, err := s.of(rate)
	if err != nil {
		return limiter.Context{}, err
	}
	return contextOf(rate, l.Hit(ctx, key, s.counting...)), nil
}

// Increment counts so many: all, or none where they do not fit. A negative count gives back.
func (s *Store) Increment(ctx context.Context, key string, count int64, rate limiter.Rate) (limiter.Context, error) {
	l, err := s.of(rate)
	if err != nil {
		return limiter.Context{}, err
	}
	options := []ratelimit.Option{ratelimit.Cost(count)}
	if count > 0 {
		options = append(options, s.counting...)
	}
	return contextOf(rate, l.Hit(ctx, key, options...)), nil
}

// Peek counts nothing.
func (s *Store) Peek(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	l, err := s.of(rate)
	if err != nil {
		return limiter.Context{}, err
	}
	seen := l.Peek(ctx, key, ratelimit.Cost(0))
	if s.peeked == 0 || !seen.Allowed || seen.Remaining > 0 || seen.Err != nil {
		return contextOf(rate, seen), nil
	}
	return contextOf(rate, l.Peek(ctx, key)), nil // of whom nothing is left
}

// Reset forgets what was counted; the error is Redis'.
func (s *Store) Reset(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	l, err := s.of(rate)
	if err != nil {
		return limiter.Context{}, err
	}
	if _, err := l.Reset(ctx, key); err != nil {
		return limiter.Context{}, err
	}
	return limiter.Context{Limit: rate.Limit, Remaining: rate.Limit, Reset: time.Now().Add(rate.Period).Unix()}, nil
}

// contextOf is in the library's words what the server said.
func contextOf(rate limiter.Rate, verdict ratelimit.Verdict) limiter.Context {
	said := limiter.Context{Limit: verdict.Limit, Remaining: verdict.Remaining, Reached: !verdict.Allowed}
	wait := verdict.ResetAfter
	if said.Reached {
		wait = verdict.RetryAfter
	}
	if verdict.Err != nil {
		said.Limit = rate.Limit
	}
	if wait < 0 {
		wait = rate.Period
	}
	said.Reset = time.Now().Add(wait).Unix() // cut to a second, as by the library's own stores
	return said
}
