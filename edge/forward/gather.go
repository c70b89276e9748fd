package forward

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// maxGathered is how much may wait to be written; more does only when it
	// comes in one piece.
	maxGathered = 64 << 10
	// lastFlush is how long a piece of what waits may take to be written once
	// the connection is closed.
	lastFlush = 5 * time.Second
)

// A gathered connection is TLS that carries HTTP/2. net/http writes the head of
// an answer and its body separately, and of each stream by itself; what is
// written while others are about to write leaves with that of the others, in one
// record and one system call. Nothing waits for time to pass.
//
// For net/http it is a connection without TLS, since it takes only a [tls.Conn]
// for one with. What there is to know of TLS is in state.
type gathered struct {
	net.Conn // to read from
	tls      *tls.Conn
	below    *helloConn
	state    *tls.ConnectionState
	own      ownStreams
	gone     func() // is called when all is over; nil when nobody wants to know

	mu      sync.Mutex
	room    sync.Cond
	queue   []byte
	pooled  *[]byte   // that queue is in
	writing bool      // flush runs
	began   time.Time // to write what it writes; zero while it does not
	closed  bool
	err     error
}

var gatherBufs = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func newGathered(tc *tls.Conn, below *helloConn, state *tls.ConnectionState) *gathered {
	g := &gathered{Conn: tc, tls: tc, below: below, state: state}
	g.room.L = &g.mu
	return g
}

// Write takes p over and returns at once unless much is waiting already. An
// error is the one of an earlier p.
func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && !g.closed && len(g.queue) > 0 && len(g.queue)+len(p) > maxGathered {
		g.room.Wait()
	}
	switch {
	case g.err != nil:
		return 0, g.err
	case g.closed:
		return 0, net.ErrClosed
	}
	if g.pooled == nil {
		g.pooled = gatherBufs.Get().(*[]byte)
		g.queue = (*g.pooled)[:0]
	}
	g.queue = append(g.queue, p...)
	if !g.writing {
		g.writing = true
		go g.flush() // ends with what there is to write, at the latest with the connection
	}
	return len(p), nil
}

// flush writes what has been gathered until nothing is left.
func (g *gathered) flush() {
	runtime.Gosched() // who is about to write does so first
	g.mu.Lock()
	for len(g.queue) > 0 && g.err == nil {
		out, pooled := g.queue, g.pooled
		g.queue, g.pooled = nil, nil
		g.room.Broadcast()
		g.began = time.Now()
		if g.closed {
			_ = g.Conn.SetWriteDeadline(g.began.Add(lastFlush))
		}
		g.mu.Unlock()
		_, err := g.below.write(g.tls, out)
		if *pooled = out[:0]; cap(out) <= 2*maxGathered {
			gatherBufs.Put(pooled)
		}
		g.mu.Lock()
		g.began = time.Time{}
		if g.err = err; err != nil {
			g.room.Broadcast()
		}
	}
	g.writing = false
	closed, err := g.closed, g.err
	g.mu.Unlock()
	if !closed {
		return
	}
	if err != nil {
		g.cut() // who takes nothing takes no alert either
	}
	_ = g.Conn.Close()
	if g.gone != nil {
		g.gone()
	}
}

// Close closes the connection, after what is waiting to be written. It waits for
// nothing.
func (g *gathered) Close() error {
	g.mu.Lock()
	again, writing := g.closed, g.writing
	g.closed, g.writing = true, true
	g.room.Broadcast()
	g.mu.Unlock()
	if again {
		return nil
	}
	_ = g.Conn.SetReadDeadline(past)
	_ = g.Conn.SetWriteDeadline(time.Now().Add(lastFlush))
	g.own.close()
	if !writing {
		go g.flush()
	}
	return nil
}

// cut ends the connection whatever it does. Close is still to be called.
func (g *gathered) cut() { _ = under(g).Close() }

// check is called now and then. It cuts a connection whose client has read
// nothing for too long.
func (g *gathered) check(now time.Time, limit time.Duration) {
	g.mu.Lock()
	late := !g.began.IsZero() && now.Sub(g.began) > limit
	g.mu.Unlock()
	if late {
		g.cut()
	}
}

// ending reports whether the connection is closed and not over.
func (g *gathered) ending() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// SetWriteDeadline does nothing: no Write waits longer than check allows.
func (g *gathered) SetWriteDeadline(time.Time) error { return nil }

// NetConn is what [tls.Conn.NetConn] is.
func (g *gathered) NetConn() net.Conn { return g.tls.NetConn() }
