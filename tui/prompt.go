package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

// A prompt asks for one line of text in the status row, as the filter does. An
// overlay that asks for text has a field instead.
type prompt struct {
	field
	title string // what is asked for, before the text
	enter string // what enter does, in the last row
	// hint is what stands behind an empty text.
	hint   string
	secret bool // what is typed is not shown, and not kept
	// check says what is wrong with the text, "" for nothing: enter waits then.
	check func(string) string
	// typed is called when the text changes; it may be nil.
	typed func(m *model, s string) tea.Cmd
	// done is called with the text, without blanks around it, after enter.
	done func(m *model, s string) tea.Cmd
	// esc is called when nothing is entered; it may be nil.
	esc func(m *model) tea.Cmd
}

// request opens p with value in it. What was entered before at prompts of that
// name comes with the arrow keys.
func (m *model) request(name, value string, p prompt) tea.Cmd {
	p.field = m.field(name, value)
	m.prompt = &p
	return nil
}

func (p *prompt) wrong() string {
	if p.check == nil {
		return ""
	}
	return p.check(strings.TrimSpace(p.text()))
}

func (p *prompt) update(m *model, msg tea.Msg) tea.Cmd {
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "esc":
			m.prompt = nil
			if p.esc != nil {
				return p.esc(m)
			}
			return nil
		case "enter":
			if p.wrong() != "" {
				return nil
			}
			m.prompt = nil
			s := strings.TrimSpace(p.text())
			if !p.secret {
				p.keep(s)
			}
			return p.done(m, s)
		}
	}
	if p.field.update(msg) && p.typed != nil {
		return p.typed(m, p.text())
	}
	return nil
}

func (p *prompt) draw(m *model, l line, y int) (string, *tea.Cursor) {
	l.put(hotkey, p.title+" ")
	wrong := p.wrong()
	room := l.room() - 1
	if wrong != "" {
		room -= min(m.th.width(wrong)+4, room/2)
	}
	f := p.field
	if p.secret {
		f.value = []rune(strings.Repeat(m.th.g.live, len(f.value)))
	}
	x := f.draw(m, &l, max(room, 8))
	switch {
	case wrong != "" && p.text() != "":
		l.put(bad, "  "+m.th.g.no+" "+wrong)
	case p.text() == "":
		l.put(dim, " "+p.hint)
	}
	return l.String(), tea.NewCursor(x, y)
}

func (p *prompt) tips(*model) []tip {
	press := func(code rune) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return p.update(m, tea.KeyPressMsg{Code: code}) }
	}
	list := []tip{{"enter", p.enter, press(tea.KeyEnter)}, {"esc", "cancel", press(tea.KeyEscape)}}
	if len(*p.past) > 0 {
		list = append(list, tip{"up", "earlier ones", press(tea.KeyUp)})
	}
	return list
}

// A field is an input that knows what was entered before.
type field struct {
	input
	past *[]string // oldest first
	at   int       // in past; its length stands for what is being written
	own  string    // what was being written before past was looked at
}

// field makes one with value in it. All fields of a name share their past.
func (m *model) field(name, value string) field {
	past := m.past[name]
	if past == nil {
		past = new([]string)
		if m.past == nil {
			m.past = map[string]*[]string{}
		}
		m.past[name] = past
	}
	f := field{past: past, at: len(*past)}
	f.set(value)
	return f
}

// keep adds s to what was entered, up to a hundred.
func (f *field) keep(s string) {
	list := *f.past
	if s == "" || len(list) > 0 && list[len(list)-1] == s {
		return
	}
	list = append(list, s)
	*f.past = list[max(len(list)-100, 0):]
}

// update takes a key or a paste and reports whether the text has changed. The
// arrows up and down go through what was entered before.
func (f *field) update(msg tea.Msg) bool {
	k, ok := msg.(tea.KeyPressMsg)
	step := 0
	if ok {
		switch k.String() {
		case "up", "ctrl+p":
			step = -1
		case "down", "ctrl+n":
			step = 1
		}
	}
	if step == 0 {
		return f.input.update(msg)
	}
	to := max(min(f.at+step, len(*f.past)), 0)
	if to == f.at {
		return false
	}
	if f.at == len(*f.past) {
		f.own = f.text()
	}
	if f.at = to; to < len(*f.past) {
		f.set((*f.past)[to])
	} else {
		f.set(f.own)
	}
	return true
}

// draw puts the text into width columns and returns the column of the cursor.
// What does not fit goes out at the left.
func (f *field) draw(m *model, l *line, width int) int {
	from := f.pos
	for from > 0 && m.th.width(string(f.value[from-1:f.pos])) < width {
		from--
	}
	x, end := l.w, l.max
	l.max = min(x+width, end)
	l.put(text, string(f.value[from:]))
	l.max = end
	return x + m.th.width(string(f.value[from:f.pos]))
}
