package export

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/lrok-dev/lrok/inspector"
)

func TestHTTPFile(t *testing.T) {
	x := post("{\n  \"id\": 1\n}")
	want := `# Content-Length follows the body by itself. An empty file sends nothing.
POST /webhooks/stripe?a=1&b=%20
Host: acme.lrok.example
User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)
Accept: */*; q=0.5, application/xml
content-type: application/json; charset=utf-8
Stripe-Signature: t=1763819345,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd
Content-Length: 13

{
  "id": 1
}
`
	if got := string(HTTP(&x, Options{})); got != want {
		t.Errorf("HTTP =\n%s\nwant\n%s", got, want)
	}

	x = post("\x00\xff binary")
	file := HTTP(&x, Options{})
	if !bytes.Contains(file, []byte("\n# body: base64")) || !bytes.HasSuffix(file, []byte("\n\nAP8gYmluYXJ5\n")) {
		t.Errorf("HTTP of a binary body =\n%s", file)
	}
}

// An .http file leaves out what the other forms leave out, and goes where they go.
func TestHTTPOptions(t *testing.T) {
	x := post("{}")
	x.Path = "/cb?code=SECRET1&a=1"
	x.Request.Header = append(x.Request.Header, inspector.Field{Name: "Authorization", Value: "Bearer SECRET2"}, inspector.Field{Name: "Cookie", Value: "sid=SECRET3"},
		inspector.Field{Name: "Referer", Value: "https://app.example/?token=SECRET4"})
	got := string(HTTP(&x, Options{Redact: true}))
	if strings.Contains(got, "SECRET") || strings.Contains(got, "5257a869") {
		t.Errorf("a secret was left in:\n%s", got)
	}
	if !strings.Contains(got, "POST /cb?code=REDACTED&a=1\n") || !strings.Contains(got, "Authorization: Bearer REDACTED\n") {
		t.Errorf("HTTP, redacted =\n%s", got)
	}
	got = string(HTTP(&x, Options{URL: "https://localhost:3000/v2/"}))
	if !strings.Contains(got, "POST https://localhost:3000/v2/cb?code=SECRET1&a=1\n") || strings.Contains(got, "acme") || strings.Contains(got, "\nHost:") {
		t.Errorf("HTTP, to another address =\n%s", got)
	}
}

func TestHTTPRoundTrip(t *testing.T) {
	for _, body := range nasty {
		x := post(body)
		r, err := ParseHTTP(HTTP(&x, Options{}))
		if err != nil {
			t.Errorf("ParseHTTP(HTTP(%.60q)): %v", body, err)
			continue
		}
		if string(r.Body) != body {
			t.Errorf("body = %.200q, want %.200q", r.Body, body)
		}
		if r.Method != x.Method || r.URL != x.Path || !slices.Equal(r.Header, x.Request.Header) {
			t.Errorf("read %+v, want the request of %+v", r, x)
		}
		if diff := cmp.Diff(inspector.Changes{}, r.Changes(&x)); diff != "" {
			t.Errorf("Changes of an unchanged file (-want +got):\n%s", diff)
		}
	}
}

func TestParseHTTP(t *testing.T) {
	field := func(name, value string) inspector.Field { return inspector.Field{Name: name, Value: value} }
	for _, tt := range []struct {
		name, in string
		want     Request
	}{
		{"one line", "GET /", Request{Method: "GET", URL: "/"}},
		{"comments", "# a\n\n#b\nGET /x\n", Request{Method: "GET", URL: "/x"}},
		{"version", "GET /x HTTP/1.1\n", Request{Method: "GET", URL: "/x"}},
		{"whole url", "PUT https://a.example/x?y#z\n", Request{Method: "PUT", URL: "https://a.example/x?y#z"}},
		{"saved on Windows", "POST /\r\nA: b\r\n\r\nx\r\ny\r\n", Request{Method: "POST", URL: "/", Header: []inspector.Field{field("A", "b")}, Body: []byte("x\r\ny")}},
		{"no line feed at the end", "POST /\n\nx", Request{Method: "POST", URL: "/", Body: []byte("x")}},
		{"one line feed of its own", "POST /\n\nx\n\n", Request{Method: "POST", URL: "/", Body: []byte("x\n")}},
		{"hash in the body", "POST /\n\n# x\n", Request{Method: "POST", URL: "/", Body: []byte("# x")}},
		{"values", "GET /\nA:b\nB:  c: d \nC:\n", Request{Method: "GET", URL: "/", Header: []inspector.Field{field("A", "b"), field("B", "c: d"), field("C", "")}}},
		{"base64", "# body: base64\nPOST /\n\nAP\n8g\n", Request{Method: "POST", URL: "/", Body: []byte("\x00\xff ")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseHTTP([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseHTTP(%q) (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestParseHTTPErrors(t *testing.T) {
	for _, in := range []string{"", "\n\n", "# only\n# comments\n"} {
		if _, err := ParseHTTP([]byte(in)); !errors.Is(err, ErrEmpty) {
			t.Errorf("ParseHTTP(%q) = %v, want ErrEmpty", in, err)
		}
	}
	for _, tt := range []struct {
		in   string
		line int
		text string
	}{
		{"GET\n", 1, "the target is missing: write GET /path"},
		{"# c\nG(T /\n", 2, `"G(T" is not a method`},
		{"GET /a b\n", 1, "the target has a space in it: write %20"},
		{"GET /\x10\n", 1, "the target has a control character in it"},
		{"GET /\nA: b\nno colon\n", 3, "a header line needs a colon, and an empty line goes before the body"},
		{"GET /\n folded: x\n", 2, `" folded" is not a header name`},
		{"GET /\nA: b\x00\n", 2, "the value of A has a control character in it"},
		{"# body: base64\nPOST /\n\nAAAA\n(\n", 5, "this is not base64"},
		{"# body: base64\nPOST /\n\nAAA\n", 4, "the base64 ends early or goes on after its end"},
	} {
		_, err := ParseHTTP([]byte(tt.in))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line != tt.line || syntax.Message != tt.text {
			t.Errorf("ParseHTTP(%q) = %v, want line %d: %s", tt.in, err, tt.line, tt.text)
		}
	}
}

func TestChanges(t *testing.T) {
	x := post(`{"id": 1}`)
	edit := func(old, new string) inspector.Changes {
		t.Helper()
		file := string(HTTP(&x, Options{}))
		if !strings.Contains(file, old) {
			t.Fatalf("%q is not in\n%s", old, file)
		}
		r, err := ParseHTTP([]byte(strings.Replace(file, old, new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return r.Changes(&x)
	}
	body := []byte(`{"id": 2}`)
	header := slices.Clone(x.Request.Header)
	header[2].Value = "text/html"
	for _, tt := range []struct {
		old, new string
		want     inspector.Changes
	}{
		{"POST", "PUT", inspector.Changes{Method: "PUT"}},
		{"/webhooks/stripe?a=1&b=%20\n", "/other\n", inspector.Changes{Path: "/other"}},
		{"/webhooks/stripe?a=1&b=%20\n", "http://localhost:3000/other\n", inspector.Changes{
			Path: "/other", Set: []inspector.Field{{Name: "Host", Value: "localhost:3000"}},
		}},
		{"/webhooks", "https://acme.lrok.example/webhooks", inspector.Changes{}},
		{`{"id": 1}`, `{"id": 2}`, inspector.Changes{Body: &body}},
		{`{"id": 1}` + "\n", "", inspector.Changes{Body: &[]byte{}}},
		{"Accept: */*; q=0.5, application/xml", "Accept: text/html", inspector.Changes{Header: header}},
	} {
		if diff := cmp.Diff(tt.want, edit(tt.old, tt.new)); diff != "" {
			t.Errorf("%q to %q (-want +got):\n%s", tt.old, tt.new, diff)
		}
	}
}

// Whatever is in the head, the file is UTF-8, which no editor changes, and says
// exactly what was captured.
func TestHTTPLatin1(t *testing.T) {
	x := post("{}")
	x.Path = "/caf\xe9?a=\u00fc"
	was := []inspector.Field{{Name: "X-Name", Value: "J\xfcrgen \u00fc"}, {Name: "X-Path", Value: `C:\xe9\temp`}}
	x.Request.Header = append(x.Request.Header, was...)
	file := string(HTTP(&x, Options{}))
	for _, want := range []string{"\n# head: escaped", "POST /caf\\xE9?a=\u00fc\n", "X-Name: J\\xFCrgen \u00fc\n", `X-Path: C:\x5Cxe9\temp` + "\n"} {
		if !strings.Contains(file, want) {
			t.Errorf("there is no %q in\n%s", want, file)
		}
	}
	if !utf8.ValidString(file) {
		t.Errorf("the file is not UTF-8:\n%q", file)
	}
	for _, tt := range []struct {
		old, new string
		want     inspector.Changes
	}{
		{"", "", inspector.Changes{}},
		{"\n{}", "\n[]", inspector.Changes{Body: new([]byte("[]"))}},
		{"?a=", "?b=", inspector.Changes{Path: "/caf\xe9?b=\u00fc"}},
		{`rgen`, `rg`, inspector.Changes{Header: append(slices.Clone(x.Request.Header[:6]), inspector.Field{Name: "X-Name", Value: "J\xfcrg \u00fc"}, was[1])}},
	} {
		r, err := ParseHTTP([]byte(strings.Replace(file, tt.old, tt.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, r.Changes(&x)); diff != "" {
			t.Errorf("%q to %q (-want +got):\n%s", tt.old, tt.new, diff)
		}
	}
	// What looks like an escape is text where no comment says otherwise, and none
	// of them brings in what a head cannot hold.
	r, err := ParseHTTP([]byte("GET /\nA: \\xE9\n"))
	if err != nil || r.Header[0].Value != `\xE9` {
		t.Errorf("read %+v, %v, want the four characters", r, err)
	}
	for _, s := range []string{"GET /\nA: b\\x0aB: c\n", "GET /\nA: b\\x0d\n", "GET /\\x0a\n", "GET /\\x20\n"} {
		if r, err := ParseHTTP([]byte(escapesComment + "\n" + s)); err == nil {
			t.Errorf("read %+v from %q, want an error", r, s)
		}
	}
}

// FuzzHTTPRoundTrip holds that what HTTP writes, ParseHTTP reads back, whatever
// was captured.
func FuzzHTTPRoundTrip(f *testing.F) {
	for _, s := range nasty {
		if len(s) < 1000 {
			f.Add("POST", s, "X-A", s, []byte(s))
			f.Add("#POST", "/"+s, s, "", []byte(s+"\n"))
		}
	}
	f.Add("GET", "/ HTTP/1.1", "Host", "HTTP/1.1", []byte("# body: base64"))
	f.Add("GET", "/\u00a0\u2003HTTP/1.1", "A", "\u00a0x\u0085", []byte("\ufeff"))
	f.Add("GET", "/\xe9\\x", "A", "\\xE9 \xff\\", []byte("\xe9"))
	f.Fuzz(func(t *testing.T, method, path, name, value string, body []byte) {
		x := inspector.Exchange{Method: method, Path: path, Proto: "HTTP/1.1", Request: inspector.Message{
			Header: []inspector.Field{{Name: "Host", Value: "a"}, {Name: name, Value: value}},
			Body:   inspector.Body{Data: body, Size: int64(len(body)), Captured: int64(len(body))},
		}}
		file := HTTP(&x, Options{})
		r, err := ParseHTTP(file)
		if err != nil {
			t.Fatalf("%v in\n%q", err, file)
		}
		if !utf8.Valid(file) {
			t.Fatalf("not UTF-8: %q", file)
		}
		want := newRequest(&x, Options{})
		if r.Method != want.method || r.URL != want.target || !slices.Equal(r.Header, want.header) || !bytes.Equal(r.Body, body) {
			t.Fatalf("read  %+v\nfrom  %q\nwant  %+v", r, file, want)
		}
		if diff := cmp.Diff(inspector.Changes{}, r.Changes(&x)); diff != "" {
			t.Fatalf("Changes (-want +got):\n%s", diff)
		}
	})
}

// FuzzParseHTTP looks for files that crash the reader or that do not survive
// being written again.
func FuzzParseHTTP(f *testing.F) {
	f.Add([]byte("# c\nPOST /x HTTP/1.1\r\nA: b\n\nbody\n"))
	f.Add([]byte("# body: base64\nPOST /x\n\nAP8g\n"))
	f.Add([]byte("# body: base64\nPOST /x\ndy: b\n\n"))
	f.Add([]byte("\ufeffGET http://a/b\nHost:\n\n\n"))
	f.Add([]byte("# head: escaped\nPOST /\\xE9\nA: \\xff\\x41\xe9\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseHTTP(data)
		if err != nil {
			var syntax *SyntaxError
			if !errors.Is(err, ErrEmpty) && (!errors.As(err, &syntax) || syntax.Line < 1) {
				t.Fatalf("ParseHTTP(%q) = %v", data, err)
			}
			return
		}
		x := inspector.Exchange{Method: r.Method, Path: r.URL, Request: inspector.Message{
			Header: r.Header, Body: inspector.Body{Data: r.Body, Size: int64(len(r.Body)), Captured: int64(len(r.Body))},
		}}
		again, err := ParseHTTP(HTTP(&x, Options{}))
		if err != nil {
			t.Fatalf("%v in %q", err, HTTP(&x, Options{}))
		}
		if diff := cmp.Diff(r, again); diff != "" && len(r.Header) > 0 {
			t.Fatalf("read again (-want +got):\n%s", diff)
		}
	})
}
