package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// Exchanges compares two captures. Bodies are compared as far as their Data is
// at hand: with exchanges from a list, which hold none, only size and digest
// are.
func Exchanges(a, b *inspector.Exchange, side Side, o Options) Report {
	r := Report{A: ref(a), B: ref(b), Side: side}
	otherProto := major(a.Proto) != major(b.Proto)
	for _, x := range []*inspector.Exchange{a, b} {
		if side != Response {
			o.Progress.expect(len(x.Request.Body.Data))
		}
		if side != Request {
			o.Progress.expect(len(x.Response.Body.Data))
		}
	}
	if side != Response {
		m := messages(&a.Request, &b.Request, otherProto, o)
		m.start(requestLine(a, b, o))
		r.Request = m
	}
	if side != Request {
		m := messages(&a.Response, &b.Response, otherProto, o)
		m.start(statusLine(a, b, o))
		r.Response = m
	}
	return r
}

func ref(x *inspector.Exchange) Ref {
	r := Ref{ID: x.ID, Tunnel: x.Tunnel, Number: x.Number, ReplayOf: x.ReplayOf, Method: x.Method, Path: x.Path, Status: x.Status}
	if x.State == inspector.Done {
		r.Duration = int64(x.Timing.Done)
	}
	return r
}

func major(proto string) string {
	v, _, _ := strings.Cut(proto, ".")
	return v
}

func messages(a, b *inspector.Message, otherProto bool, o Options) *Messages {
	m := &Messages{Body: bodies(a, b, o)}
	o.BodyDiffers = m.Body.Counts.Differ() || m.Body.Counts.Ignored > 0 || a.Body.Size != b.Body.Size
	var equal int
	m.Headers, equal = compareHeaders(a.Header, b.Header, o, otherProto)
	m.Trailers, m.HeaderCounts.Equal = compareHeaders(a.Trailer, b.Trailer, o, otherProto)
	m.HeaderCounts.Equal += equal
	for _, list := range [][]HeaderChange{m.Headers, m.Trailers} {
		for i := range list {
			m.HeaderCounts.differs(list[i].Op, list[i].Ignored)
		}
	}
	return m
}

func (m *Messages) start(changes []Change, equal int) {
	m.Start = changes
	m.StartCounts.Equal = equal
	for i := range changes {
		m.StartCounts.differs(changes[i].Op, changes[i].Ignored)
	}
}

// A startLine collects what differs outside of headers and body.
type startLine struct {
	o       Options
	changes []Change
	equal   int
}

func (s *startLine) text(path, a, b, builtIn string) {
	if a == b {
		s.equal++
		if s.o.Equal && a != "" {
			s.changes = append(s.changes, Change{Path: path, Op: Equal, A: quoteText(a), B: quoteText(b)})
		}
		return
	}
	s.change(Change{Path: path, Op: Replace, A: quoteText(a), B: quoteText(b)}, builtIn)
}

func (s *startLine) change(c Change, builtIn string) {
	for i := range s.o.Ignore {
		if c.Rule == "" && s.o.Ignore[i].matchStart(c.Path) {
			c.Rule = s.o.Ignore[i].text
		}
	}
	if c.Rule == "" && !s.o.Strict {
		c.Rule = builtIn
	}
	c.Ignored = c.Rule != ""
	s.changes = append(s.changes, c)
}

const ruleQuery = "query written differently"

func requestLine(a, b *inspector.Exchange, o Options) ([]Change, int) {
	s := startLine{o: o}
	s.text("method", a.Method, b.Method, "")
	pathA, queryA, _ := strings.Cut(a.Path, "?")
	pathB, queryB, _ := strings.Cut(b.Path, "?")
	s.text("path", pathA, pathB, "")
	if queryA != queryB {
		fields, equal := compareFields(format.Form([]byte(queryA)), format.Form([]byte(queryB)), "query", o)
		s.changes = append(s.changes, fields...)
		s.equal += equal
		if !slices.ContainsFunc(fields, func(c Change) bool { return c.Op != Equal }) {
			s.text("query", queryA, queryB, ruleQuery)
		}
	}
	if a.Request.Get("Host") == "" || b.Request.Get("Host") == "" { // else a header tells
		s.text("host", a.Host, b.Host, "")
	}
	s.text("proto", a.Proto, b.Proto, ruleProto)
	return s.changes, s.equal
}

func statusLine(a, b *inspector.Exchange, o Options) ([]Change, int) {
	s := startLine{o: o}
	if a.Status != b.Status {
		c := Change{Path: "status", Op: Replace}
		if a.Status != 0 {
			c.A = strconv.AppendInt(nil, int64(a.Status), 10)
		}
		if b.Status != 0 {
			c.B = strconv.AppendInt(nil, int64(b.Status), 10)
		}
		s.change(c, "")
	} else {
		s.equal++
		if s.o.Equal && a.Status != 0 {
			v := strconv.AppendInt(nil, int64(a.Status), 10)
			s.changes = append(s.changes, Change{Path: "status", Op: Equal, A: v, B: v})
		}
		s.text("reason", a.Reason, b.Reason, ruleReason)
	}
	callA, okA := a.GRPC()
	callB, okB := b.GRPC()
	if okA || okB {
		name := func(s inspector.GRPCStatus, ok bool) string {
			if !ok {
				return ""
			}
			return s.Name()
		}
		s.text("grpc", name(callA, okA), name(callB, okB), "")
	}
	s.text("error", a.Error, b.Error, "")
	s.text("endedBy", a.EndedBy, b.EndedBy, "")
	return s.changes, s.equal
}

// Equal reports whether the captures are equal but for what rules ignore. A
// body of which not enough was captured to know is not equal.
func (r Report) Equal() bool {
	for _, m := range []*Messages{r.Request, r.Response} {
		if m != nil && (m.StartCounts.Differ() || m.HeaderCounts.Differ() || m.Body.Counts.Differ() || m.Body.Incomplete) {
			return false
		}
	}
	return true
}

// Ignored counts the differences that rules ignore.
func (r Report) Ignored() int {
	n := 0
	for _, m := range []*Messages{r.Request, r.Response} {
		if m != nil {
			n += m.StartCounts.Ignored + m.HeaderCounts.Ignored + m.Body.Counts.Ignored
		}
	}
	return n
}

// Summary is the report in one line: "status 200 -> 500, body ~2 +1 -1". It is
// safe on a terminal.
func (r Report) Summary() string {
	var parts []string
	for _, m := range []*Messages{r.Request, r.Response} {
		if m == nil {
			continue
		}
		found := m.summary()
		if r.Side == Both && len(found) > 0 {
			name := "request "
			if m == r.Response {
				name = "response "
			}
			found[0] = name + found[0]
		}
		parts = append(parts, found...)
	}
	if len(parts) == 0 {
		parts = append(parts, "equal")
	}
	if n := r.Ignored(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d ignored", n))
	}
	return strings.Join(parts, ", ")
}

func (m *Messages) summary() []string {
	var parts []string
	for i := range m.Start {
		if c := &m.Start[i]; !c.Ignored && c.Op != Equal {
			parts = append(parts, c.Path+" "+c.values(c.Path, 40))
		}
	}
	if m.HeaderCounts.Differ() {
		parts = append(parts, "headers "+m.HeaderCounts.signs())
	}
	switch b := &m.Body; {
	case b.Counts.Differ() && b.Binary != nil:
		parts = append(parts, "body "+format.Bytes(b.SizeA)+" -> "+format.Bytes(b.SizeB))
	case b.Counts.Differ() && b.Kind == "text":
		parts = append(parts, "body "+b.Counts.signs()+" lines")
	case b.Counts.Differ():
		parts = append(parts, "body "+b.Counts.signs())
	case b.Incomplete:
		parts = append(parts, "body not compared to its end")
	}
	return parts
}

// signs writes counts as ~changed +added -removed >moved.
func (c Counts) signs() string {
	var parts []string
	for _, p := range []struct {
		sign string
		n    int
	}{{"~", c.Changed}, {"+", c.Added}, {"-", c.Removed}, {">", c.Moved}} {
		if p.n > 0 {
			parts = append(parts, p.sign+strconv.Itoa(p.n))
		}
	}
	return strings.Join(parts, " ")
}
