package domains

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rows is a store in memory that keeps to the store's rules.
type rows struct {
	mu     sync.Mutex
	rows   []store.Domain
	actors []string // of the writes, in order
	broken error
}

func (s *rows) Domain(host string) (store.Domain, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found store.Domain
	for _, d := range s.rows {
		if d.Host == host && (found.Host == "" || !d.Verified.IsZero()) {
			found = d
		}
	}
	return found, found.Host != ""
}

func (s *rows) Domains(user string) []store.Domain {
	s.mu.Lock()
	defer s.mu.Unlock()
	var some []store.Domain
	for _, d := range s.rows {
		if user == "" || d.User == user {
			some = append(some, d)
		}
	}
	return some
}

func (s *rows) AddDomain(_ context.Context, by, user, host, token string) (store.Domain, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return store.Domain{}, s.broken
	}
	d := store.Domain{Host: host, User: user, Token: token, Created: time.Now()}
	s.rows = append(s.rows, d)
	s.actors = append(s.actors, by)
	return d, nil
}

func (s *rows) SetDomain(_ context.Context, by string, d store.Domain) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	for _, o := range s.rows {
		if o.Host == d.Host && o.User != d.User && !o.Verified.IsZero() && !d.Verified.IsZero() {
			return &tunnel.Error{Code: tunnel.CodeConflict, Message: "two users have " + d.Host + " verified"}
		}
	}
	for i, o := range s.rows {
		if o.Host == d.Host && o.User == d.User {
			s.rows[i] = d
			s.actors = append(s.actors, by)
			return nil
		}
	}
	return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no such domain"}
}

func (s *rows) RemoveDomain(_ context.Context, by, user, host string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	n := len(s.rows)
	s.rows = slices.DeleteFunc(s.rows, func(d store.Domain) bool { return d.User == user && d.Host == host })
	if len(s.rows) == n {
		return &tunnel.Error{Code: tunnel.CodeNotFound, Message: "no such domain"}
	}
	s.actors = append(s.actors, by)
	return nil
}

// A zone is a DNS server on loopback, UDP and TCP, that resolves as a recursive
// one does.
type zone struct {
	addr string

	mu       sync.Mutex
	records  map[string][]dns.RR // by lower-case name with its dot
	rcode    map[string]int      // what is answered for a name instead
	silent   map[string]bool
	noChase  bool // CNAMEs are answered alone
	overTCP  int
	overUDP  int
	truncate bool // answers over UDP
	asked    func()
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{records: map[string][]dns.RR{}, rcode: map[string]int{}, silent: map[string]bool{}}
	pc, l := sameAddress(t)
	z.addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		s.Handler = z
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-ended })
	}
	return z
}

// sameAddress listens on one port with UDP and TCP.
func sameAddress(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		_ = pc.Close() // another process has that port for TCP
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// set puts records in the place of all those that name has.
func (z *zone) set(t *testing.T, name string, records ...string) {
	t.Helper()
	var rrs []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(name + ". 60 IN " + r)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[strings.ToLower(name)+"."] = rrs
	if len(rrs) == 0 {
		delete(z.records, strings.ToLower(name)+".")
	}
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	if udp {
		z.overUDP++
	} else {
		z.overTCP++
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name, qtype := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	if z.asked != nil {
		z.asked()
	}
	if z.silent[name] {
		return
	}
	if code, ok := z.rcode[name]; ok {
		m.Rcode = code
		_ = w.WriteMsg(m)
		return
	}
	for range 16 {
		rrs, ok := z.records[name]
		if !ok && len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		next := ""
		for _, rr := range rrs {
			if h := rr.Header(); h.Rrtype == qtype || h.Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
			if c, ok := rr.(*dns.CNAME); ok && qtype != dns.TypeCNAME && !z.noChase {
				next = strings.ToLower(c.Target)
			}
		}
		if name = next; name == "" {
			break
		}
	}
	if udp && z.truncate {
		m.Truncated, m.Answer = true, nil
	}
	_ = w.WriteMsg(m)
}

const (
	edgeDomain = "tun.test"
	edgeName   = "tunnel.tun.test"
)

func newDomains(t *testing.T, c Config) *Domains {
	t.Helper()
	c.Domain = cmp.Or(c.Domain, edgeDomain)
	if c.Store == nil {
		c.Store = new(rows)
	}
	c.Logger = slog.New(slog.DiscardHandler)
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustAdd(t *testing.T, d *Domains, user, host string) Domain {
	t.Helper()
	v, err := d.Add(t.Context(), user, user, host)
	if err != nil {
		t.Fatalf("%s adds %s: %v", user, host, err)
	}
	return v
}

func mustVerify(t *testing.T, d *Domains, user, host, state string) Domain {
	t.Helper()
	v, err := d.Verify(t.Context(), user, user, host)
	if err != nil {
		t.Fatalf("%s verifies %s: %v", user, host, err)
	}
	if v.State != state {
		t.Fatalf("after %s verified %s it is %s (%s), want %s", user, host, v.State, v.Problem, state)
	}
	return v
}

func wantCode(t *testing.T, err error, code string) *tunnel.Error {
	t.Helper()
	e := (*tunnel.Error)(nil)
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error = %v, want code %q", err, code)
	}
	return e
}
