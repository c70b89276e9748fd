package store

import (
	"bytes"
	"context"
	"database/sql"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

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
	if users := s.Users(); len(users) != 1 || users[0].ID != "usr_admin" || users[0].Name != "admin" || !users[0].Admin {
		t.Errorf("users = %+v, want the administrator alone", users)
	}
	addUser(t, s, "ada")
	if runtime.GOOS != "windows" {
		want := map[string]os.FileMode{".": 0o700, KeyFile: 0o600, FileName: 0o600, FileName + "-wal": 0o600, FileName + "-shm": 0o600}
		for name, mode := range want {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != mode {
				t.Errorf("mode of %s = %04o, want %04o", name, got, mode)
			}
		}
	}
	for _, s := range []*Store{s, again, again} { // twice is no error
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the data directory holds %v after Close, want %s and %s", entries, KeyFile, FileName)
	}
	_, err = again.AddUser(t.Context(), Local, "bob", Limits{})
	wantCode(t, "AddUser after Close", err, tunnel.CodeUnavailable)
	if len(again.Users()) == 0 {
		t.Error("the snapshot is gone after Close")
	}
}

// TestConnections checks what durability and the rules of the tables rest on, for
// each connection that there can be.
func TestConnections(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for name, db := range map[string]*sql.DB{"writer": s.writer, "reader": s.reader} {
		var held []*sql.Conn // so that the next one is another
		for range db.Stats().MaxOpenConnections {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for pragma, want := range map[string]string{
				"synchronous": "2", "foreign_keys": "1", "journal_mode": "wal", "busy_timeout": "10000",
				"cell_size_check": "1", "trusted_schema": "0",
			} {
				var got string
				if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("%s: %s = %s, want %s", name, pragma, got, want)
				}
			}
			if name == "reader" {
				if _, err := conn.ExecContext(t.Context(), "DELETE FROM users"); err == nil {
					t.Error("the reader could delete users")
				}
			}
			held = append(held, conn)
		}
		for _, conn := range held {
			conn.Close()
		}
	}
	err := rows(t.Context(), s.reader, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'", nil, func(scan scanner) error {
		var name string
		var strict bool
		if err := scan(&name, &strict); err != nil {
			return err
		}
		if !strict {
			t.Errorf("table %s is not STRICT", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpenAtOnce has several processes start on one empty directory.
func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	const n = 12
	var stores [n]*Store
	var created [n]bool
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], created[i], err = Open(dir, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	others := []*child{startChild(t, "admin", dir), startChild(t, "admin", dir)}
	wg.Wait()
	for _, c := range others {
		c.line(t)
	}
	makers := 0
	for i, s := range stores {
		if created[i] {
			makers++
		}
		if s == nil || s.AdminKey() != stores[0].AdminKey() {
			t.Fatalf("process %d has a key of its own", i)
		}
		defer s.Close()
	}
	if makers > 1 { // or one of the children did
		t.Errorf("%d processes say that they made the key, want 1", makers)
	}
	if _, _, err := stores[0].Authenticate(t.Context(), stores[0].AdminKey()); err != nil {
		t.Error(err)
	}
	if users, keys := len(stores[0].Users()), len(stores[0].Keys("")); users != 1 || keys != 1 {
		t.Errorf("%d users with %d keys, want one with one", users, keys)
	}
}

// TestOpenOldDirectory opens what versions without a database left.
func TestOpenOldDirectory(t *testing.T) {
	dir := t.TempDir()
	key := NewKey()
	if err := writeKeyFile(filepath.Join(dir, KeyFile), key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, created, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if created {
			t.Error("created = true for a key that was there")
		}
		u, k, err := s.Authenticate(t.Context(), key)
		if err != nil || u.ID != "usr_admin" || u.Name != "admin" || !u.Admin {
			t.Errorf("the old key is of %+v (%v), want the administrator usr_admin", u, err)
		}
		if h, _ := ParseKey(key); k.ID != describe(key, h).ID {
			t.Errorf("the key's id = %s, want the one that it had", k.ID)
		}
		if s.AdminKey() != key {
			t.Error("AdminKey is another")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenWithoutKeyFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	key := s.AdminKey()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, KeyFile)); err != nil {
		t.Fatal(err)
	}
	s, created, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if created || s.AdminKey() != "" {
		t.Errorf("created = %v, AdminKey is there = %v; want neither", created, s.AdminKey() != "")
	}
	if _, err := os.Stat(filepath.Join(dir, KeyFile)); !os.IsNotExist(err) {
		t.Errorf("the key file was made again: %v", err)
	}
	if _, _, err := s.Authenticate(t.Context(), key); err != nil {
		t.Errorf("the key in the database: %v", err)
	}
}

// TestOpenRevokedKeyFile checks that a key that does not work is not handed out.
func TestOpenRevokedKeyFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	old := s.Keys("")[0].ID
	addKey(t, s, firstUser)
	if err := s.RevokeKey(t.Context(), Local, "", old); err != nil {
		t.Fatal(err)
	}
	s.Close()
	var logs bytes.Buffer
	s = open(t, dir, Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if s.AdminKey() != "" {
		t.Error("AdminKey returns a key that was revoked")
	}
	if !strings.Contains(logs.String(), "does not work") {
		t.Errorf("log = %q, want a word about the key file", &logs)
	}
}

// TestOpenWithoutWorkingKey fails closed, and leaves a way in.
func TestOpenWithoutWorkingKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := Options{Now: func() time.Time { return clock }}
	s := open(t, dir, o)
	if _, _, err := s.CreateKey(t.Context(), Local, firstUser, "", clock.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeKey(t.Context(), Local, "", s.Keys("")[0].ID); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, o)
	s.Close()
	clock = clock.Add(time.Hour)
	_, _, err := Open(dir, o)
	wantCode(t, "Open", err, tunnel.CodeKey)
	if h := hint(err); !strings.Contains(h, `lrok admin key add admin --data-dir '`) || !strings.Contains(h, `/it'\''s here'`) {
		t.Errorf("hint = %q, want the command, quoted for the shell", h)
	}
	o.Beside = true
	s = open(t, dir, o)
	addKey(t, s, firstUser)
	s.Close()
	o.Beside = false
	open(t, dir, o)
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
		for range 2 { // the second time the database is there
			_, _, err := Open(dir, Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want an error that says %q", test.name, err, test.want)
			}
		}
		if data, _ := os.ReadFile(path); string(data) != test.content {
			t.Errorf("%s: the file was changed", test.name)
		}
	}
	for _, name := range []string{KeyFile, FileName} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(dir, Options{}); err == nil {
			t.Errorf("a directory in the place of %s: opened, want an error", name)
		}
	}
}

// TestOpenStrangePath uses what means something in a URI or to SQLite.
func TestOpenStrangePath(t *testing.T) {
	for _, name := range []string{"with space", "q?mode=memory", "hash#x", "100%", "%41", "a&b=c", "+plus", "é ✓", "'quote\"", ":memory:", "file:x", `back\slash`, "new\nline", "\xff"} {
		if runtime.GOOS == "windows" && (strings.ContainsAny(name, "?:\"\\\n") || !utf8.ValidString(name)) {
			continue
		}
		dir := filepath.Join(t.TempDir(), name)
		s, _, err := Open(dir, Options{})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		addUser(t, s, "ada")
		if err := s.Close(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Size() == 0 {
			t.Errorf("%q: the file is not there, or empty: %v", name, err)
		}
		s = open(t, dir, Options{})
		if n := len(s.Users()); n != 2 {
			t.Errorf("%q: %d users after opening it again, want 2", name, n)
		}
	}
}

// TestOpenRelative checks that the store stays where it was when the process
// moves.
func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "data", Options{})
	t.Chdir(t.TempDir())
	addUser(t, s, "ada")
	if _, err := s.Entries(t.Context(), 0, 1); err != nil {
		t.Error(err)
	}
}

func TestOpenWideFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		return
	}
	dir := t.TempDir()
	open(t, dir, Options{}).Close()
	path := filepath.Join(dir, FileName)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a restored file with mode 0644 has %v (%v) after Open, want 0600", info.Mode(), err)
	}
}

func TestOpenNewerVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := s.writer.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(dir, Options{Beside: true})
	wantCode(t, "Open", err, tunnel.CodeVersion)
	if err != nil && !strings.Contains(err.Error(), "99") {
		t.Errorf("error = %v, want the version in it", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, FileName)); !bytes.Equal(before, after) {
		t.Error("the newer file was changed")
	}
}

func TestOpenForeignDatabase(t *testing.T) {
	for name, statement := range map[string]string{
		"another application": "PRAGMA application_id = 7; CREATE TABLE t (x)",
		"without a mark":      "CREATE TABLE users (x)",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := openDB(filepath.Join(dir, FileName), 1, map[string][]string{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		db.Close()
		_, _, err = Open(dir, Options{})
		wantCode(t, name, err, tunnel.CodeInvalid)
	}
}

// TestOpenLostUsers checks that a store that lost its users does not start anew.
func TestOpenLostUsers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := s.writer.Exec("DELETE FROM users"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, created, err := Open(dir, Options{})
	wantCode(t, "Open", err, tunnel.CodeKey)
	if created {
		t.Error("a new first user was made")
	}
}

// TestSecrets writes keys and looks for them in every file and line that is
// left behind.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	var logs bytes.Buffer
	o := Options{Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s := open(t, dir, o)
	u := addUser(t, s, "ada")
	_, secret := addKey(t, s, u.ID)
	k, revoked := addKey(t, s, u.ID)
	if err := s.RevokeKey(t.Context(), Local, "", k.ID); err != nil {
		t.Fatal(err)
	}
	unknown := NewKey()
	secrets := []string{s.AdminKey(), s.LocalKey(), secret, revoked, unknown}
	for _, key := range secrets {
		_, _, err := s.Authenticate(t.Context(), key)
		if err != nil {
			logs.WriteString(err.Error() + hint(err))
		}
	}
	search := func(when string) {
		t.Helper()
		files := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path) // in this process it drops SQLite's locks: nobody else has the file
			if err != nil {
				return err
			}
			files++
			for i, key := range secrets {
				if i == 0 && d.Name() == KeyFile {
					continue
				}
				if bytes.Contains(data, []byte(key[9:30])) {
					t.Errorf("%s, %s: key %d is in it", when, d.Name(), i)
				}
			}
			return nil
		})
		if err != nil || files < 2 {
			t.Errorf("%s: %d files, %v", when, files, err)
		}
	}
	search("open")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	search("closed")
	for i, key := range secrets {
		if strings.Contains(logs.String(), key[9:30]) {
			t.Errorf("key %d is in the log", i)
		}
	}
}

// TestCancelled checks that who has gone away writes nothing, and breaks nothing.
func TestCancelled(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AddUser(ctx, Local, "ada", Limits{}); err == nil || len(s.Users()) != 1 {
		t.Errorf("AddUser for somebody who has gone: %v, and %d users", err, len(s.Users()))
	}
	if _, err := s.Entries(ctx, 0, 1); err == nil {
		t.Error("Entries for somebody who has gone: no error")
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy = %v", err)
	}
	addUser(t, s, "ada")
}
