package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func open(t *testing.T, s *tunnel.Session, name string) tunnel.Conn {
	t.Helper()
	c, err := s.Open(tunnel.Peer{Tunnel: name, Addr: "203.0.113.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestPipeKeepsBytesAndHalfClose(t *testing.T) {
	cert, _ := certificate()
	secure := func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
		echo(s)
	}
	sock := filepath.Join(t.TempDir(), "app.sock")
	service(t, "unix", sock, echo)
	e := newTestEdge(t)
	e.start()
	run(t, e, nil,
		service(t, "tcp", "127.0.0.1:0", echo),
		"https://"+service(t, "tcp", "127.0.0.1:0", secure),
		"unix:"+sock)
	s := <-e.sessions
	blob := make([]byte, 3<<20)
	rand.Read(blob)
	for _, name := range []string{"chosen-0", "chosen-1", "chosen-2"} {
		c := open(t, s, name)
		go func() {
			c.Write(blob)
			c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(blob))
		}
		if d := c.(*tunnel.Stream).Dial(); d <= 0 || d > dialTimeout {
			t.Errorf("%s: Dial = %v", name, d)
		}
	}
}

func TestServiceEndsFirst(t *testing.T) {
	got := make(chan []byte, 1)
	e := newTestEdge(t)
	e.start()
	run(t, e, nil, service(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		io.WriteString(c, "early")
		c.(*net.TCPConn).CloseWrite()
		if b, _ := io.ReadAll(c); len(b) > 0 { // not the agent's first look
			got <- b
		}
	}))
	c := open(t, <-e.sessions, "chosen-0")
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "early" {
		t.Fatalf("ReadAll = %q, %v", b, err)
	}
	io.WriteString(c, "late request")
	c.CloseWrite()
	if b := <-got; string(b) != "late request" {
		t.Errorf("the service read %q, want %q", b, "late request")
	}
}

// A service that answers, does not read the rest and closes: its kernel
// resets the connection, and the answer arrives all the same.
func TestServiceAnswersAndBreaks(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	run(t, e, nil, service(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		c.Read(make([]byte, 1))
		io.WriteString(c, "HTTP/1.1 413 No\r\n\r\n")
		c.(*net.TCPConn).SetLinger(0)
		// The agent reads the answer before the reset destroys it.
		buf := make([]byte, 4)
		io.ReadFull(c, buf)
	}))
	s := <-e.sessions
	for range 20 {
		c := open(t, s, "chosen-0")
		io.WriteString(c, "P")
		head := make([]byte, len("HTTP/1.1 413 No\r\n\r\n"))
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "OST and much more")
		rest, err := io.ReadAll(c)
		if len(rest) != 0 || !errors.Is(err, tunnel.ErrReset) {
			t.Fatalf("after the head: %q, %v, want %v", rest, err, tunnel.ErrReset)
		}
		c.Close()
	}
}

// When the client leaves, the service learns it, even while the agent cannot get
// rid of what the client had sent.
func TestResetReachesService(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		left := make(chan struct{})
		e := newTestEdge(t)
		e.start()
		run(t, e, nil, service(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			if n, _ := c.Read(make([]byte, 1)); n == 0 {
				return // the agent's first look
			}
			io.WriteString(c, "data: 1\n\n")
			if stuck {
				for {
					// Writes fail once the other side is gone.
					time.Sleep(time.Millisecond)
					if _, err := io.WriteString(c, "\n"); err != nil {
						break
					}
				}
			} else {
				io.Copy(io.Discard, c)
			}
			close(left)
		}))
		c := open(t, <-e.sessions, "chosen-0")
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		if stuck {
			c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			c.Write(make([]byte, 32<<20)) // fills the service's buffers
		}
		c.Close()
		select {
		case <-left:
		case <-time.After(patience):
			t.Fatalf("stuck %v: the service never noticed", stuck)
		}
	}
}

func TestRefusedDialAndUpstreamState(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, addr)
	// Known before any request came.
	st := until(t, a, "down at the start", func(s Status) bool { return s.Upstreams[0].Down })
	if !strings.HasSuffix(st.Upstreams[0].Err, "connection refused") {
		t.Errorf("Err = %q, want the dial's", st.Upstreams[0].Err)
	}
	s := <-e.sessions
	c := open(t, s, "chosen-0")
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	_, err = c.Read(make([]byte, 1))
	var te *tunnel.Error
	if want := "dial tcp " + addr + ": connect: connection refused"; !errors.As(err, &te) || te.Code != tunnel.CodeUpstreamRefused || te.Message != want {
		t.Errorf("Read = %v, want %s: %s", err, tunnel.CodeUpstreamRefused, want)
	}
	service(t, "tcp", addr, echo)
	until(t, a, "up again", func(s Status) bool { return !s.Upstreams[0].Down && s.Upstreams[0].Err == "" })
	c = open(t, s, "chosen-0")
	io.WriteString(c, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("Read = %v after the service came up", err)
	}
}

// The agent dials what it was configured with, whatever the edge names.
func TestUnknownTunnelIsNotDialed(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	run(t, e, nil, service(t, "tcp", "127.0.0.1:0", echo))
	s := <-e.sessions
	for _, name := range []string{"", "chosen-1", "127.0.0.1:22"} {
		c := open(t, s, name)
		_, err := c.Read(make([]byte, 1))
		var te *tunnel.Error
		if !errors.As(err, &te) || te.Code != tunnel.CodeTunnelNotFound {
			t.Errorf("%q: Read = %v, want %s", name, err, tunnel.CodeTunnelNotFound)
		}
	}
}

func TestSetTarget(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, text) }
	}
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, service(t, "tcp", "127.0.0.1:0", say("old")))
	s := <-e.sessions
	for _, want := range []string{"old", "new"} {
		b, err := io.ReadAll(open(t, s, "chosen-0"))
		if err != nil || string(b) != want {
			t.Errorf("read %q, %v, want %s", b, err, want)
		}
		target, err := ParseTarget(service(t, "tcp", "127.0.0.1:0", say("new")))
		if err != nil {
			t.Fatal(err)
		}
		a.SetTarget("chosen-0", target)
		if got := a.Status().Upstreams[0].Local; got != target.String() {
			t.Errorf("Local = %s, want %s", got, target)
		}
	}
}

func TestOnlineOnlyWhenLive(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, "1")
	st := until(t, a, "online", isOnline)
	var names []string
	for _, s := range st.Steps {
		names = append(names, s.Name)
		if !s.Done || s.Took < 0 {
			t.Errorf("step %+v is not done", s)
		}
	}
	if got, want := strings.Join(names, " "), "resolve tcp tls auth probe"; got != want {
		t.Errorf("steps = %s, want %s", got, want)
	}
	if !st.OfflineSince.IsZero() || st.Err != nil || st.Welcome.Grants[0].Name != "chosen-0" {
		t.Errorf("status = %+v", st)
	}
	until(t, a, "round trip", func(s Status) bool {
		// Nothing announces a measurement; the screen looks every second.
		if s.RTT == 0 {
			time.AfterFunc(time.Millisecond, func() { a.update(func(*Status) {}) })
		}
		return s.RTT > 0
	})
}

func TestComesBackUnderTheSameName(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, func(c *Config) {
		c.Claims[0].Takeover = true
	}, service(t, "tcp", "127.0.0.1:0", echo))
	<-e.sessions
	first := <-e.hellos
	until(t, a, "online", isOnline)

	e.cut() // the network
	<-e.sessions
	second := <-e.hellos
	if second.Instance != first.Instance || len(first.Instance) != 32 {
		t.Errorf("instance %q, then %q, want the same 16 bytes", first.Instance, second.Instance)
	}
	if c := second.Claims[0]; c.Name != "chosen-0" || c.Takeover {
		t.Errorf("second claim = %+v, want the granted name and no takeover", c)
	}

	e.stop() // the edge
	st := until(t, a, "reconnecting", func(s Status) bool { return s.State == Reconnecting && s.Attempt > 0 && !s.Next.IsZero() })
	if st.OfflineSince.IsZero() || st.Err == nil {
		t.Errorf("status = %+v, want since when and why", st)
	}
	e.start()
	s := <-e.sessions
	until(t, a, "online again", isOnline)
	c := open(t, s, "chosen-0")
	io.WriteString(c, "x")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("Read = %v after coming back", err)
	}
}

func TestRefusalEndsRun(t *testing.T) {
	for _, code := range []string{tunnel.CodeKey, tunnel.CodeName, tunnel.CodeLimit, tunnel.CodeVersion} {
		e := newTestEdge(t)
		e.refuse = func(tunnel.Hello) *tunnel.Error {
			return &tunnel.Error{Code: code, Message: "no", Hint: "do something else"}
		}
		e.start()
		_, done := run(t, e, nil, "1")
		err := <-done
		var te *tunnel.Error
		if !errors.As(err, &te) || te.Code != code || te.Hint == "" {
			t.Errorf("Run = %v, want %s with its hint", err, code)
		}
	}
}

func TestSupersededEndsRun(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	_, done := run(t, e, nil, "1")
	(<-e.sessions).Supersede(&tunnel.Error{Code: tunnel.CodeSuperseded, Message: "lrok on mallow took chosen-0 over"})
	err := <-done
	var te *tunnel.Error
	if !errors.As(err, &te) || te.Code != tunnel.CodeSuperseded {
		t.Errorf("Run = %v, want superseded", err)
	}
}

// An edge that drains or has a bad moment is tried again.
func TestDrainingIsTriedAgain(t *testing.T) {
	var n atomic.Int32
	e := newTestEdge(t)
	e.refuse = func(tunnel.Hello) *tunnel.Error {
		switch n.Add(1) {
		case 1:
			return &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge restarts"}
		case 2:
			return &tunnel.Error{Code: tunnel.CodeInternal, Message: "internal error"}
		}
		return nil
	}
	e.start()
	a, _ := run(t, e, func(c *Config) {
		c.backoff = func(int) time.Duration { return time.Millisecond }
	}, "1")
	<-e.sessions
	until(t, a, "online", isOnline)
}

// TestDrainedSessionServesOn: an agent that is sent away is online again before
// the last request of its old session has ended.
func TestDrainedSessionServesOn(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, service(t, "tcp", "127.0.0.1:0", echo))
	old := <-e.sessions
	until(t, a, "online", isOnline)
	c, err := old.Open(tunnel.Peer{Tunnel: "chosen-0"})
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Fatalf("the stream says %q, %v, want %q", got, err, text)
		}
	}
	say("before")
	if err := old.Drain("new version"); err != nil {
		t.Fatal(err)
	}
	s := until(t, a, "sent away", func(s Status) bool { return s.State == Reconnecting })
	if e := (*tunnel.Error)(nil); s.Err != nil && (!errors.As(s.Err, &e) || e.Code != tunnel.CodeDraining) {
		t.Errorf("Err = %v, want draining", s.Err)
	}
	next := <-e.sessions
	until(t, a, "online again", isOnline)
	say("after")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	// Sent away once more, the first of the old sessions has to go.
	if err := next.Drain("newer version"); err != nil {
		t.Fatal(err)
	}
	<-e.sessions
	select {
	case <-old.Done():
	case <-time.After(patience):
		t.Error("the oldest session is still there")
	}
}

// TestUnavailable ends an agent that was never online, and no other.
func TestUnavailable(t *testing.T) {
	var n atomic.Int32
	e := newTestEdge(t)
	e.refuse = func(tunnel.Hello) *tunnel.Error {
		if n.Add(1) == 2 {
			return &tunnel.Error{Code: tunnel.CodeUnavailable, Message: "the edge could not open a port"}
		}
		return nil
	}
	e.start()
	a, _ := run(t, e, func(c *Config) {
		c.backoff = func(int) time.Duration { return time.Millisecond }
	}, "1")
	<-e.sessions
	until(t, a, "online", isOnline)
	e.cut()
	<-e.sessions
	until(t, a, "online again", isOnline)
	n.Store(1)
	_, done := run(t, e, nil, "1")
	var refused *tunnel.Error
	if err := <-done; !errors.As(err, &refused) || refused.Code != tunnel.CodeUnavailable {
		t.Errorf("Run = %v, want code %s", err, tunnel.CodeUnavailable)
	}
}

func TestFirstTries(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	e.stop()
	e.ln = nil
	_, done := run(t, e, func(c *Config) { c.FirstTries = 1 }, "1")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Run = %v, want a refused connection", err)
	}
}

// An edge that takes the connection and says nothing is told of in words.
func TestSilentEdge(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // the system takes the connection
	a, err := New(Config{Edge: ln.Addr().String(), Key: "key", Targets: []Target{{Addr: "localhost:1"}}, Claims: []tunnel.Claim{{Kind: tunnel.HTTP}}})
	if err != nil {
		t.Fatal(err)
	}
	dial := (*net.OpError)(nil)
	for d := 100 * time.Millisecond; d < time.Minute; d *= 2 { // until there is time to connect
		ctx, cancel := context.WithTimeout(t.Context(), d)
		_, _, err = a.open(ctx)
		cancel()
		if !errors.As(err, &dial) {
			break
		}
	}
	if err == nil || err.Error() != "the edge did not answer in 10s" {
		t.Errorf("open = %v, want that the edge did not answer", err)
	}
}

func TestUntrustedEdgeEndsRun(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	_, done := run(t, e, func(c *Config) { c.TLS = nil }, "1")
	var ce *tls.CertificateVerificationError
	if err := <-done; !errors.As(err, &ce) {
		t.Errorf("Run = %v, want a certificate error", err)
	}
}

func TestDialAPIWaitsUntilOnline(t *testing.T) {
	e := newTestEdge(t)
	e.config.API = func(s *tunnel.Session, c net.Conn) {
		go func() {
			defer c.Close()
			b := make([]byte, 3)
			io.ReadFull(c, b)
			c.Write(append(b, '!'))
			io.Copy(io.Discard, c)
		}()
	}
	e.start()
	e.stop()
	a, _ := run(t, e, nil, "1")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if _, err := a.DialAPI(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DialAPI = %v while offline, want a wait", err)
	}
	e.start()
	c, err := a.DialAPI(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET")
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "GET!" {
		t.Errorf("the API answered %q, %v", b, err)
	}
}

func TestSlept(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name       string
		wall, mono time.Duration
		want       bool
	}{
		{"a tick", s, s, false},
		{"a busy machine", 3 * s, 3 * s, false},
		{"sleep, the monotonic clock stood", 600 * s, s, true},
		{"sleep, both clocks went on", 600 * s, 600 * s, true},
		{"the wall clock was put back", -600 * s, s, false},
	} {
		before := reading{wall: 50 * s, mono: 40 * s}
		now := reading{wall: before.wall + c.wall, mono: before.mono + c.mono}
		if got := slept(before, now); got != c.want {
			t.Errorf("%s: slept = %v, want %v", c.name, got, c.want)
		}
	}
}

// A fakeSleep moves the clocks by hand.
type fakeSleep struct {
	tick chan time.Time
	wall atomic.Int64
}

func (f *fakeSleep) set(c *Config) {
	f.tick = make(chan time.Time)
	c.tick = f.tick
	c.clock = func() reading { return reading{wall: time.Duration(f.wall.Load())} }
}

func (f *fakeSleep) sleep() {
	f.wall.Add(int64(time.Hour))
	f.tick <- time.Time{}
}

func TestWakeSkipsTheWait(t *testing.T) {
	var f fakeSleep
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
	f.sleep()
	<-e.sessions
	until(t, a, "online", isOnline)
}

// A pinger gives a working link all the time that a busy machine needs, and says
// what became of each look at it.
type pinger struct {
	patient atomic.Bool
	looked  chan error
}

func (p *pinger) set(c *Config) {
	p.looked = make(chan error, 100)
	c.dead = time.Hour // that nothing comes shall not end the session
	c.ask = func(ctx context.Context, s *tunnel.Session) error {
		if p.patient.Load() {
			patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			ctx = patient
		}
		_, err := s.Ping(ctx)
		p.looked <- err
		return err
	}
}

// After a sleep the connection looks alive and is not: the edge is gone
// without a word, as behind a NAT that forgot.
func TestWakeFindsDeadLink(t *testing.T) {
	var f fakeSleep
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
	until(t, a, "online", isOnline)
	f.sleep()
	// The link works, so nothing happens to it.
	if err := <-ping.looked; err != nil {
		t.Errorf("a look at a working link = %v", err)
	}
	if s := a.Status(); s.State != Online {
		t.Fatalf("State = %v after a sleep with a working link, want online", s.State)
	}
	ping.patient.Store(false)
	p.freeze()
	began := time.Now()
	f.sleep()
	<-e.sessions
	until(t, a, "online again", func(s Status) bool { return s.State == Online && s.Since.After(began) })
}

// TestReleaseAll: the edge has let go of every tunnel, in order, when it returns.
func TestReleaseAll(t *testing.T) {
	var mu sync.Mutex
	var released []string
	e := newTestEdge(t)
	e.config.Release = func(_ *tunnel.Session, name string) {
		time.Sleep(20 * time.Millisecond) // as long as closing ports may take
		mu.Lock()
		defer mu.Unlock()
		released = append(released, name)
	}
	e.start()
	a, _ := run(t, e, nil, "1", "2", "3")
	<-e.sessions
	until(t, a, "online", isOnline)
	if err := a.ReleaseAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	got := strings.Join(released, " ")
	mu.Unlock()
	if want := "chosen-0 chosen-1 chosen-2"; got != want {
		t.Errorf("released = %q when ReleaseAll returned, want %q", got, want)
	}
	e.stop()
	until(t, a, "offline", func(s Status) bool { return s.State == Reconnecting })
	var none *tunnel.Error
	if err := a.ReleaseAll(t.Context()); !errors.As(err, &none) || none.Code != tunnel.CodeAgentOffline {
		t.Errorf("ReleaseAll without a session = %v, want code %s", err, tunnel.CodeAgentOffline)
	}
}

// TestDropped: one tunnel of several is closed by the edge. The agent says so,
// serves it no more, and claims the others when it comes back.
func TestDropped(t *testing.T) {
	addr := service(t, "tcp", "127.0.0.1:0", echo)
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, addr, addr, addr)
	s := <-e.sessions
	<-e.hellos
	until(t, a, "online", isOnline)
	why := &tunnel.Error{Code: tunnel.CodeSuperseded, Message: "the tunnel was closed through the API", Hint: "start it again"}
	for _, name := range []string{"chosen-1", "unknown", ""} {
		if err := s.Dropped(name, why); err != nil {
			t.Fatal(err)
		}
	}
	st := until(t, a, "dropped", func(s Status) bool { return s.Upstreams[1].Dropped != nil })
	if got := *st.Upstreams[1].Dropped; got != *why || st.State != Online {
		t.Errorf("Dropped = %+v in state %v, want %+v and online", got, st.State, *why)
	}
	for name, want := range map[string]string{"chosen-0": "", "chosen-1": tunnel.CodeTunnelNotFound, "chosen-2": ""} {
		c := open(t, s, name)
		_, err := c.Read(nil)
		got := ""
		if e := (*tunnel.Error)(nil); errors.As(err, &e) {
			got = e.Code
		}
		if got != want {
			t.Errorf("%s: %v, want code %q", name, err, want)
		}
		c.Close()
	}
	e.cut()
	<-e.sessions
	if h := <-e.hellos; len(h.Claims) != 2 || h.Claims[0].Name != "chosen-0" || h.Claims[1].Name != "chosen-2" {
		t.Errorf("the agent came back with claims %+v, want those of the tunnels that are left", h.Claims)
	}
	st = until(t, a, "online", isOnline)
	if gs := st.Welcome.Grants; len(gs) != 3 || gs[0].Name != "chosen-0" || gs[2].Name != "chosen-2" || st.Upstreams[1].Dropped == nil || st.Upstreams[0].Dropped != nil {
		t.Errorf("grants %+v and services %+v moved", gs, st.Upstreams)
	}
}

// TestStreamOfAnotherKind than the tunnel's does not reach its service.
// One tunnel that the edge refuses keeps the others from nothing, if the agent may
// go without, and always once they were up.
func TestRefusedClaim(t *testing.T) {
	const taken = "taken"
	e := newTestEdge(t)
	e.refuse = func(h tunnel.Hello) *tunnel.Error {
		for i, c := range h.Claims {
			if c.Name == taken {
				return (&tunnel.Error{Code: tunnel.CodeName, Message: "name is taken"}).About(i + 1)
			}
		}
		return nil
	}
	e.start()
	name := func(i int, s string, partial bool) func(*Config) {
		return func(c *Config) { c.Claims[i].Name, c.Partial = s, partial }
	}
	a, _ := run(t, e, name(1, taken, true), "1", "2", "3")
	s := until(t, a, "online", isOnline)
	if g := s.Welcome.Grants; len(g) != 3 || g[0].Name == "" || g[1].Name != "" || g[2].Name == "" {
		t.Errorf("Grants = %+v, want the first and the third", g)
	}
	if u := s.Upstreams; u[1].Dropped == nil || u[1].Dropped.Code != tunnel.CodeName || u[0].Dropped != nil || u[2].Dropped != nil {
		t.Errorf("Upstreams = %+v, want the second one refused", u)
	}

	// What is refused at first ends an agent that wants all or nothing, and one
	// that has nothing else.
	for _, tt := range []struct {
		partial bool
		targets []string
	}{{false, []string{"1", "2"}}, {true, []string{"1"}}} {
		_, done := run(t, e, name(0, taken, tt.partial), tt.targets...)
		select {
		case err := <-done:
			if refused := (*tunnel.Error)(nil); !errors.As(err, &refused) || refused.Code != tunnel.CodeName {
				t.Errorf("Run(%+v) = %v, want that the name is taken", tt, err)
			}
		case <-time.After(patience):
			t.Errorf("Run(%+v) goes on", tt)
		}
	}
}

// A name that somebody else has by the time the link is back ends that tunnel.
func TestNameGoneAfterReconnect(t *testing.T) {
	e := newTestEdge(t)
	var back atomic.Bool
	e.refuse = func(h tunnel.Hello) *tunnel.Error {
		if back.Load() && len(h.Claims) == 2 {
			return (&tunnel.Error{Code: tunnel.CodeName, Message: "name is taken"}).About(1)
		}
		return nil
	}
	e.start()
	a, _ := run(t, e, nil, "1", "2")
	until(t, a, "online", isOnline)
	back.Store(true)
	e.cut()
	until(t, a, "the first one gone", func(s Status) bool { return s.Upstreams[0].Dropped != nil })
	s := until(t, a, "online again", isOnline)
	if s.Upstreams[1].Dropped != nil || s.Welcome.Grants[1].Name != "chosen-1" {
		t.Errorf("the second tunnel is %+v, want it to go on as chosen-1", s.Welcome.Grants)
	}
}

func TestStreamOfAnotherKind(t *testing.T) {
	addr := service(t, "tcp", "127.0.0.1:0", echo)
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, func(c *Config) { c.Claims[0].Kind = tunnel.TCP }, addr)
	s := <-e.sessions
	until(t, a, "online", isOnline)
	for kind, want := range map[tunnel.Kind]string{tunnel.TCP: "", tunnel.TLS: tunnel.CodeTunnelNotFound, tunnel.HTTP: tunnel.CodeTunnelNotFound} {
		c, err := s.Open(tunnel.Peer{Tunnel: "chosen-0", Addr: "203.0.113.9:1", Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Read(nil)
		got := ""
		if e := (*tunnel.Error)(nil); errors.As(err, &e) {
			got = e.Code
		}
		if got != want || want == "" && err != nil {
			t.Errorf("a stream of kind %s: %v, want code %q", kind, err, want)
		}
		c.Close()
	}
}

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"3000":                  "http://localhost:3000",
		"app.test:81":           "http://app.test:81",
		":81":                   "http://localhost:81",
		"http://app.test":       "http://app.test:80",
		"https://app.test/":     "https://app.test:443",
		"http://[::1]:3000":     "http://[::1]:3000",
		"tcp://db:5432":         "db:5432",
		"unix:/run/app.sock":    "unix:/run/app.sock",
		"unix:///run/app.sock":  "unix:/run/app.sock",
		"":                      "error",
		"0":                     "error",
		"65536":                 "error",
		"-1":                    "error",
		"app":                   "error",
		"unix:":                 "error",
		"ftp://x:21":            "error",
		"tcp://db":              "error",
		"http://":               "error",
		"http://x/app":          "error",
		"http://x?q=1":          "error",
		"http://user:pass@x:80": "error",
	} {
		got := "error"
		if target, err := ParseTarget(in); err == nil {
			got = target.String()
		}
		if got != want {
			t.Errorf("ParseTarget(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestTargetTLS(t *testing.T) {
	for addr, verified := range map[string]bool{
		"localhost:443": false, "shop.localhost:443": false, "LOCALHOST:443": false, "127.0.0.1:443": false, "[::1]:443": false,
		"app.test:443": true, "10.0.0.1:443": true, "localhost.example.com:443": true,
	} {
		c := Target{Scheme: "https", Addr: addr}.tls()
		if c.InsecureSkipVerify == verified {
			t.Errorf("%s: verified = %v, want %v", addr, !c.InsecureSkipVerify, verified)
		}
		if c.NextProtos[0] != "http/1.1" {
			t.Errorf("%s: ALPN %v, want http/1.1", addr, c.NextProtos)
		}
	}
	c := Target{Scheme: "https", Addr: "app.test:443", proto: "h2c"}.tls()
	if c.NextProtos[0] != "h2" {
		t.Errorf("h2c: ALPN %v, want h2", c.NextProtos)
	}
}

// Every name below localhost is this machine, whatever the resolver knows.
func TestTargetOnThisMachine(t *testing.T) {
	for _, family := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", family)
		if err != nil {
			t.Logf("no %s here: %v", family, err)
			continue
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, s := range []string{
			port, ":" + port, "localhost:" + port, "LocalHost:" + port, "shop.localhost:" + port,
			"a.b.localhost.:" + port, "http://shop.localhost:" + port, "https://shop.localhost:" + port + "/",
			"tcp://db.localhost:" + port, "https://" + l.Addr().String(),
		} {
			target, err := ParseTarget(s)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := target.reach(t.Context())
			if err != nil {
				t.Errorf("%s, with a service on %s: %v", s, l.Addr(), err)
				continue
			}
			if got := conn.RemoteAddr().String(); got != l.Addr().String() {
				t.Errorf("%s leads to %s, want %s", s, got, l.Addr())
			}
			conn.Close()
		}
	}
}

// A service behind TLS is asked for by its name, also where no resolver knows it.
func TestTargetNameInTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	asked := make(chan string, 1)
	server.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- h.ServerName
		return nil, nil
	}}
	server.StartTLS()
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	target, err := ParseTarget("https://shop.localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := target.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := <-asked; got != "shop.localhost" {
		t.Errorf("asked for %q, want shop.localhost", got)
	}
	if got, want := target.String(), "https://shop.localhost:"+port; got != want {
		t.Errorf("it is called %s, want %s", got, want)
	}
}

// A tunnel that was refused is asked for again: by itself where the reason can
// pass, and whenever somebody wants it.
func TestRefusedClaimAgain(t *testing.T) {
	var taken, bad atomic.Bool
	taken.Store(true)
	bad.Store(true)
	refusal := func(name string) *tunnel.Error {
		switch {
		case name == "taken" && taken.Load():
			return &tunnel.Error{Code: tunnel.CodeName, Message: "name is taken"}
		case name == "foreign" && bad.Load():
			return &tunnel.Error{Code: tunnel.CodeDomain, Message: "not yours"}
		}
		return nil
	}
	e := newTestEdge(t)
	e.refuse = func(h tunnel.Hello) *tunnel.Error {
		for i, c := range h.Claims {
			if err := refusal(c.Name); err != nil {
				return err.About(i + 1)
			}
		}
		return nil
	}
	claimed := make(chan string, 100)
	e.config.Claim = func(_ *tunnel.Session, c tunnel.Claim) (tunnel.Grant, error) {
		claimed <- c.Name
		if err := refusal(c.Name); err != nil {
			return tunnel.Grant{}, err
		}
		return tunnel.Grant{Kind: c.Kind, Name: c.Name, URL: "http://" + c.Name + ".localhost"}, nil
	}
	e.start()
	addr := service(t, "tcp", "127.0.0.1:0", echo)
	a, _ := run(t, e, func(c *Config) {
		c.Claims[1].Name, c.Claims[2].Name, c.Partial, c.again = "taken", "foreign", true, time.Millisecond
	}, addr, addr, addr)
	s := <-e.sessions
	st := until(t, a, "online", isOnline)
	if u := st.Upstreams; u[1].Again.IsZero() || !u[2].Again.IsZero() {
		t.Errorf("Upstreams = %+v, want the second one asked for again and not the third", u)
	}
	for range 3 {
		if name := <-claimed; name != "taken" {
			t.Errorf("%q was asked for again", name)
		}
	}
	taken.Store(false)
	st = until(t, a, "granted", func(s Status) bool { return s.Upstreams[1].Dropped == nil })
	if g := st.Welcome.Grants; len(g) != 3 || g[1].Name != "taken" || st.Upstreams[1].Tunnel != "taken" || !st.Upstreams[1].Again.IsZero() || st.State != Online {
		t.Errorf("status = %+v, want the tunnel granted", st)
	}
	c := open(t, s, "taken")
	if _, err := c.Read(nil); err != nil {
		t.Errorf("the tunnel that was granted later: %v", err)
	}
	c.Close()

	// The other is asked for when somebody says so.
	for len(claimed) > 0 {
		<-claimed
	}
	a.Again(2)
	if name := <-claimed; name != "foreign" {
		t.Errorf("%q was asked for, want foreign", name)
	}
	until(t, a, "refused again", func(s Status) bool { return s.Upstreams[2].Again.IsZero() && s.Upstreams[2].Dropped != nil })
	bad.Store(false)
	a.Again(2)
	until(t, a, "granted as well", func(s Status) bool { return s.Upstreams[2].Dropped == nil })
	a.Again(0) // which has nothing to be asked for
	a.Again(7)

	// All of them come back after a break.
	for len(e.hellos) > 0 {
		<-e.hellos
	}
	e.cut()
	<-e.sessions
	if h := <-e.hellos; len(h.Claims) != 3 {
		t.Errorf("the agent came back with %+v, want all three", h.Claims)
	}
	until(t, a, "online again", isOnline)
}
