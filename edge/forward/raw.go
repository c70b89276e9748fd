package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

const (
	// defaultTCPTunnel is how many connections a raw tunnel may have open at once.
	defaultTCPTunnel = 1024
	// connectTimeout is how long an agent may take to say that the local service
	// is connected. It gives up dialling long before.
	connectTimeout = 10 * time.Second
	// lastWords is how long a client has to read what a service sent before it
	// reset the connection.
	lastWords = 5 * time.Second
)

// A raw connection is one whose bytes pass as they are: all of a TCP tunnel's,
// and those that begin TLS for a name that is a TLS tunnel's. What one side does
// the other one sees: an end ends that direction, a reset resets the other side.
//
// Nothing waits for the client to speak, and nothing is read from one side while
// the other one does not take it.
type raw struct {
	f      *Forwarder
	tunnel *registry.Tunnel
	nc     net.Conn
	ahead  []byte // read from nc already
	rec    *inspector.Record

	client netip.AddrPort

	mu       sync.Mutex
	up       tunnel.Conn
	answered bool // the service has ended its direction
	ended    bool
	first    string // who ended their direction first
}

// serveRaw passes nc to the local service of t until both directions have ended
// or one side breaks. The host is what the client asked for, ahead what it said
// while that was found out. It closes nc.
func (f *Forwarder) serveRaw(t *registry.Tunnel, nc net.Conn, host string, ahead []byte, refusal *tunnel.Error) {
	defer func() { _ = nc.Close() }()
	r := &raw{f: f, tunnel: t, nc: nc, ahead: ahead, client: addrPortOf(nc.RemoteAddr())}
	if !t.Claim.NoInspect {
		r.rec = t.Ring.Begin(inspector.Start{
			Kind: inspector.Kind(t.Kind), Scheme: string(t.Kind), Host: host,
			Remote: r.client.String(), Accepted: time.Now(),
		})
	}
	limit := f.raw.Load()
	switch open := t.Counters.Open.Add(1); {
	case refusal != nil:
	case !t.Access.Admits(r.client.Addr()):
		f.denied.Add(1)
		refusal = &tunnel.Error{Code: tunnel.CodeAccessDenied, Message: r.client.Addr().String() + " is not let in by the rules of this tunnel"}
	case open > limit:
		refusal = &tunnel.Error{Code: tunnel.CodeLimit, Message: fmt.Sprintf("the tunnel has %d connections already", limit)}
	}
	defer t.Counters.Open.Add(-1)
	if refusal != nil {
		r.fail(inspector.Ending{By: "edge", Code: refusal.Code, Detail: refusal.Message})
		return
	}
	t.Counters.Connections.Add(1)
	if !f.addRaw(r) {
		r.cut()
		return
	}
	defer f.removeRaw(r)
	r.run()
}

func (r *raw) run() {
	t := r.tunnel
	up, err := t.Open(tunnel.Peer{Tunnel: t.Name, Addr: r.client.String(), Kind: t.Kind})
	if err != nil {
		r.fail(failure(err, t.Claim.Local))
		return
	}
	defer func() { _ = up.Close() }()
	r.mu.Lock()
	r.up = up
	ended := r.ended
	r.mu.Unlock()
	if ended { // cut meanwhile
		return
	}
	if s, ok := up.(interface{ AfterReset(func()) }); ok {
		s.AfterReset(r.broke)
	}
	r.rec.Opened(false)

	answered := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { r.ask(answered) })
	r.answer()
	close(answered)
	wg.Wait()
	r.end(inspector.Ending{Detail: "ended by the " + r.first + " (FIN)"})
}

// ask copies what the client says. The header that names the client is sent
// together with it if it is there already, and at once if not.
func (r *raw) ask(answered <-chan struct{}) {
	head := appendProxy(nil, r.tunnel.Claim.ProxyProtocol, r.client, addrPortOf(r.nc.LocalAddr()))
	if len(head) > 0 {
		if _, err := r.up.Write(head); err != nil {
			r.service(err, answered)
			return
		}
	}
	rec := r.rec.RequestBody()
	expectWrite(r.up, -1)
	readErr, writeErr := relay(r.up, r.nc, r.ahead, func(p []byte) {
		if len(p) == 0 {
			r.finished("client")
		}
		r.tunnel.Counters.BytesIn.Add(int64(len(p)))
		rec.Pass(p)
	})
	switch {
	case readErr != nil:
		r.fail(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: "reset by the client: " + readErr.Error()})
	case writeErr != nil:
		r.service(writeErr, answered)
	}
}

// service ends the connection because the service takes no more. What it said
// before that goes to the client first.
func (r *raw) service(err error, answered <-chan struct{}) {
	<-answered
	r.fail(failure(err, r.tunnel.Claim.Local))
}

// answer copies what the service says, once it is connected.
func (r *raw) answer() {
	if s, ok := r.up.(interface{ Dial() time.Duration }); ok {
		_ = r.up.SetReadDeadline(time.Now().Add(connectTimeout))
		if _, err := r.up.Read(nil); err != nil {
			r.fail(failure(err, r.tunnel.Claim.Local))
			return
		}
		_ = r.up.SetReadDeadline(time.Time{})
		r.rec.Connected(s.Dial())
	}
	rec := r.rec.ResponseBody()
	expectRead(r.up, -1)
	readErr, writeErr := relay(r.nc, r.up, nil, func(p []byte) {
		if len(p) == 0 {
			r.finished("service")
		}
		r.tunnel.Counters.BytesOut.Add(int64(len(p)))
		rec.Pass(p)
	})
	switch {
	case readErr != nil:
		r.fail(failure(readErr, r.tunnel.Claim.Local))
	case errors.Is(writeErr, os.ErrDeadlineExceeded): // set by broke
		r.fail(failure(tunnel.ErrReset, r.tunnel.Claim.Local))
	case writeErr != nil:
		r.fail(inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: "reset by the client: " + writeErr.Error()})
	default:
		r.mu.Lock()
		r.answered = true
		r.mu.Unlock()
	}
}

// finished notes whose direction has ended. It is called before the other side
// learns of it, since that may end its own direction at once.
func (r *raw) finished(who string) {
	r.mu.Lock()
	if r.first == "" {
		r.first = who
	}
	r.mu.Unlock()
}

// broke is called when the service or the agent gives the stream up. What they
// said before goes to the client, if it takes it soon.
func (r *raw) broke() {
	r.mu.Lock()
	answered := r.answered
	r.mu.Unlock()
	if answered {
		r.fail(failure(tunnel.ErrReset, r.tunnel.Claim.Local))
		return
	}
	_ = r.nc.SetWriteDeadline(time.Now().Add(lastWords))
}

// fail ends the connection with a reset of both sides, unless it has ended. It
// reports whether it did.
func (r *raw) fail(e inspector.Ending) bool {
	if !r.end(e) {
		return false
	}
	r.mu.Lock()
	up := r.up
	r.mu.Unlock()
	if up != nil {
		_ = up.Close()
	}
	reset(r.nc)
	return true
}

func (r *raw) end(e inspector.Ending) bool {
	r.mu.Lock()
	ended := r.ended
	r.ended = true
	r.mu.Unlock()
	if ended {
		return false
	}
	r.rec.End(e)
	return true
}

// check is called now and then.
func (r *raw) check() {
	select {
	case <-r.tunnel.Ring.Done(): // the tunnel is gone, its connections with it
		r.fail(wasClosed)
	default:
		r.rec.CatchUp()
	}
}

// cut ends the connection whatever it does.
func (r *raw) cut() {
	r.fail(inspector.Ending{By: "edge", Code: tunnel.CodeDraining, Detail: "the edge is shutting down"})
}

// addRaw fails when everything has been cut already.
func (f *Forwarder) addRaw(r *raw) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.raws[r] = struct{}{}
	}
	return !f.over
}

func (f *Forwarder) removeRaw(r *raw) {
	f.mu.Lock()
	delete(f.raws, r)
	f.mu.Unlock()
}

// failure says what a broken stream means: the agent could not connect, the
// service reset the connection, or the agent is gone.
func failure(err error, local string) inspector.Ending {
	var e *tunnel.Error
	switch {
	case errors.As(err, &e):
		return inspector.Ending{By: blame(e.Code), Code: e.Code, Detail: e.Message}
	case errors.Is(err, tunnel.ErrReset):
		return inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamAborted, Detail: local + " reset the connection (RST)"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return inspector.Ending{By: "edge", Code: tunnel.CodeUpstreamTimeout, Detail: "the agent did not connect to " + local + " in " + connectTimeout.String()}
	}
	return inspector.Ending{By: "edge", Code: tunnel.CodeAgentOffline, Detail: "the agent's connection ended: " + err.Error()}
}
