package ratelimit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func anys(texts []string) []any {
	words := make([]any, len(texts))
	for i, text := range texts {
		words[i] = text
	}
	return words
}

type pair struct {
	name  string
	value any
}

// pairs of a map, as RESP2 and RESP3 have it.
func pairs(reply any) ([]pair, error) {
	switch values := reply.(type) {
	case nil:
		return nil, nil
	case map[any]any:
		all := make([]pair, 0, len(values))
		for name, value := range values {
			all = append(all, pair{fmt.Sprint(name), value})
		}
		return all, nil
	case []any:
		if len(values)%2 != 0 {
			return nil, unread(reply)
		}
		all := make([]pair, 0, len(values)/2)
		for i := 0; i < len(values); i += 2 {
			all = append(all, pair{fmt.Sprint(values[i]), values[i+1]})
		}
		return all, nil
	}
	return nil, unread(reply)
}

func fields(reply any) (map[string]any, error) {
	all, err := pairs(reply)
	found := make(map[string]any, len(all))
	for _, one := range all {
		found[one.name] = one.value
	}
	return found, err
}

// integers of a list, of which the first so many count.
func integers(reply any, count int) ([]int64, error) {
	values, ok := reply.([]any)
	if !ok || len(values) < count {
		return nil, unread(reply)
	}
	found := make([]int64, count)
	for i := range found {
		if found[i], ok = values[i].(int64); !ok {
			return nil, unread(reply)
		}
	}
	return found, nil
}

// readPolicy reads ["fixed", "30", "1d", "TTL", "5000ms", <the lasting one's, or nil>, "SHADOW", ["fixed", "20", "1d"],
// "MISMATCHES", 1]; a shadow's own TTL is followed by nothing, and where only a shadow stands it begins with SHADOW.
func readPolicy(reply any) (*PolicyState, error) {
	words, ok := reply.([]any)
	if !ok || len(words) < 2 {
		return nil, unread(reply)
	}
	at := func(i int) string {
		if i >= len(words) {
			return ""
		}
		return fmt.Sprint(words[i])
	}
	state := &PolicyState{}
	i, step := 0, 2
	if at(0) != "SHADOW" {
		state.Algorithm = Algorithm(strings.ToUpper(at(0)))
		i = 1
	}
	if state.Algorithm == Bucket {
		step = 3
	}
	for ; at(i) != "" && at(i)[0] >= '0' && at(i)[0] <= '9'; i += step {
		limit := Limit{Window: at(i + step - 1)}
		limit.Units, _ = strconv.ParseInt(at(i), 10, 64)
		if step == 3 {
			limit.Refill, _ = strconv.ParseInt(at(i+1), 10, 64)
		}
		state.Limits = append(state.Limits, limit)
	}
	for ; i < len(words); i += 2 {
		switch at(i) {
		case "TTL":
			left, err := time.ParseDuration(at(i + 1))
			if err != nil {
				return nil, unread(reply)
			}
			state.EndsAfter = left
			if i++; i+1 < len(words) && words[i+1] != nil {
				lasting, err := readPolicy(words[i+1])
				if err != nil {
					return nil, err
				}
				state.Lasting = &lasting.Policy
			}
		case "SHADOW":
			shadow, err := readPolicy(words[i+1])
			if err != nil {
				return nil, err
			}
			state.Shadow, state.ShadowEndsAfter = &shadow.Policy, shadow.EndsAfter
		case "MISMATCHES":
			state.Mismatches, _ = words[i+1].(int64)
		}
	}
	return state, nil
}

func (c *Counts) add(found map[string]any) {
	for name, to := range map[string]*int64{"allowed": &c.Allowed, "denied": &c.Denied, "deny_listed": &c.DenyListed, "shadow_denied": &c.ShadowDenied} {
		count, _ := found[name].(int64)
		*to += count
	}
}

func readStatistics(replies []any) (*Statistics, error) {
	var found []map[string]any
	for _, reply := range replies {
		if reply == nil {
			continue
		}
		one, err := fields(reply)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, nil
	}
	all := &Statistics{}
	names := map[string]bool{}
	for _, one := range found {
		all.add(one)
		algorithms, err := pairs(one["algorithms"])
		if err != nil {
			return nil, err
		}
		for _, algorithm := range algorithms {
			counts, err := fields(algorithm.value)
			if err != nil {
				return nil, err
			}
			if all.Algorithms == nil {
				all.Algorithms = map[Algorithm]Counts{}
			}
			name := Algorithm(strings.ToUpper(algorithm.name))
			sum := all.Algorithms[name]
			sum.add(counts)
			all.Algorithms[name] = sum
		}
		given, _ := one["names"].([]any)
		for _, name := range given {
			if text := fmt.Sprint(name); !names[text] {
				names[text] = true
				all.Names = append(all.Names, text)
			}
		}
	}
	slices.Sort(all.Names)
	for name, to := range map[string]*[]Period{"hours": &all.Hours, "days": &all.Days} {
		periods, err := readPeriods(found, name)
		if err != nil {
			return nil, err
		}
		*to = periods
	}
	for name, to := range map[string]*[]Top{"most_allowed": &all.MostAllowed, "most_denied": &all.MostDenied, "most_shadow_denied": &all.MostShadowDenied, "most_deny_listed": &all.MostDenyListed} {
		rows, err := readRows(found, name, func(one row) int64 { return one.first })
		if err != nil {
			return nil, err
		}
		for _, one := range rows {
			*to = append(*to, Top{one.id, one.first, one.second})
		}
	}
	for name, to := range map[string]*[]Recent{"recently_allowed": &all.RecentlyAllowed, "recently_denied": &all.RecentlyDenied, "recently_shadow_denied": &all.RecentlyShadowDenied, "recently_deny_listed": &all.RecentlyDenyListed} {
		rows, err := readRows(found, name, func(one row) int64 { return one.first + one.second })
		if err != nil {
			return nil, err
		}
		for _, one := range rows {
			*to = append(*to, Recent{one.id, one.first, one.second})
		}
	}
	return all, nil
}

func readPeriods(found []map[string]any, name string) ([]Period, error) {
	sums := map[int64]*Counts{}
	for _, one := range found {
		rows, _ := one[name].([]any)
		for _, row := range rows {
			values, _ := row.([]any)
			n, err := integers(row, max(4, min(5, len(values)))) // shadow_denied is not in those of 0.1
			if err != nil {
				return nil, err
			}
			n = append(n, 0)
			if sums[n[0]] == nil {
				sums[n[0]] = &Counts{}
			}
			sums[n[0]].add(map[string]any{"allowed": n[1], "denied": n[2], "deny_listed": n[3], "shadow_denied": n[4]})
		}
	}
	var periods []Period
	for start, counts := range sums {
		periods = append(periods, Period{time.Unix(start, 0), *counts})
	}
	slices.SortFunc(periods, func(a, b Period) int { return a.Start.Compare(b.Start) })
	return periods, nil
}

// row is [id, first, second]; of a cluster's primaries, the sums.
type row struct {
	id            string
	first, second int64
}

// readRows of a list, of which an older server may have none: those that weigh most are first.
func readRows(found []map[string]any, name string, weight func(row) int64) ([]row, error) {
	sums := map[string]row{}
	for _, one := range found {
		items, _ := one[name].([]any)
		for _, item := range items {
			values, ok := item.([]any)
			if !ok || len(values) < 3 {
				return nil, unread(item)
			}
			n, err := integers(values[1:], 2)
			if err != nil {
				return nil, err
			}
			id := fmt.Sprint(values[0])
			sums[id] = row{id, sums[id].first + n[0], sums[id].second + n[1]}
		}
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b row) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), strings.Compare(a.id, b.id))
	}), nil
}

func readInfo(reply any) (*KeyInfo, error) {
	found, err := fields(reply)
	if err != nil {
		return nil, err
	}
	number := func(found map[string]any, name string) int64 {
		n, _ := found[name].(int64)
		return n
	}
	ms := func(found map[string]any, name string) time.Duration {
		return time.Duration(number(found, name)) * time.Millisecond
	}
	info := &KeyInfo{Algorithm: Algorithm(strings.ToUpper(fmt.Sprint(found["algorithm"])))}
	limits, _ := found["limits"].([]any)
	for _, limit := range limits {
		one, err := fields(limit)
		if err != nil {
			return nil, err
		}
		state := KeyLimit{Limit{Units: number(one, "limit"), Refill: number(one, "refill")}, number(one, "used"), number(one, "remaining"), ms(one, "reset_after_ms")}
		for _, name := range []string{"window", "interval", "ttl"} {
			if text, ok := one[name].(string); ok {
				state.Window = text
			}
		}
		info.Limits = append(info.Limits, state)
	}
	leases, _ := found["leases"].([]any)
	for _, lease := range leases {
		one, err := fields(lease)
		if err != nil {
			return nil, err
		}
		info.Leases = append(info.Leases, HeldLease{fmt.Sprint(one["id"]), number(one, "cost"), ms(one, "ends_after_ms")})
	}
	block, err := fields(found["block"])
	info.BlockedFor = ms(block, "left_ms")
	return info, err
}
