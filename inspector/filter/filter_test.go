package filter

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/inspector"
)

var now = time.Date(2026, 3, 14, 9, 30, 0, 0, time.UTC)

// samples are captures that differ in everything the language can ask for.
func samples() map[string]*inspector.Exchange {
	return map[string]*inspector.Exchange{
		"paid": {
			ID: "req_01HV0PAID", Tunnel: "acme", State: inspector.Done, Kind: inspector.HTTP,
			Method: "POST", Path: "/webhooks/stripe?v=2&limit=10", Event: "invoice.paid", Host: "acme.lrok.example", Proto: "HTTP/2.0",
			Remote: "203.0.113.7:51512", Status: 200,
			Request: inspector.Message{
				Header: []inspector.Field{{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "X-Id", Value: "abc-123"}, {Name: "Stripe-Signature", Value: "t=1,v1=ff"}},
				Body: inspector.Body{Size: 300, Captured: 300, Data: []byte(`{"id":"evt_1","type":"invoice.paid","live":false,"none":null,"big":9007199254740993,
					"data":{"object":{"status":"open","amount":4200,"weird key":"x","a.b":1}},
					"items":[{"id":42,"price":9.5,"sku":"A-1"},{"id":"43","price":20,"sku":"Ü-2"}],"tags":["urgent","eu"]}`)},
			},
			Response: inspector.Message{
				Header: []inspector.Field{{Name: "content-type", Value: "text/plain"}, {Name: "X-Id", Value: "def"}},
				Body:   inspector.Body{Size: 2, Captured: 2, Data: []byte("OK")},
			},
			Timing: inspector.Timing{Accepted: now.Add(-time.Minute), Done: 38 * time.Millisecond},
		},
		"broken": {
			ID: "req_01HV0BROKEN", Tunnel: "acme", State: inspector.Done, Kind: inspector.HTTP, ReplayOf: "req_01HV0PAID",
			Method: "GET", Path: "/api/v1/users/42/orders", Host: "docs.lrok.example:8443", Proto: "HTTP/1.1",
			Remote: "[2001:db8::1]:40022", Status: 502, Error: "upstream_refused",
			Response: inspector.Message{
				Header: []inspector.Field{{Name: "Content-Type", Value: "text/html"}, {Name: "Location", Value: "/login"}},
				Body:   inspector.Body{Size: 20480, Captured: 1024, Missing: "limit", Data: []byte("<h1>Card_Declined: straße</h1>")},
			},
			Timing: inspector.Timing{Accepted: now.Add(-2 * time.Hour), Done: 1500 * time.Millisecond},
		},
		"socket": {
			ID: "req_01HV0SOCKET", Tunnel: "acme", State: inspector.Open, Kind: inspector.WebSocket,
			Method: "GET", Path: "/socket", Host: "acme.lrok.example", Proto: "HTTP/1.1",
			Remote: "::ffff:198.51.100.4", Status: 101,
			Timing: inspector.Timing{Accepted: now.Add(-125 * time.Second)},
		},
		"waiting": {
			ID: "req_01HV0WAITING", Tunnel: "other", State: inspector.Open, Kind: inspector.GRPC,
			Method: "POST", Path: "/pkg.Svc/Do", Host: "", Proto: "HTTP/2.0", Remote: "nonsense",
			Request: inspector.Message{Header: []inspector.Field{{Name: "content-type", Value: "application/grpc"}}, Body: inspector.Body{Size: 5}},
			Timing:  inspector.Timing{Accepted: now.Add(-50 * time.Millisecond)},
		},
	}
}

var env = Env{
	Now:    now,
	Marked: func(id string) bool { return id == "req_01HV0PAID" },
	Unseen: func(id string) bool { return id == "req_01HV0SOCKET" },
}

var order = []string{"paid", "broken", "socket", "waiting"}

func matching(t testing.TB, q string) string {
	t.Helper()
	f, err := Parse(q)
	if err != nil {
		t.Fatalf("Parse(%q): %v", q, err)
	}
	var got []string
	all := samples()
	for _, name := range order {
		if f.Match(all[name], env) {
			got = append(got, name)
		}
	}
	return strings.Join(got, " ")
}

func TestMatch(t *testing.T) {
	const everything = "paid broken socket waiting"
	for _, c := range []struct{ q, want string }{
		{"", everything},
		{"   ", everything},
		{"status:200", "paid"},
		{"status:5xx", "broken"},
		{"status:50x", "broken"},
		{"STATUS:5XX", "broken"},
		{"status=502", "broken"},
		{"status>=400", "broken"},
		{"status:>=400", "broken"},
		{"status>2xx", "broken"},
		{"status>=2xx", "paid broken"},
		{"status<200", "socket"},
		{"status<=2xx", "paid socket"},
		{"status:!2xx", "broken socket"},
		{"status!=2xx", "broken socket"},
		{"-status:2xx", "broken socket waiting"},
		{"status:100-299", "paid socket"},
		{"status:1xx..2xx", "paid socket"},
		{"status:101,502", "broken socket"},
		{"status:!101,502", "paid"},
		{"method:post", "paid waiting"},
		{"method!=POST", "broken socket"},
		{"method:G*", "broken socket"},
		{"method:GET,PUT", "broken socket"},
		{"path:/webhooks", "paid"},
		{"event:invoice.*", "paid"},
		{"event=invoice.paid", "paid"},
		{"event!=invoice.paid", "broken socket waiting"},
		{"event:invoice.*.x", ""},
		{"invoice.paid", "paid"},
		{"5xx", "broken"},
		{"-2XX", "broken socket waiting"},
		{"0xx", ""},
		{`"limit=10 invoice.paid 200"`, "paid"},
		{"~^post \\S+ invoice~", "paid"},
		{"path:/WEBHOOKS/Stripe", "paid"},
		{"path:/api/*/orders", "broken"},
		{"path:/orders*/api", ""},
		{`path:"/api/*/orders"`, ""},
		{"path=/webhooks", ""},
		{"path=/webhooks/stripe", "paid"},
		{"path=/webhooks/stripe?v=2&limit=10", "paid"},
		{"path=/api/*", "broken"},
		{"path=*/orders", "broken"},
		{"path!=/socket", "paid broken waiting"},
		{`path:~^/(api|socket)~`, "broken socket"},
		{`path:~^/API\b~ or ~SOCKET~`, "broken socket"},
		{"host:docs", "broken"},
		{"host=docs.lrok.example", "broken"},
		{"host=docs.lrok.example:8443", "broken"},
		{"dur>500ms", "broken socket"},
		{"dur>1.5s", "socket"},
		{"dur>=1.5s", "broken socket"},
		{"dur<50", "paid"},
		{"dur<=50", "paid waiting"},
		{"dur:30ms..2s", "paid broken waiting"},
		{"dur>1m30s", "socket"},
		{"size>10k", "broken"},
		{"size>=20KiB", "broken"},
		{"size>20kb", ""},
		{"size:2..300", "paid waiting"},
		{"req.size>=300", "paid"},
		{"resp.size<3", "paid socket waiting"},
		{"age<5m", "paid socket waiting"},
		{"age>1h", "broken"},
		{"age>0.05d", "broken"},
		{"type:json", "paid"},
		{"type:html", "broken"},
		{"type:text/*", "paid broken"},
		{"resp.type:json", ""},
		{"req.type:json,grpc", "paid waiting"},
		{"type:text", "paid broken"},
		{"header:x-id", "paid"},
		{"header:X-ID=ABC", "paid"},
		{"header:x-id==abc", ""},
		{"header:x-id==abc-123", "paid"},
		{"header:x-id=def", "paid"},
		{"req.header:x-id=def", ""},
		{"resp.header:x-id=def", "paid"},
		{"header:x-id!=zzz", "paid"},
		{"header:x-id!=abc", ""},
		{`header:x-id~\d+$`, "paid"},
		{`header:*-signature`, "paid"},
		{`header:content-type="json; charset"`, "paid"},
		{"resp.header:location=/login", "broken"},
		{"ip:203.0.113.0/24", "paid"},
		{"ip:203.0.113.7", "paid"},
		{"ip!=203.0.113.7", "broken socket waiting"},
		{"ip:2001:db8::/32", "broken"},
		{"ip:198.51.100.4", "socket"},
		{"ip:::ffff:198.51.100.0/120", "socket"},
		{`body:"card_declined"`, "broken"},
		{`body:STRASSE`, ""},
		{`body:STRAßE`, "broken"},
		{`body:ok`, "paid"},
		{`req.body:ok`, ""},
		{`resp.body:ok`, "paid"},
		{`body:card*straße`, "broken"},
		{`body:~declined.\s~`, "broken"},
		{`json:.data.object.status=="open"`, "paid"},
		{`json:data.object.status==OPEN`, "paid"},
		{`json:.data.object.status!=open`, ""},
		{`json:.data.object.status!=paid`, "paid"},
		{`json:.data.object.missing!=paid`, ""},
		{`json:.data.object.amount>4000`, "paid"},
		{`json:.data.object.amount<=4200`, "paid"},
		{`json:.data.object.amount<4200`, ""},
		{`json:.data.object.amount==4200.0`, "paid"},
		{`json:.data.object.amount=="4200"`, ""},
		{`json:.big==9007199254740993`, "paid"},
		{`json:.big==9007199254740992`, ""},
		{`json:.live==false`, "paid"},
		{`json:.live=="false"`, ""},
		{`json:.none==null`, "paid"},
		{`json:.none`, "paid"},
		{`json:.nothing`, ""},
		{`json:.data.object["weird key"]==x`, "paid"},
		{`json:.data.object["a.b"]==1`, "paid"},
		{`json:.items[0].id==42`, "paid"},
		{`json:.items[id=42].price==9.5`, "paid"},
		{`json:.items[id="43"].price==20`, "paid"},
		{`json:.items[sku=A-1].price==9.5`, "paid"},
		{`json:.items[sku="Ü-2"].id==43`, "paid"},
		{`json:items.#(price>10).sku=="Ü-2"`, "paid"},
		{`json:.items[*].price>10`, "paid"},
		{`json:.items[*].price>30`, ""},
		{`json:.items[*].price!=20`, ""},
		{`json:.items[*].price!=21`, "paid"},
		{`json:.tags[*]==urgent`, "paid"},
		{`json:.tags==urgent`, "paid"},
		{`json:items.#==2`, "paid"},
		{`json:.items[*].nope`, ""},
		{`json:.type~^invoice\.`, "paid"},
		{`json:.type=~^invoice`, "paid"},
		{`json:.type~^paid`, ""},
		{`resp.json:.type~^invoice`, ""},
		{"is:replay", "broken"},
		{"is:marked", "paid"},
		{"is:new", "socket"},
		{"is:inflight", "socket waiting"},
		{"is:ws", "socket"},
		{"is:sse", ""},
		{"is:grpc", "waiting"},
		{"is:error", "broken"},
		{"is:truncated", "broken waiting"},
		{"is:!error", "paid socket waiting"},
		{"is:ws,error", "broken socket"},
		{"proto:h2", "paid waiting"},
		{"proto:h1", "broken socket"},
		{"proto:grpc", "waiting"},
		{"proto:http/1.1", "broken socket"},
		{"tunnel:other", "waiting"},
		{"id:0pa", "paid"},
		{"code:refused", "broken"},
		{"webhooks", "paid"},
		{"post", "paid waiting"},
		{"502", "broken"},
		{"limit=10", "paid"},
		{`"post /webhooks"`, "paid"},
		{`"get /socket 101"`, "socket"},
		{`"p\u006fst \/webhooks"`, "paid"},
		{`body:"stra\u00dfe"`, "broken"},
		{`json:.data.object["weird\u0020key"]==x`, "paid"},
		{"/api/*/42", "broken"},
		{"~users/\\d+~", "broken"},
		{`~^get /~`, "broken socket"},
		{"get socket", "socket"},
		{"get and socket", "socket"},
		{"webhooks or socket", "paid socket"},
		{"get -socket", "broken"},
		{"get not socket", "broken"},
		{"not not get", "broken socket"},
		{"-(get or webhooks)", "waiting"},
		{"(status>=500 or path:/webhooks) method:POST", "paid"},
		{"status>=500 or path:/webhooks method:POST", "paid broken"},
		{"NOT get AND (webhooks OR svc)", "paid waiting"},
	} {
		if got := matching(t, c.q); got != c.want {
			t.Errorf("%s matches %q, want %q", c.q, got, c.want)
		}
		f, _ := Parse(c.q)
		again := f.String()
		if got := matching(t, again); got != c.want {
			t.Errorf("%s in canonical form %s matches %q, want %q", c.q, again, got, c.want)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct{ q, want string }{
		{"  a   AND b ", "a b"},
		{"(a b) c", "a b c"},
		{"(a or b) or c d", "a or b or c d"},
		{"((a or b)) c", "(a or b) c"},
		{"not (not a)", "a"},
		{"NOT(a b)", "-(a b)"},
		{"Status!=2XX", "status:!2xx"},
		{"dur:>500MS", "dur>500ms"},
		{`"plain"`, "plain"},
		{`"or"`, `"or"`},
		{`"-a"`, `"-a"`},
		{`"a:b"`, `"a:b"`},
		{`path:"a*b"*c`, `path:"a*b"*c`},
		{`body:"a\x00\n\"\\é"`, `body:"a\x00\n\"\\é"`},
		{"ip:10.1.2.3/8", "ip:10.0.0.0/8"},
		{`~a\~b~`, `~a\~b~`},
		{`json:.a=="42"`, `json:.a=="42"`},
	} {
		f, err := Parse(c.q)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.q, err)
			continue
		}
		if got := f.String(); got != c.want {
			t.Errorf("Parse(%q).String() = %s, want %s", c.q, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		q       string
		pos     int
		message string
		nearest string
	}{
		{"sttaus:500", 0, "there is no field sttaus", "status"},
		{"a stat:5xx", 2, "there is no field stat", "status"},
		{"duration>5s", 0, "there is no field duration", ""},
		{"durr>5s", 0, "there is no field durr", "dur"},
		{"https://x", 0, "put the text in quotes", ""},
		{"status:", 7, "status needs a value, such as status:5xx", ""},
		{"status:abc", 7, "abc is no status", ""},
		{"status:299-200", 7, "is no status", ""},
		{"status:600x", 7, "is no status", ""},
		{"dur:500ms", 3, "dur cannot be compared with :, write dur>500ms", ""},
		{"dur>5 parsecs", 0, "", ""},
		{"dur>5parsecs", 4, "5parsecs is no duration, write dur>500ms", ""},
		{"dur>-5s", 4, "is no duration", ""},
		{"size>1e99", 5, "is no size", ""},
		{"size>99999999999999999999t", 5, "is no size", ""},
		{"is:reply", 3, "is: does not know reply", "replay"},
		{"is:foo", 3, "is: does not know foo, but replay, marked, inflight", ""},
		{"proto:http2", 6, "there is no protocol http2", ""},
		{"ip:300.1.1.1", 3, "is no address or network", ""},
		{"path>3", 4, "path cannot be compared with >", ""},
		{"(a", 0, "there is no ) for this (", ""},
		{"a)", 1, "there is no ( for this )", ""},
		{"()", 1, "missing before )", ""},
		{"a or", 4, "missing at the end", ""},
		{"or a", 0, `"or" needs something to look for on both sides`, ""},
		{"a and", 5, "missing at the end", ""},
		{"-", 1, "missing at the end", ""},
		{`"abc`, 0, "the quote has no end", ""},
		{`a "b\q"`, 4, `write \\ for a backslash`, ""},
		{`"\x1"`, 1, "two hex digits", ""},
		{`"\u12"`, 1, "four hex digits", ""},
		{`"\u+123"`, 1, "four hex digits", ""},
		{"~abc", 0, "no closing ~", ""},
		{"~~", 0, "is empty", ""},
		{"~(~", 0, "does not parse: missing closing )", ""},
		{"~(a{500}){2}~", 0, "", ""},
		{"~(a{30}){30}{2}~", 0, "does not parse: invalid nested repetition operator", ""},
		{"~((a{30}){30}){1}bbbbbbb~", 0, "repeats too much", ""},
		{"json:", 5, "json needs a value", ""},
		{"json:==1", 5, "the path is empty", ""},
		{"json:.a==", 9, "needs a value to compare with", ""},
		{"json:@pretty", 5, "may only select", ""},
		{"json:a.@reverse", 5, "may only select", ""},
		{"json:a|@ugly", 5, "the path has a |", ""},
		{"json:{a,b}", 5, "may only select", ""},
		{"json:a..b", 5, "an empty step", ""},
		{"json:a[0", 5, "", ""},
		{"json:a.#(b==@this)", 5, "", ""},
		{"header:=x", 7, "the name of a header comes first", ""},
		{"method:a,,b", 7, "method needs a value", ""},
		{strings.Repeat("(", 70) + "a" + strings.Repeat(")", 70), 64, "nested deeper than 64", ""},
		{strings.Repeat("body:x ", 17), 16*7 + 5, "more than 16 terms look into bodies", ""},
		{strings.Repeat("a ", 2500), 4096, "longer than 4096 bytes", ""},
	} {
		_, err := Parse(c.q)
		if c.message == "" && c.nearest == "" {
			continue // fine either way, must not panic
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Parse(%.40q) = %v, want an *Error", c.q, err)
			continue
		}
		if e.Pos != c.pos || !strings.Contains(e.Message, c.message) || e.Nearest != c.nearest {
			t.Errorf("Parse(%.40q) = {%d %q %q}, want {%d …%q… %q}", c.q, e.Pos, e.Message, e.Nearest, c.pos, c.message, c.nearest)
		}
	}
}

// Parse has to return a nil error interface, not a nil *Error in one.
func TestParseReturnsNil(t *testing.T) {
	if _, err := Parse("a"); err != nil {
		t.Errorf("err = %#v, want nil", err)
	}
}

func TestNeedsBody(t *testing.T) {
	for q, want := range map[string]bool{
		"":                        false,
		"status:200 path:/x":      false,
		"a or -(b body:x)":        true,
		"json:.a":                 true,
		"header:content-type=xml": false,
	} {
		f, err := Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.NeedsBody(); got != want {
			t.Errorf("Parse(%q).NeedsBody() = %v, want %v", q, got, want)
		}
	}
}

func TestBodiesAreReadLast(t *testing.T) {
	x := samples()["paid"]
	reads := 0
	e := Env{Body: func(*inspector.Exchange) (req, resp []byte) {
		reads++
		return nil, nil
	}}
	for q, want := range map[string]int{
		"body:x status:500":              0,
		"(body:x or path:/y) status:500": 0,
		"body:x or status:200":           0,
		"-(body:x or status:200)":        0,
		"body:x status:200":              1,
	} {
		f, err := Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		reads = 0
		f.Match(x, e)
		if reads != want {
			t.Errorf("%s read bodies %d times, want %d", q, reads, want)
		}
	}
}

func TestDecodedBodyIsSearched(t *testing.T) {
	f, _ := Parse(`resp.json:.secret==1 req.body:hello`)
	e := Env{Body: func(*inspector.Exchange) (req, resp []byte) {
		return []byte("say Hello"), []byte(`{"secret":1}`)
	}}
	x := samples()["paid"]
	if !f.Match(x, e) {
		t.Errorf("%s does not match what Env.Body returned", f)
	}
	if f.Match(x, Env{}) {
		t.Errorf("%s matches without Env.Body", f)
	}
}

func TestComplete(t *testing.T) {
	var seen []inspector.Exchange
	for _, name := range order {
		seen = append(seen, *samples()[name])
	}
	for _, c := range []struct {
		q     string // | is the cursor
		want  string // the first completions, joined
		after string // q with the first one taken
	}{
		{"|", "status: method: path:", "status:"},
		{"st|", "status:", "status:"},
		{"a -st|", "status:", "a -status:"},
		{"(me|)", "method:", "(method:)"},
		{"d|", "dur>", "dur>"},
		{"req.h|", "req.header:", "req.header:"},
		{"status:|", "101 1xx 200", "status:101"},
		{"status:2|", "200 2xx 502", "status:200"},
		{"status:200,5|", "502 5xx", "status:200,502"},
		{"status:!2|", "200 2xx 502", "status:!200"},
		{"method:|", "GET POST", "method:GET"},
		{"method:p|", "POST", "method:POST"},
		{"is:in|", "inflight", "is:inflight"},
		{"path:/web| x", "/webhooks/stripe", "path:/webhooks/stripe x"},
		{"path:orders|", "/api/v1/users/42/orders", "path:/api/v1/users/42/orders"},
		{"host:|", "acme.lrok.example \"docs.lrok.example:8443\"", "host:acme.lrok.example"},
		{"header:x|", "x-id", "header:x-id"},
		{"header:x-id=|", "abc-123 def", "header:x-id=abc-123"},
		{"type:|", "application/grpc application/json text/html", "type:application/grpc"},
		{"proto:|", "h1 h2", "proto:h1"},
		{`body:"st|`, "", ""},
		{`"st|`, "", ""},
		{"webh|", "", ""},
	} {
		cursor := strings.IndexByte(c.q, '|')
		q := c.q[:cursor] + c.q[cursor+1:]
		got := Complete(q, cursor, seen)
		var texts []string
		for _, x := range got {
			texts = append(texts, x.Text)
		}
		if all := strings.Join(texts, " "); !strings.HasPrefix(all, c.want) || c.want == "" && all != "" {
			t.Errorf("Complete(%q) = %q, want it to begin with %q", c.q, all, c.want)
			continue
		}
		if len(got) > 0 {
			if after := q[:got[0].From] + got[0].Text + q[got[0].To:]; after != c.after {
				t.Errorf("Complete(%q) leads to %q, want %q", c.q, after, c.after)
			}
		}
	}
}

// What completion offers has to be a query that finds what it was made from,
// however hostile the captured values are.
func TestCompletionsParse(t *testing.T) {
	hostile := inspector.Exchange{
		Method: "GET", Path: "/a b\"c\\\x1b[2J(or)*~", Host: "x y:1", Status: 200,
		Request: inspector.Message{Header: []inspector.Field{{Name: "x-odd", Value: "a \u202e=\"b\" \xff)"}}},
	}
	for _, q := range []string{"path:", "host:", "status:", "method:", "header:", "header:x-odd="} {
		for _, c := range Complete(q, len(q), []inspector.Exchange{hostile}) {
			full := q[:c.From] + c.Text
			f, err := Parse(full)
			if err != nil {
				t.Errorf("completion %q of %q: %v", c.Text, q, err)
				continue
			}
			if c.Help == "seen once" && !f.Match(&hostile, Env{}) {
				t.Errorf("%s does not match what it was completed from", full)
			}
			for _, r := range c.Text {
				if r < ' ' || r == 0x202e || r == 0xfffd {
					t.Errorf("completion %q holds %q", c.Text, r)
				}
			}
		}
	}
}

func TestIndexFoldAgainstSlow(t *testing.T) {
	texts := []string{"", "a", "AbCabc", "xxAbxaB", "Größe GRÖßE", "\xff\xfeab", "aaaaaaaaab"}
	needles := []string{"", "a", "ab", "abc", "b", "größe", "\xfe", "aab", "zz"}
	for _, s := range texts {
		for _, n := range needles {
			got, _ := indexFold(s, n)
			want := strings.Index(lower(s), n)
			if (got < 0) != (want < 0) || got != want {
				t.Errorf("indexFold(%q, %q) = %d, want %d", s, n, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, q := range []string{
		"", "status:5xx", "status>=400 or -is:replay", `body:"a\x00b" (a or b)`, `json:.items[id="x y"].a>=3`,
		`header:x-id~^a.*b$ path:"a*"*b`, "~a\\~b|c{2}~ not not (x)", "dur:1s..2m size>1.5k ip:2001:db8::/32",
		`json:["a=b"].c[*].d!=null`, "type:image/*,json host=*.example", "host=== path==\"=\"", `json:a.#(b=="c").d~x`, "é or Ü*ß",
	} {
		f.Add(q)
	}
	all := samples()
	f.Fuzz(func(t *testing.T, q string) {
		start := time.Now()
		a, err := Parse(q)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Message == "" || e.Pos < 0 || e.Pos > len(q) {
				t.Fatalf("Parse(%q) = %#v", q, err)
			}
			Complete(q, len(q)/2, nil)
			return
		}
		text := a.String()
		b, err := Parse(text)
		if err != nil && len(text) <= maxQuery {
			t.Fatalf("Parse(%q).String() = %q does not parse: %v", q, text, err)
		}
		if err != nil {
			return
		}
		if again := b.String(); again != text {
			t.Fatalf("canonical form of %q is not stable: %q, then %q", q, text, again)
		}
		for name, x := range all {
			if got, want := b.Match(x, env), a.Match(x, env); got != want {
				t.Fatalf("%q matches %s: %v, as %q: %v", q, name, want, text, got)
			}
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("%q took %v", q, d)
		}
	})
}

// FuzzMatch runs the terms that read bodies over bodies from outside.
func FuzzMatch(f *testing.F) {
	f.Add(`json:.a[*].b==1`, []byte(`{"a":[{"b":1}]}`))
	f.Add(`json:a.#(b>"1").c~x or body:a*b`, []byte(`{"a":[{"b":"2","c":"x"`))
	f.Add(`body:~a.b~`, []byte("\xffa\nb"))
	f.Fuzz(func(t *testing.T, q string, body []byte) {
		flt, err := Parse(q)
		if err != nil {
			return
		}
		x := &inspector.Exchange{Path: string(body), Response: inspector.Message{Body: inspector.Body{Data: body}}}
		flt.Match(x, env)
	})
}

func benchmarkRows(n int) []inspector.Exchange {
	all := samples()
	rows := make([]inspector.Exchange, n)
	for i := range rows {
		rows[i] = *all[order[i%len(order)]]
		rows[i].ID = fmt.Sprintf("req_%08d", i)
		rows[i].Path = fmt.Sprintf("/api/v1/things/%d?page=%d", i, i%7)
		rows[i].Status = 200 + i%400
	}
	return rows
}

func BenchmarkMatch10k(b *testing.B) {
	rows := benchmarkRows(10_000)
	for _, q := range []string{
		"status:5xx", "status>=500 or path:/webhooks method:POST", "webhooks", "header:x-id=abc", "~things/4\\d+~",
	} {
		b.Run(q, func(b *testing.B) {
			f, err := Parse(q)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range rows {
					f.Match(&rows[i], env)
				}
			}
		})
	}
}

func BenchmarkBody1MiB(b *testing.B) {
	body := []byte(strings.Repeat(`{"id":"evt_1PqT9x","type":"invoice.paid","description":"a line of text"},`, 1<<20/74))
	body = append([]byte("["), append(body[:len(body)-1], ']')...)
	x := &inspector.Exchange{Response: inspector.Message{Body: inspector.Body{Data: body}}}
	for _, q := range []string{"body:card_declined", "body:lines", "json:[0].id==x", "json:[*].type==never"} {
		b.Run(q, func(b *testing.B) {
			f, err := Parse(q)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				f.Match(x, Env{})
			}
		})
	}
}

// Every example of the documentation has to parse.
func TestDocumentedExamples(t *testing.T) {
	doc, err := os.ReadFile("../../docs/filter.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([^`]+)`")
	n, block := 0, false
	check := func(q string) {
		n++
		if _, err := Parse(q); err != nil {
			t.Errorf("example %s: %v", q, err)
		}
	}
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		switch cells := strings.Split(line, " | "); {
		case strings.HasPrefix(line, "```"):
			block = line == "```" && !block
		case block && strings.HasPrefix(strings.TrimPrefix(line, "-"), "json:"):
			check(line)
		case strings.HasPrefix(line, "| `") && len(cells) == 3:
			for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
				check(m[1])
			}
		case strings.HasPrefix(line, "| `"):
			for _, m := range code.FindAllStringSubmatch(cells[0], -1) {
				check(m[1])
			}
		}
	}
	if n < 60 {
		t.Errorf("found %d examples, want at least 60: has the page changed its form?", n)
	}
	for i := range fields {
		if f := &fields[i]; !strings.Contains(string(doc), "`"+f.name) {
			t.Errorf("field %s is not in the documentation", f.name)
		}
		check(fields[i].example)
	}
}

// Connections have no path: words look for who connected, where to, and how it
// ended.
func TestWordsOfConnections(t *testing.T) {
	x := &inspector.Exchange{
		Kind: inspector.TLS, State: inspector.Done, Remote: "203.0.113.7:51512",
		Host: "vault.lrok.example", Detail: "ended by the client (FIN)",
	}
	for q, want := range map[string]bool{
		"113.7": true, "51512": true, "vault": true, "client": true, `"by the client"`: true, "~^203~": true,
		"service": false, "-vault": false, "tls": false,
	} {
		f, err := Parse(q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if got := f.Match(x, Env{}); got != want {
			t.Errorf("%s matches: %v, want %v", q, got, want)
		}
	}
}

func TestGRPCStatus(t *testing.T) {
	call := func(kind inspector.Kind, contentType, code string) *inspector.Exchange {
		x := &inspector.Exchange{Kind: kind, State: inspector.Done, Method: "POST", Path: "/shop.Orders/Get", Status: 200, Proto: "HTTP/2.0"}
		x.Response.Header = []inspector.Field{{Name: "content-type", Value: contentType}}
		if code != "" {
			x.Response.Trailer = []inspector.Field{{Name: "grpc-status", Value: code}}
		}
		return x
	}
	calls := []struct {
		name string
		x    *inspector.Exchange
	}{
		{"ok", call(inspector.GRPC, "application/grpc", "0")},
		{"missing", call(inspector.GRPC, "application/grpc", "5")},
		{"away", call(inspector.GRPC, "application/grpc", "14")},
		{"web", call(inspector.HTTP, "application/grpc-web+proto", "14")},
		{"odd", call(inspector.GRPC, "application/grpc", "42")},
		{"open", call(inspector.GRPC, "application/grpc", "")},
		{"plain", call(inspector.HTTP, "text/html", "14")},
	}
	for _, c := range []struct{ q, canonical, want string }{
		{"grpc:unavailable", "grpc:unavailable", "away web"},
		{"grpc=14", "grpc:unavailable", "away web"},
		{"grpc:NOT-FOUND,Unavailable", "grpc:not_found,unavailable", "missing away web"},
		{"grpc:ok", "grpc:ok", "ok"},
		{"grpc:!ok", "grpc:!ok", "missing away web odd"},
		{"grpc!=0", "grpc:!ok", "missing away web odd"},
		{"-grpc:ok", "-grpc:ok", "missing away web odd open plain"},
		{"grpc:42", "grpc:42", "odd"},
		{"grpc:canceled", "grpc:cancelled", ""},
		{"is:error", "is:error", "missing away web odd"},
		{"is:grpc", "is:grpc", "ok missing away web odd open"},
		{"proto:grpc", "proto:grpc", "ok missing away web odd open"},
	} {
		f, err := Parse(c.q)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.q, err)
			continue
		}
		if got := f.String(); got != c.canonical {
			t.Errorf("%q is %q, want %q", c.q, got, c.canonical)
		}
		var got []string
		for _, call := range calls {
			if f.Match(call.x, env) {
				got = append(got, call.name)
			}
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%q finds %q, want %q", c.q, got, c.want)
		}
	}
	if _, err := Parse("grpc:unavailabel"); err == nil || !strings.Contains(err.Error(), "did you mean unavailable?") {
		t.Errorf("a code that there is not: %v", err)
	}
	if _, err := Parse("grpc>5"); err == nil {
		t.Error("codes are compared by size")
	}
	seen := []inspector.Exchange{*calls[2].x, *calls[3].x}
	if got := Complete("grpc:!un", 8, seen); len(got) < 3 || got[0].Text != "unavailable" || got[0].Help != "seen twice" && got[0].Help != "seen 2 times" {
		t.Errorf("completions = %+v", got)
	}
	// The fields of a message have numbers for names.
	body := Env{Body: func(*inspector.Exchange) (req, resp []byte) {
		return []byte(`{"1":"a","2":{"1":[7,8]}}`), []byte(`[{"1":"b"},{"1":"c"}]`)
	}}
	for q, want := range map[string]bool{
		`json:.["1"]==a`: true, `json:.["2"]["1"][1]==8`: true, `json:.["2"]["1"][*]==9`: false,
		`resp.json:.[*]["1"]==c`: true, `resp.json:.[0]["1"]==c`: false,
	} {
		f, err := Parse(q)
		if err != nil {
			t.Errorf("Parse(%s): %v", q, err)
		} else if got := f.Match(calls[0].x, body); got != want {
			t.Errorf("%s = %v, want %v", q, got, want)
		}
	}
}
