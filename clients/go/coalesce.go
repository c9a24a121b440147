package ratelimit

import (
	"context"
	"sync"
)

// coalescer makes one command (COST n MIN 1) of the hits on one key that come while another one of that key is on its
// way. What is granted is handed out in the order of the hits, and nobody is let in whom single commands would not have
// let in. A hit that no other one meets is sent by itself, at once.
type coalescer struct {
	// ask asks for so many at once: what fits of them, at least one.
	ask func(ctx context.Context, key flightKey, count int64) (Verdict, error)

	mutex sync.Mutex
	// flights are the keys of which a command is on its way, and who waits for the next one.
	flights map[flightKey][]*waiter
}

type flightKey struct {
	key  string
	next bool
}

type waiter struct {
	ctx    context.Context
	answer chan outcome // has room for one
}

type outcome struct {
	verdict Verdict
	err     error
}

func (c *coalescer) hit(ctx context.Context, key flightKey) (Verdict, error) {
	c.mutex.Lock()
	if waiting, ok := c.flights[key]; ok {
		w := &waiter{ctx, make(chan outcome, 1)}
		c.flights[key] = append(waiting, w)
		c.mutex.Unlock()
		select {
		case o := <-w.answer:
			return o.verdict, o.err
		case <-ctx.Done():
			return Verdict{}, ctx.Err()
		}
	}
	c.flights[key] = nil
	c.mutex.Unlock()
	defer func() {
		if waiting := c.land(key); len(waiting) > 0 {
			go c.run(key, waiting)
		}
	}()
	return c.ask(ctx, key, 1)
}

// land says who waits for the next command of a key; where nobody does, none is on its way any more.
func (c *coalescer) land(key flightKey) []*waiter {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	waiting := c.flights[key]
	if len(waiting) == 0 {
		delete(c.flights, key)
		return nil
	}
	c.flights[key] = nil
	return waiting
}

func (c *coalescer) run(key flightKey, waiting []*waiter) {
	for ; len(waiting) > 0; waiting = c.land(key) {
		c.settle(key, waiting)
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
		for later := verdict.Taken - 1; later >= 0 && len(hits) > 0; later-- {
			hits[0].answer <- outcome{earlier(verdict, later), nil}
			hits = hits[1:]
		}
		partial = verdict.Taken < count
	}
}

// earlier is the verdict of a hit that others of the same command came after: so many more were left.
func earlier(last Verdict, later int64) Verdict {
	verdict := last
	verdict.Remaining = min(last.Limit, last.Remaining+later)
	verdict.Taken = 1
	verdict.Limits = make([]LimitState, len(last.Limits))
	for i, one := range last.Limits {
		one.Remaining = min(one.Limit, one.Remaining+later)
		verdict.Limits[i] = one
	}
	return verdict
}
