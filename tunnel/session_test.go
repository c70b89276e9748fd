package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/yamux"
)

// echo answers each stream with its own bytes, half-close included.
func echo(st *Stream) {
	defer st.Close()
	st.Connected(7 * time.Millisecond)
	if _, err := io.Copy(st, st); err == nil {
		st.CloseWrite()
	}
}

func TestOpenCarriesPeerAndBytes(t *testing.T) {
	peers := make(chan Peer, 1)
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		peers <- st.Peer()
		echo(st)
	}})
	want := Peer{Tunnel: "shop", Addr: "203.0.113.9:4711", Kind: TCP}
	c, err := p.edge.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "hello")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "hello" {
		t.Fatalf("ReadAll = %q, %v, want hello", b, err)
	}
	if got := <-peers; got != want {
		t.Errorf("Peer = %+v, want %+v", got, want)
	}
	if d := c.(*Stream).Dial(); d != 7*time.Millisecond {
		t.Errorf("Dial = %v, want 7ms", d)
	}
}

// A service that speaks first must not wait for bytes that never come.
func TestServerSpeaksFirst(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.WriteString(st, "220 ready\r\n")
		io.Copy(io.Discard, st)
		st.CloseWrite()
	}})
	c, err := p.edge.Open(Peer{Tunnel: "mail", Kind: TCP})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 11)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "220 ready\r\n" {
		t.Fatalf("read %q, %v", b, err)
	}
}

func TestHalfCloseEachWay(t *testing.T) {
	blob := make([]byte, 3<<20)
	rand.Read(blob)
	t.Run("agent ends first", func(t *testing.T) {
		sums := make(chan [32]byte, 1)
		p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
			defer st.Close()
			st.Connected(0)
			io.WriteString(st, "early answer")
			st.CloseWrite()
			h := sha256.New()
			io.Copy(h, st)
			sums <- [32]byte(h.Sum(nil))
		}})
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil || string(b) != "early answer" {
			t.Fatalf("ReadAll = %q, %v", b, err)
		}
		// Long after the answer has ended the request goes on.
		if _, err := io.Copy(c, bytes.NewReader(blob)); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		if got, want := <-sums, sha256.Sum256(blob); got != want {
			t.Errorf("sum = %x, want %x", got, want)
		}
		c.Close()
		noStreams(t, p)
	})
	t.Run("edge ends first", func(t *testing.T) {
		p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
			defer st.Close()
			st.Connected(0)
			io.Copy(io.Discard, st)
			st.Write(blob)
			st.CloseWrite()
		}})
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "get")
		c.CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(b, blob) {
			t.Fatalf("read %d bytes, %v, want %d", len(b), err, len(blob))
		}
		c.Close()
		noStreams(t, p)
	})
}

// noStreams waits until only the control stream is left in either yamux.
func noStreams(t testing.TB, p *pair) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("edge: %d in yamux, %d known, %d open; agent: %d in yamux, %d known",
				p.edge.mux.NumStreams(), len(p.edge.table.m), p.edge.Streams(), p.agent.mux.NumStreams(), len(p.agent.table.m))
		}
	}()
	eventually(t, "no streams left", func() bool {
		p.edge.table.Lock()
		e := len(p.edge.table.m)
		p.edge.table.Unlock()
		p.agent.table.Lock()
		a := len(p.agent.table.m)
		p.agent.table.Unlock()
		return p.edge.mux.NumStreams() == 1 && p.agent.mux.NumStreams() == 1 &&
			e == 1 && a == 1 && p.edge.Streams() == 0
	})
}

func TestRefusedDialKeepsItsMessage(t *testing.T) {
	const message = "dial tcp 127.0.0.1:3000: connect: connection refused"
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		st.Refuse(&Error{Code: CodeUpstreamRefused, Message: message}, time.Millisecond)
		st.Close()
	}})
	for range 50 {
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		// The agent's reset may come while the request is being written.
		io.Copy(c, strings.NewReader(strings.Repeat("x", 100_000)))
		_, err = c.Read(make([]byte, 1))
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUpstreamRefused || e.Message != message {
			t.Fatalf("Read = %v, want %s: %s", err, CodeUpstreamRefused, message)
		}
		c.Close()
	}
	noStreams(t, p)
}

// What arrived before a reset is delivered, then the reset, never an EOF.
func TestResetAfterBytesKeepsThem(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		st.Connected(0)
		io.WriteString(st, "HTTP/1.1 413 Too Large\r\n\r\n")
		st.Close()
	}})
	for range 100 {
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "POST / HTTP/1.1\r\n")
		b, err := io.ReadAll(c)
		if string(b) != "HTTP/1.1 413 Too Large\r\n\r\n" || !errors.Is(err, ErrReset) {
			t.Fatalf("ReadAll = %q, %v, want the head and %v", b, err, ErrReset)
		}
		c.Close()
	}
	noStreams(t, p)
}

func TestResetInEveryState(t *testing.T) {
	// What each side does before it closes; either closes first.
	steps := map[string]func(c Conn){
		"fresh":   func(c Conn) {},
		"written": func(c Conn) { io.WriteString(c, "x") },
		"read":    func(c Conn) { io.WriteString(c, "x"); c.Read(make([]byte, 1)) },
		"ended":   func(c Conn) { io.WriteString(c, "x"); c.CloseWrite() },
		"other ended": func(c Conn) {
			io.WriteString(c, "e")
			for b := make([]byte, 10); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		},
		"both ended": func(c Conn) { io.WriteString(c, "e"); c.CloseWrite(); io.Copy(io.Discard, c) },
		"stalled": func(c Conn) {
			// More than the window: the writer waits when the stream goes.
			go c.Write(make([]byte, 2<<20))
			io.WriteString(c, "x")
		},
	}
	for name, step := range steps {
		for _, first := range []string{"edge", "agent", "both"} {
			t.Run(name+", "+first+" closes", func(t *testing.T) {
				var wg sync.WaitGroup
				p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
					defer wg.Done()
					st.Connected(0)
					b := make([]byte, 1)
					switch first {
					case "agent":
						st.Read(b)
						if b[0] == 'e' {
							st.Write(b)
							st.CloseWrite()
						}
					case "both":
						st.Read(b)
					default:
						n, _ := st.Read(b)
						if n == 1 {
							st.Write(b)
							if b[0] == 'e' {
								st.CloseWrite()
							}
						}
						for {
							if _, err := st.Read(b); err != nil {
								break
							}
						}
					}
					st.Close()
				}})
				for range 20 {
					c, err := p.edge.Open(Peer{Tunnel: "a"})
					if err != nil {
						t.Fatal(err)
					}
					wg.Add(1)
					if name == "fresh" && first == "agent" {
						// The agent reads nothing and would wait for ever.
						io.WriteString(c, "x")
					}
					if first != "edge" && (name == "read" || name == "other ended") {
						c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					}
					within(t, "step", patience, func() { step(c) })
					if first == "agent" {
						c.SetReadDeadline(time.Time{})
						within(t, "agent's close", patience, func() { io.Copy(io.Discard, c) })
					}
					within(t, "Close", patience, func() { c.Close() })
				}
				if name == "fresh" {
					// A reset may overtake the header, and then Serve is not called.
					noStreams(t, p)
					return
				}
				within(t, "agent's handlers", 10*time.Second, wg.Wait)
				noStreams(t, p)
				eventually(t, "no reset waits for our yamux", func() bool {
					return !p.edge.link.resets.any.Load() && !p.agent.link.resets.any.Load()
				})
			})
		}
	}
}

func TestResetWakesBlockedWriter(t *testing.T) {
	stop := make(chan struct{})
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		st.Connected(0)
		<-stop
		st.Close()
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 2*longWindow))
		result <- err
	}()
	st := c.(*Stream)
	eventually(t, "the window is full", func() bool {
		select {
		case err := <-result:
			t.Fatalf("Write returned %v before the window was full", err)
		default:
		}
		p.agent.table.Lock()
		defer p.agent.table.Unlock()
		a := p.agent.table.m[st.id]
		return a != nil && a.got.Load() >= uint64(a.mux.in.first)
	})
	close(stop)
	within(t, "Write", patience, func() {
		if err := <-result; !errors.Is(err, ErrReset) {
			t.Errorf("Write = %v, want %v", err, ErrReset)
		}
	})
	c.Close()
	noStreams(t, p)
}

func TestAfterReset(t *testing.T) {
	called := make(chan struct{}, 2)
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		gone := make(chan struct{})
		st.AfterReset(func() { close(gone); called <- struct{}{} })
		<-gone // not reading: a handler that is stuck in its local service
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "x")
	c.Close()
	within(t, "after a reset", patience, func() { <-called })
	c, err = p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "x")
	if _, err := c.Read(nil); err != nil {
		t.Fatal(err)
	}
	p.edge.Close()
	within(t, "after the session", patience, func() { <-called })
}

func TestThousandStreamsAtOnce(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: echo})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			c, err := p.edge.Open(Peer{Tunnel: "a"})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			body := bytes.Repeat([]byte{byte(i)}, 1000+i*37)
			go func() {
				c.Write(body)
				c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("stream %d: %d bytes, %v, want %d", i, len(got), err, len(body))
			}
		})
	}
	within(t, "1000 streams", 2*patience, wg.Wait)
	noStreams(t, p)
}

func TestStreamLimit(t *testing.T) {
	p := newPair(t, &EdgeConfig{Streams: 3}, &AgentConfig{Serve: echo})
	if got := p.agent.Welcome().Limits.Streams; got != 3 {
		t.Errorf("the welcome says %d streams, want 3", got)
	}
	var open []Conn
	for range 3 {
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	_, err := p.edge.Open(Peer{Tunnel: "a"})
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeTooManyStreams {
		t.Fatalf("fourth Open = %v, want %s", err, CodeTooManyStreams)
	}
	open[0].Close()
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	for _, c := range append(open, c) {
		c.Close()
	}
	noStreams(t, p)
}

// Readers that stall hold their own streams only.
func TestStalledReaders(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		if st.Peer().Tunnel == "echo" {
			echo(st)
			return
		}
		defer st.Close()
		st.Connected(0)
		for {
			if _, err := st.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}})
	var stalled []Conn
	for range 16 {
		c, err := p.edge.Open(Peer{Tunnel: "flood"})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "go")
		stalled = append(stalled, c)
	}
	eventually(t, "all windows full", func() bool {
		for _, c := range stalled {
			if st := c.(*Stream); st.got.Load() < uint64(st.mux.in.first) {
				return false
			}
		}
		return true
	})
	within(t, "small requests beside stalled readers", patience, func() {
		for range 50 {
			c, err := p.edge.Open(Peer{Tunnel: "echo"})
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "ping")
			b := make([]byte, 4)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
				t.Errorf("echo = %q, %v", b, err)
			}
			c.Close()
		}
	})
	for _, c := range stalled {
		c.Close()
	}
	noStreams(t, p)
}

// A link that is cut in the middle of a transfer is not the end of it.
func TestCutLinkIsNotEOF(t *testing.T) {
	for _, side := range []string{"cut", "edge closes", "agent closes"} {
		t.Run(side, func(t *testing.T) {
			p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
				defer st.Close()
				st.Connected(0)
				io.WriteString(st, "part")
				io.Copy(io.Discard, st)
			}})
			c, err := p.edge.Open(Peer{Tunnel: "a"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b := make([]byte, 4)
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
			switch side {
			case "cut":
				p.agentConn.Close()
			case "edge closes":
				p.edge.Close()
			case "agent closes":
				p.agent.Close()
			}
			within(t, "Read", patience, func() {
				// Either the session ended under it, or the agent's handler
				// reset it while the session was ending.
				_, err := c.Read(b)
				if !errors.Is(err, ErrEnded) && !errors.Is(err, ErrReset) {
					t.Errorf("Read = %v, want %v or %v", err, ErrEnded, ErrReset)
				}
			})
			if side != "agent closes" {
				<-p.edge.Done()
				_, err := p.edge.Open(Peer{Tunnel: "a"})
				var e *Error
				if !errors.As(err, &e) || e.Code != CodeAgentOffline {
					t.Errorf("Open = %v, want %s", err, CodeAgentOffline)
				}
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	say := make(chan string)
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		for s := range say {
			if s == "" {
				st.CloseWrite()
				continue
			}
			io.WriteString(st, s)
		}
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st := c.(*Stream)
	if st.Quiet() {
		t.Error("Quiet before the status came")
	}
	io.WriteString(c, "request")
	say <- "answer"
	b := make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	if !st.Quiet() {
		t.Error("not Quiet after the whole answer was read")
	}
	st.Shrink()
	say <- "surplus"
	eventually(t, "a byte is noticed", func() bool { return !st.Quiet() })
	if _, err := io.ReadFull(c, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if !st.Quiet() {
		t.Error("not Quiet after the surplus was read")
	}
	say <- ""
	eventually(t, "the end is noticed", func() bool { return !st.Quiet() })
	close(say)
}

func TestProbePingLive(t *testing.T) {
	live := make(chan struct{})
	p := newPair(t, nil, &AgentConfig{
		Live:  func() { close(live) },
		Serve: func(st *Stream) { t.Error("a probe reached the local service"); st.Close() },
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if d, err := p.edge.Probe(ctx); err != nil || d <= 0 {
		t.Fatalf("Probe = %v, %v", d, err)
	}
	if err := p.edge.Live(); err != nil {
		t.Fatal(err)
	}
	within(t, "live", patience, func() { <-live })
	for _, s := range []*Session{p.edge, p.agent} {
		if d, err := s.Ping(ctx); err != nil || d <= 0 {
			t.Errorf("Ping = %v, %v", d, err)
		}
	}
	noStreams(t, p)
}

func TestSupersedeAndDrain(t *testing.T) {
	reasons := make(chan string, 1)
	p := newPair(t, nil, &AgentConfig{Drain: func(r string) { reasons <- r }})
	if err := p.edge.Drain("the edge restarts"); err != nil {
		t.Fatal(err)
	}
	within(t, "drain", patience, func() {
		if got := <-reasons; got != "the edge restarts" {
			t.Errorf("reason = %q", got)
		}
	})
	if err := p.edge.Supersede(&Error{Code: CodeSuperseded, Message: "lrok on host mallow took shop over", Hint: "pick another"}); err != nil {
		t.Fatal(err)
	}
	err := <-p.agentErr
	p.agentErr <- err
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeSuperseded || e.Message != "lrok on host mallow took shop over" || e.Hint != "pick another" {
		t.Errorf("agent's Run = %v, want superseded", err)
	}
	if err := p.edge.Err(); err != nil {
		t.Errorf("edge's Err = %v, want nil", err)
	}
}

func TestClaimAndRelease(t *testing.T) {
	released := make(chan string, 1)
	p := newPair(t, &EdgeConfig{
		Claim: func(s *Session, c Claim) (Grant, error) {
			switch c.Name {
			case "taken":
				return Grant{}, &Error{Code: CodeName, Message: `name "taken" is taken`}
			case "broken":
				return Grant{}, errors.New("disk full at /var/lib")
			}
			return Grant{Kind: c.Kind, Name: c.Name, URL: "http://" + c.Name + ".localhost"}, nil
		},
		Release: func(s *Session, name string) { released <- name },
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g, err := p.agent.Claim(ctx, Claim{Kind: HTTP, Name: "shop"})
	if err != nil || g.URL != "http://shop.localhost" {
		t.Errorf("Claim = %+v, %v", g, err)
	}
	for name, code := range map[string]string{"taken": CodeName, "broken": CodeInternal} {
		_, err := p.agent.Claim(ctx, Claim{Kind: HTTP, Name: name})
		var e *Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("Claim(%s) = %v, want %s", name, err, code)
		}
		if strings.Contains(e.Message, "/var/lib") {
			t.Errorf("an inner error got out: %v", e)
		}
	}
	p.agent.Release("shop")
	within(t, "release", patience, func() {
		if got := <-released; got != "shop" {
			t.Errorf("released %q, want shop", got)
		}
	})
}

func TestAPIStreams(t *testing.T) {
	conns := make(chan net.Conn, 20)
	p := newPair(t, &EdgeConfig{API: func(s *Session, c net.Conn) { conns <- c }}, nil)
	var open []net.Conn
	for range apiStreams {
		c, err := p.agent.OpenAPI()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET")
		open = append(open, c)
	}
	if _, err := p.agent.OpenAPI(); err == nil {
		t.Error("a ninth stream of kind api was opened")
	}
	for _, c := range open {
		e := <-conns
		if got, want := e.RemoteAddr().String(), p.agentConn.LocalAddr().String(); got != want {
			t.Errorf("RemoteAddr = %s, want %s", got, want)
		}
		b := make([]byte, 3)
		if _, err := io.ReadFull(e, b); err != nil || string(b) != "GET" {
			t.Errorf("read %q, %v", b, err)
		}
		io.WriteString(e, "200")
		e.Close()
		_ = c
	}
	for _, c := range open {
		c.Close()
	}
	noStreams(t, p)
	c, err := p.agent.OpenAPI()
	if err != nil {
		t.Fatalf("OpenAPI after the others closed: %v", err)
	}
	c.Close()
}

func TestDeadLink(t *testing.T) {
	p := newPair(t, &EdgeConfig{Ping: 20 * time.Millisecond, Dead: 200 * time.Millisecond}, nil)
	p.agent.link.mu.Lock() // the agent writes nothing any more
	within(t, "the edge notices", patience, func() { <-p.edge.Done() })
	p.agent.link.mu.Unlock()
	if err := p.edge.Err(); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "dead") {
		t.Errorf("Err = %v, want a dead link", err)
	}
}

// A link is dead when nothing has come for so long, and not before: not while
// bytes come, and not because a flush that took long is over.
func TestLinkIsWatched(t *testing.T) {
	for _, silent := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			s := newSession(newLink(nil, newWire(near)), nil)
			var err error
			if s.mux, err = yamux.Server(near, s.muxConfig(1)); err != nil {
				t.Fatal(err)
			}
			s.dead = time.Minute
			defer s.watch().Stop()
			for range 10 { // five minutes
				time.Sleep(30 * time.Second)
				s.link.touch()
			}
			if s.over() {
				t.Fatalf("a link with bytes on it died: %v", s.Err())
			}
			if silent {
				time.Sleep(s.dead - time.Second)
			} else {
				s.link.since.Store(int64(time.Since(s.link.start))) // a flush begins
				for range 2 {
					s.link.touch()
					time.Sleep(s.dead/2 - time.Second)
				}
			}
			synctest.Wait()
			if s.over() {
				t.Fatalf("the link died too early: %v", s.Err())
			}
			if !silent {
				s.link.touch()
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if err := s.Err(); !s.over() || err == nil || !strings.Contains(err.Error(), "dead") {
				t.Errorf("Err = %v after %v, want a dead link", err, s.dead)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		st.Connected(0)
		io.Copy(io.Discard, st)
		st.Close()
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "x")
	c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("Read = %v, want a timeout", err)
	}
	c.SetReadDeadline(time.Time{})
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	c.Close()
	within(t, "Read after Close", patience, func() {
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v, want %v", err, net.ErrClosed)
		}
	})
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write = %v, want %v", err, net.ErrClosed)
	}
}

// A header that did not go out in time goes out with the next bytes: whatever a
// client sends is never taken for it.
func TestHeaderGoesOutOnce(t *testing.T) {
	served := make(chan Peer, 2)
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		served <- st.Peer()
		st.Connected(0)
		io.Copy(st, st)
	}})
	<-p.edge.controlled
	c, err := p.edge.Open(Peer{Tunnel: "mine", Kind: HTTP})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := p.edge.link
	eventually(t, "the line is busy and the queue full", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.flushing {
			return false
		}
		l.flushing = true
		f := newFrame(frameWindow, 0, c.(*Stream).id, 0)
		for len(l.queue) < queueFast {
			l.append(f[:])
		}
		return true
	})
	c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Write([]byte("first")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write = %d, %v, want a timeout", n, err)
	}
	l.mu.Lock()
	l.flushing = false
	l.rouse()
	l.mu.Unlock()
	c.SetWriteDeadline(time.Time{})
	evil := appendHeader(nil, header{kind: kindByte(TCP), peer: Peer{Tunnel: "other", Kind: TCP}})
	if _, err := c.Write(evil); err != nil {
		t.Fatal(err)
	}
	if peer := <-served; peer.Tunnel != "mine" {
		t.Errorf("the agent serves %q, want mine", peer.Tunnel)
	}
	got := make([]byte, len(evil))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, evil) {
		t.Errorf("the echo is %q, %v, want %q", got, err, evil)
	}
}

// Close frees a Write that waits for the window and a CloseWrite that waits for
// the Write, also when the other side has ended.
func TestCloseFreesWriters(t *testing.T) {
	hold := make(chan struct{})
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		st.CloseWrite()
		<-hold
	}})
	defer close(hold)
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(nil); err != nil {
		t.Fatal(err)
	}
	st := c.(*Stream)
	done := make(chan error, 2)
	go func() {
		_, err := c.Write(make([]byte, 8<<20))
		done <- err
	}()
	eventually(t, "the window is full", func() bool { return st.mux.out.window.Load() == 0 })
	eventually(t, "the other side has ended", st.fin.Load)
	go func() { done <- c.(*Stream).CloseWrite() }()
	eventually(t, "our side is ending", st.ended.Load)
	c.Close()
	within(t, "Write and CloseWrite after Close", patience, func() {
		for range 2 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v, want %v", err, net.ErrClosed)
			}
		}
	})
}
