package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	s, created, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !created {
		t.Error("created = false at the first start, want true")
	}
	again, created, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if created || again.AdminKey() != s.AdminKey() {
		t.Errorf("the second start: created = %v, same key = %v; want false, true", created, again.AdminKey() == s.AdminKey())
	}
	for _, s := range []*Store{s, again} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, KeyFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %04o, want %04o", path, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the closed data directory holds %v, want %s and %s", entries, KeyFile, FileName)
	}
}

// TestOpenAtOnce has several processes start on one empty directory.
func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	stores := make([]*Store, 20)
	var created [20]bool
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], created[i], err = Open(dir, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	makers := 0
	for i, s := range stores {
		if created[i] {
			makers++
		}
		if s == nil || s.AdminKey() != stores[0].AdminKey() {
			t.Fatalf("process %d has a key of its own", i)
		}
	}
	if makers != 1 {
		t.Errorf("%d processes say that they made the key, want 1", makers)
	}
}

func TestOpenRefused(t *testing.T) {
	key := NewKey()
	for _, test := range []struct {
		name    string
		content string
		mode    os.FileMode
		want    string
	}{
		{"others may read it", key, 0o644, "0644"},
		{"the group may read it", key, 0o640, "0640"},
		{"empty", "", 0o600, "no key"},
		{"cut off", key[:30], 0o600, "30 characters"},
		{"two keys", key + "\n" + key, 0o600, "characters"},
	} {
		if runtime.GOOS == "windows" && test.mode != 0o600 {
			continue
		}
		dir := t.TempDir()
		path := filepath.Join(dir, KeyFile)
		if err := os.WriteFile(path, []byte(test.content), test.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := Open(dir, Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error that says %q", test.name, err, test.want)
		}
		if data, _ := os.ReadFile(path); string(data) != test.content {
			t.Errorf("%s: the file was changed", test.name)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, KeyFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, Options{}); err == nil {
		t.Error("a directory in the key file's place: opened, want an error")
	}
}

func TestAuthenticate(t *testing.T) {
	s, _, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	user, key, err := s.Authenticate(t.Context(), s.AdminKey())
	if err != nil {
		t.Fatal(err)
	}
	if user.ID == "" || !user.Admin {
		t.Errorf("user = %+v, want an administrator", user)
	}
	admin := s.AdminKey()
	if key.ID == "" || key.Prefix != admin[:9] || key.Last4 != admin[37:] {
		t.Errorf("key = %+v, want its first nine and last four characters", key)
	}
	other := NewKey()
	for _, bad := range []string{other, "", "lrok_x", admin[:40]} {
		_, _, err := s.Authenticate(t.Context(), bad)
		var e *tunnel.Error
		if !errors.As(err, &e) || e.Code != tunnel.CodeKey {
			t.Errorf("Authenticate = %v, want code %s", err, tunnel.CodeKey)
		}
		if err != nil && len(bad) > 20 && strings.Contains(err.Error(), bad[9:20]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}
