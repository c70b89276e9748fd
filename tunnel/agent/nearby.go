package agent

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// devPorts are those that development servers choose by themselves.
var devPorts = []int{3000, 3001, 3333, 4000, 4200, 4321, 5000, 5173, 5174, 5500, 8000, 8001, 8080, 8081, 8888, 9000}

const (
	nearbyEvery   = 5 // rechecks of a service that is down
	nearbyTimeout = 200 * time.Millisecond
)

// lookNearby finds out what listens on this machine's loopback while a local
// service there is down: a development server often moves to another port by
// itself. It connects to a few well-known ports, says nothing, and leads no
// tunnel anywhere; that is for a person to decide.
func (a *Agent) lookNearby(ctx context.Context) {
	a.mu.Lock()
	missing := false
	own := map[string]bool{}
	for i, u := range a.status.Upstreams {
		missing = missing || a.wantsNearby(i)
		if _, port, err := net.SplitHostPort(a.targets[i].Addr); err == nil {
			own[port] = true
		}
		if u.Nearby != nil && !a.wantsNearby(i) {
			a.status.Upstreams[i].Nearby = nil
		}
	}
	for _, g := range a.status.Welcome.Grants {
		for _, s := range []string{g.URL, g.Direct} {
			if u, err := url.Parse(s); err == nil { // an edge in this process
				own[u.Port()] = true
			}
		}
	}
	a.mu.Unlock()
	if !missing {
		return
	}
	ports := a.config.devPorts
	if ports == nil {
		ports = devPorts
	}
	ctx, cancel := context.WithTimeout(ctx, nearbyTimeout)
	defer cancel()
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		found []int
	)
	for _, port := range ports {
		s := strconv.Itoa(port)
		if own[s] {
			continue
		}
		group.Go(func() {
			conn, err := Target{Addr: "localhost:" + s}.reach(ctx)
			if err != nil {
				return
			}
			conn.Close()
			mu.Lock()
			found = append(found, port)
			mu.Unlock()
		})
	}
	group.Wait()
	slices.Sort(found)

	a.mu.Lock()
	changed := false
	for i := range a.status.Upstreams {
		if u := &a.status.Upstreams[i]; a.wantsNearby(i) && !slices.Equal(u.Nearby, found) {
			u.Nearby, changed = slices.Clone(found), true
		}
	}
	a.mu.Unlock()
	if changed {
		select {
		case a.changed <- struct{}{}:
		default:
		}
	}
}

// wantsNearby reports whether it would help to know what else listens here. It
// is called with the lock held.
func (a *Agent) wantsNearby(i int) bool {
	u := &a.status.Upstreams[i]
	return u.Down && u.Dropped == nil && a.claims[i].Kind == tunnel.HTTP && a.targets[i].loopback()
}

// loopback reports whether t is on a port of this machine alone.
func (t Target) loopback() bool {
	host, _, err := net.SplitHostPort(t.Addr)
	return err == nil && t.Scheme != "unix" && tunnel.Loopback(host)
}
