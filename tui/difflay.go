package tui

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A comparison is a report laid out in rows. It may have a hundred thousand of
// them, so it is made by a command, never in the screen's loop.
type comparison struct {
	report            diff.Report
	of                [2]inspector.Exchange
	request, response comparedSide
}

// A comparedSide is one message of a comparison. Apart has the lines of text
// side by side; without lines it is together once more.
type comparedSide struct {
	*diff.Messages
	together, apart diffRows
	changes         int // that no rule ignores, as many as there are to go to
	ignored         int
}

// lines reports whether the body was compared line by line.
func (s *comparedSide) lines() bool { return s.Messages != nil && len(s.Body.Lines) > 0 }

// diffRows are rows and what would be dear to find in them for each frame.
type diffRows struct {
	list  []diffRow
	stops []int // the rows that n and N go to
	path  int   // bytes of the longest path
}

type rowKind uint8

const (
	rowBlank rowKind = iota
	rowSection
	rowValue
	rowLine
	rowHex
	rowNote
	rowFold // what rules ignore, in one row
)

// A diffRow is one row of a comparison. It points into the report.
type diffRow struct {
	kind   rowKind
	stop   bool // n and N stop here
	title  string
	counts *diff.Counts
	note   string
	plain  string // of a section, what is equal

	change *diff.Change
	header *diff.HeaderChange
	// a and b are a line of text on either side; where lines stand below each
	// other one of them is nil.
	a, b *diff.Line
	// inA and inB are the words that differ in long values.
	inA, inB []diff.Span
	// window and at are 16 bytes of two binary bodies.
	window *diff.Window
	at     int
}

// layComparison makes the rows of r. With all of them what is equal, and what is
// ignored, has rows of its own.
func layComparison(r diff.Report, all bool) *comparison {
	c := &comparison{report: r}
	words := maxEmphasis
	for _, s := range []struct {
		to   *comparedSide
		ms   *diff.Messages
		side diff.Side
	}{{&c.request, r.Request, diff.Request}, {&c.response, r.Response, diff.Response}} {
		if s.ms == nil {
			continue
		}
		s.to.Messages = s.ms
		s.to.changes, s.to.ignored = counts(s.ms)
		l := layer{all: all, words: &words}
		l.side(&r, s.ms, s.side)
		s.to.together = l.done()
		if n := len(s.to.together.stops); n > 0 {
			s.to.changes = n // as n and N count: lines next to each other are one
		}
		s.to.apart = s.to.together
		if s.to.lines() {
			l := layer{all: all, words: &words, apart: true}
			l.side(&r, s.ms, s.side)
			s.to.apart = l.done()
		}
	}
	return c
}

// counts is what differs on a side, for its tab.
func counts(m *diff.Messages) (n, ignored int) {
	for _, c := range []diff.Counts{m.StartCounts, m.HeaderCounts, m.Body.Counts} {
		n += c.Added + c.Removed + c.Changed + c.Moved
		ignored += c.Ignored
	}
	return n, ignored
}

// What the emphasis on words in long values may cost in one comparison, and what
// counts as long.
const (
	maxEmphasis = 4 << 20
	longValue   = 60
)

// A layer writes rows.
type layer struct {
	rows  []diffRow
	all   bool
	apart bool
	words *int // bytes that may still be compared by word
}

func (l *layer) done() diffRows {
	out := diffRows{list: l.rows, path: 8}
	for i := range l.rows {
		r := &l.rows[i]
		if r.stop {
			out.stops = append(out.stops, i)
		}
		if r.kind == rowValue {
			out.path = max(out.path, len(r.path()))
		}
	}
	return out
}

func (l *layer) add(r diffRow) { l.rows = append(l.rows, r) }

func (l *layer) section(title string, c *diff.Counts, plain string) {
	if len(l.rows) > 0 {
		l.add(diffRow{})
	}
	var notes []string
	switch {
	case c.Equal > 0 && l.all:
		notes = append(notes, format.Count(int64(c.Equal))+" equal")
	case c.Equal > 0 && plain == "":
		notes = append(notes, format.Count(int64(c.Equal))+" equal hidden")
	}
	if c.Ignored > 0 {
		notes = append(notes, format.Count(int64(c.Ignored))+" ignored")
	}
	l.add(diffRow{kind: rowSection, title: title, counts: c, note: strings.Join(notes, ", "), plain: plain})
}

func (l *layer) side(r *diff.Report, ms *diff.Messages, side diff.Side) {
	name, plain := "status", ""
	if r.A.Status > 0 {
		plain = sprintf("%d", r.A.Status)
	}
	if side == diff.Request {
		name, plain = "request line", r.A.Method+" "+r.A.Path
	}
	if ms.StartCounts.Differ() || l.all || len(ms.Start) > 0 {
		plain = ""
	}
	l.section(name, &ms.StartCounts, plain)
	for i := range ms.Start {
		l.change(&ms.Start[i])
	}
	l.section("headers", &ms.HeaderCounts, "")
	for _, list := range [][]diff.HeaderChange{ms.Headers, ms.Trailers} {
		for i := range list {
			l.header(&list[i])
		}
	}
	b := &ms.Body
	l.section("body", &b.Counts, "")
	var ignored []*diff.Change
	for i := range b.Changes {
		if c := &b.Changes[i]; c.Ignored && !l.all {
			ignored = append(ignored, c)
		} else {
			l.change(c)
		}
	}
	l.fold(ignored)
	switch {
	case !b.Counts.Differ() && !l.all: // nothing but equal lines
	case l.apart:
		l.linesApart(b.Lines)
	default:
		l.lines(b.Lines)
	}
	if b.Binary != nil {
		l.binary(b)
	}
	if b.Incomplete {
		l.add(diffRow{kind: rowNote, note: "not all of both bodies could be compared"})
	}
	for _, n := range b.Notes {
		l.add(diffRow{kind: rowNote, note: n})
	}
}

func (l *layer) change(c *diff.Change) {
	r := diffRow{kind: rowValue, change: c, note: c.Note, stop: !c.Ignored && c.Op != diff.Equal}
	if c.Op == diff.Replace && max(len(c.A), len(c.B)) > longValue && len(c.A) > 0 && len(c.B) > 0 && c.A[0] == '"' && c.B[0] == '"' {
		r.inA, r.inB = l.emphasis(string(c.A), string(c.B))
	}
	l.add(r)
}

func (l *layer) header(h *diff.HeaderChange) {
	r := diffRow{kind: rowValue, header: h, stop: !h.Ignored && h.Op != diff.Equal}
	if h.Op == diff.Replace && max(len(h.A), len(h.B)) > longValue && format.MaskHeader(h.Name, h.A) == h.A && format.MaskHeader(h.Name, h.B) == h.B {
		r.inA, r.inB = l.emphasis(h.A, h.B)
	}
	l.add(r)
}

func (l *layer) emphasis(a, b string) (inA, inB []diff.Span) {
	if *l.words -= len(a) + len(b); *l.words < 0 {
		return nil, nil
	}
	return diff.Words(a, b)
}

// fold is one row for what rules ignore: it is not news, and not kept secret
// either.
func (l *layer) fold(list []*diff.Change) {
	if len(list) == 0 {
		return
	}
	var b strings.Builder
	for i, c := range list {
		if b.Len() > 300 {
			b.WriteString(sprintf("  and %d more", len(list)-i))
			break
		}
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(clip(c.Path, 30))
	}
	verb := "differ"
	if len(list) == 1 {
		verb = "differs"
	}
	l.add(diffRow{kind: rowFold, title: b.String(), note: verb + ", ignored by rule"})
}

// around is how many equal lines stand around each change of a text.
const around = 3

// equals calls show for the equal lines from i on that are on the screen and
// writes a note for those that are not. It returns where they end.
func (l *layer) equals(list []diff.Line, i int, show func(*diff.Line)) int {
	end := i
	for end < len(list) && list[end].Op == diff.Equal {
		end++
	}
	head, foot := around, around
	if i == 0 {
		head = 0
	}
	if end == len(list) {
		foot = 0
	}
	for k := i; k < end; k++ {
		if hidden := end - foot - k; !l.all && k-i >= head && hidden > 1 {
			l.add(diffRow{kind: rowNote, note: format.Count(int64(hidden)) + " equal lines"})
			k = end - foot - 1
			continue
		}
		show(&list[k])
	}
	return end
}

// lines lays a text out with removed and added lines below each other.
func (l *layer) lines(list []diff.Line) {
	for i := 0; i < len(list); {
		if list[i].Op == diff.Equal {
			i = l.equals(list, i, func(e *diff.Line) { l.add(diffRow{kind: rowLine, a: e, b: e}) })
			continue
		}
		r := diffRow{kind: rowLine, a: &list[i], stop: i == 0 || list[i-1].Op == diff.Equal}
		if list[i].Op == diff.Add {
			r.a, r.b = nil, &list[i]
		}
		l.add(r)
		i++
	}
}

// linesApart lays a text out side by side.
func (l *layer) linesApart(list []diff.Line) {
	for i := 0; i < len(list); {
		if list[i].Op == diff.Equal {
			i = l.equals(list, i, func(e *diff.Line) { l.add(diffRow{kind: rowLine, a: e, b: e}) })
			continue
		}
		start := i
		for i < len(list) && list[i].Op == diff.Remove {
			i++
		}
		middle := i
		for i < len(list) && list[i].Op == diff.Add {
			i++
		}
		for k := range max(middle-start, i-middle) {
			r := diffRow{kind: rowLine, stop: k == 0}
			if start+k < middle {
				r.a = &list[start+k]
			}
			if middle+k < i {
				r.b = &list[middle+k]
			}
			l.add(r)
		}
	}
}

// binary tells size, digest, where the bodies first differ, and the bytes there.
func (l *layer) binary(b *diff.Body) {
	x := b.Binary
	fact := func(name, a, b string) {
		op := diff.Replace
		if a == b {
			op = diff.Equal
		}
		l.add(diffRow{kind: rowValue, stop: name == "size", change: &diff.Change{Path: name, Op: op, A: json.RawMessage(a), B: json.RawMessage(b)}})
	}
	fact("size", format.Bytes(b.SizeA), format.Bytes(b.SizeB))
	if x.SHA256A != "" && x.SHA256B != "" {
		fact("sha256", x.SHA256A, x.SHA256B)
	}
	if x.Offset >= 0 {
		l.add(diffRow{kind: rowNote, note: sprintf("first difference at byte %s (%08x)", format.Count(x.Offset), x.Offset)})
	}
	for i := range x.Windows {
		w := &x.Windows[i]
		l.add(diffRow{})
		for at := 0; at < max(len(w.A), len(w.B)); at += 16 {
			l.add(diffRow{kind: rowHex, window: w, at: at, stop: at == 0})
		}
	}
}

func (r *diffRow) op() diff.Op {
	switch {
	case r.change != nil:
		return r.change.Op
	case r.header != nil:
		return r.header.Op
	case r.a == nil && r.b != nil:
		return diff.Add
	case r.a != nil && r.b == nil:
		return diff.Remove
	case r.a != nil && r.a != r.b:
		return diff.Replace
	}
	return diff.Equal
}

func (r *diffRow) path() string {
	switch {
	case r.change != nil:
		return r.change.Path
	case r.header != nil:
		return r.header.Name
	}
	return ""
}

// rule is what ignores the row, "" for nothing.
func (r *diffRow) rule() string {
	switch {
	case r.change != nil:
		return r.change.Rule
	case r.header != nil:
		return r.header.Rule
	}
	return ""
}

// target is what a rule calls the row, "" where none can be made.
func (r *diffRow) target() string {
	switch {
	case r.header != nil:
		return "header:" + strings.ToLower(r.header.Name)
	case r.change != nil && r.change.Path != ".":
		return r.change.Path
	}
	return ""
}

// values are at least the first n bytes of both sides, as the screen may show
// them.
func (r *diffRow) values(reveal bool, n int) (a, b string) {
	switch {
	case r.header != nil:
		h := r.header
		if h.Op == diff.Move {
			return sprintf("line %d", h.From), sprintf("line %d", h.To)
		}
		a, b = clip(h.A, n), clip(h.B, n)
		if !reveal {
			a, b = clip(format.MaskHeader(h.Name, h.A), n), clip(format.MaskHeader(h.Name, h.B), n)
		}
	case r.change != nil:
		c := r.change
		a, b = value(c.A, n), value(c.B, n)
		if name, ok := strings.CutPrefix(c.Path, "query."); ok && !reveal && format.SecretParam(name) {
			a, b = masked(a), masked(b)
		}
		if c.Op == diff.Move {
			b = sprintf("to %d", c.To)
		}
	case r.kind == rowLine:
		if r.a != nil {
			a = clip(r.a.Text, n)
		}
		if r.b != nil {
			b = clip(r.b.Text, n)
		}
	}
	return a, b
}

func masked(s string) string {
	if s == "" {
		return ""
	}
	return "●●●●"
}

// value is the beginning of a JSON value on one row.
func value(raw json.RawMessage, n int) string {
	if len(raw) < 4096 && bytes.ContainsAny(raw, "\n\t") {
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			raw = b.Bytes()
		}
	}
	return string(raw[:min(len(raw), n)])
}

// clip is the first n bytes of s.
func clip(s string, n int) string { return s[:min(len(s), n)] }
