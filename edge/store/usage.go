package store

import (
	"context"
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

// AddUsage adds to what is stored of those hours, all of it or nothing.
func (s *Store) AddUsage(ctx context.Context, us []Usage) error { return errNotYet }

// UsageSince returns the hours from the one of t on, oldest first.
func (s *Store) UsageSince(ctx context.Context, t time.Time) ([]Usage, error) { return nil, errNotYet }

// TotalUsage returns the sum of all usage ever, that which was pruned included.
func (s *Store) TotalUsage(ctx context.Context) (Usage, error) { return Usage{}, errNotYet }
