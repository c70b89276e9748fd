package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/api"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

// void is a resolver that finds nothing.
type void struct{}

func (void) LookupCNAME(_ context.Context, host string) (string, error) { return host + ".", nil }
func (void) LookupHost(_ context.Context, host string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (void) LookupTXT(_ context.Context, name string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// TestAccount calls what a user may do at an edge with a store.
func TestAccount(t *testing.T) {
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r := registry.New(registry.Config{Domain: "lrok.example"})
	own, err := domains.New(domains.Config{Store: st, Domain: "lrok.example", Resolver: void{}, Dropped: r.DropDomain})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(api.New(api.Config{Store: st, Registry: r, Domains: own}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := client.New(&http.Client{Transport: tr}, s.URL, st.AdminKey())
	ctx := t.Context()
	code := func(err error) string {
		if e := (*tunnel.Error)(nil); errors.As(err, &e) {
			return e.Code
		}
		return fmt.Sprint(err)
	}

	expires := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	made, err := c.CreateKey(ctx, client.KeyRequest{Name: "ci", ExpiresAt: &expires})
	if err != nil || made.Secret == "" || made.ExpiresAt == nil || !made.ExpiresAt.Equal(expires) {
		t.Fatalf("CreateKey = %+v, %v, want a key until %v", made, err, expires)
	}
	keys, err := c.Keys(ctx)
	if err != nil || len(keys) != 2 || keys[1].ID != made.ID {
		t.Errorf("Keys = %+v, %v, want the first and %s", keys, err, made.ID)
	}
	gone, err := client.New(&http.Client{Transport: tr}, s.URL, made.Secret).RevokeKey(ctx, made.ID)
	if err != nil || !gone.Self || gone.RevokedAt == nil {
		t.Errorf("RevokeKey = %+v, %v, want itself", gone, err)
	}
	if _, err := c.RevokeKey(ctx, "key_absent"); code(err) != tunnel.CodeNotFound {
		t.Errorf("RevokeKey of none = %v, want code %s", err, tunnel.CodeNotFound)
	}

	if res, err := c.Reserve(ctx, "shop"); err != nil || res.Subdomain != "shop" {
		t.Errorf("Reserve = %+v, %v, want shop", res, err)
	}
	if _, err := c.Reserve(ctx, "Shop!"); code(err) != tunnel.CodeNameInvalid {
		t.Errorf("Reserve of no name = %v, want code %s", err, tunnel.CodeNameInvalid)
	}
	if rs, err := c.Reservations(ctx); err != nil || len(rs) != 1 {
		t.Errorf("Reservations = %+v, %v, want one", rs, err)
	}
	if err := c.Unreserve(ctx, "shop"); err != nil {
		t.Error(err)
	}
	if err := c.Unreserve(ctx, "shop"); code(err) != tunnel.CodeNotFound {
		t.Errorf("Unreserve twice = %v, want code %s", err, tunnel.CodeNotFound)
	}

	d, err := c.AddDomain(ctx, "shop.example.com")
	if err != nil || d.State != domains.Pending || len(d.Records) != 2 {
		t.Errorf("AddDomain = %+v, %v, want it pending with two records", d, err)
	}
	// A host may be written in any case, in the path too.
	if d, err = c.VerifyDomain(ctx, "Shop.example.com"); err != nil || d.State != domains.Pending || d.Problem == "" {
		t.Errorf("VerifyDomain = %+v, %v, want it pending with a problem", d, err)
	}
	if ds, err := c.Domains(ctx); err != nil || len(ds) != 1 || ds[0].Domain != "shop.example.com" {
		t.Errorf("Domains = %+v, %v, want one", ds, err)
	}
	if err := c.RemoveDomain(ctx, "shop.example.com"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveDomain(ctx, "shop.example.com/../../keys"); code(err) != tunnel.CodeNotFound {
		t.Errorf("RemoveDomain of a path = %v, want code %s", err, tunnel.CodeNotFound)
	}
	if _, err := c.AdminStats(ctx, 0); code(err) != tunnel.CodeUnsupported {
		t.Errorf("AdminStats of an edge without counters = %v, want code %s", err, tunnel.CodeUnsupported)
	}
}

// TestLists reads lists that come in pages, from an edge that is not to be
// trusted with more than that.
func TestLists(t *testing.T) {
	var asked []string
	link := func(after string) string { return `<https://evil.example/steal?after=` + after + `>; rel="next"` }
	pages := map[string]struct{ body, link string }{
		"":  {`[{"subdomain":"a"},{"subdomain":"b"}]`, link("b")},
		"b": {`[{"subdomain":"c"}]`, link("c")},
		"c": {`[]`, link("c")}, // would go on for ever
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		p := pages[r.URL.Query().Get("after")]
		w.Header().Set("Link", p.link)
		fmt.Fprint(w, p.body)
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := client.New(&http.Client{Transport: tr}, s.URL, "lrok_ada")
	rs, err := c.Reservations(t.Context())
	var names []string
	for _, r := range rs {
		names = append(names, r.Subdomain)
	}
	if got := strings.Join(names, " "); err != nil || got != "a b c" {
		t.Errorf("Reservations = %s, %v, want a b c", got, err)
	}
	if got, want := strings.Join(asked, " "), "/api/v1/me/reservations /api/v1/me/reservations?after=b /api/v1/me/reservations?after=c"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	// What was asked for stays asked for on later pages.
	asked = nil
	pages[""], pages["b"] = struct{ body, link string }{`[{"id":"b"}]`, link("b")}, struct{ body, link string }{`[]`, ""}
	if _, err := c.AdminKeys(t.Context(), "usr_1"); err != nil || asked[len(asked)-1] != "/api/v1/admin/keys?after=b&user=usr_1" {
		t.Errorf("AdminKeys asked for %v, %v, want the user's next page", asked, err)
	}
}

// TestErrorsAreReadable has answers of an edge, of a proxy and of somebody who
// means harm.
func TestErrorsAreReadable(t *testing.T) {
	for _, test := range []struct {
		name, kind, body string
		status           int
		code, want       string
	}{
		{"problem", "application/problem+json", `{"code":"limit_reached","detail":"2 of 2 names are reserved","hint":"give one up"}`, 429, tunnel.CodeLimit, "2 of 2 names are reserved"},
		{"problem without words", "application/problem+json; charset=utf-8", `{"code":"forbidden","title":"Forbidden"}`, 403, tunnel.CodeForbidden, "Forbidden"},
		{"proxy", "text/plain; charset=utf-8", "404 page not found\n", 404, tunnel.CodeInternal, "the address answered 404 Not Found, which is not how an edge's API answers: 404 page not found"},
		{"page", "text/html", "<html>", 502, tunnel.CodeInternal, "the address answered 502 Bad Gateway, which is not how an edge's API answers"},
		{"nothing", "", "", 500, tunnel.CodeInternal, "the address answered 500 Internal Server Error, which is not how an edge's API answers"},
		{"escapes", "application/problem+json", `{"code":"x","detail":"a\u001b]52;c;aGk=\u0007\u202eb"}`, 400, "x", "a]52;c;aGk=b"},
		{"endless", "application/problem+json", `{"code":"x","detail":"` + strings.Repeat("y", 9000) + `"}`, 400, "x", strings.Repeat("y", 500) + "…"},
		{"larger than that", "text/plain", strings.Repeat("z", 1<<20), 400, tunnel.CodeInternal, "the address answered 400 Bad Request, which is not how an edge's API answers: " + strings.Repeat("z", 500) + "…"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{test.kind}
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}))
		tr := &http.Transport{}
		_, err := client.New(&http.Client{Transport: tr}, s.URL, "lrok_ada").Keys(t.Context())
		var e *tunnel.Error
		if !errors.As(err, &e) || e.Code != test.code || err.Error() != test.want {
			t.Errorf("%s: %v, want %s: %s", test.name, err, test.code, test.want)
		}
		tr.CloseIdleConnections()
		s.Close()
	}
}
