package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// KeyFile is the name of the first user's key file in the data directory.
const KeyFile = "admin.key"

// The first user: the administrator unless [Options] name others.
const (
	firstUser = "usr_admin"
	firstName = "admin"
)

// Options say how a store is to be opened. The zero value is fine.
type Options struct {
	Admins       []string // ids of users; empty: the first user; not for a store beside an edge
	Reservations int      // how many names a user may reserve unless said otherwise; 0 means any number
	// Beside opens the store as lrok admin does, beside an edge or where one was:
	// its administrators are those that the edge was last told of, and no key has
	// to work, as is needed to make one.
	Beside bool
	Logger *slog.Logger
	Now    func() time.Time
}

// A Store is made by [Open]. Its methods may be called from any goroutine.
type Store struct {
	opt       Options
	names     atomic.Int64 // Options.Reservations, as it is now
	path      string
	admin     string
	local     string
	localHash Hash
	localKey  *keyRow

	now     atomic.Pointer[snapshot]
	well    health
	refused atomic.Int64 // keys

	file, wal os.FileInfo // what was opened

	// reader is for what is too big for the snapshot. It has connections of its
	// own, so that reading a long log keeps nobody from writing.
	reader *sql.DB

	// holding guards held, what SaveHolds wrote last: nil when that is not known.
	holding sync.Mutex
	held    map[holdRow]bool

	// mu is held over each change from its beginning until its snapshot is
	// published, so that snapshots follow each other as changes do.
	mu      sync.Mutex
	writer  *sql.DB // one connection
	version int64   // PRAGMA data_version of the snapshot
	closed  bool
}

// Open opens the store in the directory dir, which it makes if it has to. The
// first time it also makes the first user and its key; created says so. A key
// file that is there without a store, as earlier versions left it, becomes the
// first user's. A store in which no key works is refused.
func Open(dir string, o Options) (s *Store, created bool, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Admins) == 0 {
		o.Admins = []string{firstUser}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, unplaced("make data directory", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, false, fmt.Errorf("open the store: %w", err)
	}
	s = &Store{
		opt: o, path: filepath.Join(dir, FileName), local: NewKey(),
		localKey: &keyRow{Key: Key{ID: localKeyID, User: Local, Name: "this process", Prefix: keyPrefix}},
	}
	s.names.Store(int64(o.Reservations))
	if s.localHash, err = ParseKey(s.local); err != nil {
		return nil, false, err
	}
	if err := makeFile(s.path); err != nil {
		return nil, false, err
	}
	if s.writer, err = openDB(s.path, 1, url.Values{"_txlock": {"immediate"}}); err != nil {
		return nil, false, err
	}
	if s.reader, err = openDB(s.path, 2, url.Values{"_query_only": {"1"}}); err != nil {
		_ = s.writer.Close()
		return nil, false, err
	}
	if created, err = s.open(dir); err != nil {
		_ = errors.Join(s.reader.Close(), s.writer.Close())
		return nil, false, err
	}
	return s, created, nil
}

func (s *Store) open(dir string) (created bool, err error) {
	ctx := context.Background()
	if err := prepare(ctx, s.writer, s.path); err != nil {
		return false, err
	}
	keyFile := filepath.Join(dir, KeyFile)
	if created, err = s.begin(ctx, keyFile); err != nil {
		return false, err
	}
	if !s.opt.Beside {
		if err := s.tellAdmins(ctx); err != nil {
			return false, trouble(s.path, err)
		}
	}
	s.mu.Lock()
	err = s.reload(ctx)
	s.mu.Unlock()
	if err != nil {
		return false, trouble(s.path, err)
	}
	if s.file, err = os.Stat(s.path); err != nil {
		return false, fmt.Errorf("open the store: %w", err)
	}
	if s.wal, err = os.Stat(s.path + "-wal"); err != nil {
		return false, fmt.Errorf("open the store: %w", err)
	}
	if !s.opt.Beside && !s.now.Load().anyKey(s.opt.Now()) {
		return false, s.keyless(dir)
	}

	admin, err := ReadKeyFile(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return created, nil // its owner deleted it
	case err != nil:
		return false, err
	}
	if _, err := s.find(s.now.Load(), admin); err != nil {
		s.opt.Logger.Warn("the key in the key file does not work", "file", keyFile, "err", err)
		return created, nil
	}
	s.admin = admin
	return created, nil
}

// keyless says how to get a key that works.
func (s *Store) keyless(dir string) error {
	e := &tunnel.Error{Code: tunnel.CodeKey, Message: fmt.Sprintf("no key in %s works: all are revoked or expired", s.path)}
	users := s.now.Load().userList
	if len(users) == 0 {
		e.Message = fmt.Sprintf("the users in %s are gone", s.path)
		e.Hint = "restore " + FileName + " from a backup, or make a user and a key: lrok admin user add NAME --data-dir " + shellWord(dir)
		return e
	}
	user := users[0]
	if i := slices.IndexFunc(users, func(u User) bool { return u.Admin }); i >= 0 {
		user = users[i]
	}
	e.Hint = "make one: lrok admin key add " + shellWord(user.Name) + " --data-dir " + shellWord(dir)
	return e
}

// begin fills a store that is new. The transaction keeps a process that does
// the same waiting until all is there.
func (s *Store) begin(ctx context.Context, keyFile string) (created bool, err error) {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return false, trouble(s.path, err)
	}
	defer tx.Rollback()
	t := &change{tx: tx, ctx: ctx, by: Local, now: s.opt.Now()}
	var users, lines int
	if err := t.one("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM audit)", nil, &users, &lines); err != nil {
		return false, trouble(s.path, err)
	}
	if users > 0 || lines > 0 {
		return false, nil
	}
	key, err := ReadKeyFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key = NewKey()
		if err = writeKeyFile(keyFile, key); err != nil {
			return false, unplaced("make the first key", err)
		}
		created = true
	}
	if err != nil {
		return false, err
	}
	h, err := ParseKey(key)
	if err != nil {
		return false, err
	}
	if err := t.addUser(firstUser, firstName, Limits{}); err != nil {
		return false, trouble(s.path, err)
	}
	if _, err := t.addKey(key, h, firstUser, KeyFile, time.Time{}); err != nil {
		return false, trouble(s.path, err)
	}
	if err := tx.Commit(); err != nil {
		return false, trouble(s.path, err)
	}
	return created, nil
}

// AdminKey returns the key in the key file, to be shown once or handed to the
// edge's own process, or "" when there is none that works. It must not be
// logged.
func (s *Store) AdminKey() string { return s.admin }

// LocalKey returns a key that only this process knows, for administration from
// the edge's own machine. Its user is [Local], who is in no list.
func (s *Store) LocalKey() string { return s.local }

// Healthy returns nil, or what is wrong with the store in words. What is in the
// snapshot is answered all the same. It does no I/O.
func (s *Store) Healthy() error { return s.well.problem() }

// Close stores what is only in memory and closes the file. Run must have ended.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	err := s.saveUse(context.Background())
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return errors.Join(err, s.reader.Close(), s.writer.Close())
}

// A change is one transaction on behalf of somebody.
type change struct {
	tx  *sql.Tx
	ctx context.Context // of this call only
	by  string
	now time.Time
	// keysOf is whose keys alone it changes, set by those that change one user's.
	keysOf string
}

// do runs a statement and returns how many rows it changed.
func (t *change) do(query string, args ...any) (int64, error) {
	r, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// one reads one row.
func (t *change) one(query string, args []any, to ...any) error {
	return t.tx.QueryRowContext(t.ctx, query, args...).Scan(to...)
}

// maybe reads the first row, if there is one, and returns how many there were.
func (t *change) maybe(query string, args []any, to ...any) (n int, err error) {
	switch err := t.one(query, args, to...); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return 1, nil
}

// note adds a line to the audit log.
func (t *change) note(action, object, detail string) error {
	return t.add(Entry{Time: t.now, Actor: t.by, Action: action, Object: object, Detail: detail})
}

// write makes one change, all of it or nothing, and returns after the disk has
// it. The snapshot then has the parts that it changes anew.
func (s *Store) write(ctx context.Context, by string, changes part, f func(*change) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &tunnel.Error{Code: tunnel.CodeUnavailable, Message: "the store is closed"}
	}
	s.well.busy(time.Now())
	defer s.well.busy(time.Time{})
	if err := s.where(); err != nil {
		return err // what is written now would be gone with the old file
	}
	// Who asked may go away: that must not leave a change half made, nor break
	// the one connection.
	err := s.transact(context.WithoutCancel(ctx), by, changes, f)
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return err // refused, and so no word about the disk
	}
	if primary(err) == codeConstraint {
		return fmt.Errorf("store: %w", err) // nor is this one
	}
	if err != nil {
		s.blame(&s.well.failed, err)
		return trouble(s.path, err)
	}
	s.well.set(&s.well.failed, nil)
	return nil
}

func (s *Store) transact(ctx context.Context, by string, changes part, f func(*change) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	t := &change{tx: tx, ctx: ctx, by: by, now: s.opt.Now()}
	if err := f(t); err != nil {
		return err
	}
	if changes == 0 {
		return tx.Commit()
	}
	next, version, err := s.load(ctx, tx, changes, t.keysOf)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.now.Store(next)
	s.version = version
	return nil
}

// blame notes that the file is the cause of err.
func (s *Store) blame(part *error, err error) {
	if damage(err) {
		part = &s.well.damage
	}
	s.well.set(part, trouble(s.path, err))
}

// where notes whether the file is still the one that was opened.
func (s *Store) where() error {
	err := s.moved()
	s.well.set(&s.well.moved, err)
	return err
}

func (s *Store) moved() error {
	for path, opened := range map[string]os.FileInfo{s.path: s.file, s.path + "-wal": s.wal} {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &tunnel.Error{
				Code:    tunnel.CodeUnavailable,
				Message: fmt.Sprintf("%s was deleted or moved away under the running lrok", path),
				Hint:    "put it back, or restart lrok; nothing can be changed until then",
			}
		case err != nil:
			return &tunnel.Error{Code: tunnel.CodeUnavailable, Message: fmt.Sprintf("the store cannot be reached: %v", err)}
		case !os.SameFile(info, opened):
			return &tunnel.Error{
				Code:    tunnel.CodeUnavailable,
				Message: fmt.Sprintf("%s was replaced by another file under the running lrok", path),
				Hint:    "restart lrok to use it; nothing can be changed until then",
			}
		case info.Size() == 0 && opened.Size() > 0 && path == s.path:
			return damaged(path, "it was emptied under the running lrok")
		}
	}
	return nil
}

// shellWord quotes s for a command that is to be pasted.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// millis is how t is stored.
func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// stored is t as it is when it was stored.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func fromMillis(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMilli(v.Int64).UTC()
}

// missing says that there is nothing of that kind.
func missing(format string, args ...any) error {
	return &tunnel.Error{Code: tunnel.CodeNotFound, Message: fmt.Sprintf(format, args...)}
}
