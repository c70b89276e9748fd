package domains

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestAddRefuses(t *testing.T) {
	d := newDomains(t, Config{Domain: "lrok.example.com", Resolver: new(answers)})
	for _, host := range []string{
		"", ".", "..", "a..b.example", "-a.example.com", "a-.example.com", "a_b.example.com",
		"lrok.example.com", "LROK.example.com.", "shop.lrok.example.com", "a.b.lrok.example.com",
		"192.0.2.1", "1.2.3", "0x7f.1", "example.1", "[2001:db8::1]", "2001:db8::1", "localhost", "shop.localhost", "intranet",
		"com", "co.uk", "github.io", "shop.example.com:443", "https://shop.example.com", "shop.example.com/path", "user@shop.example.com",
		"*.example.com", "shop example.com", "shop.example.com\n", "shop`.example.com", "shop.example.com`) || Host(`x", "a\x00.example.com",
		strings.Repeat("a", 64) + ".example.com", strings.Repeat("a.", 130) + "com", strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", 48) + ".de",
		"xn--a.example.com", "xn--zz--.example.com", "\xff.example.com",
	} {
		v, err := d.Add(t.Context(), "me", "me", host)
		if e := (*tunnel.Error)(nil); !errors.As(err, &e) || e.Code != tunnel.CodeInvalid || e.Hint == "" {
			t.Errorf("Add(%q) = %v, %v, want %s with a hint", host, v.Host, err, tunnel.CodeInvalid)
		}
	}
}

func TestAddCanonical(t *testing.T) {
	for _, tt := range []struct{ host, want string }{
		{"shop.example.com", "shop.example.com"},
		{"Shop.Example.COM.", "shop.example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER。example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"example.com", "example.com"},
		{"example.co.uk", "example.co.uk"},
		{"me.github.io", "me.github.io"},
		{"notlrok.example.com", "notlrok.example.com"},
		{"lrok.example.com.evil.example", "lrok.example.com.evil.example"},
		{"a--b.example.com", "a--b.example.com"},
		{"127.example.com", "127.example.com"},
		{"shop.internal.test", "shop.internal.test"},
	} {
		d := newDomains(t, Config{Domain: "lrok.example.com", Resolver: new(answers)})
		v, err := d.Add(t.Context(), "me", "me", tt.host)
		if err != nil || v.Host != tt.want || v.State != Pending {
			t.Errorf("Add(%q) = %q, %s, %v, want %q, pending", tt.host, v.Host, v.State, err, tt.want)
		}
	}
}

// FuzzHost holds that what passes can be written into a rule, a DNS question and
// a certificate, and stays what it is.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"shop.example.com", "bücher.example", "a`b.com", "xn--bcher-kva.example", "a.b:80", "[::1]", "ｅxample.com", "a。b.c"} {
		f.Add(s)
	}
	d, err := New(Config{Domain: "tun.test", Store: new(rows), Resolver: new(answers)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := d.canonical(s)
		if err != nil {
			if e := (*tunnel.Error)(nil); !errors.As(err, &e) {
				t.Fatalf("canonical(%q) fails with %v, want an error for people", s, err)
			}
			return
		}
		if !plain(c) || len(c) > 247 || !strings.Contains(c, ".") || strings.HasSuffix(c, ".tun.test") || net.ParseIP(c) != nil {
			t.Fatalf("canonical(%q) = %q", s, c)
		}
		if again, err := d.canonical(c); err != nil || again != c {
			t.Fatalf("canonical(%q) = %q, %v after it was that of %q", c, again, err, s)
		}
	})
}

func TestAddAgain(t *testing.T) {
	d := newDomains(t, Config{Resolver: new(answers)})
	first := mustAdd(t, d, "me", "shop.example.com")
	if again := mustAdd(t, d, "me", "SHOP.example.com."); again.Token != first.Token {
		t.Errorf("token = %q after adding again, want the same %q", again.Token, first.Token)
	}
	if n := len(d.List("me")); n != 1 {
		t.Errorf("%d domains, want 1", n)
	}
}

func TestLimit(t *testing.T) {
	limit := 2
	d := newDomains(t, Config{Resolver: new(answers), PerUser: func() int { return limit }})
	mustAdd(t, d, "me", "a.example.com")
	mustAdd(t, d, "me", "b.example.com")
	_, err := d.Add(t.Context(), "me", "me", "c.example.com")
	wantCode(t, err, tunnel.CodeLimit)
	mustAdd(t, d, "me", "a.example.com")
	mustAdd(t, d, "other", "c.example.com")
	if err := d.Remove(t.Context(), "me", "me", "a.example.com"); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, d, "me", "c.example.com")
	if n := len(newDomainsWith(t, 20)); n != 20 {
		t.Errorf("%d domains without a limit of one's own, want 20", n)
	}
}

// newDomainsWith adds hosts until it is refused.
func newDomainsWith(t *testing.T, want int) []Domain {
	d := newDomains(t, Config{Resolver: new(answers)})
	for i := range want + 5 {
		if _, err := d.Add(t.Context(), "me", "me", fmt.Sprintf("h%d.example.com", i)); err != nil {
			wantCode(t, err, tunnel.CodeLimit)
			break
		}
	}
	return d.List("me")
}

// TestFirstToProve tells the story of two users who want the same host.
func TestFirstToProve(t *testing.T) {
	dns := new(answers)
	s := new(rows)
	var dropped []string
	d := newDomains(t, Config{Resolver: dns, Store: s, Dropped: func(h string) { dropped = append(dropped, h) }})
	const host = "shop.example.com"
	squatter := mustAdd(t, d, "squatter", host)
	owner := mustAdd(t, d, "owner", host)
	dns.cname(host, edgeName)
	dns.text("_lrok."+host, "lrok-verification="+owner.Token)

	mustVerify(t, d, "squatter", host, Pending)
	if user, ok := d.Served(host); ok {
		t.Fatalf("served for %s before anybody proved it", user)
	}
	mustVerify(t, d, "owner", host, Verified)
	if user, ok := d.Served(host); !ok || user != "owner" {
		t.Fatalf("Served = %q, %v, want the owner's", user, ok)
	}

	// Nobody else gets it now, with or without a proof, waiting or new: all are told
	// the same.
	dns.text("_lrok."+host, "lrok-verification="+owner.Token, "lrok-verification="+squatter.Token)
	_, err := d.Verify(t.Context(), "squatter", "squatter", host)
	first := wantCode(t, err, tunnel.CodeConflict)
	_, err = d.Add(t.Context(), "third", "third", host)
	second := wantCode(t, err, tunnel.CodeConflict)
	if *first != *second {
		t.Errorf("refusals differ: %+v and %+v", first, second)
	}
	if strings.Contains(first.Message+first.Hint, "owner") {
		t.Errorf("%q says whose it is", first.Message)
	}

	// Nor can others touch the owner's row.
	wantCode(t, d.Remove(t.Context(), "third", "third", host), tunnel.CodeNotFound)
	_, err = d.Verify(t.Context(), "third", "third", host)
	wantCode(t, err, tunnel.CodeNotFound)
	if err := d.Remove(t.Context(), "squatter", "squatter", host); err != nil {
		t.Errorf("the squatter removes his own wish: %v", err)
	}
	if user, _ := d.Served(host); user != "owner" {
		t.Fatalf("served for %q after another's wish was removed, want owner", user)
	}
	if len(dropped) > 0 {
		t.Errorf("dropped %q, want nothing yet", dropped)
	}

	// Given up, it is free.
	if err := d.Remove(t.Context(), "owner", "owner", host); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dropped, []string{host}) {
		t.Errorf("dropped %q, want %q", dropped, host)
	}
	third := mustAdd(t, d, "third", host)
	mustVerify(t, d, "third", host, Pending) // the old owner's proof is still in the DNS
	dns.text("_lrok."+host, "lrok-verification="+third.Token)
	mustVerify(t, d, "third", host, Verified)
}

// TestRaceForHost lets many users prove the same host at once.
func TestRaceForHost(t *testing.T) {
	dns := new(answers)
	d := newDomains(t, Config{Resolver: dns})
	const host, users = "shop.example.com", 50
	dns.cname(host, edgeName)
	var texts []string
	for i := range users {
		texts = append(texts, "lrok-verification="+mustAdd(t, d, fmt.Sprint("u", i), host).Token)
	}
	dns.text("_lrok."+host, texts...)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []string
	for i := range users {
		wg.Go(func() {
			user := fmt.Sprint("u", i)
			v, err := d.Verify(t.Context(), user, user, host)
			if err == nil && v.State == Verified {
				mu.Lock()
				won = append(won, user)
				mu.Unlock()
				return
			}
			if e := (*tunnel.Error)(nil); !errors.As(err, &e) || e.Code != tunnel.CodeConflict {
				t.Errorf("%s: %s, %v, want %s", user, v.State, err, tunnel.CodeConflict)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d users got the host: %q, want one", len(won), won)
	}
	if user, ok := d.Served(host); !ok || user != won[0] {
		t.Errorf("Served = %q, %v, want %q", user, ok, won[0])
	}
}

func TestRemovedWhileLookedUp(t *testing.T) {
	dns := new(answers)
	d := newDomains(t, Config{Resolver: dns})
	const host = "shop.example.com"
	old := mustAdd(t, d, "me", host)
	dns.cname(host, edgeName)
	dns.text("_lrok."+host, "lrok-verification="+old.Token)
	dns.meanwhile = func() {
		if err := d.Remove(t.Context(), "me", "me", host); err != nil {
			t.Error(err)
		}
		mustAdd(t, d, "me", host) // with another token
	}
	_, err := d.Verify(t.Context(), "me", "me", host)
	wantCode(t, err, tunnel.CodeConflict)
	if _, ok := d.Served(host); ok {
		t.Error("a proof with the token of a removed row was taken")
	}
}

func TestBrokenStore(t *testing.T) {
	dns, s := new(answers), new(rows)
	d := newDomains(t, Config{Resolver: dns, Store: s})
	const host = "shop.example.com"
	v := mustAdd(t, d, "me", host)
	dns.cname(host, edgeName)
	dns.text("_lrok."+host, "lrok-verification="+v.Token)
	s.broken = &tunnel.Error{Code: tunnel.CodeUnavailable, Message: "the disk is full"}
	_, err := d.Verify(t.Context(), "me", "me", host)
	wantCode(t, err, tunnel.CodeUnavailable)
	if _, ok := d.Served(host); ok {
		t.Error("served though the store does not know it")
	}
	_, err = d.Add(t.Context(), "me", "me", "b.example.com")
	wantCode(t, err, tunnel.CodeUnavailable)
	wantCode(t, d.Remove(t.Context(), "me", "me", host), tunnel.CodeUnavailable)
	s.broken = nil
	mustVerify(t, d, "me", host, Verified)
}

// answers is a resolver whose answers are set by the test.
type answers struct {
	mu        sync.Mutex
	cnames    map[string]string
	texts     map[string][]string
	fail      bool
	looks     int    // how often a proof was asked for
	meanwhile func() // called once during a look
}

func (a *answers) cname(host, to string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cnames == nil {
		a.cnames = make(map[string]string)
	}
	a.cnames[host] = to
}

func (a *answers) text(name string, values ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.texts == nil {
		a.texts = make(map[string][]string)
	}
	a.texts[name] = values
}

func (a *answers) broken(fail bool) {
	a.mu.Lock()
	a.fail = fail
	a.mu.Unlock()
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.looks
}

var errNotFound = &net.DNSError{Err: "no such host", IsNotFound: true}

func (a *answers) LookupCNAME(_ context.Context, host string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail {
		return "", &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	if to, ok := a.cnames[strings.TrimSuffix(host, ".")]; ok {
		return to + ".", nil
	}
	return "", errNotFound
}

func (a *answers) LookupHost(context.Context, string) ([]string, error) { return nil, errNotFound }

func (a *answers) LookupTXT(_ context.Context, name string) ([]string, error) {
	a.mu.Lock()
	f := a.meanwhile
	a.meanwhile = nil
	a.mu.Unlock()
	if f != nil {
		f()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looks++
	if a.fail {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	if texts := a.texts[strings.TrimSuffix(name, ".")]; len(texts) > 0 {
		return texts, nil
	}
	return nil, errNotFound
}

// A life is a verified host in a bubble of fake time, with Run running.
type life struct {
	dns     *answers
	rows    *rows
	domains *Domains
	token   string
	stop    func()

	mu   sync.Mutex
	lost []string
}

func (l *life) dropped() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lost)
}

const liveHost = "shop.example.com"

func newLife(t *testing.T) *life {
	t.Helper()
	l := &life{dns: new(answers), rows: new(rows)}
	l.start(t)
	l.token = mustAdd(t, l.domains, "owner", liveHost).Token
	l.prove(l.token)
	mustVerify(t, l.domains, "owner", liveHost, Verified)
	return l
}

// start begins a process with what is in the store.
func (l *life) start(t *testing.T) {
	l.domains = newDomains(t, Config{Resolver: l.dns, Store: l.rows, Dropped: func(h string) {
		l.mu.Lock()
		l.lost = append(l.lost, h)
		l.mu.Unlock()
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.domains.Run(ctx) }()
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (l *life) prove(token string) {
	l.dns.cname(liveHost, edgeName)
	l.dns.text("_lrok."+liveHost, "lrok-verification="+token)
}

func (l *life) after(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

func (l *life) want(t *testing.T, state string, served bool) Domain {
	t.Helper()
	v := l.domains.List("owner")[0]
	if _, ok := l.domains.Served(liveHost); v.State != state || ok != served {
		t.Fatalf("it is %s, served %v (%s), want %s, %v", v.State, ok, v.Problem, state, served)
	}
	return v
}

func TestCheckedDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		before := l.dns.count()
		l.after(20 * time.Hour)
		if n := l.dns.count() - before; n != 0 {
			t.Errorf("%d looks in 20 h, want 0", n)
		}
		l.after(10*24*time.Hour - 20*time.Hour)
		if n := l.dns.count() - before; n < 9 || n > 12 {
			t.Errorf("%d looks in 10 days, want about one a day", n)
		}
		l.want(t, Verified, true)
	})
}

// TestProofGone tells what happens to a host whose proof is taken away, over
// restarts.
func TestProofGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		l.dns.text("_lrok." + liveHost)
		l.after(24*time.Hour + time.Minute)
		v := l.want(t, Failing, true)
		if want := v.Failing.Add(72 * time.Hour); !v.GraceEnds.Equal(want) || !strings.Contains(v.Problem, "no TXT record") {
			t.Errorf("grace ends %v with problem %q, want %v and the missing record", v.GraceEnds, v.Problem, want)
		}
		if !v.Records[0].OK || v.Records[1].OK {
			t.Errorf("records are found: %v, %v, want only the first", v.Records[0].OK, v.Records[1].OK)
		}
		before := l.dns.count()
		l.after(10 * time.Hour)
		if n := l.dns.count() - before; n < 9 || n > 11 {
			t.Errorf("%d looks in 10 h, want one each hour", n)
		}
		_, err := l.domains.Add(t.Context(), "other", "other", liveHost)
		wantCode(t, err, tunnel.CodeConflict)

		// The edge is away for a day; the grace period does not begin anew.
		l.stop()
		l.after(24 * time.Hour)
		l.start(t)
		l.after(0)
		l.want(t, Failing, true)
		l.after(time.Until(v.GraceEnds) - time.Minute)
		l.want(t, Failing, true)
		if lost := l.dropped(); len(lost) > 0 {
			t.Fatalf("dropped %q within the grace period", lost)
		}
		l.after(2 * time.Minute)
		lapsed := l.want(t, Lapsed, false)
		if lost := l.dropped(); !slices.Equal(lost, []string{liveHost}) {
			t.Errorf("dropped %q, want %q", lost, liveHost)
		}
		if lapsed.Token == l.token {
			t.Error("the old token is still the one, want a new one")
		}
		if lapsed.Problem == "" {
			t.Error("the owner is not told why")
		}

		// The old proof comes back: it proves nothing any more.
		l.prove(l.token)
		mustVerify(t, l.domains, "owner", liveHost, Lapsed)
		// Another may have it now.
		other := mustAdd(t, l.domains, "other", liveHost)
		l.prove(other.Token)
		mustVerify(t, l.domains, "other", liveHost, Verified)
		l.prove(lapsed.Token)
		_, err = l.domains.Verify(t.Context(), "owner", "owner", liveHost)
		wantCode(t, err, tunnel.CodeConflict)
	})
}

func TestProofComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		since := l.want(t, Verified, true).Verified
		l.dns.cname(liveHost, "elsewhere.example.net")
		l.after(25 * time.Hour)
		l.want(t, Failing, true)
		l.after(60 * time.Hour)
		l.want(t, Failing, true)
		l.prove(l.token)
		l.after(61 * time.Minute)
		v := l.want(t, Verified, true)
		if !v.Failing.IsZero() || v.Problem != "" || !v.Verified.Equal(since) || v.Token != l.token {
			t.Errorf("after it came back: %+v", v)
		}
		// A later loss has a grace period of its own.
		l.dns.text("_lrok." + liveHost)
		l.after(25 * time.Hour)
		l.want(t, Failing, true)
		l.after(60 * time.Hour)
		l.want(t, Failing, true)
	})
}

// TestSilenceTakesNothing holds that a DNS that does not answer ends nothing,
// however long it lasts.
func TestSilenceTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		l.dns.broken(true)
		before := l.dns.count()
		l.after(30 * 24 * time.Hour)
		v := l.want(t, Verified, true)
		if !strings.Contains(v.Problem, "could not look it up") {
			t.Errorf("problem = %q, want that it could not be looked up", v.Problem)
		}
		if n := l.dns.count() - before; n < 600 {
			t.Errorf("%d looks in 30 days, want one each hour", n)
		}
		// Gone once, silent from then on: still nobody has said so when grace ends.
		l.dns.broken(false)
		l.dns.text("_lrok." + liveHost)
		l.after(61 * time.Minute)
		l.want(t, Failing, true)
		l.dns.broken(true)
		l.after(100 * time.Hour)
		l.want(t, Failing, true)
		l.dns.broken(false)
		l.after(61 * time.Minute)
		l.want(t, Lapsed, false)
	})
}

func TestNeverProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &life{dns: new(answers), rows: new(rows)}
		l.start(t)
		defer func() { l.stop() }()
		mustAdd(t, l.domains, "owner", liveHost)
		l.after(7*24*time.Hour - time.Minute)
		if n := len(l.domains.List("")); n != 1 {
			t.Fatalf("%d domains within a week, want 1", n)
		}
		l.after(2 * time.Minute)
		if list := l.domains.List(""); len(list) != 0 {
			t.Fatalf("%d domains after a week, want 0", len(list))
		}
		if last := l.rows.actors[len(l.rows.actors)-1]; last != edgeItself {
			t.Errorf("removed by %q, want %q", last, edgeItself)
		}
	})
}

// TestFullDisk holds that a host goes on being served while it cannot be
// written that it lapsed, and lapses once it can.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		l.dns.text("_lrok." + liveHost)
		l.after(25 * time.Hour)
		l.want(t, Failing, true)
		l.rows.mu.Lock()
		l.rows.broken = errors.New("the disk is full")
		l.rows.mu.Unlock()
		before := l.dns.count()
		l.after(80 * time.Hour)
		l.want(t, Failing, true)
		if n := l.dns.count() - before; n > 80*360+10 {
			t.Errorf("%d looks in 80 h, want no busy loop", n)
		}
		l.rows.mu.Lock()
		l.rows.broken = nil
		l.rows.mu.Unlock()
		l.after(time.Minute)
		l.want(t, Lapsed, false)
	})
}

// TestManyDue holds that hosts fall due apart from each other, and that a DNS
// that does not answer holds none of them up for long.
func TestManyDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		defer func() { l.stop() }()
		now := time.Now()
		due := make(map[time.Time]bool)
		l.rows.mu.Lock()
		for i := range 300 {
			row := store.Domain{Host: fmt.Sprintf("h%d.example.com", i), User: fmt.Sprint("u", i), Token: "t", Created: now, Verified: now, Checked: now}
			l.rows.rows = append(l.rows.rows, row)
			at := l.domains.due(row)
			if at.Before(now.Add(20*time.Hour)) || at.After(now.Add(24*time.Hour)) {
				t.Errorf("%s is due after %v, want about a day", row.Host, at.Sub(now))
			}
			due[at.Truncate(time.Minute)] = true
		}
		l.rows.mu.Unlock()
		if len(due) < 100 {
			t.Errorf("300 hosts are due in %d different minutes, want them apart", len(due))
		}
		l.after(25 * time.Hour)
		for _, v := range l.domains.List("") {
			if v.Host != liveHost && v.State != Failing {
				t.Fatalf("%s is %s after a day without records, want failing", v.Host, v.State)
			}
		}
	})
}
