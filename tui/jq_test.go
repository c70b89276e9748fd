package tui

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestJQ(t *testing.T) {
	for _, tt := range []struct {
		expr, data, want string
		n                int
		err              string
	}{
		{".orders[].name", orders, "\"Ada\"\n\"Grace\"\n\"ada again\"\n", 3, ""},
		{".price", `{"price":1.10}`, "1.10\n", 1, ""},
		{".id", `{"id":12345678901234567890}`, "12345678901234567890\n", 1, ""},
		{".n", "{\"n\":1}\n{\"n\":2}", "1\n2\n", 2, ""},
		{".", "\ufeff[]", "[]\n", 1, ""},
		{"empty", "1", "", 0, ""},
		{"env.HOME, $ENV.HOME", "1", "null\nnull\n", 2, ""},
		{".a[]", `{"a":1}`, "", 0, "cannot iterate over: number (1)"},
		{".a, error(\"no\")", `{"a":1}`, "1\n", 1, "error: no"},
		{"halt", "1", "", 0, ""},
		{".", `{"a":`, "", 0, "the body is not whole JSON"},
		{".[", "1", "", 0, "the expression is not complete"},
		{"nope(1)", "1", "", 0, "function not defined: nope/1"},
		{"splits(1)", `{"a":1}`, "", 0, "match(1; \"g\") cannot be applied to: object ({\"a\":1})"},
	} {
		out, n, cut, err := evaluate(tt.expr, []byte(tt.data))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if string(out) != tt.want || n != tt.n || cut || said != tt.err {
			t.Errorf("%s on %s = %q, %d, %v, %q, want %q, %d and %q", tt.expr, tt.data, out, n, cut, said, tt.want, tt.n, tt.err)
		}
	}
}

// An expression without end is stopped, and one without bounds cut.
func TestJQLimits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := runJQ(ctx, "def f: f; f", []byte("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want an expression without end to be stopped", err)
	}
	if _, n, cut, err := runJQ(t.Context(), "range(infinite)", []byte("1")); n != jqResults || !cut || err != nil {
		t.Errorf("%d results, cut %v, %v, want %d and more to come", n, cut, err, jqResults)
	}
	big := `"` + strings.Repeat("x", 1<<20) + `"`
	if out, _, cut, _ := runJQ(t.Context(), "repeat(.)", []byte(big)); !cut || len(out) > jqOutput || len(out) < 3<<20 {
		t.Errorf("%d bytes, cut %v, want as much as there may be", len(out), cut)
	}
}

// What asks for all the memory there is, or never comes to a place where it could
// be stopped, ends with the process it runs in.
func TestJQHostile(t *testing.T) {
	for _, tt := range []struct {
		expr string
		want error
	}{
		{`"x" * 1e9`, errJQMemory},
		{`[.] | .[500000000] = 1 | length`, errJQMemory},
		{`reduce range(60) as $i ("x"; . + .) | length`, errJQMemory},
		{`reduce range(1e6) as $i (0; [.]) | tojson | length`, errJQDeep},
	} {
		if _, _, _, err := runJQ(t.Context(), tt.expr, []byte("null")); !errors.Is(err, tt.want) && !errors.Is(err, errJQTime) {
			t.Errorf("%s: %v, want %v", tt.expr, err, tt.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, _, _, err := runJQ(ctx, `reduce range(60) as $i (1; [., .]) | . == (.[0] | [., .])`, []byte("null"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a step that has no end to end with its process", err)
	}
}

func TestJQOnTheBodyInFront(t *testing.T) {
	m := detailOf(t, 100, 30, "application/json", orders)
	m.do("j", "j", "=")
	if s := m.shows(); !strings.Contains(s, "jq ") || !strings.Contains(s, ".data.items[]") {
		t.Fatalf("= asks for an expression:\n%s", s)
	}
	m.do(strings.Split(".orders[", "")...)
	if s := m.shows(); !strings.Contains(s, "the expression is not complete") {
		t.Errorf("want to be told while typing:\n%s", s)
	}
	m.typed("]|{name}")
	s := m.shows()
	if !strings.Contains(s, "jq .orders[]|{name}") || !strings.Contains(s, "3 results") || !strings.Contains(s, `"name": "Grace"`) {
		t.Fatalf("want the results in the pager:\n%s", s)
	}
	// An expression is carried on, or corrected: it is there, and is about the body
	// still, not about what came of it.
	m.do("=")
	if got := m.prompt.text(); got != ".orders[]|{name}" {
		t.Errorf("= on results begins with %q, want the expression that made them", got)
	}
	m.typed("|.name")
	if s := m.shows(); !strings.Contains(s, "3 results") || strings.Contains(s, `"name":`) || !strings.Contains(s, `"Grace"`) {
		t.Errorf("want the results of the longer expression:\n%s", s)
	}
	m.do("=", "ctrl+u")
	m.typed(".orders|length")
	if s := m.shows(); !strings.Contains(s, "1 result") || !strings.Contains(s, "3") {
		t.Errorf("want another expression to be about the body:\n%s", s)
	}
	m.do("esc")
	if s := m.shows(); !strings.Contains(s, `"name": "Ada"`) || m.detail.pager().cur.line != 2 || m.focus != inDetail {
		t.Errorf("esc goes back to the body, where one was:\n%s", s)
	}
	m.do("=")
	if got := m.prompt.text(); got != "" {
		t.Errorf("= on the body begins with %q", got)
	}
	m.typed(".total[]")
	if s := m.shows(); !strings.Contains(s, "jq: cannot iterate over: number (3)") {
		t.Errorf("want the mistake in words:\n%s", s)
	}
	m.do("=", "up")
	if got := m.prompt.text(); got != ".total[]" {
		t.Errorf("up brings %q, want what was entered last", got)
	}
}

func TestJQNeedsJSON(t *testing.T) {
	m := detailOf(t, 100, 30, "text/plain", "hello")
	m.do("=")
	if s := m.shows(); m.prompt != nil || !strings.Contains(s, "not JSON") {
		t.Errorf("want to be told:\n%s", s)
	}
}

func BenchmarkJQ(b *testing.B) {
	data := []byte(largeJSON(5 << 20))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, n, _, err := runJQ(b.Context(), "[.rows[] | select(.ok?) | .score] | add", data); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}
