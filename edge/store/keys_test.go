package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func TestAuthenticate(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
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
		wantCode(t, "Authenticate", err, tunnel.CodeKey)
		if err != nil && len(bad) > 20 && strings.Contains(err.Error()+hint(err), bad[9:20]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestLocalKey(t *testing.T) {
	dir := t.TempDir()
	s, again := open(t, dir, Options{}), open(t, dir, Options{})
	u, k, err := s.Authenticate(t.Context(), s.LocalKey())
	if err != nil || u.ID != Local || !u.Admin || !s.Working(k.ID) {
		t.Errorf("user = %+v, working = %v (%v), want %s, an administrator", u, s.Working(k.ID), err, Local)
	}
	_, _, err = again.Authenticate(t.Context(), s.LocalKey())
	wantCode(t, "the local key in another process", err, tunnel.CodeKey)
	if n := len(s.Keys("")); n != 1 {
		t.Errorf("%d keys are listed, want the first user's alone", n)
	}
}

func TestKeyLife(t *testing.T) {
	clock := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return clock }})
	u := addUser(t, s, "ada")
	k, secret, err := s.CreateKey(t.Context(), firstUser, u.ID, "ci", clock.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if k.User != u.ID || k.Name != "ci" || !k.Created.Equal(clock) || !k.Expires.Equal(clock.Add(time.Hour)) || !k.LastUsed.IsZero() || !k.Revoked.IsZero() {
		t.Errorf("key = %+v, want what was asked for, and unused", k)
	}
	who, used, err := s.Authenticate(t.Context(), secret)
	if err != nil || who.ID != u.ID || who.Admin || used.ID != k.ID || !used.LastUsed.Equal(clock) {
		t.Errorf("Authenticate = %+v, %+v, %v; want ada, no administrator, used now", who, used, err)
	}

	clock = clock.Add(time.Hour - time.Millisecond)
	if !s.Working(k.ID) {
		t.Error("the key stopped before it expired")
	}
	clock = clock.Add(time.Millisecond)
	_, _, err = s.Authenticate(t.Context(), secret)
	wantCode(t, "an expired key", err, tunnel.CodeKey)
	if err != nil && !strings.Contains(err.Error(), "2026-05-06 08:08 UTC") {
		t.Errorf("error = %v, want since when", err)
	}
	if s.Working(k.ID) {
		t.Error("an expired key works")
	}

	k, secret, err = s.CreateKey(t.Context(), firstUser, u.ID, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "another's key", s.RevokeKey(t.Context(), firstUser, firstUser, k.ID), tunnel.CodeNotFound)
	if !s.Working(k.ID) {
		t.Error("the key was revoked by another user")
	}
	for range 2 { // the second time changes nothing
		if err := s.RevokeKey(t.Context(), u.ID, u.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		if s.Working(k.ID) {
			t.Error("a revoked key works")
		}
		_, _, err = s.Authenticate(t.Context(), secret)
		wantCode(t, "a revoked key", err, tunnel.CodeKey)
		if keys := s.Keys(u.ID); len(keys) != 2 || !keys[1].Revoked.Equal(clock) {
			t.Errorf("keys = %+v, want both, the second revoked", keys)
		}
	}
	wantCode(t, "no such key", s.RevokeKey(t.Context(), u.ID, "", "key_none"), tunnel.CodeNotFound)
	if s.Working("key_none") || s.Working("") {
		t.Error("a key that is not there works")
	}
	_, _, err = s.CreateKey(t.Context(), u.ID, "usr_none", "", time.Time{})
	wantCode(t, "a key for nobody", err, tunnel.CodeNotFound)
	_, _, err = s.CreateKey(t.Context(), u.ID, u.ID, "", clock)
	wantCode(t, "a key that has expired", err, tunnel.CodeInvalid)
	_, _, err = s.CreateKey(t.Context(), u.ID, u.ID, "a\x1b[31mb", time.Time{})
	wantCode(t, "a name with an escape", err, tunnel.CodeInvalid)
}

func TestKeyLimit(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	u := addUser(t, s, "ada")
	addKeys(t, s, u.ID, maxKeys-1, false)
	addKey(t, s, u.ID)
	_, _, err := s.CreateKey(t.Context(), u.ID, u.ID, "", time.Time{})
	wantCode(t, "one too many", err, tunnel.CodeLimit)
	if err := s.RevokeKey(t.Context(), u.ID, u.ID, s.Keys(u.ID)[0].ID); err != nil {
		t.Fatal(err)
	}
	addKey(t, s, u.ID)
}

// TestLastKey keeps the operator from locking the door from outside.
func TestLastKey(t *testing.T) {
	clock := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return clock }})
	first := s.Keys("")[0].ID
	u := addUser(t, s, "ada")
	addKey(t, s, u.ID) // not an administrator's
	wantCode(t, "the last key", s.RevokeKey(t.Context(), firstUser, firstUser, first), tunnel.CodeConflict)
	soon, _, err := s.CreateKey(t.Context(), firstUser, firstUser, "", clock.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(2 * time.Hour)
	wantCode(t, "the last key beside an expired one", s.RevokeKey(t.Context(), firstUser, "", first), tunnel.CodeConflict)
	if err := s.RevokeKey(t.Context(), firstUser, "", soon.ID); err != nil {
		t.Errorf("revoke an expired key: %v", err)
	}
	if !s.Working(first) {
		t.Error("the last key does not work")
	}
	addKey(t, s, firstUser)
	if err := s.RevokeKey(t.Context(), firstUser, "", first); err != nil {
		t.Errorf("revoke one of two: %v", err)
	}
}

// TestLastKeyAtOnce has two processes revoke the last two keys.
func TestLastKeyAtOnce(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		a, b := open(t, dir, Options{}), open(t, dir, Options{})
		addKey(t, a, firstUser)
		keys := a.Keys("")
		b.follow(t.Context())
		var errs [2]error
		var wg sync.WaitGroup
		for i, s := range []*Store{a, b} {
			wg.Go(func() { errs[i] = s.RevokeKey(context.Background(), Local, "", keys[i].ID) })
		}
		wg.Wait()
		if got := code(errs[0]) + code(errs[1]); got != tunnel.CodeConflict {
			t.Fatalf("the codes are %q and %q, want one refused", code(errs[0]), code(errs[1]))
		}
		a.Close()
		b.Close()
	}
}

func TestLastUsed(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	o := Options{Now: func() time.Time { return clock }}
	s := open(t, dir, o)
	if _, _, err := s.Authenticate(t.Context(), s.AdminKey()); err != nil {
		t.Fatal(err)
	}
	lines := func() int {
		list, err := s.Entries(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	stored := func() int64 {
		var at int64
		if err := s.reader.QueryRow("SELECT coalesce(max(used), 0) FROM keys").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := lines()
	if got := stored(); got != 0 {
		t.Errorf("stored at once: %d, want it to wait", got)
	}
	if err := s.saveUse(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stored(); got != clock.UnixMilli() {
		t.Errorf("stored = %d, want %d", got, clock.UnixMilli())
	}
	if after := lines(); after != before {
		t.Errorf("the use of a key made %d lines in the audit log", after-before)
	}
	clock = clock.Add(time.Second)
	if _, _, err := s.Authenticate(t.Context(), s.AdminKey()); err != nil {
		t.Fatal(err)
	}
	addUser(t, s, "ada") // a new snapshot
	if got := s.Keys("")[0].LastUsed; !got.Equal(clock) {
		t.Errorf("LastUsed = %v after a change, want %v", got, clock)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, o)
	if got := s.Keys("")[0].LastUsed; !got.Equal(clock) {
		t.Errorf("LastUsed = %v after a restart, want %v", got, clock)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	u := addUser(b, s, "ada")
	_, secret := addKey(b, s, u.ID)
	unknown := NewKey()
	for name, key := range map[string]string{"good": secret, "unknown": unknown, "mistyped": secret[:40] + "!"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = s.Authenticate(context.Background(), key)
			}
		})
	}
	b.Run("working", func(b *testing.B) {
		b.ReportAllocs()
		id := s.Keys(u.ID)[0].ID
		for b.Loop() {
			if !s.Working(id) {
				b.Fatal("not working")
			}
		}
	})
}

// TestAuthenticateAllocates holds the price of a good key.
func TestAuthenticateAllocates(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	key := s.AdminKey()
	if n := testing.AllocsPerRun(1000, func() { _, _, _ = s.Authenticate(context.Background(), key) }); n > 1 {
		t.Errorf("%v allocations, want 1 at most", n)
	}
}
