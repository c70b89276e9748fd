package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
	"modernc.org/sqlite"
)

// Result codes of SQLite (https://www.sqlite.org/rescode.html).
const (
	codeError      = 1
	codeBusy       = 5
	codeReadOnly   = 8
	codeIO         = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeConstraint = 19
	codeNotADB     = 26
)

// primary returns the primary result code of SQLite in err, 0 without one.
func primary(err error) int {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// damage reports whether err means that the file is not what was written.
func damage(err error) bool {
	c := primary(err)
	return c == codeCorrupt || c == codeNotADB
}

// damaged says that the file at path is, and what to do.
func damaged(path, problem string) error {
	return &tunnel.Error{
		Code:    tunnel.CodeUnavailable,
		Message: fmt.Sprintf("the store %s is damaged: %s", path, problem),
		Hint: "restore " + FileName + " from a backup with lrok stopped, or move " + FileName + "* away to start anew: " +
			"then all users, keys, reservations and domains in it are lost, but for the key in " + KeyFile,
	}
}

// trouble says in words for people why the file at path could not be read or
// written.
func trouble(path string, err error) error {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return err
	}
	e := &tunnel.Error{Code: tunnel.CodeUnavailable}
	switch primary(err) {
	case 0:
		return fmt.Errorf("store: %w", err)
	case codeFull:
		e.Message = fmt.Sprintf("the disk of the store %s is full", path)
		e.Hint = "make room there; an lrok that runs then goes on by itself"
	case codeCorrupt, codeNotADB, codeError: // the last: tables that are not as migrations made them
		return damaged(path, plain(err))
	case codeReadOnly:
		e.Message = fmt.Sprintf("the store %s cannot be written: %s", path, plain(err))
		e.Hint = "is the disk mounted read-only, or the file not lrok's own?"
	case codeBusy:
		e.Message = fmt.Sprintf("another process has been holding the store %s for %v", path, busyTimeout)
		e.Hint = "try again; if that goes on, find it with: fuser -v " + path
	case codeCantOpen:
		e.Message = fmt.Sprintf("the store %s cannot be opened: %s", path, plain(err))
		e.Hint = "may lrok's user write to that directory, is its disk mounted for writing, and are there file descriptors left (ulimit -n)?"
	case codeIO:
		e.Message = fmt.Sprintf("the disk of the store %s fails: %s", path, plain(err))
		e.Hint = "is it full (df)? if not, look at the system's log (dmesg); an lrok that runs goes on by itself when the disk does"
	default:
		return fmt.Errorf("store: %w", err)
	}
	return e
}

// A placeError says that a file could not be made, and what to do.
type placeError struct {
	told  *tunnel.Error
	cause error
}

func (e *placeError) Error() string { return e.told.Message }

// Unwrap lets both the hint and the system's error be found.
func (e *placeError) Unwrap() []error { return []error{e.told, e.cause} }

// unplaced says what could not be made in the data directory, and what to do.
func unplaced(what string, err error) error {
	e := &tunnel.Error{Code: tunnel.CodeUnavailable, Message: what + ": " + err.Error()}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "let lrok's user write there (chown), or say another directory with --data-dir"
	case errors.Is(err, syscall.EROFS):
		e.Hint = "that file system is read-only: mount it for writing, or say another directory with --data-dir"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Hint = "the disk is full: make room there, or say another directory with --data-dir"
	case errors.Is(err, syscall.ENOTDIR):
		e.Hint = "a file is in the way: move it, or say another directory with --data-dir"
	default:
		e.Hint = "say a directory that lrok may write to with --data-dir"
	}
	return &placeError{told: e, cause: err}
}

// plain returns SQLite's own words.
func plain(err error) string {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		return strings.TrimSpace(e.Error())
	}
	return err.Error()
}

// hangs is how long the disk may take before that is a problem.
const hangs = 10 * time.Second

// A health is what is known of the state of the file. Each part is cleared by
// what proves the contrary.
type health struct {
	mu      sync.Mutex
	moved   error     // by the file being where it was
	damage  error     // by a check of all pages
	failed  error     // by a write
	unread  error     // by a read of the whole snapshot
	working time.Time // since when an operation is under way, zero without one
}

func (h *health) problem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, err := range []error{h.moved, h.damage, h.failed, h.unread} {
		if err != nil {
			return err
		}
	}
	if since := h.working; !since.IsZero() && time.Since(since) > hangs+busyTimeout {
		return &tunnel.Error{
			Code:    tunnel.CodeUnavailable,
			Message: fmt.Sprintf("the disk of the store has not answered for %v", time.Since(since).Round(time.Second)),
			Hint:    "look at the disk and the system's log (dmesg)",
		}
	}
	return nil
}

func (h *health) set(part *error, err error) {
	h.mu.Lock()
	*part = err
	h.mu.Unlock()
}

func (h *health) busy(since time.Time) {
	h.mu.Lock()
	h.working = since
	h.mu.Unlock()
}
