package tui

import (
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A link is how tunnels get here: from which edge, and through which agent. Those
// of another process have a link each, and no agent.
type link struct {
	edge  *Edge
	agent Agent
	asked []Tunnel
	stop  func()        // ends an agent that was started from this screen
	what  string        // how that was asked for
	ended chan struct{} // closed when nobody follows the link any more

	// What the feed has learnt, under its lock.
	news agent.Status
	live []Tunnel

	// What the screen has taken of it.
	status agent.Status
	gaps   []offline // the last three stretches without a connection
	away   *leaving  // why the edge sent its agents away, until it is back
}

func newLink(e *Edge, a Agent, asked ...Tunnel) *link {
	l := &link{edge: e, agent: a, asked: asked, ended: make(chan struct{})}
	if a != nil {
		l.status = a.Status()
		l.news = l.status
		l.live = granted(asked, l.status.Welcome.Grants)
	}
	return l
}

// key tells the tunnel of that name from those of other edges.
func (e *Edge) key(name string) string {
	if e.ID == "" {
		return name
	}
	return e.ID + " " + name
}

// link is that of the tunnel in front, and without one the first of the screen.
func (m *model) link() *link {
	if t := m.tab(); t != nil {
		return t.link
	}
	return m.main
}

// key tells t from tunnels of the same name at other edges.
func (t *tab) key() string { return t.link.edge.key(t.Name) }

// claim is the place of t among the tunnels of its agent.
func (m *model) claim(t *tab) int {
	n := 0
	for _, o := range m.tabs {
		if o == t {
			break
		}
		n += b2i(o.link == t.link)
	}
	return n
}

// upstream is what the agent knows of the service of t, nil where there is no
// agent.
func (m *model) upstream(t *tab) *agent.Upstream {
	if i := m.claim(t); t.link.agent != nil && i < len(t.link.status.Upstreams) {
		return &t.link.status.Upstreams[i]
	}
	return nil
}
