package registry

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Hold is something that a user has or had a moment ago: a name, or with Port
// a port. It is what the next process of the edge must know so that nobody else
// gets it while the edge restarts.
type Hold struct {
	Name string // of the tunnel; with Port it may be empty
	User string
	Port int
	// Kept says that no other user may have it. A port that is not kept is one
	// that its user gets again for the same name, if it is free.
	Kept bool
	Last time.Time // when the port was granted or given up; zero for a name
}

// A keeper is for whom [Registry.Restore] keeps a name, and since when.
type keeper struct {
	user string
	at   time.Time
}

// Holds returns all that users have, or would get back if their agent came now,
// in an order that is the same for the same holds.
func (r *Registry) Holds() []Hold {
	r.mu.Lock()
	now := r.cfg.Now()
	holds := make([]Hold, 0, len(r.byName)+len(r.kept)+len(r.ports.had))
	for _, t := range r.byName {
		if h := t.hold.Load(); h.session != nil || now.Sub(h.since) < Keep {
			holds = append(holds, Hold{Name: t.Name, User: t.Owner, Kept: true})
		}
	}
	for name, k := range r.kept {
		if now.Sub(k.at) < Keep {
			holds = append(holds, Hold{Name: name, User: k.user, Kept: true})
		}
	}
	holds = r.ports.holds(holds, now)
	r.mu.Unlock()
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Name, b.Name)) })
	return holds
}

// holds adds the ports to list.
func (p *ports) holds(list []Hold, now time.Time) []Hold {
	for port := range p.had {
		list = append(list, p.hold(port, now))
	}
	for port, g := range p.gave {
		if _, had := p.had[port]; !had && (p.open[port] != nil || now.Sub(g.at) < Keep) {
			list = append(list, p.hold(port, now))
		}
	}
	return list
}

// hold says who has or had port, which somebody did.
func (p *ports) hold(port int, now time.Time) Hold {
	m := p.had[port]
	h := Hold{Name: m.name, User: m.user, Port: port, Last: m.last}
	g, gave := p.gave[port]
	switch pl := p.open[port]; {
	case pl != nil && pl.holder != nil:
		h.User, h.Kept = pl.user, true
	case gave && now.Sub(g.at) < Keep:
		h.User, h.Kept = g.user, true
	}
	return h
}

// Restore takes what [Registry.Holds] returned in the edge's last process. From
// now on, and for [Keep], it is kept for its users as if their agents had just
// gone. It is called before the first claim.
func (r *Registry) Restore(holds []Hold) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	for _, h := range holds {
		switch first := r.ports.first; {
		case h.Port == 0:
			r.kept[h.Name] = keeper{h.User, now}
		case h.Port < first || h.Port >= first+r.ports.count:
			// The range is another one now.
		default:
			if h.Name != "" {
				r.ports.remember(h.Port, h.User, h.Name, h.Last)
			}
			if h.Kept {
				r.ports.gave[h.Port] = gift{user: h.User, at: now, restored: true}
			}
		}
	}
}

// keptFor returns for whom name is kept since the edge's last process. The
// caller holds mu.
func (r *Registry) keptFor(name string) (user string, ok bool) {
	k, ok := r.kept[name]
	return k.user, ok && r.cfg.Now().Sub(k.at) < Keep
}

// Reserve calls write, which makes name user's for good, unless another user has
// the name or has it kept for them: they would lose it when their link breaks.
// Then, and as long as another user is just reserving it, it fails with
// [tunnel.CodeName]. Until write returns nobody but user is granted the name.
// Write is called without a lock.
func (r *Registry) Reserve(user, name string, write func() error) error {
	r.mu.Lock()
	if r.othersHold(user, name) {
		r.mu.Unlock()
		err := taken(name)
		err.Hint = fmt.Sprintf("choose another: lrok reserve %s-2", name)
		return err
	}
	b := r.booking[name]
	b.user, b.calls = user, b.calls+1
	r.booking[name] = b
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if b := r.booking[name]; b.calls > 1 {
			b.calls--
			r.booking[name] = b
			return
		}
		delete(r.booking, name)
	}()
	return write()
}

// A booking is a reservation that is being written.
type booking struct {
	user  string
	calls int // by the same user at the same time
}

// othersHold reports whether a user other than this one has name, or would have
// it if their agent came back now. The caller holds mu.
func (r *Registry) othersHold(user, name string) bool {
	if b, ok := r.booking[name]; ok && b.user != user {
		return true
	}
	if t := r.byName[name]; t != nil && t.Owner != user {
		h := t.hold.Load()
		return h.session != nil || r.cfg.Now().Sub(h.since) < Keep
	}
	keeper, ok := r.keptFor(name)
	return ok && keeper != user
}
