package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/domains"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A nameserver is a DNS server on loopback whose records the test sets.
type nameserver struct {
	addr string

	mu      sync.Mutex
	records map[string][]string // what follows "IN", by name
	fails   bool                // answers SERVFAIL to everything
	asked   map[string]int
}

func newNameserver(t testing.TB) *nameserver {
	t.Helper()
	n := &nameserver{records: make(map[string][]string), asked: make(map[string]int)}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = pc.LocalAddr().String()
	started, ended := make(chan struct{}), make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: n, NotifyStartedFunc: func() { close(started) }}
	go func() {
		defer close(ended)
		_ = s.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	return n
}

// set gives name these records and no others.
func (n *nameserver) set(name string, records ...string) {
	n.mu.Lock()
	n.records[name+"."] = records
	n.mu.Unlock()
}

func (n *nameserver) fail(fails bool) {
	n.mu.Lock()
	n.fails = fails
	n.mu.Unlock()
}

// count is how often name was asked for.
func (n *nameserver) count(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name+"."]
}

func (n *nameserver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, qtype := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	n.asked[name]++
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	records := n.records[name]
	switch {
	case n.fails:
		m.Rcode = dns.RcodeServerFailure
	case len(records) == 0:
		m.Rcode = dns.RcodeNameError
	}
	if !n.fails {
		for _, r := range records {
			rr, err := dns.NewRR(name + " 60 IN " + r)
			if err != nil {
				m.Rcode = dns.RcodeFormatError
				break
			}
			if h := rr.Header(); h.Rrtype == qtype || h.Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	_ = w.WriteMsg(m)
}

// TestCustomDomain takes a host from its records over visitors and the loss of
// its proof to another owner.
func TestCustomDomain(t *testing.T) {
	const host = "shop.example.com"
	const cname = "CNAME tunnel.tun.test."
	const grace = 4 * time.Second
	ns := newNameserver(t)
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello from "+r.Host)
	})
	r := start(t, local, func(c *rigConfig) {
		c.edge.DataDir = t.TempDir()
		c.edge.Resolver = ns.addr
		c.edge.DomainCheck, c.edge.DomainGrace = 200*time.Millisecond, grace
		c.edge.Traefik = domains.Traefik{Service: "http://10.0.0.2:8080", CertResolver: "le"}
	})

	// Two users with keys of their own, each on an API client like the agent's.
	owner, ownerKey := newUser(t, r, "owner")
	rival, rivalKey := newUser(t, r, "rival")

	wantRefusal := func(what string, err error, code string) {
		t.Helper()
		e := (*tunnel.Error)(nil)
		if !errors.As(err, &e) || e.Code != code {
			t.Fatalf("%s: %v, want code %q", what, err, code)
		}
	}
	refused := func(what, key string) {
		t.Helper()
		_, ended, stop := newAgent(t, r.edge, local, rigConfig{
			claim: tunnel.Claim{Name: "other", Domain: host}, agent: agent.Config{Key: key},
		})
		defer stop()
		select {
		case err := <-ended:
			wantRefusal(what, err, tunnel.CodeDomain)
		case <-time.After(patience):
			t.Fatalf("%s: the agent is not told", what)
		}
	}
	visit := func() string {
		t.Helper()
		return r.exchange(t, "GET /a%2Fb HTTP/1.1\r\nHost: "+strings.ToUpper(host)+"\r\nConnection: close\r\n\r\n")
	}
	traefik := func() bool {
		t.Helper()
		resp, err := http.Get("http://" + r.edge.InternalAddr() + "/traefik.json")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var doc struct {
			HTTP struct {
				Routers map[string]struct{ Rule string }
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
			t.Fatalf("document for Traefik: %v", err)
		}
		for _, router := range doc.HTTP.Routers {
			if router.Rule == "Host(`"+host+"`)" {
				return true
			}
		}
		return false
	}

	mine, err := owner.AddDomain(t.Context(), "Shop.Example.COM")
	if err != nil {
		t.Fatal(err)
	}
	if mine.Domain != host || mine.State != "pending" || len(mine.Records) != 2 {
		t.Fatalf("added domain = %+v, want %s, pending, with two records", mine, host)
	}
	theirs, err := rival.AddDomain(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	ns.set(host, cname)
	refused("a domain that is not verified", ownerKey)

	// The rival cannot pass with the owner's records.
	proof := mine.Records[1]
	ns.set(proof.Name, `TXT "`+proof.Value+`"`)
	if v, err := rival.VerifyDomain(t.Context(), host); err != nil || v.State != "pending" || v.Records[1].OK {
		t.Fatalf("the rival verifies: %+v, %v, want pending", v, err)
	}
	if v, err := owner.VerifyDomain(t.Context(), host); err != nil || v.State != "verified" || !v.Records[0].OK || !v.Records[1].OK {
		t.Fatalf("the owner verifies: %+v, %v, want verified", v, err)
	}
	refused("another's domain", rivalKey)

	a, _, _ := newAgent(t, r.edge, local, rigConfig{
		claim: tunnel.Claim{Name: "mine", Domain: host}, agent: agent.Config{Key: ownerKey},
	})
	if g := online(t, a); !strings.Contains(g.URL, "://"+host) {
		t.Errorf("public URL = %s, want one of %s", g.URL, host)
	}
	if got := visit(); !strings.HasPrefix(got, "HTTP/1.1 200 ") || bodyOf(got) != "hello from "+strings.ToUpper(host) {
		t.Fatalf("a visitor of the domain sees\n%s", got)
	}
	if !traefik() {
		t.Error("Traefik is not told of the domain")
	}
	// It answers on its own host only.
	if got := r.exchange(t, "GET / HTTP/1.1\r\nHost: mine.tun.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("mine.tun.test answers %s, want 404: the tunnel has a host of its own", statusLine(got))
	}

	// A DNS that fails takes nothing away, not even for longer than the grace period.
	ns.fail(true)
	began, asked := time.Now(), ns.count(proof.Name)
	eventually(t, "the edge looks the proof up while the DNS fails, for longer than the grace period", func() bool {
		return ns.count(proof.Name) > asked+5 && time.Since(began) > grace+time.Second
	})
	if d := domainOf(t, owner, host); d.State != "verified" || !strings.Contains(d.Problem, "could not look it up") {
		t.Errorf("the domain is %s (%s) while the DNS fails, want verified, and that it could not be looked up", d.State, d.Problem)
	}
	if got := visit(); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a visitor sees %s while the DNS fails, want 200", statusLine(got))
	}
	ns.fail(false)
	eventually(t, "the proof is found again", func() bool { return domainOf(t, owner, host).Problem == "" })

	// The proof is taken away, and the rival's put in its place.
	ns.set(proof.Name, `TXT "`+theirs.Records[1].Value+`"`)
	var failing client.Domain
	eventually(t, "the edge sees that the proof is gone", func() bool {
		failing = domainOf(t, owner, host)
		return failing.State != "verified"
	})
	if failing.State != "failing" || failing.GraceEnds == nil || !strings.Contains(failing.Problem, "TXT") {
		t.Fatalf("the owner is told %+v, want failing, until when and why", failing)
	}
	_, err = rival.VerifyDomain(t.Context(), host)
	wantRefusal("the rival verifies in the grace period", err, tunnel.CodeConflict)
	if got := visit(); !strings.HasPrefix(got, "HTTP/1.1 200 ") || time.Now().After(*failing.GraceEnds) {
		t.Fatalf("in the grace period a visitor sees %s, want 200", statusLine(got))
	}

	// It lapses, its tunnel ends, and visitors find nothing.
	eventually(t, "the domain lapses", func() bool { return domainOf(t, owner, host).State == "lapsed" })
	if now := time.Now(); now.Before(*failing.GraceEnds) {
		t.Errorf("it lapsed %v before the grace period ended", failing.GraceEnds.Sub(now))
	}
	eventually(t, "a visitor finds no tunnel", func() bool { return strings.HasPrefix(visit(), "HTTP/1.1 404 ") })
	if traefik() {
		t.Error("Traefik is told of a domain that lapsed")
	}
	refused("a domain that lapsed", ownerKey)

	// Now the rival, whose proof it is, gets it; the owner's does not come back.
	if v, err := rival.VerifyDomain(t.Context(), host); err != nil || v.State != "verified" {
		t.Fatalf("the rival verifies: %+v, %v, want verified", v, err)
	}
	_, err = owner.VerifyDomain(t.Context(), host)
	if err == nil {
		if v := domainOf(t, owner, host); v.State != "lapsed" {
			t.Errorf("the owner's domain is %s beside the rival's, want lapsed", v.State)
		}
	}
	b, _, _ := newAgent(t, r.edge, local, rigConfig{
		claim: tunnel.Claim{Name: "theirs", Domain: host}, agent: agent.Config{Key: rivalKey},
	})
	online(t, b)
	if got := visit(); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a visitor of the rival's domain sees %s, want 200", statusLine(got))
	}

	// The audit log has the whole story, and who did what.
	log, err := r.api.AdminAudit(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range slices.Backward(log.Entries) {
		if e.Object == host {
			told = append(told, e.Action)
		}
	}
	want := []string{"domain.add", "domain.add", "domain.verify", "domain.fail", "domain.lapse", "domain.verify"}
	if !slices.Equal(told, want) {
		t.Errorf("audit log = %q, want %q", told, want)
	}
}

// newUser makes a user with a key and a client of its own.
func newUser(t testing.TB, r *rig, name string) (*client.Client, string) {
	t.Helper()
	u, err := r.api.AdminAddUser(t.Context(), client.UserRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	k, err := r.api.AdminCreateKey(t.Context(), client.KeyRequest{Name: "test", User: u.ID})
	if err != nil {
		t.Fatal(err)
	}
	c := client.Over(r.agent.DialAPI, k.Secret)
	t.Cleanup(c.Close)
	return c, k.Secret
}

func domainOf(t testing.TB, c *client.Client, host string) client.Domain {
	t.Helper()
	ds, err := c.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ds, func(d client.Domain) bool { return d.Domain == host })
	if i < 0 {
		t.Fatalf("%s is not among %+v", host, ds)
	}
	return ds[i]
}
