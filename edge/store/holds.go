package store

import (
	"context"
	"database/sql"
	"time"
)

// A Hold is a name, or with Port a port, that a user had when the edge was last
// there. The registry says what it means.
type Hold struct {
	Name string
	User string
	Port int
	Kept bool
	Last time.Time
}

// A holdRow is a hold as it is in the file.
type holdRow struct {
	port       int
	name, user string
	kept       bool
	last       int64 // milliseconds, 0 for none
}

func (h Hold) row() holdRow {
	r := holdRow{port: h.Port, name: h.Name, user: h.User, kept: h.Kept}
	if !h.Last.IsZero() {
		r.last = h.Last.UnixMilli()
	}
	return r
}

// Holds returns what [Store.SaveHolds] was last given, in no order. It reads the
// file.
func (s *Store) Holds(ctx context.Context) ([]Hold, error) {
	var list []Hold
	err := s.read(ctx, "SELECT port, name, user, kept, last FROM holds", nil, func(scan scanner) error {
		var h Hold
		var last sql.NullInt64
		if err := scan(&h.Port, &h.Name, &h.User, &h.Kept, &last); err != nil {
			return err
		}
		h.Last = fromMillis(last)
		list = append(list, h)
		return nil
	})
	return list, err
}

// SaveHolds puts list in the place of what was saved before, all of it or
// nothing. It writes what is new, and not at all when nothing is. It makes no
// line in the audit log. One process at a time saves holds.
func (s *Store) SaveHolds(ctx context.Context, list []Hold) error {
	s.holding.Lock()
	defer s.holding.Unlock()
	next := make(map[holdRow]bool, len(list))
	var added, gone []holdRow
	for _, h := range list {
		r := h.row()
		if next[r] = true; !s.held[r] {
			added = append(added, r)
		}
	}
	for r := range s.held {
		if !next[r] {
			gone = append(gone, r)
		}
	}
	if s.held != nil && len(added)+len(gone) == 0 {
		return nil
	}
	err := s.write(ctx, Local, 0, func(t *change) error {
		if s.held == nil { // whatever another process left
			if _, err := t.do("DELETE FROM holds"); err != nil {
				return err
			}
		}
		for _, r := range gone {
			if _, err := t.do("DELETE FROM holds WHERE port = ? AND name = ?", r.port, r.name); err != nil {
				return err
			}
		}
		if len(added) == 0 {
			return nil
		}
		add, err := t.tx.PrepareContext(t.ctx, "INSERT OR REPLACE INTO holds (port, name, user, kept, last) VALUES (?, ?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer add.Close()
		for _, r := range added {
			var last any
			if r.last != 0 {
				last = r.last
			}
			if _, err := add.ExecContext(t.ctx, r.port, r.name, r.user, r.kept, last); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.held = nil // it may be in the file or not
		return err
	}
	s.held = next
	return nil
}
