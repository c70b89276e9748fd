package tui

import (
	"errors"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/filter"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A filterBar is the line where the filter is typed. The list shows the last
// query that could be read while a new one is being written.
type filterBar struct {
	in      input
	editing bool
	err     *filter.Error
	entered bool // enter was pressed on what cannot be read
	offers  []filter.Completion
	offer   int
	before  string // the query when editing began
	at      int    // in what was entered before
}

// filterHistory is the name of what was entered here before.
const filterHistory = "filter"

// set shows the query of another tab.
func (b *filterBar) set(q string) { b.in.set(q) }

func (m *model) startFilter() tea.Cmd {
	t := m.tab()
	if t == nil {
		return nil
	}
	b := &m.bar
	if m.focus == inDetail && m.lay.list.w == 0 {
		m.focus = inList
	}
	b.editing, b.before, b.err, b.entered = true, t.query, nil, false
	b.in.set(t.query)
	load := m.recall(filterHistory)
	b.at = len(*m.past[filterHistory])
	b.complete(t)
	return load
}

func (b *filterBar) update(m *model, msg tea.Msg) tea.Cmd {
	t := m.tab()
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "esc":
			b.editing, b.err = false, nil
			return m.setFilter(b.before)
		case "enter":
			cmd := m.setFilter(b.in.text())
			if b.err != nil {
				b.entered = true // the line stays, to be put right
				return cmd
			}
			b.editing = false
			q := strings.TrimSpace(b.in.text())
			(&field{past: m.past[filterHistory]}).keep(q)
			return tea.Batch(cmd, m.remember(filterHistory, q))
		case "tab", "shift+tab":
			b.accept(t)
			return m.retype()
		case "up", "down":
			step := 1
			if k.String() == "up" {
				step = -1
			}
			past := *m.past[filterHistory]
			b.at = max(min(b.at+step, len(past)), 0)
			q := b.before
			if b.at < len(past) {
				q = past[b.at]
			}
			b.in.set(q)
			return m.retype()
		case "ctrl+n":
			if len(b.offers) > 0 {
				b.offer = (b.offer + 1) % len(b.offers)
			}
			return nil
		}
	}
	if b.in.update(msg) {
		return m.retype()
	}
	return nil
}

// cursor is the byte that the cursor stands before.
func (b *filterBar) cursor() int {
	return len(string(b.in.value[:b.in.pos]))
}

// complete looks up how the query could go on.
func (b *filterBar) complete(t *tab) {
	n := min(len(t.all), 200)
	seen := make([]inspector.Exchange, 0, n)
	for _, x := range t.all[len(t.all)-n:] {
		seen = append(seen, x.Exchange)
	}
	b.offers, b.offer = filter.Complete(b.in.text(), b.cursor(), seen), 0
	if !isHTTP(t) {
		b.offers = slices.DeleteFunc(b.offers, func(o filter.Completion) bool { return !ofConnections(o.Text) })
	}
}

// ofConnections reports whether a completion makes sense for connections: most
// fields speak of requests.
func ofConnections(s string) bool {
	field, _, ok := strings.Cut(strings.Replace(strings.Replace(s, ">", ":", 1), "<", ":", 1), ":")
	if !ok || field == "" {
		return !slices.Contains([]string{"replay", "marked", "ws", "sse", "grpc", "truncated"}, s)
	}
	switch field {
	case "status", "method", "path", "type", "header", "body", "json", "grpc", "proto", "tunnel":
		return false
	}
	return !strings.HasPrefix(field, "req.") && !strings.HasPrefix(field, "resp.") || strings.HasSuffix(field, ".size")
}

// accept puts the completion in front into the query.
func (b *filterBar) accept(*tab) {
	if b.offer >= len(b.offers) {
		return
	}
	q, o := b.in.text(), b.offers[b.offer]
	if o.From < 0 || o.To > len(q) || o.From > o.To {
		return
	}
	q = q[:o.From] + o.Text + q[o.To:]
	b.in.set(q)
	b.in.pos = len([]rune(q[:o.From+len(o.Text)]))
}

// retype reads the query after it has changed.
func (m *model) retype() tea.Cmd {
	b, t := &m.bar, m.tab()
	b.entered = false
	b.complete(t)
	return m.setFilter(b.settled())
}

// settled is the query without a last word that may become the name of a field:
// the list should not go empty on the way to "status:".
func (b *filterBar) settled() string {
	q := b.in.text()
	if b.in.pos != len(b.in.value) {
		return q
	}
	for _, o := range b.offers {
		if o.From < 0 || o.From >= len(q) {
			continue
		}
		if word := q[o.From:]; strings.HasSuffix(o.Text, ":") && strings.HasPrefix(o.Text, strings.ToLower(word)) {
			return q[:o.From]
		}
	}
	return q
}

// wrong is what is wrong with the query. As long as the rest of it may still
// come, that is nothing.
func (b *filterBar) wrong() *filter.Error {
	if b.err == nil || b.entered || b.err.Nearest != "" || b.in.pos != len(b.in.value) {
		return b.err
	}
	if q := b.in.text(); b.err.Open || b.err.Pos > strings.LastIndexByte(q, ' ') {
		return nil
	}
	return b.err
}

// setFilter applies q to the list, or says why it cannot.
func (m *model) setFilter(q string) tea.Cmd {
	b, t := &m.bar, m.tab()
	if t == nil {
		return nil
	}
	b.err = nil
	if strings.TrimSpace(q) == "" {
		t.captures.filter("", nil, m.c.Now())
		t.list.settle(t.captures)
		return nil
	}
	f, err := filter.Parse(q)
	if err != nil {
		if !errors.As(err, &b.err) {
			b.err = &filter.Error{Message: err.Error()}
		}
		return nil
	}
	if f.NeedsBody() && !isHTTP(t) {
		b.err = &filter.Error{Pos: -1, Message: "the bytes of connections are not searched"} // whatever follows
		return nil
	}
	t.captures.filter(q, f, m.c.Now())
	t.list.settle(t.captures)
	return t.goOn()
}

// A sieveMsg is the turn of a filter that is not through yet.
type sieveMsg struct {
	tab *tab
	*sift
}

// goOn gives the filter its next turn, if it needs one.
func (t *tab) goOn() tea.Cmd {
	if t.sift == nil {
		return nil
	}
	msg := sieveMsg{t, t.sift}
	return func() tea.Msg { return msg }
}

func (msg sieveMsg) arrive(m *model) tea.Cmd {
	t := msg.tab
	if t.sift != msg.sift {
		return nil // another filter has taken its place
	}
	t.sieve(m.c.Now())
	t.list.settle(t.captures)
	return t.goOn()
}

// A scannedMsg says whether one capture's bodies match.
type scannedMsg struct {
	tunnel  string
	scan    int
	id      string
	version uint64
	ok      bool
	err     error
}

// look goes on with looking into bodies for the filter in front, one capture at a
// time: the screen and the edge have other things to do. What has come in last is
// looked into first.
func (m *model) look() tea.Cmd {
	t := m.tab()
	if t == nil || t.reading {
		return nil
	}
	now := m.c.Now()
	x, _, _ := t.unread(now)
	if x == nil {
		return nil
	}
	t.reading, t.of(x).at = true, now
	e := t.env(now)
	marked, unseen := e.Marked(x.ID), e.Unseen(x.ID)
	msg, f := scannedMsg{tunnel: t.key(), scan: t.scan, id: x.ID, version: x.Version}, t.match
	var have *inspector.Exchange
	if o := m.find(x.ID); o != nil && o.x.Version == x.Version {
		have = &o.x
	}
	return func() tea.Msg {
		x := inspector.Exchange{}
		if have != nil {
			x = *have
		} else if x, msg.err = m.c.API.Exchange(m.ctx, msg.id); msg.err != nil {
			return msg
		}
		msg.ok = f.Match(&x, filter.Env{
			Now: e.Now, Marked: func(string) bool { return marked }, Unseen: func(string) bool { return unseen },
			Body: func(x *inspector.Exchange) (req, resp []byte) {
				return plainBody(&x.Request), plainBody(&x.Response)
			},
		})
		return msg
	}
}

// plainBody is a body with its content coding removed, as far as that goes, and
// protocol buffers as JSON.
func plainBody(m *inspector.Message) []byte {
	data := m.Body.Data
	if coding := m.Get("Content-Encoding"); coding != "" && len(data) > 0 {
		if out, err := format.Decode(coding, data, 0); err == nil || len(out) > 0 {
			data = out
		}
	}
	if out, _, ok, _ := format.ProtoJSON(m.Get("Content-Type"), m.Get("Grpc-Encoding"), data, m.Body.Truncated(), false); ok {
		return out
	}
	return data
}

func (msg scannedMsg) arrive(m *model) tea.Cmd {
	i := slices.IndexFunc(m.tabs, func(t *tab) bool { return t.key() == msg.tunnel && t.scan == msg.scan })
	if i < 0 {
		return nil // another filter has taken its place
	}
	t := m.tabs[i]
	t.reading = false
	x := t.byID[msg.id]
	switch {
	case x == nil:
		return nil
	case msg.err != nil && !isGone(msg.err):
		return nil // it has its turn again
	}
	l := t.of(x)
	l.read, l.body = msg.version, differs
	if msg.err != nil {
		l.read = x.Version // there is nothing left to look into
	}
	if msg.ok {
		l.body = matches
	}
	t.refilter(x, m.c.Now())
	t.list.settle(t.captures)
	return nil
}

// scanMark tells how far the filter has looked into bodies, "" when it is done.
func (m *model) scanMark(t *tab) string {
	_, left, of := t.unread(m.c.Now())
	if left == 0 {
		return ""
	}
	if m.w < 80 {
		return sprintf("%s%d/%d ", m.th.g.ellipsis, of-left, of)
	}
	return sprintf("%s looked into %d of %d ", m.th.g.ellipsis, of-left, of)
}

// draw is the status row while the filter is typed.
func (b *filterBar) draw(m *model, l, right line, y int) (string, *tea.Cursor) {
	l.put(hotkey, "/ ")
	wrong := b.wrong()
	if wrong != nil && m.w < 110 {
		right = m.th.line(0) // what is wrong matters more than the counters
	}
	x := l.w
	width := max(l.max-x-right.w-2, 8)
	why, meant := "", ""
	if wrong != nil {
		if why = "  " + m.th.g.no + " " + wrong.Message; wrong.Nearest != "" && !strings.Contains(wrong.Message, wrong.Nearest) {
			meant = "; did you mean " + wrong.Nearest + "?"
		}
		// Of a long query only the end shows, so that there is room to say it.
		width = max(width-min(m.th.width(why+meant), width/2), 8)
	}
	value, pos := b.in.value, b.in.pos
	// What does not fit goes out at the left, so that the cursor stays in view.
	from := max(pos-width+2, 0)
	for from < pos && m.th.width(string(value[from:pos])) > width-2 {
		from++
	}
	l.max = x + width
	value = value[:min(len(value), from+width)]
	pos = min(pos, len(value))
	if wrong != nil {
		// The part that cannot be read is marked where it is.
		bytes := min(max(wrong.Pos, 0), len(string(value)))
		at := len([]rune(string(value)[:bytes]))
		at = max(min(at, len(value)), from)
		l.put(text, string(value[from:at]))
		l.put(bad, string(value[at:]))
	} else {
		l.put(text, string(value[from:]))
	}
	cursor := tea.NewCursor(x+m.th.width(string(value[from:pos])), y)
	switch {
	case wrong != nil:
		l.max = max(m.w-right.w-2, l.max)
		l.put(bad, why)
		l.put(text, meant)
	case len(b.offers) > 0 && pos == len(value):
		o := b.offers[b.offer]
		typed := b.in.text()[min(o.From, len(b.in.text())):]
		if rest, ok := strings.CutPrefix(o.Text, typed); ok && rest != "" {
			l.put(dim, rest)
		} else if o.Text != typed {
			l.put(dim, "  tab "+o.Text)
		}
		if o.Help != "" && o.Text != typed && (len(b.offers) == 1 || m.w >= 100) {
			l.put(dim, "   "+o.Help)
		}
		b.drawOffers(m, &l)
	}
	l.max = m.w
	if l.room() > right.w {
		l.to(m.w - right.w - 1)
		return l.String() + right.String(), cursor
	}
	return l.String(), cursor
}

// drawOffers names the other offers that ctrl-n leads to, as far as they fit.
func (b *filterBar) drawOffers(m *model, l *line) {
	for i := 1; i < len(b.offers); i++ {
		s := b.offers[(b.offer+i)%len(b.offers)].Text
		sep := "  "
		if i == 1 {
			sep = "   or "
		}
		if len(sep)+m.th.width(s)+4 > l.room() {
			l.put(dim, " "+m.th.g.ellipsis)
			return
		}
		l.put(dim, sep)
		l.put(text, s)
	}
}
