package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// newEdgeWithUsers runs an edge that knows n users besides the administrator. It
// returns their keys.
func newEdgeWithUsers(t *testing.T, n int) (e *edge.Edge, keys []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	keys = users(t, dir, n)
	e, _ = newEdge(t, edge.Config{DataDir: dir})
	return e, keys, dir
}

// apiOf returns a client of the edge's API with key, over the control plane.
func apiOf(t *testing.T, e *edge.Edge, key string) *client.Client {
	t.Helper()
	c, err := client.DialControl(t.Context(), client.ControlConfig{Edge: e.ControlAddr(), TLS: e.ClientTLS(), Key: key, Software: "lrok test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.Client()
}

// ask calls a host on the public side and returns the status and the body.
func ask(t *testing.T, e *edge.Edge, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.HTTPAddr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// says is a local service that answers with text.
func says(t *testing.T, text string) string {
	return service(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func errorCode(err error) string {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

// ends returns how an agent's Run ends.
func ends(t *testing.T, who string, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatalf("%s does not end", who)
		return nil
	}
}

// TestHundredUsersOneName has a hundred users with a key and an agent each go
// for one name at the same moment: one gets it, and all others are told.
func TestHundredUsersOneName(t *testing.T) {
	e, keys, _ := newEdgeWithUsers(t, 100)
	for round := range 3 {
		name := fmt.Sprint("shop-", round)
		ctx, cancel := context.WithCancel(context.Background())
		agents := make([]*agent.Agent, len(keys))
		errs := make([]error, len(keys))
		var wg, refused sync.WaitGroup
		refused.Add(len(keys) - 1)
		for i, key := range keys {
			local := "127.0.0.1:1" // nobody is there, which the edge then says
			target, err := agent.ParseTarget(local)
			if err != nil {
				t.Fatal(err)
			}
			agents[i], err = agent.New(agent.Config{
				Edge: e.ControlAddr(), TLS: e.ClientTLS(), Key: key, Instance: newInstance(), Software: "lrok test",
				Claims:  []tunnel.Claim{{Kind: tunnel.HTTP, Name: name, Local: target.String()}},
				Targets: []agent.Target{target},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i, a := range agents {
			wg.Go(func() {
				if errs[i] = a.Run(ctx); errs[i] != nil {
					refused.Done() // a second winner shows as one that is missing here
				}
			})
		}
		told := make(chan struct{})
		go func() {
			refused.Wait()
			close(told)
		}()
		select {
		case <-told:
		case <-time.After(2 * patience):
			cancel()
			wg.Wait()
			for i, err := range errs {
				if err == nil {
					t.Errorf("round %d: user %d was not refused", round, i)
				}
			}
			t.FailNow()
		}
		winner := -1
		for i, a := range agents {
			if a.Status().State == agent.Closed {
				continue
			}
			if winner >= 0 {
				t.Errorf("round %d: both %d and %d have the name", round, winner, i)
			}
			winner = i
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody has the name", round)
		}
		online(t, agents[winner])
		if status, _ := ask(t, e, name+".tun.test"); status != http.StatusBadGateway {
			t.Errorf("round %d: status %d, want %d from the winner's agent", round, status, http.StatusBadGateway)
		}
		admin, _ := e.AdminKey()
		ts, err := apiOf(t, e, admin).AdminTunnels(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held := 0
		for _, tn := range ts {
			if tn.Subdomain == name {
				held++
			}
		}
		if held != 1 {
			t.Errorf("round %d: the edge lists %d tunnels of that name, want 1", round, held)
		}
		cancel()
		wg.Wait()
		for i, err := range errs {
			if i != winner && errorCode(err) != tunnel.CodeName {
				t.Errorf("round %d: user %d ended with %v, want code %s", round, i, err, tunnel.CodeName)
			}
		}
	}
}

// TestReservationTakesTheName from a user who only came first.
func TestReservationTakesTheName(t *testing.T) {
	e, keys, dir := newEdgeWithUsers(t, 2)
	claim := func(key string) rigConfig {
		return rigConfig{claim: tunnel.Claim{Name: "shop"}, agent: agent.Config{Key: key}}
	}
	squatter, ended, _ := newAgent(t, e, says(t, "squatter"), claim(keys[0]))
	online(t, squatter)
	if _, body := ask(t, e, "shop.tun.test"); body != "squatter" {
		t.Errorf("before: %q", body)
	}
	// The API does not reserve a name that somebody uses; who runs the edge may.
	api := apiOf(t, e, keys[1])
	if _, err := api.Reserve(t.Context(), "shop"); errorCode(err) != tunnel.CodeName {
		t.Errorf("Reserve of a name in use = %v, want code %s", err, tunnel.CodeName)
	}
	me, err := api.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Reserve(t.Context(), store.Local, me.ID, "shop"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge knows of the reservation", func() bool {
		rs, err := api.Reservations(t.Context())
		return err == nil && len(rs) == 1
	})
	owner, _, _ := newAgent(t, e, says(t, "owner"), claim(keys[1]))
	online(t, owner)
	err = ends(t, "the squatter", ended)
	if errorCode(err) != tunnel.CodeSuperseded || !strings.Contains(err.Error(), "shop") || strings.Contains(err.Error(), "user-01") {
		t.Errorf("the squatter ended with %v, want that the name belongs to another user, unnamed", err)
	}
	if _, body := ask(t, e, "shop.tun.test"); body != "owner" {
		t.Errorf("after: %q, want the owner's service", body)
	}
	_, again, _ := newAgent(t, e, says(t, "squatter"), claim(keys[0]))
	if err := ends(t, "the squatter", again); errorCode(err) != tunnel.CodeName {
		t.Errorf("the squatter came back: %v, want code %s", err, tunnel.CodeName)
	}
}

// TestRevokedKeyEndsTheAgent within five seconds, and for good.
func TestRevokedKeyEndsTheAgent(t *testing.T) {
	e, keys, _ := newEdgeWithUsers(t, 1)
	a, ended, _ := newAgent(t, e, says(t, "here"), rigConfig{agent: agent.Config{Key: keys[0]}})
	online(t, a)
	me := apiOf(t, e, keys[0])
	list, err := me.Keys(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("Keys = %v, %v, want one", list, err)
	}
	admin, _ := e.AdminKey()
	if _, err := apiOf(t, e, admin).AdminRevokeKey(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := ends(t, "the agent", ended); errorCode(err) != tunnel.CodeKey {
		t.Errorf("the agent ended with %v, want code %s", err, tunnel.CodeKey)
	}
	if status, _ := ask(t, e, "shop.tun.test"); status != http.StatusServiceUnavailable {
		t.Errorf("status = %d, want %d", status, http.StatusServiceUnavailable)
	}
}

// TestLimitOfUser holds over all sessions of the user, and lets an agent that
// lost its link come back.
func TestLimitOfUser(t *testing.T) {
	e, keys, _ := newEdgeWithUsers(t, 1)
	admin, _ := e.AdminKey()
	root := apiOf(t, e, admin)
	me, err := apiOf(t, e, keys[0]).Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := 1
	if _, err := root.AdminSetLimits(t.Context(), me.ID, client.UserLimits{Tunnels: &one}); err != nil {
		t.Fatal(err)
	}
	local := says(t, "here")
	a, _, stop := newAgent(t, e, local, rigConfig{agent: agent.Config{Key: keys[0]}})
	online(t, a)
	_, second, _ := newAgent(t, e, local, rigConfig{claim: tunnel.Claim{Name: "wiki"}, agent: agent.Config{Key: keys[0]}})
	if err := ends(t, "the second agent", second); errorCode(err) != tunnel.CodeLimit {
		t.Errorf("the second agent ended with %v, want code %s", err, tunnel.CodeLimit)
	}
	stop()
	eventually(t, "the edge knows that the first one went", func() bool {
		ts, err := root.AdminTunnels(t.Context())
		return err == nil && len(ts) == 1 && !ts[0].Online
	})
	third, _, _ := newAgent(t, e, local, rigConfig{claim: tunnel.Claim{Name: "wiki"}, agent: agent.Config{Key: keys[0]}})
	online(t, third)
}
