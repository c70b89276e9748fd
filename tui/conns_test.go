package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A clock stands still until a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// What a client and a database say first.
var (
	startup  = "\x00\x00\x00\x54\x00\x03\x00\x00user\x00ada\x00database\x00shop\x00application_name\x00psql\x00client_encoding\x00UTF8\x00\x00"
	greeting = "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00" + strings.Repeat("S\x00\x00\x00\x1bserver_version\x0017.2\x00", 12)
)

// said is a direction in which n bytes have passed.
func said(n int64, first string) inspector.Body {
	b := inspector.Body{Size: n, Data: []byte(first[:min(int64(len(first)), n, 256)])}
	if b.Captured = int64(len(b.Data)); b.Captured < n {
		b.Missing = "limit"
	}
	return b
}

// connList is the connections of a database, oldest first.
func connList(kind inspector.Kind, now time.Time) []inspector.Exchange {
	host := "tcp.lrok.example:30007"
	if kind == inspector.TLS {
		host = "db.lrok.example"
	}
	n := uint64(35)
	mk := func(ago time.Duration, peer string, in, out int64, lasted time.Duration, end inspector.Ending) inspector.Exchange {
		n++
		x := inspector.Exchange{
			ID: fmt.Sprintf("req_%026d", n), Number: n, Tunnel: "acme", Kind: kind, State: inspector.Done,
			Scheme: string(kind), Host: host, Remote: peer, EndedBy: end.By, Error: end.Code, Detail: end.Detail,
		}
		x.Timing = inspector.Timing{Accepted: now.Add(-ago), StreamOpen: 3 * time.Millisecond, Dial: 412 * time.Microsecond, Done: lasted}
		x.Request.Body, x.Response.Body = said(in, startup), said(out, greeting)
		if lasted == 0 {
			x.State = inspector.Open
		}
		if in+out == 0 {
			x.Timing.Dial = 0
		}
		return x
	}
	fin := inspector.Ending{Detail: "ended by the client (FIN)"}
	refused := inspector.Ending{By: "upstream", Code: tunnel.CodeUpstreamRefused, Detail: "dial tcp 127.0.0.1:5432: connect: connection refused"}
	list := []inspector.Exchange{
		mk(4*time.Minute+29*time.Second, "192.0.2.9:33100", 0, 0, time.Millisecond, refused),
		mk(3*time.Minute+21*time.Second, "203.0.113.7:50110", 4100, 9300, 310*time.Millisecond, fin),
		mk(160*time.Second, "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:41312", 812, 99, 12*time.Second, inspector.Ending{By: "client", Code: tunnel.CodeClientAborted, Detail: "reset by the client: read: connection reset by peer"}),
		mk(158*time.Second, "198.51.100.4:40022", 18_100, 2_100_000, 0, inspector.Ending{}),
		mk(125*time.Second, "203.0.113.7:51512", 1_250_000, 46_200_000, 0, inspector.Ending{}),
		mk(61*time.Second, "198.51.100.66:6001", 0, 0, time.Millisecond, inspector.Ending{By: "edge", Code: tunnel.CodeAccessDenied, Detail: "198.51.100.66 is not let in by the rules of this tunnel"}),
		mk(20*time.Second, "203.0.113.7:51733", 96, 812, 9*time.Second, inspector.Ending{Detail: "ended by the service (FIN)"}),
	}
	opening := mk(200*time.Millisecond, "203.0.113.7:51734", 0, 0, 0, inspector.Ending{})
	opening.Timing.StreamOpen, opening.Timing.Dial = 0, 0
	return append(list, opening)
}

func rawGrant(kind tunnel.Kind) tunnel.Grant {
	if kind == tunnel.TLS {
		return tunnel.Grant{Kind: kind, Name: "db", URL: "tls://db.lrok.example"}
	}
	return tunnel.Grant{Kind: kind, Name: "db", URL: "tcp://tcp.lrok.example:30007"}
}

// onlyRaw makes it a screen of a tunnel without HTTP.
func onlyRaw(kind tunnel.Kind, c *Config, s *agent.Status, e *demoEdge) {
	local := "localhost:5432"
	if kind == tunnel.TLS {
		local = "localhost:8443"
	}
	c.Tunnels = []Tunnel{{Kind: kind, Name: "db", Local: local}}
	s.Welcome.Grants = []tunnel.Grant{rawGrant(kind)}
	s.Upstreams = []agent.Upstream{{Tunnel: "db", Local: local}}
	e.list = nil
	for _, x := range connList(inspector.Kind(kind), frozen) {
		e.add(x)
	}
	e.tunnels = []client.Tunnel{{
		Subdomain: "db", Kind: kind, PublicURL: s.Welcome.Grants[0].URL, Local: local, CreatedAt: frozen.Add(-time.Hour),
		Online: true, Inspect: true, Open: 3, Connections: 41,
	}}
	for _, x := range e.list {
		e.tunnels[0].BytesIn += x.Request.Body.Size
		e.tunnels[0].BytesOut += x.Response.Body.Size
	}
}

// rawDemo starts the screen on a tunnel without HTTP.
func rawDemo(t *testing.T, kind tunnel.Kind, w, h int, change ...func(*Config, *agent.Status, *demoEdge)) (*screen, *demoEdge, *demoAgent) {
	t.Helper()
	return demo(t, w, h, append([]func(*Config, *agent.Status, *demoEdge){func(c *Config, s *agent.Status, e *demoEdge) {
		onlyRaw(kind, c, s, e)
	}}, change...)...)
}

// What makes no sense for connections is not offered, and says so.
func TestKeysOfRequestsAreNotForConnections(t *testing.T) {
	m := rawModel(t, 80, 24, 8)
	for _, k := range []string{"r", "e", "d", "D", "m", "'", "S", "s", "z", "o", "t", "]", "[", "Q"} {
		m.note = note{}
		m.key(k)
		if text := m.shows(); !strings.Contains(text, k+" is for ") || m.over != nil || m.prefix != nil || m.focus != inList {
			t.Errorf("%s says nothing, or does something:\n%s", k, text)
		}
	}
	m.note = note{}
	if got := m.hints(); strings.Contains(got, "replay") || strings.Contains(got, "diff") || !strings.Contains(got, "/ filter") || !strings.Contains(got, "y copy") {
		t.Errorf("the hints are %q, want those of connections", got)
	}
	m.key("/")
	for _, c := range "body:x" {
		m.key(string(c))
	}
	if text := m.shows(); !strings.Contains(text, "the bytes of connections are not searched") {
		t.Errorf("a filter that looks into bodies is taken:\n%s", text)
	}
	for _, o := range m.bar.offers {
		t.Errorf("the filter offers %q", o.Text)
	}
}

// rawModel is a model of a TCP tunnel with n connections.
func rawModel(t testing.TB, w, h, n int) testModel {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	c := Config{API: e, Tunnels: []Tunnel{{Kind: tunnel.TCP, Name: "db", Local: "localhost:5432"}}, Now: func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: w, Height: h}
	s := onlineStatus(frozen)
	s.Welcome.Grants = []tunnel.Grant{rawGrant(tunnel.TCP)}
	s.Upstreams = []agent.Upstream{{Tunnel: "db", Local: "localhost:5432"}}
	m := testModel{newModel(context.Background(), with(c, newDemoAgent(s)), newFeed())}
	list := connList(inspector.TCP, frozen)
	for i := range n {
		x := list[i%len(list)]
		x.Number = uint64(i + 1)
		x.ID = fmt.Sprintf("req_%026d", i+1)
		m.feed.put("db", x)
	}
	m.msg(wakeMsg{})
	return m
}

func TestConnectionsAreCounted(t *testing.T) {
	at := &clock{now: frozen}
	m := rawModel(t, 120, 36, 0)
	m.c.Now = at.Now
	told := func(in, out int64, inspect bool) {
		m.msg(trafficMsg{name: "db", found: true, t: client.Tunnel{Subdomain: "db", Inspect: inspect, CreatedAt: frozen, Open: 7, Connections: 90, BytesIn: in, BytesOut: out}})
	}
	x := connList(inspector.TCP, frozen)[4]
	put := func(in, out int64) {
		x.Version++
		x.Request.Body.Size, x.Response.Body.Size = in, out
		m.feed.put("db", x)
		m.msg(wakeMsg{})
	}
	f := &m.tab().flow
	check := func(what string, wantIn, wantOut, rate int64) {
		t.Helper()
		in, out := f.passed()
		if got := f.meter.perSecond(at.Now()); in != wantIn || out != wantOut || got != rate {
			t.Errorf("%s: in %d, out %d, %d a second, want %d, %d and %d", what, in, out, got, wantIn, wantOut, rate)
		}
	}
	put(1000, 9000)
	check("the list as it was", 1000, 9000, 0)
	told(5000, 90_000, true)
	check("the edge knows what passed before", 5000, 90_000, 0)
	put(1500, 10_000)
	check("bytes pass that the edge may have counted", 5000, 90_000, 750)
	told(5500, 91_000, true)
	check("the edge has counted them", 5500, 91_000, 750)
	at.add(10 * time.Second)
	told(5600, 91_100, true)
	check("counters are no news of the moment", 5600, 91_100, 0)
	if rows, _ := m.draw(); !strings.Contains(plain(rows)[1], "1 open · 90 total · in 5.5 KiB · out 89 KiB") {
		t.Errorf("the counters are %q", plain(rows)[1])
	}
	// With --no-inspect the counters are all there is.
	told(5600, 91_100, false)
	at.add(2 * time.Second)
	told(7600, 91_100, false)
	check("a hidden tunnel", 7600, 91_100, 1000)
	if rows, _ := m.draw(); !strings.Contains(plain(rows)[1], "7 open") {
		t.Errorf("the counters are %q, want 7 open", plain(rows)[1])
	}
}

// What connections tell and what the edge counts are the same bytes. Whichever
// comes first, the header says no more than has passed, and no less than the rows.
func TestBytesAreCountedOnce(t *testing.T) {
	const kib = 1 << 10
	type step struct {
		what      string // told: the connection tells; counted: the edge does
		in, out   int64
		sum, back int64 // what the header has to say
	}
	for name, steps := range map[string][]step{
		"the edge counts what is told later": {
			{"counted", 120 * kib, 6 * kib, 120 * kib, 6 * kib},
			{"told", 120 * kib, 6 * kib, 120 * kib, 6 * kib},
			{"counted", 149 * kib, 7 * kib, 149 * kib, 7 * kib},
			{"told", 149 * kib, 7 * kib, 149 * kib, 7 * kib},
			{"counted", 149 * kib, 7 * kib, 149 * kib, 7 * kib},
		},
		"a short connection is counted before it is told": {
			{"counted", 0, 0, 0, 0},
			{"counted", 3 * kib, 42, 3 * kib, 42},
			{"told", 3 * kib, 42, 3 * kib, 42},
		},
		"told before the edge is asked, and old counters come": {
			{"told", 10, 20, 10, 20},
			{"counted", 5, 10, 10, 20},
			{"told", 30, 40, 30, 40},
			{"counted", 30, 40, 30, 40},
		},
		"the screen comes late": {
			{"counted", 5000, 9000, 5000, 9000},
			{"told", 1000, 2000, 5000, 9000},
			{"told", 1500, 2000, 5000, 9000},
			{"counted", 5500, 9000, 5500, 9000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := &clock{now: frozen}
			m := rawModel(t, 120, 36, 0)
			m.c.Now = at.Now
			x := connList(inspector.TCP, frozen)[4]
			for i, s := range steps {
				at.add(700 * time.Millisecond)
				if s.what == "counted" {
					m.msg(trafficMsg{name: "db", found: true, t: client.Tunnel{Subdomain: "db", Inspect: true, CreatedAt: frozen, Connections: 1, BytesIn: s.in, BytesOut: s.out}})
				} else {
					x.Version++
					x.Request.Body.Size, x.Response.Body.Size = s.in, s.out
					m.feed.put("db", x)
					m.msg(wakeMsg{})
				}
				rows, _ := m.draw()
				if want := fmt.Sprintf("in %s · out %s", amount(s.sum), amount(s.back)); !strings.HasSuffix(strings.TrimSpace(plain(rows)[1]), want) && s.sum > 0 {
					t.Errorf("after step %d (%s %d, %d) the header says %q, want %q", i+1, s.what, s.in, s.out, plain(rows)[1], want)
				}
			}
		})
	}
}

// A connection that the list has let go of is no news each time it tells.
func TestForgottenConnectionIsNotCountedAgain(t *testing.T) {
	m := rawModel(t, 80, 24, 3)
	c := m.tab().captures
	c.limit = 3
	old := c.all[0].Exchange
	x := connList(inspector.TCP, frozen)[1]
	x.ID, x.Number = "req_new", 4
	c.put(x, frozen)
	in, out := c.flow.passed()
	for range 3 {
		old.Version++
		old.Request.Body.Size, old.Response.Body.Size = 5000, 5000
		c.put(old, frozen)
	}
	if gotIn, gotOut := c.flow.passed(); gotIn != in || gotOut != out {
		t.Errorf("passed = %d, %d, want %d, %d", gotIn, gotOut, in, out)
	}
}

// All that comes through a tunnel that was unused when the screen came is news.
func TestFirstConnectionsAreCounted(t *testing.T) {
	m := rawModel(t, 120, 36, 0)
	m.msg(trafficMsg{name: "db", found: true, t: client.Tunnel{Subdomain: "db", Inspect: true, CreatedAt: frozen}})
	for _, x := range connList(inspector.TCP, frozen)[1:3] {
		m.feed.put("db", x)
	}
	m.msg(wakeMsg{})
	f := &m.tab().flow
	if in, out := f.passed(); in != 4100+812 || out != 9300+99 || f.meter.perSecond(frozen) != (4100+812+9300+99)/2 {
		t.Errorf("in %d, out %d, %d a second, want what the connections told", in, out, f.meter.perSecond(frozen))
	}
}

func TestMeter(t *testing.T) {
	var m meter
	at := frozen
	for i := range 40 {
		m.add(at, int64(i))
		at = at.Add(time.Second)
	}
	if got := m.perSecond(at); got != (38+39)/2 {
		t.Errorf("perSecond = %d, want %d", got, (38+39)/2)
	}
	if got, want := m.spark(at, unicodeGlyphs.spark, 8), "▆▆▇▇▇▇▇█"; got != want {
		t.Errorf("spark = %s, want %s", got, want)
	}
	if got, want := m.spark(at.Add(4*time.Second), unicodeGlyphs.spark, 8), "▇▇▇█▁▁▁▁"; got != want {
		t.Errorf("spark = %s, want %s", got, want)
	}
	if got := m.perSecond(at.Add(time.Hour)); got != 0 {
		t.Errorf("perSecond after an hour = %d, want 0", got)
	}
	m.add(at.Add(-time.Minute), 5) // a clock that went back
	m.add(at.Add(time.Hour), 6)
	if got := m.perSecond(at.Add(time.Hour)); got != 3 {
		t.Errorf("perSecond = %d, want 3", got)
	}
}

func TestCommandsToConnect(t *testing.T) {
	for _, tt := range []struct {
		kind       tunnel.Kind
		url, local string
		want       string
	}{
		{tunnel.TCP, "tcp://tcp.lrok.example:30007", "localhost:5432", "psql -h tcp.lrok.example -p 30007"},
		{tunnel.TCP, "tcp://tcp.lrok.example:30007", "192.168.1.9:6379", "redis-cli -h tcp.lrok.example -p 30007"},
		{tunnel.TCP, "tcp://tcp.lrok.example:30007", "localhost:22", "ssh -p 30007 user@tcp.lrok.example"},
		{tunnel.TCP, "tcp://localhost:30007", "localhost:3306", "mysql -h localhost -P 30007 --protocol=TCP -u user -p"},
		{tunnel.TCP, "tcp://tcp.lrok.example:30007", "unix:/run/postgresql/.s.PGSQL.5432", "psql -h tcp.lrok.example -p 30007"},
		{tunnel.TCP, "tcp://[2001:db8::1]:30007", "localhost:9", "nc 2001:db8::1 30007"},
		{tunnel.TLS, "tls://db.lrok.example:8443", "localhost:8443", "curl https://db.lrok.example:8443/"},
		{tunnel.TLS, "tls://db.lrok.example", "localhost:5432", "openssl s_client -connect db.lrok.example:443 -servername db.lrok.example"},
		{tunnel.TCP, "", "localhost:5432", ""},
		{tunnel.TCP, "tcp://x;rm -rf ~:30007", "localhost:5432", ""},
		{tunnel.TCP, "tcp://$(id):30007", "localhost:5432", ""},
		{tunnel.TCP, "tcp://-oProxyCommand=x:30007", "localhost:22", ""},
		{tunnel.TCP, "tcp://a:0", "localhost:22", ""},
	} {
		if got, _ := howTo(Tunnel{Kind: tt.kind, URL: tt.url, Local: tt.local}); got != tt.want {
			t.Errorf("for %s at %s: %q, want %q", tt.local, tt.url, got, tt.want)
		}
	}
}

func TestCopyOfConnections(t *testing.T) {
	s, _, _ := rawDemo(t, tunnel.TCP, 80, 24)
	s.waitText(t, "51512")
	s.keys("jjj")
	s.waitText(t, "g follows")
	s.keys("yp")
	s.waitText(t, "copied the peer's address")
	s.waitRaw(t, "\x1b]52;c;MjAzLjAuMTEzLjc6NTE1MTI=\a") // 203.0.113.7:51512
	s.keys("yc")
	s.waitText(t, "copied the command")
	s.waitRaw(t, "\x1b]52;c;cHNxbCAtaCB0Y3AubHJvay5leGFtcGxlIC1wIDMwMDA3\a")
	s.keys("yu")
	s.waitText(t, "copied the URL")
}

func TestQuitAsksForConnections(t *testing.T) {
	s, _, _ := rawDemo(t, tunnel.TCP, 80, 24)
	s.waitText(t, "51512")
	s.keys("q")
	s.waitText(t, "3 connections are open and would be cut. Quit?")
	s.keys("y")
	s.waitDone(t)
	if s.sum.Connections != 8 || s.sum.Seen != 0 {
		t.Errorf("the summary is %+v, want 8 connections and no requests", s.sum)
	}
}

// Nothing is written while nothing changes, however many ticks pass.
func TestIdleConnectionsWriteNothing(t *testing.T) {
	s, _, _ := rawDemo(t, tunnel.TCP, 80, 24)
	s.waitText(t, "51512")
	s.still(t)
	s.mu.Lock()
	before := s.raw.Len()
	s.mu.Unlock()
	for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); {
		s.still(t) // a fixed clock: two ticks and more
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.raw.Len() - before; n != 0 {
		t.Errorf("wrote %d bytes while nothing changed: %q", n, s.raw.Bytes()[before:])
	}
}

// What was open when changes were lost is told again or has ended unseen.
func TestGapOfConnections(t *testing.T) {
	s, e, _ := rawDemo(t, tunnel.TCP, 120, 36)
	s.waitText(t, "3 open")
	s.keys("jjjj")
	s.waitText(t, "#39")
	e.mu.Lock()
	e.list = append(e.list[:3:3], e.list[4:]...)
	e.gap = true
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	s.waitText(t, "2 open")
	s.waitText(t, "its end was not seen")
}

func TestGapRowOfConnections(t *testing.T) {
	s, _, a := rawDemo(t, tunnel.TCP, 240, 40)
	s.waitText(t, "51512")
	down := a.Status()
	st := down
	down.State, down.Attempt, down.OfflineSince, down.Err = agent.Reconnecting, 2, frozen.Add(-22*time.Second), errors.New("i/o timeout")
	a.set(down)
	s.waitText(t, "reconnecting")
	a.set(st)
	s.waitText(t, "(22s), connections were cut and refused")
}

// The edge closes one tunnel of several: its screen says why, the others stay.
func TestDroppedTunnelIsTold(t *testing.T) {
	s, _, a := rawDemo(t, tunnel.TCP, 80, 24, func(c *Config, st *agent.Status, _ *demoEdge) {
		c.Tunnels = append(c.Tunnels, Tunnel{Kind: tunnel.HTTP, Name: "shop", Local: "http://localhost:3000"})
		st.Welcome.Grants = append(st.Welcome.Grants, tunnel.Grant{Kind: tunnel.HTTP, Name: "shop", URL: "https://shop.lrok.example"})
		st.Upstreams = append(st.Upstreams, agent.Upstream{Tunnel: "shop", Local: "http://localhost:3000"})
	})
	s.waitText(t, "51512")
	st := a.Status()
	st.Upstreams = append([]agent.Upstream(nil), st.Upstreams...)
	st.Upstreams[0].Dropped = &tunnel.Error{Code: tunnel.CodeSuperseded, Message: "an administrator closed the tunnel"}
	a.set(st)
	s.waitText(t, "▲ an administrator closed the tunnel")
	s.waitText(t, "○ closed")
	s.keys("2")
	s.waitText(t, "● online")
	s.keys("L")
	s.waitText(t, "db: an administrator closed the tunnel")
}

// endless has streams that last until nobody wants them any more.
type endless struct {
	*demoEdge
	begun, ended chan string
}

func (e endless) Stream(ctx context.Context, name string, _ client.StreamOptions, _ func(inspector.Event) error) error {
	e.begun <- name
	<-ctx.Done()
	e.ended <- name
	return ctx.Err()
}

// What passes through a tunnel that another agent took over is not this one's.
func TestDroppedTunnelIsNotFollowed(t *testing.T) {
	st := agent.Status{
		State:     agent.Online,
		Welcome:   tunnel.Welcome{Grants: []tunnel.Grant{{Name: "one"}, {Name: "two"}}},
		Upstreams: []agent.Upstream{{Tunnel: "one"}, {Tunnel: "two"}},
	}
	a := newDemoAgent(st)
	e := endless{newDemoEdge(time.Now), make(chan string, 4), make(chan string, 4)}
	f := newFeed()
	ctx, cancel := context.WithCancel(t.Context())
	go f.run(ctx, cancel, newLink(&Edge{API: e}, a, Tunnel{}, Tunnel{}))
	defer func() {
		cancel()
		<-f.done
		if name := <-e.ended; name != "two" {
			t.Errorf("at the end the stream of %q ends, want that of two", name)
		}
		if n := len(e.begun); n != 0 {
			t.Errorf("%d streams were begun again", n)
		}
	}()
	next := func(c chan string) string {
		select {
		case name := <-c:
			return name
		case <-time.After(10 * time.Second):
			t.Fatal("nothing in 10 s")
			return ""
		}
	}
	next(e.begun)
	next(e.begun)
	st.Upstreams = []agent.Upstream{{Tunnel: "one", Dropped: &tunnel.Error{Code: tunnel.CodeSuperseded, Message: "taken"}}, {Tunnel: "two"}}
	a.set(st)
	if name := next(e.ended); name != "one" {
		t.Errorf("the stream of %q ended, want that of one", name)
	}
}

// One that the edge grants after all is followed from then on.
func TestTunnelGrantedLaterIsFollowed(t *testing.T) {
	refused := &tunnel.Error{Code: tunnel.CodeName, Message: "taken"}
	st := agent.Status{
		State:     agent.Online,
		Welcome:   tunnel.Welcome{Grants: []tunnel.Grant{{Name: "one"}, {}}},
		Upstreams: []agent.Upstream{{Tunnel: "one"}, {Dropped: refused}},
	}
	a := newDemoAgent(st)
	e := endless{newDemoEdge(time.Now), make(chan string, 4), make(chan string, 4)}
	f := newFeed()
	ctx, cancel := context.WithCancel(t.Context())
	go f.run(ctx, cancel, newLink(&Edge{API: e}, a, Tunnel{}, Tunnel{}))
	defer func() {
		cancel()
		<-f.done
	}()
	begins := func(want string) {
		t.Helper()
		select {
		case name := <-e.begun:
			if name != want {
				t.Errorf("the stream of %q begins, want that of %q", name, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the stream of %q does not begin", want)
		}
	}
	begins("one")
	granted := st
	granted.Welcome.Grants = []tunnel.Grant{{Name: "one"}, {Name: "two"}}
	granted.Upstreams = []agent.Upstream{{Tunnel: "one"}, {Tunnel: "two"}}
	a.set(granted)
	begins("two")
	dropped := granted
	dropped.Upstreams = []agent.Upstream{{Tunnel: "one"}, {Tunnel: "two", Dropped: refused}}
	a.set(dropped)
	if name := <-e.ended; name != "two" {
		t.Errorf("the stream of %q ends, want that of two", name)
	}
	a.set(granted)
	begins("two")
}

// refusing says that the key works no more, once it is told to.
type refusing struct {
	*demoEdge
	revoked chan struct{}
}

var errRefused = &tunnel.Error{Code: tunnel.CodeKey, Message: "the key was revoked"}

func (r refusing) Stream(ctx context.Context, _ string, _ client.StreamOptions, _ func(inspector.Event) error) error {
	select {
	case <-r.revoked:
		return errRefused
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r refusing) Tunnels(context.Context) ([]client.Tunnel, error) {
	select {
	case <-r.revoked:
		return nil, errRefused
	default:
		return nil, nil
	}
}

// A screen without an agent ends when its key is revoked, and hands the reason
// on.
func TestRevokedKeyEndsTheScreen(t *testing.T) {
	for name, tunnels := range map[string][]Tunnel{"attached": {{Kind: tunnel.TCP, Name: "db", URL: "tcp://a:1"}}, "home": nil} {
		t.Run(name, func(t *testing.T) {
			r, at := refusing{newDemoEdge(time.Now), make(chan struct{})}, &clock{now: frozen}
			s := start(t, Config{API: r, Tunnels: tunnels, Now: at.Now}, 80, 24)
			s.waitText(t, "Nobody has connected|No tunnel is live")
			close(r.revoked)
			at.add(5 * time.Second) // the list of tunnels is asked for again
			s.waitDone(t)
			if !errors.Is(s.err, errRefused) {
				t.Errorf("Run = %v, want %v", s.err, errRefused)
			}
			s.restored(t)
		})
	}
}

func TestHomeOpensConnections(t *testing.T) {
	s, _, _ := rawDemo(t, tunnel.TCP, 80, 24, func(c *Config, _ *agent.Status, e *demoEdge) {
		c.Tunnels, c.Agent = nil, noAgent{}
		e.tunnels = demoTunnels
	})
	s.waitText(t, "3 open")
	s.keys("j")
	s.still(t)
	s.keys("\r")
	s.waitText(t, "51512")
	s.waitText(t, "attached")
	s.keys("\x1b")
	s.waitText(t, "your tunnels")
}

func TestMouseOnConnections(t *testing.T) {
	s, _, _ := rawDemo(t, tunnel.TCP, 120, 36)
	s.waitText(t, "51512")
	s.keys("\x1b[<0;20;8M\x1b[<0;20;8m")
	s.waitText(t, "#40 203.0.113.7:51512")
	s.keys("\x1b[<0;90;12M\x1b[<0;90;12m") // the detail
	s.waitText(t, "esc back")
	s.keys("\x1b[<65;90;12M\x1b[<65;20;8M")
	s.waitText(t, "#37")
}

// hostileConnections puts s wherever strangers write.
func hostileConnections(t testing.TB, m testModel, s string) {
	for _, kind := range []inspector.Kind{inspector.TCP, inspector.TLS} {
		for i, code := range []string{"", s, tunnel.CodeUpstreamRefused} {
			x := connList(kind, frozen)[0]
			x.ID, x.Number = fmt.Sprintf("req_%s%s%d", s, kind, i), m.tab().floor+uint64(len(m.tab().all))+100
			x.Remote, x.Host, x.Error, x.EndedBy, x.Detail = s, s, code, code, s
			m.feed.put("db", x)
			m.msg(wakeMsg{})
			m.msg(trafficMsg{name: "db", found: true, t: client.Tunnel{BytesIn: -1, BytesOut: 1 << 62, Open: -5, Connections: 1 << 62}})
			m.adopt(m.main, []Tunnel{{Kind: tunnel.Kind(kind), Name: "db", URL: "tcp://" + s, Local: s}})
			check := func(what string) {
				t.Helper()
				rows, _ := m.draw()
				if err := checkFrame(strings.Join(rows, "\n")); err != nil {
					t.Fatalf("%s with %q: %v", what, s, err)
				}
				if len(rows) != m.h {
					t.Fatalf("%s with %q: %d rows on a screen of %d", what, s, len(rows), m.h)
				}
				for i, r := range rows {
					if w := m.th.columns(r); w > m.w {
						t.Fatalf("%s with %q: row %d is %d columns wide, the screen %d", what, s, i, w, m.w)
					}
				}
			}
			m.key("G")
			check("the list")
			m.key("l")
			check("the connection")
			m.key("y")
			check("copy")
			m.key("c", "h")
		}
	}
	rows := func() {
		r, _ := m.draw()
		if err := checkFrame(strings.Join(r, "\n")); err != nil {
			t.Fatalf("the empty screen with %q: %v", s, err)
		}
	}
	m.tab().clear()
	rows()
	m.main.status.Upstreams = []agent.Upstream{{Tunnel: "db", Local: s, Down: true, Err: s}}
	rows()
}

func TestHostileConnections(t *testing.T) {
	for _, size := range [][2]int{{120, 36}, {80, 24}, {60, 45}, {40, 10}, {29, 5}} {
		for _, s := range hostileSeeds {
			m := rawModel(t, size[0], size[1], 3)
			hostileConnections(t, m, s)
			m = rawModel(t, size[0], size[1], 3)
			m.c.ASCII = true
			m.paint()
			hostileConnections(t, m, s)
		}
	}
}

func FuzzHostileConnections(f *testing.F) {
	for _, s := range hostileSeeds {
		f.Add(s, byte(0))
		f.Add(s, byte(0x81))
	}
	sizes := [][2]int{{120, 36}, {80, 24}, {40, 10}, {29, 5}, {60, 45}}
	f.Fuzz(func(t *testing.T, s string, size byte) {
		if len(s) > 10_000 {
			return
		}
		d := sizes[int(size&0x7f)%len(sizes)]
		m := rawModel(t, d[0], d[1], 2)
		m.c.ASCII = size&0x80 != 0
		m.paint()
		hostileConnections(t, m, s)
	})
}

// Through a real program and an emulator.
func TestHostileConnectionsOnTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;b3duZWQ=\x07\u009b2J"
	s, e, _ := rawDemo(t, tunnel.TCP, 120, 36)
	s.waitText(t, "51512")
	x := connList(inspector.TCP, frozen)[0]
	x.ID, x.Number, x.Remote, x.Host, x.Detail = "", 0, evil+":1", evil, evil
	e.add(x)
	s.waitText(t, "␛]0;owned")
	s.keys("\r")
	s.still(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bad := range []string{"\x1b]0;owned", "\x1b]52", "b3duZWQ=\x07", "\u009b"} {
		if strings.Contains(s.raw.String(), bad) {
			t.Errorf("the terminal was sent %q", bad)
		}
	}
}

func manyConnections(t testing.TB, w, h int) testModel {
	m := rawModel(t, w, h, heads)
	m.key("j", "j", "j")
	x := m.selected()
	x.flow = &[2]meter{}
	for i := range meterSeconds {
		at := frozen.Add(time.Duration(i-meterSeconds) * time.Second)
		m.tab().flow.meter.add(at, int64(i)*1000)
		x.flow[0].add(at, int64(i)*10)
		x.flow[1].add(at, int64(i)*1000)
	}
	return m
}

func BenchmarkViewConnections(b *testing.B) {
	for _, s := range viewBudgets {
		b.Run(fmt.Sprintf("%dx%d", s.w, s.h), func(b *testing.B) {
			m := manyConnections(b, s.w, s.h)
			b.ReportAllocs()
			for b.Loop() {
				m.View()
			}
		})
	}
}

// One wake with a change of each of a hundred connections, as a busy tunnel has
// them.
func BenchmarkUpdateConnections(b *testing.B) {
	m := manyConnections(b, 120, 36)
	list := m.tab().all[heads-100:]
	b.ReportAllocs()
	for b.Loop() {
		for _, x := range list {
			y := x.Exchange
			y.Version++
			y.Request.Body.Size++
			m.feed.put("db", y)
		}
		m.msg(wakeMsg{})
	}
}

func TestViewBudgetOfConnections(t *testing.T) {
	for _, s := range viewBudgets {
		m := manyConnections(t, s.w, s.h)
		best := time.Hour
		for range 30 {
			began := time.Now()
			m.View()
			best = min(best, time.Since(began))
		}
		if best > slack*s.budget {
			t.Errorf("View at %dx%d took %v at best, the budget is %v", s.w, s.h, best, s.budget)
		}
		t.Logf("View at %dx%d: %v", s.w, s.h, best)
	}
}

func TestFollowsUntilMovedAmongConnections(t *testing.T) {
	m := rawModel(t, 80, 24, 100)
	m.key("j", "l")
	if m.place() != inConn {
		t.Fatalf("l does not open the connection: %v", m.place())
	}
	was := m.selected().Number
	m.key("j")
	if got := m.selected().Number; got != was-1 {
		t.Errorf("j in the detail shows #%d, want #%d", got, was-1)
	}
	x := connList(inspector.TCP, frozen)[1]
	x.ID, x.Number = "req_new", 101
	m.feed.put("db", x)
	m.msg(wakeMsg{})
	if got := m.selected().Number; got != was-1 {
		t.Errorf("a new connection moved the selection to #%d, want #%d", got, was-1)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyTab})
	if m.focus != inList {
		t.Error("tab does not go back to the list")
	}
}

// x and X ask before they close anything.
func TestClosingConnections(t *testing.T) {
	t.Parallel()
	s, e, _ := rawDemo(t, tunnel.TCP, 80, 24)
	open := func() (n int) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, x := range e.list {
			n += b2i(x.State == inspector.Open)
		}
		return n
	}
	s.waitText(t, "51512")
	s.keys("jjjx")
	s.waitText(t, "close #40 from 203.0.113.7:51512, at both ends")
	s.keys("n") // any other key is no
	s.still(t)
	if n := open(); n != 3 {
		t.Fatalf("%d connections are open after no, want 3", n)
	}
	s.keys("xy")
	s.waitText(t, "#40 closed")
	s.waitText(t, "by its owner")
	if n := open(); n != 2 {
		t.Errorf("%d connections are open, want 2", n)
	}
	s.keys("x")
	s.waitText(t, "#40 has ended already")
	s.keys("X")
	s.waitText(t, "close all 2 connections")
	s.keys("y")
	s.waitText(t, "2 connections closed")
	s.waitText(t, "0 open")
	if n := open(); n != 0 {
		t.Errorf("%d connections are open, want none", n)
	}
	s.keys("X")
	s.waitText(t, "no connection is open")
}

// TestAllFirstBytes: what does not fit on the page of a connection is a page key
// or a turn of the wheel away.
func TestAllFirstBytes(t *testing.T) {
	m := rawModel(t, 80, 24, 10)
	m.key("j", "l")
	x := m.selected()
	m.kept = firstBytes{id: x.ID}
	for i := range 256 {
		m.kept.data[0] = append(m.kept.data[0], byte(i))
		m.kept.data[1] = append(m.kept.data[1], byte(255-i))
	}
	shows := func(row string, want bool) {
		t.Helper()
		if got := m.View().Content; strings.Contains(got, row) != want {
			t.Errorf("%q on the screen: %v, want %v:\n%s", row, !want, want, got)
		}
	}
	last := "0f 0e 0d 0c 0b 0a 09 08  07 06 05 04 03 02 01 00"
	shows("00 01 02 03", true)
	shows(last, false)
	for range 10 {
		m.key("space")
	}
	shows(last, true)
	shows("00 01 02 03 04 05", false)
	for range 10 {
		m.key("b")
	}
	shows("00 01 02 03", true)
	m.msg(tea.MouseWheelMsg{X: 10, Y: 10, Button: tea.MouseWheelDown})
	if m.kept.from != 3 {
		t.Errorf("the wheel scrolled by %d rows, want 3", m.kept.from)
	}
	if m.key("j"); m.kept.from != 0 {
		t.Error("the next connection does not begin at its top")
	}
}
