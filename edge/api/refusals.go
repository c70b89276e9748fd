package api

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// refusals holds back the answers to those who try keys.
type refusals struct {
	guesses *store.Guesses
	held    atomic.Int64 // answers that wait
}

// maxHeld bounds the answers that wait.
const maxHeld = 256

// errHurry is for those whose answer there is no room to hold back.
var errHurry = &tunnel.Error{
	Code:    tunnel.CodeUnavailable,
	Message: "too many keys are being refused just now",
	Hint:    "try again in a while",
}

// hold notes that a key from p was refused and returns when the answer may be
// given. It reports false when there is no room to wait.
func (f *refusals) hold(ctx context.Context, p netip.Prefix) bool {
	d := f.guesses.Refused(p)
	if d == 0 {
		return true
	}
	defer f.held.Add(-1)
	if f.held.Add(1) > maxHeld {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}
