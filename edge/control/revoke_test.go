package control

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// TestRevokedKey ends the sessions of that key and their streams, and no others.
func TestRevokedKey(t *testing.T) {
	e := newEdge(t, nil)
	st := e.store
	admin, _, err := st.Authenticate(t.Context(), e.key)
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := st.CreateKey(t.Context(), admin.ID, admin.ID, "laptop", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	stays := e.mustConnect(e.hello(1, shop()))
	h := e.hello(2, tunnel.Claim{Kind: tunnel.HTTP, Name: "wiki", Local: "http://localhost:3000"})
	h.Key = secret
	goes := e.mustConnect(h)
	within(t, "live", stays.live)
	within(t, "live", goes.live)
	wiki, _ := e.registry.Lookup("wiki.lrok.example")
	stream, err := wiki.Open(tunnel.Peer{Tunnel: "wiki", Kind: tunnel.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.WriteString(stream, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(stream, got); err != nil || !bytes.Equal(got, []byte("hello")) {
		t.Fatalf("before: read %q, %v", got, err)
	}

	if err := st.RevokeKey(t.Context(), admin.ID, admin.ID, key.ID); err != nil {
		t.Fatal(err)
	}
	err = within(t, "the agent ends", goes.ended)
	goes.ended <- err
	if code(err) != tunnel.CodeKey {
		t.Errorf("the agent ended with %v, want code %s", err, tunnel.CodeKey)
	}
	if _, err := io.ReadFull(stream, got); err == nil {
		t.Error("a stream of the revoked key reads on")
	}
	until(t, "the tunnel is offline", func() bool { return !wiki.Online() })
	if _, err := e.connect(h); code(err) != tunnel.CodeKey {
		t.Errorf("the agent's next hello = %v, want code %s", err, tunnel.CodeKey)
	}
	if tn, _ := e.registry.Lookup("shop.lrok.example"); !tn.Online() || stays.Err() != nil {
		t.Errorf("the agent with another key is gone too: %v", stays.Err())
	}
	if n := strings.Count(e.logs.String(), "does not work any more"); n != 1 {
		t.Errorf("%d log lines about it, want 1", n)
	}
}

// TestExpiredKey ends a session as well as a revoked one.
func TestExpiredKey(t *testing.T) {
	e := newEdge(t, nil)
	st := e.store
	admin, _, err := st.Authenticate(t.Context(), e.key)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := st.CreateKey(t.Context(), admin.ID, admin.ID, "for an hour", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	h := e.hello(1, shop())
	h.Key = secret
	a := e.mustConnect(h)
	e.later.Store(int64(2 * time.Hour))
	err = within(t, "the agent ends", a.ended)
	a.ended <- err
	if code(err) != tunnel.CodeKey {
		t.Errorf("the agent ended with %v, want code %s", err, tunnel.CodeKey)
	}
}
