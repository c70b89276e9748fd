package diff

import (
	"mime"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
)

// Headers whose values are new with every request.
var volatileHeaders = []string{
	"date", "age", "x-request-id", "x-correlation-id", "traceparent", "tracestate", "grpc-timeout", "x-amzn-trace-id", "cf-ray",
	"server-timing", "x-runtime", "x-response-time", "*-signature", "*-signature-256", "*-hmac-sha256", "*-timestamp",
	"x-github-delivery",
}

// Headers that belong to one connection or to one version of HTTP.
var connectionHeaders = []string{
	"host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "te", "upgrade",
}

// Headers compares two header blocks by name, whatever its case. Lines of the
// same name are a multiset: equal values are paired first, the others in their
// order. Lines that changed their place come last, as moves; among lines of
// different names that means nothing and is ignored.
func Headers(a, b []inspector.Field, o Options) []HeaderChange {
	changes, _ := compareHeaders(a, b, o, false)
	return changes
}

func compareHeaders(a, b []inspector.Field, o Options, otherProto bool) (changes []HeaderChange, equal int) {
	h := headers{o: o, a: a, b: b, otherProto: otherProto}
	h.toB = make([]int, len(a))
	for i := range h.toB {
		h.toB[i] = -1
	}
	type lines struct{ a, b []int }
	byName := make(map[string]*lines, len(a))
	var names []string
	at := func(name string) *lines {
		name = strings.ToLower(name)
		if byName[name] == nil {
			byName[name] = &lines{}
			names = append(names, name)
		}
		return byName[name]
	}
	for i, f := range a {
		l := at(f.Name)
		l.a = append(l.a, i)
	}
	for j, f := range b {
		l := at(f.Name)
		l.b = append(l.b, j)
	}
	for _, name := range names {
		equal += h.name(name, byName[name].a, byName[name].b)
	}
	h.moves()
	return h.out, equal
}

type headers struct {
	o          Options
	a, b       []inspector.Field
	otherProto bool
	toB        []int // the line of b for each of a that is certain, or -1
	out        []HeaderChange
}

func (h *headers) name(name string, as, bs []int) (equal int) {
	free := make(map[string][]int, len(bs))
	for _, j := range bs {
		free[h.b[j].Value] = append(free[h.b[j].Value], j)
	}
	taken := make(map[int]bool, len(bs))
	var restA, restB []int
	for _, i := range as {
		v := h.a[i].Value
		if js := free[v]; len(js) > 0 {
			h.toB[i], taken[js[0]] = js[0], true
			free[v] = js[1:]
			equal++
			if h.o.Equal {
				h.out = append(h.out, HeaderChange{Name: h.b[js[0]].Name, Op: Equal, A: v, B: v})
			}
			continue
		}
		restA = append(restA, i)
	}
	for _, j := range bs {
		if !taken[j] {
			restB = append(restB, j)
		}
	}
	for k := range max(len(restA), len(restB)) {
		var c HeaderChange
		switch {
		case k >= len(restB):
			f := h.a[restA[k]]
			c = HeaderChange{Name: f.Name, Op: Remove, A: f.Value}
		case k >= len(restA):
			f := h.b[restB[k]]
			c = HeaderChange{Name: f.Name, Op: Add, B: f.Value}
		default:
			f, g := h.a[restA[k]], h.b[restB[k]]
			if len(as) == 1 && len(bs) == 1 {
				h.toB[restA[k]] = restB[k] // else which became which is a guess
			}
			c = HeaderChange{Name: g.Name, Op: Replace, A: f.Value, B: g.Value}
		}
		c.Rule = h.rule(name, &c)
		c.Ignored = c.Rule != ""
		h.out = append(h.out, c)
	}
	return equal
}

func (h *headers) rule(name string, c *HeaderChange) string {
	for i := range h.o.Ignore {
		if h.o.Ignore[i].matchHeader(name) {
			return h.o.Ignore[i].text
		}
	}
	if h.o.Strict {
		return ""
	}
	if h.otherProto && c.Op != Replace && anyHeader(connectionHeaders, name) {
		return ruleProto
	}
	if c.Op != Replace {
		return ""
	}
	switch {
	case name == "content-length" && h.o.BodyDiffers:
		return ruleLength
	case name == "content-type" && sameMultipart(c.A, c.B):
		return ruleBoundary
	case anyHeader(volatileHeaders, name):
		return ruleHeader
	}
	return ""
}

func anyHeader(patterns []string, name string) bool {
	for _, p := range patterns {
		if wildcard(p, name) {
			return true
		}
	}
	return false
}

// sameMultipart reports whether two content types differ in their boundary
// alone.
func sameMultipart(a, b string) bool {
	ta, pa, errA := mime.ParseMediaType(a)
	tb, pb, errB := mime.ParseMediaType(b)
	if errA != nil || errB != nil || ta != tb || !strings.HasPrefix(ta, "multipart/") || len(pa) != len(pb) {
		return false
	}
	for k, v := range pa {
		if k != "boundary" && pb[k] != v {
			return false
		}
	}
	return true
}

// moves reports the lines that changed their place among those on both sides.
func (h *headers) moves() {
	var at []int
	var order []int32
	for i, j := range h.toB {
		if j >= 0 {
			at, order = append(at, i), append(order, int32(j))
		}
	}
	rank := make(map[int32]int, len(order)) // positions in b among the shared lines
	shared := make([]bool, len(h.b))
	for _, j := range order {
		shared[j] = true
	}
	n := 0
	for j, ok := range shared {
		if ok {
			n++
			rank[int32(j)] = n
		}
	}
	// Among lines of one name the order has a meaning.
	swapped := make(map[string]bool)
	last := make(map[string]int32)
	for k, i := range at {
		name := strings.ToLower(h.a[i].Name)
		if before, ok := last[name]; ok && before > order[k] {
			swapped[name] = true
		}
		last[name] = max(last[name], order[k])
	}
	keep := increasing(order)
	for k, i := range at {
		if keep[k] {
			continue
		}
		c := HeaderChange{Name: h.b[order[k]].Name, Op: Move, From: k + 1, To: rank[order[k]]}
		c.A, c.B = h.a[i].Value, h.b[order[k]].Value
		name := strings.ToLower(c.Name)
		c.Rule = h.rule(name, &c)
		if c.Rule == "" && !h.o.Strict && !swapped[name] {
			c.Rule = ruleOrder
		}
		c.Ignored = c.Rule != ""
		h.out = append(h.out, c)
	}
}
