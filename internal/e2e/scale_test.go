package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// users makes n users with a key each, in the data directory of a running edge
// and from outside of its process, as lrok admin does. It returns the keys.
func users(t testing.TB, dir string, n int) []string {
	t.Helper()
	s, _, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	keys := make([]string, n)
	for i := range keys {
		u, err := s.AddUser(t.Context(), "local", fmt.Sprintf("user-%02d", i), store.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, keys[i], err = s.CreateKey(t.Context(), "local", u.ID, "scale", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// A party is many agents at one edge, in this process. Their local service
// answers with the host that it was called by.
type party struct {
	edge   string
	tls    *tls.Config
	target agent.Target
	end    context.Context // of all
	wg     sync.WaitGroup
}

// gather returns a party that calls a service which says what host it was asked
// for, and the keys of n users. The caller ends it.
func gather(t testing.TB, e *edgeProcess, n int) (c *party, keys []string, end func()) {
	t.Helper()
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host)
	})
	pem, err := os.ReadFile(e.ca())
	if err != nil {
		t.Fatal(err)
	}
	target, err := agent.ParseTarget(local)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c = &party{edge: e.control, tls: trust(t, pem), target: target, end: ctx}
	keys = users(t, e.dir, n)
	eventually(t, "the edge knows the new keys", func() bool {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		a, leave := c.join(t, keys[len(keys)-1], "first")
		defer leave()
		return isOnline(ctx, a)
	})
	return c, keys, func() { stop(); c.wg.Wait() }
}

// join runs an agent with tunnels of these names until the party ends or leave is
// called.
func (c *party) join(t testing.TB, key string, names ...string) (a *agent.Agent, leave func()) {
	t.Helper()
	config := agent.Config{Edge: c.edge, TLS: c.tls, Key: key, Instance: newInstance(), Software: "lrok test"}
	for _, name := range names {
		config.Claims = append(config.Claims, tunnel.Claim{Kind: tunnel.HTTP, Name: name, Local: c.target.String()})
		config.Targets = append(config.Targets, c.target)
	}
	a, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.end)
	done := make(chan struct{})
	c.wg.Go(func() {
		defer close(done)
		_ = a.Run(ctx) // the status holds the error
	})
	return a, func() { cancel(); <-done }
}

// isOnline reports whether a's tunnels become live before ctx ends.
func isOnline(ctx context.Context, a *agent.Agent) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for a.Status().State != agent.Online {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// TestThousandTunnels holds a thousand tunnels of fifty users on one edge while
// twenty a second are claimed and given up and all of them are called.
func TestThousandTunnels(t *testing.T) {
	const (
		perAgent = 4
		agents   = 250
		claims   = 20 // a second
	)
	seconds := 5
	if os.Getenv("LROK_NIGHTLY") != "" {
		seconds = 60
	}
	e := serve(t, nil)
	c, keys, end := gather(t, e, 50)
	defer end()

	var hosts []string
	var all []*agent.Agent
	began := time.Now()
	for i := range agents {
		names := make([]string, perAgent)
		for j := range names {
			names[j] = fmt.Sprintf("t-%d-%d", i, j)
			hosts = append(hosts, names[j]+".tun.test")
		}
		a, _ := c.join(t, keys[i%len(keys)], names...)
		all = append(all, a)
	}
	attempts := make([]int, agents) // a busy machine may need some more
	for i, a := range all {
		online(t, a)
		attempts[i] = a.Status().Attempt
	}
	t.Logf("%d tunnels are live after %v", len(hosts), time.Since(began).Round(time.Millisecond))

	ctx, stop := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second)
	defer stop()
	var requests, wrong atomic.Int64
	var wg sync.WaitGroup
	for range 4 { // who call
		wg.Go(func() {
			conn, err := net.Dial("tcp", e.http)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			br := bufio.NewReader(conn)
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				host := hosts[rand.IntN(len(hosts))]
				_ = conn.SetDeadline(time.Now().Add(patience))
				if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
					t.Error(err)
					return
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Errorf("%s: %v", host, err)
					return
				}
				b, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusOK || string(b) != host {
					wrong.Add(1)
					t.Errorf("%s: %d %q %v, want 200 and its own name", host, res.StatusCode, b, err)
				}
				requests.Add(1)
				<-pace.C
			}
		})
	}
	claimed := 0
	tick := time.NewTicker(time.Second / claims)
	defer tick.Stop()
	for ctx.Err() == nil { // who come and go
		select {
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		i := claimed
		claimed++
		wg.Go(func() {
			name := fmt.Sprintf("guest-%d", i)
			host := name + ".tun.test"
			a, leave := c.join(t, keys[i%len(keys)], name)
			defer leave()
			patient, done := context.WithTimeout(t.Context(), patience)
			defer done()
			if !isOnline(patient, a) {
				t.Errorf("%s does not come online: %v", name, a.Status().Err)
				return
			}
			if g := a.Status().Welcome.Grants[0]; g.Name != name || !strings.Contains(g.URL, host) {
				t.Errorf("granted %s at %s, want %s", g.Name, g.URL, host)
			}
			if status, _, body, err := tryGetHost(e.http, host, "/"); err != nil || status != http.StatusOK || body != host {
				t.Errorf("%s: %d %q %v", name, status, body, err)
			}
		})
	}
	wg.Wait()
	for i, a := range all {
		if s := a.Status(); s.State != agent.Online || s.Attempt != attempts[i] {
			t.Errorf("an agent is %v after %d attempts, and was online after %d: %v", s.State, s.Attempt, attempts[i], s.Err)
		}
	}
	if claimed == 0 { // how many depends on the machine
		t.Errorf("no claims in %d s, want about %d", seconds, claims*seconds)
	}
	t.Logf("%d requests and %d claims in %d s, %d wrong", requests.Load(), claimed, seconds, wrong.Load())
}

// TestRollingStop stops an edge under 200 requests a second and starts the next
// one in its place: what the local service was asked, the client was answered.
func TestRollingStop(t *testing.T) {
	var served atomic.Int64
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "first half, ")
		_ = http.NewResponseController(w).Flush()
		wait := time.NewTimer(time.Duration(rand.IntN(600)) * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, "second half")
	})
	e := serve(t, nil, "--drain-timeout", "10s")
	p := e.tunnel(t, "", local)

	var whole, cut, refused atomic.Int64
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	inFlight := make(chan struct{}, 200)
	ask := func() {
		defer func() { <-inFlight }()
		c, err := net.Dial("tcp", e.http)
		if err != nil {
			refused.Add(1) // the edge was not there: nothing was in flight
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(patience))
		const body = "hello, lrok"
		if _, err := fmt.Fprintf(c, "POST /hook HTTP/1.1\r\nHost: shop.tun.test\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body); err != nil {
			refused.Add(1)
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		switch {
		case err != nil:
			// Accepted by the system, never by the edge: its listener closed.
			refused.Add(1)
			return
		case res.StatusCode != http.StatusOK: // no agent yet
			refused.Add(1)
			return
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "first half, second half" {
			cut.Add(1)
			t.Errorf("an answer was cut: %q, %v", b, err)
			return
		}
		whole.Add(1)
	}
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			select {
			case inFlight <- struct{}{}:
				wg.Go(ask)
			case <-ctx.Done():
				return
			}
		}
	})
	eventually(t, "requests are in flight", func() bool { return served.Load() > 200 })
	before := whole.Load()
	if code := e.term(); code != 0 {
		t.Errorf("the edge's exit code = %d, want 0", code)
	}
	serve(t, e)
	stop()
	wg.Wait()
	if n, w := served.Load(), whole.Load()+cut.Load(); n != w {
		t.Errorf("the local service was asked %d times and %d answers arrived", n, w)
	}
	if !p.running() {
		t.Error("the agent has ended")
	}
	t.Logf("%d whole (%d before the stop), %d cut, %d came while no edge was there", whole.Load(), before, cut.Load(), refused.Load())
	eventually(t, "the tunnel is back", func() bool {
		status, _, _, err := tryGet(e.http, "/")
		return err == nil && status == http.StatusOK
	})
}

// TestEverybodyComesBack kills an edge that has many agents, as a power cut
// would, and starts it again: all of them are to be back soon, although they come
// from one address and all at the same time. That is half a minute at most; a busy
// machine has more.
func TestEverybodyComesBack(t *testing.T) {
	agents := 200
	if os.Getenv("LROK_NIGHTLY") != "" {
		agents = 2000
	}
	const limit = 3 * time.Minute
	e := serve(t, nil)
	c, keys, end := gather(t, e, 20)
	defer end()

	all := make([]*agent.Agent, agents)
	allOnline := func(what string) time.Duration {
		began := time.Now()
		ctx, stop := context.WithTimeout(t.Context(), limit)
		defer stop()
		for i, a := range all {
			if !isOnline(ctx, a) {
				t.Fatalf("%s: agent %d of %d is not there after %v: %v", what, i, agents, limit, a.Status().Err)
			}
		}
		return time.Since(began)
	}
	for i := range all {
		all[i], _ = c.join(t, keys[i%len(keys)], fmt.Sprintf("t-%d", i))
	}
	first := allOnline("at first")
	e.kill()
	eventually(t, "every agent misses the edge", func() bool {
		return !slices.ContainsFunc(all, func(a *agent.Agent) bool { return a.Status().State == agent.Online })
	})
	again := serve(t, e)
	back := allOnline("after the edge")
	t.Logf("%d agents: all live after %v, back %v after the edge", agents, first.Round(time.Millisecond), back.Round(time.Millisecond))

	conn, err := net.Dial("tcp", again.http)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	br := bufio.NewReader(conn)
	for i := range all {
		host := fmt.Sprintf("t-%d.tun.test", i)
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || string(b) != host {
			t.Errorf("%s: %d %q %v, want 200 and its own name", host, res.StatusCode, b, err)
		}
	}
}
