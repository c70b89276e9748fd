package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

// An overlay lies over the screen and takes all keys. It may have further
// methods: paste(m, tea.PasteMsg) tea.Cmd when it asks for text,
// click(m, tea.MouseClickMsg) tea.Cmd and wheel(m, rows int) tea.Cmd for the
// mouse, which closes all others, and tips(m) []tip for the last row.
type overlay interface {
	press(m *model, k tea.KeyPressMsg) tea.Cmd
	// draw returns the box's rows, all of the same width, at most w x h.
	draw(m *model, w, h int) []string
	cursor(m *model) *tea.Cursor
}

// overlay lays the box in front over the middle of the screen.
func (m *model) overlay(rows []string) []string {
	box := m.over.draw(m, m.w, m.h)
	if len(box) == 0 {
		return rows
	}
	bw := m.th.columns(box[0])
	x, y := max((m.w-bw)/2, 0), max((m.h-len(box))/2, 0)
	// A column beside the box is left free, and so little that it could not be read.
	before, after := x, max(m.w-x-bw, 0)
	if x > 3 {
		before, after = 1, 1
	}
	for i, b := range box {
		if y+i >= len(rows) {
			break
		}
		left, right := m.th.around(rows[y+i], x-before, x+bw+after)
		rows[y+i] = left + "\x1b[m" + strings.Repeat(" ", before) + b + "\x1b[m" + strings.Repeat(" ", after) + right
	}
	return rows
}

// box frames rows of a given width.
func (m *model) box(title string, rows []string, width int) []string {
	g := &m.th.g
	top := m.th.line(width + 4)
	top.put(accent, g.corner[0]+g.rule+" ")
	top.put(strong, title)
	top.put(accent, " ")
	top.fill(accent, g.rule, width+3)
	top.put(accent, g.corner[1])
	out := []string{top.String()}
	wall := m.th.line(1)
	wall.put(accent, g.wall)
	w := wall.String()
	for _, r := range rows {
		n := max(width-m.th.columns(r), 0)
		out = append(out, w+" "+r+strings.Repeat(" ", n)+" "+w)
	}
	end := m.th.line(width + 4)
	end.put(accent, g.corner[2])
	end.fill(accent, g.rule, width+3)
	end.put(accent, g.corner[3])
	return append(out, end.String())
}

// help lists what the keys do where the person is. A search finds those of other
// screens, too.
type help struct {
	at    place
	query string
	typed bool // a search has begun: j and k are letters
	top   int
	page  int // rows that show at once, as it was drawn
}

func (m *model) startHelp() tea.Cmd {
	m.over = &help{at: m.place()}
	return nil
}

func (h *help) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	switch s := k.String(); s {
	case "esc":
		if h.typed {
			h.query, h.typed, h.top = "", false, 0
			return nil
		}
		m.over = nil
	case "enter":
		m.over = nil
	case "?":
		m.over = nil
	case "q":
		if h.query == "" {
			m.over = nil
			return nil
		}
		h.query += s
	case "down":
		h.top++
	case "up":
		h.top = max(h.top-1, 0)
	case "pgdown":
		h.top += max(h.page-1, 1)
	case "pgup":
		h.top = max(h.top-max(h.page-1, 1), 0)
	case "ctrl+d":
		h.top += max(h.page/2, 1)
	case "ctrl+u":
		h.top = max(h.top-max(h.page/2, 1), 0)
	case "home":
		h.top = 0
	case "end":
		h.top = 1 << 20 // draw knows how far that is
	case "backspace":
		r := []rune(h.query)
		h.query = string(r[:max(len(r)-1, 0)])
		h.typed = h.query != ""
	default:
		switch {
		case !h.typed && s == "j":
			h.top++
		case !h.typed && s == "k":
			h.top = max(h.top-1, 0)
		case !h.typed && s == "space":
			h.top += max(h.page-1, 1)
		case !h.typed && s == "/":
			h.typed = true
		case k.Text != "":
			h.query, h.typed, h.top = h.query+k.Text, true, 0
		}
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (h *help) cursor(*model) *tea.Cursor { return nil }

func (h *help) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return h.press(m, k) }
	}
	if h.typed {
		return []tip{{"esc", "show all", press(tea.KeyPressMsg{Code: tea.KeyEscape})}, {"enter", "close", press(tea.KeyPressMsg{Code: tea.KeyEnter})}}
	}
	return []tip{
		{"j k", "scroll", press(tea.KeyPressMsg{Code: 'j', Text: "j"})},
		{"/", "search", press(tea.KeyPressMsg{Code: '/', Text: "/"})},
		{"esc", "close", press(tea.KeyPressMsg{Code: tea.KeyEscape})},
	}
}

func (h *help) draw(m *model, w, height int) []string {
	width := min(74, w-6)
	var rows []string
	q := strings.ToLower(h.query)
	section := func(title string, wanted func(*action) bool, r, desc role) {
		var list []string
		for i := range m.keys {
			a := &m.keys[i]
			if a.group == "" || !wanted(a) {
				continue
			}
			k, what := a.bind.Help().Key, m.describe(a)
			if q != "" && !strings.Contains(strings.ToLower(what+" "+k+" "+a.name), q) {
				continue
			}
			for _, part := range wrapWords(what, max(width-13, 12)) {
				l := m.th.line(width)
				l.gap(1)
				l.cell(r, k, 12)
				l.put(desc, part)
				list = append(list, l.String())
				k = ""
			}
		}
		if len(list) == 0 {
			return
		}
		if len(rows) > 0 {
			rows = append(rows, "")
		}
		l := m.th.line(width)
		l.put(strong, title)
		rows = append(append(rows, l.String()), list...)
	}
	for _, g := range groups(h.at) {
		section(g, func(a *action) bool { return a.groupAt(h.at) == g && m.applies(a, h.at) }, hotkey, text)
	}
	if h.at == inList && q == "" {
		rows = append(rows, m.legend(width)...)
	}
	if q != "" {
		section("On other screens", func(a *action) bool { return !m.applies(a, h.at) }, dim, dim)
	}
	if len(rows) == 0 {
		l := m.th.line(width)
		l.put(dim, " no key does that; esc ends the search")
		rows = append(rows, l.String())
	}
	room := max(height-5, 1)
	h.page = room
	fits := len(rows) <= room
	h.top = max(min(h.top, len(rows)-room), 0)
	more := len(rows) - h.top - room
	rows = rows[h.top:min(h.top+room, len(rows))]
	l := m.th.line(width)
	left := ""
	if more > 0 {
		left = sprintf("%s %d more", m.th.g.down, more)
	}
	if h.typed {
		l.put(dim, "search ")
		l.put(strong, h.query)
		if h.query == "" {
			l.put(dim, m.th.g.ellipsis)
		}
	} else {
		says := []string{"j k PgUp PgDn scroll  / or a letter searches  esc closes", "j k scroll  / search  esc close", "j k scroll"}
		if fits {
			says = []string{"/ or a letter searches  esc closes", "/ search  esc close"}
		}
		for _, s := range says {
			if m.th.width(s)+2+m.th.width(left) <= width {
				l.put(dim, s)
				break
			}
		}
	}
	if l.room() > m.th.width(left) {
		l.to(width - m.th.width(left))
		l.put(dim, left)
	}
	rows = append(rows, l.String())
	return m.box("Keys", rows, width)
}

// legend says what the marks in the list mean.
func (m *model) legend(width int) []string {
	g := &m.th.g
	rows := []string{m.textRow(text, "", width), m.textRow(strong, "In the list", width)}
	for _, s := range []struct {
		role       role
		mark, what string
	}{
		{bad, g.fail, "failed: answered 5xx, or not at all"},
		{accent, g.mark, "A of the next comparison"},
		{accent, g.replay, "a replay"},
		{text, "2.1k", "size: that of the answer's body"},
		{text, g.sent + "2.1k", "size: that of the request's body, the larger of the two"},
	} {
		l := m.th.line(width)
		l.gap(1)
		l.cell(s.role, s.mark, 12)
		l.put(text, s.what)
		rows = append(rows, l.String())
	}
	return rows
}
