package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

func TestLogScrollsAndSearches(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.log = nil
	for i := range 100 {
		m.record(text, "entry %02d", i)
	}
	m.record(bad, "the local service is down: \x1b[31mrefused")
	press := func(codes ...rune) {
		for _, c := range codes {
			m.msg(tea.KeyPressMsg{Code: c})
		}
	}
	sees := func(what string, want ...string) {
		t.Helper()
		s := m.shows()
		for _, w := range want {
			if !strings.Contains(s, w) {
				t.Errorf("%s: the log lacks %q:\n%s", what, w, s)
			}
		}
	}
	m.key("L")
	sees("at first", "82-101 of 101", "␛[31mrefused")
	m.key("k", "k")
	sees("two up", "80-99 of 101")
	m.key("j")
	press(tea.KeyPgUp)
	sees("a page up", "61-80 of 101")
	m.key("g")
	m.draw()
	m.key("k")
	sees("at the top", "1-20 of 101", "entry 00")
	m.key("G")
	sees("at the end", "82-101 of 101")
	m.key("/", "R", "E", "F", "U")
	sees("searching", "1 of 101", "refused")
	press(tea.KeyEnter)
	m.key("q")
	if m.over != nil {
		t.Fatal("q does not close the log")
	}
	m.key("L", "/", "9", "9", "9")
	sees("in vain", "no entry says that", "0 of 101")
	press(tea.KeyEscape)
	sees("after esc", "82-101 of 101")
	press(tea.KeyEscape)
	if m.over != nil {
		t.Error("esc does not close the log")
	}
	for _, size := range [][2]int{{40, 10}, {30, 6}, {240, 60}} {
		m.size(size[0], size[1])
		m.key("L", "/", "0")
		for i, row := range strings.Split(m.shows(), "\n") {
			if n := m.th.columns(row); n > size[0] {
				t.Errorf("at %dx%d row %d takes %d columns", size[0], size[1], i, n)
			}
		}
		press(tea.KeyEscape, tea.KeyEscape)
	}
}
