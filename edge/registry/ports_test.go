package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// A kernel gives ports out, as far as the registry can tell.
type kernel struct {
	t *testing.T
	r *Registry // asked while a port is opened, which must not block

	mu     sync.Mutex
	open   map[int]*Tunnel
	opened map[int]int  // how often
	busy   map[int]bool // other programs'
	slow   chan struct{}
}

func newKernel(t *testing.T, ports [2]int, cfg Config) (*Registry, *kernel) {
	k := &kernel{t: t, open: map[int]*Tunnel{}, opened: map[int]int{}, busy: map[int]bool{}}
	cfg.Domain, cfg.Ports, cfg.Listen = "lrok.example", ports, k.listen
	k.r = New(cfg)
	return k.r, k
}

type port struct {
	k *kernel
	n int
}

func (k *kernel) listen(t *Tunnel, n int) (io.Closer, error) {
	k.r.Tunnels("")
	if t.Port != n || t.Kind != tunnel.TCP {
		k.t.Errorf("Listen on %d for a tunnel of kind %s with port %d", n, t.Kind, t.Port)
	}
	// A connection may come before the grant.
	if now := t.Current(); now.Online() {
		k.t.Errorf("port %d leads to an agent before it is granted", n)
	} else if _, err := now.Open(tunnel.Peer{}); err == nil {
		k.t.Errorf("a stream was opened before the grant")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[n] {
		return nil, errors.New("address already in use")
	}
	if k.open[n] != nil {
		k.t.Errorf("port %d was opened twice", n)
	}
	k.open[n] = t
	k.opened[n]++
	return &port{k, n}, nil
}

func (p *port) Close() error {
	if slow := p.k.slow; slow != nil {
		<-slow
	}
	p.k.r.Tunnels("")
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	if p.k.open[p.n] == nil {
		p.k.t.Errorf("port %d was closed twice", p.n)
	}
	delete(p.k.open, p.n)
	return nil
}

// leads returns the tunnel that an open port leads to, as a listener asks.
func (k *kernel) leads(n int) *Tunnel {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.open[n]; t != nil {
		return t.Current()
	}
	return nil
}

func tcp(name string, port int) tunnel.Claim {
	return tunnel.Claim{Kind: tunnel.TCP, Name: name, RemotePort: port, Local: "localhost:5432"}
}

func TestTCP(t *testing.T) {
	r, k := newKernel(t, [2]int{30000, 30009}, Config{TCPHost: "raw.example"})
	s := newSession()
	gs := mustClaim(t, r, s, "ada", "i1", tcp("db", 30007), tcp("cache", 0))
	if want := (tunnel.Grant{Kind: tunnel.TCP, Name: "db", URL: "tcp://raw.example:30007"}); gs[0] != want {
		t.Errorf("grant = %+v, want %+v", gs[0], want)
	}
	db, _ := r.Tunnel("db")
	cache, _ := r.Tunnel("cache")
	if db.Port != 30007 || cache.Port < 30000 || cache.Port > 30009 || cache.Port == db.Port {
		t.Errorf("ports = %d and %d, want 30007 and another of the range", db.Port, cache.Port)
	}
	if want := fmt.Sprintf("tcp://raw.example:%d", cache.Port); gs[1].URL != want {
		t.Errorf("URL = %q, want %q", gs[1].URL, want)
	}
	if k.leads(db.Port) != db || k.leads(cache.Port) != cache {
		t.Errorf("the ports lead to %v and %v", k.leads(db.Port), k.leads(cache.Port))
	}
	if tn, ok := r.Lookup("db.lrok.example"); ok {
		t.Errorf("a TCP tunnel answers for %s", tn.Host)
	}
	if tn, ok := r.Only(); ok {
		t.Errorf("requests that name no tunnel would go to %s", tn.Name)
	}
	if !r.Withdraw(s, "db") || k.leads(30007) != nil {
		t.Error("the port of a tunnel that was released is open")
	}
	if !r.CloseTunnel("", "cache") || len(k.open) != 0 {
		t.Errorf("%d ports are open without a tunnel", len(k.open))
	}
}

// TestPortStays with the tunnel while its agent comes back before it was missed:
// the listener is not touched.
func TestPortStays(t *testing.T) {
	r, k := newKernel(t, [2]int{30000, 30009}, Config{})
	for _, asked := range []int{0, 30003} {
		name := fmt.Sprint("db", asked)
		old, back := newSession(), newSession()
		mustClaim(t, r, old, "ada", "i1", tcp(name, asked))
		before, _ := r.Tunnel(name)
		mustClaim(t, r, back, "ada", "i1", tcp(name, asked))
		after, _ := r.Tunnel(name)
		if after.Port != before.Port || k.opened[before.Port] != 1 {
			t.Errorf("ports = %d, then %d, opened %d times, want the same one, opened once", before.Port, after.Port, k.opened[before.Port])
		}
		if k.leads(before.Port) != after || before.Current() != after {
			t.Error("the port leads to the old tunnel")
		}
		wait(t, old)
		r.Release(old)
		if k.leads(after.Port) != after || !after.Online() {
			t.Error("the end of the old session took the port along")
		}
		r.Withdraw(back, name)
	}
}

// TestPortWhileAway is closed, kept for its user for a minute, and open again
// when the agent is back.
func TestPortWhileAway(t *testing.T) {
	now := time.Now()
	r, k := newKernel(t, [2]int{30000, 30001}, Config{Now: func() time.Time { return now }})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", tcp("db", 0))
	db, _ := r.Tunnel("db")
	other := 30000 + 30001 - db.Port
	r.Release(s)
	if k.leads(db.Port) != nil {
		t.Error("the port is open while no agent is there")
	}
	if err := mustRefuse(t, r, "bob", "i2", tunnel.CodePort, tcp("bobs", db.Port)); !strings.Contains(err.Hint, "minute") {
		t.Errorf("Hint = %q, want when to try again", err.Hint)
	}
	bob := newSession()
	mustClaim(t, r, bob, "bob", "i2", tcp("bobs", 0))
	if bobs, _ := r.Tunnel("bobs"); bobs.Port != other {
		t.Errorf("bob got port %d, want %d: the other was given up a moment ago", bobs.Port, other)
	}
	mustRefuse(t, r, "eve", "i3", tunnel.CodeLimit, tcp("eves", 0))
	// Its user gets it at once, under whatever name.
	again := newSession()
	mustClaim(t, r, again, "ada", "i1", tcp("db", 0))
	if db, _ := r.Tunnel("db"); k.leads(db.Port) != db || db.Port == other {
		t.Errorf("back on port %d, which leads to %v", db.Port, k.leads(db.Port))
	}
	r.Withdraw(again, "db")
	mustClaim(t, r, again, "ada", "i1", tcp("mine", db.Port))
	r.Release(again)
	// After a minute it is anybody's.
	now = now.Add(Keep)
	mustClaim(t, r, newSession(), "eve", "i3", tcp("eves", db.Port))
	mustRefuse(t, r, "ada", "i1", tunnel.CodePort, tcp("mine", db.Port))
	mustRefuse(t, r, "ada", "i1", tunnel.CodeLimit, tcp("mine", 0))
}

func TestPortIsSticky(t *testing.T) {
	now := time.Now()
	clock := Config{Now: func() time.Time { return now }}
	portOf := func(r *Registry, user, name string, asked int) int {
		t.Helper()
		s := newSession()
		mustClaim(t, r, s, user, "i1", tcp(name, asked))
		tn, _ := r.Tunnel(name)
		r.Withdraw(s, name)
		return tn.Port
	}
	r, _ := newKernel(t, [2]int{30000, 30099}, clock)
	first := portOf(r, "ada", "db", 0)
	restarted, _ := newKernel(t, [2]int{30000, 30099}, clock)
	if got := portOf(restarted, "ada", "db", 0); got != first {
		t.Errorf("after a restart the port is %d, want %d", got, first)
	}
	asked := 30000 + (first-30000+50)%100
	portOf(r, "ada", "db", asked)
	now = now.Add(time.Hour)
	for i := range 98 { // others come and go, on the ports that nobody had
		portOf(r, "bob", fmt.Sprint("n", i), 0)
		now = now.Add(10 * time.Second)
	}
	if got := portOf(r, "ada", "db", 0); got != asked {
		t.Errorf("an hour later the port is %d, want %d, which it had last", got, asked)
	}
	if got, n := len(r.ports.had), len(r.ports.of); got > 100 || n > 100 {
		t.Errorf("%d ports and %d tunnels are remembered, want one for a port at most", got, n)
	}
	now = now.Add(Keep)
	for i := range 300 {
		portOf(r, fmt.Sprint("user", i), "db", 0)
		now = now.Add(time.Second)
	}
	if got, n := len(r.ports.had), len(r.ports.of); got > 100 || n > 100 || len(r.ports.open) != 0 {
		t.Errorf("%d ports and %d tunnels are remembered, %d are open, want one for a port at most and none", got, n, len(r.ports.open))
	}
}

func TestPortTaken(t *testing.T) {
	now := time.Now()
	r, k := newKernel(t, [2]int{30000, 30009}, Config{Now: func() time.Time { return now }})
	holder := newSession()
	mustClaim(t, r, holder, "ada", "i1", tcp("db", 30005))
	err := mustRefuse(t, r, "bob", "i2", tunnel.CodePort, tcp("bobs", 30005))
	for _, secret := range []string{"ada", "laptop", "db", "203.0.113.7"} {
		if strings.Contains(err.Message+err.Hint, secret) {
			t.Errorf("the refusal %q, %q tells of %q", err.Message, err.Hint, secret)
		}
	}
	takeover := tcp("bobs", 30005)
	takeover.Takeover = true
	mustRefuse(t, r, "bob", "i2", tunnel.CodePort, takeover)
	mustRefuse(t, r, "bob", "i2", tunnel.CodePort, tcp("a", 30001), tcp("b", 30001))
	if len(k.open) != 1 {
		t.Errorf("%d ports are open after refusals, want the one that is granted", len(k.open))
	}

	// Another process of the same user: as with a name.
	now = now.Add(settled)
	err = mustRefuse(t, r, "ada", "i3", tunnel.CodePort, tcp("db2", 30005))
	if !strings.Contains(err.Message, "laptop") || !strings.Contains(err.Hint, "--takeover") {
		t.Errorf("refusal = %+v, want where the port is and --takeover", err)
	}
	take := tcp("db2", 30005)
	take.Takeover = true
	s := newSession()
	mustClaim(t, r, s, "ada", "i3", take)
	wait(t, holder)
	if why := holder.superseded.Load(); why == nil || !strings.Contains(*why, "30005") {
		t.Errorf("the old agent was told %v, want that it lost the port", why)
	}
	db2, _ := r.Tunnel("db2")
	if _, ok := r.Tunnel("db"); ok || k.leads(30005) != db2 || k.opened[30005] != 1 {
		t.Errorf("the port leads to %v and was opened %d times, want db2, once, and db gone", k.leads(30005), k.opened[30005])
	}
	s.dead.Store(true)
	now = now.Add(settled)
	mustClaim(t, r, newSession(), "ada", "i4", tcp("db3", 30005))
	wait(t, s)
	// A tunnel that moves to another port gives the first one up.
	move := newSession()
	mustClaim(t, r, move, "ada", "i4", tcp("db3", 30006))
	if k.leads(30005) != nil || k.leads(30006) == nil {
		t.Error("the port before the move is open, or the one after it is not")
	}
}

func TestPortOfAnotherProgram(t *testing.T) {
	r, k := newKernel(t, [2]int{30000, 30009}, Config{})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", tcp("db", 0))
	db, _ := r.Tunnel("db")
	r.Release(s)
	k.busy[db.Port] = true // while the agent was away
	err := mustRefuse(t, r, "ada", "i1", tunnel.CodePort, tcp("db", db.Port))
	if !strings.Contains(err.Message, fmt.Sprint(db.Port)) {
		t.Errorf("Message = %q, want it to name the port", err.Message)
	}
	// All or none: what was opened for the same hello is closed again.
	mustRefuse(t, r, "ada", "i1", tunnel.CodePort, tcp("one", 0), tcp("db", db.Port))
	if len(k.open) != 0 || len(r.ports.open) != 0 {
		t.Errorf("%d ports are open, %d are reserved after a claim that failed, want none", len(k.open), len(r.ports.open))
	}
	if tn, _ := r.Tunnel("db"); tn == nil || tn.Online() || tn.Ring != db.Ring {
		t.Error("a claim that failed changed the tunnel")
	}
	back := newSession()
	mustClaim(t, r, back, "ada", "i1", tcp("db", 0))
	if after, _ := r.Tunnel("db"); after.Port == db.Port || k.leads(after.Port) != after {
		t.Errorf("port = %d, want another one, open", after.Port)
	}
	for n := 30000; n <= 30009; n++ {
		k.busy[n] = true
	}
	mustRefuse(t, r, "ada", "i1", tunnel.CodeUnavailable, tcp("more", 0))
	if len(k.open) != 1 || len(r.ports.open) != 1 {
		t.Errorf("%d ports are open, %d are reserved, want 1", len(k.open), len(r.ports.open))
	}
}

// TestPortsRest: one user who takes and gives up ports cannot keep them all from
// others.
func TestPortsRest(t *testing.T) {
	now := time.Now()
	r, _ := newKernel(t, [2]int{30000, 30099}, Config{Now: func() time.Time { return now }})
	s := newSession()
	for i := range 200 {
		name := fmt.Sprint("n", i)
		mustClaim(t, r, s, "bob", "i1", tcp(name, 0))
		r.Withdraw(s, name)
	}
	if n := len(r.ports.gave); n != maxResting {
		t.Errorf("%d ports are kept for one user, want %d", n, maxResting)
	}
	refused := 0
	for n := 30000; n < 30100; n++ {
		_, err := r.Claim(t.Context(), s, "bob", "i1", "laptop", []tunnel.Claim{tcp("n", n)})
		switch {
		case err == nil:
			r.Withdraw(s, "n")
		case err.Code == tunnel.CodeLimit && err.Hint != "":
			refused++
		default:
			t.Errorf("port %d: %v, want code %s", n, err, tunnel.CodeLimit)
		}
	}
	if refused != 100-maxResting {
		t.Errorf("%d ports were refused, want all but %d", refused, maxResting)
	}
	for i := range 80 {
		mustClaim(t, r, newSession(), fmt.Sprint("user", i), "i2", tcp(fmt.Sprint("db", i), 0))
	}
	now = now.Add(Keep)
	mustClaim(t, r, s, "bob", "i1", tcp("n", 0))
}

// TestPortStillClosing is waited for by its user.
func TestPortStillClosing(t *testing.T) {
	r, k := newKernel(t, [2]int{30000, 30000}, Config{})
	s := newSession()
	mustClaim(t, r, s, "ada", "i1", tcp("db", 0))
	k.slow = make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { r.Release(s) })
	for db, _ := r.Tunnel("db"); db.Online(); {
		time.Sleep(time.Millisecond)
	}
	mustRefuse(t, r, "bob", "i2", tunnel.CodeLimit, tcp("bobs", 0))
	granted := make(chan struct{})
	for _, asked := range []int{0, 30000} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := r.Claim(ctx, newSession(), "ada", "i1", "laptop", []tunnel.Claim{tcp("db", asked)}); err == nil {
			t.Error("a port that is not closed yet was granted")
		}
		cancel()
	}
	wg.Go(func() {
		defer close(granted)
		mustClaim(t, r, newSession(), "ada", "i1", tcp("db", 0))
	})
	close(k.slow)
	wg.Wait()
	<-granted
	if db, _ := r.Tunnel("db"); k.leads(30000) != db || !db.Online() {
		t.Error("the port does not lead to its tunnel")
	}
}

// TestPortRace has many users come, go and take each other's ports: no port is
// opened twice, and in the end each open one leads to its tunnel.
func TestPortRace(t *testing.T) {
	r, k := newKernel(t, [2]int{30000, 30019}, Config{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			user := fmt.Sprint("user", i%10)
			for round := range 20 {
				s := newSession()
				c := tcp(fmt.Sprintf("n%d", i), 0)
				if round%3 == 0 {
					c.RemotePort, c.Takeover = 30000+(i+round)%20, true
				}
				_, err := r.Claim(t.Context(), s, user, fmt.Sprint("i", i%20), "laptop", []tunnel.Claim{c})
				if err != nil && err.Code != tunnel.CodePort && err.Code != tunnel.CodeLimit && err.Code != tunnel.CodeName {
					t.Errorf("claim: %v", err)
				}
				switch round % 4 {
				case 0:
					r.Release(s)
				case 1:
					r.Withdraw(s, c.Name)
				case 2:
					r.CloseTunnel("", c.Name)
				}
			}
		})
	}
	wg.Wait()
	online := 0
	for _, tn := range r.Tunnels("") {
		if tn.Online() {
			online++
			if k.leads(tn.Port) != tn {
				t.Errorf("port %d leads to %v, want %s", tn.Port, k.leads(tn.Port), tn.Name)
			}
		}
	}
	if len(k.open) != online || len(r.ports.open) != online {
		t.Errorf("%d ports are open and %d in the books, want %d as there are tunnels", len(k.open), len(r.ports.open), online)
	}
}
