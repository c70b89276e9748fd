package registry

import (
	"cmp"
	"context"
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
	bySession map[Session][]*Tunnel // those that a session holds
	kept      map[string]keeper     // names of the edge's last process that nobody claimed yet
	booking   map[string]booking    // names that are just being reserved
	plain     int                   // tunnels that a lone edge could answer with
	ports     ports
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
	if cfg.TCPHost == "" {
		cfg.TCPHost = "tcp." + cfg.Domain
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
		kept:      make(map[string]keeper),
		booking:   make(map[string]booking),
		ports:     newPorts(cfg.Ports),
	}
	for _, name := range cfg.Reserved {
		r.reserved[strings.ToLower(name)] = true
	}
	return r
}

// SetLimits changes how many tunnels a session may hold, from its next claim on,
// and how much new tunnels keep of their exchanges.
func (r *Registry) SetLimits(claims int, capture inspector.Limits) {
	r.mu.Lock()
	r.cfg.MaxClaims, r.cfg.Capture = claims, capture
	r.mu.Unlock()
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

// Only returns the tunnel of an edge that has exactly one of kind HTTP under a
// name of its own.
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
// on, for [Grace], and its port is closed. Streams in use are not touched. It
// returns how many there were.
func (r *Registry) Release(s Session) int {
	r.mu.Lock()
	now := r.cfg.Now()
	var left leftovers
	for _, t := range r.bySession[s] {
		t.hold.Store(t.hold.Load().ended(now))
		left.pools = append(left.pools, t)
		left.close(t)
	}
	delete(r.bySession, s)
	r.mu.Unlock()
	r.finish(left)
	return len(left.pools)
}

func (h *hold) ended(now time.Time) *hold {
	return &hold{instance: h.instance, machine: h.machine, remote: h.remote, since: now}
}

// leftovers are what is done about tunnels after the lock was given back:
// closing idle streams writes to links, and closing a port asks the kernel.
type leftovers struct {
	pools   []*Tunnel
	places  []*place
	dropped []*Tunnel
}

// close gives up t's port, unless another tunnel has it by now. The caller
// holds mu.
func (l *leftovers) close(t *Tunnel) {
	if t.place == nil || t.place.closing != nil || t.place.holder != t {
		return
	}
	t.place.closing = make(chan struct{})
	l.places = append(l.places, t.place)
}

// finish does what is left. The caller does not hold mu.
func (r *Registry) finish(left leftovers) {
	r.closePlaces(left.places)
	for _, t := range left.pools {
		t.Pool.Close()
	}
	if r.cfg.Dropped != nil {
		for _, t := range left.dropped {
			r.cfg.Dropped(t)
		}
	}
}

// CloseTunnel drops the tunnel called name at once, with all its captures, if
// it belongs to user or user is empty, and reports whether there was one. Its
// agent is sent away when it holds nothing else: it would show a tunnel that is
// not there, and claim it again.
func (r *Registry) CloseTunnel(user, name string) bool {
	r.mu.Lock()
	t, ok := r.byName[name]
	if !ok || user != "" && t.Owner != user {
		r.mu.Unlock()
		return false
	}
	left := r.end(t, &tunnel.Error{
		Code:    tunnel.CodeSuperseded,
		Message: "the tunnel was closed through the API",
		Hint:    "start it again if that was a mistake",
	})
	r.mu.Unlock()
	r.finish(left)
	return true
}

// DropDomain drops the tunnel that answers for host, a custom domain that is
// not served any more, as [Registry.CloseTunnel] does.
func (r *Registry) DropDomain(host string) {
	r.mu.Lock()
	t, ok := r.Lookup(host)
	if !ok || t.Claim.Domain == "" {
		r.mu.Unlock()
		return
	}
	left := r.end(t, &tunnel.Error{
		Code:    tunnel.CodeDomain,
		Message: fmt.Sprintf("the domain %s is not served any more: its proof is gone, or it was removed", host),
		Hint:    "lrok domain verify " + host + " says what is missing",
	})
	r.mu.Unlock()
	r.finish(left)
}

// end drops t and tells its agent why, if it holds nothing else. The caller
// holds mu.
func (r *Registry) end(t *Tunnel, why *tunnel.Error) leftovers {
	s := t.Session()
	left := r.drop(t)
	pools := left.pools
	left.pools = nil // the link may be dead, and nobody here waits for it
	last := s != nil && len(r.bySession[s]) == 0
	r.background(func() {
		for _, t := range pools {
			t.Pool.Close()
		}
		switch {
		case s == nil:
		case last:
			_ = s.Supersede(why)
		default:
			_ = s.Dropped(t.Name, why)
		}
	})
	return left
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
	left := r.drop(t)
	r.mu.Unlock()
	r.finish(left)
	return true
}

// background runs f, which may wait for a link, in a goroutine that Run waits
// for. The caller holds mu.
func (r *Registry) background(f func()) {
	if !r.stopped {
		r.farewell.Go(f)
	}
}

// drop takes t out and clears its captures. The caller holds mu, and finishes
// what is left after it.
func (r *Registry) drop(t *Tunnel) leftovers {
	left := leftovers{pools: []*Tunnel{t}, dropped: []*Tunnel{t}}
	r.remove(t, "")
	r.setOnly()
	left.close(t)
	t.Ring.Close()
	return left
}

// remove ends t's hold on its name, its session and its host, unless its
// successor answers for that too: then no request may find nobody there. The
// caller holds mu.
func (r *Registry) remove(t *Tunnel, successor string) {
	delete(r.byName, t.Name)
	if t.Host != "" && t.Host != successor {
		r.route(t.Host, nil)
	}
	if t.answersAlone() {
		r.plain--
	}
	h := t.hold.Load()
	if h.session != nil {
		ts := slices.DeleteFunc(r.bySession[h.session], func(o *Tunnel) bool { return o == t })
		if r.bySession[h.session] = ts; len(ts) == 0 {
			delete(r.bySession, h.session)
		}
	}
	t.hold.Store(h.ended(r.cfg.Now()))
}

// put makes t the tunnel of its name, its host and its session. The caller
// holds mu.
func (r *Registry) put(t *Tunnel) {
	r.byName[t.Name] = t
	delete(r.kept, t.Name)
	if t.Host != "" {
		r.route(t.Host, t)
	}
	if t.answersAlone() {
		r.plain++
	}
	s := t.Session()
	r.bySession[s] = append(r.bySession[s], t)
	r.setOnly()
}

// answersAlone reports whether t may be meant by a request that names no
// tunnel.
func (t *Tunnel) answersAlone() bool { return t.Kind == tunnel.HTTP && t.Claim.Domain == "" }

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
	if r.plain == 1 {
		for _, t := range r.byName {
			if t.answersAlone() {
				only = t
				break
			}
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
	limit := r.cfg.Now().Add(-Grace)
	var left leftovers
	for _, t := range r.byName {
		if h := t.hold.Load(); h.session == nil && !h.since.After(limit) {
			left.dropped = append(left.dropped, r.drop(t).dropped...) // pool and port were closed when the agent went
		}
	}
	for name := range r.kept {
		if _, ok := r.keptFor(name); !ok {
			delete(r.kept, name)
		}
	}
	r.mu.Unlock()
	r.finish(left)
}
