package tui

import (
	"errors"
	"math"
	"net"
	"os"
	"sort"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A hit is a part of the screen that does something when it is clicked.
type hit struct {
	rect
	run func(*model) tea.Cmd
}

// View draws the screen. What runs by itself is drawn twice a second at most
// while it is to be calm.
func (m *model) View() tea.View {
	if now := time.Now(); !m.calm() || now.Sub(m.frame.at) >= calmly {
		m.frame.View, m.frame.at = m.view(), now
	}
	return m.frame.View
}

func (m *model) view() tea.View {
	v := tea.View{AltScreen: true, ReportFocus: true, WindowTitle: m.title()}
	if !m.mouseOff && !m.c.NoMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if m.w <= 0 || m.h <= 0 {
		return v
	}
	rows, cursor := m.draw()
	v.Content = strings.Join(rows, "\n")
	v.Cursor = cursor
	if cursor != nil && m.c.ReduceMotion {
		cursor.Blink = false
	}
	return v
}

// title is the window's. The name in it comes from the edge and is cleaned like
// everything else.
func (m *model) title() string {
	if t := m.tab(); t != nil && t.Name != "" {
		return "lrok " + format.Sanitize(t.Name)
	}
	return "lrok"
}

// draw makes the rows of the screen.
func (m *model) draw() ([]string, *tea.Cursor) {
	m.hits = m.hits[:0]
	if m.lay.shape == tiny {
		return m.drawTiny(), nil
	}
	out := make([]string, 0, m.h)
	out = m.drawHeader(out)
	wall := -1
	if m.lay.shape == split && m.focus != inDiff && m.focus != inHome && !m.blank() {
		wall = m.lay.list.w
	}
	if m.lay.rules {
		out = append(out, m.rule(wall, m.th.g.teeDown))
	}
	out = m.drawPanes(out)
	if m.lay.rules {
		out = append(out, m.rule(wall, m.th.g.teeUp))
	}
	foot, cursor := m.drawStatus(len(out))
	out = append(out, foot, m.drawHints(len(out)+1))
	if m.over != nil {
		out = m.overlay(out)
		cursor = m.over.cursor(m)
	}
	return out, cursor
}

// granted reports whether the tunnel in front has its address.
func (m *model) granted() bool {
	t := m.tab()
	if t == nil || t.link.agent == nil {
		return t != nil
	}
	g, i := t.link.status.Welcome.Grants, m.claim(t)
	return i < len(g) && g[i].Name != ""
}

// blank reports whether there is no list to show yet.
func (m *model) blank() bool {
	t := m.tab()
	return t == nil || len(t.all) == 0
}

func (m *model) rule(wall int, tee string) string {
	l := m.th.line(m.w)
	if wall >= 0 {
		l.fill(border, m.th.g.rule, wall)
		l.put(border, tee)
	}
	l.fill(border, m.th.g.rule, m.w)
	return l.String()
}

func (m *model) drawPanes(out []string) []string {
	h := m.lay.panes.h
	start := len(out)
	switch {
	case m.focus == inHome:
		out = m.home.draw(m, out, m.lay.panes)
	case m.focus == inDiff:
		m.diff.resize(m.w-2, h)
		for _, s := range m.diff.draw(m, nil, true) {
			out = append(out, " "+s)
		}
	case m.blank():
		out = m.drawEmpty(out, m.lay.panes)
	case m.lay.shape == split:
		left := m.drawList(nil)
		right := m.drawDetail(nil)
		wall := m.th.line(1)
		wall.put(border, m.th.g.wall)
		w := wall.String()
		joint := m.th.line(1)
		joint.put(border, m.th.g.teeRight)
		below := m.detailRule() // the row of the detail that is a rule
		for i := range h {
			if i == below {
				out = append(out, left[i]+joint.String()+right[i])
				continue
			}
			out = append(out, left[i]+w+right[i])
		}
	case m.lay.shape == stacked:
		out = m.drawList(out)
		out = append(out, m.rule(-1, ""))
		out = m.drawDetail(out)
	case m.lay.detail.w > 0:
		out = m.drawDetail(out)
	default:
		out = m.drawList(out)
	}
	for len(out)-start < h {
		out = append(out, "")
	}
	return out[:start+h]
}

// drawTiny is all that fits on next to nothing: state, address, counters.
func (m *model) drawTiny() []string {
	out := make([]string, m.h)
	l := m.th.line(m.w)
	t := m.tab()
	m.putState(&l, true)
	right := ""
	if t != nil && !isHTTP(t) {
		right = sprintf(" %d open", t.opened(m.ring()))
	} else if t != nil {
		s := t.summary()
		right = sprintf(" %d", t.seen)
		if s.failed > 0 {
			right += sprintf(" %s%.0f%%", m.th.g.fail, s.failed*100)
		}
	}
	if t == nil {
		l.put(text, " "+m.home.counters(m.separator()))
	} else {
		l.put(text, " ")
		l.put(strong, m.th.shortPath(bare(t.URL), max(l.room()-len(right), 1)))
	}
	l.to(m.w - len(right))
	l.put(dim, right)
	if m.h > 0 {
		out[0] = l.String()
	}
	if rows := m.tinyRows(); len(rows) > 0 {
		copy(out[1:], rows)
	}
	return out
}

// tinyRows are what cannot be left out below the one line: what is asked, what is
// wrong, what keys go to that has no room here.
func (m *model) tinyRows() (rows []string) {
	if m.h < 2 {
		return nil
	}
	say := func(r role, s string) {
		for _, s := range firstRows(s, m.w, m.h-1) {
			rows = append(rows, m.textRow(r, s, m.w))
		}
	}
	t := m.tab()
	switch {
	case m.ask != nil:
		s := m.ask.text
		if m.ask.brief != "" {
			s = m.ask.brief
		}
		say(strong, s)
	case m.prefix != nil, m.prompt != nil, m.bar.editing:
		row, _ := m.drawStatus(1)
		rows = append(rows, row)
	case m.over != nil, t != nil && m.focus != inList:
		say(dim, "this window is too small for it; esc goes back")
		return rows
	case m.note.text != "":
		say(m.note.role, m.note.text)
	case t == nil:
	case m.fate(t) != "":
		say(bad, m.fate(t))
	case m.down() != nil:
		say(bad, "UPSTREAM DOWN")
	case t.link.agent != nil && t.link.status.State == agent.Connecting:
		s := "connecting"
		if steps := t.link.status.Steps; len(steps) > 0 {
			s += ": " + steps[len(steps)-1].Name
		}
		say(warn, s)
	case t.link.agent != nil && t.link.status.State == agent.Reconnecting:
		say(warn, sprintf("reconnecting, attempt %d", max(t.link.status.Attempt, 1)))
	}
	if tips := m.tips(); len(tips) > 0 && m.h > 2 {
		rows = append(rows[:min(len(rows), m.h-2)], m.drawHints(len(rows)+1))
	}
	return rows
}

// bare is a URL without what everybody knows.
func bare(url string) string {
	for _, scheme := range []string{"https://", "http://", "tcp://", "tls://"} {
		if rest, ok := strings.CutPrefix(url, scheme); ok {
			return rest
		}
	}
	return url
}

// short is a local service without what everybody knows.
func short(local string) string {
	s := bare(local)
	if port, ok := strings.CutPrefix(s, "localhost"); ok && strings.HasPrefix(port, ":") {
		return port
	}
	return s
}

// putState puts the state of the connection: a mark and a word.
func (m *model) putState(l *line, brief bool) {
	g := &m.th.g
	word := func(r role, mark, s string) {
		l.put(r, mark)
		if !brief {
			l.put(r, " "+s)
		}
	}
	if m.paused {
		word(warn, g.paused, "paused")
		return
	}
	t := m.tab()
	if t == nil {
		if m.home.err != "" {
			word(warn, g.offline, "edge unreachable")
		} else {
			word(good, g.online, "home")
		}
		return
	}
	if m.fate(t) != "" {
		if m.refused(t) {
			word(bad, g.no, "not started")
		} else {
			word(bad, g.offline, "closed")
		}
		return
	}
	if t.link.agent == nil {
		if m.lost[t.key()] != "" {
			word(warn, g.offline, "reconnecting")
		} else if t.flow.away {
			word(warn, g.offline, "away")
		} else {
			word(good, g.online, "attached")
		}
		return
	}
	switch s := &t.link.status; s.State {
	case agent.Online:
		if brief && m.down() != nil { // there is no row that says so
			l.put(bad, g.warn)
			return
		}
		word(good, g.online, "online")
		if !brief && s.RTT > 0 {
			l.put(dim, " "+format.Duration(s.RTT))
		}
	case agent.Connecting:
		word(warn, g.offline, "connecting")
	case agent.Reconnecting:
		word(warn, g.offline, "reconnecting")
	default:
		word(bad, g.offline, "closed")
	}
}

func (m *model) drawHeader(out []string) []string {
	if t := m.tab(); t != nil && t.link.agent != nil && t.link.status.State == agent.Reconnecting && m.fate(t) == "" {
		out = append(out, m.reconnecting())
	} else {
		out = append(out, m.headline())
	}
	if m.lay.header > 1 {
		out = append(out, m.subline())
	}
	return out
}

// step puts how far the first connection has come: where to, what is done, what
// is waited for, and for how long.
func (m *model) step(l *line) {
	s := &m.link().status
	right := ""
	if !s.Since.IsZero() {
		right = format.Duration(m.c.Now().Sub(s.Since))
	}
	l.max -= len(right) + 2
	l.gap(2)
	l.put(strong, s.Edge)
	l.put(dim, " "+m.th.g.ellipsis+" ")
	for i, step := range s.Steps {
		switch last := i == len(s.Steps)-1; {
		case !last:
		case step.Done:
			l.put(good, step.Name+" ok "+format.Duration(step.Took))
		default:
			if i > 0 && l.room() > 24 {
				before := s.Steps[i-1]
				l.put(dim, before.Name+" ok "+format.Duration(before.Took)+" "+m.th.g.dot+" ")
			}
			l.put(text, step.Name+" "+m.th.g.ellipsis)
		}
	}
	l.max = m.w
	l.to(m.w - len(right) - 1)
	l.put(dim, right)
}

// figuresRoom is the room that the sparkline and the durations of a wide headline
// may need.
const figuresRoom = 14 + len("  p50 640ms p95 640ms")

// headline is state, address and how the service answers.
func (m *model) headline() string {
	g := &m.th.g
	l := m.th.line(m.w)
	t := m.tab()
	wide := m.w >= 100
	if wide {
		l.put(accent, " lrok")
		l.gap(2)
	} else {
		l.gap(1)
	}
	m.putState(&l, m.lay.shape == compact)
	if t == nil {
		l.gap(2)
		l.put(strong, "your tunnels")
		whose := m.home.whose()
		if n := m.th.width(whose); n > 0 && l.room() >= n+3 {
			l.to(m.w - n - 1)
			l.put(text, whose)
		}
		return l.String()
	}
	s := t.summary()
	right := m.th.line(60)
	which := m.th.line(0)
	if m.lay.shape == compact && len(m.tabs) > 1 { // there is no row for the tabs
		which = m.th.line(40)
		m.putWhich(&which)
		m.putWhich(&right)
		right.gap(2)
	}
	if !isHTTP(t) {
		m.throughput(&right, t, wide)
	} else if len(s.recent) > 0 {
		if m.lay.shape != compact {
			right.put(accent, spark(s.recent, g.spark, map[bool]int{true: 14, false: 8}[wide]))
			right.gap(2)
		}
		if wide {
			right.put(dim, "p50 ")
			right.put(text, format.Duration(s.p50))
			right.gap(1)
		}
		right.put(dim, "p95 ")
		right.put(text, format.Duration(s.p95))
	}
	local := t.Local
	url := t.URL
	if s := &t.link.status; url == "" && t.link.agent != nil && s.State == agent.Connecting && s.Edge != "" {
		m.step(&l)
		return l.String()
	}
	switch {
	case m.lay.shape == compact:
		url, local = bare(url), ""
	case !wide:
		local = short(local)
	}
	// The address gives way last: first the figures go, then the local side.
	gap := 2
	if m.lay.shape == compact {
		gap = 1
	}
	need := gap + m.th.width(url)
	if local != "" {
		need += 1 + m.th.width(g.both) + 1 + m.th.width(local)
	}
	if l.room() < need+right.w+3 {
		right = which
	}
	if l.room() < need+1 {
		local = short(t.Local)
		if m.lay.shape == compact {
			local = ""
		}
		need = gap + m.th.width(url) + 3 + m.th.width(local)
		if l.room() < need+1 {
			local = ""
		}
	}
	if wide {
		// In the middle, or as far left of it as the figures may need once they
		// have grown: the address stays where it is.
		gap = max(2, min((m.w-need)/2, m.w-need-figuresRoom-3)-l.w)
	}
	l.gap(gap)
	switch {
	case url == "" && m.fate(t) != "":
		url = t.Name
	case url == "":
		url = "waiting for an address"
	}
	l.put(strong, m.th.shortPath(url, max(l.room()-1, 1)))
	if local != "" {
		r, mark := dim, g.both
		if m.down() != nil {
			r = bad
		}
		l.put(r, " "+mark+" ")
		l.put(r, local)
	}
	if right.w > 0 {
		l.to(m.w - right.w - 1)
		return l.String() + right.String()
	}
	if m.lay.shape != compact && t.seen == 0 && isHTTP(t) && m.fate(t) == "" {
		calls := format.Count(t.flow.calls) + " req"
		l.to(m.w - len(calls) - 1)
		l.put(dim, calls)
	}
	return l.String()
}

// reconnecting is the first row while there is no connection.
func (m *model) reconnecting() string {
	l := m.th.line(m.w)
	link := m.link()
	s := &link.status
	wait := ""
	if d := s.Next.Sub(m.c.Now()); d > 0 {
		wait = d.Round(time.Second).String()
	}
	switch {
	case link.away != nil:
		l.put(alert, " "+m.th.g.offline+" edge shutting down ")
		if m.w < 60 {
			if wait != "" {
				l.put(warn, " next try in "+wait)
			}
			return l.String()
		}
		l.put(warn, link.away.at.In(m.c.Now().Location()).Format(" at 15:04:05"))
		if why := link.away.why; why != "" && why != "the edge is shutting down" {
			l.max -= len("; next try in 10s")
			l.put(text, ": "+why)
			l.max = m.w
		}
		if wait != "" {
			l.put(warn, "; next try in "+wait)
		}
	default:
		l.put(alert, " "+m.th.g.offline+" reconnecting ")
		l.put(warn, sprintf(" attempt %d", max(s.Attempt, 1)))
		if wait != "" {
			l.put(warn, ", next in "+wait)
		}
	}
	what := "kept"
	if !link.keeps(m.c.Now()) {
		what = "asked for again"
	}
	if m.w < 60 {
		return l.String() // the row above the keys says more
	}
	if s.Err != nil && link.away == nil {
		if m.w >= 80 {
			l.max -= len("URL "+what) + 3
		}
		l.put(text, ": "+reason(s.Err))
		l.max = m.w
	}
	// With one tunnel the row below has its URL.
	for _, url := range []string{m.tab().URL, "URL"} {
		kept := m.th.shortPath(url, 60) + " " + what
		if n := m.th.width(kept); (url == "URL" || len(m.tabs) > 1) && url != "" && l.room() > n+2 {
			l.to(m.w - n - 1)
			l.put(dim, kept)
			break
		}
	}
	return l.String()
}

// reason is what is wrong with a connection in the fewest words: the addresses in
// front of it stand in the log.
func reason(err error) string {
	var op *net.OpError
	var name *net.DNSError
	var sys *os.SyscallError
	switch {
	case errors.As(err, &name):
		return "no address is known of " + name.Name
	case errors.As(err, &sys):
		return sys.Err.Error()
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	}
	return message(err)
}

// keeps reports whether the edge can be taken to keep the URL for this agent. It
// does not when it was shut down itself: then, and after a while, another could
// come first.
func (l *link) keeps(now time.Time) bool {
	since := l.status.OfflineSince
	return l.away == nil && (since.IsZero() || now.Sub(since) < l.status.Welcome.Limits.Keeps())
}

// subline is the tunnels and the counters.
func (m *model) subline() string {
	l := m.th.line(m.w)
	t := m.tab()
	l.gap(1)
	if t == nil {
		l.put(dim, m.home.counters(m.separator()))
		return l.String()
	}
	wide := m.w >= 100
	r := m.th.line(m.w)
	sep := m.separator()
	if !isHTTP(t) {
		m.totals(&r, t, sep)
	} else if t.seen > 0 {
		m.figures(&r, t, sep)
	}
	if len(m.tabs) > 1 {
		down := ""
		if u := m.down(); u != nil {
			if down = m.th.g.warn + " UPSTREAM DOWN"; downFor(u, m.c.Now()) != "" {
				down += " (" + downFor(u, m.c.Now()) + ")"
			}
		}
		room := m.w - 2 - m.th.width(down)
		// The counters give way before the tabs are fewer than fill half of the row.
		from, hits := l, len(m.hits)
		m.putTabs(&l, 1, max(room-r.w-2*b2i(r.w > 0), min(room, m.w/2)))
		if l.room() < r.w+2+m.th.width(down) { // they gave way
			l, m.hits = from, m.hits[:hits]
			m.putTabs(&l, 1, room)
		}
		l.put(bad, down)
	} else if t.link.agent != nil && t.link.status.State == agent.Reconnecting {
		l.put(dim, t.URL)
	} else if m.down() == nil && t.link.edge.LocalOnly {
		l.put(warn, "local only")
		// The counters beside it matter more than the rest of the sentence.
		room := m.w - l.w - 2
		if t.seen > 0 {
			room -= 60 - 14*b2i(!wide)
		}
		for _, more := range []string{": this machine can call it. " + m.public() + " gives a public URL", ": " + m.public() + " gives a public URL", ": see " + m.public()[:len(m.public())-5]} {
			if len(more) <= room {
				l.put(dim, more)
				break
			}
		}
	} else if u := m.down(); u != nil && len(t.all) > 0 {
		l.put(bad, m.th.g.warn+" UPSTREAM DOWN ")
		// What helps is worth more than the whole of what is wrong.
		age, near := downFor(u, m.c.Now()), m.nearby()
		if age != "" {
			age = " (" + age + ")"
		}
		if near != "" {
			near = "; " + near
		}
		l.max -= len(age) + len(near)
		l.put(text, u.Err)
		l.max = m.w
		l.put(text, age)
		l.put(accent, near)
	} else if t.Direct != "" {
		l.put(dim, "also "+t.Direct)
	}
	if r.w == 0 || l.room() < r.w+2 {
		return l.String()
	}
	l.to(m.w - r.w - 1)
	return l.String() + r.String()
}

// separator stands between counters.
func (m *model) separator() string {
	if m.th.ascii {
		return "  "
	}
	return " " + m.th.g.dot + " "
}

// figures are the counters of a tunnel's requests.
func (m *model) figures(r *line, t *tab, sep string) {
	now := m.c.Now()
	s := t.summary()
	wide := m.w >= 100
	r.put(text, sprintf("%.1f", t.rate.perSecond(now)))
	r.put(dim, " req/s"+sep)
	fail := dim
	if s.failed > 0 {
		fail = bad
	}
	r.put(fail, sprintf("err %.1f%%", s.failed*100))
	if wide {
		r.put(dim, sep+format.Count(int64(t.seen))+" seen")
	}
	r.put(dim, sep+format.Count(int64(min(t.seen-t.forgotten, m.ring())))+" kept")
	if t.open > 0 {
		r.put(dim, sep)
		r.put(info, sprintf("%d open", t.open))
	}
}

// spark draws the last n durations as blocks. The scale is logarithmic: one slow
// answer would make a flat line of all others.
func spark(list []time.Duration, blocks []string, n int) string {
	if len(list) > n {
		list = list[len(list)-n:]
	}
	low, high := math.MaxFloat64, 0.0
	for _, d := range list {
		v := math.Log(float64(max(d, 10*time.Microsecond)))
		low, high = min(low, v), max(high, v)
	}
	var b strings.Builder
	for _, d := range list {
		i := 0
		if high > low {
			v := math.Log(float64(max(d, 10*time.Microsecond)))
			i = int((v - low) / (high - low) * float64(len(blocks)-1))
		}
		b.WriteString(blocks[i])
	}
	return b.String()
}

// drawStatus is the row above the hints: a question, a note, the filter.
func (m *model) drawStatus(y int) (string, *tea.Cursor) {
	l := m.th.line(m.w)
	l.gap(1)
	t := m.tab()
	right := m.th.line(m.w)
	if t != nil && m.focus != inDiff {
		m.counters(&right, t)
	}
	switch {
	case m.ask != nil:
		l.put(alert, " ? ")
		s := m.ask.text
		if m.ask.brief != "" && m.th.width(s)+1 > l.room() {
			s = m.ask.brief
		}
		if m.ask.nudged {
			s = m.ask.enter
		}
		l.put(strong, " "+s)
		return l.String(), nil
	case m.prefix != nil:
		p := m.prefix
		l.put(strong, p.title)
		p.drawn = 0
		for _, c := range p.choices {
			if l.room() < 2+m.th.width(c.key)+1+m.th.width(c.word) {
				break
			}
			l.gap(2)
			x := l.w
			l.put(hotkey, c.key)
			l.put(text, " "+c.word)
			m.hits = append(m.hits, hit{rect{x, y, l.w - x, 1}, func(m *model) tea.Cmd { return p.press(m, c.key) }})
			p.drawn++
		}
		return l.String(), nil
	case m.prompt != nil:
		return m.prompt.draw(m, l, y)
	case m.bar.editing:
		return m.bar.draw(m, l, right, y)
	case m.count > 0:
		l.put(strong, sprintf("%d", m.count))
		l.put(dim, " then r replays that often, j or k moves")
	case m.note.text != "":
		m.putNote(&l, &right, t)
	case t != nil && m.lost[t.key()] != "" && t.link.agent == nil:
		l.put(warn, m.th.g.warn+" reconnecting: "+m.lost[t.key()])
	case t != nil && m.fate(t) != "" && !m.blank():
		l.put(bad, m.th.g.warn+" "+m.fate(t))
	case t != nil && t.query != "":
		l.put(hotkey, "/ ")
		l.max -= min(right.w+1, l.max/2)
		l.put(text, t.query)
		l.max = m.w
	case t != nil && m.lay.header == 1 && m.trouble(&l, right.w):
	case t != nil && m.lay.shape == compact && t.list.newer(t.captures) > 0:
		l.put(accent, sprintf("%s %d newer (%s)", m.th.g.up, t.list.newer(t.captures), t.list.latestKey()))
	}
	if l.room() > right.w {
		l.to(m.w - right.w - 1)
		return l.String() + right.String(), nil
	}
	return l.String(), nil
}

// trouble puts what the second row of a larger screen says of the connection and
// of the local service. It reports whether there is something to say.
func (m *model) trouble(l *line, right int) bool {
	t := m.tab()
	if u := m.down(); u != nil && !m.blank() {
		l.put(bad, m.th.g.warn+" UPSTREAM DOWN")
		near, age := m.nearby(), downFor(u, m.c.Now())
		switch room := l.room() - right - 2; {
		case near != "" && m.th.width(near)+1 <= room:
			l.put(accent, " "+near)
		case age != "" && len(age)+3 <= room:
			l.put(text, " ("+age+")")
		}
		return true
	}
	link := t.link
	if link.agent == nil || link.status.State != agent.Reconnecting || m.blank() {
		return false
	}
	kept := "URL kept"
	if !link.keeps(m.c.Now()) {
		kept = "URL asked for again"
	}
	why := ""
	if link.away != nil {
		why = link.away.why
	} else if link.status.Err != nil {
		why = message(link.status.Err)
	}
	l.put(warn, kept)
	if why != "" {
		l.max -= right + 2
		l.put(dim, ": "+why)
		l.max += right + 2
	}
	return true
}

// putNote puts the note. What it says matters more than the counters beside it;
// where there is room for more, they keep the filter in view.
func (m *model) putNote(l, right *line, t *tab) {
	need := m.th.width(m.note.text)
	if m.note.a != "" {
		need += len("  d compare  ") + m.th.width(m.note.more)
	}
	switch room := l.room() - need - right.w - 3; {
	case room < 0:
		*right = m.th.line(0)
	case t != nil && t.query != "" && right.w > 0 && room >= m.th.width(t.query)+4:
		*right = m.th.line(m.w)
		right.put(hotkey, "/ ")
		right.put(dim, t.query)
		right.gap(2)
		m.counters(right, t)
	}
	l.put(m.note.role, m.note.text)
	if m.note.a != "" {
		l.put(hotkey, "  d")
		l.put(text, " compare")
		l.put(dim, wholly(m.th, m.note.more, l.room()))
	}
}

// wholly is "  " and as many of the parts of s, which commas divide, as have room
// in n columns: half a part says nothing.
func wholly(th *theme, s string, n int) string {
	if s == "" {
		return ""
	}
	for s = "  " + s; th.width(s) > n; {
		end := strings.LastIndex(s, ", ")
		if end < 0 {
			return ""
		}
		s = s[:end]
	}
	return s
}

// counters is the right side of the status row.
func (m *model) counters(l *line, t *tab) {
	g := &m.th.g
	if t.query != "" {
		of := " of %s shown"
		if m.w < 80 {
			of = "/%s"
		}
		l.put(text, format.Count(int64(len(t.shown))))
		l.put(dim, sprintf(of, format.Count(int64(len(t.all))))+" ")
		l.put(warn, m.scanMark(t))
		l.gap(1)
	}
	switch {
	case m.focus == inDetail: // which says itself whether it follows, and the header that it is paused
	case m.paused:
		l.put(warn, sprintf("%s %d waiting", g.paused, m.feed.waiting(t.key())))
		if m.w >= 60 {
			l.put(dim, " (p resumes)")
		}
	case len(t.all) == 0:
	case t.list.follow && m.fate(t) != "": // nothing comes
	case t.list.follow:
		l.put(good, g.live)
		if m.w >= 60 {
			l.put(dim, " live")
		}
	default:
		l.put(dim, g.offline)
		if m.w >= 60 {
			l.put(dim, " "+t.list.latestKey()+" follows")
		}
	}
	if t.dropped > 0 && m.w >= 80 {
		l.put(warn, sprintf("  %d not shown", t.dropped))
	}
}

// A tip is a key that the last row names while something waits for an answer or
// for text, when the table of keys does not count.
type tip struct {
	key, word string
	run       func(*model) tea.Cmd
}

func (m *model) tips() []tip {
	var list []tip
	switch {
	case m.ask != nil:
		for _, c := range m.ask.choices {
			list = append(list, tip{c.key, c.word, func(m *model) tea.Cmd {
				m.ask, m.quitting = nil, false
				return c.run(m)
			}})
		}
	case m.over != nil:
		if o, ok := m.over.(interface{ tips(*model) []tip }); ok {
			return o.tips(m)
		}
	case m.prefix != nil:
		p := m.prefix
		for _, c := range p.choices[min(p.drawn, len(p.choices)):] {
			list = append(list, tip{c.key, c.word, func(m *model) tea.Cmd { return p.press(m, c.key) }})
		}
		list = append(list, tip{"esc", "cancel", func(m *model) tea.Cmd { return p.press(m, "esc") }})
	case m.prompt != nil:
		return m.prompt.tips(m)
	case m.bar.editing:
		add := func(key, word string, code rune, mod tea.KeyMod) {
			list = append(list, tip{key, word, func(m *model) tea.Cmd {
				return m.bar.update(m, tea.KeyPressMsg{Code: code, Mod: mod})
			}})
		}
		add("enter", "apply", tea.KeyEnter, 0)
		add("esc", "cancel", tea.KeyEscape, 0)
		if len(m.bar.offers) > 0 {
			add("tab", "complete", tea.KeyTab, 0)
		}
		if len(m.bar.offers) > 1 {
			add("ctrl-n", "next offer", 'n', tea.ModCtrl)
		}
		if past := m.past[filterHistory]; past != nil && len(*past) > 0 {
			add("up", "earlier filters", tea.KeyUp, 0)
		}
	}
	return list
}

// drawHints is the last row: the keys that matter here, as many as fit, help
// and quit always at the right.
func (m *model) drawHints(y int) string {
	if tips := m.tips(); len(tips) > 0 {
		l := m.th.line(m.w)
		l.gap(1)
		need := func(t tip) int { return m.th.width(t.key) + 1 + m.th.width(t.word) }
		out := 0 // what the way out needs, which comes late and stays
		for _, t := range tips {
			if t.key == "esc" {
				out = need(t) + 2
			}
		}
		for _, t := range tips {
			if t.key == "esc" {
				out = 0
			}
			if x := l.w; need(t)+out <= l.room() {
				l.put(hotkey, t.key)
				l.put(text, " "+t.word)
				m.hits = append(m.hits, hit{rect{x, y, l.w - x, 1}, t.run})
				l.gap(2)
			}
		}
		return l.String()
	}
	at := m.place()
	early := at&(inEmpty|inQuiet) != 0 && !m.granted()
	type entry struct {
		hint
		*action
	}
	var list []entry
	for i := range m.keys {
		a := &m.keys[i]
		if a.hint == "" || a.quiet&at != 0 || !m.applies(a, at) || early && a.rank < 90 && !a.early {
			continue
		}
		k, _, _ := strings.Cut(a.bind.Help().Key, " ")
		h := hint{k, a.hint, a.rank}
		if a.now != nil {
			if h = a.now(m, h); h.word == "" {
				continue
			}
		}
		list = append(list, entry{h, a})
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].hint.rank < list[j].hint.rank })
	width := func(e entry) int { return m.th.width(e.key) + 1 + m.th.width(e.word) + 2 }
	l := m.th.line(m.w)
	l.gap(1)
	put := func(e entry) {
		x := l.w
		l.put(hotkey, e.key)
		l.put(dim, " "+e.word)
		m.hits = append(m.hits, hit{rect{x, y, l.w - x, 1}, func(m *model) tea.Cmd { return m.start(e.action) }})
		l.gap(2)
	}
	first := sort.Search(len(list), func(i int) bool { return list[i].hint.rank >= 90 })
	rightW := 0
	for _, e := range list[first:] {
		rightW += width(e)
	}
	for _, e := range list[:first] {
		if l.w+width(e) <= m.w-rightW {
			put(e)
		}
	}
	l.to(m.w - rightW + 1)
	for _, e := range list[first:] {
		put(e)
	}
	return l.String()
}
