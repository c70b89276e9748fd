package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// Grace is how long a tunnel whose agent went away keeps its place and its
// captures.
const Grace = 10 * time.Minute

// Config says what a registry works with. Domain is needed; everything else has
// a default.
type Config struct {
	Domain string // canonical; tunnels are <name>.<Domain>
	// URL returns the public address of a tunnel of kind HTTP or TLS that answers
	// for host. The default is https://<host> or tls://<host>.
	URL func(host string, kind tunnel.Kind) string
	// Direct is the address that a lone tunnel also answers on, or empty.
	Direct string
	// Reserved are names that nobody gets, besides those of
	// [tunnel.CheckName].
	Reserved []string
	// MaxClaims is how many tunnels a session may hold; 0 means 16.
	MaxClaims int
	// Book knows who reserved what. Without one there are no reservations, no
	// domains and no limits of users.
	Book Book

	// Ports is the range of public ports for TCP, both ends included; there are
	// no tunnels of kind TCP when it is zero. TCPHost is the host in their URLs,
	// tcp.<Domain> when it is empty.
	Ports   [2]int
	TCPHost string
	// Listen opens the port of a tunnel of kind TCP. It is called without a lock,
	// before the tunnel is granted; until then [Tunnel.Open] says that its agent
	// is not there. The listener stays when the agent comes back over another
	// connection: each connection on the port belongs to t.Current() and not to
	// t. What Listen returns is closed, once and without a lock, when the tunnel
	// is dropped, loses its port or its agent goes away; Close must not wait for
	// connections.
	Listen func(t *Tunnel, port int) (io.Closer, error)
	// Dropped is called once for each tunnel that is gone for good, so not when
	// its agent came back. It must not block and not call the registry.
	Dropped func(*Tunnel)

	RingSize int
	Capture  inspector.Limits
	Budget   *inspector.Budget

	Now func() time.Time
}

// A Book knows what users hold besides tunnels. It answers from memory: it is
// asked under the lock that decides claims.
type Book interface {
	// Reserved returns the user who reserved name.
	Reserved(name string) (user string, ok bool)
	// Domain returns the user whose domain host is, and whether its proof stands.
	Domain(host string) (user string, served bool)
	// TunnelLimit is how many tunnels user may have online, 0 for no limit.
	TunnelLimit(user string) int
}

// A Registry holds the tunnels of an edge. Its methods may be called from any
// goroutine.
type Registry struct {
	cfg      Config
	reserved map[string]bool
	seed     maphash.Seed
	farewell sync.WaitGroup // sessions being told that they are superseded

	// shards map hosts to tunnels. A map in them is never written to: a change
	// puts a new one in its place, under mu. There are many so that a change
	// copies few entries when an edge holds ten thousand tunnels.
	shards [256]atomic.Pointer[map[string]*Tunnel]
	only   atomic.Pointer[Tunnel]

	mu        sync.Mutex
	byName    map[string]*Tunnel
	bySession map[Session][]*Tunnel // those that a session was granted
	stopped   bool
}

// New returns an empty registry.
func New(cfg Config) *Registry {
	if cfg.URL == nil {
		cfg.URL = func(host string, kind tunnel.Kind) string {
			if kind == tunnel.TLS {
				return "tls://" + host
			}
			return "https://" + host
		}
	}
	if cfg.MaxClaims <= 0 {
		cfg.MaxClaims = 16
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Registry{
		cfg:      cfg,
		reserved: make(map[string]bool),
		seed:     maphash.MakeSeed(),
		byName:   make(map[string]*Tunnel),

		bySession: make(map[Session][]*Tunnel),
	}
	for _, name := range cfg.Reserved {
		r.reserved[strings.ToLower(name)] = true
	}
	return r
}

// Lookup returns the tunnel that answers for host, a canonical host, whether or
// not its agent is there.
func (r *Registry) Lookup(host string) (*Tunnel, bool) {
	m := r.shards[maphash.String(r.seed, host)%uint64(len(r.shards))].Load()
	if m == nil {
		return nil, false
	}
	t, ok := (*m)[host]
	return t, ok
}

// LookupBytes is [Registry.Lookup] for a host that is still in a read buffer.
func (r *Registry) LookupBytes(host []byte) (*Tunnel, bool) {
	m := r.shards[maphash.Bytes(r.seed, host)%uint64(len(r.shards))].Load()
	if m == nil {
		return nil, false
	}
	t, ok := (*m)[string(host)]
	return t, ok
}

// Only returns the tunnel of an edge that has exactly one.
func (r *Registry) Only() (*Tunnel, bool) {
	t := r.only.Load()
	return t, t != nil
}

// Tunnel returns the tunnel called name.
func (r *Registry) Tunnel(name string) (*Tunnel, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.byName[name]
	return t, ok
}

// Tunnels returns the tunnels of user, or those of all users when user is
// empty, sorted by name. Tunnels whose agent is away are among them.
func (r *Registry) Tunnels(user string) []*Tunnel {
	r.mu.Lock()
	var ts []*Tunnel
	for _, t := range r.byName {
		if user == "" || t.Owner == user {
			ts = append(ts, t)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(ts, func(a, b *Tunnel) int { return cmp.Compare(a.Name, b.Name) })
	return ts
}

// Release ends what s holds: each of its tunnels waits for its agent from now
// on, for [Grace]. Streams in use are not touched.
func (r *Registry) Release(s Session) {
	r.mu.Lock()
	now := r.cfg.Now()
	var ended []*Tunnel
	for _, t := range r.bySession[s] {
		if h := t.hold.Load(); h.session == s {
			t.hold.Store(h.ended(now))
			ended = append(ended, t)
		}
	}
	delete(r.bySession, s)
	r.mu.Unlock()
	closePools(ended)
}

func (h *hold) ended(now time.Time) *hold {
	return &hold{instance: h.instance, machine: h.machine, remote: h.remote, since: now}
}

// closePools closes idle streams, which writes to links and so never happens
// under the lock.
func closePools(ts []*Tunnel) {
	for _, t := range ts {
		t.Pool.Close()
	}
}

// CloseTunnel drops the tunnel called name at once, with all its captures, if
// it belongs to user or user is empty, and reports whether there was one. Its
// agent is sent away when it holds nothing else: it would show a tunnel that is
// not there, and claim it again.
func (r *Registry) CloseTunnel(user, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.byName[name]
	if !ok || user != "" && t.Owner != user {
		return false
	}
	s := t.Session()
	r.drop(t)
	last := s != nil && r.held(s) == 0
	r.background(func() {
		t.Pool.Close()
		if last {
			_ = s.Supersede(&tunnel.Error{
				Code:    tunnel.CodeSuperseded,
				Message: "the tunnel was closed through the API",
				Hint:    "start it again if that was a mistake",
			}) // the link may be dead
		}
	})
	return true
}

// DropDomain drops the tunnels that answer for host, a custom domain that is
// not served any more, as [Registry.CloseTunnel] does.
func (r *Registry) DropDomain(host string) {
	if t, ok := r.Lookup(host); ok && t.Claim.Domain != "" {
		r.CloseTunnel("", t.Name)
	}
}

// Withdraw drops the tunnel called name if s holds it: its agent does not want
// it any more.
func (r *Registry) Withdraw(s Session, name string) bool {
	r.mu.Lock()
	t, ok := r.byName[name]
	if !ok || t.Session() != s {
		r.mu.Unlock()
		return false
	}
	r.drop(t)
	r.mu.Unlock()
	t.Pool.Close()
	return true
}

// held counts the tunnels that s holds. The caller holds mu.
func (r *Registry) held(s Session) int {
	n := 0
	for _, t := range r.bySession[s] {
		if t.Session() == s {
			n++
		}
	}
	return n
}

// background runs f, which may wait for a link, in a goroutine that Run waits
// for. The caller holds mu.
func (r *Registry) background(f func()) {
	if !r.stopped {
		r.farewell.Go(f)
	}
}

// drop takes t out and clears its captures. The caller holds mu, and closes the
// pool after it.
func (r *Registry) drop(t *Tunnel) {
	delete(r.byName, t.Name)
	r.route(t.Host, nil)
	t.hold.Store(t.hold.Load().ended(r.cfg.Now()))
	t.Ring.Close()
	r.setOnly()
}

// put makes t the tunnel of its name and host. The caller holds mu.
func (r *Registry) put(t *Tunnel) {
	r.byName[t.Name] = t
	r.route(t.Host, t)
	r.setOnly()
}

// route publishes a changed copy of the shard that host is in.
func (r *Registry) route(host string, t *Tunnel) {
	shard := &r.shards[maphash.String(r.seed, host)%uint64(len(r.shards))]
	next := make(map[string]*Tunnel)
	if m := shard.Load(); m != nil {
		maps.Copy(next, *m)
	}
	if t != nil {
		next[host] = t
	} else {
		delete(next, host)
	}
	shard.Store(&next)
}

func (r *Registry) setOnly() {
	var only *Tunnel
	if len(r.byName) == 1 {
		for _, t := range r.byName {
			only = t
		}
	}
	r.only.Store(only)
}

// Run removes tunnels whose agent stayed away for longer than [Grace], until
// ctx ends. It returns after every session that lost a name has been told.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.sweep()
		case <-ctx.Done():
			r.mu.Lock()
			r.stopped = true
			r.mu.Unlock()
			r.farewell.Wait()
			return nil
		}
	}
}

// sweep drops the tunnels whose time is over.
func (r *Registry) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.cfg.Now().Add(-Grace)
	for _, t := range r.byName {
		if h := t.hold.Load(); h.session == nil && !h.since.After(limit) {
			r.drop(t) // its pool was closed when the agent went
		}
	}
}

// agent is who claims.
type agent struct {
	session                 Session
	user, instance, machine string
}

// Claim grants all of claims to s, or none of them. The grants are in the
// order of the claims. The tunnels are live when it returns; the caller calls
// Release when s ends.
//
// A name that another process of the same user holds is given to s when that
// process does not answer a ping within a second, or when the claim says so.
// The session that loses a name is told, and ended. Claim waits for these pings
// and for nothing else.
func (r *Registry) Claim(ctx context.Context, s Session, user, instance, machine string, claims []tunnel.Claim) ([]tunnel.Grant, *tunnel.Error) {
	if len(claims) == 0 {
		return nil, nil
	}
	for _, c := range claims {
		if err := r.check(c); err != nil {
			return nil, err
		}
	}
	me := agent{session: s, user: user, instance: instance, machine: machine}
	alive := make(map[Session]bool) // what the pinged sessions said
	for {
		grants, lost, unsure, err := r.decide(me, claims, alive)
		if err != nil {
			return nil, err
		}
		if len(unsure) > 0 {
			ping(ctx, unsure, alive)
			if ctx.Err() != nil {
				return nil, &tunnel.Error{Code: tunnel.CodeInternal, Message: "the agent left while its claims were decided"}
			}
			continue
		}
		r.dismiss(me, lost)
		return grants, nil
	}
}

// check refuses what no state of the registry could grant.
func (r *Registry) check(c tunnel.Claim) *tunnel.Error {
	unsupported := func(what, hint string) *tunnel.Error {
		return &tunnel.Error{Code: tunnel.CodeUnsupported, Message: "this edge does not know " + what, Hint: hint}
	}
	switch {
	case c.Kind != tunnel.HTTP:
		return unsupported(fmt.Sprintf("tunnels of kind %q", c.Kind), "update the edge, or use lrok http")
	case c.Domain != "":
		return unsupported("custom domains", "update the edge, or leave --domain out")
	case c.BasicUser != "" || c.BasicPassword != "":
		// Never a tunnel that is more open than its owner believes.
		return unsupported("--basic-auth", "update the edge, or leave --basic-auth out")
	case len(c.Allow) > 0 || len(c.Deny) > 0:
		return unsupported("--allow and --deny", "update the edge, or leave --allow and --deny out")
	case c.Name == "":
		return nil
	case r.reserved[c.Name]:
		return &tunnel.Error{
			Code:    tunnel.CodeName,
			Message: fmt.Sprintf("name %q is reserved", c.Name),
			Hint:    "choose another: --hint my-" + c.Name,
		}
	}
	var e *tunnel.Error
	if errors.As(tunnel.CheckName(c.Name), &e) && e.Hint == "" {
		return &tunnel.Error{Code: e.Code, Message: e.Message, Hint: "leave --hint out for a name that the edge chooses"}
	}
	return e
}

// A loss is what a grant takes from whoever had the name before.
type loss struct {
	tunnel  *Tunnel
	session Session // nil if the agent was away
	back    bool    // it is the claiming process itself, over a new connection
}

// decide grants the claims or says which sessions must be pinged first. It is
// the only place that gives names away.
func (r *Registry) decide(me agent, claims []tunnel.Claim, alive map[Session]bool) (grants []tunnel.Grant, lost []loss, unsure []Session, err *tunnel.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.held(me.session) + len(claims); n > r.cfg.MaxClaims {
		return nil, nil, nil, &tunnel.Error{
			Code:    tunnel.CodeLimit,
			Message: fmt.Sprintf("%d tunnels in one session, and this edge allows %d", n, r.cfg.MaxClaims),
			Hint:    "run a second lrok for the others",
		}
	}
	names := make([]string, len(claims))
	taken := make(map[string]bool, len(claims)) // by this hello
	give := func(i int, name string) {
		names[i] = name
		taken[name] = true
	}
	// The names that were asked for go first: a chosen one gives way.
	for i, c := range claims {
		if c.Name == "" {
			continue
		}
		if taken[c.Name] {
			return nil, nil, nil, &tunnel.Error{
				Code:    tunnel.CodeName,
				Message: fmt.Sprintf("name %q is asked for twice", c.Name),
				Hint:    "give each tunnel a name of its own",
			}
		}
		switch t := r.byName[c.Name]; r.judge(me, t, alive, c.Takeover) {
		case free:
		case ask:
			unsure = append(unsure, t.Session())
		case refused:
			return nil, nil, nil, r.refuse(me, t)
		}
		give(i, c.Name)
	}
	for i, c := range claims {
		if c.Name != "" {
			continue
		}
		name, holder, err := r.choose(me, i, c, taken, alive)
		if err != nil {
			return nil, nil, nil, err
		}
		if holder != nil {
			unsure = append(unsure, holder)
		}
		give(i, name)
	}
	if len(unsure) > 0 {
		return nil, nil, unsure, nil
	}
	direct := ""
	if _, known := r.byName[names[0]]; len(claims) == 1 && (len(r.byName) == 0 || len(r.byName) == 1 && known) {
		direct = r.cfg.Direct
	}
	grants = make([]tunnel.Grant, len(claims))
	for i, c := range claims {
		t, old := r.grant(me, names[i], direct, c)
		grants[i] = t.Grant
		if old.tunnel != nil {
			lost = append(lost, old)
		}
	}
	return grants, lost, nil, nil
}

type verdict int

const (
	free    verdict = iota // nobody's, or mine to take
	ask                    // my owner's: ping the session that holds it
	refused                // somebody's
)

// settled is the age from which on a session has to show that it is alive. One
// that came just now was alive just now, and on a busy machine it may not answer
// pings yet: of many processes that start at once one must win, and stay.
const settled = 5 * time.Second

// judge says whether me may have the tunnel t, which is nil for a free name.
func (r *Registry) judge(me agent, t *Tunnel, alive map[Session]bool, takeover bool) verdict {
	if t == nil {
		return free
	}
	h := t.hold.Load()
	switch {
	case h.session == nil:
		return free
	case t.Owner != me.user:
		return refused
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

func (r *Registry) refuse(me agent, t *Tunnel) *tunnel.Error {
	err := &tunnel.Error{
		Code:    tunnel.CodeName,
		Message: fmt.Sprintf("name %q is taken", t.Name),
		Hint:    fmt.Sprintf("choose another: --hint %s-2", t.Name),
	}
	if t.Owner == me.user {
		h := t.hold.Load()
		where := h.machine
		if where == "" {
			where = h.remote
		}
		err.Message = fmt.Sprintf("name %q is in use by your lrok on %s, since %s", t.Name, where, h.since.UTC().Format("2006-01-02 15:04:05 MST"))
		err.Hint = fmt.Sprintf("stop it there, take the name with --takeover, or choose another: --hint %s-2", t.Name)
	}
	return err
}

// choose finds a name for a claim without one. The same user and project get
// the same name again; digits are added to one that is in use. It returns the
// session that must be pinged before the name is known to be free, if any.
func (r *Registry) choose(me agent, i int, c tunnel.Claim, taken map[string]bool, alive map[Session]bool) (string, Session, *tunnel.Error) {
	project := c.Project
	if project == "" {
		// A process without a project keeps its name for as long as it runs.
		project = fmt.Sprintf("%s#%d", me.instance, i)
	}
	// What this process had before comes first: the plain name may have become
	// free since, but its visitors know the one with digits.
	for attempt := range 8 {
		name := tunnel.DefaultName(me.user, project, attempt)
		t := r.byName[name]
		if t != nil && !taken[name] && t.Owner == me.user && t.hold.Load().instance == me.instance {
			return name, nil, nil
		}
	}
	for attempt := range 1000 {
		name := tunnel.DefaultName(me.user, project, attempt)
		t := r.byName[name]
		if taken[name] || r.reserved[name] || t != nil && t.Owner != me.user {
			continue // a chosen name takes nobody's place, not even an absent one's
		}
		switch r.judge(me, t, alive, c.Takeover && attempt == 0) {
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

// grant makes name me's and returns who had it until now.
func (r *Registry) grant(me agent, name, direct string, c tunnel.Claim) (*Tunnel, loss) {
	now := r.cfg.Now()
	t := &Tunnel{
		Name:    name,
		Host:    name + "." + r.cfg.Domain,
		Kind:    c.Kind,
		Owner:   me.user,
		Claim:   c,
		Grant:   tunnel.Grant{Kind: c.Kind, Name: name, URL: r.cfg.URL(name+"."+r.cfg.Domain, c.Kind), Direct: direct},
		Created: now,
	}
	t.Claim.Name = name
	remote := ""
	if a := me.session.RemoteAddr(); a != nil {
		remote = a.String()
	}
	t.hold.Store(&hold{session: me.session, instance: me.instance, machine: me.machine, remote: remote, since: now})

	var out loss
	if old := r.byName[name]; old != nil {
		h := old.hold.Load()
		out = loss{tunnel: old, session: h.session, back: h.instance == me.instance}
		if old.Owner == me.user {
			t.Created, t.Ring, t.Counters = old.Created, old.Ring, old.Counters
			old.hold.Store(h.ended(now))
		} else {
			r.drop(old) // another user's captures must not be seen
		}
	}
	if t.Ring == nil {
		t.Ring = inspector.NewRing(name, r.cfg.RingSize, r.cfg.Capture, r.cfg.Budget)
		t.Counters = new(Counters)
	}
	r.put(t)
	r.bySession[me.session] = append(r.bySession[me.session], t)
	return t, out
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
			if !told[l.session] {
				told[l.session] = true
				if l.back {
					_ = l.session.Close() // its process knows
				} else {
					by := cmp.Or(me.machine, "another machine")
					_ = l.session.Supersede(&tunnel.Error{
						Code:    tunnel.CodeSuperseded,
						Message: fmt.Sprintf("your lrok on %s took over the name %q", by, l.tunnel.Name),
						Hint:    "start this one with --takeover to take the name back",
					}) // the link may be dead
				}
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
