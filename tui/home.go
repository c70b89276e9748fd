package tui

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// home lists the live tunnels of the key, those of edges inside other processes
// of this machine, and those that were started from the list.
type home struct {
	first  *Edge // nil when no edge is known
	told   []edgeTunnels
	list   []homeRow
	me     client.Me // whose they are, once the edge has told
	cur    int
	top    int // the first row in view
	rows   rect
	loaded bool
	asking bool
	again  bool // what is asked for may be of before a change
	counts map[string][]count

	chosen  string    // the key of the row that is to be selected once it is there
	err     string    // why the first edge tells nothing
	asOf    time.Time // when it told last
	failed  *failure
	closing map[string]bool
	next    time.Time // when to ask again
}

// A homeRow is one tunnel of the list.
type homeRow struct {
	client.Tunnel
	edge *Edge
	tab  *tab // where it is open, nil if it is not
	gone bool // it is of another process, and is only in its tab any more
	rate float64
}

func (r *homeRow) key() string { return r.edge.key(r.Subdomain) }

// own reports whether the tunnel was started from the list.
func (r *homeRow) own() bool { return r.tab != nil && r.tab.link.agent != nil }

// A count is how much had passed through a tunnel at some time.
type count struct {
	at time.Time
	n  int64
}

// A failure is a tunnel that could not be started.
type failure struct {
	what string
	err  error
}

// edgeTunnels are the tunnels of one edge, as far as it tells.
type edgeTunnels struct {
	edge *Edge
	list []client.Tunnel
	err  error
}

type tunnelsMsg struct {
	told []edgeTunnels
	me   client.Me
}

func newHome(m *model) *home {
	h := &home{counts: map[string][]count{}, closing: map[string]bool{}}
	if m.c.API != nil {
		h.first = m.main.edge
	}
	if m.c.Edges != nil {
		m.c.API = new(several)
		h.reach(m)
	}
	return h
}

// reach says which edges are asked for captures.
func (h *home) reach(m *model) {
	s, ok := m.c.API.(*several)
	if !ok {
		return
	}
	var list []API
	add := func(e *Edge) {
		if e != nil && !slices.Contains(list, e.API) {
			list = append(list, e.API)
		}
	}
	add(h.first)
	for _, t := range m.tabs {
		add(t.link.edge)
	}
	for i := range h.told {
		if h.told[i].err == nil {
			add(h.told[i].edge)
		}
	}
	s.set(list)
}

// loadTunnels asks all edges for their tunnels.
func (m *model) loadTunnels() tea.Cmd {
	h := m.home
	if h.asking {
		h.again = true
		return nil
	}
	h.asking, h.again = true, false
	first, me := h.first, h.me
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
		defer cancel()
		var edges []*Edge
		if first != nil {
			edges = append(edges, first)
		}
		if m.c.Edges != nil {
			edges = append(edges, m.c.Edges(ctx)...)
		}
		told := make([]edgeTunnels, len(edges))
		var wg sync.WaitGroup
		for i, e := range edges {
			wg.Go(func() {
				list, err := e.API.Tunnels(ctx)
				told[i] = edgeTunnels{e, list, err}
			})
		}
		if first != nil && me.ID == "" {
			me, _ = first.API.Me(ctx) // asked again with the next list
		}
		wg.Wait()
		return tunnelsMsg{told, me}
	}
}

// refreshTunnels asks again every second while the list is in front, and less
// often while nobody looks.
func (m *model) refreshTunnels() tea.Cmd {
	now := m.c.Now()
	if now.Before(m.home.next) {
		return nil
	}
	m.home.next = now.Add(900 * time.Millisecond)
	if m.calm() {
		m.home.next = now.Add(3 * time.Second)
	}
	return m.loadTunnels()
}

func (msg tunnelsMsg) arrive(m *model) tea.Cmd {
	h := m.home
	h.loaded, h.asking, h.err = true, false, ""
	now := m.c.Now()
	for i := range msg.told {
		t := &msg.told[i]
		if t.err == nil {
			if t.edge == h.first {
				h.asOf = now
			}
			continue
		}
		if t.edge == h.first {
			if m.feed.refuse(t.err) {
				return nil
			}
			h.err = strings.ReplaceAll(message(t.err), "reach the edge: ", "")
		}
		// What is known of it stays in sight; the process of another edge has
		// ended, most likely, and its tunnels with it.
		for _, was := range h.told {
			if was.edge == t.edge && t.edge == h.first {
				t.list = was.list
			}
		}
	}
	h.told = msg.told
	if msg.me.ID != "" {
		h.me = msg.me
	}
	counts := map[string][]count{}
	for _, t := range h.told {
		for i := range t.list {
			o := &t.list[i]
			list := h.counts[t.edge.key(o.Subdomain)]
			if t.err == nil {
				n := o.Requests + o.Connections
				if len(list) > 0 && list[len(list)-1].n > n {
					list = nil // another tunnel of that name
				}
				list = append(list[max(len(list)-4, 0):len(list):len(list)], count{now, n})
			}
			counts[t.edge.key(o.Subdomain)] = list
		}
	}
	h.counts = counts
	h.reach(m)
	h.settle(m)
	if h.again {
		return m.loadTunnels()
	}
	return nil
}

// settle makes the list of what the edges told and of the tunnels that are open
// here. The selection stays on its tunnel.
func (h *home) settle(m *model) {
	var was homeRow
	if h.cur < len(h.list) {
		was = h.list[h.cur]
	}
	h.list = h.list[:0:0]
	shown := map[*tab]bool{}
	for _, told := range h.told {
		for _, o := range told.list {
			r := homeRow{Tunnel: o, edge: told.edge}
			if list := h.counts[r.key()]; len(list) > 1 && told.err == nil {
				a, b := list[0], list[len(list)-1]
				r.rate = float64(b.n-a.n) / max(b.at.Sub(a.at).Seconds(), 0.1)
			}
			for _, t := range m.tabs {
				if t.key() == r.key() && t.Name != "" {
					r.tab, shown[t] = t, true
				}
			}
			h.list = append(h.list, r)
		}
	}
	for _, t := range m.tabs {
		if shown[t] {
			continue
		}
		o := client.Tunnel{Subdomain: t.Name, Kind: t.Kind, PublicURL: t.URL, DirectURL: t.Direct, Local: t.Local, Inspect: true}
		o.Online = t.link.status.State == agent.Online && m.fate(t) == ""
		o.CreatedAt, o.Since = t.link.status.Since, t.link.status.OfflineSince
		if isHTTP(t) {
			o.Requests = int64(t.seen)
		} else {
			o.Connections, o.Open = int64(t.seen), int64(t.opened(m.ring()))
		}
		h.list = append(h.list, homeRow{Tunnel: o, edge: t.link.edge, tab: t, gone: t.link.agent == nil})
	}
	sort.SliceStable(h.list, func(i, j int) bool {
		a, b := &h.list[i], &h.list[j]
		if a.Subdomain != b.Subdomain {
			return b.Subdomain == "" || a.Subdomain != "" && a.Subdomain < b.Subdomain
		}
		return a.edge.ID < b.edge.ID
	})
	h.cur = max(min(h.cur, len(h.list)-1), 0)
	for i := range h.list {
		if r := &h.list[i]; was.edge != nil && (r.tab != nil && r.tab == was.tab || r.key() == was.key()) {
			h.cur = i
		}
	}
	if i := slices.IndexFunc(h.list, func(r homeRow) bool { return r.key() == h.chosen }); h.chosen != "" && i >= 0 {
		h.cur, h.chosen = i, ""
	}
}

func (h *home) move(n int) {
	h.cur = max(min(h.cur+n, len(h.list)-1), 0)
	h.failed = nil
}

// selected is the row at the cursor, nil for none.
func (h *home) selected() *homeRow {
	if h.cur >= len(h.list) {
		return nil
	}
	return &h.list[h.cur]
}

// at is the row of the list that is drawn on row y of the screen, -1 for none.
func (h *home) at(y int) int {
	if y < h.rows.y || y >= h.rows.y+h.rows.h || h.top+y-h.rows.y >= len(h.list) {
		return -1
	}
	return h.top + y - h.rows.y
}

// toHome brings the list of tunnels to the front, with the tunnel that was in
// front selected.
func (m *model) toHome() tea.Cmd {
	if t := m.tab(); t != nil {
		m.home.chosen = t.key()
	}
	m.focus, m.zoomed = inHome, false
	m.home.next = m.c.Now().Add(900 * time.Millisecond)
	m.home.settle(m)
	return m.loadTunnels()
}

func (m *model) openTunnel() tea.Cmd {
	r := m.home.selected()
	if r == nil {
		return nil
	}
	if r.tab == nil {
		t := Tunnel{Kind: r.Kind, Name: r.Subdomain, URL: r.PublicURL, Direct: r.DirectURL, Local: r.Local}
		l := newLink(r.edge, nil, t)
		if !m.feed.also(l) {
			m.say(warn, "so many tunnels are being opened: once more, please")
			return nil
		}
		m.links = append(m.links, l)
		r.tab = newTab(t, l)
		m.tabs = append(m.tabs, r.tab)
	}
	m.toTab(slices.Index(m.tabs, r.tab))
	return nil
}

// newTunnel asks for a local service and starts a tunnel to it.
func (m *model) newTunnel() tea.Cmd {
	m.home.failed = nil
	return m.request("tunnel", "", prompt{
		title: "new tunnel to", enter: "start", hint: "3000, tcp 5432, 3000 as shop (it ends with this screen)",
		check: func(s string) string {
			if s == "" {
				return ""
			}
			w, err := wishOf(s)
			if err == nil {
				_, err = targetOf(w.Kind, w.Service)
			}
			if err != nil {
				return err.Error()
			}
			return ""
		},
		done: (*model).startTunnel,
	})
}

// startTunnel starts the tunnel that s asks for.
func (m *model) startTunnel(s string) tea.Cmd {
	m.home.failed = nil
	w, err := wishOf(s)
	if err != nil || s == "" {
		return nil
	}
	m.say(accent, "starting %s%s", s, m.th.g.ellipsis)
	m.note.until = m.c.Now().Add(time.Minute)
	return func() tea.Msg {
		started, err := m.c.Start(m.ctx, w)
		return startedMsg{s, started, err}
	}
}

// wishOf reads a tunnel as a person asks for it: "3000", "tcp 5432", "3000 as
// shop" or, as the commands have it, "3000 --hint shop --takeover". Without a kind
// it is HTTP.
func wishOf(s string) (Wish, error) {
	w := Wish{Kind: tunnel.HTTP}
	words := strings.Fields(s)
	if len(words) > 1 {
		switch kind := tunnel.Kind(strings.ToLower(words[0])); kind {
		case tunnel.HTTP, tunnel.TCP, tunnel.TLS:
			w.Kind, words = kind, words[1:]
		}
	}
	if len(words) == 0 {
		return w, nil
	}
	w.Service, words = words[0], words[1:]
	for len(words) > 0 {
		switch {
		case words[0] == "--takeover":
			w.Takeover, words = true, words[1:]
		case (words[0] == "as" || words[0] == "--hint") && len(words) > 1:
			w.Name, words = strings.ToLower(words[1]), words[2:]
			if err := tunnel.CheckName(w.Name); err != nil {
				return w, err
			}
		case words[0] == "as" || words[0] == "--hint":
			return w, fmt.Errorf("the name comes after %s", words[0])
		default:
			return w, fmt.Errorf("%q is not understood", words[0])
		}
	}
	return w, nil
}

// A startedMsg says what became of a new tunnel.
type startedMsg struct {
	what string
	Started
	err error
}

func (msg startedMsg) arrive(m *model) tea.Cmd {
	h := m.home
	m.note = note{}
	if msg.err != nil {
		h.failed = &failure{msg.what, msg.err}
		m.record(bad, "%s could not be started: %s", msg.what, message(msg.err))
		return nil
	}
	e := msg.Edge
	if e == nil {
		e = h.first
	}
	l := newLink(e, msg.Agent, msg.Tunnel)
	l.stop, l.what = msg.Stop, msg.what
	if !m.feed.also(l) {
		go l.stop()
		return nil
	}
	m.links = append(m.links, l)
	t := newTab(msg.Tunnel, l)
	m.tabs = append(m.tabs, t)
	m.adopt(l, l.live)
	h.reach(m)
	h.settle(m)
	for i := range h.list {
		if h.list[i].tab == t {
			h.cur = i
		}
	}
	if m.focus == inHome && m.over == nil && m.prompt == nil && m.ask == nil {
		m.toTab(len(m.tabs) - 1)
	}
	return m.loadTunnels()
}

// refuse takes away a tunnel that was started here and never came up, and says
// why.
func (m *model) refuse(l *link) {
	if i := slices.IndexFunc(m.tabs, func(t *tab) bool { return t.link == l }); i >= 0 {
		m.home.failed = &failure{l.what, l.status.Err}
		m.drop(m.tabs[i])
	}
}

// drop takes t from the screen.
func (m *model) drop(t *tab) {
	i := slices.Index(m.tabs, t)
	if i < 0 {
		return
	}
	inFront := m.focus != inHome && m.cur == i
	m.feed.forget(t.key())
	close(t.link.ended)
	m.links = slices.DeleteFunc(m.links, func(l *link) bool { return l == t.link && l != m.main })
	m.tabs = slices.Delete(m.tabs, i, i+1)
	if m.cur > i || m.cur >= len(m.tabs) {
		m.cur = max(m.cur-1, 0)
	}
	if inFront {
		m.focus, m.zoomed = inHome, false
	}
	m.home.settle(m)
}

// closeTunnel closes the tunnel at the cursor, or takes one from the list that is
// closed.
func (m *model) closeTunnel() tea.Cmd {
	r := m.home.selected()
	if r == nil || m.home.closing[r.key()] {
		return nil
	}
	if t := r.tab; t != nil && (m.fate(t) != "" || r.gone) {
		m.drop(t)
		if t.link.stop == nil {
			return nil
		}
		return func() tea.Msg { t.link.stop(); return nil }
	}
	name, key, t, api := r.Subdomain, r.key(), r.tab, r.edge.API
	if name == "" {
		name = r.Local
	}
	q := &question{brief: sprintf("close %s?", name)}
	run := func() error {
		ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
		defer cancel()
		return api.CloseTunnel(ctx, name)
	}
	switch {
	case r.own():
		q.text = sprintf("close %s? Its address stops working, and its captures go", name)
		run = func() error { t.link.stop(); return nil }
	case !r.Online:
		q.text = sprintf("close %s? Its name and its captures are given up", name)
	case r.Machine != "" && r.edge.ID == "":
		q.text = sprintf("close %s? The lrok on %s that runs it ends", name, r.Machine)
	default:
		q.text = sprintf("close %s? The lrok that runs it ends", name)
	}
	q.choices = []choice{
		{"y", "close", func(m *model) tea.Cmd {
			m.home.closing[key] = true
			return func() tea.Msg { return tunnelClosedMsg{name, key, t, run()} }
		}},
		{"esc", "cancel", func(*model) tea.Cmd { return nil }},
	}
	m.ask = q
	return nil
}

// A tunnelClosedMsg says what became of closing one.
type tunnelClosedMsg struct {
	name, key string
	tab       *tab // where it is open
	err       error
}

func (msg tunnelClosedMsg) arrive(m *model) tea.Cmd {
	delete(m.home.closing, msg.key)
	if msg.err != nil {
		m.say(bad, "%s: %s", msg.name, message(msg.err))
		return m.loadTunnels()
	}
	m.say(text, "%s is closed", msg.name)
	m.record(text, "%s was closed here", msg.name)
	if msg.tab != nil && slices.Contains(m.tabs, msg.tab) {
		m.drop(msg.tab)
	}
	for i := range m.home.told {
		t := &m.home.told[i]
		t.list = slices.DeleteFunc(t.list, func(o client.Tunnel) bool { return t.edge.key(o.Subdomain) == msg.key })
	}
	m.home.settle(m)
	return m.loadTunnels()
}

// copyAddress copies the URL of the tunnel at the cursor.
func (m *model) copyAddress() tea.Cmd {
	r := m.home.selected()
	if r == nil || r.PublicURL == "" {
		m.say(text, "there is nothing to copy")
		return nil
	}
	return m.putClipboard("the URL of "+r.Subdomain, r.PublicURL)
}

// own counts the tunnels that end with the screen.
func (m *model) own() (n int) {
	for _, t := range m.tabs {
		n += b2i(t.link.stop != nil && m.fate(t) == "")
	}
	return n
}
