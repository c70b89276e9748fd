package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// crashChild writes as fast as it can in three goroutines, and says on its
// standard output what it is about to take back and what was acknowledged.
func crashChild(dir string) error {
	s, _, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	// One write a line: a line is either all there or not at all.
	say := func(format string, args ...any) { _, _ = os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n") }
	ctx := context.Background()
	user := s.Users()[0].ID
	name := func() string { return fmt.Sprintf("n%x", rand.Uint64()) }
	failed := make(chan error, 3)
	loop := func(f func() error) {
		for {
			if err := f(); err != nil {
				failed <- err
				return
			}
		}
	}
	go loop(func() error {
		n := name()
		if _, err := s.Reserve(ctx, Local, user, n); err != nil {
			return err
		}
		say("reserved %s", n)
		if rand.IntN(3) > 0 {
			return nil
		}
		say("giving-up %s", n)
		if err := s.Unreserve(ctx, Local, user, n); err != nil {
			return err
		}
		say("gave-up %s", n)
		return nil
	})
	go loop(func() error {
		u, err := s.AddUser(ctx, Local, name(), Limits{})
		if err != nil {
			return err
		}
		say("user %s", u.ID)
		k, secret, err := s.CreateKey(ctx, Local, u.ID, "", time.Time{})
		if err != nil {
			return err
		}
		say("key %s %s", k.ID, secret)
		if rand.IntN(3) > 0 {
			return nil
		}
		if err := s.RevokeKey(ctx, Local, u.ID, k.ID); err != nil {
			return err
		}
		say("revoked %s", k.ID)
		return nil
	})
	go loop(func() error {
		hour := time.Unix(3600*rand.Int64N(100), 0)
		if err := s.AddUsage(ctx, []Usage{{Hour: hour, User: "a", Requests: 1}, {Hour: hour, User: "b", Requests: 2}}); err != nil {
			return err
		}
		say("usage")
		return nil
	})
	return <-failed
}

// TestCrash kills a process that writes, again and again on the same file, and
// then looks for everything that it acknowledged.
func TestCrash(t *testing.T) {
	t.Parallel() // most of its time goes by in other processes
	rounds := 20
	if os.Getenv("LROK_NIGHTLY") == "1" {
		rounds = 200
	}
	dir := t.TempDir()
	seen := newCrashModel()
	acknowledged := 0
	for round := range rounds {
		c := startChild(t, "crash", dir)
		for range 3 {
			seen.take(c.line(t)) // it is writing
			acknowledged++
		}
		killed := make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond))))
			killed <- c.cmd.Process.Kill()
		})
		for {
			line, err := c.out.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seen.take(strings.TrimSuffix(line, "\n"))
			acknowledged++
		}
		wg.Wait()
		if err := <-killed; err != nil {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		_ = c.cmd.Wait()
		s, created, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if created && round > 0 {
			t.Errorf("round %d: the first key was made again", round)
		}
		sound(t, s)
		seen.compare(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Fatalf("round %d of %d", round, rounds)
		}
	}
	t.Logf("%d rounds, %d lines acknowledged", rounds, acknowledged)
}

// A crashModel is what the children said.
type crashModel struct {
	names   map[string]string // to the last word about it
	users   map[string]bool
	keys    map[string]string // id to secret
	revoked map[string]bool
	usage   int64
	extra   int64 // usage that was stored without being acknowledged, one a crash at most
}

func newCrashModel() *crashModel {
	return &crashModel{names: map[string]string{}, users: map[string]bool{}, keys: map[string]string{}, revoked: map[string]bool{}}
}

func (m *crashModel) take(line string) {
	f := strings.Fields(line)
	switch f[0] {
	case "reserved", "giving-up", "gave-up":
		m.names[f[1]] = f[0]
	case "user":
		m.users[f[1]] = true
	case "key":
		m.keys[f[1]] = f[2]
	case "revoked":
		m.revoked[f[1]] = true
	case "usage":
		m.usage++
	default:
		panic(line)
	}
}

func (m *crashModel) compare(t *testing.T, s *Store) {
	t.Helper()
	for n, word := range m.names {
		_, ok := s.Reservation(n)
		if word == "reserved" && !ok || word == "gave-up" && ok {
			t.Errorf("%s was acknowledged as %s, and reserved = %v", n, word, ok)
		}
		if word == "giving-up" && !ok {
			m.names[n] = "gave-up" // not acknowledged, and yet done: so it has to stay
		}
	}
	for id := range m.users {
		if _, ok := s.User(id); !ok {
			t.Errorf("user %s was acknowledged and is lost", id)
		}
	}
	for id, secret := range m.keys {
		if !m.revoked[id] && s.keyState(id) == "revoked" {
			m.revoked[id] = true // not acknowledged, and yet done
		}
		_, k, err := s.Authenticate(t.Context(), secret)
		if works := err == nil && k.ID == id; works == m.revoked[id] {
			t.Errorf("key %s was acknowledged with revoked = %v, and Authenticate: %v", id, m.revoked[id], err)
		}
	}
	sum, err := s.TotalUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sum.Requests%3 != 0 || sum.Requests < 3*(m.usage+m.extra) || sum.Requests > 3*(m.usage+m.extra+1) {
		t.Errorf("usage = %d requests, want %d, or 3 more", sum.Requests, 3*(m.usage+m.extra))
	}
	m.extra = sum.Requests/3 - m.usage
	hours, err := s.UsageSince(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var byHour int64
	for _, u := range hours {
		byHour += u.Requests
	}
	if byHour != sum.Requests {
		t.Errorf("the hours hold %d requests, the total %d", byHour, sum.Requests)
	}
	m.compareLog(t, s)
}

// compareLog checks that a change and its line in the audit log are one.
func (m *crashModel) compareLog(t *testing.T, s *Store) {
	t.Helper()
	entries, err := s.Entries(t.Context(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, e := range entries {
		count[e.Action]++
	}
	revoked := 0
	for _, k := range s.Keys("") {
		if !k.Revoked.IsZero() {
			revoked++
		}
	}
	for action, want := range map[string]int{
		"reservation.add": len(s.Reservations("")) + count["reservation.remove"],
		"user.add":        len(s.Users()),
		"key.create":      len(s.Keys("")),
		"key.revoke":      revoked,
	} {
		if count[action] != want {
			t.Errorf("the log has %d lines of %s, want %d", count[action], action, want)
		}
	}
}

func (s *Store) keyState(id string) string {
	switch k := s.now.Load().keys.ids.get(keyID(id)); {
	case k == nil:
		return "lost"
	case !k.Revoked.IsZero():
		return "revoked"
	}
	return "works"
}

// TestCrashAtFirstStart kills processes that make a store.
func TestCrashAtFirstStart(t *testing.T) {
	t.Parallel() // most of its time goes by in other processes
	for range 8 {
		dir := t.TempDir()
		c := startChild(t, "admin", dir)
		time.Sleep(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.cmd.Wait()
		s, _, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sound(t, s)
		if u, _, err := s.Authenticate(t.Context(), s.AdminKey()); err != nil || u.ID != firstUser {
			t.Errorf("the key in the key file is %q's (%v), want %s's", u.ID, err, firstUser)
		}
		if n := len(s.Users()); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
