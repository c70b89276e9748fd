package tui

import (
	"sort"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// home lists the live tunnels of the key.
type home struct {
	list   []client.Tunnel
	cur    int
	loaded bool
	err    string
	next   time.Time // when to ask again
}

type tunnelsMsg struct {
	list []client.Tunnel
	err  error
}

func (m *model) loadTunnels() tea.Cmd {
	return func() tea.Msg {
		list, err := m.c.API.Tunnels(m.ctx)
		return tunnelsMsg{list, err}
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
	name := ""
	if h.cur < len(h.list) {
		name = h.list[h.cur].Subdomain
	}
	h.err, h.list = "", msg.list
	sort.Slice(h.list, func(i, j int) bool { return h.list[i].Subdomain < h.list[j].Subdomain })
	h.cur = max(min(h.cur, len(h.list)-1), 0)
	for i := range h.list {
		if h.list[i].Subdomain == name {
			h.cur = i
		}
	}
}

func (h *home) move(n int) { h.cur = max(min(h.cur+n, len(h.list)-1), 0) }

func (h *home) counters() string {
	if !h.loaded {
		return "asking the edge"
	}
	return plural(len(h.list), "tunnel") + " live"
}

func (m *model) openTunnel() tea.Cmd {
	h := m.home
	if h.cur >= len(h.list) {
		return nil
	}
	o := h.list[h.cur]
	m.focus = inList
	for i, t := range m.tabs {
		if t.Name == o.Subdomain {
			m.cur = i
			return nil
		}
	}
	t := Tunnel{Kind: o.Kind, Name: o.Subdomain, URL: o.PublicURL, Direct: o.DirectURL, Local: o.Local}
	m.tabs = append(m.tabs, newTab(t))
	m.cur = len(m.tabs) - 1
	m.feed.also(t.Name)
	return nil
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

func (h *home) draw(m *model, out []string, r rect) []string {
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
		row(func(l *line) { l.put(text, "  Start one in another terminal:  "); l.put(accent, "lrok http 3000") })
	}
	// The local service goes first where there is little room.
	wide := r.w >= 90
	name, local, passed := 18, 22, 20
	if r.w < 120 {
		local = 14
	}
	address := r.w - 4 - 6 - name - local - passed - 8 - 1
	if !wide {
		passed = 13
		local = max(min(22, r.w-4-6-name-passed-8), 0)
		name = max(min(name, r.w-4-6-passed-8), 8)
	}
	if local < 8 {
		local = 0
	}
	if len(h.list) > 0 {
		row(func(l *line) {
			l.gap(4)
			l.cell(dim, "kind", 6)
			l.cell(dim, "tunnel", name)
			if wide {
				l.cell(dim, "address", address)
			}
			if local > 0 {
				l.cell(dim, "local service", local)
			}
			l.right(dim, "traffic", passed)
			l.right(dim, "up", 8)
		})
	}
	for i := range h.list {
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
			l.cell(strong, t.Subdomain, name-1)
			l.gap(1)
			if wide {
				l.cell(accent, t.PublicURL, address-1)
				l.gap(1)
			}
			if local > 0 {
				l.cell(text, short(t.Local), local-1)
				l.gap(1)
			}
			l.right(text, passedOf(t, passed), passed)
			l.right(dim, format.Duration(m.c.Now().Sub(t.CreatedAt)), 8)
			l.rest()
		})
	}
	return out
}
