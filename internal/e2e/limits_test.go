package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
)

// TestLimits goes to the limit of everything that an operator can set, and one
// step beyond it, on an edge that was told so.
func TestLimits(t *testing.T) {
	hello := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	}
	for _, test := range []struct {
		flag string
		set  func(*edge.Config)
		try  func(t *testing.T, r *rig)
	}{
		{"max-tunnels", func(c *edge.Config) { c.Limits.Tunnels = 1 }, func(t *testing.T, r *rig) {
			_, err := claims(t, r.edge, "one", "two")
			wantCode(t, err, tunnel.CodeLimit)
		}},
		{"max-user-tunnels", func(c *edge.Config) { c.Limits.UserTunnels = 2 }, func(t *testing.T, r *rig) {
			if _, err := claims(t, r.edge, "second"); err != nil {
				t.Fatalf("the second of two tunnels: %v", err)
			}
			_, err := claims(t, r.edge, "third")
			wantCode(t, err, tunnel.CodeLimit)
		}},
		{"max-agents", func(c *edge.Config) { c.Limits.Agents = 2 }, func(t *testing.T, r *rig) {
			if _, err := claims(t, r.edge, "second"); err != nil {
				t.Fatalf("the second of two agents: %v", err)
			}
			_, err := claims(t, r.edge, "third")
			wantCode(t, err, tunnel.CodeLimit)
		}},
		{"max-reservations", func(c *edge.Config) { c.Limits.Reservations = 1 }, func(t *testing.T, r *rig) {
			if _, err := r.api.Reserve(t.Context(), "first"); err != nil {
				t.Fatal(err)
			}
			_, err := r.api.Reserve(t.Context(), "second")
			wantCode(t, err, tunnel.CodeLimit)
		}},
		{"max-domains", func(c *edge.Config) { c.Limits.Domains = 1 }, func(t *testing.T, r *rig) {
			if _, err := r.api.AddDomain(t.Context(), "one.example.org"); err != nil {
				t.Fatal(err)
			}
			_, err := r.api.AddDomain(t.Context(), "two.example.org")
			wantCode(t, err, tunnel.CodeLimit)
		}},
		{"max-strangers-per-address", func(c *edge.Config) { c.Limits.StrangersPer = 2 }, func(t *testing.T, r *rig) {
			// The limit is on those whose key is not accepted yet: the agent of the
			// rig is none of them.
			for range 2 {
				silent(t, r.edge.ControlAddr())
			}
			wantClosed(t, silent(t, r.edge.ControlAddr()), patience)
		}},
		{"max-strangers", func(c *edge.Config) { c.Limits.Strangers = 1 }, func(t *testing.T, r *rig) {
			silent(t, r.edge.ControlAddr())
			wantClosed(t, silent(t, r.edge.ControlAddr()), patience)
		}},
		{"hello-timeout", func(c *edge.Config) { c.HelloTimeout = 8 * time.Second }, func(t *testing.T, r *rig) {
			began := time.Now()
			plain := silent(t, r.edge.ControlAddr())
			config := r.edge.ClientTLS()
			config.NextProtos = []string{tunnel.ALPN}
			c, err := tls.Dial("tcp", r.edge.ControlAddr(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			wantClosed(t, plain, patience)
			wantClosed(t, c, patience)
			if took := time.Since(began); took < 8*time.Second { // 5 s without the setting
				t.Errorf("a hello was waited for %v, want 8 s", took)
			}
		}},
		{"max-header", func(c *edge.Config) { c.Limits.Header = 1 << 10 }, func(t *testing.T, r *rig) {
			for size, want := range map[int]string{700: "HTTP/1.1 200 OK", 1100: "HTTP/1.1 431 Request Header Fields Too Large"} {
				got := r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nX-Long: "+strings.Repeat("a", size)+"\r\n\r\n")
				if statusLine(got) != want {
					t.Errorf("with %d bytes in a line: %s, want %s", size, statusLine(got), want)
				}
			}
		}},
		{"header-timeout", func(c *edge.Config) { c.HeaderTimeout = 200 * time.Millisecond }, func(t *testing.T, r *rig) {
			c, br := r.dial(t)
			r.send(t, c, "GET / HTTP/1.1\r\nHost: HO")
			b, _ := io.ReadAll(br)
			if want := "HTTP/1.1 408 Request Timeout"; statusLine(string(b)) != want {
				t.Errorf("half a head: %q, want %s", b, want)
			}
		}},
		{"idle-timeout", func(c *edge.Config) { c.IdleTimeout = 2 * time.Second }, func(t *testing.T, r *rig) {
			c, br := r.dial(t)
			r.send(t, c, "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n")
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(br)
			if err != nil || string(b) != "hello" {
				t.Errorf("an idle connection: %q, %v, want its body and the end", b, err)
			}
		}},
		{"max-connections", func(c *edge.Config) { c.Limits.Conns = 2 }, func(t *testing.T, r *rig) {
			connections(t, r)
		}},
		{"max-connections-per-address", func(c *edge.Config) { c.Limits.ConnsPer = 2 }, func(t *testing.T, r *rig) {
			connections(t, r)
		}},
		{"max-streams", func(c *edge.Config) { c.Limits.Streams = 2 }, streams},
		{"max-edge-streams", func(c *edge.Config) { c.Limits.EdgeStreams = 2 }, func(t *testing.T, r *rig) {
			streams(t, r)
			r.edge.SetLimits(edge.Limits{EdgeStreams: 1})
			hold(t, r, 1)
			wantTooManyStreams(t, r)
			r.edge.SetLimits(edge.Limits{})
			if got := r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"); bodyOf(got) != "hello" {
				t.Errorf("after the limit was raised: %q", got)
			}
		}},
		{"max-concurrent", func(c *edge.Config) { c.Limits.Concurrent = 7 }, func(t *testing.T, r *rig) {
			// That a connection is kept to what it was told is tested in forward.
			c := r.tls(t, "h2")
			_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			head := make([]byte, 9)
			if _, err := io.ReadFull(c, head); err != nil || head[3] != 4 {
				t.Fatalf("read % x, %v, want the edge's SETTINGS", head, err)
			}
			settings := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
			if _, err := io.ReadFull(c, settings); err != nil {
				t.Fatal(err)
			}
			const concurrent = "\x00\x03\x00\x00\x00\x07"
			if !strings.Contains(string(settings), concurrent) {
				t.Errorf("SETTINGS = % x, want % x among them", settings, concurrent)
			}
		}},
	} {
		t.Run(test.flag, func(t *testing.T) {
			t.Parallel()
			r := start(t, service(t, hello), func(c *rigConfig) { test.set(&c.edge) })
			test.try(t, r)
		})
	}
}

// TestLimitsChange lowers and raises limits of an edge that runs.
func TestLimitsChange(t *testing.T) {
	r := start(t, service(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	r.edge.SetLimits(edge.Limits{Agents: 1, Tunnels: 1, Reservations: 1})
	_, err := claims(t, r.edge, "late")
	wantCode(t, err, tunnel.CodeLimit)
	if got := r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"); bodyOf(got) != "hello" {
		t.Errorf("the tunnel that is there answers %q", got)
	}
	if _, err := r.api.Reserve(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	_, err = r.api.Reserve(t.Context(), "second")
	wantCode(t, err, tunnel.CodeLimit)
	r.edge.SetLimits(edge.Limits{})
	if _, err := claims(t, r.edge, "late"); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
	if _, err := r.api.Reserve(t.Context(), "second"); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
}

// TestTCPTunnelLimit opens one more connection to a TCP tunnel than it may have.
func TestTCPTunnelLimit(t *testing.T) {
	r, host, port := startTCP(t, tcpService(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) }), func(c *rigConfig) { c.edge.Limits.TCPTunnel = 2 })
	echo := func() error {
		c := dialTCP(t, net.JoinHostPort(host, port))
		_, _ = io.WriteString(c, "x")
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	for i := range 2 {
		if err := echo(); err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
	}
	c, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err == nil { // the reset may come first
		wantClosed(t, c, patience)
		_ = c.Close()
	}
	eventually(t, "the third is refused and says why", func() bool {
		xs := r.connections(t)
		return len(xs) == 1 && xs[0].Error == tunnel.CodeLimit
	})
	r.edge.SetLimits(edge.Limits{TCPTunnel: 3})
	if err := echo(); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
}

// hold begins n requests that go on until the test ends or release is called.
func hold(t *testing.T, r *rig, n int) (release func()) {
	t.Helper()
	var held []net.Conn
	for range n {
		c, _ := r.dial(t)
		r.send(t, c, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\n")
		held = append(held, c)
	}
	eventually(t, "all requests are in flight", func() bool {
		xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{Filter: "is:inflight"})
		return err == nil && len(xs) == n
	})
	return func() {
		for _, c := range held {
			_ = c.Close()
		}
	}
}

// streams takes the two that an edge allows, and asks for one more.
func streams(t *testing.T, r *rig) {
	t.Helper()
	release := hold(t, r, 2)
	wantTooManyStreams(t, r)
	release()
	eventually(t, "there is room again", func() bool {
		status, _, _, err := tryGetHost(r.edge.HTTPAddr(), r.host, "/")
		return err == nil && status == http.StatusOK
	})
}

func wantTooManyStreams(t *testing.T, r *rig) {
	t.Helper()
	got := r.exchange(t, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
	if want := "HTTP/1.1 503 Service Unavailable"; statusLine(got) != want || !strings.Contains(got, "Lrok-Error-Code: "+tunnel.CodeTooManyStreams) {
		t.Errorf("one request more is answered %q, want %s and %s", got, want, tunnel.CodeTooManyStreams)
	}
	if !strings.Contains(got, "Retry-After: ") {
		t.Errorf("the answer says not when to try again: %q", got)
	}
}

// claims runs an agent with these tunnels until the test ends, and returns its
// grants or why there are none.
func claims(t testing.TB, e *edge.Edge, names ...string) ([]tunnel.Grant, error) {
	t.Helper()
	key, _ := e.AdminKey()
	hello := tunnel.Hello{Software: "lrok test", Instance: newInstance(), Key: key}
	for _, name := range names {
		hello.Claims = append(hello.Claims, tunnel.Claim{Kind: tunnel.HTTP, Name: name, Local: "http://localhost:1"})
	}
	conn, err := net.Dial("tcp", e.ControlAddr())
	if err != nil {
		t.Fatal(err)
	}
	s, err := tunnel.Connect(t.Context(), conn, &tunnel.AgentConfig{TLS: e.ClientTLS(), Serve: func(st *tunnel.Stream) { _ = st.Close() }}, hello)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(t.Context())
	}()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s.Welcome().Grants, nil
}

// connections opens one more connection than the two that an edge allows, each
// in the middle of a request so that none can make room.
func connections(t *testing.T, r *rig) {
	t.Helper()
	var held []net.Conn
	for range 2 {
		c, _ := r.dial(t)
		r.send(t, c, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\n")
		held = append(held, c)
	}
	eventually(t, "both requests are in flight", func() bool {
		xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{Filter: "is:inflight"})
		return err == nil && len(xs) == 2
	})
	c, _ := r.dial(t)
	r.send(t, c, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(c); err == nil && strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("the third connection is answered: %s", statusLine(string(b)))
	}
	for i, c := range held {
		r.send(t, c, "x")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("connection %d, which was there: %v, %v", i+1, res, err)
		}
		_ = c.Close()
	}
	eventually(t, "there is room again", func() bool {
		status, _, _, err := tryGetHost(r.edge.HTTPAddr(), r.host, "/")
		return err == nil && status == http.StatusOK
	})
}

// silent is a connection that says nothing.
func silent(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantClosed fails unless the other side closes c within limit.
func wantClosed(t testing.TB, c net.Conn, limit time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(limit))
	_, err := io.ReadAll(c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("the connection is open after %v", limit)
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	var e *tunnel.Error
	if !errors.As(err, &e) || e.Code != code || e.Message == "" {
		t.Errorf("error = %v, want one of code %s", err, code)
	} else if e.Hint == "" {
		t.Errorf("%q says not what to do", fmt.Sprint(e))
	}
}
