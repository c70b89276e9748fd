package tui

import (
	"bytes"
	"encoding/json"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A pair names what a diffPane compares, and the state it was in.
type pair struct {
	a, b   string
	va, vb uint64
	rules  int
}

// A diffPane shows how two captures differ: one row a difference, one cursor.
type diffPane struct {
	want   pair
	report *diff.Report
	side   diff.Side
	rows   []diffRow
	cur    int
	top    int
	width  int
	height int
	empty  string // why there is nothing to show
	draft  bool   // b is not a capture but what is about to be sent
}

// A diffRow is one row of the comparison.
type diffRow struct {
	kind    rowKind
	op      diff.Op
	title   string // of a section, with counts
	note    string
	path    string
	a, b    string
	ignored bool
	rule    string
	spans   []diff.Span
	change  bool // n and N stop here
	header  bool
}

// values are both sides as the screen may show them.
func (r *diffRow) values(m *model) (a, b string) {
	a, b = r.a, r.b
	if r.header && r.op != diff.Move && !m.reveal && format.SecretHeader(r.path) {
		if a != "" {
			a = format.Mask(r.path, a)
		}
		if b != "" {
			b = format.Mask(r.path, b)
		}
	}
	return a, b
}

type rowKind uint8

const (
	rowSection rowKind = iota
	rowValue
	rowLine
	rowNote
	rowBlank
)

// A comparedMsg is a finished comparison.
type comparedMsg struct {
	pair   pair
	report diff.Report
	err    error
	of     string // id of the one that err is about
}

// set makes the pane compare a with b, both by id.
func (d *diffPane) set(m *model, a, b string) tea.Cmd {
	t := m.tab()
	xa, xb := t.byID[a], t.byID[b]
	if xa == nil || xb == nil {
		d.empty = "one of the two is gone from the list"
		return nil
	}
	w := pair{a, b, xa.Version, xb.Version, len(m.rules)}
	if w == d.want && d.empty == "" {
		return nil
	}
	if d.want.a != a || d.want.b != b {
		side, width, height := d.side, d.width, d.height
		*d = diffPane{side: side, width: width, height: height}
		if d.side == "" {
			d.side = diff.Response
		}
	}
	d.want, d.empty, d.draft = w, "", false
	return m.compare(w)
}

// compare fetches both and compares them.
func (m *model) compare(w pair) tea.Cmd {
	rules := m.rules
	get := func(id string, version uint64) (inspector.Exchange, error) {
		return fetch(m.ctx, m.c.API, id)
	}
	held := map[string]inspector.Exchange{}
	for _, id := range []string{w.a, w.b} {
		if o := m.find(id); o != nil {
			held[id] = o.x
		}
	}
	return func() tea.Msg {
		var xs [2]inspector.Exchange
		for i, id := range []string{w.a, w.b} {
			version := []uint64{w.va, w.vb}[i]
			if x, ok := held[id]; ok && x.Version >= version {
				xs[i] = x
				continue
			}
			x, err := get(id, version)
			if err != nil {
				return comparedMsg{pair: w, err: err, of: id}
			}
			xs[i] = x
		}
		return comparedMsg{pair: w, report: diff.Exchanges(&xs[0], &xs[1], diff.Both, diff.Options{Ignore: rules, Done: m.ctx.Done()})}
	}
}

func (m *model) compared(msg comparedMsg) tea.Cmd {
	for _, d := range []*diffPane{&m.diff, &m.detail.diff} {
		if d.want != msg.pair || d.draft {
			continue
		}
		if msg.err != nil {
			d.empty = m.because(msg.of, msg.err)
			continue
		}
		d.show(msg.report)
	}
	if m.note.a == msg.pair.a && m.note.b == msg.pair.b && msg.err == nil {
		s := msg.report
		s.Request = nil
		m.note.more = strings.TrimPrefix(s.Summary(), "response ")
		if s.Equal() {
			m.note.more = "the answer is the same"
		}
	}
	return nil
}

// show puts a report on the pane and the cursor on its first difference.
func (d *diffPane) show(r diff.Report) {
	first := d.report == nil
	d.report = &r
	d.lay()
	if first {
		d.cur, d.top = 0, 0
		d.step(1)
	}
	d.settle()
}

func (d *diffPane) otherSide() {
	if d.side == diff.Response {
		d.side = diff.Request
	} else {
		d.side = diff.Response
	}
	d.lay()
	d.cur, d.top = 0, 0
	d.step(1)
}

func (d *diffPane) messages() *diff.Messages {
	if d.report == nil {
		return nil
	}
	if d.side == diff.Request {
		return d.report.Request
	}
	return d.report.Response
}

// counts is what differs on a side, for its tab.
func counts(m *diff.Messages) (n, ignored int) {
	if m == nil {
		return 0, 0
	}
	for _, c := range []diff.Counts{m.StartCounts, m.HeaderCounts, m.Body.Counts} {
		n += c.Added + c.Removed + c.Changed + c.Moved
		ignored += c.Ignored
	}
	return n, ignored
}

func summed(c diff.Counts) string {
	var s []string
	for _, p := range []struct {
		mark string
		n    int
	}{{"~", c.Changed}, {"+", c.Added}, {"-", c.Removed}, {">", c.Moved}} {
		if p.n > 0 {
			s = append(s, sprintf("%s%d", p.mark, p.n))
		}
	}
	if len(s) == 0 {
		s = append(s, "=")
	}
	return strings.Join(s, " ")
}

// lay turns the report into rows.
func (d *diffPane) lay() {
	d.rows = d.rows[:0]
	ms := d.messages()
	if ms == nil {
		return
	}
	section := func(title string, c diff.Counts) {
		if len(d.rows) > 0 {
			d.rows = append(d.rows, diffRow{kind: rowBlank})
		}
		note := ""
		if c.Equal > 0 {
			note = format.Count(int64(c.Equal)) + " equal"
		}
		if c.Ignored > 0 {
			if note != "" {
				note += ", "
			}
			note += format.Count(int64(c.Ignored)) + " ignored"
		}
		d.rows = append(d.rows, diffRow{kind: rowSection, title: title, a: summed(c), note: note})
	}
	name := "status"
	if d.side == diff.Request {
		name = "request line"
	}
	section(name, ms.StartCounts)
	for _, c := range ms.Start {
		d.change(c)
	}
	section("headers", ms.HeaderCounts)
	for _, h := range append(append([]diff.HeaderChange(nil), ms.Headers...), ms.Trailers...) {
		r := diffRow{kind: rowValue, op: h.Op, path: h.Name, a: h.A, b: h.B, ignored: h.Ignored, rule: h.Rule, change: !h.Ignored, header: true}
		if h.Op == diff.Move {
			r.a, r.b = sprintf("line %d", h.From), sprintf("line %d", h.To)
		}
		d.rows = append(d.rows, r)
	}
	b := &ms.Body
	section("body "+b.Kind, b.Counts)
	for _, c := range b.Changes {
		d.change(c)
	}
	d.lines(b.Lines)
	if x := b.Binary; x != nil {
		d.rows = append(d.rows,
			diffRow{kind: rowValue, op: diff.Replace, path: "size", a: format.Bytes(b.SizeA), b: format.Bytes(b.SizeB), change: true},
			diffRow{kind: rowValue, op: diff.Replace, path: "sha256", a: x.SHA256A, b: x.SHA256B})
		if x.Offset >= 0 {
			d.rows = append(d.rows, diffRow{kind: rowNote, note: "first difference at byte " + format.Count(x.Offset)})
		}
		for _, w := range x.Windows {
			d.rows = append(d.rows,
				diffRow{kind: rowLine, op: diff.Remove, a: strings.Join(format.Hex(w.A, 0, 1), "")},
				diffRow{kind: rowLine, op: diff.Add, a: strings.Join(format.Hex(w.B, 0, 1), "")})
		}
	}
	if b.Incomplete {
		d.rows = append(d.rows, diffRow{kind: rowNote, note: "not all of both bodies could be compared"})
	}
	for _, n := range b.Notes {
		d.rows = append(d.rows, diffRow{kind: rowNote, note: n})
	}
}

func (d *diffPane) change(c diff.Change) {
	r := diffRow{
		kind: rowValue, op: c.Op, path: c.Path, a: value(c.A), b: value(c.B),
		ignored: c.Ignored, rule: c.Rule, note: c.Note, change: !c.Ignored,
	}
	if c.Op == diff.Move {
		r.b = sprintf("to %d", c.To)
	}
	d.rows = append(d.rows, r)
}

// value is a JSON value on one row.
func value(raw json.RawMessage) string {
	if raw == nil {
		return ""
	}
	if len(raw) < 4096 && bytes.ContainsAny(raw, "\n\t") {
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			return b.String()
		}
	}
	return string(raw)
}

// lines lays a text diff out with three equal lines around each change.
func (d *diffPane) lines(list []diff.Line) {
	const around = 3
	for i := 0; i < len(list); i++ {
		l := &list[i]
		if l.Op != diff.Equal {
			d.rows = append(d.rows, diffRow{
				kind: rowLine, op: l.Op, a: l.Text, spans: l.Spans,
				change: i == 0 || list[i-1].Op == diff.Equal,
			})
			continue
		}
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
			if k-i >= head && end-k > foot {
				if hidden := end - foot - k; hidden > 1 {
					d.rows = append(d.rows, diffRow{kind: rowNote, note: sprintf("%d equal lines", hidden)})
					k = end - foot - 1
					continue
				}
			}
			d.rows = append(d.rows, diffRow{kind: rowLine, op: diff.Equal, a: list[k].Text})
		}
		i = end - 1
	}
}

func (d *diffPane) resize(w, h int) {
	d.width, d.height = w, h
	d.settle()
}

// body is how many rows are there for the differences, and foot for the values
// of the one at the cursor.
func (d *diffPane) body() (rows, foot int) {
	if d.height >= 16 {
		foot = min(d.height/4, 8)
	}
	return max(d.height-3-foot, 1), foot
}

func (d *diffPane) move(n int) {
	d.cur = max(min(d.cur+n, len(d.rows)-1), 0)
	d.settle()
}

// step goes to the next change, or the one before.
func (d *diffPane) step(n int) {
	for i := d.cur + n; i >= 0 && i < len(d.rows); i += n {
		if d.rows[i].change {
			d.cur = i
			break
		}
	}
	d.settle()
}

func (d *diffPane) settle() {
	rows, _ := d.body()
	d.cur = max(min(d.cur, len(d.rows)-1), 0)
	if d.cur < d.top {
		d.top = d.cur
	}
	if d.cur >= d.top+rows {
		d.top = d.cur - rows + 1
	}
	if d.cur < rows {
		d.top = min(d.top, 0)
	}
	d.top = max(min(d.top, len(d.rows)-rows), 0)
}

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
	if d.report == nil {
		add(func(l *line) { l.put(dim, "comparing"+th.g.ellipsis) })
		return out
	}
	add(func(l *line) { d.title(m, l) })
	add(func(l *line) { d.tabs(m, l) })
	add(func(l *line) { l.fill(border, th.g.rule, d.width) })
	rows, foot := d.body()
	pathW := d.pathWidth()
	valueW := d.valueWidth(m, pathW, d.top, d.top+rows)
	for i := d.top; i < d.top+rows; i++ {
		if i >= len(d.rows) {
			out = append(out, "")
			continue
		}
		add(func(l *line) { d.row(m, l, &d.rows[i], pathW, valueW, focused && i == d.cur) })
	}
	if foot > 0 {
		add(func(l *line) { l.fill(border, th.g.rule, d.width) })
		out = d.foot(m, out, foot-1)
	}
	return out
}

func (d *diffPane) title(m *model, l *line) {
	ref := func(name string, r diff.Ref, long bool) {
		l.put(badge, " "+name+" ")
		if r.Number > 0 {
			l.put(dim, sprintf(" #%d", r.Number))
		}
		if r.ReplayOf != "" {
			l.put(accent, " "+m.th.g.replay)
		}
		if d.width >= 60 {
			if long {
				l.put(strong, " "+r.Method+" ")
				l.put(text, m.th.shortPath(r.Path, max(d.width/3, 12)))
			} else if r.Path != d.report.A.Path || r.Method != d.report.A.Method {
				l.put(strong, " "+r.Method+" ")
				l.put(text, m.th.shortPath(r.Path, max(d.width/4, 8)))
			}
		}
		if d.draft && name == "B" {
			l.put(warn, " edited, not sent yet ")
			return
		}
		l.put(status(r.Status), sprintf(" %d", r.Status))
		if d.width >= 44 {
			l.put(dim, " "+format.Duration(nanoseconds(r.Duration)))
		}
	}
	ref("A", d.report.A, true)
	l.gap(3)
	ref("B", d.report.B, false)
}

func (d *diffPane) tabs(m *model, l *line) {
	for _, s := range []struct {
		side diff.Side
		ms   *diff.Messages
		name string
	}{{diff.Request, d.report.Request, "Request"}, {diff.Response, d.report.Response, "Response"}} {
		if s.ms == nil {
			continue
		}
		n, _ := counts(s.ms)
		mark := " ="
		if n > 0 {
			mark = sprintf(" %d", n)
		}
		r, c := dim, dim
		if s.side == d.side {
			r, c = strong, changed
		}
		l.put(r, s.name)
		l.put(c, mark)
		l.gap(3)
	}
	_, ignored := counts(d.messages())
	if ignored > 0 {
		l.put(dim, sprintf("%d ignored", ignored))
	}
	total, at := 0, 0
	for i := range d.rows {
		if d.rows[i].change {
			total++
			if i <= d.cur {
				at = total
			}
		}
	}
	s := "no difference"
	if total > 0 {
		s = sprintf("change %d of %d", max(at, 1), total)
	}
	if l.room() > len(s)+1 {
		l.to(d.width - len(s))
		l.put(dim, s)
	}
}

func (d *diffPane) pathWidth() int {
	w := 8
	for i := range d.rows {
		if d.rows[i].kind == rowValue {
			w = max(w, len(d.rows[i].path))
		}
	}
	return min(w, max(d.width*2/5, 10))
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
	w := 4
	half := max((d.width-pathW-10)/2, 4)
	for i := from; i < min(to, len(d.rows)); i++ {
		if r := &d.rows[i]; r.kind == rowValue {
			a, _ := r.values(m)
			w = max(w, m.th.width(clip(a, half)))
		}
	}
	return min(w, half)
}

func (d *diffPane) row(m *model, l *line, r *diffRow, pathW, valueW int, cur bool) {
	if cur {
		l.on(true)
		l.put(accent, m.th.g.bar)
	} else {
		l.put(text, " ")
	}
	switch r.kind {
	case rowBlank:
	case rowSection:
		l.cell(strong, r.title, 16)
		sum := r.a
		c := changed
		if sum == "=" {
			c = dim
			sum = "= same"
		}
		l.put(c, sum)
		if r.note != "" {
			l.put(dim, "   "+r.note)
		}
	case rowNote:
		l.put(dim, "   "+m.th.g.dot+" "+r.note)
	case rowLine:
		l.put(opRole(r.op), " "+marks[r.op]+" ")
		d.putSpans(l, r)
	case rowValue:
		role := opRole(r.op)
		if r.ignored {
			role = dim
		}
		l.put(role, " "+marks[r.op]+" ")
		name := strong
		if r.ignored {
			name = dim
		}
		l.cell(name, m.th.shortPath(r.path, pathW), pathW)
		l.gap(2)
		note := ""
		if r.ignored {
			note = "   ignored: " + r.rule
		} else if r.note != "" {
			note = "   " + r.note
		}
		a, b := r.values(m)
		if r.op == diff.Add {
			a = m.th.g.none
		}
		if r.op == diff.Remove {
			b = m.th.g.none
		}
		ra, rb := removed, added
		if r.ignored {
			ra, rb = dim, dim
		}
		if r.op == diff.Add {
			ra = dim
		}
		if r.op == diff.Remove {
			rb = dim
		}
		l.cell(ra, a, valueW)
		l.put(dim, " "+m.th.g.arrow+" ")
		keep := l.max
		l.max -= min(m.th.width(note), max(l.room()-8, 0))
		l.put(rb, b)
		l.max = keep
		l.put(dim, note)
	}
	if cur {
		l.rest()
	}
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

// clip is enough of s to measure n columns of it.
func clip(s string, n int) string {
	if len(s) > 4*n+16 {
		return s[:4*n+16]
	}
	return s
}

// putSpans puts a changed line with the words that differ standing out.
func (d *diffPane) putSpans(l *line, r *diffRow) {
	base := opRole(r.op)
	if len(r.spans) == 0 {
		l.put(base, r.a)
		return
	}
	at := 0
	for _, s := range r.spans {
		if s.Start < at || s.End > len(r.a) || s.Start > s.End {
			continue
		}
		l.put(text, r.a[at:s.Start])
		l.put(base, r.a[s.Start:s.End])
		at = s.End
	}
	l.put(text, r.a[at:])
}

// foot shows both values of the difference at the cursor in full.
func (d *diffPane) foot(m *model, out []string, n int) []string {
	start := len(out)
	if d.cur < len(d.rows) && n > 0 {
		r := &d.rows[d.cur]
		if r.kind == rowValue {
			l := m.th.line(d.width)
			l.put(strong, " "+r.path)
			if r.ignored {
				l.put(dim, "  ignored: "+r.rule)
			}
			out = append(out, l.String())
			each := max((n-1)/2, 1)
			a, b := r.values(m)
			out = wrapValue(m, out, "A", removed, a, r.op == diff.Add, d.width, each)
			out = wrapValue(m, out, "B", added, b, r.op == diff.Remove, d.width, each)
		}
	}
	for len(out)-start < n {
		out = append(out, "")
	}
	return out[:start+n]
}

func wrapValue(m *model, out []string, name string, r role, v string, absent bool, width, rows int) []string {
	if absent {
		v, r = m.th.g.none, dim
	}
	s := []byte(format.Sanitize(clip(v, width*rows)))
	ends := format.Wrap(nil, s, max(width-5, 8), m.th.clusterColumns)
	from := 0
	for i, end := range ends {
		if i >= rows {
			break
		}
		l := m.th.line(width)
		if i == 0 {
			l.put(dim, "   "+name+" ")
		} else {
			l.gap(5)
		}
		l.put(r, string(s[from:end]))
		out = append(out, l.String())
		from = end
	}
	return out
}

// startDiff compares the selected capture with its counterpart, or the pair that
// the status line offers.
func (m *model) startDiff() tea.Cmd {
	x := m.selected()
	if x == nil {
		return nil
	}
	if a, b := m.note.a, m.note.b; a != "" {
		m.note = note{}
		return m.openDiff(a, b)
	}
	if m.tab().marked == x.ID {
		m.say(warn, "this is the mark itself; go to another request and press d")
		return nil
	}
	o := m.counterpart(x)
	if o == nil {
		m.say(warn, "nothing to compare with: this is the first request on its route; m marks one as A")
		return nil
	}
	return m.openDiff(o.ID, x.ID)
}

func (m *model) openDiff(a, b string) tea.Cmd {
	if m.focus != inDiff {
		m.from = m.focus
	}
	m.focus = inDiff
	m.diff.want = pair{}
	m.diff.report = nil
	m.diff.side = diff.Response
	return m.diff.set(m, a, b)
}

func (m *model) swap() tea.Cmd {
	d := &m.diff
	if d.draft || d.want.a == "" {
		return nil
	}
	side := d.side
	cmd := m.openDiff(d.want.b, d.want.a)
	d.side = side
	return cmd
}

// ignore makes a rule of the difference at the cursor, or takes it back. Rules
// last as long as the screen.
func (m *model) ignore() tea.Cmd {
	d := &m.diff
	if d.draft || d.cur >= len(d.rows) || d.rows[d.cur].kind != rowValue {
		return nil
	}
	r := &d.rows[d.cur]
	s := diff.Generalize(r.path)
	if !strings.HasPrefix(r.path, ".") {
		s = "header:" + r.path
	}
	rules := append([]diff.Rule(nil), m.rules...)
	for i := range rules {
		if rules[i].String() == s {
			m.rules = append(rules[:i], rules[i+1:]...)
			m.say(text, "%s counts again", s)
			return d.again(m)
		}
	}
	if r.ignored {
		m.say(warn, "a built-in rule ignores it: %s", r.rule)
		return nil
	}
	rule, err := diff.ParseRule(s)
	if err != nil {
		m.say(warn, "%s", err.Error())
		return nil
	}
	m.rules = append(rules, rule)
	m.say(text, "ignored from now on: %s", s)
	return d.again(m)
}

// again compares the same two anew.
func (d *diffPane) again(m *model) tea.Cmd {
	d.want.rules = -1
	return d.set(m, d.want.a, d.want.b)
}
