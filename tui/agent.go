package tui

import (
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// An Agent is the agent of this process, as far as the screen goes.
type Agent interface {
	Status() Status
	Changed() <-chan struct{}
}

// The shape that tunnel/agent's Status has.
type (
	State int
	Step  struct {
		Name string
		Took time.Duration
		Done bool
	}
	Upstream struct {
		Tunnel, Local string
		Down          bool
		Err           string
		Since         time.Time
	}
	Status struct {
		State        State
		Steps        []Step
		Attempt      int
		Next         time.Time
		Err          error
		RTT          time.Duration
		Since        time.Time
		OfflineSince time.Time
		Welcome      tunnel.Welcome
		Upstreams    []Upstream
	}
)

const (
	Connecting State = iota
	Online
	Reconnecting
	Closed
)
