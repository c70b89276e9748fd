package diff

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// A Rule calls differences noise: those at a path and below it, those in a
// header, or one of the start line.
type Rule struct {
	text   string
	header string // lower case, * for anything
	start  string // a word of the start line, query.* for all parameters
	steps  []ruleStep
}

type ruleStep struct {
	anyDepth bool   // ..
	any      bool   // .* or [*]
	element  bool   // in brackets without quotes
	name     string // a key, an index, or id=42
}

// ParseRule reads a rule: a path such as .items[*].updated_at, where * stands
// for any key or element and .. for any depth (..updated_at), header:NAME,
// where * stands for any text, or what a start line holds: method, path,
// query.NAME, query.*, host, proto, status, reason, error, endedBy. What lies
// below the path is ignored too.
func ParseRule(s string) (Rule, error) {
	r := Rule{text: s}
	if len(s) > 1024 {
		return Rule{}, fmt.Errorf("rule %.20q… is longer than 1024 bytes", s)
	}
	if name, ok := strings.CutPrefix(s, "header:"); ok {
		if name == "" {
			return Rule{}, fmt.Errorf("rule %q names no header, write header:x-request-id", s)
		}
		r.header = strings.ToLower(name)
		return r, nil
	}
	name, isQuery := strings.CutPrefix(s, "query.")
	if isQuery && name != "" || slices.Contains(startWords, s) {
		r.start = s
		return r, nil
	}
	bad := func() (Rule, error) {
		return Rule{}, fmt.Errorf("rule %q is no path, write one such as .items[*].updated_at or header:x-request-id", s)
	}
	if s == "" || s[0] != '.' && s[0] != '[' {
		return bad()
	}
	for i := 0; i < len(s); {
		if s[i] == '[' {
			end := bracketEnd(s, i)
			if s[end-1] != ']' || end-i < 3 {
				return bad()
			}
			inner := s[i+1 : end-1]
			st := ruleStep{element: true, name: inner, any: inner == "*"}
			if inner[0] == '"' {
				key, err := strconv.Unquote(inner)
				if err != nil {
					return bad()
				}
				st = ruleStep{name: key}
			}
			r.steps = append(r.steps, st)
			i = end
			continue
		}
		if s[i] != '.' {
			return bad()
		}
		i++
		switch {
		case i < len(s) && s[i] == '.':
			r.steps = append(r.steps, ruleStep{anyDepth: true})
			if i+1 == len(s) || s[i+1] == '.' {
				return bad()
			}
			if s[i+1] == '[' {
				i++
			}
			continue
		case i < len(s) && s[i] == '[': // .["some key"] and .[0]
			continue
		}
		end := i
		for end < len(s) && s[end] != '.' && s[end] != '[' {
			end++
		}
		if end == i || strings.Contains(s[i:end], "]") {
			return bad()
		}
		r.steps = append(r.steps, ruleStep{name: s[i:end], any: s[i:end] == "*"})
		i = end
	}
	return r, nil
}

// String is the text that ParseRule reads.
func (r Rule) String() string { return r.text }

// startWords are the names of what a start line holds, besides parameters.
var startWords = []string{"method", "path", "query", "host", "proto", "status", "reason", "grpc", "error", "endedBy"}

func (r *Rule) matchStart(name string) bool {
	return r.start != "" && (r.start == name || r.start == "query.*" && strings.HasPrefix(name, "query"))
}

func (r *Rule) matchPath(steps []step) bool {
	return r.header == "" && r.start == "" && matchSteps(r.steps, steps)
}

// matchSteps reports whether the rule covers the path or something above it.
// Two .. in one rule would make this quadratic, more of them worse, so the
// search after .. is greedy: it takes the first place where the rest up to the
// next .. fits.
func matchSteps(rule []ruleStep, path []step) bool {
	for len(rule) > 0 && !rule[0].anyDepth {
		if len(path) == 0 || !rule[0].match(&path[0]) {
			return false
		}
		rule, path = rule[1:], path[1:]
	}
	for len(rule) > 0 {
		rule = rule[1:]
		n := 0
		for n < len(rule) && !rule[n].anyDepth {
			n++
		}
		found := false
		for i := 0; i+n <= len(path) && !found; i++ {
			found = true
			for k := range n {
				found = found && rule[k].match(&path[i+k])
			}
			if found {
				rule, path = rule[n:], path[i+n:]
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func (r *ruleStep) match(s *step) bool {
	if s.key != nil {
		return !r.element && (r.any || r.name == string(s.key))
	}
	return r.any || r.element && (r.name == s.name || r.name == strconv.Itoa(int(s.index)))
}

func (r *Rule) matchHeader(name string) bool {
	return r.header != "" && wildcard(r.header, strings.ToLower(name))
}

func wildcard(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	last := len(parts) - 1
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1:last] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, parts[last])
}

// The built-in rules, by the name they are reported with.
const (
	ruleTime     = "time"
	ruleID       = "random id"
	ruleNumber   = "same number"
	ruleGraphQL  = "GraphQL white space"
	ruleHeader   = "volatile header"
	ruleLength   = "body differs"
	ruleOrder    = "header order"
	ruleProto    = "protocol version"
	ruleReason   = "reason phrase"
	ruleBoundary = "multipart boundary"
)

// volatile decides whether a built-in rule calls a changed scalar noise.
func volatile(key []byte, a, b []byte, ka, kb kind) string {
	if ka == kindNumber && kb == kindNumber && sameNumber(a, b) {
		return ruleNumber
	}
	if key == nil || len(key) > 64 || ka != kb || ka != kindString && ka != kindNumber {
		return ""
	}
	switch {
	case timeKey(string(key)) && timeLike(a) && timeLike(b):
		return ruleTime
	case idKey(string(key)) && alike(string(trimQuotes(a)), string(trimQuotes(b))):
		return ruleID
	case string(key) == "query" && ka == kindString && sameGraphQL(a, b):
		return ruleGraphQL
	}
	return ""
}

func trimQuotes(raw []byte) []byte {
	if len(raw) > 1 && raw[0] == '"' {
		return raw[1 : len(raw)-1]
	}
	return raw
}

// timeKey reports whether the last word of a key speaks of a time: created_at,
// expiresAt, timestamp.
func timeKey(key string) bool {
	switch lastWord(key) {
	case "at", "time", "timestamp", "date", "created", "updated", "expires":
		return true
	}
	return false
}

func lastWord(key string) string {
	start := strings.LastIndexAny(key, "_-.") + 1
	for i := len(key) - 1; i > start; i-- {
		if unicode.IsUpper(rune(key[i])) && unicode.IsLower(rune(key[i-1])) {
			start = i
			break
		}
	}
	return strings.ToLower(key[start:])
}

// pattern is compiled when it is first asked for: most runs of lrok compare
// nothing, and all of them would wait.
func pattern(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

var (
	rfc3339 = pattern(`^"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?([Zz]|[+-]\d\d:?\d\d))?"$`)
	// Seconds, milliseconds, microseconds or nanoseconds since 1970, from 2001
	// to 2096.
	epoch = pattern(`^"?[1-3]\d{9}(\d{3}|\d{6}|\d{9})?(\.\d+)?"?$`)
)

func timeLike(raw []byte) bool {
	return len(raw) <= 48 && (rfc3339().Match(raw) || epoch().Match(raw))
}

func idKey(key string) bool {
	switch strings.ToLower(strings.ReplaceAll(key, "_", "")) {
	case "id", "requestid", "traceid", "nonce":
		return true
	}
	return false
}

var (
	uuid  = pattern(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
	ulid  = pattern(`^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$`)
	hexID = pattern(`^([0-9a-f]{16}|[0-9a-f]{32})$`) // trace and span ids
	// A prefix and a random rest, such as evt_1PqT9xLkdIwHu7ixEPgm4f4p.
	prefixed = pattern(`^[A-Za-z0-9]*[0-9][A-Za-z0-9]*$`)
)

// alike reports whether a and b are random ids of the same make.
func alike(a, b string) bool {
	if len(a) != len(b) || len(a) > 64 {
		return false
	}
	both := func(re func() *regexp.Regexp) bool { return re().MatchString(a) && re().MatchString(b) }
	if both(uuid) || both(ulid) || both(hexID) {
		return true
	}
	i := strings.LastIndexByte(a, '_') + 1
	if i == 0 || i > len(b) || a[:i] != b[:i] {
		return false
	}
	a, b = a[i:], b[i:]
	return both(uuid) || both(ulid) || len(a) >= 14 && both(prefixed)
}

// sameGraphQL compares two query strings without regard to white space. Escapes
// stay as they are, but those of white space.
func sameGraphQL(a, b []byte) bool {
	x, y := string(unquote(nil, trimQuotes(a))), string(unquote(nil, trimQuotes(b)))
	if strings.IndexByte(x, '{') < 0 || strings.IndexByte(x, '"') >= 0 && x != y {
		return false // within a string literal white space counts
	}
	return strings.Join(strings.Fields(x), " ") == strings.Join(strings.Fields(y), " ")
}

// sameNumber reports whether two JSON numbers have the same value, whatever
// their size: 1, 1.0 and 10e-1.
func sameNumber(a, b []byte) bool {
	na, da, ea := normalize(string(a))
	nb, db, eb := normalize(string(b))
	return da == db && (da == "" || na == nb && ea == eb)
}

// normalize splits a number into sign, digits without zeros at either end, and
// the exponent of ten for the digits read as 0.ddd. Exponents beyond int64 are
// clipped, which calls absurd numbers different or keeps them apart by digits.
func normalize(s string) (negative bool, digits string, exp int64) {
	s, negative = strings.CutPrefix(s, "-")
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.ParseInt(s[i+1:], 10, 64)
		if err != nil {
			return negative, s, 0 // compared as text
		}
		exp, s = e, s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	digits = whole + fraction
	trimmed := strings.TrimLeft(digits, "0")
	exp += int64(len(whole)) - int64(len(digits)-len(trimmed))
	return negative, strings.TrimRight(trimmed, "0"), exp
}
