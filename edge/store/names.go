package store

import (
	"context"
	"time"
)

// A Reservation is a name that nobody but its user gets.
type Reservation struct {
	Name    string
	User    string
	Created time.Time
}

// Reservation returns the reservation of name.
func (s *Store) Reservation(name string) (Reservation, bool) { return Reservation{}, false }

// Reservations returns a user's reservations by name, or all with user "".
func (s *Store) Reservations(user string) []Reservation { return nil }

// Reserve reserves name for user. It fails with [tunnel.CodeName] when it is
// another's, with [tunnel.CodeConflict] when it is the user's already, and with
// [tunnel.CodeLimit] when the user has as many as allowed.
func (s *Store) Reserve(ctx context.Context, by, user, name string) (Reservation, error) {
	return Reservation{}, errNotYet
}

// Unreserve gives up a reservation of user, or of whoever has it with user "".
func (s *Store) Unreserve(ctx context.Context, by, user, name string) error { return errNotYet }
