package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

// TestEndedKeyEndsStreams has streams open while their keys are revoked, expire
// or lose their user.
func TestEndedKeyEndsStreams(t *testing.T) {
	for name, end := range map[string]func(f *fixture, k store.Key) error{
		"revoked": func(f *fixture, k store.Key) error {
			return f.store.RevokeKey(f.t.Context(), f.ada.ID, f.ada.ID, k.ID)
		},
		"expired": func(f *fixture, k store.Key) error {
			f.later.Add(int64(time.Hour))
			return nil
		},
		"user gone": func(f *fixture, k store.Key) error {
			return f.store.RemoveUser(f.t.Context(), f.root.ID, f.ada.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			k, secret, err := f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Now().Add(2*time.Hour+30*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			f.keys["ci"] = secret
			resp := f.send("ci", "GET", "/me/tunnels/shop/requests/stream", "")
			other := f.send("bob", "GET", "/me/tunnels/bobs/requests/stream", "")
			if resp.StatusCode != 200 || other.StatusCode != 200 {
				t.Fatalf("streams: %d and %d, want both open", resp.StatusCode, other.StatusCode)
			}
			if err := end(f, k); err != nil {
				t.Fatal(err)
			}
			if s, err := io.ReadAll(resp.Body); err == nil && strings.Contains(string(s), "closed") {
				t.Errorf("the stream says %q, as if the tunnel were gone", s)
			}
			refused(t, f.send("ci", "GET", "/me/tunnels/shop/requests/stream", ""), 401, tunnel.CodeKey)
			// Nobody else's ended with it.
			rec := f.shop
			if tn, ok := f.registry.Tunnel("bobs"); ok {
				rec = tn
			}
			rec.Ring.Begin(inspector.Start{Head: []byte("GET / HTTP/1.1\r\n\r\n"), Accepted: time.Now()}).End(inspector.Ending{})
			lines := bufio.NewScanner(other.Body)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "event: request") {
			}
			if err := lines.Err(); err != nil {
				t.Errorf("another user's stream: %v", err)
			}
		})
	}
}

// TestEndedKeyAndTunnel: the tunnel of a key that was revoked ends with the agent
// that had the key, which is not what its watcher has to know.
func TestEndedKeyAndTunnel(t *testing.T) {
	f := newFixture(t)
	k, secret, err := f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	f.keys["ci"] = secret
	resp := f.send("ci", "GET", "/me/tunnels/shop/requests/stream", "")
	if err := f.store.RevokeKey(t.Context(), f.ada.ID, f.ada.ID, k.ID); err != nil {
		t.Fatal(err)
	}
	f.shop.Ring.Close()
	if s, _ := io.ReadAll(resp.Body); strings.Contains(string(s), "closed") {
		t.Errorf("the stream says %q, as if only the tunnel were gone", s)
	}
}

// TestEndedKeyEndsWatcher is lrok's own client on an agent's connection: it does
// not try again with a key that was refused.
func TestEndedKeyEndsWatcher(t *testing.T) {
	f := newFixture(t)
	k, secret, err := f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	c := client.Over(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", strings.TrimPrefix(f.url, "http://"))
	}, secret)
	defer c.Close()
	err = c.Stream(t.Context(), "shop", client.StreamOptions{}, func(inspector.Event) error {
		return f.store.RevokeKey(t.Context(), f.ada.ID, f.ada.ID, k.ID)
	})
	var e *tunnel.Error
	if !errors.As(err, &e) || e.Code != tunnel.CodeKey {
		t.Errorf("Stream = %v, want code %s", err, tunnel.CodeKey)
	}
}

// TestEndedKeyEndsWrites has a caller who does not read, so that the edge is in
// the middle of a write.
func TestEndedKeyEndsWrites(t *testing.T) {
	f := newFixture(t)
	k, secret, err := f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		f.api.ServeHTTP(w, r)
	}), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		return ctx
	}}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := io.WriteString(c, "GET "+prefix+"/me/tunnels/shop/requests/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+secret+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	// More than any buffer on the way holds.
	stop := make(chan struct{})
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f.capture("GET", "/"+strings.Repeat("x", 8000), "", 200, "text/plain", "")
		}
	}()
	if err := f.store.RevokeKey(t.Context(), f.ada.ID, f.ada.ID, k.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("the handler still writes %v after the key was revoked", patience)
	}
	close(stop)
	<-filled
}

// TestEndedKeyEndsReplay revokes the key while a replay's answer is waited for.
func TestEndedKeyEndsReplay(t *testing.T) {
	f := newFixtureOf(t, store.Options{}, func(c *Config) { c.ReplayWait = 10 * patience })
	k, secret, err := f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	f.keys["ci"] = secret
	for name, replay := range map[string]func(context.Context, *registry.Tunnel, inspector.Exchange) (string, error){
		"not sent yet": func(ctx context.Context, _ *registry.Tunnel, _ inspector.Exchange) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		},
		"sent": func(_ context.Context, t *registry.Tunnel, x inspector.Exchange) (string, error) {
			return t.Ring.Begin(inspector.Start{Head: x.Request.Head, ReplayOf: x.ID, Accepted: time.Now()}).ID(), nil
		},
	} {
		if name == "sent" {
			k, f.keys["ci"], err = f.store.CreateKey(t.Context(), f.root.ID, f.ada.ID, "ci", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
		}
		f.replayer.replay = func(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
			if err := f.store.RevokeKey(ctx, f.ada.ID, f.ada.ID, k.ID); err != nil {
				return "", err
			}
			return replay(ctx, t, x)
		}
		began := time.Now()
		refused(t, f.send("ci", "POST", "/me/requests/"+f.id+"/replay", ""), 401, tunnel.CodeKey)
		if took := time.Since(began); took > patience {
			t.Errorf("%s: the replay was given up after %v, want it at once", name, took)
		}
	}
}

// TestLocalKeyStreams: the key of the edge's own machine lives as long as the
// edge, and has no captures to watch.
func TestLocalKeyStreams(t *testing.T) {
	f := newFixture(t)
	if !f.store.Working(mustKey(t, f, "local").ID) {
		t.Error("the store does not know its own local key")
	}
	if me, err := f.client("local").Me(t.Context()); err != nil || me.ID != store.Local || !me.Admin {
		t.Errorf("Me = %+v, %v, want an administrator called %s", me, err, store.Local)
	}
	var e *tunnel.Error
	if _, err := f.client("local").Reserve(t.Context(), "mine"); !errors.As(err, &e) || e.Code != tunnel.CodeForbidden {
		t.Errorf("Reserve = %v, want code %s", err, tunnel.CodeForbidden)
	}
}

func mustKey(t *testing.T, f *fixture, who string) store.Key {
	t.Helper()
	_, k, err := f.store.Authenticate(t.Context(), f.keys[who])
	if err != nil {
		t.Fatal(err)
	}
	return k
}
