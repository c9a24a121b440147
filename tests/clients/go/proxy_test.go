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

type fault int32

const (
	none     fault = iota
	before         // the connection breaks before the command arrives
	after          // the command is carried out, and its reply is lost
	middle         // the connection breaks in the middle of the reply
	stall          // the reply does not come
	silent         // connections are accepted, and nothing is ever answered
	refuse         // connections are closed at once
	reset          // they are reset
	slow           // the reply comes byte by byte
	nonsense       // another reply comes
)

var faults = map[string]fault{
	"before": before, "after": after, "middle": middle, "stall": stall, "silent": silent, "refuse": refuse, "reset": reset,
	"slow": slow, "nonsense": nonsense,
}

// proxies stand in front of every address that a client dials.
type proxies struct {
	t     *testing.T
	fault atomic.Int32
	// commands is how many RL.* commands have arrived, also those that were not passed on.
	commands atomic.Int64
	mutex    sync.Mutex
	of       map[string]string
}

func newProxies(t *testing.T) *proxies { return &proxies{t: t, of: map[string]string{}} }

func (p *proxies) set(f fault) { p.fault.Store(int32(f)) }

// dial is a Dialer of go-redis.
func (p *proxies) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
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
	switch fault(p.fault.Load()) {
	case refuse:
		return
	case reset:
		_ = client.SetLinger(0)
		return
	case silent:
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var limits atomic.Bool // the next reply is one of RL.*
	go func() {
		defer client.Close()
		defer server.Close()
		p.replies(client, server, &limits)
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if count := bytes.Count(buffer[:n], []byte("\r\nRL.")); count > 0 {
			p.commands.Add(int64(count))
			limits.Store(true)
			switch fault(p.fault.Load()) {
			case before, refuse:
				return
			case reset:
				_ = client.SetLinger(0)
				return
			case silent:
				continue
			}
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxies) replies(client, server net.Conn, limits *atomic.Bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		reply := buffer[:n]
		if limits.Load() {
			switch fault(p.fault.Load()) {
			case after:
				return
			case middle:
				_, _ = client.Write(reply[:n/2])
				return
			case stall:
				_, _ = io.Copy(io.Discard, server)
				return
			case slow:
				for _, one := range reply {
					if _, err := client.Write([]byte{one}); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond) // what it simulates
				}
				continue
			case nonsense:
				reply = []byte("+OK\r\n")
			}
			limits.Store(false)
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}
