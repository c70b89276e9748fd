package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// againEvery is how often the edge is asked for a tunnel that it refused for a
// reason that can pass.
const againEvery = 30 * time.Second

// passing reports whether a refusal may be over after a while: whoever has the name
// or the port gives it back, or a tunnel ends and makes room for one more.
func passing(e *tunnel.Error) bool {
	switch e.Code {
	case tunnel.CodeName, tunnel.CodePort, tunnel.CodeLimit, tunnel.CodeUnavailable, tunnel.CodeInternal:
		return true
	}
	return false
}

// drop notes why claim i brings no tunnel. It is called in update.
func (a *Agent) drop(i int, why *tunnel.Error) {
	u := &a.status.Upstreams[i]
	u.Dropped, u.Again = why, time.Time{}
	if a.config.Partial && passing(why) {
		u.Again = time.Now().Add(a.config.again)
	}
	a.ask()
}

// Again asks the edge once more for claim i, which was refused or dropped, as soon
// as there is a connection. It waits for nothing: the status tells what comes of it.
func (a *Agent) Again(i int) {
	a.update(func(s *Status) {
		if i >= 0 && i < len(s.Upstreams) && s.Upstreams[i].Dropped != nil {
			s.Upstreams[i].Again = time.Now()
		}
	})
	a.ask()
}

// ask has askAgain look at what there is to ask for.
func (a *Agent) ask() {
	select {
	case a.asks <- struct{}{}:
	default:
	}
}

// askAgain asks for tunnels that were refused, each when its time has come, until
// ctx ends.
func (a *Agent) askAgain(ctx context.Context) {
	for {
		s, i, wait := a.nextAgain()
		if s != nil && wait <= 0 {
			a.claimAgain(ctx, s, i)
			continue
		}
		var due <-chan time.Time
		if s != nil {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-a.asks:
		case <-ctx.Done():
			return
		}
	}
}

// nextAgain is the claim that is asked for next, in how long and over which session,
// nil for none.
func (a *Agent) nextAgain() (s *tunnel.Session, next int, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil || a.status.State != Online {
		return nil, 0, 0
	}
	for i, u := range a.status.Upstreams {
		if d := time.Until(u.Again); u.Dropped != nil && !u.Again.IsZero() && (s == nil || d < wait) {
			s, next, wait = a.session, i, d
		}
	}
	return s, next, wait
}

func (a *Agent) claimAgain(ctx context.Context, s *tunnel.Session, i int) {
	a.mu.Lock()
	claim := a.claims[i]
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	g, err := s.Claim(ctx, claim)
	a.config.Logger.Debug("asked again for a tunnel", "claim", i+1, "err", err)
	a.update(func(st *Status) {
		u := &st.Upstreams[i]
		var refused *tunnel.Error
		switch {
		case errors.As(err, &refused):
			a.drop(i, refused)
		case err != nil || a.session != s:
			// With the next session: the edge keeps for this agent what it granted.
			u.Again = time.Now().Add(a.config.again)
		default:
			st.Welcome.Grants = slices.Clone(st.Welcome.Grants)
			st.Welcome.Grants[i] = g
			a.claims[i].Name, a.claims[i].Takeover = g.Name, false
			u.Tunnel, u.Dropped, u.Again = g.Name, nil, time.Time{}
		}
	})
}
