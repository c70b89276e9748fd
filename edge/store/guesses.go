package store

import (
	"net/netip"
	"sync"
	"time"
)

// Guesses slows down who tries keys, at all doors together: an address that was
// refused a few times waits for its next answers. Its methods may be called at the
// same time.
type Guesses struct {
	now func() time.Time

	mu     sync.Mutex
	failed map[netip.Prefix]failure
	swept  time.Time // when the old ones were last looked for
}

// A failure is how often keys from an address were refused lately.
type failure struct {
	times int
	last  time.Time
}

// How refusals are slowed.
const (
	// FreeGuesses is how many are not: keys of people who mistype come a few at a
	// time.
	FreeGuesses = 3
	// FirstDelay is how long the next one is held back; each takes twice as long
	// as the one before, up to LongestDelay.
	FirstDelay   = 250 * time.Millisecond
	LongestDelay = 5 * time.Second
	// ForgetAfter is when an address is a blank sheet again.
	ForgetAfter = 10 * time.Minute

	maxFailed = 10_000 // addresses that are remembered
)

// NewGuesses returns one that has seen nothing. now is the clock.
func NewGuesses(now func() time.Time) *Guesses {
	return &Guesses{now: now, failed: make(map[netip.Prefix]failure)}
}

// Refused notes that a key from p was refused and returns how long the answer is
// to be held back.
func (g *Guesses) Refused(p netip.Prefix) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	f, known := g.failed[p]
	if now.Sub(f.last) > ForgetAfter {
		f = failure{}
	}
	if !known && len(g.failed) >= maxFailed {
		if now.Sub(g.swept) >= time.Minute {
			g.swept = now
			for q, old := range g.failed {
				if now.Sub(old.last) > ForgetAfter {
					delete(g.failed, q)
				}
			}
		}
		if len(g.failed) >= maxFailed {
			return LongestDelay // an attack from everywhere: everybody's is slow
		}
	}
	f.times, f.last = f.times+1, now
	g.failed[p] = f
	if f.times <= FreeGuesses {
		return 0
	}
	return min(FirstDelay<<min(f.times-FreeGuesses-1, 10), LongestDelay)
}

// Accepted notes that a key from p was accepted.
func (g *Guesses) Accepted(p netip.Prefix) {
	g.mu.Lock()
	delete(g.failed, p)
	g.mu.Unlock()
}

// AddressOf returns what counts as one address: an IPv6 network of 64 bits does,
// because whoever has one of its addresses has all of them, and so does all that
// is unknown. remote has a port or none.
func AddressOf(remote string) netip.Prefix {
	ip, err := netip.ParseAddr(remote)
	if err != nil {
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return netip.Prefix{}
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
