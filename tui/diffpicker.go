package tui

import (
	"errors"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/filter"
)

// A picker chooses what to compare with. A search in it is a filter over all the
// captures, not only over those on offer.
type picker struct {
	x      *capture
	likely []candidate // what is offered at first
	list   []candidate // what is offered now
	cur    int
	top    int
	search input
	typing bool
	wrong  string // with what is typed; the list is that of before
	caret  tea.Position
	at     rect // of the list, as it was drawn
}

// A candidate is a capture and why it may be wanted.
type candidate struct {
	*capture
	from *tab
	why  string
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
		p.list = append(p.list, candidate{c, from, why})
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
	p.likely = p.list
	m.over = p
	return nil
}

// find offers what is searched for: what is likely first, then what is new.
func (p *picker) find(m *model) {
	q := strings.TrimSpace(p.search.text())
	p.wrong = ""
	if q == "" {
		p.list, p.cur = p.likely, 0
		return
	}
	matches := func(_ *tab, x *capture) bool { return strings.HasPrefix(number(&x.Exchange), q) }
	if q[0] != '#' {
		f, err := filter.Parse(q)
		if e := (*filter.Error)(nil); errors.As(err, &e) {
			p.wrong = e.Message
			return
		}
		if f.NeedsBody() {
			p.wrong = "bodies are not searched here"
			return
		}
		now := m.c.Now()
		matches = func(t *tab, x *capture) bool { return f.Match(&x.Exchange, t.env(now)) }
	}
	p.list, p.cur = nil, 0
	had := map[*capture]bool{p.x: true}
	for _, c := range p.likely {
		had[c.capture] = true
		if matches(c.from, c.capture) {
			p.list = append(p.list, c)
		}
	}
	front := m.tab()
	for _, t := range append([]*tab{front}, m.tabs...) {
		if !isHTTP(t) {
			continue
		}
		why := ""
		if t != front {
			why = "in " + t.Name
		}
		for i := len(t.all) - 1; i >= 0 && len(p.list) < maxCandidates; i-- {
			if x := t.all[i]; !had[x] && matches(t, x) {
				had[x] = true
				p.list = append(p.list, candidate{x, t, why})
			}
		}
	}
}

func (p *picker) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	if p.typing {
		switch k.String() {
		case "down", "ctrl+n", "tab":
			p.move(1)
		case "up", "ctrl+p", "shift+tab":
			p.move(-1)
		case "pgdown":
			p.move(10)
		case "pgup":
			p.move(-10)
		case "enter":
			return p.choose(m)
		case "esc":
			p.typing = false
			p.search.set("")
			p.find(m)
		default:
			if p.search.update(k) {
				p.find(m)
			}
		}
		return nil
	}
	switch k.String() {
	case "/", "f":
		p.typing = true
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
	if len(p.list) == 0 {
		return nil
	}
	m.over = nil
	return m.openDiff(p.list[p.cur].ID, p.x.ID)
}

func (p *picker) wheel(_ *model, rows int) tea.Cmd {
	p.move(rows)
	return nil
}

func (p *picker) paste(m *model, msg tea.PasteMsg) tea.Cmd {
	if p.typing && p.search.update(msg) {
		p.find(m)
	}
	return nil
}

func (p *picker) click(m *model, msg tea.MouseClickMsg) tea.Cmd {
	if !p.at.has(msg.X, msg.Y) {
		m.over = nil
		return nil
	}
	i := p.top + msg.Y - p.at.y
	if i >= len(p.list) {
		return nil
	}
	p.cur = i
	return p.choose(m)
}

func (p *picker) cursor(*model) *tea.Cursor {
	if !p.typing {
		return nil
	}
	return tea.NewCursor(p.caret.X, p.caret.Y)
}

func (p *picker) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return p.press(m, k) }
	}
	esc := press(tea.KeyPressMsg{Code: tea.KeyEscape})
	if p.typing {
		return []tip{{"enter", "compare", p.choose}, {"down", "next", press(tea.KeyPressMsg{Code: tea.KeyDown})}, {"esc", "show all", esc}}
	}
	return []tip{
		{"j", "down", press(tea.KeyPressMsg{Code: 'j', Text: "j"})},
		{"k", "up", press(tea.KeyPressMsg{Code: 'k', Text: "k"})},
		{"enter", "compare", p.choose},
		{"/", "search", press(tea.KeyPressMsg{Code: '/', Text: "/"})},
		{"esc", "cancel", esc},
	}
}

func (p *picker) draw(m *model, w, height int) []string {
	width := max(min(78, w-6), 1)
	room := max(min(height-6, 14), 1)
	if p.cur < p.top {
		p.top = p.cur
	}
	if p.cur >= p.top+room {
		p.top = p.cur - room + 1
	}
	why := 0
	for _, c := range p.list {
		why = max(why, min(m.th.width(c.why), 14))
	}
	if why > 0 && width >= 48 {
		why += 2
	} else {
		why = 0 // which request it is matters more
	}
	verb, lasted := 7, 7
	if width < 48 {
		verb, lasted = 5, 0
	}
	var rows []string
	var wants wanted
	last := min(p.top+room, len(p.list))
	for _, c := range p.list[min(p.top, last):last] {
		wants.see(&c.Exchange)
	}
	for i := p.top; i < last; i++ {
		c := p.list[i]
		l := m.th.line(width)
		if i == p.cur {
			l.on(true)
			l.put(accent, m.th.g.bar)
		} else {
			l.gap(1)
		}
		l.cell(dim, number(&c.Exchange), 7)
		if width >= 70 {
			l.cell(dim, c.Timing.Accepted.In(m.c.Now().Location()).Format("15:04:05"), 9)
		}
		l.cell(strong, method(c.Method, verb-1), verb)
		path := max(l.room()-4-lasted-why-b2i(why == 0), 1)
		end, first := l.w+path, wants.beside(max(path-1, 1))
		shown, event := m.pathAndEvent(c.capture, max(path-1, 1), first)
		l.put(text, shown)
		if event != "" {
			l.gap(first + 2 - m.th.width(shown))
			l.put(dim, event)
		}
		l.to(end)
		code := statusText(&c.Exchange, &m.th.g)
		l.gap(4 - m.th.width(code))
		l.token(status(c.Status), code)
		if lasted > 0 {
			l.right(text, took(&c.Exchange, m.c.Now()), lasted)
		}
		if why > 0 {
			l.put(dim, "  "+c.why)
		}
		l.rest()
		rows = append(rows, l.String())
	}
	if len(p.list) == 0 {
		rows = append(rows, m.textRow(dim, " no request is like that", width))
	}
	for len(rows) < min(room, len(p.likely)) {
		rows = append(rows, m.textRow(text, "", width)) // the box stays as it is
	}
	left, upper := max((w-width-4)/2, 0), max((height-len(rows)-4)/2, 0)
	p.at = rect{left, upper + 1, width + 4, len(rows)}
	l := m.th.line(width)
	more := ""
	if n := len(p.list) - p.top - room; n > 0 {
		more = sprintf("%s %d more", m.th.g.down, n)
	}
	if p.typing {
		l.put(hotkey, "/ ")
		said := more
		if p.wrong != "" {
			said = m.th.g.no + " " + p.wrong
		}
		f := field{input: p.search}
		x := f.draw(m, &l, max(width-m.th.width(said)-5, 8))
		p.caret = tea.Position{X: left + 2 + x, Y: upper + len(rows) + 2}
		switch {
		case p.wrong != "":
			l.put(bad, "  "+said)
			more = ""
		case p.search.text() == "":
			l.put(dim, "  #12, a part of the path, status:5xx")
		}
	} else {
		for _, s := range []string{"enter compares  / searches  esc cancels", "enter compares"} {
			if m.th.width(s)+m.th.width(more) < width {
				l.put(dim, s)
				break
			}
		}
	}
	if l.room() > m.th.width(more) {
		l.to(width - m.th.width(more))
		l.put(dim, more)
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
