package ratelimit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxRetries   = 10
	firstBackoff = 25 * time.Millisecond
	maxBackoff   = time.Second
)

// Retry makes a hit again, up to so many times (10 at most) and within Options.Timeout, where the connection broke or the
// server could not (LOADING, READONLY). It needs an ID: without one a hit whose reply was lost would be charged again. A
// server that is silent has until the timeout, and what it refuses is not asked again. Only the last failure is told.
func Retry(times int) Option { return func(h *hit) { h.retry = times } }

// sendAgain sends what has an ID as often as Retry says.
func (l *Limiter) sendAgain(ctx context.Context, key string, command []any, h hit) (Verdict, error) {
	backoff := firstBackoff
	for left := h.retry; ; left-- {
		verdict, err := l.send(ctx, key, command, h)
		if err == nil || left <= 0 || refused(err) || sleep(ctx, backoff) != nil {
			return verdict, err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// refusals are errors that another try does not mend: somebody has to.
var refusals = []string{"ERR", "WRONGTYPE", "CROSSSLOT", "NOPERM", "NOAUTH", "WRONGPASS", "EXECABORT", "MOVED"}

func refused(err error) bool {
	if errors.Is(err, errUnread) {
		return true
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	return slices.Contains(refusals, code) && !strings.HasPrefix(reply.Error(), "ERR max number of clients")
}
