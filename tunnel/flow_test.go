package tunnel

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// busyLink is a link whose line is busy: what is put waits until it is let in.
func busyLink(t *testing.T) *link {
	a, _ := tcpPair(t)
	l := newLink(tls.Client(a, agentTestTLS()), newWire(a))
	l.flushing, l.working = true, true // by somebody who never ends
	return l
}

// queued are the stream ids of the frames in the queue, which is then empty.
func queued(l *link) (ids []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := l.queue; len(b) > 0; {
		f := (*frame)(b)
		ids = append(ids, f.id())
		b = b[frameSize+f.body():]
	}
	l.queue = nil
	return ids
}

func waiting(l *link) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.light) + len(l.heavy)
}

// A small answer passes the bulk that waits, and bulk takes turns.
func TestSmallAnswersPassBulk(t *testing.T) {
	l := busyLink(t)
	for id, n := range map[uint32]int{1: pieceSize, 3: pieceSize - 4*frameSize} {
		if _, err := newFlow(l, id, window, true).Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 3)
	for i, w := range []struct {
		id uint32
		n  int
	}{{5, 2 * pieceSize}, {7, pieceSize}, {9, 4 << 10}} {
		go func() {
			_, err := newFlow(l, w.id, window, true).Write(make([]byte, w.n))
			done <- err
		}()
		eventually(t, "a Write waits", func() bool { return waiting(l) == i+1 })
	}
	queued(l)
	var order []uint32
	for _, still := range []int{2, 1, 0} {
		l.mu.Lock()
		l.admit()
		l.mu.Unlock()
		if len(order) == 0 {
			eventually(t, "who has more to send waits again", func() bool { return waiting(l) == still })
		}
		order = append(order, queued(l)...)
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if want := []uint32{9, 5, 7, 5}; !slices.Equal(order, want) {
		t.Errorf("frames leave in the order of streams %v, want %v", order, want)
	}
}

func TestWriteGivesUpItsTurn(t *testing.T) {
	l := busyLink(t)
	full, late := newFlow(l, 1, window, true), newFlow(l, 3, window, true)
	if _, err := full.Write(make([]byte, pieceSize)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := late.Write(make([]byte, pieceSize))
		done <- err
	}()
	eventually(t, "a Write waits", func() bool { return waiting(l) == 1 })
	late.SetWriteDeadline(past)
	if err := <-done; err == nil {
		t.Error("Write = nil after its deadline")
	}
	if n := waiting(l); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
	l.mu.Lock()
	l.queue = nil
	l.admit()
	l.mu.Unlock()
	if ids := queued(l); len(ids) != 0 {
		t.Errorf("frames of %v are in the queue, want none", ids)
	}
	late.SetWriteDeadline(time.Time{})
	if _, err := late.Write([]byte("again")); err != nil {
		t.Errorf("the next Write = %v", err)
	}
	if ids := queued(l); len(ids) != 1 || ids[0] != 3 {
		t.Errorf("frames of %v, want one of 3", ids)
	}
}

// What is passed on by the link's reader, what a Read gets because the other
// side does not take it, and what comes after are one stream of bytes.
func TestPassTo(t *testing.T) {
	near, far := tcpPair(t)
	near.(*net.TCPConn).SetWriteBuffer(16 << 10)
	far.(*net.TCPConn).SetReadBuffer(16 << 10)
	var woken atomic.Int64
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer near.Close()
		st.Connected(0)
		st.PassTo(near)
		b := make([]byte, 4<<10)
		for {
			n, err := st.Read(b)
			if err != nil {
				return
			}
			woken.Add(1)
			if _, err := near.Write(b[:n]); err != nil {
				return
			}
		}
	}})
	c, err := p.edge.Open(Peer{Tunnel: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(nil); err != nil {
		t.Fatal(err)
	}
	const small = 100
	got := make([]byte, 8)
	for i := range small {
		fmt.Fprintf(c, "%08d", i)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != fmt.Sprintf("%08d", i) {
			t.Fatalf("message %d is %q, %v", i, got, err)
		}
	}
	if n := woken.Load(); runtime.GOOS == "linux" && n > small/2 {
		t.Errorf("the reader was woken %d times for %d small messages, want less", n, small)
	}
	var body []byte
	for i := range 200_000 {
		body = fmt.Appendf(body, "%08d", i)
	}
	go func() {
		for b := body; len(b) > 0; {
			n := min(len(b), 1+len(b)%3000)
			c.Write(b[:n])
			b = b[n:]
		}
		c.CloseWrite()
	}()
	within(t, "the rest", 20*time.Second, func() {
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(body))
		}
	})
}
