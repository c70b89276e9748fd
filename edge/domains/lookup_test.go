package domains

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lrok-dev/lrok/tunnel"
)

// TestVerifyAgainstDNS asks a real server for records as users leave them.
// TOKEN stands for the token of the user who verifies, OTHER for that of
// another one who waits for the same host.
func TestVerifyAgainstDNS(t *testing.T) {
	const host, proof = "shop.example.com", "_lrok.shop.example.com"
	cname := "CNAME " + edgeName + "."
	txt := `TXT "lrok-verification=TOKEN"`
	tests := []struct {
		name  string
		host  string // host unless said
		zone  map[string][]string
		setup func(z *zone)

		state       string
		cname, txt  bool   // which record is found
		found       string // part of what is found in place of the one that is not
		unsure      bool
		wantOverTCP bool
	}{
		{name: "both are there", zone: map[string][]string{host: {cname}, proof: {txt}}, state: Verified, cname: true, txt: true},
		{
			name: "the edge's own name has addresses", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {txt}, edgeName: {"A 192.0.2.1", "AAAA 2001:db8::1"}},
		},
		{name: "no CNAME", zone: map[string][]string{proof: {txt}}, state: Pending, txt: true, found: "no such name"},
		{
			name: "CNAME elsewhere", state: Pending, txt: true, found: "CNAME shop.hoster.example",
			zone: map[string][]string{host: {"CNAME shop.hoster.example."}, "shop.hoster.example": {"A 192.0.2.9"}, edgeName: {"A 192.0.2.1"}, proof: {txt}},
		},
		{
			name: "CNAME to nothing", state: Pending, txt: true, found: "CNAME gone.hoster.example",
			zone: map[string][]string{host: {"CNAME gone.hoster.example."}, edgeName: {"A 192.0.2.1"}, proof: {txt}},
		},
		{
			name: "CNAME to another name below the edge", state: Pending, txt: true, found: "CNAME other.tun.test",
			zone: map[string][]string{host: {"CNAME other.tun.test."}, proof: {txt}},
		},
		{
			name: "a chain", state: Verified, cname: true, txt: true,
			zone: map[string][]string{
				host: {"CNAME a.example.com."}, "a.example.com": {"CNAME b.example.net."}, "b.example.net": {cname},
				edgeName: {"A 192.0.2.1"}, proof: {txt},
			},
		},
		{
			name: "a chain from a server that tells one link at a time", state: Verified, cname: true, txt: true,
			setup: func(z *zone) { z.noChase = true },
			zone:  map[string][]string{host: {"CNAME a.example.com."}, "a.example.com": {cname}, edgeName: {"A 192.0.2.1"}, proof: {txt}},
		},
		{
			name: "a chain in a circle", state: Pending, txt: true, found: "CNAME",
			setup: func(z *zone) { z.noChase = true },
			zone:  map[string][]string{host: {"CNAME a.example.com."}, "a.example.com": {"CNAME " + host + "."}, proof: {txt}},
		},
		{
			name: "an apex with one of the edge's addresses", host: "example.com", state: Verified, cname: true, txt: true,
			zone: map[string][]string{
				"example.com": {"A 192.0.2.1", "MX 10 mail.example.com."}, "_lrok.example.com": {txt},
				edgeName: {"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"},
			},
		},
		{
			name: "an apex whose IPv6 address is written in another way", host: "example.com", state: Verified, cname: true, txt: true,
			zone: map[string][]string{
				"example.com": {"AAAA 2001:DB8:0:0::1"}, "_lrok.example.com": {txt}, edgeName: {"A 192.0.2.1", "AAAA 2001:db8::1"},
			},
		},
		{
			name: "an apex that leads elsewhere as well", host: "example.com", state: Pending, txt: true, found: "addresses 192.0.2.1, 192.0.2.77",
			zone: map[string][]string{
				"example.com": {"A 192.0.2.1", "A 192.0.2.77"}, "_lrok.example.com": {txt}, edgeName: {"A 192.0.2.1"},
			},
		},
		{
			name: "addresses while the edge's name has none", host: "example.com", state: Pending, txt: true, found: "addresses 192.0.2.1",
			zone: map[string][]string{"example.com": {"A 192.0.2.1"}, "_lrok.example.com": {txt}},
		},
		{name: "no TXT", zone: map[string][]string{host: {cname}}, state: Pending, cname: true, found: "no TXT record"},
		{
			name: "TXT at the host and not below it", state: Pending, cname: true, found: "no TXT record", host: "example.com",
			zone: map[string][]string{"example.com": {"A 192.0.2.1", txt}, edgeName: {"A 192.0.2.1"}},
		},
		{
			name: "another token", state: Pending, cname: true, found: "lrok-verification=0123",
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verification=0123"`}},
		},
		{
			name: "the token of another user", state: Pending, cname: true, found: "lrok-verification=OTHER",
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verification=OTHER"`}},
		},
		{
			name: "the tokens of both", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verification=OTHER"`, txt}},
		},
		{
			name: "a token with more behind it", state: Pending, cname: true, found: "lrok-verification=TOKENx",
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verification=TOKENx"`}},
		},
		{
			name: "a proof in two strings", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verifi" "cation=TOKEN"`}},
		},
		{
			name: "a proof in two records", state: Pending, cname: true, found: "lrok-verifi",
			zone: map[string][]string{host: {cname}, proof: {`TXT "lrok-verifi"`, `TXT "cation=TOKEN"`}},
		},
		{
			name: "among others", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {`TXT "v=spf1 -all"`, `TXT ""`, txt, `TXT "x"`}},
		},
		{
			name: "quotes that a form kept", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {`TXT "\"lrok-verification=TOKEN\""`}},
		},
		{
			name: "control characters in a TXT", state: Pending, cname: true, found: `"\x1b]0;x\a"`,
			zone: map[string][]string{host: {cname}, proof: {`TXT "\027]0;x\007"`}},
		},
		{
			name: "a proof that is a CNAME to a TXT", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {cname}, proof: {"CNAME proofs.example.net."}, "proofs.example.net": {txt}},
		},
		{
			name: "other letters", host: "Shop.EXAMPLE.com", state: Verified, cname: true, txt: true,
			zone: map[string][]string{host: {"CNAME Tunnel.TUN.Test."}, proof: {txt}},
		},
		{
			name: "an international name", host: "bücher.example.com", state: Verified, cname: true, txt: true,
			zone: map[string][]string{"xn--bcher-kva.example.com": {cname}, "_lrok.xn--bcher-kva.example.com": {txt}},
		},
		{name: "nothing at all", zone: map[string][]string{}, state: Pending, found: "no such name"},
		{
			name: "answers too long for UDP", state: Verified, cname: true, txt: true, wantOverTCP: true,
			setup: func(z *zone) { z.truncate = true },
			zone:  map[string][]string{host: {cname}, proof: {txt, `TXT "` + strings.Repeat("x", 250) + `"`}},
		},
		{
			name: "the server fails for both", state: Pending, unsure: true, found: "the DNS server failed",
			setup: func(z *zone) {
				z.rcode[host+"."], z.rcode[proof+"."] = dns.RcodeServerFailure, dns.RcodeServerFailure
			},
		},
		{
			name: "the server fails for the proof", state: Pending, cname: true, unsure: true, found: "the DNS server failed",
			setup: func(z *zone) { z.rcode[proof+"."] = dns.RcodeServerFailure },
			zone:  map[string][]string{host: {cname}},
		},
		{
			name: "the server refuses", state: Pending, txt: true, unsure: true, found: "the DNS server failed",
			setup: func(z *zone) { z.rcode[host+"."] = dns.RcodeRefused },
			zone:  map[string][]string{proof: {txt}},
		},
		{
			name: "the server is silent about the proof", state: Pending, cname: true, unsure: true, found: "no answer",
			setup: func(z *zone) { z.silent[proof+"."] = true },
			zone:  map[string][]string{host: {cname}},
		},
		{
			name: "the server fails for the edge's own addresses", host: "example.com", state: Pending, txt: true, unsure: true, found: "the DNS server failed",
			setup: func(z *zone) { z.rcode[edgeName+"."] = dns.RcodeServerFailure },
			zone:  map[string][]string{"example.com": {"A 192.0.2.1"}, "_lrok.example.com": {txt}},
		},
		{
			name: "one fails, and the other is surely gone", state: Pending, unsure: false, found: "the DNS server failed",
			setup: func(z *zone) { z.rcode[host+"."] = dns.RcodeServerFailure },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			z := newZone(t)
			resolver, err := DNS(z.addr)
			if err != nil {
				t.Fatal(err)
			}
			d := newDomains(t, Config{Resolver: resolver, Timeout: 500 * time.Millisecond})
			if !tt.unsure || tt.found != "no answer" {
				d.cfg.Timeout = 10 * time.Second
			}
			asked := tt.host
			if asked == "" {
				asked = host
			}
			mine := mustAdd(t, d, "me", asked)
			other := mustAdd(t, d, "other", asked)
			if mine.Token == other.Token || len(mine.Token) < 32 {
				t.Fatalf("tokens of two users are %q and %q, want two long ones", mine.Token, other.Token)
			}
			fill := strings.NewReplacer("TOKEN", mine.Token, "OTHER", other.Token)
			for name, records := range tt.zone {
				var rs []string
				for _, r := range records {
					rs = append(rs, fill.Replace(r))
				}
				z.set(t, name, rs...)
			}
			if tt.setup != nil {
				z.mu.Lock()
				tt.setup(z)
				z.mu.Unlock()
			}

			v := mustVerify(t, d, "me", asked, tt.state)
			if len(v.Records) != 2 {
				t.Fatalf("%d records, want 2", len(v.Records))
			}
			c, p := v.Records[0], v.Records[1]
			if c.Type != "CNAME" || c.Name != mine.Host || c.Value != edgeName {
				t.Errorf("first record = %+v, want a CNAME of %s to %s", c, mine.Host, edgeName)
			}
			if p.Type != "TXT" || p.Name != "_lrok."+mine.Host || p.Value != "lrok-verification="+mine.Token {
				t.Errorf("second record = %+v, want the proof", p)
			}
			if c.OK != tt.cname || p.OK != tt.txt {
				t.Errorf("found CNAME %v (%s), TXT %v (%s), want %v and %v", c.OK, c.Found, p.OK, p.Found, tt.cname, tt.txt)
			}
			if found := c.Found + " | " + p.Found; tt.found != "" && !strings.Contains(found, fill.Replace(tt.found)) {
				t.Errorf("found %q, want %q in it", found, fill.Replace(tt.found))
			}
			if tt.state == Verified && v.Problem != "" || tt.state != Verified && v.Problem == "" {
				t.Errorf("problem = %q while it is %s", v.Problem, v.State)
			}
			if f := d.lookUp(t.Context(), mine.Domain); f.unsure != tt.unsure {
				t.Errorf("unsure = %v, want %v: %s", f.unsure, tt.unsure, f.problem)
			}
			_, served := d.Served(mine.Host)
			if served != (tt.state == Verified) {
				t.Errorf("served = %v while it is %s", served, v.State)
			}
			z.mu.Lock()
			defer z.mu.Unlock()
			if tt.wantOverTCP && z.overTCP == 0 {
				t.Error("nothing was asked over TCP")
			}
			if z.overUDP == 0 {
				t.Error("the server was not asked at all")
			}
		})
	}
}

// TestUnreachableServer holds that a server that is not there takes nothing away.
func TestUnreachableServer(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().String()
	_ = pc.Close()
	resolver, err := DNS(addr)
	if err != nil {
		t.Fatal(err)
	}
	d := newDomains(t, Config{Resolver: resolver, Timeout: time.Second})
	v := mustAdd(t, d, "me", "shop.example.com")
	if f := d.lookUp(t.Context(), v.Domain); f.proven || !f.unsure {
		t.Errorf("finding = %+v, want one that is not sure of anything", f)
	}
}

func TestVerifyEndsWithItsCaller(t *testing.T) {
	z := newZone(t)
	z.mu.Lock()
	z.silent["shop.example.com."] = true
	z.mu.Unlock()
	resolver, err := DNS(z.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := new(rows)
	d := newDomains(t, Config{Resolver: resolver, Store: s, Timeout: time.Minute})
	mustAdd(t, d, "me", "shop.example.com")
	ctx, cancel := context.WithCancel(t.Context())
	z.mu.Lock()
	z.asked = cancel
	z.mu.Unlock()
	began := time.Now()
	if _, err := d.Verify(ctx, "me", "me", "shop.example.com"); err == nil {
		t.Error("Verify returned without an error, want that of its context")
	}
	if row, _ := s.Domain("shop.example.com"); !row.Checked.IsZero() {
		t.Errorf("checked = %v, want nothing kept of a look that was broken off", row.Checked)
	}
	if took := time.Since(began); took >= time.Minute { // the timeout
		t.Errorf("Verify returned %v after it began, want at once when its caller leaves", took)
	}
}

// TestOneUserHoldsNobodyUp has a user ask for hosts whose DNS never answers.
func TestOneUserHoldsNobodyUp(t *testing.T) {
	z := newZone(t)
	resolver, err := DNS(z.addr)
	if err != nil {
		t.Fatal(err)
	}
	d := newDomains(t, Config{Resolver: resolver, Timeout: time.Minute})
	z.set(t, "_lrok.shop.example.com", `TXT "lrok-verification=`+mustAdd(t, d, "owner", "shop.example.com").Token+`"`)
	z.set(t, "shop.example.com", "CNAME "+edgeName+".")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	const many = 15
	refused := make(chan error, many)
	for i := range many {
		host := fmt.Sprintf("h%d.example.net", i)
		z.mu.Lock()
		z.silent[host+"."], z.silent["_lrok."+host+"."] = true, true
		z.mu.Unlock()
		mustAdd(t, d, "slow", host)
		wg.Go(func() {
			if _, err := d.Verify(ctx, "slow", "slow", host); ctx.Err() == nil {
				refused <- err
			}
		})
	}
	for range many - askings {
		wantCode(t, <-refused, tunnel.CodeLimit)
	}
	mustVerify(t, d, "owner", "shop.example.com", Verified)
}

func TestResolverAddress(t *testing.T) {
	for _, tt := range []struct {
		addr string
		ok   bool
	}{
		{"", true},
		{"192.0.2.53", true},
		{"192.0.2.53:5353", true},
		{"[2001:db8::53]:53", true},
		{"2001:db8::53", true},
		{"dns.example.com:53", false},
		{"192.0.2.53:x", false},
		{"192.0.2.53:99999", false},
		{"nonsense", false},
	} {
		if r, err := DNS(tt.addr); (err == nil) != tt.ok || tt.ok != (r != nil) {
			t.Errorf("DNS(%q) = %v, %v, want ok %v", tt.addr, r, err, tt.ok)
		}
	}
}
