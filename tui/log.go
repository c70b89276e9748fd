package tui

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A logEntry is one thing that happened to the connection.
type logEntry struct {
	at   time.Time
	role role
	text string
}

// record writes to the log; it keeps the last five hundred entries.
func (m *model) record(r role, f string, args ...any) {
	m.log = append(m.log, logEntry{m.c.Now(), r, sprintf(f, args...)})
	if len(m.log) > 500 {
		m.log = m.log[len(m.log)-500:]
	}
}

// logView shows the log, newest last. A search leaves the entries that have the
// text.
type logView struct {
	field
	typing bool
	up     int // rows between the last one in view and the newest
	rows   int
}

func (m *model) startLog() tea.Cmd {
	m.over = &logView{field: m.field("log", "")}
	return nil
}

func (v *logView) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	s := k.String()
	if v.typing {
		switch s {
		case "enter":
			v.typing = false
			v.keep(strings.TrimSpace(v.text()))
		case "esc":
			v.typing = false
			v.set("")
		default:
			v.update(k)
		}
		v.up = 0
		return nil
	}
	page := max(v.rows, 2)
	switch s {
	case "j", "down":
		v.up--
	case "k", "up":
		v.up++
	case "ctrl+d":
		v.up -= page / 2
	case "ctrl+u":
		v.up += page / 2
	case "space", "pgdown", "ctrl+f":
		v.up -= page
	case "b", "pgup", "ctrl+b":
		v.up += page
	case "g", "home":
		v.up = 1 << 20 // draw knows how far that is
	case "G", "end":
		v.up = 0
	case "/", "f":
		v.typing = true
		v.at = len(*v.past)
	case "esc":
		if v.text() == "" {
			m.over = nil
		}
		v.set("")
	case "q", "L", "h", "left":
		m.over = nil
	}
	v.up = max(v.up, 0)
	return nil
}

func (v *logView) paste(_ *model, msg tea.PasteMsg) tea.Cmd {
	if v.typing {
		v.update(msg)
	}
	return nil
}

func (v *logView) wheel(_ *model, n int) tea.Cmd {
	v.up = max(v.up-n, 0)
	return nil
}

func (v *logView) cursor(*model) *tea.Cursor { return nil }

func (v *logView) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return v.press(m, k) }
	}
	list := []tip{{"esc", "close", press(tea.KeyPressMsg{Code: tea.KeyEscape})}}
	switch {
	case v.typing:
		list[0].word = "cancel"
		return append([]tip{{"enter", "search", press(tea.KeyPressMsg{Code: tea.KeyEnter})}}, list...)
	case v.text() != "":
		list[0].word = "show all"
	}
	return append([]tip{
		{"j k", "scroll", press(tea.KeyPressMsg{Code: 'k', Text: "k"})},
		{"g G", "first, last", press(tea.KeyPressMsg{Code: 'g', Text: "g"})},
		{"/", "search", press(tea.KeyPressMsg{Code: '/', Text: "/"})},
	}, list...)
}

func (v *logView) draw(m *model, w, height int) []string {
	width := max(min(90, w-6), 1)
	list := m.log
	if q := strings.ToLower(strings.TrimSpace(v.text())); q != "" {
		list = nil
		for _, e := range m.log {
			if strings.Contains(strings.ToLower(e.at.In(m.c.Now().Location()).Format("15:04:05 ")+e.text), q) {
				list = append(list, e)
			}
		}
	}
	searching := v.typing || v.text() != ""
	v.rows = max(min(height-4-b2i(searching), 24), 1)
	v.up = max(min(v.up, len(list)-v.rows), 0)
	end := len(list) - v.up
	var rows []string
	for _, e := range list[max(end-v.rows, 0):end] {
		l := m.th.line(width)
		l.put(dim, e.at.In(m.c.Now().Location()).Format("15:04:05 "))
		l.put(e.role, e.text)
		rows = append(rows, l.String())
	}
	if len(list) == 0 {
		what := "nothing has happened yet"
		if searching {
			what = "no entry says that"
		}
		rows = append(rows, m.textRow(dim, what, width))
	}
	if searching {
		for len(rows) < min(v.rows, len(m.log)) {
			rows = append(rows, m.textRow(text, "", width)) // the box stays as it is
		}
		l := m.th.line(width)
		l.put(hotkey, "/ ")
		of := sprintf("%s of %s", format.Count(int64(len(list))), format.Count(int64(len(m.log))))
		v.field.draw(m, &l, width-len(of)-5)
		if v.typing {
			l.put(dim, m.th.g.ellipsis)
		}
		l.to(width - len(of))
		l.put(dim, of)
		rows = append(rows, l.String())
	}
	title := "Log"
	if len(list) > v.rows {
		title = sprintf("Log  %d-%d of %d", max(end-v.rows, 0)+1, end, len(list))
	}
	return m.box(title, rows, width)
}
