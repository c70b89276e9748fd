package tunnel

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// busyLink is a link whose line is busy: what is put waits until it is let in.
func busyLink(t *testing.T) *link {
	a, _ := tcpPair(t)
	l := newLink(tls.Client(a, agentTestTLS()), newWire(a))
	l.flushing, l.working = true, true // by somebody who never ends
	l.turns = 1                        // of which not every one begins with bulk
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

// Small answers of many do not keep bulk waiting for ever.
func TestBulkGetsItsTurn(t *testing.T) {
	l := busyLink(t)
	if _, err := newFlow(l, 1, window, true).Write(make([]byte, queueFast-2*frameSize)); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	var flows []*flow
	write := func(id uint32, n int) {
		f := newFlow(l, id, window, true)
		f.out.window.Store(1 << 40)
		flows = append(flows, f)
		writers.Go(func() {
			for {
				if _, err := f.Write(make([]byte, n)); err != nil {
					return
				}
			}
		})
		eventually(t, "a Write waits", func() bool { return waiting(l) == len(flows) })
	}
	const bulk, small = 3, 60
	write(bulk, pieceSize)
	for i := range uint32(small) {
		write(11+2*i, 2<<10)
	}
	var frames int
	for range 20 * heavyTurn {
		eventually(t, "all wait", func() bool { return waiting(l) == small+1 })
		queued(l)
		l.mu.Lock()
		l.turns++
		l.admit()
		for b := l.queue; len(b) > 0; b = b[frameSize+(*frame)(b).body():] {
			if (*frame)(b).id() == bulk {
				frames++
			}
		}
		l.mu.Unlock()
	}
	if frames != 20 {
		t.Errorf("%d frames of bulk in %d flushes, want %d", frames, 20*heavyTurn, 20)
	}
	for _, f := range flows {
		f.down()
	}
	writers.Wait()
}

// A frame that waits behind one that need not hurry does not wait with it.
func TestWaitingBringsHeldFramesAlong(t *testing.T) {
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer st.Close()
		st.Connected(0)
		io.Copy(io.Discard, st)
	}})
	<-p.edge.controlled
	for range 2 {
		l := p.edge.link
		eventually(t, "the link is quiet", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.working || len(l.queue) > 0 {
				return false
			}
			l.slow.Store(true)
			l.sure = slowSure
			return true
		})
		c, err := p.edge.Open(Peer{Tunnel: "a"})
		if err != nil {
			t.Fatal(err)
		}
		within(t, "an upload on a slow line", patience, func() {
			if _, err := c.Write(make([]byte, 2*queueSlow)); err != nil {
				t.Error(err)
			}
		})
		c.Close()
	}
}

// A flush may wait for the line, so who has a deadline leaves it to others.
func TestWriteWithDeadlineDoesNotFlush(t *testing.T) {
	a, _ := tcpPair(t)
	l := newLink(tls.Client(a, agentTestTLS()), newWire(a)) // nobody answers its handshake
	f := newFlow(l, 1, window, true)
	f.SetWriteDeadline(time.Now().Add(time.Minute))
	within(t, "a Write", patience, func() {
		if _, err := f.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
	l.Close()
}

// An end that comes when the link has ended already does not make what is missing
// look whole.
func TestNoEndAfterTheLinks(t *testing.T) {
	l := busyLink(t)
	f := newFlow(l, 1, window, true)
	f.expect(3)
	f.deliver([]byte("abc"), true, true)
	f.down()
	f.end(io.EOF)
	got, err := io.ReadAll(f)
	if string(got) != "abc" || err == nil {
		t.Errorf("ReadAll = %q, %v, want abc and an error", got, err)
	}
}

// What is on its way in a frame counts as much as what has arrived.
func TestWindowWithHalfAFrame(t *testing.T) {
	l := busyLink(t)
	f := newFlow(l, 1, window, true)
	f.expect(window)
	f.deliver(make([]byte, 100), false, false)
	if n, err := f.Read(make([]byte, 100)); n != 100 || err != nil {
		t.Fatalf("Read = %d, %v", n, err)
	}
	if ids := queued(l); len(ids) != 0 || f.in.room != 0 {
		t.Errorf("the peer may send %d bytes more with a window on its way, want none", f.in.room)
	}
	f.deliver(make([]byte, window-100), false, true)
	if n, err := io.ReadFull(f, make([]byte, window-100)); err != nil {
		t.Fatalf("ReadFull = %d, %v", n, err)
	}
	if f.in.room < window/2 {
		t.Errorf("the peer may send %d bytes, want at least %d", f.in.room, window/2)
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
	passing := make(chan *flow, 1)
	p := newPair(t, nil, &AgentConfig{Serve: func(st *Stream) {
		defer near.Close()
		st.Connected(0)
		st.PassTo(near)
		passing <- st.mux
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
	theirs := <-passing
	for i := range small {
		eventually(t, "a Read waits", func() bool {
			theirs.in.Lock()
			defer theirs.in.Unlock()
			return theirs.in.dst != nil
		})
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
	within(t, "the rest", patience, func() {
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(body))
		}
	})
}
