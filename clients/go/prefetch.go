package ratelimit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// prefetcher takes units of a key ahead (COST n MIN 1 STAMP) and hands them out from memory. What is not used within its
// time is given back AT the time of its charge. All that is handed out was charged by the server before, and no longer ago
// than it may be held: nothing is counted twice, or not at all.
type prefetcher struct {
	units int64
	hold  time.Duration
	// take takes so many units, as many as fit, at least one; its verdict has ChargedAt.
	take     func(ctx context.Context, key flightKey, units int64) (Verdict, error)
	giveBack func(key flightKey, units, at int64)

	mutex   sync.Mutex
	held    map[flightKey]*held
	waiting map[flightKey][]*seeker // a key that has an entry is being asked for
	closed  bool
	// underWay are takes and returns that have not been answered yet.
	underWay sync.WaitGroup
}

// held is what was taken of one key.
type held struct {
	taken Verdict
	// since is before the server decided, so that no unit is held for longer than it counts.
	since, until time.Time
	left         int64
	timer        *time.Timer
}

// seeker waits for a unit. Who is gone is given none.
type seeker struct {
	answer chan outcome // has room for one
	gone   bool
}

func (h *held) isFresh() bool { return h.left > 0 && time.Now().Before(h.until) }

func (h *held) next() Verdict {
	h.left--
	verdict, _ := earlier(aged(h.taken, time.Since(h.since)), h.left, nil)
	return verdict
}

func (p *prefetcher) hit(ctx context.Context, key flightKey) (Verdict, error) {
	p.mutex.Lock()
	if p.closed {
		p.mutex.Unlock()
		return p.take(ctx, key, 1)
	}
	if h := p.held[key]; h != nil {
		if h.isFresh() {
			defer p.mutex.Unlock()
			return h.next(), nil
		}
		p.release(key, h)
	}
	s := &seeker{answer: make(chan outcome, 1)}
	waiting, asked := p.waiting[key]
	p.waiting[key] = append(waiting, s)
	if !asked {
		p.underWay.Add(1)
		go p.fill(key)
	}
	p.mutex.Unlock()
	select {
	case o := <-s.answer:
		return o.verdict, o.err
	case <-ctx.Done():
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	select {
	case o := <-s.answer: // meanwhile
		return o.verdict, o.err
	default:
		s.gone = true
		return Verdict{}, ctx.Err()
	}
}

// fill sends one command of a key at a time: whoever comes meanwhile waits for what it brings.
func (p *prefetcher) fill(key flightKey) {
	defer p.underWay.Done()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for p.seeker(key) != nil {
		units := p.units
		if p.closed {
			units = 1
		}
		p.mutex.Unlock()
		since := time.Now()
		verdict, err := p.take(context.Background(), key, units)
		p.mutex.Lock()
		if err != nil || !verdict.Allowed {
			for s := p.seeker(key); s != nil; s = p.seeker(key) {
				p.answer(key, outcome{verdict, err}) // the wait is until one unit fits
			}
			break
		}
		h := &held{taken: verdict, since: since, until: since.Add(p.hold), left: verdict.Taken}
		for _, one := range verdict.Limits {
			// A fixed window ends, and with it what was taken of it; a bucket that is full again owes nothing. Times are
			// rounded up.
			if end := since.Add(one.ResetAfter - time.Millisecond); end.Before(h.until) {
				h.until = end
			}
		}
		for h.left > 0 && p.seeker(key) != nil {
			p.answer(key, outcome{h.next(), nil})
		}
		switch {
		case h.left == 0:
		case p.closed || !h.isFresh():
			p.release(key, h)
		default:
			p.held[key] = h
			h.timer = time.AfterFunc(p.hold, func() {
				p.mutex.Lock()
				defer p.mutex.Unlock()
				p.release(key, h)
			})
		}
	}
	delete(p.waiting, key)
}

// seeker is the first of a key who is still there.
func (p *prefetcher) seeker(key flightKey) *seeker {
	waiting := p.waiting[key]
	for len(waiting) > 0 && waiting[0].gone {
		waiting = waiting[1:]
	}
	p.waiting[key] = waiting
	if len(waiting) == 0 {
		return nil
	}
	return waiting[0]
}

// answer answers the first of a key.
func (p *prefetcher) answer(key flightKey, o outcome) {
	waiting := p.waiting[key]
	waiting[0].answer <- o
	p.waiting[key] = waiting[1:]
}

func (p *prefetcher) release(key flightKey, h *held) {
	if h.timer != nil {
		h.timer.Stop()
	}
	if p.held[key] == h {
		delete(p.held, key)
	}
	left := h.left
	h.left = 0
	if left <= 0 || h.taken.ChargedAt <= 0 {
		return
	}
	p.underWay.Add(1)
	go func() {
		defer p.underWay.Done()
		p.giveBack(key, left, h.taken.ChargedAt)
	}()
}

// drop hands out nothing more of a key. What is held is given back, or, where the key is gone, not.
func (p *prefetcher) drop(key string, gone bool) {
	if p == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, next := range []bool{false, true} {
		if h := p.held[flightKey{key, next}]; h != nil {
			if gone {
				h.left = 0
			}
			p.release(flightKey{key, next}, h)
		}
	}
}

// close gives back all that is held, and takes nothing ahead any more: each hit is a command.
func (p *prefetcher) close() {
	p.mutex.Lock()
	p.closed = true
	for key, h := range p.held {
		p.release(key, h)
	}
	p.mutex.Unlock()
	p.underWay.Wait()
}

// aged is what a verdict says that is so old.
func aged(verdict Verdict, age time.Duration) Verdict {
	verdict.Numbers = verdict.Numbers.aged(age)
	limits := make([]LimitState, len(verdict.Limits))
	for i, one := range verdict.Limits {
		one.Numbers = one.Numbers.aged(age)
		limits[i] = one
	}
	verdict.Limits = limits
	return verdict
}

func (n Numbers) aged(age time.Duration) Numbers {
	n.ResetAfter = max(0, n.ResetAfter-age)
	if n.NextAfter > 0 {
		n.NextAfter = max(0, n.NextAfter-age)
	}
	return n
}

const maxHold = time.Second

// prefetch is how many units are taken ahead, 0 for none, and for how long they are held.
func (o *Options) prefetch() (int64, time.Duration, error) {
	units, hold := o.Prefetch, o.PrefetchHold
	switch {
	case units == 0 && hold == 0:
		return 0, 0, nil
	case units < 2 || units > maxCount:
		return 0, 0, fmt.Errorf("ratelimit: Prefetch: expected 2 units or more, got %d", units)
	case hold < 0 || hold > 0 && hold < time.Millisecond:
		return 0, 0, fmt.Errorf("ratelimit: PrefetchHold: expected a millisecond or more, got %s", hold)
	case len(o.Block) > 0:
		return 0, 0, fmt.Errorf("ratelimit: Prefetch: not with Block: who is blocked would be let in by units that were taken before")
	case o.Coalesce:
		return 0, 0, fmt.Errorf("ratelimit: Prefetch: not with Coalesce: hits that wait for the same key share a command already")
	case hold > 0:
		return units, hold, nil
	}
	hold = maxHold
	for _, limit := range o.Limits {
		window, _, _ := strings.Cut(limit.Window, "@")
		if ms := milliseconds(window); ms > 0 { // one of the calendar is a day and more
			hold = min(hold, max(time.Millisecond, time.Duration(ms)*time.Millisecond/10))
		}
	}
	return units, hold, nil
}

// Close gives back what a limiter with Prefetch has taken ahead, before its process ends, and waits until the server has it.
// From then on each hit is a command. What a process holds that is killed stays charged.
func (l *Limiter) Close() {
	if l.prefetcher != nil {
		l.prefetcher.close()
	}
}
