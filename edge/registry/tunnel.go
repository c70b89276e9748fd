package registry

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// A Session is an agent's connection, as far as the registry needs it. Its
// methods may be called from any goroutine.
type Session interface {
	tunnel.Opener
	// Ping returns how long the agent took to answer.
	Ping(ctx context.Context) (time.Duration, error)
	// Supersede tells the agent why it is not wanted any more, and ends the
	// session. The agent does not come back.
	Supersede(why *tunnel.Error) error
	// Dropped tells the agent that one of its tunnels was closed, and why; the
	// others stay.
	Dropped(name string, why *tunnel.Error) error
	// Close ends the session.
	Close() error
	RemoteAddr() net.Addr
}

// A Tunnel is a public name, held by a session or waiting for its agent to come
// back. Its fields do not change.
type Tunnel struct {
	Name    string // what its owner calls it: the subdomain
	Host    string // the canonical host it answers for, empty for kind TCP
	Kind    tunnel.Kind
	Owner   string // a user's id
	Claim   tunnel.Claim
	Grant   tunnel.Grant
	Created time.Time // when the name was first granted; coming back does not change it
	// Port is the public port of a tunnel of kind TCP, 0 for the others.
	Port int
	// Access is who may come in, nil when that is everybody. The claim's
	// password is in it as a hash, and nowhere else.
	Access *Access

	// Ring holds the captures. It outlives the session by [Grace].
	Ring *inspector.Ring
	// Counters count over all sessions of the tunnel's life.
	Counters *Counters
	// Pool keeps streams to the agent for the next request.
	Pool Pool

	hold  atomic.Pointer[hold]
	place *place // of kind TCP
}

// Counters count what passed through a tunnel.
type Counters struct {
	Requests atomic.Int64
	BytesIn  atomic.Int64 // from the public side to the local service
	BytesOut atomic.Int64
	// Connections are those of kind TCP and TLS, and Open how many of them are
	// open now.
	Connections atomic.Int64
	Open        atomic.Int64
}

// A hold says which agent has a tunnel, or had it last. It does not change.
type hold struct {
	session  Session // nil once it has ended
	instance string
	machine  string
	remote   string
	since    time.Time // when the session came, or when it ended
}

var errOffline = &tunnel.Error{
	Code:    tunnel.CodeAgentOffline,
	Message: "the agent of this tunnel is not connected",
	Hint:    "start it again, or wait for it to come back",
}

// Open returns a stream to the local service over the session of the moment. It
// implements [tunnel.Opener]. Without a session it fails with
// [tunnel.CodeAgentOffline].
func (t *Tunnel) Open(p tunnel.Peer) (tunnel.Conn, error) {
	h := t.hold.Load()
	if h.session == nil {
		return nil, errOffline
	}
	return h.session.Open(p)
}

// Current returns the tunnel that has t's place now: the one that its agent got
// when it came back, or t. Who listens on a port asks for each connection.
func (t *Tunnel) Current() *Tunnel {
	if t.place != nil {
		if now := t.place.now.Load(); now != nil {
			return now
		}
	}
	return t
}

// Session returns the session that holds t, or nil while the agent is away.
func (t *Tunnel) Session() Session { return t.hold.Load().session }

// Online reports whether a session holds t.
func (t *Tunnel) Online() bool { return t.hold.Load().session != nil }

// Remote returns the address that the agent connected from, also while it is
// away.
func (t *Tunnel) Remote() string { return t.hold.Load().remote }

// Machine returns the name of the agent's machine, as the agent told it.
func (t *Tunnel) Machine() string { return t.hold.Load().machine }

// Since returns when the agent came or, while it is away, when it went.
func (t *Tunnel) Since() time.Time { return t.hold.Load().since }
