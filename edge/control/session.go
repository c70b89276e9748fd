package control

import (
	"context"
	"net"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/tunnel"
)

var _ registry.Session = (*session)(nil)

// A session is an agent's connection from the moment its key was accepted. Its
// names are granted before it is welcomed, so there is a while in which it
// holds them and has no streams yet.
type session struct {
	id       string
	user     store.User
	key      string // its id
	instance string
	machine  string
	remote   net.Addr

	// ready is closed when link is set or will never be.
	ready chan struct{}
	link  *tunnel.Session

	revoked bool // told that its key does not work any more; guarded by the server
}

// welcomed says what came of the welcome: link is nil when it failed.
func (s *session) welcomed(link *tunnel.Session) {
	s.link = link
	close(s.ready)
}

var errNotYet = &tunnel.Error{
	Code:    tunnel.CodeAgentOffline,
	Message: "the agent is just connecting",
	Hint:    "try again",
}

// Open implements [tunnel.Opener].
func (s *session) Open(p tunnel.Peer) (tunnel.Conn, error) {
	select {
	case <-s.ready:
	default:
		return nil, errNotYet
	}
	if s.link == nil {
		return nil, errNotYet
	}
	return s.link.Open(p)
}

// Ping implements [registry.Session]. An agent that is just connecting is
// pinged once it is there.
func (s *session) Ping(ctx context.Context) (time.Duration, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.link == nil {
		return 0, errNotYet
	}
	return s.link.Ping(ctx)
}

// Supersede implements [registry.Session]. The welcome it may have to wait for
// has a deadline.
func (s *session) Supersede(why *tunnel.Error) error {
	<-s.ready
	if s.link == nil {
		return nil
	}
	return s.link.Supersede(why)
}

// Dropped implements [registry.Session].
func (s *session) Dropped(name string, why *tunnel.Error) error {
	<-s.ready
	if s.link == nil {
		return nil
	}
	return s.link.Dropped(name, why)
}

// Close implements [registry.Session].
func (s *session) Close() error {
	<-s.ready
	if s.link == nil {
		return nil
	}
	return s.link.Close()
}

// RemoteAddr implements [registry.Session].
func (s *session) RemoteAddr() net.Addr { return s.remote }
