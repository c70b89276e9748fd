package format

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func pretty(t testing.TB, in string) *Document {
	t.Helper()
	d, err := Pretty(context.Background(), []byte(in), nil)
	if err != nil {
		t.Fatalf("Pretty(%.100q): %v", in, err)
	}
	return d
}

// text renders a document without its folds.
func text(d *Document) string {
	var b []byte
	for i := range d.Count() {
		if d.Continued(i) {
			b = append(b, '\\')
		}
		b, _ = d.AppendLine(b, nil, i)
		b = append(b, '\n')
	}
	return string(b)
}

func TestPretty(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"scalar", ` 1.50 `, "1.50\n"},
		{"order and number text", `{"b":1e3,"a":-0.0,"b":12345678901234567890}`, `{
  "b": 1e3,
  "a": -0.0,
  "b": 12345678901234567890
}
`},
		{"nested", "[ {\"a\" :[ ] , \"b\":{}},\n[[true,null]] , \"x\" ]", `[
  {
    "a": [],
    "b": {}
  },
  [
    [
      true,
      null
    ]
  ],
  "x"
]
`},
		{"strings keep their escapes", `["\u0041\n\"\\", "é", ""]`, "[\n  \"\\u0041\\n\\\"\\\\\",\n  \"é\",\n  \"\"\n]\n"},
		{"hostile strings", "[\"\x1b]0;x\x07\u202e\xff\"]", "[\n  \"␛]0;x␇\\u202e\\xff\"\n]\n"},
		{"lines", "{\"a\":1}\n{\"b\":[2]}\n", "{\n  \"a\": 1\n}\n{\n  \"b\": [\n    2\n  ]\n}\n"},
		{"sequence", "\x1e{\"a\":1}\n\x1e[]\n", "{\n  \"a\": 1\n}\n[]\n"},
		{"byte order mark", "\ufeff[1]", "[\n  1\n]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(pretty(t, tt.in)); got != tt.want {
				t.Errorf("Pretty(%q) =\n%s\nwant\n%s", tt.in, got, tt.want)
			}
		})
	}
}

func TestPrettyTruncated(t *testing.T) {
	const whole = `{"id":"evt_1","n":[1,22,{"deep":true}],"s":"long text \" here","x":-1.5e+3}`
	for n := 1; n < len(whole); n++ {
		d, err := Pretty(context.Background(), []byte(whole[:n]), nil)
		if err != nil {
			t.Errorf("Pretty(%q): %v", whole[:n], err)
			continue
		}
		if !d.Truncated() {
			t.Errorf("Pretty(%q).Truncated() = false", whole[:n])
		}
		lines := text(d)
		if !strings.HasSuffix(lines, "… the body is cut here\n") {
			t.Errorf("Pretty(%q) =\n%s, which does not say that it is cut", whole[:n], lines)
		}
		got := strings.NewReplacer(" ", "", "\n", "").Replace(strings.TrimSuffix(lines, "… the body is cut here\n"))
		if want := strings.ReplaceAll(whole[:n], " ", ""); got != want {
			t.Errorf("Pretty(%q) shows %q", whole[:n], got)
		}
	}
	if d := pretty(t, whole); d.Truncated() {
		t.Errorf("Pretty of the whole says it is truncated:\n%s", text(d))
	}
}

func TestPrettyRefuses(t *testing.T) {
	for _, in := range []string{
		"", "  \n", "\ufeff", "hello", "tru3", "{a:1}", "{'a':1}", `{"a" 1}`, `{"a":1,}`, `[1,]`, `[,1]`, `[1 2]`, `{"a":1]`, `[1}`,
		`{"a":1}x`, `12abc`, `01`, `[1.]`, `[1.e2]`, `+1`, `NaN`, `[INFO] started`, `{"a":}`, `]`, `}`, `"a" "b"x`, `1,2`, "12:30 noon",
		`truefalse`, `[nullx]`,
	} {
		if _, err := Pretty(context.Background(), []byte(in), nil); !errors.Is(err, ErrNotJSON) {
			t.Errorf("Pretty(%q) = %v, want ErrNotJSON", in, err)
		}
	}
	if _, err := Pretty(context.Background(), make([]byte, MaxDocument+1), nil); !errors.Is(err, ErrDocument) {
		t.Errorf("Pretty of too much = %v, want ErrDocument", err)
	}
	if _, err := Pretty(context.Background(), bytes.Repeat([]byte("["), 20_000), nil); !errors.Is(err, ErrDocument) {
		t.Errorf("Pretty of too deep = %v, want ErrDocument", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, err := Pretty(ctx, []byte("["+strings.Repeat("1,", 1<<20)+"1]"), func(int) {
		if calls++; calls == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("Pretty with a context that ends = %v after %d calls of progress, want %v after 3", err, calls, context.Canceled)
	}
}

func TestPrettySpans(t *testing.T) {
	d := pretty(t, `{"k":["s",-1,null]}`)
	var got []string
	for i := range d.Count() {
		line, spans := d.AppendLine([]byte("pre"), nil, i)
		for _, s := range spans {
			got = append(got, fmt.Sprintf("%d:%s", s.Role, line[3:][s.Start:s.End]))
		}
	}
	want := fmt.Sprint([]string{"5:{", `1:"k"`, "5::", "5:[", `2:"s"`, "5:,", "3:-1", "5:,", "4:null", "5:]", "5:}"})
	if fmt.Sprint(got) != want {
		t.Errorf("spans = %v\nwant    %v", got, want)
	}
}

func TestPrettyLongTokens(t *testing.T) {
	long := strings.Repeat(`aé\n\\\"漢`, 5_000)
	number := strings.Repeat("7", 10_000)
	gap := strings.Repeat(" ", 50_000)
	in := `{"` + long + `":"` + long + `",` + gap + `"n"` + gap + `:` + gap + number + gap + `,"last":[1]` + gap + `}`
	d := pretty(t, in)
	var all []byte
	roles := map[Role]int{}
	for i := range d.Count() {
		line, spans := d.AppendLine(nil, nil, i)
		if len(line) > 4*Chunk {
			t.Errorf("line %d has %d bytes", i, len(line))
		}
		at := 0
		for _, s := range spans {
			if strings.TrimSpace(string(line[at:s.Start])) != "" || s.End <= s.Start || s.End > len(line) {
				t.Errorf("line %d: span %+v after %d of %q", i, s, at, line)
			}
			at = s.End
			roles[s.Role] += s.End - s.Start
		}
		all = append(all, bytes.TrimSpace(line)...)
	}
	got := strings.ReplaceAll(string(all), ": ", ":")
	if want := strings.ReplaceAll(in, " ", ""); got != want {
		t.Errorf("the lines hold %d bytes, want the %d of the body: %s", len(got), len(want), firstDifference(got, want))
	}
	if roles[Key] != len(long)+2+len(`"n"`)+len(`"last"`) || roles[String] != len(long)+2 || roles[Number] != len(number)+1 {
		t.Errorf("bytes by role = %v", roles)
	}
	last := d.At(strings.Index(in, `[1]`) + 1)
	if got, want := d.Path(last), ".last[0]"; got != want {
		t.Errorf("Path = %q, want %q", got, want)
	}
	if got, want := string(d.Value(1)), `"`+long+`"`; got != want {
		t.Errorf("Value of the long key's line has %d bytes, want %d", len(got), len(want))
	}
}

func firstDifference(a, b string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("at %d %.40q, want %.40q", i, a[i:], b[i:])
		}
	}
	return "one is the beginning of the other"
}

const invoice = `{"id":"evt_1","data":{"object":{"amount":4200,"lines":{"url":"/x","has_more":false,"data":[{"id":1},{"id":2},{"id":3},{"id":4}]},
"odd key":{"":[[7]]}}},"livemode":false}`

func TestDocumentPaths(t *testing.T) {
	d := pretty(t, invoice)
	for _, tt := range []struct{ at, path, value string }{
		{`{"id":"evt`, ".", invoice},
		{`"id":"evt`, ".id", `"evt_1"`},
		{`"amount"`, ".data.object.amount", "4200"},
		{`"has_more"`, ".data.object.lines.has_more", "false"},
		{`{"id":3}`, ".data.object.lines.data[2]", `{"id":3}`},
		{`"id":3`, ".data.object.lines.data[2].id", "3"},
		{`"odd key"`, `.data.object["odd key"]`, `{"":[[7]]}`},
		{`7`, `.data.object["odd key"][""][0][0]`, "7"},
		{`}}},"livemode"`, `.data.object["odd key"]`, `{"":[[7]]}`},
		{`"livemode"`, ".livemode", "false"},
	} {
		i := d.At(strings.Index(invoice, tt.at))
		if got := d.Path(i); got != tt.path {
			t.Errorf("Path at %s = %s, want %s", tt.at, got, tt.path)
		}
		if got := string(d.Value(i)); got != tt.value {
			t.Errorf("Value at %s = %s, want %s", tt.at, got, tt.value)
		}
	}
	if got := pretty(t, `[[1]]`).Path(2); got != ".[0][0]" {
		t.Errorf("Path in a top array = %q", got)
	}
	if got := pretty(t, "{\"\x1b\u202e\":1}").Path(1); got != `.["␛\u202e"]` {
		t.Errorf("Path of a hostile key = %q", got)
	}
}

func TestDocumentFolds(t *testing.T) {
	d := pretty(t, invoice)
	folded := func(i int) string {
		b, spans := d.AppendFolded(nil, nil, i)
		for _, s := range spans {
			if s.Start < 0 || s.End > len(b) || s.Start >= s.End {
				t.Errorf("span %+v of %q", s, b)
			}
		}
		return strings.TrimSpace(string(b))
	}
	at := func(s string) int { return d.At(strings.Index(invoice, s)) }
	for _, tt := range []struct{ at, want string }{
		{`{"id":"evt`, `{ … 3 keys }`},
		{`"lines"`, `"lines": { … 3 keys, 1 array of 4 },`},
		{`"data":[`, `"data": [ … 4 items ]`},
		{`{"id":4}`, `{ … 1 key }`},
		{`"amount"`, `"amount": 4200,`},
	} {
		if got := folded(at(tt.at)); got != tt.want {
			t.Errorf("folded at %s = %s, want %s", tt.at, got, tt.want)
		}
	}
	cut := pretty(t, `{"a":[1,2`)
	b, _ := cut.AppendFolded(nil, nil, 1)
	if got, want := string(b), `  "a": [ … at least 2 items …`; got != want {
		t.Errorf("folded and cut = %q, want %q", got, want)
	}
}

// A view of the first bytes of a body, one of all of it and one of the first bytes
// again have the same folds closed.
func TestFoldsAdopt(t *testing.T) {
	whole := `[{"a":[1,2]},{"b":{"c":3}},{"d":[4,5,6]}]`
	for _, all := range []bool{false, true} {
		f := NewFolds(pretty(t, whole[:20]))
		if all {
			f.CloseAll()
		}
		f.Toggle(1)
		g := NewFolds(pretty(t, whole))
		g.Adopt(f)
		last := g.d.Count() - 2
		g.Toggle(last) // beyond what f has
		want := g.Closed(1)
		if want == all {
			t.Errorf("all %v: the fold of line 1 is closed: %v", all, want)
		}
		h := NewFolds(pretty(t, whole[:20]))
		h.Adopt(g)
		if h.Closed(1) != want || h.Rows() != f.Rows() {
			t.Errorf("all %v: line 1 is closed %v in %d rows, want %v in %d", all, h.Closed(1), h.Rows(), want, f.Rows())
		}
		again := NewFolds(pretty(t, whole))
		if again.Adopt(h); again.Rows() != g.Rows() {
			t.Errorf("all %v: %d rows, want %d", all, again.Rows(), g.Rows())
		}
		h.Toggle(1)
		if g.Closed(1) != want {
			t.Error("a fold of one view moved that of another")
		}
	}
}

// TestFolds drives Folds at random against the obvious way to do it.
func TestFolds(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, in := range []string{invoice, `[[[]]]`, `{"a":{"b":{"c":[1,{"d":2}]}}} [1,[2]] 3`, `{"a":[1,{"b":[2`, `1`} {
		d := pretty(t, in)
		f := NewFolds(d)
		closed := map[int]bool{}
		for range 300 {
			i := random.IntN(d.Count())
			switch random.IntN(8) {
			case 0:
				f.CloseAll()
				clear(closed)
				for k := range d.Count() {
					if _, ok := d.Fold(k); ok && (d.Depth(k) > 0 || d.Values() > 1) {
						closed[k] = true
					}
				}
			case 1:
				f.OpenAll()
				clear(closed)
			case 2:
				row := f.Show(i)
				for p, ok := d.Parent(i); ok; p, ok = d.Parent(p) {
					delete(closed, p)
				}
				if got := f.Line(row); got != i {
					t.Fatalf("Show(%d) = row %d, which shows line %d", i, row, got)
				}
			default:
				if n := f.Toggle(i); f.Closed(n) {
					closed[n] = true
				} else {
					delete(closed, n)
				}
			}

			var want []int
			stands := make([]int, d.Count())
			for k := 0; k < d.Count(); {
				end, ok := d.Fold(k)
				if !ok || !closed[k] {
					end = k
				}
				for h := k; h <= end; h++ {
					stands[h] = len(want)
				}
				want = append(want, k)
				k = end + 1
			}
			if f.Rows() != len(want) {
				t.Fatalf("Rows = %d, want %d with %v closed in %s", f.Rows(), len(want), closed, in)
			}
			for row, line := range want {
				if got := f.Line(row); got != line {
					t.Fatalf("Line(%d) = %d, want %d with %v closed in %s", row, got, line, closed, in)
				}
			}
			for line, row := range stands {
				if got := f.Row(line); got != row {
					t.Fatalf("Row(%d) = %d, want %d with %v closed in %s", line, got, row, closed, in)
				}
			}
		}
	}
}

// FuzzPretty holds Pretty against encoding/json: what that takes, Pretty takes,
// and shows the same tokens; and nothing unsafe comes out of anything.
func FuzzPretty(f *testing.F) {
	for _, s := range []string{invoice, `[1,-2.5e3,"\"",{},[]]`, "{\"a\":1}\n[2]", `{"a":[tru`, "[\"\x1b\xff\"", `"\\\"`, "\x1e1 2"} {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"k` + strings.Repeat("\\\\é", 3000) + `" : ` + strings.Repeat(" ", 6000) + `1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Pretty(context.Background(), data, nil)
		if err != nil {
			if json.Valid(data) && !errors.Is(err, ErrDocument) {
				t.Fatalf("Pretty(%q): %v", data, err)
			}
			return
		}
		if json.Valid(data) && (d.Truncated() || d.Values() != 1) {
			t.Fatalf("Pretty(%q): truncated %v, %d values", data, d.Truncated(), d.Values())
		}
		folds := NewFolds(d)
		folds.CloseAll()
		var shown []byte
		for i := range d.Count() {
			line, spans := d.AppendLine(nil, nil, i)
			checkSafe(t, string(line), "")
			at := 0
			for _, s := range spans {
				if s.Start < at || s.End <= s.Start || s.End > len(line) {
					t.Fatalf("line %q has spans %v", line, spans)
				}
				at = s.End
			}
			if !d.Truncated() || i < d.Count()-1 {
				shown = append(shown, line...)
			}
			checkSafe(t, d.Path(i), "")
			d.Value(i)
			if at := d.At(d.Offset(i)); d.Offset(at) != d.Offset(i) {
				t.Fatalf("At(Offset(%d)) = %d", i, at)
			}
			if line, _ := d.AppendFolded(nil, nil, i); len(line) > 8*Chunk+200 {
				t.Fatalf("line %d has %d bytes", i, len(line))
			}
			folds.Toggle(i)
		}
		drop := strings.NewReplacer(" ", "", "␉", "", "␍", "", "␊", "", "\t", "", "\n", "", "\r", "", "\x1e", "", "\ufeff", "")
		raw := strings.TrimPrefix(string(data), "\ufeff")
		want := drop.Replace(string(AppendSanitized(nil, []byte(drop.Replace(raw)))))
		got := drop.Replace(string(shown))
		if utf8Clean(raw) && got != want {
			t.Fatalf("Pretty(%q) shows %q, want %q", data, got, want)
		}
	})
}

// utf8Clean says that cutting s anywhere does not change how its pieces are
// sanitized.
func utf8Clean(s string) bool {
	for _, r := range s {
		if r >= 0x7f || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
	}
	return true
}

// bigJSON is an array of records of about n bytes.
func bigJSON(n int, indent bool) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"in_%08d","amount_paid":%d,"currency":"eur","customer":{"email":"ada%d@example.com","tags":["a","b",null]},"paid":true,"note":"a line of text that is somewhat longer, as notes are"}`, i, i*42, i)
	}
	b.WriteByte(']')
	if !indent {
		return b.Bytes()
	}
	var out bytes.Buffer
	json.Indent(&out, b.Bytes(), "", "  ")
	return out.Bytes()
}

func BenchmarkPretty(b *testing.B) {
	const size = 5 << 20
	for _, bb := range []struct {
		name string
		data []byte
	}{
		{"5MiB/indented", bigJSON(size*3/5, true)},
		{"5MiB/one line", bigJSON(size, false)},
		{"5MiB/one string", []byte(`{"a":"` + strings.Repeat("x", size) + `"}`)},
		{"5MiB/small numbers", []byte("[" + strings.Repeat("1234,", size/5) + "1]")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.data)))
			b.ReportAllocs()
			var d *Document
			for b.Loop() {
				d, _ = Pretty(context.Background(), bb.data, nil)
			}
			b.ReportMetric(float64(d.Count()), "lines")
		})
	}
}

func BenchmarkDocumentScreen(b *testing.B) {
	d := pretty(b, string(bigJSON(5<<20, false)))
	var line []byte
	var spans []Span
	b.ReportAllocs()
	for b.Loop() {
		for i := range 60 {
			line, spans = d.AppendLine(line[:0], spans[:0], d.Count()/2+i)
		}
	}
}

// What opens shows a list of closed ones, or of numbers.
func BenchmarkFoldsToggle(b *testing.B) {
	for name, in := range map[string]string{
		"objects": `[` + strings.Repeat(`{"id":1,"name":"Ada Lovelace","tags":["a","b"]},`, 5<<20/48) + `{}]`,
		"numbers": `[[` + strings.Repeat(`1234567,`, 5<<20/8) + `1]]`,
	} {
		b.Run(name, func(b *testing.B) {
			f := NewFolds(pretty(b, in))
			f.CloseAll()
			line := 0
			if name == "numbers" {
				line = 1
			}
			for b.Loop() {
				f.Toggle(line)
				f.Toggle(line)
			}
		})
	}
}

func BenchmarkFoldsCloseAll(b *testing.B) {
	f := NewFolds(pretty(b, string(bigJSON(5<<20, false))))
	for b.Loop() {
		f.CloseAll()
	}
}
