package tui

import (
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/lrok-dev/lrok/inspector/format"
)

// A span is a stretch of a row's text in one role.
type span struct {
	start, end int
	role       role
}

// A content is text of many lines that a pager shows. Lines come one by one,
// sanitized, when they are about to be drawn.
type content interface {
	count() int
	// line appends the text of line i to dst and its spans to spans. The
	// offsets of the spans count from the start of dst.
	line(dst []byte, spans []span, i int) ([]byte, []span)
}

// A folder is a content with lines that open and close.
type folder interface {
	content
	// fold says whether line i opens a fold, and whether that is closed.
	fold(i int) (ok, closed bool)
	toggle(i int) int
	foldAll(closed bool)
}

// A fitter is a content that is laid out for a width.
type fitter interface{ fit(width int) }

// A pager shows a stretch of a content. Positions are a line and, where a line
// is wrapped, a row of it; nothing of a content is looked at but what shows.
type pager struct {
	c             content
	cur, top      spot
	width, height int
	th            *theme         // what it was last drawn with, nil before
	live          bool           // more of what shows may come: stay at its end
	mark          *format.Search // what is looked for, nil for nothing
	front         struct{ line, nth int }

	on [2]int // the rows of the line with the cursor, as they were drawn

	buf   []byte
	spans []span
	ends  []int
	hang  int      // by how much the rows of buf after the first are set in
	hits  [][2]int // of mark in buf
}

type spot struct{ line, row int }

func (s spot) before(o spot) bool {
	return s.line < o.line || s.line == o.line && s.row < o.row
}

const foldColumn = 2

// gutter is the room left of the text for the marks of folds.
func (p *pager) gutter() int {
	if _, ok := p.c.(folder); ok {
		return foldColumn
	}
	return 0
}

// resize lays the pager out anew and keeps what is on its first row there.
func (p *pager) resize(width, height int) {
	if p.width == width && p.height == height {
		return
	}
	if p.width != width {
		p.cur.row, p.top.row = 0, 0
	}
	p.width, p.height = width, height
	if f, ok := p.c.(fitter); ok {
		f.fit(width)
	}
	p.settle()
}

// show puts c in the pager. The position stays where it was as far as c goes.
func (p *pager) show(c content) {
	atEnd := p.c != nil && p.c.count() > 1 && p.cur.line == p.c.count()-1
	p.c = c
	if f, ok := c.(fitter); ok && p.width > 0 {
		f.fit(p.width)
	}
	if t, ok := c.(interface{ tail() bool }); atEnd && (p.live || ok && t.tail()) {
		p.cur.line = max(c.count()-1, 0)
	}
	p.settle()
}

// text lays line i out.
func (p *pager) text(i int) (rows []int) {
	p.buf, p.spans = p.c.line(p.buf[:0], p.spans[:0], i)
	if p.th != nil && p.th.ascii {
		if s := string(p.buf); !ascii(s) {
			p.buf, p.spans = append(p.buf[:0], format.ASCII(ownASCII.Replace(s))...), p.spans[:0]
		}
	}
	p.hang = 0
	if _, ok := p.c.(interface{ oneRow() }); ok {
		p.ends = append(p.ends[:0], len(p.buf))
		return p.ends
	}
	w := max(p.width-p.gutter(), 1)
	var columns func([]byte) int
	if p.th != nil {
		columns = p.th.clusterColumns
	}
	if h, ok := p.c.(interface{ hang(int) int }); ok {
		if p.hang = h.hang(i); p.hang > w/2 {
			p.hang = min(2, w/3)
		}
	} else if p.gutter() > 0 {
		// What goes on stands to the right of where it began.
		for p.hang < len(p.buf) && p.buf[p.hang] == ' ' {
			p.hang++
		}
		p.hang = min(p.hang+2, w/3)
	}
	p.ends = format.Wrap(p.ends[:0], p.buf, w, p.hang, columns)
	if len(p.ends) == 0 {
		p.ends = append(p.ends, len(p.buf))
	}
	return p.ends
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func (p *pager) down(s spot) (spot, bool) {
	if s.row+1 < len(p.text(s.line)) {
		return spot{s.line, s.row + 1}, true
	}
	if s.line+1 < p.c.count() {
		return spot{s.line + 1, 0}, true
	}
	return s, false
}

func (p *pager) up(s spot) (spot, bool) {
	if s.row > 0 {
		return spot{s.line, s.row - 1}, true
	}
	if s.line > 0 {
		return spot{s.line - 1, len(p.text(s.line-1)) - 1}, true
	}
	return s, false
}

// move moves the cursor by n rows.
func (p *pager) move(n int) {
	if p.c == nil || p.c.count() == 0 {
		return
	}
	for ; n > 0; n-- {
		p.cur, _ = p.down(p.cur)
	}
	for ; n < 0; n++ {
		p.cur, _ = p.up(p.cur)
	}
	p.settle()
}

// scroll moves what shows by n rows and the cursor only where it must.
func (p *pager) scroll(n int) {
	if p.c == nil || p.c.count() == 0 || p.height == 0 {
		return
	}
	for ; n > 0; n-- {
		end, ok := p.top, true
		for k := 0; k < p.height && ok; k++ {
			end, ok = p.down(end)
		}
		if !ok {
			break
		}
		p.top, _ = p.down(p.top)
	}
	for ; n < 0; n++ {
		p.top, _ = p.up(p.top)
	}
	if p.cur.before(p.top) {
		p.cur = p.top
	}
	last := p.top
	for k := 1; k < p.height; k++ {
		last, _ = p.down(last)
	}
	if last.before(p.cur) {
		p.cur = last
	}
}

func (p *pager) home() { p.cur = spot{}; p.settle() }

func (p *pager) end() {
	if p.c != nil && p.c.count() > 0 {
		p.cur = spot{line: p.c.count() - 1}
		p.settle()
	}
}

// settle keeps the cursor within the content and the screen around the cursor.
func (p *pager) settle() {
	if p.c == nil {
		return
	}
	n := p.c.count()
	if n == 0 {
		p.cur, p.top = spot{}, spot{}
		return
	}
	if p.cur.line >= n {
		p.cur = spot{line: n - 1}
	}
	if p.top.line >= n {
		p.top = spot{line: n - 1}
	}
	if p.cur.before(p.top) {
		p.top = p.cur
	}
	first := p.cur
	for k := 1; k < p.height; k++ {
		f, ok := p.up(first)
		if !ok {
			break
		}
		first = f
		if !p.top.before(first) {
			break // the top shows already
		}
	}
	if p.top.before(first) {
		p.top = first
	}
	if n-p.top.line >= p.height {
		return // the screen is full
	}
	last := spot{n - 1, len(p.text(n-1)) - 1}
	for k := 1; k < p.height; k++ {
		last, _ = p.up(last)
	}
	if last.before(p.top) {
		p.top = last
	}
}

// find moves to the nth match in a line.
func (p *pager) find(line, nth int) {
	p.cur, p.front.line, p.front.nth = spot{line: line}, line, nth
	rows := p.text(line)
	if p.hits = p.mark.Spans(p.hits[:0], p.buf); nth < len(p.hits) {
		for p.cur.row+1 < len(rows) && rows[p.cur.row] <= p.hits[nth][0] {
			p.cur.row++
		}
	}
	before := p.top
	if p.settle(); p.top != before {
		// Some of what stands around it as well.
		p.top = p.cur
		for range p.height / 2 {
			p.top, _ = p.up(p.top)
		}
		p.settle()
	}
}

// fold opens or closes the fold at the cursor.
func (p *pager) fold() {
	if f, ok := p.c.(folder); ok && p.c.count() > 0 {
		p.cur = spot{line: f.toggle(p.cur.line)}
		p.settle()
	}
}

func (p *pager) foldAll(closed bool) {
	if f, ok := p.c.(folder); ok {
		f.foldAll(closed)
		p.cur.row = 0
		p.settle()
	}
}

// draw appends height rows to out.
func (p *pager) draw(t *theme, out []string, focused bool) []string {
	p.th, p.on = t, [2]int{}
	if p.c == nil || p.c.count() == 0 {
		for range p.height {
			out = append(out, "")
		}
		return out
	}
	at := p.top
	rows := p.lay(at.line)
	f, _ := p.c.(folder)
	for i := range p.height {
		if at.line >= p.c.count() {
			out = append(out, "")
			continue
		}
		l := t.line(p.width)
		if focused && at.line == p.cur.line {
			l.on(true)
			if p.on[1] == 0 {
				p.on[0] = i
			}
			p.on[1] = i + 1
		}
		if f != nil {
			mark := "  "
			if ok, closed := f.fold(at.line); ok && at.row == 0 {
				mark = t.g.open + " "
				if closed {
					mark = t.g.closed + " "
				}
			}
			l.cell(dim, mark, foldColumn)
		}
		from := 0
		if at.row > 0 {
			l.gap(p.hang)
			from = rows[min(at.row, len(rows))-1]
		}
		to := rows[min(at.row, len(rows)-1)]
		p.paint(&l, at.line, from, to)
		if focused && at.line == p.cur.line {
			l.rest()
		}
		out = append(out, l.String())
		if at.row+1 < len(rows) {
			at.row++
			continue
		}
		at = spot{line: at.line + 1}
		if at.line < p.c.count() {
			rows = p.lay(at.line)
		}
	}
	return out
}

// lay is text with the matches of what is looked for.
func (p *pager) lay(i int) (rows []int) {
	rows = p.text(i)
	if p.hits = p.hits[:0]; p.mark != nil {
		p.hits = p.mark.Spans(p.hits, p.buf)
	}
	return rows
}

// paint puts the bytes [from, to) of line i, which is at hand, in their roles.
func (p *pager) paint(l *line, i, from, to int) {
	for _, s := range p.spans {
		a, b := max(s.start, from), min(s.end, to)
		if a >= b {
			continue
		}
		if from < a {
			p.put(l, text, i, from, a)
		}
		p.put(l, s.role, i, a, b)
		from = b
	}
	if from < to {
		p.put(l, text, i, from, to)
	}
}

// put is the last step of paint: matches stand out of whatever they are in.
func (p *pager) put(l *line, r role, i, from, to int) {
	for k, h := range p.hits {
		a, b := max(h[0], from), min(h[1], to)
		if a >= b {
			continue
		}
		l.put(r, string(p.buf[from:a]))
		mark := badge
		if i == p.front.line && k == p.front.nth {
			mark = alert
		}
		sgr := l.sgr
		l.sgr = &l.th.plain // on the selected row, too, which may be all in one look
		l.put(mark, string(p.buf[a:b]))
		l.sgr = sgr
		from = b
	}
	l.put(r, string(p.buf[from:to]))
}

// A table is a content of lines that were made beforehand: for what is small.
type table struct {
	rows []tableRow
	live bool // more may come: stay at the end
}

type tableRow struct {
	text  string
	spans []span
	hang  int // where its text goes on in the rows after the first
}

func (t *table) hang(i int) int { return t.rows[i].hang }

func (t *table) tail() bool { return t.live }

func (t *table) count() int { return len(t.rows) }

func (t *table) line(dst []byte, spans []span, i int) ([]byte, []span) {
	r := &t.rows[i]
	return append(dst, r.text...), append(spans, r.spans...)
}

// add appends a row of pieces, each a role and a text. A long one goes on in
// further rows, since a row is laid out whole each time that it shows.
func (t *table) add(pieces ...any) {
	var r tableRow
	for i := 0; i+1 < len(pieces); i += 2 {
		s, ro := format.Sanitize(pieces[i+1].(string)), pieces[i].(role)
		for len(r.text)+len(s) > format.Chunk {
			n := characters(s, format.Chunk-len(r.text))
			r.add(ro, s[:n])
			t.rows = append(t.rows, r)
			r, s = tableRow{}, s[n:]
		}
		r.add(ro, s)
	}
	t.rows = append(t.rows, r)
}

func (r *tableRow) add(ro role, s string) {
	r.spans = append(r.spans, span{len(r.text), len(r.text) + len(s), ro})
	r.text += s
}

// characters is how many of the first n bytes of sanitized text are whole
// characters with their marks.
func characters(s string, n int) int {
	// None is as long as this: what follows the first whole one is in step.
	at := max(n-128, 0)
	for at > 0 && !utf8.RuneStart(s[at]) {
		at--
	}
	for at < n {
		c, _ := ansi.FirstGraphemeCluster(s[at:], ansi.GraphemeWidth)
		if at+len(c) > n {
			break
		}
		at += len(c)
	}
	return at
}

// A jsonDoc is formatted JSON with folds.
type jsonDoc struct {
	doc   *format.Document
	folds *format.Folds
	spans []format.Span
}

func newJSONDoc(d *format.Document) *jsonDoc { return &jsonDoc{doc: d, folds: format.NewFolds(d)} }

func (j *jsonDoc) count() int { return j.folds.Rows() }

var jsonRoles = [...]role{
	format.Space: text, format.Key: jsonKey, format.String: jsonString, format.Number: jsonNumber,
	format.Literal: jsonWord, format.Punct: dim, format.Note: dim,
}

func (j *jsonDoc) line(dst []byte, spans []span, i int) ([]byte, []span) {
	n := j.folds.Line(i)
	if j.folds.Closed(n) {
		dst, j.spans = j.doc.AppendFolded(dst, j.spans[:0], n)
	} else {
		dst, j.spans = j.doc.AppendLine(dst, j.spans[:0], n)
	}
	for _, s := range j.spans {
		spans = append(spans, span{s.Start, s.End, jsonRoles[s.Role]})
	}
	return dst, spans
}

func (j *jsonDoc) fold(i int) (ok, closed bool) {
	n := j.folds.Line(i)
	_, ok = j.doc.Fold(n)
	return ok, ok && j.folds.Closed(n)
}

func (j *jsonDoc) toggle(i int) int {
	return j.folds.Row(j.folds.Toggle(j.folds.Line(i)))
}

func (j *jsonDoc) foldAll(closed bool) {
	if closed {
		j.folds.CloseAll()
	} else {
		j.folds.OpenAll()
	}
}

// A textDoc is text by line.
type textDoc struct{ lines *format.Lines }

func (t *textDoc) count() int { return t.lines.Count() }

func (t *textDoc) line(dst []byte, spans []span, i int) ([]byte, []span) {
	return t.lines.AppendLine(dst, i), spans
}

// A hexDoc is bytes as they are.
type hexDoc struct {
	data []byte
	per  int
}

func (h *hexDoc) fit(width int) {
	switch {
	case width >= 78:
		h.per = 16
	case width >= 45:
		h.per = 8
	default:
		h.per = 4
	}
}

func (h *hexDoc) count() int {
	per := max(h.per, 4)
	return (len(h.data) + per - 1) / per
}

func (h *hexDoc) line(dst []byte, spans []span, i int) ([]byte, []span) {
	per := max(h.per, 4)
	start := len(dst)
	dst = format.AppendHexRow(dst, h.data, int64(i*per), per)
	if n := len(dst) - start; n > 8 {
		spans = append(spans, span{start, start + 8, dim})
	}
	return dst, spans
}
