package ratelimit

import (
	"context"
	"runtime"
	"sync"
)

// coalescer makes one command (COST n MIN 1) of the hits on one key that come while another one of that key is on its
// way. What is granted is handed out in the order of the hits, and nobody is let in whom single commands would not have
// let in. A hit that no other one meets is sent by itself, at once.
type coalescer struct {
	// ask asks for so many at once: what fits of them, at least one.
	ask func(ctx context.Context, key flightKey, count int64) (Verdict, error)

	mutex sync.Mutex
	// flights are the keys of which a command is on its way.
	flights map[flightKey]*flight
}

type flightKey struct {
	key  string
	next bool
}

// flight is one command after the other of a key.
type flight struct {
	waiting []*waiter // for the next one
}

type waiter struct {
	ctx    context.Context
	answer chan outcome // has room for one
}

// waiters are made once: all but those who gave up, to whom an answer may still come.
var waiters = sync.Pool{New: func() any { return &waiter{answer: make(chan outcome, 1)} }}

type outcome struct {
	verdict Verdict
	err     error
}

func (c *coalescer) hit(ctx context.Context, key flightKey) (Verdict, error) {
	c.mutex.Lock()
	if f, ok := c.flights[key]; ok {
		w := waiters.Get().(*waiter)
		w.ctx = ctx
		f.waiting = append(f.waiting, w)
		c.mutex.Unlock()
		select {
		case o := <-w.answer:
			w.ctx = nil
			waiters.Put(w)
			return o.verdict, o.err
		case <-ctx.Done():
			return Verdict{}, ctx.Err()
		}
	}
	f := &flight{}
	c.flights[key] = f
	c.mutex.Unlock()
	defer func() {
		if waiting := c.land(key, f, nil); len(waiting) > 0 {
			go c.run(key, f, waiting)
		}
	}()
	return c.ask(ctx, key, 1)
}

// land says who waits for the next command of a key; where nobody does, none is on its way any more. Those of the last one
// were answered, and leave their place.
func (c *coalescer) land(key flightKey, f *flight, answered []*waiter) []*waiter {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	waiting := f.waiting
	if len(waiting) == 0 {
		delete(c.flights, key)
		return nil
	}
	f.waiting = answered[:0]
	return waiting
}

func (c *coalescer) run(key flightKey, f *flight, waiting []*waiter) {
	for len(waiting) > 0 {
		c.settle(key, waiting)
		clear(waiting)
		runtime.Gosched() // callers who hit in turn are here again: the next command is theirs, too
		waiting = c.land(key, f, waiting)
	}
}

func (c *coalescer) settle(key flightKey, waiting []*waiter) {
	hits := waiting[:0]
	for _, w := range waiting {
		if w.ctx.Err() == nil { // who is late before it was sent is not sent
			hits = append(hits, w)
		}
	}
	for partial := false; len(hits) > 0; {
		// Those whom a grant left out ask as one: a denial of 1 has the times of each.
		count := int64(len(hits))
		if partial {
			count = 1
		}
		verdict, err := c.ask(context.Background(), key, count)
		if err != nil || !verdict.Allowed && count == 1 {
			for _, w := range hits {
				w.answer <- outcome{verdict, err}
			}
			return
		}
		granted := min(verdict.Taken, int64(len(hits)))
		states := make([]LimitState, 0, granted*int64(len(verdict.Limits))) // of all of them
		for i, w := range hits[:granted] {
			var one Verdict
			one, states = earlier(verdict, verdict.Taken-1-int64(i), states)
			w.answer <- outcome{one, nil}
		}
		hits = hits[granted:]
		partial = verdict.Taken < count
	}
}

// earlier is the verdict of a hit that others of the same command came after: so many more were left. Its limits are
// appended to what has room for them.
func earlier(last Verdict, later int64, states []LimitState) (Verdict, []LimitState) {
	from := len(states)
	for _, one := range last.Limits {
		one.Remaining = min(one.Limit, one.Remaining+later)
		states = append(states, one)
	}
	verdict := last
	verdict.Remaining = min(last.Limit, last.Remaining+later)
	verdict.Taken = 1
	verdict.Limits = states[from:len(states):len(states)]
	return verdict, states
}
