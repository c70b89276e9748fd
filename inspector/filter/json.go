package filter

import (
	"regexp"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// A jsonTerm compares what a path finds in a JSON body.
type jsonTerm struct {
	path     string // for gjson
	operator string // "" asks only whether the path exists
	text     string // the right side, in lower case
	literal  bool   // it was bare: true, false, null and numbers mean themselves
	number   float64
	isNumber bool
	re       *regexp.Regexp
}

const maxJSONPath = 256

// parseJSON reads a gjson path, an operator and a value. The path may be
// written as the screen shows it (.items[0].id, .items[id=42].price,
// .items[*].id) or as gjson has it (items.0.id, items.#(id==42).price).
//
// Only what selects is allowed. gjson's modifiers and multipaths transform the
// document, which a filter has no use for and an attacker might.
func parseJSON(p *parser, f *field, v value) (*term, *Error) {
	if err := p.operators(f, v, ":"); err != nil {
		return nil, err
	}
	if v.regexp != "" {
		return nil, p.fail(v.pos, "a path comes first, write %s", f.example)
	}
	if err := p.readsBody(v.pos); err != nil {
		return nil, err
	}
	left, operator, right := v.split("==", "!=", ">=", "<=", ">", "<", "=~", "~", "=")
	switch operator {
	case "=":
		operator = "=="
	case "=~":
		operator = "~"
	}
	t := &term{kind: kindJSON, side: f.side, json: jsonTerm{operator: operator}}
	path, err := p.jsonPath(left)
	if err != nil {
		return nil, err
	}
	t.json.path = path
	t.text = canonical(f.name, ":", value{pieces: forced(left.pieces)})
	if operator == "" {
		return t, nil
	}
	if len(right.pieces) == 0 {
		return nil, p.fail(right.pos, `%s needs a value to compare with, write %s`, f.name, f.example)
	}
	j := &t.json
	if operator == "~" {
		re, err := p.regexp(right.text(), right.pos)
		if err != nil {
			return nil, err
		}
		j.re = re
	} else {
		j.text = lower(right.text())
		j.literal = right.bare()
		if j.literal {
			if n, err := strconv.ParseFloat(j.text, 64); err == nil && validNumber(j.text) {
				j.number, j.isNumber = n, true
			}
		}
	}
	t.text = canonical(t.text, j.operator, value{pieces: forced(right.pieces)})
	return t, nil
}

// forced keeps canonical from dropping quotes: they make a string of 42, and
// one name of "a.b".
func forced(pieces []piece) []piece {
	return append([]piece{{}}, pieces...)
}

func (p *parser) jsonPath(v value) (string, *Error) {
	var b strings.Builder
	inside := 0                 // of parentheses and brackets
	bracket, named := -1, false // where [ began, and whether it holds a quoted key
	segments := 0
	bad := func(pos int, what string) (string, *Error) {
		return "", p.fail(pos, "%s, write a path such as json:.items[0].id", what)
	}
	for i, pc := range v.pieces {
		if pc.quoted {
			switch {
			case bracket >= 0 && b.Len() == bracket: // ["some key"]
				b.WriteString(gjson.Escape(pc.text))
				named = true
			case inside > 0:
				b.Write(gjson.AppendJSONString(nil, pc.text))
			default:
				b.WriteString(gjson.Escape(pc.text))
			}
			continue
		}
		s := pc.text
		if i == 0 {
			s = strings.TrimPrefix(s, ".")
		}
		for k := 0; k < len(s); k++ {
			c := s[k]
			path := b.String()
			start := path == "" || path[len(path)-1] == '.'
			first := start || path[len(path)-1] == '('
			switch {
			case c == '|':
				return bad(pc.pos, "the path has a |")
			case first && (c == '@' || c == '!' || c == '{'):
				return bad(pc.pos, "the path may only select, not transform")
			case c == '.' && inside == 0:
				if start {
					return bad(pc.pos, "the path has an empty step")
				}
				segments++
				b.WriteByte('.')
			case c == '[':
				if inside > 0 {
					return bad(pc.pos, "the path has [ within [ or (")
				}
				if !start {
					b.WriteByte('.')
				}
				inside++
				segments++
				bracket, named = b.Len(), false
			case c == ']':
				if bracket < 0 {
					return bad(pc.pos, "the path has a ] without [")
				}
				inside--
				step := path[bracket:]
				b.Reset()
				b.WriteString(path[:bracket])
				bracket = -1
				switch name, val, equals := strings.Cut(step, "="); {
				case step == "" && !named:
					return bad(pc.pos, "the path has an empty step")
				case step == "*" && !named:
					b.WriteByte('#')
				case equals && !named:
					val = strings.TrimPrefix(val, "=")
					if _, err := strconv.ParseFloat(val, 64); err != nil && !strings.HasPrefix(val, `"`) {
						val = strconv.Quote(val)
					}
					b.WriteString("#(" + name + "==" + val + ")")
				default:
					b.WriteString(step)
				}
			case c == '(':
				inside++
				segments++
				b.WriteByte(c)
			case c == ')':
				inside--
				b.WriteByte(c)
			default:
				b.WriteByte(c)
			}
			if b.Len() > maxJSONPath {
				return bad(pc.pos, "the path is too long")
			}
		}
	}
	path := b.String()
	if strings.HasSuffix(v.text(), "[*]") {
		// gjson would count the elements here.
		if path = strings.TrimSuffix(strings.TrimSuffix(path, "#"), "."); path == "" {
			path = "@this"
		}
	}
	switch {
	case path == "" || strings.HasSuffix(path, "."):
		return bad(v.pos, "the path is empty or ends with a dot")
	case inside != 0:
		return bad(v.pos, "the path has a bracket that is not closed")
	case len(path) > maxJSONPath || segments > 32:
		return bad(v.pos, "the path is too long")
	default:
		return path, nil
	}
}

// match reports whether the value at the path passes. Where the path names
// several values (.items[*].id), one that passes is enough; != means that none
// is equal.
func (j *jsonTerm) match(body string) bool {
	start := strings.TrimLeft(body[:min(len(body), 64)], " \t\r\n\ufeff")
	if start == "" || start[0] != '{' && start[0] != '[' {
		return false
	}
	r := gjson.Get(body, j.path)
	if !r.Exists() {
		return false
	}
	switch j.operator {
	case "":
		return !strings.Contains(j.path, "#") || !r.IsArray() || r.Get("0").Exists()
	case "!=":
		return !j.anyOf(r, "==")
	}
	return j.anyOf(r, j.operator)
}

func (j *jsonTerm) anyOf(r gjson.Result, operator string) bool {
	if !r.IsArray() {
		return j.compare(r, operator)
	}
	found := false
	r.ForEach(func(_, v gjson.Result) bool {
		if v.IsArray() { // .a[*].b[*] gives arrays in an array
			v.ForEach(func(_, v gjson.Result) bool {
				found = j.compare(v, operator)
				return !found
			})
		} else {
			found = j.compare(v, operator)
		}
		return !found
	})
	return found
}

func (j *jsonTerm) compare(r gjson.Result, operator string) bool {
	if operator == "~" {
		return r.Type != gjson.JSON && j.re.MatchString(r.String())
	}
	if operator == "==" {
		switch r.Type {
		case gjson.String:
			return equalFold(r.Str, j.text)
		case gjson.Number:
			// The text first: numbers above 2^53 are equal as floats when they
			// are not.
			return j.literal && (r.Raw == j.text || j.isNumber && len(r.Raw) < 16 && len(j.text) < 16 && r.Num == j.number)
		case gjson.True, gjson.False, gjson.Null:
			return j.literal && r.Raw == j.text
		}
		return false
	}
	var c int
	switch {
	case r.Type == gjson.Number && j.isNumber:
		switch {
		case r.Num < j.number:
			c = -1
		case r.Num > j.number:
			c = 1
		}
	case r.Type == gjson.String && !j.isNumber: // dates, mostly
		c = strings.Compare(lower(r.Str), j.text)
	default:
		return false
	}
	switch operator {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

func validNumber(s string) bool { return gjson.Valid(s) && strings.Trim(s, "+-.0123456789e") == "" }

// view reads b as a string without a copy: a body has up to a mebibyte, a scan
// reads a hundred of them, and nothing writes to a captured body.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
