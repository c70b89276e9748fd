// Package agent is the laptop's side of a tunnel: it connects to an edge,
// claims names, pipes what the edge opens to local services, and comes back
// after whatever happens to the link. It moves bytes and knows no HTTP.
//
// It dials the services it was configured with and nothing else, whatever the
// edge sends.
package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tunnel"
)

// Config is what an agent needs to know. New checks it.
type Config struct {
	// Edge is the control plane's address; the port is 7000 unless given.
	Edge string
	// TLS may hold roots and a server name, nil trusts the system's.
	TLS *tls.Config
	Key string
	// Instance identifies this process to the edge; empty makes one.
	Instance string
	Software string // "lrok 0.1.0"
	Host     string // this machine, named to its owner on a conflict
	// Claims are the wished tunnels and Targets their local services, in the
	// same order.
	Claims  []tunnel.Claim
	Targets []Target
	// FirstTries is how many connections may fail before the agent was ever
	// online; then Run ends with the error. 0 tries for ever.
	FirstTries int
	// Partial goes on without a claim that the edge refuses, as long as others are
	// left: its Upstream says why, and when the edge is asked once more, if the
	// reason can pass. Otherwise the first connection brings all of
	// them or ends the agent, and those that follow go on without.
	Partial bool
	Logger  *slog.Logger // nil discards

	ping, dead time.Duration    // 0: the protocol's
	clock      func() reading   // nil: the machine's
	tick       <-chan time.Time // nil: every second
	addrs      func() ([]net.Addr, error)
	netTick    <-chan time.Time // nil: every two seconds
	backoff    func(int) time.Duration
	ask        func(context.Context, *tunnel.Session) error
	recheck    time.Duration // of a local service that is down
	again      time.Duration // from one refusal to the next claim
	devPorts   []int         // nil: the well-known ones
}

// A State is where an agent is in its life.
type State int

// The states: Connecting until first online, then Online and Reconnecting in
// turns, Closed when Run has ended.
const (
	Connecting State = iota
	Online
	Reconnecting
	Closed
)

func (s State) String() string {
	return [...]string{"connecting", "online", "reconnecting", "closed"}[s]
}

// A Step is one step of the connection that is being made.
type Step struct {
	Name string        // resolve, tcp, tls, auth, probe
	Took time.Duration // until now when it is not done
	Done bool
}

// An Upstream is the state of one local service.
type Upstream struct {
	Tunnel string // empty until granted
	Local  string
	Down   bool
	Err    string // of the last dial, verbatim
	Since  time.Time
	// Nearby are ports of this machine on which something else listens, looked
	// up while an HTTP service on loopback is down.
	Nearby []int
	// Dropped says why the edge closed this tunnel, or refused it, while others of
	// the agent stay.
	Dropped *tunnel.Error
	// Again is when the edge is asked for it once more, zero for not by itself.
	Again time.Time
}

// Status is what a screen shows of an agent.
type Status struct {
	Edge         string // host:port
	State        State
	Steps        []Step
	Attempt      int       // of the connection that is made or waited for, from 1
	Next         time.Time // when the next attempt starts, zero unless waiting
	Err          error     // why the last attempt or session ended
	RTT          time.Duration
	Since        time.Time // of State
	OfflineSince time.Time // zero while online
	Welcome      tunnel.Welcome
	Upstreams    []Upstream
}

// An Agent serves tunnels for as long as Run runs.
type Agent struct {
	config  Config
	address string
	changed chan struct{}

	mu      sync.Mutex
	status  Status
	claims  []tunnel.Claim // with the names that were granted
	targets []Target
	session *tunnel.Session
	online  chan struct{} // closed while session is online
	checks  chan struct{} // holds one: a local service has to be dialed once
	asks    chan struct{} // holds one: there may be a claim to make again
	step    time.Time     // when the last step began
	drained chan error    // yields why the edge sends session away
	retired *tunnel.Session

	sessions sync.WaitGroup // the one that serves, and those that were sent away
}

const (
	defaultPort    = "7000"
	connectTimeout = 10 * time.Second
	dialTimeout    = 5 * time.Second // of a local service
)

// New checks the configuration. It opens nothing.
func New(config Config) (*Agent, error) {
	if len(config.Claims) != len(config.Targets) {
		return nil, fmt.Errorf("%d claims for %d targets", len(config.Claims), len(config.Targets))
	}
	host, port, err := net.SplitHostPort(config.Edge)
	if err != nil {
		host, port = config.Edge, defaultPort
	}
	if host == "" {
		return nil, errors.New("no edge to connect to")
	}
	if config.TLS == nil {
		config.TLS = new(tls.Config)
	}
	if config.TLS.ServerName == "" {
		config.TLS = config.TLS.Clone()
		config.TLS.ServerName = host
	}
	if config.Instance == "" {
		var id [16]byte
		rand.Read(id[:])
		config.Instance = hex.EncodeToString(id[:])
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.clock == nil {
		config.clock = machineClock()
	}
	if config.addrs == nil {
		config.addrs = net.InterfaceAddrs
	}
	if config.backoff == nil {
		config.backoff = backoff
	}
	if config.ask == nil {
		config.ask = func(ctx context.Context, s *tunnel.Session) error {
			_, err := s.Ping(ctx)
			return err
		}
	}
	if config.recheck == 0 {
		config.recheck = time.Second
	}
	if config.again == 0 {
		config.again = againEvery
	}
	a := &Agent{
		config:  config,
		address: net.JoinHostPort(host, port),
		changed: make(chan struct{}, 1),
		claims:  append([]tunnel.Claim(nil), config.Claims...),
		targets: append([]Target(nil), config.Targets...),
		online:  make(chan struct{}),
		checks:  make(chan struct{}, 1),
		asks:    make(chan struct{}, 1),
	}
	now := time.Now()
	a.status = Status{Edge: a.address, Since: now, OfflineSince: now, Attempt: 1}
	for i, t := range a.targets {
		a.targets[i].proto = a.claims[i].UpstreamProto
		a.status.Upstreams = append(a.status.Upstreams, Upstream{Local: t.String(), Since: now})
	}
	return a, nil
}

// Run connects, serves and comes back until ctx is done, then returns nil. It
// returns a *tunnel.Error when the edge refuses the key, a name, a limit or the
// version, or when another agent takes the names over: trying again would not
// help. It is called once and waits for everything it started.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer a.sessions.Wait()
	defer group.Wait()
	defer cancel()
	nudges := make(chan nudge, 1)
	crash.Go(&group, func() { a.watchSleep(ctx, nudges) })
	crash.Go(&group, func() { a.watchNetwork(ctx, nudges) })
	crash.Go(&group, func() { a.watchUpstreams(ctx) })
	crash.Go(&group, func() { a.askAgain(ctx) })

	err := a.stay(ctx, nudges)
	if ctx.Err() != nil {
		err = nil
	}
	a.update(func(s *Status) {
		s.State, s.Since, s.Next, s.Err = Closed, time.Now(), time.Time{}, err
	})
	return err
}

func (a *Agent) stay(ctx context.Context, nudges <-chan nudge) error {
	failed := 0 // attempts in a row
	for {
		began := time.Now()
		wasOnline, err := a.connect(ctx, nudges)
		if ctx.Err() != nil {
			return nil
		}
		a.config.Logger.Debug("session", "edge", a.address, "err", err)
		ever := a.everOnline()
		if final(err, ever) {
			return err
		}
		if wasOnline && time.Since(began) > connectTimeout {
			failed = 0
		}
		failed++
		if n := a.config.FirstTries; !ever && n > 0 && failed >= n {
			return err
		}
		wait := a.config.backoff(failed)
		if e := (*tunnel.Error)(nil); errors.As(err, &e) && e.Code == tunnel.CodeDraining {
			// Every agent of that edge comes at the same time.
			wait = time.Duration(mathrand.Int64N(int64(time.Second)))
		}
		next := time.Now().Add(wait)
		a.update(func(s *Status) {
			s.Err, s.Attempt, s.Next = err, failed, next
			if wasOnline {
				s.Attempt = 1
			}
		})
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-nudges:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// final reports whether another attempt could not end better.
func final(err error, everOnline bool) bool {
	if e := (*tunnel.Error)(nil); errors.As(err, &e) {
		switch e.Code {
		case tunnel.CodeInternal, tunnel.CodeDraining, tunnel.CodeAgentOffline:
			return false
		case tunnel.CodeUnavailable:
			return !everOnline // what the edge cannot do just now, it could do before
		}
		return true
	}
	// A certificate that never was right does not become so; one that was
	// right may be in the middle of a renewal.
	var cert *tls.CertificateVerificationError
	return !everOnline && errors.As(err, &cert)
}

// backoff grows from 0.1 to 5 seconds; a random half keeps agents apart.
func backoff(failed int) time.Duration {
	d := min(100*time.Millisecond<<min(failed-1, 10), 5*time.Second)
	return d/2 + time.Duration(mathrand.Int64N(int64(d/2)))
}

// connect makes one connection and serves it to its end.
func (a *Agent) connect(ctx context.Context, nudges <-chan nudge) (wasOnline bool, err error) {
	a.update(func(s *Status) {
		s.Steps, s.Next = nil, time.Time{}
		a.begin("resolve")
	})
	s, asked, err := a.openUnless(ctx, nudges)
	for err != nil && a.without(err, asked) {
		a.update(func(s *Status) {
			s.Steps = nil
			a.begin("resolve")
		})
		s, asked, err = a.openUnless(ctx, nudges)
	}
	if err != nil {
		return false, err
	}
	a.granted(s.Welcome(), asked)
	a.mu.Lock()
	a.session = s
	drained := a.drained
	a.mu.Unlock()

	alive := make(chan struct{})
	var group sync.WaitGroup
	crash.Go(&group, func() { a.watchLink(ctx, s, nudges, alive) })
	ran := make(chan error, 1)
	crash.Go(&a.sessions, func() { ran <- s.Run(ctx) })
	select {
	case err = <-ran:
	case err = <-drained:
		// The edge takes no more requests for this session, and ends it when
		// those that it has are done. Another edge may be there already.
		a.retire(s)
	}
	close(alive)
	group.Wait()

	a.mu.Lock()
	a.session = nil
	a.mu.Unlock()
	a.update(func(st *Status) {
		if wasOnline = st.State == Online; wasOnline {
			now := time.Now()
			// Nothing came through since the last byte, however long it took to
			// be sure.
			st.State, st.Since, st.OfflineSince = Reconnecting, now, now.Add(-s.Silence())
			a.online = make(chan struct{})
		}
	})
	return wasOnline, err
}

// without takes the claim out that err is about, if the others may do better. It
// reports whether it did.
func (a *Agent) without(err error, asked []int) bool {
	var e *tunnel.Error
	ever := a.everOnline()
	if !errors.As(err, &e) || e.Claim < 1 || e.Claim > len(asked) || len(asked) < 2 || !a.config.Partial && !ever || !final(err, ever) {
		return false
	}
	a.config.Logger.Debug("the edge refused a tunnel", "claim", e.Claim, "err", e)
	a.update(func(*Status) { a.drop(asked[e.Claim-1], e) })
	return true
}

// retire leaves s to the requests that it carries. There is one such session: an
// edge that sends its agents away again and again must not fill their memory.
func (a *Agent) retire(s *tunnel.Session) {
	a.mu.Lock()
	last := a.retired
	a.retired = s
	a.mu.Unlock()
	if last != nil {
		last.Abort(errors.New("the next session has been sent away as well"))
	}
}

// openUnless gives an attempt up on a nudge: it may be waiting for answers to an
// address that this machine has no more.
func (a *Agent) openUnless(ctx context.Context, nudges <-chan nudge) (*tunnel.Session, []int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opened := make(chan struct{})
	var watch sync.WaitGroup
	crash.Go(&watch, func() {
		select {
		case n := <-nudges:
			cancel(errors.New("started anew after " + n.why))
		case <-opened:
		}
	})
	s, asked, err := a.open(ctx)
	close(opened)
	watch.Wait()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return s, asked, err
}

// open takes the steps of a connection up to the welcome. It returns which of
// the claims it made: those of tunnels that were not dropped. With an error these
// are the claims that were refused.
func (a *Agent) open(ctx context.Context) (s *tunnel.Session, asked []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var resolved sync.Once
	d := net.Dialer{
		ControlContext: func(context.Context, string, string, syscallConn) error {
			resolved.Do(func() { a.update(func(*Status) { a.begin("tcp") }) })
			return nil
		},
	}
	conn, err := d.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, nil, err
	}
	a.update(func(*Status) { a.begin("tls") })
	drained := make(chan error, 1)
	config := &tunnel.AgentConfig{
		TLS:    a.config.TLS,
		Ping:   a.config.ping,
		Dead:   a.config.dead,
		Logger: a.config.Logger,
		Dial: func(ctx context.Context) (net.Conn, error) {
			// Another address of the same name may be another edge.
			return new(net.Dialer).DialContext(ctx, "tcp", conn.RemoteAddr().String())
		},
		Serve:  a.serve,
		Secure: func() { a.update(func(*Status) { a.begin("auth") }) },
		Live:   a.live,
		Drain: func(reason string) {
			select {
			case drained <- &tunnel.Error{Code: tunnel.CodeDraining, Message: "the edge sends its agents away: " + reason}:
			default: // it said so before
			}
		},
		Dropped: a.dropped,
	}
	a.mu.Lock()
	a.drained = drained
	hello := tunnel.Hello{
		Software: a.config.Software,
		Instance: a.config.Instance,
		Key:      a.config.Key,
		Host:     a.config.Host,
	}
	for i, c := range a.claims {
		if a.status.Upstreams[i].Dropped == nil {
			asked = append(asked, i)
			hello.Claims = append(hello.Claims, c)
		}
	}
	a.mu.Unlock()
	s, err = tunnel.Connect(ctx, conn, config, hello)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the edge did not answer in %v", connectTimeout)
	}
	if err != nil {
		return nil, asked, err
	}
	if n := len(s.Welcome().Grants); n != len(hello.Claims) {
		err := &tunnel.Error{Code: tunnel.CodeUnsupported, Message: fmt.Sprintf("the edge granted %d tunnels for %d claims", n, len(hello.Claims))}
		s.Abort(err)
		return nil, nil, err
	}
	return s, asked, nil
}

// granted notes the names, to ask for the same ones next time. A takeover is
// not repeated, or two agents would take the name from each other for ever. The
// grants of the status stay in the order of the configuration.
func (a *Agent) granted(w tunnel.Welcome, asked []int) {
	a.update(func(s *Status) {
		grants := make([]tunnel.Grant, len(a.claims))
		copy(grants, s.Welcome.Grants)
		for k, g := range w.Grants {
			i := asked[k]
			grants[i] = g
			a.claims[i].Name, a.claims[i].Takeover = g.Name, false
			s.Upstreams[i].Tunnel = g.Name
		}
		s.Welcome = w
		s.Welcome.Grants = grants
		a.begin("probe")
	})
}

// dropped is called when the edge has closed one tunnel of several.
func (a *Agent) dropped(name string, why *tunnel.Error) {
	a.config.Logger.Debug("the edge closed a tunnel", "tunnel", name, "err", why)
	a.update(func(s *Status) {
		for i := range s.Upstreams {
			if s.Upstreams[i].Tunnel == name && name != "" {
				a.drop(i, why)
			}
		}
	})
}

// live is called when the edge has seen a stream come back through the agent.
func (a *Agent) live() {
	a.update(func(s *Status) {
		if s.State == Online {
			return
		}
		a.begin("")
		s.State, s.Since, s.OfflineSince = Online, time.Now(), time.Time{}
		s.Err, s.Attempt, s.Next = nil, 0, time.Time{}
		close(a.online)
	})
	a.ask()
}

// begin ends the running step and starts another. It is called in update.
func (a *Agent) begin(name string) {
	now := time.Now()
	if n := len(a.status.Steps); n > 0 && !a.status.Steps[n-1].Done {
		last := &a.status.Steps[n-1]
		last.Took, last.Done = now.Sub(a.step), true
	}
	if name != "" {
		a.status.Steps = append(a.status.Steps, Step{Name: name})
		a.step = now
	}
}

func (a *Agent) everOnline() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status.State != Connecting
}

func (a *Agent) update(f func(*Status)) {
	a.mu.Lock()
	f(&a.status)
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Status returns a copy of the state.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Steps = append([]Step(nil), s.Steps...)
	if n := len(s.Steps); n > 0 && !s.Steps[n-1].Done {
		s.Steps[n-1].Took = time.Since(a.step)
	}
	s.Upstreams = append([]Upstream(nil), s.Upstreams...)
	if a.session != nil {
		s.RTT = a.session.RTT()
	}
	return s
}

// Changed yields a value after the status has changed, at most one for any
// number of changes. It has one reader.
func (a *Agent) Changed() <-chan struct{} { return a.changed }

// DialAPI opens a stream to the edge's API over the agent's connection. It
// waits until the agent is online.
func (a *Agent) DialAPI(ctx context.Context) (net.Conn, error) {
	for {
		a.mu.Lock()
		online, s := a.online, a.session
		a.mu.Unlock()
		select {
		case <-online:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if s != nil {
			c, err := s.OpenAPI()
			if e := (*tunnel.Error)(nil); err == nil || errors.As(err, &e) && e.Code == tunnel.CodeTooManyStreams {
				return c, err
			}
			select {
			case <-s.Done():
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		// The session ended a moment ago; connect is about to say so.
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// SetTarget makes the tunnel of that name lead to another local service, which
// is dialed once to see whether it is there. Open streams stay with the old one.
func (a *Agent) SetTarget(name string, t Target) {
	a.update(func(s *Status) {
		for i := range s.Upstreams {
			if s.Upstreams[i].Tunnel == name {
				t.proto = a.claims[i].UpstreamProto
				a.targets[i] = t
				a.claims[i].Local = t.String()
				s.Upstreams[i] = Upstream{Tunnel: name, Local: t.String(), Since: time.Now(), Dropped: s.Upstreams[i].Dropped, Again: s.Upstreams[i].Again}
			}
		}
	})
	select {
	case a.checks <- struct{}{}:
	default:
	}
}

// ReleaseAll gives all tunnels back to the edge, in the order of the claims, and
// returns when the edge has let go of them: their names and ports are free, they
// are in no list any more, and their captures are gone. Without it the edge
// keeps the names for the agent to come back. A command that ends calls it
// before it ends Run's context, instead of deleting tunnels by name, which may
// be another agent's by then. It fails with CodeAgentOffline when there is no
// session, and with ctx.
func (a *Agent) ReleaseAll(ctx context.Context) error {
	a.mu.Lock()
	s := a.session
	var names []string
	for _, u := range a.status.Upstreams {
		if u.Dropped == nil {
			names = append(names, u.Tunnel)
		}
	}
	a.mu.Unlock()
	if s == nil {
		return &tunnel.Error{
			Code:    tunnel.CodeAgentOffline,
			Message: "the edge is not connected, so it keeps the tunnels until their time is over",
		}
	}
	for _, name := range names {
		if err := s.Release(name); err != nil {
			return fmt.Errorf("release %s: %w", name, err)
		}
	}
	// The edge heeds one message after the other.
	if _, err := s.Ping(ctx); err != nil {
		return fmt.Errorf("release tunnels: %w", err)
	}
	return nil
}

// target is called for every stream. One of another kind than the tunnel's is
// not for its service.
func (a *Agent) target(name string, kind tunnel.Kind) (Target, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.status.Upstreams {
		if u := &a.status.Upstreams[i]; u.Tunnel == name && name != "" && u.Dropped == nil && a.claims[i].Kind == kind {
			return a.targets[i], true
		}
	}
	return Target{}, false
}
