// Policies, deny lists, statistics and what a key holds, through clients/go, on one server and on a cluster.
package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

func TestAdministration(t *testing.T) {
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + environment(t, "RATELIMIT_CLUSTER_PORT")}})
	defer cluster.Close()
	for kind, client := range map[string]redis.UniversalClient{"RESP2": client(t, 2), "RESP3": client(t, 3), "cluster": cluster} {
		t.Run(kind, func(t *testing.T) {
			own := fmt.Sprintf("go-admin:%s:%d", kind, time.Now().UnixNano())
			admin := limits(t, client).Admin(time.Minute)
			t.Run("policies", func(t *testing.T) { policies(t, admin, client, own, kind == "cluster") })
			t.Run("policies that are tried", func(t *testing.T) { shadows(t, admin, client, own+":tried") })
			t.Run("deny lists", func(t *testing.T) { denyLists(t, admin, client, own) })
			t.Run("statistics", func(t *testing.T) { statistics(t, admin, client, own) })
			t.Run("what a key holds", func(t *testing.T) { keyInfo(t, admin, client, own) })
		})
	}
}

// must is the answer of a call that may fail.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v is not %+v", got, want)
	}
}

func policies(t *testing.T, admin *ratelimit.Admin, client redis.UniversalClient, own string, isCluster bool) {
	lasting := ratelimit.Policy{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 30, Window: "1d"}, {Units: 5, Window: "1h"}}}
	bucket := ratelimit.Policy{Algorithm: ratelimit.Bucket, Limits: []ratelimit.Limit{{Units: 10, Refill: 2, Window: "1s"}}}
	lease := ratelimit.Policy{Algorithm: ratelimit.Leases, Limits: []ratelimit.Limit{{Units: 3, Window: "30s"}}}
	for name, policy := range map[string]ratelimit.Policy{own: lasting, own + ":bucket": bucket, own + ":lease": lease} {
		if state := must(admin.Policy(background, name)); state != nil {
			t.Errorf("%+v", state)
		}
		if err := admin.SetPolicy(background, name, policy, ""); err != nil {
			t.Fatal(err)
		}
		equal(t, *must(admin.Policy(background, name)), ratelimit.PolicyState{Policy: policy})
	}
	api := limiter(t, client, ratelimit.Options{Policies: []string{own}})
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} { // every node holds it
		equal(t, len(api.Hit(background, own+key).Limits), 2)
	}
	hour := ratelimit.Policy{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 1, Window: "1h"}}}
	if err := admin.SetPolicy(background, own, hour, "1h"); err != nil {
		t.Fatal(err)
	}
	state := must(admin.Policies(background))[own]
	equal(t, state.Policy, hour)
	equal(t, *state.Lasting, lasting)
	if state.EndsAfter < 59*time.Minute || state.EndsAfter > time.Hour {
		t.Errorf("%+v", state)
	}
	limiter(t, client, ratelimit.Options{Policies: []string{own + ":bucket"}}).Hit(background, own+":other")
	if !isCluster { // else of whichever node
		equal(t, must(admin.Policy(background, own+":bucket")).Mismatches, int64(1))
	}
	equal(t, must(admin.DeletePolicies(background, own, own+":bucket", own+":lease", own+":none")), int64(3))
	for _, wrong := range []ratelimit.Policy{{}, {Algorithm: ratelimit.Leases}, {Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 1, Window: "1mo"}}}} {
		if err := admin.SetPolicy(background, own, wrong, ""); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: ") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func shadows(t *testing.T, admin *ratelimit.Admin, client redis.UniversalClient, name string) {
	hour := func(units int64) ratelimit.Policy {
		return ratelimit.Policy{Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: units, Window: "1h"}}}
	}
	first, second, binding := hour(2), hour(1), hour(3)
	if err := admin.ShadowPolicy(background, name, first, "1h"); err != nil {
		t.Fatal(err)
	}
	alone := must(admin.Policies(background))[name]
	equal(t, alone.Policy, ratelimit.Policy{})
	equal(t, *alone.Shadow, first)
	if alone.ShadowEndsAfter < 59*time.Minute || alone.ShadowEndsAfter > time.Hour {
		t.Errorf("%+v", alone)
	}
	if err := admin.SetPolicy(background, name, binding, ""); err != nil {
		t.Fatal(err)
	}
	if err := admin.ShadowPolicy(background, name, second, ""); err != nil {
		t.Fatal(err)
	}
	equal(t, *must(admin.Policy(background, name)), ratelimit.PolicyState{Policy: binding, Shadow: &second})
	api := limiter(t, client, ratelimit.Options{Policies: []string{name}})
	for _, key := range []string{"a", "b", "c", "d"} {
		for range 3 {
			equal(t, api.Hit(background, name+key).Allowed, true)
		}
	}
	found := must(admin.Statistics(background, name))
	equal(t, found.Counts, ratelimit.Counts{Allowed: 12, ShadowDenied: 8})
	equal(t, len(found.MostShadowDenied), 4)
	equal(t, found.MostShadowDenied[0], ratelimit.Top{ID: name + "a", Count: 2})
	equal(t, len(found.RecentlyShadowDenied), 4)
	equal(t, lately(found.RecentlyShadowDenied[0]), ratelimit.Top{ID: name + "a", Count: 2})
	for _, periods := range [][]ratelimit.Period{found.Hours, found.Days} {
		var sum ratelimit.Counts
		for _, one := range periods {
			sum.Allowed += one.Allowed
			sum.ShadowDenied += one.ShadowDenied
		}
		equal(t, sum, ratelimit.Counts{Allowed: 12, ShadowDenied: 8})
	}
	equal(t, []bool{must(admin.EndShadow(background, name)), must(admin.EndShadow(background, name))}, []bool{true, false})
	equal(t, must(admin.DeletePolicies(background, name)), int64(1))
	if err := admin.ShadowPolicy(background, name, ratelimit.Policy{Algorithm: ratelimit.Leases, Limits: []ratelimit.Limit{{Units: 3, Window: "30s"}}}, ""); err == nil {
		t.Error("a shadow of leases")
	}
}

func denyLists(t *testing.T, admin *ratelimit.Admin, client redis.UniversalClient, own string) {
	equal(t, must(admin.Deny(background, own, "", "192.0.2.0/24", "eve")), int64(2))
	equal(t, must(admin.Deny(background, own, "1h", "bob")), int64(1))
	equal(t, must(admin.AreDenied(background, own, "192.0.2.7", "alice", "bob")), []bool{true, false, true})
	entries := map[string]bool{} // whether it ends
	if err := admin.DenyEntries(background, own, func(value string, left time.Duration) bool { entries[value] = left > 0; return true }); err != nil {
		t.Fatal(err)
	}
	equal(t, entries, map[string]bool{"192.0.2.0/24": false, "eve": false, "bob": true})
	equal(t, must(admin.DenyLists(background))[own], int64(3))
	for _, key := range []string{"a", "b", "c", "d"} {
		equal(t, limiter(t, client, ratelimit.Options{}).Hit(background, own+":deny:"+key, ratelimit.Deny(own, "eve")).Denied, "eve")
	}
	equal(t, must(admin.Undeny(background, own, "eve", "nobody")), int64(1))
	if err := admin.RenameDenyList(background, own, own+":2"); err != nil {
		t.Fatal(err)
	}
	equal(t, []bool{must(admin.DropDenyList(background, own)), must(admin.DropDenyList(background, own+":2"))}, []bool{false, true})
	if err := admin.RenameDenyList(background, own, "other"); err == nil {
		t.Error("there is no such list, and no error")
	}
}

// Of a cluster they are the sum.
func statistics(t *testing.T, admin *ratelimit.Admin, client redis.UniversalClient, own string) {
	name := own + ":stats"
	api := limiter(t, client, ratelimit.Options{Limits: []ratelimit.Limit{{Units: 1, Window: "1h"}}, Policies: []string{name}})
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		api.Hit(background, name+key)
		api.Hit(background, name+key)
	}
	found := must(admin.Statistics(background, name))
	equal(t, found.Counts, ratelimit.Counts{Allowed: 8, Denied: 8})
	equal(t, []int{len(found.MostAllowed), len(found.MostDenied)}, []int{8, 8})
	equal(t, found.MostDenied[0], ratelimit.Top{ID: name + "a", Count: 1})
	equal(t, []int{len(found.RecentlyAllowed), len(found.RecentlyDenied), len(found.RecentlyShadowDenied)}, []int{8, 8, 0})
	for i, one := range found.MostDenied { // each once, by name
		equal(t, []ratelimit.Top{lately(found.RecentlyAllowed[i]), lately(found.RecentlyDenied[i])}, []ratelimit.Top{one, one})
	}
	var denied int64
	for _, hour := range found.Hours {
		denied += hour.Denied
	}
	equal(t, denied, int64(8))
	total := must(admin.Statistics(background, ""))
	if total.Algorithms[ratelimit.Sliding].Denied < 8 || !strings.Contains(fmt.Sprint(total.Names), name) {
		t.Errorf("%+v", total)
	}
	if err := admin.ResetStatistics(background, name); err != nil {
		t.Fatal(err)
	}
	if found := must(admin.Statistics(background, name)); found != nil {
		t.Errorf("%+v", found)
	}
}

// lately is of both hours, as one may end meanwhile.
func lately(one ratelimit.Recent) ratelimit.Top {
	return ratelimit.Top{ID: one.ID, Count: one.ThisHour + one.HourBefore}
}

// What a server of 0.1 answers, and one that counted in both hours.
func TestStatisticsOfWhomWasLatelyByTheHour(t *testing.T) {
	for sent, recent := range map[string][]ratelimit.Recent{
		"%2\r\n$7\r\nallowed\r\n:3\r\n$11\r\nmost_denied\r\n*0\r\n": nil,
		"%2\r\n$7\r\nallowed\r\n:3\r\n$15\r\nrecently_denied\r\n*2\r\n*3\r\n$1\r\na\r\n:1\r\n:0\r\n*3\r\n$1\r\nb\r\n:0\r\n:2\r\n": {
			{ID: "b", HourBefore: 2}, {ID: "a", ThisHour: 1},
		},
	} {
		p := newProxies(t)
		p.next(fault{"error", sent})
		found := must(limits(t, behind(t, p, "one node")).Admin(time.Minute).Statistics(background, "k"))
		equal(t, found.RecentlyDenied, recent)
		equal(t, []int{int(found.Allowed), len(found.RecentlyAllowed), len(found.RecentlyDenyListed)}, []int{3, 0, 0})
	}
	p := newProxies(t)
	p.next(fault{"error", "%1\r\n$15\r\nrecently_denied\r\n*1\r\n*2\r\n$1\r\na\r\n:1\r\n"})
	if found, err := limits(t, behind(t, p, "one node")).Admin(time.Minute).Statistics(background, "k"); err == nil {
		t.Errorf("%+v", found)
	}
}

func keyInfo(t *testing.T, admin *ratelimit.Admin, client redis.UniversalClient, own string) {
	hour, day := ratelimit.Limit{Units: 1, Window: "1h"}, ratelimit.Limit{Units: 9, Window: "1d"}
	limiter(t, client, ratelimit.Options{Prefix: own, Limits: []ratelimit.Limit{hour, day}}).Hit(background, "info")
	info := must(admin.Info(background, own+":info"))
	equal(t, []any{info.Algorithm, info.Limits[0].Limit, info.Limits[1].Limit, info.Limits[0].Used, info.Limits[1].Remaining, info.BlockedFor},
		[]any{ratelimit.Sliding, hour, day, int64(1), int64(8), time.Duration(0)})
	limiter(t, client, ratelimit.Options{Prefix: own, Limits: []ratelimit.Limit{hour}, Block: []string{"1h"}}).Hit(background, "info")
	if blocked := must(admin.Info(background, own+":info")).BlockedFor; blocked < 59*time.Minute {
		t.Error(blocked)
	}
	lease := leaser(t, client, ratelimit.LeaserOptions{Prefix: own, Limit: 2, TTL: "10m"}).Acquire(background, "leased")
	info = must(admin.Info(background, own+":leased"))
	equal(t, []any{info.Limits[0].Window, info.Leases[0].ID, info.Leases[0].Cost}, []any{"10m", lease.ID, int64(1)})
	if info := must(admin.Info(background, own+":none")); info != nil {
		t.Errorf("%+v", info)
	}
}
