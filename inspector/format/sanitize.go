package format

import (
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// maxMarks is how many combining marks may follow one character. Vietnamese
// needs two, Hebrew with points and accents three or four, Burmese five; a pile of
// a hundred is an attack on the rows above and below.
const maxMarks = 6

// Sanitize returns s as one line that is safe on a terminal: control characters,
// line ends and tabs included, become visible, and so do bidirectional controls,
// zero-width characters and bytes that are not UTF-8. So do marks without a
// character to stand on, and what would join the character after it: the result
// takes as many columns beside ASCII as alone. A clean s is returned as it is,
// without a copy.
func Sanitize(s string) string {
	if Clean(s) {
		return s
	}
	return string(appendSafe(nil, []byte(s), false))
}

// SanitizeLines is Sanitize for text of many lines: it keeps line feeds, writes
// CR LF as a line feed, and keeps tabs, which the caller expands.
func SanitizeLines(s string) string {
	if Clean(s) {
		return s
	}
	return string(appendSafe(nil, []byte(s), true))
}

// AppendSanitized appends p to dst, made safe as by [Sanitize].
func AppendSanitized(dst, p []byte) []byte { return appendSafe(dst, p, false) }

// AppendSanitizedLines appends p to dst, made safe as by [SanitizeLines].
func AppendSanitizedLines(dst, p []byte) []byte { return appendSafe(dst, p, true) }

// Clean reports whether Sanitize would leave s as it is.
func Clean(s string) bool {
	marks := maxMarks // a mark needs something to stand on
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return false
			}
			marks = 0
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !harmless(r, &marks) {
			return false
		}
		i += n
	}
	return true
}

// ASCII rewrites sanitized text for a terminal that shows ASCII only: the
// control pictures become \x1b and the like, other characters \u escapes.
func ASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			dst := append([]byte(nil), s[:i]...)
			for _, r := range s[i:] {
				switch {
				case r < utf8.RuneSelf:
					dst = append(dst, byte(r))
				case r >= '␀' && r <= '␟':
					dst = appendHexByte(dst, byte(r-'␀'))
				case r == '␡':
					dst = appendHexByte(dst, 0x7f)
				default:
					dst = appendEscape(dst, r)
				}
			}
			return string(dst)
		}
	}
	return s
}

func appendSafe(dst, p []byte, lines bool) []byte {
	marks := maxMarks
	for i := 0; i < len(p); {
		// Runs of printable ASCII are copied at once.
		from := i
		for i < len(p) && p[i] >= ' ' && p[i] < 0x7f {
			i++
		}
		if i > from {
			dst = append(dst, p[from:i]...)
			marks = 0
			if i == len(p) {
				return dst
			}
		}
		c := p[i]
		if c < utf8.RuneSelf {
			switch {
			case lines && (c == '\n' || c == '\t'):
				dst = append(dst, c)
			case lines && c == '\r' && i+1 < len(p) && p[i+1] == '\n':
				dst = append(dst, '\n')
				i++
			case c == 0x7f:
				dst = append(dst, "␡"...)
			default:
				dst = utf8.AppendRune(dst, '␀'+rune(c))
			}
			marks = 0
			if lines && dst[len(dst)-1] == '\n' {
				marks = maxMarks // nothing on the new line for a mark to stand on
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = appendHexByte(dst, c)
			marks = 0
		case harmless(r, &marks):
			dst = append(dst, p[i:i+n]...)
		default:
			dst = appendEscape(dst, r)
			marks = 0
		}
		i += n
	}
	return dst
}

// harmless reports whether r, which is not ASCII, may reach a terminal as it is.
// The count of combining marks since the last full character goes through marks.
func harmless(r rune, marks *int) bool {
	switch {
	case r >= 0xa0 && r < 0x300 && r != 0xad, // Latin
		r >= 0x370 && r < 0x482,    // Greek, Cyrillic
		r >= 0x2010 && r < 0x2028,  // dashes, quotes, the ellipsis
		r >= 0x2100 && r < 0x2c00,  // symbols, boxes, blocks
		r >= 0x30a0 && r < 0x3100,  // Katakana
		r >= 0x3400 && r <= 0x9fff, // Han
		r >= 0xac00 && r <= 0xd7a3: // Hangul
		*marks = 0
		return true
	case r < 0xa0:
		return false // C1
	case invisible(r):
		return false
	}
	switch joins(r) {
	case before:
		*marks++
		return *marks <= maxMarks
	case after:
		return false // a few letters of archaic scripts, which take in what follows
	}
	*marks = 0
	return true
}

// A side is where a character joins its neighbour, whatever that is.
type side uint8

const (
	neither side = iota
	before       // it is a mark on the character before
	after        // it is drawn with the character after
)

// joins asks the tables that rows are measured with. Those of package unicode are
// of another version and know marks that take a column only as marks.
func joins(r rune) side {
	var b [utf8.UTFMax + 2]byte
	text := append(utf8.AppendRune(append(b[:0], 'a'), r), 'a')
	g := displaywidth.BytesGraphemes(text)
	g.Next()
	if len(g.Value()) > 1 {
		return before
	}
	g.Next()
	if len(g.Value()) > utf8.RuneLen(r) {
		return after
	}
	return neither
}

// invisible reports whether r takes no cell of its own, reorders its
// neighbours, or ends a line: what Unicode calls format characters, the default
// ignorable ones among the others, and noncharacters.
func invisible(r rune) bool {
	switch {
	case r == 0x34f, // combining grapheme joiner
		r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, // Hangul fillers
		r >= 0x17b4 && r <= 0x17b5, // Khmer inherent vowels
		r >= 0x180b && r <= 0x180f, // Mongolian selectors
		r >= 0x2028 && r <= 0x2029, // line and paragraph separator
		r >= 0x2060 && r <= 0x206f,
		r >= 0xfe00 && r <= 0xfe0f,   // variation selectors
		r >= 0xfdd0 && r <= 0xfdef,   // noncharacters
		r&0xfffe == 0xfffe,           // the last two of each plane
		r >= 0xfff0 && r <= 0xfff8,   // unassigned, ignorable
		r >= 0xe0000 && r <= 0xe0fff: // tags, variation selectors
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

const hexDigits = "0123456789abcdef"

func appendHexByte(dst []byte, c byte) []byte {
	return append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
}

func appendEscape(dst []byte, r rune) []byte {
	digits := 4
	if r > 0xffff {
		digits = 8
		dst = append(dst, `\U`...)
	} else {
		dst = append(dst, `\u`...)
	}
	var b [8]byte
	hex := strconv.AppendInt(b[:0], int64(r), 16)
	for range digits - len(hex) {
		dst = append(dst, '0')
	}
	return append(dst, hex...)
}
