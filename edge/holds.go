package edge

import (
	"context"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
)

const (
	// holdsEvery is how often it is saved who has which names and ports. What
	// came later is lost to an edge that is killed.
	holdsEvery = 5 * time.Second
	// holdsWait is how long an edge that is to end waits for that before it lets
	// the agents go: on a broken disk they must not wait.
	holdsWait = 2 * time.Second
)

// restoreHolds keeps for their users what the edge's last process says they had.
func (e *Edge) restoreHolds(ctx context.Context) {
	saved, err := e.store.Holds(ctx)
	if err != nil {
		// An edge that forgets is better than none.
		e.log.Warn("who had which names and ports is not known any more", "err", err)
		return
	}
	holds := make([]registry.Hold, len(saved))
	for i, h := range saved {
		holds[i] = registry.Hold(h)
	}
	e.registry.Restore(holds)
}

// keepHolds saves who has which names and ports until ctx ends, and then once
// more. After that another process may be at work on the same data, whose holds
// must not be overwritten.
func (e *Edge) keepHolds(ctx context.Context) {
	tick := time.NewTicker(holdsEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		held := e.registry.Holds()
		holds := make([]store.Hold, len(held))
		for i, h := range held {
			holds[i] = store.Hold(h)
		}
		// What goes wrong the store tells itself, and this is tried again.
		_ = e.store.SaveHolds(context.WithoutCancel(ctx), holds)
	}
}
