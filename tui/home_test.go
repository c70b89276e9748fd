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
)

func homeModel(t *testing.T, w, h int, list []client.Tunnel) testModel {
	t.Helper()
	m := modelWith(t, w, h, 0)
	m.home, m.focus = &home{}, inHome
	m.msg(tunnelsMsg{list: slices.Clone(list), me: client.Me{ID: "usr_1", Name: "ada", Edge: client.Edge{Domain: "lrok.example"}}})
	return m
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
			if s, want := m.shows(), m.home.list[m.home.cur].Subdomain; !strings.Contains(s, "▌ ● http  "+want) {
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

func TestHomeStartsATunnel(t *testing.T) {
	m := homeModel(t, 80, 24, nil)
	if s := m.shows(); strings.Contains(s, "starts one") {
		t.Errorf("a screen that cannot start a tunnel says that it can:\n%s", s)
	}
	asked := ""
	m.c.Start = func(_ context.Context, kind tunnel.Kind, service string) (Tunnel, error) {
		asked = string(kind) + " to " + service
		if service == "1" {
			return Tunnel{}, errors.New("name taken")
		}
		return Tunnel{Kind: kind, Name: "new", URL: "tcp://tcp.lrok.example:30001", Local: "localhost:" + service}, nil
	}
	if s := m.shows(); !strings.Contains(s, "n   starts one") || !strings.Contains(m.hints(), "n new tunnel") {
		t.Errorf("the empty list does not say how to start a tunnel:\n%s", s)
	}
	enter := func(s string) {
		t.Helper()
		m.key("n")
		m.msg(tea.PasteMsg{Content: s})
		cmd := m.prompt.update(m.model, tea.KeyPressMsg{Code: tea.KeyEnter})
		if cmd == nil {
			return
		}
		m.msg(cmd())
	}
	enter("tcp nonsense")
	if asked != "" || m.prompt == nil || !strings.Contains(m.shows(), "is no port") {
		t.Errorf("asked for %q, want the mistake told:\n%s", asked, m.shows())
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	enter("")
	if asked != "" || m.prompt != nil {
		t.Errorf("asked for %q with nothing entered", asked)
	}
	enter("1")
	if asked != "http to 1" || m.focus != inHome || !strings.Contains(m.shows(), "name taken") {
		t.Errorf("asked for %q, want the failure told:\n%s", asked, m.shows())
	}
	enter("TCP 5432")
	if asked != "tcp to 5432" || m.focus != inList || m.tab().Name != "new" {
		t.Errorf("asked for %q, want it in front:\n%s", asked, m.shows())
	}
	m.key("q")
	if m.ask == nil || !strings.Contains(m.shows(), "1 tunnel started here would end. Quit?") {
		t.Errorf("q does not say that the tunnel would end:\n%s", m.shows())
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
	m.status = onlineStatus(frozen)
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
