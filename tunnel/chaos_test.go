package tunnel

import (
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Both sides do anything in any order, many at once. The session survives, no
// stream is left, and a probe still passes.
func TestChaos(t *testing.T) {
	act := func(c Conn) {
		defer c.Close()
		buf, body := make([]byte, 64<<10), make([]byte, 64<<10)
		for range rand.IntN(6) {
			switch rand.IntN(6) {
			case 0:
				c.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(3)) * time.Millisecond))
				c.Read(buf[:1+rand.IntN(len(buf))])
				c.SetReadDeadline(time.Time{})
			case 1:
				c.SetWriteDeadline(time.Now().Add(time.Duration(rand.IntN(3)) * time.Millisecond))
				c.Write(body[:rand.IntN(len(body))])
				c.SetWriteDeadline(time.Time{})
			case 2:
				c.CloseWrite()
			case 3:
				go c.Write(body[:rand.IntN(1000)])
			case 4:
				go c.CloseWrite()
			case 5:
				c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				io.Copy(io.Discard, c)
				c.SetReadDeadline(time.Time{})
			}
		}
	}
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		if rand.IntN(4) > 0 {
			st.Connected(0)
		}
		act(st)
	}})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 40 {
				c, err := p.edge.Open(Peer{Tunnel: "a"})
				if err != nil {
					t.Error(err)
					return
				}
				act(c)
			}
		})
	}
	within(t, "chaos", 2*patience, wg.Wait)
	for _, s := range []*Session{p.edge, p.agent} {
		if err := s.Err(); err != nil {
			t.Fatalf("a session ended: %v", err)
		}
	}
	if _, err := p.edge.Probe(t.Context()); err != nil {
		t.Errorf("Probe = %v", err)
	}
	noStreams(t, p)
	if p.edge.Err() != nil || p.agent.Err() != nil {
		t.Errorf("a session ended: %v, %v", p.edge.Err(), p.agent.Err())
	}
}
