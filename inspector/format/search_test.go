package format

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// all walks through every match in both directions.
func all(s *Search, data []byte, limit int) (forward, back [][2]int) {
	for at := 0; ; {
		h := s.Next(data, at, limit)
		switch {
		case h.Found:
			forward = append(forward, [2]int{h.Start, h.End})
			at = h.Start + 1
		case h.Done:
			for at := len(data); ; {
				h := s.Prev(data, at, limit)
				switch {
				case h.Found:
					back = append([][2]int{{h.Start, h.End}}, back...)
					at = h.Start
				case h.Done:
					return forward, back
				default:
					at = h.Resume
				}
			}
		default:
			at = h.Resume
		}
	}
}

func starts(spans [][2]int, data []byte) string {
	var words []string
	for _, s := range spans {
		words = append(words, string(data[s[0]:s[1]]))
	}
	return strings.Join(words, " ")
}

func TestSearch(t *testing.T) {
	data := []byte("Error: one\nno error here\nERRO\nÉTÉ été\nlast errorerror")
	pattern := func(expr string) *Search {
		s, err := NewPattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, tt := range []struct {
		name string
		s    *Search
		want string
	}{
		{"text", NewSearch("error"), "Error error error error"},
		{"upper case text", NewSearch("ERROR"), "Error error error error"},
		{"not ASCII", NewSearch("été"), "ÉTÉ été"},
		{"nothing", NewSearch("zebra"), ""},
		{"empty", NewSearch(""), ""},
		{"pattern", pattern(`^err\w+`), "Error ERRO"},
		{"end of line", pattern(`here$`), "here"},
		{"word", pattern(`\bone\b`), "one"},
	} {
		for _, limit := range []int{0, 1, 7, 1000} {
			forward, back := all(tt.s, data, limit)
			if got := starts(forward, data); got != tt.want {
				t.Errorf("%s: Next with limit %d found %q, want %q", tt.name, limit, got, tt.want)
			}
			if got := starts(back, data); got != tt.want {
				t.Errorf("%s: Prev with limit %d found %q, want %q", tt.name, limit, got, tt.want)
			}
		}
	}
	if got := starts(NewSearch("r").Spans(nil, data[:5]), data); got != "r r r" {
		t.Errorf("Spans = %q", got)
	}
}

func TestNewPatternErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"a(":     "missing closing ): a(",
		"a*":     "the pattern matches everywhere",
		"":       "the pattern matches everywhere",
		"\x1b[z": "missing closing ]: [z",
	} {
		if _, err := NewPattern(expr); err == nil || err.Error() != want {
			t.Errorf("NewPattern(%q) = %v, want %s", expr, err, want)
		}
	}
}

// TestSearchReadsALimitedPart holds that one call looks at no more than it may.
func TestSearchReadsALimitedPart(t *testing.T) {
	data := append(bytes.Repeat([]byte("x"), 1<<20), "needle"...)
	h := NewSearch("needle").Next(data, 0, 1000)
	if h.Found || h.Done || h.Resume != 1000 {
		t.Errorf("Next = %+v, want to resume at 1000", h)
	}
	h = NewSearch("needle").Prev(data, 1<<20, 1000)
	if h.Found || h.Done || h.Resume != 1<<20-1000 {
		t.Errorf("Prev = %+v, want to resume at %d", h, 1<<20-1000)
	}
}

func FuzzSearch(f *testing.F) {
	f.Add([]byte("Error error"), "ERR", 3)
	f.Add([]byte("aaaa"), "aa", 1)
	f.Fuzz(func(t *testing.T, data []byte, text string, limit int) {
		for i := range len(text) {
			if text[i] >= 0x80 {
				return
			}
		}
		if text == "" || len(data) > 5000 {
			return
		}
		limit = min(max(limit, 1), 10_000)
		re := regexp.MustCompile("(?i)" + regexp.QuoteMeta(text))
		if strings.ContainsAny(text, "kKsS") {
			return // the Kelvin sign and the long s fold to these in a regexp
		}
		var want [][2]int
		for at := 0; at <= len(data); {
			loc := re.FindIndex(data[at:])
			if loc == nil {
				break
			}
			want = append(want, [2]int{at + loc[0], at + loc[1]})
			at += loc[0] + 1
		}
		forward, back := all(NewSearch(text), data, limit)
		if len(forward) != len(want) || len(back) != len(want) {
			t.Fatalf("%q in %q: forward %v, back %v, want %v", text, data, forward, back, want)
		}
		for i := range want {
			if forward[i] != want[i] || back[i] != want[i] {
				t.Fatalf("%q in %q: forward %v, back %v, want %v", text, data, forward, back, want)
			}
		}
	})
}

func BenchmarkSearchNext(b *testing.B) {
	data := bigJSON(5<<20, false)
	pattern, _ := NewPattern(`not[a-z]+here`)
	for name, s := range map[string]*Search{"text": NewSearch("nothing here"), "pattern": pattern} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(256 << 10)
			for b.Loop() {
				s.Next(data, 1<<20, 0)
			}
		})
	}
}
