package tui

import (
	tea "charm.land/bubbletea/v2"
)

// A picker chooses what to compare with.
type picker struct {
	x    *capture
	list []candidate
	cur  int
	top  int
}

// A candidate is a capture and why it may be wanted.
type candidate struct {
	*capture
	why string
}

// maxCandidates is how many a picker offers of one tunnel.
const maxCandidates = 200

func (m *model) startPick() tea.Cmd {
	x, t := m.selected(), m.tab()
	if x == nil {
		return nil
	}
	p := &picker{x: x}
	had := map[string]bool{x.ID: true}
	n := map[*tab]int{}
	add := func(from *tab, c *capture, why string) {
		if c == nil || had[c.ID] || n[from] == maxCandidates {
			return
		}
		n[from]++
		had[c.ID] = true
		if from != t {
			why = "in " + from.Name
		}
		p.list = append(p.list, candidate{c, why})
	}
	// What is likely comes first, and of the rest what is new.
	each := func(from *tab, why string, wanted func(*capture) bool) {
		for i := len(from.all) - 1; i >= 0; i-- {
			if wanted(from.all[i]) {
				add(from, from.all[i], why)
			}
		}
	}
	alike := func(c *capture) bool { return c.Method == x.Method && route(c.Path) == route(x.Path) }
	add(t, t.byID[x.ReplayOf], "original")
	each(t, "replay", func(c *capture) bool { return c.ReplayOf == x.ID })
	each(t, "same original", func(c *capture) bool { return x.ReplayOf != "" && c.ReplayOf == x.ReplayOf })
	add(t, t.previous(&x.Exchange), "previous")
	add(t, t.byID[t.marked], "marked")
	each(t, "same route", alike)
	var others []*tab
	for _, o := range m.tabs {
		if o != t && isHTTP(o) {
			others = append(others, o)
			each(o, "", alike)
		}
	}
	each(t, "", func(*capture) bool { return true })
	for _, o := range others {
		each(o, "", func(*capture) bool { return true })
	}
	if len(p.list) == 0 {
		m.say(warn, "there is nothing to compare with yet")
		return nil
	}
	m.over = p
	return nil
}

func (p *picker) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "j", "down":
		p.move(1)
	case "k", "up":
		p.move(-1)
	case "pgdown", "space", "ctrl+d":
		p.move(10)
	case "pgup", "b", "ctrl+u":
		p.move(-10)
	case "g", "home":
		p.cur = 0
	case "G", "end":
		p.cur = len(p.list) - 1
	case "enter", "d", "l", "right":
		return p.choose(m)
	case "esc", "q", "h", "left":
		m.over = nil
	}
	return nil
}

func (p *picker) move(n int) { p.cur = max(min(p.cur+n, len(p.list)-1), 0) }

func (p *picker) choose(m *model) tea.Cmd {
	m.over = nil
	return m.openDiff(p.list[p.cur].ID, p.x.ID)
}

func (p *picker) wheel(_ *model, rows int) tea.Cmd {
	p.move(rows)
	return nil
}

func (p *picker) cursor(*model) *tea.Cursor { return nil }

func (p *picker) tips(*model) []tip {
	return []tip{
		{"j", "down", func(*model) tea.Cmd { p.move(1); return nil }},
		{"k", "up", func(*model) tea.Cmd { p.move(-1); return nil }},
		{"enter", "compare", p.choose},
		{"esc", "cancel", func(m *model) tea.Cmd { m.over = nil; return nil }},
	}
}

func (p *picker) draw(m *model, w, height int) []string {
	width := min(78, w-6)
	room := max(min(height-6, 14), 1)
	if p.cur < p.top {
		p.top = p.cur
	}
	if p.cur >= p.top+room {
		p.top = p.cur - room + 1
	}
	var rows []string
	for i := p.top; i < min(p.top+room, len(p.list)); i++ {
		c := p.list[i]
		l := m.th.line(width)
		if i == p.cur {
			l.on(true)
			l.put(accent, m.th.g.bar)
		} else {
			l.gap(1)
		}
		l.cell(dim, number(&c.Exchange), 7)
		l.cell(strong, method(c.Method, 6), 7)
		l.cell(text, m.th.shortPath(c.Path, max(l.room()-28, 4)), max(l.room()-27, 0))
		l.right(status(c.Status), statusText(&c.Exchange, &m.th.g), 4)
		l.right(text, took(&c.Exchange, m.c.Now()), 7)
		l.put(dim, "  "+c.why)
		l.rest()
		rows = append(rows, l.String())
	}
	l := m.th.line(width)
	l.put(dim, "enter compares  esc cancels")
	if n := len(p.list) - p.top - room; n > 0 {
		s := sprintf("%s %d more", m.th.g.down, n)
		l.to(width - m.th.width(s))
		l.put(dim, s)
	}
	rows = append(rows, "", l.String())
	return m.box(sprintf("Compare %s with", number(&p.x.Exchange)), rows, width)
}

// counterpart is what x is compared with unless a person says otherwise: the
// mark, the original of a replay, the previous on the route.
func (m *model) counterpart(x *capture) *capture {
	t := m.tab()
	if a := t.byID[t.marked]; a != nil && a != x {
		return a
	}
	if o := t.byID[x.ReplayOf]; o != nil {
		return o
	}
	return t.previous(&x.Exchange)
}
