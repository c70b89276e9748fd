package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// maxKeys is how many keys of a user may work at a time.
const maxKeys = 100

// maxEnded is how many keys of a user that do not work any more are kept for its
// list. The audit log knows of all.
const maxEnded = 200

// localKeyID is the id of the key that only this process knows.
const localKeyID = "key_local"

// Authenticate returns whose key it is, or an error of [tunnel.CodeKey]. It
// does no I/O.
func (s *Store) Authenticate(_ context.Context, key string) (User, Key, error) {
	now := s.now.Load()
	k, err := s.find(now, key)
	if err != nil {
		s.refused.Add(1)
		return User{}, Key{}, err
	}
	if k == s.localKey {
		return User{ID: Local, Name: Local, Admin: true}, k.Key, nil
	}
	raise(&k.last, s.opt.Now().UnixMilli())
	return now.users[k.User], k.shown(), nil
}

// Refused returns how many keys this process did not accept.
func (s *Store) Refused() int64 { return s.refused.Load() }

// find returns the key, if it works.
func (s *Store) find(now *snapshot, key string) (*keyRow, error) {
	h, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	k := now.keys.hashes.get(h)
	switch {
	case h == s.localHash:
		return s.localKey, nil
	case k == nil:
		return nil, refuse("this edge does not know the key "+prefixOf(key)+"…", "check that key and edge belong together")
	case !k.Revoked.IsZero():
		return nil, refuse(fmt.Sprintf("the key %s… was revoked on %s", k.Prefix, day(k.Revoked)), "ask whoever runs the edge for a new one")
	case !k.works(s.opt.Now()):
		return nil, refuse(fmt.Sprintf("the key %s… expired on %s", k.Prefix, day(k.Expires)), "make a new one with: lrok keys create, or ask whoever runs the edge")
	}
	return k, nil
}

func day(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }

// Working reports whether a key that was good is still: not revoked, not
// expired, its user there. It does no I/O.
func (s *Store) Working(id string) bool {
	if id == localKeyID {
		return true
	}
	k := s.now.Load().keys.ids.get(keyID(id))
	return k != nil && k.works(s.opt.Now())
}

// Keys returns a user's keys in the order they were made, the last of those that
// do not work any more included, or all with user "".
func (s *Store) Keys(user string) []Key {
	var list []Key
	for _, k := range s.now.Load().keys.list(user) {
		list = append(list, k.shown())
	}
	return list
}

// CreateKey makes a key for user. The secret is told this once; a zero expires
// means that the key does not expire.
func (s *Store) CreateKey(ctx context.Context, by, user, name string, expires time.Time) (k Key, secret string, err error) {
	if err := checkLabel("key", name, 0); err != nil {
		return Key{}, "", err
	}
	secret = NewKey()
	h, err := ParseKey(secret)
	if err != nil {
		return Key{}, "", err
	}
	err = s.write(ctx, by, partKeys, func(t *change) error {
		if !expires.IsZero() && !expires.After(t.now) {
			return &tunnel.Error{Code: tunnel.CodeInvalid, Message: fmt.Sprintf("a key that expires on %s has expired already", day(expires.UTC()))}
		}
		if _, err := t.user(user); err != nil {
			return err
		}
		t.keysOf = user
		var n int
		err := t.one("SELECT count(*) FROM keys WHERE user = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)", []any{user, millis(t.now)}, &n)
		if err != nil {
			return err
		}
		if n >= maxKeys {
			return &tunnel.Error{
				Code:    tunnel.CodeLimit,
				Message: fmt.Sprintf("%d keys work, and a user can have no more", n),
				Hint:    "revoke one that is not used: lrok keys list",
			}
		}
		if k, err = t.addKey(secret, h, user, name, expires); err != nil {
			return err
		}
		return t.dropEnded(user)
	})
	if err != nil {
		return Key{}, "", err
	}
	return k, secret, nil
}

func (t *change) addKey(key string, h Hash, user, name string, expires time.Time) (Key, error) {
	k := describe(key, h)
	k.User, k.Name, k.Created, k.Expires = user, name, stored(t.now), stored(expires)
	_, err := t.do("INSERT INTO keys (id, hash, user, name, prefix, last4, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		k.ID, h[:], user, name, k.Prefix, k.Last4, millis(t.now), millis(expires))
	if err != nil {
		return Key{}, err
	}
	detail := "for " + user
	if name != "" {
		detail += ": " + name
	}
	return k, t.note("key.create", k.ID, detail)
}

// dropEnded drops those of a user's keys that ended first, beyond maxEnded: each
// one is memory, and a key is made and revoked in a moment.
func (t *change) dropEnded(user string) error {
	_, err := t.do(`
		DELETE FROM keys WHERE seq IN (
		  SELECT seq FROM keys WHERE user = ?1 AND (revoked IS NOT NULL OR expires <= ?2)
		  ORDER BY min(coalesce(revoked, expires), coalesce(expires, revoked)) DESC, seq DESC LIMIT -1 OFFSET ?3)`,
		user, millis(t.now), maxEnded)
	return err
}

// RevokeKey ends a key of user, or of anybody with user "". It stays in the
// list until many others have ended. The last key of the last administrator is
// not revoked; one that was revoked before is no error.
func (s *Store) RevokeKey(ctx context.Context, by, user, id string) error {
	return s.write(ctx, by, partKeys, func(t *change) error {
		var owner string
		var ended bool
		var works bool
		n, err := t.maybe("SELECT user, revoked IS NOT NULL, revoked IS NULL AND (expires IS NULL OR expires > ?) FROM keys WHERE id = ?",
			[]any{millis(t.now), id}, &owner, &ended, &works)
		switch {
		case err != nil:
			return err
		case n == 0 || user != "" && owner != user:
			return missing("there is no key %q", id)
		}
		t.keysOf = owner
		if ended {
			return nil
		}
		admins, err := s.admins(t.ctx, t.tx)
		if err != nil {
			return err
		}
		if works && slices.Contains(admins, owner) {
			if _, keys, err := t.otherAdmins(admins, "", id); err != nil {
				return err
			} else if keys == 0 {
				return &tunnel.Error{
					Code:    tunnel.CodeConflict,
					Message: "this is the last key of an administrator that works",
					Hint:    "make another first: lrok keys create",
				}
			}
		}
		if _, err := t.do("UPDATE keys SET revoked = ? WHERE id = ?", millis(t.now), id); err != nil {
			return err
		}
		if err := t.note("key.revoke", id, "of "+owner); err != nil {
			return err
		}
		return t.dropEnded(owner)
	})
}

// saveUse stores when keys were last used.
func (s *Store) saveUse(ctx context.Context) error {
	type used struct {
		*keyRow
		last int64
	}
	var dirty []used
	for k := range s.now.Load().keys.all() {
		if last := k.last.Load(); last > k.saved.Load() {
			dirty = append(dirty, used{k, last})
		}
	}
	if len(dirty) == 0 {
		return nil
	}
	err := s.write(ctx, Local, 0, func(t *change) error {
		for _, k := range dirty {
			if _, err := t.do("UPDATE keys SET used = max(coalesce(used, 0), ?) WHERE id = ?", k.last, k.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range dirty {
		raise(&k.saved, k.last)
	}
	return nil
}
