package forward

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// A connection to the HTTPS port begins with a ClientHello that names a host.
// When that is a TLS tunnel, all bytes go to it, those of the hello first; for
// every other name TLS ends here. One parser reads the hello in both cases,
// crypto/tls's, so that what decides the way is what the certificate is chosen
// by.
const (
	// maxHello is how much may arrive before the ClientHello is whole: 16 KiB of
	// it, in records of whatever size is reasonable.
	maxHello = 20 << 10
	// helloTimeout is how long a ClientHello in pieces is waited for.
	helloTimeout = 5 * time.Second
)

var (
	errPassedOn     = errors.New("the connection is a TLS tunnel's")
	errHelloTooLong = errors.New("the ClientHello does not end")
)

// endTLS returns config as TLS is ended with it.
func (f *Forwarder) endTLS(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	config.GetConfigForClient = f.sort
	if get := config.GetCertificate; get != nil && len(config.Certificates) == 0 {
		config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := get(hello)
			if err != nil {
				f.unrecognized.Add(1)
				f.cfg.Logger.Debug("no certificate", "name", hello.ServerName, "remote", hello.Conn.RemoteAddr().String(), "err", err)
				return nil, nil // crypto/tls then says unrecognized_name, and internal_error otherwise
			}
			return c, nil
		}
	}
	return config
}

// sort is called when the ClientHello is whole and nothing has been answered.
func (f *Forwarder) sort(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	h := hello.Conn.(*helloConn)
	if hello.ServerName != "" {
		host, err := http1.CanonicalHost(hello.ServerName)
		if err == nil {
			if t, ok := f.cfg.Registry.Lookup(host); ok && t.Kind == tunnel.TLS {
				h.to, h.host = t, host
				return nil, errPassedOn
			}
		}
	}
	h.seen, h.known = nil, true
	_ = h.Conn.SetDeadline(time.Now().Add(f.cfg.HeaderTimeout))
	return nil, nil
}

// serveTLS finds out where a connection to the HTTPS port goes and serves it.
func (f *Forwarder) serveTLS(nc net.Conn, config *tls.Config) {
	h := &helloConn{Conn: nc}
	tc := tls.Server(h, config)
	entered := f.enter(nc)
	_ = nc.SetDeadline(time.Now().Add(helloTimeout))
	err := tc.Handshake()
	_ = nc.SetDeadline(time.Time{})
	entered()
	if h.to != nil {
		// There is no certificate to speak with, so the only words for a failure
		// are a reset: clients take it for what it is, nobody there, and try
		// again, while an alert would blame their TLS.
		f.serveRaw(h.to, nc, h.host, h.seen, nil)
		return
	}
	if err != nil {
		f.cfg.Logger.Debug("tls handshake", "remote", nc.RemoteAddr().String(), "err", err)
		var re tls.RecordHeaderError
		if errors.As(err, &re) && isMethod(h.seen) {
			newConn(f, nc, nil).refuse(errPlainHTTP)
		}
		_ = nc.Close()
		return
	}
	state := tc.ConnectionState()
	switch {
	case state.NegotiatedProtocol != "h2":
		newConn(f, corked{tc, h}, &state).serve()
	case state.Version < tls.VersionTLS13:
		_ = f.h2.hand(tc) // which looks at the cipher; closed with f
	default:
		g := newGathered(tc, h, &state)
		f.follow(g)
		_ = f.h2.hand(g)
	}
}

// follow watches over g until it is over, which the end of f waits for. The
// caller is one of f's connections.
func (f *Forwarder) follow(g *gathered) {
	f.wg.Add(1)
	g.gone = func() {
		f.mu.Lock()
		delete(f.gathers, g)
		f.mu.Unlock()
		f.wg.Done()
	}
	f.mu.Lock()
	f.gathers[g] = struct{}{}
	over := f.over
	f.mu.Unlock()
	if over {
		g.cut()
	}
}

var errPlainHTTP = &http1.Error{Status: 400, Code: "https_required", Message: "this port speaks HTTPS, and the request came without: use https:// in the address"}

// isMethod reports whether b begins as an HTTP request does.
func isMethod(b []byte) bool {
	for i, c := range b {
		if c == ' ' {
			return i > 0
		}
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(b) > 0
}

// A helloConn remembers what it reads until the ClientHello is whole.
type helloConn struct {
	net.Conn
	seen  []byte
	known bool // the hello is whole, and TLS ends here

	to   *registry.Tunnel // or the connection is this one's
	host string

	mu     sync.Mutex
	corked bool   // what TLS writes is kept
	out    []byte // that
}

func (h *helloConn) Read(p []byte) (int, error) {
	if h.known {
		return h.Conn.Read(p)
	}
	room := maxHello - len(h.seen)
	if room == 0 {
		return 0, errHelloTooLong
	}
	n, err := h.Conn.Read(p[:min(len(p), room)])
	h.seen = append(h.seen, p[:n]...)
	return n, err
}

// Write keeps the alert back with which crypto/tls ends a handshake that is not
// its own.
func (h *helloConn) Write(p []byte) (int, error) {
	if h.to != nil {
		return len(p), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.corked {
		return h.Conn.Write(p)
	}
	if len(h.out)+len(p) > maxCorked {
		if err := h.flush(); err != nil {
			return 0, err
		}
	}
	h.out = append(h.out, p...)
	return len(p), nil
}

const (
	// maxCorked is the most that leaves in one system call.
	maxCorked = 128 << 10
	// oneRecord is what TLS puts into one record even on a new connection, when
	// it makes small ones.
	oneRecord = 1 << 10
)

var corkBufs = sync.Pool{New: func() any { b := make([]byte, 0, copySize+1<<10); return &b }}

// write writes p to tc, which is TLS over h, with one system call for all
// records of p.
func (h *helloConn) write(tc *tls.Conn, p []byte) (int, error) {
	if len(p) <= oneRecord {
		return tc.Write(p)
	}
	pooled := corkBufs.Get().(*[]byte)
	h.mu.Lock()
	h.corked, h.out = true, (*pooled)[:0]
	h.mu.Unlock()
	n, err := tc.Write(p)
	h.mu.Lock()
	if e := h.flush(); err == nil {
		err = e
	}
	*pooled = h.out[:0]
	h.corked, h.out = false, nil
	h.mu.Unlock()
	corkBufs.Put(pooled)
	return n, err
}

// flush is called with mu held.
func (h *helloConn) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	_, err := h.Conn.Write(h.out)
	h.out = h.out[:0]
	return err
}

// A corked connection is TLS that needs one system call for each Write.
type corked struct {
	*tls.Conn
	below *helloConn
}

func (c corked) Write(p []byte) (int, error) { return c.below.write(c.Conn, p) }

// NetConn is what [tls.Conn.NetConn] is.
func (h *helloConn) NetConn() net.Conn { return h.Conn }
