package ratelimit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// returns gives leases back of which it is not known whether they are held: a call that the server did not answer in
// time may still be carried out, and three such calls would shut three places for a whole ttl. One goroutine serves them
// all, and it is there only while there are any.
type returns struct {
	ttl, pause time.Duration
	release    func(ctx context.Context, key string, ids []string) (int64, error)
	report     func(error)

	mutex   sync.Mutex
	open    []doubtful
	running bool
}

type doubtful struct {
	key, id string
	until   time.Time
	// answered is how often the server has said that it does not hold the lease. Once is not enough: the call that asks
	// for it may lie in another connection's buffer still.
	answered int
}

// So many are remembered; past that they are left to their ttl.
const maxDoubtful = 10_000

var errTooMany = errors.New("ratelimit: more than 10,000 leases are in doubt; further ones end by themselves")

func newReturns(
	ttl, pause time.Duration, release func(context.Context, string, []string) (int64, error), report func(error),
) *returns {
	return &returns{ttl: ttl, pause: pause, release: release, report: report}
}

func (r *returns) add(key, id string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.open) >= maxDoubtful {
		r.report(errTooMany)
		return
	}
	r.open = append(r.open, doubtful{key: key, id: id, until: time.Now().Add(r.ttl)})
	if !r.running {
		r.running = true
		go r.run()
	}
}

func (r *returns) run() {
	for {
		r.mutex.Lock()
		round := r.open
		r.open = nil
		if len(round) == 0 {
			r.running = false
			r.mutex.Unlock()
			return
		}
		r.mutex.Unlock()
		left := r.once(round)
		r.mutex.Lock()
		r.open = append(left, r.open...)
		r.mutex.Unlock()
		time.Sleep(r.pause)
	}
}

// once tries all, and says which are still open. A server that is away is asked once a round.
func (r *returns) once(round []doubtful) (left []doubtful) {
	away := false
	for _, one := range round {
		if time.Now().After(one.until) {
			continue
		}
		if !away {
			released, err := r.release(context.Background(), one.key, []string{one.id})
			away = err != nil
			if err == nil {
				one.answered++
			}
			if released > 0 || one.answered > 1 {
				continue
			}
		}
		left = append(left, one)
	}
	return left
}
