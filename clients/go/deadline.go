package ratelimit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// tick is how much later than its deadline a call may be told so while it waits for a connection.
const tick = 10 * time.Millisecond

// within is a context that ends after so long, or with its parent. Where the parent never ends by itself there is no timer
// for it: those that end in the same tick share one, which is made only for who looks.
func within(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if parent.Done() != nil {
		return context.WithTimeout(parent, timeout)
	}
	return &deadline{parent, time.Now().Add(timeout)}, func() {}
}

type deadline struct {
	context.Context
	at time.Time
}

func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

func (d *deadline) Done() <-chan struct{} { return ticks.at(d.at) }

func (d *deadline) Err() error {
	if time.Now().Before(d.at) {
		return nil
	}
	return context.DeadlineExceeded
}

// ends are the channels that are still to be closed, by their ticks.
type ends struct {
	mutex sync.Mutex
	began time.Time
	open  map[int64]chan struct{}
	// last is what was asked for last: those who come one after the other end in the same tick.
	last atomic.Pointer[end]
}

type end struct {
	number int64
	done   chan struct{}
}

var ticks = ends{began: time.Now(), open: map[int64]chan struct{}{}}

// at is closed in the tick after that time.
func (e *ends) at(at time.Time) <-chan struct{} {
	number := int64(at.Sub(e.began)/tick) + 1
	if last := e.last.Load(); last != nil && last.number == number {
		return last.done
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	done, ok := e.open[number]
	if !ok {
		done = e.opened(number)
	}
	e.last.Store(&end{number, done})
	return done
}

func (e *ends) opened(number int64) chan struct{} {
	done := make(chan struct{})
	left := time.Until(e.began.Add(time.Duration(number) * tick))
	if left <= 0 {
		close(done)
		return done
	}
	e.open[number] = done
	time.AfterFunc(left, func() {
		e.mutex.Lock()
		delete(e.open, number)
		e.mutex.Unlock()
		close(done)
	})
	return done
}
