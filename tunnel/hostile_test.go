package tunnel

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// accept starts Accept on a loopback connection and returns the other end.
func accept(t testing.TB, config *EdgeConfig) (*tls.Conn, <-chan error, <-chan *Pending) {
	t.Helper()
	config.TLS = edgeTestTLS()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	errs, pendings := make(chan error, 1), make(chan *Pending, 1)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p, err := Accept(c, config)
		errs <- err
		if err == nil {
			pendings <- p
		}
	}()
	client := tls.Client(conn, agentTLS(agentTestTLS()))
	t.Cleanup(func() { client.Close(); <-done })
	return client, errs, pendings
}

func hello(v any) []byte {
	body, _ := json.Marshal(v)
	return append([]byte{firstSession}, withLength(body)...)
}

func TestBadFirstFrames(t *testing.T) {
	big := append([]byte{firstSession}, binary.BigEndian.AppendUint32(nil, MaxHello+1)...)
	for name, c := range map[string]struct {
		frame []byte
		code  string
	}{
		"too long":     {big, CodeBadHello},
		"huge":         {[]byte{firstSession, 0xff, 0xff, 0xff, 0xff}, CodeBadHello},
		"no JSON":      {append([]byte{firstSession}, withLength([]byte("GET / HTTP/1.1"))...), CodeBadHello},
		"other kind":   {[]byte{9}, CodeUnsupported},
		"old version":  {hello(Hello{Version: MinVersion - 1}), CodeVersion},
		"empty length": {[]byte{firstSession, 0, 0, 0, 0}, CodeBadHello},
	} {
		t.Run(name, func(t *testing.T) {
			client, errs, _ := accept(t, &EdgeConfig{})
			if _, err := client.Write(c.frame); err != nil {
				t.Fatal(err)
			}
			client.SetReadDeadline(time.Now().Add(patience))
			_, err := readWelcome(client)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("answer = %v, want %s", err, c.code)
			}
			client.Close()
			if err := <-errs; err == nil {
				t.Error("Accept took it")
			}
		})
	}
}

func TestHelloAtTheLimit(t *testing.T) {
	h := Hello{Version: Version, Instance: "i"}
	body, _ := json.Marshal(h)
	h.Software = strings.Repeat("x", MaxHello-len(body))
	client, errs, pendings := accept(t, &EdgeConfig{})
	if err := writeHello(client, h); err != nil {
		t.Fatalf("a hello of %d bytes: %v", MaxHello, err)
	}
	if err := <-errs; err != nil {
		t.Fatalf("Accept = %v", err)
	}
	(<-pendings).Close()
	h.Software += "x"
	var e *Error
	if err := writeHello(io.Discard, h); !errors.As(err, &e) || e.Code != CodeBadHello {
		t.Errorf("writeHello of one byte more = %v, want %s", err, CodeBadHello)
	}
}

// A newer agent is answered in the edge's version.
func TestNewerAgent(t *testing.T) {
	client, errs, pendings := accept(t, &EdgeConfig{})
	client.Write(hello(map[string]any{"version": Version + 5, "unheardOf": true}))
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	s, err := (<-pendings).Accept(Welcome{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort(nil)
	w, err := readWelcome(client)
	if err != nil || w.Version != Version {
		t.Errorf("welcome = %+v, %v, want version %d", w, err, Version)
	}
}

// hostile is an agent that speaks yamux by hand.
func hostile(t *testing.T, config *EdgeConfig) (*tls.Conn, *Session, <-chan error) {
	t.Helper()
	client, errs, pendings := accept(t, config)
	writeHello(client, Hello{Version: Version})
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	s, err := (<-pendings).Accept(Welcome{})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context()) }()
	if _, err := readWelcome(client); err != nil {
		t.Fatal(err)
	}
	return client, s, ran
}

func rawFrame(kind byte, flags uint16, id, length uint32) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, id)
	return binary.BigEndian.AppendUint32(b, length)
}

func TestHostileFramesEndTheSession(t *testing.T) {
	many := func(n int, f func(i int) []byte) []byte {
		var b []byte
		for i := range n {
			b = append(b, f(i)...)
		}
		return b
	}
	control := append(rawFrame(frameWindow, flagSYN, 1, 0), []byte{}...)
	for name, b := range map[string][]byte{
		"yamux ping":          rawFrame(framePing, flagSYN, 0, 1),
		"even id":             rawFrame(frameWindow, flagSYN, 2, 0),
		"id 0":                rawFrame(frameWindow, flagSYN, 0, 0),
		"opened twice":        append(rawFrame(frameWindow, flagSYN, 1, 0), rawFrame(frameWindow, flagSYN, 1, 0)...),
		"bad version":         append([]byte{7}, rawFrame(0, 0, 0, 0)[1:]...),
		"bad type":            rawFrame(9, 0, 1, 0),
		"two ends":            append(append(control, rawFrame(frameWindow, flagFIN, 1, 0)...), rawFrame(frameWindow, flagFIN, 1, 0)...),
		"window exceeded":     append(control, rawFrame(frameData, 0, 1, window+1)...),
		"too many streams":    many(1000, func(i int) []byte { return rawFrame(frameWindow, flagSYN, uint32(2*i+1), 0) }),
		"long control":        append(append(control, rawFrame(frameData, 0, 1, 4)...), 0xff, 0xff, 0xff, 0xff),
		"control not JSON":    append(append(control, rawFrame(frameData, 0, 1, 6)...), 0, 0, 0, 2, '{', '{'),
		"control ends":        append(control, rawFrame(frameWindow, flagFIN, 1, 0)...),
		"control reset":       append(control, rawFrame(frameWindow, flagRST, 1, 0)...),
		"protocol error sent": rawFrame(3, 0, 0, 1),
	} {
		t.Run(name, func(t *testing.T) {
			client, s, ran := hostile(t, &EdgeConfig{})
			client.Write(b)
			select {
			case err := <-ran:
				if err == nil {
					t.Error("Run = nil, want an error")
				}
			case <-time.After(patience):
				s.Abort(nil)
				t.Fatal("the session goes on")
			}
		})
	}
}

// controlFrames is a control stream and messages on it, as frames.
func controlFrames(t *testing.T, n int, f func(i int) message) []byte {
	t.Helper()
	b := rawFrame(frameWindow, flagSYN, 1, 0)
	for i := range n {
		m, err := encodeMessage(f(i))
		if err != nil {
			t.Fatal(err)
		}
		b = append(append(b, rawFrame(frameData, 0, 1, uint32(len(m)))...), m...)
	}
	return b
}

// TestFloodsEndTheSession: what an agent may ask of the edge's registry is
// bounded, whether the answers come at once or not.
func TestFloodsEndTheSession(t *testing.T) {
	var asked atomic.Int64
	count := func(*Session, Claim) (Grant, error) {
		asked.Add(1)
		return Grant{}, &Error{Code: CodeName, Message: "taken"}
	}
	for _, test := range []struct {
		name   string
		config *EdgeConfig
		flood  func(i int) message
		most   int64 // at once
		why    string
	}{
		{"releases", &EdgeConfig{Release: func(*Session, string) { asked.Add(1) }}, func(i int) message {
			return message{Type: msgRelease, Name: "shop"}
		}, wishBurst, "claims and releases"},
		{"claims that take their time", &EdgeConfig{Claim: func(s *Session, c Claim) (Grant, error) {
			<-s.Done()
			return count(s, c)
		}}, func(i int) message {
			return message{Type: msgClaim, ID: uint64(i), Claim: &Claim{Kind: HTTP}}
		}, maxClaims, "claims at once"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked.Store(0)
			began := time.Now()
			client, s, ran := hostile(t, test.config)
			var group sync.WaitGroup
			defer group.Wait()
			defer client.Close()
			flood := controlFrames(t, 1000, test.flood) // which fits a stream's window
			group.Go(func() { _, _ = io.Copy(io.Discard, client) })
			group.Go(func() { _, _ = client.Write(flood) })
			select {
			case err := <-ran:
				if err == nil || !strings.Contains(err.Error(), test.why) {
					t.Errorf("Run = %v, want an error about %s", err, test.why)
				}
			case <-time.After(patience):
				s.Abort(nil)
				t.Fatal("the session goes on")
			}
			// Some more while it lasts.
			if n, most := asked.Load(), test.most+int64(time.Since(began)/wishEvery+1); n == 0 || n > most {
				t.Errorf("the edge decided %d times, want some and at most %d", n, most)
			}
		})
	}
}

// TestClaimsOneByOne by an agent that waits for each answer.
func TestClaimsOneByOne(t *testing.T) {
	var asked atomic.Int64
	p := newPair(t, &EdgeConfig{Claim: func(*Session, Claim) (Grant, error) {
		asked.Add(1)
		return Grant{}, &Error{Code: CodeName, Message: "taken"}
	}}, nil)
	began := time.Now()
	for {
		_, err := p.agent.Claim(t.Context(), Claim{Kind: HTTP, Name: "shop"})
		if e := (*Error)(nil); !errors.As(err, &e) {
			break // the session has ended
		}
		if asked.Load() > 10*wishBurst {
			t.Fatal("the session goes on")
		}
	}
	if n, most := asked.Load(), int64(wishBurst+time.Since(began)/wishEvery+1); n < wishBurst-1 || n > most {
		t.Errorf("the edge decided %d claims, want %d to %d", n, wishBurst, most)
	}
	if err := <-p.edgeErr; err == nil || !strings.Contains(err.Error(), "claims and releases") {
		t.Errorf("edge's Run = %v, want an error about claims and releases", err)
	} else {
		p.edgeErr <- err
	}
}

// TestWishesAreRefilled: an agent that lives long may claim and release often.
func TestWishesAreRefilled(t *testing.T) {
	var s Session
	now := time.Now()
	for i := range 10 * wishBurst {
		if err := s.wish(now); err != nil {
			t.Fatalf("the %dth in %v: %v", i, now, err)
		}
		now = now.Add(wishEvery)
	}
	for i := range wishBurst {
		if err := s.wish(now); err != nil {
			t.Fatalf("the %dth at once: %v", i, err)
		}
	}
	if err := s.wish(now); err == nil {
		t.Errorf("%d at once are fine, want %d at most", wishBurst+1, wishBurst)
	}
}

// TestAgentThatNeverReads asks for more and more answers: the session ends, and
// with it what waits in it.
func TestAgentThatNeverReads(t *testing.T) {
	client, s, ran := hostile(t, &EdgeConfig{Dead: 500 * time.Millisecond})
	stop := make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	defer close(stop)
	group.Go(func() {
		_, _ = client.Write(rawFrame(frameWindow, flagSYN, 1, 0))
		pings := controlFrames(t, 100, func(i int) message { return message{Type: msgPing, ID: uint64(i)} })[frameSize:]
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := client.Write(pings); err != nil {
				return
			}
		}
	})
	select {
	case err := <-ran:
		if err == nil {
			t.Error("Run = nil, want an error")
		}
	case <-time.After(patience):
		s.Abort(nil)
		t.Error("the session goes on")
	}
	_ = client.Close()
}

// An agent that opens what it may not loses those streams and nothing else.
func TestStrayStreamsAreReset(t *testing.T) {
	p := newPair(t, &EdgeConfig{API: func(_ *Session, c net.Conn) { c.Close() }}, &AgentConfig{Serve: echo})
	for _, h := range [][]byte{
		appendHeader(nil, header{kind: kindHTTP, peer: Peer{Tunnel: "shop"}}),
		appendHeader(nil, header{kind: kindProbe}),
		appendHeader(nil, header{kind: 99}),
		{0, 1, 0},
		{0xff, 0xff},
	} {
		m, err := p.agent.mux.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		p.agent.table.Lock()
		st := p.agent.table.m[m.StreamID()]
		st.mux.Stream = m
		p.agent.table.Unlock()
		p.agent.open.Add(1)
		st.started.Store(true)
		st.answered.Store(true)
		st.Write(h)
		within(t, "reset", patience, func() {
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
				t.Errorf("header %x: Read = %v, want %v", h, err, ErrReset)
			}
		})
		st.Close()
	}
	noStreams(t, p)
}

func FuzzHello(f *testing.F) {
	f.Add(hello(Hello{Version: 1, Key: "k", Claims: []Claim{{Kind: HTTP, Name: "shop"}}}))
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		if h.Version < MinVersion {
			t.Errorf("version %d was taken", h.Version)
		}
		var out bytes.Buffer
		if err := writeHello(&out, h); err != nil {
			return // JSON may grow, as escapes do
		}
		if _, err := readHello(&out); err != nil {
			t.Errorf("our own hello is refused: %v", err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(appendHeader(nil, header{kind: kindTCP, peer: Peer{Tunnel: "db", Addr: "[::1]:5"}}))
	f.Add(append(appendHeader(nil, header{kind: kindProbe}), "later"...))
	f.Add([]byte{0, 3, 1, 200, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readHeader(bytes.NewReader(appendHeader(nil, h)))
		if err != nil || again != h {
			t.Errorf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add(appendStatus(nil, status{code: statusRefused, took: time.Second, message: "connection refused"}))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, more, err := parseStatus(b)
		switch {
		case err != nil:
			return
		case more < 0 || more > statusSize+maxMessage:
			t.Errorf("%d more bytes", more)
		case more == 0:
			again, more, err := parseStatus(appendStatus(nil, s))
			if err != nil || more != 0 || again != s {
				t.Errorf("%+v came back as %+v, %d, %v", s, again, more, err)
			}
		}
	})
}

func FuzzControl(f *testing.F) {
	b, _ := encodeMessage(message{Type: msgClaim, ID: 3, Claim: &Claim{Kind: HTTP, Name: "shop"}})
	f.Add(b)
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		out, err := encodeMessage(m)
		if err != nil {
			return
		}
		again, err := readMessage(bytes.NewReader(out))
		if err != nil || again.Type != m.Type || again.ID != m.ID {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

// Whatever an agent sends as frames, the link hands their bytes to the streams
// and to yamux whole headers without bytes, and ends or goes on but does not
// panic.
func FuzzLinkFrames(f *testing.F) {
	f.Add(append(rawFrame(frameData, flagSYN, 1, 3), "abc"...), uint8(5), uint32(1))
	f.Add(append(rawFrame(frameData, flagSYN|flagFIN, 1, 3), "abc"...), uint8(0), uint32(0))
	f.Add(append(rawFrame(frameWindow, flagSYN, 1, 0), rawFrame(frameWindow, flagRST, 1, 0)...), uint8(1), uint32(0))
	f.Fuzz(func(t *testing.T, in []byte, step uint8, reset uint32) {
		s := &Session{edge: &EdgeConfig{}, streams: 4, done: make(chan struct{})}
		s.table.m = map[uint32]*Stream{}
		defer s.group.wait()
		defer close(s.done) // nobody takes the streams
		l := &link{in: s.arrives, out: s.leaves}
		s.link = l
		if reset != 0 {
			l.resets.frames = []frame{resetFrame(reset, 0)}
			l.takeResets()
		}
		var out []byte
		p := make([]byte, 4096)
		for len(in) > 0 || len(l.mine) > 0 {
			// What Read does, with TLS replaced by in.
			out, l.mine = append(out, l.mine...), nil
			n := copy(p, l.part[:l.have])
			m := copy(p[n:], in[:min(len(in), 1+int(step))])
			in = in[m:]
			n, err := l.look(p[:n+m])
			if err != nil {
				return
			}
			out = append(out, p[:n]...)
		}
		for len(out) > 0 {
			if len(out) < frameSize {
				t.Fatalf("yamux would read a header of %d bytes", len(out))
			}
			if n := (*frame)(out).body(); n > 0 {
				t.Fatalf("yamux would read %d bytes after a header", n)
			}
			out = out[frameSize:]
		}
		if s.table.theirs > strayStreams || s.table.theirs != len(s.table.m) {
			t.Errorf("%d streams, %d counted", len(s.table.m), s.table.theirs)
		}
		for _, st := range s.table.m {
			have := len(st.mux.in.buf)
			if got := int(st.got.Load()); !st.rst.Load() && (have > got || have < got-l.left || got > window) {
				t.Errorf("stream %d has %d bytes of %d", st.id, have, got)
			}
		}
	})
}
