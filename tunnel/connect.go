package tunnel

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/yamux"
)

// AgentConfig is what Connect needs to know.
type AgentConfig struct {
	TLS    *tls.Config   // with ServerName; the protocol and TLS 1.3 are Connect's
	Ping   time.Duration // between pings; 0 is PingEvery
	Dead   time.Duration // without a byte; 0 is DeadAfter
	Logger *slog.Logger  // nil discards

	// Dial reaches the edge of the session once more, for a connection that one
	// stream moves much over. Without it, or where it fails, all streams share
	// the session's.
	Dial func(context.Context) (net.Conn, error)

	// Serve gets each stream to a local service in a goroutine of its own,
	// answers it with Connected or Refuse and closes it. Run waits for it.
	Serve func(*Stream)
	// Secure is called after the TLS handshake, Live when the edge has seen a
	// stream come back through this session, Drain when the edge wants the
	// agent to come back elsewhere once the session ends, Dropped when the edge
	// closed one tunnel of several. None may block.
	Secure  func()
	Live    func()
	Drain   func(reason string)
	Dropped func(name string, why *Error)
}

// agentBacklog leaves room for every stream that an edge opens before the
// agent's next turn.
const agentBacklog = 2 * DefaultStreams

// Connect makes the TLS handshake on conn as the agent, says hello in the
// flight that ends it, and waits for the welcome. The error is an *Error when
// the edge refused. The caller runs the session. Connect closes conn on an
// error.
func Connect(ctx context.Context, conn net.Conn, config *AgentConfig, h Hello) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	s, err := connect(ctx, conn, config, h)
	if !stop() && err == nil {
		s.Close()
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return s, nil
}

func connect(ctx context.Context, conn net.Conn, config *AgentConfig, h Hello) (*Session, error) {
	w := newWire(conn)
	c := tls.Client(w, agentTLS(config.TLS))
	if err := c.HandshakeContext(ctx); err != nil {
		w.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if config.Secure != nil {
		config.Secure()
	}
	h.Version = Version
	// The wire still holds the end of the handshake, and lets both go when it
	// is read from.
	if err := writeHello(c, h); err != nil {
		return nil, err
	}
	welcome, err := readWelcome(c)
	if err != nil {
		return nil, noEOF(err)
	}
	w.cork()
	if err := w.uncork(); err != nil {
		return nil, err
	}
	l := newLink(c, w)
	s := newSession(l, config.Logger)
	s.agent, s.hello, s.welcome = config, h, welcome
	if welcome.Limits.Streams > 0 {
		s.streams = welcome.Limits.Streams
	}
	if config.Ping > 0 {
		s.ping = config.Ping
	}
	if config.Dead > 0 {
		s.dead = config.Dead
	}
	mux, err := yamux.Client(l, s.muxConfig(agentBacklog))
	if err != nil {
		l.Close()
		return nil, err
	}
	s.mux = mux
	m, err := mux.OpenStream()
	if err != nil {
		mux.Close()
		return nil, err
	}
	s.table.Lock()
	s.control = s.table.m[m.StreamID()]
	s.control.mux.Stream = m
	s.table.Unlock()
	s.control.started.Store(true)
	s.control.answered.Store(true)
	close(s.controlled)
	return s, nil
}

func agentTLS(c *tls.Config) *tls.Config {
	if c == nil {
		c = new(tls.Config)
	}
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{ALPN}
	commonTLS(c)
	return c
}
