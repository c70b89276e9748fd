package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/certs"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/stats"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A replayer records what it is asked for and answers as the test says.
type replayer struct {
	replay func(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (string, error)
}

func (r *replayer) Replay(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (string, error) {
	return r.replay(ctx, t, x, c)
}

type session struct{}

func (session) Open(tunnel.Peer) (tunnel.Conn, error)       { return nil, errors.New("not in this test") }
func (session) Ping(context.Context) (time.Duration, error) { return 0, nil }
func (session) Dropped(string, *tunnel.Error) error         { return nil }
func (session) Supersede(*tunnel.Error) error               { return nil }
func (session) Close() error                                { return nil }
func (session) RemoteAddr() net.Addr                        { return &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711} }

// A zone is a Resolver in which nothing is ever there but the TXT records.
type zone struct{ txt map[string][]string }

func (z *zone) LookupCNAME(_ context.Context, host string) (string, error) { return host + ".", nil }

func (z *zone) LookupHost(_ context.Context, host string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt := z.txt[name]; txt != nil {
		return txt, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// A fixture is an edge's API with the users ada and bob and the administrator
// root. Ada has the tunnel "shop" with one capture and usage in this hour, the key
// "spare", a reservation and a domain; bob has the tunnel "bobs".
type fixture struct {
	t        testing.TB
	store    *store.Store
	registry *registry.Registry
	replayer *replayer
	later    atomic.Int64 // nanoseconds that the clock of store and API is ahead
	api      http.Handler
	url      string

	ada, bob, root store.User
	keys           map[string]string // secrets by "ada", "bob", "root", "local", "revoked", "expired"
	spare          store.Key         // of ada
	shop           *registry.Tunnel
	id             string       // a capture of shop
	closed         atomic.Int32 // connections of shop
}

func newFixture(t testing.TB) *fixture { return newFixtureOf(t, store.Options{}, nil) }

func newFixtureOf(t testing.TB, o store.Options, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, replayer: &replayer{}, keys: map[string]string{}}
	now := func() time.Time { return time.Now().Add(time.Duration(f.later.Load())) }
	o.Now = now
	dir := t.TempDir()
	var err error
	f.store, _, err = store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	ctx := t.Context()
	f.root = f.store.Users()[0]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f.ada, err = f.store.AddUser(ctx, f.root.ID, "Ada", store.Limits{})
	must(err)
	f.bob, err = f.store.AddUser(ctx, f.root.ID, "Bob", store.Limits{})
	must(err)
	_, f.keys["expired"], err = f.store.CreateKey(ctx, f.root.ID, f.ada.ID, "short", now().Add(time.Hour))
	must(err)
	var revoked store.Key
	revoked, f.keys["revoked"], err = f.store.CreateKey(ctx, f.root.ID, f.ada.ID, "old", time.Time{})
	must(err)
	must(f.store.RevokeKey(ctx, f.root.ID, f.ada.ID, revoked.ID))
	_, f.keys["ada"], err = f.store.CreateKey(ctx, f.root.ID, f.ada.ID, "laptop", time.Time{})
	must(err)
	_, f.keys["bob"], err = f.store.CreateKey(ctx, f.root.ID, f.bob.ID, "laptop", time.Time{})
	must(err)
	f.spare, _, err = f.store.CreateKey(ctx, f.root.ID, f.ada.ID, "spare", time.Time{})
	must(err)
	_, err = f.store.Reserve(ctx, f.ada.ID, f.ada.ID, "adas-name")
	must(err)
	must(f.store.AddUsage(ctx, []store.Usage{{
		Hour: now().Add(2 * time.Hour).Truncate(time.Hour), User: f.ada.ID, Tunnel: "shop",
		Requests: 7, BytesIn: 70, BytesOut: 700,
	}}))
	f.keys["root"], f.keys["local"], f.keys["bad"] = f.store.AdminKey(), f.store.LocalKey(), store.NewKey()
	f.later.Store(int64(2 * time.Hour)) // the short one is over

	f.registry = registry.New(registry.Config{Domain: "lrok.example", Now: now})
	f.replayer.replay = func(_ context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
		rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, Method: x.Method, Path: x.Path, ReplayOf: x.ID, Accepted: time.Now()})
		rec.End(inspector.Ending{})
		return rec.ID(), nil
	}
	f.claim(f.ada, "shop")
	f.claim(f.bob, "bobs")
	f.shop, _ = f.registry.Tunnel("shop")
	f.id = f.capture("POST", "/webhooks/stripe", `{"card":"declined"}`, 200, "text/html", "<script>alert(1)</script>")

	ca, err := certs.OpenDev(dir, "lrok.example", nil)
	must(err)
	sums, err := stats.New(stats.Config{Tunnels: f.registry.Tunnels, Store: f.store, Now: now})
	must(err)
	own, err := domains.New(domains.Config{Store: f.store, Domain: "lrok.example", Resolver: &zone{}, Dropped: f.registry.DropDomain, Now: now})
	must(err)
	_, err = own.Add(ctx, f.ada.ID, f.ada.ID, "ada.example.com")
	must(err)
	cfg := Config{
		Store:       f.store,
		Registry:    f.registry,
		Replayer:    f.replayer,
		Connections: connections{f},
		Domains:     own,
		Certs:       ca,
		Stats:       sums,
		Software:    "lrok test",
		Domain:      "lrok.example",
		ReplayWait:  500 * time.Millisecond,
		Now:         now,
	}
	if change != nil {
		change(&cfg)
	}
	f.api = New(cfg)
	s := httptest.NewUnstartedServer(f.api)
	s.Config.Protocols = client.Protocols()
	s.Start()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.Close()
	})
	f.url = s.URL
	return f
}

// connections are one of shop, whose capture is the fixture's.
type connections struct{ f *fixture }

func (c connections) CloseConnections(t *registry.Tunnel, id string) int {
	if t.Name != "shop" || id != "" && id != c.f.id {
		return 0
	}
	c.f.closed.Add(1)
	return 1
}

func (f *fixture) claim(u store.User, name string) {
	f.t.Helper()
	if _, err := f.registry.Claim(f.t.Context(), &session{}, u.ID, u.ID, "laptop", []tunnel.Claim{{Kind: tunnel.HTTP, Name: name, Local: "http://localhost:3000"}}); err != nil {
		f.t.Fatal(err)
	}
}

// capture puts a finished exchange into shop's ring.
func (f *fixture) capture(method, path, body string, status int, contentType, answer string) string {
	rec := f.shop.Ring.Begin(inspector.Start{
		Head:   []byte(method + " " + path + " HTTP/1.1\r\nHost: shop.lrok.example\r\nContent-Type: application/json\r\n\r\n"),
		Method: method, Path: path, Scheme: "https", Host: "shop.lrok.example", Proto: "HTTP/1.1", Accepted: time.Now(),
	})
	_, _ = rec.RequestBody().Write([]byte(body))
	var kind inspector.Kind
	if contentType == "text/event-stream" {
		kind = inspector.SSE
	}
	rec.Answered(inspector.Answer{
		Head:   []byte(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: %s\r\n\r\n", status, contentType)),
		Status: status, Kind: kind,
	})
	_, _ = rec.ResponseBody().Write([]byte(answer))
	rec.End(inspector.Ending{})
	return rec.ID()
}

// as is a header with somebody's key; no name is no key.
func (f *fixture) as(who string) http.Header {
	if who == "" {
		return http.Header{"Authorization": nil}
	}
	secret, ok := f.keys[who]
	if !ok {
		f.t.Fatalf("nobody is called %q", who)
	}
	return http.Header{"Authorization": {"Bearer " + secret}}
}

// do sends a request with ada's key, unless h says otherwise. A body is JSON,
// unless h says otherwise.
func (f *fixture) do(method, path string, h http.Header, body io.Reader) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header = f.as("ada")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range h {
		req.Header[name] = values
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// send is do with somebody's key and a body in JSON.
func (f *fixture) send(who, method, path, body string) *http.Response {
	f.t.Helper()
	if body == "" {
		return f.do(method, prefix+path, f.as(who), nil)
	}
	return f.do(method, prefix+path, f.as(who), strings.NewReader(body))
}

// serve is send without a network and with any type of content.
func (f *fixture) serve(who, method, path, contentType, body string) *http.Response {
	r := httptest.NewRequest(method, prefix+path, strings.NewReader(body))
	r.Header = f.as(who)
	r.Header["Content-Type"] = []string{contentType}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w.Result()
}

// client is an API client with somebody's key.
func (f *fixture) client(who string) *client.Client {
	tr := &http.Transport{}
	f.t.Cleanup(tr.CloseIdleConnections)
	return client.New(&http.Client{Transport: tr}, f.url, f.keys[who])
}

// state says what there is, to see whether something was done.
func (f *fixture) state() string {
	var b strings.Builder
	for _, u := range f.store.Users() {
		fmt.Fprintln(&b, "user", u.Name, value(u.Limits.Tunnels), value(u.Limits.Reservations))
	}
	for _, k := range f.store.Keys("") {
		fmt.Fprintln(&b, "key", k.ID, k.Revoked)
	}
	for _, r := range f.store.Reservations("") {
		fmt.Fprintln(&b, "reservation", r.Name, r.User)
	}
	for _, d := range f.store.Domains("") {
		fmt.Fprintln(&b, "domain", d.Host, d.User, d.Checked)
	}
	for _, t := range f.registry.Tunnels("") {
		fmt.Fprintln(&b, "tunnel", t.Name, t.Owner, len(t.Ring.List(0, 0)))
	}
	es, err := f.store.Entries(f.t.Context(), 0, 1)
	if err != nil || len(es) != 1 {
		f.t.Fatalf("Entries = %v, %v, want the newest", es, err)
	}
	fmt.Fprintln(&b, "audit", es[0].ID)
	fmt.Fprintln(&b, "closed", f.closed.Load())
	return b.String()
}

func value(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decode[T any](t testing.TB, resp *http.Response) T {
	t.Helper()
	var v T
	s := text(t, resp)
	dec := json.NewDecoder(strings.NewReader(s))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s %s: %d: %v in %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, err, s)
	}
	return v
}
