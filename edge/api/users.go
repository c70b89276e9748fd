package api

import (
	"context"
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// usageHours is what the usage of each user is summed over.
const usageHours = 24

// userShapes says what users have and use.
func (a *api) userShapes(ctx context.Context, users []store.User) ([]client.User, error) {
	now := a.cfg.Now()
	keys, tunnels, usage := map[string]int{}, map[string]int{}, map[string]store.Usage{}
	for _, k := range a.cfg.Store.Keys("") {
		if works(k, now) {
			keys[k.User]++
		}
	}
	for _, t := range a.cfg.Registry.Tunnels("") {
		if t.Online() {
			tunnels[t.Owner]++
		}
	}
	if a.cfg.Stats != nil {
		sum, err := a.cfg.Stats.Summary(ctx, usageHours)
		if err != nil {
			return nil, err
		}
		for _, u := range sum.ByUser {
			usage[u.User] = u
		}
	}
	return shapes(users, func(u store.User) client.User {
		return client.User{
			ID:        u.ID,
			Name:      u.Name,
			Admin:     u.Admin,
			CreatedAt: u.Created,
			Limits:    client.UserLimits(u.Limits),
			Keys:      keys[u.ID],
			Tunnels:   tunnels[u.ID],
			Usage:     usageShape(usage[u.ID]),
		}
	}), nil
}

func (a *api) users(w http.ResponseWriter, r *http.Request, _ call) error {
	all, err := a.userShapes(r.Context(), a.cfg.Store.Users())
	if err != nil {
		return err
	}
	return answerPage(w, r, all, func(u client.User) string { return placeOf(u.CreatedAt, u.ID) })
}

func (a *api) user(w http.ResponseWriter, r *http.Request, _ call) error {
	u, err := a.userShape(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	answer(w, u)
	return nil
}

// userShape is what there is of one user.
func (a *api) userShape(ctx context.Context, id string) (client.User, error) {
	u, ok := a.cfg.Store.User(id)
	if !ok {
		return client.User{}, noUser()
	}
	one, err := a.userShapes(ctx, []store.User{u})
	if err != nil {
		return client.User{}, err
	}
	return one[0], nil
}

func (a *api) addUser(w http.ResponseWriter, r *http.Request, c call) error {
	req, err := read[client.UserRequest](w, r, maxBody)
	if err != nil {
		return err
	}
	u, err := a.cfg.Store.AddUser(r.Context(), c.user.ID, req.Name, store.Limits(req.Limits))
	if err != nil {
		return err
	}
	shape, err := a.userShape(r.Context(), u.ID)
	if err != nil {
		return err
	}
	created(w, c, "/admin/users/"+u.ID, shape)
	return nil
}

func (a *api) setLimits(w http.ResponseWriter, r *http.Request, c call) error {
	id := r.PathValue("id")
	if _, ok := a.cfg.Store.User(id); !ok {
		return noUser()
	}
	limits, err := read[client.UserLimits](w, r, maxBody)
	if err != nil {
		return err
	}
	if err := a.cfg.Store.SetLimits(r.Context(), c.user.ID, id, store.Limits(limits)); err != nil {
		return err
	}
	u, err := a.userShape(r.Context(), id)
	if err != nil {
		return err
	}
	answer(w, u)
	return nil
}

func (a *api) removeUser(w http.ResponseWriter, r *http.Request, c call) error {
	id := r.PathValue("id")
	if _, ok := a.cfg.Store.User(id); !ok {
		return noUser()
	}
	if id == c.user.ID {
		return &tunnel.Error{Code: tunnel.CodeConflict, Message: "that is you", Hint: "let another administrator remove you, or the edge's own machine"}
	}
	if err := a.cfg.Store.RemoveUser(r.Context(), c.user.ID, id); err != nil {
		return err
	}
	// The agents are sent away because their keys are gone; nobody may ask for
	// the captures any more, so they do not wait for an agent's return.
	for _, t := range a.cfg.Registry.Tunnels(id) {
		a.cfg.Registry.CloseTunnel(id, t.Name)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noUser() error {
	return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "there is no such user", Hint: "lrok admin user list"}
}
