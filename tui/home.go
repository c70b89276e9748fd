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
	if o.Kind != "" && o.Kind != tunnel.HTTP {
		m.say(warn, "%s is a %s tunnel: there are no requests to look at", o.Subdomain, o.Kind)
		return nil
	}
	m.focus = inList
	for i, t := range m.tabs {
		if t.Name == o.Subdomain {
			m.cur = i
			return nil
		}
	}
	t := Tunnel{Kind: tunnel.HTTP, Name: o.Subdomain, URL: o.PublicURL, Direct: o.DirectURL, Local: o.Local}
	m.tabs = append(m.tabs, newTab(t))
	m.cur = len(m.tabs) - 1
	m.feed.also(t.Name)
	return nil
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
	wide := r.w >= 90
	if len(h.list) > 0 {
		row(func(l *line) {
			l.gap(4)
			l.cell(dim, "tunnel", 18)
			if wide {
				l.cell(dim, "address", max(r.w-76, 20))
			}
			l.cell(dim, "local service", 26)
			l.right(dim, "requests", 10)
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
			l.cell(strong, t.Subdomain, 17)
			l.gap(1)
			if wide {
				l.cell(accent, t.PublicURL, max(r.w-77, 19))
				l.gap(1)
			}
			l.cell(text, short(t.Local), 25)
			l.gap(1)
			l.right(text, format.Count(t.Requests), 10)
			l.right(dim, format.Duration(m.c.Now().Sub(t.CreatedAt)), 8)
			l.rest()
		})
	}
	return out
}
