package e2e

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// TestBrokenStore damages the state of an edge that runs: it says so to whoever
// asks, refuses what it could not keep, and its tunnels go on.
func TestBrokenStore(t *testing.T) {
	dir := t.TempDir()
	r := start(t, says(t, "hello"), func(c *rigConfig) { c.edge = edge.Config{DataDir: dir} })
	ready := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + r.edge.InternalAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	if status, text := ready("/readyz"); status != http.StatusOK || !strings.Contains(text, "ok store\n") {
		t.Fatalf("before: %d %q", status, text)
	}
	if _, err := r.api.CreateKey(t.Context(), client.KeyRequest{Name: "before"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{store.FileName, store.FileName + "-wal"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte("broken! "), int(info.Size())/8), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the edge notices", func() bool {
		_, err := r.api.Reserve(t.Context(), "after")
		if err == nil {
			return false
		}
		wantCode(t, err, tunnel.CodeUnavailable)
		return true
	})
	status, text := ready("/readyz")
	if status != http.StatusOK || !strings.Contains(text, "\ndegraded store: ") || !strings.Contains(text, store.FileName) {
		t.Errorf("/readyz: %d %q, want 200 and a degraded store with its file", status, text)
	}
	if status, text := ready("/readyz/store"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz/store: %d %q, want 503", status, text)
	}
	if got := r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"); bodyOf(got) != "hello" {
		t.Errorf("the tunnel answers %q", got)
	}
	if me, err := r.api.Me(t.Context()); err != nil || me.ID == "" {
		t.Errorf("the key of the tunnel: %v, %v", me, err)
	}
	if _, err := claims(t, r.edge, "late"); err != nil {
		t.Errorf("another agent of the same key: %v", err)
	}
}
