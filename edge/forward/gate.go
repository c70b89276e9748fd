package forward

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	defaultConns        = 20_000
	defaultConnsAddress = 1_024
	defaultConcurrent   = 256
	// shedAtOnce is how many idle connections one look at all of them finds: a
	// flood must not cost a look for each of its connections.
	shedAtOnce    = 256
	shedOfAddress = 16
	// shedPause is how long after a look that found nothing the next one is.
	shedPause = 50 * time.Millisecond
)

// A gate counts the public connections that are open. An IPv6 network of 64
// bits counts as one address, because whoever has one has all of them.
type gate struct {
	mu          sync.Mutex
	total, each int
	open        int
	from        map[netip.Prefix]int
}

// set changes the limits.
func (g *gate) set(total, each int) {
	g.mu.Lock()
	g.total, g.each = total, each
	g.mu.Unlock()
}

// A fullness says why the gate is closed.
type fullness int

const (
	hasRoom fullness = iota
	full             // the edge has as many connections as it may
	fullFor          // this address has
	packed           // and so many are still leaving that one more must wait outside
)

// enter counts a connection from p, even beyond the limits, and says whether it
// is. The caller leaves. The zero Prefix stands for those that only the total
// counts.
func (g *gate) enter(p netip.Prefix) fullness {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open++
	if p.IsValid() {
		g.from[p]++
	}
	switch {
	case g.open-g.total > max(g.total/8, 1): // total may be as large as an int can be
		return packed
	case g.open > g.total:
		return full
	case g.from[p] > g.each:
		return fullFor
	}
	return hasRoom
}

func (g *gate) leave(p netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if !p.IsValid() {
		return
	}
	if g.from[p]--; g.from[p] <= 0 {
		delete(g.from, p)
	}
}

// prefixOf returns what counts as one address.
func prefixOf(ip netip.Addr) netip.Prefix {
	ip = ip.WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// addrOf returns the address of a peer, invalid when it has none.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// admit lets nc in, for which an idle connection may have to go. The returned
// function is to be called once nc is closed; it is nil when there is no room.
func (f *Forwarder) admit(nc net.Conn) (leave func()) {
	ip := addrOf(nc.RemoteAddr())
	var from netip.Prefix
	if ip.IsValid() && !f.trusted(ip) {
		from = prefixOf(ip)
	}
	f.opened.Add(1)
	switch why := f.gate.enter(from); {
	case why == hasRoom:
	case why == full && f.shed(netip.Prefix{}):
	case why == fullFor && f.shed(from):
	default:
		f.gate.leave(from)
		f.turnedAway.Add(1)
		f.cfg.Logger.Debug("turned away: too many connections", "remote", nc.RemoteAddr().String(), "address", why == fullFor)
		return nil
	}
	var once sync.Once
	return func() { once.Do(func() { f.gate.leave(from) }) }
}

// A victim is a connection that was idle when it was looked for.
type victim struct {
	since time.Time
	close func(since time.Time) bool // unless something has happened since
}

// shed closes connections that have been idle longest, of p if p is valid, and
// reports whether there was one.
func (f *Forwarder) shed(p netip.Prefix) bool {
	f.shedding.Lock()
	defer f.shedding.Unlock()
	if p.IsValid() {
		return f.closeSome(f.idle(p), shedOfAddress) > 0
	}
	for searched := false; ; searched = true {
		for len(f.victims) > 0 {
			v := f.victims[0]
			f.victims = f.victims[1:]
			if v.close(v.since) {
				f.shedded.Add(1)
				return true
			}
		}
		now := time.Now()
		if searched || now.Before(f.searchAgain) {
			return false
		}
		f.victims = f.idle(p)
		if len(f.victims) == 0 {
			f.searchAgain = now.Add(shedPause)
		}
	}
}

// closeSome closes the first n of victims that are still idle.
func (f *Forwarder) closeSome(victims []victim, n int) (closed int) {
	for _, v := range victims {
		if closed == n {
			break
		}
		if v.close(v.since) {
			f.shedded.Add(1)
			closed++
		}
	}
	return closed
}

// idle returns connections without a request in flight, of p if p is valid,
// those that have been idle longest first.
func (f *Forwarder) idle(p netip.Prefix) []victim {
	f.mu.Lock()
	var found []victim
	for c := range f.conns {
		if p.IsValid() && prefixOf(c.peerIP) != p {
			continue
		}
		if since, ok := c.idleSince(); ok {
			found = append(found, victim{since, c.retire})
		}
	}
	for nc, since := range f.idle2 {
		if p.IsValid() && prefixOf(addrOf(nc.RemoteAddr())) != p {
			continue
		}
		found = append(found, victim{since, func(since time.Time) bool { return f.retire2(nc, since) }})
	}
	f.mu.Unlock()
	slices.SortFunc(found, func(a, b victim) int { return a.since.Compare(b.since) })
	if len(found) > shedAtOnce {
		found = slices.Clone(found[:shedAtOnce])
	}
	return found
}

// state2 follows the HTTP/2 connections to know which are idle.
func (f *Forwarder) state2(nc net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == http.StateIdle {
		f.idle2[nc] = time.Now()
	} else {
		delete(f.idle2, nc)
	}
}

// retire2 closes an HTTP/2 connection that has been idle since then.
func (f *Forwarder) retire2(nc net.Conn, since time.Time) bool {
	f.mu.Lock()
	at, ok := f.idle2[nc]
	ok = ok && at.Equal(since)
	if ok {
		delete(f.idle2, nc)
	}
	f.mu.Unlock()
	if ok {
		// The alert that ends TLS could wait for a client that does not read.
		_ = under(nc).Close()
	}
	return ok
}

// under is the connection that nc is made of.
func under(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case interface{ NetConn() net.Conn }: // TLS, and what forward wraps
			nc = c.NetConn()
		case interface{ Raw() net.Conn }: // PROXY protocol
			nc = c.Raw()
		default:
			return nc
		}
	}
}

// A counted connection tells the gate when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// NetConn is what [tls.Conn.NetConn] is.
func (c *counted) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the direction towards the client.
func (c *counted) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}
