package registry

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

const (
	// poolSize is how many idle streams a tunnel keeps.
	poolSize = 512
	// poolIdle is how long a stream is kept idle when the local service did not
	// ask for less.
	poolIdle = 2 * time.Second
	// Fresh is how lately a stream must have been used for a request that may
	// not be sent twice.
	Fresh = 250 * time.Millisecond
)

// A Pool keeps streams to a local service, and with each its connection there,
// for the next request. The zero value is ready to use.
type Pool struct {
	mu     sync.Mutex
	idle   []idleStream // the one used last is at the end
	sweep  *time.Timer
	closed bool
	h2     *http.Transport
}

type idleStream struct {
	conn  tunnel.Conn
	since time.Time
	until time.Time
}

// A quieter can tell, without waiting, that nothing has arrived and nothing has
// ended.
type quieter interface{ Quiet() bool }

// Take returns an idle stream that nothing has happened on, or nil. With fresh
// it returns only one that was used less than [Fresh] ago. The caller owns it.
func (p *Pool) Take(now time.Time, fresh bool) tunnel.Conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 || fresh && now.Sub(p.idle[n-1].since) > Fresh {
			p.mu.Unlock()
			return nil
		}
		s := p.idle[n-1]
		p.idle[n-1] = idleStream{}
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		q, ok := s.conn.(quieter)
		if ok && q.Quiet() && now.Before(s.until) {
			return s.conn
		}
		// The service has closed it, or sent something nobody asked for.
		_ = s.conn.Close()
	}
}

// Put keeps c for as long as the local service does, keepAlive, or for two
// seconds when that is 0. It takes c over in any case.
func (p *Pool) Put(c tunnel.Conn, now time.Time, keepAlive time.Duration) {
	idle := IdleFor(keepAlive)
	p.mu.Lock()
	if p.closed || idle <= 0 || len(p.idle) >= poolSize {
		p.mu.Unlock()
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, idleStream{c, now, now.Add(idle)})
	if p.sweep == nil {
		p.sweep = time.AfterFunc(poolIdle, p.expire)
	}
	p.mu.Unlock()
}

// IdleFor is how long a stream may be kept idle whose local service keeps its
// connections for keepAlive, 0 when it does not say.
func IdleFor(keepAlive time.Duration) time.Duration {
	if keepAlive > 0 {
		return min(poolIdle, keepAlive-time.Second)
	}
	return poolIdle
}

// expire closes the streams whose time is over and comes back while there are
// others.
func (p *Pool) expire() {
	now := time.Now()
	p.mu.Lock()
	var old []tunnel.Conn
	kept := p.idle[:0]
	for _, s := range p.idle {
		if now.After(s.until) {
			old = append(old, s.conn)
		} else {
			kept = append(kept, s)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	switch {
	case p.closed:
	case len(kept) == 0:
		p.idle, p.sweep = nil, nil
	default:
		p.sweep.Reset(poolIdle / 2)
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// Flush closes the idle streams, so that the next requests open new ones: the
// local service has moved.
func (p *Pool) Flush() {
	p.mu.Lock()
	idle, h2 := p.idle, p.h2
	p.idle = nil
	p.mu.Unlock()
	for _, s := range idle {
		_ = s.conn.Close()
	}
	if h2 != nil {
		h2.CloseIdleConnections()
	}
}

// Close closes the idle streams, and every stream put back from now on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	p.mu.Unlock()
	p.Flush()
}

// HTTP2 returns a transport that speaks prior-knowledge HTTP/2 over streams
// from open. It lives as long as the pool.
func (p *Pool) HTTP2(open func() (net.Conn, error)) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.h2 == nil {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		p.h2 = &http.Transport{
			Protocols:          &protocols,
			DisableCompression: true,
			IdleConnTimeout:    poolIdle,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return open()
			},
		}
	}
	return p.h2
}
