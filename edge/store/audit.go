package store

import (
	"context"
	"database/sql"
	"time"
)

// Local is the actor and user for what is done on the edge's own machine.
const Local = "local"

// An Entry is one line of the audit log. Lines are kept for 400 days.
type Entry struct {
	ID     int64
	Time   time.Time
	Actor  string // a user's id, [Local], or "edge" for what the edge does by itself
	Action string // "key.revoke"
	Object string // a key's id, a name, a domain, or empty
	Detail string
}

// Audit adds a line. Its ID is given, and its Time when it is zero.
func (s *Store) Audit(ctx context.Context, e Entry) error {
	return s.write(ctx, e.Actor, 0, func(t *change) error {
		if e.Time.IsZero() {
			e.Time = t.now
		}
		return t.add(e)
	})
}

func (t *change) add(e Entry) error {
	_, err := t.do("INSERT INTO audit (time, actor, action, object, detail) VALUES (?, ?, ?, ?, ?)",
		e.Time.UnixMilli(), e.Actor, e.Action, e.Object, e.Detail)
	return err
}

// Entries returns up to limit lines older than the one with the ID before,
// newest first; before 0 begins with the newest.
func (s *Store) Entries(ctx context.Context, before int64, limit int) ([]Entry, error) {
	var list []Entry
	err := s.read(ctx, "SELECT id, time, actor, action, object, detail FROM audit WHERE ?1 <= 0 OR id < ?1 ORDER BY id DESC LIMIT ?2",
		[]any{before, max(limit, 0)}, func(scan scanner) error {
			var e Entry
			var at sql.NullInt64
			if err := scan(&e.ID, &at, &e.Actor, &e.Action, &e.Object, &e.Detail); err != nil {
				return err
			}
			e.Time = fromMillis(at)
			list = append(list, e)
			return nil
		})
	return list, err
}
