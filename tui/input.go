package tui

import (
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// An input is one line of text being written. The bubbles' own brings a
// dependency on the system's clipboard along, which the screen reaches by itself
// and only when asked.
type input struct {
	value []rune
	pos   int
}

const inputLimit = 1000

func (in *input) text() string { return string(in.value) }

func (in *input) set(s string) {
	in.value = []rune(s)
	in.pos = len(in.value)
}

// insert writes s at the cursor, as one line.
func (in *input) insert(s string) {
	r := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	r = r[:min(len(r), max(inputLimit-len(in.value), 0))]
	in.value = append(in.value[:in.pos:in.pos], append(r, in.value[in.pos:]...)...)
	in.pos += len(r)
}

// update takes a key or a paste and reports whether the text has changed.
func (in *input) update(msg tea.Msg) bool {
	before := string(in.value)
	switch msg := msg.(type) {
	case tea.PasteMsg:
		in.insert(msg.Content)
	case tea.KeyPressMsg:
		in.press(msg)
	}
	return string(in.value) != before
}

func (in *input) press(k tea.KeyPressMsg) {
	cut := func(from, to int) {
		in.value = append(in.value[:from:from], in.value[to:]...)
		in.pos = from
	}
	word := in.pos
	for word > 0 && in.value[word-1] == ' ' {
		word--
	}
	for word > 0 && in.value[word-1] != ' ' {
		word--
	}
	switch k.String() {
	case "left", "ctrl+b":
		in.pos = max(in.pos-1, 0)
	case "right", "ctrl+f":
		in.pos = min(in.pos+1, len(in.value))
	case "home", "ctrl+a":
		in.pos = 0
	case "end", "ctrl+e":
		in.pos = len(in.value)
	case "alt+left", "ctrl+left":
		in.pos = word
	case "backspace", "ctrl+h":
		if in.pos > 0 {
			cut(in.pos-1, in.pos)
		}
	case "delete", "ctrl+d":
		if in.pos < len(in.value) {
			cut(in.pos, in.pos+1)
		}
	case "ctrl+w", "alt+backspace":
		cut(word, in.pos)
	case "ctrl+u":
		cut(0, in.pos)
	case "ctrl+k":
		in.value = in.value[:in.pos]
	default:
		if k.Text != "" {
			in.insert(k.Text)
		}
	}
}
