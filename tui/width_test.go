package tui

import (
	"strings"
	"testing"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// nasty is what takes another number of columns beside something than alone, and
// what the two ways of counting disagree about.
var nasty = []string{
	"a", "漢", "\u0301", "\u0cf3", "\u093e", "\u0903", "\u302e", "\u20dd", "\u094d", "\u0915", "\u0937", "\u0e33", "\uff9e", "\uff76",
	"\u0d4e", "\U000111c2", "\U0001f1e9", "\U0001f1ea", "\U0001f3fd", "\U0001f44d", "\u2764", "\ufe0f", "\ufe0e", "\u200d", "\u200b",
	"\u1100", "\u1161", "\u11a8", "\uac00", "\ud7fb", "\U00016d63", "\U00016d67", "\u1a55", "\U0001d165", "\U000113d1", "\U000113b8",
	"\U0001f468", "\u0600", "\u17b4", "\u0f39", "\u1039", "\u0000", "\xff", "\x1b", "\u00ad", "\u3164", "\U000e0067", "\U000e0100", "#", "\u20e3",
}

var methods = map[string]ansi.Method{"code points": ansi.WcWidth, "characters": ansi.GraphemeWidth}

// checkLine puts pieces into a row of n columns in every way that rows are made
// in, and holds what the row took for its width against what it is.
func checkLine(t *testing.T, th *theme, n int, pieces ...string) {
	t.Helper()
	for _, roles := range [][2]role{{text, text}, {text, bad}} {
		l := th.line(n)
		for i, s := range pieces {
			l.put(roles[i%2], s)
		}
		if got := th.columns(l.String()); got != l.w || got > n {
			t.Fatalf("%+q put in roles %v is %d columns wide, taken for %d of %d", pieces, roles, got, l.w, n)
		}
		l.rest()
		if got := th.columns(l.String()); got != n {
			t.Fatalf("%+q put in roles %v fills %d columns of %d", pieces, roles, got, n)
		}
	}
	l := th.line(n)
	l.on(true)
	for _, s := range pieces {
		l.cell(text, s, 3)
		l.right(text, s, 2)
	}
	l.rest()
	row := l.String()
	if got := th.columns(row); got != n {
		t.Fatalf("%+q in columns of 3 and 2 fills %d columns of %d: %+q", pieces, got, n, row)
	}
	for from := range n {
		left, right := th.around(row, from, from+2)
		if got := th.columns(left); got != from {
			t.Fatalf("%+q left of column %d is %d wide", row, from, got)
		}
		if got, want := th.columns(right), max(n-from-2, 0); got != want {
			t.Fatalf("%+q right of column %d is %d wide, want %d", row, from+2, got, want)
		}
	}
}

func checkFit(t *testing.T, th *theme, s string) {
	t.Helper()
	for n := range 9 {
		for name, got := range map[string]string{
			"shortPath": th.shortPath(s, n), "shortPeer": th.shortPeer(s, n), "last": th.last(s, n), "cut": th.cut(s, n, "…"),
		} {
			if w := th.width(got); w > n && (n > 0 || name != "shortPath") {
				t.Fatalf("%s(%+q, %d) = %+q, %d columns", name, s, n, got, w)
			}
		}
	}
}

func TestRowsOfNastyText(t *testing.T) {
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			th := newTheme("dark", false, false, nil)
			th.method = method
			for _, a := range nasty {
				checkLine(t, th, 11, a)
				checkLine(t, th, 11, strings.Repeat(a, 20))
				for _, b := range nasty {
					checkLine(t, th, 11, a, b)
					if raceEnabled {
						continue
					}
					checkLine(t, th, 11, a+b, b+a)
					s, _ := th.clean("/" + a + b + "/" + b + a + "?" + a + b + a + b + a + b)
					checkFit(t, th, s)
					for _, c := range nasty {
						l := th.line(5)
						l.put(text, a+b)
						l.put(text, c)
						l.put(dim, a)
						if got := th.columns(l.String()); got != l.w || got > 5 {
							t.Fatalf("%+q, %+q, %+q is %d columns wide, taken for %d", a+b, c, a, got, l.w)
						}
					}
				}
			}
		})
	}
}

// Every mark and every invisible character there is, at the beginning of a row,
// on a letter, between letters of its own kind, and between other text.
func TestRowsOfEveryMark(t *testing.T) {
	step := 1
	if raceEnabled {
		step = 7
	}
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			th := newTheme("dark", false, false, nil)
			th.method = method
			n := 0
			for r := rune(0x80); r <= unicode.MaxRune; r++ {
				if !unicode.In(r, unicode.M, unicode.Cf, unicode.Lm, unicode.Sk, unicode.Regional_Indicator, unicode.Prepended_Concatenation_Mark) && (r < 0x1100 || r >= 0x1200) {
					continue
				}
				if n++; n%step != 0 {
					continue
				}
				s := string(r)
				checkLine(t, th, 11, s, s)
				checkLine(t, th, 11, "a"+s, s+"漢"+s+s)
			}
			if n < 3000 {
				t.Errorf("%d marks, want all", n)
			}
		})
	}
}

// A box over a row leaves blanks of the wide characters that it covers in part.
func TestAroundWideCharacters(t *testing.T) {
	th := newTheme("dark", false, false, nil)
	left, right := th.around("\x1b[1m漢字漢\x1b[m\x1b[2m字\x1b[m", 1, 3)
	if left != "\x1b[1m " || right != "\x1b[1m 漢\x1b[m\x1b[2m字\x1b[m" {
		t.Errorf("around = %q, %q", left, right)
	}
	left, right = th.around("a\x1b[1mb\x1b[m\x1b[2mcd\x1b[m", 6, 8)
	if left != "a\x1b[1mb\x1b[m\x1b[2mcd\x1b[m  " || right != "" {
		t.Errorf("around a box beyond the row = %q, %q", left, right)
	}
}
