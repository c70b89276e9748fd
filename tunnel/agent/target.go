package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/lrok-dev/lrok/tunnel"
)

type syscallConn = syscall.RawConn

// A Target is a local service.
type Target struct {
	// Scheme is http, https, tcp or unix. Only https makes a difference to
	// the agent.
	Scheme string
	// Addr is host:port, or the path of a unix socket.
	Addr string

	proto string // the claim's UpstreamProto
}

// ParseTarget reads "3000", "host:port", "http://host[:port]",
// "https://host[:port]", "tcp://host:port" or "unix:/path".
func ParseTarget(s string) (Target, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); path == "" {
			return Target{}, errors.New("unix: needs the path of a socket, as in unix:/run/app.sock")
		}
		return Target{Scheme: "unix", Addr: path}, nil
	}
	if _, err := strconv.Atoi(s); err == nil {
		s = "localhost:" + s
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
		if _, _, err := net.SplitHostPort(s[len("http://"):]); err != nil {
			return Target{}, fmt.Errorf("%q is no port, host:port, URL or unix:/path", s[len("http://"):])
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return Target{}, fmt.Errorf("%q is no URL: %w", s, errors.Unwrap(err))
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tcp":
		return Target{}, fmt.Errorf("%q: the scheme is http, https, tcp or unix, not %s", s, u.Scheme)
	case u.Hostname() == "" && port == "":
		return Target{}, fmt.Errorf("%q names no host", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return Target{}, fmt.Errorf("%q: only a host and a port, requests bring their own path", s)
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "" && u.Scheme == "http":
		port = "80"
	case port == "":
		return Target{}, fmt.Errorf("%q names no port", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return Target{}, fmt.Errorf("%s is no port, they go from 1 to 65535", port)
	}
	host := u.Hostname()
	if host == "" {
		host = "localhost"
	}
	return Target{Scheme: u.Scheme, Addr: net.JoinHostPort(host, port)}, nil
}

// String is the target as people see it, as in "http://localhost:3000".
func (t Target) String() string {
	switch t.Scheme {
	case "unix":
		return "unix:" + t.Addr
	case "tcp":
		return t.Addr
	default:
		return t.Scheme + "://" + t.Addr
	}
}

// reach connects to the service, below TLS.
func (t Target) reach(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if t.Scheme == "unix" {
		return d.DialContext(ctx, "unix", t.Addr)
	}
	host, port, err := net.SplitHostPort(t.Addr)
	if err == nil && net.ParseIP(host) == nil && tunnel.Loopback(host) {
		// Services listen on either. No need to ask a resolver, which may not know
		// the names below localhost.
		conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		if conn, err6 := d.DialContext(ctx, "tcp", "[::1]:"+port); err6 == nil {
			return conn, nil
		}
		return nil, err
	}
	return d.DialContext(ctx, "tcp", t.Addr)
}

// dial connects to the service.
func (t Target) dial(ctx context.Context) (net.Conn, error) {
	conn, err := t.reach(ctx)
	if err != nil || t.Scheme != "https" {
		return conn, err
	}
	c := tls.Client(conn, t.tls())
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial tls %s: %w", t.Addr, err)
	}
	return c, nil
}

// tls verifies a service anywhere but on this machine, where certificates
// are made up and nobody is in between.
func (t Target) tls() *tls.Config {
	host, _, _ := net.SplitHostPort(t.Addr)
	c := &tls.Config{
		ServerName:         host,
		InsecureSkipVerify: tunnel.Loopback(host),
		NextProtos:         []string{"http/1.1"},
	}
	if t.proto == "h2c" {
		c.NextProtos = []string{"h2"}
	}
	return c
}
