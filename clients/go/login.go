package ratelimit

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// LoginOptions are what a login is limited by: it has two callers, the address that it comes from, and the account that it
// is for.
type LoginOptions struct {
	// PerAddress is for who tries many accounts, PerAccount for who tries one from many addresses. Make PerAccount the wider
	// one: whoever knows an e-mail address can use it up. Let both be Closed: guessing must not be free while Redis is away.
	//
	// In a cluster, and on a Ring, give both prefixes one hash tag, "{login}:address" and "{login}:account": then one command
	// charges both. Without it the two keys are in different places, and each is charged on its own: first the address, which
	// is given its try back where the account's is denied. Meanwhile another try of the address may be denied too early.
	PerAddress, PerAccount *Limiter
	// Prefixes and Accounts are as for their own ByAddress and ByAccount: how much of an address is one caller, and the secret.
	Prefixes Prefixes
	Accounts Accounts
}

// Login limits logins by their address and their account. It is safe for concurrent use.
type Login struct {
	client *Client
	LoginOptions
	isOneCommand bool
}

// Login makes one. An error names the option that is wrong.
func (c *Client) Login(options LoginOptions) (*Login, error) {
	for _, one := range []struct {
		name string
		is   *Limiter
	}{{"PerAddress", options.PerAddress}, {"PerAccount", options.PerAccount}} {
		if one.is == nil || one.is.client != c {
			return nil, fmt.Errorf("ratelimit: %s: expected a limiter of this client", one.name)
		}
	}
	return &Login{c, options, !c.isSpread() || shareTag(options.PerAddress.prefix, options.PerAccount.prefix)}, nil
}

// isSpread: where a key is depends on its hash tag.
func (c *Client) isSpread() bool {
	_, isOne := c.redis.(*redis.Client)
	return !isOne
}

// shareTag: the keys, or all that begin so, lie in one place.
func shareTag(first, second string) bool {
	tag := hashTag(first)
	return tag != "" && tag == hashTag(second)
}

// hashTag is what stands in a key's first braces, by which a cluster and a Ring find its place.
func hashTag(key string) string {
	_, behind, _ := strings.Cut(key, "{")
	tag, _, closed := strings.Cut(behind, "}")
	if !closed {
		return ""
	}
	return tag
}

// Credentials are who tries to log in. An account without an address, and an address that is none, are one caller each.
type Credentials struct {
	// Address is the caller's, as it arrives: ClientAddress finds it behind proxies.
	Address string
	// Email is that of the account.
	Email string
}

// Attempt is a try to log in, which was counted for both or for neither.
type Attempt struct {
	// Verdict has the address' in Keys[0], the account's in Keys[1].
	Verdict AllVerdict
	login   *Login
	charged []charge
}

// charge is what there is to give back of one key.
type charge struct {
	Ask
	at int64
}

// Hit counts a try. Never an error: the verdict has Err, and Allowed is what Unavailable of both limiters says.
func (l *Login) Hit(ctx context.Context, credentials Credentials) *Attempt {
	attempt := &Attempt{login: l}
	asks := []Ask{
		{Limiter: l.PerAddress, Key: l.Prefixes.ByAddress(credentials.Address)},
		{Limiter: l.PerAccount, Key: l.Accounts.ByAccount(credentials.Email)},
	}
	if !l.isOneCommand {
		attempt.one(ctx, asks[0], asks[1])
		return attempt
	}
	attempt.Verdict = l.client.HitAll(ctx, asks, Stamp(), Next())
	for _, ask := range asks {
		attempt.note(ask, attempt.Verdict.ChargedAt)
	}
	return attempt
}

func (a *Attempt) note(ask Ask, at int64) {
	if at > 0 { // else it was denied, or Redis was away: there is nothing to give back
		ask.Cost = -1
		a.charged = append(a.charged, charge{ask, at})
	}
}

// one is Hit of keys that share no place: one after the other, so that an address whose tries are used up charges no account.
func (a *Attempt) one(ctx context.Context, address, account Ask) {
	timeout := max(address.Limiter.timeout, account.Limiter.timeout)
	lasting, ended := within(context.WithoutCancel(ctx), timeout) // a caller who is gone is given its try back all the same
	defer ended()
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	first := address.Limiter.Hit(ctx, address.Key, Stamp(), Next())
	a.note(address, first.ChargedAt)
	if !first.Allowed {
		a.Verdict = both(first, account.Limiter.Peek(ctx, account.Key, Next()))
		return
	}
	second := account.Limiter.Hit(ctx, account.Key, Stamp(), Next())
	if !second.Allowed {
		a.GiveBack(lasting)
	}
	a.note(account, second.ChargedAt)
	a.Verdict = both(first, second)
}

// both is the verdict of two that were asked on their own: what denies binds, else what has less left.
func both(address, account Verdict) AllVerdict {
	v := AllVerdict{Keys: []Verdict{address, account}, Binding: -1}
	for i, one := range v.Keys {
		switch binds := v.Binding < 0 || v.Allowed && (!one.Allowed || one.Remaining < v.Remaining); {
		case one.Err != nil && v.Err == nil:
			v.Err = one.Err
		case one.Err == nil && binds:
			v.Numbers, v.Binding, v.Denied = one.Numbers, i, one.Denied
		}
	}
	if v.Err == nil || v.Binding >= 0 && !v.Allowed { // what one of them denies, it denies whatever the other one is
		v.Err = nil
		return v
	}
	v.Numbers, v.Binding = Numbers{Allowed: address.Allowed && account.Allowed}, -1
	if !v.Allowed {
		v.RetryAfter = max(address.RetryAfter, account.RetryAfter)
	}
	return v
}

// GiveBack gives both their try back, once the password was right; what was denied has none, and a second call gives nothing.
// It is not stopped by the context's cancellation.
func (a *Attempt) GiveBack(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	charged := a.charged
	a.charged = nil
	if a.login.isOneCommand && len(charged) > 0 {
		asks := make([]Ask, len(charged))
		for i, one := range charged {
			asks[i] = one.Ask
		}
		a.login.client.HitAll(ctx, asks, At(charged[0].at))
		return
	}
	for _, one := range charged {
		one.Limiter.Hit(ctx, one.Key, Cost(one.Cost), At(one.at))
	}
}
