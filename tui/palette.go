package tui

import (
	"sort"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// A palette finds an action by its name, or by the words of the help, and does
// it. The keys stand beside the words, to be known the next time.
type palette struct {
	in    input
	all   []command
	found []command
	cur   int
	top   int
	rows  int  // of the list, as it was drawn
	at    rect // of the list
	caret tea.Position
}

// A command is a line of the palette: what it does, in words, and its key. Its
// name is looked through as well.
type command struct {
	name, what, more, key string
	run                   func(*model) tea.Cmd // nil where it cannot be done now
}

func (m *model) startPalette() tea.Cmd {
	p := &palette{all: m.commands()}
	p.match()
	m.over = p
	return nil
}

// commands are all actions: those of the screen in front first.
func (m *model) commands() []command {
	at := m.place()
	var list, others []command
	for _, g := range groups(at) {
		for i := range m.keys {
			a := &m.keys[i]
			if a.group == "" || a.groupAt(at) != g || a.name == "palette" {
				continue
			}
			c := command{name: strings.ReplaceAll(a.name, "-", " "), what: a.bind.Help().Desc, key: a.bind.Help().Key}
			switch {
			case !m.applies(a, at):
				if c.more = "(not now)"; a.in&at == 0 {
					c.more = "(" + a.in.words() + ")"
				}
				others = append(others, c)
			case a.name == "tunnels":
				list = append(list, m.tunnelCommands()...)
			case a.then != nil:
				for _, f := range a.then(m) {
					list = append(list, command{c.name, c.what + ": " + f.word, "", c.key + " " + f.key, f.run})
				}
			default:
				c.run = a.run
				list = append(list, c)
			}
		}
	}
	return append(list, others...)
}

// words say where an action has its place, for who looks for it elsewhere.
func (p place) words() string {
	switch {
	case p&inDetail != 0:
		return "in a request"
	case p&inList != 0:
		return "in the list of requests"
	case p&inDiff != 0:
		return "in a comparison"
	case p&inHome != 0:
		return "in the list of tunnels"
	case p&connecting != 0:
		return "among connections"
	}
	return "before the first request"
}

// tunnelCommands go to the tunnels by their names.
func (m *model) tunnelCommands() []command {
	var list []command
	for i, t := range m.tabs {
		c := command{what: "tunnel " + t.Name, more: t.URL, run: func(m *model) tea.Cmd { m.toTab(i); return nil }}
		if i < 9 {
			c.key = sprintf("%d", i+1)
		}
		list = append(list, c)
	}
	return list
}

// match finds the commands that have every word that was typed. Those that begin
// with it come first, then those that have it in a row.
func (p *palette) match() {
	q := strings.ToLower(strings.TrimSpace(p.in.text()))
	words := strings.Fields(q)
	p.found, p.cur, p.top = p.found[:0], 0, 0
	for _, c := range p.all {
		text := strings.ToLower(c.name + " " + c.what + " " + c.more)
		ok := len(words) > 0 || c.run != nil // what cannot be done is there for who asks
		for _, w := range words {
			ok = ok && strings.Contains(text, w)
		}
		if ok {
			p.found = append(p.found, c)
		}
	}
	if q == "" {
		return
	}
	rank := func(c *command) int {
		n := 2
		for _, s := range []string{strings.ToLower(c.name), strings.ToLower(c.what)} {
			switch {
			case strings.HasPrefix(s, q):
				n = 0
			case strings.Contains(s, q):
				n = min(n, 1)
			}
		}
		return n + 3*b2i(c.run == nil)
	}
	sort.SliceStable(p.found, func(i, j int) bool { return rank(&p.found[i]) < rank(&p.found[j]) })
}

func (p *palette) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		m.over = nil
	case "enter":
		return p.do(m, p.cur)
	case "down", "ctrl+n", "tab":
		p.move(1)
	case "up", "ctrl+p", "shift+tab":
		p.move(-1)
	case "pgdown":
		p.move(max(p.rows-1, 1))
	case "pgup":
		p.move(-max(p.rows-1, 1))
	default:
		if p.in.update(k) {
			p.match()
		}
	}
	return nil
}

func (p *palette) paste(_ *model, msg tea.PasteMsg) tea.Cmd {
	p.in.update(msg)
	p.match()
	return nil
}

func (p *palette) move(n int) { p.cur = max(min(p.cur+n, len(p.found)-1), 0) }

func (p *palette) wheel(_ *model, n int) tea.Cmd {
	p.move(n)
	return nil
}

func (p *palette) click(m *model, msg tea.MouseClickMsg) tea.Cmd {
	if !p.at.has(msg.X, msg.Y) {
		m.over = nil
		return nil
	}
	return p.do(m, p.top+msg.Y-p.at.y)
}

// do runs line i.
func (p *palette) do(m *model, i int) tea.Cmd {
	if i < 0 || i >= len(p.found) {
		return nil
	}
	c := p.found[i]
	m.over = nil
	if c.run == nil {
		m.say(warn, "not here: %s %s", c.what, c.more)
		return nil
	}
	return c.run(m)
}

func (p *palette) cursor(*model) *tea.Cursor { return tea.NewCursor(p.caret.X, p.caret.Y) }

func (p *palette) tips(*model) []tip {
	press := func(code rune) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return p.press(m, tea.KeyPressMsg{Code: code}) }
	}
	return []tip{
		{"enter", "do it", press(tea.KeyEnter)},
		{"down", "next", press(tea.KeyDown)},
		{"esc", "close", press(tea.KeyEscape)},
	}
}

func (p *palette) draw(m *model, w, h int) []string {
	width := max(min(78, w-6), 1)
	p.rows = max(min(h-6, 14), 1)
	if p.cur < p.top {
		p.top = p.cur
	}
	p.top = max(p.top, p.cur-p.rows+1)
	left, upper := max((w-width-4)/2, 0), max((h-p.rows-4)/2, 0)

	l := m.th.line(width)
	l.put(hotkey, ": ")
	f := field{input: p.in}
	p.caret = tea.Position{X: left + 2 + f.draw(m, &l, width-3), Y: upper + 1}
	if p.in.text() == "" {
		l.put(dim, " type what to do")
	}
	rows := []string{l.String(), m.textRow(border, strings.Repeat(m.th.g.rule, width), width)}
	p.at = rect{left, upper + 1 + len(rows), width + 4, p.rows}
	for i := p.top; i < p.top+p.rows; i++ {
		l := m.th.line(width)
		switch {
		case i == 0 && len(p.found) == 0:
			l.put(dim, "  no action has these words")
		case i < len(p.found):
			c := &p.found[i]
			what := text
			if c.run == nil {
				what = dim
			}
			if i == p.cur {
				l.on(true)
				l.put(accent, m.th.g.bar)
			}
			l.to(1)
			l.gap(1)
			l.max = max(width-m.th.width(c.key)-2, l.w)
			l.put(what, c.what)
			if c.more != "" && l.room() > 8 {
				l.put(dim, "  "+c.more)
			}
			l.max = width
			l.to(width - m.th.width(c.key) - 1)
			l.put(hotkey, c.key)
			l.rest()
		}
		rows = append(rows, l.String())
	}
	return m.box("Actions", rows, width)
}
