package forward

import (
	"sync"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

// ownStreams are the streams that only one client's HTTP/2 connection may use:
// each has carried a body, and a service that did not read it may take it for
// the next request. The zero value is ready to use, a nil one keeps nothing.
type ownStreams struct {
	mu     sync.Mutex
	pools  map[*registry.Tunnel]*registry.Pool
	closed bool
}

// take returns an idle stream to t as [registry.Pool.Take] does, or nil.
func (o *ownStreams) take(t *registry.Tunnel, now time.Time, fresh bool) tunnel.Conn {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	p := o.pools[t]
	o.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Take(now, fresh)
}

// put keeps up for the next request to t, for as many seconds as the service
// does. It reports whether it has taken up over.
func (o *ownStreams) put(t *registry.Tunnel, up tunnel.Conn, keepAlive int) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || closed(t) {
		return false
	}
	p := o.pools[t]
	if p == nil {
		for other, p := range o.pools {
			// Its owner may close it and open it again, or its agent go and come
			// back, any number of times.
			if closed(other) || !other.Online() {
				p.Close()
				delete(o.pools, other)
			}
		}
		p = &registry.Pool{}
		if o.pools == nil {
			o.pools = map[*registry.Tunnel]*registry.Pool{}
		}
		o.pools[t] = p
	}
	p.Put(up, time.Now(), time.Duration(keepAlive)*time.Second)
	return true
}

// close closes all of them, because the connection has ended.
func (o *ownStreams) close() {
	o.mu.Lock()
	pools := o.pools
	o.pools, o.closed = nil, true
	o.mu.Unlock()
	for _, p := range pools {
		p.Close()
	}
}
