// Package forward carries a public request to the local service behind a
// tunnel and the answer back.
//
// There is one exchange path. A front end yields a request: the HTTP/1.1 loop
// of a connection ([conn]), the HTTP/2 handler, or a replay, which is a client
// in memory in front of the same loop. The route's back end is a
// [tunnel.Opener]: the tunnel's session, or a server in this process
// ([Listener]). What passes is recorded in between, never held up.
//
// Over HTTP/1 the head is passed on line by line as it came, less what ends at
// a proxy, and the body in the framing it came in. Nothing on the way looks at
// net/http, starts a timer or waits for the inspector.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// Config says what a Forwarder works with. Registry, Domain and API are needed.
type Config struct {
	Registry *registry.Registry
	// Domain is the canonical apex: it, api.<Domain> and every host that is no
	// tunnel but asks for /__lrok/ go to API.
	Domain string
	API    http.Handler
	// Lone makes the only tunnel of the edge answer on loopback addresses too.
	Lone bool
	// Scheme is what the public side speaks when no trusted proxy says
	// otherwise; empty means what the listener speaks.
	Scheme string
	// TrustedProxies are the peers whose X-Forwarded-* are believed.
	TrustedProxies []netip.Prefix

	Limits        http1.Limits
	HeaderTimeout time.Duration // for a head that has begun; 0 means 10 s
	IdleTimeout   time.Duration // between two requests; 0 means 120 s
	BodyTimeout   time.Duration // without a byte in either direction; 0 means 5 min

	// MaxConns is how many public connections may be open at once, 0 means
	// 20,000, and never more than three quarters of the files that the process
	// may open. MaxConnsAddress is how many of them may come from one address, or
	// one IPv6 network of 64 bits; 0 means 1,024, and trusted proxies are not
	// counted. At either limit the connections that have been idle longest make
	// room; without any, new ones are closed at once.
	MaxConns, MaxConnsAddress int
	// TCPPerAddr is how many connections to TCP tunnels one address may have
	// open; 0 means 64.
	TCPPerAddr int
	// TCPPerTunnel is how many connections a TCP or TLS tunnel may have open; 0
	// means 1,024.
	TCPPerTunnel int
	// MaxConcurrent is how many requests one HTTP/2 connection may carry at
	// once; 0 means 256.
	MaxConcurrent int

	Logger *slog.Logger
}

// Counts are what an operator wants to know of the public side, since it began.
type Counts struct {
	Open        int   // connections, now
	Opened      int64 // connections that came, those that were turned away too
	TurnedAway  int64 // connections for which there was no room
	Shed        int64 // idle connections that were closed to make room
	Denied      int64 // requests that a tunnel's rules refused
	Misdirected int64 // requests for another host than the connection was made to
	// Unrecognized are the TLS connections for a name that has no certificate.
	Unrecognized int64
	Cookies      int64 // cookies for the whole domain that were not passed on
}

// A Forwarder serves the public side of an edge.
type Forwarder struct {
	cfg    Config
	api    *Listener // the API, for connections of the HTTP/1.1 loop
	bridge *Listener // ServeHTTP, for HTTP/1 requests to an HTTP/2 service
	h2     *Listener // connections that speak HTTP/2

	servers map[*Listener]*http.Server

	wg       sync.WaitGroup // connections
	draining atomic.Bool
	h2Finite atomic.Int64 // requests to tunnels over HTTP/2 that come to an end

	gate  gate         // all connections
	tcp   gate         // those to TCP tunnels
	raw   atomic.Int64 // how many of these one tunnel may have, or TLS tunnel
	guard guard

	opened, turnedAway, shedded, denied, misdirected, unrecognized, cookies atomic.Int64

	mu        sync.Mutex
	conns     map[*conn]struct{}
	raws      map[*raw]struct{}
	requests  map[*request]struct{}  // over HTTP/2, to tunnels
	gathers   map[*gathered]struct{} // HTTP/2 over TLS
	entering  map[net.Conn]struct{}  // those that have not said yet where they go
	over      bool                   // everything has been cut
	idle2     map[net.Conn]time.Time // HTTP/2 connections without a request, since when
	listeners map[net.Listener]struct{}

	shedding    sync.Mutex
	victims     []victim  // to be closed next
	searchAgain time.Time // for victims, not before this
}

// New returns a Forwarder that serves nothing yet.
func New(cfg Config) *Forwarder {
	if cfg.HeaderTimeout <= 0 {
		cfg.HeaderTimeout = 10 * time.Second
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = 120 * time.Second
	}
	if cfg.BodyTimeout <= 0 {
		cfg.BodyTimeout = 5 * time.Minute
	}
	if cfg.Limits.Head <= 0 {
		cfg.Limits.Head = 64 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultConns
	}
	if n := openFiles() / 4 * 3; n > 0 && n < cfg.MaxConns {
		cfg.Logger.Warn("the limit on open files allows fewer public connections", "connections", n, "wanted", cfg.MaxConns)
		cfg.MaxConns = n
	}
	if cfg.MaxConnsAddress <= 0 {
		cfg.MaxConnsAddress = defaultConnsAddress
	}
	if cfg.TCPPerAddr <= 0 {
		cfg.TCPPerAddr = defaultTCPAddress
	}
	if cfg.TCPPerTunnel <= 0 {
		cfg.TCPPerTunnel = defaultTCPTunnel
	}
	if cfg.MaxConcurrent <= 0 {
		cfg.MaxConcurrent = defaultConcurrent
	}
	f := &Forwarder{
		cfg: cfg, api: NewListener(), bridge: NewListener(), h2: NewListener(),
		conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{},
		raws: map[*raw]struct{}{}, requests: map[*request]struct{}{}, gathers: map[*gathered]struct{}{}, entering: map[net.Conn]struct{}{},
		idle2: map[net.Conn]time.Time{},
		guard: guard{wrong: map[guesser]guesses{}},
		gate:  gate{total: cfg.MaxConns, each: cfg.MaxConnsAddress, from: map[netip.Prefix]int{}},
		tcp:   gate{total: math.MaxInt, each: cfg.TCPPerAddr, from: map[netip.Prefix]int{}},
	}
	f.raw.Store(int64(cfg.TCPPerTunnel))
	f.servers = map[*Listener]*http.Server{
		f.api:    f.server(cfg.API),
		f.bridge: f.server(http.HandlerFunc(f.serveHTTP)),
		f.h2:     f.server(http.HandlerFunc(f.serveHTTP)),
	}
	f.servers[f.h2].ConnState = f.state2
	// A client that agreed on HTTP/2 and then speaks HTTP/1.1 is not served: that
	// is for the loop alone.
	f.servers[f.h2].Protocols.SetHTTP1(false)
	f.servers[f.h2].HTTP2.WriteByteTimeout = f.cfg.BodyTimeout
	return f
}

// server is one of the http.Servers inside the process.
func (f *Forwarder) server(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &protocols,
		ReadHeaderTimeout: f.cfg.HeaderTimeout, IdleTimeout: f.cfg.IdleTimeout,
		MaxHeaderBytes: f.cfg.Limits.Head,
		ErrorLog:       slog.NewLogLogger(f.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:    saveConn,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: f.cfg.MaxConcurrent},
	}
}

// SetLimits changes how many public connections may be open, how many of them and
// of connections to TCP tunnels one address may have, and how many one TCP or TLS
// tunnel may have. What is open stays.
func (f *Forwarder) SetLimits(conns, perAddress, tcpPerAddress, tcpPerTunnel int) {
	if n := openFiles() / 4 * 3; n > 0 {
		conns = min(conns, n)
	}
	f.gate.set(conns, perAddress)
	f.tcp.set(math.MaxInt, tcpPerAddress)
	f.raw.Store(int64(tcpPerTunnel))
}

// Counts returns what the public side has seen so far.
func (f *Forwarder) Counts() Counts {
	f.gate.mu.Lock()
	open := f.gate.open
	f.gate.mu.Unlock()
	return Counts{
		Open: open, Opened: f.opened.Load(), TurnedAway: f.turnedAway.Load(), Shed: f.shedded.Load(),
		Denied: f.denied.Load(), Misdirected: f.misdirected.Load(), Unrecognized: f.unrecognized.Load(), Cookies: f.cookies.Load(),
	}
}

// Run serves what happens inside the process and watches over the connections
// until ctx ends. It is to run as long as any [Forwarder.Serve].
func (f *Forwarder) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for l, s := range f.servers {
		group.Go(func() { _ = s.Serve(l) })
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case now := <-tick.C:
			f.sweep(now)
		case <-ctx.Done():
		}
	}
	for _, s := range f.servers {
		_ = s.Close()
	}
	group.Wait()
	return nil
}

type connKey struct{}

// saveConn makes the connection known to serveHTTP.
func saveConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Serve accepts public connections from l until l or f is closed. With a TLS
// configuration those that ask for the name of a TLS tunnel are passed to it as
// they are; on all others TLS ends here, and HTTP/2 is spoken to clients that ask
// for it. A client that asks for a name without a certificate is told so by the
// alert unrecognized_name.
func (f *Forwarder) Serve(l net.Listener, config *tls.Config) error {
	defer func() { _ = l.Close() }()
	f.mu.Lock()
	if f.draining.Load() { // the end came before the beginning: Shutdown saw no listener to close
		f.mu.Unlock()
		return nil
	}
	f.listeners[l] = struct{}{}
	f.mu.Unlock()
	if config != nil {
		config = f.endTLS(config)
	}
	a := acceptor{Listener: l, log: f.cfg.Logger, shed: func() bool { return f.shed(netip.Prefix{}) }}
	defer a.close()
	for {
		nc, err := a.accept()
		if err != nil {
			if f.draining.Load() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		f.wg.Go(func() {
			entered := f.enter(nc)
			leave := f.admit(nc) // may wait for a PROXY header
			entered()
			if leave == nil {
				_ = nc.Close()
				return
			}
			f.serveConn(nc, config, leave)
		})
	}
}

// serveConn serves nc and calls leave once it is closed.
func (f *Forwarder) serveConn(nc net.Conn, config *tls.Config, leave func()) {
	if config != nil {
		f.serveTLS(&counted{nc, leave}, config)
		return
	}
	defer leave()
	newConn(f, nc, nil).serve()
}

// endlessGrace is how long streams without an end may go on after the last
// request that has one, when the edge shuts down. Their clients come back by
// themselves, and meanwhile nobody else is served.
const endlessGrace = 5 * time.Second

// Shutdown stops accepting, closes idle connections and waits for the requests
// in flight to tunnels. When ctx ends first, they are cut. What has no end of
// its own, as event streams, WebSockets and raw connections, is cut when nothing
// else has been in flight for a while. Requests to the API are cut at once.
func (f *Forwarder) Shutdown(ctx context.Context) error {
	f.draining.Store(true)
	f.mu.Lock()
	for l := range f.listeners {
		_ = l.Close()
	}
	for c := range f.conns {
		c.wake()
	}
	for nc := range f.entering {
		_ = nc.SetReadDeadline(time.Now().Add(entryGrace))
	}
	f.mu.Unlock()
	_ = f.servers[f.api].Close()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		_ = f.servers[f.h2].Shutdown(waiting)
		f.wg.Wait()
		close(done)
	}()
	err := f.settle(ctx, done)
	cancel()
	f.mu.Lock()
	for c := range f.conns {
		c.cut()
	}
	for r := range f.raws {
		r.cut()
	}
	for g := range f.gathers {
		g.cut()
	}
	for nc := range f.entering {
		_ = nc.Close()
	}
	f.over = true
	f.mu.Unlock()
	<-done
	return err
}

// settle returns nil when done is closed or when only streams without an end are
// left, and an error when ctx ends.
func (f *Forwarder) settle(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	last := time.Now() // that something with an end was there
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s, at the end of the wait (%w)", f.inFlight(), ctx.Err())
		case now := <-tick.C:
			if f.finite() {
				last = now
			} else if now.Sub(last) > endlessGrace {
				return nil
			}
		}
	}
}

// finite reports whether a request is in flight that comes to an end by itself.
func (f *Forwarder) finite() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.entering) > 0 || f.h2Finite.Load() > 0 {
		return true
	}
	for g := range f.gathers {
		if g.ending() { // what it still has is the end of an answer
			return true
		}
	}
	for c := range f.conns {
		c.mu.Lock()
		finite := c.up != nil && !c.streaming
		c.mu.Unlock()
		if finite {
			return true
		}
	}
	return false
}

// inFlight says in words what is in flight.
func (f *Forwarder) inFlight() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests, endless := int(f.h2Finite.Load()), 0
	for c := range f.conns {
		c.mu.Lock()
		if c.up != nil && c.streaming {
			endless++
		} else if c.up != nil {
			requests++
		}
		c.mu.Unlock()
	}
	return fmt.Sprintf("%d requests, %d streams, %d raw and %d new connections", requests, endless, len(f.raws), len(f.entering))
}

// entryGrace is how long a connection that has not said yet where it goes has for
// that once the edge shuts down.
const entryGrace = time.Second

// enter notes that nc is on its way in; the returned function ends that.
func (f *Forwarder) enter(nc net.Conn) (entered func()) {
	f.mu.Lock()
	f.entering[nc] = struct{}{}
	over := f.over
	f.mu.Unlock()
	if over {
		_ = nc.Close()
	}
	return func() {
		f.mu.Lock()
		delete(f.entering, nc)
		f.mu.Unlock()
	}
}

func (f *Forwarder) add(c *conn) {
	f.mu.Lock()
	f.conns[c] = struct{}{}
	f.mu.Unlock()
}

func (f *Forwarder) remove(c *conn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
}

// trusted reports whether ip is a proxy that may say who the client is.
func (f *Forwarder) trusted(ip netip.Addr) bool {
	return slices.ContainsFunc(f.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// A route is where a request goes: to a tunnel, or to the API.
type route struct {
	tunnel *registry.Tunnel
	api    bool
}

// route finds the back end for a canonical host and a request path. Neither is
// set when the host is nobody's.
func (f *Forwarder) route(host []byte, path []byte) route {
	if t, ok := f.cfg.Registry.LookupBytes(host); ok {
		return route{tunnel: t}
	}
	own := hasPrefix(path, "/__lrok/")
	if f.cfg.Lone && !own && isLoopback(host) {
		if t, ok := f.cfg.Registry.Only(); ok && t.Kind == tunnel.HTTP {
			return route{tunnel: t}
		}
	}
	domain := f.cfg.Domain
	if own || string(host) == domain ||
		len(host) == len(domain)+4 && string(host[:4]) == "api." && string(host[4:]) == domain {
		return route{api: true}
	}
	return route{}
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

func isLoopback(host []byte) bool {
	switch string(host) {
	case "localhost", "127.0.0.1", "[::1]":
		return true
	}
	return false
}

// open returns a stream for t: one that is kept, or a new one. A request that
// may not be sent twice takes only a stream that was used just now.
func (f *Forwarder) open(t *registry.Tunnel, peer string, fresh, twice bool, now time.Time) (up tunnel.Conn, reused bool, err error) {
	if !fresh {
		if up = t.Pool.Take(now, !twice); up != nil {
			return up, true, nil
		}
	}
	up, err = t.Open(tunnel.Peer{Tunnel: t.Name, Addr: peer})
	return up, false, err
}

// noAnswer stands between a local address and why nobody is there.
const noAnswer = " does not answer"

// asError returns what to tell the client about a failure towards the local
// service.
func asError(err error, local string) *tunnel.Error {
	var e *tunnel.Error
	if errors.As(err, &e) {
		if e.Code == tunnel.CodeUpstreamRefused || e.Code == tunnel.CodeUpstreamTimeout {
			return &tunnel.Error{
				Code:    e.Code,
				Message: local + noAnswer + ": " + e.Message,
				Hint:    "start the service there, or open the tunnel to the port it listens on",
			}
		}
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &tunnel.Error{
			Code:    tunnel.CodeUpstreamAborted,
			Message: local + " closed the connection without an answer",
			Hint:    "see what the local service logged for this request",
		}
	}
	var he *http1.Error
	if errors.As(err, &he) {
		return &tunnel.Error{
			Code:    tunnel.CodeUpstreamInvalid,
			Message: local + " sent an invalid answer: " + he.Message,
			Hint:    "is it an HTTP service that speaks plain HTTP/1.1 on this port?",
		}
	}
	return &tunnel.Error{
		Code:    tunnel.CodeUpstreamAborted,
		Message: "the connection to " + local + " broke: " + err.Error(),
		Hint:    "see what the local service logged for this request",
	}
}

func timeoutError(local string, d time.Duration) *tunnel.Error {
	return &tunnel.Error{
		Code:    tunnel.CodeUpstreamTimeout,
		Message: local + " gave no answer for " + d.String(),
		Hint:    "see what the local service is doing with this request",
	}
}
