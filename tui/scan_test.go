package tui

import (
	"context"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
)

func withBody(x inspector.Exchange, id, body string) inspector.Exchange {
	x.ID = id
	x.Response = message1("Content-Type", "text/plain", body)
	return x
}

// A filter that looks into bodies sees what comes in after it was written.
func TestFilterLooksIntoNewBodies(t *testing.T) {
	s, e, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("/resp.body:zanzibar\r")
	s.waitText(t, "0 of 13 shown")
	s.wait(t, func() bool { return !strings.Contains(s.text(), "looked into") }, "the end of the scan")
	x := demoList(frozen)[0]
	e.add(withBody(x, "req_new1", "flights to Zanzibar"))
	e.add(withBody(x, "req_new2", "flights to Timbuktu"))
	s.waitText(t, "1 of 15 shown")
	// What is known already may become a match as it goes on.
	e.add(withBody(x, "req_new2", "flights to Timbuktu via Zanzibar"))
	s.waitText(t, "2 of 15 shown")
}

// run does a command and what comes of it, as the program's loop would.
func (m testModel) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range msg {
			m.run(c)
		}
	default:
		m.run(m.msg(msg))
	}
}

// Another tab in front stops no scan for good, and spoils none.
func TestScanSurvivesTheTab(t *testing.T) {
	m := modelWith(t, 80, 24, 0)
	m.tabs = append(m.tabs, newTab(Tunnel{Name: "docs"}, m.main))
	edge := m.c.API.(*demoEdge)
	for i, body := range []string{"a needle", "hay", "needles"} {
		x := edge.add(withBody(demoList(frozen)[0], "req_"+string(rune('a'+i)), body))
		m.feed.put("acme", x)
	}
	m.drain()
	m.setFilter("resp.body:needle")
	first := m.look()
	if first == nil || m.look() != nil {
		t.Fatal("want one capture at a time to be looked into")
	}
	if got := m.scanMark(m.tab()); got != "… looked into 0 of 3 " {
		t.Errorf("the mark is %q, want 0 of 3", got)
	}
	msg := first()
	m.toTab(1)
	if m.look() != nil {
		t.Error("a tab without a filter looks into bodies")
	}
	m.Update(msg) // the result comes while the other tab is in front
	m.toTab(0)
	for cmd := m.look(); cmd != nil; cmd = m.look() {
		cmd().(scannedMsg).arrive(m.model)
	}
	if n := len(m.tab().shown); n != 2 || m.scanMark(m.tab()) != "" {
		t.Errorf("%d shown, mark %q, want 2 and none", n, m.scanMark(m.tab()))
	}
	// A result of an earlier filter counts for nothing.
	m.setFilter("resp.body:hay")
	late := m.look()().(scannedMsg)
	m.setFilter("resp.body:nowhere")
	late.ok = true
	late.arrive(m.model)
	if n := len(m.tab().shown); n != 0 {
		t.Errorf("%d shown, want none: the result belongs to another filter", n)
	}
}

type failingAPI struct {
	*demoEdge
	fail bool
}

func (a *failingAPI) Exchange(ctx context.Context, id string) (inspector.Exchange, error) {
	if a.fail {
		return inspector.Exchange{}, context.DeadlineExceeded
	}
	return a.demoEdge.Exchange(ctx, id)
}

// What could not be read has its turn again; what the edge let go of has not.
func TestScanTriesAgain(t *testing.T) {
	m := modelWith(t, 80, 24, 0)
	api := &failingAPI{demoEdge: m.c.API.(*demoEdge), fail: true}
	now := frozen
	m.c.API, m.c.Now = api, func() time.Time { return now }
	x := api.add(withBody(demoList(frozen)[0], "req_a", "needle"))
	m.feed.put("acme", x)
	gone := x
	gone.ID, gone.Number = "req_gone", x.Number+1
	m.feed.put("acme", gone)
	m.drain()
	m.setFilter("resp.body:needle")
	look := func() bool {
		cmd := m.look()
		if cmd == nil {
			return false
		}
		cmd().(scannedMsg).arrive(m.model)
		return true
	}
	looks := func() (n int) {
		for look() {
			n++
		}
		return n
	}
	if n := looks(); n != 2 {
		t.Fatalf("looked %d times, want each capture to be tried once, and then a pause", n)
	}
	api.fail = false
	now = now.Add(2 * time.Second)
	if n := looks(); n != 2 {
		t.Fatalf("looked %d times, want each capture to be tried again", n)
	}
	now = now.Add(2 * time.Second)
	if look() {
		t.Error("what the edge has let go of is asked for again")
	}
	if n := len(m.tab().shown); n != 1 || m.scanMark(m.tab()) != "" {
		t.Errorf("%d shown, mark %q, want 1 and none", n, m.scanMark(m.tab()))
	}
}
