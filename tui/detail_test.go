package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// The keys of every tab work in the Diff tab as well, and enter opens it in full.
func TestDiffTabMoves(t *testing.T) {
	s, _, _ := demo(t, 80, 24)
	s.waitText(t, "favicon")
	s.keys("jjjj\r]]]]")
	s.waitText(t, "change 1 of 5")
	if text := s.text(); !strings.Contains(text, "n next  N previous  esc back  s req/resp") {
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
	m := modelWith(t, 80, 24, 4)
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

// A service that calls something JSON is told where it stops being that.
func TestBodyThatIsCalledJSON(t *testing.T) {
	for _, c := range []struct{ contentType, body, want string }{
		{"application/json", `{"a":1,"b":[1,2,}`, "looking for beginning of value (byte 17)"},
		{"application/problem+json; charset=utf-8", "{\n  'a': 1\n}", "(line 2, byte 5)"},
		{"application/json", "Bad Gateway \x1b[2J", "invalid character 'B'"},
		{"application/json", `{"a": 1}`, ""},
		{"application/x-ndjson", "{}\n{}", ""},
		{"text/plain", `{"a": 1`, ""},
	} {
		x := &inspector.Exchange{Request: message1("Content-Type", c.contentType, c.body)}
		b := layOut(t.Context(), x, false, false)
		got := strings.Join(b.notes, "; ")
		if c.want == "" && got != "" || c.want != "" && !(strings.HasPrefix(got, "called JSON, but it is not: ") && strings.Contains(got, c.want)) {
			t.Errorf("%s %.20q: the notes are %q, want %q", c.contentType, c.body, got, c.want)
		}
		x.Request.Body.Size = 1 << 30
		if b := layOut(t.Context(), x, false, false); strings.Contains(strings.Join(b.notes, ""), "called JSON") {
			t.Errorf("%.20q with more that was not captured: %q", c.body, b.notes)
		}
	}
}
