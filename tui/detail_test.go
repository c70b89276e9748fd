package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
)

// The keys of every tab work in the Diff tab as well, and enter opens it in full.
func TestDiffTabMoves(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("jjjj\r]]]]")
	s.waitText(t, "change 1 of 5")
	if text := s.text(); !strings.Contains(text, "n next  N previous  s req/resp") {
		t.Errorf("the hints do not say how to go on:\n%s", text)
	}
	s.keys("G")
	s.waitText(t, "change 5 of 5")
	s.keys("gn")
	s.waitText(t, "change 1 of 5")
	s.keys("\r")
	s.waitText(t, "in full")
}

// While something is looked for, the hints say how to go on and how to end it.
func TestHintsOfASearch(t *testing.T) {
	m := modelWith(t, 80, 24, 5)
	m.key("l", "/", "a")
	m.msg(tea.KeyPressMsg{Code: tea.KeyEnter})
	if got, want := m.hints(), "n next  N previous  esc end search  r replay"; !strings.HasPrefix(got, want) {
		t.Errorf("hints of a search: %q, want %q first", got, want)
	}
	m.msg(tea.KeyPressMsg{Code: tea.KeyEscape})
	if got := m.hints(); strings.Contains(got, "next") || m.focus != inDetail {
		t.Errorf("hints after it: %q, want those of the tab", got)
	}
}

// A secret at the end of a line takes nothing of the line end along.
func TestMaskedHead(t *testing.T) {
	head := "HTTP/1.1 302 Found\r\nLocation: /cb?token=abc\r\nLink: </a#code=abc>\r\nSet-Cookie: a=b\r\nX:  y\r\n\r\n"
	out, any := maskHead([]byte(head), format.RedactHeader, format.RedactTarget)
	want := "HTTP/1.1 302 Found\r\nLocation: /cb?token=REDACTED\r\nLink: </a#code=REDACTED>\r\nSet-Cookie: a=REDACTED\r\nX:  y\r\n\r\n"
	if string(out) != want || !any {
		t.Errorf("%q, %v, want %q", out, any, want)
	}
}
