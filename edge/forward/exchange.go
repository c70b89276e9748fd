package forward

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// exchange answers the request whose head is the first n bytes of c.buf. It
// reports whether the connection may carry another one.
func (c *conn) exchange(n int) (again bool) {
	now := time.Now()
	req := &c.req
	raw := c.buf[:n]
	c.r = n
	if len(req.Host) == 0 {
		c.refuse(http1.ErrNoHost)
		return false
	}
	var err error
	if c.host, err = http1.AppendHost(c.host[:0], req.Host); err != nil {
		c.refuse(http1.ErrHost)
		return false
	}
	switch {
	case req.Form == http1.Authority:
		c.refuse(errConnect)
		return false
	case req.Upgrade != nil && http1.HasToken(req.Upgrade, "h2c"):
		c.refuse(errUpgradeH2C)
		return false
	}
	c.body.Reset(req.Framing, req.Length)

	to := c.f.route(c.host, req.Path)
	if c.replay != nil {
		to = route{tunnel: c.replay.tunnel}
	}
	x := &c.flight
	*x = flight{conn: c, tunnel: to.tunnel, started: now, local: "the service"}
	c.fenced, c.withheld = to.tunnel != nil && c.f.fences(c.host), 0
	if no := c.f.astray(c.sni, c.host, to); no != nil {
		return c.decline(x, no)
	}
	var peer string
	if t := to.tunnel; t != nil {
		var ip netip.Addr
		peer, ip = c.client()
		t.Counters.Requests.Add(1)
		x.local = t.Claim.Local
		x.rec = c.record(t, raw, peer, now)
		if t.Access != nil && c.replay == nil {
			if no := c.f.refusal(t, ip, c.authorization()); no != nil {
				return c.decline(x, no)
			}
		}
		if t.Claim.UpstreamProto == "h2c" || c.replay != nil && c.replay.grpc {
			x.back = c.f.bridge
		}
	} else if to.api {
		peer, _ = c.client() // the API slows down who tries keys, not the proxy
		x.back = c.f.api
	} else {
		c.answer(x, &tunnel.Error{
			Code:    tunnel.CodeTunnelNotFound,
			Message: "no tunnel is called " + string(c.host),
			Hint:    "start it: lrok http <port> --hint " + firstLabel(c.host),
		})
		return false
	}
	x.peer = peer
	return x.run()
}

// record begins the capture of the request that c.req holds.
func (c *conn) record(t *registry.Tunnel, raw []byte, client string, now time.Time) *inspector.Record {
	if t.Claim.NoInspect {
		return nil
	}
	if asksLogin(t) && c.replay == nil {
		raw = c.appendMasked(c.out[:0])
	}
	s := inspector.Start{
		Head: raw, Method: method(c.req.Method), Path: string(c.req.Target),
		Scheme: c.clientScheme(), Host: known(c.req.Host, t.Host), Proto: proto(c.req.Minor),
		Remote: client, TLS: c.tls, Accepted: now,
	}
	if c.replay != nil {
		s.ReplayOf = c.replay.of
	}
	rec := t.Ring.Begin(s)
	if c.replay != nil {
		c.replay.began(rec)
	}
	return rec
}

func proto(minor int) string {
	if minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// method returns b as a string that costs no memory for the usual ones.
func method(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "DELETE":
		return "DELETE"
	case "HEAD":
		return "HEAD"
	case "OPTIONS":
		return "OPTIONS"
	}
	return string(b)
}

// known returns b as a string, which costs no memory when it is s.
func known(b []byte, s string) string {
	if string(b) == s {
		return s
	}
	return string(b)
}

// idempotent reports whether a request may be sent again (RFC 9110, 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// A flight is one exchange on its way. Its memory is the conn's: when the conn
// goes on to the next exchange, the pump of the last one has ended.
type flight struct {
	*conn
	tunnel  *registry.Tunnel // nil for the API
	back    *Listener        // a server in this process, or nil for the tunnel
	rec     *inspector.Record
	started time.Time
	local   string // the local service, for people
	peer    string

	up      tunnel.Conn
	reused  bool
	private bool // up must not serve another client, ever

	stopping atomic.Bool   // the pump is to end early
	arrived  atomic.Bool   // the pump has the whole request
	pumping  chan struct{} // closed when the pump has ended; nil without one
	pumpErr  error         // why it ended early, to read after pumping
	clientAt bool          // the pump's failure is the client's
}

// errDraining answers a request to a server in this process that has ended.
var errDraining = &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge is shutting down", Hint: "try again in a moment"}

// run sends the request and passes the answer on.
func (x *flight) run() (again bool) {
	c := x.conn
	req := &c.req
	// What has arrived of the body leaves together with the head.
	part := c.buf[c.r:c.w]
	k, whole, err := c.body.Scan(part, x.rec.RequestBody())
	if err != nil {
		x.rec.End(inspector.Ending{By: "client", Code: "bad_request", Detail: err.Error()})
		var he *http1.Error
		if errors.As(err, &he) {
			c.refuse(he)
		}
		return false
	}
	part = part[:k]
	c.r += k
	// One answer may be lost to a connection that the service was just closing;
	// sending again is safe only when nothing can happen twice.
	twice := idempotent(req.Method) && whole
	for fresh := false; ; fresh = true {
		if err := x.open(fresh, twice); err != nil {
			return x.fail(err)
		}
		c.begin(x.up, x.tunnel, x.rec, x.started)
		if whole {
			c.complete()
		}
		err := x.send(part)
		if err == nil && !whole && x.pumping == nil {
			x.pump()
		}
		pooled := copyBufs.Get().(*[]byte)
		buf := *pooled
		var m, n int
		if err == nil || !whole {
			// A service that refuses a body may have answered before the write
			// failed.
			buf, m, n, err = c.f.readAnswer(x, x.up, &c.resp, buf, req.Method)
		}
		if err == nil {
			again = x.pass(buf, m, n)
			copyBufs.Put(pooled)
			return again
		}
		copyBufs.Put(pooled)
		_ = x.up.Close()
		if x.reused && twice && n == 0 && !x.isGone() && !closed(x.tunnel) {
			c.end()
			continue
		}
		return x.fail(err)
	}
}

func (x *flight) isGone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.gone || x.timedOut
}

// open takes or opens the stream.
func (x *flight) open(fresh, twice bool) (err error) {
	c := x.conn
	x.private = false
	switch {
	case x.back != nil:
		if x.up, err = x.back.open(x.peer, x.tunnel); err != nil {
			err = errDraining
		}
	case !fresh && c.takePinned(x, twice):
	default:
		x.up, x.reused, err = c.f.open(x.tunnel, x.peer, fresh || c.req.Upgrade != nil, twice, x.started)
	}
	if err == nil {
		x.rec.Opened(x.reused)
	}
	return err
}

// send writes the head and the body's beginning in one go.
func (x *flight) send(part []byte) error {
	c := x.conn
	c.out = c.appendHead(c.out[:0], x.tunnel)
	if len(c.out)+len(part) <= 2*copySize {
		c.out = append(c.out, part...)
		part = nil
	}
	if x.tunnel != nil {
		x.tunnel.Counters.BytesIn.Add(int64(len(c.out) + len(part)))
	}
	if _, err := x.up.Write(c.out); err != nil {
		return err
	}
	if len(part) > 0 {
		if _, err := x.up.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// pump starts copying the rest of the request body.
func (x *flight) pump() {
	done := make(chan struct{})
	x.pumping = done
	x.wg.Go(func() {
		defer close(done)
		x.pumpErr = x.copyBody()
		if x.pumpErr == nil {
			x.complete()
		} else {
			x.rec.RequestBody().Cut()
		}
	})
}

var (
	errClientLeft = errors.New("the client left")
	errNotAwaited = errors.New("answered before the request was complete")
)

func (x *flight) copyBody() error {
	c := x.conn
	buf := copyBufs.Get().(*[]byte)
	defer copyBufs.Put(buf)
	rec := x.rec.RequestBody()
	expectWrite(x.up, c.body.Left())
	rec.Expect(lengthOf(&c.body))
	for !c.body.Done() {
		if len(*buf) < bulkSize && !settled(x.up) {
			buf = bulkBufs.Get().(*[]byte)
			defer bulkBufs.Put(buf)
		}
		c.setRead(c.f.cfg.BodyTimeout)
		if x.stopping.Load() { // its deadline may be the one just replaced
			return errNotAwaited
		}
		n, err := c.nc.Read(*buf)
		if n > 0 {
			c.moved()
			k, _, serr := c.body.Scan((*buf)[:n], rec)
			if serr != nil {
				x.clientAt = true
				_ = x.up.Close()
				return serr
			}
			if x.tunnel != nil {
				x.tunnel.Counters.BytesIn.Add(int64(k))
			}
			if c.body.Done() {
				x.arrived.Store(true)
			}
			if _, werr := x.up.Write((*buf)[:k]); werr != nil {
				return werr
			}
			c.moved()
			if k < n { // the next request has begun
				c.keep((*buf)[k:n])
			}
			continue
		}
		if err != nil {
			if x.stopping.Load() {
				return errNotAwaited
			}
			x.clientAt = true
			c.leave()
			return errClientLeft
		}
	}
	return nil
}

// keep puts bytes that were read too far behind what is in c.buf.
func (c *conn) keep(p []byte) {
	if need := c.w + len(p); need > len(c.buf) {
		grown := make([]byte, need+readSize)
		copy(grown, c.buf[:c.w])
		c.buf = grown
	}
	c.w += copy(c.buf[c.w:], p)
}

// stopPump ends the pump and reports whether the whole request was read.
func (x *flight) stopPump() (whole bool) {
	if x.pumping == nil {
		return true
	}
	select {
	case <-x.pumping:
	default:
		// The answer is complete; nobody waits for the rest of the request.
		x.stopping.Store(true)
		_ = x.up.Close()
		_ = x.nc.SetReadDeadline(past)
		<-x.pumping
		x.deadline = past
	}
	return x.pumpErr == nil
}

// mayUpgrade reports whether a 101 is an answer to the request: it asked, and
// has been sent.
func (x *flight) mayUpgrade() bool {
	return x.req.Upgrade != nil && !x.arriving()
}

// lastWrite is how long the end of a request that has arrived may take to be
// sent before its answer counts as early. A variable only for tests.
var lastWrite = 50 * time.Millisecond

// arriving reports whether the request is still being passed on. A service that
// has all of it may answer before the pump gets to know that its last write is
// done, so for that it waits a moment.
func (x *flight) arriving() bool {
	if x.pumping == nil || isClosed(x.pumping) {
		return false
	}
	if !x.arrived.Load() {
		return true
	}
	t := time.NewTimer(lastWrite)
	defer t.Stop()
	select {
	case <-x.pumping:
		return false
	case <-t.C:
		return true
	}
}

// interim passes a 1xx response on to a client that can take it.
func (x *flight) interim(*http1.Response) error {
	c := x.conn
	x.rec.Interim(c.resp.Status)
	if c.req.Minor == 0 || c.resp.Status == 100 && !c.req.Expect100 {
		return nil
	}
	c.out = c.appendAnswer(c.out[:0], false)
	_, err := c.nc.Write(c.out)
	return err
}

// pass sends the answer, whose head is buf[:m], to the client: the head, what
// is there of the body in buf[m:n], and the rest as it comes.
func (x *flight) pass(buf []byte, m, n int) (again bool) {
	c := x.conn
	resp := &c.resp
	c.respBody.Reset(resp.Framing, resp.Length)
	upgraded := resp.Status == 101

	kind := inspector.HTTP
	switch {
	case upgraded && http1.HasToken(resp.Upgrade, "websocket"):
		kind = inspector.WebSocket
	case upgraded:
		kind = inspector.Upgraded
	case resp.EventStream:
		kind = inspector.SSE
	}
	if x.rec != nil {
		a := inspector.Answer{Head: buf[:m], Status: resp.Status, Reason: known(resp.Reason, http.StatusText(resp.Status)), Kind: kind}
		if d, ok := x.up.(interface{ Dial() time.Duration }); ok && !x.reused {
			a.Dial = d.Dial()
		}
		x.rec.Answered(a)
	}
	if kind != inspector.HTTP {
		x.rec.Show()
		c.mu.Lock()
		c.streaming = true
		c.mu.Unlock()
	}
	if upgraded {
		x.upgrade(buf, m, n)
		return false
	}

	// A request that is still arriving may be answered for good: then the
	// connection cannot be used again, and the client should know.
	arriving := x.arriving()
	closing := arriving || c.req.Close || c.req.Minor == 0 || resp.Framing == http1.UntilClose || c.f.draining.Load()
	decode := resp.Framing == http1.Chunked && c.req.Minor == 0
	c.out = c.appendAnswer(c.out[:0], closing)
	ending, err := x.copyAnswer(buf, m, n, decode)
	if err != nil {
		return x.broken(ending)
	}

	surplus := ending.surplus
	whole := x.stopPump()
	gone, timedOut := c.end()
	x.trailers()
	x.rec.End(inspector.Ending{Detail: withheld(c.withheld)})
	// A service may answer without reading the body and take it for the next
	// request; the answer to that must not become somebody else's. And one that
	// authenticated a connection takes all that comes on it for the same user's.
	// Such a stream is never for another client, and behind a proxy nobody knows
	// who comes next.
	private := x.private || c.req.Pinned || resp.Pinned || c.body.Size() > 0
	switch {
	case !whole, gone, timedOut, arriving:
		_ = x.up.Close()
	case x.back != nil, surplus, resp.Close, resp.Framing == http1.UntilClose, c.unread(), private && c.isTrusted:
		c.f.release(x.up, nil, false, 0)
	case private && !settled(x.up) && !(c.req.Pinned || resp.Pinned):
		c.f.release(x.up, nil, false, 0) // after so much a new one costs little
	case private && !settled(x.up) && x.up.(bulkConn).Settle() != nil:
		_ = x.up.Close()
	case private:
		idle := registry.IdleFor(time.Duration(resp.KeepAlive) * time.Second)
		if c.req.Pinned || resp.Pinned {
			idle = c.f.cfg.IdleTimeout // who authenticated a connection wants to keep it
		}
		c.pin(x.up, x.tunnel, idle)
	default:
		c.f.release(x.up, x.tunnel, true, time.Duration(resp.KeepAlive)*time.Second)
	}
	if arriving || !whole {
		c.linger()
	}
	return !closing && whole && !gone && !timedOut && !closed(x.tunnel)
}

// takePinned makes the stream that belongs to this client connection the one of
// x, if there is one that can be used.
func (c *conn) takePinned(x *flight, twice bool) bool {
	c.mu.Lock()
	up, to, idle, limit := c.pinned, c.pinnedTo, x.started.Sub(c.pinnedAt), c.pinnedFor
	if to == x.tunnel {
		c.pinned = nil
	}
	c.mu.Unlock()
	if up == nil || to != x.tunnel {
		return false
	}
	if !twice && limit < c.f.cfg.IdleTimeout {
		limit = registry.Fresh
	}
	if q, ok := up.(interface{ Quiet() bool }); !ok || !q.Quiet() || idle > limit {
		_ = up.Close()
		return false
	}
	x.up, x.reused, x.private = up, true, true
	return true
}

// unread reports whether the request had a body that a service is likely to
// answer without reading.
func (c *conn) unread() bool {
	if c.body.Size() == 0 {
		return false
	}
	switch string(c.req.Method) {
	case "POST", "PUT", "PATCH":
		return false
	}
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A cutoff says how copying an answer went.
type cutoff struct {
	surplus bool // the service sent more than the answer
	client  bool // the client failed, not the service
	err     error
}

// copyAnswer writes c.out and then the body: buf[m:n], and what the stream
// yields after it.
func (x *flight) copyAnswer(buf []byte, m, n int, decode bool) (cutoff, error) {
	c := x.conn
	rec := x.rec.ResponseBody()
	for first := true; ; first = false {
		part := buf[m:n]
		var k int
		done := c.respBody.Done()
		if len(part) > 0 && !done {
			var err error
			if decode {
				c.out, k, done, err = x.decoded(c.out, part, rec)
			} else {
				k, done, err = c.respBody.Scan(part, rec)
			}
			if err != nil {
				return cutoff{err: err}, err
			}
		}
		raw := part[:k]
		if decode {
			raw = nil
		}
		if err := c.write(raw); err != nil {
			return cutoff{client: true, err: err}, err
		}
		if x.tunnel != nil {
			x.tunnel.Counters.BytesOut.Add(int64(k))
		}
		if done {
			return cutoff{surplus: k < len(part)}, nil
		}
		if first {
			expectRead(x.up, c.respBody.Left())
			rec.Expect(lengthOf(&c.respBody))
		} else {
			c.moved()
		}
		if len(buf) < bulkSize && !settled(x.up) {
			large := bulkBufs.Get().(*[]byte)
			defer bulkBufs.Put(large)
			buf = *large
		}
		var err error
		m = 0
		n, err = x.up.Read(buf)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = c.respBody.EOF()
			}
			return cutoff{err: err}, err
		}
	}
}

// decoded appends the data of a chunked part to out, for a client that knows no
// chunks.
func (x *flight) decoded(out, part []byte, rec io.Writer) ([]byte, int, bool, error) {
	d := &both{out: out, rec: rec}
	k, done, err := x.respBody.Scan(part, d)
	return d.out, k, done, err
}

type both struct {
	out []byte
	rec io.Writer
}

func (b *both) Write(p []byte) (int, error) {
	b.out = append(b.out, p...)
	return b.rec.Write(p)
}

// write sends what has been gathered in c.out, and p after it.
func (c *conn) write(p []byte) error {
	if len(c.out) == 0 && len(p) == 0 {
		return nil
	}
	if len(c.out) > 0 {
		if len(c.out)+len(p) <= 2*copySize {
			c.out = append(c.out, p...)
			p = nil
		}
		_, err := c.nc.Write(c.out)
		c.out = c.out[:0]
		if err != nil {
			return err
		}
	}
	if len(p) > 0 {
		_, err := c.nc.Write(p)
		return err
	}
	return nil
}

func (x *flight) trailers() {
	if x.rec == nil {
		return
	}
	x.rec.Trailers(trailerFields(x.body.Trailer()), trailerFields(x.respBody.Trailer()))
}

// broken ends an exchange whose answer was cut after its head had been sent.
// All that can be said to the client now is the end of the connection.
func (x *flight) broken(e cutoff) bool {
	c := x.conn
	_ = x.up.Close()
	x.stopPump()
	gone, timedOut := c.end()
	x.trailers()
	end := inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted}
	switch {
	case closed(x.tunnel):
		end = wasClosed
	case timedOut:
		end = inspector.Ending{By: "edge", Code: tunnel.CodeUpstreamTimeout, Detail: "no byte passed for " + c.f.cfg.BodyTimeout.String()}
	case gone || e.client:
		end = inspector.Ending{By: "client", Code: tunnel.CodeClientAborted}
	case e.err != nil:
		end.Detail = e.err.Error()
	}
	x.rec.End(end)
	if c.resp.Framing == http1.UntilClose || c.resp.Framing == http1.Chunked && c.req.Minor == 0 {
		reset(c.nc) // an orderly end would look like the end of the body
	}
	return false
}

// reset ends a connection in a way that no client takes for the end of a body:
// with a TCP reset, and on TLS without the closing alert.
func reset(nc net.Conn) {
	low := under(nc)
	if tc, ok := low.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = low.Close()
}

// fail ends an exchange that has no answer: the edge gives one.
func (x *flight) fail(err error) bool {
	c := x.conn
	if x.up != nil {
		_ = x.up.Close()
	}
	whole := x.stopPump()
	gone, timedOut := c.end()
	switch {
	case closed(x.tunnel):
		c.answer(x, errClosed)
	case timedOut && !whole:
		x.rec.End(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: "sent nothing for " + c.f.cfg.BodyTimeout.String()})
		c.refuse(errBodyTimeout)
		return false
	case timedOut:
		c.answer(x, timeoutError(x.local, c.f.cfg.BodyTimeout))
	case gone:
		x.rec.End(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted})
		return false
	case x.clientAt:
		x.rec.End(inspector.Ending{By: "client", Code: "bad_request", Detail: x.pumpErr.Error()})
		var he *http1.Error
		if errors.As(x.pumpErr, &he) {
			c.refuse(he)
		}
		return false
	default:
		c.answer(x, asError(err, x.local))
	}
	return false
}
