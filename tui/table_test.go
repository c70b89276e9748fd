package tui

import (
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A long text in a table is cut into rows that are quick to lay out, between
// characters, and nothing of it is lost.
func TestLongTableRows(t *testing.T) {
	for _, s := range []string{
		"", strings.Repeat("x", format.Chunk), strings.Repeat("x", 1<<20), strings.Repeat("你", 100_000), strings.Repeat("e\u0301\u0302", 10_000),
		strings.Repeat("x", format.Chunk-8) + "你" + strings.Repeat("a\u0301", 3000), "\x1b" + strings.Repeat("\u202e", 3000),
	} {
		var tab table
		tab.add(jsonKey, "name", dim, " = ", jsonString, s)
		var all strings.Builder
		for i := range tab.rows {
			r := &tab.rows[i]
			if len(r.text) > format.Chunk || !format.Clean(r.text) {
				t.Errorf("row %d of %.20q: %d bytes, clean = %v", i, s, len(r.text), format.Clean(r.text))
			}
			end := 0
			for _, p := range r.spans {
				if p.start != end {
					t.Errorf("row %d of %.20q has spans %v", i, s, r.spans)
				}
				end = p.end
			}
			if end != len(r.text) {
				t.Errorf("row %d of %.20q: the spans end at %d of %d", i, s, end, len(r.text))
			}
			all.WriteString(r.text)
		}
		if want := "name = " + format.Sanitize(s); all.String() != want {
			t.Errorf("%.20q: %d bytes are left of %d", s, all.Len(), len(want))
		}
	}
}
