package api

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// refusals slows down who tries keys: each address that was refused a few times
// waits for its answer, as it does on the control port. An IPv6 network of 64
// bits counts as one address, because whoever has one has all of them.
type refusals struct {
	now func() time.Time

	mu     sync.Mutex
	failed map[netip.Prefix]failure
	held   int       // answers that are being held back
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
	// maxFailed bounds the addresses that are remembered, maxHeld the answers
	// that wait.
	maxFailed = 10_000
	maxHeld   = 256
)

// errHurry is for those whose answer there is no room to hold back.
var errHurry = &tunnel.Error{
	Code:    tunnel.CodeUnavailable,
	Message: "too many keys are being refused just now",
	Hint:    "try again in a while",
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, failed: make(map[netip.Prefix]failure)}
}

// hold notes that a key from p was refused and returns when the answer may be
// given. It reports false when there is no room to wait.
func (f *refusals) hold(ctx context.Context, p netip.Prefix) bool {
	f.mu.Lock()
	d := f.note(p)
	if d == 0 {
		f.mu.Unlock()
		return true
	}
	if f.held >= maxHeld {
		f.mu.Unlock()
		return false
	}
	f.held++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.held--
		f.mu.Unlock()
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// note counts a refusal and returns how long its answer is held back. The
// caller holds mu.
func (f *refusals) note(p netip.Prefix) time.Duration {
	now := f.now()
	old, known := f.failed[p]
	if now.Sub(old.last) > forgetAfter {
		old = failure{}
	}
	if !known && len(f.failed) >= maxFailed {
		if now.Sub(f.swept) >= time.Minute {
			f.swept = now
			for q, o := range f.failed {
				if now.Sub(o.last) > forgetAfter {
					delete(f.failed, q)
				}
			}
		}
		if len(f.failed) >= maxFailed {
			return longestDelay // an attack from everywhere: everybody's is slow
		}
	}
	old.times, old.last = old.times+1, now
	f.failed[p] = old
	if old.times <= freeFailures {
		return 0
	}
	return min(firstDelay<<min(old.times-freeFailures-1, 10), longestDelay)
}

// forgive notes that a key from p was accepted.
func (f *refusals) forgive(p netip.Prefix) {
	f.mu.Lock()
	delete(f.failed, p)
	f.mu.Unlock()
}

// addressOf returns what counts as one address: all that is unknown does.
func addressOf(remote string) netip.Prefix {
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
