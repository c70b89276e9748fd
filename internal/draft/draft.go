// Package draft keeps requests that a person is editing: files that only their owner
// can read, gone when the edit is over. The drafts of a lrok that was killed are
// removed by a later one.
package draft

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const prefix = "lrok-edit-"

// old is how long a draft is left alone that nobody has in an editor: the lrok that
// it belongs to was killed, and who wrote in it may want to look for it.
const old = 24 * time.Hour

// A Draft is a file, 0600 in a directory of its own, 0700.
type Draft struct {
	Path string

	dir  string
	held *os.File // dir, locked; nil where that cannot be done
}

// New makes a draft called lrok-<id>.http.
func New(id string, content []byte) (*Draft, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, fmt.Errorf("make a place for the editor: %w", err)
	}
	id = strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, id)
	d := &Draft{Path: filepath.Join(dir, "lrok-"+id+".http"), dir: dir, held: lock(dir)}
	if err := os.WriteFile(d.Path, content, 0o600); err != nil {
		d.Remove()
		return nil, fmt.Errorf("write for the editor: %w", err)
	}
	return d, nil
}

// Hold has the editor cmd, which was not started yet, hold the draft as this process
// does: should this one be killed, the draft outlives it as long as the editor runs.
func (d *Draft) Hold(cmd *exec.Cmd) {
	if d.held != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, d.held)
	}
}

// Remove ends the edit.
func (d *Draft) Remove() {
	_ = os.RemoveAll(d.dir)
	d.release()
}

func (d *Draft) release() {
	if d.held != nil {
		_ = d.held.Close()
	}
}

// Sweep removes this user's drafts that are old and that no process holds.
func Sweep(now time.Time) {
	tmp := os.TempDir()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(tmp, e.Name())
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !own(info) || now.Sub(written(dir, info)) < old {
			continue
		}
		if held := lock(dir); held != nil {
			_ = os.RemoveAll(dir)
			_ = held.Close()
		}
	}
}

// written is when something was written in dir last.
func written(dir string, info os.FileInfo) time.Time {
	last := info.ModTime()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
