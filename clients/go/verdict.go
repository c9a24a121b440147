package ratelimit

import (
	"errors"
	"fmt"
	"time"
)

// Numbers are what is said of one limit.
type Numbers struct {
	Allowed bool
	// Limit is the limit in force; a bucket's capacity.
	Limit, Remaining int64
	// RetryAfter is 0 where allowed, negative where this can never be allowed. Where a wait was reserved: how long to
	// wait before acting.
	RetryAfter time.Duration
	// ResetAfter is until nothing is used any more.
	ResetAfter time.Duration
	// NextAfter is until more remains than Remaining says, 0 where nothing is used. Negative where it never will be more,
	// and where Next was not asked for.
	NextAfter time.Duration
}

// LimitState is one limit of a limiter.
type LimitState struct {
	Numbers
	// Name is for the RateLimit fields: the limiter's, with the window where there are several.
	Name string
	// WindowSeconds is 0 for a calendar's window, and where a policy of the server may have set another.
	WindowSeconds int64
}

// Verdict is what the server answered. The numbers are those of the limit that binds.
type Verdict struct {
	Numbers
	// Limits has one for each limit, in the order given.
	Limits []LimitState
	// Taken is what was charged: less than the cost where Min was given.
	Taken int64
	// ChargedAt is when, in Unix milliseconds of the server's clock; 0 where nothing was. Only where Stamp was set.
	ChargedAt int64
	// Repeated: a hit of the same ID was charged before, and this one was not.
	Repeated bool
	// Denied is the value that was found in the deny list.
	Denied string
	// Err: the server could not be asked, or it refused. Allowed is what Options.Unavailable says, and the numbers are 0.
	Err error
}

// described is what is known of a limit before the server is asked.
type described struct {
	name          string
	windowSeconds int64
}

// asked is what a reply answers.
type asked struct {
	described            []described
	name                 string
	cost                 int64
	force, id, min, deny bool
	stamp, next          bool
}

var errUnread = errors.New("not a reply of RL.*")

func unread(reply any) error { return fmt.Errorf("%w: %v", errUnread, reply) }

// numbers of a limit, of which there is one more with next, and what follows them.
func numbers(reply any, next bool) (Numbers, []any, error) {
	values, ok := reply.([]any)
	count := countOf(next)
	if !ok || len(values) < count {
		return Numbers{}, nil, unread(reply)
	}
	var n [6]int64
	for i := range count {
		if n[i], ok = values[i].(int64); !ok {
			return Numbers{}, nil, unread(reply)
		}
	}
	return numbersOf(n[:count]), values[count:], nil
}

func countOf(next bool) int {
	if next {
		return 6
	}
	return 5
}

func numbersOf(n []int64) Numbers {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	own := Numbers{n[0] == 1, n[1], n[2], ms(n[3]), ms(n[4]), ms(-1)}
	if len(n) > 5 {
		own.NextAfter = ms(n[5])
	}
	return own
}

// readFlat is readVerdict of a hit without options.
func readFlat(reply []int64, a asked) (Verdict, error) {
	if len(reply) != countOf(a.next) {
		return Verdict{}, unread(reply)
	}
	own := numbersOf(reply)
	v := Verdict{Numbers: own, Limits: []LimitState{a.state(own, 0, 1)}}
	if own.Allowed {
		v.Taken = a.cost
	}
	return v, nil
}

func readVerdict(reply any, a asked) (Verdict, error) {
	own, rest, err := numbers(reply, a.next)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Numbers: own}
	var each []any
	if len(rest) > 0 {
		if several, ok := rest[0].([]any); ok {
			each, rest = several, rest[1:]
		}
	}
	if each == nil {
		v.Limits = []LimitState{a.state(own, 0, 1)}
	}
	for i, one := range each {
		state, _, err := numbers(one, a.next)
		if err != nil {
			return Verdict{}, err
		}
		v.Limits = append(v.Limits, a.state(state, i, len(each)))
	}
	if a.id {
		if v.Repeated, rest, err = repeated(rest); err != nil {
			return Verdict{}, unread(reply)
		}
	}
	if a.deny {
		if len(rest) == 0 {
			return Verdict{}, unread(reply)
		}
		v.Denied, _ = rest[len(rest)-1].(string)
	}
	if a.min {
		if len(rest) == 0 {
			return Verdict{}, unread(reply)
		}
		taken, ok := rest[0].(int64)
		if !ok {
			return Verdict{}, unread(reply)
		}
		v.Taken, rest = taken, rest[1:]
	} else if own.Allowed || a.force && v.Denied == "" {
		v.Taken = a.cost
	}
	if a.stamp {
		if len(rest) == 0 {
			return Verdict{}, unread(reply)
		}
		at, ok := rest[0].(int64)
		if !ok {
			return Verdict{}, unread(reply)
		}
		v.ChargedAt = at
	}
	return v, nil
}

// repeated, which stands before what else was asked for.
func repeated(rest []any) (bool, []any, error) {
	if len(rest) > 0 {
		if n, ok := rest[0].(int64); ok {
			return n == 1, rest[1:], nil
		}
	}
	return false, nil, unread(rest)
}

// state of one of so many limits. A policy may have another number of them than the call: then nothing is known of each
// but its place.
func (a *asked) state(n Numbers, index, count int) LimitState {
	if count == len(a.described) {
		return LimitState{n, a.described[index].name, a.described[index].windowSeconds}
	}
	if count == 1 {
		return LimitState{Numbers: n, Name: a.name}
	}
	return LimitState{Numbers: n, Name: fmt.Sprintf("%s-%d", a.name, index+1)}
}
