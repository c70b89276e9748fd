package tui

import (
	"sort"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// home lists the live tunnels of the key.
type home struct {
	list   []client.Tunnel
	me     client.Me // whose they are, once the edge has told
	cur    int
	top    int // the first row in view
	rows   rect
	loaded bool

	starting string // the tunnel that is being started
	started  []string
	chosen   string // to be selected in the next list
	err      string
	next     time.Time // when to ask again
}

type tunnelsMsg struct {
	list []client.Tunnel
	me   client.Me
	err  error
}

func (m *model) loadTunnels() tea.Cmd {
	me := m.home.me
	return func() tea.Msg {
		list, err := m.c.API.Tunnels(m.ctx)
		if err == nil && me.ID == "" {
			me, _ = m.c.API.Me(m.ctx) // asked again with the next list
		}
		return tunnelsMsg{list, me, err}
	}
}

// refreshTunnels asks again every few seconds while the list is in front.
func (m *model) refreshTunnels() tea.Cmd {
	now := m.c.Now()
	if now.Before(m.home.next) {
		return nil
	}
	m.home.next = now.Add(3 * time.Second)
	return m.loadTunnels()
}

func (h *home) update(m *model, msg tunnelsMsg) {
	h.loaded = true
	if msg.err != nil {
		m.feed.refuse(msg.err)
		h.err = message(msg.err)
		return
	}
	name := h.chosen
	h.chosen = ""
	if name == "" && h.cur < len(h.list) {
		name = h.list[h.cur].Subdomain
	}
	h.err, h.list, h.me = "", msg.list, msg.me
	sort.Slice(h.list, func(i, j int) bool { return h.list[i].Subdomain < h.list[j].Subdomain })
	h.cur = max(min(h.cur, len(h.list)-1), 0)
	for i := range h.list {
		if h.list[i].Subdomain == name {
			h.cur = i
		}
	}
}

func (h *home) move(n int) { h.cur = max(min(h.cur+n, len(h.list)-1), 0) }

// at is the row of the list that is drawn on row y of the screen, -1 for none.
func (h *home) at(y int) int {
	if y < h.rows.y || y >= h.rows.y+h.rows.h || h.top+y-h.rows.y >= len(h.list) {
		return -1
	}
	return h.top + y - h.rows.y
}

// counters says how many tunnels have their agent.
func (h *home) counters(sep string) string {
	if !h.loaded {
		return "asking the edge"
	}
	live := 0
	for i := range h.list {
		live += b2i(h.list[i].Online)
	}
	s := plural(live, "tunnel") + " live"
	if away := len(h.list) - live; away > 0 {
		s += sep + sprintf("%d away", away)
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

func (m *model) openTunnel() tea.Cmd {
	h := m.home
	if h.cur >= len(h.list) {
		return nil
	}
	o := h.list[h.cur]
	m.inspect(Tunnel{Kind: o.Kind, Name: o.Subdomain, URL: o.PublicURL, Direct: o.DirectURL, Local: o.Local})
	return nil
}

// inspect brings t to the front.
func (m *model) inspect(t Tunnel) {
	m.focus = inList
	for i, o := range m.tabs {
		if o.Name == t.Name {
			m.cur = i
			m.bar.set(o.query)
			return
		}
	}
	m.tabs = append(m.tabs, newTab(t))
	m.cur = len(m.tabs) - 1
	m.bar.set("")
	m.feed.also(t.Name)
}

// newTunnel asks for a local service and starts a tunnel to it.
func (m *model) newTunnel() tea.Cmd {
	if m.home.starting != "" {
		m.say(text, "starting %s%s", m.home.starting, m.th.g.ellipsis)
		return nil
	}
	return m.request("tunnel", "", prompt{
		title: "new tunnel to", enter: "start", hint: "a port or host:port of an HTTP service; or tcp 5432, tls 8443",
		check: func(s string) string {
			if s == "" {
				return ""
			}
			kind, service := kindOf(s)
			if _, err := targetOf(kind, service); err != nil {
				return err.Error()
			}
			return ""
		},
		done: func(m *model, s string) tea.Cmd {
			if s == "" {
				return nil
			}
			kind, service := kindOf(s)
			m.home.starting = s
			m.say(accent, "starting %s%s", s, m.th.g.ellipsis)
			m.note.until = m.c.Now().Add(time.Minute)
			return func() tea.Msg {
				t, err := m.c.Start(m.ctx, kind, service)
				return startedMsg{t, err}
			}
		},
	})
}

// kindOf reads "tcp 5432" as a person writes it; without a kind it is HTTP.
func kindOf(s string) (kind tunnel.Kind, service string) {
	word, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	switch kind := tunnel.Kind(strings.ToLower(word)); kind {
	case tunnel.HTTP, tunnel.TCP, tunnel.TLS:
		if ok {
			return kind, strings.TrimSpace(rest)
		}
	}
	return tunnel.HTTP, strings.TrimSpace(s)
}

// A startedMsg says what became of a new tunnel.
type startedMsg struct {
	t   Tunnel
	err error
}

func (msg startedMsg) arrive(m *model) tea.Cmd {
	h := m.home
	what := h.starting
	h.starting = ""
	if msg.err != nil {
		m.say(bad, "%s: %s", what, message(msg.err))
		m.record(bad, "%s could not be started: %s", what, message(msg.err))
		return nil
	}
	h.started = append(h.started, msg.t.Name)
	h.chosen = msg.t.Name
	m.say(good, "%s leads to %s", msg.t.URL, msg.t.Local)
	m.record(good, "started %s to %s", msg.t.URL, msg.t.Local)
	if m.focus == inHome && m.over == nil && m.prompt == nil {
		m.inspect(msg.t)
	}
	return m.loadTunnels()
}

// passedOf is what passed through t, in a column of n.
func passedOf(t *client.Tunnel, n int) string {
	raw := t.Kind == tunnel.TCP || t.Kind == tunnel.TLS
	long := n >= 20
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
	name, address, local, passed int
	bare                         bool
}

// homeUp is the room for how long a tunnel has been there.
const homeUp = 11

func (h *home) columnsFor(th *theme, width int) homeColumns {
	c := homeColumns{passed: 12}
	if width >= 100 {
		c.passed = 20
	}
	whole, cut := 0, 0
	for i := range h.list {
		t := &h.list[i]
		c.name = max(c.name, th.width(t.Subdomain))
		c.local = max(c.local, th.width(short(t.Local)))
		whole = max(whole, th.width(t.PublicURL))
		cut = max(cut, th.width(bare(t.PublicURL)))
	}
	room := width - 4 - 6 - c.passed - homeUp
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
	if c.address = room - c.local; c.address < 16 {
		c.address = 0
		c.name = max(min(c.name+room, width-4-6-c.passed-homeUp), 1)
	}
	switch {
	case c.local == 0:
		c.bare = c.bare && room < whole
	case !c.bare: // the room that is left is before the traffic
		c.address, c.local = whole, room-whole
	}
	return c
}

func (h *home) draw(m *model, out []string, r rect) []string {
	start := len(out)
	row := func(f func(*line)) {
		l := m.th.line(r.w)
		f(&l)
		out = append(out, l.String())
	}
	switch {
	case h.err != "":
		row(func(l *line) { l.put(bad, "  "+h.err) })
	case !h.loaded:
		row(func(l *line) { l.put(dim, "  asking the edge"+m.th.g.ellipsis) })
	case len(h.list) == 0:
		row(func(*line) {})
		row(func(l *line) { l.put(strong, "  No tunnel is live.") })
		row(func(*line) {})
		if m.c.Start != nil {
			row(func(l *line) { l.put(hotkey, "  n   "); l.put(text, "starts one, for as long as this screen is open") })
			row(func(*line) {})
		}
		row(func(l *line) { l.put(text, "  Start one in another terminal:  "); l.put(accent, "lrok http 3000") })
	}
	c := h.columnsFor(m.th, r.w)
	if len(h.list) > 0 {
		row(func(l *line) {
			l.gap(4)
			l.cell(dim, "kind", 6)
			l.cell(dim, "tunnel", c.name)
			if c.address > 0 {
				l.cell(dim, "address", c.address)
			}
			if c.local > 0 {
				l.cell(dim, "local service"[:5+8*b2i(c.local >= 15)], c.local)
			}
			l.right(dim, "traffic", c.passed)
			l.right(dim, "up", homeUp)
		})
	}
	used := len(out) - start
	h.rows = rect{r.x, r.y + used, r.w, max(r.h-used, 1)}
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
			l.gap(1)
			if t.Online {
				l.put(good, m.th.g.online+" ")
			} else {
				l.put(warn, m.th.g.offline+" ")
			}
			kind := t.Kind
			if kind == "" {
				kind = tunnel.HTTP
			}
			l.cell(dim, string(kind), 5)
			l.gap(1)
			l.cell(strong, t.Subdomain, c.name-1)
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
			l.right(text, passedOf(t, c.passed), c.passed)
			up := dim
			if !t.Online {
				up = warn
			}
			l.right(up, upOf(t, m.c.Now()), homeUp)
			l.rest()
		})
	}
	return out
}
