package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// What may still become a query is not called wrong while it is typed. Enter and
// the next word say that it was meant so.
func TestFilterIsNotWrongTooEarly(t *testing.T) {
	for _, tt := range []struct{ q, ends string }{
		{"status>=", ""},
		{"status:5", " "},
		{`body:"card decl`, ""},
		{"(status:5xx or", ""},
		{"~card (de", ""},
		{"nothing:5", " "},
	} {
		m := modelWith(t, 80, 24, 13)
		m.key(append([]string{"/"}, strings.Split(tt.q, "")...)...)
		if s := m.statusRow(); strings.Contains(s, "✗") {
			t.Errorf("on the way %q is wrong: %q", tt.q, s)
		}
		if tt.ends != "" {
			m.key(tt.ends)
			if s := m.statusRow(); !strings.Contains(s, "✗") {
				t.Errorf("%q with a blank behind it is not wrong: %q", tt.q, s)
			}
			m.msg(tea.KeyPressMsg{Code: tea.KeyBackspace})
		}
		m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
		if s := m.statusRow(); !m.bar.editing || !strings.Contains(s, "✗") || !strings.Contains(s, tt.q) {
			t.Errorf("after enter the row is %q, want %q still there, and what is wrong with it", s, tt.q)
		}
		m.key("x")
		if m.bar.entered {
			t.Errorf("%q stays wrong when it is written on", tt.q)
		}
	}
}

// statusRow is the row above the hints.
func (m testModel) statusRow() string {
	rows := strings.Split(m.shows(), "\n")
	return strings.TrimSpace(rows[len(rows)-2])
}

// How often a value was seen is told while it is offered, not once it is written.
func TestFilterTellsNothingOfWhatIsWritten(t *testing.T) {
	m := modelWith(t, 120, 24, 13)
	m.key(strings.Split("/status:50", "")...)
	if s := m.statusRow(); !strings.Contains(s, "seen once") {
		t.Errorf("the row is %q, want how often 500 was seen", s)
	}
	m.key("0")
	if s := m.statusRow(); strings.Contains(s, "seen") {
		t.Errorf("the row is %q, want no more of what is written", s)
	}
}

// A note is not cut while there is room beside it, and the filter stays in sight
// where both have room.
func TestNoteHasTheRow(t *testing.T) {
	m := modelWith(t, 80, 24, 13)
	m.key(strings.Split("/method:POST", "")...)
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	m.say(text, "wrote a HAR of all 57 requests to famous-chinchilla.har (270 KiB)")
	if s := m.statusRow(); s != m.note.text {
		t.Errorf("the row is %q, want the whole note", s)
	}
	m.say(text, "secrets are hidden")
	if s := m.statusRow(); !strings.Contains(s, "secrets are hidden") || !strings.Contains(s, "/ method:POST  ") || !strings.Contains(s, " of 13 shown") {
		t.Errorf("the row is %q, want the note, the filter and the counters", s)
	}
}

// A query that fills its row leaves room for what is wrong with it.
func TestFilterSaysWhatIsWrongWithALongOne(t *testing.T) {
	for _, w := range []int{40, 80, 120} {
		m := modelWith(t, w, 24, 13)
		m.key("/")
		m.msg(tea.PasteMsg{Content: strings.Repeat("path:/a or ", 20)})
		m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
		s := m.statusRow()
		if !m.bar.editing || !strings.Contains(s, "✗ something") || !strings.Contains(s, "path:/a or   ✗") {
			t.Errorf("%d columns: the row is %q, want the end of the query and what is wrong", w, s)
		}
	}
}
