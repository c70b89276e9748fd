package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// KeyFile is the name of the administrator's key file in the data directory.
const KeyFile = "admin.key"

// Options say how a store is to be opened. The zero value is fine.
type Options struct {
	Admins       []string // ids of users; empty: the first user
	Reservations int      // how many names a user may reserve unless said otherwise; 0 means any number
	// Keyless opens a store in which no key works, as is needed to make one.
	Keyless bool
	Logger  *slog.Logger
	Now     func() time.Time
}

var errNotYet = errors.New("not yet")

// A Store knows who a key belongs to. Its methods may be called from any
// goroutine.
type Store struct {
	user  User
	admin string
	key   Key
	hash  Hash
}

// Open opens the store in the directory dir, which it makes if it has to. The
// first time it also makes the administrator's key; created says so.
func Open(dir string, o Options) (s *Store, created bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(dir, KeyFile)
	admin, err := ReadKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		switch err = writeKeyFile(path, NewKey()); {
		case err == nil:
			created = true
		case !errors.Is(err, fs.ErrExist): // another process was faster
			return nil, false, fmt.Errorf("make the first key: %w", err)
		}
		admin, err = ReadKeyFile(path)
	}
	if err != nil {
		return nil, false, err
	}
	h, err := ParseKey(admin)
	if err != nil {
		return nil, false, err
	}
	return &Store{
		user:  User{ID: "usr_admin", Name: "admin", Admin: true},
		admin: admin,
		key:   describe(admin, h),
		hash:  h,
	}, created, nil
}

// Run follows what other processes write and stores when keys were last used,
// until ctx ends.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Close stores what is only in memory and closes the file. Run must have ended.
func (s *Store) Close() error { return nil }

// Healthy returns nil, or what is wrong with the store in words.
func (s *Store) Healthy() error { return nil }

// LocalKey returns a key that only this process knows, for administration from
// the edge's own machine. Its user is [Local], who is in no list.
func (s *Store) LocalKey() string { return "" }

// Working reports whether a key that was good is still: not revoked, not
// expired, its user there. It does no I/O.
func (s *Store) Working(keyID string) bool { return false }

// Keys returns a user's keys in the order they were made, those that do not
// work any more included, or all with user "".
func (s *Store) Keys(user string) []Key { return nil }

// CreateKey makes a key for user. The secret is told this once; a zero expires
// means that the key does not expire.
func (s *Store) CreateKey(ctx context.Context, by, user, name string, expires time.Time) (k Key, secret string, err error) {
	return Key{}, "", errNotYet
}

// RevokeKey ends a key of user, or of anybody with user "".
func (s *Store) RevokeKey(ctx context.Context, by, user, id string) error { return errNotYet }

// AdminKey returns the administrator's key, to be shown once or handed to the
// edge's own process. It must not be logged.
func (s *Store) AdminKey() string { return s.admin }

// Authenticate returns whose key it is, or an error of [tunnel.CodeKey].
func (s *Store) Authenticate(_ context.Context, key string) (User, Key, error) {
	h, err := ParseKey(key)
	if err != nil {
		return User{}, Key{}, err
	}
	if subtle.ConstantTimeCompare(h[:], s.hash[:]) != 1 {
		return User{}, Key{}, refuse("this edge does not know the key "+describe(key, h).Prefix+"…", "check that key and edge belong together")
	}
	return s.user, s.key, nil
}
