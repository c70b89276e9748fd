package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
)

// A Completion is one way to go on with a query: the bytes from From to To are
// replaced by Text.
type Completion struct {
	Text string
	Help string
	From int
	To   int
}

const maxCompletions = 50

// Complete suggests how to go on at byte offset cursor of q, from the fields of
// the language and from the values in the exchanges seen. The best comes first.
func Complete(q string, cursor int, seen []inspector.Exchange) []Completion {
	cursor = min(max(cursor, 0), len(q))
	from, to := termAt(q, cursor)
	typed := q[from:cursor]
	name, operator := fieldAndOperator(typed)
	f := fieldNamed(name)
	if f == nil || operator == "" {
		if strings.ContainsAny(typed, `"~`) {
			return nil
		}
		return completeField(typed, from, to)
	}
	value := strings.TrimPrefix(typed[len(name)+len(operator):], `"`)
	base := from + len(name) + len(operator)
	if f.kind == kindHeader {
		if header, part, ok := strings.Cut(value, "="); ok {
			return choose(headerValues(seen, f.side, header), part, base+len(header)+1, to, quote)
		}
	}
	if f.kind == kindStatus || f.kind == kindMethod || f.kind == kindIs || f.kind == kindType || f.kind == kindProto || f.kind == kindGRPC {
		// In a list only the last item is completed.
		if i := strings.LastIndexAny(value, ",!"); i >= 0 {
			base += i + 1
			value = value[i+1:]
		}
	}
	return choose(f.values(seen), value, base, to, quote)
}

// termAt finds the term around the cursor, without - and parentheses before it.
func termAt(q string, cursor int) (from, to int) {
	quoted := false
	for i := 0; i < cursor; i++ {
		switch c := q[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (isSpace(c) || c == '(' && from == i || c == '-' && from == i):
			from = i + 1
		}
	}
	from = min(from, cursor)
	to = cursor
	for to < len(q) && !isSpace(q[to]) && q[to] != ')' {
		to++
	}
	return from, to
}

func completeField(typed string, from, to int) []Completion {
	var out []Completion
	typed = strings.ToLower(typed)
	for i := range fields {
		f := &fields[i]
		if strings.HasPrefix(f.name, typed) {
			operator := ":"
			if f.kind == kindDuration || f.kind == kindSize {
				operator = ">"
			} else if f.kind == kindAge {
				operator = "<"
			}
			out = append(out, Completion{Text: f.name + operator, Help: f.help, From: from, To: to})
		}
	}
	return out
}

// A seenValue is a value to suggest, and in how many exchanges it was seen; 0
// for values of the language.
type seenValue struct {
	text string
	n    int
	help string
}

func choose(values []seenValue, typed string, from, to int, write func(string) string) []Completion {
	typed = lower(typed)
	var out []Completion
	for pass := range 2 { // what begins with it, then what contains it
		for _, v := range values {
			_, starts := prefixFold(v.text, typed)
			at, _ := indexFold(v.text, typed)
			if pass == 0 && !starts || pass == 1 && (starts || at < 0) {
				continue
			}
			help := v.help
			switch {
			case v.n == 1:
				help = "seen once"
			case v.n > 1:
				help = fmt.Sprintf("seen %d times", v.n)
			}
			out = append(out, Completion{Text: write(v.text), Help: help, From: from, To: to})
			if len(out) == maxCompletions {
				return out
			}
		}
	}
	return out
}

// values lists what f may be compared with, the most frequent first.
func (f *field) values(seen []inspector.Exchange) []seenValue {
	switch f.kind {
	case kindIs:
		return fixed(flagNames...)
	case kindDuration:
		return fixed("100ms", "500ms", "1s", "5s")
	case kindAge:
		return fixed("1m", "5m", "1h")
	case kindSize:
		return fixed("1k", "10k", "100k", "1m")
	case kindProto:
		return fixed("h1", "h2", "grpc")
	case kindStatus:
		out := count(seen, func(x *inspector.Exchange, add func(string)) {
			if x.Status != 0 {
				add(fmt.Sprint(x.Status))
				add(fmt.Sprintf("%dxx", x.Status/100))
			}
		})
		return append(out, fixed("2xx", "3xx", "4xx", "5xx")...).unique()
	case kindGRPC:
		out := count(seen, func(x *inspector.Exchange, add func(string)) {
			if s, ok := x.GRPC(); ok {
				add(s.Name())
			}
		})
		return append(out, fixed(inspector.GRPCCodes()...)...).unique()
	case kindMethod:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.Method) })
	case kindPath:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(pathOnly(x.Path)) })
	case kindHost:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.Host) })
	case kindEvent:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.Event) })
	case kindTunnel:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.Tunnel) })
	case kindID:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.ID) })
	case kindCode:
		return count(seen, func(x *inspector.Exchange, add func(string)) { add(x.Error) })
	case kindIP:
		return count(seen, func(x *inspector.Exchange, add func(string)) {
			if a := address(x.Remote); a.IsValid() {
				add(a.String())
			}
		})
	case kindType:
		return count(seen, func(x *inspector.Exchange, add func(string)) {
			if f.side != response {
				add(mediaTypeOf(&x.Request))
			}
			if f.side != request {
				add(mediaTypeOf(&x.Response))
			}
		})
	case kindHeader:
		return count(seen, func(x *inspector.Exchange, add func(string)) {
			eachHeader(x, f.side, func(h inspector.Field) { add(strings.ToLower(h.Name)) })
		})
	}
	return nil
}

func headerValues(seen []inspector.Exchange, s side, name string) seenValues {
	return count(seen, func(x *inspector.Exchange, add func(string)) {
		eachHeader(x, s, func(h inspector.Field) {
			if strings.EqualFold(h.Name, name) && len(h.Value) <= 200 {
				add(h.Value)
			}
		})
	})
}

func eachHeader(x *inspector.Exchange, s side, fn func(inspector.Field)) {
	if s != response {
		for _, h := range x.Request.Header {
			fn(h)
		}
	}
	if s != request {
		for _, h := range x.Response.Header {
			fn(h)
		}
	}
}

type seenValues []seenValue

// count collects values, each once for an exchange.
func count(seen []inspector.Exchange, collect func(x *inspector.Exchange, add func(string))) seenValues {
	type tally struct{ n, last int }
	counts := map[string]tally{}
	for i := range seen {
		collect(&seen[i], func(s string) {
			if t := counts[s]; s != "" && (t.n == 0 || t.last != i) {
				counts[s] = tally{t.n + 1, i}
			}
		})
	}
	out := make(seenValues, 0, len(counts))
	for s, t := range counts {
		out = append(out, seenValue{text: s, n: t.n})
	}
	slices.SortFunc(out, func(a, b seenValue) int {
		if a.n != b.n {
			return b.n - a.n
		}
		return strings.Compare(a.text, b.text)
	})
	return out
}

func fixed(texts ...string) seenValues {
	out := make(seenValues, len(texts))
	for i, s := range texts {
		out[i].text = s
	}
	return out
}

func (vs seenValues) unique() seenValues {
	var out seenValues
	for _, v := range vs {
		if !slices.ContainsFunc(out, func(o seenValue) bool { return o.text == v.text }) {
			out = append(out, v)
		}
	}
	return out
}
