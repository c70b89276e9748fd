package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
)

// tellAdmins leaves the edge's administrators in the file, for the stores beside
// it. What is there already is not written again.
func (s *Store) tellAdmins(ctx context.Context) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	admins := slices.Compact(slices.Sorted(slices.Values(s.opt.Admins)))
	switch told, err := readAdmins(ctx, tx); {
	case err != nil:
		return err
	case slices.Equal(told, admins):
		return nil
	}
	list, err := json.Marshal(admins)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM admins"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO admins SELECT value FROM json_each(?)", string(list)); err != nil {
		return err
	}
	return tx.Commit()
}

// admins returns the ids of the administrators: an edge's own, and beside one
// those that it left in the file.
func (s *Store) admins(ctx context.Context, tx *sql.Tx) ([]string, error) {
	if !s.opt.Beside {
		return s.opt.Admins, nil
	}
	list, err := readAdmins(ctx, tx)
	if err == nil && len(list) == 0 {
		list = []string{firstUser} // no edge was here yet
	}
	return list, err
}

// readAdmins returns what is in the file, sorted.
func readAdmins(ctx context.Context, tx *sql.Tx) ([]string, error) {
	var list []string
	err := rows(ctx, tx, "SELECT user FROM admins ORDER BY user", nil, func(scan scanner) error {
		var id string
		if err := scan(&id); err != nil {
			return err
		}
		list = append(list, id)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read administrators: %w", err)
	}
	return list, nil
}
