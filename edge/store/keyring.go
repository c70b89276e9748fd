package store

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// A keyring is all keys, by hash, by id and by user. It is never changed: a
// change makes another one, which shares with it all but a few parts, so that
// one user's keys cost the same however many the others have.
type keyring struct {
	hashes shards[Hash, *keyRow]
	ids    shards[keyID, *keyRow]
	users  shards[keyUser, []*keyRow] // in the order they were made
}

type (
	keyID   string
	keyUser string
)

// A keyRow is a key in a snapshot.
type keyRow struct {
	Key
	*use
	seq  int64
	hash Hash
}

// A use is when a key was last used, in milliseconds. The snapshots share it.
type use struct{ last, saved atomic.Int64 }

// raise makes a the later of what it is and v.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// shown is the key with its last use.
func (k *keyRow) shown() Key {
	v := k.Key
	if at := k.last.Load(); at > 0 {
		v.LastUsed = time.UnixMilli(at).UTC()
	}
	return v
}

// works reports whether the key is good at that time.
func (k *keyRow) works(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// all yields the keys in no order.
func (r *keyring) all() iter.Seq[*keyRow] {
	return func(yield func(*keyRow) bool) {
		for _, shard := range r.ids {
			for _, k := range shard {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// list returns a user's keys in the order they were made, or all with user "".
func (r *keyring) list(user string) []*keyRow {
	if user != "" {
		return r.users.get(keyUser(user))
	}
	return slices.SortedFunc(r.all(), func(a, b *keyRow) int { return cmp.Compare(a.seq, b.seq) })
}

// with is the keyring in which the users in rows have those keys and no others.
func (r *keyring) with(rows map[string][]*keyRow) *keyring {
	next := *r
	hashes, ids, users := edit(&next.hashes), edit(&next.ids), edit(&next.users)
	for user, list := range rows {
		gone := make(map[string]*keyRow)
		for _, k := range r.list(user) {
			gone[k.ID] = k
		}
		for i, k := range list {
			was := gone[k.ID]
			delete(gone, k.ID)
			if was != nil {
				raise(&was.last, k.last.Load())
				raise(&was.saved, k.saved.Load())
				k.use = was.use
				if was.Key == k.Key {
					list[i] = was
					continue
				}
			}
			hashes.set(k.hash, k)
			ids.set(keyID(k.ID), k)
		}
		for _, k := range gone {
			hashes.remove(k.hash)
			ids.remove(keyID(k.ID))
		}
		if len(list) == 0 {
			users.remove(keyUser(user))
			continue
		}
		users.set(keyUser(user), list)
	}
	return &next
}

// shards is a map in parts. One that others may read is changed by an editor,
// which copies the parts that it touches.
type shards[K shardKey, V any] [shardCount]map[K]V

const shardCount = 256

type shardKey interface {
	comparable
	shard() uint8
}

func (h Hash) shard() uint8 { return h[0] }

func (i keyID) shard() uint8 { return sum8(string(i)) }

func (u keyUser) shard() uint8 { return sum8(string(u)) }

// sum8 is FNV-1a, folded.
func sum8(s string) uint8 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint8(h ^ h>>8 ^ h>>16 ^ h>>24)
}

func (s *shards[K, V]) get(k K) V { return s[k.shard()][k] }

// An editor changes shards that nobody else reads yet, but for the maps in them.
type editor[K shardKey, V any] struct {
	to  *shards[K, V]
	own [shardCount]bool
}

func edit[K shardKey, V any](to *shards[K, V]) *editor[K, V] { return &editor[K, V]{to: to} }

// part returns the map that k belongs to, which may be changed.
func (e *editor[K, V]) part(k K) map[K]V {
	i := k.shard()
	if !e.own[i] {
		e.own[i] = true
		if e.to[i] = maps.Clone(e.to[i]); e.to[i] == nil {
			e.to[i] = make(map[K]V)
		}
	}
	return e.to[i]
}

func (e *editor[K, V]) set(k K, v V) { e.part(k)[k] = v }

func (e *editor[K, V]) remove(k K) { delete(e.part(k), k) }
