package control

import (
	"net"
	"sync"
)

// backlog is how many api streams wait for the API server to accept them.
const backlog = 64

// A listener hands the streams of kind api to an [http.Server].
type listener struct {
	conns chan net.Conn
	addr  net.Addr

	once sync.Once
	done chan struct{}
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn, backlog), addr: address{}, done: make(chan struct{})}
}

// put queues c, or closes it when nobody accepts.
func (l *listener) put(c net.Conn) {
	select {
	case <-l.done:
		_ = c.Close()
		return
	default:
	}
	select {
	case l.conns <- c:
	default:
		_ = c.Close()
		return
	}
	select {
	case <-l.done: // Close may have drained before c was there
		l.drain()
	default:
	}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. Streams that nobody accepted are closed.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	l.drain()
	return nil
}

func (l *listener) drain() {
	for {
		select {
		case c := <-l.conns:
			_ = c.Close()
		default:
			return
		}
	}
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return l.addr }

type address struct{}

func (address) Network() string { return "lrok" }
func (address) String() string  { return "agents" }
