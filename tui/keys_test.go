package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// Everything in the table can be done, and is told apart by its name.
func TestActionsAreWhole(t *testing.T) {
	m := modelWith(t, 120, 36, 5)
	names := map[string]bool{}
	for i := range m.keys {
		a := &m.keys[i]
		if a.name == "" || names[a.name] {
			t.Errorf("action %d is named %q, want a name of its own", i, a.name)
		}
		names[a.name] = true
		if (a.run == nil) == (a.then == nil) {
			t.Errorf("%s: want either something to do or keys that follow", a.name)
		}
		if a.group == "" && a.hint == "" {
			t.Errorf("%s is neither in the help nor in the hint bar", a.name)
		}
		if a.in == 0 || a.bind.Help().Desc == "" {
			t.Errorf("%s: no place or no words", a.name)
		}
		if a.group != "" && !strings.Contains(strings.Join(groups(inList), " "), a.group) {
			t.Errorf("%s is in the group %q, which the help does not show", a.name, a.group)
		}
	}
}

// No key means two things in one place, unless one of them is not to be done
// there just then.
func TestKeysMeanOneThing(t *testing.T) {
	keys := actions()
	for place := inList; place <= inQuiet; place <<= 1 {
		had := map[string]string{}
		for i := range keys {
			a := &keys[i]
			if a.in&place == 0 || a.when != nil || a.group == "" {
				continue
			}
			for _, k := range a.bind.Keys() {
				if other := had[k]; other != "" && !(k == "enter" || k == "right") {
					t.Errorf("in place %b the key %s is %s and %s", place, k, other, a.name)
				}
				had[k] = a.name
			}
		}
	}
}

func TestPromptAsks(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	var got []string
	ask := func() {
		m.request("size", "", prompt{
			title: "how many", enter: "count", hint: "a number",
			check: func(s string) string {
				if strings.Trim(s, "0123456789") != "" {
					return "that is no number"
				}
				return ""
			},
			done: func(_ *model, s string) tea.Cmd { got = append(got, s); return nil },
		})
	}
	press := func(codes ...rune) {
		for _, c := range codes {
			m.msg(tea.KeyPressMsg{Code: c})
		}
	}
	ask()
	if s := m.shows(); !strings.Contains(s, "how many") || !strings.Contains(s, "a number") || !strings.Contains(m.hints(), "enter count  esc cancel") {
		t.Errorf("the prompt does not say what it wants:\n%s", s)
	}
	m.key("1", "x")
	press(tea.KeyEnter)
	if s := m.shows(); !strings.Contains(s, "that is no number") || len(got) != 0 {
		t.Errorf("entered %q, want it refused:\n%s", got, s)
	}
	press(tea.KeyBackspace)
	m.msg(tea.PasteMsg{Content: "2\n"})
	press(tea.KeyEnter)
	ask()
	m.key("7")
	press(tea.KeyUp)
	if s := m.prompt.text(); s != "12" {
		t.Errorf("up shows %q, want what was entered before", s)
	}
	press(tea.KeyDown)
	if s := m.prompt.text(); s != "7" {
		t.Errorf("down shows %q, want what was being written", s)
	}
	press(tea.KeyEscape)
	if m.prompt != nil || len(got) != 1 || got[0] != "12" {
		t.Errorf("entered %q, want 12 and no prompt after esc", got)
	}
}

// A long text keeps its cursor in view, however narrow the row.
func TestPromptKeepsItsCursorInView(t *testing.T) {
	for _, w := range []int{30, 40, 80, 120} {
		m := modelWith(t, w, 24, 5)
		m.request("any", strings.Repeat("漢字 text ", 60), prompt{title: "what", enter: "do", done: func(*model, string) tea.Cmd { return nil }})
		rows, c := m.draw()
		if c == nil || c.X >= w || c.X < 5 {
			t.Errorf("at %d columns the cursor is at %+v", w, c)
		}
		for _, r := range rows {
			if n := m.th.columns(r); n > w {
				t.Errorf("at %d columns a row takes %d", w, n)
			}
		}
	}
}

// The keys that follow another can be clicked, and any other key ends it.
func TestPrefixEndsWithAnyKey(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.key("l", "z")
	if m.prefix == nil || !strings.Contains(m.shows(), "M close all") {
		t.Fatalf("z shows no keys that may follow:\n%s", m.shows())
	}
	m.key("q")
	if m.prefix != nil || m.focus != inDetail {
		t.Error("a key that means nothing after z does not just end it")
	}
	m.key("h", "y")
	m.draw()
	x := strings.Index(strings.Split(m.shows(), "\n")[22], "c curl")
	m.msg(tea.MouseClickMsg{Button: tea.MouseLeft, X: x, Y: 22})
	if m.prefix != nil {
		t.Error("a click on a key after y leaves the question open")
	}
}

// A key that means something on another screen says so, and where.
func TestKeysOfOtherScreensSayWhere(t *testing.T) {
	for _, tt := range []struct {
		keys []string
		want string
	}{
		{[]string{"="}, "not here: run jq on this body (in a request)"},
		{[]string{"d", "R"}, "not here: replay with options: signature, address, times (in a request)"},
		{[]string{"n"}, "not here: next match, or next change (in a request)"},
		{[]string{"l", "v"}, "not here: newest at the top or at the bottom (in the list of requests)"},
	} {
		m := modelWith(t, 120, 36, 13)
		m.key(tt.keys...)
		if s := m.statusRow(); !strings.HasPrefix(s, tt.want) {
			t.Errorf("after %q the row is %q, want %q", tt.keys, s, tt.want)
		}
	}
	m := modelWith(t, 120, 36, 13)
	m.key("ö")
	if m.note.text != "" {
		t.Errorf("a key of no screen says %q", m.note.text)
	}
}
