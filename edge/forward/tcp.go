package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// defaultTCPAddress is how many connections to TCP tunnels one address may have
// open.
const defaultTCPAddress = 64

// tcpProxyTimeout is how long a trusted proxy may take to say for whom it speaks.
// One that means to says so at once, and for another one a service that speaks
// first has to wait as long.
const tcpProxyTimeout = 2 * time.Second

// ListenTCP listens on addr for the tunnel t of kind TCP, or for the one that
// takes its place when its agent comes back. The Closer ends the listening and
// does not wait; connections that are open go on as long as their tunnel. It
// serves until it is closed, or f shuts down. Trusted proxies may name the client
// in the PROXY protocol.
func (f *Forwarder) ListenTCP(t *registry.Tunnel, addr string) (io.Closer, error) {
	// Both sides of a connection that nobody uses are asked now and then whether
	// they are there: it may be open for days, and nothing else ends it.
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	l = ProxyListener(l, f.cfg.TrustedProxies, tcpProxyTimeout)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining.Load() {
		_ = l.Close()
		return nil, errDraining
	}
	f.listeners[l] = struct{}{}
	f.wg.Go(func() {
		f.acceptTCP(t, l)
		f.mu.Lock()
		delete(f.listeners, l)
		f.mu.Unlock()
	})
	return l, nil
}

func (f *Forwarder) acceptTCP(t *registry.Tunnel, l net.Listener) {
	defer func() { _ = l.Close() }()
	for {
		nc, err := l.Accept()
		if err == nil {
			f.wg.Go(func() { f.serveTCP(t, nc) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of descriptors, most likely. There are too many listeners like this
		// one for each to keep one in reserve.
		if !isTooManyFiles(err) || !f.shed(netip.Prefix{}) {
			f.cfg.Logger.Debug("accept", "tunnel", t.Name, "err", err)
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// serveTCP serves nc for whoever has t's place by now.
func (f *Forwarder) serveTCP(t *registry.Tunnel, nc net.Conn) {
	entered := f.enter(nc)
	leave := f.admit(nc) // may wait for a PROXY header
	entered()
	_ = nc.SetReadDeadline(time.Time{})
	t = t.Current()
	if leave == nil {
		reset(nc)
		return
	}
	defer leave()
	var from netip.Prefix // a trusted proxy that names nobody is only counted in the total
	if ip := addrOf(nc.RemoteAddr()); !f.trusted(ip) {
		from = prefixOf(ip)
	}
	var refusal *tunnel.Error
	if f.tcp.enter(from) != hasRoom {
		refusal = &tunnel.Error{Code: tunnel.CodeLimit, Message: fmt.Sprintf("%s has as many connections to TCP ports of this edge as one address may have", from.Addr())}
	}
	defer f.tcp.leave(from)
	f.serveRaw(t, nc, strings.TrimPrefix(t.Grant.URL, "tcp://"), nil, refusal)
}
