package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// A Reservation is a name that nobody but its user gets.
type Reservation struct {
	Name    string
	User    string
	Created time.Time
}

// Reservation returns the reservation of name.
func (s *Store) Reservation(name string) (Reservation, bool) {
	r, ok := s.now.Load().reservations[name]
	return r, ok
}

// Reservations returns a user's reservations by name, or all with user "".
func (s *Store) Reservations(user string) []Reservation {
	list := slices.Clone(s.now.Load().names)
	return slices.DeleteFunc(list, func(r Reservation) bool { return user != "" && r.User != user })
}

// Reserve reserves name for user. It fails with [tunnel.CodeName] when it is
// another's, with [tunnel.CodeConflict] when it is the user's already, and with
// [tunnel.CodeLimit] when the user has as many as allowed.
func (s *Store) Reserve(ctx context.Context, by, user, name string) (Reservation, error) {
	if err := tunnel.CheckName(name); err != nil {
		return Reservation{}, err
	}
	r := Reservation{Name: name, User: user}
	err := s.write(ctx, by, partNames, func(t *change) error {
		if _, err := t.user(user); err != nil {
			return err
		}
		var owner string
		switch n, err := t.maybe("SELECT user FROM reservations WHERE name = ?", []any{name}, &owner); {
		case err != nil:
			return err
		case n > 0 && owner == user:
			return conflict("%q is reserved for you already", name)
		case n > 0:
			return &tunnel.Error{Code: tunnel.CodeName, Message: fmt.Sprintf("name %q is taken", name), Hint: "choose another name"}
		}
		var limit, has int
		err := t.one("SELECT coalesce(u.reservations, ?), (SELECT count(*) FROM reservations WHERE user = u.id) FROM users u WHERE u.id = ?",
			[]any{s.names.Load(), user}, &limit, &has)
		if err != nil {
			return err
		}
		if limit > 0 && has >= limit {
			return &tunnel.Error{
				Code:    tunnel.CodeLimit,
				Message: fmt.Sprintf("%d of %d names are reserved", has, limit),
				Hint:    "give one up with: lrok reservations delete NAME",
			}
		}
		r.Created = time.UnixMilli(t.now.UnixMilli()).UTC() // as it is stored
		if _, err := t.do("INSERT INTO reservations (name, user, created) VALUES (?, ?, ?)", name, user, millis(r.Created)); err != nil {
			return err
		}
		return t.note("reservation.add", name, "for "+user)
	})
	if err != nil {
		return Reservation{}, err
	}
	return r, nil
}

// Unreserve gives up a reservation of user, or of whoever has it with user "".
func (s *Store) Unreserve(ctx context.Context, by, user, name string) error {
	return s.write(ctx, by, partNames, func(t *change) error {
		var owner string
		n, err := t.maybe("SELECT user FROM reservations WHERE name = ?", []any{name}, &owner)
		switch {
		case err != nil:
			return err
		case n == 0 || user != "" && owner != user:
			return missing("there is no reservation %q", name)
		}
		if _, err := t.do("DELETE FROM reservations WHERE name = ?", name); err != nil {
			return err
		}
		return t.note("reservation.remove", name, "of "+owner)
	})
}
