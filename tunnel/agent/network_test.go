package agent

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakeNetwork says which addresses the machine has.
type fakeNetwork struct {
	tick chan time.Time

	mu    sync.Mutex
	addrs []string
	err   error
}

func (f *fakeNetwork) set(c *Config) {
	f.tick = make(chan time.Time)
	c.netTick = f.tick
	c.addrs = func() ([]net.Addr, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var list []net.Addr
		for _, a := range f.addrs {
			ip, n, err := net.ParseCIDR(a)
			if err != nil {
				panic(err)
			}
			list = append(list, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return list, f.err
	}
}

// becomes changes the addresses and returns when the agent has looked at them.
func (f *fakeNetwork) becomes(err error, addrs ...string) {
	f.mu.Lock()
	f.addrs, f.err = addrs, err
	f.mu.Unlock()
	f.tick <- time.Time{}
	f.tick <- time.Time{} // the look at the first one is over
}

func TestNetworkChangeFindsDeadLink(t *testing.T) {
	f := fakeNetwork{addrs: []string{"127.0.0.1/8", "192.0.2.10/24"}}
	e := newTestEdge(t)
	e.start()
	p := newProxy(t, e.addr)
	real := e.addr
	e.addr = p.addr
	var ping pinger
	ping.patient.Store(true)
	a, _ := run(t, e, func(c *Config) { f.set(c); ping.set(c) }, "1")
	e.addr = real
	<-e.sessions
	first := until(t, a, "online", isOnline)

	// The same addresses in another order, a look that fails, and another
	// network with a link that works: nothing happens to it.
	f.becomes(nil, "192.0.2.10/24", "127.0.0.1/8")
	f.becomes(errors.New("in the middle of it"))
	f.becomes(nil, "127.0.0.1/8", "198.51.100.7/24")
	if err := <-ping.looked; err != nil {
		t.Errorf("a look at a working link = %v", err)
	}
	if s := a.Status(); s.State != Online || !s.Since.Equal(first.Since) {
		t.Fatalf("State = %v since %v with a working link, want online since %v", s.State, s.Since, first.Since)
	}

	ping.patient.Store(false)
	p.freeze()
	began := time.Now()
	f.becomes(nil, "127.0.0.1/8", "203.0.113.7/24")
	<-e.sessions
	until(t, a, "online again", func(s Status) bool { return s.State == Online && s.Since.After(began) })
	if d := time.Since(began); d < networkAnswer/2 {
		t.Errorf("back after %v, want the answer to be waited for", d)
	}
}

func TestNetworkChangeSkipsTheWait(t *testing.T) {
	f := fakeNetwork{addrs: []string{"127.0.0.1/8"}}
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, func(c *Config) {
		f.set(c)
		c.backoff = func(int) time.Duration { return time.Hour }
	}, "1")
	<-e.sessions
	until(t, a, "online", isOnline)
	e.cut()
	until(t, a, "waiting", func(s Status) bool { return s.State == Reconnecting && !s.Next.IsZero() })
	f.becomes(nil, "127.0.0.1/8", "192.0.2.10/24")
	<-e.sessions
	until(t, a, "online", isOnline)
}

// TestNetworkChangeWhileConnecting: an attempt that waits for an answer which
// cannot come is given up.
func TestNetworkChangeWhileConnecting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, in the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := fakeNetwork{addrs: []string{"127.0.0.1/8"}}
	e := newTestEdge(t)
	e.addr = silent.Addr().String()
	a, _ := run(t, e, func(c *Config) {
		f.set(c)
		c.backoff = func(int) time.Duration { return time.Hour }
	}, "1")
	until(t, a, "in the handshake", func(s Status) bool { return len(s.Steps) == 3 })
	f.becomes(nil, "127.0.0.1/8", "192.0.2.10/24")
	s := until(t, a, "given up", func(s Status) bool { return s.Err != nil })
	if late := fmt.Sprintf("did not answer in %v", connectTimeout); strings.Contains(s.Err.Error(), late) {
		t.Errorf("the attempt went on to its end: %v", s.Err)
	}
}
