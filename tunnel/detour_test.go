package tunnel

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A bulkPair is a pair whose agent can make further connections.
type bulkPair struct {
	*pair
	mu    sync.Mutex
	conns []net.Conn // the agent's ends of them, below TLS
	dial  func(context.Context) (net.Conn, error)

	address string // of the edge
}

func newBulkPair(t testing.TB, edge *EdgeConfig, agent *AgentConfig) *bulkPair {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if edge == nil {
		edge = &EdgeConfig{}
	}
	if agent == nil {
		agent = &AgentConfig{}
	}
	edge.Hello, edge.Ping, agent.Ping = patience, time.Hour, time.Hour
	p := &bulkPair{address: ln.Addr().String()}
	agent.Dial = func(ctx context.Context) (net.Conn, error) {
		p.mu.Lock()
		dial := p.dial
		p.mu.Unlock()
		if dial != nil {
			return dial(ctx)
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		if err == nil {
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
		}
		return c, err
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				pending, err := Accept(c, edge)
				switch {
				case err != nil:
				case pending.Bulk():
					pending.ServeBulk()
				default:
					pending.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	p.pair = newPair(t, edge, agent)
	// However busy the machine is, the link counts as one that is neither near nor
	// far: on a far one a whole body may be on its way before its stream goes over.
	for _, s := range []*Session{p.edge, p.agent} {
		eventually(t, "a round trip is measured", func() bool { return s.rtt.Load() != 0 })
		s.rtt.Store(int64(nearRTT))
	}
	return p
}

// bulkConns is how many further connections the edge has.
func (p *bulkPair) bulkConns() (all, parked int) {
	l := &p.edge.bulks
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all), len(l.parked)
}

// A pattern yields the same bytes each time, without keeping them.
type pattern struct {
	r    *rand.ChaCha8
	left int64
}

func newPattern(n int64) *pattern { return &pattern{rand.NewChaCha8([32]byte{1}), n} }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	p.r.Read(b[:n])
	p.left -= int64(n)
	return n, nil
}

func sumOf(t testing.TB, r io.Reader) (int64, [32]byte) {
	t.Helper()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	if err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	return n, [32]byte(h.Sum(nil))
}

// Bodies that go over arrive whole, in order and with their end, and the stream
// carries more after them.
func TestBulkGoesOver(t *testing.T) {
	const size = 5 << 20
	_, want := sumOf(t, newPattern(size))
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		// Down, up, down again, then the ends.
		for range 2 {
			io.Copy(struct{ io.Writer }{st}, newPattern(size))
			var b [1]byte
			if _, err := io.ReadFull(st, b[:]); err != nil {
				t.Errorf("between: %v", err)
				return
			}
		}
		n, sum := sumOf(t, st)
		if n != size || sum != want {
			t.Errorf("upload of %d bytes arrived as %d, or wrong", size, n)
		}
		st.Write([]byte("got it"))
		st.CloseWrite()
	}})
	c, err := p.edge.Open(Peer{Tunnel: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st := c.(*Stream)
	for i := range 2 {
		warm(t, p)
		st.ExpectRead(-1)
		n, sum := sumOf(t, io.LimitReader(st, size))
		if n != size || sum != want {
			t.Fatalf("download %d of %d bytes arrived as %d, or wrong", i, size, n)
		}
		if st.Settled() {
			t.Errorf("download %d did not go over", i)
		}
		if err := st.Settle(); err != nil {
			t.Fatalf("settle: %v", err)
		}
		if !st.Quiet() {
			t.Error("the settled stream is not quiet")
		}
		if _, err := st.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	st.ExpectWrite(-1)
	if _, err := io.Copy(struct{ io.Writer }{st}, newPattern(size)); err != nil {
		t.Fatal(err)
	}
	if st.out.Load() == nil {
		t.Error("the upload did not go over")
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(st)
	if err != nil || string(got) != "got it" {
		t.Errorf("answer %q, %v", got, err)
	}
	c.Close()
	noStreams(t, p.pair)
	eventually(t, "all connections are parked", func() bool {
		all, parked := p.bulkConns()
		return all == parked && all > 0 && all <= 2
	})
}

func TestBulkBothWaysAtOnce(t *testing.T) {
	const size = 4 << 20
	p := newBulkPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.CopyBuffer(struct{ io.Writer }{st}, struct{ io.Reader }{st}, make([]byte, 256<<10))
		st.CloseWrite()
	}})
	_, want := sumOf(t, newPattern(size))
	var all sync.WaitGroup
	for range 12 { // more than there are connections
		all.Go(func() {
			c, err := p.edge.Open(Peer{Tunnel: "x"})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			st := c.(*Stream)
			st.ExpectRead(-1)
			st.ExpectWrite(-1)
			all.Go(func() {
				if _, err := io.Copy(struct{ io.Writer }{st}, newPattern(size)); err != nil {
					t.Errorf("write: %v", err)
				}
				st.CloseWrite()
			})
			if n, sum := sumOf(t, st); n != size || sum != want {
				t.Errorf("%d bytes came back as %d, or wrong", size, n)
			}
		})
	}
	within(t, "12 echoes", 2*patience, all.Wait)
	if all, _ := p.bulkConns(); all == 0 || all > DefaultBulk {
		t.Errorf("%d connections", all)
	}
	noStreams(t, p.pair)
	p.edge.bulks.mu.Lock()
	demand := p.edge.bulks.demand
	p.edge.bulks.mu.Unlock()
	if demand != 0 {
		t.Errorf("demand is %d when nothing flows", demand)
	}
}

// A reset that overtakes the peer's word that it has read all must not cut the
// connection: the edge may have given it to another stream.
func TestResetOvertakesDone(t *testing.T) {
	for _, edge := range []bool{false, true} {
		for _, ended := range []bool{false, true} {
			near, _ := tcpPair(t)
			s := &Session{}
			if edge {
				s.edge = &EdgeConfig{}
			}
			b := newBulk(s, near, newWire(near))
			st := &Stream{session: s}
			st.out.Store(b)
			if ended {
				st.lane.Store(laneEnded)
			}
			st.cutOut()
			if want := edge || !ended; b.gone() != want {
				t.Errorf("edge %v, frames ended %v: cut %v, want %v", edge, ended, b.gone(), want)
			}
		}
	}
}
