package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// An agentSession is a Session whose agent answers pings or does not.
type agentSession struct {
	pinged     atomic.Bool
	dead       atomic.Bool
	closed     atomic.Bool
	superseded atomic.Pointer[string]
	dropped    chan string
	gone       chan struct{} // closed by Close and Supersede
	once       sync.Once
}

func newSession() *agentSession {
	return &agentSession{gone: make(chan struct{}), dropped: make(chan string, 100)}
}

func (s *agentSession) Open(tunnel.Peer) (tunnel.Conn, error) {
	return nil, errors.New("not in this test")
}

func (s *agentSession) Ping(ctx context.Context) (time.Duration, error) {
	s.pinged.Store(true)
	if s.dead.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return time.Millisecond, nil
}

func (s *agentSession) Supersede(why *tunnel.Error) error {
	s.superseded.Store(&why.Message)
	s.once.Do(func() { close(s.gone) })
	return nil
}

func (s *agentSession) Dropped(name string, why *tunnel.Error) error {
	s.dropped <- name + ": " + why.Message
	return nil
}

func (s *agentSession) Close() error {
	s.closed.Store(true)
	s.once.Do(func() { close(s.gone) })
	return nil
}

func (s *agentSession) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}
}

func wait(t *testing.T, s *agentSession) {
	t.Helper()
	select {
	case <-s.gone:
	case <-time.After(30 * time.Second):
		t.Fatal("the old session was not sent away")
	}
}

func claim(name string) []tunnel.Claim {
	return []tunnel.Claim{{Kind: tunnel.HTTP, Name: name, Local: "http://localhost:3000"}}
}

func mustClaim(t *testing.T, r *Registry, s Session, user, instance string, claims ...tunnel.Claim) []tunnel.Grant {
	t.Helper()
	grants, err := r.Claim(t.Context(), s, user, instance, "laptop", claims)
	if err != nil {
		t.Fatalf("claim %v by %s: %v", claims, user, err)
	}
	if len(grants) != len(claims) {
		t.Fatalf("%d grants for %d claims", len(grants), len(claims))
	}
	return grants
}

func lookup(t *testing.T, r *Registry, host string) *Tunnel {
	t.Helper()
	tn, ok := r.Lookup(host)
	if !ok {
		t.Fatalf("no tunnel answers for %s", host)
	}
	return tn
}

func TestClaimLive(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	s := newSession()
	grants := mustClaim(t, r, s, "ada", "i1", claim("shop")...)
	if want := (tunnel.Grant{Kind: tunnel.HTTP, Name: "shop", URL: "https://shop.lrok.example"}); grants[0] != want {
		t.Errorf("grant = %+v, want %+v", grants[0], want)
	}
	tn := lookup(t, r, "shop.lrok.example")
	if b, ok := r.LookupBytes([]byte("shop.lrok.example")); !ok || b != tn {
		t.Errorf("LookupBytes = %v, want what Lookup gives", b)
	}
	if tn.Session() != s || !tn.Online() || tn.Remote() != "203.0.113.7:4711" || tn.Machine() != "laptop" || tn.Owner != "ada" {
		t.Errorf("tunnel = %v online %v of %s from %s on %s", tn.Session(), tn.Online(), tn.Owner, tn.Remote(), tn.Machine())
	}
	for _, host := range []string{"lrok.example", "shop", "other.lrok.example", "", "SHOP.lrok.example"} {
		if tn, ok := r.Lookup(host); ok {
			t.Errorf("Lookup(%q) = %s, want none", host, tn.Name)
		}
	}
}

func TestClaimRefused(t *testing.T) {
	two := append(claim("a"), claim("a")...)
	mixed := append(claim("fine"), claim("www")...)
	many := []tunnel.Claim{}
	for i := range 17 {
		many = append(many, claim(fmt.Sprintf("n%d", i))...)
	}
	with := func(f func(*tunnel.Claim)) []tunnel.Claim {
		c := claim("shop")
		f(&c[0])
		return c
	}
	for _, test := range []struct {
		name   string
		claims []tunnel.Claim
		code   string
	}{
		{"reserved", claim("api"), tunnel.CodeNameInvalid},
		{"reserved by the configuration", claim("status-page"), tunnel.CodeName},
		{"twice", two, tunnel.CodeName},
		{"all or none", mixed, tunnel.CodeNameInvalid},
		{"upper case", claim("Shop"), tunnel.CodeNameInvalid},
		{"dot", claim("a.b"), tunnel.CodeNameInvalid},
		{"hyphen at the end", claim("a-"), tunnel.CodeNameInvalid},
		{"hyphen at the start", claim("-a"), tunnel.CodeNameInvalid},
		{"too long", claim(strings.Repeat("a", 64)), tunnel.CodeNameInvalid},
		{"letter beyond ASCII", claim("käse"), tunnel.CodeNameInvalid},
		{"too many", many, tunnel.CodeLimit},
		{"unknown kind", with(func(c *tunnel.Claim) { c.Kind = "smtp" }), tunnel.CodeUnsupported},
	} {
		r := New(Config{Domain: "lrok.example", Reserved: []string{"status-page"}})
		grants, err := r.Claim(t.Context(), newSession(), "ada", "i1", "laptop", test.claims)
		if err == nil || err.Code != test.code || err.Message == "" || err.Hint == "" {
			t.Errorf("%s: %v, %+v, want code %s with message and hint", test.name, grants, err, test.code)
		}
		if ts := r.Tunnels(""); len(ts) != 0 {
			t.Errorf("%s: %d tunnels are left behind, want none", test.name, len(ts))
		}
	}
}

func TestClaimTakenByAnother(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", claim("shop")...)
	c := claim("shop")
	c[0].Takeover = true
	_, err := r.Claim(t.Context(), newSession(), "bob", "i2", "tower", c)
	if err == nil || err.Code != tunnel.CodeName {
		t.Fatalf("claim = %v, want code %s", err, tunnel.CodeName)
	}
	for _, secret := range []string{"ada", "laptop", "203.0.113.7", "takeover"} {
		if strings.Contains(err.Message+err.Hint, secret) {
			t.Errorf("the refusal %q, %q tells of %q", err.Message, err.Hint, secret)
		}
	}
	if tn := lookup(t, r, "shop.lrok.example"); tn.Session() != s {
		t.Error("the tunnel changed hands")
	}
}

func TestClaimBySameProcess(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	old, back := newSession(), newSession()
	old.dead.Store(true)
	mustClaim(t, r, old, "ada", "i1", claim("shop")...)
	before := lookup(t, r, "shop.lrok.example")
	before.Ring.Begin(inspector.Start{Method: "GET", Path: "/"})
	before.Counters.Requests.Add(1)
	mustClaim(t, r, back, "ada", "i1", claim("shop")...)
	if old.pinged.Load() {
		t.Error("the same process waited for its own old session")
	}
	wait(t, old)
	if old.superseded.Load() != nil {
		t.Error("the old session was superseded, want it closed: its process has come back itself")
	}
	after := lookup(t, r, "shop.lrok.example")
	if after.Session() != back || before.Online() {
		t.Errorf("session = %v, want the new one, and the old tunnel offline", after.Session())
	}
	if after.Ring != before.Ring || after.Counters.Requests.Load() != 1 || !after.Created.Equal(before.Created) {
		t.Error("ring, counters and age did not survive")
	}
	r.Release(old) // its connection ends only now
	if after := lookup(t, r, "shop.lrok.example"); !after.Online() {
		t.Error("the end of the old session took the tunnel of the new one along")
	}
}

func TestClaimFromAnotherProcess(t *testing.T) {
	for _, test := range []struct {
		name     string
		dead     bool
		takeover bool
		granted  bool
	}{
		{"holder answers", false, false, false},
		{"holder is dead", true, false, true},
		{"takeover", false, true, true},
		{"takeover of a dead one", true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Now()
			r := New(Config{Domain: "lrok.example", Now: func() time.Time { return now }})
			old, s := newSession(), newSession()
			old.dead.Store(test.dead)
			mustClaim(t, r, old, "ada", "i1", claim("shop")...)
			now = now.Add(settled)
			c := claim("shop")
			c[0].Takeover = test.takeover
			_, err := r.Claim(t.Context(), s, "ada", "i2", "tower", c)
			if test.granted {
				if err != nil {
					t.Fatalf("claim: %v, want a grant", err)
				}
				wait(t, old)
				if why := old.superseded.Load(); why == nil || !strings.Contains(*why, "tower") || !strings.Contains(*why, "shop") {
					t.Errorf("the old agent was told %v, want who took what", why)
				}
				if tn := lookup(t, r, "shop.lrok.example"); tn.Session() != s {
					t.Error("the tunnel is not the new session's")
				}
				return
			}
			if err == nil || err.Code != tunnel.CodeName {
				t.Fatalf("claim = %v, want code %s", err, tunnel.CodeName)
			}
			for _, want := range []string{"laptop", now.Add(-settled).UTC().Format("2006-01-02 15:04:05"), "--takeover"} {
				if !strings.Contains(err.Message+" "+err.Hint, want) {
					t.Errorf("the refusal %q, %q does not say %q", err.Message, err.Hint, want)
				}
			}
			if tn := lookup(t, r, "shop.lrok.example"); tn.Session() != old {
				t.Error("the tunnel changed hands")
			}
		})
	}
}

// TestClaimFromAnotherProcessAtOnce: a holder that came just now needs no ping,
// which it may be too busy to answer.
func TestClaimFromAnotherProcessAtOnce(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	old := newSession()
	old.dead.Store(true)
	mustClaim(t, r, old, "ada", "i1", claim("shop")...)
	if _, err := r.Claim(t.Context(), newSession(), "ada", "i2", "tower", claim("shop")); err == nil || err.Code != tunnel.CodeName {
		t.Errorf("claim = %v, want code %s", err, tunnel.CodeName)
	}
}

// TestClaimRace has a hundred processes go for one name at the same moment.
func TestClaimRace(t *testing.T) {
	for _, test := range []struct {
		name string
		user func(int) string
	}{
		{"one user", func(int) string { return "ada" }},
		{"many users", func(i int) string { return fmt.Sprintf("user%d", i) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := New(Config{Domain: "lrok.example"})
			sessions := make([]*agentSession, 100)
			errs := make([]*tunnel.Error, len(sessions))
			start := make(chan struct{})
			var wg sync.WaitGroup
			for i := range sessions {
				sessions[i] = newSession()
				wg.Go(func() {
					<-start
					_, errs[i] = r.Claim(t.Context(), sessions[i], test.user(i), fmt.Sprint("i", i), "laptop", claim("shop"))
				})
			}
			close(start)
			wg.Wait()
			winner := -1
			for i, err := range errs {
				switch {
				case err == nil && winner >= 0:
					t.Fatalf("both %d and %d won", winner, i)
				case err == nil:
					winner = i
				case err.Code != tunnel.CodeName:
					t.Errorf("session %d: %v, want code %s", i, err, tunnel.CodeName)
				}
			}
			if winner < 0 {
				t.Fatal("nobody won")
			}
			if tn := lookup(t, r, "shop.lrok.example"); tn.Session() != sessions[winner] {
				t.Error("the name is not the winner's")
			}
		})
	}
}

// TestTakeoverRace has a hundred processes take a name from each other: one has
// it in the end, and all others were told.
func TestTakeoverRace(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	sessions := make([]*agentSession, 100)
	var wg sync.WaitGroup
	for i := range sessions {
		sessions[i] = newSession()
		wg.Go(func() {
			c := claim("shop")
			c[0].Takeover = true
			if _, err := r.Claim(t.Context(), sessions[i], "ada", fmt.Sprint("i", i), "laptop", c); err != nil {
				t.Errorf("takeover: %v", err)
			}
		})
	}
	wg.Wait()
	tn := lookup(t, r, "shop.lrok.example")
	holders := 0
	for _, s := range sessions {
		if tn.Session() == s {
			holders++
			continue
		}
		wait(t, s)
	}
	if holders != 1 {
		t.Errorf("%d sessions hold the name, want 1", holders)
	}
}

// TestClaimAllOrNoneRace has sessions go for two names in both orders: each
// gets both or none.
func TestClaimAllOrNoneRace(t *testing.T) {
	for range 20 {
		r := New(Config{Domain: "lrok.example"})
		ab, ba := append(claim("a"), claim("b")...), append(claim("b"), claim("a")...)
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c := ab
				if i%2 == 0 {
					c = ba
				}
				if _, err := r.Claim(t.Context(), newSession(), fmt.Sprint("user", i), fmt.Sprint("i", i), "laptop", c); err == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		a, b := lookup(t, r, "a.lrok.example"), lookup(t, r, "b.lrok.example")
		if won.Load() != 1 || a.Session() != b.Session() {
			t.Fatalf("%d won, and a and b belong to %p and %p", won.Load(), a.Session(), b.Session())
		}
	}
}

func TestChosenName(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	chosen := func(project string) tunnel.Claim { return tunnel.Claim{Kind: tunnel.HTTP, Project: project} }
	first := newSession()
	name := mustClaim(t, r, first, "ada", "i1", chosen("/src/shop:3000"))[0].Name
	if !tunnel.ValidName(name) {
		t.Errorf("the chosen name %q is none", name)
	}
	other := mustClaim(t, r, newSession(), "ada", "i1", chosen("/src/blog:3000"))[0].Name
	if other == name {
		t.Errorf("two projects got the same name %q", name)
	}
	// A second process on the same project gets digits, and keeps them when it
	// comes back after the first one has gone.
	second := newSession()
	numbered := mustClaim(t, r, second, "ada", "i2", chosen("/src/shop:3000"))[0].Name
	if !strings.HasPrefix(numbered, name+"-") {
		t.Errorf("the second process got %q, want %s- and digits", numbered, name)
	}
	r.Release(first)
	r.Release(second)
	if got := mustClaim(t, r, newSession(), "ada", "i2", chosen("/src/shop:3000"))[0].Name; got != numbered {
		t.Errorf("the second process came back as %q, want %q", got, numbered)
	}
	if got := mustClaim(t, r, newSession(), "ada", "i3", chosen("/src/shop:3000"))[0].Name; got != name {
		t.Errorf("the project came back as %q, want %q", got, name)
	}
	// Two claims of one process on one project, and none without a project, get
	// in each other's way.
	both := mustClaim(t, r, newSession(), "bob", "i4", chosen("p"), chosen("p"), chosen(""), chosen(""))
	seen := map[string]bool{}
	for _, g := range both {
		if seen[g.Name] {
			t.Errorf("name %q was given twice: %v", g.Name, both)
		}
		seen[g.Name] = true
	}
}

func TestChosenNameGivesWay(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	name := mustClaim(t, r, newSession(), "ada", "i1", tunnel.Claim{Kind: tunnel.HTTP, Project: "p"})[0].Name
	r2 := New(Config{Domain: "lrok.example"})
	grants := mustClaim(t, r2, newSession(), "ada", "i1", tunnel.Claim{Kind: tunnel.HTTP, Project: "p"}, claim(name)[0])
	if grants[1].Name != name || grants[0].Name == name {
		t.Errorf("names = %q and %q, want the asked one to be %q", grants[0].Name, grants[1].Name, name)
	}
	// Nor does it take the place of another user's agent that is just away.
	r3 := New(Config{Domain: "lrok.example"})
	away := newSession()
	mustClaim(t, r3, away, "bob", "i9", claim(name)...)
	r3.Release(away)
	if got := mustClaim(t, r3, newSession(), "ada", "i1", tunnel.Claim{Kind: tunnel.HTTP, Project: "p"})[0].Name; got == name {
		t.Errorf("the chosen name took the place of an absent agent")
	}
}

// TestGrace is the life of a tunnel whose agent goes away, on a fake clock.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Domain: "lrok.example"})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()

		s := newSession()
		mustClaim(t, r, s, "ada", "i1", claim("shop")...)
		first := lookup(t, r, "shop.lrok.example")
		first.Ring.Begin(inspector.Start{Method: "GET", Path: "/"})
		r.Release(s)

		time.Sleep(Grace - time.Minute)
		away := lookup(t, r, "shop.lrok.example")
		_, err := away.Open(tunnel.Peer{})
		var e *tunnel.Error
		if !errors.As(err, &e) || e.Code != tunnel.CodeAgentOffline {
			t.Errorf("Open while away = %v, want code %s", err, tunnel.CodeAgentOffline)
		}
		if n := len(away.Ring.List(0, 0)); n != 1 {
			t.Errorf("%d captures are kept while away, want 1", n)
		}
		s = newSession()
		mustClaim(t, r, s, "ada", "i2", claim("shop")...) // started again: another process
		back := lookup(t, r, "shop.lrok.example")
		if back.Ring != first.Ring || !back.Created.Equal(first.Created) {
			t.Error("the same owner came back to another ring or age")
		}
		time.Sleep(2 * Grace)
		if tn := lookup(t, r, "shop.lrok.example"); !tn.Online() {
			t.Error("a tunnel that is live was taken away")
		}
		r.Release(s)
		time.Sleep(Grace + 16*time.Second)
		if _, ok := r.Lookup("shop.lrok.example"); ok {
			t.Error("the tunnel is still there after its time")
		}
		select {
		case <-back.Ring.Done():
		default:
			t.Error("the ring was not closed")
		}
		if n := len(back.Ring.List(0, 0)); n != 0 {
			t.Errorf("%d captures are left after the tunnel's time, want none", n)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// TestAnotherOwnerGetsFreshRing when a name is free again.
func TestAnotherOwnerGetsFreshRing(t *testing.T) {
	now := time.Now()
	var dropped []*Tunnel
	r := New(Config{Domain: "lrok.example", Now: func() time.Time { return now }, Dropped: func(t *Tunnel) { dropped = append(dropped, t) }})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", claim("shop")...)
	ada := lookup(t, r, "shop.lrok.example")
	ada.Ring.Begin(inspector.Start{Method: "GET", Path: "/secret"})
	ada.Counters.Requests.Add(1)
	r.Release(s)
	for _, after := range []time.Duration{0, Keep - time.Second} {
		now = now.Add(after)
		if _, err := r.Claim(t.Context(), newSession(), "bob", "i2", "tower", claim("shop")); err == nil || err.Code != tunnel.CodeName {
			t.Errorf("claim %v after the agent went = %v, want code %s", after, err, tunnel.CodeName)
		}
	}
	if n := len(ada.Ring.List(0, 0)); n != 1 {
		t.Errorf("%d captures are left after claims that were refused, want 1", n)
	}
	now = now.Add(time.Second)
	mustClaim(t, r, newSession(), "bob", "i2", claim("shop")...)
	bob := lookup(t, r, "shop.lrok.example")
	if bob.Ring == ada.Ring || len(bob.Ring.List(0, 0)) != 0 || bob.Counters.Requests.Load() != 0 {
		t.Error("the new owner got the captures or counters of the old one")
	}
	if n := len(ada.Ring.List(0, 0)); n != 0 {
		t.Errorf("%d captures of the old owner are kept, want none", n)
	}
	if bob.Owner != "bob" || ada.Owner != "ada" {
		t.Errorf("owners = %s and %s", bob.Owner, ada.Owner)
	}
	if len(dropped) != 1 || dropped[0] != ada {
		t.Errorf("Dropped was told of %v, want the old owner's tunnel, once", dropped)
	}
}

func TestCloseTunnel(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", append(claim("shop"), claim("wiki")...)...)
	shop := lookup(t, r, "shop.lrok.example")
	shop.Ring.Begin(inspector.Start{Method: "GET", Path: "/"})
	if r.CloseTunnel("bob", "shop") {
		t.Error("another user closed the tunnel")
	}
	if !r.CloseTunnel("ada", "shop") || r.CloseTunnel("ada", "shop") {
		t.Error("CloseTunnel, twice: want true, then false")
	}
	if _, ok := r.Lookup("shop.lrok.example"); ok {
		t.Error("a closed tunnel is still found")
	}
	if shop.Online() || len(shop.Ring.List(0, 0)) != 0 {
		t.Error("a closed tunnel is online or keeps captures")
	}
	if s.superseded.Load() != nil {
		t.Error("an agent that has another tunnel was sent away")
	}
	if told := <-s.dropped; !strings.HasPrefix(told, "shop: ") || !strings.Contains(told, "closed") {
		t.Errorf("the agent was told %q, want which tunnel was closed", told)
	}
	if !r.Withdraw(s, "wiki") || r.Withdraw(s, "wiki") {
		t.Error("Withdraw, twice: want true, then false")
	}
	mustClaim(t, r, s, "ada", "i1", claim("last")...)
	if r.Withdraw(newSession(), "last") {
		t.Error("another session withdrew the tunnel")
	}
	r.CloseTunnel("", "last")
	wait(t, s)
	if s.superseded.Load() == nil {
		t.Error("an agent without tunnels was not told")
	}
}

func TestTunnels(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	mustClaim(t, r, newSession(), "ada", "i1", append(claim("shop"), claim("wiki")...)...)
	mustClaim(t, r, newSession(), "bob", "i2", claim("bobs")...)
	for user, want := range map[string]string{"ada": "shop wiki", "bob": "bobs", "eve": "", "": "bobs shop wiki"} {
		var names []string
		for _, tn := range r.Tunnels(user) {
			names = append(names, tn.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("Tunnels(%q) = %q, want %q", user, got, want)
		}
	}
}

func TestOnly(t *testing.T) {
	r := New(Config{Domain: "localhost", Direct: "http://127.0.0.1:8080", URL: func(host string, _ tunnel.Kind) string { return "http://" + host + ":8080" }})
	if _, ok := r.Only(); ok {
		t.Error("an empty registry has an only tunnel")
	}
	s := newSession()
	g := mustClaim(t, r, s, "ada", "i1", claim("shop")...)[0]
	if g.Direct != "http://127.0.0.1:8080" || g.URL != "http://shop.localhost:8080" {
		t.Errorf("grant = %+v, want both addresses", g)
	}
	if tn, ok := r.Only(); !ok || tn.Name != "shop" {
		t.Errorf("Only = %v, want shop", tn)
	}
	r.Release(s)
	if g := mustClaim(t, r, newSession(), "ada", "i1", claim("shop")...)[0]; g.Direct == "" {
		t.Error("a lone tunnel that came back lost its direct address")
	}
	if g := mustClaim(t, r, newSession(), "ada", "i1", claim("wiki")...)[0]; g.Direct != "" {
		t.Error("the second tunnel got the direct address")
	}
	if _, ok := r.Only(); ok {
		t.Error("a registry of two has an only tunnel")
	}
}

// TestLookupWhileClaiming reads hosts while names come and go; the race
// detector watches.
func TestLookupWhileClaiming(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	mustClaim(t, r, newSession(), "ada", "i0", claim("fixed")...)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				tn, ok := r.Lookup("fixed.lrok.example")
				if !ok || tn.Claim.Name != "fixed" {
					t.Error("a tunnel was not found while others came and went")
					return
				}
				if tn, ok := r.Lookup("n7.lrok.example"); ok {
					_, _ = tn.Open(tunnel.Peer{})
					_ = tn.Remote()
				}
			}
		})
	}
	for i := range 500 {
		s := newSession()
		mustClaim(t, r, s, "ada", "i1", claim(fmt.Sprintf("n%d", i%20))...)
		r.Release(s)
	}
	close(done)
	wg.Wait()
}
