package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// TestUnplaced holds what is said when the data directory does not take files.
func TestUnplaced(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EACCES:  "chown",
		syscall.EPERM:   "chown",
		syscall.EROFS:   "read-only",
		syscall.ENOSPC:  "disk is full",
		syscall.ENOTDIR: "in the way",
		syscall.EIO:     "may write to",
	} {
		inner := &fs.PathError{Op: "mkdir", Path: "/var/lib/lrok", Err: cause}
		err := unplaced("make data directory", inner)
		wantCode(t, cause.Error(), err, tunnel.CodeUnavailable)
		if got := hint(err); !strings.Contains(got, want) || !strings.Contains(got, "--data-dir") {
			t.Errorf("%v: hint = %q, want %q and --data-dir", cause, got, want)
		}
		if got, want := err.Error(), "make data directory: "+inner.Error(); got != want {
			t.Errorf("error = %q, want %q", got, want)
		}
		if !errors.Is(err, cause) || !errors.As(err, new(*fs.PathError)) {
			t.Errorf("%v: the system's error is not found", cause)
		}
	}
}

// TestOpenUnplaced has a file where the data directory should be.
func TestOpenUnplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, filepath.Join(path, "lrok")} {
		_, _, err := Open(dir, Options{})
		wantCode(t, dir, err, tunnel.CodeUnavailable)
		if !strings.Contains(hint(err), "--data-dir") || !errors.As(err, new(*fs.PathError)) {
			t.Errorf("%s: error = %v, hint %q; want what to do, and the system's error", dir, err, hint(err))
		}
	}
}
