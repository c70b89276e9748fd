package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/api"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anybody is a store that knows one key, and nothing else.
type anybody struct{ api.Store }

func (anybody) Working(string) bool                     { return true }
func (anybody) ReservationLimit(string) int             { return 0 }
func (anybody) Reservations(string) []store.Reservation { return nil }

func (anybody) Authenticate(_ context.Context, key string) (store.User, store.Key, error) {
	if key != "lrok_ada" {
		return store.User{}, store.Key{}, &tunnel.Error{Code: tunnel.CodeKey, Message: "the key is not known", Hint: "lrok login"}
	}
	return store.User{ID: "ada", Name: "Ada"}, store.Key{}, nil
}

func (anybody) Audit(context.Context, store.Entry) error { return nil }

type session struct{}

func (session) Open(tunnel.Peer) (tunnel.Conn, error)       { return nil, errors.New("not in this test") }
func (session) Ping(context.Context) (time.Duration, error) { return 0, nil }
func (session) Dropped(string, *tunnel.Error) error         { return nil }
func (session) Supersede(*tunnel.Error) error               { return nil }
func (session) Close() error                                { return nil }
func (session) RemoteAddr() net.Addr                        { return nil }

type replayer struct{}

func (replayer) Replay(_ context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (string, error) {
	rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, Method: c.Method, ReplayOf: x.ID, Accepted: time.Now()})
	rec.End(inspector.Ending{})
	return rec.ID(), nil
}

// connections are three of every tunnel.
type connections struct{}

func (connections) CloseConnections(_ *registry.Tunnel, id string) int {
	switch id {
	case "":
		return 3
	case "req_absent":
		return 0
	}
	return 1
}

// An edge is an API with one tunnel, "shop", on connections that a test may cut.
type edge struct {
	registry *registry.Registry
	ring     *inspector.Ring
	url      string
	ln       *flaky
	asked    func(*http.Request) // called before each request is served, if set
}

func newEdge(t *testing.T, ring int) *edge {
	t.Helper()
	r := registry.New(registry.Config{Domain: "lrok.example", RingSize: ring})
	if _, err := r.Claim(t.Context(), &session{}, "ada", "i1", "laptop", []tunnel.Claim{{Kind: tunnel.HTTP, Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	tn, _ := r.Tunnel("shop")
	e := &edge{registry: r, ring: tn.Ring}
	handler := api.New(api.Config{Store: anybody{}, Registry: r, Replayer: replayer{}, Connections: connections{}})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.asked != nil {
			e.asked(r)
		}
		handler.ServeHTTP(w, r)
	}))
	e.ln = &flaky{Listener: s.Listener}
	s.Listener = e.ln
	s.Start()
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

func (e *edge) client(t *testing.T) *client.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return client.New(&http.Client{Transport: tr}, e.url, "lrok_ada")
}

func (e *edge) capture(path string) string {
	rec := e.ring.Begin(inspector.Start{Head: []byte("GET " + path + " HTTP/1.1\r\n\r\n"), Method: "GET", Path: path, Accepted: time.Now()})
	rec.Answered(inspector.Answer{Head: []byte("HTTP/1.1 200 OK\r\n\r\n"), Status: 200})
	_, _ = rec.ResponseBody().Write([]byte("hello"))
	rec.End(inspector.Ending{})
	return rec.ID()
}

// A flaky listener's connections break after some bytes, if after is set, and
// all at once when cut is called.
type flaky struct {
	net.Listener
	after atomic.Int64
	cuts  atomic.Int64

	mu    sync.Mutex
	conns map[*flakyConn]bool
}

func (l *flaky) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	fc := &flakyConn{Conn: c, l: l}
	fc.left.Store(1 << 40)
	if n := l.after.Load(); n > 0 {
		fc.left.Store(1 + rand.Int64N(n))
	}
	l.mu.Lock()
	if l.conns == nil {
		l.conns = map[*flakyConn]bool{}
	}
	l.conns[fc] = true
	l.mu.Unlock()
	return fc, nil
}

func (l *flaky) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
	clear(l.conns)
}

type flakyConn struct {
	net.Conn
	l    *flaky
	left atomic.Int64
}

func (c *flakyConn) Write(p []byte) (int, error) {
	if left := c.left.Load(); int64(len(p)) > left {
		n, _ := c.Conn.Write(p[:left])
		_ = c.Conn.Close()
		c.l.cuts.Add(1)
		return n, io.ErrClosedPipe
	}
	c.left.Add(-int64(len(p)))
	return c.Conn.Write(p)
}

// TestStreamResumes breaks the stream every few hundred bytes, in the middle of
// events: nothing is lost, nothing of it shows.
func TestStreamResumes(t *testing.T) {
	const n = 300
	e := newEdge(t, 2*n)
	e.ln.after.Store(4000)
	go func() {
		for i := range n {
			e.capture(fmt.Sprint("/", i))
			time.Sleep(rand.N(4 * time.Millisecond)) // traffic has gaps
		}
	}()
	seen := map[uint64]string{}
	last := uint64(0)
	var lost atomic.Int64
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	err := e.client(t).Stream(ctx, "shop", client.StreamOptions{Lost: func(error) { lost.Add(1) }}, func(ev inspector.Event) error {
		if ev.Type != "request" {
			t.Errorf("event %s, want requests only: the ring holds all", ev.Type)
			return nil
		}
		if ev.ID <= last {
			t.Errorf("event %d comes after %d", ev.ID, last)
		}
		last = ev.ID
		seen[ev.Exchange.Number] = ev.Exchange.Path + " " + string(ev.Exchange.State)
		if len(seen) == n && seen[n] == fmt.Sprintf("/%d done", n-1) {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("Stream = %v after %d of %d exchanges, want what the callback returned", err, len(seen), n)
	}
	for i := range n {
		if got, want := seen[uint64(i+1)], fmt.Sprintf("/%d done", i); got != want {
			t.Errorf("exchange %d = %q, want %q", i+1, got, want)
		}
	}
	if e.ln.cuts.Load() < 10 || lost.Load() < 10 {
		t.Errorf("the stream broke %d times, and the caller was told %d times; this test needs some", e.ln.cuts.Load(), lost.Load())
	}
}

// TestStreamGap loses a stream for longer than the ring remembers.
func TestStreamGap(t *testing.T) {
	e := newEdge(t, 5)
	events := make(chan inspector.Event, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	block := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- e.client(t).Stream(ctx, "shop", client.StreamOptions{Lost: func(error) { <-block }}, func(ev inspector.Event) error {
			events <- ev
			return nil
		})
	}()
	next := func() inspector.Event {
		t.Helper()
		select {
		case ev := <-events:
			return ev
		case <-time.After(30 * time.Second):
			t.Fatal("no event within 30 s")
			panic("unreachable")
		}
	}
	e.capture("/first")
	for next().Exchange.State != inspector.Done {
	}
	e.ln.cut()
	for i := range 20 {
		e.capture(fmt.Sprint("/", i))
	}
	close(block)
	if ev := next(); ev.Type != "gap" {
		t.Fatalf("event after the break = %s, want gap", ev.Type)
	}
	for i := 15; i < 20; i++ {
		if ev := next(); ev.Type != "request" || ev.Exchange.Path != fmt.Sprint("/", i) {
			t.Errorf("event = %s %v, want the request /%d", ev.Type, ev.Exchange, i)
		}
	}
	e.capture("/after")
	if ev := next(); ev.Type != "request" || ev.Exchange.Path != "/after" {
		t.Errorf("event = %s %v, want the request /after", ev.Type, ev.Exchange)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Stream = %v, want %v", err, context.Canceled)
	}
}

func TestStreamSince(t *testing.T) {
	e := newEdge(t, 100)
	e.capture("/old")
	version := e.ring.Version()
	e.capture("/new")
	e.capture("/wanted")
	for _, test := range []struct {
		name string
		o    client.StreamOptions
		want string
	}{
		{"all", client.StreamOptions{}, "/old"},
		{"since", client.StreamOptions{Since: version}, "/new"},
		{"filter", client.StreamOptions{Filter: "path:/wanted"}, "/wanted"},
	} {
		enough := errors.New("enough")
		err := e.client(t).Stream(t.Context(), "shop", test.o, func(ev inspector.Event) error {
			if ev.Type != "request" || ev.Exchange.Path != test.want {
				t.Errorf("%s: first event = %s %v, want the request %s", test.name, ev.Type, ev.Exchange, test.want)
			}
			return enough
		})
		if !errors.Is(err, enough) {
			t.Errorf("%s: Stream = %v, want what the callback returned", test.name, err)
		}
	}
}

// TestStreamLive tells nothing old, also when the stream broke before its first
// event.
func TestStreamLive(t *testing.T) {
	e := newEdge(t, 100)
	e.capture("/old")
	var seen []string
	enough := errors.New("enough")
	cut := false
	e.asked = func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/stream") && !cut {
			cut = true
			e.ln.cut()
			e.capture("/while-away")
		}
	}
	err := e.client(t).Stream(t.Context(), "shop", client.StreamOptions{Live: true}, func(ev inspector.Event) error {
		if ev.Type == "request" && ev.Exchange.State == inspector.Done {
			if seen = append(seen, ev.Exchange.Path); ev.Exchange.Path == "/last" {
				return enough
			}
			e.capture("/last")
		}
		return nil
	})
	if want := "/while-away /last"; !errors.Is(err, enough) || !cut || strings.Join(seen, " ") != want {
		t.Errorf("Stream = %v with %v, want %s", err, seen, want)
	}
}

func TestStreamClosed(t *testing.T) {
	e := newEdge(t, 100)
	e.capture("/")
	var last string
	err := e.client(t).Stream(t.Context(), "shop", client.StreamOptions{}, func(ev inspector.Event) error {
		last = ev.Type
		if ev.Type == "request" {
			e.registry.CloseTunnel("ada", "shop")
		}
		return nil
	})
	if err != nil || last != "closed" {
		t.Errorf("Stream = %v after event %s, want nil after closed", err, last)
	}
}

// TestStreamHopeless are errors that trying again does not mend.
func TestStreamHopeless(t *testing.T) {
	e := newEdge(t, 100)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for _, test := range []struct {
		name, key, tunnel, filter, code string
	}{
		{"key", "lrok_eve", "shop", "", tunnel.CodeKey},
		{"tunnel", "lrok_ada", "absent", "", tunnel.CodeTunnelNotFound},
		{"filter", "lrok_ada", "shop", "stauts:5xx", "filter_invalid"},
	} {
		for _, live := range []bool{false, true} {
			c := client.New(&http.Client{Transport: tr}, e.url, test.key)
			err := c.Stream(t.Context(), test.tunnel, client.StreamOptions{Filter: test.filter, Live: live}, func(inspector.Event) error { return nil })
			var te *tunnel.Error
			if !errors.As(err, &te) || te.Code != test.code {
				t.Errorf("%s: Stream = %v, want code %s", test.name, err, test.code)
			}
		}
	}
}

// TestStreamEdgeRestarts knows a tunnel whose edge starts anew: its agent needs
// a moment, and the versions begin again.
func TestStreamEdgeRestarts(t *testing.T) {
	var handler atomic.Pointer[http.Handler]
	boot := func(claimed bool) *registry.Registry {
		r := registry.New(registry.Config{Domain: "lrok.example"})
		if claimed {
			if _, err := r.Claim(t.Context(), &session{}, "ada", "i1", "laptop", []tunnel.Claim{{Kind: tunnel.HTTP, Name: "shop"}}); err != nil {
				t.Fatal(err)
			}
		}
		h := api.New(api.Config{Store: anybody{}, Registry: r})
		handler.Store(&h)
		return r
	}
	record := func(r *registry.Registry, path string) {
		tn, _ := r.Tunnel("shop")
		tn.Ring.Begin(inspector.Start{Head: []byte("GET " + path + " HTTP/1.1\r\n\r\n"), Path: path, Accepted: time.Now()}).End(inspector.Ending{})
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
	ln := &flaky{Listener: s.Listener}
	s.Listener = ln
	s.Start()
	defer s.Close()
	first := boot(true)
	for i := range 10 {
		record(first, fmt.Sprint("/first/", i))
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	enough := errors.New("enough")
	var lost int
	var gap bool
	err := client.New(&http.Client{Transport: tr}, s.URL, "lrok_ada").Stream(t.Context(), "shop", client.StreamOptions{
		Lost: func(error) {
			if lost++; lost == 3 {
				record(boot(true), "/second")
			}
		},
	}, func(ev inspector.Event) error {
		switch {
		case ev.Type == "gap":
			gap = true
		case ev.Exchange.Path == "/first/9" && lost == 0:
			boot(false)
			ln.cut()
		case ev.Exchange.Path == "/second":
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !gap {
		t.Errorf("Stream = %v, gap %v; want the event of the new edge after a gap", err, gap)
	}
}

// TestManyStreams watches more tunnels over an agent's connection than it may
// have streams, and still gets answers.
func TestManyStreams(t *testing.T) {
	e := newEdge(t, 100)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Protocols: client.Protocols(), Handler: api.New(api.Config{Store: anybody{}, Registry: e.registry})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	var dialled atomic.Int32
	c := client.Over(func(ctx context.Context) (net.Conn, error) {
		if dialled.Add(1) > 8 {
			return nil, errors.New("a ninth stream")
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", ln.Addr().String())
	}, "lrok_ada")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan struct{}, 100)
	for range 50 {
		wg.Go(func() {
			_ = c.Stream(ctx, "shop", client.StreamOptions{}, func(ev inspector.Event) error {
				if ev.Type == "request" {
					seen <- struct{}{}
				}
				return nil
			})
		})
	}
	e.capture("/a")
	for i := range 50 {
		select {
		case <-seen:
		case <-time.After(30 * time.Second):
			t.Fatalf("%d streams brought the request, want 50", i)
		}
	}
	within, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if _, err := c.Me(within); err != nil {
		t.Errorf("Me beside them: %v", err)
	}
	cancel()
	c.Close()
	_ = srv.Close()
	wg.Wait()
}

// TestStreamSilence is a link that died without a word.
func TestStreamSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan net.Conn)
		var streams atomic.Int32
		began := time.Now()
		srv := &http.Server{Protocols: client.Protocols(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if streams.Add(1) > 1 {
				fmt.Fprint(w, "event: closed\ndata: {}\n\n")
				return
			}
			fmt.Fprint(w, ": hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})}
		ln := &pipeListener{conns: conns, done: make(chan struct{})}
		go func() { _ = srv.Serve(ln) }()
		c := client.Over(func(ctx context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			select {
			case conns <- far:
				return near, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, "lrok_ada")
		var lost error
		if err := c.Stream(t.Context(), "shop", client.StreamOptions{Lost: func(err error) { lost = err }}, func(inspector.Event) error { return nil }); err != nil {
			t.Errorf("Stream = %v, want nil after closed", err)
		}
		if took := time.Since(began); lost == nil || took < 45*time.Second || took > 47*time.Second {
			t.Errorf("the silent stream was given up after %v with %v, want 45 s", took, lost)
		}
		c.Close()
		_ = srv.Close()
	})
}

type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestCalls(t *testing.T) {
	e := newEdge(t, 100)
	c := e.client(t)
	ctx := t.Context()
	id := e.capture("/a?b=1")
	e.capture("/c")

	if me, err := c.Me(ctx); err != nil || me.ID != "ada" {
		t.Errorf("Me = %+v, %v", me, err)
	}
	if p, err := c.Plan(ctx); err != nil || p.Tunnels.Active != 1 || p.Tunnels.Limit != nil {
		t.Errorf("Plan = %+v, %v", p, err)
	}
	if ts, err := c.Tunnels(ctx); err != nil || len(ts) != 1 || ts[0].Subdomain != "shop" {
		t.Errorf("Tunnels = %+v, %v", ts, err)
	}
	if xs, err := c.Requests(ctx, "shop", client.Query{Limit: 1, Before: 2, Filter: "method:GET"}); err != nil || len(xs) != 1 || xs[0].ID != id {
		t.Errorf("Requests = %+v, %v", xs, err)
	}
	if x, err := c.Exchange(ctx, id); err != nil || x.Path != "/a?b=1" || string(x.Response.Body.Data) != "hello" {
		t.Errorf("Exchange = %+v, %v", x, err)
	}
	body, err := c.Body(ctx, id, "response")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(body); err != nil || string(b) != "hello" {
		t.Errorf("Body = %q, %v", b, err)
	}
	_ = body.Close()
	if x, err := c.Replay(ctx, id, inspector.Changes{Method: "PUT"}); err != nil || x.ReplayOf != id || x.Method != "PUT" {
		t.Errorf("Replay = %+v, %v", x, err)
	}
	if err := c.CloseConnection(ctx, "shop", id); err != nil {
		t.Errorf("CloseConnection: %v", err)
	}
	var none *tunnel.Error
	if err := c.CloseConnection(ctx, "shop", "req_absent"); !errors.As(err, &none) || none.Code != tunnel.CodeNotFound {
		t.Errorf("CloseConnection of an unknown id = %v, want code %s", err, tunnel.CodeNotFound)
	}
	if n, err := c.CloseConnections(ctx, "shop"); err != nil || n != 3 {
		t.Errorf("CloseConnections = %d, %v, want 3", n, err)
	}
	if err := c.Forget(ctx, "shop"); err != nil {
		t.Errorf("Forget: %v", err)
	}
	_, err = c.Exchange(ctx, id)
	var te *tunnel.Error
	if !errors.As(err, &te) || te.Code != tunnel.CodeNotFound || te.Hint == "" {
		t.Errorf("Exchange after Forget = %v, want code %s with a hint", err, tunnel.CodeNotFound)
	}
	if err := c.CloseTunnel(ctx, "shop"); err != nil {
		t.Errorf("CloseTunnel: %v", err)
	}
	if err := c.CloseTunnel(ctx, "shop"); !errors.As(err, &te) || te.Code != tunnel.CodeTunnelNotFound {
		t.Errorf("CloseTunnel the second time = %v, want code %s", err, tunnel.CodeTunnelNotFound)
	}
	// A name is data and never a path.
	if err := c.Forget(ctx, "../../me"); !errors.As(err, &te) {
		t.Errorf("Forget of a path = %v, want a refusal", err)
	}
}

// TestLargeBodies reads what does not fit in the answer that an exchange is.
func TestLargeBodies(t *testing.T) {
	e := newEdge(t, 100)
	c := e.client(t)
	var mu sync.Mutex
	var asked []string
	e.asked = func(r *http.Request) {
		mu.Lock()
		asked = append(asked, strings.TrimPrefix(r.URL.RequestURI(), "/api/v1/me/requests/")+" "+r.Header.Get("Range"))
		mu.Unlock()
	}
	request, response := strings.Repeat("0123456789", 30_000), strings.Repeat("answer", 50_000)
	rec := e.ring.Begin(inspector.Start{Head: []byte("PUT / HTTP/1.1\r\n\r\n"), Method: "PUT", Path: "/", Accepted: time.Now()})
	_, _ = rec.RequestBody().Write([]byte(request))
	rec.Answered(inspector.Answer{Head: []byte("HTTP/1.1 200 OK\r\n\r\n"), Status: 200})
	_, _ = rec.ResponseBody().Write([]byte(response))
	rec.End(inspector.Ending{})

	x, err := c.Exchange(t.Context(), rec.ID())
	if err != nil || string(x.Request.Body.Data) != request || string(x.Response.Body.Data) != response {
		t.Fatalf("Exchange = %d and %d bytes, %v, want all", len(x.Request.Body.Data), len(x.Response.Body.Data), err)
	}
	mu.Lock()
	want := strings.ReplaceAll("ID?bytes=65536 |ID/request/body bytes=65536-299999|ID/response/body bytes=65536-299999", "ID", rec.ID())
	if got := strings.Join(asked, "|"); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	mu.Unlock()

	x, err = c.Beginning(t.Context(), rec.ID())
	if err != nil || string(x.Response.Body.Data) != response[:64<<10] || x.Response.Body.Captured != int64(len(response)) || len(x.Request.Head) == 0 {
		t.Fatalf("Beginning = %d of %d bytes, %v", len(x.Response.Body.Data), x.Response.Body.Captured, err)
	}
	first := x.Response.Body.Data
	var told [2]int
	err = c.Complete(t.Context(), &x, func(response bool, n int) {
		i := 0
		if response {
			i = 1
		}
		if n < told[i] {
			t.Errorf("progress %d after %d", n, told[i])
		}
		told[i] = n
	})
	if err != nil || string(x.Response.Body.Data) != response || told != [2]int{len(request), len(response)} {
		t.Errorf("Complete = %d bytes, told of %v, %v, want all", len(x.Response.Body.Data), told, err)
	}
	if string(first) != response[:64<<10] {
		t.Error("Complete wrote to what Beginning had returned")
	}

	// The ring gives the bodies up between the two.
	x, _ = c.Beginning(t.Context(), rec.ID())
	for range 40 {
		other := e.ring.Begin(inspector.Start{Head: []byte("GET / HTTP/1.1\r\n\r\n"), Method: "GET", Path: "/", Accepted: time.Now()})
		_, _ = other.ResponseBody().Write(make([]byte, 1<<20))
		other.End(inspector.Ending{})
	}
	if err := c.Complete(t.Context(), &x, nil); err != nil {
		t.Fatal(err)
	}
	if b := x.Response.Body; b.Missing != "evicted" || string(b.Data) != response[:64<<10] || b.Captured != 64<<10 || b.Size != int64(len(response)) {
		t.Errorf("Complete of what is gone = %q, %d bytes, captured %d of %d, want the beginning", b.Missing, len(b.Data), b.Captured, b.Size)
	}
}

// TestFollow reads a stream while it goes on, far past what is kept of it.
func TestFollow(t *testing.T) {
	e := newEdge(t, 100)
	c := e.client(t)
	rec := e.ring.Begin(inspector.Start{Head: []byte("GET /live HTTP/1.1\r\n\r\n"), Method: "GET", Path: "/live", Accepted: time.Now()})
	rec.Answered(inspector.Answer{Head: []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"), Status: 200, Kind: inspector.SSE})
	said := 0
	say := func(n int) {
		for range n {
			_, _ = fmt.Fprintf(rec.ResponseBody(), "data: %08d\n\n", said)
			said++
		}
	}
	same := func(when string, x inspector.Exchange) {
		t.Helper()
		whole, _ := e.ring.Find(rec.ID())
		a, b := x.Response.Body, whole.Response.Body
		if a.Size != b.Size || a.Captured != b.Captured || a.Items != b.Items || string(a.Data) != string(b.Data) || (a.Tail == nil) != (b.Tail == nil) {
			t.Fatalf("%s: %d of %d bytes, captured %d, want %d of %d, %d", when, len(a.Data), a.Size, a.Captured, len(b.Data), b.Size, b.Captured)
		}
		if a.Tail != nil && (a.Tail.Offset != b.Tail.Offset || a.Tail.Skipped != b.Tail.Skipped || string(a.Tail.Data) != string(b.Tail.Data)) {
			t.Fatalf("%s: the last %d bytes from %d, want %d from %d", when, len(a.Tail.Data), a.Tail.Offset, len(b.Tail.Data), b.Tail.Offset)
		}
		if len(x.Marks) != len(whole.Marks) || len(x.Request.Head) == 0 {
			t.Fatalf("%s: %d marks, want %d, and the head", when, len(x.Marks), len(whole.Marks))
		}
	}
	x, err := c.Exchange(t.Context(), rec.ID())
	if err != nil {
		t.Fatal(err)
	}
	same("at first", x)
	var asked string
	e.asked = func(r *http.Request) { asked = r.URL.RawQuery }
	for _, n := range []int{1, 10_000, 50_000, 3000, 10_000, 100_000, 0, 1} { // 16 bytes each, the limit is 1 MiB
		say(n)
		if err := c.Follow(t.Context(), &x); err != nil {
			t.Fatal(err)
		}
		same(fmt.Sprint("after ", said), x)
	}
	if want := fmt.Sprintf("requestSince=0&responseSince=%d", 16*(said-1)); asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	// Another reader begins in the middle, and is given all that is kept.
	y, err := c.Beginning(t.Context(), rec.ID())
	if err != nil || y.Response.Body.Tail == nil || len(y.Response.Body.Tail.Data) != 0 {
		t.Fatalf("Beginning = %v, want no last part yet", err)
	}
	say(1000)
	if err := c.Complete(t.Context(), &y, nil); err != nil {
		t.Fatal(err)
	}
	same("completed", y)
	rec.End(inspector.Ending{})
	z, err := c.Exchange(t.Context(), rec.ID())
	if err != nil {
		t.Fatal(err)
	}
	same("at last", z)
}

// TestBodiesOfOthers are answers that no edge gives.
func TestBodiesOfOthers(t *testing.T) {
	for _, test := range []struct {
		name      string
		answer    func(http.ResponseWriter)
		captured  int64
		want, err string
	}{
		{"ranges unknown", func(w http.ResponseWriter) { fmt.Fprint(w, "hello, world") }, 12, "hello, world", ""},
		{"another range", func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 6-11/12")
			w.WriteHeader(206)
			fmt.Fprint(w, " world")
		}, 12, "hello", "another part"},
		{"too short", func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 5-8/12")
			w.WriteHeader(206)
			fmt.Fprint(w, ", wo")
		}, 12, "hello", "unexpected EOF"},
		{"cut on the edge", func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 5-8/12")
			w.Header().Set("Lrok-Body-Missing", "memory")
			w.WriteHeader(206)
			fmt.Fprint(w, ", wo")
		}, 12, "hello, wo", ""},
		{"too long", func(w http.ResponseWriter) { fmt.Fprint(w, "hello, world and more") }, 12, "hello, world", ""},
		{"huge", func(http.ResponseWriter) {}, 1 << 50, "hello", "larger than"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w) }))
		tr := &http.Transport{}
		x := inspector.Exchange{ID: "req_1", Response: inspector.Message{Body: inspector.Body{Data: []byte("hello"), Captured: test.captured}}}
		err := client.New(&http.Client{Transport: tr}, s.URL, "lrok_ada").Complete(t.Context(), &x, nil)
		if got := string(x.Response.Body.Data); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", test.name, err, test.err)
		}
		tr.CloseIdleConnections()
		s.Close()
	}
}

// TestForeignAnswers are addresses where no edge is.
func TestForeignAnswers(t *testing.T) {
	var keys atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			keys.Add(1)
		}
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/me"):
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case strings.HasSuffix(r.URL.Path, "/plan"):
			http.Error(w, "<html>Bad gateway", http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, "<html>Welcome to nginx!")
		}
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := client.New(&http.Client{Transport: tr}, s.URL+"/api/v1/", "lrok_ada")
	var te *tunnel.Error
	if _, err := c.Me(t.Context()); !errors.As(err, &te) || !strings.Contains(te.Message, "302") {
		t.Errorf("Me = %v, want an error that says 302", err)
	}
	if _, err := c.Plan(t.Context()); !errors.As(err, &te) || !strings.Contains(te.Message, "502") {
		t.Errorf("Plan = %v, want an error that says 502", err)
	}
	if _, err := c.Tunnels(t.Context()); err == nil {
		t.Error("Tunnels = nil, want an error: the answer is HTML")
	}
	if keys.Load() != 0 {
		t.Error("the key followed a redirect")
	}
}

// TestKeyNeedsEncryption dials nothing: names that resolve to nowhere would
// show.
func TestKeyNeedsEncryption(t *testing.T) {
	var dialled atomic.Int32
	counting := func(context.Context, string, string) (net.Conn, error) {
		dialled.Add(1)
		return nil, errors.New("dialled")
	}
	for _, test := range []struct {
		base string
		sent bool
	}{
		{"http://api.example.com", false},
		{"http://192.0.2.1:8080", false},
		{"http://localhost.example.com", false},
		{"http://127.0.0.1.example.com", false},
		{"ftp://api.example.com", false},
		{"http://127.0.0.1:1", true},
		{"http://[::1]:1", true},
		{"http://localhost:1", true},
		{"http://api.localhost:1", true},
		{"https://api.example.com", true},
	} {
		dialled.Store(0)
		tr := &http.Transport{DialTLSContext: counting, Proxy: nil}
		tr.Dial = func(network, addr string) (net.Conn, error) { return counting(t.Context(), network, addr) } //lint:ignore SA1019 DialContext is what the client looks for
		_, err := client.New(&http.Client{Transport: tr}, test.base, "lrok_ada").Me(t.Context())
		if (dialled.Load() > 0) != test.sent || err == nil {
			t.Errorf("%s: dialled %d times, want %v: %v", test.base, dialled.Load(), test.sent, err)
		}
		var te *tunnel.Error
		if !test.sent && (!errors.As(err, &te) || te.Code != tunnel.CodeKey) {
			t.Errorf("%s: %v, want code %s", test.base, err, tunnel.CodeKey)
		}
	}
}

func TestDialControlUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	_, err = client.DialControl(t.Context(), client.ControlConfig{Edge: addr, TLS: &tls.Config{}, Key: "lrok_ada"})
	var te *tunnel.Error
	if err == nil || errors.As(err, &te) {
		t.Errorf("DialControl = %v, want an error that is not the edge's", err)
	}
}
