package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
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

func TestKeyPlaces(t *testing.T) {
	f := newFixture(t)
	ada := f.keys["ada"]
	for _, test := range []struct {
		name, path string
		h          http.Header
		want       int
	}{
		{"header", "/me", http.Header{"Authorization": {"Bearer " + ada}}, 200},
		{"lower case scheme", "/me", http.Header{"Authorization": {"bearer " + ada}}, 200},
		{"query", "/me?key=" + ada + "&access_token=" + ada, http.Header{"Authorization": nil}, 401},
		{"basic", "/me", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(ada+":"))}}, 401},
		{"cookie", "/me", http.Header{"Authorization": nil, "Cookie": {"key=" + ada}}, 401},
		{"no scheme", "/me", http.Header{"Authorization": {ada}}, 401},
		{"empty", "/me", http.Header{"Authorization": {"Bearer "}}, 401},
		{"two headers", "/me", http.Header{"Authorization": {"Bearer " + ada, "Bearer " + f.keys["bob"]}}, 401},
	} {
		if resp := f.do("GET", prefix+test.path, test.h, nil); resp.StatusCode != test.want {
			t.Errorf("%s: status = %d, want %d", test.name, resp.StatusCode, test.want)
		}
	}
}

// A broken store fails in a way that nobody thought of.
type broken struct{ Store }

func (broken) Authenticate(context.Context, string) (store.User, store.Key, error) {
	return store.User{}, store.Key{}, errors.New("disk on fire at /var/lib/lrok")
}

func TestInternalErrorSaysNothing(t *testing.T) {
	f := newFixtureOf(t, store.Options{}, func(c *Config) { c.Store = broken{c.Store} })
	resp := f.do("GET", prefix+"/me", nil, nil)
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
		{"PUT", "/api/v1/me/tunnels/shop", 405, "DELETE, GET, HEAD"},
		{"GET", "/api/v1/me/keys/x/y", 404, ""},
		{"POST", "/api/v1/admin/stats", 405, "GET, HEAD"},
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
	if me.ID != f.ada.ID || me.Name != "Ada" || me.Admin || me.Edge.Software != "lrok test" || me.Edge.Domain != "lrok.example" {
		t.Errorf("me = %+v, want ada at this edge", me)
	}
	if k := me.Key; k.Name != "laptop" || k.ID == "" || !strings.HasPrefix(f.keys["ada"], k.Prefix) || !strings.HasSuffix(f.keys["ada"], k.Last4) || k.CreatedAt.IsZero() || k.LastUsed == nil {
		t.Errorf("key = %+v, want the one that was used", k)
	}
	if got, want := strings.TrimSpace(text(t, f.do("GET", prefix+"/me/plan", nil, nil))), `{"plan":"self-hosted","tunnels":{"limit":null,"active":1},"reservations":{"limit":null,"used":1}}`; got != want {
		t.Errorf("plan = %s, want %s", got, want)
	}
	f.shop.Counters.Requests.Add(3)
	ts := decode[[]client.Tunnel](t, f.do("GET", prefix+"/me/tunnels", nil, nil))
	if len(ts) != 1 || ts[0].Subdomain != "shop" || !ts[0].Online || ts[0].PublicURL != "https://shop.lrok.example" ||
		ts[0].RemoteAddr != "203.0.113.7:4711" || ts[0].Local != "http://localhost:3000" || !ts[0].Inspect || ts[0].Requests != 3 || ts[0].Machine != "laptop" {
		t.Errorf("tunnels = %+v, want ada's", ts)
	}
	f.registry.CloseTunnel(f.ada.ID, "shop")
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

// TestBeginning reads an exchange whose bodies come apart.
func TestBeginning(t *testing.T) {
	f := newFixture(t)
	at := prefix + "/me/requests/" + f.id
	for _, test := range []struct{ bytes, request, response string }{
		{"0", "", ""},
		{"7", `{"card"`, "<script"},
		{"9223372036854775807", `{"card":"declined"}`, "<script>alert(1)</script>"},
	} {
		x := decode[inspector.Exchange](t, f.do("GET", at+"?bytes="+test.bytes, nil, nil))
		if got := string(x.Request.Body.Data); got != test.request || x.Request.Body.Captured != 19 || len(x.Request.Head) == 0 {
			t.Errorf("bytes=%s: request %q of %d, want %q of 19, and its head", test.bytes, got, x.Request.Body.Captured, test.request)
		}
		if got := string(x.Response.Body.Data); got != test.response || x.Response.Body.Captured != 25 {
			t.Errorf("bytes=%s: response %q of %d, want %q of 25", test.bytes, got, x.Response.Body.Captured, test.response)
		}
	}
	if resp := f.do("GET", at+"?bytes=-1", nil, nil); resp.StatusCode != 400 {
		t.Errorf("bytes=-1: status = %d, want 400", resp.StatusCode)
	}
	resp := f.do("GET", at+"/response/body", http.Header{"Range": {"bytes=7-24"}}, nil)
	if got := text(t, resp); resp.StatusCode != 206 || got != ">alert(1)</script>" {
		t.Errorf("range = %d %q, want 206 and the rest", resp.StatusCode, got)
	}
	// The whole exchange is what was given out before.
	if x := decode[inspector.Exchange](t, f.do("GET", at, nil, nil)); string(x.Request.Body.Data) != `{"card":"declined"}` {
		t.Errorf("request = %q, want all of it", x.Request.Body.Data)
	}
}

// TestTail reads a stream of which more has passed than is kept.
func TestTail(t *testing.T) {
	f := newFixture(t)
	var said strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&said, "data: %08d\n\n", i)
	}
	id := f.capture("GET", "/live", "", 200, "text/event-stream", said.String())
	at := prefix + "/me/requests/" + id
	all := said.String()
	whole := decode[inspector.Exchange](t, f.do("GET", at, nil, nil)).Response.Body
	tail := whole.Tail
	if tail == nil || string(tail.Data) != all[tail.Offset:] || string(whole.Data) != all[:whole.Captured] || tail.Skipped != (tail.Offset-whole.Captured)/16 {
		t.Fatalf("body = %d of %d bytes, a tail: %v", whole.Captured, whole.Size, tail != nil)
	}
	for query, want := range map[string][2]string{ // what is left of both parts
		"bytes=100":              {all[:100], ""},
		"bytes=900000":           {string(whole.Data), string(tail.Data[:900000-whole.Captured])},
		"bytes=0":                {"", ""},
		"responseSince=0":        {"", string(tail.Data)},
		"responseSince=1599984":  {"", all[1599984:]},
		"responseSince=99999999": {"", ""},
		"requestSince=5":         {"", string(tail.Data)},
	} {
		b := decode[inspector.Exchange](t, f.do("GET", at+"?"+query, nil, nil)).Response.Body
		if string(b.Data) != want[0] || string(b.Tail.Data) != want[1] {
			t.Errorf("%s: %d and %d bytes, want %d and %d", query, len(b.Data), len(b.Tail.Data), len(want[0]), len(want[1]))
		}
		if b.Captured != whole.Captured || b.Tail.Offset != tail.Offset || b.Tail.Size != tail.Size || b.Size != int64(len(all)) {
			t.Errorf("%s: captured %d of %d and %d at %d, want what there is", query, b.Captured, b.Size, b.Tail.Size, b.Tail.Offset)
		}
	}
	if resp := f.do("GET", at+"?responseSince=x", nil, nil); resp.StatusCode != 400 {
		t.Errorf("responseSince=x: status = %d, want 400", resp.StatusCode)
	}
	resp := f.do("GET", at+"/response/body", nil, nil)
	want := fmt.Sprintf("%d-%d", tail.Offset, len(all)-1)
	if got := text(t, resp); got != string(whole.Data) || resp.Header.Get("Lrok-Body-Tail") != want || resp.Header.Get("Lrok-Body-Size") != fmt.Sprint(len(all)) {
		t.Errorf("body = %d bytes, %v; want the beginning and where the last part is, %s", len(got), resp.Header, want)
	}
	// Of what is whole, the same is asked for before there is a last part.
	x := decode[inspector.Exchange](t, f.do("GET", prefix+"/me/requests/"+f.id+"?requestSince=7", nil, nil)).Request.Body
	if x.Tail == nil || x.Tail.Offset != 7 || string(x.Tail.Data) != `:"declined"}` || x.Captured != 19 {
		t.Errorf("since 7 of 19 bytes: %+v", x)
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
	resp = f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, strings.NewReader(`{"latin1":true,"header":[{"name":"X-A","value":"\u00e9"}]}`))
	if resp.StatusCode != 200 || len(got.Header) != 1 || got.Header[0].Value != "\xe9" {
		t.Errorf("replay in Latin-1 = %d, changes %+v, want one byte", resp.StatusCode, got)
	}
	refused(t, f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, strings.NewReader(`{"latin1":true,"path":"/\u2713"}`)), 400, codeBadRequest)
	resp = f.do("POST", prefix+"/me/requests/"+f.id+"/replay", nil, nil)
	if resp.StatusCode != 200 || got.Method != "" || got.Body != nil {
		t.Errorf("replay without changes: %d, %+v; want 200 and none", resp.StatusCode, got)
	}
}

// TestReplayWaits has the answer arrive after the replay was sent.
func TestReplayWaits(t *testing.T) {
	sent := make(chan *inspector.Record, 1)
	begin := func(_ context.Context, t *registry.Tunnel, x inspector.Exchange, _ inspector.Changes) (string, error) {
		rec := t.Ring.Begin(inspector.Start{Head: x.Request.Head, ReplayOf: x.ID, Accepted: time.Now()})
		sent <- rec
		return rec.ID(), nil
	}
	f := newFixtureOf(t, store.Options{}, func(c *Config) { c.ReplayWait = patience })
	f.replayer.replay = begin
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
	f = newFixture(t)
	f.replayer.replay = begin
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
		req.Header.Set("Authorization", "Bearer "+f.keys["ada"])
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
	case <-time.After(patience):
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

// TestUnwantedBody sends a body where none belongs: it is not read.
func TestUnwantedBody(t *testing.T) {
	f := newFixture(t)
	resp := f.do("GET", prefix+"/me", nil, bytes.NewReader(make([]byte, 1<<20)))
	if resp.StatusCode != 200 {
		t.Errorf("status = %d, want 200", resp.StatusCode)
	}
}
