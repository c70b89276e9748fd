package control

import (
	"net/netip"
	"sync"
)

// A gate bounds how many strangers are inside.
type gate struct {
	total, each int

	mu     sync.Mutex
	inside int
	from   map[netip.Prefix]int
}

func newGate(total, each int) *gate {
	return &gate{total: total, each: each, from: make(map[netip.Prefix]int)}
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
