package diff

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/lrok-dev/lrok/inspector"
)

func answer(status int, contentType, body string, header ...inspector.Field) *inspector.Exchange {
	n := int64(len(body))
	x := &inspector.Exchange{Tunnel: "acme", Method: "GET", Path: "/x", Proto: "HTTP/1.1"}
	x.Status = status
	x.Response.Header = append([]inspector.Field{{Name: "Content-Type", Value: contentType}}, header...)
	x.Response.Body = inspector.Body{Size: n, Captured: n, Data: []byte(body)}
	return x
}

// What is equal is listed only when it is asked for, and counts alike.
func TestEqualIsListed(t *testing.T) {
	a := answer(200, "application/json", `{"id":1,"list":[1,{"k":[2,3]},4],"same":{"a":1,"b":[2]},"n":1}`, inspector.Field{Name: "X", Value: "1"})
	b := answer(200, "application/json", `{"id":1,"list":[1,{"k":[2,9]},4],"same":{"b":[2],"a":1},"n":2}`, inspector.Field{Name: "X", Value: "1"})
	without := Exchanges(a, b, Response, Options{})
	with := Exchanges(a, b, Response, Options{Equal: true})
	if without.Summary() != with.Summary() || without.Response.Body.Counts != with.Response.Body.Counts ||
		without.Response.HeaderCounts != with.Response.HeaderCounts || without.Response.StartCounts != with.Response.StartCounts {
		t.Errorf("with what is equal the report says %+v, without %+v", with.Response.Body.Counts, without.Response.Body.Counts)
	}
	var got []string
	for _, c := range with.Response.Body.Changes {
		got = append(got, fmt.Sprintf("%s %s", c.Op, c.Path))
	}
	want := []string{"equal .id", "equal .list[0]", "equal .list[1].k[0]", "replace .list[1].k[1]", "equal .list[2]", "equal .same", "replace .n"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(with.Response.Headers); n != 2 || with.Response.Headers[0].Op != Equal {
		t.Errorf("headers: %+v, want both as equal", with.Response.Headers)
	}
	if c := with.Response.Start; len(c) == 0 || c[0].Path != "status" || c[0].Op != Equal {
		t.Errorf("start: %+v, want the status as equal", c)
	}
	out, err := Apply(a.Response.Body.Data, with.Response.Body.Changes)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := JSON(out, b.Response.Body.Data, Options{Strict: true}); err != nil || len(left) > 0 {
		t.Errorf("applied it is %s, which still differs: %v %v", out, left, err)
	}
	for _, c := range without.Response.Body.Changes {
		if c.Op == Equal {
			t.Errorf("%s is listed as equal though nobody asked", c.Path)
		}
	}
}

func TestEqualListIsBounded(t *testing.T) {
	// Numbers in an array are values each: more of them than are listed.
	list := func(last string) string { return "[" + strings.Repeat("[7],1,", maxEqual) + last + "]" }
	r := Exchanges(answer(200, "application/json", list("1")), answer(200, "application/json", list("2")), Response, Options{Equal: true})
	if n := len(r.Response.Body.Changes); n != maxEqual+1 {
		t.Errorf("%d changes are listed, want %d", n, maxEqual+1)
	}
	if c := r.Response.Body.Counts; c.Changed != 1 || c.Equal != 2*maxEqual {
		t.Errorf("counts are %+v", c)
	}
	if notes := strings.Join(r.Response.Body.Notes, "; "); !strings.Contains(notes, "20,000 are not listed") {
		t.Errorf("notes are %q", notes)
	}
}

func TestPlainComparesJSONByLine(t *testing.T) {
	a, b := answer(200, "application/json", `{"a":1,"b":[1,2]}`), answer(200, "application/json", `{"a":1,"b":[1,3]}`)
	body := Exchanges(a, b, Response, Options{Plain: true}).Response.Body
	if body.Kind != "text" || body.Counts.Removed != 1 || body.Counts.Added != 1 || len(body.Lines) != 8 {
		t.Errorf("plain is %s with %+v in %d lines, want text, one line each and 8", body.Kind, body.Counts, len(body.Lines))
	}
}

func TestProgressReachesItsEnd(t *testing.T) {
	list := func(n int) string { return "[" + strings.Repeat("[1],", 40_000) + fmt.Sprint(n) + "]" }
	for _, contentType := range []string{"application/json", "text/plain", "application/octet-stream"} {
		var p Progress
		Exchanges(answer(200, contentType, list(1)), answer(200, contentType, list(2)), Both, Options{Progress: &p})
		if read, total := p.Bytes(); read != total || total < 2*160_000 {
			t.Errorf("%s: read %d of %d, want all of more than 320,000", contentType, read, total)
		}
	}
}

// A comparison that nobody waits for ends at once, whatever it compares.
func TestDoneStopsEveryKind(t *testing.T) {
	done := make(chan struct{})
	close(done)
	// Lines in reverse have no order in common: the dear case.
	var x, y bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&x, "%d\n", i%1000)
		fmt.Fprintf(&y, "%d\n", (i*7)%1000)
	}
	whole := Exchanges(answer(200, "text/plain", x.String()), answer(200, "text/plain", y.String()), Response, Options{})
	cut := Exchanges(answer(200, "text/plain", x.String()), answer(200, "text/plain", y.String()), Response, Options{Done: done})
	if whole.Response.Body.Counts.Equal <= cut.Response.Body.Counts.Equal {
		t.Errorf("stopped it found %d equal lines, whole %d: it was not stopped", cut.Response.Body.Counts.Equal, whole.Response.Body.Counts.Equal)
	}
	if cut.Equal() {
		t.Error("a stopped comparison says equal")
	}
	list := func(n int) string { return "[" + strings.Repeat("[1],", 80_000) + fmt.Sprint(n) + "]" }
	r := Exchanges(answer(200, "application/json", list(1)), answer(200, "application/json", list(2)), Response, Options{Done: done})
	if r.Equal() {
		t.Error("a stopped comparison of JSON says equal")
	}
}

// What a start line says and a value of the same name are two things: a rule
// for one leaves the other.
func TestRulesOfTheStartLine(t *testing.T) {
	a, b := answer(200, "application/json", `{"status":"paid","path":1}`), answer(500, "application/json", `{"status":"open","path":2}`)
	a.Path, b.Path = "/x?page=1&token=a&page=2", "/x?page=1&token=b&page=3"
	for rule, want := range map[string]string{
		".status":      "query.token query.page#2 status .path",
		"status":       "query.token query.page#2 .status .path",
		"..status":     "query.token query.page#2 status .path",
		"query.token":  "query.page#2 status .status .path",
		"query.page":   "query.token status .status .path",
		"query.*":      "status .status .path",
		".path":        "query.token query.page#2 status .status",
		"header:token": "query.token query.page#2 status .status .path",
	} {
		r := Exchanges(a, b, Both, Options{Ignore: rules(t, rule)})
		var got []string
		for _, list := range [][]Change{r.Request.Start, r.Response.Start, r.Response.Body.Changes} {
			for _, c := range list {
				if !c.Ignored {
					got = append(got, c.Path)
				}
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("rule %s leaves %q, want %q", rule, s, want)
		}
	}
	if got := Generalize("query.page#2"); got != "query.page" {
		t.Errorf("the rule for query.page#2 is %q", got)
	}
	for _, bad := range []string{"query.", "stat", "body"} {
		if _, err := ParseRule(bad); err == nil {
			t.Errorf("ParseRule(%q) is no error", bad)
		}
	}
}
