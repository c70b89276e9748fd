package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// keyring is an Authenticator of a few users.
type keyring map[string]store.User

func (k keyring) Authenticate(_ context.Context, key string) (store.User, store.Key, error) {
	if key == "lrok_broken" {
		return store.User{}, store.Key{}, errors.New("disk on fire at /var/lib/lrok")
	}
	u, ok := k[key]
	if !ok {
		return store.User{}, store.Key{}, &tunnel.Error{Code: tunnel.CodeKey, Message: "the key is not known", Hint: "lrok login"}
	}
	return u, store.Key{ID: "key_1", Prefix: "lrok_ad", Last4: "wxyz"}, nil
}

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
func (session) Supersede(*tunnel.Error) error               { return nil }
func (session) Close() error                                { return nil }
func (session) RemoteAddr() net.Addr                        { return &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711} }

// A fixture is an API with ada's tunnel "shop" and bob's "bobs".
type fixture struct {
	t        *testing.T
	registry *registry.Registry
	replayer *replayer
	url      string
	shop     *registry.Tunnel
	id       string // a capture of shop
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		t:        t,
		registry: registry.New(registry.Config{Domain: "lrok.example"}),
		replayer: &replayer{},
	}
	f.replayer.replay = func(_ context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
		rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, Method: x.Method, Path: x.Path, ReplayOf: x.ID, Accepted: time.Now()})
		rec.End(inspector.Ending{})
		return rec.ID(), nil
	}
	for user, name := range map[string]string{"ada": "shop", "bob": "bobs"} {
		if _, err := f.registry.Claim(t.Context(), &session{}, user, user, "laptop", []tunnel.Claim{{Kind: tunnel.HTTP, Name: name, Local: "http://localhost:3000"}}); err != nil {
			t.Fatal(err)
		}
	}
	f.shop, _ = f.registry.Tunnel("shop")
	f.id = f.capture("POST", "/webhooks/stripe", `{"card":"declined"}`, 200, "text/html", "<script>alert(1)</script>")
	s := httptest.NewServer(New(Config{
		Store:      keyring{"lrok_ada": {ID: "ada", Name: "Ada"}, "lrok_bob": {ID: "bob", Name: "Bob"}},
		Registry:   f.registry,
		Replayer:   f.replayer,
		Software:   "lrok test",
		Domain:     "lrok.example",
		ReplayWait: 500 * time.Millisecond,
	}))
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// capture puts a finished exchange into shop's ring.
func (f *fixture) capture(method, path, body string, status int, contentType, answer string) string {
	rec := f.shop.Ring.Begin(inspector.Start{
		Head:   []byte(method + " " + path + " HTTP/1.1\r\nHost: shop.lrok.example\r\nContent-Type: application/json\r\n\r\n"),
		Method: method, Path: path, Scheme: "https", Host: "shop.lrok.example", Proto: "HTTP/1.1", Accepted: time.Now(),
	})
	_, _ = rec.RequestBody().Write([]byte(body))
	rec.Answered(inspector.Answer{
		Head:   []byte(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: %s\r\n\r\n", status, contentType)),
		Status: status,
	})
	_, _ = rec.ResponseBody().Write([]byte(answer))
	rec.End(inspector.Ending{})
	return rec.ID()
}

// do sends a request with ada's key, unless h says otherwise.
func (f *fixture) do(method, path string, h http.Header, body io.Reader) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer lrok_ada")
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

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decode[T any](t *testing.T, resp *http.Response) T {
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

// TestAuthorisation is the table of who gets what. Each route has a row; a route
// without one fails.
func TestAuthorisation(t *testing.T) {
	const (
		none = iota // no key
		bad
		other // another user
		owner
	)
	rows := map[string][4]int{
		"GET /openapi.json": {200, 200, 200, 200},
		// These show what is the caller's own, so there is nothing to refuse to
		// another user; TestOwnOnly looks into the answers.
		"GET /me":         {401, 401, 200, 200},
		"GET /me/plan":    {401, 401, 200, 200},
		"GET /me/tunnels": {401, 401, 200, 200},

		"DELETE /me/tunnels/{sub}":                          {401, 401, 404, 204},
		"GET /me/tunnels/{sub}/requests":                    {401, 401, 404, 200},
		"DELETE /me/tunnels/{sub}/requests":                 {401, 401, 404, 204},
		"GET /me/tunnels/{sub}/requests/stream":             {401, 401, 404, 200},
		"GET /me/tunnels/{sub}/requests/{id}":               {401, 401, 404, 200},
		"GET /me/tunnels/{sub}/requests/{id}/request/body":  {401, 401, 404, 200},
		"GET /me/tunnels/{sub}/requests/{id}/response/body": {401, 401, 404, 200},
		"POST /me/tunnels/{sub}/requests/{id}/replay":       {401, 401, 404, 200},
		"GET /me/requests/{id}":                             {401, 401, 404, 200},
		"GET /me/requests/{id}/request/body":                {401, 401, 404, 200},
		"GET /me/requests/{id}/response/body":               {401, 401, 404, 200},
		"POST /me/requests/{id}/replay":                     {401, 401, 404, 200},
	}
	table := (&api{}).routes()
	for _, rt := range table {
		name := rt.method + " " + rt.path
		want, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row in the table of who gets what", name)
			continue
		}
		delete(rows, name)
		for _, at := range []string{"/api/v1", "/__lrok/api/v1"} {
			for who, key := range map[int]string{none: "", bad: "Bearer lrok_nobodys", other: "Bearer lrok_bob", owner: "Bearer lrok_ada"} {
				f := newFixture(t)
				path := strings.NewReplacer("{sub}", "shop", "{id}", f.id).Replace(rt.path)
				h := http.Header{"Authorization": {key}}
				if key == "" {
					h["Authorization"] = nil
				}
				resp := f.do(rt.method, at+path, h, nil)
				if resp.StatusCode != want[who] {
					t.Errorf("%s by %q: status = %d, want %d", name, key, resp.StatusCode, want[who])
				}
				if resp.StatusCode < 400 {
					continue
				}
				if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("%s by %q: content type = %q, want a problem", name, key, got)
				}
				p := decode[client.Problem](t, resp)
				if p.Status != resp.StatusCode || p.Code == "" || p.Detail == "" || p.Title == "" || p.Type == "" {
					t.Errorf("%s by %q: problem = %+v, want all of it", name, key, p)
				}
				if resp.StatusCode == 401 && resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s by %q: 401 without WWW-Authenticate", name, key)
				}
				// What was refused must not have happened.
				if tn, ok := f.registry.Tunnel("shop"); !ok || len(tn.Ring.List(0, 0)) != 1 {
					t.Errorf("%s by %q: refused, and done", name, key)
				}
			}
		}
	}
	for name := range rows {
		t.Errorf("the table has a row for %s, which is no route", name)
	}
}

// TestUnknownLooksLikeAnothers compares the answers to a tunnel and an id of
// another user with those to ones that do not exist.
func TestUnknownLooksLikeAnothers(t *testing.T) {
	f := newFixture(t)
	bob := http.Header{"Authorization": {"Bearer lrok_bob"}}
	for _, path := range []string{"/me/tunnels/%s/requests", "/me/tunnels/%s/requests/stream"} {
		a := text(t, f.do("GET", prefix+fmt.Sprintf(path, "shop"), bob, nil))
		b := text(t, f.do("GET", prefix+fmt.Sprintf(path, "absent"), bob, nil))
		if strings.ReplaceAll(a, "shop", "absent") != b {
			t.Errorf("%s: another's tunnel: %s\nnone at all: %s", path, a, b)
		}
	}
	absent := "req_" + strings.Repeat("0", len(f.id)-4)
	a := text(t, f.do("GET", prefix+"/me/requests/"+f.id, bob, nil))
	b := text(t, f.do("GET", prefix+"/me/requests/"+absent, bob, nil))
	if strings.ReplaceAll(a, f.id, absent) != b {
		t.Errorf("another's request: %s\nnone at all: %s", a, b)
	}
}

func TestKeyPlaces(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		name, path string
		h          http.Header
		want       int
	}{
		{"header", "/me", http.Header{"Authorization": {"Bearer lrok_ada"}}, 200},
		{"lower case scheme", "/me", http.Header{"Authorization": {"bearer lrok_ada"}}, 200},
		{"query", "/me?key=lrok_ada&access_token=lrok_ada", http.Header{"Authorization": nil}, 401},
		{"basic", "/me", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("lrok_ada:"))}}, 401},
		{"cookie", "/me", http.Header{"Authorization": nil, "Cookie": {"key=lrok_ada"}}, 401},
		{"no scheme", "/me", http.Header{"Authorization": {"lrok_ada"}}, 401},
		{"empty", "/me", http.Header{"Authorization": {"Bearer "}}, 401},
		{"two headers", "/me", http.Header{"Authorization": {"Bearer lrok_ada", "Bearer lrok_bob"}}, 401},
	} {
		if resp := f.do("GET", prefix+test.path, test.h, nil); resp.StatusCode != test.want {
			t.Errorf("%s: status = %d, want %d", test.name, resp.StatusCode, test.want)
		}
	}
}

func TestInternalErrorSaysNothing(t *testing.T) {
	f := newFixture(t)
	resp := f.do("GET", prefix+"/me", http.Header{"Authorization": {"Bearer lrok_broken"}}, nil)
	if resp.StatusCode != 500 {
		t.Errorf("status = %d, want 500", resp.StatusCode)
	}
	if s := text(t, resp); strings.Contains(s, "disk") || !strings.Contains(s, `"code":"internal"`) {
		t.Errorf("answer = %s, want a problem without details", s)
	}
}

func TestRouting(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"POST", "/api/v1/me", 405, "GET, HEAD"},
		{"PUT", "/api/v1/me/tunnels/shop", 405, "DELETE"},
		{"GET", "/api/v1/me/tunnels/shop", 405, "DELETE"},
		{"HEAD", "/api/v1/me", 200, ""},
		{"HEAD", "/api/v1/me/tunnels/shop/requests/stream", 405, "GET"}, // it would not end
		{"OPTIONS", "/api/v1/me", 405, "GET, HEAD"},
		{"GET", "/api/v1/nothing", 404, ""},
		{"GET", "/api/v1", 404, ""},
		{"GET", "/api/v1/", 404, ""},
		{"GET", "/api/v1/me/", 404, ""},
		{"GET", "/api/v1//me", 404, ""},
		{"GET", "/api/v1/x/../me", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/__lrok/api/v1/me", 200, ""},
		{"GET", "/__lrok/__lrok/api/v1/me", 404, ""},
		{"GET", "/__lrok/", 404, ""},
		{"GET", "/api/v1/me/tunnels/a%2Fb/requests", 404, ""},
		{"GET", "/api/v1/me/tunnels/shop/requests/" + f.id + "/trailer/body", 404, ""},
	} {
		resp := f.do(test.method, test.path, nil, nil)
		if resp.StatusCode != test.status || resp.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", test.method, test.path, resp.StatusCode, resp.Header.Get("Allow"), test.status, test.allow)
		}
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s %s: X-Content-Type-Options = %q, want nosniff", test.method, test.path, got)
		}
	}
}

func TestOwnOnly(t *testing.T) {
	f := newFixture(t)
	me := decode[client.Me](t, f.do("GET", prefix+"/me", nil, nil))
	want := client.Me{ID: "ada", Name: "Ada", Key: client.Key{ID: "key_1", Prefix: "lrok_ad", Last4: "wxyz"}, Edge: client.Edge{Software: "lrok test", Domain: "lrok.example"}}
	if me != want {
		t.Errorf("me = %+v, want %+v", me, want)
	}
	if got, want := strings.TrimSpace(text(t, f.do("GET", prefix+"/me/plan", nil, nil))), `{"plan":"self-hosted","tunnels":{"limit":null,"active":1},"reservations":{"limit":null,"used":0}}`; got != want {
		t.Errorf("plan = %s, want %s", got, want)
	}
	f.shop.Counters.Requests.Add(3)
	ts := decode[[]client.Tunnel](t, f.do("GET", prefix+"/me/tunnels", nil, nil))
	if len(ts) != 1 || ts[0].Subdomain != "shop" || !ts[0].Online || ts[0].PublicURL != "https://shop.lrok.example" ||
		ts[0].RemoteAddr != "203.0.113.7:4711" || ts[0].Local != "http://localhost:3000" || !ts[0].Inspect || ts[0].Requests != 3 || ts[0].Machine != "laptop" {
		t.Errorf("tunnels = %+v, want ada's", ts)
	}
	f.registry.CloseTunnel("ada", "shop")
	if got := strings.TrimSpace(text(t, f.do("GET", prefix+"/me/tunnels", nil, nil))); got != "[]" {
		t.Errorf("no tunnels = %s, want []", got)
	}
}

func TestRequests(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		f.capture("GET", fmt.Sprintf("/n/%d", i), "", 200+i%2*300, "text/plain", strings.Repeat("x", i))
	}
	list := func(query string) client.Requests {
		t.Helper()
		return decode[client.Requests](t, f.do("GET", prefix+"/me/tunnels/shop/requests"+query, nil, nil))
	}
	paths := func(r client.Requests) string {
		var out []string
		for _, x := range r.Requests {
			out = append(out, strings.TrimPrefix(x.Path, "/n/"))
			if x.Request.Head != nil || x.Response.Body.Data != nil {
				t.Errorf("%s comes with head or body, want neither", x.Path)
			}
		}
		return strings.Join(out, " ")
	}
	for _, test := range []struct{ query, want string }{
		{"", "9 8 7 6 5 4 3 2 1 0 /webhooks/stripe"},
		{"?limit=3", "9 8 7"},
		{"?limit=3&before=9", "6 5 4"}, // numbers count from 1, and the first is the webhook
		{"?filter=status:5xx", "9 7 5 3 1"},
		{"?filter=status:5xx&limit=2", "9 7"},
		{"?filter=" + "body:declined", "/webhooks/stripe"},
		{"?before=1", ""},
	} {
		if got := paths(list(test.query)); got != test.want {
			t.Errorf("requests%s = %q, want %q", test.query, got, test.want)
		}
	}
	// All pages together are the whole list.
	var got []string
	for before := uint64(0); ; {
		page := list(fmt.Sprintf("?limit=4&filter=method:GET&before=%d", before))
		got = append(got, paths(page))
		if before = page.Next; before == 0 {
			break
		}
	}
	if want := []string{"9 8 7 6", "5 4 3 2", "1 0"}; !slices.Equal(got, want) {
		t.Errorf("pages = %q, want %q", got, want)
	}
	if page := list("?limit=1"); page.Version != f.shop.Ring.Version() {
		t.Errorf("version = %d, want %d", page.Version, f.shop.Ring.Version())
	}
	for query, code := range map[string]string{
		"?limit=-1":          codeBadRequest,
		"?limit=many":        codeBadRequest,
		"?before=1e9":        codeBadRequest,
		"?filter=stauts:5xx": codeFilter,
	} {
		resp := f.do("GET", prefix+"/me/tunnels/shop/requests"+query, nil, nil)
		if p := decode[client.Problem](t, resp); resp.StatusCode != 400 || p.Code != code {
			t.Errorf("requests%s: %d %s, want 400 %s", query, resp.StatusCode, p.Code, code)
		}
	}
	p := decode[client.Problem](t, f.do("GET", prefix+"/me/tunnels/shop/requests/stream?filter=stauts:5xx", nil, nil))
	if !strings.Contains(p.Detail, "character 1") || !strings.Contains(p.Hint, "status") {
		t.Errorf("problem of a filter = %+v, want where it is and the nearest field", p)
	}
}

func TestForget(t *testing.T) {
	f := newFixture(t)
	if resp := f.do("DELETE", prefix+"/me/tunnels/shop/requests", nil, nil); resp.StatusCode != 204 {
		t.Errorf("status = %d, want 204", resp.StatusCode)
	}
	if resp := f.do("GET", prefix+"/me/requests/"+f.id, nil, nil); resp.StatusCode != 404 {
		t.Errorf("status of a forgotten request = %d, want 404", resp.StatusCode)
	}
}

func TestCloseTunnel(t *testing.T) {
	f := newFixture(t)
	if resp := f.do("DELETE", prefix+"/me/tunnels/shop", nil, nil); resp.StatusCode != 204 {
		t.Errorf("status = %d, want 204", resp.StatusCode)
	}
	if _, ok := f.registry.Lookup("shop.lrok.example"); ok {
		t.Error("the tunnel is still there")
	}
	if resp := f.do("DELETE", prefix+"/me/tunnels/shop", nil, nil); resp.StatusCode != 404 {
		t.Errorf("status the second time = %d, want 404", resp.StatusCode)
	}
}

func TestExchange(t *testing.T) {
	f := newFixture(t)
	x := decode[inspector.Exchange](t, f.do("GET", prefix+"/me/tunnels/shop/requests/"+f.id, nil, nil))
	if x.ID != f.id || string(x.Request.Body.Data) != `{"card":"declined"}` || !strings.HasPrefix(string(x.Request.Head), "POST /webhooks/stripe HTTP/1.1\r\n") || x.Status != 200 {
		t.Errorf("exchange = %+v, want all of it", x)
	}
}

// TestBody is about bytes that come from anybody and go to a browser.
func TestBody(t *testing.T) {
	f := newFixture(t)
	binary := f.capture("GET", "/", "\x00\x01", 200, "image/png", "\x89PNG\xff\xfe")
	for _, test := range []struct {
		id, side, body, contentType string
	}{
		{f.id, "request", `{"card":"declined"}`, "text/plain; charset=utf-8"},
		{f.id, "response", "<script>alert(1)</script>", "text/plain; charset=utf-8"},
		{binary, "request", "\x00\x01", "application/octet-stream"},
		{binary, "response", "\x89PNG\xff\xfe", "application/octet-stream"},
	} {
		resp := f.do("GET", prefix+"/me/requests/"+test.id+"/"+test.side+"/body", nil, nil)
		if got := text(t, resp); got != test.body {
			t.Errorf("%s body = %q, want %q", test.side, got, test.body)
		}
		disposition := fmt.Sprintf("attachment; filename=%s-%s", test.id, test.side)
		for name, want := range map[string]string{
			"Content-Type":           test.contentType,
			"X-Content-Type-Options": "nosniff",
			"Cache-Control":          "no-store",
			"Lrok-Body-Size":         fmt.Sprint(len(test.body)),
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s of the %s body = %q, want %q", name, test.side, got, want)
			}
		}
		if got := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "sandbox;") || !strings.Contains(got, "default-src 'none'") {
			t.Errorf("Content-Security-Policy = %q, want a sandbox without sources", got)
		}
		if got := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(got, disposition) {
			t.Errorf("Content-Disposition = %q, want %q...", got, disposition)
		}
	}
}

func TestIsText(t *testing.T) {
	cut := func(s string, n int) inspector.Message {
		return inspector.Message{Body: inspector.Body{Data: []byte(s)[:n], Captured: int64(n), Size: int64(len(s))}}
	}
	gzip := cut("abc", 3)
	gzip.Header = []inspector.Field{{Name: "content-encoding", Value: "gzip"}}
	for _, test := range []struct {
		name string
		m    inspector.Message
		want bool
	}{
		{"ascii", cut("abc", 3), true},
		{"empty", cut("", 0), true},
		{"cut in a letter", cut("aä€😀", 3+3+2), true},
		{"cut after its first byte", cut("a😀b", 2), true},
		{"broken in the middle", cut("a\xffb", 3), false},
		{"broken at the end, whole", cut("ab\xc3", 3), false},
		{"nul", cut("a\x00b", 3), false},
		{"compressed", gzip, false},
	} {
		if got := isText(test.m); got != test.want {
			t.Errorf("%s: isText = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestReplay(t *testing.T) {
	f := newFixture(t)
	var got inspector.Changes
	plain := f.replayer.replay
	f.replayer.replay = func(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, c inspector.Changes) (string, error) {
		got = c
		if x.ID != f.id || t != f.shop {
			f.t.Errorf("replay of %s in %s, want %s in shop", x.ID, t.Name, f.id)
		}
		return plain(ctx, t, x, c)
	}
	resp := f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, strings.NewReader(`{"method":"PUT","set":[{"name":"X-A","value":"1"}],"body":"aGk="}`))
	x := decode[inspector.Exchange](t, resp)
	if resp.StatusCode != 200 || x.ReplayOf != f.id || x.State != inspector.Done || x.ID == f.id {
		t.Errorf("replay = %d %+v, want the new exchange, done", resp.StatusCode, x)
	}
	if loc := resp.Header.Get("Location"); loc != prefix+"/me/requests/"+x.ID {
		t.Errorf("Location = %q, want the new exchange's", loc)
	}
	if got.Method != "PUT" || len(got.Set) != 1 || got.Body == nil || string(*got.Body) != "hi" {
		t.Errorf("changes = %+v, want those that were sent", got)
	}
	resp = f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, nil)
	if resp.StatusCode != 200 || got.Method != "" || got.Body != nil {
		t.Errorf("replay without changes: %d, %+v; want 200 and none", resp.StatusCode, got)
	}
}

// TestReplayWaits has the answer arrive after the replay was sent.
func TestReplayWaits(t *testing.T) {
	f := newFixture(t)
	sent := make(chan *inspector.Record, 1)
	f.replayer.replay = func(_ context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
		rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, ReplayOf: x.ID, Accepted: time.Now()})
		sent <- rec
		return rec.ID(), nil
	}
	go func() {
		rec := <-sent
		for range 50 {
			f.capture("GET", "/noise", "", 200, "text/plain", "")
		}
		rec.Answered(inspector.Answer{Head: []byte("HTTP/1.1 201 Created\r\n\r\n"), Status: 201})
		rec.End(inspector.Ending{})
	}()
	x := decode[inspector.Exchange](t, f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, nil))
	if x.Status != 201 || x.State != inspector.Done {
		t.Errorf("replay = %d %s, want 201 done", x.Status, x.State)
	}
	// One that takes too long is answered as it is.
	began := time.Now()
	x = decode[inspector.Exchange](t, f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, nil))
	if x.State != inspector.Open || time.Since(began) < 400*time.Millisecond {
		t.Errorf("a slow replay = %s after %v, want it open after half a second", x.State, time.Since(began))
	}
	(<-sent).End(inspector.Ending{})
}

// TestReplayCallerLeaves is a caller who does not wait for the answer.
func TestReplayCallerLeaves(t *testing.T) {
	f := newFixture(t)
	sent := make(chan context.Context, 1)
	f.replayer.replay = func(ctx context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
		rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, ReplayOf: x.ID, Accepted: time.Now()})
		sent <- ctx
		return rec.ID(), nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "POST", f.url+prefix+"/me/requests/"+f.id+"/replay", nil)
		req.Header.Set("Authorization", "Bearer lrok_ada")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	inner := <-sent
	cancel()
	if err := <-done; err == nil {
		t.Error("the caller got an answer, and it had left")
	}
	select {
	case <-inner.Done():
	case <-time.After(10 * time.Second):
		t.Error("the handler waits on for a caller who left")
	}
}

func TestReplayRefused(t *testing.T) {
	f := newFixture(t)
	f.replayer.replay = func(context.Context, *registry.Tunnel, inspector.Exchange, inspector.Changes) (string, error) {
		t.Error("a replay was sent")
		return "", nil
	}
	big := `{"body":"` + strings.Repeat("A", maxChanges) + `"}`
	for _, test := range []struct {
		name, body string
		status     int
	}{
		{"not JSON", "method=PUT", 400},
		{"unknown field", `{"methd":"PUT"}`, 400},
		{"wrong type", `{"method":7}`, 400},
		{"two values", `{}{}`, 400},
		{"rubbish behind", `{} x`, 400},
		{"cut off", `{"method":`, 400},
		{"not base64", `{"body":"§"}`, 400},
		{"too large", big, 413},
		{"method with a space", `{"method":"GET /x"}`, 400},
		{"path with a line break", `{"path":"/ HTTP/1.1\r\nX: y"}`, 400},
		{"header name with a colon", `{"set":[{"name":"A:","value":"b"}]}`, 400},
		{"header without a name", `{"header":[{"name":"","value":"b"}]}`, 400},
		{"header value with a line break", `{"header":[{"name":"A","value":"b\r\nC: d"}]}`, 400},
	} {
		resp := f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, strings.NewReader(test.body))
		if resp.StatusCode != test.status {
			t.Errorf("%s: status = %d, want %d: %s", test.name, resp.StatusCode, test.status, text(t, resp))
		}
	}
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{&tunnel.Error{Code: tunnel.CodeAgentOffline, Message: "away"}, 503, tunnel.CodeAgentOffline},
		{&tunnel.Error{Code: "body_missing", Message: "not whole"}, 422, "body_missing"},
		{context.DeadlineExceeded, 504, tunnel.CodeUpstreamTimeout},
		{errors.New("secret"), 500, tunnel.CodeInternal},
	} {
		f.replayer.replay = func(context.Context, *registry.Tunnel, inspector.Exchange, inspector.Changes) (string, error) {
			return "", test.err
		}
		resp := f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, nil)
		p := decode[client.Problem](t, resp)
		if resp.StatusCode != test.status || p.Code != test.code || strings.Contains(p.Detail, "secret") {
			t.Errorf("%v: %d %s, want %d %s", test.err, resp.StatusCode, p.Code, test.status, test.code)
		}
	}
}

// TestOpenAPI checks that the document describes every route and that each
// reference in it leads somewhere.
func TestOpenAPI(t *testing.T) {
	f := newFixture(t)
	resp := f.do("GET", prefix+"/openapi.json", http.Header{"Authorization": nil}, nil)
	raw := text(t, resp)
	var doc struct {
		OpenAPI string
		Info    struct{ Title, Version string }
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Parameters  []struct {
				Name, In string
				Required bool
			}
			RequestBody any
			Responses   map[string]any
			Security    []any
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Title == "" || doc.Info.Version != "lrok test" {
		t.Errorf("document = %s of %+v, want 3.1.0 with title and version", doc.OpenAPI, doc.Info)
	}
	operations := 0
	ids := map[string]bool{}
	for p, item := range doc.Paths {
		for method, op := range item {
			operations++
			if ids[op.OperationID] || op.OperationID == "" || op.Summary == "" {
				t.Errorf("%s %s: operation id %q, summary %q; want one of its own, and words", method, p, op.OperationID, op.Summary)
			}
			ids[op.OperationID] = true
			var inPath []string
			for _, param := range op.Parameters {
				if param.In == "path" && param.Required {
					inPath = append(inPath, "{"+param.Name+"}")
				}
			}
			var want []string
			want = append(want, placeholder.FindAllString(p, -1)...)
			if !slices.Equal(inPath, want) {
				t.Errorf("%s %s: path parameters %v, want %v", method, p, inPath, want)
			}
		}
	}
	table := (&api{}).routes()
	if operations != len(table) {
		t.Errorf("%d operations, and there are %d routes", operations, len(table))
	}
	for _, rt := range table {
		op, ok := doc.Paths[prefix+rt.path][strings.ToLower(rt.method)]
		if !ok {
			t.Errorf("%s %s is not in the document", rt.method, rt.path)
			continue
		}
		if op.Responses[fmt.Sprint(rt.status)] == nil || op.Responses["default"] == nil {
			t.Errorf("%s %s: responses %v, want %d and default", rt.method, rt.path, op.Responses, rt.status)
		}
		if (op.RequestBody != nil) != rt.body || (op.Security != nil) != (rt.who == anybody) {
			t.Errorf("%s %s: body %v, security %v", rt.method, rt.path, op.RequestBody, op.Security)
		}
		if rt.query != nil {
			for _, q := range rt.query {
				if !slices.ContainsFunc(op.Parameters, func(p struct {
					Name, In string
					Required bool
				},
				) bool {
					return p.Name == q.name && p.In == "query"
				}) {
					t.Errorf("%s %s: no parameter %s", rt.method, rt.path, q.name)
				}
			}
		}
	}
	for _, part := range strings.Split(raw, `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("the document refers to %s and does not have it", name)
		}
	}
	for _, name := range []string{"Exchange", "Changes", "Tunnel", "Me", "Problem", "Plan", "Requests"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("no schema of %s", name)
		}
	}
}

// TestAnswersFitSchemas holds answers against the document's properties: what
// is sent is described, and what is required is sent.
func TestAnswersFitSchemas(t *testing.T) {
	f := newFixture(t)
	var doc struct {
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(openAPI((&api{}).routes(), ""), &doc); err != nil {
		t.Fatal(err)
	}
	var check func(at string, schema map[string]any, v any)
	check = func(at string, schema map[string]any, v any) {
		if ref, ok := schema["$ref"].(string); ok {
			schema = doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		}
		kinds := fmt.Sprint(schema["type"])
		kind := map[bool]string{true: "null"}[v == nil]
		switch v := v.(type) {
		case map[string]any:
			kind = "object"
			props, _ := schema["properties"].(map[string]any)
			for name, value := range v {
				p, ok := props[name].(map[string]any)
				if !ok {
					t.Errorf("%s.%s is sent and not described", at, name)
					continue
				}
				check(at+"."+name, p, value)
			}
			required, _ := schema["required"].([]any)
			for _, name := range required {
				if _, ok := v[name.(string)]; !ok {
					t.Errorf("%s.%s is required and not sent", at, name)
				}
			}
		case []any:
			kind = "array"
			items, _ := schema["items"].(map[string]any)
			for i, value := range v {
				check(fmt.Sprintf("%s[%d]", at, i), items, value)
			}
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			kind = "integer"
		}
		if !strings.Contains(kinds, kind) {
			t.Errorf("%s is of type %s, and described as %s", at, kind, kinds)
		}
	}
	for path, name := range map[string]string{
		"/me":                       "Me",
		"/me/plan":                  "Plan",
		"/me/tunnels/shop/requests": "Requests",
		"/me/requests/" + f.id:      "Exchange",
		"/me/requests/req_absent":   "Problem",
	} {
		var v any
		if err := json.Unmarshal([]byte(text(t, f.do("GET", prefix+path, nil, nil))), &v); err != nil {
			t.Fatal(err)
		}
		check(name, doc.Components.Schemas[name], v)
	}
}

// TestUnwantedBody sends a body where none belongs: it is not read.
func TestUnwantedBody(t *testing.T) {
	f := newFixture(t)
	resp := f.do("GET", prefix+"/me", nil, bytes.NewReader(make([]byte, 1<<20)))
	if resp.StatusCode != 200 {
		t.Errorf("status = %d, want 200", resp.StatusCode)
	}
}
