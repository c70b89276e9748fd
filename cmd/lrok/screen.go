package main

import (
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// screenAgent shows the agent to the screen.
type screenAgent struct{ *agent.Agent }

func (a screenAgent) Status() tui.Status {
	s := a.Agent.Status()
	out := tui.Status{
		State: tui.State(s.State), Attempt: s.Attempt, Next: s.Next, Err: s.Err, RTT: s.RTT,
		Since: s.Since, OfflineSince: s.OfflineSince, Welcome: s.Welcome,
	}
	for _, st := range s.Steps {
		out.Steps = append(out.Steps, tui.Step(st))
	}
	for _, u := range s.Upstreams {
		out.Upstreams = append(out.Upstreams, tui.Upstream(u))
	}
	return out
}
