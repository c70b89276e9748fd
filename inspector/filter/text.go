package filter

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A pattern is a text to find in any case: parts that follow one another with
// anything in between, or a regular expression.
type pattern struct {
	parts []string // lower case; more than one where the query had *
	whole bool     // the parts must cover all of the text
	re    *regexp.Regexp
}

func (p *parser) pattern(v value, whole bool) (pattern, *Error) {
	if v.regexp != "" {
		re, err := p.regexp(v.regexp, v.pos)
		return pattern{re: re}, err
	}
	parts := []string{""}
	for _, pc := range v.pieces {
		if pc.quoted {
			parts[len(parts)-1] += pc.text
			continue
		}
		for i, s := range strings.Split(pc.text, "*") {
			if i > 0 {
				parts = append(parts, "")
			}
			parts[len(parts)-1] += s
		}
	}
	return newPattern(parts, whole), nil
}

func newPattern(parts []string, whole bool) pattern {
	for i := range parts {
		parts[i] = lower(parts[i])
	}
	return pattern{parts: parts, whole: whole}
}

func (p *pattern) match(s string) bool {
	if p.re != nil {
		return p.re.MatchString(s)
	}
	last := len(p.parts) - 1
	if !p.whole {
		for _, part := range p.parts {
			i, n := indexFold(s, part)
			if i < 0 {
				return false
			}
			s = s[i+n:]
		}
		return true
	}
	if last == 0 {
		return equalFold(s, p.parts[0])
	}
	n, ok := prefixFold(s, p.parts[0])
	if !ok {
		return false
	}
	s = s[n:]
	for _, part := range p.parts[1:last] {
		i, n := indexFold(s, part)
		if i < 0 {
			return false
		}
		s = s[i+n:]
	}
	return suffixFold(s, p.parts[last])
}

// maxProgram bounds a regular expression by the instructions it compiles to:
// a match takes time in proportion to them and to the text.
const (
	maxRegexp  = 512
	maxProgram = 1000
)

func (p *parser) regexp(s string, pos int) (*regexp.Regexp, *Error) {
	if p.regexps++; p.regexps > maxRegexps {
		return nil, p.fail(pos, "there are more than %d regular expressions", maxRegexps)
	}
	if len(s) > maxRegexp {
		return nil, p.fail(pos, "the regular expression is longer than %d bytes", maxRegexp)
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return nil, p.fail(pos, "the regular expression does not parse: %s", regexpReason(err))
	}
	if programSize(tree) > maxProgram {
		return nil, p.fail(pos, "the regular expression repeats too much")
	}
	re, err := regexp.Compile("(?i)" + s)
	if err != nil {
		return nil, p.fail(pos, "the regular expression does not parse: %s", regexpReason(err))
	}
	return re, nil
}

func regexpReason(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return e.Code.String()
	}
	return err.Error()
}

func programSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/8
	for _, sub := range re.Sub {
		n += programSize(sub)
		if n > maxProgram {
			return n
		}
	}
	if re.Op == syntax.OpLiteral {
		n += len(re.Rune)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// lower folds s the way the functions below fold what they search. Text that
// is not UTF-8 is folded in its ASCII letters alone: strings.ToLower would
// replace its other bytes.
func lower(s string) string {
	if ascii(s) || utf8.ValidString(s) {
		return strings.ToLower(s)
	}
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// indexFold finds needle, which is in lower case, in s in any case. It returns
// where and how many bytes of s it covers.
func indexFold(s, needle string) (at, n int) {
	if needle == "" {
		return 0, 0
	}
	if !ascii(needle) {
		return indexFoldUnicode(s, needle)
	}
	if len(s) < len(needle) {
		return -1, 0
	}
	// Search the byte of the needle that is least common in text, in both
	// cases, with the fast search for one byte.
	rare := rarest(needle)
	lo, up := needle[rare], needle[rare]
	if isLetter(lo) {
		up = lo &^ 0x20
	}
	end := len(s) - len(needle) + rare + 1
	const never = int(^uint(0) >> 1)
	next := func(c byte, from int) int {
		if from < end {
			if i := strings.IndexByte(s[from:end], c); i >= 0 {
				return from + i
			}
		}
		return never
	}
	l, u := next(lo, rare), never
	if up != lo {
		u = next(up, rare)
	}
	for {
		i := min(l, u)
		if i == never {
			return -1, 0
		}
		if equalASCII(s[i-rare:i-rare+len(needle)], needle) {
			return i - rare, len(needle)
		}
		if i == l {
			l = next(lo, i+1)
		} else {
			u = next(up, i+1)
		}
	}
}

func indexFoldUnicode(s, needle string) (at, n int) {
	for i := 0; i < len(s); {
		if n, ok := prefixFold(s[i:], needle); ok {
			return i, n
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return -1, 0
}

func equalFold(s, lowered string) bool {
	n, ok := prefixFold(s, lowered)
	return ok && n == len(s)
}

// prefixFold reports whether s begins with prefix, which is in lower case, and
// how many bytes of s that covers.
func prefixFold(s, prefix string) (n int, ok bool) {
	i, j := 0, 0
	for j < len(prefix) {
		if i == len(s) {
			return 0, false
		}
		if s[i] < utf8.RuneSelf && prefix[j] < utf8.RuneSelf {
			if lowerByte(s[i]) != prefix[j] {
				return 0, false
			}
			i, j = i+1, j+1
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		want, wide := utf8.DecodeRuneInString(prefix[j:])
		if r == utf8.RuneError && size == 1 || want == utf8.RuneError && wide == 1 {
			if s[i] != prefix[j] {
				return 0, false
			}
			size, wide = 1, 1
		} else if unicode.ToLower(r) != want {
			return 0, false
		}
		i, j = i+size, j+wide
	}
	return i, true
}

func suffixFold(s, suffix string) bool {
	if ascii(suffix) {
		return len(s) >= len(suffix) && equalASCII(s[len(s)-len(suffix):], suffix)
	}
	// Letters can differ in length between cases, so try the last few starts.
	for i := max(0, len(s)-2*len(suffix)); i <= len(s); i++ {
		if equalFold(s[i:], suffix) {
			return true
		}
	}
	return false
}

func equalASCII(s, lowered string) bool {
	for i := range len(s) {
		if lowerByte(s[i]) != lowered[i] {
			return false
		}
	}
	return true
}

// rarest returns the index of the byte that is least common in what passes
// through a tunnel, roughly.
func rarest(s string) int {
	const common = "etaoinsrhldcumfpgwybvkxjqz"
	best, at := -1, 0
	for i := range len(s) {
		rank := 20 // punctuation and digits
		if k := strings.IndexByte(common, s[i]); k >= 0 {
			rank = k
		} else if strings.IndexByte(` "/:,01`, s[i]) >= 0 {
			rank = 2
		}
		if rank > best {
			best, at = rank, i
		}
	}
	return at
}
