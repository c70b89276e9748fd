package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/diff"
)

// A ruling is what comparisons ignore. It begins with the rules of the
// configuration file; what is changed here lasts as long as the screen.
type ruling struct {
	list       []diff.Rule
	strict     bool // the built-in rules are off
	generation int  // how often it has changed
}

func (r *ruling) options() diff.Options {
	return diff.Options{Ignore: r.list, Strict: r.strict}
}

// A comparison under way reads the list: changes are made to a copy.

func (r *ruling) add(rule diff.Rule) {
	for i := range r.list {
		if r.list[i].String() == rule.String() {
			return
		}
	}
	r.list = append(r.list[:len(r.list):len(r.list)], rule)
	r.generation++
}

func (r *ruling) remove(i int) {
	r.list = append(r.list[:i:i], r.list[i+1:]...)
	r.generation++
}

func (r *ruling) replace(i int, rule diff.Rule) {
	r.list = append([]diff.Rule(nil), r.list...)
	r.list[i] = rule
	r.generation++
}

// A rulesView shows the rules and takes changes to them.
type rulesView struct {
	cur     int // the last row stands for the built-in rules
	top     int
	was     int    // the generation at first
	input   *field // a rule being written, nil for none
	editing int    // which one it is, -1 for a new one
	wrong   string
	column  int // of the cursor in what is being written
	line    int
}

func (m *model) startRules() tea.Cmd {
	m.over = &rulesView{was: m.rules.generation}
	return nil
}

func (v *rulesView) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	if v.input != nil {
		return v.write(m, k)
	}
	switch k.String() {
	case "j", "down":
		v.cur = min(v.cur+1, len(m.rules.list))
	case "k", "up":
		v.cur = max(v.cur-1, 0)
	case "a", "+":
		v.edit(m, -1)
	case "e", "enter":
		if v.cur < len(m.rules.list) {
			v.edit(m, v.cur)
		} else {
			v.builtIn(m)
		}
	case "d", "x", "delete", "-":
		v.remove(m)
	case "space":
		if v.cur == len(m.rules.list) {
			v.builtIn(m)
		}
	case "y":
		return m.putClipboard("the rules, as the configuration file has them", v.yaml(m))
	case "esc", "q", "I", "h", "left":
		return v.close(m)
	}
	return nil
}

// write takes a key for the rule being written.
func (v *rulesView) write(m *model, k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc":
		v.input, v.wrong = nil, ""
		return nil
	case "enter":
		s := strings.TrimSpace(v.input.text())
		rule, err := diff.ParseRule(s)
		if err != nil {
			v.wrong = err.Error()
			return nil
		}
		v.input.keep(s)
		if v.editing >= 0 {
			m.rules.replace(v.editing, rule)
		} else {
			m.rules.add(rule)
			v.cur = len(m.rules.list) - 1
		}
		v.input, v.wrong = nil, ""
		return nil
	}
	if v.input.update(k) {
		v.wrong = ""
	}
	return nil
}

func (v *rulesView) paste(_ *model, msg tea.PasteMsg) tea.Cmd {
	if v.input != nil {
		v.input.update(msg)
	}
	return nil
}

func (v *rulesView) edit(m *model, i int) {
	s := ""
	if i >= 0 {
		s = m.rules.list[i].String()
	}
	f := m.field("rule", s)
	v.input, v.editing, v.wrong = &f, i, ""
}

func (v *rulesView) remove(m *model) {
	if v.cur < len(m.rules.list) {
		m.rules.remove(v.cur)
	}
}

func (v *rulesView) builtIn(m *model) {
	m.rules.strict = !m.rules.strict
	m.rules.generation++
}

// close compares anew what is on the screen, if something was changed.
func (v *rulesView) close(m *model) tea.Cmd {
	m.over = nil
	if m.focus != inDiff || m.rules.generation == v.was {
		return nil
	}
	return m.diff.again(m)
}

// yaml is the part of the configuration file that says the same.
func (v *rulesView) yaml(m *model) string {
	var paths, headers []string
	for _, r := range m.rules.list {
		if name, ok := strings.CutPrefix(r.String(), "header:"); ok {
			headers = append(headers, name)
		} else {
			paths = append(paths, r.String())
		}
	}
	var b strings.Builder
	b.WriteString("diff:\n")
	list := func(name string, of []string) {
		if len(of) == 0 {
			return
		}
		b.WriteString("  " + name + ":\n")
		for _, s := range of {
			b.WriteString("    - '" + strings.ReplaceAll(s, "'", "''") + "'\n")
		}
	}
	list("ignore", paths)
	list("headers", headers)
	b.WriteString(sprintf("  strict: %t\n", m.rules.strict))
	return b.String()
}

func (v *rulesView) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return v.press(m, k) }
	}
	key := func(r rune) func(*model) tea.Cmd { return press(tea.KeyPressMsg{Code: r, Text: string(r)}) }
	if v.input != nil {
		return []tip{{"enter", "keep", press(tea.KeyPressMsg{Code: tea.KeyEnter})}, {"esc", "cancel", press(tea.KeyPressMsg{Code: tea.KeyEscape})}}
	}
	return []tip{
		{"a", "add", key('a')},
		{"e", "edit", key('e')},
		{"d", "delete", key('d')},
		{"y", "copy for the file", key('y')},
		{"esc", "close", press(tea.KeyPressMsg{Code: tea.KeyEscape})},
	}
}

func (v *rulesView) cursor(*model) *tea.Cursor {
	if v.input == nil {
		return nil
	}
	return tea.NewCursor(v.column, v.line)
}

func (v *rulesView) draw(m *model, w, height int) []string {
	width := min(74, w-6)
	room := max(min(height-8, 14), 1)
	n := len(m.rules.list) + 1
	v.cur = max(min(v.cur, n-1), 0)
	if v.cur < v.top {
		v.top = v.cur
	}
	if v.cur >= v.top+room {
		v.top = v.cur - room + 1
	}
	v.top = max(min(v.top, n-room), 0)
	fromFile := map[string]bool{}
	for _, r := range m.c.Ignore {
		fromFile[r.String()] = true
	}
	var rows []string
	for i := v.top; i < min(v.top+room, n); i++ {
		l := m.th.line(width)
		if i == v.cur && v.input == nil {
			l.on(true)
			l.put(accent, m.th.g.bar)
		} else {
			l.gap(1)
		}
		if i == len(m.rules.list) {
			state, r := "on", good
			if m.rules.strict {
				state, r = "off", warn
			}
			l.put(text, "built-in rules: ")
			l.put(r, state)
			l.put(dim, "   times, random ids, volatile headers")
		} else {
			s, from := m.rules.list[i].String(), "until lrok ends"
			if fromFile[s] {
				from = "configuration file"
			}
			l.cell(strong, s, max(width-22, 8))
			l.put(dim, "  "+from)
		}
		l.rest()
		rows = append(rows, l.String())
	}
	rows = append(rows, "")
	l := m.th.line(width)
	if v.input != nil {
		l.put(dim, "rule ")
		v.column, v.line = v.input.draw(m, &l, max(width-8, 8)), len(rows)
		rows = append(rows, l.String())
		l = m.th.line(width)
		if v.wrong != "" {
			l.put(bad, v.wrong)
		} else {
			l.put(dim, ".items[*].updated_at  ..trace_id  header:x-*  query.page  status")
		}
		rows = append(rows, l.String())
	} else {
		l.put(dim, "a adds  e edits  d deletes  y copies for the file  esc closes")
		rows = append(rows, l.String())
	}
	box := m.box("What comparisons ignore", rows, width)
	v.column += max((m.w-width-4)/2, 0) + 2
	v.line += max((m.h-len(box))/2, 0) + 1
	return box
}
