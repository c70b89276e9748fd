package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// A search that finds nothing says so in its box, and the keys that lead out of it
// do.
func TestHelpStaysWhereNothingIsFound(t *testing.T) {
	for _, size := range [][2]int{{120, 36}, {80, 24}, {40, 10}} {
		m := modelWith(t, size[0], size[1], 5)
		m.key("?")
		m.key("z", "z", "z")
		s := m.shows()
		for _, want := range []string{"─ Keys ─", "no key does that; esc", "search zzz"} {
			if !strings.Contains(s, want) {
				t.Errorf("%v: no %q in:\n%s", size, want, s)
			}
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
		if s := m.shows(); m.over == nil || strings.Contains(s, "zzz") {
			t.Errorf("%v: esc ends the search first:\n%s", size, s)
		}
	}
}

// q closes the help, like ?, unless it is a letter of what is looked for.
func TestHelpIsClosed(t *testing.T) {
	for keys, open := range map[string]bool{"q": false, "?": false, "/q": false, "z?": false, "zq": true, "/zq": true} {
		m := modelWith(t, 80, 24, 5)
		m.key("?")
		m.key(strings.Split(keys, "")...)
		if h, ok := m.over.(*help); ok != open || open && h.query != "zq" {
			t.Errorf("after %s the help is open: %v, want %v", keys, ok, open)
		}
	}
}
