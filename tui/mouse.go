package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

func (m *model) click(msg tea.MouseClickMsg) tea.Cmd {
	if msg.Button != tea.MouseLeft {
		return nil
	}
	now := m.c.Now()
	last := m.lastClick
	m.lastClick.at, m.lastClick.x, m.lastClick.y = now, msg.X, msg.Y
	twice := last.x == msg.X && last.y == msg.Y && now.Sub(last.at) < 400*time.Millisecond && !last.at.IsZero()
	if o, ok := m.over.(interface {
		click(*model, tea.MouseClickMsg) tea.Cmd
	}); ok {
		return o.click(m, msg)
	}
	if m.over != nil {
		m.over = nil
		return nil
	}
	for _, h := range m.hits {
		if h.has(msg.X, msg.Y) && h.run != nil {
			return h.run(m)
		}
	}
	if m.ask != nil {
		return nil
	}
	t := m.tab()
	switch {
	case m.focus == inHome:
		if i := m.home.at(msg.Y); i >= 0 {
			m.home.cur = i
			if twice {
				return m.openTunnel()
			}
		}
	case m.focus == inDiff:
		if i := m.diff.top + msg.Y - m.lay.panes.y - 3; i >= m.diff.top && i < len(m.diff.rows().list) {
			m.diff.cur = i
			m.diff.settle()
		}
	case t == nil || m.blank():
	case m.lay.list.has(msg.X, msg.Y):
		y := msg.Y - m.lay.list.y
		if m.lay.rules {
			y--
		}
		if y < 0 {
			if t.list.newer(t.captures) > 0 {
				t.list.end(t.captures, true)
			}
			return nil
		}
		if y >= len(m.rowsOf) || m.rowsOf[y] < 0 {
			return nil
		}
		if x := t.list.at(t.captures, m.rowsOf[y]); x != nil {
			m.focus = inList
			t.list.choose(t.captures, x)
			if twice {
				return m.open()
			}
		}
	case m.lay.detail.has(msg.X, msg.Y) && !isHTTP(t):
		return m.open()
	case m.lay.detail.has(msg.X, msg.Y):
		m.open()
		p := m.detail.pager()
		row := msg.Y - (m.lay.detail.y + m.lay.detail.h - p.height)
		if row < 0 || p.c == nil || m.detail.tab == tabDiff {
			return nil
		}
		at := p.top
		for range row {
			at, _ = p.down(at)
		}
		p.cur = at
		if twice {
			p.fold()
		}
	}
	return nil
}

// drag tells once how to select text, which the mouse cannot do while the screen
// listens to it.
func (m *model) drag(msg tea.MouseMotionMsg) {
	dx, dy := msg.X-m.lastClick.x, msg.Y-m.lastClick.y
	if msg.Button == tea.MouseLeft && !m.dragTold && dx*dx+dy*dy > 4 {
		m.dragTold = true
		m.say(accent, "hold shift (or press M) to select text")
	}
}

// wheel scrolls what is under the pointer.
func (m *model) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	n := 3
	switch msg.Button {
	case tea.MouseWheelUp:
		n = -3
	case tea.MouseWheelDown:
	default:
		return nil
	}
	t := m.tab()
	switch {
	case m.over != nil:
		if o, ok := m.over.(interface{ wheel(*model, int) tea.Cmd }); ok {
			return o.wheel(m, n)
		}
	case m.focus == inHome:
		m.home.move(n / 3)
	case m.focus == inDiff:
		m.diff.move(n)
	case t == nil || m.blank():
	case m.lay.list.has(msg.X, msg.Y):
		t.list.scroll(t.captures, n)
	case !isHTTP(t):
		return m.scrollConnection(n)
	case m.lay.detail.has(msg.X, msg.Y):
		if m.detail.tab == tabDiff {
			m.detail.diff.move(n)
		} else {
			m.detail.pager().scroll(n)
		}
	}
	return nil
}
