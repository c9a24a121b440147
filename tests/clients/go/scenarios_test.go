// The scenarios, a pipeline, MULTI, concurrency and the cluster through go-redis, on RESP2 and RESP3.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

var background = context.Background()

type step struct {
	Send  []string
	Reply json.RawMessage
	Map   map[string]any
	Error *string
}

func environment(t testing.TB, name string) string {
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run scripts/test-clients", name)
	}
	return value
}

func client(t *testing.T, protocol int) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + environment(t, "RATELIMIT_PORT"), Protocol: protocol, PoolSize: 10})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func words(args ...string) []any {
	sent := make([]any, len(args))
	for i, arg := range args {
		sent[i] = arg
	}
	return sent
}

var aRange = regexp.MustCompile(`^(\d+)\.\.(\d+)$`)

// check compares as scenarios.json says.
func check(t *testing.T, path string, actual, expected any) {
	t.Helper()
	switch wanted := expected.(type) {
	case []any:
		items, ok := actual.([]any)
		if !ok || len(items) != len(wanted) {
			t.Fatalf("%s: %v is not %v", path, actual, wanted)
		}
		for i := range wanted {
			check(t, fmt.Sprintf("%s[%d]", path, i), items[i], wanted[i])
		}
	case json.Number:
		if number, _ := wanted.Int64(); actual != number {
			t.Fatalf("%s: %v is not %v", path, actual, wanted)
		}
	case string:
		bounds := aRange.FindStringSubmatch(wanted)
		if bounds == nil {
			if actual != wanted {
				t.Fatalf("%s: %v is not %q", path, actual, wanted)
			}
			return
		}
		number, ok := actual.(int64)
		first, _ := strconv.ParseInt(bounds[1], 10, 64)
		last, _ := strconv.ParseInt(bounds[2], 10, 64)
		if !ok || number < first || number > last {
			t.Fatalf("%s: %v is not in %s", path, actual, wanted)
		}
	default:
		if !reflect.DeepEqual(actual, expected) {
			t.Fatalf("%s: %v is not %v", path, actual, expected)
		}
	}
}

func decode(t *testing.T, text []byte, into any) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber() // 9 * 10^15 and more
	if err := decoder.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// field is one of a map of RESP3, or of the flat array of RESP2.
func field(reply any, name string) any {
	switch fields := reply.(type) {
	case map[any]any:
		return fields[name]
	case []any:
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == name {
				return fields[i+1]
			}
		}
	}
	return nil
}

func (s step) run(t *testing.T, c *redis.Client, prefix string) {
	args := make([]string, len(s.Send))
	for i, word := range s.Send {
		args[i] = strings.Replace(word, "$", prefix, 1)
	}
	said := strings.Join(args, " ")
	reply, err := c.Do(background, words(args...)...).Result()
	if s.Error != nil {
		if err == nil || !strings.HasPrefix(err.Error(), *s.Error) {
			t.Fatalf("%s: %v, %v", said, reply, err)
		}
		return
	}
	if errors.Is(err, redis.Nil) { // go-redis makes an error of a nil
		reply, err = nil, nil
	}
	if err != nil {
		t.Fatalf("%s: %v", said, err)
	}
	if s.Map != nil {
		for name, value := range s.Map {
			check(t, said+": "+name, field(reply, name), value)
		}
		return
	}
	var expected any
	decode(t, s.Reply, &expected)
	check(t, said, reply, expected)
}

func TestScenarios(t *testing.T) {
	text, err := os.ReadFile(environment(t, "RATELIMIT_SCENARIOS"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Scenarios []struct {
			Name  string
			Steps []step
		}
	}
	decode(t, text, &file)
	for _, protocol := range []int{2, 3} {
		for _, scenario := range file.Scenarios {
			t.Run(fmt.Sprintf("RESP%d %s", protocol, scenario.Name), func(t *testing.T) {
				c := client(t, protocol)
				for _, step := range scenario.Steps {
					step.run(t, c, fmt.Sprintf("go-redis-%d:", protocol))
				}
			})
		}
	}
}

func TestPipelineAndMultiAnswerInOrder(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		c := client(t, protocol)
		for name, pipe := range map[string]redis.Pipeliner{"pipeline": c.Pipeline(), "multi": c.TxPipeline()} {
			for range 6 {
				pipe.Do(background, "RL.FIXED", fmt.Sprintf("go-redis-%d:%s", protocol, name), "5", "3650d")
			}
			replies, err := pipe.Exec(background)
			if err != nil {
				t.Fatal(err)
			}
			for i, reply := range replies {
				allowed, left := int64(1), int64(4-i)
				if i == 5 {
					allowed, left = 0, 0
				}
				five := reply.(*redis.Cmd).Val().([]any)
				if five[0] != allowed || five[2] != left {
					t.Fatalf("%s: hit %d: %v", name, i, five)
				}
			}
		}
	}
}

func TestTwentyGoroutinesOnTenConnectionsAdmitTheLimitAndNotOneMore(t *testing.T) {
	c := client(t, 3)
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 20 {
				five, err := c.Do(background, "RL.SLIDING", "pool:go-redis", "100", "1h").Slice()
				if err != nil {
					t.Error(err)
					return
				}
				allowed.Add(five[0].(int64))
			}
		})
	}
	group.Wait()
	if allowed.Load() != 100 {
		t.Fatalf("%d were allowed", allowed.Load())
	}
}

func TestCluster(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + environment(t, "RATELIMIT_CLUSTER_PORT")}, Protocol: protocol})
		for _, expected := range []int64{1, 0} {
			for i := range 60 {
				five, err := c.Do(background, "RL.FIXED", fmt.Sprintf("go-redis-%d:%d", protocol, i), "1", "3650d").Slice()
				if err != nil || five[0] != expected {
					t.Fatalf("key %d: %v, %v", i, five, err)
				}
			}
		}
		_ = c.Close()
	}
}
