package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/tunnel"
)

// A User owns keys, and through them tunnels, names and domains.
type User struct {
	ID      string
	Name    string
	Admin   bool
	Created time.Time
	Limits  Limits // what it points to must not be changed
}

// Limits are what an administrator set for a user. A nil one leaves the edge's
// default, and 0 means that there is no limit.
type Limits struct {
	Tunnels      *int
	Reservations *int
}

// User returns the user with that id.
func (s *Store) User(id string) (User, bool) {
	u, ok := s.now.Load().users[id]
	return u, ok
}

// Users returns all users, in the order they were made.
func (s *Store) Users() []User { return slices.Clone(s.now.Load().userList) }

// AddUser makes a user. The name must be one that no other user has.
func (s *Store) AddUser(ctx context.Context, by, name string, l Limits) (User, error) {
	if err := checkLabel("user", name, 1); err != nil {
		return User{}, err
	}
	if err := l.check(); err != nil {
		return User{}, err
	}
	id := "usr_" + strings.ToLower(rand.Text()[:16])
	err := s.write(ctx, by, partUsers, func(t *change) error {
		err := t.addUser(id, name, l)
		if primary(err) == codeConstraint { // the unique name is the only one that can be hurt
			return conflict("there is a user %q already", name)
		}
		return err
	})
	if err != nil {
		return User{}, err
	}
	u, _ := s.User(id)
	return u, nil
}

func (t *change) addUser(id, name string, l Limits) error {
	_, err := t.do("INSERT INTO users (id, name, created, tunnels, reservations) VALUES (?, ?, ?, ?, ?)",
		id, name, millis(t.now), l.Tunnels, l.Reservations)
	if err != nil {
		return err
	}
	return t.note("user.add", id, name)
}

// RemoveUser removes a user, and with it its keys, reservations and domains.
// What the audit log says of it stays, as does its usage. The last administrator
// cannot be removed.
func (s *Store) RemoveUser(ctx context.Context, by, id string) error {
	return s.write(ctx, by, partAll, func(t *change) error {
		name, err := t.user(id)
		if err != nil {
			return err
		}
		admins, err := s.admins(t.ctx, t.tx)
		if err != nil {
			return err
		}
		if slices.Contains(admins, id) {
			users, keys, err := t.otherAdmins(admins, id, "")
			switch {
			case err != nil:
				return err
			case users == 0:
				return &tunnel.Error{
					Code:    tunnel.CodeConflict,
					Message: fmt.Sprintf("%s is the last administrator", name),
					Hint:    "make another user one first: add its id to the edge's --admin-user-ids and restart it",
				}
			case keys == 0:
				return &tunnel.Error{
					Code:    tunnel.CodeConflict,
					Message: fmt.Sprintf("%s is the last administrator with a key that works", name),
					Hint:    "make a key for another administrator first: lrok admin key add",
				}
			}
		}
		if _, err := t.do("DELETE FROM users WHERE id = ?", id); err != nil { // the rest goes by ON DELETE CASCADE
			return err
		}
		return t.note("user.remove", id, name)
	})
}

// SetLimits sets what a user may have.
func (s *Store) SetLimits(ctx context.Context, by, id string, l Limits) error {
	if err := l.check(); err != nil {
		return err
	}
	return s.write(ctx, by, partUsers, func(t *change) error {
		if _, err := t.user(id); err != nil {
			return err
		}
		if _, err := t.do("UPDATE users SET tunnels = ?, reservations = ? WHERE id = ?", l.Tunnels, l.Reservations, id); err != nil {
			return err
		}
		return t.note("user.limits", id, "tunnels "+limitText(l.Tunnels)+", reservations "+limitText(l.Reservations))
	})
}

// ReservationLimit returns how many names a user may reserve, 0 for any number.
func (s *Store) ReservationLimit(user string) int {
	if u, ok := s.User(user); ok && u.Limits.Reservations != nil {
		return *u.Limits.Reservations
	}
	return int(s.names.Load())
}

// SetReservations changes how many names a user may reserve whom no administrator
// gave another limit; 0 means any number.
func (s *Store) SetReservations(n int) { s.names.Store(int64(n)) }

// user returns the name of the user with that id.
func (t *change) user(id string) (name string, err error) {
	n, err := t.maybe("SELECT name FROM users WHERE id = ?", []any{id}, &name)
	if err == nil && n == 0 {
		err = missing("there is no user %q", id)
	}
	return name, err
}

// otherAdmins counts the administrators besides user, and the keys of all
// administrators that work besides those of user and the one called key.
func (t *change) otherAdmins(admins []string, user, key string) (users, keys int, err error) {
	ids, err := json.Marshal(admins)
	if err != nil {
		return 0, 0, err
	}
	err = t.one(`
		SELECT (SELECT count(*) FROM users WHERE id <> ?1 AND id IN (SELECT value FROM json_each(?3))),
		       (SELECT count(*) FROM keys WHERE user <> ?1 AND id <> ?2 AND user IN (SELECT value FROM json_each(?3))
		          AND revoked IS NULL AND (expires IS NULL OR expires > ?4))`,
		[]any{user, key, string(ids), millis(t.now)}, &users, &keys)
	return users, keys, err
}

func (l Limits) check() error {
	for _, n := range []*int{l.Tunnels, l.Reservations} {
		if n != nil && *n < 0 {
			return &tunnel.Error{Code: tunnel.CodeInvalid, Message: fmt.Sprintf("a limit cannot be %d", *n), Hint: "0 means that there is none"}
		}
	}
	return nil
}

func limitText(n *int) string {
	switch {
	case n == nil:
		return "default"
	case *n == 0:
		return "unlimited"
	}
	return strconv.Itoa(*n)
}

// maxLabel is how many characters the name of a user or a key may have.
const maxLabel = 100

// checkLabel refuses what would spoil the screen of whoever lists it.
func checkLabel(what, name string, least int) error {
	e := &tunnel.Error{Code: tunnel.CodeInvalid, Hint: fmt.Sprintf("the name of a %s has up to %d printable characters", what, maxLabel)}
	switch n := utf8.RuneCountInString(name); {
	case n < least:
		e.Message = fmt.Sprintf("a %s needs a name", what)
	case n > maxLabel:
		e.Message = fmt.Sprintf("the name has %d characters", n)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		e.Message = fmt.Sprintf("the name %q has a character that cannot be shown", name)
	case strings.TrimSpace(name) != name:
		e.Message = fmt.Sprintf("the name %q begins or ends with a space", name)
	default:
		return nil
	}
	return e
}

func conflict(format string, args ...any) error {
	return &tunnel.Error{Code: tunnel.CodeConflict, Message: fmt.Sprintf(format, args...)}
}
