package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/lrok-dev/lrok/inspector"
)

// answered is an exchange with everything an archive can hold.
func answered(t *testing.T) inspector.Exchange {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(`{"ok": true, "text": "` + strings.Repeat("x", 500) + `"}`))
	w.Close()
	x := post(`{"id": 1}`)
	x.Kind = inspector.HTTP
	x.Remote = "203.0.113.7:51512"
	x.ReplayOf = "req_0"
	x.Request.Head = []byte("POST / HTTP/1.1\r\n\r\n")
	x.Request.Header = append(x.Request.Header, inspector.Field{Name: "Cookie", Value: "sid=abc; theme=dark"},
		inspector.Field{Name: "Authorization", Value: "Bearer secret-token-of-mine"})
	x.Response = inspector.Message{
		Header: []inspector.Field{
			{Name: "Content-Type", Value: "application/json"},
			{Name: "Content-Encoding", Value: "gzip"},
			{Name: "Set-Cookie", Value: "sid=new; Path=/; HttpOnly"},
			{Name: "Location", Value: "/next?token=abc"},
		},
		Body: inspector.Body{Size: int64(z.Len()), Captured: int64(z.Len()), Data: z.Bytes()},
	}
	x.Timing = inspector.Timing{
		Accepted: time.Date(2026, 11, 22, 14, 2, 31, 5e6, time.UTC), StreamOpen: 2 * time.Millisecond, Dial: 3 * time.Millisecond,
		FirstByte: 30 * time.Millisecond, Done: 38 * time.Millisecond,
	}
	return x
}

// TestHARSchema holds an archive against the fields that the specification
// requires, with their JSON types.
func TestHARSchema(t *testing.T) {
	failed := inspector.Exchange{
		Method: "GET", Path: "/", Scheme: "http", Host: "a", Proto: "HTTP/2.0", EndedBy: "client",
		Timing: inspector.Timing{Accepted: time.Unix(0, 0).UTC(), Done: time.Millisecond},
	}
	out, err := HAR([]inspector.Exchange{answered(t), failed}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	schema := strings.Fields(`
		log:object log.version:string log.creator.name:string log.creator.version:string log.entries:array
		log.entries.*.startedDateTime:string log.entries.*.time:number log.entries.*.cache:object
		log.entries.*.request.method:string log.entries.*.request.url:string log.entries.*.request.httpVersion:string
		log.entries.*.request.cookies:array log.entries.*.request.headers:array log.entries.*.request.queryString:array
		log.entries.*.request.headersSize:number log.entries.*.request.bodySize:number
		log.entries.*.response.status:number log.entries.*.response.statusText:string
		log.entries.*.response.httpVersion:string log.entries.*.response.cookies:array
		log.entries.*.response.headers:array log.entries.*.response.content.size:number
		log.entries.*.response.content.mimeType:string log.entries.*.response.redirectURL:string
		log.entries.*.response.headersSize:number log.entries.*.response.bodySize:number
		log.entries.*.timings.send:number log.entries.*.timings.wait:number log.entries.*.timings.receive:number
		log.entries.*.request.headers.*.name:string log.entries.*.request.headers.*.value:string
		log.entries.*.request.cookies.*.name:string log.entries.*.request.queryString.*.value:string`)
	for _, s := range schema {
		path, kind, _ := strings.Cut(s, ":")
		checkPath(t, doc, strings.Split(path, "."), path, kind)
	}
	for i, e := range doc["log"].(map[string]any)["entries"].([]any) {
		sum := 0.0
		for name, v := range e.(map[string]any)["timings"].(map[string]any) {
			if ms := v.(float64); ms >= 0 {
				sum += ms
			} else if name == "send" || name == "wait" || name == "receive" {
				t.Errorf("entry %d: %s = %v, which must not be negative", i, name, ms)
			}
		}
		if total := e.(map[string]any)["time"].(float64); total-sum > 0.001 || sum-total > 0.001 {
			t.Errorf("entry %d: time = %v, the sum of its timings is %v", i, total, sum)
		}
		if _, err := time.Parse(time.RFC3339Nano, e.(map[string]any)["startedDateTime"].(string)); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

func checkPath(t *testing.T, v any, path []string, name, kind string) {
	t.Helper()
	for i, p := range path {
		if p == "*" {
			list, ok := v.([]any)
			if !ok {
				t.Errorf("%s: %T where a list should be", name, v)
			}
			for _, e := range list {
				checkPath(t, e, path[i+1:], name, kind)
			}
			return
		}
		m, ok := v.(map[string]any)
		if !ok {
			t.Errorf("%s: %T where an object should be", name, v)
			return
		}
		if v, ok = m[p]; !ok {
			t.Errorf("%s is missing", name)
			return
		}
	}
	got := fmt.Sprintf("%T", v)
	want := map[string]string{"object": "map[string]interface {}", "array": "[]interface {}", "string": "string", "number": "float64"}[kind]
	if got != want {
		t.Errorf("%s is a %s, want %s", name, got, kind)
	}
}

// parsed is every exchange of an archive.
func parsed(t *testing.T, data []byte) []inspector.Exchange {
	t.Helper()
	a, err := ParseHAR(data)
	if err != nil {
		t.Fatal(err)
	}
	var xs []inspector.Exchange
	for n := range a.Len() {
		x, err := a.Exchange(n + 1)
		if err != nil {
			t.Fatal(err)
		}
		xs = append(xs, x)
	}
	return xs
}

// What is no HTTP in an archive keeps nobody from the rest of it.
func TestParseHARWithOtherEntries(t *testing.T) {
	a, err := ParseHAR([]byte(`{"log":{"version":"1.2","entries":[
		{"request":{"method":"GET","url":"data:image/png;base64,` + strings.Repeat("A", 1000) + `"}},
		{"request":{"method":"GET","url":"https://a.example/x"},"response":{"status":200}},
		{"request":{"method":"GET","url":"wss://a.example/live"},"response":{"status":101}}]}}`))
	if err != nil || a.Len() != 3 {
		t.Fatalf("%d entries, %v", a.Len(), err)
	}
	if _, err := a.Exchange(1); err == nil || len(err.Error()) > 200 {
		t.Errorf("the first: %v, want a short error", err)
	}
	if x, err := a.Exchange(2); err != nil || x.Path != "/x" || x.Number != 2 {
		t.Errorf("the second: %+v, %v", x, err)
	}
	if x, err := a.Exchange(3); err != nil || x.Kind != inspector.WebSocket || x.Scheme != "https" || x.Path != "/live" {
		t.Errorf("the third: %+v, %v", x, err)
	}
	for _, n := range []int{-1, 0, 4} {
		if _, err := a.Exchange(n); err == nil {
			t.Errorf("entry %d of 3 was read", n)
		}
	}
}

func TestHARRoundTrip(t *testing.T) {
	x := answered(t)
	binary := post("\x00\xff")
	binary.Response.Body = inspector.Body{Size: 1000, Captured: 3, Missing: "limit", Data: []byte{0, 1, 255}}
	out, err := HAR([]inspector.Exchange{x, binary}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := parsed(t, out)
	// What an archive does not keep, or keeps in another form.
	plain := []byte(`{"ok": true, "text": "` + strings.Repeat("x", 500) + `"}`)
	want := []inspector.Exchange{x, binary}
	want[0].Request.Head = nil
	want[0].Response.Body = inspector.Body{Size: int64(len(plain)), Captured: int64(len(plain)), Data: plain}
	want[0].Response.Body.Decoded, want[1].Response.Body.Decoded = true, true
	want[1].Number = 2
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("ParseHAR(HAR(xs)) (-want +got):\n%s", diff)
	}
}

func TestHARRedacts(t *testing.T) {
	x := answered(t)
	x.Path = "/cb?code=4/0AX4XfWh&state=1&api_key=k3y"
	out, err := HAR([]inspector.Exchange{x}, Options{Redact: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret-token", "5257a869", "sid=abc", "abc", "new", "4/0AX", "k3y"} {
		if bytes.Contains(out, []byte(`"`+secret)) || bytes.Contains(out, []byte("="+secret)) || bytes.Contains(out, []byte(" "+secret)) {
			t.Errorf("%q is in the redacted archive", secret)
		}
	}
	for _, kept := range []string{"t=1763819345", "Bearer REDACTED", "sid=REDACTED; theme=REDACTED", "state=1"} {
		if !strings.Contains(strings.ReplaceAll(string(out), `\u0026`, "&"), kept) {
			t.Errorf("%q is not in the redacted archive", kept)
		}
	}
	if x.Request.Header[len(x.Request.Header)-1].Value != "Bearer secret-token-of-mine" {
		t.Error("HAR changed the exchange it was given")
	}
}

func TestParseHARFromABrowser(t *testing.T) {
	data, err := os.ReadFile("testdata/browser.har")
	if err != nil {
		t.Fatal(err)
	}
	xs := parsed(t, data)
	if len(xs) != 2 {
		t.Fatalf("read %d exchanges, want 2", len(xs))
	}
	x := xs[0]
	if x.Number != 1 || x.Method != "POST" || x.Scheme != "https" || x.Host != "shop.example" || x.Path != "/cart?x=%2F" || x.Status != 201 {
		t.Errorf("first entry = %+v", x)
	}
	if got, want := x.Request.Header, []inspector.Field{{Name: "content-type", Value: "application/x-www-form-urlencoded"}}; !slices.Equal(got, want) {
		t.Errorf("header = %q, want %q", got, want)
	}
	if got, want := string(x.Request.Body.Data), "item=a+b&n=%26"; got != want {
		t.Errorf("body = %q, want %q", got, want)
	}
	if got, want := xs[1].Response.Body.Data, []byte{0x89, 'P', 'N', 'G'}; !bytes.Equal(got, want) {
		t.Errorf("second body = %q, want %q", got, want)
	}
	if got, want := x.Timing.Done, 120*time.Millisecond; got != want {
		t.Errorf("Done = %v, want %v", got, want)
	}
}

func TestParseHARErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "read HTTP archive: unexpected end of JSON input",
		"{}":                       `read HTTP archive: there is no "log" in it`,
		`{"log":{"entries":[{}]}}`: `read HTTP archive: entry 1: "" is not an http or https URL`,
		`{"log":{"entries":[{"request":{"url":"file:///etc/passwd"}}]}}`:                                               `read HTTP archive: entry 1: "file:///etc/passwd" is not an http or https URL`,
		`{"log":{"entries":[{"request":{"url":"http://a"},"response":{"content":{"text":"!","encoding":"base64"}}}]}}`: "read HTTP archive: entry 1: response body: illegal base64 data at input byte 0",
	} {
		a, err := ParseHAR([]byte(in))
		if err == nil {
			_, err = a.Exchange(1)
		}
		if err == nil || err.Error() != want {
			t.Errorf("ParseHAR(%q) = %v, want %s", in, err, want)
		}
	}
}

func FuzzParseHAR(f *testing.F) {
	out, _ := HAR([]inspector.Exchange{post("x")}, Options{})
	f.Add(out)
	if data, err := os.ReadFile("testdata/browser.har"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseHAR(data)
		if err != nil {
			return
		}
		var xs []inspector.Exchange
		for n := range a.Len() {
			if x, err := a.Exchange(n + 1); err == nil {
				xs = append(xs, x)
			}
		}
		if _, err := HAR(xs, Options{Redact: true}); err != nil {
			t.Errorf("HAR of what ParseHAR read: %v", err)
		}
		for i := range xs {
			HTTP(&xs[i], Options{})
			Go(&xs[i], Options{})
		}
	})
}
