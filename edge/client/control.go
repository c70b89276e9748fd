package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tunnel"
)

// DefaultPort is where an edge listens for agents.
const DefaultPort = "7000"

// dialTimeout bounds the way from an address to a session.
const dialTimeout = 15 * time.Second

// ControlConfig says which edge to reach, and as whom.
type ControlConfig struct {
	Edge     string      // host or host:port of the control plane
	TLS      *tls.Config // whom to trust; nil means the machine's roots
	Key      string
	Software string
	Host     string       // this machine's name
	Logger   *slog.Logger // nil discards
}

// A Control is a connection to an edge's control plane that carries API
// requests and no tunnels. It is dialled again when it has broken.
type Control struct {
	cfg      ControlConfig
	addr     string
	tls      *tls.Config
	instance string
	client   *Client

	dialling chan struct{} // holds one token: who has it may dial

	mu      sync.Mutex
	session *tunnel.Session
	wg      sync.WaitGroup // the sessions' runs
	closed  bool
}

// DialControl connects to the edge and says hello without claims. The error is
// a *[tunnel.Error] when the edge refused. The caller closes the Control.
func DialControl(ctx context.Context, cfg ControlConfig) (*Control, error) {
	host, port, err := net.SplitHostPort(cfg.Edge)
	if err != nil {
		host, port = cfg.Edge, DefaultPort
	}
	c := &Control{
		cfg:      cfg,
		addr:     net.JoinHostPort(host, cmp.Or(port, DefaultPort)),
		tls:      &tls.Config{},
		dialling: make(chan struct{}, 1),
	}
	if cfg.TLS != nil {
		c.tls = cfg.TLS.Clone()
	}
	if c.tls.ServerName == "" {
		c.tls.ServerName = host
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	c.instance = hex.EncodeToString(id[:])
	c.client = Over(c.DialAPI, cfg.Key)
	if _, err := c.live(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Client returns the API's client over this connection.
func (c *Control) Client() *Client { return c.client }

// DialAPI returns a stream into the edge's API server.
func (c *Control) DialAPI(ctx context.Context) (net.Conn, error) {
	s, err := c.live(ctx)
	if err != nil {
		return nil, err
	}
	return s.OpenAPI()
}

// Close ends the connection and returns when nothing of it is left.
func (c *Control) Close() error {
	c.mu.Lock()
	c.closed = true
	s := c.session
	c.mu.Unlock()
	c.client.Close()
	if s != nil {
		_ = s.Close()
	}
	c.wg.Wait()
	return nil
}

// live returns a session that has not ended, dialling one if there is none.
func (c *Control) live(ctx context.Context) (*tunnel.Session, error) {
	select {
	case c.dialling <- struct{}{}:
		defer func() { <-c.dialling }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	s, closed := c.session, c.closed
	c.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	if s != nil {
		select {
		case <-s.Done():
		default:
			return s, nil
		}
	}
	s, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		_ = s.Close()
		_ = s.Run(ctx) // returns once all of it is gone
		return nil, net.ErrClosed
	}
	defer c.mu.Unlock()
	c.session = s
	crash.Go(&c.wg, func() { _ = s.Run(context.Background()) }) // until Close
	return s, nil
}

func (c *Control) dial(ctx context.Context) (*tunnel.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("reach the edge: %w", err)
	}
	s, err := tunnel.Connect(ctx, conn, &tunnel.AgentConfig{TLS: c.tls, Logger: c.cfg.Logger}, tunnel.Hello{
		Software: c.cfg.Software,
		Instance: c.instance,
		Key:      c.cfg.Key,
		Host:     c.cfg.Host,
	})
	if err != nil {
		return nil, fmt.Errorf("reach the edge at %s: %w", c.addr, err)
	}
	return s, nil
}
