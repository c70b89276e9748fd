package tui

import (
	"net"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A label is one tab as it is drawn: its number and name, a mark for what is
// wrong, and how much came while it was not in front.
type label struct {
	name, mark, news string
	role             role // of the mark
}

func (l *label) width(th *theme) int {
	n := th.width(l.name)
	for _, s := range []string{l.mark, l.news} {
		if s != "" {
			n += 1 + th.width(s)
		}
	}
	return n
}

// labelOf is how t is called among the tabs, with at most n columns for its name.
func (m *model) labelOf(i int, wide bool, n int) label {
	t := m.tabs[i]
	name := t.Name
	if t.Kind == tunnel.TCP { // known by its port
		if _, port, err := net.SplitHostPort(bare(t.URL)); err == nil {
			name = ":" + port
		}
	}
	if name == "" {
		name = short(t.Local)
	}
	if m.th.width(name) > n {
		name, _ = m.th.clean(name)
		name = m.th.cut(name, n, m.th.g.ellipsis)
	}
	if wide {
		name = string(t.Kind) + " " + name
	}
	l := label{name: sprintf("[%d] %s", i+1, strings.TrimSpace(name))}
	l.role, l.mark = m.markOf(t)
	if i == m.cur { // it is in sight
		if l.mark == m.th.g.warn {
			l.mark = "" // and said beside the tabs
		}
	} else if news := t.seen - t.looked; news > 0 {
		l.news = "+" + format.Count(int64(min(news, 9999)))
	}
	return l
}

// markOf is what is wrong with t, as one sign.
func (m *model) markOf(t *tab) (role, string) {
	g := &m.th.g
	switch s := &t.link.status; {
	case m.fate(t) != "":
		return bad, g.no
	case t.link.agent == nil && m.lost[t.key()] != "":
		return warn, g.offline
	case t.link.agent == nil:
		return text, ""
	case s.State != agent.Online:
		return warn, g.offline
	}
	if u := m.upstream(t); u != nil && u.Down {
		return bad, g.warn
	}
	return text, ""
}

// putTabs puts the tabs into row y, in room columns: all of them, or those around
// the one in front and how many there are on either side.
func (m *model) putTabs(l *line, y, room int) {
	list := make([]label, len(m.tabs))
	widths := make([]int, len(m.tabs))
	sum := func(from, to int) int {
		w := 0
		for _, n := range widths[from:to] {
			w += n + 2
		}
		return w - 2
	}
	for _, form := range []struct {
		wide bool
		name int
	}{{m.w >= 100, 32}, {false, 32}, {false, 10}} {
		for i := range m.tabs {
			list[i] = m.labelOf(i, form.wide, form.name)
			widths[i] = list[i].width(m.th)
		}
		if sum(0, len(list)) <= room {
			break
		}
	}
	from, to := 0, len(list)
	if sum(0, to) > room {
		rest := m.th.line(m.w)
		rest.gap(len("<12  "))
		m.putRest(&rest, m.tabs)
		room -= rest.w
		for to = m.cur + 1; from < m.cur && sum(from, to) > room-rest.w*b2i(from > 0); {
			from++
		}
		for to < len(list) && sum(from, to+1) <= room-rest.w*b2i(from > 0) {
			to++
		}
	}
	at := func(x int, i int) {
		m.hits = append(m.hits, hit{rect{x, y, l.w - x, 1}, func(m *model) tea.Cmd { m.toTab(i); return nil }})
		l.gap(2)
	}
	if from > 0 {
		x := l.w
		l.put(dim, sprintf("<%d", from))
		m.putRest(l, m.tabs[:from])
		at(x, from-1)
	}
	for i := from; i < to; i++ {
		x, o := l.w, &list[i]
		r := dim
		if i == m.cur {
			r = strong
		}
		l.put(r, o.name)
		if o.mark != "" {
			l.gap(1)
			l.put(o.role, o.mark)
		}
		if o.news != "" {
			l.gap(1)
			l.put(accent, o.news)
		}
		at(x, i)
	}
	if to < len(list) {
		x := l.w
		l.put(dim, sprintf("%d>", len(list)-to))
		m.putRest(l, m.tabs[to:])
		at(x, to)
	}
}

// putWhich puts which tab is in front, and what there is to know of the others.
func (m *model) putWhich(l *line) {
	l.put(dim, sprintf("%d/%d", m.cur+1, len(m.tabs)))
	m.putRest(l, slices.Delete(slices.Clone(m.tabs), m.cur, m.cur+1))
}

// putRest puts what is wrong with tabs that there is no room for, and how much is
// new in them.
func (m *model) putRest(l *line, tabs []*tab) {
	news, worst, mark := 0, text, ""
	for _, t := range tabs {
		news += t.seen - t.looked
		if r, s := m.markOf(t); s != "" && worst != bad {
			worst, mark = r, s
		}
	}
	if mark != "" {
		l.gap(1)
		l.put(worst, mark)
	}
	if news > 0 {
		l.gap(1)
		l.put(accent, "+"+format.Count(int64(min(news, 9999))))
	}
}

// lacking is the tunnel in front, or at the cursor of the list, when the edge has
// refused or closed it and its agent goes on; nil otherwise.
func (m *model) lacking() *tab {
	t := m.tab()
	if m.home != nil && m.focus == inHome {
		if r := m.home.selected(); r != nil {
			t = r.tab
		}
	}
	if t == nil || t.link.agent == nil || t.link.status.State == agent.Closed {
		return nil
	}
	if u := m.upstream(t); u == nil || u.Dropped == nil {
		return nil
	}
	return t
}

// askedAgain says when the edge is asked for t once more.
func (m *model) askedAgain(t *tab) string {
	u := m.upstream(t)
	if t.link.status.State != agent.Online || u.Again.IsZero() {
		return "a asks for it again"
	}
	wait := u.Again.Sub(m.c.Now())
	if wait <= 0 {
		return "asking for it again" + m.th.g.ellipsis
	}
	return "asked for again in " + seconds(wait+time.Second-1) + "; a asks now"
}

// askAgain asks the edge once more for a tunnel that it refused, or starts one anew
// that came to nothing.
func (m *model) askAgain() tea.Cmd {
	if t := m.lacking(); t != nil {
		t.link.agent.Again(m.claim(t))
		m.say(accent, "asking for %s again%s", t.label(), m.th.g.ellipsis)
		return nil
	}
	return m.startTunnel(m.home.failed.what)
}

// label is what t is called in a sentence.
func (t *tab) label() string {
	if t.Name == "" {
		return t.Local
	}
	return t.Name
}

// refused reports whether t is one that the edge would not start.
func (m *model) refused(t *tab) bool {
	u := m.upstream(t)
	return u != nil && u.Tunnel == "" && u.Dropped != nil
}
