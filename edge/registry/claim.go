package registry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// agent is who claims.
type agent struct {
	session                 Session
	user, instance, machine string
}

// Claim grants all of claims to s, or none of them. The grants are in the
// order of the claims. The tunnels are live when it returns; the caller calls
// Release when s ends.
//
// A name that its user reserved is granted, whoever else has it; one that
// another user reserved is refused; any other is the first one's who comes, and
// stays theirs for [Keep] when their agent goes. A custom domain is its owner's
// once it is verified.
//
// What another process of the same user holds is given to s when that process
// does not answer a ping within a second, or when the claim says so. The session
// that loses something is told, and ended when it holds nothing else. Claim waits for these pings, for the
// ports it opens, and for nothing else.
func (r *Registry) Claim(ctx context.Context, s Session, user, instance, machine string, claims []tunnel.Claim) ([]tunnel.Grant, *tunnel.Error) {
	if len(claims) == 0 {
		return nil, nil
	}
	wishes, err := r.check(claims)
	if err != nil {
		return nil, err
	}
	me := agent{session: s, user: user, instance: instance, machine: machine}
	alive := make(map[Session]bool) // what the pinged sessions said
	for {
		d, err := r.decide(me, wishes, alive)
		if err != nil {
			r.abandon(wishes)
			return nil, err
		}
		if d.grants != nil {
			r.finish(d.left)
			r.dismiss(me, d.lost)
			return d.grants, nil
		}
		ping(ctx, d.unsure, alive)
		for _, closed := range d.wait {
			select {
			case <-closed:
			case <-ctx.Done():
			}
		}
		for i, w := range wishes {
			if w.place != nil && w.place.closer == nil && ctx.Err() == nil {
				if err = r.open(me, w, d.names[i]).About(i + 1); err != nil {
					break
				}
			}
		}
		if ctx.Err() != nil && err == nil {
			err = &tunnel.Error{Code: tunnel.CodeInternal, Message: "the agent left while its claims were decided"}
		}
		if err != nil {
			r.abandon(wishes)
			return nil, err
		}
	}
}

// A decision has grants, or what must be found out or done before there are
// any: sessions to ping, ports whose end to wait for, ports to open.
type decision struct {
	grants []tunnel.Grant
	lost   []loss
	left   leftovers

	names  []string
	unsure []Session
	wait   []<-chan struct{}
}

// A loss is what a grant takes from whoever had it before.
type loss struct {
	tunnel  *Tunnel
	session Session // nil if the agent was away
	back    bool    // it is the claiming process itself, over a new connection
	last    bool    // the session holds nothing else
	why     *tunnel.Error
}

// A deal is what the claims of one agent would change.
type deal struct {
	names    []string
	ports    []int
	replaced map[*Tunnel]bool // they lose their name, host or port to it
	taken    map[string]bool  // names and domains
	decision
}

// decide grants the claims or says what comes first. It is the only place that
// gives names, domains and ports away.
func (r *Registry) decide(me agent, wishes []*wish, alive map[Session]bool) (decision, *tunnel.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &deal{
		names:    make([]string, len(wishes)),
		ports:    make([]int, len(wishes)),
		replaced: make(map[*Tunnel]bool),
		taken:    make(map[string]bool, len(wishes)),
	}
	for _, step := range []func(agent, []*wish, map[Session]bool, *deal) *tunnel.Error{r.dealDomains, r.dealNames, r.dealPorts} {
		if err := step(me, wishes, alive, d); err != nil {
			return decision{}, err
		}
	}
	d.decision.names = d.names
	if len(d.unsure) > 0 || len(d.wait) > 0 {
		return d.decision, nil
	}
	unsure, err := r.checkLimits(me, len(wishes), d.replaced, alive)
	if err != nil {
		return decision{}, err
	}
	if len(unsure) > 0 {
		d.unsure = unsure
		return d.decision, nil
	}
	for _, w := range wishes {
		if w.place != nil && w.place.closer == nil {
			return d.decision, nil // it is to be opened first
		}
	}
	direct := ""
	if w := wishes[0]; len(wishes) == 1 && w.Kind == tunnel.HTTP && w.Domain == "" {
		others := r.plain
		if t := r.byName[d.names[0]]; t != nil && t.answersAlone() {
			others--
		}
		if others == 0 {
			direct = r.cfg.Direct
		}
	}
	for i, w := range wishes {
		t := r.grant(me, w, d.names[i], d.ports[i], direct, d)
		d.grants = append(d.grants, t.Grant)
	}
	for i := range d.lost {
		d.lost[i].last = len(r.bySession[d.lost[i].session]) == 0
	}
	return d.decision, nil
}

// checkLimits counts what would be there after the grant. A tunnel that comes
// back is not counted twice, and one whose session does not answer is not
// counted: before a user's limit refuses a claim, it returns the sessions that
// must be pinged to be sure.
func (r *Registry) checkLimits(me agent, more int, replaced map[*Tunnel]bool, alive map[Session]bool) ([]Session, *tunnel.Error) {
	n := more
	for _, t := range r.bySession[me.session] {
		if !replaced[t] {
			n++
		}
	}
	if n > r.cfg.MaxClaims {
		return nil, &tunnel.Error{
			Claim:   more, // the last
			Code:    tunnel.CodeLimit,
			Message: fmt.Sprintf("%d tunnels in one session, and this edge allows %d", n, r.cfg.MaxClaims),
			Hint:    "run a second lrok for the others",
		}
	}
	if r.cfg.Book == nil {
		return nil, nil
	}
	limit := r.cfg.Book.TunnelLimit(me.user)
	if limit <= 0 {
		return nil, nil
	}
	online := 0
	var unsure []Session
	for _, t := range r.byName {
		h := t.hold.Load()
		if t.Owner != me.user || h.session == nil || replaced[t] {
			continue
		}
		answered, pinged := alive[h.session]
		if pinged && !answered {
			continue
		}
		online++
		if !pinged && h.session != me.session && r.cfg.Now().Sub(h.since) >= settled && !slices.Contains(unsure, h.session) {
			unsure = append(unsure, h.session)
		}
	}
	switch {
	case online+more <= limit:
		return nil, nil
	case len(unsure) > 0:
		return unsure, nil
	}
	return nil, &tunnel.Error{
		Claim:   more,
		Code:    tunnel.CodeLimit,
		Message: fmt.Sprintf("your limit is %d tunnels at once, and %d are online already", limit, online),
		Hint:    "stop one, lrok status lists them, or ask whoever runs the edge to raise your limit",
	}
}

type verdict int

const (
	free    verdict = iota // nobody's, or mine to take
	ask                    // my user's: ping the session that holds it
	refused                // somebody's
)

// settled is the age from which on a session has to show that it is alive. One
// that came just now was alive just now, and on a busy machine it may not answer
// pings yet: of many processes that start at once one must win, and stay.
const settled = 5 * time.Second

// judge says whether me may have what t has, where t is nil when nobody has it.
// With mine it is me's by right, and nobody else's claim to it counts.
func (r *Registry) judge(me agent, t *Tunnel, alive map[Session]bool, takeover, mine bool) verdict {
	if t == nil {
		return free
	}
	h := t.hold.Load()
	switch {
	case t.Owner != me.user:
		if mine || h.session == nil && r.cfg.Now().Sub(h.since) >= Keep {
			return free
		}
		return refused
	case h.session == nil:
		return free
	case h.instance == me.instance || takeover:
		return free
	case r.cfg.Now().Sub(h.since) < settled:
		return refused
	}
	switch answered, pinged := alive[h.session]; {
	case !pinged:
		return ask
	case answered:
		return refused
	}
	return free
}

// dealDomains decides the custom domains.
func (r *Registry) dealDomains(me agent, wishes []*wish, alive map[Session]bool, d *deal) *tunnel.Error {
	for i, w := range wishes {
		if w.Domain == "" {
			continue
		}
		user, served := "", false
		if r.cfg.Book != nil {
			user, served = r.cfg.Book.Domain(w.Domain)
		}
		if !served || user != me.user {
			// One answer, whether it is nobody's, another user's or not verified.
			return &tunnel.Error{
				Claim:   i + 1,
				Code:    tunnel.CodeDomain,
				Message: fmt.Sprintf("the domain %s is not a verified domain of yours", w.Domain),
				Hint:    "lrok domain add " + w.Domain + "; or when you added it already: lrok domain verify " + w.Domain,
			}
		}
		if d.taken[w.Domain] {
			return &tunnel.Error{
				Claim:   i + 1,
				Code:    tunnel.CodeName,
				Message: fmt.Sprintf("the domain %s is asked for twice", w.Domain),
				Hint:    "one tunnel answers for a domain",
			}
		}
		d.taken[w.Domain] = true
		t, ok := r.Lookup(w.Domain)
		if !ok {
			continue
		}
		switch r.judge(me, t, alive, w.Takeover, true) {
		case ask:
			d.unsure = append(d.unsure, t.Session())
		case refused:
			where, since := t.whereabouts()
			return &tunnel.Error{
				Claim:   i + 1,
				Code:    tunnel.CodeName,
				Message: fmt.Sprintf("the domain %s is in use by your lrok on %s, since %s", w.Domain, where, since),
				Hint:    "stop it there, or take the domain with --takeover",
			}
		}
		d.replaced[t] = true
	}
	return nil
}

// dealNames decides the names. Those that were asked for go first: a chosen one
// gives way.
func (r *Registry) dealNames(me agent, wishes []*wish, alive map[Session]bool, d *deal) *tunnel.Error {
	give := func(i int, name string) {
		d.names[i] = name
		d.taken[name] = true
		if t := r.byName[name]; t != nil {
			d.replaced[t] = true
		}
	}
	for i, w := range wishes {
		if w.Name == "" {
			continue
		}
		if d.taken[w.Name] {
			return &tunnel.Error{
				Claim:   i + 1,
				Code:    tunnel.CodeName,
				Message: fmt.Sprintf("name %q is asked for twice", w.Name),
				Hint:    "give each tunnel a name of its own",
			}
		}
		owner, reserved := r.reservation(w.Name)
		if reserved && owner != me.user {
			return taken(w.Name).About(i + 1)
		}
		if user, ok := r.keptFor(w.Name); ok && user != me.user && !reserved {
			return taken(w.Name).About(i + 1)
		}
		switch t := r.byName[w.Name]; r.judge(me, t, alive, w.Takeover, reserved) {
		case free:
		case ask:
			d.unsure = append(d.unsure, t.Session())
		case refused:
			return r.refuse(me, t).About(i + 1)
		}
		give(i, w.Name)
	}
	for i, w := range wishes {
		if w.Name != "" {
			continue
		}
		name, holder, err := r.choose(me, i, w, d.taken, alive)
		if err != nil {
			return err.About(i + 1)
		}
		if holder != nil {
			d.unsure = append(d.unsure, holder)
		}
		give(i, name)
	}
	return nil
}

// reservation returns who reserved name, or is just reserving it. The caller
// holds mu.
func (r *Registry) reservation(name string) (user string, ok bool) {
	if r.cfg.Book != nil {
		if user, ok := r.cfg.Book.Reserved(name); ok {
			return user, true
		}
	}
	b, ok := r.booking[name]
	return b.user, ok
}

// taken is all that somebody is told about another user's name, used or
// reserved.
func taken(name string) *tunnel.Error {
	return &tunnel.Error{
		Code:    tunnel.CodeName,
		Message: fmt.Sprintf("name %q is taken", name),
		Hint:    fmt.Sprintf("choose another: --hint %s-2", name),
	}
}

func (r *Registry) refuse(me agent, t *Tunnel) *tunnel.Error {
	err := taken(t.Name)
	if t.Owner == me.user {
		where, since := t.whereabouts()
		err.Message = fmt.Sprintf("name %q is in use by your lrok on %s, since %s", t.Name, where, since)
		err.Hint = fmt.Sprintf("stop it there, take the name with --takeover, or choose another: --hint %s-2", t.Name)
	}
	return err
}

// whereabouts says to t's owner where its agent is and since when.
func (t *Tunnel) whereabouts() (where, since string) {
	h := t.hold.Load()
	return cmp.Or(h.machine, h.remote), h.since.UTC().Format("2006-01-02 15:04:05 MST")
}

// choose finds a name for a claim without one. The same user and project, or
// domain, get the same name again; digits are added to one that is in use. It
// returns the session that must be pinged before the name is known to be free,
// if any.
func (r *Registry) choose(me agent, i int, w *wish, given map[string]bool, alive map[Session]bool) (string, Session, *tunnel.Error) {
	project := w.Project
	switch {
	case w.Domain != "":
		if t, ok := r.Lookup(w.Domain); ok && t.Owner == me.user && !given[t.Name] && !r.anothers(me, t.Name) {
			return t.Name, nil, nil // who takes the domain goes on with its captures
		}
		project = "domain " + w.Domain
	case project == "":
		// A process without a project keeps its name for as long as it runs.
		project = fmt.Sprintf("%s#%d", me.instance, i)
	}
	// What this process had before comes first: the plain name may have become
	// free since, but its visitors know the one with digits.
	for attempt := range 8 {
		name := tunnel.DefaultName(me.user, project, attempt)
		t := r.byName[name]
		if t != nil && !given[name] && t.Owner == me.user && t.hold.Load().instance == me.instance && !r.anothers(me, name) {
			return name, nil, nil
		}
	}
	for attempt := range 1000 {
		name := tunnel.DefaultName(me.user, project, attempt)
		t := r.byName[name]
		if given[name] || r.reserved[name] || t != nil && t.Owner != me.user || r.anothers(me, name) {
			continue // a chosen name takes nobody's place, not even an absent one's
		}
		switch r.judge(me, t, alive, w.Takeover && attempt == 0, false) {
		case free:
			return name, nil, nil
		case ask:
			return name, t.Session(), nil
		}
	}
	return "", nil, &tunnel.Error{
		Code:    tunnel.CodeName,
		Message: "all names that the edge would choose are taken",
		Hint:    "choose one yourself: --hint NAME",
	}
}

// anothers reports whether name is reserved by another user, or kept for one.
func (r *Registry) anothers(me agent, name string) bool {
	owner, theirs := r.reservation(name)
	if !theirs {
		owner, theirs = r.keptFor(name)
	}
	return theirs && owner != me.user
}

// dealPorts decides the ports, and reserves those that must be opened.
func (r *Registry) dealPorts(me agent, wishes []*wish, alive map[Session]bool, d *deal) *tunnel.Error {
	for i, w := range wishes {
		if w.Kind != tunnel.TCP {
			continue
		}
		if w.place != nil {
			d.ports[i] = w.place.port
			continue
		}
		port, from, wait, holder, err := r.pick(me, w, d.names[i], alive)
		if err != nil {
			return err.About(i + 1)
		}
		for j, other := range d.ports[:i] {
			if other == port {
				return &tunnel.Error{
					Claim:   i + 1,
					Code:    tunnel.CodePort,
					Message: fmt.Sprintf("port %d is asked for by %q and %q", port, d.names[j], d.names[i]),
					Hint:    "give each tunnel a --remote-port of its own",
				}
			}
		}
		d.ports[i] = port
		switch {
		case from != nil:
			d.replaced[from] = true
			if holder != nil {
				d.unsure = append(d.unsure, holder)
			}
		case wait != nil:
			d.wait = append(d.wait, wait)
		default:
			r.reserve(me, w, port)
		}
	}
	return nil
}

// grant makes name me's, with its host or its port, and notes who had them until
// now.
func (r *Registry) grant(me agent, w *wish, name string, port int, direct string, d *deal) *Tunnel {
	now := r.cfg.Now()
	t := &Tunnel{
		Name:    name,
		Kind:    w.Kind,
		Owner:   me.user,
		Claim:   w.Claim,
		Grant:   tunnel.Grant{Kind: w.Kind, Name: name, Direct: direct},
		Created: now,
		Port:    port,
		Access:  w.access,
		place:   w.place,
	}
	t.Claim.Name = name
	switch {
	case w.Kind == tunnel.TCP:
		t.Grant.URL = fmt.Sprintf("tcp://%s:%d", r.cfg.TCPHost, port)
	case w.Domain != "":
		t.Host = w.Domain
		t.Grant.URL = r.cfg.URL(t.Host, w.Kind)
	default:
		t.Host = name + "." + r.cfg.Domain
		t.Grant.URL = r.cfg.URL(t.Host, w.Kind)
	}
	remote := ""
	if a := me.session.RemoteAddr(); a != nil {
		remote = a.String()
	}
	t.hold.Store(&hold{session: me.session, instance: me.instance, machine: me.machine, remote: remote, since: now})

	// The port goes first: who loses it must not close it.
	var had *Tunnel
	if pl := r.ports.open[port]; w.Kind == tunnel.TCP && pl != nil {
		had = pl.holder
		t.place, pl.holder = pl, t
		r.ports.remember(port, me.user, name, now)
	}
	r.take(me, r.byName[name], t, d, fmt.Sprintf("the name %q", name))
	if old, ok := r.Lookup(t.Host); ok {
		r.take(me, old, t, d, "the domain "+t.Host)
	}
	r.take(me, had, t, d, fmt.Sprintf("port %d", port))
	if t.Ring == nil {
		t.Ring = inspector.NewRing(name, r.cfg.RingSize, r.cfg.Capture, r.cfg.Budget)
		t.Counters = new(Counters)
	}
	if t.place != nil {
		t.place.now.Store(t)
	}
	r.put(t)
	return t
}

// take makes room for t, which gets what old has, if there is an old one.
func (r *Registry) take(me agent, old, t *Tunnel, d *deal, what string) {
	if old == nil || r.byName[old.Name] != old {
		return
	}
	h := old.hold.Load()
	l := loss{tunnel: old, session: h.session, back: h.instance == me.instance}
	if old.Owner == me.user {
		l.why = &tunnel.Error{
			Code:    tunnel.CodeSuperseded,
			Message: fmt.Sprintf("your lrok on %s took over %s", cmp.Or(me.machine, "another machine"), what),
			Hint:    "start this one with --takeover to take it back",
		}
	} else {
		l.why = &tunnel.Error{
			Code:    tunnel.CodeSuperseded,
			Message: what + " belongs to another user, who uses it now",
			Hint:    "choose another with --hint; lrok reserve makes a name yours",
		}
	}
	d.lost = append(d.lost, l)
	if old.Owner == me.user && old.Name == t.Name {
		t.Created, t.Ring, t.Counters = old.Created, old.Ring, old.Counters
		r.remove(old, t.Host)
		d.left.close(old)
		return
	}
	left := r.drop(old) // another user's captures must not be seen
	d.left.places = append(d.left.places, left.places...)
	d.left.dropped = append(d.left.dropped, left.dropped...)
}

// dismiss lets go of what the grants took. The new holder does not wait for it:
// the link of an old one may be dead.
func (r *Registry) dismiss(me agent, lost []loss) {
	if len(lost) == 0 {
		return
	}
	tell := func() {
		told := map[Session]bool{nil: true, me.session: true}
		for _, l := range lost {
			switch {
			case told[l.session]:
			case l.back:
				told[l.session] = true
				_ = l.session.Close() // its process knows
			case l.last:
				told[l.session] = true
				_ = l.session.Supersede(l.why) // the link may be dead
			default:
				_ = l.session.Dropped(l.tunnel.Name, l.why)
			}
			l.tunnel.Pool.Close()
		}
	}
	r.mu.Lock()
	r.background(tell)
	r.mu.Unlock()
}

// pingTimeout is how long the holder of a name has to show that it is alive.
const pingTimeout = time.Second

// ping asks all sessions at once and notes in alive which of them answered.
func ping(ctx context.Context, sessions []Session, alive map[Session]bool) {
	if len(sessions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	answered := make([]bool, len(sessions))
	var wg sync.WaitGroup
	for i, s := range sessions {
		wg.Go(func() {
			_, err := s.Ping(ctx)
			answered[i] = err == nil
		})
	}
	wg.Wait()
	for i, s := range sessions {
		alive[s] = answered[i]
	}
}
