package ratelimit

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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

// The reasons why there was no answer.
const (
	// TimedOut: no answer within the timeout.
	TimedOut = "timeout"
	// Disconnected: there is no connection, or it broke.
	Disconnected = "connection"
	// NotNow: the server is there and cannot: it is loading, its memory is full, it is a replica.
	NotNow = "server"
	// Refused: it does not understand or does not permit, or what answers is no such server. Somebody has to mend that.
	Refused = "refused"
)

// ReasonOf an error that OnError is told, or that a verdict has; "" of none. For metrics, as Verdict.Outcome.
func ReasonOf(err error) string {
	var reply redis.Error
	var network net.Error
	switch {
	case err == nil:
		return ""
	case refused(err), errors.Is(err, redis.Nil), unparsed(err), strings.HasPrefix(err.Error(), "ratelimit: "): // also a call's own mistake
		return Refused
	case errors.As(err, &reply):
		return NotNow
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout), errors.As(err, &network) && network.Timeout():
		return TimedOut
	}
	return Disconnected
}

// unparsed: what go-redis says of a reply of another kind than the command's.
func unparsed(err error) bool {
	var number *strconv.NumError
	return errors.As(err, &number) || strings.HasPrefix(err.Error(), "redis: can't parse")
}

// Outcome is "allowed" or "denied" where the server answered, "open" or "closed" where Options.Unavailable did: with the
// limiter's name and ReasonOf(v.Err) the labels of ratelimit_hits_total, as the packages for other languages count.
func (v Verdict) Outcome() string {
	switch {
	case v.Err == nil && v.Allowed:
		return "allowed"
	case v.Err == nil:
		return "denied"
	case v.Allowed:
		return "open"
	}
	return "closed"
}
