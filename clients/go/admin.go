package ratelimit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Admin is for administrators and dashboards: policies, deny lists, statistics, and what a key holds. Unlike a hit its
// calls answer an error where the server could not be asked. In a cluster all primaries are asked.
type Admin struct {
	client  *Client
	timeout time.Duration
}

// Admin makes one. A call takes no longer than timeout, a second where it is 0.
func (c *Client) Admin(timeout time.Duration) *Admin {
	if timeout <= 0 {
		timeout = time.Second
	}
	return &Admin{c, timeout}
}

// Leases is the algorithm of a leaser's policies.
const Leases Algorithm = "LEASE"

// Policy is limits under a name, which replace those of the calls that name it. Of a lease Limit.Window is the TTL.
type Policy struct {
	Algorithm Algorithm
	Limits    []Limit
}

// PolicyState is a policy as it is in force, without limits where only a shadow stands.
type PolicyState struct {
	Policy
	// EndsAfter is what is left of a policy with a TTL, and Lasting what is back when it ends; nil where there is nothing.
	EndsAfter time.Duration
	Lasting   *Policy
	// Shadow is one that is tried beside it, and what is left of it: judged and counted, and never binding.
	Shadow          *Policy
	ShadowEndsAfter time.Duration
	// Mismatches is how many hits of another algorithm have passed it over since the server began.
	Mismatches int64
}

func (p Policy) words() ([]any, error) {
	if p.Algorithm != Leases {
		options := Options{Algorithm: p.Algorithm, Limits: p.Limits}
		words, _, err := options.words()
		return append([]any{string(p.Algorithm)}, words...), err
	}
	if len(p.Limits) != 1 || p.Limits[0].Units < 0 || p.Limits[0].Units > maxCount {
		return nil, fmt.Errorf("ratelimit: Limits: expected one of a lease, 0 to 2^53 - 1 units, got %v", p.Limits)
	}
	return []any{string(Leases), p.Limits[0].Units, p.Limits[0].Window}, checkDuration("Limits[0].Window", p.Limits[0].Window)
}

// SetPolicy sets a policy for all clients from the next hit on. With a ttl, such as "1h", it stands in front of the
// lasting one of that name, which is back when it ends; "" is a lasting one.
func (a *Admin) SetPolicy(ctx context.Context, name string, policy Policy, ttl string) error {
	return a.putPolicy(ctx, "SET", name, policy, ttl)
}

// ShadowPolicy tries a policy beside the one of that name: judged and counted at every hit, and never binding. Not of leases.
func (a *Admin) ShadowPolicy(ctx context.Context, name string, policy Policy, ttl string) error {
	return a.putPolicy(ctx, "SHADOW", name, policy, ttl)
}

// EndShadow reports whether one was tried.
func (a *Admin) EndShadow(ctx context.Context, name string) (bool, error) {
	ended, err := a.count(ctx, "RL.POLICY", "SHADOW", name, "OFF")
	return ended == 1, err
}

func (a *Admin) putPolicy(ctx context.Context, verb, name string, policy Policy, ttl string) error {
	words, err := policy.words()
	if err != nil {
		return err
	}
	if ttl != "" {
		if err := checkDuration("ttl", ttl); err != nil {
			return err
		}
		words = append(words, "TTL", ttl)
	}
	_, err = a.each(ctx, append([]any{"RL.POLICY", verb, name}, words...)...)
	return err
}

// Policy is nil where there is none of that name.
func (a *Admin) Policy(ctx context.Context, name string) (*PolicyState, error) {
	replies, err := a.each(ctx, "RL.POLICY", "GET", name)
	if err != nil || replies[0] == nil {
		return nil, err
	}
	return readPolicy(replies[0])
}

// Policies are all of them, by name.
func (a *Admin) Policies(ctx context.Context) (map[string]PolicyState, error) {
	replies, err := a.each(ctx, "RL.POLICY", "LIST")
	if err != nil {
		return nil, err
	}
	each, err := pairs(replies[0])
	if err != nil {
		return nil, err
	}
	policies := make(map[string]PolicyState, len(each))
	for _, one := range each {
		policy, err := readPolicy(one.value)
		if err != nil {
			return nil, err
		}
		policies[one.name] = *policy
	}
	return policies, nil
}

// DeletePolicies reports how many there were.
func (a *Admin) DeletePolicies(ctx context.Context, names ...string) (int64, error) {
	return a.count(ctx, append([]any{"RL.POLICY", "DEL"}, anys(names)...)...)
}

// Deny adds addresses, networks, or any text to a list, for good where ttl is "". It reports how many are new.
func (a *Admin) Deny(ctx context.Context, list, ttl string, values ...string) (int64, error) {
	words := append([]any{"RL.DENY", "ADD", list}, anys(values)...)
	if ttl != "" {
		if err := checkDuration("ttl", ttl); err != nil {
			return 0, err
		}
		words = append(words, "TTL", ttl)
	}
	return a.count(ctx, words...)
}

// Undeny reports how many there were.
func (a *Admin) Undeny(ctx context.Context, list string, values ...string) (int64, error) {
	return a.count(ctx, append([]any{"RL.DENY", "DEL", list}, anys(values)...)...)
}

// AreDenied reports of each value whether it is on the list, by a network too.
func (a *Admin) AreDenied(ctx context.Context, list string, values ...string) ([]bool, error) {
	replies, err := a.each(ctx, append([]any{"RL.DENY", "HAS", list}, anys(values)...)...)
	if err != nil {
		return nil, err
	}
	found, err := integers(replies[0], len(values))
	denied := make([]bool, len(found))
	for i, one := range found {
		denied[i] = one == 1
	}
	return denied, err
}

// DenyEntries walks a list: each value, and what is left of its TTL, negative where it has none. False ends it.
func (a *Admin) DenyEntries(ctx context.Context, list string, each func(value string, endsAfter time.Duration) bool) error {
	for cursor := "0"; ; {
		replies, err := a.each(ctx, "RL.DENY", "ENTRIES", list, cursor, "COUNT", 1000)
		if err != nil {
			return err
		}
		page, ok := replies[0].([]any)
		if !ok || len(page) != 2 {
			return unread(replies[0])
		}
		entries, err := pairs(page[1])
		if err != nil {
			return err
		}
		for _, entry := range entries {
			left, ok := entry.value.(int64)
			if !ok {
				return unread(replies[0])
			}
			if !each(entry.name, time.Duration(left)*time.Millisecond) {
				return nil
			}
		}
		if cursor = fmt.Sprint(page[0]); cursor == "0" {
			return nil
		}
	}
}

// DenyLists are how many values each list has.
func (a *Admin) DenyLists(ctx context.Context) (map[string]int64, error) {
	replies, err := a.each(ctx, "RL.DENY", "LIST")
	if err != nil {
		return nil, err
	}
	each, err := pairs(replies[0])
	lists := make(map[string]int64, len(each))
	for _, one := range each {
		lists[one.name], _ = one.value.(int64)
	}
	return lists, err
}

// RenameDenyList renames a list.
func (a *Admin) RenameDenyList(ctx context.Context, list, newName string) error {
	_, err := a.each(ctx, "RL.DENY", "RENAME", list, newName)
	return err
}

// DropDenyList reports whether there was one.
func (a *Admin) DropDenyList(ctx context.Context, list string) (bool, error) {
	dropped, err := a.count(ctx, "RL.DENY", "DROP", list)
	return dropped == 1, err
}

// Counts are what was allowed and denied since the counting began. ShadowDenied was let through, and a policy that is tried
// would have denied it.
type Counts struct{ Allowed, Denied, DenyListed, ShadowDenied int64 }

// Top is one of those that were counted most: at most Error of its Count are not its own.
type Top struct {
	ID           string
	Count, Error int64
}

// Recent is one of those that were counted most, and were counted in this hour of the clock or in the one before it: how often
// in each.
type Recent struct {
	ID                   string
	ThisHour, HourBefore int64
}

// Period is what was counted in an hour, or in a day.
type Period struct {
	Start time.Time
	Counts
}

// Statistics are those of a name, or the total, whose lists are of the hits that named no policy.
type Statistics struct {
	Counts
	MostAllowed, MostDenied, MostShadowDenied []Top
	// Who of them was lately, most first. Empty where the server, of 0.1, does not tell.
	RecentlyAllowed, RecentlyDenied, RecentlyShadowDenied []Recent
	// The last 8 days by the hour, and the last 90 days.
	Hours, Days []Period
	// Of the total alone: each algorithm, the names that have statistics of their own, and the values most deny-listed,
	// which are told only to who may run RL.DENY ENTRIES.
	Algorithms     map[Algorithm]Counts
	Names          []string
	MostDenyListed []Top
	// RecentlyDenyListed is told to the same.
	RecentlyDenyListed []Recent
}

// Statistics of a name, or the total where it is "". Of a cluster, the sum. Nil where nothing was counted under that name.
func (a *Admin) Statistics(ctx context.Context, name string) (*Statistics, error) {
	words := []any{"RL.STATS", "GET"}
	if name != "" {
		words = append(words, name)
	}
	replies, err := a.each(ctx, words...)
	if err != nil {
		return nil, err
	}
	return readStatistics(replies)
}

// ResetStatistics forgets what was counted under a name, or everything where it is "".
func (a *Admin) ResetStatistics(ctx context.Context, name string) error {
	words := []any{"RL.STATS", "RESET"}
	if name != "" {
		words = append(words, name)
	}
	_, err := a.each(ctx, words...)
	return err
}

// KeyLimit is what a key holds of one limit. Of a lease Window is the TTL.
type KeyLimit struct {
	Limit
	Used, Remaining int64
	ResetAfter      time.Duration
}

// HeldLease is a lease that a key holds.
type HeldLease struct {
	ID        string
	Cost      int64
	EndsAfter time.Duration
}

// KeyInfo is what a key holds.
type KeyInfo struct {
	Algorithm Algorithm
	Limits    []KeyLimit
	Leases    []HeldLease
	// BlockedFor is 0 where it is not blocked.
	BlockedFor time.Duration
}

// Info is what a key holds, nil where there is no such key. It is the whole key, with a limiter's prefix.
func (a *Admin) Info(ctx context.Context, key string) (*KeyInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	reply, err := a.client.do(ctx, []any{"RL.INFO", key}, 1)
	if err == redis.Nil || err == nil && reply == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readInfo(reply)
}

// each asks all primaries; their replies are as many as they are.
func (a *Admin) each(ctx context.Context, words ...any) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var mutex sync.Mutex
	var replies []any
	one := func(ctx context.Context, node interface {
		Process(context.Context, redis.Cmder) error
	}) error {
		cmd := redis.NewCmd(ctx, words...)
		err := told(node.Process(ctx, cmd))
		if err != nil && err != redis.Nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		replies = append(replies, cmd.Val())
		return nil
	}
	ofNode := func(ctx context.Context, node *redis.Client) error { return one(ctx, node) }
	var err error
	switch client := a.client.redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, ofNode)
	case *redis.Ring:
		err = client.ForEachShard(ctx, ofNode)
	default:
		err = one(ctx, client)
	}
	if err == nil && len(replies) == 0 {
		err = fmt.Errorf("ratelimit: no node could be asked")
	}
	return replies, err
}

// count is the largest that a primary answers: all of them hold the same.
func (a *Admin) count(ctx context.Context, words ...any) (int64, error) {
	replies, err := a.each(ctx, words...)
	if err != nil {
		return 0, err
	}
	counts, err := integers(replies, len(replies))
	if err != nil {
		return 0, err
	}
	return slices.Max(counts), nil
}
