package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// How many columns text takes is answered here and nowhere else. Terminals
// disagree about it: those with mode 2027 count what a person reads as one
// character, all others add up code points. The renderer lays cells out in the
// one way or the other, and a row that was measured differently comes out too
// long or too short. So the theme follows what the terminal said of that mode.
//
// What is measured has been through clean, which leaves nothing at either end
// that would join ASCII beside it; line.put sees to the few characters that join
// each other.

// columns measures cleaned text or a finished row.
func (t *theme) columns(s string) int { return t.method.StringWidth(s) }

// clusterColumns measures one character as a person reads it.
func (t *theme) clusterColumns(c []byte) int {
	_, w := ansi.FirstGraphemeCluster(c, t.method)
	return w
}

// cut shortens cleaned text to n columns with more at its end, if it has to be
// shortened.
func (t *theme) cut(s string, n int, more string) string {
	if t.columns(s) <= n {
		return s
	}
	n -= t.columns(more)
	if n < 0 {
		return ""
	}
	for i := 0; i < len(s); {
		c, w := ansi.FirstGraphemeCluster(s[i:], t.method)
		if n -= w; n < 0 {
			return s[:i] + more
		}
		i += len(c)
	}
	return s + more
}

// last returns the end of cleaned text, at most n columns of it.
func (t *theme) last(s string, n int) string {
	for w := t.columns(s); w > n && s != ""; {
		c, cw := ansi.FirstGraphemeCluster(s, t.method)
		s = s[len(c):]
		w -= cw
	}
	return s
}

// around returns what a box over the columns [from, to) of a finished row leaves
// to see on its left and its right. Of a wide character that the box covers in
// part a blank is left.
func (t *theme) around(row string, from, to int) (left, right string) {
	var b strings.Builder
	role := "" // in force at i
	x := 0
	for i := 0; i < len(row); {
		if row[i] == 0x1b {
			end := i + strings.IndexByte(row[i:], 'm') + 1
			if role += row[i:end]; row[i:end] == "\x1b[m" {
				role = ""
			}
			if x < from {
				b.WriteString(row[i:end])
			}
			i = end
			continue
		}
		c, w := ansi.FirstGraphemeCluster(row[i:], t.method)
		if x >= to {
			right = role + row[i:]
			break
		}
		if x += w; x <= from {
			b.WriteString(c)
		} else if x-w < from {
			b.WriteString(blanks[:min(from-(x-w), len(blanks))])
		}
		if i += len(c); x > to {
			right = role + strings.Repeat(" ", x-to) + row[i:]
			break
		}
	}
	if x < from {
		b.WriteString(strings.Repeat(" ", from-x))
	}
	return b.String(), right
}
