package tui

import "github.com/lrok-dev/lrok/tunnel/agent"

// An Agent is the agent of this process, as far as the screen goes. The
// agent.Agent of package tunnel/agent is one.
type Agent interface {
	Status() agent.Status
	// Changed has one reader: the screen.
	Changed() <-chan struct{}
	// SetTarget makes the tunnel of that name lead to another local service.
	SetTarget(tunnel string, t agent.Target)
	// Again asks the edge once more for a tunnel that it refused, by its place
	// among the claims.
	Again(claim int)
}
