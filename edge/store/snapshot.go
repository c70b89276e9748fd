package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A snapshot is what the store held after one change. Nothing in it is written
// to again but the times of use. Its lists are in the order they are shown in.
type snapshot struct {
	users        map[string]User
	userList     []User
	keys         *keyring
	reservations map[string]Reservation
	names        []Reservation // by name
	verified     map[string]Domain
	domains      []Domain // by host, then in the order they were asked for
}

// A part of a snapshot is a table of the file.
type part uint

const (
	partUsers part = 1 << iota
	partKeys
	partNames
	partDomains
	partAll = partUsers | partKeys | partNames | partDomains
)

func (s *snapshot) anyKey(now time.Time) bool {
	for k := range s.keys.all() {
		if k.works(now) {
			return true
		}
	}
	return false
}

// load reads, within a transaction, the snapshot that follows the published one
// when some parts have changed, and the version of the file that it is of. Of
// the keys it is those of the user keysOf alone that have, unless that is "".
// The caller holds mu.
func (s *Store) load(ctx context.Context, tx *sql.Tx, changed part, keysOf string) (next *snapshot, version int64, err error) {
	if err := tx.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return nil, 0, err
	}
	next = &snapshot{keys: new(keyring)}
	if old := s.now.Load(); old != nil {
		*next = *old
	}
	if version != s.version {
		changed, keysOf = partAll, "" // another process has written as well
	}
	for _, table := range []struct {
		part
		name string
		load func(context.Context, *sql.Tx) error
	}{
		{partUsers, "users", func(ctx context.Context, tx *sql.Tx) error {
			admins, err := s.admins(ctx, tx)
			if err != nil {
				return err
			}
			return next.loadUsers(ctx, tx, admins)
		}},
		{partKeys, "keys", func(ctx context.Context, tx *sql.Tx) error { return next.loadKeys(ctx, tx, keysOf) }},
		{partNames, "reservations", next.loadNames},
		{partDomains, "domains", next.loadDomains},
	} {
		if changed&table.part == 0 {
			continue
		}
		if err := table.load(ctx, tx); err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", table.name, err)
		}
	}
	return next, version, nil
}

func (s *snapshot) loadUsers(ctx context.Context, tx *sql.Tx, admins []string) error {
	s.users, s.userList = make(map[string]User), nil
	return rows(ctx, tx, "SELECT id, name, created, tunnels, reservations FROM users ORDER BY seq", nil, func(scan scanner) error {
		var u User
		var created, tunnels, reservations sql.NullInt64
		if err := scan(&u.ID, &u.Name, &created, &tunnels, &reservations); err != nil {
			return err
		}
		u.Created, u.Admin = fromMillis(created), slices.Contains(admins, u.ID)
		u.Limits = Limits{Tunnels: fromLimit(tunnels), Reservations: fromLimit(reservations)}
		s.users[u.ID] = u
		s.userList = append(s.userList, u)
		return nil
	})
}

// loadKeys reads the keys of user, or all with user "".
func (s *snapshot) loadKeys(ctx context.Context, tx *sql.Tx, user string) error {
	query, args := "SELECT seq, id, hash, user, name, prefix, last4, created, expires, used, revoked FROM keys", []any(nil)
	read := make(map[string][]*keyRow)
	if user != "" {
		query, args = query+" WHERE user = ?", []any{user}
		read[user] = nil // all may be gone
	} else {
		for k := range s.keys.all() {
			read[k.User] = nil
		}
	}
	err := rows(ctx, tx, query+" ORDER BY seq", args, func(scan scanner) error {
		k := &keyRow{use: new(use)}
		var hash []byte
		var created, expires, used, revoked sql.NullInt64
		if err := scan(&k.seq, &k.ID, &hash, &k.User, &k.Name, &k.Prefix, &k.Last4, &created, &expires, &used, &revoked); err != nil {
			return err
		}
		if len(hash) != len(k.hash) {
			return fmt.Errorf("the row of key %s makes no sense", k.ID)
		}
		k.hash = Hash(hash)
		k.last.Store(used.Int64)
		k.saved.Store(used.Int64)
		k.Created, k.Expires, k.Revoked = fromMillis(created), fromMillis(expires), fromMillis(revoked)
		read[k.User] = append(read[k.User], k)
		return nil
	})
	if err == nil {
		s.keys = s.keys.with(read)
	}
	return err
}

func (s *snapshot) loadNames(ctx context.Context, tx *sql.Tx) error {
	s.reservations, s.names = make(map[string]Reservation), nil
	return rows(ctx, tx, "SELECT name, user, created FROM reservations ORDER BY name", nil, func(scan scanner) error {
		var r Reservation
		var created sql.NullInt64
		if err := scan(&r.Name, &r.User, &created); err != nil {
			return err
		}
		r.Created = fromMillis(created)
		s.reservations[r.Name] = r
		s.names = append(s.names, r)
		return nil
	})
}

func (s *snapshot) loadDomains(ctx context.Context, tx *sql.Tx) error {
	s.verified, s.domains = make(map[string]Domain), nil
	return rows(ctx, tx, "SELECT host, user, token, created, verified, checked, failing, problem FROM domains ORDER BY host, created, user", nil, func(scan scanner) error {
		var d Domain
		var created, verified, checked, failing sql.NullInt64
		if err := scan(&d.Host, &d.User, &d.Token, &created, &verified, &checked, &failing, &d.Problem); err != nil {
			return err
		}
		d.Created, d.Verified = fromMillis(created), fromMillis(verified)
		d.Checked, d.Failing = fromMillis(checked), fromMillis(failing)
		s.domains = append(s.domains, d)
		if !d.Verified.IsZero() {
			s.verified[d.Host] = d
		}
		return nil
	})
}

// reload publishes what the file holds. The caller holds mu.
func (s *Store) reload(ctx context.Context) error {
	// Read-only: a disk that is full can still be read.
	tx, err := s.writer.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	next, version, err := s.load(ctx, tx, partAll, "")
	if err != nil {
		return err
	}
	s.now.Store(next)
	s.version = version
	return nil
}

// A scanner reads the columns of one row.
type scanner func(to ...any) error

// querier is what both a transaction and a database are.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// rows calls f for each row of a query.
func rows(ctx context.Context, q querier, query string, args []any, f func(scanner) error) (err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func fromLimit(v sql.NullInt64) *int {
	if !v.Valid {
		return nil
	}
	n := int(v.Int64)
	return &n
}
