package store

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// How often Run does its work.
const (
	followEvery  = time.Second
	saveUseEvery = time.Minute
	probeEvery   = 5 * time.Second // while something is wrong
	tidyEvery    = time.Hour
)

// keepFor is how long the audit log, hourly usage, and keys that do not work
// any more are kept.
const keepFor = 400 * 24 * time.Hour

// Run follows what other processes write, stores when keys were last used, drops
// what is too old, looks every hour at each page of the file, and tries again
// what went wrong, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var told string
	saved, probed, tidied := time.Now(), time.Now(), time.Time{}
	s.settle(ctx)
	for {
		// What fails here is told by Healthy and tried again.
		s.follow(ctx)
		if time.Since(saved) >= saveUseEvery {
			_ = s.saveUse(ctx)
			s.settle(ctx)
			saved = time.Now()
		}
		if s.Healthy() != nil && time.Since(probed) >= probeEvery {
			s.probe(ctx)
			probed = time.Now()
		}
		if time.Since(tidied) >= tidyEvery {
			_ = s.prune(ctx)
			if !tidied.IsZero() { // Open did it
				s.look(ctx)
			}
			tidied = time.Now()
		}
		told = s.tell(told)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell logs what is wrong when that is news.
func (s *Store) tell(told string) string {
	err := s.Healthy()
	switch {
	case err == nil && told != "":
		s.opt.Logger.Info("the store is well again")
		return ""
	case err == nil || err.Error() == told:
		return told
	}
	s.opt.Logger.Error("the store is in trouble; tunnels go on with what it last held", "err", err, "hint", hint(err))
	return err.Error()
}

func hint(err error) string {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// follow publishes what another process has written.
func (s *Store) follow(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.where() != nil {
		return
	}
	s.well.busy(time.Now())
	defer s.well.busy(time.Time{})
	ctx = context.WithoutCancel(ctx) // an interrupted query would cost the connection
	var version int64
	err := s.writer.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	if err == nil && version != s.version {
		err = s.reload(ctx)
	}
	if err != nil {
		s.blame(&s.well.unread, err)
		return
	}
	s.well.set(&s.well.unread, nil)
}

// settle brings what is in the log beside the file into the file, as far as
// that goes without waiting for anybody. SQLite would do so every thousand
// pages, which for a small edge is never: then all that it knows is in the log,
// and whoever moves or copies the file alone has nothing.
func (s *Store) settle(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.where() != nil {
		return
	}
	s.well.busy(time.Now())
	defer s.well.busy(time.Time{})
	// What cannot be brought over stays in the log, and is as safe there.
	_, _ = s.writer.ExecContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint(PASSIVE)")
}

// probe finds out whether what was wrong still is.
func (s *Store) probe(ctx context.Context) {
	s.well.mu.Lock()
	damage, failed := s.well.damage != nil, s.well.failed != nil
	s.well.mu.Unlock()
	if damage {
		s.look(ctx)
	}
	if failed {
		_ = s.write(ctx, Local, 0, func(t *change) error {
			_, err := t.do("INSERT INTO probe (one, time) VALUES (1, ?1) ON CONFLICT DO UPDATE SET time = ?1", t.now.UnixMilli())
			return err
		})
	}
}

// look checks every page of the file, through a connection of its own that has
// none of them in memory.
func (s *Store) look(ctx context.Context) {
	if s.moved() != nil {
		return
	}
	db, err := openDB(s.path, 1, url.Values{"_query_only": {"1"}})
	if err != nil {
		return
	}
	defer db.Close()
	problem, err := check(ctx, db, s.path)
	switch {
	case ctx.Err() != nil:
	case damage(err):
		s.well.set(&s.well.damage, trouble(s.path, err))
	case err != nil:
		// No more file descriptors, say: nothing is known about the file.
	case problem != "":
		s.well.set(&s.well.damage, damaged(s.path, problem))
	default:
		s.well.set(&s.well.damage, nil)
	}
}

// prune drops what is older than keepFor, a little at a time so that nobody
// waits for long.
func (s *Store) prune(ctx context.Context) error {
	for _, query := range []string{
		"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time < ?1 LIMIT ?2)",
		"DELETE FROM usage WHERE (hour, user, tunnel) IN (SELECT hour, user, tunnel FROM usage WHERE hour < ?1 LIMIT ?2)",
		"DELETE FROM keys WHERE seq IN (SELECT seq FROM keys WHERE revoked < ?1 OR expires < ?1 LIMIT ?2)",
	} {
		for dropped := int64(pruneAtOnce); dropped == pruneAtOnce; {
			err := s.write(ctx, Local, partKeys, func(t *change) (err error) {
				dropped, err = t.do(query, t.now.Add(-keepFor).UnixMilli(), pruneAtOnce)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

const pruneAtOnce = 1000

// read runs a query that is too big for the snapshot.
func (s *Store) read(ctx context.Context, query string, args []any, f func(scanner) error) error {
	if err := s.moved(); err != nil {
		return err // a new connection would read another file
	}
	err := rows(ctx, s.reader, query, args, f)
	if err == nil || ctx.Err() != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if damage(err) {
		s.well.set(&s.well.damage, trouble(s.path, err))
	}
	return trouble(s.path, err)
}
