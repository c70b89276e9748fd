package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func homeModel(t *testing.T, w, h int, list []client.Tunnel) testModel {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	e.tunnels = slices.Clone(list)
	c := Config{API: e, Now: func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: w, Height: h}
	m := testModel{newModel(context.Background(), c, newFeed())}
	m.ask1(m.loadTunnels())
	return m
}

// ask1 runs a command and handles what comes of it.
func (m testModel) ask1(cmd tea.Cmd) {
	if cmd != nil {
		m.msg(cmd())
	}
}

func TestHomeCountsWhoIsThere(t *testing.T) {
	for _, tt := range []struct {
		online []bool
		want   string
	}{
		{nil, "0 tunnels live"},
		{[]bool{true}, "1 tunnel live"},
		{[]bool{true, true, false, true}, "3 tunnels live · 1 away"},
		{[]bool{false, false}, "0 tunnels live · 2 away"},
	} {
		var list []client.Tunnel
		for i, is := range tt.online {
			list = append(list, client.Tunnel{Subdomain: fmt.Sprint("t", i), Kind: tunnel.HTTP, Online: is, CreatedAt: frozen.Add(-time.Hour), Since: frozen.Add(-3 * time.Minute)})
		}
		m := homeModel(t, 80, 24, list)
		rows, _ := m.draw()
		if got := strings.TrimSpace(plain(rows)[1]); got != tt.want {
			t.Errorf("of %v the counters are %q, want %q", tt.online, got, tt.want)
		}
		if got, want := strings.Count(m.shows(), "away 3m00"), len(tt.online)-strings.Count(fmt.Sprint(tt.online), "true"); got != want {
			t.Errorf("of %v %d rows say away, want %d:\n%s", tt.online, got, want, m.shows())
		}
	}
}

// The address is there as soon as there is room for it, and nothing is cut as
// long as something else could give way.
func TestHomeNamesTheAddress(t *testing.T) {
	for w := 40; w <= 160; w++ {
		m := homeModel(t, w, 24, demoTunnels)
		rows := plain(first2(m.draw()))
		if got := strings.Contains(rows[0], "ada on lrok.example"); !got {
			t.Errorf("at %d columns the head is %q", w, rows[0])
		}
		text := strings.Join(rows, "\n")
		if w >= 78 && (!strings.Contains(text, "tcp.lrok.example:30007 ") || !strings.Contains(text, " :5432 ")) {
			t.Errorf("at %d columns the address or the service is not there:\n%s", w, text)
		}
		for i, r := range m.home.draw(m.model, nil, rect{0, 0, w, 20}) {
			if n := m.th.columns(r); n > w {
				t.Errorf("at %d columns row %d has %d:\n%s", w, i, n, text)
			}
		}
		for _, name := range []string{"acme ", "vault ", "docs ", "3 open"} {
			if !strings.Contains(text, name) {
				t.Errorf("at %d columns %q is not there:\n%s", w, name, text)
			}
		}
	}
}

func first2[A, B any](a A, _ B) A { return a }

// A list that is longer than the screen keeps the selection in view, and a click
// hits what it is on.
func TestHomeScrolls(t *testing.T) {
	var list []client.Tunnel
	for i := range 60 {
		list = append(list, client.Tunnel{Subdomain: fmt.Sprintf("t%02d", i), Kind: tunnel.HTTP, Online: true, CreatedAt: frozen.Add(-time.Hour)})
	}
	for _, size := range [][2]int{{80, 24}, {40, 10}, {120, 36}} {
		m := homeModel(t, size[0], size[1], list)
		inView := func() {
			t.Helper()
			kind := "http  "
			if size[0] < 60 {
				kind = ""
			}
			if s, want := m.shows(), m.home.list[m.home.cur].Subdomain; !strings.Contains(s, "▌ ● "+kind+want) {
				t.Errorf("at %dx%d %s is selected and not in view:\n%s", size[0], size[1], want, s)
			}
		}
		inView()
		m.key("G")
		if m.home.cur != 59 {
			t.Errorf("G goes to %d, want the last", m.home.cur)
		}
		inView()
		m.key("k", "k", "b", "b")
		inView()
		m.key("g")
		inView()
		m.key(" ", "j")
		inView()
		m.msg(tea.MouseWheelMsg{Button: tea.MouseWheelDown, X: 5, Y: 6})
		inView()
		m.key("G")
		m.draw()
		for y, row := range strings.Split(m.shows(), "\n") {
			if i := strings.Index(row, "t58"); i >= 0 {
				m.msg(tea.MouseClickMsg{Button: tea.MouseLeft, X: i, Y: y})
			}
		}
		if m.home.cur != 58 {
			t.Errorf("a click on t58 chose %d", m.home.cur)
		}
		if rows, _ := m.draw(); len(rows) != size[1] {
			t.Errorf("the screen has %d rows, want %d", len(rows), size[1])
		}
	}
}

// A demoStart starts tunnels whose agents are in a state of the test's choice.
type demoStart struct {
	asked  []Wish
	agents []*demoAgent
	ended  int
	err    error
}

func (d *demoStart) start(_ context.Context, w Wish) (Started, error) {
	d.asked = append(d.asked, w)
	if d.err != nil {
		return Started{}, d.err
	}
	a := newDemoAgent(agent.Status{Edge: "tunnel.lrok.example:7000", Steps: []agent.Step{{Name: "resolve"}}, Upstreams: []agent.Upstream{{Local: "localhost:" + w.Service}}})
	d.agents = append(d.agents, a)
	return Started{Tunnel: Tunnel{Kind: w.Kind, Name: w.Name, Local: "localhost:" + w.Service}, Agent: a, Stop: func() { d.ended++ }}, nil
}

// tell is what the feed does when an agent has news.
func (m testModel) tell(l *link) {
	m.feed.mu.Lock()
	l.news = l.agent.Status()
	l.live = granted(l.asked, l.news.Welcome.Grants)
	m.feed.mu.Unlock()
	m.msg(wakeMsg{})
}

// enter starts what s says at the prompt for a new tunnel.
func (m testModel) enter(s string) {
	m.key("n")
	m.msg(tea.PasteMsg{Content: s})
	m.ask1(m.prompt.update(m.model, tea.KeyPressMsg{Code: tea.KeyEnter}))
}

func (m testModel) esc() tea.Cmd { return m.msg(tea.KeyPressMsg{Code: tea.KeyEscape}) }

func up(name string) agent.Status {
	return agent.Status{
		State: agent.Online, RTT: 9 * time.Millisecond, Since: frozen, Edge: "tunnel.lrok.example:7000",
		Welcome:   tunnel.Welcome{Grants: []tunnel.Grant{{Kind: tunnel.HTTP, Name: name, URL: "https://" + name + ".lrok.example"}}},
		Upstreams: []agent.Upstream{{Tunnel: name, Local: "http://localhost:3000"}},
	}
}

func TestHomeStartsATunnel(t *testing.T) {
	m := homeModel(t, 80, 24, nil)
	if s := m.shows(); strings.Contains(s, "start a tunnel here") {
		t.Errorf("a screen that cannot start a tunnel says that it can:\n%s", s)
	}
	var d demoStart
	m.c.Start = d.start
	if s := m.shows(); !strings.Contains(s, "start a tunnel here; it ends with this screen") || !strings.Contains(m.hints(), "n new tunnel") {
		t.Errorf("the empty list does not say how to start a tunnel:\n%s", s)
	}
	m.key("n")
	if !strings.Contains(m.shows(), "it ends with this screen") {
		t.Errorf("the prompt does not say what becomes of the tunnel:\n%s", m.shows())
	}
	m.esc()
	m.enter("tcp nonsense")
	if len(d.asked) > 0 || m.prompt == nil || !strings.Contains(m.shows(), "is no port") {
		t.Errorf("asked for %v, want the mistake told:\n%s", d.asked, m.shows())
	}
	m.esc()
	m.enter("")
	if len(d.asked) > 0 || m.prompt != nil {
		t.Errorf("asked for %v with nothing entered", d.asked)
	}
	d.err = &tunnel.Error{Code: tunnel.CodeKey, Message: "the key is refused", Hint: "lrok login"}
	m.enter("3000")
	if s := m.shows(); len(d.asked) != 1 || m.focus != inHome || !strings.Contains(s, "3000 could not be started") || !strings.Contains(s, "the key is refused") {
		t.Errorf("asked for %v, want the failure told:\n%s", d.asked, s)
	}
	d.err = nil
	m.enter("3000 as shop")
	if want := (Wish{Kind: tunnel.HTTP, Service: "3000", Name: "shop"}); d.asked[1] != want || m.focus != inList {
		t.Fatalf("asked for %+v, want %+v, and it in front:\n%s", d.asked[1], want, m.shows())
	}

	// From here on it is what lrok http would show.
	if s := m.shows(); !strings.Contains(s, "connecting") || !strings.Contains(s, "resolve") {
		t.Errorf("the steps of the connection are not there:\n%s", s)
	}
	l, a := m.links[1], d.agents[0]
	a.set(up("shop"))
	m.tell(l)
	if s := m.shows(); !strings.Contains(s, "online 9ms") || !strings.Contains(s, "https://shop.lrok.example") || !strings.Contains(s, "Nothing has called it yet") {
		t.Errorf("the tunnel is not shown as up:\n%s", s)
	}
	st := up("shop")
	st.Upstreams[0].Down, st.Upstreams[0].Err = true, "connection refused"
	a.set(st)
	m.tell(l)
	if s := m.shows(); !strings.Contains(s, "not answering") || !strings.Contains(m.hints(), "u service") {
		t.Errorf("the service is not shown as down:\n%s", s)
	}
	m.esc()
	if s := m.shows(); !strings.Contains(s, "1 ▲ http  shop") || !strings.Contains(s, "the local service does not answer") {
		t.Errorf("the list does not say that the service is down:\n%s", s)
	}
	st.State, st.Attempt, st.Err, st.OfflineSince = agent.Reconnecting, 2, errors.New("i/o timeout"), frozen
	a.set(st)
	m.tell(l)
	if s := m.shows(); !strings.Contains(s, "1 ○ http  shop") || !strings.Contains(s, "reconnecting, attempt 2: i/o timeout") {
		t.Errorf("the list does not say that the tunnel reconnects:\n%s", s)
	}
	m.key("1")
	if s := m.shows(); !strings.Contains(s, "reconnecting  attempt 2: i/o timeout") || !strings.Contains(s, "URL kept") {
		t.Errorf("the tunnel is not shown as reconnecting:\n%s", s)
	}
	a.set(up("shop"))
	m.tell(l)

	m.key("q")
	if m.ask == nil || !strings.Contains(m.shows(), "1 tunnel started here would end. Quit?") {
		t.Errorf("q does not say that the tunnel would end:\n%s", m.shows())
	}
	m.esc()
	if sum := m.summary(); sum.Own != 1 || len(sum.Tunnels) != 1 {
		t.Errorf("the summary is %+v, want the one tunnel", sum)
	}
	m.esc()
	m.key("x")
	if !strings.Contains(m.shows(), "close shop?") {
		t.Errorf("closing does not ask:\n%s", m.shows())
	}
	m.ask1(m.update(tea.KeyPressMsg{Code: 'y', Text: "y"}))
	if d.ended != 1 || len(m.tabs) != 0 || len(m.links) != 1 || m.focus != inHome || !strings.Contains(m.shows(), "No tunnel is live") {
		t.Errorf("ended %d times, %d tabs, %d links, want it gone:\n%s", d.ended, len(m.tabs), len(m.links), m.shows())
	}
}

// What the edge refuses is told where it was asked for, and leaves no tab.
func TestHomeTellsWhyATunnelIsRefused(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 36}, {40, 10}, {60, 45}} {
		m := homeModel(t, size[0], size[1], demoTunnels)
		var d demoStart
		m.c.Start = d.start
		m.enter("3000 --hint shop")
		d.agents[0].set(agent.Status{State: agent.Closed, Err: &tunnel.Error{Code: tunnel.CodeName, Message: `name "shop" is taken`, Hint: "choose another: --hint shop-2"}})
		m.tell(m.links[1])
		s := m.shows()
		for _, want := range []string{"3000 --hint shop could not be", `name "shop" is taken`, "choose another: --hint shop-2"} {
			if !strings.Contains(s, want) {
				t.Errorf("at %v %q is not there:\n%s", size, want, s)
			}
		}
		if len(m.tabs) != 0 || m.focus != inHome {
			t.Errorf("at %v %d tabs are left", size, len(m.tabs))
		}
		if rows, _ := m.draw(); len(rows) != size[1] {
			t.Errorf("the screen has %d rows, want %d", len(rows), size[1])
		}
		m.key("j")
		if strings.Contains(m.shows(), "could not be") {
			t.Errorf("at %v it stays for ever", size)
		}
	}
}

func TestWishes(t *testing.T) {
	for s, want := range map[string]Wish{
		"3000":                        {Kind: tunnel.HTTP, Service: "3000"},
		"tcp":                         {Kind: tunnel.HTTP, Service: "tcp"},
		"TCP db:5432":                 {Kind: tunnel.TCP, Service: "db:5432"},
		"tls 8443 as Vault":           {Kind: tunnel.TLS, Service: "8443", Name: "vault"},
		"3000 --takeover --hint shop": {Kind: tunnel.HTTP, Service: "3000", Name: "shop", Takeover: true},
		"http 3000  as  a-b":          {Kind: tunnel.HTTP, Service: "3000", Name: "a-b"},
		"3000 as":                     {},
		"3000 as -":                   {},
		"3000 shop":                   {},
	} {
		got, err := wishOf(s)
		if err != nil && want != (Wish{}) || err == nil && got != want {
			t.Errorf("%q is %+v, %v, want %+v", s, got, err, want)
		}
	}
}

// Tunnels of several edges are one list, also those of the same name, and each
// opens as its own.
func TestHomeOfSeveralEdges(t *testing.T) {
	const id = "req_00000000000000000000000777"
	var edges []*Edge
	for i := range 2 {
		e := newDemoEdge(func() time.Time { return frozen })
		e.tunnels = []client.Tunnel{{Subdomain: "acme", Kind: tunnel.HTTP, PublicURL: fmt.Sprintf("http://acme.localhost:%d", 8000+i), Local: "http://localhost:3000", Online: true, CreatedAt: frozen}}
		x := demoList(frozen)[12]
		x.ID, x.Number, x.Path = id[:len(id)-1]+fmt.Sprint(i), 1, fmt.Sprintf("/edge-%d", i)
		e.add(x)
		edges = append(edges, &Edge{ID: fmt.Sprint(i), API: e, LocalOnly: true})
	}
	there := edges
	c := Config{
		Edges: func(context.Context) []*Edge { return there },
		Now:   func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: 120, Height: 36,
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := newFeed()
	m := testModel{newModel(ctx, c, f)}
	go f.run(ctx, cancel, m.main)
	defer func() { cancel(); <-f.done }()
	if s := m.shows(); !strings.Contains(s, "asking the edge") {
		t.Errorf("before the first list:\n%s", s)
	}
	m.ask1(m.loadTunnels())
	if s := m.shows(); !strings.Contains(s, "acme.localhost:8000") || !strings.Contains(s, "acme.localhost:8001") || !strings.Contains(s, "2 tunnels live") || !strings.Contains(s, "this machine only") {
		t.Fatalf("both are to be listed:\n%s", s)
	}
	for i := range 2 {
		m.home.cur = i
		m.openTunnel()
		for len(m.tab().all) == 0 {
			<-f.poke
			m.msg(wakeMsg{})
		}
		if got := m.tab().all[0].Path; got != fmt.Sprintf("/edge-%d", i) || len(m.tab().all) != 1 {
			t.Errorf("tunnel %d has %d requests, the first %s", i, len(m.tab().all), got)
		}
		x, err := m.c.API.Exchange(ctx, m.tab().all[0].ID)
		if err != nil || x.Path != m.tab().all[0].Path {
			t.Errorf("the whole of %s is %q, %v", m.tab().all[0].ID, x.Path, err)
		}
		if i == 0 && !strings.Contains(m.shows(), "local only") {
			t.Errorf("it does not say that it is local:\n%s", m.shows())
		}
		m.ask1(m.toHome())
	}
	if len(m.tabs) != 2 {
		t.Fatalf("%d tabs, want 2", len(m.tabs))
	}
	if _, err := m.c.API.Exchange(ctx, "req_none"); !isGone(err) {
		t.Errorf("a capture of no edge: %v", err)
	}
	// One of the processes ends.
	there = edges[1:]
	m.ask1(m.loadTunnels())
	if s := m.shows(); !strings.Contains(s, "1 tunnel live") || strings.Contains(s, "away") || !strings.Contains(s, "1 ✗ http  acme") {
		t.Errorf("the tunnel of the process that ended is still listed as live:\n%s", s)
	}
	there = nil
	m.ask1(m.loadTunnels())
	for range 2 {
		m.key("x")
	}
	if len(m.tabs) != 0 || m.ask != nil {
		t.Errorf("%d tabs of tunnels that are gone are left", len(m.tabs))
	}
	if s := m.shows(); !strings.Contains(s, "no edge is known yet") || !strings.Contains(s, "lrok login HOST") {
		t.Errorf("without any edge:\n%s", s)
	}
}

// A failing edge leaves in sight what it last said, and says why.
func TestHomeWithoutItsEdge(t *testing.T) {
	m := homeModel(t, 80, 24, demoTunnels)
	m.msg(tunnelsMsg{told: []edgeTunnels{{m.main.edge, nil, errors.New("reach the edge: reach the edge: dial tcp 203.0.113.9:7000: connection refused")}}})
	s := m.shows()
	for _, want := range []string{"▲ dial tcp 203.0.113.9:7000: connection refused", "acme", "unreachable", "as of"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is not there:\n%s", want, s)
		}
	}
	m.ask1(m.loadTunnels())
	if s := m.shows(); strings.Contains(s, "refused") || strings.Contains(s, "unreachable") {
		t.Errorf("it does not notice that the edge is back:\n%s", s)
	}
	ended := false
	m.feed.abort = func() { ended = true }
	m.msg(tunnelsMsg{told: []edgeTunnels{{m.main.edge, nil, &tunnel.Error{Code: tunnel.CodeKey, Message: "the key was revoked"}}}})
	if !ended {
		t.Error("a revoked key does not end the screen")
	}
}

// Closing the tunnel of another process asks, names the machine, and goes to the
// edge that has it.
func TestHomeClosesATunnel(t *testing.T) {
	list := slices.Clone(demoTunnels)
	list[0].Machine = "laptop"
	m := homeModel(t, 80, 24, list)
	m.key("x")
	if !strings.Contains(m.shows(), "close acme? The lrok on laptop that runs it ends") {
		t.Errorf("closing does not say what ends:\n%s", m.shows())
	}
	m.esc()
	if len(m.c.API.(*demoEdge).tunnels) != 4 {
		t.Fatal("esc closed it")
	}
	m.key("x")
	m.ask1(m.update(tea.KeyPressMsg{Code: 'y', Text: "y"}))
	if got := m.c.API.(*demoEdge).tunnels; len(got) != 3 || got[0].Subdomain != "db" {
		t.Errorf("left are %v", got)
	}
	if s := m.shows(); !strings.Contains(s, "acme is closed") || strings.Contains(s, "acme.lrok.example") {
		t.Errorf("it is still listed:\n%s", s)
	}
	m.msg(tunnelClosedMsg{name: "db", key: "db", err: errors.New("no way")})
	if s := m.shows(); !strings.Contains(s, "db: no way") {
		t.Errorf("a failure is not told:\n%s", s)
	}
}

// The counters of the list are of now.
func TestHomeCountsOn(t *testing.T) {
	at := &clock{now: frozen}
	m := homeModel(t, 120, 36, demoTunnels)
	m.c.Now = at.Now
	e := m.c.API.(*demoEdge)
	for range 3 {
		at.now = at.now.Add(time.Second)
		e.tunnels[0].Requests += 12
		cmd := m.refreshTunnels()
		if cmd == nil {
			t.Fatal("a second later nobody asks")
		}
		m.ask1(cmd)
	}
	if s := m.shows(); !strings.Contains(s, "12.0/s") || !strings.Contains(s, "12.0 calls/s") || !strings.Contains(s, "1,320 requests") {
		t.Errorf("the rate is not there:\n%s", s)
	}
	if m.loadTunnels() == nil || m.loadTunnels() != nil {
		t.Error("want one question at a time")
	}
	m.blurred = true
	at.now = at.now.Add(time.Second)
	if m.refreshTunnels() == nil {
		return
	}
	at.now = at.now.Add(2 * time.Second)
	if m.refreshTunnels() != nil {
		t.Error("the edge is asked each second while nobody looks")
	}
}

// Without captures the count comes from the edge: a tunnel that lists nothing is
// told from one that nobody called.
func TestNothingListedIsNotNothingCalled(t *testing.T) {
	m := modelWith(t, 80, 24, 0)
	e := m.c.API.(*demoEdge)
	e.tunnels = []client.Tunnel{{Subdomain: "acme", Kind: tunnel.HTTP, Online: true, Requests: 12}}
	ask := func() bool {
		cmd := m.askTraffic()
		if cmd == nil {
			return false
		}
		m.msg(cmd())
		return true
	}
	m.main.status = onlineStatus(frozen)
	m.tab().flow = traffic{}
	if !ask() {
		t.Fatal("an empty list asks nobody what passed")
	}
	s := m.shows()
	for _, want := range []string{"12 requests so far", "not captured (--no-inspect)", "12 req"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is not there:\n%s", want, s)
		}
	}
	// One that captures needs to be asked once.
	e.tunnels[0].Inspect = true
	m.tab().flow = traffic{}
	if !ask() || ask() {
		t.Error("want the counters asked for once")
	}
	if s := m.shows(); !strings.Contains(s, "Nothing has called it yet") {
		t.Errorf("it does not say that nothing came:\n%s", s)
	}
}
