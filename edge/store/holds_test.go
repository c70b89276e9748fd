package store

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func wantHolds(t *testing.T, s *Store, what string, want []Hold) {
	t.Helper()
	got, err := s.Holds(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	slices.SortFunc(got, func(a, b Hold) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Name, b.Name)) })
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: holds = %+v, want %+v", what, got, want)
	}
}

func TestHolds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	wantHolds(t, s, "a new store", nil)
	at := time.UnixMilli(1_700_000_000_123).UTC()
	list := []Hold{
		{Name: "db", User: "ada", Kept: true},
		{Name: "shop", User: "bob", Kept: true},
		{User: "eve", Port: 30001, Kept: true},
		{Name: "db", User: "ada", Port: 30002, Kept: true, Last: at},
		{Name: "old", User: "gone", Port: 30003, Last: at},
	}
	save := func(s *Store, list []Hold) {
		t.Helper()
		if err := s.SaveHolds(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	save(s, list)
	wantHolds(t, s, "saved", list)

	// The same again writes nothing.
	version := func() (n int) {
		t.Helper()
		c, err := s.reader.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.QueryRowContext(t.Context(), "PRAGMA data_version").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := version()
	save(s, slices.Clone(list))
	if after := version(); after != before {
		t.Error("the same holds were written again")
	}

	list[1].User, list[3].Kept = "eve", false // other owners of the same
	list = slices.Delete(list, 2, 3)
	list = append(list, Hold{Name: "new", User: "bob", Port: 30004, Kept: true, Last: at})
	save(s, list)
	wantHolds(t, s, "changed", list)
	if version() == before {
		t.Error("the change was not written")
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "save into a closed store", s.SaveHolds(t.Context(), nil), tunnel.CodeUnavailable)
	s = open(t, dir, Options{})
	wantHolds(t, s, "opened again", list)
	save(s, list[:1]) // it does not know what the last process wrote
	wantHolds(t, s, "after the first save of a process", list[:1])
	save(s, nil)
	wantHolds(t, s, "none", nil)

	es, err := s.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Action != "user.add" && e.Action != "key.create" {
			t.Errorf("the audit log has %s %s, want nothing about holds", e.Action, e.Object)
		}
	}
	sound(t, s)
}

// TestHoldsAfterFailure: what could not be saved is saved later, all of it.
func TestHoldsAfterFailure(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	first := []Hold{{Name: "a", User: "ada", Kept: true}, {Name: "b", User: "ada", Kept: true}}
	if err := s.SaveHolds(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec("CREATE TRIGGER full BEFORE DELETE ON holds BEGIN SELECT raise(ABORT, 'full'); END"); err != nil {
		t.Fatal(err)
	}
	second := []Hold{{Name: "a", User: "bob", Kept: true}}
	if err := s.SaveHolds(t.Context(), second); err == nil {
		t.Fatal("saved into a store that cannot write, want an error")
	}
	wantHolds(t, s, "after the failure", first)
	if _, err := s.writer.Exec("DROP TRIGGER full"); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveHolds(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	wantHolds(t, s, "after it went well again", second)
}

// TestOpenWithoutHolds opens a file from before there were holds.
func TestOpenWithoutHolds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	key := s.AdminKey()
	if _, err := s.writer.Exec("DROP TABLE holds; DROP TABLE admins; PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if _, _, err := s.Authenticate(t.Context(), key); err != nil {
		t.Errorf("the key does not work any more: %v", err)
	}
	want := []Hold{{Name: "shop", User: "ada", Kept: true}}
	if err := s.SaveHolds(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	wantHolds(t, s, "migrated", want)
}

func BenchmarkSaveHolds(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	list := make([]Hold, 10_000)
	for i := range list {
		list[i] = Hold{Name: fmt.Sprint("name-", i), User: "ada", Kept: true}
	}
	for _, changed := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprintf("%d of 10000", changed), func(b *testing.B) {
			for n := range b.N {
				for i := range changed {
					list[i].User = fmt.Sprint("user-", n%2)
				}
				if err := s.SaveHolds(context.Background(), list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
