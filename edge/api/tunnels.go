package api

import (
	"fmt"
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/tunnel"
)

func tunnelShape(t *registry.Tunnel) client.Tunnel {
	return client.Tunnel{
		Subdomain:   t.Name,
		Kind:        t.Kind,
		PublicURL:   t.Grant.URL,
		DirectURL:   t.Grant.Direct,
		Port:        t.Port,
		Domain:      t.Claim.Domain,
		Local:       t.Claim.Local,
		CreatedAt:   t.Created,
		Online:      t.Online(),
		Since:       t.Since(),
		RemoteAddr:  t.Remote(),
		Machine:     t.Machine(),
		Inspect:     !t.Claim.NoInspect,
		Open:        t.Counters.Open.Load(),
		Connections: t.Counters.Connections.Load(),
		Requests:    t.Counters.Requests.Load(),
		BytesIn:     t.Counters.BytesIn.Load(),
		BytesOut:    t.Counters.BytesOut.Load(),
	}
}

func (a *api) tunnels(w http.ResponseWriter, r *http.Request, c call) error {
	all := shapes(a.cfg.Registry.Tunnels(c.user.ID), tunnelShape)
	return answerPage(w, r, all, func(t client.Tunnel) string { return t.Subdomain })
}

func (a *api) oneTunnel(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	if err != nil {
		return err
	}
	answer(w, tunnelShape(t))
	return nil
}

func (a *api) closeTunnel(w http.ResponseWriter, r *http.Request, c call) error {
	name := r.PathValue("sub")
	if !a.cfg.Registry.CloseTunnel(c.user.ID, name) {
		return errNoTunnel
	}
	a.log.Info("tunnel closed through the API", "tunnel", name)
	a.audit(r, c, "tunnel.close", name, "")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *api) closeConnections(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	switch {
	case err != nil:
		return err
	case a.cfg.Connections == nil:
		return unsupported("closing connections")
	}
	n := a.cfg.Connections.CloseConnections(t, "")
	a.audit(r, c, "connection.close", t.Name, fmt.Sprintf("all %d", n))
	answer(w, client.Closed{Connections: n})
	return nil
}

func (a *api) closeConnection(w http.ResponseWriter, r *http.Request, c call) error {
	t, err := a.tunnel(r, c)
	switch {
	case err != nil:
		return err
	case a.cfg.Connections == nil:
		return unsupported("closing connections")
	}
	id := r.PathValue("id")
	if id == "" || a.cfg.Connections.CloseConnections(t, id) == 0 {
		return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no open connection of that tunnel has this id", Hint: "it may have ended by itself"}
	}
	a.audit(r, c, "connection.close", t.Name, id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tunnel returns the caller's tunnel that the path names.
func (a *api) tunnel(r *http.Request, c call) (*registry.Tunnel, error) {
	t, ok := a.cfg.Registry.Tunnel(r.PathValue("sub"))
	if !ok || t.Owner != c.user.ID {
		return nil, errNoTunnel
	}
	return t, nil
}

var errNoTunnel = &tunnel.Error{
	Code:    tunnel.CodeTunnelNotFound,
	Message: "there is no tunnel of yours with that name",
	Hint:    "lrok shows those that are live",
}

func adminTunnelShape(t *registry.Tunnel) client.AdminTunnel {
	return client.AdminTunnel{Tunnel: tunnelShape(t), User: t.Owner}
}

func (a *api) adminTunnels(w http.ResponseWriter, r *http.Request, _ call) error {
	all := shapes(a.cfg.Registry.Tunnels(""), adminTunnelShape)
	return answerPage(w, r, all, func(t client.AdminTunnel) string { return t.Subdomain })
}

func (a *api) adminTunnel(w http.ResponseWriter, r *http.Request, _ call) error {
	t, ok := a.cfg.Registry.Tunnel(r.PathValue("sub"))
	if !ok {
		return errNoTunnelAtAll
	}
	answer(w, adminTunnelShape(t))
	return nil
}

func (a *api) adminCloseTunnel(w http.ResponseWriter, r *http.Request, c call) error {
	name := r.PathValue("sub")
	t, ok := a.cfg.Registry.Tunnel(name)
	// One that came in its place meanwhile is another owner's, and stays.
	if !ok || !a.cfg.Registry.CloseTunnel(t.Owner, name) {
		return errNoTunnelAtAll
	}
	a.audit(r, c, "tunnel.close", name, "of "+t.Owner)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

var errNoTunnelAtAll = &tunnel.Error{
	Code:    tunnel.CodeTunnelNotFound,
	Message: "there is no tunnel with that name",
	Hint:    "lrok admin tunnel list",
}
