package forward

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

const (
	readSize = 16 << 10 // the buffer a head is parsed in
	copySize = 32 << 10 // the buffer a body passes through

	// sweepEvery is how often connections are looked at: timeouts are as
	// exact as this.
	sweepEvery = 100 * time.Millisecond
	// watchAfter is how long a request runs before its client is watched for
	// leaving.
	watchAfter = 200 * time.Millisecond
	// deadlineSlack is how much earlier than asked a deadline may be, so that
	// it need not be set for each request.
	deadlineSlack = 5 * time.Second
)

var (
	readBufs = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}
	outBufs  = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
	copyBufs = sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}
)

// A conn is a public connection that speaks HTTP/1.1. Its own goroutine runs
// [conn.serve]; two others come and go: the pump copies a request body that has
// not arrived whole, and the watch reads ahead from a client that waits long for
// an answer, to see it leave.
type conn struct {
	f         *Forwarder
	nc        net.Conn
	remote    string // the peer, or who a trusted one says it speaks for
	peer      string
	peerIP    netip.Addr
	isTrusted bool
	scheme    string
	tls       string
	sni       string // whom a TLS client connected to, canonical

	pooled *[]byte // the 16 KiB that buf is, unless it has grown
	buf    []byte  // nil while idle, as pooled
	r, w   int     // buf[r:w] has been read and not used

	deadline time.Time // that is set for reading

	raw        syscall.RawConn // for the idle wait; nil where there is none
	tryRead    func(fd uintptr) bool
	socketRead int
	socketErr  error
	small      []byte // for the idle wait without raw

	req      http1.Request
	resp     http1.Response
	body     http1.Body // of the request
	respBody http1.Body
	flight   flight // the exchange; zero between two
	host     []byte // canonical
	fenced   bool   // the answer may set no cookie for the edge's domain
	withheld int    // cookies that it tried to set
	out      []byte // what is to be written; pooled, only there in an exchange

	replay *replaying // when this is a replay

	progress atomic.Int64 // Unix nanoseconds of the last byte, about

	wg sync.WaitGroup // pump and watch

	mu        sync.Mutex
	up        tunnel.Conn      // of the exchange that runs
	to        *registry.Tunnel // that it goes to, nil for the API
	rec       *inspector.Record
	began     time.Time
	watchable bool // the request is complete and its answer is not
	watching  bool
	streaming bool      // no idle limit: upgraded, or an event stream
	idle      bool      // between two requests
	rested    time.Time // since when
	woken     bool      // wake has set the deadline to the past
	// A stream that is only for this client: it authenticated the connection, or
	// it carried a body.
	pinned    tunnel.Conn
	pinnedTo  *registry.Tunnel
	pinnedAt  time.Time
	pinnedFor time.Duration

	gone     bool // the client left
	timedOut bool
	dropped  bool // the tunnel was closed, and the exchange that ran is being ended
}

func newConn(f *Forwarder, nc net.Conn, state *tls.ConnectionState) *conn {
	c := &conn{f: f, nc: nc, raw: rawConn(nc), scheme: "http"}
	c.peer = nc.RemoteAddr().String()
	c.remote = c.peer
	if c.peerIP = addrOf(nc.RemoteAddr()); c.peerIP.IsValid() {
		c.isTrusted = f.trusted(c.peerIP)
	}
	if state != nil {
		c.scheme = "https"
		c.tls = tls.VersionName(state.Version)
		if !c.isTrusted { // a proxy may use one connection for all
			c.sni = canonicalSNI(state.ServerName)
		}
	}
	if f.cfg.Scheme != "" {
		c.scheme = f.cfg.Scheme
	}
	return c
}

// serve answers one request after the other until one of them is the last.
func (c *conn) serve() {
	c.f.add(c)
	defer func() {
		c.f.remove(c)
		_ = c.nc.Close()
		c.unpin()
		c.wg.Wait()
		c.release()
	}()
	for {
		n, err := c.readHead()
		if err != nil {
			var he *http1.Error
			if errors.As(err, &he) {
				c.refuse(he)
			}
			return
		}
		if n == 0 { // HTTP/2 without asking
			return
		}
		c.busy()
		out := outBufs.Get().(*[]byte)
		c.out = (*out)[:0]
		again := c.exchange(n)
		c.flight = flight{}
		*out, c.out = c.out[:0], nil
		outBufs.Put(out)
		if !again {
			return
		}
	}
}

// pin keeps up for this client's next request to t.
func (c *conn) pin(up tunnel.Conn, t *registry.Tunnel, idle time.Duration) {
	c.unpin()
	c.mu.Lock()
	c.pinned, c.pinnedTo, c.pinnedAt, c.pinnedFor = up, t, time.Now(), idle
	c.mu.Unlock()
}

// unpin closes the stream that is kept for this client.
func (c *conn) unpin() {
	c.mu.Lock()
	up := c.pinned
	c.pinned = nil
	c.mu.Unlock()
	if up != nil {
		_ = up.Close()
	}
}

// preface begins every HTTP/2 connection (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// readHead reads until c.req is a whole head and returns its length.
func (c *conn) readHead() (int, error) {
	first := c.deadline.IsZero()
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	var begun time.Time
	for {
		if c.w > 0 {
			n, err := http1.ParseRequest(&c.req, c.buf[:c.w], c.f.cfg.Limits)
			if n > 0 {
				if begun != (time.Time{}) {
					c.deadline = time.Time{} // the header's deadline is not the body's
				}
				return n, nil
			}
			if err != nil {
				if first && c.isTrusted && c.tls == "" && hasPrefix([]byte(preface), string(c.buf[:min(c.w, len(preface))])) {
					return 0, c.handOver()
				}
				return 0, err
			}
		}
		if c.w == 0 {
			if now := c.setRead(c.f.cfg.IdleTimeout); !c.rest(now) {
				return 0, io.EOF
			}
			n, err := c.await()
			if n == 0 && err != nil {
				return 0, err
			}
			c.w = n
			continue
		}
		if c.w == len(c.buf) {
			grown := make([]byte, min(2*len(c.buf), c.f.cfg.Limits.Head+readSize))
			copy(grown, c.buf)
			c.buf = grown
		}
		if begun.IsZero() {
			begun = time.Now()
			c.deadline = begun.Add(c.f.cfg.HeaderTimeout)
			_ = c.nc.SetReadDeadline(c.deadline)
		}
		n, err := c.nc.Read(c.buf[c.w:])
		c.w += n
		if n == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && !c.retired() {
				return 0, errHeadTimeout
			}
			return 0, err
		}
	}
}

var errHeadTimeout = &http1.Error{Status: 408, Code: "request_timeout", Message: "the request head did not arrive in time"}

// handOver passes a connection that begins with the HTTP/2 preface to the
// HTTP/2 server. Only a trusted proxy may do so.
func (c *conn) handOver() error {
	c.busy() // it is another's to say when it is idle
	_ = c.nc.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	hc := &handedConn{Conn: c.nc, ahead: append([]byte(nil), c.buf[:c.w]...), done: done}
	if err := c.f.h2.hand(hc); err != nil {
		return err
	}
	<-done // serve closes the connection
	return nil
}

// A handedConn gives back what was read from it before.
type handedConn struct {
	net.Conn
	ahead []byte
	once  sync.Once
	done  chan struct{}
}

func (h *handedConn) Read(p []byte) (int, error) {
	if len(h.ahead) > 0 {
		n := copy(p, h.ahead)
		h.ahead = h.ahead[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

func (h *handedConn) Close() error {
	err := h.Conn.Close()
	h.once.Do(func() { close(h.done) })
	return err
}

// rest marks the connection as idle. It returns false when the edge drains.
func (c *conn) rest(now time.Time) bool {
	c.mu.Lock()
	c.idle, c.rested = true, now
	c.mu.Unlock()
	return !c.f.draining.Load()
}

// idleSince reports whether the connection waits for a request, or for the rest
// of its head, and since when.
func (c *conn) idleSince() (since time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rested, c.idle && !c.woken
}

// retire ends the wait of a connection that has been idle since then.
func (c *conn) retire(since time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.idle || c.woken || !c.rested.Equal(since) {
		return false
	}
	c.woken = true
	_ = c.nc.SetReadDeadline(past)
	return true
}

// retired reports whether the connection is to end without a word, to make room.
func (c *conn) retired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.woken && !c.f.draining.Load()
}

// wake ends the wait of an idle connection.
func (c *conn) wake() {
	c.mu.Lock()
	if c.idle {
		c.woken = true
		_ = c.nc.SetReadDeadline(past)
	}
	c.mu.Unlock()
}

// busy ends being idle: a request has arrived, perhaps together with the wake.
func (c *conn) busy() {
	c.mu.Lock()
	c.idle = false
	if c.woken {
		c.woken = false
		c.deadline = time.Time{}
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
}

// cut ends the connection whatever it does.
func (c *conn) cut() {
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	// The alert that ends TLS could wait for a client that does not read.
	_ = under(c.nc).Close()
	if up != nil {
		_ = up.Close()
	}
}

var past = time.Unix(1, 0)

// setRead makes reading from the client fail after about d from now.
func (c *conn) setRead(d time.Duration) (now time.Time) {
	now = time.Now()
	want := now.Add(d)
	if diff := want.Sub(c.deadline); diff < 0 || diff > min(deadlineSlack, d/4) {
		c.deadline = want
		_ = c.nc.SetReadDeadline(want)
	}
	return now
}

// sweep looks at all connections: who waits too long is cut, who waits for an
// answer is watched.
func (f *Forwarder) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.check(now)
	}
	for r := range f.raws {
		r.check()
	}
	for x := range f.requests {
		x.check(now)
	}
	for g := range f.gathers {
		g.check(now, f.cfg.BodyTimeout)
	}
}

func (c *conn) check(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up == nil {
		if up := c.pinned; up != nil && (now.Sub(c.pinnedAt) > c.pinnedFor || closed(c.pinnedTo)) {
			c.pinned = nil
			c.wg.Go(func() { _ = up.Close() })
		}
		return
	}
	c.rec.CatchUp()
	if c.watchable && !c.watching && !c.gone && now.Sub(c.began) > watchAfter && c.w < len(c.buf) {
		c.watching = true
		_ = c.nc.SetReadDeadline(time.Time{})
		c.deadline = time.Time{}
		c.wg.Go(c.watch)
	}
	if !c.streaming && !c.timedOut && now.UnixNano()-c.progress.Load() > int64(c.f.cfg.BodyTimeout) {
		c.timedOut = true
		c.interrupt()
	}
	if !c.dropped && closed(c.to) { // what passes ends with the tunnel
		c.dropped = true
		c.interrupt()
	}
}

// interrupt ends the exchange that runs, whichever side it waits for. The client
// can still be given an answer: its deadline is not touched any more after end.
// The caller holds mu.
func (c *conn) interrupt() {
	up := c.up
	c.wg.Go(func() {
		_ = c.nc.SetDeadline(past)
		_ = up.Close()
	})
}

// closed reports whether t was closed for good: by its owner, an administrator
// or its agent, or because its name is another's now. A tunnel whose agent is
// away, or came back over another session, is not.
func closed(t *registry.Tunnel) bool { return t != nil && isClosed(t.Ring.Done()) }

// errClosed answers a request that was in flight when its tunnel was closed.
var errClosed = &tunnel.Error{
	Code: tunnel.CodeTunnelNotFound, Message: "the tunnel was closed",
	Hint: "start it again: lrok http <port>",
}

// wasClosed is how an exchange ends that was cut with its tunnel.
var wasClosed = inspector.Ending{By: "edge", Code: errClosed.Code, Detail: errClosed.Message}

// watch reads ahead while the answer is awaited. What it reads is the next
// request; what it waits for is the client's end. A client that only closes its
// own direction cannot be told from one that has left, and is taken for that,
// as other proxies do.
func (c *conn) watch() {
	for c.w < len(c.buf) {
		n, err := c.nc.Read(c.buf[c.w:])
		c.w += n
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				c.leave()
			}
			return
		}
	}
}

// leave notes that the client is gone and tells the local service.
func (c *conn) leave() {
	c.mu.Lock()
	c.gone = true
	up := c.up
	c.mu.Unlock()
	if up != nil {
		_ = up.Close()
	}
}

// begin notes the stream of an exchange with t.
func (c *conn) begin(up tunnel.Conn, t *registry.Tunnel, rec *inspector.Record, now time.Time) {
	c.progress.Store(now.UnixNano())
	c.mu.Lock()
	c.up, c.to, c.rec, c.began = up, t, rec, now
	c.watchable, c.streaming = false, false
	c.mu.Unlock()
}

// complete notes that the whole request has been read.
func (c *conn) complete() {
	c.mu.Lock()
	c.watchable = true
	c.mu.Unlock()
}

// end ends the watch and forgets the stream. It reports whether the client is
// still there and whether the exchange took too long.
func (c *conn) end() (gone, timedOut bool) {
	c.mu.Lock()
	c.up, c.to, c.rec = nil, nil, nil
	c.watchable = false
	watching, interrupted := c.watching, c.dropped || c.timedOut
	if watching {
		_ = c.nc.SetReadDeadline(past)
	}
	c.mu.Unlock()
	if watching || interrupted {
		c.wg.Wait()
		c.deadline = past
	}
	c.mu.Lock()
	c.watching = false
	gone, timedOut = c.gone, c.timedOut
	c.mu.Unlock()
	return gone, timedOut
}

// moved notes that bytes have passed.
func (c *conn) moved() { c.progress.Store(time.Now().UnixNano()) }

// linger ends the connection so that an answer which the client has not read
// yet is not lost to a reset: what the client still sends is read for a while.
func (c *conn) linger() {
	cw, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || cw.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(buf)
	for range 1024 {
		if _, err := c.nc.Read(*buf); err != nil {
			return
		}
	}
}
