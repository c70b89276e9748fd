package tui

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
)

func compareActions() []action {
	step := func(n int) func(*model) tea.Cmd {
		return func(m *model) tea.Cmd { m.diff.step(n); return nil }
	}
	// What is about to be sent can be looked at only.
	sent := func(m *model) bool { return !m.diff.draft }
	return []action{
		{name: "diff", in: capturing, bind: bind("d", "compare with the mark, the original or the last on the route", "d"), group: "Compare", hint: "diff", rank: 4, run: (*model).startDiff},
		{name: "pick", in: capturing, bind: bind("D", "choose what to compare with", "D"), group: "Compare", run: (*model).startPick},
		{name: "mark", in: capturing, bind: bind("m", "mark as A of the next comparison", "m"), group: "Compare", hint: "mark", rank: 6, run: (*model).mark},
		{name: "to-mark", in: capturing, bind: bind("'", "go to the mark", "'"), group: "Compare", run: (*model).toMark},
		{name: "next-change", in: inDiff, looks: true, bind: bind("n", "next change", "n"), group: "Compare", hint: "next", rank: 1, run: step(1)},
		{name: "previous-change", in: inDiff, looks: true, bind: bind("N", "previous change", "N"), group: "Compare", run: step(-1)},
		{name: "open-change", in: inDiff, bind: bind("enter l →", "both values in full", "enter", "l", "right"), group: "Compare", hint: "in full", rank: 2, run: (*model).openChange},
		{name: "diff-side", in: inDiff, looks: true, bind: bind("tab", "request or response", "tab", "shift+tab", "]", "["), group: "Compare", hint: "req/resp", rank: 3, run: (*model).otherSide},
		{name: "ignore", in: inDiff, when: sent, bind: bind("i", "ignore this path, or look at it again", "i"), group: "Compare", hint: "ignore", rank: 4, run: (*model).ignore},
		{name: "rules", in: inDiff, when: sent, bind: bind("I", "edit what is ignored", "I"), group: "Compare", run: (*model).startRules},
		{name: "equal", in: inDiff, when: sent, bind: bind("=", "show or hide what is equal", "="), group: "Compare", hint: "equal", rank: 5, run: (*model).showAll},
		{name: "plain", in: inDiff, when: sent, bind: bind("t", "bodies line by line, or by structure", "t"), group: "Compare", hint: "text", rank: 6, run: (*model).plainText},
		{name: "apart", in: inDiff, looks: true, bind: bind("s", "lines side by side, from 110 columns", "s"), group: "Compare", run: (*model).toggleApart},
		{name: "copy-change", in: inDiff, bind: bind("y", "copy", "y"), group: "Compare", hint: "copy", rank: 7, then: (*model).changeCopies},
		{name: "replay-b", in: inDiff, when: sent, bind: bind("r", "replay B again", "r"), group: "Compare", hint: "replay B", rank: 8, run: (*model).replay},
		{name: "swap", in: inDiff, when: sent, bind: bind("X", "swap A and B", "X"), group: "Compare", hint: "swap", rank: 10, run: (*model).swap},
	}
}

// A pair names what a diffPane compares, the state it was in, and how it is
// looked at.
type pair struct {
	a, b   string
	va, vb uint64
	rules  int
	look   look
}

// A look is a way to compare that takes a comparison of its own.
type look struct {
	all   bool // what is equal, and what is ignored, has rows too
	plain bool // bodies line by line, whatever they hold
}

// pairOf is the pair of two captures as they are now.
func (m *model) pairOf(a, b *capture) pair {
	return pair{a: a.ID, b: b.ID, va: a.Version, vb: b.Version, rules: m.rules.generation}
}

// A diffPane shows how two captures differ: one row a difference, one cursor.
type diffPane struct {
	want   pair
	busy   *comparing  // what is under way, nil for nothing
	halted pair        // what a person stopped: it does not begin again by itself
	c      *comparison // the last that has arrived
	side   diff.Side
	look   look
	below  bool // lines of text below each other though there is room beside
	apart  bool // they are side by side now
	cur    int
	top    int
	width  int
	height int
	empty  string // why there is nothing to show
	draft  bool   // b is not a capture but what is about to be sent
}

// A comparing is a comparison under way.
type comparing struct {
	began    time.Time
	cancel   context.CancelFunc
	progress *diff.Progress
}

// A comparedMsg is a finished comparison.
type comparedMsg struct {
	pair pair
	c    *comparison
	err  error
	of   string // id of the one that err is about
}

// A comparingMsg comes while a comparison takes its time, for the screen to say
// so.
type comparingMsg struct{ pair pair }

func (msg comparingMsg) arrive(m *model) tea.Cmd {
	for _, d := range []*diffPane{&m.diff, &m.detail.diff} {
		if d.busy != nil && d.want == msg.pair {
			return waiting(msg.pair)
		}
	}
	return nil
}

func waiting(w pair) tea.Cmd {
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return comparingMsg{w} })
}

// capture finds a capture of any of the tunnels, or the last answer from
// elsewhere.
func (m *model) capture(id string) *capture {
	if m.outside != nil && m.outside.ID == id {
		return &m.outside.capture
	}
	for _, t := range m.tabs {
		if x := t.byID[id]; x != nil {
			return x
		}
	}
	return nil
}

// set makes the pane compare a with b, both by id.
func (d *diffPane) set(m *model, a, b string) tea.Cmd {
	xa, xb := m.capture(a), m.capture(b)
	if xa == nil || xb == nil {
		d.stop()
		d.c, d.want, d.empty = nil, pair{}, "one of the two is gone from the list"
		return nil
	}
	w := m.pairOf(xa, xb)
	w.look = d.look
	if w == d.want && d.empty == "" || w == d.halted {
		return nil
	}
	held := m.atHand(a, b)
	d.stop()
	if d.want.a != a || d.want.b != b {
		*d = diffPane{side: d.side, look: d.look, below: d.below, width: d.width, height: d.height}
		if d.side == "" {
			d.side = diff.Response
		}
	}
	ctx, cancel := context.WithCancel(m.ctx)
	d.busy = &comparing{began: m.c.Now(), cancel: cancel, progress: &diff.Progress{}}
	d.want, d.empty, d.draft, d.halted = w, "", false, pair{}
	return tea.Batch(m.compareIn(ctx, w, held, d.busy.progress), waiting(w))
}

// halt stops the comparison under way because a person wants that.
func (d *diffPane) halt(m *model) {
	d.halted = d.want
	d.stop()
	if d.c == nil {
		d.empty = "The comparison was stopped. d starts it again."
		return
	}
	m.say(text, "the comparison was stopped: what shows is the one before")
}

// stop ends the comparison under way.
func (d *diffPane) stop() {
	if d.busy != nil {
		d.busy.cancel()
		d.busy, d.want = nil, pair{}
	}
}

// compare compares for a note that nobody can cancel.
func (m *model) compare(w pair) tea.Cmd { return m.compareIn(m.ctx, w, m.atHand(w.a, w.b), nil) }

// atHand are those of two captures that need not be fetched.
func (m *model) atHand(ids ...string) map[string]inspector.Exchange {
	held := map[string]inspector.Exchange{}
	have := func(x *inspector.Exchange) {
		if y, ok := held[x.ID]; slices.Contains(ids, x.ID) && (!ok || y.Version < x.Version) {
			held[x.ID] = *x
		}
	}
	for _, d := range []*diffPane{&m.diff, &m.detail.diff} {
		if d.c != nil { // another look at the same two, most likely
			have(&d.c.of[0])
			have(&d.c.of[1])
		}
	}
	for _, o := range m.opened {
		have(&o.x)
	}
	if m.outside != nil {
		have(&m.outside.Exchange)
	}
	return held
}

// compareIn compares two captures, those fetched that are not held, and lays the
// rows out, until ctx ends.
func (m *model) compareIn(ctx context.Context, w pair, held map[string]inspector.Exchange, progress *diff.Progress) tea.Cmd {
	o := m.rules.options()
	o.Equal, o.Plain, o.Progress, o.Done = w.look.all, w.look.plain, progress, ctx.Done()
	api, turn := m.c.API, m.comparison
	return func() tea.Msg {
		var xs [2]inspector.Exchange
		for i, id := range []string{w.a, w.b} {
			version := []uint64{w.va, w.vb}[i]
			if x, ok := held[id]; ok && x.Version >= version {
				xs[i] = x
				continue
			}
			x, err := api.Exchange(ctx, id)
			if err != nil {
				return comparedMsg{pair: w, err: err, of: id}
			}
			xs[i] = x
		}
		// One at a time: each takes a processor and a few hundred MiB for a moment,
		// and one that nobody waits for any more ends soon, but not at once.
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return comparedMsg{pair: w, err: ctx.Err(), of: w.a}
		}
		r := diff.Exchanges(&xs[0], &xs[1], diff.Both, o)
		if err := ctx.Err(); err != nil {
			return comparedMsg{pair: w, err: err, of: w.a}
		}
		c := layComparison(r, w.look.all)
		c.of = xs
		return comparedMsg{pair: w, c: c}
	}
}

func (m *model) compared(msg comparedMsg) tea.Cmd {
	if errors.Is(msg.err, context.Canceled) {
		return nil // who asked for the same once more waits for another
	}
	for _, d := range []*diffPane{&m.diff, &m.detail.diff} {
		if d.want != msg.pair || d.draft {
			continue
		}
		d.busy = nil
		if msg.err != nil {
			d.empty = m.because(msg.of, msg.err)
			continue
		}
		d.put(msg.c)
	}
	if m.note.a == msg.pair.a && m.note.b == msg.pair.b && msg.err == nil {
		s := msg.c.report
		s.Request = nil
		m.note.more = strings.TrimPrefix(s.Summary(), "response ")
		if strings.HasPrefix(m.note.more, "status ") { // of which the note itself tells both
			_, m.note.more, _ = strings.Cut(m.note.more, ", ")
		}
		if s.Equal() {
			m.note.more = "the answer is the same"
		}
	}
	return nil
}

// put puts a comparison on the pane, the cursor where it was or on the first
// difference.
func (d *diffPane) put(c *comparison) {
	first := d.c == nil
	var at diffRow
	nth := d.nth()
	if d.cur < len(d.rows().list) {
		at = d.rows().list[d.cur]
	}
	d.c = c
	if first {
		d.toFirst()
		return
	}
	d.restore(&at, nth)
}

// toFirst puts the cursor on the first difference.
func (d *diffPane) toFirst() {
	d.cur, d.top = 0, 0
	if stops := d.rows().stops; len(stops) > 0 {
		d.cur = stops[0]
	}
	d.settle()
}

// nth is how many changes there are up to the cursor.
func (d *diffPane) nth() int { return sort.SearchInts(d.rows().stops, d.cur+1) }

// restore puts the cursor on the row of the same path as at, or where that is
// no more, on the n-th change.
func (d *diffPane) restore(at *diffRow, n int) {
	rows := d.rows()
	if path := at.path(); path != "" {
		for i := range rows.list {
			r := &rows.list[i]
			if r.path() == path && (r.header != nil) == (at.header != nil) && r.stop == at.stop {
				d.cur = i
				d.settle()
				return
			}
		}
	}
	if len(rows.stops) > 0 {
		d.cur = rows.stops[max(min(n, len(rows.stops))-1, 0)]
	}
	d.settle()
}

var noRows diffRows

// rows are those of the side in front, as they are laid out now.
func (d *diffPane) rows() *diffRows {
	switch {
	case d.c == nil:
		return &noRows
	case d.apart:
		return &d.front().apart
	}
	return &d.front().together
}

func (d *diffPane) front() *comparedSide {
	if d.side == diff.Request {
		return &d.c.request
	}
	return &d.c.response
}

// row is the one at the cursor, nil for none.
func (d *diffPane) row() *diffRow {
	if list := d.rows().list; d.cur < len(list) {
		return &list[d.cur]
	}
	return nil
}

func (d *diffPane) otherSide() {
	was := d.side
	if d.side == diff.Response {
		d.side = diff.Request
	} else {
		d.side = diff.Response
	}
	if d.c != nil && d.front().Messages == nil {
		d.side = was // there is one side only: what is about to be sent
		return
	}
	d.toFirst()
}

// sideBySide is the width from which on lines stand side by side.
const sideBySide = 110

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
	d.cur = max(min(d.cur+n, len(d.rows().list)-1), 0)
	d.settle()
}

// step goes to the next change, or the one before.
func (d *diffPane) step(n int) {
	stops := d.rows().stops
	i := sort.SearchInts(stops, d.cur+1) // the next
	if n < 0 {
		i = sort.SearchInts(stops, d.cur) - 1
	}
	if i >= 0 && i < len(stops) {
		d.cur = stops[i]
	}
	d.settle()
}

func (d *diffPane) settle() {
	if apart := d.width+2 >= sideBySide && !d.below; apart != d.apart {
		n := d.nth()
		if d.apart = apart; n > 0 && d.front().lines() {
			d.cur = d.rows().stops[min(n, len(d.rows().stops))-1]
		}
	}
	list := d.rows().list
	rows, _ := d.body()
	d.cur = max(min(d.cur, len(list)-1), 0)
	if d.cur < d.top {
		d.top = d.cur
	}
	if d.cur >= d.top+rows {
		d.top = d.cur - rows + 1
	}
	if d.cur < rows {
		d.top = min(d.top, 0)
	}
	d.top = max(min(d.top, len(list)-rows), 0)
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
	m.note = note{} // it was about what to compare
	return m.openDiff(o.ID, x.ID)
}

func (m *model) openDiff(a, b string) tea.Cmd {
	if m.focus != inDiff {
		m.from = m.focus
	}
	m.focus = inDiff
	m.diff.stop()
	m.diff.want, m.diff.halted = pair{}, pair{}
	m.diff.side = diff.Response
	return m.diff.set(m, a, b)
}

// again compares the same two anew.
func (d *diffPane) again(m *model) tea.Cmd {
	if d.draft || d.want.a == "" {
		return nil
	}
	return d.set(m, d.want.a, d.want.b)
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

// showAll shows or hides what is equal and what is ignored.
func (m *model) showAll() tea.Cmd {
	if m.diff.draft {
		return nil
	}
	m.diff.look.all = !m.diff.look.all
	return m.diff.again(m)
}

// plainText goes between a comparison by structure and one by line.
func (m *model) plainText() tea.Cmd {
	if m.diff.draft {
		return nil
	}
	m.diff.look.plain = !m.diff.look.plain
	return m.diff.again(m)
}

func (m *model) toggleApart() tea.Cmd {
	d := &m.diff
	if d.width+2 < sideBySide {
		m.say(warn, "side by side takes %d columns, and there are %d", sideBySide, m.w)
		return nil
	}
	if d.c != nil && !d.front().lines() {
		m.say(warn, "lines of text stand side by side; t compares this body by line")
		return nil
	}
	d.below = !d.below
	d.settle()
	return nil
}

// changeCopies are the keys that may follow y.
func (m *model) changeCopies() []choice {
	list := []choice{{"y", "this change", (*model).copyChange}}
	if r := m.diff.row(); r != nil && r.path() != "" {
		list = append(list, choice{"p", "its path", func(m *model) tea.Cmd { return m.putClipboard("the path "+clip(r.path(), 40), r.path()) }})
	}
	if b := m.capture(m.diff.want.b); b != nil && !m.diff.draft {
		for _, c := range []choice{{key: "c", word: "curl of B"}, {key: "b", word: "body of B"}} {
			c.run = func(m *model) tea.Cmd { return m.copyPart(b, c.key, m.diff.side == diff.Response) }
			list = append(list, c)
		}
	}
	return list
}

// copyChange copies what stands at the cursor: where it is, and both values.
func (m *model) copyChange() tea.Cmd {
	r := m.diff.row()
	if r == nil {
		return nil
	}
	const everything = 64 << 20
	switch a, b := r.values(m.reveal, everything); r.kind {
	case rowValue:
		var s strings.Builder
		s.WriteString(r.path() + "\n")
		if r.op() != diff.Add {
			s.WriteString("A: " + a + "\n")
		}
		if r.op() != diff.Remove {
			s.WriteString("B: " + b + "\n")
		}
		what := "the change at " + clip(r.path(), 40)
		if r.header != nil {
			what = "the change of " + clip(r.path(), 40)
		}
		return m.putClipboard(what, s.String())
	case rowLine:
		switch r.op() {
		case diff.Equal:
			return m.putClipboard("the line", a+"\n")
		case diff.Add:
			return m.putClipboard("the line", "+ "+b+"\n")
		case diff.Remove:
			return m.putClipboard("the line", "- "+a+"\n")
		}
		return m.putClipboard("the two lines", "- "+a+"\n+ "+b+"\n")
	}
	m.say(warn, "this row is no change; n goes to the next")
	return nil
}

// ignore makes a rule of the difference at the cursor, or takes it back.
func (m *model) ignore() tea.Cmd {
	d := &m.diff
	r := d.row()
	if r == nil || d.draft {
		return nil
	}
	if r.kind == rowFold {
		return m.startRules()
	}
	path := r.target()
	if r.kind != rowValue || path == "" {
		m.say(warn, "no rule can name this row")
		return nil
	}
	if rule := r.rule(); rule != "" {
		i := slices.IndexFunc(m.rules.list, func(o diff.Rule) bool { return o.String() == rule })
		if i < 0 {
			m.say(warn, "a built-in rule ignores it: %s; I switches them off", rule)
			return nil
		}
		m.rules.remove(i)
		m.say(text, "%s counts again", rule)
		return d.again(m)
	}
	if r.op() == diff.Equal {
		m.say(warn, "this is equal: there is nothing to ignore")
		return nil
	}
	all := diff.Generalize(path)
	if r.header != nil || strings.Contains(path, "#") || all == path {
		return m.ignorePath(all)
	}
	m.ask = &question{
		text:  "ignore " + clip(all, 60) + ", or this one alone?",
		brief: "ignore all of them?",
		pass:  true,
		choices: []choice{
			{"i", "all of them", func(m *model) tea.Cmd { return m.ignorePath(all) }},
			{"o", "only this one", func(m *model) tea.Cmd { return m.ignorePath(path) }},
			{"esc", "cancel", func(*model) tea.Cmd { return nil }},
		},
	}
	return nil
}

func (m *model) ignorePath(path string) tea.Cmd {
	rule, err := diff.ParseRule(path)
	if err != nil {
		m.say(warn, "%s", err.Error())
		return nil
	}
	m.rules.add(rule)
	m.say(text, "ignored from now on: %s", path)
	return m.diff.again(m)
}
