package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A book is a Book that a test writes.
type book struct {
	mu       sync.Mutex
	reserved map[string]string
	domains  map[string]string // of users, with a "?" behind those without a proof
	limits   map[string]int
}

func (b *book) Reserved(name string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	user, ok := b.reserved[name]
	return user, ok
}

func (b *book) Domain(host string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	user, ok := b.domains[host]
	name, unproved := strings.CutSuffix(user, "?")
	return name, ok && !unproved
}

func (b *book) TunnelLimit(user string) int { return b.limits[user] }

// refused claims what must not be granted.
func mustRefuse(t *testing.T, r *Registry, user, instance, code string, c ...tunnel.Claim) *tunnel.Error {
	t.Helper()
	grants, err := r.Claim(t.Context(), newSession(), user, instance, "tower", c)
	if err == nil {
		t.Fatalf("claim %+v by %s = %+v, want code %s", c, user, grants, code)
	}
	if err.Code != code || err.Message == "" || err.Hint == "" {
		t.Errorf("claim by %s = %+v, want code %s with message and hint", user, err, code)
	}
	return err
}

// TestHint is the rule for a name that is asked for: own reservation, another's,
// none.
func TestHint(t *testing.T) {
	b := &book{reserved: map[string]string{"shop": "ada", "wiki": "ada"}}
	r := New(Config{Domain: "lrok.example", Book: b})
	mustClaim(t, r, newSession(), "ada", "i1", claim("shop")...)
	mustClaim(t, r, newSession(), "bob", "i2", claim("free")...)
	inUse := mustRefuse(t, r, "bob", "i3", tunnel.CodeName, claim("shop")...)
	reserved := mustRefuse(t, r, "bob", "i3", tunnel.CodeName, claim("wiki")...)
	mustRefuse(t, r, "ada", "i4", tunnel.CodeName, claim("free")...)
	takeover := claim("wiki")
	takeover[0].Takeover = true
	mustRefuse(t, r, "bob", "i3", tunnel.CodeName, takeover...)
	// What another user has and what they only reserved look the same.
	if a, b := inUse.Message+inUse.Hint, strings.ReplaceAll(reserved.Message+reserved.Hint, "wiki", "shop"); a != b {
		t.Errorf("a name in use is refused with %q, a reserved one with %q", a, b)
	}
}

// A refusal says which of several claims it is about, so that the agent can do
// without that one.
func TestRefusalNamesTheClaim(t *testing.T) {
	r := New(Config{Domain: "lrok.example", Ports: [2]int{30000, 30001}, MaxClaims: 4, Book: &book{reserved: map[string]string{"shop": "ada"}}})
	web := func(names ...string) (list []tunnel.Claim) {
		for _, name := range names {
			list = append(list, claim(name)...)
		}
		return list
	}
	raw := func(port int) tunnel.Claim { return tunnel.Claim{Kind: tunnel.TCP, RemotePort: port} }
	for _, tt := range []struct {
		code   string
		want   int
		claims []tunnel.Claim
	}{
		{tunnel.CodeName, 2, web("one", "shop", "two")},
		{tunnel.CodeName, 3, web("one", "two", "one")},
		{tunnel.CodeNameInvalid, 2, web("one", "-")},
		{tunnel.CodeDomain, 2, append(web("one"), tunnel.Claim{Kind: tunnel.HTTP, Domain: "a.example.org"})},
		{tunnel.CodePort, 3, append(web("one"), raw(30001), raw(30001))},
		{tunnel.CodeLimit, 5, web("a1", "a2", "a3", "a4", "a5")},
	} {
		if err := mustRefuse(t, r, "bob", "i1", tt.code, tt.claims...); err.Claim != tt.want {
			t.Errorf("%q is about claim %d, want %d", err.Message, err.Claim, tt.want)
		}
	}
	mustClaim(t, r, newSession(), "bob", "i1", web("one", "two")...)
}

// TestReservationWins over whoever came first.
func TestReservationWins(t *testing.T) {
	b := &book{reserved: map[string]string{}}
	r := New(Config{Domain: "lrok.example", Book: b})
	squatter := newSession()
	mustClaim(t, r, squatter, "bob", "i1", claim("shop")...)
	theirs := lookup(t, r, "shop.lrok.example")
	theirs.Ring.Begin(inspector.Start{Method: "GET", Path: "/secret"})
	b.mu.Lock()
	b.reserved["shop"] = "ada"
	b.mu.Unlock()
	if !theirs.Online() {
		t.Error("a reservation alone ended a tunnel")
	}
	s := newSession()
	mustClaim(t, r, s, "ada", "i2", claim("shop")...)
	wait(t, squatter)
	if why := squatter.superseded.Load(); why == nil || !strings.Contains(*why, "shop") || !strings.Contains(*why, "another user") {
		t.Errorf("the squatter was told %v, want that the name belongs to another user", why)
	} else if strings.Contains(*why, "ada") || strings.Contains(*why, "laptop") {
		t.Errorf("the squatter was told %q, which says whose it is", *why)
	}
	mine := lookup(t, r, "shop.lrok.example")
	if mine.Session() != s || mine.Owner != "ada" {
		t.Errorf("the tunnel is %s's, want ada's", mine.Owner)
	}
	if mine.Ring == theirs.Ring || len(theirs.Ring.List(0, 0)) != 0 {
		t.Error("captures changed hands or were kept")
	}
	mustRefuse(t, r, "bob", "i1", tunnel.CodeName, claim("shop")...) // and does not come back
	// Among the processes of its user it is like any other name.
	mustRefuse(t, r, "ada", "i3", tunnel.CodeName, claim("shop")...)
}

// TestChosenNameAvoidsReservations of others.
func TestChosenNameAvoidsReservations(t *testing.T) {
	c := tunnel.Claim{Kind: tunnel.HTTP, Project: "p"}
	plain := mustClaim(t, New(Config{Domain: "lrok.example"}), newSession(), "ada", "i1", c)[0].Name
	for owner, want := range map[string]bool{"bob": false, "ada": true} {
		r := New(Config{Domain: "lrok.example", Book: &book{reserved: map[string]string{plain: owner}}})
		if got := mustClaim(t, r, newSession(), "ada", "i1", c)[0].Name; (got == plain) != want {
			t.Errorf("with %q reserved by %s the edge chose %q", plain, owner, got)
		}
	}
	// One that this process had is not chosen either, once it is another's.
	b := &book{reserved: map[string]string{}}
	r := New(Config{Domain: "lrok.example", Book: b})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", c)
	r.Release(s)
	b.reserved[plain] = "bob"
	if got := mustClaim(t, r, newSession(), "ada", "i1", c)[0].Name; got == plain {
		t.Errorf("the edge chose %q again, which bob has reserved since", got)
	}
}

func TestTunnelLimit(t *testing.T) {
	now := time.Now()
	r := New(Config{Domain: "lrok.example", Book: &book{limits: map[string]int{"ada": 2}}, Now: func() time.Time { return now }})
	first, second := newSession(), newSession()
	mustClaim(t, r, first, "ada", "i1", claim("a")...)
	mustClaim(t, r, second, "ada", "i2", claim("b")...)
	err := mustRefuse(t, r, "ada", "i3", tunnel.CodeLimit, claim("c")...)
	if !strings.Contains(err.Message, "2") {
		t.Errorf("the refusal %q does not name the limit", err.Message)
	}
	mustClaim(t, r, newSession(), "bob", "i9", append(claim("x"), append(claim("y"), claim("z")...)...)...) // has none
	// What comes back, before its old session was missed, is not one more.
	back := newSession()
	mustClaim(t, r, back, "ada", "i1", claim("a")...)
	over := claim("b")
	over[0].Takeover = true
	mustClaim(t, r, newSession(), "ada", "i3", over...)
	// One that is away makes room.
	r.Release(back)
	mustRefuse(t, r, "ada", "i4", tunnel.CodeLimit, append(claim("c"), claim("d")...)...)
	mustClaim(t, r, newSession(), "ada", "i4", claim("c")...)
	mustRefuse(t, r, "ada", "i1", tunnel.CodeLimit, claim("a")...)
	if n := len(r.Tunnels("ada")); n != 3 {
		t.Errorf("%d tunnels, want 3: two online and one away", n)
	}
}

// TestTunnelLimitOfTheDead: a session that does not answer does not use the limit
// up.
func TestTunnelLimitOfTheDead(t *testing.T) {
	now := time.Now()
	r := New(Config{Domain: "lrok.example", Book: &book{limits: map[string]int{"ada": 2}}, Now: func() time.Time { return now }})
	dead, lives := newSession(), newSession()
	dead.dead.Store(true)
	mustClaim(t, r, dead, "ada", "i1", claim("a")...)
	mustClaim(t, r, lives, "ada", "i2", claim("b")...)
	mustRefuse(t, r, "ada", "i3", tunnel.CodeLimit, claim("c")...) // it came just now
	now = now.Add(settled)
	mustClaim(t, r, newSession(), "ada", "i3", claim("c")...)
	mustRefuse(t, r, "ada", "i4", tunnel.CodeLimit, claim("d")...)
	dead.dead.Store(false)
	mustRefuse(t, r, "ada", "i4", tunnel.CodeLimit, claim("d")...)
	if lives.superseded.Load() != nil || dead.superseded.Load() != nil {
		t.Error("a session was sent away for a limit")
	}
}

// TestSessionLimit counts what a session has, not what it has had.
func TestSessionLimit(t *testing.T) {
	r := New(Config{Domain: "lrok.example", MaxClaims: 2})
	s := newSession()
	for i := range 10 {
		name := fmt.Sprint("n", i)
		mustClaim(t, r, s, "ada", "i1", claim(name)...)
		mustClaim(t, r, s, "ada", "i1", claim(name)...) // again: the same one
		if !r.Withdraw(s, name) {
			t.Fatalf("%s was not there", name)
		}
	}
	if n := len(r.bySession[s]); n != 0 {
		t.Errorf("%d tunnels are remembered of a session that holds none", n)
	}
	mustClaim(t, r, s, "ada", "i1", append(claim("a"), claim("b")...)...)
	if _, err := r.Claim(t.Context(), s, "ada", "i1", "laptop", claim("c")); err == nil || err.Code != tunnel.CodeLimit {
		t.Errorf("the third of two = %v, want code %s", err, tunnel.CodeLimit)
	}
}

func TestOptionsRefused(t *testing.T) {
	r := New(Config{
		Domain: "lrok.example", Ports: [2]int{30000, 30009},
		Book: &book{domains: map[string]string{"shop.example": "ada"}},
	})
	of := func(kind tunnel.Kind, f func(*tunnel.Claim)) tunnel.Claim {
		c := tunnel.Claim{Kind: kind, Name: "shop", Local: "localhost:3000"}
		f(&c)
		return c
	}
	rules := func(n int) []string { return slices.Repeat([]string{"10.0.0.0/8"}, n) }
	for _, test := range []struct {
		name string
		c    tunnel.Claim
		says string // part of the message
	}{
		{"domain on tcp", of(tunnel.TCP, func(c *tunnel.Claim) { c.Domain = "shop.example" }), "--domain"},
		{"basic-auth on tcp", of(tunnel.TCP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "u", "p" }), "--basic-auth"},
		{"basic-auth on tls", of(tunnel.TLS, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "u", "p" }), "--basic-auth"},
		{"password alone on tls", of(tunnel.TLS, func(c *tunnel.Claim) { c.BasicPassword = "p" }), "--basic-auth"},
		{"host-header on tcp", of(tunnel.TCP, func(c *tunnel.Claim) { c.HostHeader = "rewrite" }), "--host-header"},
		{"host-header on tls", of(tunnel.TLS, func(c *tunnel.Claim) { c.HostHeader = "rewrite" }), "--host-header"},
		{"upstream-proto on tcp", of(tunnel.TCP, func(c *tunnel.Claim) { c.UpstreamProto = "h1" }), "--upstream-proto"},
		{"remote-port on http", of(tunnel.HTTP, func(c *tunnel.Claim) { c.RemotePort = 30001 }), "--remote-port"},
		{"remote-port on tls", of(tunnel.TLS, func(c *tunnel.Claim) { c.RemotePort = 30001 }), "--remote-port"},
		{"proxy-protocol on http", of(tunnel.HTTP, func(c *tunnel.Claim) { c.ProxyProtocol = "v2" }), "--proxy-protocol"},
		{"proxy-protocol v3", of(tunnel.TCP, func(c *tunnel.Claim) { c.ProxyProtocol = "v3" }), "v3"},
		{"upstream-proto h3", of(tunnel.HTTP, func(c *tunnel.Claim) { c.UpstreamProto = "h3" }), "h3"},
		{"host-header that is none", of(tunnel.HTTP, func(c *tunnel.Claim) { c.HostHeader = "a b" }), "a b"},
		{"port below the range", of(tunnel.TCP, func(c *tunnel.Claim) { c.RemotePort = 22 }), "30000 to 30009"},
		{"port above the range", of(tunnel.TCP, func(c *tunnel.Claim) { c.RemotePort = 30010 }), "30000 to 30009"},
		{"negative port", of(tunnel.TCP, func(c *tunnel.Claim) { c.RemotePort = -1 }), "30000 to 30009"},
		{"user without password", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser = "u" }), "password"},
		{"password without user", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicPassword = "p" }), "user"},
		{"user with a colon", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "u:v", "p" }), "colon"},
		{"control character", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "u", "p\n" }), "control"},
		{"rule that is none", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Allow = []string{"10.0.0.0/8", "10.0.0.0/33"} }), "10.0.0.0/33"},
		{"rule with a name", of(tunnel.TCP, func(c *tunnel.Claim) { c.Deny = []string{"example.com"} }), "example.com"},
		{"empty rule", of(tunnel.TLS, func(c *tunnel.Claim) { c.Deny = []string{""} }), "--deny"},
		{"rule with a zone", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Allow = []string{"fe80::1%eth0"} }), "fe80::1%eth0"},
		{"rule over both families", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Deny = []string{"::ffff:0.0.0.0/90"} }), "::ffff:0.0.0.0/90"},
		{"too many rules", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Allow, c.Deny = rules(33), rules(32) }), "65"},
		{"long rule", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Allow = []string{strings.Repeat("x", 4000)} }), "--allow"},
		{"long project", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Project = strings.Repeat("x", maxProject+1) }), "project"},
		{"long local service", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Local = strings.Repeat("x", maxLocal+1) }), "local service"},
		{"long host header", of(tunnel.HTTP, func(c *tunnel.Claim) { c.HostHeader = strings.Repeat("x", maxHost+1) }), "host header"},
		{"long domain", of(tunnel.HTTP, func(c *tunnel.Claim) { c.Domain = strings.Repeat("x", maxHost+1) }), "domain"},
		{"long user", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = strings.Repeat("x", maxLogin+1), "p" }), "user"},
		{"long password", of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "u", strings.Repeat("x", maxLogin+1) }), "password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := mustRefuse(t, r, "ada", "i1", tunnel.CodeInvalid, test.c)
			if !strings.Contains(err.Message, test.says) || len(err.Message) > 300 {
				t.Errorf("Message = %q, want it short and to say %q", err.Message, test.says)
			}
			if ts := r.Tunnels(""); len(ts) != 0 {
				t.Errorf("%d tunnels are left behind, want none", len(ts))
			}
		})
	}
	for _, test := range []tunnel.Claim{
		of(tunnel.HTTP, func(c *tunnel.Claim) { c.Allow, c.Deny = rules(32), rules(32) }),
		of(tunnel.HTTP, func(c *tunnel.Claim) { c.HostHeader = "localhost:3000" }),
		of(tunnel.HTTP, func(c *tunnel.Claim) { c.HostHeader, c.UpstreamProto = "rewrite", "h2c" }),
		of(tunnel.HTTP, func(c *tunnel.Claim) { c.BasicUser, c.BasicPassword = "ü", "pass word:é" }),
		of(tunnel.TLS, func(c *tunnel.Claim) { c.ProxyProtocol, c.Deny = "v1", rules(1) }),
		of(tunnel.TCP, func(c *tunnel.Claim) { c.RemotePort, c.NoInspect = 30009, true }),
	} {
		s := newSession()
		mustClaim(t, r, s, "ada", "i1", test)
		r.Withdraw(s, "shop")
	}
}

// TestKindsNotServed by an edge that has no TLS listener and no TCP ports.
func TestKindsNotServed(t *testing.T) {
	r := New(Config{Domain: "lrok.example", URL: func(host string, kind tunnel.Kind) string {
		if kind == tunnel.TLS {
			return ""
		}
		return "http://" + host
	}})
	for _, kind := range []tunnel.Kind{tunnel.TCP, tunnel.TLS, ""} {
		mustRefuse(t, r, "ada", "i1", tunnel.CodeUnsupported, tunnel.Claim{Kind: kind, Name: "shop"})
	}
}

func TestAccess(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	c := claim("shop")
	c[0].BasicUser, c[0].BasicPassword = "ada", "correct horse"
	c[0].Allow = []string{"10.0.0.0/8", "2001:db8::1", "::ffff:192.0.2.0/120"}
	c[0].Deny = []string{"10.1.2.3", "10.9.0.7/16"}
	mustClaim(t, r, newSession(), "ada", "i1", c...)
	mustClaim(t, r, newSession(), "ada", "i2", claim("open")...)
	tn := lookup(t, r, "shop.lrok.example")
	if tn.Claim.BasicPassword != "" {
		t.Error("the password is kept")
	}
	for ip, want := range map[string]bool{
		"10.0.0.1": true, "::ffff:10.0.0.1": true, "10.1.2.3": false, "::ffff:10.1.2.3": false, "10.1.2.4": true,
		"10.9.255.255": false, "11.0.0.1": false, "192.0.2.200": true, "192.0.3.1": false,
		"2001:db8::1": true, "2001:db8::2": false, "fe80::1%eth0": false,
	} {
		if got := tn.Access.Admits(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Admits(%s) = %v, want %v", ip, got, want)
		}
	}
	for _, login := range []struct {
		user, password string
		want           bool
	}{
		{"ada", "correct horse", true},
		{"ada", "correct horsf", false},
		{"ada", "", false},
		{"Ada", "correct horse", false},
		{"", "correct horse", false},
		{"", "", false},
	} {
		if got := tn.Access.Login(login.user, login.password); got != login.want {
			t.Errorf("Login(%q, %q) = %v, want %v", login.user, login.password, got, login.want)
		}
	}
	open := lookup(t, r, "open.lrok.example").Access
	if open != nil {
		t.Errorf("Access without rules = %+v, want nil", open)
	}
	if !open.Admits(netip.Addr{}) || !open.Login("", "") {
		t.Error("a tunnel without rules does not let everybody in")
	}
	deny := &Access{Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if deny.Admits(netip.Addr{}) || !deny.Admits(netip.MustParseAddr("192.0.2.1")) {
		t.Error("with rules to deny: an unknown address was let in, or another one not")
	}
}

func TestDomain(t *testing.T) {
	b := &book{domains: map[string]string{"shop.example": "ada", "new.example": "ada?", "bobs.example": "bob", "xn--kse-qla.example": "ada", "evil.lrok.example": "ada"}}
	r := New(Config{Domain: "lrok.example", Book: b, Direct: "http://127.0.0.1:1"})
	on := func(domain string) tunnel.Claim {
		return tunnel.Claim{Kind: tunnel.HTTP, Domain: domain, Project: "p"}
	}
	var answers []string
	for _, domain := range []string{"new.example", "bobs.example", "none.example"} {
		err := mustRefuse(t, r, "ada", "i1", tunnel.CodeDomain, on(domain))
		if !strings.Contains(err.Hint, "lrok domain add "+domain) {
			t.Errorf("Hint for %s = %q, want how to add it", domain, err.Hint)
		}
		answers = append(answers, strings.ReplaceAll(err.Message+err.Hint, domain, "it"))
	}
	if answers[0] != answers[1] || answers[1] != answers[2] {
		t.Errorf("the answers tell apart what is another user's: %q", answers)
	}
	for _, domain := range []string{"shop.example:443", "http://shop.example", "192.0.2.1:80", "[::1]", "a b", "lrok.example", "evil.lrok.example", "-", "shop..example"} {
		mustRefuse(t, r, "ada", "i1", tunnel.CodeDomain, on(domain))
	}

	s := newSession()
	g := mustClaim(t, r, s, "ada", "i1", on("SHOP.example."))[0]
	if g.URL != "https://shop.example" || g.Direct != "" || !tunnel.ValidName(g.Name) {
		t.Errorf("grant = %+v, want the domain's URL, a name and no direct address", g)
	}
	tn := lookup(t, r, "shop.example")
	if tn.Host != "shop.example" || tn.Name != g.Name {
		t.Errorf("tunnel = %s at %s", tn.Name, tn.Host)
	}
	if other, ok := r.Lookup(g.Name + ".lrok.example"); ok {
		t.Errorf("it also answers for %s", other.Host)
	}
	if lone, ok := r.Only(); ok {
		t.Errorf("%s would answer for requests that name no tunnel", lone.Name)
	}
	if g := mustClaim(t, r, newSession(), "ada", "i5", on("käse.example"))[0]; g.URL != "https://xn--kse-qla.example" {
		t.Errorf("URL = %q, want the domain in ASCII", g.URL)
	}

	// Two on one domain: as with a name, whatever project it is.
	other := on("shop.example")
	other.Project = "q"
	err := mustRefuse(t, r, "ada", "i2", tunnel.CodeName, other)
	if !strings.Contains(err.Message, "shop.example") || !strings.Contains(err.Message, "laptop") || !strings.Contains(err.Hint, "--takeover") {
		t.Errorf("refusal = %+v, want where the domain is and --takeover", err)
	}
	mustRefuse(t, r, "ada", "i2", tunnel.CodeName, tunnel.Claim{Kind: tunnel.TLS, Domain: "shop.example", Name: "other"})
	mustRefuse(t, r, "ada", "i2", tunnel.CodeName, on("käse.example"), on("xn--kse-qla.example"))
	before := tn
	other.Takeover = true
	s2 := newSession()
	g2 := mustClaim(t, r, s2, "ada", "i2", other)[0]
	wait(t, s)
	if after := lookup(t, r, "shop.example"); after.Session() != s2 || after.Ring != before.Ring || g2.Name != g.Name {
		t.Errorf("after the takeover: name %s, want %s with its captures", g2.Name, g.Name)
	}
	// With a name of its own the old name is free again.
	s3 := newSession()
	named := tunnel.Claim{Kind: tunnel.TLS, Domain: "shop.example", Name: "named", Takeover: true}
	if g := mustClaim(t, r, s3, "ada", "i3", named)[0]; g.URL != "tls://shop.example" {
		t.Errorf("URL = %q, want tls", g.URL)
	}
	wait(t, s2)
	if _, ok := r.Tunnel(g.Name); ok {
		t.Errorf("%s is there without a host", g.Name)
	}
	// From a domain to a name of the edge's: the domain answers no more.
	mustClaim(t, r, s3, "ada", "i3", claim("named")...)
	if _, ok := r.Lookup("shop.example"); ok {
		t.Error("the domain still answers")
	}
	lookup(t, r, "named.lrok.example")
}

// TestDomainChangesHands: who holds it loses it to the owner of the moment.
func TestDomainChangesHands(t *testing.T) {
	b := &book{domains: map[string]string{"shop.example": "ada"}}
	r := New(Config{Domain: "lrok.example", Book: b})
	c := tunnel.Claim{Kind: tunnel.HTTP, Domain: "shop.example"}
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", c)
	old := lookup(t, r, "shop.example")
	b.domains["shop.example"] = "bob"
	mustClaim(t, r, newSession(), "bob", "i2", c)
	wait(t, s)
	if now := lookup(t, r, "shop.example"); now.Owner != "bob" || now.Ring == old.Ring {
		t.Errorf("the domain is %s's, want bob's with captures of its own", now.Owner)
	}
	if len(r.Tunnels("ada")) != 0 {
		t.Error("the old tunnel is still there")
	}
}

func TestDropDomain(t *testing.T) {
	r := New(Config{Domain: "lrok.example", Book: &book{domains: map[string]string{"shop.example": "ada"}}})
	s, both := newSession(), newSession()
	mustClaim(t, r, s, "ada", "i1", tunnel.Claim{Kind: tunnel.HTTP, Domain: "shop.example"})
	tn := lookup(t, r, "shop.example")
	mustClaim(t, r, both, "ada", "i2", claim("wiki")...)
	r.DropDomain("wiki.lrok.example") // no custom domain
	r.DropDomain("none.example")
	lookup(t, r, "wiki.lrok.example")
	r.DropDomain("shop.example")
	if _, ok := r.Lookup("shop.example"); ok || tn.Online() || len(r.Tunnels("ada")) != 1 {
		t.Error("the tunnel is still there")
	}
	wait(t, s)
	if why := s.superseded.Load(); why == nil || !strings.Contains(*why, "shop.example") {
		t.Errorf("the agent was told %v, want that the domain is not served any more", why)
	}
}

// TestClaimRaceRounds has a hundred users, one of whom has reserved the name,
// go for it over and over: one holds it in the end, and it is that one.
func TestClaimRaceRounds(t *testing.T) {
	for round := range 30 {
		reserved := map[string]string{}
		if round%2 == 1 {
			reserved["shop"] = "user42"
		}
		r := New(Config{Domain: "lrok.example", Book: &book{reserved: reserved}})
		won := make([]bool, 100)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range won {
			wg.Go(func() {
				<-start
				_, err := r.Claim(context.Background(), newSession(), fmt.Sprint("user", i), fmt.Sprint("i", i), "laptop", claim("shop"))
				if won[i] = err == nil; err != nil && err.Code != tunnel.CodeName {
					t.Errorf("user %d: %v, want code %s", i, err, tunnel.CodeName)
				}
			})
		}
		close(start)
		wg.Wait()
		n := 0
		for i, ok := range won {
			if ok {
				n++
				if owner := lookup(t, r, "shop.lrok.example").Owner; owner != fmt.Sprint("user", i) {
					t.Errorf("user %d was granted the name, and it is %s's", i, owner)
				}
			}
		}
		if n != 1 || reserved["shop"] != "" && !won[42] {
			t.Fatalf("round %d: %d winners, 42 among them: %v", round, n, won[42])
		}
	}
}

// FuzzClaim reads claims that an agent made up: they are refused, or what was
// read from them is sound.
func FuzzClaim(f *testing.F) {
	f.Add("http", "shop", "shop.example", "10.0.0.0/8", "::ffff:10.0.0.1", "ada", "pass", "rewrite", "h2c", "", 0)
	f.Add("tcp", "", "", "2001:db8::/32", "", "", "", "", "", "v2", 30001)
	f.Add("tls", "xn--a", "sh\u00f6p.example.", "fe80::1%eth0", "::/0", "", "", "", "", "v1", -1)
	r := New(Config{Domain: "lrok.example", Ports: [2]int{30000, 30001}, Reserved: []string{"mine"}})
	f.Fuzz(func(t *testing.T, kind, name, domain, allow, deny, user, password, host, proto, proxy string, port int) {
		c := tunnel.Claim{
			Kind: tunnel.Kind(kind), Name: name, Domain: domain, Allow: []string{allow}, Deny: []string{deny, allow},
			BasicUser: user, BasicPassword: password, HostHeader: host, UpstreamProto: proto, ProxyProtocol: proxy, RemotePort: port,
		}
		ws, err := r.check([]tunnel.Claim{c})
		if err != nil {
			if err.Code == "" || err.Message == "" || err.Hint == "" || len(err.Message) > 1000 {
				t.Errorf("refusal = %+v, want code, hint and a message of some length", err)
			}
			return
		}
		w := ws[0]
		if w.BasicPassword != "" {
			t.Error("the password is kept")
		}
		if w.access == nil || len(w.access.Allow) != 1 || len(w.access.Deny) != 2 || w.access.User != user {
			t.Fatalf("access = %+v, want the rules and the user of the claim", w.access)
		}
		for _, p := range append(w.access.Allow, w.access.Deny...) {
			if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
				t.Errorf("rule %v matches nothing", p)
			}
		}
		// What is both allowed and denied does not come in.
		if w.access.Admits(w.access.Allow[0].Addr()) {
			t.Errorf("%v comes in, which is denied", w.access.Allow[0])
		}
		if !w.access.Login(user, password) || user != "" && w.access.Login(user, password+"x") {
			t.Error("another password than the claim's logs in")
		}
		if w.Domain != "" && (w.Domain != strings.ToLower(w.Domain) || strings.ContainsAny(w.Domain, " :/")) {
			t.Errorf("domain %q of %q", w.Domain, domain)
		}
	})
}
