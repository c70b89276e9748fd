package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
	"modernc.org/sqlite"
)

// FileName is the name of the database in the data directory.
const FileName = "lrok.db"

// applicationID marks a SQLite file as lrok's: "lrok".
const applicationID = 0x6c726f6b

// busyTimeout is how long another process may hold the file.
const busyTimeout = 10 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// makeFile makes a file at path that only its owner can read, if there is none.
// SQLite would make one that all can read.
//
// It never opens a file that is there: to close it again would drop the locks
// that another store of this process holds on it (a trap of POSIX).
//
// Where the log beside the file is left, the file was there: SQLite would take
// the log of a file that is new for junk and remove it, and with it what the file
// needs when it is put back. The log is looked for first, since a store that
// another process makes just now has its file before its log.
func makeFile(path string) error {
	wal, walErr := os.Stat(path + "-wal")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if walErr == nil && wal.Size() > 0 {
			return &tunnel.Error{
				Code:    tunnel.CodeUnavailable,
				Message: fmt.Sprintf("the store %s is gone, and a part of it, %s-wal, is still there", path, FileName),
				Hint: "put " + FileName + " back, or move " + FileName + "-wal and " + FileName + "-shm away as well to start anew: " +
					"then all users, keys, reservations and domains are lost, but for the key in " + KeyFile,
			}
		}
		if err := newFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			if e := (*tunnel.Error)(nil); errors.As(err, &e) || primary(err) != 0 {
				return trouble(path, err)
			}
			return unplaced("make the store", err)
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("open the store: %s is not a file", path)
	}
	if info.Size() == 0 {
		return damaged(path, "it is empty")
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return fmt.Errorf("open the store: %w", err)
		}
	}
	return nil
}

// newFile makes the file with its tables and then gives it its name, so that an
// empty file under that name is always one that has lost what was in it. It
// fails with [fs.ErrExist] when another process was faster.
func newFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".lrok-*.db") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := openDB(f.Name(), 1, url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return err
	}
	if err := errors.Join(migrate(context.Background(), db, path), db.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: nobody else makes the store at the same time,
	// or the last one wins.
	return os.Rename(f.Name(), path)
}

// dsn names the file at path for the driver, with whatever characters are in
// it. The file has to be there already: a store that was deleted must not come
// back empty.
func dsn(path string, params url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/Users/...
	}
	params.Set("mode", "rw")
	params.Set("_busy_timeout", fmt.Sprint(busyTimeout.Milliseconds()))
	params.Set("_foreign_keys", "1")
	params.Set("_synchronous", "FULL")
	params.Set("_defensive", "1")
	params.Set("_dqs", "0")
	params.Set("_error_rc", "1")
	params["_pragma"] = []string{"trusted_schema(0)", "cell_size_check(1)", "journal_size_limit(8388608)"}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}).String()
}

// openDB opens the file at path for at most n connections.
func openDB(path string, n int, params url.Values) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn(path, params))
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return limited(c, n), nil
}

func limited(c driver.Connector, n int) *sql.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

// prepare makes the file at path ready for this lrok.
func prepare(ctx context.Context, db *sql.DB, path string) error {
	var id, version int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return trouble(path, err)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return trouble(path, err)
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return trouble(path, err)
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return &tunnel.Error{
			Code:    tunnel.CodeInvalid,
			Message: fmt.Sprintf("%s is a SQLite database of another program", path),
			Hint:    "give lrok a data directory of its own with --data-dir",
		}
	}
	if problem, err := check(ctx, db, path); err != nil {
		return trouble(path, err)
	} else if problem != "" {
		return damaged(path, problem)
	}
	if err := writeAhead(ctx, db); err != nil {
		return trouble(path, err)
	}
	return migrate(ctx, db, path)
}

// check looks at every page of the file and returns the first thing that is
// wrong.
func check(ctx context.Context, db *sql.DB, path string) (problem string, err error) {
	pragma := "PRAGMA integrity_check(1)"
	// To compare indexes with their tables takes long in a big file.
	if info, err := os.Stat(path); err == nil && info.Size() > 64<<20 {
		pragma = "PRAGMA quick_check(1)"
	}
	if err := db.QueryRowContext(ctx, pragma).Scan(&problem); err != nil {
		return "", err
	}
	if problem == "ok" {
		return "", nil
	}
	problem, _, _ = strings.Cut(strings.TrimPrefix(problem, "*** in database main ***\n"), "\n")
	return problem, nil
}

// writeAhead switches the file to WAL, once for all. SQLite does not wait for
// its lock here when two processes do it at once.
func writeAhead(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return fmt.Errorf("the file system cannot hold a SQLite database in WAL mode (it stays in mode %q)", mode)
		case primary(err) != codeBusy || time.Now().After(deadline):
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// migrate brings the tables to the newest version, in one transaction: another
// process that does the same waits and then finds it done.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	steps, err := migrations.ReadDir("migrations") // sorted by name
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return trouble(path, err)
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return trouble(path, err)
	}
	switch {
	case version > len(steps):
		return &tunnel.Error{
			Code:    tunnel.CodeVersion,
			Message: fmt.Sprintf("%s was written by a newer lrok (its version is %d, this lrok knows %d)", path, version, len(steps)),
			Hint:    "run the newer lrok, or restore the data directory from before the upgrade",
		}
	case version == len(steps):
		return nil
	}
	for _, step := range steps[version:] {
		text, err := migrations.ReadFile("migrations/" + step.Name())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(text)); err != nil {
			return trouble(path, fmt.Errorf("%s: %w", step.Name(), err))
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", len(steps), applicationID)); err != nil {
		return trouble(path, err)
	}
	if err := tx.Commit(); err != nil {
		return trouble(path, err)
	}
	return nil
}
