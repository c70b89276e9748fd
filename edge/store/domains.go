package store

import (
	"context"
	"time"
)

// A Domain is a host that a user asked to be served. Any number of users may
// have asked for a host, one can have it verified.
type Domain struct {
	Host     string
	User     string
	Token    string // what the user's DNS has to say
	Created  time.Time
	Verified time.Time // zero: never proven, or given up
	Checked  time.Time
	Failing  time.Time // since when the proof is gone
	Problem  string    // what the last check found
}

// Domain returns who has host verified or, when nobody has, who asked for it
// first.
func (s *Store) Domain(host string) (Domain, bool) { return Domain{}, false }

// Domains returns a user's domains by host, or all with user "".
func (s *Store) Domains(user string) []Domain { return nil }

// AddDomain notes that user asks for host. It fails with [tunnel.CodeConflict]
// when the user has done so before or when another has it verified.
func (s *Store) AddDomain(ctx context.Context, by, user, host, token string) (Domain, error) {
	return Domain{}, errNotYet
}

// SetDomain stores what is known of the domain with d's host and user: Token,
// Verified, Checked, Failing and Problem. A zero Verified gives the host up for
// others. It fails with [tunnel.CodeConflict] when d is verified and another user
// was faster, and with [tunnel.CodeNotFound] when the domain was removed.
func (s *Store) SetDomain(ctx context.Context, by string, d Domain) error { return errNotYet }

// RemoveDomain removes a domain of user, or with user "" everybody's claim to
// the host.
func (s *Store) RemoveDomain(ctx context.Context, by, user, host string) error { return errNotYet }
