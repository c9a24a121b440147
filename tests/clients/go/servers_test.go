// Servers that a test starts for itself, beside those of scripts/test-clients.
package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// freePort is below those that the system gives to connections, so that it stays free.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(10_000 + rand.IntN(20_000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// start starts a server, which ends with the test, and also with this process, however that ends.
func start(t *testing.T, port string, words ...string) *redis.Client {
	t.Helper()
	words = append([]string{"-c", `"$@" >log 2>&1 & read -r _; kill -KILL $!`, "sh", environment(t, "RATELIMIT_SERVER")}, words...)
	command := exec.Command("sh", words...)
	command.Dir = t.TempDir()
	alive, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	direct := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(command.Dir, "log")); err == nil && t.Failed() {
			t.Logf("%s", log)
		}
		_ = direct.Close()
		_ = alive.Close()
		_ = command.Wait()
	})
	eventually(t, "a server has started", func() bool { return direct.Ping(background).Err() == nil })
	return direct
}

func startServer(t *testing.T, words ...string) (*redis.Client, string) {
	t.Helper()
	port := freePort(t)
	words = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--loadmodule", environment(t, "RATELIMIT_MODULE")}, words...)
	return start(t, port, words...), port
}

const master = "ours"

// startSentinel watches the server at a port, and takes none for dead, however busy the machine is.
func startSentinel(t *testing.T, of string) (*redis.SentinelClient, string) {
	t.Helper()
	port := freePort(t)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor %s 127.0.0.1 %s 1\nsentinel down-after-milliseconds %s 3600000\n", port, master, of, master)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, port, file, "--sentinel")
	asked := redis.NewSentinelClient(&redis.Options{Addr: "127.0.0.1:" + port, ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = asked.Close() })
	return asked, port
}
