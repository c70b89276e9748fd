package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// A copy with the secrets in it has a key of its own, and says so.
func TestCopyWithSecrets(t *testing.T) {
	m := modelWith(t, 120, 36, 3)
	x := demoList(frozen)[0]
	x.Request = message1("Stripe-Signature", "t=1,v1=abcdef0123456789", "{}")
	m.whole(x)
	for _, tt := range []struct {
		key, says string
		in        bool
	}{{"c", "secrets left out", false}, {"C", "its secrets and signatures are in it", true}} {
		m.key("y")
		if s := m.shows(); !strings.Contains(s, "C curl with secrets") {
			t.Fatalf("the keys after y do not name it:\n%s", s)
		}
		var got copyReadyMsg
		_, cmd := m.Update(tea.KeyPressMsg{Code: rune(tt.key[0]), Text: tt.key})
		if cmd != nil {
			collect(cmd(), func(msg tea.Msg) {
				if r, ok := msg.(copyReadyMsg); ok {
					got = r
				}
			})
		}
		if !strings.Contains(got.what, tt.says) || strings.Contains(got.text, "abcdef0123456789") != tt.in {
			t.Errorf("y%s copies %q as %q, want that %s", tt.key, got.text, got.what, tt.says)
		}
	}
}

// collect hands over what a command brings, and what the commands in it bring.
func collect(msg tea.Msg, f func(tea.Msg)) {
	if list, ok := msg.(tea.BatchMsg); ok {
		for _, cmd := range list {
			if cmd != nil {
				collect(cmd(), f)
			}
		}
		return
	}
	f(msg)
}
