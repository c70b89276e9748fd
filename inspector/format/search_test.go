package format

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// all walks through every match, overlapping ones too.
func all(s *Search, data []byte, limit int) (found [][2]int) {
	for at := 0; ; {
		h := s.Next(data, at, limit)
		switch {
		case h.Found:
			found = append(found, [2]int{h.Start, h.End})
			at = h.Start + 1
		case h.Done:
			return found
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
			if got := starts(all(tt.s, data, limit), data); got != tt.want {
				t.Errorf("%s: Next with limit %d found %q, want %q", tt.name, limit, got, tt.want)
			}
		}
		if found, more := tt.s.All(t.Context(), data, 10); starts(found, data) != tt.want || more {
			t.Errorf("%s: All = %q, %v, want %q", tt.name, starts(found, data), more, tt.want)
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
	found, _ := NewSearch("needle").All(t.Context(), data, 5)
	if len(found) != 1 || found[0] != [2]int{1 << 20, 1<<20 + 6} {
		t.Errorf("All = %v, want what lies beyond many of its steps", found)
	}
}

func TestAllStops(t *testing.T) {
	data := bytes.Repeat([]byte("ab"), 1<<20)
	if found, more := NewSearch("b").All(t.Context(), data, 100); len(found) != 100 || !more {
		t.Errorf("All found %d, more %v, want 100 and more", len(found), more)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, _ := NewSearch("b").All(ctx, data, 100); len(found) != 0 {
		t.Errorf("All found %d after its context had ended", len(found))
	}
}

// A body in one letter case only must not make a search with the other one slow:
// the first letter of this one is at every place, in the wrong case.
func BenchmarkSearchOfOneCase(b *testing.B) {
	data := bytes.Repeat([]byte("A"), 5<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		NewSearch("ab").All(b.Context(), data, 100)
	}
}

func BenchmarkSearchAll(b *testing.B) {
	data := bigJSON(5<<20, false)
	pattern, _ := NewPattern(`"[a-z]+":\s*4`)
	for name, s := range map[string]*Search{"text": NewSearch("name"), "pattern": pattern} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				s.All(b.Context(), data, 100_000)
			}
		})
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
		if found := all(NewSearch(text), data, limit); !slices.Equal(found, want) {
			t.Fatalf("%q in %q: found %v, want %v", text, data, found, want)
		}
	})
}
