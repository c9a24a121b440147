// One row of the gateways: `asker 'PROGRAM DESCRIPTORS [ALGORITHM]'`, a program beside this one, which is started beside it and
// asked over gRPC, as Envoy asks, for so many descriptors at once. The CPU and the memory that are told of are the program's.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ratelimit-peers/worker"

	common "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	service "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// What the driver asks for: a descriptor's key is a limit and a window in ms. ALGORITHM is a word of ours.
const descriptors = `domain: bench
descriptors:
  - key: 1000000 60000
    rate_limit: {unit: minute, requests_per_unit: 1000000ALGORITHM}
  - key: 100 60000
    rate_limit: {unit: minute, requests_per_unit: 100ALGORITHM}
  - key: 100 1000
    rate_limit: {unit: second, requests_per_unit: 100ALGORITHM}
`

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func freePort() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// memoryOf a process: what of it is in memory, from /proc.
func memoryOf(pid int) func() int64 {
	return func() int64 {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		must(err)
		pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
		must(err)
		return pages * int64(os.Getpagesize())
	}
}

// cpuOf a process, from /proc: utime and stime are the 14th and 15th field, and the second may hold spaces.
func cpuOf(pid int) func() float64 {
	return func() float64 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(err)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		return (user + system) / 100
	}
}

func main() {
	words := strings.Fields(os.Args[1])
	program, algorithm := words[0], ""
	count, err := strconv.Atoi(words[1])
	must(err)
	if len(words) > 2 {
		algorithm = ", algorithm: " + words[2]
	}
	root, err := os.MkdirTemp("", "ratelimit-peers.")
	must(err)
	defer os.RemoveAll(root)
	config := filepath.Join(root, "limits", "config")
	must(os.MkdirAll(config, 0o755))
	must(os.WriteFile(filepath.Join(config, "bench.yaml"), []byte(strings.ReplaceAll(descriptors, "ALGORITHM", algorithm)), 0o644))

	port := freePort()
	beside, err := os.Executable()
	must(err)
	gateway := exec.Command(filepath.Join(filepath.Dir(beside), program))
	gateway.Stderr = os.Stderr
	gateway.Env = append(os.Environ(), "REDIS_SOCKET_TYPE=tcp", "REDIS_URL=127.0.0.1:"+os.Getenv("REDIS_PORT"), "RUNTIME_ROOT="+root, "RUNTIME_SUBDIRECTORY=limits",
		"USE_STATSD=false", "DISABLE_STATS=true", "LOG_LEVEL=error", "HOST=127.0.0.1", "GRPC_HOST=127.0.0.1", "DEBUG_HOST=127.0.0.1",
		"PORT="+freePort(), "GRPC_PORT="+port, "DEBUG_PORT="+freePort())
	runtime.LockOSThread() // it ends with the thread that started it
	gateway.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(gateway.Start())
	defer func() { _ = gateway.Process.Kill(); _ = gateway.Wait() }()

	connection, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	client := service.NewRateLimitServiceClient(connection)
	ask := func(descriptor, key string) (bool, error) {
		request := &service.RateLimitRequest{Domain: "bench"}
		for i := range count {
			entry := &common.RateLimitDescriptor_Entry{Key: descriptor, Value: key + strings.Repeat("+", i)}
			request.Descriptors = append(request.Descriptors, &common.RateLimitDescriptor{Entries: []*common.RateLimitDescriptor_Entry{entry}})
		}
		answer, err := client.ShouldRateLimit(context.Background(), request)
		if err == nil && answer.Statuses[0].CurrentLimit == nil {
			err = fmt.Errorf("no limit for %s", descriptor)
		}
		return answer.GetOverallCode() == service.RateLimitResponse_OK, err
	}
	until := time.Now().Add(60 * time.Second)
	for _, err := ask("100 60000", "ready"); err != nil; _, err = ask("100 60000", "ready") {
		if time.Now().After(until) {
			panic(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	worker.Run(func(limit int, window time.Duration) (worker.Counter, error) {
		descriptor := fmt.Sprint(limit, " ", window.Milliseconds())
		return func(key string) (bool, error) { return ask(descriptor, key) }, nil
	}, worker.Process{CPUSeconds: cpuOf(gateway.Process.Pid), MemoryBytes: memoryOf(gateway.Process.Pid)})
}
