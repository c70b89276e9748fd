package forward

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// A Listener is a server in this process as a back end: a request is forwarded
// to it as to a tunnel, and it is the [net.Listener] that an http.Server serves.
type Listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewListener returns a Listener; Close ends it.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// open returns one end of a connection whose other end Accept yields, with peer
// as the remote address. What t is, if the request is a tunnel's, the server
// learns from its end: by the name it could find another one by then.
func (l *Listener) open(peer string, t *registry.Tunnel) (tunnel.Conn, error) {
	near, far := newPipe(addr(peer))
	far.tunnel = t
	if err := l.hand(far); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}

// hand passes c to Accept. It takes c over.
func (l *Listener) hand(c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		_ = c.Close()
		return net.ErrClosed
	}
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and open.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr returns a name.
func (l *Listener) Addr() net.Addr { return addr("in-process") }

type addr string

func (addr) Network() string  { return "lrok" }
func (a addr) String() string { return string(a) }

// A pipe is one end of a connection in memory whose directions end separately.
type pipe struct {
	in, out net.Conn
	remote  net.Addr
	tunnel  *registry.Tunnel // that open was called for, nil for the API
}

// newPipe returns both ends; the far one names remote as its peer.
func newPipe(remote net.Addr) (near, far *pipe) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	return &pipe{in: a, out: c, remote: addr("in-process")}, &pipe{in: d, out: b, remote: remote}
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p *pipe) CloseWrite() error           { return p.out.Close() }
func (p *pipe) Close() error                { return errors.Join(p.out.Close(), p.in.Close()) }
func (p *pipe) LocalAddr() net.Addr         { return addr("in-process") }
func (p *pipe) RemoteAddr() net.Addr        { return p.remote }

func (p *pipe) SetDeadline(t time.Time) error {
	return errors.Join(p.in.SetDeadline(t), p.out.SetDeadline(t))
}
func (p *pipe) SetReadDeadline(t time.Time) error  { return p.in.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(t time.Time) error { return p.out.SetWriteDeadline(t) }
