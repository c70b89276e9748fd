package e2e

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// TestClosedTunnelIsSilent closes one of an agent's two tunnels while a WebSocket
// is open over each: it ends with its tunnel though the agent stays connected,
// and the other one goes on. What is released by the agent goes at once as well.
func TestClosedTunnelIsSilent(t *testing.T) {
	local := raw(t, func(c *net.TCPConn, br *bufio.Reader, _ string) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	for _, test := range []struct {
		by    string
		close func(ctx context.Context, api *client.Client, a *agent.Agent) error
		left  bool // the other tunnel
	}{
		{"owner", func(ctx context.Context, api *client.Client, _ *agent.Agent) error {
			return api.CloseTunnel(ctx, "one")
		}, true},
		{"administrator", func(ctx context.Context, api *client.Client, _ *agent.Agent) error {
			return api.AdminCloseTunnel(ctx, "one")
		}, true},
		{"agent", func(ctx context.Context, _ *client.Client, a *agent.Agent) error { return a.ReleaseAll(ctx) }, false},
	} {
		t.Run(test.by, func(t *testing.T) {
			t.Parallel()
			e, _ := newEdge(t, edge.Config{})
			a := newPair(t, e, local)
			key, _ := e.AdminKey()
			api := client.Over(a.DialAPI, key)
			t.Cleanup(api.Close)
			one, two := webSocket(t, e, "one.tun.test"), webSocket(t, e, "two.tun.test")
			if err := test.close(t.Context(), api, a); err != nil {
				t.Fatal(err)
			}
			_ = one.SetReadDeadline(time.Now().Add(patience))
			var ne net.Error
			if _, err := one.Read(make([]byte, 1)); err == nil || errors.As(err, &ne) && ne.Timeout() {
				t.Errorf("the WebSocket of the closed tunnel stays open: %v", err)
			}
			if !test.left {
				return
			}
			_, _ = io.WriteString(two, "ping")
			if _, err := io.ReadFull(two, make([]byte, 4)); err != nil {
				t.Errorf("the WebSocket of the tunnel that is left: %v", err)
			}
		})
	}
}

// newPair runs an agent with the tunnels one and two until the test ends.
func newPair(t *testing.T, e *edge.Edge, local string) *agent.Agent {
	t.Helper()
	target, err := agent.ParseTarget(local)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := e.AdminKey()
	c := agent.Config{
		Edge: e.ControlAddr(), TLS: e.ClientTLS(), Key: key, Instance: newInstance(), Software: "lrok test",
		Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
	}
	for _, name := range []string{"one", "two"} {
		c.Claims = append(c.Claims, tunnel.Claim{Kind: tunnel.HTTP, Name: name, Local: target.String()})
		c.Targets = append(c.Targets, target)
	}
	a, err := agent.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = a.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	online(t, a)
	return a
}

// webSocket returns a connection that has been upgraded and echoes.
func webSocket(t *testing.T, e *edge.Edge, host string) net.Conn {
	t.Helper()
	c := dialTCP(t, e.HTTPAddr())
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s: %v, %v, want 101", host, res, err)
	}
	_, _ = io.WriteString(c, "ping")
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return c
}
