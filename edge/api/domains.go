package api

import (
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/tunnel"
)

func domainShape(d domains.Domain) client.Domain {
	s := client.Domain{
		Domain:     d.Host,
		State:      d.State,
		CreatedAt:  d.Created,
		VerifiedAt: when(d.Verified),
		CheckedAt:  when(d.Checked),
		GraceEnds:  when(d.GraceEnds),
		Problem:    d.Problem,
		Records:    make([]client.Record, len(d.Records)),
	}
	for i, r := range d.Records {
		s.Records[i] = client.Record(r)
	}
	return s
}

func (a *api) domains(w http.ResponseWriter, r *http.Request, c call) error {
	if a.cfg.Domains == nil {
		return errNoDomains
	}
	all := shapes(a.cfg.Domains.List(c.user.ID), domainShape)
	return answerPage(w, r, all, func(d client.Domain) string { return d.Domain })
}

func (a *api) domain(w http.ResponseWriter, r *http.Request, c call) error {
	if a.cfg.Domains == nil {
		return errNoDomains
	}
	for _, d := range a.cfg.Domains.List(c.user.ID) {
		if d.Host == r.PathValue("domain") {
			answer(w, domainShape(d))
			return nil
		}
	}
	return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "there is no such domain of yours", Hint: "lrok domain list"}
}

func (a *api) addDomain(w http.ResponseWriter, r *http.Request, c call) error {
	if err := owner(c); err != nil {
		return err
	}
	req, err := read[client.DomainRequest](w, r, maxBody)
	if err != nil {
		return err
	}
	if a.cfg.Domains == nil {
		return errNoDomains
	}
	d, err := a.cfg.Domains.Add(r.Context(), c.user.ID, c.user.ID, req.Domain)
	if err != nil {
		return err
	}
	created(w, c, "/me/domains/"+d.Host, domainShape(d))
	return nil
}

func (a *api) verifyDomain(w http.ResponseWriter, r *http.Request, c call) error {
	if a.cfg.Domains == nil {
		return errNoDomains
	}
	d, err := a.cfg.Domains.Verify(r.Context(), c.user.ID, c.user.ID, r.PathValue("domain"))
	if err != nil {
		return err
	}
	answer(w, domainShape(d))
	return nil
}

func (a *api) removeDomain(w http.ResponseWriter, r *http.Request, c call) error {
	if a.cfg.Domains == nil {
		return errNoDomains
	}
	if err := a.cfg.Domains.Remove(r.Context(), c.user.ID, c.user.ID, r.PathValue("domain")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

var errNoDomains = unsupported("domains of its users' own")
