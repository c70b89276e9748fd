package agent

import (
	"context"
	"errors"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// A reading is both clocks at one moment. Asleep, the wall clock goes on and
// the monotonic one stops on Linux and macOS but goes on on Windows; there it
// is the late tick that tells.
type reading struct{ wall, mono time.Duration }

func machineClock() func() reading {
	start := time.Now()
	return func() reading {
		now := time.Now()
		return reading{wall: now.Round(0).Sub(start.Round(0)), mono: now.Sub(start)}
	}
}

const (
	wakeTick = time.Second
	// sleepJump is how far the clocks part, or a tick is late, before it
	// counts as sleep. A busy machine is late by less.
	sleepJump = 3 * time.Second
)

func slept(before, now reading) bool {
	wall, mono := now.wall-before.wall, now.mono-before.mono
	return wall-mono > sleepJump || mono > wakeTick+sleepJump
}

// A nudge says that the link may be dead without showing it, why, and how long
// the edge has to show that it is not.
type nudge struct {
	why    string
	answer time.Duration
}

// poke leaves a nudge, unless there is one already.
func poke(nudges chan<- nudge, n nudge) {
	select {
	case nudges <- n:
	default:
	}
}

// watchSleep nudges after the machine slept.
func (a *Agent) watchSleep(ctx context.Context, nudges chan<- nudge) {
	tick := a.config.tick
	if tick == nil {
		t := time.NewTicker(wakeTick)
		defer t.Stop()
		tick = t.C
	}
	last := a.config.clock()
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		now := a.config.clock()
		if slept(last, now) {
			a.config.Logger.Debug("woken from sleep", "after", now.wall-last.wall)
			poke(nudges, nudge{"a wake from sleep", wakeAnswer})
		}
		last = now
	}
}

// wakeAnswer is how long the edge has to answer after a wake.
const wakeAnswer = time.Second

// watchLink asks, after a nudge, whether the link still works, and ends the
// session when it does not: waiting for silence would take too long.
func (a *Agent) watchLink(ctx context.Context, s *tunnel.Session, nudges <-chan nudge, ended <-chan struct{}) {
	for {
		var n nudge
		select {
		case n = <-nudges:
		case <-ended:
			return
		}
		ctx, cancel := context.WithTimeout(ctx, n.answer)
		err := a.config.ask(ctx, s)
		cancel()
		if err != nil {
			s.Abort(errors.New("no answer after " + n.why))
		}
	}
}
