package tui

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// A list is where a person is in a tunnel's captures. It remembers captures,
// not rows, so that arrivals, filters and resizing move nothing under the eye.
type list struct {
	sel        uint64 // order of the selected capture
	top        uint64 // order of the capture on the first row
	known      uint64 // order of the latest when following ended
	follow     bool   // the latest is selected as it comes
	newestLast bool
	height     int
	offset     int // row of the list that shows first; settle keeps it
	cursor     int // row of the selection
}

// at is the capture on row i.
func (l *list) at(c *captures, i int) *capture {
	if i < 0 || i >= len(c.shown) {
		return nil
	}
	if l.newestLast {
		return c.shown[i]
	}
	return c.shown[len(c.shown)-1-i]
}

// row is where the capture with that order is, or would be.
func (l *list) row(c *captures, order uint64) int {
	i, found := position(c.shown, order)
	if l.newestLast {
		return i
	}
	if !found {
		return len(c.shown) - i
	}
	return len(c.shown) - 1 - i
}

func (l *list) selected(c *captures) *capture { return l.at(c, l.cursor) }

// settle brings rows in line with what the list remembers.
func (l *list) settle(c *captures) {
	n := len(c.shown)
	if n == 0 {
		l.cursor, l.offset = 0, 0
		return
	}
	if l.follow {
		newest := c.shown[n-1]
		l.sel, l.known = newest.order, newest.order
		newest.unseen = false
	}
	l.cursor = min(l.row(c, l.sel), n-1)
	l.sel = l.at(c, l.cursor).order
	l.offset = min(l.row(c, l.top), n-1)
	h := max(l.height, 1)
	switch {
	case l.follow && !l.newestLast:
		l.offset = 0
	case l.cursor < l.offset:
		l.offset = l.cursor
	case l.cursor >= l.offset+h:
		l.offset = l.cursor - h + 1
	}
	l.offset = max(min(l.offset, n-h), 0)
	l.top = l.at(c, l.offset).order
}

func (l *list) choose(c *captures, x *capture) {
	l.sel, l.follow = x.order, false
	x.unseen = false
	l.settle(c)
}

func (l *list) move(c *captures, n int) {
	if len(c.shown) == 0 {
		return
	}
	to := max(min(l.cursor+n, len(c.shown)-1), 0)
	x := l.at(c, to)
	newest := c.shown[len(c.shown)-1]
	pushing := to == l.cursor && x == newest // against the end where news come in
	if l.follow && to == l.cursor {
		return
	}
	l.choose(c, x)
	l.follow = pushing
}

// end goes to the end where news come in, and follows them, or to the other.
func (l *list) end(c *captures, news bool) {
	if news {
		l.follow = true
		l.settle(c)
	} else if len(c.shown) > 0 {
		l.choose(c, c.shown[0])
	}
}

// scroll moves the view and, where it must, the selection.
func (l *list) scroll(c *captures, n int) {
	if len(c.shown) <= l.height {
		l.move(c, n)
		return
	}
	off := max(min(l.offset+n, len(c.shown)-l.height), 0)
	l.offset, l.top = off, l.at(c, off).order
	if to := max(min(l.cursor, off+l.height-1), off); to != l.cursor {
		l.choose(c, l.at(c, to))
	}
	l.follow = false
}

// latestKey leads to the end where news come in.
func (l *list) latestKey() string {
	if l.newestLast {
		return "G"
	}
	return "g"
}

// newer counts what came in since following ended and is out of sight.
func (l *list) newer(c *captures) int {
	if l.follow || len(c.shown) == 0 {
		return 0
	}
	i, found := position(c.shown, l.known)
	if found {
		i++
	}
	hidden := l.offset
	if l.newestLast {
		hidden = max(len(c.shown)-l.offset-l.height, 0)
	}
	return min(len(c.shown)-i, hidden)
}

// columns of the list, from the right: what there is room for.
type columns struct {
	time, method, status int
	dur, size            bool
	room                 int // for what was asked for, path and event
	path                 int // of it, for the path beside an event; 0 leaves events out
}

// columns divides a row. Which request it is matters most: the size has a column
// where that leaves room for all of path and event, so that less width never shows
// more of them. They stand in the same places in every row.
func (w *wanted) columns(width int) columns {
	c := columns{method: 7, status: 6, dur: width >= 34}
	switch {
	case width < 48:
		c.method, c.status = 5, 4
	case width < 54:
		c.time = 6 // hours and minutes
	default:
		c.time = 9
	}
	c.room = width - 3 - c.time - c.method - tail(c)
	switch {
	case width < 48:
	case width < 54:
		c.room = min(c.room, 54-33)
	case c.room-7 >= max(w.target(), 24):
		c.room, c.size = c.room-7, true
	default:
		c.room = min(c.room, mostTarget)
	}
	c.path = w.beside(c.room)
	return c
}

// beside is how many of n columns paths get beside their events, 0 to leave these
// out. An event is cut last: for it the paths come down to their last segment first.
func (w *wanted) beside(n int) int {
	const least = 8 // an event in less tells nothing
	path := w.path
	if path+2+w.event > n {
		path = min(path, max(n-2-w.event, min(w.last, n/2)))
	}
	if w.event == 0 || n-2-path < min(w.event, least) {
		return 0
	}
	return path
}

// wanted is how much of a row the paths and events of a list would fill. It only
// grows, so that the columns keep still.
type wanted struct {
	paths             int // of all rows, without queries
	path, last, event int // of those with an event; last is a path's last segment
}

// What paths and events may want at most: the rest has to live with being cut.
const (
	mostTarget = 40
	mostEvent  = 32
)

func (w *wanted) see(x *inspector.Exchange) {
	path := route(x.Path)
	n := min(len(path), mostTarget)
	w.paths = max(w.paths, n)
	if x.Event == "" {
		return
	}
	w.path = max(w.path, n)
	w.last = max(w.last, min(len(path)-max(strings.LastIndexByte(path, '/'), 0), mostTarget/2))
	w.event = max(w.event, min(len(x.Event), mostEvent))
}

// target is what path and event want together.
func (w *wanted) target() int {
	n := w.paths
	if w.event > 0 {
		n = max(n, w.path+2+w.event)
	}
	return min(n, mostTarget)
}

// listRows is how many captures the list shows at once.
func (m *model) listRows() int {
	n := m.lay.list.h
	if m.lay.rules {
		n-- // the names of the columns
	}
	return max(n, 1)
}

func (m *model) drawList(out []string) []string {
	t := m.tab()
	r := m.lay.list
	now := m.c.Now()
	focused := m.focus == inList
	cols := t.wants.columns(r.w)
	conns := connColumnsFor(r.w)
	raw := !isHTTP(t)
	if m.lay.rules {
		switch {
		case t.list.newer(t.captures) > 0:
			out = append(out, m.newerHead(t, r.w))
		case raw:
			out = append(out, m.connHead(conns, r.w))
		default:
			out = append(out, m.listHead(cols, r.w))
		}
	}
	m.rowsOf = m.rowsOf[:0]
	for i := t.list.offset; len(m.rowsOf) < m.listRows(); i++ {
		x := t.list.at(t.captures, i)
		if g := m.gapBefore(t, i); g != nil {
			out = append(out, m.gapRow(t, g, r.w))
			m.rowsOf = append(m.rowsOf, -1)
			if len(m.rowsOf) == m.listRows() {
				break
			}
		}
		m.rowsOf = append(m.rowsOf, i)
		l := m.th.line(r.w)
		if x == nil {
			if i == 0 && t.query != "" {
				said := "  nothing matches; esc clears the filter"
				if word := t.query; !strings.ContainsAny(word, " :<>=~()\"*") {
					said += wholly(m.th, "body:"+word+" searches bodies", r.w-m.th.width(said))
				}
				l.put(dim, said)
			}
			l.to(r.w)
			out = append(out, l.String())
			continue
		}
		if i == t.list.cursor {
			l.on(focused)
			r := accent
			if !focused {
				r = dim
			}
			l.put(r, m.th.g.bar)
		} else {
			l.put(text, " ")
		}
		if raw {
			m.drawConn(&l, x, conns, now)
		} else {
			m.drawCapture(&l, t, x, cols, now)
		}
		out = append(out, l.String())
	}
	return out
}

// gapBefore is the stretch offline that belongs above row i, if there is one.
func (m *model) gapBefore(t *tab, i int) *offline {
	for k := range t.link.gaps {
		g := &t.link.gaps[k]
		above, below := t.list.at(t.captures, i-1), t.list.at(t.captures, i)
		newer, older := above, below
		if t.list.newestLast {
			newer, older = below, above
		}
		if older == nil || older.Timing.Accepted.After(g.from) {
			continue
		}
		if newer == nil && (!t.list.newestLast || i == len(t.shown)) || newer != nil && newer.Timing.Accepted.After(g.from) {
			return g
		}
	}
	return nil
}

func (m *model) gapRow(t *tab, g *offline, width int) string {
	l := m.th.line(width)
	rule := m.th.g.rule
	l.fill(warn, rule, 3)
	s := " offline " + g.from.Format("15:04:05") + "-" + g.to.Format("15:04:05")
	if width >= 60 {
		s += " (" + span2(g.to.Sub(g.from)) + ")"
		words := []string{", requests then were not captured", ", not captured", ""}
		if !isHTTP(t) {
			words = []string{", connections were cut and refused", ", cut and refused", ""}
		}
		for _, w := range words {
			if m.th.width(s+w)+5 <= width {
				s += w
				break
			}
		}
	}
	l.put(warn, s+" ")
	l.fill(warn, rule, width)
	return l.String()
}

// newerHead stands above the rows while there are newer ones out of sight.
func (m *model) newerHead(t *tab, width int) string {
	l := m.th.line(width)
	mark := m.th.g.up
	if t.list.newestLast {
		mark = m.th.g.down
	}
	l.put(accent, sprintf(" %s %s newer (%s)", mark, format.Count(int64(t.list.newer(t.captures))), t.list.latestKey()))
	l.to(width)
	return l.String()
}

func (m *model) listHead(cols columns, width int) string {
	l := m.th.line(width)
	l.gap(3)
	if cols.time > 0 {
		l.cell(dim, "time", cols.time)
	}
	l.cell(dim, "method", cols.method)
	end := l.max - tail(cols)
	if cols.path > 0 {
		l.cell(dim, "path", cols.path+2)
		l.put(dim, "event")
	} else {
		l.put(dim, "path")
	}
	l.to(end)
	l.right(dim, "status", cols.status)
	if cols.dur {
		l.right(dim, "took", 7)
	}
	if cols.size {
		l.right(dim, "size", 7)
	}
	l.to(width)
	return l.String()
}

// tail is the room right of the path.
func tail(c columns) int {
	n := c.status + 1
	if c.dur {
		n += 7
	}
	if c.size {
		n += 7
	}
	return n
}

func (m *model) drawCapture(l *line, t *tab, x *capture, cols columns, now time.Time) {
	g := &m.th.g
	// A failure hides neither mark nor replay: the second of them stands where
	// otherwise a blank is.
	end := l.w + 2
	if x.Erred() {
		l.token(bad, g.fail)
	}
	if x.ID == t.marked && l.w < end {
		l.put(accent, g.mark)
	}
	if x.ReplayOf != "" && l.w < end {
		l.put(accent, g.replay)
	}
	l.to(end)
	if cols.time > 0 {
		l.cell(dim, x.Timing.Accepted.In(now.Location()).Format("15:04:05")[:cols.time-1], cols.time)
	}
	l.cell(text, method(x.Method, cols.method-1), cols.method)
	end = l.max - tail(cols)
	room := min(end-l.w, cols.room)
	tag, tagRole := tagOf(&x.Exchange, g), info
	code := status(x.Status)
	if call, failed := callTag(&x.Exchange, room/2); failed {
		tag, tagRole, code = call, bad, bad
	}
	if tag != "" {
		room -= m.th.width(tag) + 1
	}
	if room > 0 {
		path, event := m.pathAndEvent(x, room, cols.path)
		l.put(text, path)
		if event != "" {
			l.gap(cols.path + 2 - m.th.width(path))
			l.put(dim, event)
		}
	}
	l.to(end - m.th.width(tag))
	if tag != "" {
		l.put(tagRole, tag)
	}
	shown := statusText(&x.Exchange, g)
	l.gap(cols.status - m.th.width(shown))
	l.token(code, shown)
	l.gap(1)
	if cols.dur {
		r := text
		if x.State == inspector.Open {
			r = info
		}
		l.right(r, took(&x.Exchange, now), 6)
		l.gap(1)
	}
	if cols.size {
		l.right(dim, sizeOf(&x.Exchange, g), 6)
	}
	l.rest()
}

// pathAndEvent fits the path of x into n columns, and into the first of them if an
// event is to stand beside it. The event tells which of twenty deliveries to the
// same path it is.
func (m *model) pathAndEvent(x *capture, n, first int) (path, event string) {
	target := m.target(x.Path)
	if x.IsGRPC() {
		return m.th.shortCall(target, n), ""
	}
	if x.Event == "" || first == 0 || n-first-2 < 3 {
		return m.th.shortPath(target, n), ""
	}
	return m.th.shortPath(target, first), m.th.shortEvent(x.Event, n-first-2)
}

// method shortens the long ones.
func method(s string, n int) string {
	if len(s) <= n {
		return s
	}
	switch s {
	case "DELETE":
		return "DEL"
	case "OPTIONS":
		return "OPT"
	case "CONNECT":
		return "CONN"
	}
	return s[:n]
}

func statusText(x *inspector.Exchange, g *glyphs) string {
	switch {
	case x.Status != 0:
		return strconv.Itoa(x.Status)
	case x.State == inspector.Open:
		return g.ellipsis
	case x.State == unwatched:
		return "?"
	case x.EndedBy != "":
		return "cut"
	}
	return "err"
}

// outcome is the status, and how a gRPC call failed.
func outcome(x *inspector.Exchange, g *glyphs) string {
	s := statusText(x, g)
	if call, ok := x.GRPC(); ok && call.Code != 0 {
		s += " " + strings.ReplaceAll(call.Name(), "_", " ")
	}
	return s
}

// took is how long x lasted so far, or in all, where that is known.
func took(x *inspector.Exchange, now time.Time) string {
	if x.State == unwatched {
		return "?"
	}
	return format.Duration(x.Duration(now))
}

// tagOf is the badge of what is more than a request and an answer.
func tagOf(x *inspector.Exchange, g *glyphs) string {
	s := ""
	switch x.Kind {
	case inspector.SSE:
		s = "SSE"
	case inspector.WebSocket:
		s = "WS"
	case inspector.Upgraded:
		s = "UPG"
	case inspector.GRPC:
		s = "gRPC"
	case inspector.HTTP:
		if s = "gRPC"; !x.IsGRPC() {
			s = ""
		}
	}
	if s == "" {
		if x.EndedBy == "client" {
			return "client left"
		}
		return ""
	}
	if x.State == inspector.Open {
		s += " " + g.right
	}
	return s
}

// sizeOf is how many events or frames have passed, or the size of the larger
// body, with an arrow when that is the request's.
func sizeOf(x *inspector.Exchange, g *glyphs) string {
	if s := passed(x); s != "" {
		return s
	}
	sent, got := x.Request.Body.Size, x.Response.Body.Size
	switch {
	case x.Kind == inspector.WebSocket:
		return format.Size(sent + got)
	case sent > got:
		return g.sent + format.Size(sent)
	}
	return format.Size(got)
}

func sprintf(f string, args ...any) string { return fmt.Sprintf(f, args...) }

// span2 writes a stretch of time for a sentence.
func span2(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
