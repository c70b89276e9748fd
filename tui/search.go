package tui

import (
	"context"
	"regexp"
	"sort"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
)

// mostMatches is how many matches of a search are counted.
const mostMatches = 100_000

// A finder looks for a text in the tabs of the detail. A body is scanned by a
// command; the loop holds the places that were found.
type finder struct {
	query  string
	search *format.Search // nil: nothing is looked for
	jump   bool           // go to the first match when it is known
	from   spot           // where that is counted from
	tabs   [tabCount]matched
}

// matched is what was found in one tab.
type matched struct {
	key    searchKey
	at     [][2]int             // in the text that was searched, ascending
	line   func(offset int) int // the content's line with that byte
	more   bool                 // at is not all
	done   bool
	cur    int // the match in front
	cancel context.CancelFunc
}

// A searchKey says what was looked through, and for what.
type searchKey struct {
	search *format.Search
	c      content
	rows   int
}

// A sought is a content whose text a command can search. What source returns is
// called there, once; the function it gives out belongs to the loop again.
type sought interface {
	content
	source() func() (text []byte, line func(offset int) int)
}

func (t *textDoc) source() func() ([]byte, func(int) int) {
	return func() ([]byte, func(int) int) { return t.lines.Data(), t.lines.At }
}

func (j *jsonDoc) source() func() ([]byte, func(int) int) {
	return func() ([]byte, func(int) int) { return j.doc.Data(), j.doc.At }
}

func (h *hexDoc) source() func() ([]byte, func(int) int) {
	return func() ([]byte, func(int) int) {
		return h.data, func(offset int) int { return offset / max(h.per, 4) }
	}
}

func (t *table) source() func() ([]byte, func(int) int) {
	rows := t.rows
	return func() ([]byte, func(int) int) {
		var text []byte
		starts := make([]int, len(rows))
		for i := range rows {
			starts[i] = len(text)
			text = append(append(text, rows[i].text...), '\n')
		}
		return text, func(offset int) int { return sort.SearchInts(starts, offset+1) - 1 }
	}
}

// sourceOf is the source of any content. What cannot tell its text is read here,
// if that is little.
func sourceOf(c content) func() ([]byte, func(int) int) {
	if s, ok := c.(sought); ok {
		return s.source()
	}
	t := &table{}
	for i := range min(c.count(), 1000) {
		line, _ := c.line(nil, nil, i)
		t.rows = append(t.rows, tableRow{text: string(line)})
	}
	return t.source()
}

// newSearch reads what a person types: a text, or ~a pattern~ as in filters.
func newSearch(query string) (*format.Search, error) {
	if pattern, ok := strings.CutPrefix(query, "~"); ok && pattern != "" {
		return format.NewPattern(strings.TrimSuffix(pattern, "~"))
	}
	if strings.Contains(query, ": ") {
		// That blank is ours: JSON comes without it more often than not.
		return format.NewPattern(strings.ReplaceAll(regexp.QuoteMeta(query), ": ", `:\s*`))
	}
	return format.NewSearch(query), nil
}

// set looks for query from now on; an empty one ends the search.
func (f *finder) set(query string) {
	f.stop()
	f.query, f.search = query, nil
	if query == "" {
		return
	}
	if s, err := newSearch(query); err == nil {
		f.search, f.jump = s, true
	}
}

// stop ends the scans and forgets what they found.
func (f *finder) stop() {
	for i := range f.tabs {
		if f.tabs[i].cancel != nil {
			f.tabs[i].cancel()
		}
	}
	f.tabs, f.jump = [tabCount]matched{}, false
}

// A foundMsg is what a scan found.
type foundMsg struct {
	tab int
	matched
}

// sync starts the scans of what has not been looked through.
func (f *finder) sync(m *model, d *detail) tea.Cmd {
	var cmds []tea.Cmd
	for i := range d.pages {
		p := &d.pages[i]
		p.mark = f.search
		if f.search == nil || p.c == nil || i == tabDiff {
			continue
		}
		key := searchKey{search: f.search, c: p.c}
		switch p.c.(type) {
		case *textDoc, *jsonDoc, *hexDoc: // as many rows as there are folds
		default:
			key.rows = p.c.count()
		}
		t := &f.tabs[i]
		if t.key == key {
			continue
		}
		if t.cancel != nil {
			t.cancel()
		}
		ctx, cancel := context.WithCancel(m.ctx)
		*t = matched{key: key, cur: t.cur, cancel: cancel}
		source := sourceOf(p.c)
		cmds = append(cmds, func() tea.Msg {
			msg := foundMsg{tab: i, matched: matched{key: key, done: true}}
			var text []byte
			text, msg.line = source()
			msg.at, msg.more = key.search.All(ctx, text, mostMatches)
			if ctx.Err() != nil {
				return nil
			}
			return msg
		})
	}
	return tea.Batch(cmds...)
}

func (msg foundMsg) arrive(m *model) tea.Cmd {
	d := &m.detail
	t := &d.find.tabs[msg.tab]
	if t.key != msg.key {
		return nil
	}
	t.cancel()
	msg.cur = max(min(t.cur, len(msg.at)-1), 0)
	*t = msg.matched
	if d.find.jump && msg.tab == d.tab {
		d.find.jump = false
		if len(t.at) > 0 {
			i := d.following(d.find.from.line)
			if i == len(t.at) {
				i = 0
			}
			d.showMatch(i)
		}
	}
	if msg.tab == d.tab && m.prompt == nil {
		m.foundNothing()
	}
	return nil
}

// foundNothing says it when a search of a body that was not captured whole came to
// nothing: what is looked for may be in the rest.
func (m *model) foundNothing() {
	d := &m.detail
	f := &d.find
	if t := &f.tabs[d.tab]; f.search != nil && t.done && len(t.at) == 0 && d.unsearched() != "" {
		m.say(warn, "%s is not in what was captured: %s", quoted(f.query), d.unsearched())
	}
}

// row is where the match i of the tab in front shows.
func (d *detail) row(i int) int {
	t := &d.find.tabs[d.tab]
	line := t.line(t.at[i][0])
	if j, ok := d.pager().c.(*jsonDoc); ok {
		return j.folds.Row(line)
	}
	return line
}

// following is the first match on the row or below.
func (d *detail) following(row int) int {
	t := &d.find.tabs[d.tab]
	return sort.Search(len(t.at), func(i int) bool { return d.row(i) >= row })
}

// showMatch puts the cursor on match i of the tab in front.
func (d *detail) showMatch(i int) {
	t := &d.find.tabs[d.tab]
	p := d.pager()
	t.cur = i
	line := t.line(t.at[i][0])
	row := line
	if j, ok := p.c.(*jsonDoc); ok {
		row = j.folds.Show(line)
	}
	nth := 0
	for nth < i && t.line(t.at[i-nth-1][0]) == line {
		nth++
	}
	p.find(row, nth)
}

// nextMatch goes n matches on, round the end, and to another tab if there are
// none in this one.
func (m *model) nextMatch(n int) tea.Cmd {
	d := &m.detail
	f := &d.find
	if d.tab == tabDiff {
		d.diff.step(n)
		return nil
	}
	if f.search == nil {
		m.say(warn, "nothing is looked for: / opens a search")
		return nil
	}
	t := &f.tabs[d.tab]
	if len(t.at) > 0 {
		i := t.cur + n
		if at := d.pager().cur.line; d.row(t.cur) != at {
			// A person has moved on: what comes next is seen from there.
			i = d.following(at + b2i(n > 0))
			if n < 0 {
				i--
			}
		}
		d.showMatch((i + len(t.at)) % len(t.at))
		return nil
	}
	for k := 1; k < tabCount; k++ {
		i := (d.tab + k*n + k*tabCount) % tabCount
		if len(f.tabs[i].at) > 0 {
			d.tab = i
			d.showMatch(map[bool]int{true: 0, false: len(f.tabs[i].at) - 1}[n > 0])
			return nil
		}
	}
	if t.done {
		m.say(warn, "%s is nowhere in this request", quoted(f.query))
		m.foundNothing()
	}
	return nil
}

// unsearched says how much a search has of a body that was not captured whole, ""
// where nothing is missing: of the body in front, or of either from elsewhere.
func (d *detail) unsearched() string {
	if b := d.body(); b != nil {
		return b.front().cut
	}
	for side := range 2 {
		if d.whole != nil && d.side() < 0 && d.whole.sides[side] != nil && d.whole.sides[side].cut != "" {
			return d.whole.sides[side].cut
		}
	}
	return ""
}

func quoted(s string) string { return `"` + s + `"` }

// startSearch asks what to look for in the detail.
func (m *model) startSearch() tea.Cmd {
	d := &m.detail
	p := d.pager()
	before, cur, top := d.find.query, p.cur, p.top
	load := m.recall("search")
	return tea.Batch(load, m.request("search", "", prompt{
		title: "/", enter: "find", hint: "text in this request, or ~pattern~",
		check: func(s string) string {
			if _, err := newSearch(s); err != nil {
				return err.Error()
			}
			return ""
		},
		typed: func(m *model, s string) tea.Cmd {
			m.detail.find.set(strings.TrimSpace(s))
			m.detail.find.from = cur
			return nil
		},
		done: func(m *model, s string) tea.Cmd {
			if s == "" {
				s = before // as less does: the last one again
			}
			if f := &m.detail.find; s != f.query {
				f.set(s)
				f.from = cur
			}
			m.foundNothing()
			return m.remember("search", s)
		},
		esc: func(m *model) tea.Cmd {
			d := &m.detail
			d.find.set(before)
			d.find.jump = false
			if d.pager() == p {
				p.cur, p.top = cur, top
				p.settle()
			}
			return nil
		},
	}))
}

// count says how many matches there are: "3 of 17".
func (f *finder) count(tab int) string {
	t := &f.tabs[tab]
	switch {
	case f.search == nil || tab == tabDiff || t.key.c == nil:
		return ""
	case !t.done:
		return "looking"
	case len(t.at) == 0:
		for i := range f.tabs {
			if n := len(f.tabs[i].at); n > 0 {
				return sprintf("none, %s in %s", format.Count(int64(n)), tabShort[i])
			}
		}
		return "none"
	}
	s := sprintf("%s of %s", format.Count(int64(t.cur+1)), format.Count(int64(len(t.at))))
	if t.more {
		s += "+"
	}
	return s
}
