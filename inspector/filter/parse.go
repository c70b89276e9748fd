package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of a query. They are far above what a person types.
const (
	maxQuery     = 4096
	maxNesting   = 64
	maxBodyTerms = 16 // each reads up to two bodies of every capture
	maxRegexps   = 16
)

// Parse reads a query. The empty query matches everything. The error is an
// *Error.
func Parse(q string) (*Filter, error) {
	if len(q) > maxQuery {
		return nil, &Error{Pos: maxQuery, Message: fmt.Sprintf("the filter is longer than %d bytes", maxQuery)}
	}
	p := parser{q: q}
	p.space()
	if p.pos == len(q) {
		return &Filter{}, nil
	}
	n, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(q) { // only a parenthesis stops p.or early
		return nil, p.fail(p.pos, "there is no ( for this )")
	}
	return &Filter{root: n}, nil
}

type parser struct {
	q       string
	pos     int
	bodies  int
	regexps int
}

func (p *parser) fail(pos int, format string, args ...any) *Error {
	return &Error{Pos: pos, Message: fmt.Sprintf(format, args...)}
}

// open is fail for a query that ends too early.
func (p *parser) open(pos int, format string, args ...any) *Error {
	e := p.fail(pos, format, args...)
	e.Open = true
	return e
}

func (p *parser) space() {
	for p.pos < len(p.q) && isSpace(p.q[p.pos]) {
		p.pos++
	}
}

// keyword reports whether the next word is the bare word k, and skips it.
func (p *parser) keyword(k string) bool {
	end := p.pos + len(k)
	if end > len(p.q) || !strings.EqualFold(p.q[p.pos:end], k) {
		return false
	}
	if end < len(p.q) && !isSpace(p.q[end]) && p.q[end] != '(' && p.q[end] != ')' {
		return false
	}
	p.pos = end
	p.space()
	return true
}

func (p *parser) or(depth int) (node, *Error) {
	var kids []node
	for {
		n, err := p.and(depth)
		if err != nil {
			return node{}, err
		}
		kids = append(kids, n)
		if !p.keyword("or") {
			return join(opOr, kids), nil
		}
	}
}

func (p *parser) and(depth int) (node, *Error) {
	var kids []node
	for {
		n, err := p.not(depth)
		if err != nil {
			return node{}, err
		}
		kids = append(kids, n)
		p.space()
		if p.keyword("and") {
			continue
		}
		if p.pos == len(p.q) || p.q[p.pos] == ')' || p.peekOr() {
			return join(opAnd, kids), nil
		}
	}
}

func (p *parser) peekOr() bool {
	at := p.pos
	found := p.keyword("or")
	p.pos = at
	return found
}

func (p *parser) not(depth int) (node, *Error) {
	negate := false
	for {
		if p.pos < len(p.q) && p.q[p.pos] == '-' {
			p.pos++
			p.space()
		} else if !p.keyword("not") {
			break
		}
		negate = !negate
	}
	n, err := p.primary(depth)
	if err != nil {
		return node{}, err
	}
	if negate {
		n = not(n)
	}
	return n, nil
}

func (p *parser) primary(depth int) (node, *Error) {
	if p.pos == len(p.q) {
		return node{}, p.open(p.pos, "something to look for is missing at the end")
	}
	at := p.pos
	switch {
	case p.q[at] == ')':
		return node{}, p.fail(at, "something to look for is missing before )")
	case p.q[at] == '(':
		if depth == maxNesting {
			return node{}, p.fail(at, "parentheses are nested deeper than %d", maxNesting)
		}
		p.pos++
		p.space()
		n, err := p.or(depth + 1)
		if err != nil {
			return node{}, err
		}
		if p.pos == len(p.q) {
			return node{}, p.open(at, "there is no ) for this (")
		}
		p.pos++
		p.space()
		return n, nil
	}
	for _, k := range []string{"or", "and"} {
		if p.keyword(k) {
			return node{}, p.fail(at, `"%s" needs something to look for on both sides; put it in quotes to search for the word`, k)
		}
	}
	t, err := p.term()
	if err != nil {
		return node{}, err
	}
	p.space()
	return node{op: opTerm, deep: t.kind == kindBody || t.kind == kindJSON, term: t}, nil
}

// term reads a free word, a ~regular expression~ or field, operator and value.
func (p *parser) term() (*term, *Error) {
	at := p.pos
	name, operator := fieldAndOperator(p.q[at:])
	if operator == "" {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		return p.word(v)
	}
	f := fieldNamed(name)
	if f == nil {
		if operator == "=" || operator == "==" {
			// limit=10 is a piece of a query string, and people search for it.
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			return p.word(v)
		}
		near := nearest(name, fieldNames())
		e := p.fail(at, "there is no field %s", quote(name))
		if near == "" {
			e.Message += `; put the text in quotes to search for it`
		}
		e.Nearest = near
		return nil, e
	}
	p.pos = at + len(name) + len(operator)
	if operator == ":" { // dur:>500ms is dur>500ms
		if o := leadingOperator(p.q[p.pos:]); o != "" && o != ":" && o != "=" && o != "==" {
			operator = o
			p.pos += len(o)
		}
	}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if len(v.pieces) == 0 && v.regexp == "" {
		return nil, p.fail(p.pos, "%s needs a value, such as %s", f.name, f.example)
	}
	v.operator = operator
	return f.parse(p, f, v)
}

// A value is what follows an operator, or a free word: a run of bare and quoted
// pieces, or one regular expression.
type value struct {
	pos      int
	operator string
	pieces   []piece
	regexp   string
}

type piece struct {
	text   string
	quoted bool
	pos    int
}

// text is the value with its quotes resolved.
func (v value) text() string {
	if len(v.pieces) == 1 {
		return v.pieces[0].text
	}
	var b strings.Builder
	for _, pc := range v.pieces {
		b.WriteString(pc.text)
	}
	return b.String()
}

// bare reports whether no part of the value was quoted.
func (v value) bare() bool {
	for _, pc := range v.pieces {
		if pc.quoted {
			return false
		}
	}
	return v.regexp == ""
}

func (p *parser) value() (value, *Error) {
	v := value{pos: p.pos}
	if p.pos < len(p.q) && p.q[p.pos] == '~' {
		return p.regexpValue(v)
	}
	// A parenthesis within a value is part of it as long as it is closed within
	// it: json:.items.#(id==42).x
	parens, start := 0, p.pos
	flush := func() {
		if p.pos > start {
			v.pieces = append(v.pieces, piece{text: p.q[start:p.pos], pos: start})
		}
	}
	for p.pos < len(p.q) {
		c := p.q[p.pos]
		if isSpace(c) && parens == 0 {
			break
		}
		switch c {
		case '(':
			parens++
		case ')':
			if parens == 0 {
				flush()
				return v, nil
			}
			parens--
		case '"':
			flush()
			pc, err := p.quoted()
			if err != nil {
				return v, err
			}
			v.pieces = append(v.pieces, pc)
			start = p.pos
			continue
		}
		p.pos++
	}
	flush()
	if parens > 0 {
		return v, p.open(v.pos, "there is no ) for the ( in this")
	}
	return v, nil
}

func (p *parser) regexpValue(v value) (value, *Error) {
	p.pos++
	var b strings.Builder
	for p.pos < len(p.q) {
		c := p.q[p.pos]
		switch {
		case c == '~':
			p.pos++
			if b.Len() == 0 {
				return v, p.fail(v.pos, "the regular expression between ~ and ~ is empty")
			}
			if p.pos < len(p.q) && !isSpace(p.q[p.pos]) && p.q[p.pos] != ')' {
				return v, p.fail(p.pos, `a space is missing after the regular expression; write \~ for a ~ within it`)
			}
			v.regexp = b.String()
			return v, nil
		case c == '\\' && p.pos+1 < len(p.q):
			if p.q[p.pos+1] != '~' {
				b.WriteByte(c)
			}
			b.WriteByte(p.q[p.pos+1])
			p.pos += 2
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	return v, p.open(v.pos, "the regular expression has no closing ~")
}

func (p *parser) quoted() (piece, *Error) {
	pc := piece{quoted: true, pos: p.pos}
	var b strings.Builder
	for i := p.pos + 1; i < len(p.q); i++ {
		c := p.q[i]
		switch c {
		case '"':
			p.pos = i + 1
			pc.text = b.String()
			return pc, nil
		case '\\':
			if i+1 == len(p.q) {
				continue
			}
			i++
			switch p.q[i] {
			case '"', '\\':
				b.WriteByte(p.q[i])
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '/': // from here on only what JSON and paths on the screen write
				b.WriteByte('/')
			case 'b':
				b.WriteByte('\b')
			case 'f':
				b.WriteByte('\f')
			case 'u':
				r, n := jsonEscape(p.q[i-1:])
				if n == 0 {
					return pc, p.fail(i-1, `four hex digits belong after \u`)
				}
				b.WriteRune(r)
				i += n - 2
			case 'x':
				if i+2 >= len(p.q) || unhex(p.q[i+1]) < 0 || unhex(p.q[i+2]) < 0 {
					return pc, p.fail(i-1, `two hex digits belong after \x`)
				}
				b.WriteByte(byte(unhex(p.q[i+1])<<4 | unhex(p.q[i+2])))
				i += 2
			default:
				return pc, p.fail(i-1, `within quotes there are \" \\ \n \r \t and \xhh; write \\ for a backslash`)
			}
		default:
			b.WriteByte(c)
		}
	}
	return pc, p.open(pc.pos, "the quote has no end")
}

// jsonEscape reads \uXXXX or a pair of them that makes one character, and returns
// its length.
func jsonEscape(s string) (r rune, n int) {
	hex := func(s string) rune {
		if len(s) < 6 || s[:2] != `\u` {
			return -1
		}
		r, err := strconv.ParseUint(s[2:6], 16, 16)
		if err != nil {
			return -1
		}
		return rune(r)
	}
	r = hex(s)
	if r < 0 {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if pair := utf16.DecodeRune(r, hex(s[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

// fieldAndOperator splits the start of a term; operator is "" for a free word.
func fieldAndOperator(s string) (name, operator string) {
	i := 0
	for i < len(s) && (isLetter(s[i]) || i > 0 && (s[i] == '.' || s[i] == '-' || s[i] == '_' || '0' <= s[i] && s[i] <= '9')) {
		i++
	}
	if i == 0 {
		return "", ""
	}
	return s[:i], leadingOperator(s[i:])
}

func leadingOperator(s string) string {
	for _, o := range []string{"!=", ">=", "<=", "==", ":", "=", ">", "<"} {
		if strings.HasPrefix(s, o) {
			return o
		}
	}
	return ""
}

// quote writes s so that Parse reads it as one literal value. What needs no
// quotes gets none.
func quote(s string) string {
	if bareWord(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteByte(s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case n == 1 && (r < ' ' || r == 0x7f || r == utf8.RuneError) || hidden(r):
			for j := i; j < i+n; j++ {
				fmt.Fprintf(&b, `\x%02x`, s[j])
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
	return b.String()
}

// hidden reports runes that would change how a line is shown without being
// seen: C1 controls, zero-width characters and bidirectional controls.
func hidden(r rune) bool {
	return 0x80 <= r && r < 0xa0 || 0x200b <= r && r <= 0x200f || 0x2028 <= r && r <= 0x202e ||
		0x2060 <= r && r <= 0x206f || r == 0xfeff || r == 0xad || r == 0x61c
}

func bareWord(s string) bool {
	if s == "" || s[0] == '-' {
		return false
	}
	for _, k := range []string{"and", "or", "not"} {
		if strings.EqualFold(s, k) {
			return false
		}
	}
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && !strings.ContainsRune("/._-?&%+@#$;", rune(c)) {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool  { return c == ' ' || '\t' <= c && c <= '\r' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// nearest returns the name that s was probably meant to be, or "".
func nearest(s string, names []string) string {
	s = strings.ToLower(s)
	if len(s) > 32 {
		return ""
	}
	best, at := "", 3
	for _, n := range names {
		if len(s) >= 3 && strings.HasPrefix(n, s) {
			return n
		}
		if d := distance(s, n); d < at && d < len(s) {
			best, at = n, d
		}
	}
	return best
}

// distance is the edit distance in which two swapped neighbours count once.
func distance(a, b string) int {
	prev, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			d := row[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, prev[j-1]+1)
			}
			next[j+1] = d
		}
		prev, row, next = row, next, prev
	}
	return row[len(b)]
}
