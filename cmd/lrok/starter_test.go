package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
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

	s := starter{o: o, r: r}
	if _, err := s.start(ctx, tunnel.TCP, "http://localhost:80"); err == nil {
		t.Error("a TCP tunnel to a URL was started")
	}
	got, err := s.start(ctx, tunnel.HTTP, strings.TrimPrefix(service.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Name == "" || got.Local != service.URL {
		t.Errorf("started %+v, want a name and %s", got, service.URL)
	}
	if !s.has([]tui.Tunnel{got}) || s.has([]tui.Tunnel{got, {Name: "another"}}) || s.has(nil) {
		t.Error("the starter does not know its own tunnels")
	}
	res, err := http.Get(got.Direct)
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
	if list, err := api.Tunnels(ctx); err != nil || len(list) != 1 {
		t.Errorf("the edge lists %d tunnels (%v), want the one", len(list), err)
	}
	s.end()
	if list, err := api.Tunnels(ctx); err != nil || len(list) != 0 {
		t.Errorf("the edge lists %d tunnels (%v), want none once the screen is gone", len(list), err)
	}
	if _, err := s.start(ctx, tunnel.HTTP, "3000"); err == nil {
		t.Error("a tunnel was started after the end")
	}
}

// An edge that is not there is told, and does not keep the person waiting.
func TestStarterWithoutAnEdge(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	s := starter{o: &options{stdout: io.Discard, stderr: io.Discard}, r: &reach{Edge: addr, Key: "lrok_none"}}
	if _, err := s.start(context.Background(), tunnel.HTTP, "3000"); err == nil || !strings.Contains(err.Error(), "cannot reach the edge") {
		t.Errorf("start = %v, want that the edge cannot be reached", err)
	}
}
