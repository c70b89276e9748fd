package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge"
)

func newServe(o *options) *cobra.Command {
	var c edge.Config
	var dev bool
	var proxies []string
	captureBody, captureEdge := "1MiB", "512MiB"
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an edge: the public side of tunnels",
		Long: `Run an edge: the public side of tunnels, on one machine and in one process.

Requests for <name>.<domain> go to the tunnel of that name; agents connect to the
control port; the API is on api.<domain>. The first start makes the first user and
prints the key that agents need. Without --tls-cert a development CA of the edge's
own is used, which agents are given with --edge-ca.`,
		Example: `  lrok serve --dev
  lrok serve --domain lrok.example.com --public-url https
  lrok serve --domain lrok.example.com --https :443 --tls-cert cert.pem --tls-key key.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dev {
				developer(cmd, &c)
			}
			var err error
			if c.TrustedProxies, err = parsePrefixes(proxies); err != nil {
				return err
			}
			if c.CaptureBody, err = parseSize(captureBody); err != nil {
				return usage("--capture-body: %w", err)
			}
			if c.Limits.CaptureEdge, err = parseSize(captureEdge); err != nil {
				return usage("--capture-total: %w", err)
			}
			if c.DataDir == "" {
				if c.DataDir, err = dataDir(); err != nil {
					return err
				}
			}
			c.Software = software()
			c.Logger = o.serverLogger()
			return o.serve(cmd.Context(), c, dev)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&dev, "dev", false, "for trying out: loopback only, and this machine's lrok is logged in")
	f.StringVar(&c.Domain, "domain", "localhost", "tunnels are <name>.<domain>, the API api.<domain>")
	f.StringVar(&c.PublicURL, "public-url", "", "what the public side uses when a proxy stands in front: https, or https://*.<domain>:8443")
	f.StringVar(&c.HTTP, "http", ":8080", "public HTTP; empty for none")
	f.StringVar(&c.HTTPS, "https", "", "public HTTPS, with HTTP/2, ended here")
	f.StringVar(&c.Control, "control", ":7000", "where agents connect")
	f.StringVar(&c.Internal, "internal", "127.0.0.1:7080", "health and readiness; empty for none")
	f.StringVar(&c.TLSCert, "tls-cert", "", "certificate chain in PEM, for control port and HTTPS")
	f.StringVar(&c.TLSKey, "tls-key", "", "private key in PEM")
	f.StringVar(&c.DataDir, "data-dir", "", "keys and development CA (default: XDG data directory)")
	f.StringSliceVar(&proxies, "trusted-proxies", nil, "addresses or networks whose X-Forwarded-* are believed")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 30*time.Second, "how long requests in flight may take after SIGTERM")
	f.StringVar(&captureBody, "capture-body", captureBody, "how much of each body is kept, 16MiB at most")
	f.StringVar(&captureEdge, "capture-total", captureEdge, "how much memory all captured bodies may take")
	f.IntVar(&c.Limits.Streams, "max-streams", 2048, "streams open at once in one agent's session")
	f.IntVar(&c.Limits.Agents, "max-agents", 10_000, "agents connected at once")
	f.BoolVar(&c.Pprof, "pprof", false, "serve Go's profiles on the internal address")
	f.IntVar(&c.Limits.Header, "max-header", 64<<10, "bytes of a request's head")
	return cmd
}

// developer makes an edge that only this machine reaches. Addresses that were
// asked for stay.
func developer(cmd *cobra.Command, c *edge.Config) {
	for _, l := range []struct {
		flag, addr string
		to         *string
	}{{"http", "127.0.0.1:8080", &c.HTTP}, {"control", "127.0.0.1:7000", &c.Control}} {
		if !cmd.Flags().Changed(l.flag) {
			*l.to = l.addr
		}
	}
}

func (o *options) serve(ctx context.Context, c edge.Config, dev bool) error {
	e, err := edge.New(c)
	if err != nil {
		return usage("%w", err)
	}
	if err := e.Listen(); err != nil {
		return err
	}
	key, created := e.AdminKey()
	say := func(format string, a ...any) { _, _ = fmt.Fprintf(o.stderr, format+"\n", a...) }
	say("lrok %s: edge for *.%s", versionName(), c.Domain)
	for _, l := range []struct{ what, addr string }{
		{"public HTTP", e.HTTPAddr()}, {"public HTTPS", e.HTTPSAddr()}, {"agents", e.ControlAddr()}, {"health", e.InternalAddr()},
	} {
		if l.addr != "" {
			say("  %-13s %s", l.what, l.addr)
		}
	}
	say("  %-13s %s", "data", c.DataDir)
	if e.Fingerprint() != "" {
		say("  %-13s a development CA of its own, which only this edge's agents should trust", "certificate")
		say("  %-13s %s", "", filepath.Join(c.DataDir, "ca.pem"))
		say("  %-13s SHA-256 %s", "", e.Fingerprint())
	}
	if created && o.logsToTerminal() {
		say("\nThe first key, shown this once and kept in %s:\n\n  %s", filepath.Join(c.DataDir, "admin.key"), key)
	} else if created { // a log is no place for a key
		say("\nThe first key was made: %s", filepath.Join(c.DataDir, "admin.key"))
	}
	if dev {
		forget, err := logInLocally(e)
		if err != nil {
			e.Close()
			return err
		}
		defer forget()
		say("\nThis machine is logged in while the edge runs. Open a tunnel:\n\n  lrok http 3000\n")
	} else {
		ca := ""
		if e.Fingerprint() != "" {
			ca = " --edge-ca ca.pem"
		}
		say("\nOpen a tunnel from anywhere:\n\n  LROK_API_KEY=… lrok http 3000 --edge %s%s\n", controlHost(c, e), ca)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	go func() {
		for range hangups {
			e.Reload()
		}
	}()
	return e.Run(ctx, second(ctx))
}

// controlHost is what agents are told to connect to.
func controlHost(c edge.Config, e *edge.Edge) string {
	_, port, _ := strings.Cut(e.ControlAddr()[strings.LastIndexByte(e.ControlAddr(), ']')+1:], ":")
	host := "tunnel." + c.Domain
	if port == defaultControlPort {
		return host
	}
	return host + ":" + port
}

// logInLocally leaves the login that makes the other commands use e. A login
// that a person made is left alone.
func logInLocally(e *edge.Edge) (func(), error) {
	path, err := loginPath()
	if err != nil {
		return nil, err
	}
	if old, err := readReach(path); err == nil && old.Process == 0 {
		return nil, fmt.Errorf("%s holds a login to %s, which --dev would replace: move it away, or use --edge with the address above", path, old.Edge)
	}
	key, _ := e.AdminKey()
	r := &reach{Edge: e.ControlAddr(), CA: string(e.CA()), Key: key, Process: os.Getpid(), Local: true}
	if err := r.write(path); err != nil {
		return nil, err
	}
	return func() {
		if now, err := readReach(path); err == nil && now.Process == r.Process { // lrok login may have replaced it
			_ = os.Remove(path)
		}
	}, nil
}

// second is closed by a second signal, which ends the wait for requests.
func second(ctx context.Context) <-chan struct{} {
	force := make(chan struct{})
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		close(force)
	})
	return force
}

// serverLogger logs text to a terminal and JSON to everything else.
func (o *options) serverLogger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if o.verbose {
		opts.Level = slog.LevelDebug
	}
	if o.logsToTerminal() {
		return slog.New(slog.NewTextHandler(o.stderr, opts))
	}
	return slog.New(slog.NewJSONHandler(o.stderr, opts))
}

func (o *options) logsToTerminal() bool {
	f, ok := o.stderr.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
			continue
		}
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, usage("%q is neither an address nor a network like 10.0.0.0/8", s)
		}
		out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
	}
	return out, nil
}

var errSize = errors.New("a size is a number with KiB, MiB or GiB behind it")

// parseSize reads "1MiB", "512k", "100".
func parseSize(s string) (int64, error) {
	num := strings.TrimRight(s, "KMGkmgiIbB ")
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 {
		return 0, errSize
	}
	switch strings.ToLower(strings.TrimSpace(s[len(num):])) {
	case "", "b":
	case "k", "kb", "kib":
		n <<= 10
	case "m", "mb", "mib":
		n <<= 20
	case "g", "gb", "gib":
		n <<= 30
	default:
		return 0, errSize
	}
	return n, nil
}

// ownEdge runs an edge inside this process, on loopback, for people who have
// none. The returned function stops it.
func (o *options) ownEdge(ctx context.Context, log *slog.Logger) (*edge.Edge, *reach, func(), error) {
	base, err := dataDir()
	if err != nil {
		base = os.TempDir()
	}
	c := edge.Config{
		Domain: "localhost", Control: "127.0.0.1:0", HTTP: ownHTTP, Lone: true,
		DataDir: filepath.Join(base, "local"), Software: software(), Logger: log, DrainTimeout: 2 * time.Second,
	}
	start := func() (*edge.Edge, error) {
		e, err := edge.New(c)
		if err != nil {
			return nil, err
		}
		return e, e.Listen()
	}
	e, err := start()
	clean := func() {}
	if errors.As(err, new(*fs.PathError)) { // no home, or one that cannot be written
		if c.DataDir, err = os.MkdirTemp("", "lrok-"); err != nil {
			return nil, nil, nil, fmt.Errorf("make a place for the edge's key: %w", err)
		}
		clean = func() { _ = os.RemoveAll(c.DataDir) }
		e, err = start()
	}
	if err != nil { // the usual port is taken, perhaps by another lrok
		c.HTTP = "127.0.0.1:0"
		if e, err = start(); err != nil {
			clean()
			return nil, nil, nil, err
		}
	}
	r, hide, err := announce(e, true)
	if err != nil {
		log.Warn("other commands will not find this edge", "err", err)
		hide = func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx, nil); err != nil {
			log.Error("edge", "err", err)
		}
	}()
	return e, r, func() { hide(); cancel(); <-done; clean() }, nil
}

// ownHTTP is where the edge inside a lrok listens when it can, so that a
// tunnel's URL is the same each time.
const ownHTTP = "127.0.0.1:5765"
