package tui

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A tunnel without HTTP shows its connections: the same list with other columns,
// and a detail that is one page: what is known of the connection, and the first
// bytes of each direction.

func isRaw(x *inspector.Exchange) bool { return x.Kind == inspector.TCP || x.Kind == inspector.TLS }

// things is n of what the tunnel's list holds.
func (t *tab) things(n int) string {
	if isHTTP(t) {
		return plural(n, "request")
	}
	return plural(n, "connection")
}

// opened is how many connections are open. The list knows, unless the edge keeps
// none, or more are open than it keeps.
func (t *tab) opened(ring int) int {
	if f := &t.captures.flow; f.known && (f.hidden || t.open >= ring) {
		return int(f.open)
	}
	return t.open
}

// total is how many connections there were in the tunnel's life.
func (t *tab) total() int64 {
	n := t.flow.total
	if len(t.all) > 0 {
		n = max(n, int64(t.all[len(t.all)-1].Number))
	}
	return n
}

// A trafficMsg is what the edge has counted of a tunnel.
type trafficMsg struct {
	name  string
	t     client.Tunnel
	found bool
	err   error
}

// askTraffic asks the edge for the counters of the tunnel in front, every two
// seconds.
func (m *model) askTraffic() tea.Cmd {
	t := m.tab()
	// Of an empty list nobody knows whether nothing came or nothing is listed, and
	// of a tunnel of another process whether that is connected.
	if t == nil || isHTTP(t) && t.link.agent != nil && (len(t.all) > 0 || t.flow.known && !t.flow.hidden) || t.Name == "" || t.link.agent != nil && t.link.status.State != agent.Online || m.fate(t) != "" {
		return nil
	}
	f, now := &t.flow, m.c.Now()
	if f.asking || now.Before(f.next) {
		return nil
	}
	f.asking, f.next = true, now.Add(2*time.Second)
	name, key, api := t.Name, t.key(), t.link.edge.API
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
		defer cancel()
		list, err := api.Tunnels(ctx)
		msg := trafficMsg{name: key, err: err}
		for i := range list {
			if list[i].Subdomain == name {
				msg.t, msg.found = list[i], true
			}
		}
		return msg
	}
}

func (m *model) traffic(msg trafficMsg) {
	for _, t := range m.tabs {
		if t.key() != msg.name {
			continue
		}
		t.flow.asking = false
		if msg.found {
			t.flow.settle(&msg.t, m.c.Now())
		}
	}
}

// throughput is how much passes, at the right of the headline.
func (m *model) throughput(l *line, t *tab, wide bool) {
	f, now := &t.flow, m.c.Now()
	if in, out := f.passed(); in+out == 0 {
		return
	}
	if m.lay.shape != compact {
		l.put(accent, f.meter.spark(now, m.th.g.spark, map[bool]int{true: 14, false: 8}[wide]))
		l.gap(1 + b2i(wide))
	}
	// As wide as it gets, for the address to stay where it is.
	l.right(text, amount(f.meter.perSecond(now))+"/s", 9)
}

// totals are the counters of a tunnel's connections.
func (m *model) totals(l *line, t *tab, sep string) {
	in, out := t.flow.passed()
	if t.seen == 0 && t.total() == 0 {
		return
	}
	open := t.opened(m.ring())
	r := dim
	if open > 0 {
		r = info
	}
	l.put(r, format.Count(int64(open))+" open")
	l.put(dim, sep+format.Count(t.total())+" total"+sep+"in ")
	l.put(text, amount(in))
	l.put(dim, sep+"out ")
	l.put(text, amount(out))
}

// connColumns is what there is room for. The peer, what became of it and the
// bytes stay; the note goes first, then when it was opened, then the age.
type connColumns struct {
	opened, age, brief        bool
	peer, state, in, out, end int
}

func connColumnsFor(width int) connColumns {
	c := connColumns{state: 8, in: 8, out: 9} // two blanks between amounts, at the least
	room := width - 3
	switch {
	case width >= 79:
		c.opened, c.age = true, true
	case width >= 64:
		c.opened, c.age = true, true
	case width >= 52:
		c.age = true
	default:
		c.brief, c.state, c.in, c.out = true, 7, 6, 6
		c.age = width >= 46
	}
	room -= 9*b2i(c.opened) + c.state + c.in + c.out + 7*b2i(c.age)
	c.peer = room - b2i(!c.brief)
	if width >= 79 {
		c.peer = min(22+(width-79)/2, 48)
		c.end = room - c.peer - 1
	}
	return c
}

func (m *model) connHead(c connColumns, width int) string {
	l := m.th.line(width)
	l.gap(3)
	if c.opened {
		l.cell(dim, "opened", 9)
	}
	l.cell(dim, "peer", c.peer)
	l.cell(dim, "state", c.state)
	l.right(dim, "in", c.in)
	l.right(dim, "out", c.out)
	if c.age {
		l.right(dim, "age", 7)
	}
	if c.end > 0 {
		l.gap(1)
		l.put(dim, "note")
	}
	l.to(width)
	return l.String()
}

func (m *model) drawConn(l *line, x *capture, c connColumns, now time.Time) {
	g := &m.th.g
	if x.Failed() && x.Error != tunnel.CodeClosed { // which somebody asked for
		l.token(bad, g.fail)
	} else {
		l.put(text, " ")
	}
	l.gap(1)
	if c.opened {
		l.cell(dim, x.Timing.Accepted.In(now.Location()).Format("15:04:05"), 9)
	}
	l.cell(text, m.th.shortPeer(x.Remote, c.peer-1), c.peer)
	r, word := connState(&x.Exchange)
	to := l.w + c.state
	l.token(r, word)
	l.to(to)
	write := amount
	if c.brief {
		write = format.Size
	}
	passed := text
	if x.State != inspector.Open {
		passed = dim
	}
	l.right(passed, write(x.Request.Body.Size), c.in)
	l.right(passed, write(x.Response.Body.Size), c.out)
	if c.age {
		age := text
		if x.State == inspector.Open {
			age = info
		}
		l.right(age, took(&x.Exchange, now), 7)
	}
	if c.end > 0 {
		l.gap(1)
		l.put(dim, connNote(&x.Exchange))
	}
	l.rest()
}

// connState is how a connection stands, in a word.
func connState(x *inspector.Exchange) (role, string) {
	switch {
	case x.State == unwatched:
		return warn, "?"
	case x.State == inspector.Open && x.Timing.StreamOpen == 0:
		return dim, "opening"
	case x.State == inspector.Open:
		return good, "open"
	}
	switch x.Error {
	case "":
		if x.EndedBy == "" {
			return dim, "closed"
		}
	case tunnel.CodeClientAborted, tunnel.CodeUpstreamAborted:
		return warn, "reset"
	case tunnel.CodeAccessDenied, tunnel.CodeLimit:
		return warn, "denied"
	case tunnel.CodeClosed:
		return warn, "cut"
	case tunnel.CodeDraining, tunnel.CodeAgentOffline:
		if x.Timing.StreamOpen > 0 {
			return warn, "cut"
		}
	}
	return bad, "failed"
}

// connNotes says in a few words why a connection ended; connEnds says it in a
// sentence.
var (
	connNotes = map[string]string{
		tunnel.CodeUpstreamRefused: "refused", tunnel.CodeUpstreamTimeout: "timed out",
		tunnel.CodeUpstreamAborted: "service, RST", tunnel.CodeClientAborted: "client, RST",
		tunnel.CodeAccessDenied: "not let in", tunnel.CodeLimit: "too many",
		tunnel.CodeClosed: "by its owner", tunnel.CodeDraining: "edge stopped", tunnel.CodeAgentOffline: "agent offline",
	}
	connEnds = map[string]string{
		tunnel.CodeUpstreamRefused: "the local service could not be reached",
		tunnel.CodeUpstreamTimeout: "the local service was not reached in time",
		tunnel.CodeUpstreamAborted: "reset by the local service",
		tunnel.CodeClientAborted:   "reset by the client",
		tunnel.CodeAccessDenied:    "turned away by the tunnel's rules",
		tunnel.CodeLimit:           "turned away, there were too many",
		tunnel.CodeDraining:        "cut when the edge stopped",
		tunnel.CodeAgentOffline:    "the agent was not connected",
		tunnel.CodeClosed:          "closed by the tunnel's owner",
	}
)

func connNote(x *inspector.Exchange) string {
	switch {
	case x.State == inspector.Open:
		return ""
	case x.State == unwatched:
		return "end not seen"
	case connNotes[x.Error] != "":
		return connNotes[x.Error]
	case x.Error != "":
		return words(x.Error)
	case x.Detail == "":
		return "with the tunnel"
	}
	if who, ok := closedBy(x); ok {
		return who + ", FIN"
	}
	return x.Detail
}

// closedBy is who ended an orderly connection first.
func closedBy(x *inspector.Exchange) (who string, ok bool) {
	who, ok = strings.CutPrefix(x.Detail, "ended by the ")
	who, fin := strings.CutSuffix(who, " (FIN)")
	return who, ok && fin
}

// connEnd is how a connection ended, in a sentence, and what more there is to
// say.
func connEnd(x *inspector.Exchange) (sentence, more string) {
	switch {
	case x.State == unwatched:
		return "its end was not seen: the edge let go of it first", ""
	case connEnds[x.Error] == x.Detail:
		return x.Detail, ""
	case connEnds[x.Error] != "":
		return connEnds[x.Error], x.Detail[:min(len(x.Detail), 1024)]
	case x.Error != "":
		return words(x.Error), x.Detail[:min(len(x.Detail), 1024)]
	case x.Detail == "":
		return "with the tunnel", ""
	}
	if who, ok := closedBy(x); ok {
		return "the " + who + " closed it (FIN)", ""
	}
	return x.Detail[:min(len(x.Detail), 1024)], ""
}

// shortPeer fits an address into n columns: the middle of a long one goes, its
// port stays.
func (t *theme) shortPeer(addr string, n int) string {
	s, w := t.clean(addr[:min(len(addr), 1024)])
	if w <= n {
		return s
	}
	more := t.g.ellipsis
	if n < 12 {
		return t.cut(s, max(n, 0), more)
	}
	tail := min(n*2/3, n-4)
	return t.cut(s, n-tail-t.columns(more), "") + more + t.last(s, tail)
}

// drawConnDetail is all that is known of one connection.
func (m *model) drawConnDetail(out []string, x *capture) []string {
	r, now := m.lay.detail, m.c.Now()
	l := m.th.line(r.w)
	title := strong
	if m.focus != inDetail && m.lay.list.w > 0 {
		title = text
	}
	l.put(dim, " "+number(&x.Exchange)+" ")
	c, word := connState(&x.Exchange)
	age := took(&x.Exchange, now)
	n := len(word) + 2 + len(age) + 1
	l.put(title, m.th.shortPeer(x.Remote, max(l.room()-n-2, 1)))
	l.to(r.w - n)
	l.put(c, word)
	l.put(text, "  "+age)
	out = append(out, l.String())
	if m.lay.rules {
		l := m.th.line(r.w)
		l.fill(border, m.th.g.rule, r.w)
		out = append(out, l.String())
	}
	top := len(out)
	end := top + r.h - (1 + b2i(m.lay.rules))
	w := r.w - 2
	row := func(f func(*line)) {
		l := m.th.line(w)
		f(&l)
		out = append(out, " "+l.String())
	}
	blank := func() {
		if m.lay.rules {
			out = append(out, "")
		}
	}
	label := func(l *line, s string) { l.cell(dim, s, min(10, w/4)) }
	say := func(name string, r role, s string) {
		if s == "" {
			return
		}
		for i, part := range wrapWords(s, max(w-min(10, w/4), 8)) {
			row(func(l *line) {
				label(l, name[:len(name)*(1-b2i(i > 0))])
				l.put(r, part)
			})
		}
	}
	bytes := func(name string, n int64, flow int, where string) {
		row(func(l *line) {
			label(l, name)
			l.right(text, amount(n), 8)
			if x.flow != nil {
				l.right(info, amount(x.flow[flow].perSecond(now))+"/s", 11)
				if w >= 50 {
					l.put(accent, "  "+x.flow[flow].spark(now, m.th.g.spark, 14))
				}
			} else if n := m.th.width(where) + 2; n <= l.room() {
				l.put(dim, "  "+where)
			}
		})
	}
	who := func() {
		row(func(l *line) { label(l, "peer"); l.put(strong, x.Remote) })
		row(func(l *line) {
			if x.Kind == inspector.TLS {
				label(l, "asked for")
				l.put(text, x.Host)
				l.put(dim, "  the SNI name")
			} else {
				label(l, "came to")
				l.put(text, x.Host)
			}
		})
		row(func(l *line) { label(l, "service"); l.put(text, m.tab().Local) })
	}
	passed := func() {
		bytes("in", x.Request.Body.Size, 0, "from the peer to the service")
		bytes("out", x.Response.Body.Size, 1, "from the service to the peer")
	}
	when := func() {
		row(func(l *line) {
			label(l, "opened")
			l.put(text, x.Timing.Accepted.In(now.Location()).Format("2006-01-02 15:04:05.000"))
		})
		row(func(l *line) {
			label(l, map[bool]string{true: "open for", false: "lasted"}[x.State == inspector.Open])
			l.put(text, age)
		})
		if x.Timing.Dial > 0 {
			row(func(l *line) {
				label(l, "reached")
				l.put(text, "the service in "+format.Duration(x.Timing.Dial))
			})
		}
	}
	how := func() {
		if x.State == inspector.Open {
			return
		}
		sentence, more := connEnd(&x.Exchange)
		role := text
		if x.Failed() {
			role = c
		}
		say("ended", role, sentence)
		say("", dim, more)
		blank()
	}
	// Where there is little room, what the title does not tell comes first.
	parts := []func(){blank, who, blank, passed, blank, when, blank, how}
	if !m.lay.rules {
		parts = []func(){passed, how, when, who}
	}
	there := m.kept.id == x.ID && len(m.kept.data[0])+len(m.kept.data[1]) > 0
	brief := there && m.lay.rules && r.h < 24
	if brief { // what was said tells more than when
		parts = []func(){who, passed, how}
	}
	for _, part := range parts {
		part()
	}
	switch {
	case brief:
	case x.Kind == inspector.TLS:
		say("", dim, "The edge sees only ciphertext: TLS ends at the local service.")
	default:
		say("", dim, "The bytes pass as they are; the first 256 of each direction are kept.")
	}
	f := &m.kept
	if f.from > 0 { // all of it is laid out, and scrolled
		out = m.drawFirstBytes(out, x, w, len(out)+2+2*firstBytesRows)
		f.from = max(min(f.from, len(out)-end), 0)
		out = append(out[:top], out[top+f.from:]...)
	} else {
		out = m.drawFirstBytes(out, x, w, end)
	}
	for len(out) < end {
		out = append(out, "")
	}
	return out[:end]
}

// firstBytes are the first bytes of the connection in the detail, as far as they
// were read.
type firstBytes struct {
	id     string
	asked  [2]int64 // how many there were when they were asked for
	data   [2][]byte
	from   int // rows of the page that are scrolled away
	cancel context.CancelFunc
}

// firstBytesRows is how many rows those of one direction take at most, with a
// title.
const firstBytesRows = 1 + 256/4

// A firstBytesMsg brings them.
type firstBytesMsg struct {
	id   string
	data [2][]byte
	err  error
}

// firstBytes reads the first bytes of x, and again when there are more.
func (m *model) firstBytes(x *capture) tea.Cmd {
	f := &m.kept
	if x == nil {
		return nil
	}
	if f.id != x.ID {
		if f.cancel != nil {
			f.cancel()
		}
		*f = firstBytes{id: x.ID}
	}
	there := [2]int64{x.Request.Body.Captured, x.Response.Body.Captured}
	if there == f.asked {
		return nil
	}
	f.asked = there
	ctx, cancel := context.WithCancel(m.ctx)
	f.cancel = cancel
	id := x.ID
	return func() tea.Msg {
		// The wait lets go by what the selection only passes over.
		wait := time.NewTimer(30 * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil
		}
		whole, err := m.c.API.Exchange(ctx, id)
		return firstBytesMsg{id, [2][]byte{whole.Request.Body.Data, whole.Response.Body.Data}, err}
	}
}

func (msg firstBytesMsg) arrive(m *model) tea.Cmd {
	if m.kept.id == msg.id && msg.err == nil {
		m.kept.data = msg.data
	}
	return nil
}

// drawFirstBytes shows what both sides said first, as much as there is room for.
func (m *model) drawFirstBytes(out []string, x *capture, w, end int) []string {
	if m.kept.id != x.ID {
		return out
	}
	var docs [2]hexDoc
	sides := 0
	for i := range docs {
		docs[i].data = m.kept.data[i]
		docs[i].fit(w)
		sides += b2i(docs[i].count() > 0)
	}
	if room := end - len(out); sides == 0 || room < 3 {
		return out
	}
	if m.lay.rules && out[len(out)-1] != "" {
		out = append(out, "")
	}
	for i, d := range docs {
		if d.count() == 0 {
			continue
		}
		// Each side has its half, and what the other one leaves.
		room := end - len(out)
		if sides > 1 && i == 0 {
			room = max(room/2, room-docs[1].count()-1)
		}
		rows := min(d.count(), room-1)
		if rows < 1 {
			break
		}
		l := m.th.line(w)
		mark, what, r, size := m.th.g.up, "the peer said first", accent, x.Request.Body.Size
		if i == 1 {
			mark, what, r, size = m.th.g.down, "the service said first", good, x.Response.Body.Size
		}
		l.put(r, mark+" ")
		l.put(text, what)
		if shown := min(rows*d.per, len(d.data)); int64(shown) < size {
			l.put(dim, sprintf("  %d of %s", shown, format.Bytes(size)))
		}
		out = append(out, " "+l.String())
		for k := range rows {
			l := m.th.line(w)
			b, spans := d.line(nil, nil, k)
			at := 0
			for _, s := range spans {
				l.put(s.role, string(b[s.start:s.end]))
				at = s.end
			}
			l.put(text, string(b[at:]))
			out = append(out, " "+l.String())
		}
	}
	return out
}

// closeActions are the keys that end connections. They ask.
func closeActions() []action {
	return []action{
		{name: "close", in: inConns | inConn, bind: bind("x", "close the connection, at both ends", "x"), group: "Connections", hint: "close", rank: 2, run: (*model).closeOne},
		{name: "close-all", in: inConns | inConn, bind: bind("X", "close all connections that are open", "X"), group: "Connections", hint: "close all", rank: 3, run: (*model).closeAll},
	}
}

// A closedMsg says what became of it.
type closedMsg struct {
	what string
	err  error
}

func (msg closedMsg) arrive(m *model) tea.Cmd {
	if msg.err != nil {
		m.say(bad, "%s", message(msg.err))
	} else {
		m.say(text, "%s", msg.what)
	}
	return nil
}

func (m *model) closeOne() tea.Cmd {
	t, x := m.tab(), m.selected()
	switch {
	case x == nil:
		return nil
	case x.State != inspector.Open:
		m.say(text, "%s has ended already", number(&x.Exchange))
		return nil
	}
	name, id, api := t.Name, x.ID, t.link.edge.API
	done := number(&x.Exchange) + " closed"
	m.ask = &question{
		text:  sprintf("close %s from %s, at both ends?", number(&x.Exchange), format.Sanitize(x.Remote)),
		brief: sprintf("close %s?", number(&x.Exchange)),
		choices: []choice{
			{"y", "close", func(m *model) tea.Cmd {
				return func() tea.Msg { return closedMsg{done, api.CloseConnection(m.ctx, name, id)} }
			}},
			{"esc", "cancel", func(*model) tea.Cmd { return nil }},
		},
	}
	return nil
}

func (m *model) closeAll() tea.Cmd {
	t := m.tab()
	if t == nil {
		return nil
	}
	n := t.opened(m.ring())
	if n == 0 {
		m.say(text, "no connection is open")
		return nil
	}
	name, api := t.Name, t.link.edge.API
	m.ask = &question{
		text:  sprintf("close all %s that are open, at both ends?", plural(n, "connection")),
		brief: sprintf("close %s?", plural(n, "connection")),
		choices: []choice{
			{"y", "close all", func(m *model) tea.Cmd {
				return func() tea.Msg {
					n, err := api.CloseConnections(m.ctx, name)
					return closedMsg{plural(n, "connection") + " closed", err}
				}
			}},
			{"esc", "cancel", func(*model) tea.Cmd { return nil }},
		},
	}
	return nil
}

// scrollConnection moves the page of a connection by n rows.
func (m *model) scrollConnection(n int) tea.Cmd {
	m.kept.from = max(m.kept.from+n, 0)
	return nil
}

// otherPane goes from the list to the connection and back.
func (m *model) otherPane() tea.Cmd {
	if m.focus == inDetail {
		return m.back()
	}
	return m.open()
}

// notForConnections says so when a key is pressed that means something for
// requests only.
func (m *model) notForConnections(k tea.KeyPressMsg) {
	for i := range m.keys {
		a := &m.keys[i]
		if a.in&(inList|inDetail|inEmpty) == 0 || !key.Matches(k, a.bind) {
			continue
		}
		what := "requests"
		if a.name == "qr" {
			what = "web addresses"
		}
		m.say(text, "%s is for %s; a %s tunnel has connections, and ? shows their keys", k.String(), what, strings.ToUpper(string(m.tab().Kind)))
		return
	}
}

func (m *model) copyConnection(t *tab, x *capture, k string) tea.Cmd {
	switch k {
	case "u":
		return m.putClipboard("the URL", t.URL)
	case "p":
		if x != nil {
			return m.putClipboard("the peer's address", format.Sanitize(x.Remote))
		}
	case "c":
		if how, _ := howTo(t.Tunnel); how != "" {
			return m.putClipboard("the command", how)
		}
	}
	return nil
}

// clients are the commands that speak to a local service on a port.
var clients = map[string]struct{ command, what string }{
	"22":    {"ssh -p PORT user@HOST", "SSH"},
	"1883":  {"mosquitto_sub -h HOST -p PORT -t '#'", "MQTT"},
	"3306":  {"mysql -h HOST -P PORT --protocol=TCP -u user -p", "MySQL"},
	"5432":  {"psql -h HOST -p PORT", "PostgreSQL"},
	"6379":  {"redis-cli -h HOST -p PORT", "Redis"},
	"11211": {"nc HOST PORT", "memcached"},
	"27017": {"mongosh --host HOST --port PORT", "MongoDB"},
}

// howTo is the command that connects to t, and what it speaks, as far as the
// local port tells. There is none while the address is not known, or is not one
// that could stand in a command.
func howTo(t Tunnel) (command, speaks string) {
	host, port, err := net.SplitHostPort(bare(t.URL))
	if err != nil && t.Kind == tunnel.TLS {
		host, port = bare(t.URL), "443"
	}
	if n, err := strconv.Atoi(port); err != nil || n <= 0 || n > 65535 || host == "" || host[0] == '-' ||
		strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-:") != "" {
		return "", ""
	}
	local := t.Local
	if socket, ok := strings.CutPrefix(local, "unix:"); !ok {
		if _, p, err := net.SplitHostPort(bare(local)); err == nil {
			local = p
		}
	} else {
		for part, p := range map[string]string{".s.PGSQL": "5432", "mysql": "3306", "redis": "6379"} {
			if strings.Contains(socket, part) {
				local = p
			}
		}
	}
	command = "nc HOST PORT"
	if c, ok := clients[local]; ok {
		command, speaks = c.command, c.what
	}
	if t.Kind == tunnel.TLS {
		command, speaks = "openssl s_client -connect HOST:PORT -servername HOST", "TLS"
		if local == "443" || local == "8443" {
			command, speaks = "curl https://HOST:PORT/", "HTTPS"
			if port == "443" {
				command = "curl https://HOST/"
			}
		}
	}
	return strings.NewReplacer("HOST", host, "PORT", port).Replace(command), speaks
}
