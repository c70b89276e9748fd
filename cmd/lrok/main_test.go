package main

import (
	"testing"

	"github.com/creack/pty"
)

// What kind of terminal it is, and whether a person sits there, decides between
// the screen and lines, and about colours in them.
func TestTerminalDecides(t *testing.T) {
	far, near, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	defer func() { _, _ = near.Close(), far.Close() }()
	for _, tt := range []struct {
		name             string
		env              map[string]string
		o                options
		screen, coloured bool
	}{
		{"a terminal", nil, options{}, true, true},
		{"no colours", map[string]string{"NO_COLOR": "1"}, options{}, true, false},
		{"--plain", nil, options{plain: true}, false, false},
		{"--plain --color always", nil, options{plain: true, color: "always"}, false, true},
		{"CI", map[string]string{"CI": "true"}, options{}, false, false},
		{"CI --color always", map[string]string{"CI": "1"}, options{color: "always"}, false, true},
		{"CI, colours forced", map[string]string{"CI": "1", "CLICOLOR_FORCE": "1"}, options{}, false, true},
		{"CI=false", map[string]string{"CI": "false"}, options{}, true, true},
		{"CI=0", map[string]string{"CI": "0"}, options{}, true, true},
		{"TERM=dumb", map[string]string{"TERM": "dumb"}, options{}, false, false},
		{"TERM=", map[string]string{"TERM": ""}, options{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"CI", "NO_COLOR", "CLICOLOR_FORCE"} {
				t.Setenv(name, "")
			}
			t.Setenv("TERM", "xterm-256color")
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			o := tt.o
			o.stdin, o.stdout = near, near
			if got := o.interactive(); got != tt.screen {
				t.Errorf("the screen opens: %v, want %v", got, tt.screen)
			}
			if got := o.colors(); got != tt.coloured {
				t.Errorf("lines are coloured: %v, want %v", got, tt.coloured)
			}
		})
	}
}
