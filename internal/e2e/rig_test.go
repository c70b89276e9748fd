// Package e2e drives a whole edge and a whole agent over real sockets, from
// outside, as their users do.
package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if binaryDir != "" {
			_ = os.RemoveAll(binaryDir)
		}
		os.Exit(code)
	}))
}

// patience is how long anything that should happen may take on a busy machine.
const patience = 20 * time.Second

// A rig is an edge with an agent and its tunnel "shop".
type rig struct {
	edge  *edge.Edge
	agent *agent.Agent
	api   *client.Client
	grant tunnel.Grant
	host  string

	stopEdge func()
}

type rigConfig struct {
	edge  edge.Config
	claim tunnel.Claim
	agent agent.Config
}

// newEdge runs an edge until the test ends or stop is called.
func newEdge(t testing.TB, c edge.Config) (e *edge.Edge, stop func()) {
	t.Helper()
	if c.DataDir == "" {
		c.DataDir = t.TempDir()
	}
	if c.Domain == "" {
		c.Domain = "tun.test"
	}
	for _, l := range []*string{&c.HTTP, &c.HTTPS, &c.Control, &c.Internal} {
		if *l == "" {
			*l = "127.0.0.1:0"
		}
	}
	c.Software = "lrok test"
	if c.DrainTimeout == 0 {
		c.DrainTimeout = time.Second
	}
	c.Logger = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	e, err := edge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx, nil); err != nil {
			t.Errorf("edge: %v", err)
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(stop)
	return e, stop
}

// logWriter puts log lines into the test's log while it runs.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func newInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newAgent runs an agent for local on e until the test ends or stop is called.
func newAgent(t testing.TB, e *edge.Edge, local string, c rigConfig) (a *agent.Agent, ended <-chan error, stop func()) {
	t.Helper()
	target, err := agent.ParseTarget(local)
	if err != nil {
		t.Fatal(err)
	}
	if c.claim.Kind == "" {
		c.claim.Kind = tunnel.HTTP
	}
	if c.claim.Name == "" {
		c.claim.Name = "shop"
	}
	c.claim.Local = target.String()
	key, _ := e.AdminKey()
	ac := c.agent
	if ac.Edge == "" {
		ac.Edge = e.ControlAddr()
	}
	if ac.Key == "" {
		ac.Key = key
	}
	if ac.Instance == "" {
		ac.Instance = newInstance()
	}
	ac.TLS = e.ClientTLS()
	ac.Software = "lrok test"
	ac.Claims, ac.Targets = []tunnel.Claim{c.claim}, []agent.Target{target}
	ac.Logger = slog.New(slog.NewTextHandler(logWriter{t}, nil))
	a, err = agent.New(ac)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { done <- a.Run(ctx) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(stop)
	return a, done, stop
}

// start runs an edge and an agent for the service at local.
func start(t testing.TB, local string, configure ...func(*rigConfig)) *rig {
	t.Helper()
	var c rigConfig
	for _, f := range configure {
		f(&c)
	}
	e, stop := newEdge(t, c.edge)
	a, _, _ := newAgent(t, e, local, c)
	key, _ := e.AdminKey()
	r := &rig{edge: e, agent: a, stopEdge: stop, api: client.Over(a.DialAPI, key)}
	t.Cleanup(r.api.Close)
	r.grant = online(t, a)
	r.host = strings.TrimPrefix(r.grant.URL, "https://")
	r.host, _, _ = strings.Cut(r.host, ":")
	return r
}

// online waits until the agent's tunnel is live.
func online(t testing.TB, a *agent.Agent) tunnel.Grant {
	t.Helper()
	var g tunnel.Grant
	eventually(t, "the tunnel is live", func() bool {
		s := a.Status()
		if s.State == agent.Online && len(s.Welcome.Grants) > 0 {
			g = s.Welcome.Grants[0]
			return true
		}
		return false
	})
	return g
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", what)
		}
		<-tick.C
	}
}

// service runs an HTTP service for the length of the test.
func service(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return l.Addr().String()
}

// raw runs a service of bytes: f gets each connection and the head of its first
// request, and the connection is closed when it returns.
func raw(t testing.TB, f func(c *net.TCPConn, br *bufio.Reader, head string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				br := bufio.NewReaderSize(c, 128<<10)
				head, err := readHead(br)
				if err == nil {
					f(c.(*net.TCPConn), br, head)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func readHead(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// dial returns a connection to the public HTTP side.
func (r *rig) dial(t testing.TB) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", r.edge.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn), bufio.NewReaderSize(c, 128<<10)
}

// send writes a request in which HOST stands for the tunnel's host.
func (r *rig) send(t testing.TB, c net.Conn, request string) {
	t.Helper()
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "HOST", r.host)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// exchange sends one request on a connection of its own and returns all bytes
// of the answer until the edge closes.
func (r *rig) exchange(t testing.TB, request string) string {
	t.Helper()
	c, br := r.dial(t)
	r.send(t, c, request)
	b, err := io.ReadAll(br)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && len(b) == 0 {
		t.Fatalf("read answer: %v", err)
	}
	return string(b)
}

// last waits until the newest exchange has ended and returns it whole.
func (r *rig) last(t testing.TB) inspector.Exchange {
	t.Helper()
	var x inspector.Exchange
	eventually(t, "the newest exchange ends", func() bool {
		xs, err := r.api.Requests(t.Context(), r.grant.Name, client.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(xs) == 0 || xs[0].State != inspector.Done {
			return false
		}
		x, err = r.api.Exchange(t.Context(), xs[0].ID)
		return err == nil
	})
	return x
}

// tls returns a connection to the public HTTPS side that offers protos.
func (r *rig) tls(t testing.TB, protos ...string) *tls.Conn {
	t.Helper()
	config := r.edge.ClientTLS()
	config.ServerName = r.host
	config.NextProtos = protos
	c, err := tls.Dial("tcp", r.edge.HTTPSAddr(), config)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// h2 returns a client that speaks HTTP/2 to the tunnel whatever the URL's host.
func (r *rig) h2(t testing.TB) *http.Client {
	t.Helper()
	config := r.edge.ClientTLS()
	config.ServerName = r.host
	tr := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", r.edge.HTTPSAddr())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func statusLine(answer string) string {
	line, _, _ := strings.Cut(answer, "\r\n")
	return line
}

func headOf(answer string) string {
	head, _, _ := strings.Cut(answer, "\r\n\r\n")
	return head + "\r\n"
}

func bodyOf(answer string) string {
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	return body
}

// wantLine fails unless head holds line, byte for byte.
func wantLine(t testing.TB, head, line string) {
	t.Helper()
	if !strings.Contains(head, "\r\n"+line+"\r\n") {
		t.Errorf("there is no line %q in\n%s", line, head)
	}
}

func wantNone(t testing.TB, head, part string) {
	t.Helper()
	if strings.Contains(strings.ToLower(head), strings.ToLower(part)) {
		t.Errorf("%q should not be in\n%s", part, head)
	}
}
