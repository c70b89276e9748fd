package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

func errCode(err error) string {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

// TestReserve is the rule for reserving a name that somebody uses.
func TestReserve(t *testing.T) {
	for _, test := range []struct {
		name    string
		user    string        // who reserves
		away    time.Duration // how long ada's agent is gone, 0: it is there
		granted bool
	}{
		{"another's", "bob", 0, false},
		{"another's who just went", "bob", time.Second, false},
		{"another's who is away for almost a minute", "bob", Keep - 1, false},
		{"another's who is away for long", "bob", Keep, true},
		{"one's own", "ada", 0, true},
		{"one's own, away", "ada", time.Second, true},
	} {
		now := time.Now()
		b := &book{reserved: map[string]string{}}
		r := New(Config{Domain: "lrok.example", Book: b, Now: func() time.Time { return now }})
		s := newSession()
		mustClaim(t, r, s, "ada", "i1", claim("shop")...)
		if test.away > 0 {
			r.Release(s)
			now = now.Add(test.away)
		}
		written := false
		err := r.Reserve(test.user, "shop", func() error { written = true; return nil })
		if written != test.granted || (err == nil) != test.granted {
			t.Errorf("%s: Reserve = %v and written = %v, want %v", test.name, err, written, test.granted)
		}
		if e := (*tunnel.Error)(nil); !test.granted && (!errors.As(err, &e) || e.Code != tunnel.CodeName || !strings.Contains(e.Hint, "lrok reserve shop-2")) {
			t.Errorf("%s: Reserve = %v, want code %s and what to do", test.name, err, tunnel.CodeName)
		}
	}
}

// TestReserveWhileWriting: while the store writes, the name is already given.
func TestReserveWhileWriting(t *testing.T) {
	b := &book{reserved: map[string]string{}}
	r := New(Config{Domain: "lrok.example", Book: b})
	broken := errors.New("the disk is full")
	err := r.Reserve("ada", "shop", func() error {
		mustRefuse(t, r, "bob", "i1", tunnel.CodeName, claim("shop")...)
		if err := r.Reserve("bob", "shop", func() error { return nil }); errCode(err) != tunnel.CodeName {
			t.Errorf("another reserves it at the same time: %v, want code %s", err, tunnel.CodeName)
		}
		if err := r.Reserve("ada", "shop", func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("the same user reserves it at the same time: %v, want what the store says", err)
		}
		mustRefuse(t, r, "bob", "i1", tunnel.CodeName, claim("shop")...) // the first is still at it
		mustClaim(t, r, newSession(), "ada", "i2", claim("shop")...)
		r.CloseTunnel("ada", "shop")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("Reserve = %v, want what the store says", err)
	}
	mustClaim(t, r, newSession(), "bob", "i1", claim("shop")...) // it came to nothing
}

// TestReserveRace lets one user reserve a name while others claim it: nobody
// uses a name that became another's while they were told that it is theirs.
func TestReserveRace(t *testing.T) {
	b := &book{reserved: map[string]string{}}
	r := New(Config{Domain: "lrok.example", Book: b})
	reserved, used := 0, 0
	for round := range 300 {
		name := fmt.Sprint("shop-", round)
		var wg sync.WaitGroup
		var err error
		granted := make([]bool, 4)
		wg.Go(func() {
			err = r.Reserve("ada", name, func() error {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.reserved[name] = "ada"
				return nil
			})
		})
		for i := range granted {
			wg.Go(func() {
				_, refusal := r.Claim(context.Background(), newSession(), fmt.Sprint("u", i), fmt.Sprint("i", i), "laptop", claim(name))
				granted[i] = refusal == nil
			})
		}
		wg.Wait()
		n := 0
		for _, ok := range granted {
			if ok {
				n++
			}
		}
		switch {
		case err == nil && n == 0:
			reserved++
		case err != nil && n == 1:
			used++
		default:
			t.Fatalf("Reserve = %v, and %d others were granted the name", err, n)
		}
	}
	t.Logf("%d times reserved, %d times in use", reserved, used)
}

// restarted is a registry that knows what r knew.
func restarted(r *Registry) *Registry {
	next := New(r.cfg)
	next.Restore(r.Holds())
	return next
}

func TestRestoreNames(t *testing.T) {
	now := time.Now()
	b := &book{reserved: map[string]string{}}
	r := New(Config{Domain: "lrok.example", Book: b, Now: func() time.Time { return now }})
	here, went, gone, ended := newSession(), newSession(), newSession(), newSession()
	mustClaim(t, r, gone, "ada", "i1", claim("gone")...)
	r.Release(gone)
	now = now.Add(Keep)
	mustClaim(t, r, here, "ada", "i2", claim("here")...)
	mustClaim(t, r, went, "ada", "i3", claim("went")...)
	r.Release(went)
	mustClaim(t, r, ended, "ada", "i4", claim("ended")...)
	r.Withdraw(ended, "ended")
	project := tunnel.Claim{Kind: tunnel.HTTP, Project: "shop"}
	chosen := mustClaim(t, r, here, "ada", "i2", project)[0].Name

	r = restarted(r)
	bob := newSession()
	for _, name := range []string{"here", "went", chosen} {
		mustRefuse(t, r, "bob", "i5", tunnel.CodeName, claim(name)...)
		takeover := claim(name)
		takeover[0].Takeover = true
		mustRefuse(t, r, "bob", "i5", tunnel.CodeName, takeover...)
		if err := r.Reserve("bob", name, func() error { return nil }); errCode(err) != tunnel.CodeName {
			t.Errorf("bob reserves %s: %v, want code %s", name, err, tunnel.CodeName)
		}
	}
	mustClaim(t, r, bob, "bob", "i5", append(claim("gone"), claim("ended")...)...)
	mustClaim(t, r, newSession(), "ada", "i2", append(claim("here"), claim(chosen)...)...)

	// A second restart before went's agent is back changes nothing.
	now = now.Add(Keep - 1)
	r = restarted(r)
	mustRefuse(t, r, "bob", "i6", tunnel.CodeName, claim("went")...)
	now = now.Add(Keep - 1)
	mustRefuse(t, r, "bob", "i6", tunnel.CodeName, claim("went")...)
	now = now.Add(1)
	mustClaim(t, r, newSession(), "bob", "i6", claim("went")...)

	// A reservation is stronger than what is kept.
	r = restarted(r)
	b.reserved["went"] = "eve"
	mustClaim(t, r, newSession(), "eve", "i7", claim("went")...)
}

// TestRestoreKeepsNoName that nobody claimed for longer than a minute.
func TestRestoreKeepsNoName(t *testing.T) {
	now := time.Now()
	r := New(Config{Domain: "lrok.example", Now: func() time.Time { return now }})
	mustClaim(t, r, newSession(), "ada", "i1", claim("shop")...)
	r = restarted(r)
	if got, want := r.Holds(), []Hold{{Name: "shop", User: "ada", Kept: true}}; !reflect.DeepEqual(got, want) {
		t.Errorf("Holds = %+v, want %+v", got, want)
	}
	now = now.Add(Keep)
	if got := r.Holds(); len(got) != 0 {
		t.Errorf("Holds = %+v after %v, want none", got, Keep)
	}
	r.sweep()
	if len(r.kept) != 0 {
		t.Errorf("kept = %v after a sweep, want none", r.kept)
	}
}

func TestRestorePorts(t *testing.T) {
	now := time.Now()
	cfg := Config{Domain: "lrok.example", Ports: [2]int{30000, 30009}, Now: func() time.Time { return now }}
	r := New(cfg)
	tcp := func(name string, port int) tunnel.Claim {
		return tunnel.Claim{Kind: tunnel.TCP, Name: name, Local: "localhost:5432", RemotePort: port}
	}
	port := func(s *agentSession, user, instance string, c tunnel.Claim) int {
		t.Helper()
		mustClaim(t, r, s, user, instance, c)
		tn, _ := r.Tunnel(c.Name)
		return tn.Port
	}
	// Its first choice is another's, so that it has to be remembered.
	first := port(newSession(), "ada", "i0", tcp("db", 0))
	r = New(cfg)
	port(newSession(), "eve", "i1", tcp("eves", first))
	ada, given := newSession(), newSession()
	second := port(ada, "ada", "i2", tcp("db", 0))
	if first == second {
		t.Fatalf("both have port %d", first)
	}
	free := 30000
	for free == first || free == second {
		free++
	}
	port(given, "ada", "i3", tcp("once", free))
	r.Withdraw(given, "once")

	r = restarted(r)
	mustRefuse(t, r, "bob", "i4", tunnel.CodePort, tcp("evil", second))
	mustRefuse(t, r, "bob", "i4", tunnel.CodePort, tcp("evil", free))
	bob := newSession()
	mustRefuse(t, r, "bob", "i4", tunnel.CodeName, tcp("db", 0))
	if got := port(bob, "bob", "i4", tcp("bobs", 0)); got == first || got == second || got == free {
		t.Errorf("bob has port %d, which is kept for another", got)
	}
	r.CloseTunnel("eve", "eves") // as if it had never come back: first is free below
	now = now.Add(Keep)

	// The minute is over and its first choice is free: it is the same all the same.
	r = restarted(r)
	if got := port(newSession(), "ada", "i2", tcp("db", 0)); got != second {
		t.Errorf("port = %d after the restarts, want %d as before", got, second)
	}
	if got := port(newSession(), "bob", "i5", tcp("late", free)); got != free {
		t.Errorf("port = %d, want %d, given up long ago", got, free)
	}

	// Another range knows nothing of the old ports.
	holds := r.Holds()
	cfg.Ports = [2]int{40000, 40001}
	r = New(cfg)
	r.Restore(holds)
	if got := port(newSession(), "bob", "i6", tcp("bobs", 0)); got < 40000 {
		t.Errorf("port = %d, want one of the new range", got)
	}
	for _, h := range r.Holds() {
		if h.Port != 0 && h.Port < 40000 {
			t.Errorf("%+v is kept of a range that is gone", h)
		}
	}
}

// TestRestoreManyPorts: whoever had many ports open before a restart did not
// give them up, and may have one more.
func TestRestoreManyPorts(t *testing.T) {
	r := New(Config{Domain: "lrok.example", Ports: [2]int{30000, 30099}, MaxClaims: 100})
	claims := make([]tunnel.Claim, maxResting+4)
	for i := range claims {
		claims[i] = tunnel.Claim{Kind: tunnel.TCP, Name: fmt.Sprint("db", i)}
	}
	before := mustClaim(t, r, newSession(), "ada", "i1", claims...)
	r = restarted(r)
	more := mustClaim(t, r, newSession(), "ada", "i2", tunnel.Claim{Kind: tunnel.TCP, Name: "more"})
	after := mustClaim(t, r, newSession(), "ada", "i1", claims...)
	for i := range before {
		if before[i].URL != after[i].URL {
			t.Errorf("%s is at %s after the restart, was at %s", before[i].Name, after[i].URL, before[i].URL)
		}
		if before[i].URL == more[0].URL {
			t.Errorf("a new tunnel got %s, which is kept for %s", more[0].URL, before[i].Name)
		}
	}
}

// TestHoldsSayNothingNew: what did not change is told in the same way, so that it
// need not be saved again.
func TestHoldsSayNothingNew(t *testing.T) {
	now := time.Now()
	r := New(Config{Domain: "lrok.example", Ports: [2]int{30000, 30009}, Now: func() time.Time { return now }})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", append(claim("b"), claim("a")[0], tunnel.Claim{Kind: tunnel.TCP, Name: "db"})...)
	mustClaim(t, r, newSession(), "bob", "i2", claim("c")...)
	was := r.Holds()
	if len(was) != 5 {
		t.Fatalf("Holds = %+v, want four names and a port", was)
	}
	now = now.Add(time.Hour)
	if got := r.Holds(); !reflect.DeepEqual(got, was) {
		t.Errorf("Holds = %+v, want %+v as before", got, was)
	}
}

// TestTakeoverOfOneOfSeveral: the session that loses one tunnel of several is told
// so and goes on with the others. The last one ends it.
func TestTakeoverOfOneOfSeveral(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	old, taker := newSession(), newSession()
	mustClaim(t, r, old, "ada", "i1", append(claim("one"), claim("two")[0], claim("three")[0])...)
	take := func(names ...string) {
		t.Helper()
		var claims []tunnel.Claim
		for _, name := range names {
			c := claim(name)[0]
			c.Takeover = true
			claims = append(claims, c)
		}
		mustClaim(t, r, taker, "ada", "i2", claims...)
	}
	told := func() string {
		t.Helper()
		select {
		case s := <-old.dropped:
			return s
		case <-time.After(30 * time.Second):
			t.Fatal("the old session was told nothing")
			return ""
		}
	}
	take("one")
	if got := told(); !strings.HasPrefix(got, "one: ") || !strings.Contains(got, "laptop") {
		t.Errorf("the old session was told %q, want the name and who took it", got)
	}
	if old.superseded.Load() != nil || old.closed.Load() {
		t.Error("the old session was ended though it has other tunnels")
	}
	if tn := lookup(t, r, "two.lrok.example"); tn.Session() != old {
		t.Error("the old session lost a tunnel that nobody took")
	}
	take("two", "three")
	wait(t, old)
	if why := old.superseded.Load(); why == nil || !strings.Contains(*why, "laptop") {
		t.Errorf("superseded = %v, want who took the last tunnels", why)
	}
	if n := len(old.dropped); n != 0 {
		t.Errorf("%d more messages to a session that is ended", n)
	}
}
