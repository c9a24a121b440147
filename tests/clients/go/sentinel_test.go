// Sentinels: who is the master, and when it is another one.
package main

import (
	"strings"
	"testing"
	"time"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

func TestAfterAFailoverTheOldMasterCountsNoMore(t *testing.T) {
	t.Parallel()
	// It cannot be made a replica, and so goes on as a master: as one that the Sentinels do not reach.
	old, oldPort := startServer(t, "--rename-command", "SLAVEOF", "", "--rename-command", "REPLICAOF", "", "--repl-diskless-sync-delay", "0")
	heir, heirPort := startServer(t, "--replicaof", "127.0.0.1", oldPort)
	eventually(t, "the replica is one", func() bool {
		return strings.Contains(heir.Info(background, "replication").Val(), "master_link_status:up")
	})
	sentinel, port := startSentinel(t, oldPort)
	l := limiter(t, &redis.FailoverOptions{MasterName: master, SentinelAddrs: []string{"127.0.0.1:" + port}}, ratelimit.Options{
		Algorithm: ratelimit.Fixed, Limits: []ratelimit.Limit{{Units: 1_000_000, Window: "3650d"}}, Unavailable: ratelimit.Closed,
	})
	used := func(server *redis.Client) int64 {
		five := must(server.Do(background, "RL.PEEK", "FIXED", "k", "1000000", "3650d", "COST", "0").Slice())
		return 1_000_000 - five[2].(int64)
	}
	if v := l.Hit(background, "k"); v.Err != nil || used(old) != 1 {
		t.Fatalf("%+v, %d", v, used(old))
	}
	eventually(t, "the failover begins", func() bool { return sentinel.Failover(background, master).Err() == nil })
	eventually(t, "it is over", func() bool {
		at, err := sentinel.GetMasterAddrByName(background, master).Result()
		return err == nil && at[1] == heirPort
	})
	eventually(t, "the new one counts", func() bool { return l.Hit(background, "k").Err == nil && used(heir) > used(old) })
	before := used(old)
	for range 20 {
		if v := l.Hit(background, "k"); v.Err != nil {
			t.Errorf("%+v", v)
		}
	}
	if role := must(old.Do(background, "ROLE").Slice()); role[0] != "master" || used(old) != before {
		t.Errorf("%v: it counted %d more", role[0], used(old)-before)
	}
}

func TestASentinelThatIsSilentHoldsNobodyLongerThanTheDeadline(t *testing.T) {
	t.Parallel()
	_, port := startSentinel(t, environment(t, "RATELIMIT_PORT"))
	for _, fault := range []fault{silent, refuse} {
		p := newProxies(t)
		p.set(fault)
		l := limiter(t, &redis.FailoverOptions{MasterName: master, SentinelAddrs: []string{"127.0.0.1:" + port}, Dialer: p.dial}, ratelimit.Options{
			Timeout: 300 * time.Millisecond, Unavailable: ratelimit.Closed,
		})
		for range 3 {
			began := time.Now()
			if v := l.Hit(background, "k"); v.Err == nil || v.Allowed || time.Since(began) > 300*time.Millisecond+slack {
				t.Errorf("%s: after %s: %+v", fault.Fault, time.Since(began), v)
			}
		}
		p.set(none)
		eventually(t, "it is back", func() bool { return l.Hit(background, unique("sentinel")).Err == nil })
	}
}

func TestWhatDoesNotFollowAFailoverIsRefused(t *testing.T) {
	options := redis.FailoverOptions{MasterName: master, SentinelAddrs: []string{"127.0.0.1:1"}}
	client := redis.NewFailoverClient(&options)
	defer client.Close()
	if _, err := ratelimit.NewClient(client); err == nil || !strings.Contains(err.Error(), "expected NewFailoverClient") {
		t.Error(err)
	}
	for says, wrong := range map[string]func(*redis.FailoverOptions){
		"a MasterName":     func(o *redis.FailoverOptions) { o.MasterName = "" },
		"SentinelAddrs":    func(o *redis.FailoverOptions) { o.SentinelAddrs = nil },
		"no ReplicaOnly":   func(o *redis.FailoverOptions) { o.ReplicaOnly = true },
		"RouteByLatency":   func(o *redis.FailoverOptions) { o.RouteByLatency = true },
		"or RouteRandomly": func(o *redis.FailoverOptions) { o.RouteRandomly = true },
	} {
		given := options
		wrong(&given)
		if _, err := ratelimit.NewFailoverClient(&given); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := ratelimit.NewFailoverClient(nil); err == nil {
		t.Error("no options, and no error")
	}
}
