package control

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// A gate bounds what strangers may do: how many of them are inside, and how
// fast they may try keys. An IPv6 network of 64 bits counts as one address,
// because whoever has one has all of them.
type gate struct {
	total, each int
	now         func() time.Time

	mu     sync.Mutex
	inside int
	from   map[netip.Prefix]int
	failed map[netip.Prefix]failure
	swept  time.Time // when the old ones were last looked for
}

// A failure is how often keys from an address were refused lately.
type failure struct {
	times int
	last  time.Time
}

const (
	// Keys of people who mistype come a few at a time; these are not slowed.
	freeFailures = 3
	firstDelay   = 250 * time.Millisecond
	longestDelay = 5 * time.Second
	// forgetAfter is when an address is a blank sheet again.
	forgetAfter = 10 * time.Minute
	// maxFailed bounds the addresses that are remembered.
	maxFailed = 10_000
)

func newGate(total, each int, now func() time.Time) *gate {
	return &gate{
		total: total, each: each, now: now,
		from:   make(map[netip.Prefix]int),
		failed: make(map[netip.Prefix]failure),
	}
}

// set changes the limits.
func (g *gate) set(total, each int) {
	g.mu.Lock()
	g.total, g.each = total, each
	g.mu.Unlock()
}

// enter lets a connection from p in if there is a place for it. The caller
// leaves.
func (g *gate) enter(p netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= g.total || g.from[p] >= g.each {
		return false
	}
	g.inside++
	g.from[p]++
	return true
}

func (g *gate) leave(p netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.from[p]--; g.from[p] <= 0 {
		delete(g.from, p)
	}
}

// refused notes that a key from p was refused and returns how long the answer
// is to be held back.
func (g *gate) refused(p netip.Prefix) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	f, known := g.failed[p]
	if now.Sub(f.last) > forgetAfter {
		f = failure{}
	}
	if !known && len(g.failed) >= maxFailed {
		if now.Sub(g.swept) < time.Minute {
			return longestDelay // an attack from everywhere: everybody's is slow
		}
		g.swept = now
		for q, old := range g.failed {
			if now.Sub(old.last) > forgetAfter {
				delete(g.failed, q)
			}
		}
		if len(g.failed) >= maxFailed {
			return longestDelay
		}
	}
	f.times, f.last = f.times+1, now
	g.failed[p] = f
	if f.times <= freeFailures {
		return 0
	}
	return min(firstDelay<<min(f.times-freeFailures-1, 10), longestDelay)
}

// accepted notes that a key from p was accepted.
func (g *gate) accepted(p netip.Prefix) {
	g.mu.Lock()
	delete(g.failed, p)
	g.mu.Unlock()
}

// prefixOf returns what counts as one address.
func prefixOf(a net.Addr) netip.Prefix {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
