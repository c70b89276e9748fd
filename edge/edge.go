// Package edge builds and runs a whole edge: the public listeners, the control
// plane, the API, and what they share. `lrok serve`, the edge that lrok starts
// on a laptop that has none, and the demo are all this one, over real sockets.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/api"
	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/control"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/forward"
	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/stats"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/internal/trim"
	"github.com/lrok-dev/lrok/tunnel"
)

// An Edge is made by [New], begins to listen with [Edge.Listen] and runs in
// [Edge.Run].
type Edge struct {
	cfg      Config
	limits   atomic.Pointer[Limits]
	log      *slog.Logger
	store    *store.Store
	certs    certs.Source
	dev      *certs.Dev // nil with certificates of one's own
	local    *local
	domains  *domains.Domains
	stats    *stats.Stats
	captures *inspector.Budget
	registry *registry.Registry
	forward  *forward.Forwarder
	control  *control.Server
	api      http.Handler
	ready    atomic.Bool

	http, https, agents, internal net.Listener
}

// New checks cfg, opens the store and the certificates, and listens nowhere yet.
func New(cfg Config) (*Edge, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, log: cfg.Logger}
	e.limits.Store(&cfg.Limits)
	var err error
	if e.local, err = newLocal(); err != nil {
		return nil, err
	}
	cfg.warnOfReaders(e.log)
	e.store, _, err = store.Open(cfg.DataDir, store.Options{
		Admins: cfg.Admins, Reservations: cfg.Limits.Reservations, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := e.certificates(); err != nil {
		_ = e.store.Close()
		return nil, err
	}
	return e, nil
}

// certificates opens the sources that cfg names, or the development CA.
func (e *Edge) certificates() error {
	o := certs.Options{Logger: e.log}
	var sources []certs.Source
	if e.cfg.TLSCert != "" {
		files, err := certs.NewFiles(o, certs.Pair{Cert: e.cfg.TLSCert, Key: e.cfg.TLSKey})
		if err != nil {
			return err
		}
		sources = append(sources, files)
	}
	if e.cfg.TLSDir != "" {
		sources = append(sources, certs.NewDir(e.cfg.TLSDir, o))
	}
	if e.cfg.AcmeJSON != "" {
		sources = append(sources, certs.NewTraefik(e.cfg.AcmeJSON, o))
	}
	if len(sources) > 0 {
		e.certs = certs.Join(sources...)
		return nil
	}
	var err error
	e.dev, err = certs.OpenDev(e.cfg.DataDir, e.cfg.Domain, e.log)
	e.certs = e.dev
	return err
}

// proxyTimeout is how long a trusted proxy may take to say for whom it speaks.
const proxyTimeout = 5 * time.Second

// Listen opens the listeners and builds what serves them, so that addresses are
// known. Run must follow, or Close.
func (e *Edge) Listen() error {
	if err := e.listen(); err != nil {
		e.Close()
		return err
	}
	if err := e.build(); err != nil {
		e.Close()
		return err
	}
	return nil
}

func (e *Edge) listen() error {
	for _, l := range []struct {
		what, flag, addr string
		proxied          bool
		to               *net.Listener
	}{
		{"public HTTP", "http", e.cfg.HTTP, true, &e.http},
		{"public HTTPS", "https", e.cfg.HTTPS, true, &e.https},
		{"agents", "control", e.cfg.Control, true, &e.agents},
		{"health and readiness", "internal", e.cfg.Internal, false, &e.internal},
	} {
		if l.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			return &tunnel.Error{
				Code:    "address_refused",
				Message: fmt.Sprintf("cannot listen for %s: %v", l.what, err),
				Hint:    "is another program there? say another address with --" + l.flag,
			}
		}
		if l.proxied && len(e.cfg.TrustedProxies) > 0 {
			ln = forward.ProxyListener(ln, e.cfg.TrustedProxies, proxyTimeout)
		}
		*l.to = ln
	}
	return nil
}

// build makes what serves the listeners, each part of those before it.
func (e *Edge) build() error {
	scheme, port, err := e.public()
	if err != nil {
		return err
	}
	if e.domains, err = e.customDomains(); err != nil {
		return err
	}
	if e.stats, err = e.counters(); err != nil {
		return err
	}
	l := e.cfg.Limits
	e.captures = inspector.NewBudget(l.CaptureEdge)
	rc := registry.Config{
		Domain:    e.cfg.Domain,
		URL:       e.publicURL(scheme, port),
		MaxClaims: l.Tunnels,
		Book:      book{e},
		Ports:     e.cfg.TCPPorts,
		TCPHost:   e.TCPHost(),
		Listen: func(t *registry.Tunnel, port int) (io.Closer, error) {
			return e.forward.ListenTCP(t, net.JoinHostPort(e.cfg.TCPHost, strconv.Itoa(port)))
		},
		Dropped: e.stats.Dropped,
		Capture: inspector.Limits{Body: e.cfg.CaptureBody, Tunnel: l.CaptureTunnel},
		Budget:  e.captures,
	}
	if e.cfg.Lone && e.http != nil {
		rc.Direct = "http://" + e.http.Addr().String()
	}
	e.registry = registry.New(rc)
	e.restoreHolds(context.Background())
	told := tunnel.Limits{Streams: l.Streams, Tunnels: l.Tunnels, CaptureBody: e.cfg.CaptureBody, Ring: inspector.RingSize, Keep: int(registry.Grace / time.Second)}
	var late lateForwarder
	guesses := store.NewGuesses(time.Now)
	e.api = api.New(api.Config{
		Store: e.store, Registry: e.registry, Replayer: &late, Connections: &late,
		Domains: e.domains, Certs: e.certs, Stats: e.stats,
		Software: e.cfg.Software, Domain: e.cfg.Domain, Limits: told,
		TunnelLimit: book{e}.TunnelLimit, Guesses: guesses, Logger: e.log,
	})
	e.forward = forward.New(forward.Config{
		Registry: e.registry, Domain: e.cfg.Domain, API: e.api, Lone: e.cfg.Lone,
		Scheme: e.publicScheme(scheme), TrustedProxies: e.cfg.TrustedProxies,
		Limits: http1.Limits{Head: l.Header}, HeaderTimeout: e.cfg.HeaderTimeout, IdleTimeout: e.cfg.IdleTimeout, BodyTimeout: e.cfg.BodyTimeout,
		MaxConns: l.Conns, MaxConnsAddress: l.ConnsPer, TCPPerAddr: l.TCPPer,
		TCPPerTunnel: l.TCPTunnel, MaxConcurrent: l.Concurrent, Logger: e.log,
	})
	late.Forwarder = e.forward
	e.control = control.New(control.Config{
		TLS: e.local.beside(certs.Config(e.certs)), Store: e.store, Registry: e.registry,
		Software: e.cfg.Software, API: scheme + "://api." + e.cfg.Domain + port, Limits: told,
		Agents: l.Agents, Strangers: l.Strangers, PerAddr: l.StrangersPer, Streams: l.EdgeStreams, Bulk: e.cfg.Bulk, Hello: e.cfg.HelloTimeout, Guesses: guesses, Logger: e.log,
	})
	return nil
}

// publicURL returns what a tunnel's public address is made with. TLS tunnels
// answer on the port for HTTPS, wherever plain HTTP is; only a public URL for
// HTTPS says another port than the listener's.
func (e *Edge) publicURL(scheme, port string) func(host string, kind tunnel.Kind) string {
	tlsPort := port
	if e.https != nil && (e.cfg.PublicURL == "" || scheme == "http") {
		if tlsPort = ""; e.https.Addr().(*net.TCPAddr).Port != 443 {
			tlsPort = ":" + strconv.Itoa(e.https.Addr().(*net.TCPAddr).Port)
		}
	}
	return func(host string, kind tunnel.Kind) string {
		if kind == tunnel.TLS && e.https == nil {
			return "" // nothing reads the names of TLS connections
		}
		if kind == tunnel.TLS {
			return "tls://" + host + tlsPort
		}
		return scheme + "://" + host + port
	}
}

func (e *Edge) customDomains() (*domains.Domains, error) {
	resolver, err := domains.DNS(e.cfg.Resolver)
	if err != nil {
		return nil, err
	}
	return domains.New(domains.Config{
		Store: e.store, Domain: e.cfg.Domain, Resolver: resolver,
		Dropped: func(host string) { e.registry.DropDomain(host) },
		PerUser: func() int { return e.limits.Load().Domains },
		Every:   e.cfg.DomainCheck, Grace: e.cfg.DomainGrace,
		Traefik:   e.cfg.Traefik,
		Certified: func(host string) bool { return e.certs.Status().Covers(host) },
		Logger:    e.log,
	})
}

func (e *Edge) counters() (*stats.Stats, error) {
	return stats.New(stats.Config{
		Tunnels: func(user string) []*registry.Tunnel { return e.registry.Tunnels(user) },
		Store:   e.store,
		Sources: stats.Sources{
			Agents:         func() int { return e.control.Agents() },
			Streams:        func() int { return e.control.Streams() },
			Bulk:           func() int { return e.control.BulkConnections() },
			ControlRefused: func() map[string]int64 { return e.control.Refused() },
			KeysRefused:    e.store.Refused,
			Public: func() stats.Public {
				c := e.forward.Counts()
				return stats.Public{
					Open: c.Open, Opened: c.Opened, TurnedAway: c.TurnedAway, Shed: c.Shed,
					Denied: c.Denied, Misdirected: c.Misdirected, Cookies: c.Cookies,
				}
			},
			HandshakesRefused: func() int64 { return certs.Unrecognized() },
			Certificates:      e.ownCertificates,
			CaptureMemory:     func() (used, limit int64) { return e.captures.Used(), e.limits.Load().CaptureEdge },
			Store:             e.store.Healthy,
			Draining:          func() bool { return !e.ready.Load() },
		},
		Analytics: e.cfg.analytics(),
		Software:  e.cfg.Software, Logger: e.log,
	})
}

// ownCertificates are those for the edge's own hosts: what custom domains there
// are is nobody's business but their owners'.
func (e *Edge) ownCertificates() []stats.Certificate {
	var out []stats.Certificate
	for _, c := range e.certs.Status().Certificates {
		own := slices.ContainsFunc(c.Names, func(name string) bool {
			return name == e.cfg.Domain || strings.HasSuffix(name, "."+e.cfg.Domain)
		})
		if own {
			out = append(out, stats.Certificate{Names: c.Names, Source: c.Source, NotAfter: c.NotAfter})
		}
	}
	return out
}

// A book is what the registry may know of users.
type book struct{ e *Edge }

// Reserved implements [registry.Book].
func (b book) Reserved(name string) (user string, ok bool) {
	r, ok := b.e.store.Reservation(name)
	return r.User, ok
}

// Domain implements [registry.Book].
func (b book) Domain(host string) (user string, served bool) { return b.e.domains.Served(host) }

// TunnelLimit implements [registry.Book].
func (b book) TunnelLimit(user string) int {
	if u, ok := b.e.store.User(user); ok && u.Limits.Tunnels != nil {
		return *u.Limits.Tunnels
	}
	return b.e.limits.Load().UserTunnels
}

// SetLimits changes the limits of an edge between its Listen and the end of its
// Run, and leaves a line in the audit log. What is there already stays, even
// where it is more than a new limit allows.
func (e *Edge) SetLimits(l Limits) {
	l.fill()
	e.limits.Store(&l)
	e.captures.SetLimit(l.CaptureEdge)
	e.registry.SetLimits(l.Tunnels, inspector.Limits{Body: e.cfg.CaptureBody, Tunnel: l.CaptureTunnel})
	e.forward.SetLimits(l.Conns, l.ConnsPer, l.TCPPer, l.TCPTunnel)
	e.control.SetLimits(l.Agents, l.Strangers, l.StrangersPer, l.EdgeStreams)
	e.store.SetReservations(l.Reservations)
	e.note("limits.reload")
}

// note leaves in the audit log what the edge was told on its own machine.
func (e *Edge) note(action string) {
	if err := e.store.Audit(context.Background(), store.Entry{Actor: store.Local, Action: action}); err != nil {
		e.log.Error("not in the audit log", "actor", store.Local, "action", action, "err", err)
	}
}

// A lateForwarder lets the API be built before the forwarder that it replays
// with, which in turn is built with the API.
type lateForwarder struct{ *forward.Forwarder }

// public is the scheme that the public side uses and the port behind its hosts,
// empty or with a colon.
func (e *Edge) public() (scheme, port string, err error) {
	if e.cfg.PublicURL != "" {
		return e.cfg.publicURL()
	}
	scheme, l := "http", e.http
	if e.https != nil {
		scheme, l = "https", e.https
	}
	if l == nil {
		return scheme, "", nil
	}
	n := l.Addr().(*net.TCPAddr).Port
	if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return scheme, "", nil
	}
	return scheme, ":" + strconv.Itoa(n), nil
}

// publicScheme is what plain requests are said to have come over: what the
// public URL says, since then a proxy ends TLS in front.
func (e *Edge) publicScheme(scheme string) string {
	if e.cfg.PublicURL != "" {
		return scheme
	}
	return ""
}

// Close ends what Listen began when Run is not to follow.
func (e *Edge) Close() {
	for _, l := range []net.Listener{e.http, e.https, e.agents, e.internal} {
		if l != nil {
			_ = l.Close()
		}
	}
	e.closeStore()
}

// closeStore is called when nothing uses the store any more.
func (e *Edge) closeStore() {
	if err := e.store.Close(); err != nil {
		e.log.Error("close the store", "err", err)
	}
}

// Run serves until ctx ends. Then it tells the agents, lets the requests in
// flight finish for as long as the drain timeout, and ends the sessions. A call
// of force ends that wait.
func (e *Edge) Run(ctx context.Context, force <-chan struct{}) error {
	var wg sync.WaitGroup
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer e.closeStore()
	defer wg.Wait()
	defer cancel()

	failed := make(chan error, 8)
	start := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				failed <- err
			}
		})
	}
	start(func() error { return e.store.Run(inner) })
	start(func() error { return e.registry.Run(inner) })
	holdsCtx, saveHolds := context.WithCancel(ctx)
	defer saveHolds()
	saved := make(chan struct{})
	wg.Go(func() {
		defer close(saved)
		e.keepHolds(holdsCtx)
	})
	start(func() error { return e.domains.Run(inner) })
	start(func() error { return e.stats.Run(inner) })
	start(func() error { return e.certs.Run(inner) })
	start(func() error { return e.forward.Run(inner) })
	if e.http != nil {
		start(func() error { return e.forward.Serve(e.http, nil) })
	}
	if e.https != nil {
		start(func() error { return e.forward.Serve(e.https, certs.Config(e.certs)) })
	}
	apiServer := e.server(e.api)
	// Agents watch many tunnels over few streams.
	apiServer.Protocols = client.Protocols()
	apiServer.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 64}
	servers := []*http.Server{apiServer}
	start(func() error { return ended(apiServer.Serve(e.control.API())) })
	if e.internal != nil {
		s := e.server(e.internalHandler())
		servers = append(servers, s)
		start(func() error { return ended(s.Serve(e.internal)) })
	}
	start(func() error { return e.control.Serve(inner, e.agents) })
	wg.Go(func() { settle(inner, e.control.Connected, trim.Memory) })
	e.ready.Store(true)
	if e.cfg.Ready != nil {
		e.cfg.Ready()
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	e.ready.Store(false)
	saveHolds()
	select {
	case <-saved:
	case <-time.After(holdsWait):
	}
	drain, stop := context.WithTimeout(inner, e.cfg.DrainTimeout)
	defer stop()
	if force != nil {
		wg.Go(func() {
			select {
			case <-force:
				stop()
			case <-drain.Done():
			}
		})
	}
	began := time.Now()
	e.log.Info("shutting down: requests in flight may finish", "within", e.cfg.DrainTimeout, "agents", e.control.Agents())
	e.control.Drain(drain, "the edge is shutting down")
	if serr := e.forward.Shutdown(drain); serr != nil {
		e.log.Warn("requests in flight were cut", "err", serr)
	}
	e.log.Info("the edge has stopped", "after", time.Since(began).Round(time.Millisecond))
	cancel()
	for _, s := range servers {
		_ = s.Close()
	}
	return err
}

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (e *Edge) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
}

// Reload reads certificate files again, as happens by itself when they change,
// and leaves a line in the audit log.
func (e *Edge) Reload() {
	changed, err := e.certs.Reload()
	if err != nil {
		e.log.Error("reload certificates; the old ones stay", "err", err)
		return
	}
	e.log.Info("certificates read again", "changed", changed)
	e.note("certs.reload")
}

// HTTPAddr is the address of public HTTP. Like those below it is known after
// Listen, and empty where nothing is listened on.
func (e *Edge) HTTPAddr() string { return address(e.http) }

// HTTPSAddr is the address of public HTTPS.
func (e *Edge) HTTPSAddr() string { return address(e.https) }

// ControlAddr is the address that agents connect to.
func (e *Edge) ControlAddr() string { return address(e.agents) }

// InternalAddr is the address of health and readiness.
func (e *Edge) InternalAddr() string { return address(e.internal) }

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// AdminKey is the first user's key, empty when it does not work any more. The
// second value is true while nobody has used it.
func (e *Edge) AdminKey() (key string, unused bool) {
	key = e.store.AdminKey()
	for _, k := range e.store.Keys("") {
		if key != "" && strings.HasPrefix(key, k.Prefix) && strings.HasSuffix(key, k.Last4) {
			return key, k.LastUsed.IsZero()
		}
	}
	return key, false
}

// TCPHost is the host of TCP tunnels, as the public knows it.
func (e *Edge) TCPHost() string {
	if e.cfg.Domain == "localhost" {
		return "localhost" // few resolvers know tcp.localhost
	}
	return "tcp." + e.cfg.Domain
}

// LocalKey is a key that works while this process runs and is in no file: for
// those who may read the data directory anyway.
func (e *Edge) LocalKey() string { return e.store.LocalKey() }

// LocalName is the name under which processes of this machine know the edge at
// its control port while it runs, and the certificate in PEM that is for it:
// independent of those that the edge serves to others.
func (e *Edge) LocalName() (name string, pem []byte) { return e.local.name, e.local.pem }

// Uncovered returns the hosts of the edge that no certificate is for now.
func (e *Edge) Uncovered() []string {
	status := e.certs.Status()
	var out []string
	names := []string{"tunnel." + e.cfg.Domain}
	if e.https != nil {
		names = append(names, e.cfg.Domain, "*."+e.cfg.Domain)
	}
	for _, name := range names {
		if !status.Covers(name) {
			out = append(out, name)
		}
	}
	return out
}

// CA is the development CA in PEM, nil with certificates of one's own.
func (e *Edge) CA() []byte {
	if e.dev == nil {
		return nil
	}
	return e.dev.CA()
}

// Fingerprint is the SHA-256 of the development CA, empty without one.
func (e *Edge) Fingerprint() string {
	if e.dev == nil {
		return ""
	}
	return e.dev.Fingerprint()
}

// ClientTLS is a TLS configuration that trusts this edge.
func (e *Edge) ClientTLS() *tls.Config {
	c := &tls.Config{ServerName: "tunnel." + e.cfg.Domain}
	if e.dev != nil {
		c.RootCAs = e.dev.Pool()
	}
	return c
}
