package store

import (
	"context"
	"time"
)

// Local is the actor and user for what is done on the edge's own machine.
const Local = "local"

// An Entry is one line of the audit log. Lines are kept for 400 days.
type Entry struct {
	ID     int64
	Time   time.Time
	Actor  string // a user's id, or [Local]
	Action string // "key.revoke"
	Object string // a key's id, a name, a domain
	Detail string
}

// Audit adds a line. Its ID is given, and its Time when it is zero.
func (s *Store) Audit(ctx context.Context, e Entry) error { return errNotYet }

// Entries returns up to limit lines older than the one with the ID before,
// newest first; before 0 begins with the newest.
func (s *Store) Entries(ctx context.Context, before int64, limit int) ([]Entry, error) {
	return nil, errNotYet
}
