package ratelimit

import (
	"sync"
	"time"
)

// reporter tells of errors, at most once a second: an outage must not fill a disk.
type reporter struct {
	tell func(err error, count int)

	mutex sync.Mutex
	last  time.Time
	count int
}

func (r *reporter) error(err error) {
	r.mutex.Lock()
	r.count++
	now := time.Now()
	if !r.last.IsZero() && now.Sub(r.last) < time.Second {
		r.mutex.Unlock()
		return
	}
	count := r.count
	r.last, r.count = now, 0
	r.mutex.Unlock()
	r.tell(err, count)
}
