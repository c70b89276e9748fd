package forward

import (
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// wasEnded is how a connection ends that the tunnel's owner closes.
var wasEnded = inspector.Ending{By: "edge", Code: tunnel.CodeClosed, Detail: "closed by the tunnel's owner"}

// CloseConnections resets both sides of the open raw connection of t that was
// captured under that id, of all if id is empty, and returns how many those were.
func (f *Forwarder) CloseConnections(t *registry.Tunnel, id string) int {
	var found []*raw
	f.mu.Lock()
	for r := range f.raws {
		// The ring stays the same when an agent comes back.
		if r.tunnel.Ring == t.Ring && (id == "" || r.rec.ID() == id) {
			found = append(found, r)
		}
	}
	f.mu.Unlock()
	n := 0
	for _, r := range found {
		if r.fail(wasEnded) {
			n++
		}
	}
	return n
}
