package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// Keep is how long what an agent had is kept for its user after it went: the
// name of its tunnel, which other users may not claim until then, and its port,
// which is not handed to another user.
const Keep = time.Minute

// A place is an open port. It is handed on when an agent comes back while it is
// open, so that it need not be closed and opened again.
//
// While an agent is away its port is closed: who connects is refused at once,
// which is the truth, and does not wait for nothing. The port is its user's for
// [Keep] and opened again when the agent is back. Another program may have
// taken it by then; then the tunnel gets another one, unless its owner asked for
// this one.
type place struct {
	port   int
	user   string
	closer io.Closer // nil until it is open
	holder *Tunnel   // nil until it is granted
	// now is holder for who listens on the port: it is set when the tunnel is
	// complete, because connections may be waiting.
	now atomic.Pointer[Tunnel]

	// closing is set when the port was given up, and closed when it is free.
	closing chan struct{}
}

// A memory is who had a port last, and so gets it again.
type memory struct {
	user, name string
	last       time.Time // when it was granted or given up
}

// A gift says who gave a port up, and when.
type gift struct {
	user     string
	at       time.Time
	restored bool // it was not given up, the edge restarted
}

// ports is the range for TCP. The lock of the registry guards it.
type ports struct {
	first, count int
	open         map[int]*place    // opened, being opened, being closed
	had          map[int]memory    // one for a port, so there are never many
	of           map[[2]string]int // user and name to the port they had
	gave         map[int]gift
}

func newPorts(ends [2]int) ports {
	p := ports{open: make(map[int]*place), had: make(map[int]memory), of: make(map[[2]string]int), gave: make(map[int]gift)}
	if ends[1] > 0 {
		p.first, p.count = ends[0], ends[1]-ends[0]+1
	}
	return p
}

// remember notes that user and name have port.
func (p *ports) remember(port int, user, name string, now time.Time) {
	if m, ok := p.had[port]; ok {
		delete(p.of, [2]string{m.user, m.name})
	}
	key := [2]string{user, name}
	if old, ok := p.of[key]; ok && old != port {
		delete(p.had, old)
	}
	p.had[port], p.of[key] = memory{user, name, now}, port
}

// free reports whether user may have port. A port that is just being closed is
// its user's, who waits for it.
func (p *ports) free(port int, user string, now time.Time) bool {
	if pl := p.open[port]; pl != nil {
		return pl.closing != nil && pl.user == user
	}
	return !p.quarantined(port, user, now)
}

func (p *ports) quarantined(port int, user string, now time.Time) bool {
	g, ok := p.gave[port]
	return ok && g.user != user && now.Sub(g.at) < Keep
}

// maxResting is how many ports of a user may be kept from others because they
// were given up a moment ago. Without a bound one user could keep them all.
const maxResting = 16

// rested reports whether user may take a port that was not theirs just now.
func (p *ports) rested(user string, now time.Time) bool {
	n := 0
	for port := range p.gave {
		if p.resting(port, user, now) && !p.gave[port].restored {
			n++
		}
	}
	return n < maxResting
}

// resting reports whether port is kept for user, who gave it up a moment ago.
func (p *ports) resting(port int, user string, now time.Time) bool {
	g, ok := p.gave[port]
	return ok && g.user == user && now.Sub(g.at) < Keep && p.open[port] == nil
}

// choose finds a port for user and name: the one they had, or one that is the
// same after a restart when it is free, or one that nobody had, or the one that
// was had longest ago.
func (p *ports) choose(user, name string, avoid map[int]bool, now time.Time) (port int, ok bool) {
	if had, ok := p.of[[2]string{user, name}]; ok && !avoid[had] && p.free(had, user, now) {
		return had, true
	}
	mac := hmac.New(sha256.New, []byte(user))
	mac.Write([]byte("port\x00" + name))
	start := int(binary.BigEndian.Uint64(mac.Sum(nil)) % uint64(p.count))
	var oldest time.Time
	rested := p.rested(user, now)
	for i := range p.count {
		n := p.first + (start+i)%p.count
		if avoid[n] || !p.free(n, user, now) {
			continue
		}
		m, had := p.had[n]
		switch {
		case !had && rested:
			return n, true
		case !rested && !p.resting(n, user, now):
			continue
		}
		if !ok || m.last.Before(oldest) {
			port, oldest, ok = n, m.last, true
		}
	}
	return port, ok
}

// pick says which port w gets under name, and which tunnel loses it to w, if
// any. A port that is still being closed is to be waited for first; the session
// unsure must be pinged first. The caller holds mu.
func (r *Registry) pick(me agent, w *wish, name string, alive map[Session]bool) (port int, from *Tunnel, wait <-chan struct{}, unsure Session, err *tunnel.Error) {
	now := r.cfg.Now()
	if w.RemotePort == 0 {
		if t := r.byName[name]; t != nil && t.Owner == me.user && r.opens(t) && !w.avoid[t.Port] {
			return t.Port, t, nil, nil, nil
		}
		port, ok := r.ports.choose(me.user, name, w.avoid, now)
		if !ok {
			return 0, nil, nil, nil, &tunnel.Error{
				Code:    tunnel.CodeLimit,
				Message: fmt.Sprintf("all %d ports of this edge are in use", r.ports.count),
				Hint:    "try again later, or ask whoever runs the edge for more --tcp-ports",
			}
		}
		return port, nil, r.closing(port), nil, nil
	}
	port = w.RemotePort
	no := func(message, hint string) (int, *Tunnel, <-chan struct{}, Session, *tunnel.Error) {
		return 0, nil, nil, nil, &tunnel.Error{Code: tunnel.CodePort, Message: message, Hint: hint}
	}
	const other = "ask for another, or leave --remote-port out for one that stays yours"
	switch pl := r.ports.open[port]; {
	case w.avoid[port]:
		return no(fmt.Sprintf("port %d cannot be opened: another program on the edge's machine has it", port), other)
	case pl == nil:
		if r.ports.quarantined(port, me.user, now) {
			return no(fmt.Sprintf("port %d was in use less than a minute ago", port), "try again in a minute, or "+other)
		}
		if !r.ports.resting(port, me.user, now) && !r.ports.rested(me.user, now) {
			return 0, nil, nil, nil, &tunnel.Error{
				Code:    tunnel.CodeLimit,
				Message: fmt.Sprintf("you gave up %d ports within a minute, which are kept for you", maxResting),
				Hint:    "try again in a minute",
			}
		}
		return port, nil, nil, nil, nil
	case pl.closing != nil && pl.user == me.user:
		return port, nil, pl.closing, nil, nil
	case pl.closing != nil || pl.user != me.user || pl.holder == nil:
		return no(fmt.Sprintf("port %d is in use", port), other)
	default:
		t := pl.holder
		switch r.judge(me, t, alive, w.Takeover, false) {
		case ask:
			return port, t, nil, t.Session(), nil
		case refused:
			return 0, nil, nil, nil, r.refusePort(t)
		}
		return port, t, nil, nil, nil
	}
}

// opens reports whether t has its port open.
func (r *Registry) opens(t *Tunnel) bool {
	return t.place != nil && t.place.closing == nil && t.place.holder == t
}

func (r *Registry) refusePort(t *Tunnel) *tunnel.Error {
	where, since := t.whereabouts()
	return &tunnel.Error{
		Code:    tunnel.CodePort,
		Message: fmt.Sprintf("port %d is in use by your lrok on %s, since %s", t.Port, where, since),
		Hint:    "stop it there, take the port with --takeover, or leave --remote-port out",
	}
}

// closing returns what is closed when port is free, nil if it is free now.
func (r *Registry) closing(port int) <-chan struct{} {
	if pl := r.ports.open[port]; pl != nil {
		return pl.closing
	}
	return nil
}

// reserve takes port for w until it is granted or abandoned. The caller holds
// mu.
func (r *Registry) reserve(me agent, w *wish, port int) {
	w.place = &place{port: port, user: me.user}
	r.ports.open[port] = w.place
}

// maxOpens is how many ports are tried for one claim.
const maxOpens = 8

// open opens the port that is reserved for w. It calls Listen without the lock.
func (r *Registry) open(me agent, w *wish, name string) *tunnel.Error {
	if r.cfg.Listen == nil {
		w.place.closer = nobody{}
		return nil
	}
	t := &Tunnel{Name: name, Kind: w.Kind, Owner: me.user, Claim: w.Claim, Created: r.cfg.Now(), Port: w.place.port, Access: w.access, Counters: new(Counters), place: w.place}
	t.Ring = inspector.NewRing(name, 1, inspector.Limits{}, nil)
	t.Ring.Close() // nothing comes through before the grant, which has its own
	t.hold.Store(&hold{instance: me.instance, machine: me.machine, since: t.Created})
	closer, err := r.cfg.Listen(t, w.place.port)
	if err == nil {
		w.place.closer = closer
		return nil
	}
	if w.avoid == nil {
		w.avoid = make(map[int]bool)
	}
	w.avoid[w.place.port] = true
	r.mu.Lock()
	delete(r.ports.open, w.place.port)
	r.mu.Unlock()
	w.place = nil
	if w.RemotePort == 0 && len(w.avoid) >= maxOpens {
		return &tunnel.Error{
			Code:    tunnel.CodeUnavailable,
			Message: fmt.Sprintf("the edge could not open any of %d ports", maxOpens),
			Hint:    "try again; if it stays so, whoever runs the edge finds what has its --tcp-ports",
		}
	}
	return nil // decide finds another one, or says why there is none
}

// nobody is the closer of a port that nobody listens on.
type nobody struct{}

func (nobody) Close() error { return nil }

// abandon closes the ports that were opened for claims that came to nothing.
func (r *Registry) abandon(wishes []*wish) {
	var places []*place
	r.mu.Lock()
	for _, w := range wishes {
		if w.place != nil && w.place.holder == nil {
			w.place.closing = make(chan struct{})
			places = append(places, w.place)
		}
	}
	r.mu.Unlock()
	r.closePlaces(places)
}

// closePlaces closes ports, each of which says already that it is closing. The
// caller does not hold mu.
func (r *Registry) closePlaces(places []*place) {
	for _, pl := range places {
		if pl.closer != nil {
			_ = pl.closer.Close() // there is nothing to be done about it
		}
	}
	if len(places) == 0 {
		return
	}
	r.mu.Lock()
	now := r.cfg.Now()
	for _, pl := range places {
		delete(r.ports.open, pl.port)
		if pl.holder != nil {
			r.ports.gave[pl.port] = gift{user: pl.user, at: now}
			if m, ok := r.ports.had[pl.port]; ok {
				m.last = now
				r.ports.had[pl.port] = m
			}
		}
		close(pl.closing)
	}
	r.mu.Unlock()
}
