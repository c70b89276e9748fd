package diff

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
)

func showLines(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		text := l.Text
		for i := len(l.Spans) - 1; i >= 0; i-- {
			s := l.Spans[i]
			text = text[:s.Start] + "<" + text[s.Start:s.End] + ">" + text[s.End:]
		}
		fmt.Fprintf(&b, "%s%s", l.Op.sign(), text)
		if l.NoEnd {
			b.WriteString("$")
		}
		b.WriteByte('|')
	}
	return b.String()
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"empty", "", "", ""},
		{"equal", "a\nb\n", "a\nb\n", " a| b|"},
		{"from nothing", "", "a\n", "+a|"},
		{"to nothing", "a\n", "", "-a|"},
		{"changed word", "the quick fox\nend\n", "the slow fox\nend\n", "-the <quick> fox|+the <slow> fox| end|"},
		{"added word", "price 4\n", "price now 4\n", "-price 4|+price< now> 4|"},
		{"nothing in common", "abc\n", "xyz\n", "-<abc>|+<xyz>|"},
		{"inserted", "a\nb\n", "a\nx\nb\n", " a|+x| b|"},
		{"missing line end", "a\nb\n", "a\nb", " a|-b|+b$|"},
		{"CR LF", "a\r\n", "a\n", "-a<\r>|+a|"},
		{"two runs", "1\nx=1\n2\ny=1\n3\n", "1\nx=2\n2\ny=2\n3\n", " 1|-x=<1>|+x=<2>| 2|-y=<1>|+y=<2>| 3|"},
		{"moved line", "a\nb\nc\n", "b\nc\na\n", "-a| b| c|+a|"},
		{"unicode", "größer ist ü\n", "größer ist é\n", "-größer ist <ü>|+größer ist <é>|"},
		{"common bytes of different letters", "é\n", "è\n", "-<é>|+<è>|"},
	} {
		if got := showLines(Text(c.a, c.b)); got != c.want {
			t.Errorf("%s:\n got  %q\n want %q", c.name, got, c.want)
		}
	}
}

// checkText puts both texts together again from the lines.
func checkText(t testing.TB, a, b string, lines []Line) {
	t.Helper()
	var x, y strings.Builder
	na, nb := 0, 0
	for _, l := range lines {
		text := l.Text
		if !l.NoEnd {
			text += "\n"
		}
		if l.Op != Add {
			x.WriteString(text)
			if na++; l.A != na {
				t.Fatalf("line %q has number %d in A, want %d", l.Text, l.A, na)
			}
		}
		if l.Op != Remove {
			y.WriteString(text)
			if nb++; l.B != nb {
				t.Fatalf("line %q has number %d in B, want %d", l.Text, l.B, nb)
			}
		}
		last := 0
		for _, s := range l.Spans {
			if s.Start < last || s.End <= s.Start || s.End > len(l.Text) {
				t.Fatalf("span %v in %q", s, l.Text)
			}
			if utf8.ValidString(l.Text) && (!startsRune(l.Text, s.Start) || !startsRune(l.Text, s.End)) {
				t.Fatalf("span %v cuts a character of %q", s, l.Text)
			}
			last = s.End
		}
	}
	if x.String() != a || y.String() != b {
		t.Fatalf("lines of %.200q and %.200q give %.200q and %.200q", a, b, x.String(), y.String())
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\nb\nc", "a\nx\nc\n")
	f.Add("", "\n\n")
	f.Add("é\r\nb a c\n", "è\nb b c\n")
	f.Add("\xff\xfe\n", "\xff\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		checkText(t, a, b, Text(a, b))
		Words(a, b)
	})
}

func TestTextFindsFewChangesInMany(t *testing.T) {
	var a, b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&a, "line %d\n}\n", i)
		if i%10 == 3 {
			fmt.Fprintf(&b, "line %d changed\n}\n", i)
		} else {
			fmt.Fprintf(&b, "line %d\n}\n", i)
		}
	}
	lines := Text(a.String(), b.String())
	checkText(t, a.String(), b.String(), lines)
	var c Counts
	for _, l := range lines {
		c.count(l.Op, false)
	}
	if c.Added != 500 || c.Removed != 500 {
		t.Errorf("%d added and %d removed lines, want 500 of each", c.Added, c.Removed)
	}
}

func TestTextHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("compares megabytes")
	}
	random := func(seed uint64, n, wide int) string {
		r := rand.New(rand.NewPCG(seed, 1))
		var b strings.Builder
		for b.Len() < n {
			b.WriteByte("ab \n"[r.IntN(wide)])
		}
		return b.String()
	}
	const size = 4 << 20
	for _, c := range []struct{ name, a, b string }{
		{"short lines of two letters", random(1, size, 4), random(2, size, 4)},
		{"one long line", random(1, size, 3), random(2, size, 3)},
		{"line ends", strings.Repeat("\n", size), strings.Repeat("\n", size-7) + "x"},
		{"all lines differ", strings.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", size/34), strings.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n", size/34)},
	} {
		start := time.Now()
		lines := Text(c.a, c.b)
		took := time.Since(start)
		checkText(t, c.a, c.b, lines)
		t.Logf("%s: %v, %d lines", c.name, took.Round(time.Millisecond), len(lines))
		if took > 30*time.Second {
			t.Errorf("%s took %v", c.name, took)
		}
	}
}

func fields(lines ...string) []inspector.Field {
	var out []inspector.Field
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		out = append(out, inspector.Field{Name: name, Value: value})
	}
	return out
}

func showHeaders(cs []HeaderChange) string {
	var parts []string
	for _, c := range cs {
		s := c.Op.sign() + " " + c.Name
		switch c.Op {
		case Add:
			s += " " + c.B
		case Remove:
			s += " " + c.A
		case Move:
			s += fmt.Sprintf(" %d to %d", c.From, c.To)
		default:
			s += " " + c.A + " | " + c.B
		}
		if c.Ignored {
			s += " (" + c.Rule + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b []inspector.Field
		o    Options
		want string
	}{
		{"case of names", fields("Content-Type: a"), fields("content-type: a"), Options{}, ""},
		{"changed", fields("X-A: 1"), fields("x-a: 2"), Options{}, "~ x-a 1 | 2"},
		{"added and removed", fields("A: 1", "B: 2"), fields("B: 2", "C: 3"), Options{}, "- A 1; + C 3"},
		{
			"multiset", fields("Set-Cookie: a", "Set-Cookie: b"), fields("Set-Cookie: b", "Set-Cookie: c"),
			Options{},
			"~ Set-Cookie a | c",
		},
		{"one more of the same", fields("Via: x"), fields("Via: x", "Via: x"), Options{}, "+ Via x"},
		{"order of names means nothing", fields("A: 1", "B: 2", "C: 3"), fields("C: 3", "A: 1", "B: 2"), Options{}, "> C 3 to 1 (header order)"},
		{"order within a name does", fields("Via: 1", "Via: 2"), fields("Via: 2", "Via: 1"), Options{}, "> Via 1 to 2"},
		{
			"volatile", fields("Date: x", "Age: 1", "Stripe-Signature: t=1", "CF-Ray: 1", "X-Other: 1"),
			fields("Date: y", "Age: 2", "Stripe-Signature: t=2", "CF-Ray: 2", "X-Other: 2"),
			Options{},
			"~ Date x | y (volatile header); ~ Age 1 | 2 (volatile header); ~ Stripe-Signature t=1 | t=2 (volatile header); " +
				"~ CF-Ray 1 | 2 (volatile header); ~ X-Other 1 | 2",
		},
		{"a volatile header that is new", nil, fields("X-Request-Id: 1"), Options{}, "+ X-Request-Id 1"},
		{"length without body change", fields("Content-Length: 1"), fields("Content-Length: 2"), Options{}, "~ Content-Length 1 | 2"},
		{"length with body change", fields("Content-Length: 1"), fields("Content-Length: 2"), Options{BodyDiffers: true}, "~ Content-Length 1 | 2 (body differs)"},
		{
			"boundary", fields("Content-Type: multipart/form-data; boundary=a"), fields("Content-Type: multipart/form-data; boundary=b"),
			Options{},
			"~ Content-Type multipart/form-data; boundary=a | multipart/form-data; boundary=b (multipart boundary)",
		},
		{"strict", fields("Date: x", "A: 1"), fields("A: 1", "Date: y"), Options{Strict: true}, "~ Date x | y; > Date 1 to 2"},
		{
			"user rule", fields("X-A: 1", "X-B: 1"), fields("X-A: 2"),
			Options{Ignore: rules(t, "header:x-*")},
			"~ X-A 1 | 2 (header:x-*); - X-B 1 (header:x-*)",
		},
	} {
		if got := showHeaders(Headers(c.a, c.b, c.o)); got != c.want {
			t.Errorf("%s:\n got  %s\n want %s", c.name, got, c.want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("A: 1\nB: 2\na: 3", "a: 3\nA: 1\nC: 1")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := fields(strings.Split(a, "\n")...), fields(strings.Split(b, "\n")...)
		changes := Headers(x, y, Options{Strict: true})
		if same := Headers(x, x, Options{Strict: true}); len(same) > 0 {
			t.Fatalf("%q differs from itself: %s", a, showHeaders(same))
		}
		// No change means the same lines in the same order.
		if len(changes) > 0 {
			return
		}
		if len(x) != len(y) {
			t.Fatalf("%q and %q: no change", a, b)
		}
		for i := range x {
			if !strings.EqualFold(x[i].Name, y[i].Name) || x[i].Value != y[i].Value {
				t.Fatalf("%q and %q: no change", a, b)
			}
		}
	})
}

func body(data string) inspector.Body {
	sum := sha256.Sum256([]byte(data))
	return inspector.Body{Size: int64(len(data)), Captured: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Data: []byte(data)}
}

func message(contentType, data string, more ...string) inspector.Message {
	return inspector.Message{Header: fields(append([]string{"Content-Type: " + contentType}, more...)...), Body: body(data)}
}

// stripe is an event such as a payment provider posts.
func stripe(id string, created int, status, amount, extra string) string {
	return fmt.Sprintf(`{
  "id": %q,
  "object": "event",
  "created": %d,
  "type": "invoice.paid",
  "data": {
    "object": {
      "id": "in_1PqT9wLkdIwHu7ix",
      "amount_paid": %s,
      "currency": "eur",
      "status": %q%s,
      "lines": {"data": [
        {"id": "il_1", "amount": 3000, "description": "Seats"},
        {"id": "il_2", "amount": 1200, "description": "Storage"}
      ]},
      "customer_email": "ada@example.com"
    }
  },
  "livemode": false
}`, id, created, amount, status, extra)
}

func delivery(number uint64, body string, status int, answer string) *inspector.Exchange {
	x := &inspector.Exchange{
		ID: fmt.Sprintf("req_%d", number), Number: number, State: inspector.Done,
		Method: "POST", Path: "/webhooks/stripe?v=2", Host: "acme.lrok.example", Proto: "HTTP/1.1", Status: status,
		Request: message("application/json", body, "Host: acme.lrok.example", fmt.Sprintf("Stripe-Signature: t=%d,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd", number),
			fmt.Sprintf("Content-Length: %d", len(body)), "Authorization: Bearer sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
		Response: message("text/plain", answer, fmt.Sprintf("Date: %d", number)),
	}
	x.Timing.Done = 38 * time.Millisecond
	return x
}

func TestExchanges(t *testing.T) {
	a := delivery(1265, stripe("evt_1PqT9xLkdIwHu7ix", 1763819001, "paid", "4200", `, "charge": "ch_3Pq"`), 200, "OK\n")
	b := delivery(1279, stripe("evt_1PqTAyLkdIwHu7iy", 1763819345, "open", "null", `, "attempt_count": 2`), 500, "no such\ncharge\n")
	b.ReplayOf = a.ID
	b.Request.Header = append(b.Request.Header, inspector.Field{Name: "X-Request-Id", Value: "7c1e"})
	r := Exchanges(a, b, Both, Options{})

	if got, want := show(r.Request.Body.Changes), strings.Join([]string{
		`~ .id "evt_1PqT9xLkdIwHu7ix" "evt_1PqTAyLkdIwHu7iy" (random id)`,
		`~ .created 1763819001 1763819345 (time)`,
		`~ .data.object.amount_paid 4200 null (type)`,
		`~ .data.object.status "paid" "open"`,
		`- .data.object.charge "ch_3Pq"`,
		`+ .data.object.attempt_count 2`,
	}, "; "); got != want {
		t.Errorf("request body:\n got  %s\n want %s", got, want)
	}
	if got, want := r.Request.Body.Counts, (Counts{Added: 1, Removed: 1, Changed: 2, Ignored: 2, Equal: 12}); got != want {
		t.Errorf("request body counts = %+v, want %+v", got, want)
	}
	if got, want := r.Request.HeaderCounts, (Counts{Added: 1, Ignored: 1, Equal: 4}); got != want {
		t.Errorf("request header counts = %+v, want %+v: %s", got, want, showHeaders(r.Request.Headers))
	}
	if got, want := show(r.Response.Start), "~ status 200 500"; got != want {
		t.Errorf("response start = %s, want %s", got, want)
	}
	if got, want := showLines(r.Response.Body.Lines), "-<OK>|+<no such>|+charge|"; got != want {
		t.Errorf("response body = %s, want %s", got, want)
	}
	if r.Equal() {
		t.Error("Equal() = true")
	}
	if got, want := r.Summary(), "request headers +1, body ~2 +1 -1, response status 200 -> 500, body +2 -1 lines, 4 ignored"; got != want {
		t.Errorf("Summary() = %q, want %q", got, want)
	}
	if got, want := Exchanges(a, b, Response, Options{}).Summary(), "status 200 -> 500, body +2 -1 lines, 1 ignored"; got != want {
		t.Errorf("Summary() of the responses = %q, want %q", got, want)
	}
	if r := Exchanges(a, b, Response, Options{}); r.Request != nil || r.Response == nil {
		t.Errorf("side response: request %v, response %v", r.Request, r.Response)
	}

	var out strings.Builder
	if err := WriteText(&out, r); err != nil {
		t.Fatal(err)
	}
	want := `A  #1265 POST /webhooks/stripe?v=2  200  38ms
B  #1279 POST /webhooks/stripe?v=2  500  38ms (replay)

request  3 equal
headers  +1, 4 equal, 1 ignored
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("text:\n%s\nwant it to begin with\n%s", out.String(), want)
	}
	for _, line := range []string{
		"  + X-Request-Id: 7c1e\n",
		"body  json  ~2 +1 -1, 12 values equal, 2 ignored\n",
		"  ~ .data.object.status  \"paid\" -> \"open\"\n",
		"  ~ .created  1763819001 -> 1763819345  (ignored: time)\n",
		"  ~ status  200 -> 500\n",
		"body  text  +2 -1\n  @@ A 1, B 1\n  - OK\n  + no such\n  + charge\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("text:\n%s\nwant %q in it", out.String(), line)
		}
	}
	if strings.Contains(out.String(), "5257a869e7ecebed") {
		t.Errorf("text shows a signature:\n%s", out.String())
	}

	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Summary() != r.Summary() {
		t.Errorf("Summary() after JSON = %q, want %q", back.Summary(), r.Summary())
	}
}

func TestExchangesEqual(t *testing.T) {
	a := delivery(1, stripe("evt_1PqT9xLkdIwHu7ix", 1763819001, "paid", "4200", ""), 200, "OK\n")
	b := delivery(2, stripe("evt_1PqTAyLkdIwHu7iy", 1763819345, "paid", "4200", ""), 200, "OK\n")
	r := Exchanges(a, b, Both, Options{})
	if !r.Equal() || r.Summary() != "equal, 4 ignored" {
		t.Errorf("Equal() = %v, Summary() = %q, want true, equal, 4 ignored", r.Equal(), r.Summary())
	}
	if r := Exchanges(a, a, Both, Options{Strict: true}); !r.Equal() || r.Summary() != "equal" {
		t.Errorf("against itself: Equal() = %v, Summary() = %q", r.Equal(), r.Summary())
	}
	if r := Exchanges(a, b, Both, Options{Strict: true}); r.Equal() || r.Ignored() > 0 {
		t.Errorf("strict: Equal() = %v, Ignored() = %d", r.Equal(), r.Ignored())
	}
}

func TestStartLine(t *testing.T) {
	base := inspector.Exchange{Method: "GET", Path: "/a?x=1&y=2&y=3", Host: "h", Proto: "HTTP/1.1", Status: 200, Reason: "OK"}
	for _, c := range []struct {
		name     string
		change   func(x *inspector.Exchange)
		request  string
		response string
	}{
		{"nothing", func(*inspector.Exchange) {}, "", ""},
		{"method", func(x *inspector.Exchange) { x.Method = "PUT" }, `~ method "GET" "PUT"`, ""},
		{"path", func(x *inspector.Exchange) { x.Path = "/b?x=1&y=2&y=3" }, `~ path "/a" "/b"`, ""},
		{"query", func(x *inspector.Exchange) { x.Path = "/a?x=%32&y=2&z=1" }, `~ query.x "1" "2"; - query.y#2 "3"; + query.z "1"`, ""},
		{"query order", func(x *inspector.Exchange) { x.Path = "/a?y=2&x=%31&y=3" }, `~ query "x=1&y=2&y=3" "y=2&x=%31&y=3" (query written differently)`, ""},
		{"host", func(x *inspector.Exchange) { x.Host = "i" }, `~ host "h" "i"`, ""},
		{"proto", func(x *inspector.Exchange) { x.Proto = "HTTP/2.0" }, `~ proto "HTTP/1.1" "HTTP/2.0" (protocol version)`, ""},
		{"status", func(x *inspector.Exchange) { x.Status = 404; x.Reason = "Not Found" }, "", "~ status 200 404"},
		{"no answer", func(x *inspector.Exchange) { x.Status = 0; x.EndedBy = "client" }, "", `~ status 200 ; ~ endedBy "" "client"`},
		{"reason", func(x *inspector.Exchange) { x.Reason = "" }, "", `~ reason "OK" "" (reason phrase)`},
		{"error", func(x *inspector.Exchange) { x.Error = "upstream_refused" }, "", `~ error "" "upstream_refused"`},
	} {
		x := base
		c.change(&x)
		r := Exchanges(&base, &x, Both, Options{})
		if got := show(r.Request.Start); got != c.request {
			t.Errorf("%s: request %s, want %s", c.name, got, c.request)
		}
		if got := show(r.Response.Start); got != c.response {
			t.Errorf("%s: response %s, want %s", c.name, got, c.response)
		}
	}
	x := base
	x.Path = "/a?x=9&y=2&y=3"
	if r := Exchanges(&base, &x, Request, Options{Ignore: rules(t, "query.x")}); !r.Equal() {
		t.Errorf("with rule .query.x: %s", show(r.Request.Start))
	}
}

func compressed(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestBodies(t *testing.T) {
	truncated := func(s string, size int64, sha string) inspector.Message {
		m := message("text/plain", s)
		m.Body.Size, m.Body.SHA256, m.Body.Missing = size, sha, "limit"
		return m
	}
	light := func(s string) inspector.Message {
		m := message("application/json", s)
		m.Body.Data = nil
		return m
	}
	long := strings.Repeat(`{"a":[1,2,3]}`, 1000)
	multipart := func(boundary, name, title, file string) inspector.Message {
		return message("multipart/form-data; boundary="+boundary, "--"+boundary+"\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n"+title+
			"\r\n--"+boundary+"\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"n\":["+title[:1]+"]}"+
			"\r\n--"+boundary+"\r\nContent-Disposition: form-data; name=\"file\"; filename=\""+name+"\"\r\nContent-Type: image/png\r\n\r\n"+file+"\r\n--"+boundary+"--\r\n")
	}
	for _, c := range []struct {
		name string
		a, b inspector.Message
		kind string
		want string // changes, or lines
		equal,
		incomplete bool
	}{
		{"both empty", inspector.Message{}, inspector.Message{}, "none", "", true, false},
		{"json", message("application/json", `{"a":1}`), message("application/json", `{"a":2}`), "json", "~ .a 1 2", false, false},
		{"json without saying so", message("", `{"a":1}`), message("", `{"a":2}`), "json", "~ .a 1 2", false, false},
		{"json from nothing", inspector.Message{}, message("application/json", `{"a":1}`), "json", `+ . {"a":1}`, false, false},
		{"json to nothing", message("application/json", `{"a":1}`), inspector.Message{}, "json", `- . {"a":1}`, false, false},
		{"broken json", message("application/json", "{\"a\":1"), message("application/json", "{\"a\":1}"), "text", `-{"a":1$|+{"a":1<}>$|`, false, false},
		{
			"form", message("application/x-www-form-urlencoded", "a=1&b=x+y&b=2&timestamp=1763819001"), message("application/x-www-form-urlencoded", "b=x%20y&a=2&c=%22&timestamp=1763819002"),
			"form", `~ .a "1" "2"; - .b#2 "2"; ~ .timestamp "1763819001" "1763819002" (time); + .c "\""`, false, false,
		},
		{"form in another order", message("application/x-www-form-urlencoded", "a=1&b=2"), message("application/x-www-form-urlencoded", "b=2&a=1"), "form", "", true, false},
		{"gzip", message("application/json", compressed(t, `{"a":1}`), "Content-Encoding: gzip"), message("application/json", `{"a":2}`), "json", "~ .a 1 2", false, false},
		{"gzip against plain", message("application/json", compressed(t, `{"a":1}`), "Content-Encoding: gzip"), message("application/json", `{"a":1}`), "json", "", true, false},
		{"unknown coding", message("text/plain", "abc", "Content-Encoding: rot13"), message("text/plain", "abc", "Content-Encoding: rot13"), "text", " abc$|", true, false},
		{"text", message("text/plain", "a b\n"), message("text/html", "a c\n"), "text", "-a <b>|+a <c>|", false, false},
		{
			"multipart", multipart("x1", "a.png", "1 one", "\x89PNG\x00"), multipart("y2", "b.png", "2 two", "\x89PNG\x01"), "multipart",
			`~ .title "1 one" "2 two"; ~ .meta.n[0] 1 2; ~ .file.filename "a.png" "b.png"; ` +
				`~ .file {"bytes":5,"sha256":"` + digest([]byte("\x89PNG\x00")) + `"} {"bytes":5,"sha256":"` + digest([]byte("\x89PNG\x01")) + `"}`, false, false,
		},
		{"multipart but for the boundary", multipart("x1", "a.png", "1 one", "\x89PNG\x00"), multipart("y2", "a.png", "1 one", "\x89PNG\x00"), "multipart", "", true, false},
		{"captured parts equal, digest too", truncated("abc", 9000, "aa"), truncated("abc", 9000, "aa"), "text", " abc$|", true, false},
		{"captured parts equal, digest not", truncated("abc", 9000, "aa"), truncated("abc", 9000, "bb"), "text", " abc$|", false, false},
		{"captured parts equal, size not", truncated("abc", 9000, ""), truncated("abc", 9001, ""), "text", " abc$|", false, false},
		{"captured parts equal, rest unknown", truncated("abc", 9000, ""), truncated("abc", 9000, ""), "text", " abc$|", false, true},
		{"captured parts differ", truncated("abc", 9000, ""), truncated("abd", 9000, ""), "text", "-ab<c>$|+ab<d>$|", false, false},
		{"not at hand, same digest", light(long), light(long), "binary", "", true, false},
		{"not at hand, other digest", light(long), light(long + " "), "binary", "", false, false},
		{"one not at hand", light(long), message("application/json", long), "binary", "", true, false},
	} {
		got := bodies(&c.a, &c.b, Options{})
		what := show(got.Changes) + showLines(got.Lines)
		if got.Kind != c.kind || what != c.want {
			t.Errorf("%s: %s %q, want %s %q", c.name, got.Kind, what, c.kind, c.want)
		}
		equal := !got.Counts.Differ() && !got.Incomplete
		if equal != c.equal || got.Incomplete != c.incomplete {
			t.Errorf("%s: equal %v, incomplete %v, want %v, %v (%v)", c.name, equal, got.Incomplete, c.equal, c.incomplete, got.Notes)
		}
		if got.Incomplete && len(got.Notes) == 0 {
			t.Errorf("%s: incomplete without a note", c.name)
		}
	}
}

func TestBinaryBodies(t *testing.T) {
	x := bytes.Repeat([]byte{0, 1, 2, 3}, 5000)
	y := bytes.Clone(x)
	y[9000], y[9040], y[12000], y[15000], y[19000] = 0xff, 0xff, 0xff, 0xff, 0xff
	a, b := message("application/octet-stream", string(x)), message("application/octet-stream", string(y))
	got := bodies(&a, &b, Options{})
	if got.Kind != "binary" || got.Binary == nil {
		t.Fatalf("%+v, want a binary comparison", got)
	}
	if got.Binary.Offset != 9000 || got.Binary.SHA256A != a.Body.SHA256 || got.Binary.SHA256B != b.Body.SHA256 {
		t.Errorf("binary = %+v, want offset 9000 and both digests", got.Binary)
	}
	var at []int64
	for _, w := range got.Binary.Windows {
		at = append(at, w.Offset)
		if !bytes.Equal(w.A, x[w.Offset:w.Offset+48]) || !bytes.Equal(w.B, y[w.Offset:w.Offset+48]) {
			t.Errorf("window at %d holds other bytes", w.Offset)
		}
	}
	if want := []int64{8992, 9040, 12000}; fmt.Sprint(at) != fmt.Sprint(want) {
		t.Errorf("windows at %v, want %v", at, want)
	}
	// One that is longer differs where the other ends.
	c := message("application/octet-stream", string(x)+"\x00")
	got = bodies(&a, &c, Options{})
	if got.Binary.Offset != 20000 || len(got.Binary.Windows) != 1 {
		t.Errorf("binary = %+v, want offset 20000 and one window", got.Binary)
	}
}

// Nothing captured may reach a terminal as it is.
func TestWriteTextIsSafe(t *testing.T) {
	evil := "\x1b[2J\x1b]52;c;AAAA\a\u202e\u009b31m\r\n"
	quoted, _ := json.Marshal(evil)
	make1 := func(n int, tail string) *inspector.Exchange {
		x := delivery(uint64(n), `{`+string(quoted)+`:[`+string(quoted)+`],"`+"\u202e"+`":"`+tail+`"}`, 200, evil+tail)
		x.Method, x.Path, x.Error = "G"+evil, "/"+evil+"?"+evil+"="+tail, evil+tail
		x.Request.Header = append(x.Request.Header, inspector.Field{Name: "X" + evil, Value: evil + tail}, inspector.Field{Name: "Cookie", Value: evil + tail})
		x.Request.Header[0].Value += evil
		return x
	}
	a, b := make1(1, "a"), make1(2, "b")
	form := make1(3, "c")
	form.Request.Body = body("x%1b[2J=" + evil)
	form.Request.Header[0].Value = "application/x-www-form-urlencoded"
	bin := make1(4, "d")
	bin.Response.Body = body("\x00\x01\x02" + evil)
	for _, pair := range [][2]*inspector.Exchange{{a, b}, {a, form}, {form, bin}, {bin, a}} {
		r := Exchanges(pair[0], pair[1], Both, Options{Ignore: rules(t, "header:x"+evil+"*")})
		var out strings.Builder
		if err := WriteText(&out, r); err != nil {
			t.Fatal(err)
		}
		out.WriteString(r.Summary())
		for i, c := range out.String() {
			if c != '\n' && c < ' ' || 0x7f <= c && c < 0xa0 || c == 0x202e || c == utf8.RuneError {
				t.Fatalf("%q at %d of\n%q", c, i, out.String())
			}
		}
	}
}

func TestExchangesCanceled(t *testing.T) {
	done := make(chan struct{})
	close(done)
	big := "[" + strings.Repeat("1,", 200_000) + "1]"
	a, b := delivery(1, big, 200, "OK"), delivery(2, big+" ", 200, "OK")
	r := Exchanges(a, b, Both, Options{Done: done})
	if r.Equal() {
		t.Errorf("a stopped comparison says equal: %+v", r.Request.Body)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add("application/json", "", []byte(`{"a":1}`), []byte(`{"a":2}`))
	f.Add("application/x-www-form-urlencoded", "", []byte(`a=1&a=2`), []byte(`a=2&b=%zz`))
	f.Add("multipart/form-data; boundary=x", "", []byte("--x\r\n\r\na\r\n--x--"), []byte("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n[1]\r\n--x--"))
	f.Add("text/plain", "gzip", []byte("\x1f\x8b\x08"), []byte("abc\n"))
	f.Add("image/png", "", []byte("\x89PNG"), []byte{0})
	f.Fuzz(func(t *testing.T, contentType, coding string, x, y []byte) {
		m := func(data []byte) inspector.Message {
			return message(contentType, string(data), "Content-Encoding: "+coding)
		}
		a, b := m(x), m(y)
		got := bodies(&a, &b, Options{Strict: true})
		if bytes.Equal(x, y) && got.Counts.Differ() {
			t.Fatalf("%q differs from itself: %+v", x, got)
		}
		var out strings.Builder
		got.write(&out)
		if _, err := json.Marshal(got); err != nil {
			t.Fatalf("marshal: %v", err)
		}
	})
}

func BenchmarkText(b *testing.B) {
	var x, y strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&x, "line %d of a log file, with some words in it\n", i)
		if i%50 == 0 {
			fmt.Fprintf(&y, "line %d of a log file, with other words in it\n", i)
		} else {
			fmt.Fprintf(&y, "line %d of a log file, with some words in it\n", i)
		}
	}
	b.SetBytes(int64(x.Len() + y.Len()))
	for b.Loop() {
		Text(x.String(), y.String())
	}
}

func BenchmarkExchanges(b *testing.B) {
	x := delivery(1, stripe("evt_1PqT9xLkdIwHu7ix", 1763819001, "paid", "4200", ""), 200, "OK\n")
	y := delivery(2, stripe("evt_1PqTAyLkdIwHu7iy", 1763819345, "open", "null", ""), 500, "no\n")
	b.ReportAllocs()
	for b.Loop() {
		Exchanges(x, y, Both, Options{})
	}
}

func TestOneEqualValueIsSingular(t *testing.T) {
	a, b := `{"a":1,"b":2}`, `{"a":1,"b":3}`
	body := func(s string) *inspector.Exchange {
		return &inspector.Exchange{Response: inspector.Message{
			Header: []inspector.Field{{Name: "Content-Type", Value: "application/json"}},
			Body:   inspector.Body{Size: int64(len(s)), Captured: int64(len(s)), Data: []byte(s)},
		}}
	}
	var out strings.Builder
	if err := WriteText(&out, Exchanges(body(a), body(b), Response, Options{})); err != nil {
		t.Fatal(err)
	}
	if want := "body  json  ~1, 1 value equal\n"; !strings.Contains(out.String(), want) {
		t.Errorf("text:\n%s\nwant %q in it", out.String(), want)
	}
}
