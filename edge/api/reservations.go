package api

import (
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func reservationShape(r store.Reservation) client.Reservation {
	return client.Reservation{Subdomain: r.Name, CreatedAt: r.Created}
}

func (a *api) reservations(w http.ResponseWriter, r *http.Request, c call) error {
	all := shapes(a.cfg.Store.Reservations(c.user.ID), reservationShape)
	return answerPage(w, r, all, func(r client.Reservation) string { return r.Subdomain })
}

func (a *api) reservation(w http.ResponseWriter, r *http.Request, c call) error {
	res, err := a.findReservation(r, c)
	if err != nil {
		return err
	}
	answer(w, reservationShape(res))
	return nil
}

func (a *api) reserve(w http.ResponseWriter, r *http.Request, c call) error {
	if err := owner(c); err != nil {
		return err
	}
	req, err := read[client.ReservationRequest](w, r, maxBody)
	if err != nil {
		return err
	}
	name := req.Subdomain
	if err := tunnel.CheckName(name); err != nil {
		return err
	}
	var res store.Reservation
	err = a.cfg.Registry.Reserve(c.user.ID, name, func() (err error) {
		res, err = a.cfg.Store.Reserve(r.Context(), c.user.ID, c.user.ID, name)
		return err
	})
	if err != nil {
		return err
	}
	created(w, c, "/me/reservations/"+res.Name, reservationShape(res))
	return nil
}

func (a *api) unreserve(w http.ResponseWriter, r *http.Request, c call) error {
	res, err := a.findReservation(r, c)
	if err != nil {
		return err
	}
	if err := a.cfg.Store.Unreserve(r.Context(), c.user.ID, c.user.ID, res.Name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// findReservation returns the caller's reservation that the path names.
func (a *api) findReservation(r *http.Request, c call) (store.Reservation, error) {
	res, ok := a.cfg.Store.Reservation(r.PathValue("sub"))
	if !ok || res.User != c.user.ID {
		return store.Reservation{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: "there is no such reservation of yours", Hint: "lrok reservations list"}
	}
	return res, nil
}
