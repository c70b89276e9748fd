package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// TestRun lets two hours pass.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var logs syncBuffer
		s, _, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		if err != nil {
			t.Fatal(err)
		}
		f := breakFile(t, dir)
		defer f.Close() // after the store
		old := Entry{Time: time.Now().Add(-keepFor - time.Hour), Actor: Local, Action: "test", Object: "old"}
		if err := s.Audit(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		used := func() (at int64) {
			if err := s.reader.QueryRow("SELECT coalesce(max(used), 0) FROM keys").Scan(&at); err != nil {
				t.Fatal(err)
			}
			return at
		}
		time.Sleep(time.Second / 2)
		if entries, err := s.Entries(t.Context(), 0, 10); err != nil || len(entries) == 0 || entries[0].Object == "old" {
			t.Errorf("the log begins with %+v (%v), want no line of more than 400 days", entries, err)
		}

		if _, _, err := s.Authenticate(t.Context(), s.AdminKey()); err != nil {
			t.Fatal(err)
		}
		at := time.Now().UnixMilli()
		time.Sleep(saveUseEvery - 2*time.Second)
		if got := used(); got != 0 {
			t.Errorf("the use was stored after less than a minute")
		}
		addUser(t, s, "ada")
		if pagesInLog(t, s) == 0 {
			t.Error("no pages are in the log alone after a change: this tests nothing")
		}
		time.Sleep(3 * time.Second)
		if got := pagesInLog(t, s); got != 0 {
			t.Errorf("%d pages are in the log alone after a minute, want 0", got)
		}
		if got := used(); got != at {
			t.Errorf("the use stored after a minute = %d, want %d", got, at)
		}

		// A page of zeros is found within the hour, told once, and so is its end.
		if _, err := s.writer.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
		page := make([]byte, 4096)
		if _, err := f.ReadAt(page, 4096); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, 4096), 4096); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tidyEvery + 2*time.Second)
		if s.Healthy() == nil {
			t.Error("Healthy = nil an hour after the file was damaged")
		}
		time.Sleep(time.Minute)
		if n := strings.Count(logs.String(), "in trouble"); n != 1 {
			t.Errorf("the trouble was told %d times, want once:\n%s", n, &logs)
		}
		if _, err := f.WriteAt(page, 4096); err != nil {
			t.Fatal(err)
		}
		time.Sleep(probeEvery + 2*time.Second)
		if err := s.Healthy(); err != nil {
			t.Errorf("Healthy = %v, and the page is back", err)
		}
		if n := strings.Count(logs.String(), "well again"); n != 1 {
			t.Errorf("the end was told %d times, want once:\n%s", n, &logs)
		}
	})
}

// pagesInLog is how many pages of the log have not been brought into the file.
func pagesInLog(t *testing.T, s *Store) int {
	t.Helper()
	var busy, log, done int
	if err := s.writer.QueryRow("PRAGMA wal_checkpoint(NOOP)").Scan(&busy, &log, &done); err != nil {
		t.Fatal(err)
	}
	return log - done
}

// TestHangs checks that a disk that does not answer is told of.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		h.busy(time.Now())
		time.Sleep(hangs + busyTimeout)
		if err := h.problem(); err != nil {
			t.Errorf("problem = %v too early", err)
		}
		time.Sleep(time.Second)
		if err := h.problem(); err == nil || !strings.Contains(fmt.Sprint(err), "21s") {
			t.Errorf("problem = %v, want that the disk has not answered for 21s", err)
		}
		h.busy(time.Time{})
		if err := h.problem(); err != nil {
			t.Errorf("problem = %v after the answer", err)
		}
	})
}

// TestWriteFollows checks that a change brings what another process wrote in the
// meantime, in whatever table.
func TestWriteFollows(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	u := addUser(t, other, "ada")
	_, secret := addKey(t, other, u.ID)
	if _, err := s.Reserve(t.Context(), firstUser, firstUser, "demo"); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Authenticate(t.Context(), secret); err != nil || got.ID != u.ID || got.Name != "ada" {
		t.Errorf("the other's key is %+v's (%v), want ada's", got, err)
	}
	if err := other.RemoveUser(t.Context(), Local, u.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Unreserve(t.Context(), firstUser, firstUser, "demo"); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Authenticate(t.Context(), secret)
	wantCode(t, "the key of a user that the other removed", err, tunnel.CodeKey)
}

// TestConcurrent asks while others change everything.
func TestConcurrent(t *testing.T) {
	t.Parallel() // it waits for the disk
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	run(t, s)
	admin := s.AdminKey()
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				u, k, err := s.Authenticate(context.Background(), admin)
				if err != nil || u.ID != firstUser || !u.Admin || !s.Working(k.ID) {
					t.Errorf("Authenticate = %+v, %v", u, err)
					return
				}
				for _, u := range s.Users() {
					u.Name = "changed"
				}
				for _, r := range append(s.Reservations(""), s.Reservations(firstUser)...) {
					if _, err := s.Entries(context.Background(), 0, 3); err != nil || r.User != firstUser {
						t.Errorf("reservation = %+v, Entries: %v", r, err)
						return
					}
				}
				_ = append(s.Domains(""), s.Domains(firstUser)...)
				_ = s.Keys("")
			}
		})
	}
	for i, s := range []*Store{s, other, s} {
		writers.Go(func() {
			for j := range 8 {
				name := fmt.Sprintf("n-%d-%d", i, j)
				u, err := s.AddUser(context.Background(), Local, name, Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				k, _, err := s.CreateKey(context.Background(), Local, u.ID, name, time.Time{})
				if err != nil {
					t.Error(err)
					return
				}
				_, err = s.Reserve(context.Background(), Local, firstUser, name)
				if err := errors.Join(err, s.RevokeKey(context.Background(), Local, u.ID, k.ID), s.saveUse(context.Background()), s.RemoveUser(context.Background(), Local, u.ID)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	within(t, "there: all names", func() bool { return len(s.Reservations("")) == 24 && len(s.Users()) == 1 })
}
