package store

import (
	"context"
	"time"
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
func (s *Store) User(id string) (User, bool) { return User{}, false }

// Users returns all users, in the order they were made.
func (s *Store) Users() []User { return nil }

// AddUser makes a user. The name must be one that no other user has.
func (s *Store) AddUser(ctx context.Context, by, name string, l Limits) (User, error) {
	return User{}, errNotYet
}

// RemoveUser removes a user, and with it its keys, reservations and domains.
// The last administrator stays.
func (s *Store) RemoveUser(ctx context.Context, by, id string) error { return errNotYet }

// SetLimits sets what a user may have.
func (s *Store) SetLimits(ctx context.Context, by, id string, l Limits) error { return errNotYet }

// ReservationLimit returns how many names a user may reserve, 0 for any number.
func (s *Store) ReservationLimit(user string) int { return 0 }
