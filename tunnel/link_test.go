package tunnel

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A meter counts the calls and notes the deadlines of a connection.
type meter struct {
	net.Conn
	reads, writes atomic.Int64
	deadline      atomic.Pointer[time.Time]
}

func (c *meter) Read(p []byte) (int, error)  { c.reads.Add(1); return c.Conn.Read(p) }
func (c *meter) Write(p []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(p) }
func (c *meter) SetDeadline(t time.Time) error {
	c.deadline.CompareAndSwap(nil, &t)
	return c.Conn.SetDeadline(t)
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// The hello leaves with the end of the handshake, and the whole start takes
// the agent two writes: ClientHello, then the rest.
func TestHelloLeavesWithTheHandshake(t *testing.T) {
	a, b := tcpPair(t)
	m := &meter{Conn: a}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if p, err := Accept(b, &EdgeConfig{TLS: edgeTestTLS()}); err == nil {
			p.Refuse(&Error{Code: CodeKey, Message: "no"})
		}
	}()
	if _, err := Connect(t.Context(), m, &AgentConfig{TLS: agentTestTLS()}, Hello{}); err == nil {
		t.Error("Connect = nil, want a refusal")
	}
	<-done
	if n := m.writes.Load(); n != 2 {
		t.Errorf("%d writes up to the welcome, want 2", n)
	}
}

func TestHelloHasADeadline(t *testing.T) {
	_, b := tcpPair(t)
	m := &meter{Conn: b}
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := Accept(m, &EdgeConfig{TLS: edgeTestTLS()})
		done <- err
	}()
	eventually(t, "a deadline", func() bool { return m.deadline.Load() != nil })
	if at := *m.deadline.Load(); at.Before(began.Add(HelloTimeout)) || at.After(time.Now().Add(HelloTimeout)) {
		t.Errorf("the deadline is %v after the start, want %v after Accept was called", at.Sub(began), HelloTimeout)
	}
	m.Conn.SetDeadline(past)
	if err := <-done; err == nil {
		t.Error("Accept = nil without a first frame")
	}
}

// What several frames are is one call below, and a quiet wire has no buffer.
func TestWireMergesAndShrinks(t *testing.T) {
	a, b := tcpPair(t)
	m := &meter{Conn: a}
	out, in := newWire(m), newWire(b)
	in.uncork()
	out.cork()
	for range 8 {
		out.Write(make([]byte, 12<<10))
	}
	if n := m.writes.Load(); n != 0 {
		t.Errorf("%d writes before uncork, want none", n)
	}
	if err := out.uncork(); err != nil {
		t.Fatal(err)
	}
	if n := m.writes.Load(); n != 1 {
		t.Errorf("%d writes for one flush, want 1", n)
	}
	small := make([]byte, 512)
	for got := 0; got < 96<<10; {
		n, err := in.Read(small)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if len(in.buf) != wireLarge {
		t.Errorf("a busy wire reads with %d bytes, want %d", len(in.buf), wireLarge)
	}
	for range 12 {
		out.Write([]byte("ping"))
		if n, err := in.Read(small); err != nil || n != 4 {
			t.Fatalf("read %d bytes, %v, want 4", n, err)
		}
	}
	if in.buf != nil {
		t.Errorf("a quiet wire keeps %d bytes", len(in.buf))
	}
}

// A line that flushes wait for gets a shorter queue, and back.
func TestPace(t *testing.T) {
	a, _ := tcpPair(t)
	l := newLink(tls.Client(a, agentTestTLS()), newWire(a))
	waits := func() { l.pace(queueSlow, 7*time.Millisecond) } // 20 Mbit/s
	fits := func() { l.pace(queueFast, 50*time.Microsecond) }
	for range 100 {
		// A busy machine: one flush in ten is late.
		waits()
		for range 9 {
			fits()
		}
	}
	if l.slow.Load() {
		t.Error("slow on a busy machine")
	}
	for range 100 {
		waits()
		fits()
	}
	if !l.slow.Load() || l.piece() != pieceSlow {
		t.Error("fast on a slow line")
	}
	for range 100 {
		fits()
	}
	if l.slow.Load() || l.piece() != pieceSize {
		t.Error("slow on a fast line")
	}
	l.pace(100<<20, time.Second)
	if l.sure != 0 {
		t.Error("a large flush at 100 MB/s counts as slow")
	}
}

// An upload larger than the first window waits for the dial and no longer.
func TestUploadWaitsForDial(t *testing.T) {
	dialed := make(chan struct{})
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		<-dialed
		echo(st)
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		c.Write(body)
		c.CloseWrite()
	}()
	eventually(t, "the first window is full", func() bool {
		p.agent.table.Lock()
		defer p.agent.table.Unlock()
		st := p.agent.table.m[c.(*Stream).id]
		return st != nil && st.got.Load() >= 250<<10
	})
	close(dialed)
	within(t, "the rest", patience, func() {
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(body))
		}
	})
}

// yamux resets a stream that is half closed for long unless it is told not to.
func TestHalfCloseHasNoTimeout(t *testing.T) {
	p := newPair(t, nil, nil)
	if d := p.edge.muxConfig(edgeBacklog).StreamCloseTimeout; d != 0 {
		t.Errorf("StreamCloseTimeout = %v, want 0", d)
	}
}
