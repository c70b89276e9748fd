package tui

import (
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/format"
)

func (d *diffPane) draw(m *model, out []string, focused bool) []string {
	th := m.th
	add := func(f func(*line)) {
		l := th.line(d.width)
		f(&l)
		out = append(out, l.String())
	}
	if d.empty != "" {
		for _, s := range wrapWords(d.empty, d.width) {
			add(func(l *line) { l.put(dim, s) })
		}
		return out
	}
	if d.c == nil {
		add(func(l *line) {
			l.put(dim, d.doing(m))
			if d.busy != nil && (m.focus == inDiff || m.focus == inDetail) {
				l.put(dim, "   esc cancels")
			}
		})
		return out
	}
	add(func(l *line) { d.title(m, l) })
	add(func(l *line) { d.tabs(m, l) })
	add(func(l *line) { l.fill(border, th.g.rule, d.width) })
	rows, foot := d.body()
	list := d.rows()
	pathW := min(list.path, max(d.width*2/5, 10))
	valueW := d.valueWidth(m, pathW, d.top, d.top+rows)
	for i := d.top; i < d.top+rows; i++ {
		if i >= len(list.list) {
			out = append(out, "")
			continue
		}
		add(func(l *line) { d.line(m, l, &list.list[i], pathW, valueW, focused && i == d.cur) })
	}
	if foot > 0 {
		add(func(l *line) {
			if more := len(list.list) - d.top - rows; more > 0 {
				s := sprintf(" %s %d more ", th.g.down, more)
				l.fill(border, th.g.rule, d.width-th.width(s)-1)
				l.put(dim, s)
			}
			l.fill(border, th.g.rule, d.width)
		})
		out = d.foot(m, out, foot-1)
	}
	return out
}

// long reports whether it takes its time, so that the screen has to say so.
func (b *comparing) long(m *model) bool { return m.c.Now().Sub(b.began) >= 100*time.Millisecond }

// doing says how far the comparison under way is, once that takes its time.
func (d *diffPane) doing(m *model) string {
	s := "comparing" + m.th.g.ellipsis
	if d.busy == nil || !d.busy.long(m) {
		return s
	}
	if read, total := d.busy.progress.Bytes(); total > 0 {
		return sprintf("%s %s of %s", s, format.Bytes(min(read, total)), format.Bytes(total))
	}
	return s
}

// title names both sides. What is short of them stays; the paths share the room
// that it leaves.
func (d *diffPane) title(m *model, l *line) {
	a, b := &d.c.report.A, &d.c.report.B
	target := func(r *diff.Ref) string {
		if m.reveal {
			return r.Path
		}
		return format.RedactTarget(r.Path)
	}
	other := asked(a) != asked(b) && !d.draft
	draw := func(l *line, pathA, pathB int) {
		ref := func(name string, r *diff.Ref, path int) {
			l.put(badge, " "+name+" ")
			if d.draft && name == "B" {
				l.put(warn, " edited, not sent yet")
				return
			}
			if r.Tunnel != "" && a.Tunnel != b.Tunnel {
				l.put(dim, " "+clip(r.Tunnel, 20))
			}
			if r.Number > 0 && (m.outside == nil || r.ID != m.outside.ID) {
				l.put(dim, sprintf(" #%d", r.Number))
			}
			if r.ReplayOf != "" {
				l.put(accent, " "+m.th.g.replay)
			}
			if o := m.outside; o != nil && r.ID == o.ID {
				l.put(text, " "+clip(o.Host, 40))
			}
			switch {
			case d.width < 60:
			case name == "A" || other:
				l.put(strong, " "+clip(r.Method, 8)+" ")
				if path > 0 {
					l.put(text, m.th.shortPath(target(r), path))
				}
			default:
				l.put(dim, " "+m.th.g.ellipsis)
			}
			word := "no answer"
			if r.Status > 0 {
				word = sprintf("%d", r.Status)
			}
			l.put(status(r.Status), " "+word)
			if d.width >= 44 && r.Duration > 0 {
				l.put(dim, " "+format.Duration(nanoseconds(r.Duration)))
			}
		}
		if d.width >= 60 {
			l.put(strong, "Diff  ")
		}
		ref("A", a, pathA)
		l.gap(3)
		ref("B", b, pathB)
	}
	probe := m.th.line(2 * d.width)
	draw(&probe, 0, 0)
	room := max(d.width-probe.w, 2)
	pathA, pathB := room, 0
	if other {
		pathB = min(m.th.width(clip(target(b), 400)), max(room/2, room-m.th.width(clip(target(a), 400))))
		pathA = room - pathB
	}
	draw(l, pathA, pathB)
}

// asked is what a request wants.
func asked(r *diff.Ref) string { return r.Method + " " + r.Path }

// kinds are what a body was compared as.
var kinds = map[string]string{
	"none": "", "json": "json, by structure", "protobuf": "protobuf, by field number", "form": "form, by field", "multipart": "multipart, by part",
	"text": "text, by line", "binary": "bytes",
}

func (d *diffPane) tabs(m *model, l *line) {
	sides := []struct {
		side diff.Side
		of   *comparedSide
		name string
	}{{diff.Request, &d.c.request, "Request"}, {diff.Response, &d.c.response, "Response"}}
	for i, s := range sides {
		if s.of.Messages == nil {
			continue
		}
		mark := "="
		if s.of.changes > 0 {
			mark = format.Count(int64(s.of.changes))
		}
		r, c := dim, dim
		if s.side == d.side {
			r, c = strong, changed
		}
		if i > 0 && l.w > 0 {
			l.gap(3)
		}
		l.put(r, s.name+" ")
		l.put(c, mark)
	}
	front := d.front()
	at, total := d.nth(), len(d.rows().stops)
	right := "no difference"
	switch {
	case d.busy != nil && d.busy.long(m):
		right = d.doing(m)
	case total > 0:
		right = sprintf("change %s of %s", format.Count(int64(max(at, 1))), format.Count(int64(total)))
	case front.Messages != nil && front.Body.Incomplete:
		right = "not all compared"
	}
	rightW := m.th.width(right)
	more := func(s string) {
		if s != "" && l.room() > m.th.width(s)+rightW+5 {
			l.put(dim, "   "+s)
		}
	}
	if front.Messages != nil {
		if kind := kinds[front.Body.Kind]; kind != "" {
			more("body: " + kind)
		}
		if front.ignored > 0 {
			more(format.Count(int64(front.ignored)) + " ignored")
		}
	}
	if l.room() > rightW {
		l.to(d.width - rightW)
		l.put(dim, right)
	}
}

var marks = map[diff.Op]string{diff.Add: "+", diff.Remove: "-", diff.Replace: "~", diff.Move: ">", diff.Equal: " "}

func opRole(op diff.Op) role {
	switch op {
	case diff.Add:
		return added
	case diff.Remove:
		return removed
	case diff.Replace, diff.Move:
		return changed
	}
	return text
}

// valueWidth is the room for values of A: what the rows in view need, so that
// the arrows stand in one column, but not more than half.
func (d *diffPane) valueWidth(m *model, pathW, from, to int) int {
	half := max((d.width-pathW-10)/2, 4)
	w := 4
	list := d.rows().list
	for i := from; i < min(to, len(list)); i++ {
		if r := &list[i]; r.kind == rowValue {
			a, _ := r.values(m.reveal, 4*half+16)
			w = max(w, m.th.width(a))
		}
	}
	return min(w, half)
}

func (d *diffPane) line(m *model, l *line, r *diffRow, pathW, valueW int, cur bool) {
	g := &m.th.g
	if cur {
		l.on(true)
		l.put(accent, g.bar)
	} else {
		l.put(text, " ")
	}
	switch r.kind {
	case rowBlank:
	case rowSection:
		d.section(m, l, r)
	case rowNote:
		l.put(dim, "   "+g.dot+" "+r.note)
	case rowFold:
		l.put(dim, " "+g.dot+" ")
		note := "   " + r.note + " (I edits rules)"
		w := max(l.room()-m.th.width(note), 12)
		keep := l.max
		l.max = min(l.w+w, keep)
		l.put(dim, r.title)
		l.max = keep
		l.put(dim, note)
	case rowHex:
		d.hex(m, l, r)
	case rowLine:
		d.textLine(m, l, r)
	case rowValue:
		d.value(m, l, r, pathW, valueW)
	}
	if cur {
		l.rest()
	}
}

func (d *diffPane) section(m *model, l *line, r *diffRow) {
	l.cell(strong, r.title, 14)
	if r.plain != "" {
		l.put(dim, "= ")
		s := r.plain
		if !m.reveal {
			s = format.RedactTarget(s)
		}
		l.put(dim, m.th.shortPath(s, max(l.room(), 4)))
		return
	}
	if !r.counts.Differ() {
		l.put(dim, "= same")
	} else {
		var s []string
		for _, p := range []struct {
			mark string
			n    int
		}{{"~", r.counts.Changed}, {"+", r.counts.Added}, {"-", r.counts.Removed}, {">", r.counts.Moved}} {
			if p.n > 0 {
				s = append(s, p.mark+format.Count(int64(p.n)))
			}
		}
		l.put(changed, strings.Join(s, "  "))
	}
	if r.note != "" {
		l.put(dim, "   "+r.note)
		if strings.HasSuffix(r.note, "hidden") && l.room() > 14 {
			l.put(dim, " (= shows)")
		}
	}
}

func (d *diffPane) value(m *model, l *line, r *diffRow, pathW, valueW int) {
	g := &m.th.g
	op, ignored := r.op(), r.rule() != ""
	role, name := opRole(op), strong
	if ignored || op == diff.Equal {
		role, name = dim, dim
	}
	l.put(role, " "+marks[op]+" ")
	l.cell(name, m.th.shortPath(r.path(), pathW), pathW)
	l.gap(2)
	a, b := r.values(m.reveal, 32*d.width+64+reach(r.inA, r.inB))
	if op == diff.Equal && a == b {
		l.put(dim, a)
		return
	}
	note := ""
	if ignored && d.draft {
		note = "   follows the body"
	} else if ignored {
		note = "   ignored: " + r.rule()
	} else if r.note != "" {
		note = "   " + r.note
	}
	ra, rb := removed, added
	if ignored {
		ra, rb = dim, dim
	}
	if op == diff.Add || a == "" && r.change != nil {
		a, ra = g.none, dim
	}
	if op == diff.Remove || b == "" && r.change != nil {
		b, rb = g.none, dim
	}
	end := min(l.w+valueW, l.max)
	if b == g.none { // room enough for all of A
		end = max(end, min(l.w+m.th.width(a), l.max-4-m.th.width(note)))
	}
	keep := l.max
	l.max = end
	m.th.putWords(l, ra, a, r.inA)
	l.max = keep
	l.to(end)
	l.put(dim, " "+g.arrow+" ")
	if ignored && !d.draft && m.th.width(b)+m.th.width(note) > l.room() {
		note = "   ignored" // the foot says by which rule
		if m.th.width(b)+m.th.width(note) > l.room() {
			note = " ignored"
		}
	}
	l.max -= min(m.th.width(note), max(l.room()-min(m.th.width(b), 8), 0))
	m.th.putWords(l, rb, b, r.inB)
	if l.max = keep; m.th.width(note) <= l.room() {
		l.put(dim, note)
	}
}

// reach is how many bytes of a value are needed to get to its first words that
// differ.
func reach(spans ...[]diff.Span) int {
	n := 0
	for _, s := range spans {
		if len(s) > 0 {
			n = max(n, s[0].Start)
		}
	}
	return n
}

// putWords puts a value with the words that differ standing out. Where those
// begin beyond the end of the line, the beginning is left out.
func (t *theme) putWords(l *line, base role, s string, spans []diff.Span) {
	if len(spans) == 0 {
		l.put(base, s)
		return
	}
	at := 0
	if first := spans[0].Start; first <= len(s) && first > l.room()*2/3 {
		at = first - min(l.room()/3, 12)
		for at < first && !startsRune(s, at) {
			at++
		}
		l.put(dim, t.g.ellipsis)
	}
	for _, p := range spans {
		if p.Start > p.End || p.Start >= len(s) || l.room() == 0 {
			break
		}
		if p.End <= at {
			continue
		}
		p.Start = max(p.Start, at)
		l.put(text, s[at:p.Start])
		end := min(p.End, len(s))
		l.put(base, s[p.Start:end])
		at = end
	}
	l.put(text, s[min(at, len(s)):])
}

func startsRune(s string, i int) bool { return i >= len(s) || s[i]&0xc0 != 0x80 }

// textLine puts a line of text; side by side, both.
func (d *diffPane) textLine(m *model, l *line, r *diffRow) {
	if !d.apart {
		op := r.op()
		one := r.a
		if one == nil {
			one = r.b
		}
		l.put(opRole(op), " "+marks[op]+" ")
		m.th.putWords(l, opRole(op), one.Text, one.Spans)
		return
	}
	half := (d.width - 3) / 2
	side := func(x *diff.Line, ro role, mark string, end int) {
		keep := l.max
		l.max = min(end, keep)
		switch {
		case x == nil:
		case r.a == r.b:
			l.put(text, "   "+x.Text)
		default:
			l.put(ro, " "+mark+" ")
			m.th.putWords(l, ro, x.Text, x.Spans)
		}
		l.to(end)
		l.max = keep
	}
	side(r.a, removed, "-", half)
	l.put(border, " "+m.th.g.wall)
	side(r.b, added, "+", d.width)
}

// hex puts 16 bytes of both sides, those that differ standing out: above each
// other where there is no room for both.
func (d *diffPane) hex(m *model, l *line, r *diffRow) {
	row := func(b []byte) []byte { return b[min(r.at, len(b)):min(r.at+16, len(b))] }
	a, b := row(r.window.A), row(r.window.B)
	l.put(dim, sprintf(" %08x ", r.window.Offset+int64(r.at)))
	per := 16
	for per > 4 && d.width-10 < 2*(3*per+2) {
		per /= 2
	}
	side := func(x, y []byte, ro role) {
		for i := range per {
			s := "   "
			if i < len(x) {
				s = sprintf(" %02x", x[i])
			}
			if i < len(x) && (i >= len(y) || x[i] != y[i]) {
				l.put(ro, s)
			} else {
				l.put(text, s)
			}
		}
	}
	side(a, b, removed)
	l.put(dim, " "+m.th.g.wall)
	side(b, a, added)
	if l.room() >= 2*per+6 {
		l.put(dim, "  |"+letters(a)+"|"+letters(b)+"|")
	}
}

// letters are bytes as text, a dot for what is none.
func letters(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if out[i] = c; c < ' ' || c > '~' {
			out[i] = '.'
		}
	}
	return string(out)
}

// foot shows both values of the difference at the cursor, as far as there is
// room.
func (d *diffPane) foot(m *model, out []string, n int) []string {
	start := len(out)
	if r := d.row(); r != nil && n > 0 && (r.kind == rowValue || r.kind == rowLine) {
		t := &table{}
		if r.kind == rowValue {
			t.add(strong, r.path(), dim, footNote(r))
		}
		each := max((n-len(t.rows))/2, 1) * max(d.width-5, 8)
		a, b := r.values(m.reveal, each+reach(r.inA, r.inB)+each)
		inA, inB := r.inA, r.inB
		if r.kind == rowLine && r.a != nil && r.b != nil {
			inA, inB = r.a.Spans, r.b.Spans
		}
		if r.op() == diff.Equal {
			m.th.footValue(t, "= ", text, a, nil, each)
		} else {
			if r.op() != diff.Add {
				m.th.footValue(t, "A ", removed, a, inA, each)
			} else {
				t.add(dim, "  A ", dim, m.th.g.none)
			}
			if r.op() != diff.Remove {
				m.th.footValue(t, "B ", added, b, inB, each)
			} else {
				t.add(dim, "  B ", dim, m.th.g.none)
			}
		}
		p := pager{c: t, width: d.width - 1, height: n}
		for _, s := range p.draw(m.th, nil, false) {
			out = append(out, " "+s)
		}
	}
	for len(out)-start < n {
		out = append(out, "")
	}
	return out[:start+n]
}

func footNote(r *diffRow) string {
	switch {
	case r.rule() != "":
		return "   ignored: " + r.rule()
	case r.change != nil && r.change.TypeChange:
		return "   another type"
	}
	return ""
}

// footValue adds n columns of a value, from the words that differ on if they
// come later.
func (t *theme) footValue(to *table, name string, base role, s string, spans []diff.Span, n int) {
	pieces := []any{dim, "  " + name}
	more := t.g.ellipsis + " enter shows all"
	if len(s) > n {
		n = max(n-len(more)-4, 8)
	}
	at := 0
	if len(spans) > 0 && spans[0].Start > n*2/3 && spans[0].Start <= len(s) {
		at = spans[0].Start - n/3
		for !startsRune(s, at) {
			at++
		}
		pieces = append(pieces, dim, t.g.ellipsis)
	}
	end := min(at+n, len(s))
	for end < len(s) && !startsRune(s, end) {
		end--
	}
	cut := end < len(s)
	if len(spans) == 0 {
		pieces = append(pieces, base, s[at:end])
		at = end
	}
	for _, p := range spans {
		if p.Start >= end {
			break
		}
		if p.End <= at || p.Start > p.End {
			continue
		}
		p.Start = max(p.Start, at)
		pieces = append(pieces, text, s[at:p.Start], base, s[p.Start:min(p.End, end)])
		at = min(p.End, end)
	}
	pieces = append(pieces, text, s[at:end])
	if cut {
		pieces = append(pieces, dim, more)
	}
	to.add(pieces...)
}

// wrapWords breaks a sentence of ours into rows.
func wrapWords(s string, width int) (rows []string) {
	row := ""
	for _, w := range strings.Fields(s) {
		if row != "" && len(row)+1+len(w) > width {
			rows, row = append(rows, row), ""
		}
		if row != "" {
			row += " "
		}
		row += w
	}
	return append(rows, row)
}
