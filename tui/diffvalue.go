package tui

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A valueView shows both values of a difference in full.
type valueView struct {
	title string
	doc   *stack // nil until it has been made
	page  pager
}

// A stack is contents below each other.
type stack []content

func (s stack) count() int {
	n := 0
	for _, c := range s {
		n += c.count()
	}
	return n
}

func (s stack) line(dst []byte, spans []span, i int) ([]byte, []span) {
	for _, c := range s {
		if n := c.count(); i >= n {
			i -= n
			continue
		}
		return c.line(dst, spans, i)
	}
	return dst, spans
}

// A valueMsg is what a valueView shows, made by a command.
type valueMsg struct {
	view *valueView
	doc  *stack
}

func (msg valueMsg) arrive(m *model) tea.Cmd {
	if m.over == msg.view {
		msg.view.doc = msg.doc
		msg.view.page.show(msg.doc)
	}
	return nil
}

// openChange shows what stands at the cursor in full.
func (m *model) openChange() tea.Cmd {
	r := m.diff.row()
	if r == nil {
		return nil
	}
	switch r.kind {
	case rowFold:
		return m.showAll()
	case rowValue, rowLine:
	case rowNote:
		if strings.HasSuffix(r.note, "equal lines") {
			return m.showAll()
		}
		return nil
	default:
		return nil
	}
	v := &valueView{title: clip(r.path(), 200)}
	if r.kind == rowLine {
		v.title = "Line"
		if r.a != nil {
			v.title += sprintf(" %d of A", r.a.A)
		}
		if b := r.b; b != nil && (r.a == nil || b.B > 0) {
			v.title += sprintf(" %d of B", b.B)
		}
	}
	m.over = v
	ctx, reveal, row := m.ctx, m.reveal, *r
	return func() tea.Msg { return valueMsg{v, fullValues(ctx, &row, reveal)} }
}

// fullValues lays both values out: JSON formatted, a text as it reads, with the
// words that differ standing out.
func fullValues(ctx context.Context, r *diffRow, reveal bool) *stack {
	const everything = 64 << 20
	a, b := r.values(reveal, everything)
	if c := r.change; c != nil && c.Op != diff.Move && !strings.HasPrefix(c.Path, "query.") {
		a, b = string(c.A), string(c.B) // not compacted
	}
	a, aIsText := reading(a, r)
	b, bIsText := reading(b, r)
	var inA, inB []diff.Span
	if op := r.op(); aIsText && bIsText && op == diff.Replace && max(len(a), len(b)) <= 64<<10 {
		inA, inB = diff.Words(a, b)
	}
	s := &stack{}
	side := func(name, v string, isText bool, ro role, spans []diff.Span, there bool) {
		head := &table{}
		if len(*s) > 0 {
			head.add(text, "")
		}
		if !there {
			head.add(strong, name, dim, "   is not there")
			*s = append(*s, head)
			return
		}
		head.add(strong, name, dim, "   "+format.Bytes(int64(len(v))))
		*s = append(*s, head, valueContent(ctx, v, isText, ro, spans))
	}
	if r.op() == diff.Equal {
		side("A and B", a, aIsText, text, nil, true)
		return s
	}
	side("A", a, aIsText, removed, inA, r.op() != diff.Add)
	side("B", b, bIsText, added, inB, r.op() != diff.Remove)
	return s
}

// reading is a value as a person reads it, and whether it is text: a JSON string
// without its quotes and escapes.
func reading(v string, r *diffRow) (string, bool) {
	if r.change == nil {
		return v, true
	}
	if len(v) > 1 && v[0] == '"' {
		var s string
		if json.Unmarshal([]byte(v), &s) == nil {
			return s, true
		}
		return v, true
	}
	return v, false
}

func valueContent(ctx context.Context, v string, isText bool, ro role, spans []diff.Span) content {
	if !isText {
		if d, err := format.Pretty(ctx, []byte(v), nil); err == nil {
			return newJSONDoc(d)
		}
	}
	if v == "" {
		t := &table{}
		t.add(dim, "empty")
		return t
	}
	if len(spans) == 0 || len(v) > 64<<10 {
		lines := format.NewLines([]byte(v))
		lines.Index(ctx, 0)
		return &textDoc{lines}
	}
	t := &table{}
	at := 0
	for text := range bytes.Lines([]byte(v)) {
		t.add(wordsOf(string(bytes.TrimRight(text, "\r\n")), at, spans, ro)...)
		at += len(text)
	}
	return t
}

// wordsOf cuts a line that begins at byte at into what differs and what does
// not.
func wordsOf(s string, at int, spans []diff.Span, ro role) []any {
	var out []any
	from := 0
	for _, p := range spans {
		a, b := max(p.Start-at, from), min(p.End-at, len(s))
		if a >= b {
			continue
		}
		out = append(out, text, s[from:a], ro, s[a:b])
		from = b
	}
	return append(out, text, s[from:])
}

func (v *valueView) press(m *model, k tea.KeyPressMsg) tea.Cmd {
	p := &v.page
	switch k.String() {
	case "j", "down":
		p.scroll(1)
	case "k", "up":
		p.scroll(-1)
	case "ctrl+d":
		p.scroll(max(p.height/2, 1))
	case "ctrl+u":
		p.scroll(-max(p.height/2, 1))
	case "space", "pgdown", "ctrl+f":
		p.scroll(max(p.height-1, 1))
	case "b", "pgup", "ctrl+b":
		p.scroll(-max(p.height-1, 1))
	case "g", "home":
		p.home()
	case "G", "end":
		p.end()
	case "tab":
		v.other()
	case "y":
		return m.copyChange()
	case "n", "N":
		m.over = nil
		m.diff.step(1 - 2*b2i(k.String() == "N"))
		return m.openChange()
	case "esc", "q", "enter", "h", "left":
		m.over = nil
	}
	return nil
}

// other goes from A to B and back.
func (v *valueView) other() {
	if v.doc == nil || len(*v.doc) < 3 {
		return
	}
	b := stack((*v.doc)[:len(*v.doc)-2]).count() + 1
	if len(*v.doc) == 3 { // one of them is not there
		b = stack((*v.doc)[:1]).count()
	}
	p := &v.page
	if p.top.line >= b || p.cur.line >= b {
		p.home()
		return
	}
	p.cur = spot{line: b}
	p.top = spot{line: b}
	p.settle()
}

func (v *valueView) wheel(_ *model, rows int) tea.Cmd {
	v.page.scroll(rows)
	return nil
}

func (v *valueView) cursor(*model) *tea.Cursor { return nil }

func (v *valueView) tips(*model) []tip {
	press := func(k tea.KeyPressMsg) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { return v.press(m, k) }
	}
	key := func(r rune) func(*model) tea.Cmd { return press(tea.KeyPressMsg{Code: r, Text: string(r)}) }
	return []tip{
		{"j", "down", key('j')},
		{"k", "up", key('k')},
		{"tab", "A or B", press(tea.KeyPressMsg{Code: tea.KeyTab})},
		{"n", "next change", key('n')},
		{"y", "copy", key('y')},
		{"esc", "close", press(tea.KeyPressMsg{Code: tea.KeyEscape})},
	}
}

func (v *valueView) draw(m *model, w, height int) []string {
	width, room := max(w-6, 10), max(height-6, 3)
	if v.doc == nil {
		return m.box(v.title, []string{m.textRow(dim, "formatting"+m.th.g.ellipsis, width)}, width)
	}
	if n := v.doc.count(); n < room { // as high as it has to be
		p := pager{c: v.doc, width: width, th: m.th}
		rows := 0
		for i := range n {
			if rows += len(p.text(i)); rows > room {
				break
			}
		}
		room = min(rows, room)
	}
	v.page.resize(width, room)
	title := m.th.shortPath(v.title, max(width-6, 4))
	return m.box(title, v.page.draw(m.th, nil, false), width)
}
