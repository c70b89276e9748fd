package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tunnel"
)

// serve pipes one stream to a local connection of its own.
func (a *Agent) serve(st *tunnel.Stream) {
	defer st.Close()
	name := st.Peer().Tunnel
	target, ok := a.target(name, st.Peer().Kind)
	if !ok {
		st.Refuse(&tunnel.Error{Code: tunnel.CodeTunnelNotFound, Message: "this agent has no such tunnel"}, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	st.AfterReset(cancel)
	began := time.Now()
	local, err := target.dial(ctx)
	took := time.Since(began)
	gaveUp := ctx.Err() == context.Canceled
	cancel()
	if gaveUp {
		if err == nil {
			local.Close()
		}
		return
	}
	a.dialed(name, target.String(), err)
	if err != nil {
		e := &tunnel.Error{Code: tunnel.CodeUpstreamRefused, Message: err.Error()}
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
			e.Code = tunnel.CodeUpstreamTimeout
		}
		st.Refuse(e, took)
		return
	}
	defer local.Close()
	if raw := st.Peer().Kind; raw == tunnel.TCP || raw == tunnel.TLS {
		// A reset by the client is to look like one.
		st.AfterReset(func() { reset(local) })
		if st.Connected(took) == nil {
			pipeRaw(st, local)
		}
		return
	}
	st.AfterReset(func() { abort(local) })
	if st.Connected(took) != nil {
		return
	}
	pipe(st, local)
}

// pipeRaw copies both ways until both have ended. What happens on one side
// happens on the other: an end is an end, a reset a reset, and who goes on
// sending to a side that has closed is reset too, once it has heard all that
// was said before.
func pipeRaw(st *tunnel.Stream, local net.Conn) {
	said := make(chan struct{})
	var up sync.WaitGroup
	crash.Go(&up, func() {
		st.PassTo(local)
		from, to := copyAll(local, st)
		switch {
		case from != nil:
			reset(local)
		case to != nil:
			<-said
			st.Close()
		default:
			closeWrite(local)
		}
	})
	from, to := copyAll(st, local)
	switch {
	case from != nil:
		st.Close()
	case to != nil:
		reset(local)
	default:
		st.CloseWrite()
	}
	close(said)
	up.Wait()
}

// reset closes a connection so that its other side cannot take it for an end.
func reset(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	c.Close()
}

// pipe copies both ways until both have ended. The end of one direction is
// passed on and leaves the other one open; a break breaks both.
func pipe(st *tunnel.Stream, local net.Conn) {
	var up sync.WaitGroup
	crash.Go(&up, func() {
		st.PassTo(local)
		from, to := copyAll(local, st)
		switch {
		case from != nil:
			abort(local)
		case to != nil:
			// The service has closed. What it said before is still being
			// copied the other way, and ends that way; the rest of the
			// request has nowhere to go.
			if from, _ := copyAll(io.Discard, st); from != nil {
				abort(local)
			}
		default:
			closeWrite(local)
		}
	})
	from, to := copyAll(st, local)
	switch {
	case from != nil:
		// Not an end but a break: the edge must be able to tell.
		st.Close()
	case to != nil:
		abort(local)
	default:
		st.CloseWrite()
	}
	up.Wait()
}

// abort closes a connection without TLS's goodbye, which may wait.
func abort(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	c.Close()
}

// closeWrite ends our direction of a connection that can, and all of one that
// cannot, because a service that waits for the end would wait for ever.
func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
		return
	}
	c.Close()
}

// Idle streams outnumber busy ones, so a copy waits with a small buffer and
// takes a large one while reads fill it.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
	bulkBuffer  = 256 << 10 // for a stream that has a connection of its own
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	bulkBuffers  = sync.Pool{New: func() any { return new([bulkBuffer]byte) }}
)

// copyAll copies until the end of from, which is no error, and returns the
// error of whichever side had one.
func copyAll(to io.Writer, from io.Reader) (readErr, writeErr error) {
	small := smallBuffers.Get().(*[smallBuffer]byte)
	defer smallBuffers.Put(small)
	var large *[largeBuffer]byte
	var bulk *[bulkBuffer]byte
	give := func() {
		if large != nil {
			largeBuffers.Put(large)
		}
		if bulk != nil {
			bulkBuffers.Put(bulk)
		}
		large, bulk = nil, nil
	}
	defer func() { give() }()
	b := small[:]
	for {
		n, err := from.Read(b)
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return nil, err
			}
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		case n == smallBuffer && large == nil:
			large = largeBuffers.Get().(*[largeBuffer]byte)
			b = large[:]
		case n == largeBuffer && bulk == nil && (!settled(from) || !settled(to)):
			bulk = bulkBuffers.Get().(*[bulkBuffer]byte)
			b = bulk[:]
		case n < smallBuffer/2 && large != nil:
			give()
			b = small[:]
			if s, ok := from.(interface{ Shrink() }); ok {
				s.Shrink() // an idle stream must not keep a window of memory
			}
		}
	}
}

// settled reports whether x has no connection of its own.
func settled(x any) bool {
	st, ok := x.(*tunnel.Stream)
	return !ok || st.Settled()
}
