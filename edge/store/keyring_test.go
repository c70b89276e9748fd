package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// addKeys puts n keys into the store at once. Those that are revoked were so one
// after the other, from 1000 ms after 1970 on.
func addKeys(t testing.TB, s *Store, user string, n int, revoked bool) {
	t.Helper()
	err := s.write(context.Background(), Local, partKeys, func(c *change) error {
		_, err := c.do(`
			WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n + 1 < ?1)
			INSERT INTO keys (id, hash, user, name, prefix, last4, created, revoked)
			SELECT 'key_' || hex(randomblob(6)), randomblob(32), ?2, '', 'lrok_abcd', 'abcd', 1, iif(?3, 1000 + n, NULL) FROM i`, n, user, revoked)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeyChurn has one user make and revoke keys without end: only some of them
// stay, and those that work all do.
func TestKeyChurn(t *testing.T) {
	t.Parallel() // it waits for the disk
	clock := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	s := open(t, t.TempDir(), Options{Now: func() time.Time { return clock }})
	u, other := addUser(t, s, "ada"), addUser(t, s, "bob")
	addKeys(t, s, u.ID, maxEnded+500, true)
	addKeys(t, s, other.ID, 3, true)
	first := s.Keys(u.ID)[0].ID
	soon, _, err := s.CreateKey(t.Context(), u.ID, u.ID, "", clock.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if keys := s.Keys(u.ID); len(keys) != maxEnded+1 || keys[0].Revoked.UnixMilli() != 1500 {
		t.Fatalf("%d keys, the first revoked at %v; want %d that ended last and the new one", len(keys), keys[0].Revoked, maxEnded)
	}
	if s.keyState(first) != "lost" {
		t.Error("the key that was revoked first is still there")
	}
	works, secret := addKey(t, s, u.ID)
	clock = clock.Add(2 * time.Minute) // soon ends
	var last Key
	for range 20 {
		last, _ = addKey(t, s, u.ID)
		if err := s.RevokeKey(t.Context(), u.ID, u.ID, last.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Keys(u.ID)); n != maxEnded+1 {
		t.Errorf("%d keys, want %d ended ones and one that works", n, maxEnded)
	}
	for id, want := range map[string]string{last.ID: "revoked", soon.ID: "works", works.ID: "works"} { // keyState does not ask the time
		if got := s.keyState(id); got != want {
			t.Errorf("key %s is %s, want %s", id, got, want)
		}
	}
	if _, k, err := s.Authenticate(t.Context(), secret); err != nil || k.ID != works.ID {
		t.Errorf("Authenticate = %+v, %v; want the key that works", k, err)
	}
	if n := len(s.Keys(other.ID)); n != 3 {
		t.Errorf("another user has %d keys, want the 3 it had", n)
	}
	if n, all := len(s.Keys("")), maxEnded+1+3+1; n != all {
		t.Errorf("%d keys in all, want %d", n, all)
	}
	lines, err := s.Entries(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(lines, func(e Entry) bool { return e.Action != "key.revoke" })); n != 20 {
		t.Errorf("the log has %d lines of key.revoke, want 20", n)
	}
	sound(t, s)
}

// TestKeyWriteIsIndependent counts the keys that one user's change reads anew:
// none of another user's.
func TestKeyWriteIsIndependent(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	u, other := addUser(t, s, "ada"), addUser(t, s, "bob")
	addKeys(t, s, other.ID, 50, true)
	k, _ := addKey(t, s, u.ID)
	// What is not in the snapshot as the file has it was not read.
	if _, err := s.writer.Exec("UPDATE keys SET name = 'changed'"); err != nil {
		t.Fatal(err)
	}
	k2, _ := addKey(t, s, u.ID)
	for _, id := range []string{k2.ID, k2.ID, k.ID} { // one twice
		if err := s.RevokeKey(t.Context(), Local, "", id); err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Keys(other.ID) {
			if k.Name != "" {
				t.Fatalf("a change of one user's keys read another's")
			}
		}
	}
	if got := s.Keys(u.ID)[0].Name; got != "changed" {
		t.Errorf("name = %q, want the user's own keys read", got)
	}
}

// TestKeyringWith compares keyrings with maps while keys come and go, and old
// keyrings with what they were.
func TestKeyringWith(t *testing.T) {
	r := new(keyring)
	want := map[string][]*keyRow{}
	type version struct {
		*keyring
		want map[string][]Key
	}
	var versions []version
	users := []string{"ada", "bob", "cy"}
	seq := int64(0)
	for range 200 {
		changed := map[string][]*keyRow{}
		for _, user := range users[rand.IntN(3):] {
			var list []*keyRow
			for _, k := range want[user] {
				switch rand.IntN(4) {
				case 0: // gone
				case 1:
					v := *k
					v.Name += "x"
					v.use = new(use)
					list = append(list, &v)
				default:
					v := *k
					v.use = new(use)
					list = append(list, &v)
				}
			}
			for range rand.IntN(4) {
				seq++
				list = append(list, &keyRow{
					Key: Key{ID: fmt.Sprint("key_", seq), User: user}, use: new(use), seq: seq, hash: sha256.Sum256(fmt.Append(nil, seq)),
				})
			}
			changed[user] = slices.Clone(list)
			want[user] = list
		}
		r = r.with(changed)
		v := version{r, map[string][]Key{}}
		for user, list := range want {
			for _, k := range list {
				v.want[user] = append(v.want[user], k.Key)
			}
		}
		versions = append(versions, v)
	}
	for i, v := range versions {
		n := 0
		for _, user := range users {
			var got []Key
			for _, k := range v.list(user) {
				got = append(got, k.Key)
				if v.ids.get(keyID(k.ID)) != k || v.hashes.get(k.hash) != k {
					t.Fatalf("version %d: %s is not found by id and hash", i, k.ID)
				}
			}
			if !slices.Equal(got, v.want[user]) {
				t.Fatalf("version %d: %s has %v, want %v", i, user, got, v.want[user])
			}
			n += len(got)
		}
		all := v.list("")
		hashes := 0
		for _, shard := range v.hashes {
			hashes += len(shard)
		}
		if len(all) != n || hashes != n || !slices.IsSortedFunc(all, func(a, b *keyRow) int { return int(a.seq - b.seq) }) {
			t.Fatalf("version %d: %d keys in all and %d hashes, want %d by age", i, len(all), hashes, n)
		}
	}
}

func BenchmarkCreateAndRevoke(b *testing.B) {
	for _, others := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			u := addUser(b, s, "ada")
			for i := range others / maxEnded {
				addKeys(b, s, addUser(b, s, fmt.Sprint("user ", i)).ID, maxEnded, true)
			}
			b.ReportAllocs()
			for b.Loop() {
				k, _ := addKey(b, s, u.ID)
				if err := s.RevokeKey(context.Background(), u.ID, u.ID, k.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
