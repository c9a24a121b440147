// Package worker answers the lines of ../../workers.py, which says what they mean.
package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Counter counts one hit of a key, and says whether it was allowed.
type Counter func(key string) (bool, error)

// Row makes a counter of a limit and a window.
type Row func(limit int, window time.Duration) (Counter, error)

type asked struct {
	Op       string   `json:"op"`
	Hits     int64    `json:"hits"`
	AtOnce   int      `json:"at_once"`
	Keys     int64    `json:"keys"`
	Limit    int      `json:"limit"`
	Prefix   string   `json:"prefix"`
	BeginMs  int64    `json:"begin_ms"`
	Bursts   [][2]int `json:"bursts"`
	WindowMs int      `json:"window_ms"`
	Key      string   `json:"key"`
}

// Process is whose CPU is told of, and, where it is of interest, its memory: then the answers' times are told, too.
type Process struct {
	CPUSeconds  func() float64
	MemoryBytes func() int64
}

type limiters struct {
	make    Row
	made    map[string]Counter
	process Process
}

func (l *limiters) of(limit, windowMs int) Counter {
	given := fmt.Sprint(limit, " ", windowMs)
	if l.made[given] == nil {
		hit, err := l.make(limit, time.Duration(windowMs)*time.Millisecond)
		if err != nil {
			panic(err)
		}
		l.made[given] = hit
	}
	return l.made[given]
}

// CPUSeconds of this process.
func CPUSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func together(callers int, work func()) {
	var group sync.WaitGroup
	for range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			work()
		}()
	}
	group.Wait()
}

func (l *limiters) hits(a asked) any {
	hit := l.of(a.Limit, 60_000)
	var number, allowed, failed atomic.Int64
	took := make([]time.Duration, a.Hits)
	began, spent := time.Now(), l.process.CPUSeconds()
	together(a.AtOnce, func() {
		for n := number.Add(1); n <= a.Hits; n = number.Add(1) {
			sent := time.Now()
			ok, err := hit(a.Prefix + strconv.FormatInt(n%a.Keys, 10))
			took[n-1] = time.Since(sent)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				failed.Add(1)
			} else if ok {
				allowed.Add(1)
			}
		}
	})
	said := map[string]any{
		"hits": a.Hits, "allowed": allowed.Load(), "failed": failed.Load(), "cpu_s": l.process.CPUSeconds() - spent, "wall_s": time.Since(began).Seconds(),
	}
	if l.process.MemoryBytes != nil {
		slices.Sort(took)
		for name, share := range map[string]int{"p50_ms": 50, "p99_ms": 99} {
			said[name] = float64(took[(len(took)-1)*share/100].Microseconds()) / 1000
		}
		said["memory_mib"] = float64(l.process.MemoryBytes()) / (1 << 20)
	}
	return said
}

var start = time.Now()

func milliseconds() float64 { return float64(time.Since(start).Microseconds()) / 1000 }

func (l *limiters) burst(a asked) any {
	hit := l.of(a.Limit, a.WindowMs)
	admitted, failed := [][2]float64{}, 0
	var mutex sync.Mutex
	for _, burst := range a.Bursts {
		time.Sleep(time.Until(time.UnixMilli(a.BeginMs + int64(burst[0]))))
		var left atomic.Int64
		left.Store(int64(burst[1]))
		together(10, func() {
			for left.Add(-1) >= 0 {
				sent := milliseconds()
				ok, err := hit(a.Key)
				done := milliseconds()
				mutex.Lock()
				if err != nil {
					failed++
				} else if ok {
					admitted = append(admitted, [2]float64{sent, done})
				}
				mutex.Unlock()
			}
		})
	}
	return map[string]any{"admitted": admitted, "failed": failed}
}

// Run answers until standard input ends.
func Run(row Row, process Process) {
	l := &limiters{row, map[string]Counter{}, process}
	say := json.NewEncoder(os.Stdout)
	_ = say.Encode(map[string]bool{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var a asked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			panic(err)
		}
		if a.Op == "burst" {
			_ = say.Encode(l.burst(a))
		} else {
			_ = say.Encode(l.hits(a))
		}
	}
}
