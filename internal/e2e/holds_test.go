package e2e

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// TestReserveWhileHolderIsAway: in the minute for which a name is kept for a user
// whose link broke, nobody else can make it theirs for good.
func TestReserveWhileHolderIsAway(t *testing.T) {
	e, keys, _ := newEdgeWithUsers(t, 2)
	k := newLink(t, e.ControlAddr())
	c := rigConfig{claim: tunnel.Claim{Name: "brand"}, agent: agent.Config{Key: keys[0]}}
	c.agent.Edge = k.addr()
	a, ended, _ := newAgent(t, e, says(t, "mine"), c)
	online(t, a)
	k.down()
	bob, ada := apiOf(t, e, keys[1]), apiOf(t, e, keys[0])
	eventually(t, "the edge misses the agent", func() bool {
		ts, err := ada.Tunnels(t.Context())
		return err == nil && len(ts) == 1 && !ts[0].Online
	})
	if _, err := bob.Reserve(t.Context(), "brand"); errorCode(err) != tunnel.CodeName {
		t.Errorf("Reserve of a name whose agent just went = %v, want code %s", err, tunnel.CodeName)
	}
	k.up()
	eventually(t, "the agent is back", func() bool { return a.Status().State == agent.Online })
	if _, body := ask(t, e, "brand.tun.test"); body != "mine" {
		t.Errorf("brand answers %q, want what it did before", body)
	}
	if _, err := ada.Reserve(t.Context(), "brand"); err != nil {
		t.Errorf("its own user reserves it: %v", err)
	}
	select {
	case err := <-ended:
		t.Errorf("the agent ended with %v", err)
	default:
	}
}

// TestRestartKeepsNamesAndPorts: another user who is faster than an agent that
// comes back to an edge that was restarted gets nothing that it had.
func TestRestartKeepsNamesAndPorts(t *testing.T) {
	dir := t.TempDir()
	keys := users(t, dir, 2)
	c := tcpEdge()
	c.DataDir = dir
	c.TCPPorts[1] = c.TCPPorts[0] + 3
	e, stop := newEdge(t, c)
	with := func(key string, cl tunnel.Claim) rigConfig {
		return rigConfig{claim: cl, agent: agent.Config{Key: key}}
	}
	db := tunnel.Claim{Kind: tunnel.TCP, Name: "db"}
	web := tunnel.Claim{Name: "shop"}
	a, _, stopA := newAgent(t, e, "127.0.0.1:1", with(keys[0], db))
	was := online(t, a)
	w, _, stopW := newAgent(t, e, "127.0.0.1:1", with(keys[0], web))
	online(t, w)
	port, err := strconv.Atoi(was.URL[strings.LastIndex(was.URL, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	stop()
	stopA()
	stopW()

	e, _ = newEdge(t, c)
	for _, test := range []struct {
		what  string
		claim tunnel.Claim
		code  string
	}{
		{"the name", tunnel.Claim{Name: "shop"}, tunnel.CodeName},
		{"the name of a TCP tunnel", tunnel.Claim{Kind: tunnel.TCP, Name: "db"}, tunnel.CodeName},
		{"the port", tunnel.Claim{Kind: tunnel.TCP, Name: "evil", RemotePort: port}, tunnel.CodePort},
	} {
		_, ended, _ := newAgent(t, e, "127.0.0.1:1", with(keys[1], test.claim))
		if err := ends(t, "another user", ended); errorCode(err) != test.code {
			t.Errorf("another user asks for %s: %v, want code %s", test.what, err, test.code)
		}
	}
	for _, name := range []string{"shop", "db"} {
		if _, err := apiOf(t, e, keys[1]).Reserve(t.Context(), name); errorCode(err) != tunnel.CodeName {
			t.Errorf("another user reserves %q: %v, want code %s", name, err, tunnel.CodeName)
		}
	}
	// All ports but the one are another's now; that one is still there.
	b, _, _ := newAgent(t, e, "127.0.0.1:1", with(keys[1], tunnel.Claim{Kind: tunnel.TCP, Name: "theirs"}))
	if g := online(t, b); g.URL == was.URL {
		t.Errorf("another user got %s", g.URL)
	}
	a, _, _ = newAgent(t, e, "127.0.0.1:1", with(keys[0], db))
	if g := online(t, a); g.URL != was.URL {
		t.Errorf("after the restart db is at %s, want %s as before", g.URL, was.URL)
	}
	w, _, _ = newAgent(t, e, "127.0.0.1:1", with(keys[0], web))
	online(t, w)
}

// TestKilledEdgeKeepsNames: an edge that is killed knows what was there some
// seconds before.
func TestKilledEdgeKeepsNames(t *testing.T) {
	t.Parallel()
	e := serve(t, nil)
	admin := e.api(t)
	u, err := admin.AdminAddUser(t.Context(), client.UserRequest{Name: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := admin.AdminCreateKey(t.Context(), client.KeyRequest{User: u.ID, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	local := named(t, "shop")
	a := e.tunnel(t, "", local)
	s, _, err := store.Open(e.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge has saved who has the name", func() bool {
		holds, err := s.Holds(t.Context())
		return err == nil && slices.ContainsFunc(holds, func(h store.Hold) bool { return h.Name == "shop" })
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e.kill()
	a.kill()
	e = serve(t, e)
	env := append(e.reach("")[:2:2], "LROK_API_KEY="+k.Secret)
	p := lrok(t, env, "http", local, "--plain", "--hint", "shop")
	if code := p.wait(); code != 4 || !strings.Contains(p.stderr.String(), `name "shop" is taken`) {
		t.Errorf("another user's lrok ends with exit code %d, want 4 because the name is taken:\n%s", code, p.stderr)
	}
	e.tunnel(t, "", local)
	e.answers(t, "/", "shop /")
}

// TestTakeoverOfOneTunnel: an agent that loses one of its tunnels to another of
// its user says so, keeps the others, and does not fight for the one.
func TestTakeoverOfOneTunnel(t *testing.T) {
	e, keys, _ := newEdgeWithUsers(t, 1)
	k := newLink(t, e.ControlAddr())
	target, err := agent.ParseTarget(says(t, "first"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := agent.New(agent.Config{
		Edge: k.addr(), TLS: e.ClientTLS(), Key: keys[0], Instance: newInstance(), Software: "lrok test",
		Claims: []tunnel.Claim{
			{Kind: tunnel.HTTP, Name: "one", Local: target.String()},
			{Kind: tunnel.HTTP, Name: "two", Local: target.String()},
		},
		Targets: []agent.Target{target, target},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the first agent ended with %v", err)
		}
	})
	eventually(t, "the first agent is online", func() bool { return first.Status().State == agent.Online })
	second, ended, _ := newAgent(t, e, says(t, "second"), rigConfig{
		claim: tunnel.Claim{Name: "one", Takeover: true}, agent: agent.Config{Key: keys[0]},
	})
	online(t, second)
	eventually(t, "the first agent is told", func() bool { return first.Status().Upstreams[0].Dropped != nil })
	if why := first.Status().Upstreams[0].Dropped; why.Code != tunnel.CodeSuperseded || !strings.Contains(why.Message, `"one"`) {
		t.Errorf("it is told %+v, want who took the name", why)
	}
	bodies := func(when string) {
		t.Helper()
		for name, want := range map[string]string{"one": "second", "two": "first"} {
			if _, body := ask(t, e, name+".tun.test"); body != want {
				t.Errorf("%s %s answers %q, want %q", when, name, body, want)
			}
		}
	}
	bodies("after the takeover")

	session := first.Status().Welcome.Session
	k.reset()
	eventually(t, "the first agent is back", func() bool {
		s := first.Status()
		return s.State == agent.Online && s.Welcome.Session != session
	})
	bodies("after it came back")
	select {
	case err := <-ended:
		t.Errorf("the second agent ended with %v", err)
	default:
	}
}
