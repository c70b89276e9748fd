package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

func TestPaletteDoesWhatIsChosen(t *testing.T) {
	m := modelWith(t, 120, 36, 5)
	m.key(":")
	if m.over == nil {
		t.Fatal(": opens no palette")
	}
	m.key("m", "a", "r", "k")
	if s := m.shows(); !strings.Contains(s, "▌ mark ") {
		t.Errorf("the action of that name is not the first:\n%s", s)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if m.over != nil || m.tab().marked != m.selected().ID {
		t.Error("enter did not mark the request")
	}
	m.msg(tea.KeyPressMsg{Code: 'p', Mod: tea.ModCtrl})
	m.key("n", "e", "w", "e", "s", "t")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if !m.tab().list.newestLast {
		t.Error("the words of the help do not find reverse")
	}
	m.key(":", "c", "u", "r", "l")
	if s := m.shows(); !strings.Contains(s, "copy: curl") || !strings.Contains(s, "y c") {
		t.Errorf("the keys that follow y are not there:\n%s", s)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	m.key(":", "s", "w", "a", "p")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if s := m.shows(); !strings.Contains(s, "not here: swap A and B (in a comparison)") {
		t.Errorf("an action of another screen does not say so:\n%s", s)
	}
	m.key(":", "z", "z", "z")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if s := m.shows(); !strings.Contains(s, "no action has these words") || m.over == nil {
		t.Errorf("the palette does not say that it finds nothing:\n%s", s)
	}
}

// Every action that the help names can be found in the palette by its name, on
// every kind of screen.
func TestPaletteHasEveryAction(t *testing.T) {
	m := modelWith(t, 120, 36, 5)
	for range 2 {
		m.key(":")
		had := map[string]bool{}
		for _, c := range m.over.(*palette).all {
			had[c.name] = true
		}
		for i := range m.keys {
			a := &m.keys[i]
			if a.group != "" && a.name != "palette" && !had[strings.ReplaceAll(a.name, "-", " ")] {
				t.Errorf("%s is missing", a.name)
			}
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
		m.key("l")
	}
}

func TestPaletteByMouse(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.key(":", "t", "h", "e", " ", "m", "a", "r", "k")
	for y, row := range strings.Split(m.shows(), "\n") {
		if x := strings.Index(row, "go to the mark"); x >= 0 {
			m.msg(tea.MouseWheelMsg{Button: tea.MouseWheelDown, X: x, Y: y})
			if p := m.over.(*palette); p.cur == 0 {
				t.Error("the wheel does not move")
			}
			m.msg(tea.MouseClickMsg{Button: tea.MouseLeft, X: 30, Y: y})
			if m.over != nil || !strings.Contains(m.note.text, "nothing is marked") {
				t.Errorf("a click did %q, want to go to the mark", m.note.text)
			}
			return
		}
	}
	t.Errorf("no row to click on:\n%s", m.shows())
}
