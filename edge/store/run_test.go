package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
		time.Sleep(3 * time.Second)
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
