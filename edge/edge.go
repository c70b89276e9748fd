// Package edge builds and runs a whole edge: the public listeners, the control
// plane, the API, and what they share. `lrok serve`, the edge that lrok starts
// on a laptop that has none, and the demo are all this one, over real sockets.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/api"
	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/control"
	"github.com/lrok-dev/lrok/edge/forward"
	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// An Edge is made by [New], begins to listen with [Edge.Listen] and runs in
// [Edge.Run].
type Edge struct {
	cfg      Config
	log      *slog.Logger
	store    *store.Store
	created  bool
	certs    certs.Source
	dev      *certs.Dev // nil with certificates of one's own
	registry *registry.Registry
	forward  *forward.Forwarder
	control  *control.Server
	api      http.Handler
	ready    atomic.Bool

	http, https, agents, internal net.Listener
}

// New checks cfg, opens the store and the certificates, and listens nowhere yet.
func New(cfg Config) (*Edge, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, log: cfg.Logger}
	if _, _, err := e.public(); err != nil {
		return nil, err
	}
	var err error
	if e.store, e.created, err = store.Open(cfg.DataDir, store.Options{Logger: cfg.Logger}); err != nil {
		return nil, err
	}
	switch {
	case cfg.TLSCert != "" && cfg.TLSKey != "":
		e.certs, err = certs.NewFiles(certs.Options{Logger: cfg.Logger}, certs.Pair{Cert: cfg.TLSCert, Key: cfg.TLSKey})
	case cfg.TLSCert != "" || cfg.TLSKey != "":
		err = errors.New("a certificate needs its key: give both --tls-cert and --tls-key")
	default:
		e.dev, err = certs.OpenDev(cfg.DataDir, cfg.Domain, cfg.Logger)
		e.certs = e.dev
	}
	if err != nil {
		_ = e.store.Close()
		return nil, err
	}
	return e, nil
}

// Listen opens the listeners and builds what serves them, so that addresses are
// known. Run must follow, or Close.
func (e *Edge) Listen() error {
	for _, l := range []struct {
		what, flag, addr string
		to               *net.Listener
	}{
		{"public HTTP", "http", e.cfg.HTTP, &e.http},
		{"public HTTPS", "https", e.cfg.HTTPS, &e.https},
		{"agents", "control", e.cfg.Control, &e.agents},
		{"health and readiness", "internal", e.cfg.Internal, &e.internal},
	} {
		if l.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", l.addr)
		if err != nil {
			e.Close()
			return &tunnel.Error{
				Code:    "address_refused",
				Message: fmt.Sprintf("cannot listen for %s: %v", l.what, err),
				Hint:    "is another program there? say another address with --" + l.flag,
			}
		}
		*l.to = ln
	}
	scheme, port, err := e.public()
	if err != nil {
		e.Close()
		return err
	}
	host := func(name string) string { return scheme + "://" + name + "." + e.cfg.Domain + port }
	limits := tunnel.Limits{Streams: e.cfg.Limits.Streams, Tunnels: e.cfg.Limits.Tunnels, CaptureBody: e.cfg.CaptureBody, Ring: inspector.RingSize}
	rc := registry.Config{
		Domain:  e.cfg.Domain,
		URL: func(h string, kind tunnel.Kind) string {
			if kind == tunnel.TLS {
				return "tls://" + h + port
			}
			return scheme + "://" + h + port
		},
		Capture: inspector.Limits{Body: e.cfg.CaptureBody, Tunnel: e.cfg.Limits.CaptureTunnel},
		Budget:  inspector.NewBudget(e.cfg.Limits.CaptureEdge),
	}
	if e.cfg.Lone && e.http != nil {
		rc.Direct = "http://" + e.http.Addr().String()
	}
	e.registry = registry.New(rc)
	var late lateReplayer
	e.api = api.New(api.Config{
		Store: e.store, Registry: e.registry, Replayer: &late,
		Software: e.cfg.Software, Domain: e.cfg.Domain, Limits: limits, Logger: e.log,
	})
	e.forward = forward.New(forward.Config{
		Registry: e.registry, Domain: e.cfg.Domain, API: e.api, Lone: e.cfg.Lone,
		Scheme: e.publicScheme(scheme), TrustedProxies: e.cfg.TrustedProxies,
		Limits: http1.Limits{Head: e.cfg.Limits.Header}, BodyTimeout: e.cfg.BodyTimeout, Logger: e.log,
	})
	late.Replayer = e.forward
	e.control = control.New(control.Config{
		TLS: certs.Config(e.certs), Store: e.store, Registry: e.registry,
		Software: e.cfg.Software, API: host("api"), Limits: limits,
		Agents: e.cfg.Limits.Agents, Logger: e.log,
	})
	return nil
}

// A lateReplayer lets the API be built before the forwarder that it replays
// with, which in turn is built with the API.
type lateReplayer struct{ api.Replayer }

// public is the scheme that the public side uses and the port behind its hosts,
// empty or with a colon.
func (e *Edge) public() (scheme, port string, err error) {
	if p := e.cfg.PublicURL; p != "" {
		if !strings.Contains(p, "://") {
			p += "://"
		}
		u, err := url.Parse(p)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
			return "", "", fmt.Errorf("public URL %q is neither http, https nor an address like https://*.%s:8443", e.cfg.PublicURL, e.cfg.Domain)
		}
		if u.Port() != "" {
			port = ":" + u.Port()
		}
		return u.Scheme, port, nil
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
	start(func() error { return e.certs.Run(inner) })
	start(func() error { return e.forward.Run(inner) })
	if e.http != nil {
		start(func() error { return e.forward.Serve(e.http, nil) })
	}
	if e.https != nil {
		start(func() error { return e.forward.Serve(e.https, certs.Config(e.certs)) })
	}
	apiServer := e.server(e.api)
	servers := []*http.Server{apiServer}
	start(func() error { return ended(apiServer.Serve(e.control.API())) })
	if e.internal != nil {
		s := e.server(e.internalHandler())
		servers = append(servers, s)
		start(func() error { return ended(s.Serve(e.internal)) })
	}
	start(func() error { return e.control.Serve(inner, e.agents) })
	e.ready.Store(true)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	e.ready.Store(false)
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
	e.control.Drain(drain, "the edge is shutting down")
	if serr := e.forward.Shutdown(drain); serr != nil {
		e.log.Warn("requests in flight were cut", "err", serr)
	}
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

// internalHandler answers those who run the edge.
func (e *Edge) internalHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !e.ready.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	if e.cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// Reload reads certificate files again, as happens by itself when they change.
func (e *Edge) Reload() {
	changed, err := e.certs.Reload()
	if err != nil {
		e.log.Error("reload certificates; the old ones stay", "err", err)
		return
	}
	e.log.Info("certificates read again", "changed", changed)
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

// AdminKey is the first user's key. The second value is true when this start
// made it.
func (e *Edge) AdminKey() (key string, created bool) { return e.store.AdminKey(), e.created }

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
