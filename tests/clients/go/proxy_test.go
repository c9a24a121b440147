// A proxy between a client and a real server that does to RL.* commands what networks and servers do.
package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A fault is a row of failures.json, or one of those that the packages for Go are tried with besides.
type fault struct{ Fault, Bytes string }

var (
	none   = fault{}
	before = fault{Fault: "cut-before"}
	after  = fault{Fault: "cut-after"}
	middle = fault{Fault: "cut-middle"}
	stall  = fault{Fault: "stall"}
	silent = fault{Fault: "silent"}
	refuse = fault{Fault: "refuse"} // connections are refused, those that are there break
	reset  = fault{Fault: "reset-before"}
	// Slower than anybody waits.
	trickle  = fault{Fault: "trickle"}
	nonsense = fault{Fault: "error", Bytes: "+OK\r\n"}
)

// Those that a server does to all that is sent to it, for as long as they last.
var lasting = map[string]fault{
	"before": before, "after": after, "middle": middle, "stall": stall, "silent": silent, "refuse": refuse, "reset": reset,
	"trickle": trickle, "nonsense": nonsense,
}

// proxies stand in front of every address that a client dials.
type proxies struct {
	t *testing.T
	// commands is how many RL.* commands have arrived, also those that were not passed on.
	commands atomic.Int64
	mutex    sync.Mutex
	of       map[string]string
	fault    fault
	isOnce   bool
	over     chan struct{} // closed when the fault is
}

func newProxies(t *testing.T) *proxies {
	return &proxies{t: t, of: map[string]string{}, over: make(chan struct{})}
}

// set is for as long as nothing else is said, next is of the next command of RL.* alone.
func (p *proxies) set(f fault)  { p.put(f, false) }
func (p *proxies) next(f fault) { p.put(f, true) }

func (p *proxies) put(f fault, isOnce bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	close(p.over)
	p.fault, p.isOnce, p.over = f, isOnce, make(chan struct{})
}

// lasts is the fault that meets whole connections.
func (p *proxies) lasts() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.isOnce {
		return ""
	}
	return p.fault.Fault
}

// takes the fault that meets a command, and what is closed when it is over.
func (p *proxies) takes() (fault, <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	f := p.fault
	if p.isOnce {
		p.fault, p.isOnce = none, false
	}
	return f, p.over
}

// dial is a Dialer of go-redis.
func (p *proxies) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	if p.lasts() == refuse.Fault {
		return dialer.DialContext(ctx, network, "127.0.0.1:1") // where nobody listens
	}
	return dialer.DialContext(ctx, network, p.in(address))
}

func (p *proxies) in(address string) string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if at, ok := p.of[address]; ok {
		return at
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn.(*net.TCPConn), address)
		}
	}()
	p.of[address] = listener.Addr().String()
	return p.of[address]
}

func (p *proxies) serve(client *net.TCPConn, address string) {
	defer client.Close()
	switch p.lasts() {
	case reset.Fault:
		_ = client.SetLinger(0)
		return
	case silent.Fault:
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	answer := make(chan func(net.Conn, []byte) bool, 16) // of the replies that come next
	go func() {
		defer client.Close()
		defer server.Close()
		replies(client, server, answer)
	}()
	buffer := make([]byte, 1<<16)
	for isDeaf := false; ; { // a connection does not lose bytes in its middle: after one, all
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if count := bytes.Count(buffer[:n], []byte("\r\nRL.")); count > 0 {
			p.commands.Add(int64(count))
			f, over := p.takes()
			switch f.Fault {
			case before.Fault, refuse.Fault:
				return
			case reset.Fault:
				_ = client.SetLinger(0)
				return
			case silent.Fault, "swallow":
				isDeaf = true
			case nonsense.Fault:
				_, _ = client.Write([]byte(f.Bytes))
				continue
			}
			answer <- f.answer(over)
		}
		if isDeaf {
			continue
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// answer passes a reply on, as the fault has it, and says whether the connection lives.
func (f fault) answer(over <-chan struct{}) func(net.Conn, []byte) bool {
	return func(client net.Conn, reply []byte) bool {
		switch f.Fault {
		case after.Fault:
			return false
		case middle.Fault:
			_, _ = client.Write(reply[:len(reply)/2])
			return false
		case stall.Fault:
			<-over
			return false
		case "late":
			<-over
		case "slow", trickle.Fault:
			pause := time.Millisecond
			if f == trickle {
				pause = 50 * time.Millisecond // what it simulates
			}
			for _, one := range reply {
				if _, err := client.Write([]byte{one}); err != nil {
					return false
				}
				time.Sleep(pause)
			}
			return true
		}
		_, err := client.Write(reply)
		return err == nil
	}
}

func replies(client, server net.Conn, answer <-chan func(net.Conn, []byte) bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		pass := none.answer(nil)
		select {
		case pass = <-answer:
		default:
		}
		if !pass(client, buffer[:n]) {
			return
		}
	}
}
