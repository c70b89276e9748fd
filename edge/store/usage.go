package store

import (
	"context"
	"database/sql"
	"time"
)

// Usage is what passed through one tunnel in one hour. It is kept for 400 days.
type Usage struct {
	Hour        time.Time // its beginning
	User        string
	Tunnel      string
	Requests    int64
	Connections int64
	BytesIn     int64
	BytesOut    int64
}

// AddUsage adds to what is stored of those hours, all of it or nothing. It
// makes no line in the audit log.
func (s *Store) AddUsage(ctx context.Context, us []Usage) error {
	if len(us) == 0 {
		return nil
	}
	return s.write(ctx, Local, 0, func(t *change) error {
		add, err := t.tx.PrepareContext(t.ctx, `
			INSERT INTO usage (hour, user, tunnel, requests, connections, bytes_in, bytes_out) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (hour, user, tunnel) DO UPDATE SET
			  requests = requests + excluded.requests, connections = connections + excluded.connections,
			  bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out`)
		if err != nil {
			return err
		}
		defer add.Close()
		var sum Usage
		for _, u := range us {
			_, err := add.ExecContext(t.ctx, u.Hour.Truncate(time.Hour).UnixMilli(), u.User, u.Tunnel, u.Requests, u.Connections, u.BytesIn, u.BytesOut)
			if err != nil {
				return err
			}
			sum.Requests += u.Requests
			sum.Connections += u.Connections
			sum.BytesIn += u.BytesIn
			sum.BytesOut += u.BytesOut
		}
		_, err = t.do("UPDATE total SET requests = requests + ?, connections = connections + ?, bytes_in = bytes_in + ?, bytes_out = bytes_out + ?",
			sum.Requests, sum.Connections, sum.BytesIn, sum.BytesOut)
		return err
	})
}

// UsageSince returns the hours from the one of t on, oldest first.
func (s *Store) UsageSince(ctx context.Context, t time.Time) ([]Usage, error) {
	var list []Usage
	err := s.read(ctx, "SELECT hour, user, tunnel, requests, connections, bytes_in, bytes_out FROM usage WHERE hour >= ? ORDER BY hour, user, tunnel",
		[]any{t.Truncate(time.Hour).UnixMilli()}, func(scan scanner) error {
			var u Usage
			var hour sql.NullInt64
			if err := scan(&hour, &u.User, &u.Tunnel, &u.Requests, &u.Connections, &u.BytesIn, &u.BytesOut); err != nil {
				return err
			}
			u.Hour = fromMillis(hour)
			list = append(list, u)
			return nil
		})
	return list, err
}

// TotalUsage returns the sum of all usage ever, that which was pruned included.
func (s *Store) TotalUsage(ctx context.Context) (Usage, error) {
	var u Usage
	err := s.read(ctx, "SELECT requests, connections, bytes_in, bytes_out FROM total", nil, func(scan scanner) error {
		return scan(&u.Requests, &u.Connections, &u.BytesIn, &u.BytesOut)
	})
	return u, err
}
