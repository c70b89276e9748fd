package inspector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

func serveRing(t *testing.T, r *Ring, match func(*Exchange) bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ServeEvents(w, req, r, match, nil)
	}))
	t.Cleanup(s.Close)
	return s
}

func events(t *testing.T, url, last string, fn func(Event) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return ReadEvents(res.Body, fn)
}

var errEnough = errors.New("enough")

func TestEventsResumeAndGap(t *testing.T) {
	r := NewRing("a", 3, Limits{}, nil)
	s := serveRing(t, r, nil)
	begin(r, "/1").End(Ending{})
	seen := fmt.Sprint(r.Version())
	begin(r, "/2").End(Ending{})

	var got []string
	err := events(t, s.URL, seen, func(e Event) error {
		got = append(got, e.Type+" "+e.Exchange.Path)
		return errEnough
	})
	if !errors.Is(err, errEnough) || strings.Join(got, ",") != "request /2" {
		t.Fatalf("resumed after 2: %v, %v; want request /2", got, err)
	}
	for range 4 {
		begin(r, "/3").End(Ending{})
	}
	got = nil
	_ = events(t, s.URL, seen, func(e Event) error {
		got = append(got, e.Type)
		if len(got) == 4 {
			return errEnough
		}
		return nil
	})
	if strings.Join(got, ",") != "gap,request,request,request" {
		t.Fatalf("resumed behind the ring: %v, want a gap and what is left", got)
	}
}

// After a restart of the edge its rings know nothing of what came before.
func TestEventsAfterARestart(t *testing.T) {
	old := NewRing("a", 3, Limits{}, nil)
	begin(old, "/1").End(Ending{})
	seen := old.Version()
	for next := time.Now().UnixMilli() + 2; time.Now().UnixMilli() < next; {
		runtime.Gosched()
	}
	r := NewRing("a", 3, Limits{}, nil)
	begin(r, "/2").End(Ending{})
	if xs, gap := r.Since(seen); !gap || len(xs) != 1 {
		t.Errorf("Since the old ring's version: %d exchanges, gap %v; want 1 and a gap", len(xs), gap)
	}
	if xs, gap := r.Since(0); gap || len(xs) != 1 {
		t.Errorf("Since the beginning: %d exchanges, gap %v; want 1 and none", len(xs), gap)
	}
}

func TestEventsFilterAndClose(t *testing.T) {
	r := NewRing("a", 10, Limits{}, nil)
	s := serveRing(t, r, func(x *Exchange) bool { return x.Path == "/yes" })
	begin(r, "/no").End(Ending{})
	begin(r, "/yes").End(Ending{})
	var got []string
	err := events(t, s.URL, "0", func(e Event) error {
		got = append(got, e.Type)
		if e.Type == "request" {
			r.Close()
		}
		return nil
	})
	if err != nil || strings.Join(got, ",") != "request,closed" {
		t.Fatalf("events %v, %v; want request, closed", got, err)
	}
}

// A watcher that reads nothing costs the recorder nothing: it is only poked.
func TestStalledWatcherHoldsNobodyUp(t *testing.T) {
	r := NewRing("a", 10, Limits{}, nil)
	s := serveRing(t, r, nil)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			begin(r, "/"+strings.Repeat("x", 1000)).End(Ending{})
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("recording waits for a watcher that does not read")
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("event: request\nid: 4\ndata: {\"id\":\"req_1\"}\n\n")
	f.Add("event: gap\nid: x\ndata\n\n: c\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		_ = ReadEvents(strings.NewReader(s), func(e Event) error {
			if e.Type == "request" && e.Exchange == nil {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
	})
}
