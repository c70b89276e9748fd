package tui

import (
	"errors"
	"slices"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// counters says how many tunnels have their agent, and how much comes in.
func (h *home) counters(sep string) string {
	switch {
	case !h.loaded && len(h.list) == 0:
		return "asking the edge"
	case h.err != "" && h.asOf.IsZero():
		return "asking again and again"
	case h.err != "":
		return "as of " + h.asOf.Format("15:04:05") + ", asking again"
	}
	live, away, rate := 0, 0, 0.0
	for i := range h.list {
		live += b2i(h.list[i].Online)
		away += b2i(!h.list[i].Online && !h.list[i].gone)
		rate += h.list[i].rate
	}
	s := plural(live, "tunnel") + " live"
	if away > 0 {
		s += sep + sprintf("%d away", away)
	}
	if rate > 0 {
		s += sep + sprintf("%.1f calls/s", rate)
	}
	return s
}

// whose says which edge the tunnels are on, and whose they are.
func (h *home) whose() string {
	who, edge := h.me.Name, h.me.Edge.Domain
	if who == "" {
		who = h.me.ID
	}
	switch {
	case h.first == nil:
		return "this machine only"
	case who == "" || edge == "":
		return who + edge
	}
	return who + " on " + edge
}

// upOf is how long t has been there, or for how long its agent has been away.
func upOf(t *client.Tunnel, now time.Time) string {
	switch {
	case t.Online:
		return format.Duration(now.Sub(t.CreatedAt))
	case t.Since.IsZero():
		return "away"
	}
	return "away " + format.Duration(max(now.Sub(t.Since), 0))
}

// passedOf is what passed through t, in words where there is room for them.
func passedOf(t *client.Tunnel, long bool) string {
	raw := t.Kind == tunnel.TCP || t.Kind == tunnel.TLS
	switch {
	case raw && long:
		return sprintf("%s open, %s in all", format.Count(t.Open), format.Count(t.Connections))
	case raw:
		return format.Count(t.Open) + " open"
	case long:
		return plural(int(t.Requests), "request")
	}
	return format.Count(t.Requests) + " req"
}

// homeColumns is what there is room for. The name and the traffic stay; the local
// service goes first, then the scheme of the address, then the address.
type homeColumns struct {
	tab, kind, name, address, local, rate, passed, up int
	bare, long                                        bool
}

func (h *home) columnsFor(th *theme, width int) homeColumns {
	c := homeColumns{kind: 6, passed: 12, up: 11}
	switch {
	case width < 59:
		c.kind, c.passed, c.up = 0, 10, 10
	case width >= 99:
		c.long, c.rate = true, 8
	}
	whole, cut := 0, 0
	for i := range h.list {
		t := &h.list[i]
		if t.tab != nil {
			c.tab = 2
		}
		if c.long {
			c.passed = max(c.passed, len(passedOf(&t.Tunnel, true))+2)
		}
		c.name = max(c.name, th.width(t.label()))
		c.local = max(c.local, th.width(short(t.Local)))
		whole = max(whole, th.width(t.PublicURL))
		cut = max(cut, th.width(bare(t.PublicURL)))
	}
	fixed := 4 + c.tab + c.kind + c.rate + c.passed + c.up
	room := width - fixed
	c.name = max(min(c.name+2, 26, room), 8)
	c.local = max(min(c.local+2, 24), 7)
	whole, cut = max(whole+2, 9), max(cut+2, 9)
	room -= c.name
	c.bare = room < whole+c.local
	if c.bare && room < cut+c.local {
		if c.local = 0; room >= 24+15 {
			c.local = 15
		}
	}
	if c.address = room - c.local; c.address < 16 || c.local == 0 && c.address < min(cut, 24) {
		// Most of an address would be in none of both columns: then the other one.
		if c.address, c.local = 0, 0; room >= 7 && width >= 59 {
			c.local = room
		} else {
			c.name = max(min(c.name+room, width-fixed), 1)
		}
	}
	switch {
	case c.local == 0:
		c.bare = c.bare && room < whole
	case !c.bare: // the room that is left is before the traffic
		c.address, c.local = whole, room-whole
	}
	return c
}

// label is what a tunnel is called, while it has no name by what it leads to.
func (r *homeRow) label() string {
	if r.Subdomain == "" {
		return short(r.Local)
	}
	return r.Subdomain
}

// state is the mark of a tunnel and a word for how it is.
func (h *home) state(m *model, r *homeRow) (role, string, string) {
	g, now := &m.th.g, m.c.Now()
	if h.closing[r.key()] {
		return warn, g.offline, "closing"
	}
	if t := r.tab; t != nil && m.fate(t) != "" {
		return bad, g.no, "closed"
	} else if r.gone {
		return bad, g.no, "gone"
	} else if r.own() {
		switch s := &t.link.status; {
		case s.State == agent.Connecting:
			return warn, g.offline, "connecting"
		case s.State != agent.Online:
			return warn, g.offline, "lost " + format.Duration(max(now.Sub(s.OfflineSince), 0))
		}
		if u := m.upstream(t); u != nil && u.Down {
			return bad, g.warn, "down " + downFor(u, now)
		}
	}
	if !r.Online {
		return warn, g.offline, upOf(&r.Tunnel, now)
	}
	return good, g.online, upOf(&r.Tunnel, now)
}

// about is the room that more on the selected tunnel takes, with the rule above.
const about = 5

func (h *home) draw(m *model, out []string, r rect) []string {
	start := len(out)
	row := func(f func(*line)) {
		l := m.th.line(r.w)
		f(&l)
		out = append(out, l.String())
	}
	switch {
	case h.err != "":
		for i, s := range firstRows(h.err, r.w-6, 2) {
			row(func(l *line) {
				l.put(bad, []string{"  " + m.th.g.warn + " ", "    "}[min(i, 1)])
				l.put(bad, s)
			})
		}
	case !h.loaded:
		row(func(l *line) { l.put(dim, "  asking the edge"+m.th.g.ellipsis) })
	case len(h.list) == 0:
		out = h.empty(m, out, r)
	}
	if len(h.list) > 0 {
		more := r.h >= 12
		room := r.h - (len(out) - start)
		if more {
			room -= about
		}
		out = h.table(m, out, rect{r.x, r.y + len(out) - start, r.w, room})
		if more {
			for len(out)-start < r.h-about {
				out = append(out, "")
			}
			out = append(out, m.rule(-1, ""))
			if h.failed == nil {
				out = h.more(m, out, r.w)
			}
		}
	}
	if h.failed != nil {
		out = h.failure(m, out, start, r)
	}
	return out
}

// empty says what can be done while there is no tunnel.
func (h *home) empty(m *model, out []string, r rect) []string {
	type step struct{ key, how, what, brief string }
	var steps []step
	first := "No tunnel is live."
	if h.first == nil {
		first = "No tunnel is live, and no edge is known yet."
		if r.w < 50 {
			first = "No tunnel is live, no edge known yet."
		}
	}
	switch {
	case m.c.Start == nil:
	case h.first == nil:
		steps = append(steps, step{"n", "", "start a tunnel here; its URL works on this machine only", "start one, local only"})
	default:
		steps = append(steps, step{"n", "", "start a tunnel here; it ends with this screen", "start one here"})
	}
	steps = append(steps, step{"", "lrok http 3000", "in another terminal, and it shows up here", "in another terminal"})
	if h.first == nil {
		steps = append(steps,
			step{"", "lrok login HOST", "for a public URL: your edge, with its key", "for a public URL"},
			step{"", "lrok serve", "be that edge, on a server of your own", "be an edge"},
		)
	}
	steps = append(steps, step{"", "lrok demo", "everything at once, with sample webhooks", "see everything"})
	left, wide := 2, 0
	for _, s := range steps {
		wide = max(wide, len(s.how))
	}
	blank := func() { out = append(out, "") }
	if r.h >= len(steps)+4 {
		blank()
	}
	l := m.th.line(r.w)
	l.gap(left)
	l.put(strong, first)
	out = append(out, l.String())
	if r.h >= len(steps)+3 {
		blank()
	}
	for _, s := range steps {
		l := m.th.line(r.w)
		l.gap(left)
		if s.key != "" {
			l.cell(hotkey, s.key, wide+2)
		} else {
			l.cell(accent, s.how, wide+2)
		}
		if m.th.width(s.what) <= l.room() {
			l.put(text, s.what)
		} else {
			l.put(text, s.brief)
		}
		out = append(out, l.String())
		if s.key != "" && r.h >= len(steps)+5 {
			blank()
		}
	}
	return out
}

// table draws the rows.
func (h *home) table(m *model, out []string, r rect) []string {
	c := h.columnsFor(m.th, r.w-1) // a blank at the right, as everywhere
	head := b2i(m.lay.shape != compact)
	row := func(f func(*line)) {
		l := m.th.line(r.w)
		f(&l)
		out = append(out, l.String())
	}
	if head > 0 {
		row(func(l *line) {
			l.gap(4 + c.tab)
			l.cell(dim, "kind", c.kind)
			l.cell(dim, "tunnel", c.name)
			if c.address > 0 {
				l.cell(dim, "address", c.address)
			}
			if c.local > 0 {
				l.cell(dim, "local service"[:5+8*b2i(c.local >= 15)], c.local)
			}
			if c.rate > 0 {
				l.right(dim, "now", c.rate)
			}
			l.right(dim, "traffic", c.passed)
			l.right(dim, "up", c.up)
		})
	}
	h.rows = rect{r.x, r.y + head, r.w, max(r.h-head, 1)}
	h.top = max(min(h.top, h.cur, len(h.list)-h.rows.h), h.cur-h.rows.h+1, 0)
	for i := h.top; i < min(h.top+h.rows.h, len(h.list)); i++ {
		t := &h.list[i]
		row(func(l *line) {
			if i == h.cur {
				l.on(true)
				l.put(accent, m.th.g.bar)
			} else {
				l.put(text, " ")
			}
			if c.tab > 0 {
				n := ""
				if k := slices.Index(m.tabs, t.tab); t.tab != nil && k < 99 {
					n = sprintf("%d", k+1)
				}
				l.right(dim, n, c.tab)
			}
			l.gap(1)
			state, mark, up := h.state(m, t)
			l.token(state, mark)
			l.gap(2 - m.th.width(mark))
			kind := t.Kind
			if kind == "" {
				kind = tunnel.HTTP
			}
			l.cell(dim, string(kind), c.kind)
			l.cell(strong, t.label(), c.name-1)
			l.gap(1)
			if c.address > 0 {
				url := t.PublicURL
				if c.bare {
					url = bare(url)
				}
				l.cell(accent, m.th.shortPath(url, c.address-1), c.address-1)
				l.gap(1)
			}
			if c.local > 0 {
				l.cell(text, short(t.Local), c.local-1)
				l.gap(1)
			}
			if c.rate > 0 {
				rate := ""
				if t.rate > 0 {
					rate = sprintf("%.1f/s", t.rate)
				}
				l.right(accent, rate, c.rate)
			}
			l.right(text, passedOf(&t.Tunnel, c.long), c.passed)
			if state == good {
				state = dim
			}
			l.right(state, up, c.up)
			l.rest()
		})
	}
	return out
}

// more is what else there is to say about the tunnel at the cursor.
func (h *home) more(m *model, out []string, width int) []string {
	r := h.selected()
	row := func(f func(*line)) {
		l := m.th.line(width)
		l.gap(1)
		f(&l)
		out = append(out, l.String())
	}
	row(func(l *line) {
		url := r.PublicURL
		if url == "" {
			url = "no address yet"
		}
		l.put(strong, m.th.shortPath(url, max(l.room()-3-m.th.width(r.Local)-1, 16)))
		l.put(dim, " "+m.th.g.both+" ")
		l.put(text, r.Local)
	})
	how, says := h.where(m, r)
	list := firstRows(says, width-2, 2)
	for _, s := range list {
		row(func(l *line) { l.put(how, s) })
	}
	row(func(l *line) {
		sep := m.separator()
		l.put(text, passedOf(&r.Tunnel, true))
		if r.BytesIn+r.BytesOut > 0 {
			l.put(dim, sep+"in ")
			l.put(text, amount(r.BytesIn))
			l.put(dim, sep+"out ")
			l.put(text, amount(r.BytesOut))
		}
		if !r.Inspect {
			l.put(dim, sep+"not captured")
		}
		if t := r.tab; t != nil && t.seen > t.looked {
			l.put(dim, sep)
			l.put(accent, sprintf("%s new", format.Count(int64(t.seen-t.looked))))
		}
	})
	row(func(l *line) {
		if !r.CreatedAt.IsZero() && len(list) == 1 {
			l.put(dim, "since "+r.CreatedAt.In(m.c.Now().Location()).Format("2 Jan 15:04"))
		}
	})
	return out
}

// where says who runs the tunnel, and how that is.
func (h *home) where(m *model, r *homeRow) (role, string) {
	now := m.c.Now()
	t := r.tab
	if t != nil && m.fate(t) != "" {
		return bad, m.fate(t) + "; x takes it from the list"
	}
	if r.gone {
		return bad, "the edge does not list it any more; x takes it from the list"
	}
	if r.own() {
		s := &t.link.status
		switch s.State {
		case agent.Connecting, agent.Reconnecting:
			what := s.State.String()
			if s.Attempt > 1 || s.Err != nil {
				what += sprintf(", attempt %d", max(s.Attempt, 1))
			}
			if wait := s.Next.Sub(now); wait > 0 {
				what += ", next in " + seconds(wait)
			}
			if s.Err != nil {
				what += ": " + message(s.Err)
			}
			return warn, what
		}
		if u := m.upstream(t); u != nil && u.Down {
			return bad, "the local service does not answer: " + u.Err
		}
		return text, "started here: it ends with this screen"
	}
	who := "another lrok"
	switch {
	case r.edge.ID != "":
		who = "another lrok on this machine, which is its edge as well"
	case r.Machine != "":
		who = "lrok on " + r.Machine
		if r.RemoteAddr != "" {
			who += " (" + r.RemoteAddr + ")"
		}
	}
	if !r.Online {
		s := "its lrok is away"
		if r.Machine != "" {
			s = "its lrok on " + r.Machine + " is away"
		}
		if !r.Since.IsZero() {
			s += " since " + r.Since.In(now.Location()).Format("15:04:05")
			if left := h.me.Edge.Limits.Keeps() - now.Sub(r.Since); left > 0 {
				s += "; the name is kept for " + seconds(left) + " more"
			}
		}
		return warn, s
	}
	return text, "by " + who
}

// failure says at the end of the list why a tunnel could not be started.
func (h *home) failure(m *model, out []string, start int, r rect) []string {
	var e *tunnel.Error
	why, hint := h.failed.err.Error(), ""
	if errors.As(h.failed.err, &e) {
		why, hint = e.Message, e.Hint
	}
	var rows []string
	add := func(how role, s string, n int) {
		for _, s := range firstRows(s, r.w-4, n) {
			l := m.th.line(r.w)
			l.gap(3)
			l.put(how, s)
			rows = append(rows, l.String())
		}
	}
	l := m.th.line(r.w)
	l.gap(1)
	l.put(bad, m.th.g.no+" "+h.failed.what+" could not be started")
	rows = append(rows, l.String())
	add(text, why, 3)
	if hint != "" {
		add(dim, hint, 2)
	}
	add(dim, "a tries it again", 1)
	if room := r.h - (len(out) - start); room < len(rows) {
		if len(h.list) > 0 && r.h >= 12 { // below the rule, or over a few rows of the list
			out = out[:max(start, len(out)-(len(rows)-room))]
		} else {
			out = out[:max(start, start+r.h-len(rows))]
		}
	}
	return append(out, rows...)
}

// firstRows breaks s between words and keeps n rows of it.
func firstRows(s string, width, n int) []string {
	rows := wrapWords(format.Sanitize(s), max(width, 8))
	return rows[:min(len(rows), n)]
}
