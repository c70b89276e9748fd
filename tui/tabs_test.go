package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// tabsModel is a model of n tunnels of one agent: the third is TCP.
func tabsModel(t testing.TB, w, h, n int) testModel {
	t.Helper()
	e := newDemoEdge(func() time.Time { return frozen })
	c := Config{API: e, Now: func() time.Time { return frozen }, Theme: "dark", Environ: []string{"LANG=C.UTF-8"}, Width: w, Height: h}
	s := onlineStatus(frozen)
	s.Welcome.Grants, s.Upstreams = nil, nil
	for i := range n {
		name := fmt.Sprintf("web%d", i+1)
		g := tunnel.Grant{Kind: tunnel.HTTP, Name: name, URL: "https://" + name + ".lrok.example"}
		if i == 2 {
			g.Kind, g.URL = tunnel.TCP, "tcp://tcp.lrok.example:30007"
		}
		s.Welcome.Grants = append(s.Welcome.Grants, g)
		s.Upstreams = append(s.Upstreams, agent.Upstream{Tunnel: name, Local: "http://localhost:3000"})
		c.Tunnels = append(c.Tunnels, Tunnel{Kind: g.Kind, Name: name, Local: "http://localhost:3000"})
	}
	return testModel{newModel(context.Background(), with(c, newDemoAgent(s)), newFeed())}
}

// news is the status of m's agent, to be changed and told.
func (m testModel) news() (*demoAgent, agent.Status) {
	a := m.main.agent.(*demoAgent)
	st := a.Status()
	st.Upstreams, st.Welcome.Grants = slices.Clone(st.Upstreams), slices.Clone(st.Welcome.Grants)
	return a, st
}

func (m testModel) row(y int) string { return strings.Split(m.shows(), "\n")[y] }

// What happens to a tunnel that is not in front is seen at its tab.
func TestTabsTellHowTheirTunnelsAre(t *testing.T) {
	m := tabsModel(t, 90, 24, 4)
	m.msg(wakeMsg{})
	if got := strings.TrimRight(m.row(1), " "); got != " [1] web1  [2] web2  [3] :30007  [4] web4" {
		t.Errorf("the tabs are %q", got)
	}
	a, st := m.news()
	st.Upstreams[1].Down, st.Upstreams[1].Err = true, "connection refused"
	st.Upstreams[3].Dropped = &tunnel.Error{Code: tunnel.CodeSuperseded, Message: "taken over"}
	a.set(st)
	x := demoList(frozen)[12]
	for i := range 3 {
		x.ID, x.Number = fmt.Sprint("req_", i), uint64(i+1)
		m.feed.put("web2", x)
	}
	m.tell(m.main)
	if got := strings.TrimRight(m.row(1), " "); got != " [1] web1  [2] web2 ▲ +3  [3] :30007  [4] web4 ✗" {
		t.Errorf("the tabs are %q", got)
	}
	if s := m.shows(); !strings.Contains(s, "web4: taken over") {
		t.Errorf("nothing says why the fourth is closed:\n%s", s)
	}
	m.toTab(1)
	m.msg(wakeMsg{})
	if got := m.row(1); !strings.HasPrefix(got, " [1] web1  [2] web2  [3] :30007  [4] web4 ✗  ▲ UPSTREAM DOWN") {
		t.Errorf("in front the tab is %q", got)
	}
	m.toTab(0)
	if got := m.row(1); !strings.Contains(got, "[2] web2 ▲  [3]") {
		t.Errorf("what was looked at is still new: %q", got)
	}
	st.State, st.Attempt = agent.Reconnecting, 1
	a.set(st)
	m.tell(m.main)
	if got := m.row(1); !strings.Contains(got, "[1] web1 ○  [2] web2 ○  [3] :30007 ○  [4] web4 ✗") {
		t.Errorf("without a connection the tabs are %q", got)
	}
}

// Of more tabs than fit, the one in front is there, and what is wrong or new beside.
func TestManyTabs(t *testing.T) {
	for _, w := range []int{60, 80, 100, 120, 240} {
		m := tabsModel(t, w, 24, 16)
		a, st := m.news()
		st.Upstreams[15].Down = true
		a.set(st)
		m.tell(m.main)
		for i := range 16 {
			m.toTab(i)
			row := m.row(1)
			if want := fmt.Sprintf("[%d] ", i+1); !strings.Contains(row, want) {
				t.Errorf("at %d columns tab %d is in front and not there: %q", w, i+1, row)
			}
			if i == 0 && !strings.Contains(row, "▲") {
				t.Errorf("at %d columns the tabs do not tell that one is down: %q", w, row)
			}
			if n := m.th.columns(row); n > w {
				t.Errorf("the tabs take %d of %d columns: %q", n, w, row)
			}
		}
	}
	m := tabsModel(t, 80, 24, 16)
	m.key("1", "2")
	m.msg(countMsg(m.counted))
	if m.cur != 11 {
		t.Errorf("12 goes to tab %d", m.cur+1)
	}
	x := strings.Index(m.row(1), "<")
	m.msg(tea.MouseClickMsg{Button: tea.MouseLeft, X: x, Y: 1})
	if m.cur >= 11 {
		t.Errorf("a click on what is left of the tabs stays at tab %d", m.cur+1)
	}
	m.size(40, 10)
	if row := m.row(0); !strings.Contains(row, fmt.Sprintf("%d/16", m.cur+1)) {
		t.Errorf("a small screen does not tell which tunnel it shows: %q", row)
	}
}

// A tunnel that was refused says so in its tab, and the others are as ever.
func TestRefusedTab(t *testing.T) {
	m := tabsModel(t, 80, 24, 3)
	a, st := m.news()
	st.Welcome.Grants[1] = tunnel.Grant{}
	st.Upstreams[1].Tunnel = ""
	st.Upstreams[1].Dropped = &tunnel.Error{Code: tunnel.CodeName, Message: `name "web2" is taken`, Hint: "choose another: --hint web2-2"}
	a.set(st)
	m.tell(m.main)
	if got := m.row(1); !strings.Contains(got, "[2] web2 ✗") {
		t.Errorf("the tabs are %q", got)
	}
	if s := m.shows(); !strings.Contains(s, "Nothing has called it yet") || !strings.Contains(s, `is taken`) {
		t.Errorf("the first tunnel is not as ever, or nothing says what is wrong:\n%s", s)
	}
	m.toTab(1)
	s := m.shows()
	for _, want := range []string{"✗ not started  web2", "could not be started", `name "web2" is taken`, "choose another: --hint web2-2", "The others are not affected"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is not there:\n%s", want, s)
		}
	}
	for _, not := range []string{"waiting for an address", "Connecting", "QR"} {
		if strings.Contains(s, not) {
			t.Errorf("%q is there:\n%s", not, s)
		}
	}

	// It is asked for again, by itself or by a key, and says so.
	if !strings.Contains(s, "a asks for it again") || !strings.Contains(m.hints(), "a again") {
		t.Errorf("nothing says how to ask again:\n%s", s)
	}
	st.Upstreams = slices.Clone(st.Upstreams)
	st.Upstreams[1].Again = frozen.Add(12 * time.Second)
	a.set(st)
	m.tell(m.main)
	if s := m.shows(); !strings.Contains(s, "asked for again in 12s; a asks now") {
		t.Errorf("nothing says when it is asked for again:\n%s", s)
	}
	m.key("a")
	if len(a.again) != 1 || a.again[0] != 1 {
		t.Errorf("asked for the claims %v again, want the second", a.again)
	}
	st.Upstreams = slices.Clone(st.Upstreams)
	st.Upstreams[1] = agent.Upstream{Tunnel: "web2", Local: st.Upstreams[1].Local}
	st.Welcome.Grants = slices.Clone(st.Welcome.Grants)
	st.Welcome.Grants[1] = tunnel.Grant{Kind: tunnel.HTTP, Name: "web2", URL: "https://web2.lrok.example"}
	a.set(st)
	m.tell(m.main)
	if s := m.shows(); !strings.Contains(s, "Nothing has called it yet") || !strings.Contains(s, "https://web2.lrok.example") || !strings.Contains(s, "web2: the edge has it now") {
		t.Errorf("the tunnel that was granted later is not as ever:\n%s", s)
	}
	if strings.Contains(m.hints(), "a again") {
		t.Errorf("the hints are %q", m.hints())
	}
}
