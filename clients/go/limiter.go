package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limiter is one limiter for all keys. It is safe for concurrent use.
type Limiter struct {
	client *Client
	// command is its name; limits and tail stand behind the key. None of them changes.
	command      any
	algorithm    Algorithm
	prefix       string
	limits, tail []any
	names        []described
	// isFlat: the reply to a hit without options has numbers alone.
	isFlat     bool
	name       string
	guarded    bool
	coalescer  *coalescer
	prefetcher *prefetcher
	reach
}

// Limiter makes a limiter. An error names the option that is wrong.
func (c *Client) Limiter(options Options) (*Limiter, error) {
	limits, names, err := options.words()
	if err != nil {
		return nil, err
	}
	tail, err := options.tail()
	if err != nil {
		return nil, err
	}
	reach, err := options.reach()
	if err != nil {
		return nil, err
	}
	units, hold, err := options.prefetch()
	if err != nil {
		return nil, err
	}
	prefix := options.Prefix
	if prefix != "" {
		prefix += ":"
	}
	l := &Limiter{
		client: c, command: "RL." + string(options.Algorithm), algorithm: options.Algorithm, prefix: prefix, limits: limits, tail: tail,
		names: names, isFlat: len(names) == 1 && len(options.Policies) == 0, name: options.name(), guarded: len(options.Block) > 0, reach: reach,
	}
	if options.Coalesce {
		l.coalescer = &coalescer{ask: l.several, flights: map[flightKey]*flight{}}
	}
	if units > 0 {
		l.prefetcher = &prefetcher{
			units: units, hold: hold, take: l.take, giveBack: l.giveBack, held: map[flightKey]*held{}, waiting: map[flightKey][]*seeker{},
		}
	}
	return l, nil
}

func (l *Limiter) take(ctx context.Context, key flightKey, units int64) (Verdict, error) {
	h := hit{cost: units, next: key.next, stamp: true}
	if units > 1 {
		h.min = 1
	}
	ctx, cancel := within(ctx, l.timeout)
	defer cancel()
	return l.send(ctx, key.key, nil, h)
}

func (l *Limiter) giveBack(key flightKey, units, at int64) {
	ctx, cancel := within(context.Background(), l.timeout)
	defer cancel()
	if _, err := l.send(ctx, key.key, nil, hit{cost: -units, at: &at}); err != nil {
		l.report.error(err)
	}
}

func (l *Limiter) several(ctx context.Context, key flightKey, count int64) (Verdict, error) {
	h := hit{cost: count, next: key.next}
	if count > 1 {
		h.min = 1
	}
	ctx, cancel := within(ctx, l.timeout)
	defer cancel()
	return l.send(ctx, key.key, nil, h)
}

// An Option of one hit.
type Option func(*hit)

type hit struct {
	cost, min int64
	at        *int64
	id        *string
	retry     int
	force     bool
	stamp     bool
	next      bool
	reserve   time.Duration
	list      string
	values    []string
}

// Cost is what this hit uses, 1 where it is not said. 0 charges nothing, a negative cost gives back.
func Cost(units int64) Option { return func(h *hit) { h.cost = units } }

// Min takes as much of the cost as fits, at least so much; Verdict.Taken says how much.
func Min(units int64) Option { return func(h *hit) { h.min = units } }

// Force charges also what does not fit.
func Force() Option { return func(h *hit) { h.force = true } }

// Stamp asks for the time of the charge, Verdict.ChargedAt.
func Stamp() Option { return func(h *hit) { h.stamp = true } }

// Next asks when more becomes available, Numbers.NextAfter: the t of the RateLimit field. Middleware asks for it.
func Next() Option { return func(h *hit) { h.next = true } }

// At applies the cost to what was charged at that time, a Verdict.ChargedAt.
func At(unixMs int64) Option { return func(h *hit) { h.at = &unixMs } }

// ID charges this hit once: one of the same id that has counted already charges nothing, and Verdict.Repeated says so. So a
// hit whose reply was lost can be made again, as Retry does. 1 to 64 bytes, and the application's own: who may choose ids freely repeats
// one for ever, so never a caller's header as it comes. The server remembers the newest ids of a key, for ten minutes.
func ID(id string) Option { return func(h *hit) { h.id = &id } }

// Deny looks these values up in a deny list of the server first.
func Deny(list string, values ...string) Option {
	return func(h *hit) { h.list, h.values = list, values }
}

func (h *hit) words(to []any) []any {
	if h.cost != 1 {
		to = append(to, "COST", h.cost)
	}
	if h.min != 0 {
		to = append(to, "MIN", h.min)
	}
	if h.force {
		to = append(to, "FORCE")
	}
	if h.at != nil {
		to = append(to, "AT", *h.at)
	}
	if h.stamp {
		to = append(to, "STAMP")
	}
	if h.id != nil {
		to = append(to, "ID", *h.id)
	}
	if h.next {
		to = append(to, "NEXT")
	}
	if h.reserve > 0 {
		to = append(to, "RESERVE", fmt.Sprintf("%dms", h.reserve.Milliseconds()))
	}
	return to
}

func (h *hit) denyWords(to []any) []any {
	if h.list == "" {
		return to
	}
	to = append(to, "DENY", h.list)
	for _, value := range h.values {
		to = append(to, value)
	}
	return to
}

// ErrNoKey: an empty key would make one caller of all that have none.
var ErrNoKey = errors.New("ratelimit: the key is empty")

const maxID = 64

func (h *hit) check() error {
	if h.id != nil && (len(*h.id) < 1 || len(*h.id) > maxID) {
		return fmt.Errorf("ratelimit: ID: expected 1 to %d bytes, got %d", maxID, len(*h.id))
	}
	if h.retry < 0 || h.retry > maxRetries {
		return fmt.Errorf("ratelimit: Retry: expected 0 to %d, got %d", maxRetries, h.retry)
	}
	if h.retry > 0 && h.id == nil {
		return errors.New("ratelimit: Retry: expected an ID with it: without one a hit whose reply was lost would be charged again")
	}
	return nil
}

// Hit counts one hit, or says why not.
func (l *Limiter) Hit(ctx context.Context, key string, options ...Option) Verdict {
	return l.ask(ctx, key, nil, options)
}

// Peek says what a hit would be answered now. It changes nothing.
func (l *Limiter) Peek(ctx context.Context, key string, options ...Option) Verdict {
	return l.ask(ctx, key, []any{"RL.PEEK", string(l.algorithm)}, options)
}

func (l *Limiter) ask(ctx context.Context, key string, command []any, options []Option) Verdict {
	began := l.now()
	verdict, err := l.try(ctx, key, command, options)
	return l.answer(verdict, err, began)
}

// now is of use to whoever observes alone.
func (r *reach) now() time.Time {
	if r.observe == nil {
		return time.Time{}
	}
	return time.Now()
}

// answer turns an error into what is done about it, and tells whoever observes.
func (r *reach) answer(verdict Verdict, err error, began time.Time) Verdict {
	if err != nil {
		r.report.error(err)
		verdict = r.unavailable(err)
	}
	if r.observe != nil {
		r.observe(verdict, time.Since(began))
	}
	return verdict
}

func (r *reach) unavailable(err error) Verdict {
	verdict := Verdict{Numbers: Numbers{Allowed: r.open}, Err: err}
	if !r.open {
		verdict.RetryAfter = time.Second
	}
	return verdict
}

func (l *Limiter) try(ctx context.Context, key string, command []any, options []Option) (Verdict, error) {
	if key == "" {
		return Verdict{}, ErrNoKey
	}
	h, err := chosen(options)
	if err != nil {
		return Verdict{}, err
	}
	ctx, cancel := within(ctx, l.timeout)
	defer cancel()
	if l.prefetcher != nil && command == nil && h.isPlain() {
		return l.prefetcher.hit(ctx, flightKey{key, h.next})
	}
	if l.coalescer != nil && command == nil && h.isPlain() {
		return l.coalescer.hit(ctx, flightKey{key, h.next})
	}
	return l.sendAgain(ctx, key, command, h)
}

func chosen(options []Option) (hit, error) {
	if len(options) == 0 { // what an option may change lies on the heap
		return hit{cost: 1}, nil
	}
	h := hit{cost: 1}
	for _, option := range options {
		option(&h)
	}
	return h, h.check()
}

// isPlain: it says nothing but, at most, Next.
func (h *hit) isPlain() bool {
	return h.cost == 1 && h.min == 0 && h.at == nil && h.id == nil && !h.force && !h.stamp && h.reserve == 0 && h.list == ""
}

func (l *Limiter) send(ctx context.Context, key string, command []any, h hit) (Verdict, error) {
	words := make([]any, 0, 4+len(l.limits)+len(l.tail)) // enough for a hit without options
	if command == nil {
		words = append(words, l.command)
	} else {
		words = append(words, command...)
	}
	words = append(words, l.prefix+key)
	firstKey := int8(len(words) - 1)
	words = append(words, l.limits...)
	words = h.words(words)
	words = append(words, l.tail...)
	words = h.denyWords(words)
	if l.isFlat && h.isPlain() {
		reply, err := l.client.numbers(ctx, words, firstKey)
		if err != nil {
			return Verdict{}, err
		}
		return readFlat(reply, l.asked(&h))
	}
	reply, err := l.client.do(ctx, words, firstKey)
	if err != nil {
		return Verdict{}, err
	}
	return readVerdict(reply, l.asked(&h))
}

func (l *Limiter) asked(h *hit) asked {
	return asked{l.names, l.name, h.cost, h.force, h.id != nil, h.min != 0, h.list != "", h.stamp, h.next}
}

// Reset forgets all that was used. It reports whether there was anything.
func (l *Limiter) Reset(ctx context.Context, key string) (bool, error) {
	l.prefetcher.drop(key, true)
	ctx, cancel := within(ctx, l.timeout)
	defer cancel()
	reply, err := l.client.do(ctx, []any{"DEL", l.prefix + key}, 1)
	deleted, _ := reply.(int64)
	return deleted == 1, err
}

// Block shuts the key for so long, whatever its limits say: what a provider's Retry-After asks for. 0 lifts any block. It
// says how long until the key opens.
func (l *Limiter) Block(ctx context.Context, key string, duration time.Duration) (time.Duration, error) {
	if key == "" {
		return 0, ErrNoKey
	}
	if duration < 0 || duration > maxDurationMs*time.Millisecond {
		return 0, fmt.Errorf("ratelimit: Block: expected 0 to 3660 days, got %s", duration)
	}
	word := "0"
	if duration > 0 { // rounded up: a short one is no 0
		l.prefetcher.drop(key, false)
		word = fmt.Sprintf("%dms", (duration+time.Millisecond-1)/time.Millisecond)
	}
	ctx, cancel := within(ctx, l.timeout)
	defer cancel()
	reply, err := l.client.do(ctx, []any{"RL.BLOCK", l.prefix + key, word}, 1)
	if err != nil {
		return 0, err
	}
	left, ok := reply.(int64)
	if !ok {
		return 0, unread(reply)
	}
	return time.Duration(left) * time.Millisecond, nil
}

// Wait waits for its turn, at most so long. A bucket reserves its place with one command, and callers are served in
// order; with the other algorithms it asks again when the time has come, so there a later caller may be first. It is
// denied at once where the wait would be too long. The error is the context's; then a place in a bucket is given back,
// but not one that was reserved by an earlier call of the same ID.
func (l *Limiter) Wait(ctx context.Context, key string, most time.Duration, options ...Option) (Verdict, error) {
	if l.algorithm == Bucket && !l.guarded {
		return l.waitInTurn(ctx, key, most, slices.Clip(options))
	}
	until := time.Now().Add(most)
	for {
		verdict := l.Hit(ctx, key, options...)
		if verdict.Allowed || verdict.Err != nil || verdict.RetryAfter <= 0 || time.Now().Add(verdict.RetryAfter).After(until) {
			return verdict, ctx.Err()
		}
		if err := sleep(ctx, verdict.RetryAfter); err != nil {
			return verdict, err
		}
	}
}

// waitInTurn has its answer whether or not ctx ends meanwhile: without it nobody knows which place to give back.
func (l *Limiter) waitInTurn(ctx context.Context, key string, most time.Duration, options []Option) (Verdict, error) {
	if err := ctx.Err(); err != nil {
		return l.unavailable(err), err
	}
	lasting := context.WithoutCancel(ctx)
	giveBack := func(verdict Verdict) {
		if verdict.Err == nil && verdict.ChargedAt > 0 && !verdict.Repeated {
			another := func(h *hit) { h.id, h.retry = nil, 0 } // with the same id it would be a repeat
			l.Hit(lasting, key, append(options, Cost(-verdict.Taken), At(verdict.ChargedAt), another)...)
		}
	}
	answers := make(chan Verdict, 1)
	go func() {
		answers <- l.Hit(lasting, key, append(options, Stamp(), func(h *hit) { h.reserve = most })...)
	}()
	select {
	case verdict := <-answers:
		if !verdict.Allowed || verdict.Err != nil {
			return verdict, ctx.Err()
		}
		if err := sleep(ctx, verdict.RetryAfter); err != nil {
			giveBack(verdict)
			return verdict, err
		}
		return verdict, nil
	case <-ctx.Done():
		go func() { giveBack(<-answers) }()
		return l.unavailable(ctx.Err()), ctx.Err()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Reservation is an estimate that was charged, to be settled with what was really used.
type Reservation struct {
	Verdict  Verdict
	limiter  *Limiter
	key      string
	estimate int64
	id       *string
	settled  bool
}

// Reserve charges an estimate. What is never settled stays charged as estimated.
func (l *Limiter) Reserve(ctx context.Context, key string, estimate int64, options ...Option) *Reservation {
	verdict := l.Hit(ctx, key, append(options, Cost(estimate), Stamp())...)
	var h hit
	for _, option := range options {
		option(&h)
	}
	return &Reservation{verdict, l, key, estimate, h.id, !verdict.Allowed || verdict.Err != nil || estimate < 1}
}

// Settle charges what was used beyond the estimate, or gives back what was not, at the time of the reservation. The
// first call counts. It is not stopped by the context's cancellation: what was used must not go uncharged. Where the
// reservation has an ID, give the settlement another one, or each that repeats it gives back once more.
func (r *Reservation) Settle(ctx context.Context, used int64, options ...Option) {
	if r.settled || used < 0 {
		return
	}
	r.settled = true
	var h hit
	for _, option := range options {
		option(&h)
	}
	if r.id != nil && h.id != nil && *r.id == *h.id { // it would be taken for the reservation, and charge nothing
		r.limiter.report.error(errors.New("ratelimit: Settle: the ID is the reservation's, expected another one; nothing is settled"))
		return
	}
	options = append(slices.Clip(options), Cost(used-r.estimate), At(r.Verdict.ChargedAt))
	switch {
	case used == r.estimate:
		return
	case used > r.estimate:
		options = append(options, Force())
	}
	r.limiter.Hit(context.WithoutCancel(ctx), r.key, options...)
}
