package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// refused wants a problem of a status and a code.
func refused(t *testing.T, resp *http.Response, status int, code string) client.Problem {
	t.Helper()
	p := decode[client.Problem](t, resp)
	if resp.StatusCode != status || p.Code != code || p.Status != status {
		t.Errorf("%s %s: %d %s (%s), want %d %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, p.Code, p.Detail, status, code)
	}
	return p
}

func TestKeyLife(t *testing.T) {
	f := newFixture(t)
	resp := f.send("ada", "POST", "/me/keys", `{"name":"ci"}`)
	made := decode[client.NewKey](t, resp)
	if resp.StatusCode != 201 || resp.Header.Get("Location") != prefix+"/me/keys/"+made.ID || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("made: %d, Location %q, Cache-Control %q; want 201, the key's, no-store", resp.StatusCode, resp.Header.Get("Location"), resp.Header.Get("Cache-Control"))
	}
	if made.Name != "ci" || !strings.HasPrefix(made.Secret, made.Prefix) || !strings.HasSuffix(made.Secret, made.Last4) || made.ExpiresAt != nil || made.RevokedAt != nil {
		t.Errorf("made = %+v, want a key called ci that does not expire", made)
	}
	f.keys["ci"] = made.Secret
	if me := decode[client.Me](t, f.send("ci", "GET", "/me", "")); me.ID != f.ada.ID || me.Key.ID != made.ID {
		t.Errorf("me with it = %+v, want ada with %s", me, made.ID)
	}
	// The secret is told once.
	if s := text(t, f.send("ada", "GET", "/me/keys", "")); strings.Contains(s, made.Secret) || strings.Contains(s, "secret") || !strings.Contains(s, made.ID) {
		t.Errorf("keys = %s, want the key without its secret", s)
	}
	// One may end the key one calls with, and is told so.
	gone := decode[client.Revoked](t, f.send("ci", "DELETE", "/me/keys/"+made.ID, ""))
	if !gone.Self || gone.RevokedAt == nil || gone.ID != made.ID {
		t.Errorf("revoked = %+v, want itself", gone)
	}
	refused(t, f.send("ci", "GET", "/me", ""), 401, tunnel.CodeKey)
	again := decode[client.Revoked](t, f.send("ada", "DELETE", "/me/keys/"+made.ID, ""))
	if again.Self || again.RevokedAt == nil || !again.RevokedAt.Equal(*gone.RevokedAt) {
		t.Errorf("revoked again = %+v, want it as it was: %v", again, gone.RevokedAt)
	}
	refused(t, f.send("ada", "POST", "/me/keys", `{"name":"late","expiresAt":"2001-01-01T00:00:00Z"}`), 422, tunnel.CodeInvalid)
	refused(t, f.send("ada", "POST", "/me/keys", `{"name":"other's","user":"`+f.bob.ID+`"}`), 422, tunnel.CodeInvalid)
	refused(t, f.send("ada", "POST", "/me/keys", `{"name":"`+strings.Repeat("x", 1000)+`"}`), 422, tunnel.CodeInvalid)
	refused(t, f.send("ada", "POST", "/me/keys", `{"name":"a\u202eb"}`), 422, tunnel.CodeInvalid)
}

func TestPages(t *testing.T) {
	f := newFixture(t)
	for i := range 7 {
		if resp := f.send("ada", "POST", "/me/reservations", fmt.Sprintf(`{"subdomain":"name-%d"}`, i)); resp.StatusCode != 201 {
			t.Fatalf("status = %d, want 201: %s", resp.StatusCode, text(t, resp))
		}
	}
	page := func(path string) (names []string, next string) {
		resp := f.do("GET", path, nil, nil)
		for _, r := range decode[[]client.Reservation](t, resp) {
			names = append(names, r.Subdomain)
		}
		link, ok := strings.CutSuffix(resp.Header.Get("Link"), `>; rel="next"`)
		if ok {
			next = strings.TrimPrefix(link, "<")
		}
		return names, next
	}
	for _, base := range bases {
		var got []string
		pages := 0
		for next := base + "/me/reservations?limit=3"; next != ""; pages++ {
			var names []string
			names, next = page(next)
			got = append(got, names...)
			if pages == 0 {
				// What went is not in the way of the next page.
				if resp := f.send("ada", "DELETE", "/me/reservations/"+names[2], ""); resp.StatusCode != 204 {
					t.Errorf("status = %d, want 204", resp.StatusCode)
				}
				defer f.send("ada", "POST", "/me/reservations", `{"subdomain":"`+names[2]+`"}`)
			}
		}
		if base == prefix {
			if want := "adas-name name-0 name-1 name-2 name-3 name-4 name-5 name-6"; strings.Join(got, " ") != want || pages != 3 {
				t.Errorf("%d pages of %v, want 3 of %s", pages, got, want)
			}
		} else if len(got) != 7 {
			t.Errorf("below %s: %v, want 7", base, got)
		}
	}
	// In the order in which they were made, whatever their ids are.
	keys := decode[[]client.Key](t, f.send("ada", "GET", "/me/keys", ""))
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	for i := 1; i < len(keys); i++ {
		if keys[i].CreatedAt.Before(keys[i-1].CreatedAt) {
			t.Errorf("keys = %v, want the oldest first", names)
		}
	}
	if len(keys) != 4 {
		t.Errorf("keys = %v, want short, old, laptop, spare", names)
	}
}

func TestPlanShowsLimits(t *testing.T) {
	three := 3
	f := newFixtureOf(t, store.Options{Reservations: 2}, func(c *Config) {
		c.TunnelLimit = func(user string) int {
			if u, ok := c.Store.User(user); ok && u.Limits.Tunnels != nil {
				return *u.Limits.Tunnels
			}
			return 10
		}
	})
	plan := func() string { return strings.TrimSpace(text(t, f.send("ada", "GET", "/me/plan", ""))) }
	if want := `{"plan":"self-hosted","tunnels":{"limit":10,"active":1},"reservations":{"limit":2,"used":1}}`; plan() != want {
		t.Errorf("plan = %s, want %s", plan(), want)
	}
	if resp := f.send("ada", "POST", "/me/reservations", `{"subdomain":"second"}`); resp.StatusCode != 201 {
		t.Errorf("second name: %d, want 201", resp.StatusCode)
	}
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"third"}`), 429, tunnel.CodeLimit)
	u, err := f.client("root").AdminSetLimits(t.Context(), f.ada.ID, client.UserLimits{Tunnels: &three, Reservations: new(int)})
	if err != nil || *u.Limits.Tunnels != 3 || *u.Limits.Reservations != 0 {
		t.Fatalf("AdminSetLimits = %+v, %v, want 3 and none", u, err)
	}
	if want := `{"plan":"self-hosted","tunnels":{"limit":3,"active":1},"reservations":{"limit":null,"used":2}}`; plan() != want {
		t.Errorf("plan = %s, want %s", plan(), want)
	}
	if resp := f.send("ada", "POST", "/me/reservations", `{"subdomain":"third"}`); resp.StatusCode != 201 {
		t.Errorf("third name without a limit: %d, want 201", resp.StatusCode)
	}
	// Limits are given whole: what is left out is not taken for the default.
	for _, body := range []string{`{"tunnels":5}`, `{}`, `{"tunnels":-1,"reservations":null}`, `{"tunnels":1.5,"reservations":null}`, `{"tunnels":"5","reservations":null}`} {
		if resp := f.send("root", "PUT", "/admin/users/"+f.ada.ID+"/limits", body); resp.StatusCode != 400 && resp.StatusCode != 422 {
			t.Errorf("limits %s: %d, want them refused", body, resp.StatusCode)
		}
	}
}

func TestReserve(t *testing.T) {
	f := newFixture(t)
	// Bob's tunnel is live: nobody takes the name from under it.
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"bobs"}`), 409, tunnel.CodeName)
	refused(t, f.send("bob", "POST", "/me/reservations", `{"subdomain":"adas-name"}`), 409, tunnel.CodeName)
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"adas-name"}`), 409, tunnel.CodeConflict)
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"admin"}`), 400, tunnel.CodeNameInvalid)
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"-x"}`), 400, tunnel.CodeNameInvalid)
	// One's own may be reserved while it is in use, and given up: the tunnel stays.
	if resp := f.send("bob", "POST", "/me/reservations", `{"subdomain":"bobs"}`); resp.StatusCode != 201 || resp.Header.Get("Location") != prefix+"/me/reservations/bobs" {
		t.Errorf("own: %d, Location %q; want 201 and where it is", resp.StatusCode, resp.Header.Get("Location"))
	}
	if resp := f.send("bob", "DELETE", "/me/reservations/bobs", ""); resp.StatusCode != 204 {
		t.Errorf("given up: %d, want 204", resp.StatusCode)
	}
	if tn, ok := f.registry.Tunnel("bobs"); !ok || !tn.Online() {
		t.Error("the tunnel went with the reservation")
	}
	// A name is kept for a minute for an agent that went, and then it is nobody's.
	tn, _ := f.registry.Tunnel("bobs")
	f.registry.Release(tn.Session())
	refused(t, f.send("ada", "POST", "/me/reservations", `{"subdomain":"bobs"}`), 409, tunnel.CodeName)
	f.later.Add(int64(registry.Keep))
	if resp := f.send("ada", "POST", "/me/reservations", `{"subdomain":"bobs"}`); resp.StatusCode != 201 {
		t.Errorf("a name whose agent is away for a minute: %d, want 201", resp.StatusCode)
	}
}

func TestDomainLife(t *testing.T) {
	z := &zone{txt: map[string][]string{}}
	f := newFixtureOf(t, store.Options{}, func(c *Config) {
		var err error
		if c.Domains, err = domains.New(domains.Config{Store: c.Store.(*store.Store), Domain: "lrok.example", Resolver: z, Dropped: c.Registry.DropDomain, Now: c.Now}); err != nil {
			t.Fatal(err)
		}
	})
	resp := f.send("ada", "POST", "/me/domains", `{"domain":"Shop.Example.COM."}`)
	d := decode[client.Domain](t, resp)
	if resp.StatusCode != 201 || resp.Header.Get("Location") != prefix+"/me/domains/shop.example.com" || d.Domain != "shop.example.com" || d.State != domains.Pending || len(d.Records) != 2 {
		t.Fatalf("added: %d %q %+v, want it pending with two records", resp.StatusCode, resp.Header.Get("Location"), d)
	}
	d = decode[client.Domain](t, f.send("ada", "POST", "/me/domains/shop.example.com/verify", ""))
	if d.State != domains.Pending || d.Problem == "" || d.CheckedAt == nil {
		t.Errorf("verified too early = %+v, want pending with a problem", d)
	}
	if one := decode[client.Domain](t, f.do("GET", prefix+"/me/domains/shop.example.com", nil, nil)); one.Problem != d.Problem {
		t.Errorf("domain = %+v, want what the check found: %+v", one, d)
	}
	for body, status := range map[string]int{
		`{"domain":"lrok.example"}`: 422, `{"domain":"localhost"}`: 422, `{"domain":"a b"}`: 422, `{"domain":""}`: 422,
		`{"domain":"` + strings.Repeat("a.", 2000) + `com"}`: 422, `{"domain":"192.0.2.1"}`: 422,
	} {
		if resp := f.send("ada", "POST", "/me/domains", body); resp.StatusCode != status {
			t.Errorf("%.40s: %d, want %d", body, resp.StatusCode, status)
		}
	}
	if resp := f.send("ada", "DELETE", "/me/domains/shop.example.com", ""); resp.StatusCode != 204 {
		t.Errorf("removed: %d, want 204", resp.StatusCode)
	}
	if resp := f.send("ada", "DELETE", "/me/domains/shop.example.com", ""); resp.StatusCode != 404 {
		t.Errorf("removed twice: %d, want 404", resp.StatusCode)
	}
}

// TestWithout is an edge that has none of what it may do without.
func TestWithout(t *testing.T) {
	f := newFixtureOf(t, store.Options{}, func(c *Config) { c.Domains, c.Certs, c.Stats, c.Replayer = nil, nil, nil, nil })
	for _, rt := range (&api{}).routes() {
		name := rt.method + " " + rt.path
		lacks := strings.Contains(rt.path, "/domains") || strings.Contains(rt.path, "/stats") || strings.Contains(rt.path, "/certs") || strings.HasSuffix(rt.path, "/replay")
		if rt.method != "GET" && !lacks {
			continue
		}
		who := map[who]string{anybody: "", aUser: "ada", anAdmin: "root"}[rt.who]
		resp := f.send(who, rt.method, f.fill(rt.path), f.bodies()[name])
		if lacks {
			refused(t, resp, 501, tunnel.CodeUnsupported)
		} else if resp.StatusCode != rt.status {
			t.Errorf("%s: status = %d, want %d", name, resp.StatusCode, rt.status)
		}
	}
}

// TestBodies is what a request's body may be.
func TestBodies(t *testing.T) {
	f := newFixture(t)
	json := http.Header{"Content-Type": {"application/json"}}
	for _, test := range []struct {
		name   string
		h      http.Header
		body   string
		status int
		code   string
		hint   string
	}{
		{"charset", http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, `{"subdomain":"a1"}`, 201, "", ""},
		{"form", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, `{"subdomain":"a2"}`, 415, codeMedia, "application/json"},
		{"text", http.Header{"Content-Type": {"text/plain"}}, `{"subdomain":"a2"}`, 415, codeMedia, ""},
		{"none", http.Header{"Content-Type": nil}, `{"subdomain":"a2"}`, 415, codeMedia, ""},
		{"two", http.Header{"Content-Type": {"application/json", "text/plain"}}, `{"subdomain":"a2"}`, 415, codeMedia, ""},
		{"other charset", http.Header{"Content-Type": {"application/json; charset=utf-16"}}, `{"subdomain":"a2"}`, 415, codeMedia, ""},
		{"compressed", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, `{"subdomain":"a2"}`, 415, codeMedia, ""},
		{"empty", json, ` `, 400, codeBadRequest, "subdomain"},
		{"null", json, `null`, 400, codeBadRequest, "subdomain"},
		{"list", json, `[]`, 400, codeBadRequest, ""},
		{"missing", json, `{}`, 400, codeBadRequest, "subdomain"},
		{"misspelt", json, `{"subdomian":"a2"}`, 400, codeBadRequest, "did you mean subdomain?"},
		{"unknown", json, `{"subdomain":"a2","x":1}`, 400, codeBadRequest, ""},
		{"wrong type", json, `{"subdomain":7}`, 400, codeBadRequest, ""},
		{"two values", json, `{"subdomain":"a2"}{}`, 400, codeBadRequest, ""},
		{"rubbish behind", json, `{"subdomain":"a2"}]`, 400, codeBadRequest, ""},
		{"cut off", json, `{"subdomain":"a2`, 400, codeBadRequest, ""},
		{"not UTF-8", json, "{\"subdomain\":\"\xff\"}", 400, codeBadRequest, ""},
		{"just fits", json, `{"subdomain":"a3"` + strings.Repeat(" ", maxBody-18) + `}`, 201, "", ""},
		{"too large", json, `{"subdomain":"a4"` + strings.Repeat(" ", maxBody-17) + `}`, 413, codeTooLarge, ""},
		{"deep", json, strings.Repeat("[", 30_000), 400, codeBadRequest, ""},
	} {
		resp := f.do("POST", prefix+"/me/reservations", test.h, strings.NewReader(test.body))
		if test.status == 201 {
			if resp.StatusCode != 201 {
				t.Errorf("%s: %d, want 201: %s", test.name, resp.StatusCode, text(t, resp))
			}
			continue
		}
		if p := refused(t, resp, test.status, test.code); !strings.Contains(p.Hint, test.hint) {
			t.Errorf("%s: hint = %q, want %q in it", test.name, p.Hint, test.hint)
		}
	}
	if n := len(f.store.Reservations(f.ada.ID)); n != 3 {
		t.Errorf("%d reservations, want the first and the two that were granted", n)
	}
	// A time says what is wrong with it.
	p := refused(t, f.send("ada", "POST", "/me/keys", `{"name":"x","expiresAt":"tomorrow"}`), 400, codeBadRequest)
	if !strings.Contains(p.Detail, "tomorrow") || !strings.Contains(p.Hint, "2030-01-31T12:00:00Z") {
		t.Errorf("problem = %+v, want the value and an example", p)
	}
}

func TestUnknownParameters(t *testing.T) {
	f := newFixture(t)
	for query, hint := range map[string]string{
		"/me?verbose=1":   "no parameters",
		"/me/keys?limt=3": "did you mean limit?",
		"/me/tunnels/shop/requests?filtre=status":   "did you mean filter?",
		"/me/tunnels/shop/requests?limit=1&limit=2": "",
		"/me/keys?a;b":      "encode",
		"/me/keys?limit=-1": "",
		"/me/tunnels/shop/requests/stream?since=3": "it knows filter",
	} {
		if p := refused(t, f.send("ada", "GET", query, ""), 400, codeBadRequest); !strings.Contains(p.Hint, hint) {
			t.Errorf("%s: hint = %q, want %q in it", query, p.Hint, hint)
		}
	}
	refused(t, f.send("root", "GET", "/admin/stats?hours=745", ""), 400, codeBadRequest)
	refused(t, f.send("root", "GET", "/admin/keys?user=usr_absent", ""), 404, tunnel.CodeNotFound)
}

// TestNoOrigins: pages of other sites get nothing.
func TestNoOrigins(t *testing.T) {
	f := newFixture(t)
	resp := f.do("OPTIONS", prefix+"/me/keys", http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"POST"}}, nil)
	if resp.StatusCode != 405 {
		t.Errorf("preflight: %d, want 405", resp.StatusCode)
	}
	for _, resp := range []*http.Response{resp, f.do("GET", prefix+"/me", http.Header{"Origin": {"https://evil.example"}}, nil)} {
		for name := range resp.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s is sent", name)
			}
		}
	}
}

// TestNothingIsStored looks at each answer of each route.
func TestNothingIsStored(t *testing.T) {
	f := newFixture(t)
	for _, rt := range (&api{}).routes() {
		resp := f.send("root", rt.method, rt.path, "")
		want := "no-store"
		if rt.who == anybody {
			want = "no-cache"
		}
		if got := resp.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s %s: Cache-Control = %q, want %q", rt.method, rt.path, got, want)
		}
	}
}

// TestHead: HEAD is GET without the body.
func TestHead(t *testing.T) {
	f := newFixture(t)
	for _, rt := range (&api{}).routes() {
		if rt.method != "GET" || rt.endless {
			continue
		}
		who := map[who]string{anybody: "", aUser: "ada", anAdmin: "root"}[rt.who]
		get := f.send(who, "GET", f.fill(rt.path), "")
		head := f.send(who, "HEAD", f.fill(rt.path), "")
		if head.StatusCode != get.StatusCode || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") || text(t, head) != "" {
			t.Errorf("HEAD %s: %d %s, want what GET says: %d %s", rt.path, head.StatusCode, head.Header.Get("Content-Type"), get.StatusCode, get.Header.Get("Content-Type"))
		}
	}
}

// FuzzBodies sends anything to the routes that read a body: each answer is a
// success or a problem that the routes know.
func FuzzBodies(f *testing.F) {
	f.Add(uint8(0), "application/json", `{"name":"x","expiresAt":"2200-01-31T12:00:00Z"}`)
	f.Add(uint8(1), "application/json", `{"subdomain":"a"}`)
	f.Add(uint8(2), "application/json; charset=utf-8", `{"domain":"a.example"}`)
	f.Add(uint8(3), "application/json", `{"name":"x","limits":{"tunnels":9999999999999999999,"reservations":null}}`)
	f.Add(uint8(4), "application/json", `{"user":"\ud800","name":"\u0000"}`)
	f.Add(uint8(5), "text/plain", `{}`)
	f.Add(uint8(6), "application/json", `{"Tunnels":1,"tunnels":2,"reservations":-0}`)
	fx := newFixture(f)
	f.Fuzz(func(t *testing.T, which uint8, contentType, body string) {
		routes := []string{"POST /me/keys", "POST /me/reservations", "POST /me/domains", "POST /admin/users", "POST /admin/keys", "POST /me/requests/{id}/replay", "PUT /admin/users/{id}/limits"}
		method, path, _ := strings.Cut(routes[int(which)%len(routes)], " ")
		resp := fx.serve("root", method, strings.Replace(path, "{id}", "absent", 1), contentType, body)
		got := text(t, resp)
		switch resp.StatusCode {
		case 201:
			if !json.Valid([]byte(got)) {
				t.Errorf("%s %s with %q: %q is not JSON", method, path, body, got)
			}
		case 400, 404, 409, 413, 415, 422, 429:
			var p client.Problem
			if err := json.Unmarshal([]byte(got), &p); err != nil || p.Code == "" || p.Detail == "" || p.Status != resp.StatusCode {
				t.Errorf("%s %s with %q: %d %q, want a problem", method, path, body, resp.StatusCode, got)
			}
		default:
			t.Errorf("%s %s with %q: %d %q", method, path, body, resp.StatusCode, got)
		}
	})
}
