package agent

import (
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// portOf is the port of a service or of none.
func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, s, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// vacant is an address on which nothing listens.
func vacant(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// While a service is down the agent knows what else listens, except what the
// other tunnels lead to; once the tunnel leads there it is up, and it says no
// more of others.
func TestNearbyWhileDown(t *testing.T) {
	there := service(t, "tcp", "127.0.0.1:0", echo)
	other := service(t, "tcp", "127.0.0.1:0", echo)
	gone := vacant(t)
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, func(c *Config) {
		c.devPorts = []int{portOf(t, vacant(t)), portOf(t, there), portOf(t, other)}
	}, gone, other)
	st := until(t, a, "nearby", func(s Status) bool { return isOnline(s) && s.Upstreams[0].Nearby != nil })
	if got, want := st.Upstreams[0].Nearby, []int{portOf(t, there)}; !slices.Equal(got, want) {
		t.Errorf("Nearby = %v, want %v", got, want)
	}
	if got := st.Upstreams[1].Nearby; got != nil {
		t.Errorf("Nearby = %v of a service that is up, want none", got)
	}
	target, err := ParseTarget(there)
	if err != nil {
		t.Fatal(err)
	}
	a.SetTarget("chosen-0", target)
	st = until(t, a, "up", func(s Status) bool { return !s.Upstreams[0].Down })
	if u := st.Upstreams[0]; u.Nearby != nil || u.Local != target.String() {
		t.Errorf("Upstream = %+v, want the new one and nothing nearby", u)
	}
}

// A service that was chosen live and is not there is told at once, with nobody
// calling.
func TestSetTargetIsDialed(t *testing.T) {
	e := newTestEdge(t)
	e.start()
	a, _ := run(t, e, nil, service(t, "tcp", "127.0.0.1:0", echo))
	until(t, a, "online", isOnline)
	target, err := ParseTarget(vacant(t))
	if err != nil {
		t.Fatal(err)
	}
	a.SetTarget("chosen-0", target)
	until(t, a, "down", func(s Status) bool { return s.Upstreams[0].Down && s.Upstreams[0].Local == target.String() })
}

// Only what is on this machine, and speaks HTTP, has a development server beside
// it.
func TestNearbyIsForLoopback(t *testing.T) {
	for _, tt := range []struct {
		target string
		kind   tunnel.Kind
		want   bool
	}{
		{"3000", tunnel.HTTP, true},
		{"127.0.0.1:3000", tunnel.HTTP, true},
		{"https://[::1]:3000", tunnel.HTTP, true},
		{"https://shop.localhost:3000", tunnel.HTTP, true},
		{"192.0.2.7:3000", tunnel.HTTP, false},
		{"shop.example:80", tunnel.HTTP, false},
		{"unix:/run/app.sock", tunnel.HTTP, false},
		{"tcp://localhost:5432", tunnel.TCP, false},
	} {
		target, err := ParseTarget(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		a, err := New(Config{Edge: "edge.example", Claims: []tunnel.Claim{{Kind: tt.kind}}, Targets: []Target{target}})
		if err != nil {
			t.Fatal(err)
		}
		a.status.Upstreams[0].Down = true
		if got := a.wantsNearby(0); got != tt.want {
			t.Errorf("%s %s: wantsNearby = %v, want %v", tt.kind, tt.target, got, tt.want)
		}
	}
}
