package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A User owns keys, and through them tunnels.
type User struct {
	ID    string
	Name  string
	Admin bool
}

// KeyFile is the name of the administrator's key file in the data directory.
const KeyFile = "admin.key"

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
func Open(dir string) (s *Store, created bool, err error) {
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
