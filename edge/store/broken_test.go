package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// filled makes a store of many pages, all of them in the file and none in the
// log beside it.
func filled(t *testing.T, dir string) *Store {
	t.Helper()
	s := open(t, dir, Options{})
	for i := range 3 {
		u := addUser(t, s, fmt.Sprintf("user %d", i))
		addKey(t, s, u.ID)
		if _, err := s.Reserve(t.Context(), u.ID, u.ID, fmt.Sprintf("demo-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	err := s.write(t.Context(), Local, 0, func(c *change) error {
		for i := range 200 {
			if err := c.note("test.fill", fmt.Sprint(i), strings.Repeat("x", 3000)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	return s
}

// goesOn checks that what the edge needs on its way is still answered.
func goesOn(t *testing.T, s *Store) {
	t.Helper()
	if _, _, err := s.Authenticate(t.Context(), s.AdminKey()); err != nil {
		t.Errorf("Authenticate: %v", err)
	}
	if len(s.Users()) < 1 || !s.Working(s.Keys(firstUser)[0].ID) {
		t.Error("the snapshot is gone")
	}
}

// breakFile opens the file for damage. It stays open until the store is closed:
// closing it would drop SQLite's locks.
func breakFile(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFull(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	var pages int
	if err := s.writer.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if _, err := s.writer.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	added, err := 0, error(nil)
	for ; err == nil && added < 2000; added++ {
		_, err = s.AddUser(t.Context(), Local, fmt.Sprintf("user %d", added), Limits{})
	}
	wantCode(t, "AddUser", err, tunnel.CodeUnavailable)
	if err == nil || !strings.Contains(err.Error(), "is full") || hint(err) == "" {
		t.Errorf("error = %v, want that the disk is full, and what to do", err)
	}
	if n := len(s.Users()); n != added { // the first user, and those before the last
		t.Errorf("%d users, want %d", n, added)
	}
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "is full") {
		t.Errorf("Healthy = %v, want that the disk is full", err)
	}
	goesOn(t, s)
	if _, err := s.Entries(t.Context(), 0, 10); err != nil {
		t.Errorf("the log can still be read: %v", err)
	}
	limit(1 << 20)
	s.probe(t.Context())
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v after there is room", err)
	}
	addUser(t, s, "ada")
	sound(t, s)
}

// TestDamagedWhileOpen overwrites the middle of the file under a running store.
func TestDamagedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := filled(t, dir)
	var logs syncBuffer
	s.opt.Logger = slog.New(slog.NewTextHandler(&logs, nil))
	f := breakFile(t, dir)
	defer func() {
		s.Close()
		f.Close()
	}()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	if size < 100*4096 {
		t.Fatalf("the file has %d bytes, too few for this test", size)
	}
	before := make([]byte, size)
	if _, err := f.ReadAt(before, 0); err != nil {
		t.Fatal(err)
	}
	junk := bytes.Repeat([]byte("junk"), int(size)/2/4)
	if _, err := f.WriteAt(junk, size/4/4096*4096); err != nil {
		t.Fatal(err)
	}

	s.look(t.Context())
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("Healthy = %v, want that the file is damaged", err)
	}
	s.tell("")
	for _, want := range []string{"damaged", FileName, "backup", "lost"} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("log = %q, want %q in it", &logs, want)
		}
	}
	goesOn(t, s)
	_, err = s.Entries(t.Context(), 0, 1<<30)
	wantCode(t, "read damaged pages", err, tunnel.CodeUnavailable)
	if _, err := s.AddUser(t.Context(), Local, "ada", Limits{}); err == nil {
		// It fitted on pages that are whole. The file is no better for that.
		if s.Healthy() == nil {
			t.Error("Healthy = nil after a write to a damaged file")
		}
	}
	goesOn(t, s)
	s.probe(t.Context())
	if s.Healthy() == nil {
		t.Error("Healthy = nil, and the file is as damaged as before")
	}
}

// TestDamageHealed has a disk that gives wrong answers for a while.
func TestDamageHealed(t *testing.T) {
	dir := t.TempDir()
	s := filled(t, dir)
	f := breakFile(t, dir)
	defer func() {
		s.Close()
		f.Close()
	}()
	page := make([]byte, 4096)
	at := int64(100 * 4096)
	if _, err := f.ReadAt(page, at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
		t.Fatal(err)
	}
	s.look(t.Context())
	if s.Healthy() == nil {
		t.Fatal("Healthy = nil with a page of zeros")
	}
	if _, err := f.WriteAt(page, at); err != nil {
		t.Fatal(err)
	}
	s.probe(t.Context())
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v with the page as it was", err)
	}
}

// TestTruncatedWhileOpen takes everything away under a running store.
func TestTruncatedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := filled(t, dir)
	f := breakFile(t, dir)
	defer func() {
		s.Close()
		f.Close()
	}()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	_, err := s.Entries(t.Context(), 0, 1<<30)
	wantCode(t, "read an empty file", err, tunnel.CodeUnavailable)
	_, err = s.AddUser(t.Context(), Local, "ada", Limits{})
	wantCode(t, "write an empty file", err, tunnel.CodeUnavailable)
	s.follow(t.Context())
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "emptied") {
		t.Errorf("Healthy = %v, want that the file was emptied", err)
	}
	goesOn(t, s)
}

func TestOpenDamaged(t *testing.T) {
	t.Parallel() // it waits for the disk
	whole := t.TempDir()
	if err := filled(t, whole).Close(); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(data []byte) []byte{
		"junk in the middle": func(b []byte) []byte {
			copy(b[len(b)/2/4096*4096:], bytes.Repeat([]byte("junk"), 8192))
			return b
		},
		"a page of zeros": func(b []byte) []byte { clear(b[50*4096 : 51*4096]); return b },
		"junk from the start": func(b []byte) []byte {
			copy(b, bytes.Repeat([]byte("junk"), 8192))
			return b
		},
		"cut off":       func(b []byte) []byte { return b[:len(b)/2/4096*4096] },
		"empty":         func([]byte) []byte { return nil },
		"another file":  func([]byte) []byte { return []byte(strings.Repeat("These are my notes.\n", 100)) },
		"index changed": func(b []byte) []byte { return bytes.Replace(b, []byte("usr_admin"), []byte("usr_aDmin"), 1) },
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, KeyFile), 0o600); err != nil { // whatever the umask
			t.Fatal(err)
		}
		path := filepath.Join(dir, FileName)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = damage(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err = Open(dir, Options{})
		wantCode(t, name, err, tunnel.CodeUnavailable)
		if err == nil {
			continue
		}
		for _, want := range []string{path, "damaged", "backup", "move", "users, keys, reservations and domains"} {
			if !strings.Contains(err.Error()+" "+hint(err), want) {
				t.Errorf("%s: %q, hint %q: want %q in it", name, err, hint(err), want)
			}
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
			t.Errorf("%s: Open changed the file", name)
		}
		// What the hint says works.
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Rename(path+suffix, path+suffix+".bad"); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		s, created, err := Open(dir, Options{})
		if err != nil || created {
			t.Fatalf("%s: a new start: created = %v, %v", name, created, err)
		}
		goesOn(t, s) // with the key in the key file
		s.Close()
	}
}

// TestOpenRandomDamage flips bytes anywhere: whatever comes of it, it is no
// panic, and a store that opens can be written.
func TestOpenRandomDamage(t *testing.T) {
	t.Parallel() // it waits for the disk
	dir := t.TempDir()
	s := open(t, dir, Options{})
	u := addUser(t, s, "ada")
	addKey(t, s, u.ID)
	s.Close()
	path := filepath.Join(dir, FileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const rounds = 60
	for range rounds {
		data := bytes.Clone(whole)
		for range 1 + r.IntN(8) {
			data[r.IntN(len(data))] = byte(r.Uint32())
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path + "-wal")
		_ = os.Remove(path + "-shm")
		s, _, err := Open(dir, Options{})
		if err != nil {
			refused++
			if hint(err) == "" {
				t.Errorf("refused without a hint: %v", err)
			}
			continue
		}
		if _, err := s.AddUser(t.Context(), Local, "bob", Limits{}); err != nil {
			t.Errorf("opened, and yet: %v", err)
		}
		s.Close()
	}
	t.Logf("%d of %d refused", refused, rounds)
	if refused == 0 {
		t.Error("no damage was found")
	}
}

// TestMoved takes the file away under a running store, and puts others there.
func TestMoved(t *testing.T) {
	t.Parallel() // it waits most of its time
	if runtime.GOOS == "windows" {
		return // an open file cannot be moved there
	}
	for name, test := range map[string]struct {
		file string
		do   func(path string) error
		want string
	}{
		"deleted":     {FileName, os.Remove, "deleted"},
		"log deleted": {FileName + "-wal", os.Remove, "deleted"},
		"replaced": {FileName, func(path string) error {
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".new", data, 0o600)
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			return err
		}, "replaced"},
	} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		run(t, s)
		users := len(s.Users())
		if err := test.do(filepath.Join(dir, test.file)); err != nil {
			t.Fatal(err)
		}
		within(t, name+": noticed", func() bool { return s.Healthy() != nil })
		if err := s.Healthy(); !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.file) {
			t.Errorf("%s: Healthy = %v, want %q", name, err, test.want)
		}
		_, err := s.AddUser(t.Context(), Local, "ada", Limits{})
		wantCode(t, name+": write", err, tunnel.CodeUnavailable)
		_, err = s.Entries(t.Context(), 0, 1)
		wantCode(t, name+": read", err, tunnel.CodeUnavailable)
		if n := len(s.Users()); n != users {
			t.Errorf("%s: %d users, want %d", name, n, users)
		}
		goesOn(t, s)
		if _, err := os.Stat(filepath.Join(dir, FileName)); test.file == FileName && test.want == "deleted" && !os.IsNotExist(err) {
			t.Errorf("%s: an empty file was made: %v", name, err)
		}
	}
}

// TestOpenMoved has lrok admin come while the file is away: it must not take the
// running edge's log for junk.
func TestOpenMoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // an open file cannot be moved there
	}
	dir := t.TempDir()
	s := open(t, dir, Options{})
	addUser(t, s, "ada")
	path := filepath.Join(dir, FileName)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	_, _, err := Open(dir, Options{Beside: true})
	wantCode(t, "Open", err, tunnel.CodeUnavailable)
	if err == nil || !strings.Contains(err.Error(), "is gone") || !strings.Contains(hint(err), "lost") {
		t.Errorf("error = %v, hint %q; want that the file is gone, and what that means", err, hint(err))
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a new file was made: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	addUser(t, s, "bob")
	if other := open(t, dir, Options{}); len(other.Users()) != 3 {
		t.Errorf("%d users after putting it back, want 3", len(other.Users()))
	}
	sound(t, s)
}

func TestMovedBack(t *testing.T) {
	t.Parallel() // it waits most of its time
	if runtime.GOOS == "windows" {
		return // an open file cannot be moved there
	}
	dir := t.TempDir()
	s := open(t, dir, Options{})
	run(t, s)
	path := filepath.Join(dir, FileName)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	within(t, "noticed", func() bool { return s.Healthy() != nil })
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	within(t, "well", func() bool { return s.Healthy() == nil })
	addUser(t, s, "ada")
}

// TestHeld has another process hold the file for too long.
func TestHeld(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	if _, err := s.writer.Exec("PRAGMA busy_timeout = 50"); err != nil {
		t.Fatal(err)
	}
	tx, err := other.writer.Begin()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AddUser(t.Context(), Local, "ada", Limits{})
	wantCode(t, "write", err, tunnel.CodeUnavailable)
	if err := s.Healthy(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Healthy = %v, want that another process holds the file", err)
	}
	goesOn(t, s)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	addUser(t, s, "ada")
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v after a write", err)
	}
}

// TestOtherProcess checks that a running store follows lrok admin.
func TestOtherProcess(t *testing.T) {
	t.Parallel() // it waits most of its time
	dir := t.TempDir()
	s := open(t, dir, Options{})
	run(t, s)
	c := startChild(t, "admin", dir)
	c.line(t)

	var ada User
	if err := json.Unmarshal([]byte(c.ask(t, "user ada")), &ada); err != nil || ada.ID == "" {
		t.Fatalf("user = %+v, %v", ada, err)
	}
	within(t, "there: the user", func() bool { _, ok := s.User(ada.ID); return ok })

	var secret string
	if err := json.Unmarshal([]byte(c.ask(t, "key "+ada.ID)), &secret); err != nil {
		t.Fatal(err)
	}
	var k Key
	within(t, "there: the key", func() bool {
		var err error
		_, k, err = s.Authenticate(t.Context(), secret)
		return err == nil
	})
	if !s.Working(k.ID) {
		t.Error("the key does not work")
	}
	if err := s.saveUse(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.ask(t, "reserve "+ada.ID+" demo")
	_, err := s.Reserve(t.Context(), firstUser, firstUser, "demo") // before the snapshot has it
	wantCode(t, "a name that another process reserved", err, tunnel.CodeName)
	if r, ok := s.Reservation("demo"); ok && r.User != ada.ID {
		t.Errorf("the name is %s's", r.User)
	}

	if got := c.ask(t, "revoke "+k.ID); got != "null" {
		t.Fatalf("revoke: %s", got)
	}
	within(t, "revoked", func() bool { return !s.Working(k.ID) })
	if err := json.Unmarshal([]byte(c.ask(t, "key "+ada.ID)), &secret); err != nil {
		t.Fatal(err)
	}
	within(t, "there: the second key", func() bool {
		_, k, err = s.Authenticate(t.Context(), secret)
		return err == nil
	})
	if got := c.ask(t, "unuser "+ada.ID); got != "null" {
		t.Fatalf("remove: %s", got)
	}
	within(t, "gone: the user's key", func() bool { return !s.Working(k.ID) })
	if _, ok := s.Reservation("demo"); ok {
		t.Error("the removed user's name is still reserved")
	}
	if err := c.in.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the child: %v", err)
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v", err)
	}
	sound(t, s)
}

// A syncBuffer is a log that goroutines share.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
