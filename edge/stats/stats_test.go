package stats

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A ledger is a store in memory.
type ledger struct {
	mu     sync.Mutex
	rows   map[row]store.Usage
	total  store.Usage
	broken error
	writes int
	after  int // writes that succeed before one fails, 0 for all
}

func (l *ledger) AddUsage(_ context.Context, us []store.Usage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	if l.broken != nil || l.after > 0 && l.writes > l.after {
		return cmp.Or(l.broken, errors.New("the disk is full now"))
	}
	if l.rows == nil {
		l.rows = make(map[row]store.Usage)
	}
	for _, u := range us {
		r := rowOf(u)
		l.rows[r] = sum(l.rows[r], u)
		l.total = sum(l.total, u)
	}
	return nil
}

func (l *ledger) UsageSince(_ context.Context, t time.Time) ([]store.Usage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	us := slices.DeleteFunc(usages(l.rows), func(u store.Usage) bool { return u.Hour.Before(t.Truncate(time.Hour)) })
	slices.SortFunc(us, func(a, b store.Usage) int { return a.Hour.Compare(b.Hour) })
	return us, nil
}

func (l *ledger) TotalUsage(context.Context) (store.Usage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, nil
}

func (l *ledger) Users() []store.User { return []store.User{{ID: "a"}, {ID: "b"}} }

func (l *ledger) fail(err error) {
	l.mu.Lock()
	l.broken = err
	l.mu.Unlock()
}

func (l *ledger) saved() map[string]store.Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := make(map[string]store.Usage)
	for r, u := range l.rows {
		key := fmt.Sprintf("%s %s %s", time.Unix(r.hour, 0).UTC().Format("15h"), r.user, r.tunnel)
		m[key] = store.Usage{Requests: u.Requests, Connections: u.Connections, BytesIn: u.BytesIn, BytesOut: u.BytesOut}
	}
	return m
}

// A link is an agent that is there and does nothing.
type link struct{ _ int } // of a size, so that two are not one

func (*link) Open(tunnel.Peer) (tunnel.Conn, error)       { return nil, errors.New("no streams here") }
func (*link) Ping(context.Context) (time.Duration, error) { return 0, nil }
func (*link) Dropped(string, *tunnel.Error) error         { return nil }
func (*link) Supersede(*tunnel.Error) error               { return nil }
func (*link) Close() error                                { return nil }
func (*link) RemoteAddr() net.Addr                        { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 99), Port: 4000} }

// A rig is Stats on a registry with real tunnels.
type rig struct {
	stats    *Stats
	registry *registry.Registry
	ledger   *ledger
}

func newRig(t *testing.T, configure ...func(*Config)) *rig {
	t.Helper()
	r := &rig{ledger: new(ledger)}
	c := Config{
		Tunnels: func(user string) []*registry.Tunnel { return r.registry.Tunnels(user) },
		Store:   r.ledger, Software: "lrok test",
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range configure {
		f(&c)
	}
	var err error
	if r.stats, err = New(c); err != nil {
		t.Fatal(err)
	}
	r.registry = registry.New(registry.Config{
		Domain: "tun.test", Dropped: r.stats.Dropped, Ports: [2]int{30000, 30099},
		Listen: func(*registry.Tunnel, int) (io.Closer, error) { return io.NopCloser(nil), nil },
	})
	return r
}

// open claims a tunnel and returns it.
func (r *rig) open(t *testing.T, s registry.Session, user, name string, kind tunnel.Kind) *registry.Tunnel {
	t.Helper()
	_, err := r.registry.Claim(t.Context(), s, user, "instance of "+user, "", []tunnel.Claim{{Kind: kind, Name: name}})
	if err != nil {
		t.Fatalf("%s claims %s: %v", user, name, err)
	}
	tun, _ := r.registry.Tunnel(name)
	return tun
}

// run runs Stats until the test ends or stop is called.
func (r *rig) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.stats.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func pass(t *registry.Tunnel, requests, in, out int64) {
	t.Counters.Requests.Add(requests)
	t.Counters.BytesIn.Add(in)
	t.Counters.BytesOut.Add(out)
}

func wantSaved(t *testing.T, l *ledger, want map[string]store.Usage) {
	t.Helper()
	if got := l.saved(); !maps.Equal(got, want) {
		t.Fatalf("saved\n%v\nwant\n%v", got, want)
	}
}

// after lets fake time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestUsageByTheHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight
		r := newRig(t)
		stop := r.run(t)
		first := new(link)
		shop := r.open(t, first, "a", "shop", tunnel.HTTP)
		db := r.open(t, new(link), "b", "db", tunnel.TCP)
		pass(shop, 3, 30, 300)
		db.Counters.Connections.Add(1)
		after(61 * time.Second)
		want := map[string]store.Usage{
			"00h a shop": {Requests: 3, BytesIn: 30, BytesOut: 300},
			"00h b db":   {Connections: 1},
		}
		wantSaved(t, r.ledger, want)

		// Nothing new: nothing is written.
		writes := r.ledger.writes
		after(10 * time.Minute)
		if r.ledger.writes != writes {
			t.Errorf("%d writes while nothing passed, want 0", r.ledger.writes-writes)
		}

		// The agent comes back over another link: its counters go on.
		r.registry.Release(first)
		again := r.open(t, new(link), "a", "shop", tunnel.HTTP)
		pass(again, 1, 1, 1)
		after(time.Minute)
		want["00h a shop"] = store.Usage{Requests: 4, BytesIn: 31, BytesOut: 301}
		wantSaved(t, r.ledger, want)

		// Another hour.
		after(time.Hour)
		pass(again, 5, 0, 0)
		after(time.Minute)
		want["01h a shop"] = store.Usage{Requests: 5}
		wantSaved(t, r.ledger, want)

		// It is closed, and what was in flight counts still.
		pass(again, 2, 0, 0)
		r.registry.CloseTunnel("a", "shop")
		pass(again, 0, 0, 1000)
		after(time.Minute)
		want["01h a shop"] = store.Usage{Requests: 7, BytesOut: 1000}
		wantSaved(t, r.ledger, want)
		pass(again, 0, 0, 1000)
		after(time.Minute)
		want["01h a shop"] = store.Usage{Requests: 7, BytesOut: 2000}
		wantSaved(t, r.ledger, want)

		// The name goes to another user, who begins at nothing.
		after(20 * time.Minute)
		other := r.open(t, new(link), "b", "shop", tunnel.HTTP)
		pass(other, 9, 0, 0)
		stop() // the last minute counts too
		want["01h b shop"] = store.Usage{Requests: 9}
		wantSaved(t, r.ledger, want)
	})
}

func TestForgetsDroppedTunnels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run(t)
		long := r.open(t, new(link), "a", "long", tunnel.TCP)
		long.Counters.Open.Add(1)
		r.registry.CloseTunnel("a", "long")
		for i := range 50 {
			name := fmt.Sprint("t", i)
			r.open(t, new(link), "a", name, tunnel.HTTP)
			r.registry.CloseTunnel("a", name)
		}
		after(10 * time.Minute)
		r.stats.mu.Lock()
		n := len(r.stats.known)
		r.stats.mu.Unlock()
		if n != 1 {
			t.Errorf("%d tunnels are known after all were dropped, want 1: the one with a connection", n)
		}
		long.Counters.BytesOut.Add(7)
		long.Counters.Open.Add(-1)
		after(10 * time.Minute)
		wantSaved(t, r.ledger, map[string]store.Usage{"00h a long": {BytesOut: 7}})
	})
}

// TestBrokenStore holds that nothing is lost or doubled while the store cannot
// be written, and that each hour gets what belongs to it.
func TestBrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run(t)
		shop := r.open(t, new(link), "a", "shop", tunnel.HTTP)
		pass(shop, 1, 0, 0)
		after(61 * time.Second)
		r.ledger.fail(errors.New("the disk is full"))
		pass(shop, 10, 0, 0)
		after(30 * time.Minute)
		pass(shop, 100, 0, 0)
		after(time.Hour)
		pass(shop, 1000, 0, 0)
		after(5 * time.Minute)
		sum, err := r.stats.Summary(t.Context(), 24)
		if err != nil || sum.Total.Requests != 1111 {
			t.Errorf("total while the store is broken = %d, %v, want 1111", sum.Total.Requests, err)
		}
		r.ledger.fail(nil)
		after(time.Minute)
		wantSaved(t, r.ledger, map[string]store.Usage{"00h a shop": {Requests: 111}, "01h a shop": {Requests: 1000}})
	})
}

// TestBoundedWhileBroken holds that usage nobody can save takes bounded memory,
// and that its sum is kept.
func TestBoundedWhileBroken(t *testing.T) {
	r := newRig(t)
	const tunnels = maxUnsaved + 1000
	for i := range tunnels {
		c := new(registry.Counters)
		c.Requests.Add(1)
		r.stats.mu.Lock()
		r.stats.take(&known{user: "a", name: fmt.Sprint(i)}, c)
		r.stats.mu.Unlock()
	}
	if n := len(r.stats.unsaved); n > maxUnsaved+1 {
		t.Errorf("%d rows are kept, want %d at most", n, maxUnsaved+1)
	}
	sum, err := r.stats.Summary(t.Context(), 1)
	if err != nil || sum.Total.Requests != tunnels {
		t.Errorf("total = %d, %v, want %d", sum.Total.Requests, err, tunnels)
	}
}

// TestFullInTheMiddle holds that what was written before the store failed is not
// written twice.
func TestFullInTheMiddle(t *testing.T) {
	r := newRig(t)
	const tunnels = 3*maxWrite + 10
	for i := range tunnels {
		c := new(registry.Counters)
		c.Requests.Add(1)
		r.stats.mu.Lock()
		r.stats.take(&known{user: "a", name: fmt.Sprint(i)}, c)
		r.stats.mu.Unlock()
	}
	r.ledger.after = 2
	if err := r.stats.save(t.Context()); err == nil {
		t.Fatal("save returned no error, want that of the third write")
	}
	if n := r.ledger.total.Requests; n != 2*maxWrite {
		t.Errorf("%d requests are saved, want %d", n, 2*maxWrite)
	}
	r.ledger.after = 0
	if err := r.stats.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, rows := r.ledger.total.Requests, len(r.ledger.rows); n != tunnels || rows != tunnels {
		t.Errorf("%d requests in %d rows are saved, want %d of each", n, rows, tunnels)
	}
}

func TestLastCollectionFails(t *testing.T) {
	r := newRig(t)
	pass(r.open(t, new(link), "a", "shop", tunnel.HTTP), 1, 0, 0)
	r.ledger.fail(errors.New("the disk is full"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.stats.Run(ctx); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("Run = %v, want what was not saved and why", err)
	}
}

func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Sources.Agents = func() int { return 2 } })
		r.run(t)
		began := time.Now()
		shop := r.open(t, new(link), "a", "shop", tunnel.HTTP)
		blog := r.open(t, new(link), "b", "blog", tunnel.HTTP)
		api := r.open(t, new(link), "b", "app", tunnel.HTTP)
		pass(shop, 1, 10, 100)
		after(time.Hour)
		pass(shop, 2, 20, 200)
		pass(blog, 4, 0, 4000)
		after(time.Hour)
		pass(api, 8, 1, 1) // nothing has collected this yet

		sum, err := r.stats.Summary(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if sum.Agents != 2 || sum.Tunnels != 3 || sum.Users != 2 || !sum.Started.Equal(began) {
			t.Errorf("agents %d, tunnels %d, users %d since %v, want 2, 3, 2 since %v", sum.Agents, sum.Tunnels, sum.Users, sum.Started, began)
		}
		if want := (store.Usage{Requests: 15, BytesIn: 31, BytesOut: 4301}); sum.Total != want {
			t.Errorf("total = %+v, want %+v", sum.Total, want)
		}
		at := func(h int) time.Time { return began.UTC().Add(time.Duration(h) * time.Hour) }
		if want := []store.Usage{
			{Hour: at(2), Requests: 8, BytesIn: 1, BytesOut: 1},
			{Hour: at(1), Requests: 6, BytesIn: 20, BytesOut: 4200},
		}; !slices.Equal(sum.Hours, want) {
			t.Errorf("hours =\n%+v\nwant\n%+v", sum.Hours, want)
		}
		if want := []store.Usage{
			{User: "b", Requests: 12, BytesIn: 1, BytesOut: 4001},
			{User: "a", Requests: 2, BytesIn: 20, BytesOut: 200},
		}; !slices.Equal(sum.ByUser, want) {
			t.Errorf("by user =\n%+v\nwant\n%+v", sum.ByUser, want)
		}
		if want := []store.Usage{
			{User: "b", Tunnel: "blog", Requests: 4, BytesOut: 4000},
			{User: "a", Tunnel: "shop", Requests: 2, BytesIn: 20, BytesOut: 200},
			{User: "b", Tunnel: "app", Requests: 8, BytesIn: 1, BytesOut: 1},
		}; !slices.Equal(sum.ByTunnel, want) {
			t.Errorf("by tunnel =\n%+v\nwant\n%+v", sum.ByTunnel, want)
		}
	})
}

// TestEverythingAtOnce counts, drops, saves, sums up and shows metrics at the
// same time, and wants every request once.
func TestEverythingAtOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Every = time.Millisecond })
	stop := r.run(t)
	const users, rounds, each = 8, 20, 50
	var wg, watch sync.WaitGroup
	quit := make(chan struct{})
	metrics := r.stats.Metrics()
	watch.Go(func() {
		var last int64
		for {
			select {
			case <-quit:
				return
			default:
			}
			sum, err := r.stats.Summary(t.Context(), 1)
			if err != nil || sum.Total.Requests < last {
				t.Errorf("total went from %d to %d, %v", last, sum.Total.Requests, err)
			}
			last = sum.Total.Requests
			metrics.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
		}
	})
	for u := range users {
		wg.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("t%d-%d", u, i)
				tun := r.open(t, new(link), fmt.Sprint("u", u), name, tunnel.HTTP)
				for range each {
					pass(tun, 1, 1, 1)
				}
				r.registry.CloseTunnel("", name)
				pass(tun, 1, 0, 0) // in flight
			}
		})
	}
	wg.Wait()
	close(quit)
	watch.Wait()
	stop()
	if want := int64(users * rounds * (each + 1)); r.ledger.total.Requests != want {
		t.Errorf("%d requests saved, want %d", r.ledger.total.Requests, want)
	}
}

// scrape returns what Prometheus would read, by series.
func scrape(t *testing.T, s *Stats) (series map[string]string, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if ct := w.Header().Get("Content-Type"); w.Code != 200 || !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Fatalf("answer = %d %s, want 200 in Prometheus' format", w.Code, ct)
	}
	series = make(map[string]string)
	types := make(map[string]bool)
	line := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",? ?)*\})?) (\S+)$`)
	sc := bufio.NewScanner(strings.NewReader(w.Body.String()))
	for sc.Scan() {
		if name, ok := strings.CutPrefix(sc.Text(), "# TYPE "); ok {
			if types[name] {
				t.Errorf("the type of %s is written twice", name)
			}
			types[name] = true
			continue
		}
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		m := line.FindStringSubmatch(sc.Text())
		if m == nil {
			t.Errorf("line %q is not in Prometheus' format", sc.Text())
			continue
		}
		if _, ok := series[m[1]]; ok {
			t.Errorf("series %s is written twice", m[1])
		}
		series[m[1]] = m[2]
	}
	for _, typ := range []string{"lrok_requests_total counter", "lrok_tunnels gauge"} {
		if !types[typ] {
			t.Errorf("there is no type %q", typ)
		}
	}
	return series, w.Body.String()
}

func wantSeries(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy := errors.New("the disk is full")
		expiry := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		r := newRig(t, func(c *Config) {
			c.Sources = Sources{
				Agents:            func() int { return 7 },
				Streams:           func() int { return 8 },
				Bulk:              func() int { return 3 },
				HandshakesRefused: func() int64 { return 9 },
				Certificates: func() []Certificate {
					return []Certificate{{Names: []string{"*.tun.test", "tun.test"}, Source: `C:\certs "new"`, NotAfter: expiry}, {Source: "dev"}}
				},
				Public: func() Public {
					return Public{Open: 1, Opened: 22, TurnedAway: 3, Shed: 4, Denied: 5, Misdirected: 6, Cookies: 7}
				},
				ControlRefused: func() map[string]int64 { return map[string]int64{"key_refused": 3, "draining": 1} },
				KeysRefused:    func() int64 { return 12 },
				CaptureMemory:  func() (int64, int64) { return 5 << 20, 512 << 20 },
				Store:          func() error { return healthy },
				Draining:       func() bool { return true },
			}
		})
		r.run(t)
		away := new(link)
		shop := r.open(t, away, "secretuser", "secretname", tunnel.HTTP)
		db := r.open(t, new(link), "secretuser", "db", tunnel.TCP)
		r.registry.Release(away)
		pass(shop, 3, 30, 300)
		db.Counters.Connections.Add(2)
		db.Counters.Open.Add(1)
		got, text := scrape(t, r.stats)
		want := map[string]string{
			`lrok_agents`:                       "7",
			`lrok_streams_open`:                 "8",
			`lrok_bulk_connections`:             "3",
			`lrok_users`:                        "2",
			`lrok_tunnels{kind="http"}`:         "1",
			`lrok_tunnels_online{kind="http"}`:  "0",
			`lrok_tunnels{kind="tcp"}`:          "1",
			`lrok_tunnels_online{kind="tcp"}`:   "1",
			`lrok_tunnels{kind="tls"}`:          "0",
			`lrok_requests_total{kind="http"}`:  "3",
			`lrok_bytes_in_total{kind="http"}`:  "30",
			`lrok_bytes_out_total{kind="http"}`: "300",

			`lrok_connections_total{kind="tcp"}`:                                   "2",
			`lrok_connections_open{kind="tcp"}`:                                    "1",
			`lrok_tunnels_opened_total{kind="http"}`:                               "1",
			`lrok_tls_handshakes_refused_total{reason="no_certificate"}`:           "9",
			`lrok_agents_refused_total{reason="key_refused"}`:                      "3",
			`lrok_agents_refused_total{reason="draining"}`:                         "1",
			`lrok_keys_refused_total`:                                              "12",
			`lrok_public_connections_total`:                                        "22",
			`lrok_public_connections_open`:                                         "1",
			`lrok_requests_refused_total{reason="denied"}`:                         "5",
			`lrok_capture_bytes`:                                                   "5242880",
			`lrok_capture_limit_bytes`:                                             "536870912",
			`lrok_store_healthy`:                                                   "0",
			`lrok_draining`:                                                        "1",
			`lrok_build_info{software="lrok test",go="` + runtime.Version() + `"}`: "1",
			`lrok_certificate_expiry_seconds{index="0",name="*.tun.test",source="C:\\certs \"new\""}`: fmt.Sprint(expiry.Unix()),
		}
		wantSeries(t, got, want)
		for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "go_goroutines"} {
			if got[name] == "" {
				t.Errorf("there is no %s", name)
			}
		}
		for _, secret := range []string{"secretuser", "secretname", "192.0.2.99"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the metrics", secret)
			}
		}

		// Counters never go back, also when the tunnel is gone and forgotten.
		r.registry.CloseTunnel("", "secretname")
		got, _ = scrape(t, r.stats)
		wantSeries(t, got, map[string]string{`lrok_requests_total{kind="http"}`: "3", `lrok_tunnels{kind="http"}`: "0"})
		after(15 * time.Minute)
		again := r.open(t, new(link), "secretuser", "secretname", tunnel.HTTP)
		pass(again, 1, 0, 0)
		got, _ = scrape(t, r.stats)
		wantSeries(t, got, map[string]string{`lrok_requests_total{kind="http"}`: "4", `lrok_tunnels_opened_total{kind="http"}`: "2"})
		healthy = nil
		got, _ = scrape(t, r.stats)
		wantSeries(t, got, map[string]string{`lrok_store_healthy`: "1"})
	})
}

// TestMetricsAreDocumented holds docs/metrics.md to what is shown: names, labels
// and types.
func TestMetricsAreDocumented(t *testing.T) {
	r := newRig(t, func(c *Config) {
		zero := func() int64 { return 0 }
		c.Sources = Sources{
			Agents: func() int { return 0 }, Streams: func() int { return 0 }, Bulk: func() int { return 0 }, Public: func() Public { return Public{} },
			HandshakesRefused: zero, KeysRefused: zero,
			Certificates:   func() []Certificate { return []Certificate{{}} },
			ControlRefused: func() map[string]int64 { return map[string]int64{"draining": 1} },
			CaptureMemory:  func() (int64, int64) { return 0, 0 },
			Store:          func() error { return nil },
			Draining:       func() bool { return false },
		}
	})
	got, text := scrape(t, r.stats)
	types := make(map[string]string)
	for _, m := range regexp.MustCompile(`# TYPE (lrok_\S+) (\S+)`).FindAllStringSubmatch(text, -1) {
		types[m[1]] = m[2]
	}
	help := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^# HELP (\S+)(.*)$`).FindAllStringSubmatch(text, -1) {
		if help[m[1]] = strings.TrimSpace(m[2]); help[m[1]] == "" {
			t.Errorf("the HELP of %s is empty", m[1])
		}
	}
	for name := range helps {
		if types[name] == "" {
			t.Errorf("there is a help for %s, which is not shown", name)
		}
	}
	shown := make(map[string]bool)
	for series := range got {
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		if !strings.HasPrefix(name, "lrok_") {
			continue
		}
		if help[name] == "" {
			t.Errorf("%s has no HELP", name)
		}
		if labels = regexp.MustCompile(`="[^"]*"`).ReplaceAllString(labels, ""); labels != "" {
			labels = "{" + labels + "}"
		}
		shown[fmt.Sprintf("| `%s%s` | %s |", name, labels, types[name])] = true
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `lrok_[^`]*` \\| \\w+ \\|").FindAllString(string(page), -1) {
		said[row] = true
	}
	for row := range shown {
		if !said[row] {
			t.Errorf("docs/metrics.md does not have %s", row)
		}
	}
	for row := range said {
		if !shown[row] {
			t.Errorf("docs/metrics.md has %s, which is not shown", row)
		}
	}
	if len(shown) < 20 {
		t.Errorf("%d metrics are shown, want all", len(shown))
	}
}

func TestMetricsWithoutSources(t *testing.T) {
	r := newRig(t)
	got, _ := scrape(t, r.stats)
	wantSeries(t, got, map[string]string{`lrok_tunnels{kind="http"}`: "0", `lrok_agents`: ""})
}

// A posthog server keeps the events that it was sent.
type fakePostHog struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any
	key    string
	raw    strings.Builder
	calls  int
	answer int // a status, 0 for 200
}

func newPostHog(t *testing.T) *fakePostHog {
	p := new(fakePostHog)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			t.Errorf("read events: %v", err)
		}
		var batch struct {
			Key   string           `json:"api_key"`
			Batch []map[string]any `json:"batch"`
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls++
		if p.answer != 0 {
			w.WriteHeader(p.answer)
			return
		}
		if err := json.Unmarshal(body, &batch); err != nil || r.URL.Path != "/batch/" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		p.key = batch.Key
		p.raw.Write(body)
		p.events = append(p.events, batch.Batch...)
	}))
	t.Cleanup(p.Close)
	return p
}

func TestPostHog(t *testing.T) {
	p := newPostHog(t)
	dir := t.TempDir()
	analytics := func(c *Config) { c.Analytics = Analytics{Key: "phc_test", On: true, Endpoint: p.URL, Dir: dir} }
	r := newRig(t, analytics)
	stop := r.run(t)
	shop := r.open(t, new(link), "usr_alice", "wonderland", tunnel.HTTP)
	pass(shop, 3, 30, 300)
	r.registry.CloseTunnel("", "wonderland")
	second := r.open(t, new(link), "usr_alice", "zweiter", tunnel.TLS)
	r.open(t, new(link), "usr_bob", "third", tunnel.TCP)
	r.stats.collect()
	pass(second, 0, 7, 70)
	stop() // closes what is open, and sends what is left

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.key != "phc_test" {
		t.Errorf("key = %q, want phc_test", p.key)
	}
	count := make(map[string]int)
	ids := make(map[string]string) // a kind of event and tunnel, to who
	counted := map[string]map[string]any{
		"http": {"requests": 3.0, "bytes_in": 30.0, "bytes_out": 300.0, "connections": 0.0},
		"tls":  {"requests": 0.0, "bytes_in": 7.0, "bytes_out": 70.0, "connections": 0.0},
		"tcp":  {"requests": 0.0, "bytes_in": 0.0, "bytes_out": 0.0, "connections": 0.0},
	}
	for _, e := range p.events {
		name := e["event"].(string)
		count[name]++
		props := e["properties"].(map[string]any)
		if props["software"] != "lrok test" || props["$process_person_profile"] != false || props["$geoip_disable"] != true {
			t.Errorf("%s has properties %v", name, props)
		}
		id := e["distinct_id"].(string)
		if len(id) != 32 {
			t.Errorf("%s is of %q, want 32 hex digits", name, id)
		}
		ids[fmt.Sprint(name, props["kind"])] = id
		if name == "tunnel_closed" {
			kind, _ := props["kind"].(string)
			if counted[kind] == nil {
				t.Errorf("tunnel_closed of kind %q, want each of %v once", kind, slices.Collect(maps.Keys(counted)))
			}
			for k, v := range counted[kind] {
				if props[k] != v {
					t.Errorf("tunnel_closed of kind %s has %s = %v, want %v", kind, k, props[k], v)
				}
			}
			delete(counted, kind)
			if d, ok := props["duration_seconds"].(float64); !ok || d < 0 {
				t.Errorf("duration = %v", props["duration_seconds"])
			}
		}
	}
	if want := map[string]int{"edge_started": 1, "tunnel_opened": 3, "tunnel_closed": 3}; !maps.Equal(count, want) {
		t.Errorf("events = %v, want %v", count, want)
	}
	if ids["tunnel_closedhttp"] != ids["tunnel_openedtls"] {
		t.Error("the same user has two ids")
	}
	if ids["edge_started<nil>"] == ids["tunnel_closedhttp"] {
		t.Error("the edge and a user have the same id")
	}
	for _, secret := range []string{"usr_alice", "alice", "usr_bob", "wonderland", "zweiter", "third", "tun.test", "192.0.2.99"} {
		if strings.Contains(p.raw.String(), secret) {
			t.Errorf("%q was sent", secret)
		}
	}
	info, err := os.Stat(filepath.Join(dir, secretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret file: %v, %v, want mode 0600", info, err)
	}

	// The next process of this edge calls users the same, another edge does not.
	one, err := r.stats.posthog.secret()
	if err != nil {
		t.Fatal(err)
	}
	other := newRig(t, analytics, func(c *Config) { c.Analytics.Dir = t.TempDir() })
	two, err := other.stats.posthog.secret()
	if err != nil {
		t.Fatal(err)
	}
	if pseudonym(one, "usr_alice") != ids["tunnel_closedhttp"] {
		t.Error("a user has another id after a restart")
	}
	if pseudonym(two, "usr_alice") == ids["tunnel_closedhttp"] {
		t.Error("two edges call a user the same")
	}
}

// TestPostHogIsOff holds that neither setting alone does anything.
func TestPostHogIsOff(t *testing.T) {
	for name, a := range map[string]Analytics{
		"neither":  {},
		"only key": {Key: "phc_test"},
		"only on":  {On: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPostHog(t)
			a.Endpoint, a.Dir = p.URL, t.TempDir()
			r := newRig(t, func(c *Config) { c.Analytics = a })
			if r.stats.posthog != nil {
				t.Error("there is something that sends events")
			}
			stop := r.run(t)
			r.open(t, new(link), "a", "shop", tunnel.HTTP)
			r.registry.CloseTunnel("", "shop")
			r.stats.collect()
			stop()
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.calls != 0 {
				t.Errorf("PostHog was called %d times, want 0", p.calls)
			}
			if files, err := os.ReadDir(a.Dir); err != nil || len(files) != 0 {
				t.Errorf("files = %v, %v, want none", files, err)
			}
		})
	}
}

// TestPostHogAway holds that an address that takes connections and says nothing
// neither blocks a tunnel, nor takes memory without a bound, nor keeps the edge
// from ending.
func TestPostHogAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	r := newRig(t, func(c *Config) {
		c.Analytics = Analytics{Key: "phc_test", On: true, Endpoint: "http://" + l.Addr().String(), Dir: t.TempDir()}
	})
	stop := r.run(t)
	began := time.Now()
	for i := range 5 * maxEvents {
		r.stats.posthog.put(event{name: fmt.Sprint("e", i), at: began})
	}
	stop()
	if n := r.stats.posthog.dropped.Load(); n == 0 {
		t.Error("no event was dropped, want some: there is a bound")
	}
	if n := r.stats.posthog.unsent.Load(); n != 0 {
		t.Errorf("%d events are neither sent nor given up, want 0", n)
	}
}

func TestPostHogSettings(t *testing.T) {
	for _, endpoint := range []string{"nonsense", "ftp://example.com", "http://"} {
		_, err := New(Config{Analytics: Analytics{Key: "k", On: true, Endpoint: endpoint}, Store: new(ledger)})
		if err == nil {
			t.Errorf("endpoint %q was taken", endpoint)
		}
	}
	r := newRig(t, func(c *Config) { c.Analytics = Analytics{Key: "k", On: true, Dir: t.TempDir()} })
	if r.stats.posthog == nil {
		t.Error("with a key, and on, nothing sends events")
	}
}
