package api

import (
	"context"
	"net/http"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

const (
	defaultHours = 24
	maxHours     = 31 * 24
	maxShares    = 100

	defaultEntries = 100
)

func usageShape(u store.Usage) client.Usage {
	return client.Usage{Requests: u.Requests, Connections: u.Connections, BytesIn: u.BytesIn, BytesOut: u.BytesOut}
}

func shareShape(u store.Usage) client.Share {
	return client.Share{User: u.User, Tunnel: u.Tunnel, Usage: usageShape(u)}
}

func (a *api) stats(w http.ResponseWriter, r *http.Request, _ call) error {
	if a.cfg.Stats == nil {
		return unsupported("counters")
	}
	hours, err := number(r, "hours")
	switch {
	case err != nil:
		return err
	case hours == 0:
		hours = defaultHours
	case hours > maxHours:
		return badRequest("hours is more than 744, which is a month", "")
	}
	s, err := a.cfg.Stats.Summary(r.Context(), int(hours))
	if err != nil {
		return err
	}
	answer(w, client.Stats{
		StartedAt: s.Started,
		Agents:    s.Agents,
		Tunnels:   s.Tunnels,
		Users:     s.Users,
		Total:     usageShape(s.Total),
		Hours: shapes(s.Hours, func(u store.Usage) client.Hour {
			return client.Hour{Hour: u.Hour, Usage: usageShape(u)}
		}),
		ByUser:   shapes(s.ByUser[:min(len(s.ByUser), maxShares)], shareShape),
		ByTunnel: shapes(s.ByTunnel[:min(len(s.ByTunnel), maxShares)], shareShape),
	})
	return nil
}

func (a *api) entries(w http.ResponseWriter, r *http.Request, _ call) error {
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = defaultEntries
	}
	limit = min(limit, maxPage)
	// One more shows whether there is a next page.
	es, err := a.cfg.Store.Entries(r.Context(), int64(before), int(limit)+1)
	if err != nil {
		return err
	}
	page := client.Entries{}
	if uint64(len(es)) > limit {
		es = es[:limit]
		page.Next = es[limit-1].ID
	}
	page.Entries = shapes(es, func(e store.Entry) client.Entry { return client.Entry(e) })
	answer(w, page)
	return nil
}

// audit notes what was done and is not in the store otherwise. It has been done,
// so a store that cannot be written to does not make it fail.
func (a *api) audit(r *http.Request, c call, action, object, detail string) {
	e := store.Entry{Actor: c.user.ID, Action: action, Object: object, Detail: detail}
	if err := a.cfg.Store.Audit(context.WithoutCancel(r.Context()), e); err != nil {
		a.log.Error("not in the audit log", "actor", e.Actor, "action", action, "object", object, "err", err)
	}
}

func (a *api) reloadCerts(w http.ResponseWriter, r *http.Request, c call) error {
	if a.cfg.Certs == nil {
		return unsupported("certificates")
	}
	changed, err := a.cfg.Certs.Reload()
	st := a.cfg.Certs.Status()
	out := client.Reload{
		Changed:  changed,
		Problems: append([]string{}, st.Problems...),
		Certificates: shapes(st.Certificates, func(i certs.Info) client.Certificate {
			return client.Certificate{Names: append([]string{}, i.Names...), Issuer: i.Issuer, NotAfter: i.NotAfter, Source: i.Source}
		}),
	}
	if err != nil && len(out.Problems) == 0 {
		a.log.Error("reload certificates; the old ones stay", "err", err)
		return &tunnel.Error{
			Code:    tunnel.CodeUnavailable,
			Message: "the certificates could not be read; the old ones stay",
			Hint:    "the edge's log says why",
		}
	}
	a.audit(r, c, "certs.reload", "", "")
	answer(w, out)
	return nil
}
