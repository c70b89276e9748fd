package tunnel

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// EdgeConfig is what Accept needs to know. All sessions share it, and it does
// not change after the first.
type EdgeConfig struct {
	TLS     *tls.Config   // certificates; the protocol and TLS 1.3 are Accept's
	Streams int           // open at once in a session; 0 is DefaultStreams
	Hello   time.Duration // for the handshake and the first frame; 0 is HelloTimeout
	Ping    time.Duration // between pings; 0 is PingEvery
	Dead    time.Duration // without a byte; 0 is DeadAfter
	Quota   *Quota        // on the streams of all sessions together; nil has no limit
	Bulk    int           // further connections that a session may have; 0 is DefaultBulk, less none
	Logger  *slog.Logger  // nil discards

	// API gets each stream of kind api; its RemoteAddr is the agent's. It
	// must not block, and whoever takes the connection closes it. Nil
	// refuses them.
	API func(*Session, net.Conn)
	// Claim decides a claim that comes after the Welcome, Release ends a
	// tunnel. Nil refuses. Claim may take its time, Release must not.
	Claim   func(*Session, Claim) (Grant, error)
	Release func(s *Session, name string)

	prepare sync.Once
	tls     *tls.Config
	joins   sync.Map // bulkToken to *Session, for connections that agents are to make
}

// A Quota bounds the streams that several sessions have open together. The zero
// value allows none.
type Quota struct{ limit, open atomic.Int64 }

// Set changes the limit. What is open stays.
func (q *Quota) Set(limit int) { q.limit.Store(int64(limit)) }

func (q *Quota) take() bool {
	if q == nil {
		return true
	}
	if q.open.Add(1) <= q.limit.Load() {
		return true
	}
	q.open.Add(-1)
	return false
}

func (q *Quota) give() {
	if q != nil {
		q.open.Add(-1)
	}
}

// edgeBacklog is how many streams the edge may have opened that the agent has
// not acknowledged; one more waits. An agent takes that many at once.
const edgeBacklog = 256

// A Pending is an agent that has said hello and waits for its welcome. One of
// Accept, Refuse and Close is called, or ServeBulk if Bulk says so.
type Pending struct {
	Hello  Hello
	config *EdgeConfig
	tls    *tls.Conn
	wire   *wire
	bulk   *bulk // when it said no hello
	token  bulkToken
}

// Accept makes the TLS handshake as the edge and reads the first frame, in
// HelloTimeout together. It closes conn on an error.
func Accept(conn net.Conn, config *EdgeConfig) (*Pending, error) {
	conn.SetDeadline(time.Now().Add(cmp.Or(config.Hello, HelloTimeout)))
	w := newWire(conn)
	p := &Pending{config: config, wire: w, tls: tls.Server(w, config.prepared())}
	if err := p.tls.Handshake(); err != nil {
		w.Close()
		return nil, fmt.Errorf("tls: %w", err)
	}
	kind, err := readKind(p.tls)
	switch {
	case err != nil:
	case kind == firstBulk:
		err = p.readToken()
	default:
		p.Hello, err = readHello(p.tls)
	}
	if err != nil {
		if e := (*Error)(nil); errors.As(err, &e) {
			p.Refuse(e)
		}
		w.Close()
		return nil, fmt.Errorf("read hello: %w", err)
	}
	conn.SetDeadline(time.Time{})
	return p, nil
}

// prepared is TLS with what the protocol asks for, one for all sessions.
func (config *EdgeConfig) prepared() *tls.Config {
	config.prepare.Do(func() {
		c := config.TLS.Clone()
		c.MinVersion = tls.VersionTLS13
		c.NextProtos = []string{ALPN}
		// Sessions live for days; tickets would be bytes for nothing.
		c.SessionTicketsDisabled = true
		commonTLS(c)
		config.tls = c
	})
	return config.tls
}

// commonTLS asks for whole records from the first byte on: the records of a
// flush leave in one call anyway.
func commonTLS(c *tls.Config) { c.DynamicRecordSizingDisabled = true }

// Accept sends the welcome and starts the session, which the caller runs.
func (p *Pending) Accept(w Welcome) (*Session, error) {
	w.Version = min(p.Hello.Version, Version)
	if w.Limits.Streams = p.config.Streams; w.Limits.Streams <= 0 {
		w.Limits.Streams = DefaultStreams
	}
	if err := p.send(w); err != nil {
		p.wire.Close()
		return nil, fmt.Errorf("send welcome: %w", err)
	}
	l := newLink(p.tls, p.wire)
	s := newSession(l, p.config.Logger)
	s.edge, s.hello, s.welcome = p.config, p.Hello, w
	s.hello.Key = ""
	s.streams = w.Limits.Streams
	if p.config.Ping > 0 {
		s.ping = p.config.Ping
	}
	if p.config.Dead > 0 {
		s.dead = p.config.Dead
	}
	mux, err := yamux.Server(l, s.muxConfig(edgeBacklog))
	if err != nil {
		l.Close()
		return nil, err
	}
	s.mux = mux
	return s, nil
}

// Refuse tells the agent why not and closes the connection. It waits a moment
// for the agent to read that.
func (p *Pending) Refuse(e *Error) error {
	defer p.wire.Close()
	if err := p.send(Welcome{Version: Version, Error: e}); err != nil {
		return err
	}
	// Closing with bytes unread would reset the connection and could lose the
	// answer.
	p.tls.CloseWrite()
	p.wire.SetReadDeadline(time.Now().Add(lingering))
	var b [256]byte
	for {
		if _, err := p.wire.Read(b[:]); err != nil {
			return nil
		}
	}
}

func (p *Pending) send(w Welcome) error {
	p.wire.SetWriteDeadline(time.Now().Add(HelloTimeout))
	p.wire.cork()
	err := writeWelcome(p.tls, w)
	if e := p.wire.uncork(); err == nil {
		err = e
	}
	p.wire.SetWriteDeadline(time.Time{})
	return err
}

// Close closes the connection without an answer.
func (p *Pending) Close() error { return p.wire.Close() }
