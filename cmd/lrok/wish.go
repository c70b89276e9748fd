package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

// A wish is a tunnel that is asked for, as flags or a file say it.
type wish struct {
	claim  tunnel.Claim
	target agent.Target
	quiet  bool

	passwordFile string
	fromFile     bool // one of several in a configuration file
}

// accessFlags say who may use the tunnel. The edge holds to them before it
// opens anything to this machine.
func (w *wish) accessFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&w.claim.Allow, "allow", nil, "an address or network that may call, and no others; may be repeated")
	f.StringSliceVar(&w.claim.Deny, "deny", nil, "an address or network that may not call; may be repeated")
}

// resolve completes w for the local service, and checks all that can be checked
// without an edge.
func (w *wish) resolve(ctx context.Context, o *options, service string) (err error) {
	c := &w.claim
	if w.target, err = agent.ParseTarget(service); err != nil {
		return usage("%w", err)
	}
	if c.Kind != tunnel.HTTP {
		if strings.Contains(service, "://") && w.target.Scheme != "tcp" || w.target.Scheme == "https" {
			return usage("%q: a %s tunnel leads to a port or host:port; for a URL there is lrok http", service, c.Kind)
		}
		if w.target.Scheme == "http" {
			w.target.Scheme = "tcp"
		}
	}
	c.Local = w.target.String()
	c.Project = project(string(c.Kind) + strings.TrimPrefix(service, string(c.Kind)+"://"))
	if c.Kind == tunnel.HTTP {
		c.Project = project(service)
		c.UpstreamProto = cmp.Or(c.UpstreamProto, "h1")
	}
	switch {
	case c.UpstreamProto != "" && c.UpstreamProto != "h1" && c.UpstreamProto != "h2c":
		return usage("--upstream-proto is h1 or h2c, not %q", c.UpstreamProto)
	case c.ProxyProtocol != "" && c.ProxyProtocol != "v1" && c.ProxyProtocol != "v2":
		return usage("--proxy-protocol is v1 or v2, not %q", c.ProxyProtocol)
	case c.RemotePort < 0 || c.RemotePort > 65535:
		return usage("--remote-port %d is no port, they go from 1 to 65535", c.RemotePort)
	}
	for _, l := range []struct {
		flag string
		list *[]string
	}{{"--allow", &c.Allow}, {"--deny", &c.Deny}} {
		ps, err := parsePrefixes(*l.list)
		if err != nil {
			return usage("%s: %w", l.flag, err)
		}
		*l.list = nil
		for _, p := range ps {
			*l.list = append(*l.list, p.String())
		}
	}
	return w.password(ctx, o)
}

// password completes a wish for basic authentication.
func (w *wish) password(ctx context.Context, o *options) error {
	c := &w.claim
	if c.Kind != tunnel.HTTP {
		return nil
	}
	set := os.Getenv("LROK_BASIC_AUTH")
	switch {
	case c.BasicUser == "" && !w.fromFile && (set != "" || w.passwordFile != ""):
		// Without the user the tunnel would be open to everybody, and somebody
		// thinks that it is not.
		return usage("there is a password for callers, and no user: add --basic-auth USER")
	case c.BasicUser == "":
		return nil
	case strings.Contains(c.BasicUser, ":"):
		return usage("--basic-auth takes the user alone: the password comes from LROK_BASIC_AUTH or --basic-auth-file")
	}
	var err error
	switch {
	case w.passwordFile != "":
		c.BasicPassword, err = readSecretFile(w.passwordFile, "password")
	case set != "":
		c.BasicPassword = set
	case o.canAsk():
		c.BasicPassword, err = o.askSecret(ctx, "Password for "+c.BasicUser+": ")
	default:
		return usage("--basic-auth %s needs a password: set LROK_BASIC_AUTH, or name a file with --basic-auth-file", c.BasicUser)
	}
	if err == nil && c.BasicPassword == "" {
		err = usage("the password for --basic-auth is empty")
	}
	return err
}

// maxSecret is the longest secret that a file may hold.
const maxSecret = 1 << 10

// readSecretFile returns the line in the file at path. One that others can read
// is refused: what is in it is no secret.
func readSecretFile(path, what string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usage("read %s: %w", what, err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	if os.PathSeparator == '/' && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		return "", usageError{&tunnel.Error{
			Code:    tunnel.CodeInvalid,
			Message: fmt.Sprintf("%s file %s can be read by others (mode %04o)", what, path, st.Mode().Perm()),
			Hint:    "chmod 600 " + path,
		}}
	}
	return readSecret(f, what)
}

// readSecret reads one line.
func readSecret(r io.Reader, what string) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if len(text) > maxSecret || strings.ContainsAny(text, "\r\n\x00") {
		return "", usageError{errors.New("a " + what + " is one line of at most 1024 bytes")}
	}
	return text, nil
}

// needsEdge refuses what the edge inside this process cannot give.
func (u *up) needsEdge() error {
	for _, w := range u.wishes {
		if w.claim.Kind == tunnel.TLS {
			return &tunnel.Error{Code: codeUnreachable, Message: "lrok tls needs an edge, and none is known", Hint: "name one with --edge HOST, or log in: lrok login HOST"}
		}
		if w.claim.Domain != "" {
			return &tunnel.Error{Code: codeUnreachable, Message: "--domain needs an edge, and none is known", Hint: "name one with --edge HOST, or log in: lrok login HOST"}
		}
	}
	return nil
}
