package api

import (
	"net/http"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func keyShape(k store.Key) client.Key {
	return client.Key{
		ID:        k.ID,
		Name:      k.Name,
		Prefix:    k.Prefix,
		Last4:     k.Last4,
		CreatedAt: k.Created,
		ExpiresAt: when(k.Expires),
		LastUsed:  when(k.LastUsed),
		RevokedAt: when(k.Revoked),
	}
}

func adminKeyShape(k store.Key) client.Key {
	s := keyShape(k)
	s.User = k.User
	return s
}

func (a *api) keys(w http.ResponseWriter, r *http.Request, c call) error {
	return answerPage(w, r, shapes(a.cfg.Store.Keys(c.user.ID), keyShape), placeOfKey)
}

func (a *api) key(w http.ResponseWriter, r *http.Request, c call) error {
	k, err := a.findKey(c.user.ID, r.PathValue("id"))
	if err != nil {
		return err
	}
	answer(w, keyShape(k))
	return nil
}

func (a *api) createKey(w http.ResponseWriter, r *http.Request, c call) error {
	if err := owner(c); err != nil {
		return err
	}
	req, err := read[client.KeyRequest](w, r, maxBody)
	if err != nil {
		return err
	}
	if req.User != "" && req.User != c.user.ID {
		return &tunnel.Error{
			Code:    tunnel.CodeInvalid,
			Message: "a key made here is the caller's own",
			Hint:    "leave user out; administrators make keys for others at " + prefix + "/admin/keys",
		}
	}
	k, secret, err := a.makeKey(r, c, c.user.ID, req)
	if err != nil {
		return err
	}
	created(w, c, "/me/keys/"+k.ID, client.NewKey{Key: keyShape(k), Secret: secret})
	return nil
}

func (a *api) revokeKey(w http.ResponseWriter, r *http.Request, c call) error {
	k, err := a.endKey(r, c, c.user.ID)
	if err != nil {
		return err
	}
	answer(w, client.Revoked{Key: keyShape(k), Self: k.ID == c.key.ID})
	return nil
}

func (a *api) adminKeys(w http.ResponseWriter, r *http.Request, _ call) error {
	user := r.URL.Query().Get("user")
	if _, ok := a.cfg.Store.User(user); !ok && user != "" {
		return noUser()
	}
	return answerPage(w, r, shapes(a.cfg.Store.Keys(user), adminKeyShape), placeOfKey)
}

func (a *api) adminKey(w http.ResponseWriter, r *http.Request, _ call) error {
	k, err := a.findKey("", r.PathValue("id"))
	if err != nil {
		return err
	}
	answer(w, adminKeyShape(k))
	return nil
}

func (a *api) adminCreateKey(w http.ResponseWriter, r *http.Request, c call) error {
	req, err := read[client.KeyRequest](w, r, maxBody)
	if err != nil {
		return err
	}
	if req.User == "" {
		return &tunnel.Error{Code: tunnel.CodeInvalid, Message: "whose key it is to be is missing", Hint: `add "user": "<id>"; lrok admin user list shows them`}
	}
	if _, ok := a.cfg.Store.User(req.User); !ok {
		return noUser()
	}
	k, secret, err := a.makeKey(r, c, req.User, req)
	if err != nil {
		return err
	}
	created(w, c, "/admin/keys/"+k.ID, client.NewKey{Key: adminKeyShape(k), Secret: secret})
	return nil
}

func (a *api) adminRevokeKey(w http.ResponseWriter, r *http.Request, c call) error {
	k, err := a.endKey(r, c, "")
	if err != nil {
		return err
	}
	answer(w, client.Revoked{Key: adminKeyShape(k), Self: k.ID == c.key.ID})
	return nil
}

func (a *api) makeKey(r *http.Request, c call, user string, req client.KeyRequest) (k store.Key, secret string, err error) {
	var expires time.Time
	if req.ExpiresAt != nil {
		expires = *req.ExpiresAt
	}
	return a.cfg.Store.CreateKey(r.Context(), c.user.ID, user, req.Name, expires)
}

// endKey revokes the key that the path names, of user or of anybody. One that
// has been revoked stays as it is.
func (a *api) endKey(r *http.Request, c call, user string) (store.Key, error) {
	k, err := a.findKey(user, r.PathValue("id"))
	if err != nil || !k.Revoked.IsZero() {
		return k, err
	}
	if err := a.cfg.Store.RevokeKey(r.Context(), c.user.ID, user, k.ID); err != nil {
		return store.Key{}, err
	}
	return a.findKey(user, k.ID)
}

// findKey returns a key of user, or of anybody when user is empty.
func (a *api) findKey(user, id string) (store.Key, error) {
	for _, k := range a.cfg.Store.Keys(user) {
		if k.ID == id {
			return k, nil
		}
	}
	return store.Key{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: "there is no such key", Hint: "lrok keys list"}
}

func works(k store.Key, now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || k.Expires.After(now))
}

func placeOfKey(k client.Key) string { return placeOf(k.CreatedAt, k.ID) }

// shapes turns what the store has into what is shown of it.
func shapes[S, T any](all []S, shape func(S) T) []T {
	out := make([]T, len(all))
	for i, x := range all {
		out[i] = shape(x)
	}
	return out
}
