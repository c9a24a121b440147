package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Ask is one key of a call on several.
type Ask struct {
	Limiter *Limiter
	Key     string
	// Cost is 1 where it is 0.
	Cost int64
}

// AllVerdict is the verdict on several keys.
type AllVerdict struct {
	Numbers
	// Keys has one for each key, in the order given: whether this key would let it through.
	Keys []Verdict
	// Binding is the index of the key that binds; -1 where a deny list or an error decided.
	Binding   int
	ChargedAt int64
	// Repeated: every key had a call of the same ID before, and none was charged.
	Repeated bool
	Denied   string
	Err      error
}

// Verdict is one of all keys, as SetHeaders takes it: its Limits are those of each.
func (v AllVerdict) Verdict() Verdict {
	one := Verdict{Numbers: v.Numbers, ChargedAt: v.ChargedAt, Repeated: v.Repeated, Denied: v.Denied, Err: v.Err}
	for _, key := range v.Keys {
		one.Limits = append(one.Limits, key.Limits...)
		one.Taken += key.Taken
	}
	return one
}

// HitAll counts a hit on 1 to 16 keys with one command (RL.ALL): charged to all of them or to none. In a cluster, and on a
// Ring, they share a hash tag. Options that are the call's: Force, At, Stamp, ID, Next, Deny. The first limiter says how long it may take and
// what is answered where the server could not be asked: closed, where any of the limiters is.
func (c *Client) HitAll(ctx context.Context, asks []Ask, options ...Option) AllVerdict {
	return c.all(ctx, "RL.ALL", asks, options)
}

// PeekAll says what HitAll would be answered now. It changes nothing.
func (c *Client) PeekAll(ctx context.Context, asks []Ask, options ...Option) AllVerdict {
	return c.all(ctx, "RL.PEEKALL", asks, options)
}

func (c *Client) all(ctx context.Context, command string, asks []Ask, options []Option) AllVerdict {
	if len(asks) == 0 {
		return AllVerdict{Binding: -1, Err: errors.New("ratelimit: no key was given")}
	}
	began := time.Now()
	reach := asks[0].Limiter.reach
	for _, ask := range asks {
		reach.open = reach.open && ask.Limiter.open
	}
	verdict, err := c.tryAll(ctx, reach.timeout, command, asks, options)
	one := reach.answer(Verdict{Numbers: verdict.Numbers}, err, began)
	if err != nil {
		return AllVerdict{Numbers: one.Numbers, Binding: -1, Err: err}
	}
	return verdict
}

func (c *Client) tryAll(ctx context.Context, timeout time.Duration, command string, asks []Ask, options []Option) (AllVerdict, error) {
	call := hit{cost: 1}
	for _, option := range options {
		option(&call)
	}
	if err := call.check(); err != nil {
		return AllVerdict{}, err
	}
	if call.min != 0 {
		return AllVerdict{}, errors.New("ratelimit: Min does not go with several keys")
	}
	if call.retry != 0 {
		return AllVerdict{}, errors.New("ratelimit: Retry does not go with several keys: with the same ID make the call again")
	}
	words := []any{command, len(asks)}
	for _, ask := range asks {
		if ask.Key == "" {
			return AllVerdict{}, ErrNoKey
		}
		words = append(words, ask.Limiter.prefix+ask.Key)
	}
	each := make([]asked, len(asks))
	for i, ask := range asks {
		one := hit{cost: ask.Cost} // NEXT is the call's word, and each key's reply has its number
		if one.cost == 0 {
			one.cost = 1
		}
		words = append(append(words, string(ask.Limiter.algorithm)), ask.Limiter.limits...)
		words = append(one.words(words), ask.Limiter.tail...)
		each[i] = ask.Limiter.asked(&one)
		each[i].next = call.next
	}
	if _, isRing := c.redis.(*redis.Ring); isRing { // it would charge the others where nobody looks for them
		for _, ask := range asks[1:] {
			if !shareTag(asks[0].Limiter.prefix+asks[0].Key, ask.Limiter.prefix+ask.Key) {
				return AllVerdict{}, errors.New("ratelimit: the keys of one call on a Ring: expected a hash tag that they share, such as {acme}:rpm and {acme}:tpm")
			}
		}
	}
	call.cost = 1
	words = call.denyWords(call.words(words))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	reply, err := c.do(ctx, words, 2)
	if err != nil {
		return AllVerdict{}, err
	}
	return readAll(reply, each, &call)
}

func readAll(reply any, each []asked, call *hit) (AllVerdict, error) {
	own, rest, err := numbers(reply, call.next)
	if err != nil {
		return AllVerdict{}, err
	}
	if len(rest) < 2 {
		return AllVerdict{}, unread(reply)
	}
	keys, isList := rest[0].([]any)
	binding, isNumber := rest[1].(int64)
	if !isList || !isNumber || len(keys) != len(each) {
		return AllVerdict{}, unread(reply)
	}
	v := AllVerdict{Numbers: own, Binding: int(binding) - 1}
	rest = rest[2:]
	if call.id != nil {
		if v.Repeated, rest, err = repeated(rest); err != nil {
			return AllVerdict{}, unread(reply)
		}
	}
	if call.stamp {
		at, ok := int64(0), false
		if len(rest) > 0 {
			at, ok = rest[0].(int64)
		}
		if !ok {
			return AllVerdict{}, unread(reply)
		}
		v.ChargedAt = at
	}
	if call.list != "" {
		if len(rest) == 0 {
			return AllVerdict{}, unread(reply)
		}
		v.Denied, _ = rest[len(rest)-1].(string)
	}
	for i, key := range keys {
		one, err := readVerdict(key, each[i])
		if err != nil {
			return AllVerdict{}, fmt.Errorf("key %d: %w", i+1, err)
		}
		one.Taken = 0 // all or nothing
		if own.Allowed || call.force && v.Denied == "" {
			one.Taken = each[i].cost
		}
		v.Keys = append(v.Keys, one)
	}
	return v, nil
}
