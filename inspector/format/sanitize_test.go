package format

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestSanitize(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"/api/v1/users?limit=10&q=%20", "/api/v1/users?limit=10&q=%20"},
		{"Grüße, 世界 😀 — naïve", "Grüße, 世界 😀 — naïve"},
		{"e\u0301 and e\u0301\u0323\u0302", "e\u0301 and e\u0301\u0323\u0302"},
		{"a\x1b[31mb\x1b]0;x\x07", "a␛[31mb␛]0;x␇"},
		{"a\tb\r\nc\x00\x7f", "a␉b␍␊c␀␡"},
		{"c1 \u009b31m \u0085", `c1 \u009b31m \u0085`},
		{"bytes \x9b31m \xff\xc3", `bytes \x9b31m \xff\xc3`},
		{"bidi \u202eevil\u202c \u2066x\u2069 \u200f", `bidi \u202eevil\u202c \u2066x\u2069 \u200f`},
		{"zero\u200bwidth\u200d\ufeff\u2060\u00ad", `zero\u200bwidth\u200d\ufeff\u2060\u00ad`},
		{"lines\u2028and\u2029", `lines\u2028and\u2029`},
		{"tags \U000e0041", `tags \U000e0041`},
		{"selector \u2764\ufe0f", `selector ` + "\u2764" + `\ufe0f`},
		{"\u0301leading", `\u0301leading`},
		{"e" + strings.Repeat("\u0301", 8), "e" + strings.Repeat("\u0301", 6) + `\u0301` + "\u0301"},
		{"मराठी मျှော် ｶﾞ 👍🏽 กำ", "मराठी मျှော် ｶﾞ 👍🏽 กำ"},
		{"\u0cf3 \U0001f3fd", `\u0cf3` + " \U0001f3fd"},
		{"joins \u0d4eక", `joins \u0d4e` + "క"},
		{"surrogate \xed\xa0\x80", `surrogate \xed\xa0\x80`},
		{"overlong \xc0\x9b", `overlong \xc0\x9b`},
		{"noncharacter \ufffe", `noncharacter \ufffe`},
		{"a real \ufffd", "a real \ufffd"},
	} {
		if got := Sanitize(tt.in); got != tt.want {
			t.Errorf("Sanitize(%+q) = %+q, want %+q", tt.in, got, tt.want)
		}
		if got, want := Clean(tt.in), tt.in == tt.want; got != want {
			t.Errorf("Clean(%+q) = %v, want %v", tt.in, got, want)
		}
	}
}

func TestSanitizeLines(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a\tb\nc", "a\tb\nc"},
		{"a\r\nb\rc\r", "a\nb␍c␍"},
		{"a\n\u0301", "a\n" + `\u0301`},
		{"\x1b\n\x1b", "␛\n␛"},
	} {
		if got := SanitizeLines(tt.in); got != tt.want {
			t.Errorf("SanitizeLines(%+q) = %+q, want %+q", tt.in, got, tt.want)
		}
	}
}

func TestASCII(t *testing.T) {
	for in, want := range map[string]string{
		"plain":               "plain",
		Sanitize("a\x1b\x7f"): `a\x1b\x7f`,
		"é 世 😀":               `\u00e9 \u4e16 \U0001f600`,
	} {
		if got := ASCII(in); got != want {
			t.Errorf("ASCII(%q) = %q, want %q", in, got, want)
		}
	}
}

// checkSafe holds s against what a terminal may be sent.
func checkSafe(t *testing.T, s string, allowed string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Fatalf("%q is not UTF-8", s)
	}
	for _, r := range s {
		switch {
		case r < ' ' && !strings.ContainsRune(allowed, r), r >= 0x7f && r <= 0x9f:
			t.Fatalf("control character %U in %+q", r, s)
		case unicode.In(r, unicode.Bidi_Control, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point):
			t.Fatalf("%U in %+q", r, s)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("\x1b]52;c;AAAA\x07\x9b\u009b\u202e\u200b\xff\xc2"))
	f.Add([]byte("e\u0301\u0301\u0301\u0301\u0301\r\n\t\r"))
	f.Fuzz(func(t *testing.T, p []byte) {
		one := string(AppendSanitized(nil, p))
		checkSafe(t, one, "")
		if got := Sanitize(string(p)); got != one {
			t.Fatalf("Sanitize = %q, AppendSanitized = %q", got, one)
		}
		if got := Sanitize(one); got != one {
			t.Fatalf("Sanitize twice = %q, once = %q", got, one)
		}
		if Clean(string(p)) != (one == string(p)) {
			t.Fatalf("Clean(%q) = %v, but Sanitize = %q", p, Clean(string(p)), one)
		}
		checkSafe(t, string(AppendSanitizedLines(nil, p)), "\n\t")
		if got := ansi.Strip(one); got != one {
			t.Fatalf("an escape sequence is left in %q: %q", one, got)
		}
		for _, c := range []byte(ASCII(one)) {
			if c < ' ' || c > '~' {
				t.Fatalf("ASCII(%q) = %q", one, ASCII(one))
			}
		}
	})
}

// Whatever code point it is: the text takes columns of its own, as many beside
// ASCII as alone, in both ways that terminals count.
func TestSanitizedColumnsAddUp(t *testing.T) {
	for r := rune(0x80); r < 0x110000; r++ {
		switch {
		case r == 0x3400, r == 0x4e00, r == 0xac00: // Han and Hangul are all alike
			r += 0x19a0
		case r == 0xe100:
			r = 0xf8f0 // private use
		case r == 0x20000:
			r = 0xe0000
		case r == 0xf0010:
			r = 0x10fff0
		}
		s := Sanitize(string(r))
		for name, m := range map[string]ansi.Method{"code points": ansi.WcWidth, "characters": ansi.GraphemeWidth} {
			w := m.StringWidth(s)
			if w == 0 || m.StringWidth("a"+s) != w+1 || m.StringWidth(s+"a") != w+1 {
				t.Errorf("%U, sanitized %+q, by %s: %d columns alone, %d after a letter, %d before", r, s, name, w, m.StringWidth("a"+s)-1, m.StringWidth(s+"a")-1)
			}
		}
	}
}

var sink []byte

func BenchmarkSanitize(b *testing.B) {
	clean := "/api/v1/users/42/orders?" + strings.Repeat("limit=10&", 20)
	dirty := strings.Replace(clean, "42", "\x1b[31m", 1)
	b.Run("clean", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Sanitize(clean)
		}
	})
	b.Run("dirty", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Sanitize(dirty)
		}
	})
	b.Run("append", func(b *testing.B) {
		p := []byte(clean)
		b.ReportAllocs()
		for b.Loop() {
			sink = AppendSanitized(sink[:0], p)
		}
	})
}
