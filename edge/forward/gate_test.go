package forward

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ping sends a request and reports whether it was answered.
func ping(c net.Conn, br *bufio.Reader) bool {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n"); err != nil {
		return false
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == 200
}

// gone waits for the edge to close c.
func gone(c net.Conn, br *bufio.Reader) bool {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := br.ReadByte()
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (r *rig) idleConns() int {
	n := 0
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for c := range r.f.conns {
		if _, ok := c.idleSince(); ok {
			n++
		}
	}
	return n
}

// At the cap the connection that has been idle longest makes room; one with a
// request in flight never does.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	for name, configure := range map[string]func(*Config){
		"of the edge":    func(c *Config) { c.MaxConns = 4 },
		"of one address": func(c *Config) { c.MaxConnsAddress = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			free := sync.OnceFunc(func() { close(release) })
			r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					<-release
				}
				_, _ = io.WriteString(w, "ok")
			}), configure)
			defer free()
			busy, busyBr := r.dial(t)
			_, _ = io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
			waitFor(t, func() bool { return r.tunnel.Counters.Requests.Load() == 1 })
			var conns []net.Conn
			var readers []*bufio.Reader
			for i := range 3 {
				c, br := r.dial(t)
				if !ping(c, br) {
					t.Fatalf("connection %d is not served", i)
				}
				conns, readers = append(conns, c), append(readers, br)
				waitFor(t, func() bool { return r.idleConns() == i+1 })
			}
			ping(conns[0], readers[0]) // now the second is the oldest
			waitFor(t, func() bool { return r.idleConns() == 3 })
			c, br := r.dial(t)
			if !ping(c, br) {
				t.Fatal("a new connection is turned away although there are idle ones")
			}
			if !gone(conns[1], readers[1]) {
				t.Error("the connection that was idle longest is still there")
			}
			if name == "of the edge" && !ping(conns[0], readers[0]) {
				t.Error("a connection used lately was closed")
			}
			free()
			res, err := http.ReadResponse(busyBr, nil)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("the request in flight was answered %v, %v", res, err)
			}
			if n := r.f.Counts().Shed; n < 1 {
				t.Errorf("Shed = %d, want at least 1", n)
			}
		})
	}
}

// Without idle connections new ones are closed at once, and are welcome again
// when there is room.
func TestFullEdgeTurnsAway(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) { <-release }), func(c *Config) { c.MaxConns = 3 })
	defer free()
	type client struct {
		c  net.Conn
		br *bufio.Reader
	}
	var in []client
	for range 3 {
		c, br := r.dial(t)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
		in = append(in, client{c, br})
	}
	waitFor(t, func() bool { return r.tunnel.Counters.Requests.Load() == 3 })
	for range 10 {
		c, br := r.dial(t)
		if !gone(c, br) {
			t.Fatal("a connection beyond the cap is kept")
		}
	}
	if n := r.f.Counts(); n.TurnedAway != 10 || n.Open != 3 {
		t.Errorf("TurnedAway = %d and Open = %d, want 10 and 3", n.TurnedAway, n.Open)
	}
	free()
	for _, x := range in {
		if res, err := http.ReadResponse(x.br, nil); err != nil || res.StatusCode != 200 {
			t.Errorf("a request that was in flight got %v, %v", res, err)
		}
		_ = x.c.Close()
	}
	waitFor(t, func() bool { return r.f.Counts().Open == 0 })
	if c, br := r.dial(t); !ping(c, br) {
		t.Error("there is room, and nobody is let in")
	}
}

func TestTrustedProxiesAreNotCounted(t *testing.T) {
	r := start(t, echo(t), loopbackIsTrusted, func(c *Config) { c.MaxConnsAddress = 2 })
	for i := range 6 {
		c, br := r.dial(t)
		if !ping(c, br) {
			t.Fatalf("connection %d of a proxy is not served", i)
		}
	}
	if n := r.f.Counts(); n.TurnedAway != 0 || n.Shed != 0 {
		t.Errorf("%+v, want none turned away and none shed", n)
	}
}

// Idle HTTP/2 connections make room as well; one with a stream does not.
func TestIdleHTTP2ConnectionsMakeRoom(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	r := start(t, service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}), func(c *Config) { c.MaxConns = 2 })
	defer free()
	addr := r.secure(t)
	slow := over2(t, addr, "a.tun.test", true)
	answered := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr+"/slow", nil)
		req.Host = "a.tun.test"
		res, err := slow.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		answered <- err
	}()
	waitFor(t, func() bool { return r.tunnel.Counters.Requests.Load() == 1 })
	get(t, over2(t, addr, "a.tun.test", true), addr, "a.tun.test")
	waitFor(t, func() bool { r.f.mu.Lock(); defer r.f.mu.Unlock(); return len(r.f.idle2) == 1 })
	for range 3 { // each in the place of the one before
		c, br := r.dial(t)
		if !ping(c, br) {
			t.Fatal("a new connection is turned away although there is an idle one")
		}
		waitFor(t, func() bool { return r.f.Counts().Open == 2 && r.idleConns() == 1 })
	}
	free()
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
}

func TestGateCounts(t *testing.T) {
	g := gate{total: 3, each: 2, from: map[netip.Prefix]int{}}
	a, b := prefixOf(netip.MustParseAddr("2001:db8::1")), prefixOf(netip.MustParseAddr("2001:db8::ffff:1"))
	c := prefixOf(netip.MustParseAddr("2001:db8:0:1::1"))
	if a != b || a == c {
		t.Fatalf("%v, %v and %v: an IPv6 network of 64 bits is one address", a, b, c)
	}
	for i, step := range []struct {
		p    netip.Prefix
		want fullness
	}{{a, hasRoom}, {b, hasRoom}, {a, fullFor}, {c, full}, {c, packed}} {
		got := g.enter(step.p)
		if got != step.want {
			t.Errorf("step %d: enter = %v, want %v", i, got, step.want)
		}
		if i == 2 {
			g.leave(step.p)
			if got := g.enter(c); got != hasRoom {
				t.Errorf("another network: enter = %v, want room", got)
			}
		}
	}
	for _, p := range []netip.Prefix{a, b, c, c, c} {
		g.leave(p)
	}
	if g.open != 0 || len(g.from) != 0 {
		t.Errorf("%d open from %v, want none", g.open, g.from)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	idle, failures := 2, 0
	a := acceptor{log: slog.New(slog.DiscardHandler), shed: func() bool { idle--; return idle >= 0 }}
	defer a.close()
	a.Listener = &failingListener{l, func() error {
		if failures++; failures <= 3 {
			return os.NewSyscallError("accept4", syscall.EMFILE)
		}
		return nil
	}}
	nc, err := a.accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	// Twice an idle connection made room, then the reserve did.
	if failures != 4 || idle != -1 || a.reserve == nil {
		t.Errorf("%d tries, %d idle, reserve %v; want 4, -1 and one", failures, idle, a.reserve)
	}

	_ = l.Close()
	if _, err := a.accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept on a closed listener: %v, want %v", err, net.ErrClosed)
	}
}

// TestAcceptGoesOn: no failure of one accept ends the edge.
func TestAcceptGoesOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	failures := []error{os.NewSyscallError("accept4", syscall.ENOBUFS), os.NewSyscallError("accept4", syscall.EPERM), errors.New("something else")}
	want := len(failures)
	var log bytes.Buffer
	a := acceptor{
		Listener: &failingListener{l, func() (err error) {
			if len(failures) > 0 {
				err, failures = failures[0], failures[1:]
			}
			return err
		}},
		log:  slog.New(slog.NewTextHandler(&log, nil)),
		shed: func() bool { t.Error("an idle connection was closed"); return true },
	}
	defer a.close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	nc, err := a.accept()
	if err != nil {
		t.Fatalf("accept = %v after %d failures, want the connection", err, want)
	}
	_ = nc.Close()
	if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), l.Addr().String()) {
		t.Errorf("logged, want one warning that names %s:\n%s", l.Addr(), log.String())
	}
}

// A failing listener fails with what fail says.
type failingListener struct {
	net.Listener
	fail func() error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if err := l.fail(); err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	return l.Listener.Accept()
}
