package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A tunnel that is started from the list of tunnels can be called, and is gone
// with the screen.
func TestStarter(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"} {
		t.Setenv(name, t.TempDir())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o := &options{stdout: io.Discard, stderr: io.Discard}
	_, r, stop, err := o.ownEdge(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	defer service.Close()

	near := neighbours{o: o}
	defer near.close()
	s := starter{o: o, r: r, near: &near}
	if _, err := s.start(ctx, tui.Wish{Kind: tunnel.TCP, Service: "http://localhost:80"}); err == nil {
		t.Error("a TCP tunnel to a URL was started")
	}
	got, err := s.start(ctx, tui.Wish{Kind: tunnel.HTTP, Service: strings.TrimPrefix(service.URL, "http://"), Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Tunnel.Local != service.URL {
		t.Errorf("started %+v, want it to lead to %s", got.Tunnel, service.URL)
	}
	st, ok := live(ctx, got.Agent.(*agent.Agent))
	if !ok || st.Welcome.Grants[0].Name != "shop" {
		t.Fatalf("granted %+v, want shop", st.Welcome.Grants)
	}
	res, err := http.Get(st.Welcome.Grants[0].Direct)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if string(body) != "here" {
		t.Errorf("through the tunnel came %q", body)
	}
	api, done, err := o.apiOf(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	tunnels := func(want int) {
		t.Helper()
		if list, err := api.Tunnels(ctx); err != nil || len(list) != want {
			t.Errorf("the edge lists %d tunnels (%v), want %d", len(list), err, want)
		}
	}
	tunnels(1)
	again, err := s.start(ctx, tui.Wish{Kind: tunnel.HTTP, Service: "3000", Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for again.Agent.Status().State != agent.Closed && ctx.Err() == nil {
		select {
		case <-again.Agent.Changed():
		case <-ctx.Done():
		}
	}
	var refused *tunnel.Error
	if err := again.Agent.Status().Err; !errors.As(err, &refused) || refused.Code != tunnel.CodeName {
		t.Errorf("a second tunnel of that name ended with %v, want that it is taken", err)
	}
	again.Stop()
	got.Stop()
	got.Stop() // the end does so once more
	tunnels(0)
	if _, err := s.start(ctx, tui.Wish{Kind: tunnel.HTTP, Service: "3001"}); err != nil {
		t.Fatal(err)
	}
	s.end()
	tunnels(0)
	if _, err := s.start(ctx, tui.Wish{Kind: tunnel.HTTP, Service: "3000"}); err == nil {
		t.Error("a tunnel was started after the end")
	}
}

// Without an edge of the person's own the tunnels are on one of this process,
// which other lroks find, and which finds those of other lroks.
func TestStarterOnItsOwnEdge(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"} {
		t.Setenv(name, t.TempDir())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o := &options{stdout: io.Discard, stderr: io.Discard, captureBody: "4MiB"}
	near := neighbours{o: o}
	defer near.close()
	if list := near.find(ctx); len(list) != 0 {
		t.Fatalf("%d edges are known at first, want none", len(list))
	}
	s := starter{o: o, near: &near}
	defer s.end()
	if _, err := s.start(ctx, tui.Wish{Kind: tunnel.TLS, Service: "8443"}); err == nil || !strings.Contains(err.Error(), "needs an edge") {
		t.Errorf("a TLS tunnel: %v, want that it needs an edge", err)
	}
	got, err := s.start(ctx, tui.Wish{Kind: tunnel.HTTP, Service: "3000"})
	if err != nil {
		t.Fatal(err)
	}
	st, ok := live(ctx, got.Agent.(*agent.Agent))
	if !ok {
		t.Fatal("the tunnel is not live")
	}
	if n := st.Welcome.Limits.CaptureBody; n != 4<<20 {
		t.Errorf("the edge keeps %d bytes of each body, want the 4 MiB that were asked for", n)
	}
	list := near.find(ctx)
	if len(list) != 1 || list[0] != got.Edge || !got.Edge.LocalOnly {
		t.Fatalf("found %v, want the edge of this process %v", list, got.Edge)
	}
	if ts, err := list[0].API.Tunnels(ctx); err != nil || len(ts) != 1 {
		t.Errorf("it lists %d tunnels (%v), want one", len(ts), err)
	}
	// The edge of another lrok is there while that is.
	_, _, stop, err := o.ownEdge(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// Both are of this process here, so there is one file; it is the last one's.
	if list := near.find(ctx); len(list) != 1 || list[0] == got.Edge {
		t.Errorf("found %v, want the other edge", list)
	}
	stop()
	if list := near.find(ctx); len(list) != 0 {
		t.Errorf("%d edges are found after the end", len(list))
	}
}
