package api

import (
	"fmt"
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

func (a *api) me(w http.ResponseWriter, _ *http.Request, c call) error {
	answer(w, client.Me{
		ID:    c.user.ID,
		Name:  c.user.Name,
		Admin: c.user.Admin,
		Key:   client.Key{ID: c.key.ID, Prefix: c.key.Prefix, Last4: c.key.Last4},
		Edge:  client.Edge{Software: a.cfg.Software, Domain: a.cfg.Domain, Limits: a.cfg.Limits},
	})
	return nil
}

func (a *api) plan(w http.ResponseWriter, _ *http.Request, c call) error {
	active := 0
	for _, t := range a.cfg.Registry.Tunnels(c.user.ID) {
		if t.Online() {
			active++
		}
	}
	answer(w, client.Plan{Plan: "self-hosted", Tunnels: client.Tunnels{Active: active}})
	return nil
}

func (a *api) tunnels(w http.ResponseWriter, _ *http.Request, c call) error {
	out := []client.Tunnel{}
	for _, t := range a.cfg.Registry.Tunnels(c.user.ID) {
		out = append(out, client.Tunnel{
			Subdomain:  t.Name,
			Kind:       t.Kind,
			PublicURL:  t.Grant.URL,
			DirectURL:  t.Grant.Direct,
			Local:      t.Claim.Local,
			CreatedAt:  t.Created,
			Online:     t.Online(),
			Since:      t.Since(),
			RemoteAddr: t.Remote(),
			Machine:    t.Machine(),
			Inspect:    !t.Claim.NoInspect,
			Requests:   t.Counters.Requests.Load(),
			BytesIn:    t.Counters.BytesIn.Load(),
			BytesOut:   t.Counters.BytesOut.Load(),
		})
	}
	answer(w, out)
	return nil
}

func (a *api) closeTunnel(w http.ResponseWriter, r *http.Request, c call) error {
	name := r.PathValue("sub")
	if !a.cfg.Registry.CloseTunnel(c.user.ID, name) {
		return noTunnel(name)
	}
	a.log.Info("tunnel closed through the API", "tunnel", name)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tunnel returns the caller's tunnel that the path names.
func (a *api) tunnel(r *http.Request, c call) (*registry.Tunnel, error) {
	name := r.PathValue("sub")
	t, ok := a.cfg.Registry.Tunnel(name)
	if !ok || t.Owner != c.user.ID {
		return nil, noTunnel(name)
	}
	return t, nil
}

func noTunnel(name string) error {
	return &tunnel.Error{
		Code:    tunnel.CodeTunnelNotFound,
		Message: fmt.Sprintf("there is no tunnel %q of yours", name),
		Hint:    "lrok shows those that are live",
	}
}
