package store

import (
	"context"
	"slices"
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

// Domain returns the domain of whoever has host verified.
func (s *Store) Domain(host string) (Domain, bool) {
	d, ok := s.now.Load().verified[host]
	return d, ok
}

// Domains returns a user's domains by host, or all with user "".
func (s *Store) Domains(user string) []Domain {
	list := slices.Clone(s.now.Load().domains)
	return slices.DeleteFunc(list, func(d Domain) bool { return user != "" && d.User != user })
}

// AddDomain notes that user asks for host. It fails with [tunnel.CodeConflict]
// when the user has done so before or when another has it verified.
func (s *Store) AddDomain(ctx context.Context, by, user, host, token string) (Domain, error) {
	d := Domain{Host: host, User: user, Token: token}
	err := s.write(ctx, by, partDomains, func(t *change) error {
		if _, err := t.user(user); err != nil {
			return err
		}
		var own, others int
		err := t.one("SELECT (SELECT count(*) FROM domains WHERE host = ?1 AND user = ?2), (SELECT count(*) FROM domains WHERE host = ?1 AND user <> ?2 AND verified IS NOT NULL)",
			[]any{host, user}, &own, &others)
		switch {
		case err != nil:
			return err
		case own > 0:
			return conflict("you have the domain %s already", host)
		case others > 0:
			return conflict("the domain %s is in use", host)
		}
		d.Created = time.UnixMilli(t.now.UnixMilli()).UTC() // as it is stored
		if _, err := t.do("INSERT INTO domains (host, user, token, created) VALUES (?, ?, ?, ?)", host, user, token, millis(d.Created)); err != nil {
			return err
		}
		return t.note("domain.add", host, "for "+user)
	})
	if err != nil {
		return Domain{}, err
	}
	return d, nil
}

// SetDomain stores what is known of the domain with d's host and user: Token,
// Verified, Checked, Failing and Problem. A zero Verified gives the host up for
// others. It fails with [tunnel.CodeConflict] when d is verified and another user
// was faster, and with [tunnel.CodeNotFound] when the domain was removed. Only a
// change of what is served makes a line in the audit log.
func (s *Store) SetDomain(ctx context.Context, by string, d Domain) error {
	return s.write(ctx, by, partDomains, func(t *change) error {
		var verified, failing bool
		n, err := t.maybe("SELECT verified IS NOT NULL, failing IS NOT NULL FROM domains WHERE host = ? AND user = ?", []any{d.Host, d.User}, &verified, &failing)
		switch {
		case err != nil:
			return err
		case n == 0:
			return missing("%s has no domain %s", d.User, d.Host)
		}
		_, err = t.do("UPDATE domains SET token = ?, verified = ?, checked = ?, failing = ?, problem = ? WHERE host = ? AND user = ?",
			d.Token, millis(d.Verified), millis(d.Checked), millis(d.Failing), d.Problem, d.Host, d.User)
		if primary(err) == codeConstraint { // one user at most has a host verified
			return conflict("the domain %s is in use", d.Host)
		}
		if err != nil {
			return err
		}
		action := ""
		switch serve, fail := !d.Verified.IsZero(), !d.Failing.IsZero(); {
		case serve && !verified:
			action = "domain.verify"
		case verified && !serve:
			action = "domain.lapse"
		case serve && fail && !failing:
			action = "domain.fail"
		case serve && failing && !fail:
			action = "domain.recover"
		default:
			return nil
		}
		detail := "of " + d.User
		if d.Problem != "" {
			detail += ": " + d.Problem
		}
		return t.note(action, d.Host, detail)
	})
}

// RemoveDomain removes a domain of user, or with user "" everybody's claim to
// the host.
func (s *Store) RemoveDomain(ctx context.Context, by, user, host string) error {
	return s.write(ctx, by, partDomains, func(t *change) error {
		n, err := t.do("DELETE FROM domains WHERE host = ?1 AND (?2 = '' OR user = ?2)", host, user)
		if err != nil {
			return err
		}
		if n == 0 {
			return missing("there is no domain %s", host)
		}
		detail := "of " + user
		if user == "" {
			detail = "of everybody"
		}
		return t.note("domain.remove", host, detail)
	})
}
