package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
)

// bodies are good requests to the routes that read one.
func (f *fixture) bodies() map[string]string {
	return map[string]string{
		"POST /me/keys":                               `{"name":"ci","expiresAt":"2200-01-31T12:00:00Z"}`,
		"POST /me/reservations":                       `{"subdomain":"fresh-name"}`,
		"POST /me/domains":                            `{"domain":"fresh.example.com"}`,
		"POST /admin/users":                           `{"name":"Eve","limits":{"tunnels":3,"reservations":null}}`,
		"PUT /admin/users/{id}/limits":                `{"tunnels":3,"reservations":0}`,
		"POST /admin/keys":                            `{"name":"ci","user":"` + f.ada.ID + `"}`,
		"POST /me/requests/{id}/replay":               `{"set":[{"name":"X-A","value":"1"}]}`,
		"POST /me/tunnels/{sub}/requests/{id}/replay": `{}`,
	}
}

// fill puts what is there into the placeholders of a path.
func (f *fixture) fill(path string) string {
	sub, id := "shop", f.id
	switch {
	case strings.Contains(path, "/reservations"):
		sub = "adas-name"
	case strings.Contains(path, "/users"):
		id = f.ada.ID
	case strings.Contains(path, "/keys"):
		id = f.spare.ID
	}
	return strings.NewReplacer("{sub}", sub, "{id}", id, "{domain}", "ada.example.com").Replace(path)
}

// TestAuthorisation is the table of who gets what. Each route has a row; a route
// without one fails.
func TestAuthorisation(t *testing.T) {
	callers := []string{"", "bad", "revoked", "expired", "bob", "root", "local", "ada"}
	// Nothing is for those without a key that works.
	row := func(other, admin, local, owner int) [8]int {
		return [8]int{401, 401, 401, 401, other, admin, local, owner}
	}
	rows := map[string][8]int{
		"GET /openapi.json": {200, 200, 200, 200, 200, 200, 200, 200},
		// These show what is the caller's own, so there is nothing to refuse to
		// another user; TestOwnOnly looks into the answers.
		"GET /me":              row(200, 200, 200, 200),
		"GET /me/plan":         row(200, 200, 200, 200),
		"GET /me/tunnels":      row(200, 200, 200, 200),
		"GET /me/reservations": row(200, 200, 200, 200),
		"GET /me/domains":      row(200, 200, 200, 200),
		"GET /me/keys":         row(200, 200, 200, 200),
		// The edge's own machine is no user who could own something.
		"POST /me/reservations": row(201, 201, 403, 201),
		"POST /me/domains":      row(201, 201, 403, 201),
		"POST /me/keys":         row(201, 201, 403, 201),
		// What is another's does not exist, for administrators neither: captures
		// are their owner's alone.
		"GET /me/tunnels/{sub}":                             row(404, 404, 404, 200),
		"DELETE /me/tunnels/{sub}":                          row(404, 404, 404, 204),
		"DELETE /me/tunnels/{sub}/connections":              row(404, 404, 404, 200),
		"DELETE /me/tunnels/{sub}/connections/{id}":         row(404, 404, 404, 204),
		"GET /me/tunnels/{sub}/requests":                    row(404, 404, 404, 200),
		"DELETE /me/tunnels/{sub}/requests":                 row(404, 404, 404, 204),
		"GET /me/tunnels/{sub}/requests/stream":             row(404, 404, 404, 200),
		"GET /me/tunnels/{sub}/requests/{id}":               row(404, 404, 404, 200),
		"GET /me/tunnels/{sub}/requests/{id}/request/body":  row(404, 404, 404, 200),
		"GET /me/tunnels/{sub}/requests/{id}/response/body": row(404, 404, 404, 200),
		"POST /me/tunnels/{sub}/requests/{id}/replay":       row(404, 404, 404, 200),
		"GET /me/requests/{id}":                             row(404, 404, 404, 200),
		"GET /me/requests/{id}/request/body":                row(404, 404, 404, 200),
		"GET /me/requests/{id}/response/body":               row(404, 404, 404, 200),
		"POST /me/requests/{id}/replay":                     row(404, 404, 404, 200),
		"GET /me/reservations/{sub}":                        row(404, 404, 404, 200),
		"DELETE /me/reservations/{sub}":                     row(404, 404, 404, 204),
		"GET /me/domains/{domain}":                          row(404, 404, 404, 200),
		"POST /me/domains/{domain}/verify":                  row(404, 404, 404, 200),
		"DELETE /me/domains/{domain}":                       row(404, 404, 404, 204),
		"GET /me/keys/{id}":                                 row(404, 404, 404, 200),
		"DELETE /me/keys/{id}":                              row(404, 404, 404, 200),
		// The owner of what administrators handle here is a user like any other.
		"GET /admin/users":             row(403, 200, 200, 403),
		"POST /admin/users":            row(403, 201, 201, 403),
		"GET /admin/users/{id}":        row(403, 200, 200, 403),
		"DELETE /admin/users/{id}":     row(403, 204, 204, 403),
		"PUT /admin/users/{id}/limits": row(403, 200, 200, 403),
		"GET /admin/keys":              row(403, 200, 200, 403),
		"POST /admin/keys":             row(403, 201, 201, 403),
		"GET /admin/keys/{id}":         row(403, 200, 200, 403),
		"DELETE /admin/keys/{id}":      row(403, 200, 200, 403),
		"GET /admin/tunnels":           row(403, 200, 200, 403),
		"GET /admin/tunnels/{sub}":     row(403, 200, 200, 403),
		"DELETE /admin/tunnels/{sub}":  row(403, 204, 204, 403),
		"GET /admin/stats":             row(403, 200, 200, 403),
		"GET /admin/audit":             row(403, 200, 200, 403),
		"POST /admin/certs/reload":     row(403, 200, 200, 403),
	}
	f := newFixture(t)
	for _, rt := range (&api{}).routes() {
		name := rt.method + " " + rt.path
		want, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row in the table of who gets what", name)
			continue
		}
		delete(rows, name)
		for i, who := range callers {
			at := bases[i%2]
			before := f.state()
			h := f.as(who)
			var resp *http.Response
			if body, ok := f.bodies()[name]; ok {
				resp = f.do(rt.method, f.fill(at+rt.path), h, strings.NewReader(body))
			} else {
				resp = f.do(rt.method, f.fill(at+rt.path), h, nil)
			}
			if resp.StatusCode != want[i] {
				t.Errorf("%s by %q: status = %d, want %d", name, who, resp.StatusCode, want[i])
			}
			if resp.StatusCode < 400 {
				if rt.method != http.MethodGet {
					f = newFixture(t)
				}
				continue
			}
			if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s by %q: content type = %q, want a problem", name, who, got)
			}
			p := decode[client.Problem](t, resp)
			if p.Status != resp.StatusCode || p.Code == "" || p.Detail == "" || p.Title == "" || p.Type == "" {
				t.Errorf("%s by %q: problem = %+v, want all of it", name, who, p)
			}
			if resp.StatusCode == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s by %q: 401 without WWW-Authenticate", name, who)
			}
			// What was refused must not have happened.
			if after := f.state(); after != before {
				t.Errorf("%s by %q: refused, and done\nbefore:\n%s\nafter:\n%s", name, who, before, after)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		t.Errorf("the table has a row for %s, which is no route", name)
	}
}

// TestAnothersLooksLikeNone compares the answers to what is another user's with
// those to what does not exist.
func TestAnothersLooksLikeNone(t *testing.T) {
	f := newFixture(t)
	names := strings.NewReplacer("shop", "absent", "adas-name", "absent", f.id, "req_absent", f.spare.ID, "key_absent", "ada.example.com", "no.example.com")
	n := 0
	for _, rt := range (&api{}).routes() {
		if rt.who != aUser || placeholdersIn(rt.path) == nil {
			continue
		}
		n++
		path := f.fill(rt.path)
		body := f.bodies()[rt.method+" "+rt.path]
		anothers := f.send("bob", rt.method, path, body)
		none := f.send("bob", rt.method, names.Replace(path), body)
		a, b := text(t, anothers), text(t, none)
		if anothers.StatusCode != 404 || none.StatusCode != 404 || names.Replace(a) != b {
			t.Errorf("%s %s: another's: %d %s\nnone at all: %d %s", rt.method, rt.path, anothers.StatusCode, a, none.StatusCode, b)
		}
	}
	if n < 15 {
		t.Errorf("%d routes were tried, want all of those with a placeholder", n)
	}
}
