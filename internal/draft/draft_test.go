//go:build unix

package draft

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestDraft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := New("req_../1", []byte("GET /\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := filepath.Base(d.Path); got != "lrok-req_1.http" {
		t.Errorf("the draft is called %s", got)
	}
	for path, want := range map[string]os.FileMode{d.Path: 0o600, filepath.Dir(d.Path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}
	if data, err := os.ReadFile(d.Path); err != nil || string(data) != "GET /\n" {
		t.Errorf("the draft says %q, %v", data, err)
	}
	d.Remove()
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// What a killed lrok left goes, but not while somebody may still write in it.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	later := time.Now().Add(old + time.Minute)
	draft := func() *Draft {
		t.Helper()
		d, err := New("req_1", []byte("GET /\n"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	there := func(d *Draft) bool {
		_, err := os.Stat(d.Path)
		return err == nil
	}
	killed := func(d *Draft) { _ = d.held.Close() }

	open, edited, left, saved := draft(), draft(), draft(), draft()
	defer open.Remove()
	editor := exec.Command("cat")
	edited.Hold(editor)
	stdin, err := editor.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := editor.Start(); err != nil {
		t.Fatal(err)
	}
	killed(edited)
	killed(left)
	killed(saved)
	if err := os.Chtimes(saved.Path, later, later.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(os.TempDir(), prefix+"link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(os.TempDir(), prefix+"shared"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(os.TempDir(), "lrok-other"), 0o700); err != nil {
		t.Fatal(err)
	}

	Sweep(time.Now())
	if !there(left) {
		t.Error("a draft of just now is gone")
	}
	Sweep(later)
	for what, d := range map[string]*Draft{"of a lrok that lives": open, "in an editor": edited, "that was saved an hour ago": saved} {
		if !there(d) {
			t.Errorf("the draft %s is gone", what)
		}
	}
	if there(left) {
		t.Error("the draft that nobody has is still there")
	}
	for _, path := range []string{elsewhere, filepath.Join(os.TempDir(), prefix+"shared"), filepath.Join(os.TempDir(), "lrok-other")} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s is no draft, and gone", path)
		}
	}

	_ = stdin.(io.Closer).Close()
	if err := editor.Wait(); err != nil {
		t.Fatal(err)
	}
	Sweep(later)
	if there(edited) {
		t.Error("the draft is still there after its editor")
	}
}
