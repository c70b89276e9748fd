package control

import (
	"context"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// keysEvery is how often the keys of sessions are looked at. Asking is cheap,
// and a revoked key must not be of use for longer than a few seconds.
const keysEvery = time.Second

// watchKeys ends sessions whose key does not work any more, until ctx ends.
func (s *Server) watchKeys(ctx context.Context) {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.revoke()
		case <-ctx.Done():
			return
		}
	}
}

// revoke tells agents whose key does not work any more so, and ends their
// sessions with all streams. It waits for none of them.
func (s *Server) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for se := range s.sessions {
		if se.revoked || s.cfg.Store.Working(se.key) {
			continue
		}
		se.revoked = true
		// The session itself keeps Serve waiting as long as it is in the map.
		s.wg.Go(func() {
			s.log.Info("agent sent away: its key does not work any more", "session", se.id, "user", se.user.Name)
			_ = se.Supersede(&tunnel.Error{
				Code:    tunnel.CodeKey,
				Message: "the key was revoked or has expired",
				Hint:    "ask whoever runs the edge for a new one",
			}) // the link may be dead
		})
	}
}
