package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// openRequest is a request in flight.
func openRequest(n uint64) inspector.Exchange {
	x := demoList(frozen)[1]
	x.ID, x.Number, x.Version = fmt.Sprintf("req_open%d", n), n, n
	x.State, x.Status, x.Timing.Done = inspector.Open, 0, 0
	x.Path = fmt.Sprintf("/open/%d", n)
	return x
}

// What was open before changes were lost is in flight afterwards only if the
// edge tells it again.
func TestGapSettlesWhatWasOpen(t *testing.T) {
	m := modelWith(t, 120, 36, 0)
	for n := range uint64(3) {
		m.feed.put("acme", openRequest(n+1))
	}
	m.msg(wakeMsg{})
	m.feed.put("acme", openRequest(4)) // waits when the gap comes
	m.feed.lose("acme")
	m.feed.put("acme", openRequest(2)) // is still open, and unchanged
	m.msg(wakeMsg{})

	states := map[uint64]inspector.State{}
	for _, x := range m.tab().all {
		states[x.Number] = x.State
	}
	want := map[uint64]inspector.State{1: unwatched, 2: inspector.Open, 3: unwatched, 4: unwatched}
	if fmt.Sprint(states) != fmt.Sprint(want) {
		t.Errorf("states after the gap: %v, want %v", states, want)
	}
	if m.tab().open != 1 {
		t.Errorf("%d counted as open, want 1", m.tab().open)
	}
	rows, _ := m.draw()
	all := strings.Join(plain(rows), "\n")
	if !strings.Contains(all, "1 open") {
		t.Errorf("the screen does not follow:\n%s", all)
	}
	for _, row := range plain(rows) {
		if strings.Contains(row, "/open/1 ") && !strings.Contains(row, "?") {
			t.Errorf("the row of what ended unseen is %q, want ? for its status", row)
		}
	}

	m.setFilter("is:inflight")
	if n := len(m.tab().shown); n != 1 {
		t.Errorf("is:inflight shows %d rows, want 1", n)
	}
	m.setFilter("")
	m.quit()
	if m.ask == nil || !strings.Contains(m.ask.text, "1 request is in flight") {
		t.Errorf("the question before quitting is %+v, want one request", m.ask)
	}
	m.ask = nil

	done := openRequest(2)
	done.Version, done.State, done.Status, done.Timing.Done = 9, inspector.Done, 200, time.Millisecond
	m.feed.put("acme", done)
	m.msg(wakeMsg{})
	if m.tab().open != 0 {
		t.Errorf("%d counted as open after the last has ended, want 0", m.tab().open)
	}
}

// The stream's gap reaches the list, in its place among the changes.
func TestGapComesThroughTheStream(t *testing.T) {
	s, e, _ := demo(t, 120, 36)
	s.waitText(t, "2 open")
	e.mu.Lock()
	for i, x := range e.list {
		if x.Kind == inspector.SSE {
			e.list = append(e.list[:i:i], e.list[i+1:]...) // evicted before its end was told
			break
		}
	}
	e.gap = true
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	s.waitText(t, "1 open")
	s.keys("q")
	s.waitText(t, "1 request is in flight")
}

// plain is the rows without their colours.
func plain(rows []string) []string {
	out := make([]string, len(rows))
	for i, s := range rows {
		out[i] = strings.ReplaceAll(ansi.Strip(s), nbsp, " ")
	}
	return out
}

// What the screen has and the edge has not any more is counted, and told where
// it is asked for.
func TestRowsOlderThanTheRing(t *testing.T) {
	for _, tt := range []struct {
		name, keys, want string
		ring             int
	}{
		{"open", "\r", "the edge has let go of #1277: it keeps the last 8", 8},
		{"replay", "r", "the edge has let go of #1277: it keeps the last 8", 8},
		{"copy", "yb", "the edge has let go of #1277: it keeps the last 8", 8},
		{"edit", "e", "the edge has let go of #1277: it keeps the last 8", 8},
		{"diff", "Dj\r", "the edge has let go of #1277: it keeps the last 100", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, e, _ := demo(t, 80, 24, func(c *Config, st *agent.Status, _ *demoEdge) {
				st.Welcome.Limits.Ring = tt.ring
				c.Environ = []string{"TERM=xterm-256color", "LANG=C.UTF-8", "EDITOR=true"}
			})
			s.waitText(t, "favicon")
			kept := "13 kept"
			if tt.ring > 0 {
				kept = "8 kept"
			}
			s.waitText(t, kept)
			s.keys("jj")
			s.waitText(t, "g follows")
			e.mu.Lock()
			for i, x := range e.list {
				if x.Number == 1277 {
					e.list = append(e.list[:i:i], e.list[i+1:]...)
					break
				}
			}
			e.mu.Unlock()
			s.keys(tt.keys)
			s.waitText(t, tt.want)
		})
	}
}

func TestMarkComparedWithItself(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("j")
	s.waitText(t, "g follows")
	s.keys("md")
	s.waitText(t, "this is the mark itself; go to another request and press d")
}

// An edge that was started anew counts from 1 again: what comes through it is
// newer than all that was there.
func TestEdgeThatCountsAnew(t *testing.T) {
	later := func(n uint64, path string) inspector.Exchange {
		x := demoList(frozen)[0]
		x.ID, x.Number, x.Path = "req_z"+path, n, path
		x.Timing.Accepted = frozen.Add(time.Minute)
		return x
	}
	latest := func(m testModel) string { return m.tab().all[len(m.tab().all)-1].Path }
	for _, cleared := range []bool{false, true} {
		m := modelWith(t, 80, 24, 20)
		if cleared {
			m.tab().clear()
		}
		m.feed.lose("acme")
		m.feed.put("acme", later(1, "/one"))
		m.msg(wakeMsg{})
		if len(m.tab().all) == 0 || latest(m) != "/one" || m.selected().Path != "/one" {
			t.Fatalf("cleared %v: the first request of the new edge is not the latest:\n%s", cleared, m.shows())
		}
		m.feed.put("acme", later(3, "/three"))
		m.feed.put("acme", later(2, "/two"))
		m.msg(wakeMsg{})
		var got []string
		for _, x := range m.tab().all[len(m.tab().all)-3:] {
			got = append(got, x.Path)
		}
		if want := "[/one /two /three]"; fmt.Sprint(got) != want {
			t.Errorf("cleared %v: the latest are %v, want %s", cleared, got, want)
		}
	}
	// A gap alone changes nothing.
	m := modelWith(t, 80, 24, 20)
	m.feed.lose("acme")
	m.feed.put("acme", later(21, "/next"))
	m.msg(wakeMsg{})
	if latest(m) != "/next" || m.tab().base != 0 {
		t.Errorf("after a gap the latest is %s with a base of %d, want /next and none", latest(m), m.tab().base)
	}
}
