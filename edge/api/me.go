package api

import (
	"net/http"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func (a *api) me(w http.ResponseWriter, _ *http.Request, c call) error {
	answer(w, client.Me{
		ID:    c.user.ID,
		Name:  c.user.Name,
		Admin: c.user.Admin,
		Key:   keyShape(c.key),
		Edge:  client.Edge{Software: a.cfg.Software, Domain: a.cfg.Domain, Limits: a.cfg.Limits},
	})
	return nil
}

func (a *api) plan(w http.ResponseWriter, _ *http.Request, c call) error {
	tunnels := 0
	if a.cfg.TunnelLimit != nil {
		tunnels = a.cfg.TunnelLimit(c.user.ID)
	}
	answer(w, client.Plan{
		Plan:         "self-hosted",
		Tunnels:      client.Tunnels{Limit: limit(tunnels), Active: a.online(c.user.ID)},
		Reservations: client.Reservations{Limit: limit(a.cfg.Store.ReservationLimit(c.user.ID)), Used: len(a.cfg.Store.Reservations(c.user.ID))},
	})
	return nil
}

// limit turns a limit that is 0 when there is none into one that is nil then.
func limit(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// online counts the tunnels of user whose agent is there.
func (a *api) online(user string) int {
	n := 0
	for _, t := range a.cfg.Registry.Tunnels(user) {
		if t.Online() {
			n++
		}
	}
	return n
}

// owner refuses the key of the edge's own machine, which belongs to no user who
// could own something.
func owner(c call) error {
	if c.user.ID != store.Local {
		return nil
	}
	return &tunnel.Error{
		Code:    tunnel.CodeForbidden,
		Message: "the key of the edge's own machine belongs to no user",
		Hint:    "call it with a user's key",
	}
}

// when is a time that may not have come.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// placeOf is where something stands in a list from old to new.
func placeOf(t time.Time, id string) string {
	return t.UTC().Format("20060102T150405.000000000Z") + "-" + id
}
