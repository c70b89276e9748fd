package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/api"
	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// patience is how long a test waits for what must come: a busy machine is slow, and
// what does not come at all fails a little later.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An edge is a control server with all that it needs, on a real socket.
type edge struct {
	store    *store.Store
	t        *testing.T
	server   *Server
	registry *registry.Registry
	addr     string
	key      string
	tls      *tls.Config // an agent's
	logs     *syncBuffer
	later    atomic.Int64 // what the clock of store and registry is ahead
	still    atomic.Int64 // where that clock stands, in Unix nanoseconds; 0 while it does not
	stop     func() error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newEdge(t *testing.T, change func(*Config)) *edge {
	t.Helper()
	dir := t.TempDir()
	ca, err := certs.OpenDev(dir, "lrok.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{
		t:    t,
		tls:  &tls.Config{RootCAs: ca.Pool(), ServerName: "tunnel.lrok.example"},
		logs: &syncBuffer{},
	}
	now := func() time.Time {
		if at := e.still.Load(); at != 0 {
			return time.Unix(0, at)
		}
		return time.Now().Add(time.Duration(e.later.Load()))
	}
	st, _, err := store.Open(dir, store.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	e.store, e.key = st, st.AdminKey()
	e.registry = registry.New(registry.Config{Domain: "lrok.example", Now: now})
	cfg := Config{
		TLS: certs.Config(ca), Store: st, Registry: e.registry, Software: "lrok edge",
		API: "https://api.lrok.example", Limits: tunnel.Limits{Streams: 64, Ring: 100},
		Hello:  patience, // many at once take their time
		Logger: slog.New(slog.NewTextHandler(e.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	e.server = New(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var served error
	wg.Go(func() { served = e.server.Serve(ctx, ln) })
	wg.Go(func() { _ = e.registry.Run(ctx) })
	e.stop = sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		return served
	})
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if strings.Contains(e.logs.String(), e.key[9:]) {
			t.Error("the key is in the log")
		}
	})
	return e
}

func (e *edge) hello(instance byte, claims ...tunnel.Claim) tunnel.Hello {
	return tunnel.Hello{
		Software: "lrok test", Instance: strings.Repeat(fmt.Sprintf("%02x", instance), 16),
		Key: e.key, Host: "laptop", Claims: claims,
	}
}

func shop() tunnel.Claim {
	return tunnel.Claim{Kind: tunnel.HTTP, Name: "shop", Local: "http://localhost:3000"}
}

// An agent is a connected one.
type agent struct {
	*tunnel.Session
	live    chan struct{}
	drained chan string
	ended   chan error
}

func (e *edge) dial() net.Conn {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	return conn
}

// connect dials as an agent. Its streams are answered by echo.
func (e *edge) connect(h tunnel.Hello) (*agent, error) {
	e.t.Helper()
	return e.connectConn(e.dial(), h)
}

func (e *edge) connectConn(conn net.Conn, h tunnel.Hello) (*agent, error) {
	a := &agent{live: make(chan struct{}), drained: make(chan string, 1), ended: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	s, err := tunnel.Connect(ctx, conn, &tunnel.AgentConfig{
		TLS: e.tls,
		Serve: func(s *tunnel.Stream) {
			defer s.Close()
			_ = s.Connected(0)
			_, _ = io.Copy(s, s)
			_ = s.CloseWrite()
		},
		Live:  func() { close(a.live) },
		Drain: func(reason string) { a.drained <- reason },
	}, h)
	if err != nil {
		return nil, err
	}
	a.Session = s
	go func() { a.ended <- s.Run(context.Background()) }()
	e.t.Cleanup(func() {
		_ = s.Close()
		select {
		case <-a.ended:
		case <-time.After(patience):
			e.t.Error("an agent's session does not end")
		}
	})
	return a, nil
}

func (e *edge) mustConnect(h tunnel.Hello) *agent {
	e.t.Helper()
	a, err := e.connect(h)
	if err != nil {
		e.t.Fatalf("connect: %v", err)
	}
	return a
}

// within waits for something, and says what it waited for.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("unreachable")
	}
}

// until waits for a condition that something else brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

func code(err error) string {
	var e *tunnel.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestSession(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	w := a.Welcome()
	if len(w.Grants) != 1 || w.Grants[0].Name != "shop" || w.Grants[0].URL != "https://shop.lrok.example" {
		t.Errorf("grants = %+v, want shop", w.Grants)
	}
	if w.API != "https://api.lrok.example" || w.User != "admin" || w.Session == "" || w.Limits.Streams != 64 || w.Software != "lrok edge" {
		t.Errorf("welcome = %+v", w)
	}
	within(t, "the tunnel is live", a.live)
	tn, ok := e.registry.Lookup("shop.lrok.example")
	if !ok || tn.Machine() != "laptop" || tn.Remote() == "" {
		t.Fatalf("tunnel = %v, want shop of laptop", tn)
	}
	c, err := tn.Open(tunnel.Peer{Tunnel: "shop", Addr: "203.0.113.7:1", Kind: tunnel.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("echo = %q, %v, want hello", b, err)
	}
	_ = c.Close()
	if n := e.server.Agents(); n != 1 {
		t.Errorf("%d agents, want 1", n)
	}
	_ = a.Close()
	until(t, "the tunnel is offline", func() bool { return !tn.Online() })
	if _, ok := e.registry.Lookup("shop.lrok.example"); !ok {
		t.Error("the tunnel is gone, want it to wait for its agent")
	}
	if _, err := tn.Open(tunnel.Peer{}); code(err) != tunnel.CodeAgentOffline {
		t.Errorf("Open = %v, want code %s", err, tunnel.CodeAgentOffline)
	}
	until(t, "the agent is forgotten", func() bool { return e.server.Agents() == 0 })
}

// An agent that gives its tunnels back before it goes has ended in order; of one
// that just goes the log says why.
func TestGoneAgentInTheLog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(*agent) error
		err   bool
	}{
		{"in order", func(a *agent) error {
			if err := a.Release("shop"); err != nil {
				return err
			}
			if _, err := a.Ping(t.Context()); err != nil {
				return err
			}
			return a.Close()
		}, false},
		{"with its tunnel", func(a *agent) error { return a.Close() }, true},
	} {
		e := newEdge(t, nil)
		a := e.mustConnect(e.hello(1, shop()))
		within(t, "the tunnel is live", a.live)
		if err := tt.leave(a); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var line string
		until(t, "the log says that the agent is gone", func() bool {
			_, rest, ok := strings.Cut(e.logs.String(), `msg="agent gone"`)
			line, _, _ = strings.Cut(rest, "\n")
			return ok && strings.HasSuffix(rest, "\n")
		})
		if got := strings.Contains(line, "err="); got != tt.err {
			t.Errorf("an agent that goes %s is logged as %q; with err: %t, want %t", tt.name, line, got, tt.err)
		}
	}
}

// TestNotLiveWithoutProbe has an agent whose answers do not arrive: it is never
// told that its tunnel is live, and is sent away.
func TestNotLiveWithoutProbe(t *testing.T) {
	e := newEdge(t, nil)
	e.server.probe = 300 * time.Millisecond
	conn := &muted{Conn: e.dial()}
	var live atomic.Bool
	s, err := tunnel.Connect(t.Context(), conn, &tunnel.AgentConfig{
		TLS:    e.tls,
		Secure: func() { conn.left.Store(1) }, // what says hello
		Live:   func() { live.Store(true) },
	}, e.hello(1, shop()))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	within(t, "the session ends", ended)
	if live.Load() {
		t.Error("the agent was told that its tunnel is live, and no stream had come through")
	}
	until(t, "the tunnel is offline", func() bool {
		tn, ok := e.registry.Lookup("shop.lrok.example")
		return ok && !tn.Online()
	})
}

// A muted conn sends nothing any more after left writes, once left is set.
type muted struct {
	net.Conn
	left atomic.Int32
	mute atomic.Bool
}

func (c *muted) Write(p []byte) (int, error) {
	if c.mute.Load() {
		return len(p), nil
	}
	if c.left.Load() > 0 && c.left.Add(-1) == 0 {
		c.mute.Store(true)
	}
	return c.Conn.Write(p)
}

func TestHelloRefused(t *testing.T) {
	e := newEdge(t, nil)
	with := func(f func(*tunnel.Hello)) tunnel.Hello {
		h := e.hello(1, shop())
		f(&h)
		return h
	}
	for _, test := range []struct {
		name  string
		hello tunnel.Hello
		code  string
	}{
		{"no key", with(func(h *tunnel.Hello) { h.Key = "" }), tunnel.CodeKey},
		{"mistyped key", with(func(h *tunnel.Hello) { h.Key = h.Key[:40] + "!" }), tunnel.CodeKey},
		{"unknown key", with(func(h *tunnel.Hello) { h.Key = store.NewKey() }), tunnel.CodeKey},
		{"no instance", with(func(h *tunnel.Hello) { h.Instance = "" }), tunnel.CodeBadHello},
		{"strange instance", with(func(h *tunnel.Hello) { h.Instance = "me" }), tunnel.CodeBadHello},
		{"reserved name", with(func(h *tunnel.Hello) { h.Claims[0].Name = "api" }), tunnel.CodeNameInvalid},
		{"kind of tomorrow", with(func(h *tunnel.Hello) { h.Claims[0].Kind = "quic" }), tunnel.CodeUnsupported},
	} {
		_, err := e.connect(test.hello)
		var te *tunnel.Error
		if !errors.As(err, &te) || te.Code != test.code || te.Hint == "" {
			t.Errorf("%s: %v, want code %s with a hint", test.name, err, test.code)
		}
	}
	if ts := e.registry.Tunnels(""); len(ts) != 0 {
		t.Errorf("%d tunnels after refusals only, want none", len(ts))
	}
	until(t, "nobody is inside", func() bool { return e.server.Agents() == 0 })
}

// TestOldAgent speaks a protocol of before the first version.
func TestOldAgent(t *testing.T) {
	e := newEdge(t, nil)
	h := e.hello(1, shop())
	body, err := json.Marshal(h) // version 0: Connect would set it
	if err != nil {
		t.Fatal(err)
	}
	w, err := e.raw(append(binary.BigEndian.AppendUint32([]byte{1}, uint32(len(body))), body...))
	if err != nil {
		t.Fatal(err)
	}
	if w.Error == nil || w.Error.Code != tunnel.CodeVersion || !strings.Contains(w.Error.Hint, "update lrok") {
		t.Errorf("answer = %+v, want code %s and what to update", w, tunnel.CodeVersion)
	}
}

// raw sends bytes after the TLS handshake and reads a welcome.
func (e *edge) raw(b []byte) (tunnel.Welcome, error) {
	var w tunnel.Welcome
	config := e.tls.Clone()
	config.NextProtos = []string{tunnel.ALPN}
	c, err := tls.Dial("tcp", e.addr, config)
	if err != nil {
		return w, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); err != nil {
		return w, err
	}
	var n [4]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return w, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(n[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return w, err
	}
	return w, json.Unmarshal(answer, &w)
}

// TestHostileHellos are connections that are no agent's. None of them keeps an
// agent out, and all are gone within the time that a hello has.
func TestHostileHellos(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Hello = tunnel.HelloTimeout })
	garbage := bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 64)
	frame := func(n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{1}, n), body...)
	}
	var wg sync.WaitGroup
	gone := func(name string, c net.Conn) {
		wg.Go(func() {
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			_, err := io.Copy(io.Discard, c)
			if errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s: still connected after %v", name, patience)
			}
		})
	}
	plain := func(name string, b []byte) {
		c := e.dial()
		_, _ = c.Write(b)
		gone(name, c)
	}
	secret := func(name string, b []byte) {
		config := e.tls.Clone()
		config.NextProtos = []string{tunnel.ALPN}
		c, err := tls.Dial("tcp", e.addr, config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		_, _ = c.Write(b)
		gone(name, c)
	}
	plain("silent", nil)
	plain("HTTP without TLS", garbage)
	plain("half a ClientHello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	secret("silent in TLS", nil)
	secret("garbage", garbage)
	secret("half a length", []byte{1, 0, 0})
	secret("huge length", frame(0xffffffff, ""))
	secret("one byte too long", frame(tunnel.MaxHello+1, strings.Repeat("x", tunnel.MaxHello+1)))
	secret("half a body", frame(100, "{"))
	secret("not JSON", frame(5, "hello"))
	secret("wrong types", frame(15, `{"version":"1"}`))
	secret("deep JSON", frame(4000, strings.Repeat("[", 4000)))
	secret("unknown kind of connection", []byte{77, 0, 0, 0, 0})

	// A hello one byte at a time, for longer than a hello has.
	config := e.tls.Clone()
	config.NextProtos = []string{tunnel.ALPN}
	slow, err := tls.Dial("tcp", e.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		for _, b := range frame(tunnel.MaxHello, "{"+strings.Repeat(" ", tunnel.MaxHello-1)) {
			if _, err := slow.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // a quarter of an hour and more for all of it
		}
	})
	gone("slow", slow)

	a := e.mustConnect(e.hello(1, shop()))
	within(t, "an agent is live beside all that", a.live)
	wg.Wait()
	until(t, "the gate counts nobody inside", func() bool {
		e.server.gate.mu.Lock()
		defer e.server.gate.mu.Unlock()
		return e.server.gate.inside == 0 && len(e.server.gate.from) == 0
	})
}

func TestStrangersAreBounded(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.PerAddr = 3 })
	a := e.mustConnect(e.hello(1, shop())) // one that is known takes no place
	within(t, "live", a.live)
	var inside []net.Conn
	for range 3 {
		c := e.dial()
		defer c.Close()
		inside = append(inside, c)
	}
	until(t, "three are inside", func() bool {
		e.server.gate.mu.Lock()
		defer e.server.gate.mu.Unlock()
		return e.server.gate.inside == 3
	})
	c := e.dial()
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the fourth stranger reads %d, %v; want it turned away", n, err)
	}
	// Time would end the first ones before it.
	e.server.gate.mu.Lock()
	if n := e.server.gate.inside; n != 3 {
		t.Errorf("%d are inside, want the fourth turned away and not these", n)
	}
	e.server.gate.mu.Unlock()
	_ = inside[0].Close()
	until(t, "a place is free", func() bool {
		e.server.gate.mu.Lock()
		defer e.server.gate.mu.Unlock()
		return e.server.gate.inside == 2
	})
	b := e.mustConnect(e.hello(2, tunnel.Claim{Kind: tunnel.HTTP, Name: "other"}))
	within(t, "live", b.live)
}

func TestAgentsAreBounded(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.Agents = 1 })
	a := e.mustConnect(e.hello(1))
	if _, err := e.connect(e.hello(2)); code(err) != tunnel.CodeLimit {
		t.Errorf("the second agent = %v, want code %s", err, tunnel.CodeLimit)
	}
	_ = a.Close()
	until(t, "the first is gone", func() bool { return e.server.Agents() == 0 })
	e.mustConnect(e.hello(2))
}

func TestFailedKeysAreSlowed(t *testing.T) {
	counted := make(chan struct{}, 1000)
	e := newEdge(t, func(c *Config) {
		c.Guesses = store.NewGuesses(func() time.Time {
			counted <- struct{}{}
			return time.Now()
		})
	})
	h := e.hello(1)
	h.Key = store.NewKey()
	var took time.Duration
	for range store.FreeGuesses + 2 {
		began := time.Now()
		if _, err := e.connect(h); code(err) != tunnel.CodeKey {
			t.Fatalf("connect = %v, want code %s", err, tunnel.CodeKey)
		}
		took = time.Since(began)
	}
	if took < 2*store.FirstDelay {
		t.Errorf("the last refusal took %v, want %v", took, 2*store.FirstDelay)
	}
	// The owner beside the guesser is not slowed.
	for range 10 {
		e.server.cfg.Guesses.Refused(store.AddressOf("127.0.0.1:1")) // the next one waits for LongestDelay
	}
	for len(counted) > 0 {
		<-counted
	}
	conn, bad := e.dial(), make(chan error, 1)
	go func() {
		_, err := e.connectConn(conn, h)
		bad <- err
	}()
	within(t, "another guess is held", counted)
	e.mustConnect(e.hello(2))
	select {
	case err := <-bad:
		t.Errorf("a good key waited as long as a bad one, which got %v", err)
		bad <- err
	default:
	}
	if err := within(t, "the guess is refused", bad); code(err) != tunnel.CodeKey {
		t.Errorf("connect = %v, want code %s", err, tunnel.CodeKey)
	}
}

func TestTakeover(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	within(t, "live", a.live)
	_, err := e.connect(e.hello(2, shop()))
	var te *tunnel.Error
	if !errors.As(err, &te) || te.Code != tunnel.CodeName || !strings.Contains(te.Message, "laptop") || !strings.Contains(te.Hint, "--takeover") {
		t.Fatalf("claim of a held name = %+v, want where it is held and the way out", te)
	}
	c := shop()
	c.Takeover = true
	h := e.hello(2, c)
	h.Host = "tower"
	b := e.mustConnect(h)
	within(t, "live", b.live)
	err = within(t, "the first agent ends", a.ended)
	if code(err) != tunnel.CodeSuperseded || !strings.Contains(err.Error(), "tower") {
		t.Errorf("the first agent ended with %v, want superseded by tower", err)
	}
	a.ended <- err
	if tn, _ := e.registry.Lookup("shop.lrok.example"); tn.Machine() != "tower" {
		t.Errorf("the tunnel is on %s, want tower", tn.Machine())
	}
}

// TestSameProcessComesBack over a new connection while the old one is still
// there, as after a change of networks.
func TestSameProcessComesBack(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	within(t, "live", a.live)
	b := e.mustConnect(e.hello(1, shop()))
	within(t, "live", b.live)
	err := within(t, "the old session ends", a.ended)
	if code(err) == tunnel.CodeSuperseded {
		t.Errorf("the old session ended with %v: the agent would believe that it is not wanted", err)
	}
	a.ended <- err
	if tn, _ := e.registry.Lookup("shop.lrok.example"); !tn.Online() {
		t.Error("the tunnel is offline")
	}
}

// TestDeadHolder has a holder whose link takes nothing any more.
func TestDeadHolder(t *testing.T) {
	e := newEdge(t, nil)
	near := &frozen{Conn: e.dial(), thaw: make(chan struct{})}
	defer near.release()
	a, err := e.connectConn(near, e.hello(1, shop()))
	if err != nil {
		t.Fatal(err)
	}
	within(t, "live", a.live)
	near.frozen.Store(true)
	e.later.Store(int64(time.Minute)) // the holder did not come just now
	began := time.Now()
	b := e.mustConnect(e.hello(2, shop()))
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the claim took %v, want the second that the holder has to answer", took)
	}
	within(t, "live", b.live)
	near.release()
}

// A frozen conn delivers nothing to the agent while it is frozen.
type frozen struct {
	net.Conn
	frozen atomic.Bool
	once   sync.Once
	thaw   chan struct{}
}

func (c *frozen) release() { c.once.Do(func() { close(c.thaw) }) }

func (c *frozen) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.frozen.Load() {
		<-c.thaw
	}
	return n, err
}

// TestRace has a hundred agents connect for one name, over real sockets.
func TestRace(t *testing.T) {
	e := newEdge(t, nil)
	e.still.Store(time.Now().UnixNano()) // who won has always just come, and need not show that it is alive
	const n = 100
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a, err := e.connect(e.hello(byte(i+1), shop()))
			if err == nil {
				won.Add(1)
				within(t, "the winner is live", a.live)
			} else if code(err) != tunnel.CodeName {
				t.Errorf("agent %d: %v, want code %s", i, err, tunnel.CodeName)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d agents won, want 1", won.Load())
	}
	if ts := e.registry.Tunnels(""); len(ts) != 1 || !ts[0].Online() {
		t.Errorf("%d tunnels, want one, online", len(ts))
	}
}

func TestDrain(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	within(t, "live", a.live)
	e.server.Drain(t.Context(), "new version")
	if reason := within(t, "the agent is told", a.drained); reason != "new version" {
		t.Errorf("reason = %q, want %q", reason, "new version")
	}
	// What is there stays until it is ended.
	tn, _ := e.registry.Lookup("shop.lrok.example")
	if c, err := tn.Open(tunnel.Peer{Tunnel: "shop", Kind: tunnel.HTTP}); err != nil {
		t.Errorf("Open while draining: %v", err)
	} else {
		_ = c.Close()
	}
	if l, err := net.Listen("tcp", e.addr); err != nil {
		t.Errorf("the next edge cannot listen: %v", err)
	} else {
		_ = l.Close()
	}
	if err := e.stop(); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	a.ended <- within(t, "the session ends with the edge", a.ended)
}

func TestCloseTunnelEndsAgent(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	within(t, "live", a.live)
	e.registry.CloseTunnel("usr_admin", "shop")
	err := within(t, "the agent ends", a.ended)
	if code(err) != tunnel.CodeSuperseded || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the agent ended with %v, want that its tunnel was closed", err)
	}
	a.ended <- err
}

func TestLaterClaims(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1, shop()))
	g, err := a.Claim(t.Context(), tunnel.Claim{Kind: tunnel.HTTP, Name: "wiki"})
	if err != nil || g.URL != "https://wiki.lrok.example" {
		t.Fatalf("Claim = %+v, %v, want wiki", g, err)
	}
	if _, err := a.Claim(t.Context(), tunnel.Claim{Kind: tunnel.HTTP, Name: "api"}); code(err) != tunnel.CodeNameInvalid {
		t.Errorf("Claim of a reserved name = %v, want code %s", err, tunnel.CodeNameInvalid)
	}
	b := e.mustConnect(e.hello(2))
	if _, err := b.Claim(t.Context(), tunnel.Claim{Kind: tunnel.HTTP, Name: "wiki"}); code(err) != tunnel.CodeName {
		t.Errorf("Claim of a held name = %v, want code %s", err, tunnel.CodeName)
	}
	if err := a.Release("wiki"); err != nil {
		t.Fatal(err)
	}
	until(t, "the released tunnel is gone", func() bool { _, ok := e.registry.Lookup("wiki.lrok.example"); return !ok })
	if _, ok := e.registry.Lookup("shop.lrok.example"); !ok {
		t.Error("the other tunnel is gone too")
	}
}

// TestAPIOverControl reaches the API from a connection without claims, through
// its end and back.
func TestAPIOverControl(t *testing.T) {
	e := newEdge(t, nil)
	srv := &http.Server{Protocols: client.Protocols(), Handler: api.New(api.Config{Store: e.store, Registry: e.registry, Domain: "lrok.example"})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(e.server.API()) }()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	a := e.mustConnect(e.hello(1, shop()))
	within(t, "live", a.live)

	c, err := client.DialControl(t.Context(), client.ControlConfig{Edge: e.addr, TLS: e.tls, Key: e.key, Software: "lrok test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ts, err := c.Client().Tunnels(t.Context())
	if err != nil || len(ts) != 1 || ts[0].Subdomain != "shop" {
		t.Fatalf("Tunnels = %+v, %v, want shop", ts, err)
	}
	var wg sync.WaitGroup
	for range 20 { // more than there may be streams
		wg.Go(func() {
			if _, err := c.Client().Me(t.Context()); err != nil {
				t.Errorf("Me: %v", err)
			}
		})
	}
	wg.Wait()

	// The edge ends the session: the next request dials again.
	e.server.mu.Lock()
	for link, se := range e.server.byLink {
		if se.machine == "" {
			_ = link.Close()
		}
	}
	e.server.mu.Unlock()
	until(t, "the API answers again", func() bool {
		_, err := c.Client().Me(t.Context())
		return err == nil
	})

	bad, err := client.DialControl(t.Context(), client.ControlConfig{Edge: e.addr, TLS: e.tls, Key: store.NewKey()})
	if code(err) != tunnel.CodeKey {
		t.Errorf("DialControl with an unknown key = %v, %v, want code %s", bad, err, tunnel.CodeKey)
	}
	if _, err := client.DialControl(t.Context(), client.ControlConfig{Edge: e.addr, Key: e.key}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("DialControl without the CA = %v, want an error about the certificate", err)
	}
}

// TestAPINeedsKey: being an agent is not enough.
func TestAPINeedsKey(t *testing.T) {
	e := newEdge(t, nil)
	srv := &http.Server{Protocols: client.Protocols(), Handler: api.New(api.Config{Store: e.store, Registry: e.registry})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(e.server.API()) }()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	a := e.mustConnect(e.hello(1))
	c := client.Over(func(context.Context) (net.Conn, error) { return a.OpenAPI() }, store.NewKey())
	defer c.Close()
	if _, err := c.Me(t.Context()); code(err) != tunnel.CodeKey {
		t.Errorf("Me = %v, want code %s", err, tunnel.CodeKey)
	}
}

// TestNobodyServesAPI: streams that nobody accepts are closed and do not pile up.
func TestNobodyServesAPI(t *testing.T) {
	e := newEdge(t, nil)
	a := e.mustConnect(e.hello(1))
	c, err := a.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := e.stop(); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stream reads on: %v", err)
	}
	if _, err := e.server.API().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"laptop":                 "laptop",
		"a\x1b]0;owned\x07b\n":   "a]0;ownedb",
		"x\u202ey":               "xy",
		strings.Repeat("é", 100): strings.Repeat("é", 64),
		"":                       "",
		"\xff\xfe":               "\ufffd\ufffd",
	} {
		if got := clean(in, 64); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}
