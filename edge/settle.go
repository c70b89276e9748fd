package edge

import (
	"context"
	"time"
)

const (
	// begun is when the start is over.
	begun = 300 * time.Millisecond
	// calm is how long no agent has come before what the last ones left behind
	// is given back.
	calm = time.Second
	// burst is how many agents leave enough behind for that.
	burst = 16
)

// settle calls trim once the edge has started, and again after many agents have
// come at once, as they do when an edge comes back: their handshakes leave
// several times of what idle agents need. connected is how many agents ever came.
// It returns when ctx ends.
func settle(ctx context.Context, connected func() int, trim func()) {
	select {
	case <-time.After(begun):
		trim()
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(calm)
	defer tick.Stop()
	seen, trimmed := 0, 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n := connected()
		// Where agents come all the time, what one leaves the next one uses.
		if n == seen && n-trimmed >= max(burst, n/8) {
			trim()
			trimmed = n
		}
		seen = n
	}
}
