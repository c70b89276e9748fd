package domains

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestTraefikDocument(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full := Traefik{Service: "http://10.0.0.2:8080", EntryPoint: "web_secure", CertResolver: "le-1"}
	hosts := []store.Domain{
		{Host: "shop.example.com", User: "a", Created: at, Verified: at},
		{Host: "shop-example.com", User: "a", Created: at, Verified: at},
		{Host: "pending.example.com", User: "a", Created: at},
		{Host: "failing.example.com", User: "b", Created: at, Verified: at, Failing: at},
		{Host: "lapsed.example.com", User: "b", Created: at, Failing: at},
		{Host: "xn--bcher-kva.example", User: "b", Created: at, Verified: at},
		// What nothing of this edge writes, should it be in the file all the same.
		{Host: "x`) || Host(`victim.example.com", User: "evil", Created: at, Verified: at},
		{Host: "evil.example.com`", User: "evil", Created: at, Verified: at},
		{Host: "Upper.example.com", User: "evil", Created: at, Verified: at},
		{Host: "*.example.com", User: "evil", Created: at, Verified: at},
	}
	for _, tt := range []struct {
		name    string
		traefik Traefik
		rows    []store.Domain
	}{
		{"full", full, hosts},
		{"defaults", Traefik{Service: "http://lrok:8080"}, hosts[:1]},
		{"empty", full, nil},
		{"pending", full, hosts[2:3]},
		{"no-service", Traefik{}, hosts},
		{"passthrough", Traefik{Service: "http://lrok:8080", Passthrough: "lrok:8443"}, hosts},
		{"passthrough-uncertified", Traefik{Service: "http://lrok:8080", Passthrough: "lrok:8443"}, hosts[1:2]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &rows{rows: tt.rows}
			h := newDomains(t, Config{
				Store: s, Resolver: new(answers), Traefik: tt.traefik,
				Certified: func(host string) bool { return host != "shop-example.com" },
			}).Traefik()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/traefik", nil))
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("answer = %d %s, want 200 application/json", w.Code, w.Header().Get("Content-Type"))
			}
			got := w.Body.String()
			file := filepath.Join("testdata", "traefik-"+tt.name+".json")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("document is\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "victim") || strings.Contains(got, "evil") {
				t.Errorf("what is no host got into the document:\n%s", got)
			}
			for range 20 { // maps have no order
				again := httptest.NewRecorder()
				h.ServeHTTP(again, httptest.NewRequest("GET", "/traefik", nil))
				if again.Body.String() != got {
					t.Fatal("the same hosts make another document")
				}
			}
		})
	}
}

func TestTraefikMethods(t *testing.T) {
	h := newDomains(t, Config{Resolver: new(answers)}).Traefik()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/traefik", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST = %d, want 405", w.Code)
	}
}

func TestTraefikSettings(t *testing.T) {
	for _, tt := range []struct {
		traefik Traefik
		ok      bool
	}{
		{Traefik{}, true},
		{Traefik{Service: "http://lrok:8080"}, true},
		{Traefik{Service: "https://10.0.0.2"}, true},
		{Traefik{Service: "h2c://lrok:8080"}, false},
		{Traefik{Service: "lrok:8080"}, false},
		{Traefik{Service: "http://user:pass@lrok:8080"}, false},
		{Traefik{Service: "http://lrok:8080/path"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: "lrok:8443"}, true},
		{Traefik{Service: "http://lrok:8080", Passthrough: "[2001:db8::2]:8443"}, true},
		{Traefik{Passthrough: "lrok:8443"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: "lrok"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: "lrok:0"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: "lrok:https"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: ":8443"}, false},
		{Traefik{Service: "http://lrok:8080", Passthrough: "https://lrok:8443"}, false},
		{Traefik{EntryPoint: "web,other"}, false},
		{Traefik{CertResolver: "a b"}, false},
		{Traefik{EntryPoint: "websecure", CertResolver: "le"}, true},
	} {
		_, err := New(Config{Domain: edgeDomain, Store: new(rows), Resolver: new(answers), Traefik: tt.traefik})
		if (err == nil) != tt.ok {
			t.Errorf("New with %+v = %v, want ok %v", tt.traefik, err, tt.ok)
		}
	}
}

// TestRouterNames holds that no two hosts share a router.
func TestRouterNames(t *testing.T) {
	names := make(map[string]string)
	for _, host := range []string{"a.b.c", "a-b.c", "a.b-c", "a-b-c.d", "a--b.c", "a---b.c", "a--b--c.d", "a.b--c", "x.n.b-c", "x-n.b.c"} {
		name := routerName(host)
		if other, ok := names[name]; ok {
			t.Errorf("%s and %s both have the router %s", host, other, name)
		}
		names[name] = host
	}
}
