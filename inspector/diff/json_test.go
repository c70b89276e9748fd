package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// show writes changes in a compact form for tables.
func show(cs []Change) string {
	var b strings.Builder
	for i, c := range cs {
		if i > 0 {
			b.WriteString("; ")
		}
		switch c.Op {
		case Add:
			fmt.Fprintf(&b, "+ %s %s", c.Path, c.B)
		case Remove:
			fmt.Fprintf(&b, "- %s %s", c.Path, c.A)
		case Replace:
			fmt.Fprintf(&b, "~ %s %s %s", c.Path, c.A, c.B)
		case Move:
			fmt.Fprintf(&b, "> %s to %d", c.Path, c.To)
		}
		if c.TypeChange {
			b.WriteString(" (type)")
		}
		if c.Ignored {
			fmt.Fprintf(&b, " (%s)", c.Rule)
		}
		if c.Note != "" {
			fmt.Fprintf(&b, " [%s]", c.Note)
		}
	}
	return b.String()
}

func rules(t testing.TB, texts ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, s := range texts {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		if r.String() != s {
			t.Fatalf("rule %q prints as %q", s, r.String())
		}
		out = append(out, r)
	}
	return out
}

func TestJSON(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"equal", `{"a":1,"b":[1,2]}`, ` { "b" : [1, 2] , "a" : 1 } `, ""},
		{"escapes are no change", `{"\u0061":"\u00e9\ud83d\ude00\/"}`, `{"a":"é😀/"}`, ""},
		{"root scalar", `1`, `2`, "~ . 1 2"},
		{"root type", `{}`, `[]`, "~ . {} [] (type)"},
		{"members", `{"a":1,"b":2,"c":3}`, `{"b":2,"c":4,"d":5}`, "- .a 1; ~ .c 3 4; + .d 5"},
		{"type change is one entry", `{"a":{"x":1,"y":2}}`, `{"a":"x"}`, `~ .a {"x":1,"y":2} "x" (type)`},
		{"null is a type", `{"a":4200}`, `{"a":null}`, "~ .a 4200 null (type)"},
		{
			"odd keys", `{"":1,"a b":1,"1":1,"a\"b":1,"é":1}`, `{"":2,"a b":2,"1":2,"a\"b":2,"é":2}`,
			`~ .[""] 1 2; ~ .["a b"] 1 2; ~ .["1"] 1 2; ~ .["a\"b"] 1 2; ~ .["é"] 1 2`,
		},
		{"repeated keys", `{"a":1,"a":2}`, `{"a":1,"a":3,"a":4}`, "~ .a#2 2 3; + .a#3 4"},
		{"repeated keys swapped", `{"a":1,"a":2}`, `{"a":2,"a":1}`, "~ .a 1 2; ~ .a#2 2 1"},
		{"huge numbers", `{"n":9007199254740992}`, `{"n":9007199254740993}`, "~ .n 9007199254740992 9007199254740993"},
		{
			"numbers written differently", `{"a":1,"b":0,"c":-0,"d":100,"e":1e400,"f":0.1,"g":-1,"h":[7,1.0]}`, `{"a":1.0,"b":0e9,"c":0,"d":1e2,"e":10E399,"f":1e-1,"g":1,"h":[1,8]}`,
			"~ .a 1 1.0 (same number); ~ .b 0 0e9 (same number); ~ .c -0 0 (same number); ~ .d 100 1e2 (same number); " +
				"~ .e 1e400 10E399 (same number); ~ .f 0.1 1e-1 (same number); ~ .g -1 1; - .h[0] 7; ~ .h[1] 1.0 1 (same number); + .h[1] 8",
		},
		{
			"elements by id", `[{"id":1,"v":1},{"id":2,"v":1},{"id":3,"v":1}]`, `[{"id":2,"v":2},{"id":3,"v":1},{"id":4,"v":1}]`,
			`- .[id=1] {"id":1,"v":1}; ~ .[id=2].v 1 2; + .[id=4] {"id":4,"v":1}`,
		},
		{
			"elements by id reordered", `{"i":[{"id":"a","v":1},{"id":"b"},{"id":"c"}]}`, `{"i":[{"id":"c"},{"id":"a","v":2},{"id":"b"}]}`,
			`> .i[id=c] to 0; ~ .i[id=a].v 1 2`,
		},
		{
			"ids need quotes", `[{"id":"42","v":1},{"id":"a b","v":1}]`, `[{"id":"42","v":2},{"id":"a b","v":2}]`,
			`~ .[id="42"].v 1 2; ~ .[id="a b"].v 1 2`,
		},
		{"same id twice is no id", `[{"id":1,"v":1},{"id":1,"v":2}]`, `[{"id":1,"v":1},{"id":1,"v":3}]`, "~ .[1].v 2 3"},
		{
			"second best key", `[{"id":1,"name":"a","v":1},{"id":1,"name":"b","v":1}]`, `[{"id":1,"name":"b","v":2},{"id":1,"name":"a","v":1}]`,
			"~ .[name=b].v 1 2; > .[name=a] to 1",
		},
		{"inserted in front", `[1,2,3]`, `[0,1,2,3]`, "+ .[0] 0"},
		{"removed in the middle", `[1,2,3]`, `[1,3]`, "- .[1] 2"},
		{"scalars", `["a","b","c"]`, `["a","x","c","d"]`, `~ .[1] "b" "x"; + .[3] "d"`},
		{"moved", `[{"a":1},{"b":2},{"c":3}]`, `[{"b":2},{"c":3},{"a":1}]`, "> .[0] to 2"},
		{
			"changed object beside an inserted one", `[{"t":"x","n":1,"o":9}]`, `[{"t":"q","n":7,"o":8},{"t":"x","n":2,"o":9}]`,
			`+ .[0] {"t":"q","n":7,"o":8}; ~ .[0].n 1 2`,
		},
		{"element type", `[1]`, `["1"]`, `~ .[0] 1 "1" (type)`},
		{"nested arrays", `[[1,2],[3,4]]`, `[[1,2],[3,5,4]]`, "+ .[1][1] 5"},
		{"to empty", `{"a":[1,2]}`, `{"a":[]}`, "- .a[0] 1; - .a[1] 2"},
		{"bom and space", "\ufeff{\"a\":1}\n", `{"a":2}`, "~ .a 1 2"},
		{
			"times", `{"created_at":"2026-01-02T03:04:05Z","updatedAt":1763819001,"timestamp":"1763819001.5","date":"2026-01-02","format":1763819001}`,
			`{"created_at":"2026-01-02T03:04:06+01:00","updatedAt":1763819345,"timestamp":"1763819002.5","date":"2026-01-03","format":1763819002}`,
			`~ .created_at "2026-01-02T03:04:05Z" "2026-01-02T03:04:06+01:00" (time); ~ .updatedAt 1763819001 1763819345 (time); ` +
				`~ .timestamp "1763819001.5" "1763819002.5" (time); ~ .date "2026-01-02" "2026-01-03"; ~ .format 1763819001 1763819002`,
		},
		{"a time on one side only", `{"created_at":"2026-01-02T03:04:05Z"}`, `{"created_at":"never"}`, `~ .created_at "2026-01-02T03:04:05Z" "never"`},
		{
			"ids", `{"id":"5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a10","request_id":"01HV0A8F7Q5B7W3KZ1R9X2M4NC","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","nonce":"abc","o":{"id":"evt_1PqT9xLkdIwHu7ix"}}`,
			`{"id":"5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a11","request_id":"01HV0A8F7Q5B7W3KZ1R9X2M4ND","traceId":"4bf92f3577b34da6a3ce929d0e0e4737","nonce":"abd","o":{"id":"evt_1PqT9yLkdIwHu7iy"}}`,
			`~ .id "5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a10" "5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a11" (random id); ` +
				`~ .request_id "01HV0A8F7Q5B7W3KZ1R9X2M4NC" "01HV0A8F7Q5B7W3KZ1R9X2M4ND" (random id); ` +
				`~ .traceId "4bf92f3577b34da6a3ce929d0e0e4736" "4bf92f3577b34da6a3ce929d0e0e4737" (random id); ` +
				`~ .nonce "abc" "abd"; ~ .o.id "evt_1PqT9xLkdIwHu7ix" "evt_1PqT9yLkdIwHu7iy" (random id)`,
		},
		{"a uuid against something else", `{"id":"5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a10"}`, `{"id":"42"}`, `~ .id "5f3c1a52-6f1c-4f29-9b0a-2d7f4f1f7a10" "42"`},
		{
			"graphql", `{"query":"query  Q {\n  me { id }\n}"}`, `{"query":"query Q { me { id } }"}`,
			`~ .query "query  Q {\n  me { id }\n}" "query Q { me { id } }" (GraphQL white space)`,
		},
		{
			"graphql string literals", `{"query":"{ a(s: \"x  y\") }"}`, `{"query":"{ a(s: \"x y\") }"}`,
			`~ .query "{ a(s: \"x  y\") }" "{ a(s: \"x y\") }"`,
		},
	} {
		got, err := JSON([]byte(c.a), []byte(c.b), Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s := show(got); s != c.want {
			t.Errorf("%s:\n got  %s\n want %s", c.name, s, c.want)
		}
		checkApply(t, []byte(c.a), []byte(c.b), got)
	}
}

func TestJSONRules(t *testing.T) {
	a := `{"meta":{"rev":1,"by":"x"},"items":[{"id":1,"updated":"a","p":1},{"id":2,"updated":"b","p":1}],"a.b":1,"created_at":"2026-01-02T03:04:05Z"}`
	b := `{"meta":{"rev":2,"at":"y"},"items":[{"id":1,"updated":"c","p":2},{"id":2,"updated":"d","p":2}],"a.b":2,"created_at":"2026-01-02T03:04:06Z"}`
	for _, c := range []struct {
		rules string
		want  string // the paths that are not ignored
	}{
		{"", `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=1].p .items[id=2].updated .items[id=2].p .["a.b"]`},
		{".meta", `.items[id=1].updated .items[id=1].p .items[id=2].updated .items[id=2].p .["a.b"]`},
		{".meta.*", `.items[id=1].updated .items[id=1].p .items[id=2].updated .items[id=2].p .["a.b"]`},
		{".items[*].updated", `.meta.rev .meta.by .meta.at .items[id=1].p .items[id=2].p .["a.b"]`},
		{".items[0].p", `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=2].updated .items[id=2].p .["a.b"]`},
		{".items[id=2]", `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=1].p .["a.b"]`},
		{"..updated ..rev", `.meta.by .meta.at .items[id=1].p .items[id=2].p .["a.b"]`},
		{`.["a.b"] ..p`, `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=2].updated`},
		{"..[*].p", `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=2].updated .["a.b"]`},
		{"header:meta", `.meta.rev .meta.by .meta.at .items[id=1].updated .items[id=1].p .items[id=2].updated .items[id=2].p .["a.b"]`},
	} {
		got, err := JSON([]byte(a), []byte(b), Options{Ignore: rules(t, strings.Fields(c.rules)...)})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 9 {
			t.Errorf("rules %q: %d changes, want 9: %s", c.rules, len(got), show(got))
		}
		var left []string
		for _, ch := range got {
			if !ch.Ignored {
				left = append(left, ch.Path)
			} else if ch.Rule == "" {
				t.Errorf("rules %q: %s is ignored without a rule", c.rules, ch.Path)
			}
		}
		if s := strings.Join(left, " "); s != c.want {
			t.Errorf("rules %q leave\n     %s\nwant %s", c.rules, s, c.want)
		}
	}
	strict, _ := JSON([]byte(a), []byte(b), Options{Strict: true})
	for _, c := range strict {
		if c.Ignored {
			t.Errorf("strict: %s is ignored by %q", c.Path, c.Rule)
		}
	}
}

func TestParseRuleErrors(t *testing.T) {
	for _, s := range []string{"", "a", "a.b", ".", "..", ".a.", ".a[", ".a[]", `.["a]`, ".a]", ".a...b", "header:", ".a b[0]x"} {
		if r, err := ParseRule(s); err == nil {
			t.Errorf("ParseRule(%q) = %+v, want an error", s, r)
		}
	}
}

// A rule made from the path of a change has to cover it.
func TestGeneralize(t *testing.T) {
	for path, want := range map[string]string{
		".items[id=42].updated_at":      ".items[*].updated_at",
		`.items[name="a]b"].x[3]`:       ".items[*].x[*]",
		`.["a[0]"].b`:                   `.["a[0]"].b`,
		".[0][1]":                       ".[*][*]",
		".":                             ".",
		`.a["x\"]y"][name="\"]"].b#2.c`: `.a["x\"]y"][*].b.c`,
	} {
		if got := Generalize(path); got != want {
			t.Errorf("Generalize(%s) = %s, want %s", path, got, want)
		}
	}
	a := []byte(`{"x":[{"id":"a b","t":[[1]],"k[0]":{"":1}}]}`)
	b := []byte(`{"x":[{"id":"a b","t":[[2]],"k[0]":{"":2}}]}`)
	changes, _ := JSON(a, b, Options{})
	if len(changes) != 2 {
		t.Fatalf("changes = %s, want two", show(changes))
	}
	for _, c := range changes {
		again, _ := JSON(a, b, Options{Ignore: rules(t, Generalize(c.Path))})
		for _, g := range again {
			if g.Ignored != (g.Path == c.Path) {
				t.Errorf("rule %s: %s ignored = %v", Generalize(c.Path), g.Path, g.Ignored)
			}
		}
	}
}

func TestJSONErrors(t *testing.T) {
	deep := strings.Repeat("[", 1100) + strings.Repeat("]", 1100)
	for _, c := range []struct{ in, want string }{
		{"", "the JSON ends early at byte 0"},
		{"{", "a key is missing at byte 1"},
		{"nope", "this is not JSON at byte 0"},
		{`{"a":1} {"a":2}`, "more than one JSON value at byte 8"},
		{`{"a" 1}`, "a colon is missing at byte 5"},
		{"[1 2]", "a comma or ] is missing at byte 3"},
		{"[1,]", "this is not JSON at byte 3"},
		{"[01]", "a comma or ] is missing at byte 2"},
		{"[1.]", "a number is not valid at byte 3"},
		{`["\q"]`, "a string holds an unknown escape at byte 3"},
		{`["\u12"]`, `four hex digits belong after \u at byte 3`},
		{"[\"a\nb\"]", "a string holds a control character at byte 3"},
		{`["abc`, "a string has no end at byte 5"},
		{deep, "JSON nested deeper than 1,000 at byte 1000"},
		{"[" + strings.Repeat("1,", 4<<20), "more than 8 MiB of JSON at byte 8388608"},
	} {
		for _, first := range []bool{true, false} {
			a, b, side := c.in, "1", "a: "
			if !first {
				a, b, side = b, a, "b: "
			}
			_, err := JSON([]byte(a), []byte(b), Options{})
			if err == nil || err.Error() != side+c.want {
				t.Errorf("%.20q: err = %v, want %s%s", c.in, err, side, c.want)
			}
		}
	}
}

// The tokenizer has to accept what encoding/json accepts, and nothing else.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,true,null,"x\u00e9"]}`, `[01]`, `"\ud800"`, "\"\xff\"", `{"a":1,"a":2}`, "-", "1e", `{"":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dc, err := parse(data, Options{})
		if bytes.HasPrefix(data, []byte("\ufeff")) {
			return
		}
		if valid := json.Valid(data); valid != (err == nil) && !strings.Contains(fmt.Sprint(err), "deeper") {
			t.Fatalf("parse(%q): %v, encoding/json says valid: %v", data, err, valid)
		}
		if err != nil {
			return
		}
		if got, want := dc.nodes[0].size, int32(len(dc.nodes)); got != want {
			t.Fatalf("%q: root has %d nodes of %d", data, got, want)
		}
	})
}

func decode(t testing.TB, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %.200q: %v", data, err)
	}
	return v
}

// checkApply holds the one promise of the structural diff, with encoding/json
// as the judge, and with our own eyes for repeated keys, which it cannot see.
func checkApply(t testing.TB, a, b []byte, changes []Change) {
	t.Helper()
	got, err := Apply(a, changes)
	if err != nil {
		t.Fatalf("Apply(%.300s, %s): %v", a, show(changes), err)
	}
	if x, y := decode(t, got), decode(t, b); !reflect.DeepEqual(x, y) {
		t.Fatalf("Apply(%.300s, %s)\n got  %.300s\n want %.300s", a, show(changes), got, b)
	}
	if left, err := JSON(got, b, Options{}); err != nil || len(left) > 0 {
		t.Fatalf("Apply(%.300s, %s) = %.300s still differs from %.300s: %s %v", a, show(changes), got, b, show(left), err)
	}
}

func FuzzApply(f *testing.F) {
	for _, s := range [][2]string{
		{`{"a":1,"b":[1,2,{"id":1}]}`, `{"b":[2,1,{"id":2}],"c":null}`},
		{`[{"id":1,"v":1},{"id":2},{"id":3}]`, `[{"id":3},{"id":1,"v":2},{"id":4},{"id":2}]`},
		{`[{"id":1},{"id":1}]`, `[{"id":1,"x":[]},{"id":1}]`},
		{`{"a":1,"a":2,"":{"~":"/"}}`, `{"a":2,"a":1,"a":3,"":{"~1":"~0"}}`},
		{`["\ud800","\udc00","é",""]`, `["\udc00","\ud800","e\u0301"]`},
		{"[\"\xff\",\"\xfe\",{\"\xff\":1}]", "[\"\\ud8ff\",{\"\xfe\":2,\"\\ud800\":1}]"},
		{`[1,1.0,1e0,-0,0]`, `[1e400,1.0,1,0,-0]`},
		{`[[1,2],[3,4],[5,6],"abcdef"]`, `["abcdef",[5,6],[3,4],[1,2]]`},
		{`{"x":{"y":{"z":[]}}}`, `{"x":{"y":{"z":{}}}}`},
		{`["long string one","long string two"]`, `["long string two","long string one","long string two"]`},
	} {
		f.Add([]byte(s[0]), []byte(s[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		changes, err := JSON(a, b, Options{})
		if err != nil {
			return
		}
		if len(changes) == 0 {
			if x, y := decode(t, a), decode(t, b); !reflect.DeepEqual(x, y) {
				t.Fatalf("no change between %q and %q", a, b)
			}
			return
		}
		checkApply(t, a, b, changes)
		// What the API sends and a client gets back has to do as well.
		sent, err := json.Marshal(changes)
		if err != nil {
			t.Fatalf("marshal changes of %q and %q: %v", a, b, err)
		}
		var back []Change
		if err := json.Unmarshal(sent, &back); err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(a, back); err != nil {
			t.Fatalf("Apply after a round trip as JSON: %v", err)
		}
	})
}

// FuzzApplyChanges gives Apply changes that JSON never made.
func FuzzApplyChanges(f *testing.F) {
	f.Add([]byte(`{"a":[1,2]}`), "/a/0", "move", 1, "null")
	f.Add([]byte(`{"a":[1,2]}`), "/a/7", "add", 0, "1")
	f.Add([]byte(`[1]`), "", "replace", 0, "2")
	f.Fuzz(func(t *testing.T, a []byte, pointer, op string, to int, b string) {
		c := Change{Pointer: pointer, Op: Op(op), To: to, B: json.RawMessage(b)}
		_, _ = Apply(a, []Change{c, c})
	})
}

// grow makes a random document and mutate one that resembles it: real
// differences, which a fuzzer working on bytes rarely finds.
func grow(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case depth > 0 && n < 3:
		o := map[string]any{}
		for range r.IntN(6) {
			o[[]string{"id", "name", "a", "b", "", "x/y", "~", "created_at", "ключ"}[r.IntN(9)]] = grow(r, depth-1)
		}
		return o
	case depth > 0 && n < 7:
		l := make([]any, r.IntN(9))
		records := r.IntN(2) == 0
		for i := range l {
			if records {
				l[i] = map[string]any{"id": r.IntN(12), "v": grow(r, depth-1)}
			} else {
				l[i] = grow(r, depth-1)
			}
		}
		return l
	case n == 7:
		return r.IntN(5)
	case n == 8:
		return []any{nil, true, false, json.Number("1e999"), json.Number("123456789012345678901234567890")}[r.IntN(5)]
	default:
		return []string{"", "a", "long enough to move", "\u2028", "2026-01-02T03:04:05Z"}[r.IntN(5)]
	}
}

func mutate(r *rand.Rand, v any) any {
	if r.IntN(12) == 0 {
		return grow(r, 2)
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if r.IntN(8) > 0 {
				out[k] = mutate(r, x)
			}
		}
		if r.IntN(6) == 0 {
			out["new"] = grow(r, 1)
		}
		return out
	case []any:
		var out []any
		for _, x := range v {
			switch r.IntN(9) {
			case 0:
			case 1:
				out = append(out, grow(r, 1), mutate(r, x))
			default:
				out = append(out, mutate(r, x))
			}
		}
		if r.IntN(3) == 0 {
			r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		}
		if out == nil {
			out = []any{}
		}
		return out
	}
	return v
}

func TestApplyRandomDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 3_000
	if testing.Short() {
		n = 1_000
	}
	for range n {
		x := grow(r, 4)
		a, _ := json.Marshal(x)
		b, _ := json.Marshal(mutate(r, x))
		changes, err := JSON(a, b, Options{})
		if err != nil {
			t.Fatalf("JSON(%s, %s): %v", a, b, err)
		}
		checkApply(t, a, b, changes)
	}
}

// Changes beyond the bounds get coarser, not wrong.
func TestJSONTooManyChanges(t *testing.T) {
	var a, b bytes.Buffer
	a.WriteString(`{"first":1,"list":[`)
	b.WriteString(`{"first":2,"list":[`)
	for i := range maxChanges + 10 {
		if i > 0 {
			a.WriteByte(',')
			b.WriteByte(',')
		}
		fmt.Fprintf(&a, `{"id":%d,"v":1}`, i)
		fmt.Fprintf(&b, `{"id":%d,"v":2}`, i)
	}
	a.WriteString(`]}`)
	b.WriteString(`]}`)
	changes, err := JSON(a.Bytes(), b.Bytes(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[1].Path != ".list" || changes[1].Op != Replace || changes[1].Note == "" {
		t.Fatalf("%d changes, want .first and .list with a note", len(changes))
	}
	checkApply(t, a.Bytes(), b.Bytes(), changes)
}

func TestJSONLongArrays(t *testing.T) {
	list := func(n, add int) []byte {
		var b bytes.Buffer
		b.WriteByte('[')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, i*2+add)
		}
		b.WriteByte(']')
		return b.Bytes()
	}
	a, b := list(2500, 0), list(2600, 1)
	changes, err := JSON(a, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "array of 2,600 elements compared by position"; changes[0].Note != want {
		t.Errorf("note = %q, want %q", changes[0].Note, want)
	}
	checkApply(t, a, b, changes)
}

// Nothing that fits into the bounds may take seconds, however it is made.
func TestJSONHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates hundreds of megabytes")
	}
	fill := func(n int, part func(i int) string) []byte {
		var b bytes.Buffer
		b.WriteByte('[')
		for i := 0; b.Len() < n; i++ {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(part(i))
		}
		b.WriteByte(']')
		return b.Bytes()
	}
	const size = 2 << 20
	numbers := func(i, k int) string {
		var s []string
		for j := range 1999 {
			s = append(s, fmt.Sprint((i*7+j*k)%1000))
		}
		return "[" + strings.Join(s, ",") + "]"
	}
	wide := func(k int) []byte { // a thousand levels down, a wide array
		return []byte(strings.Repeat(`{"some_quite_long_key_name":`, 990) + string(fill(size, func(i int) string { return fmt.Sprint(i * k) })) + strings.Repeat("}", 990))
	}
	for _, c := range []struct {
		name string
		a, b []byte
	}{
		{"many arrays to align", fill(size, func(i int) string { return numbers(i, 3) }), fill(size, func(i int) string { return numbers(i, 5) })},
		{"many objects in gaps", fill(size, func(i int) string { return fmt.Sprintf(`{"a":%d,"b":%d,"c":[%d]}`, i, i, i) }), fill(size, func(i int) string { return fmt.Sprintf(`{"c":[%d],"b":%d,"a":%d}`, i+7, i+7, i+7) })},
		{"all keys differ", []byte("{" + string(fill(size, func(i int) string { return fmt.Sprintf(`"a%d":1`, i) })[1:size]) + `":1}`), []byte(`{"a":1}`)},
		{"deep and wide", wide(1), wide(2)},
		{"repeated keys", []byte(`{"a":0` + strings.Repeat(`,"a":1`, size/6) + `}`), []byte(`{"a":0` + strings.Repeat(`,"a":2`, size/6) + `}`)},
		{"arrays in arrays", []byte("[" + strings.Repeat("[[]],", size/5) + "[]]"), []byte("[" + strings.Repeat("[{}],", size/5) + "[]]")},
	} {
		start := time.Now()
		changes, err := JSON(c.a, c.b, Options{})
		took := time.Since(start)
		if took > 2*time.Minute { // quadratic, it would be hours
			t.Errorf("%s took %v", c.name, took)
		}
		t.Logf("%s: %v, %d changes, %v", c.name, took.Round(time.Millisecond), len(changes), err)
	}
}

func TestJSONCanceled(t *testing.T) {
	done := make(chan struct{})
	close(done)
	big := []byte("[" + strings.Repeat("1,", 200_000) + "1]")
	if _, err := JSON(big, []byte("[2]"), Options{Done: done}); err == nil || !strings.Contains(err.Error(), ErrCanceled.Error()) {
		t.Errorf("err = %v, want %v", err, ErrCanceled)
	}
}

// invoices is a body such as a list endpoint answers with.
func invoices(size int, change func(i int) string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"object":"list","has_more":false,"data":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"in_%08d","object":"invoice","status":%q,"amount_due":%d,"currency":"eur","customer":{"email":"ada%d@example.com","name":"Ada Lovelace"},`+
			`"lines":[{"sku":"A-%d","quantity":1,"price":9.50},{"sku":"B-%d","quantity":2,"price":4.25}],"livemode":false,"created":1763819345}`,
			i, change(i), 4200+i, i, i, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkJSON5MiB(b *testing.B) {
	open := func(int) string { return "open" }
	x := invoices(5<<20, open)
	for _, c := range []struct {
		name string
		y    []byte
	}{
		{"equal", bytes.Clone(x)},
		{"one percent", invoices(5<<20, func(i int) string {
			if i%100 == 0 {
				return "paid"
			}
			return "open"
		})},
		{"every record", invoices(5<<20, func(int) string { return "paid" })},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(x) + len(c.y)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := JSON(x, c.y, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
