package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lrok-dev/lrok/edge"
	"github.com/lrok-dev/lrok/tunnel"
)

// serveFlags are the settings of an edge as they were given. Each is a flag, a
// variable and a line of the edge's configuration file.
type serveFlags struct {
	c   edge.Config
	dev bool

	proxies                                  []string
	tcpPorts                                 string
	captureBody, captureTunnel, captureTotal string
	analytics                                string
	bulk                                     int
}

func newServe(o *options) *cobra.Command {
	s := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an edge: the public side of tunnels",
		Long: `Run an edge: the public side of tunnels, on one machine and in one process.

Requests for <name>.<domain> go to the tunnel of that name; agents connect to the
control port; the API is on api.<domain>. The first start makes the first user and
the key that agents need, in admin.key in the data directory: until it is used the
start shows it on a terminal, and says only where it is when that goes into a log.

Certificates come from Traefik's acme.json, from PEM files or from a directory of
them, and are read again when they change; without any, a development CA of the
edge's own is used, which agents are given with --edge-ca.

SIGTERM ends it in order: requests in flight finish. SIGHUP reads certificates and
limits again, and logs what was changed and what takes a restart.

Settings may also be in /etc/lrok/edge.yaml (tcp_ports: 30000-30099) or in the
environment (LROK_TCP_PORTS).`,
		Example: `  lrok serve --dev
  lrok serve --domain lrok.example.com --https :443 --tls-dir /etc/lrok/tls
  lrok serve --domain lrok.example.com --public-url https --trusted-proxies 127.0.0.1 --acme-json /var/lib/traefik/acme.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.dev {
				developer(cmd, &s.c)
			}
			if err := checkNumbers(cmd, o.origins); err != nil {
				return err
			}
			c, err := s.config()
			if err != nil {
				return err
			}
			if c.DataDir == "" {
				if c.DataDir, err = dataDir(); err != nil {
					return err
				}
			}
			if c.Analytics.Key, err = secret("LROK_POSTHOG_KEY"); err != nil {
				return err
			}
			c.Software = software()
			c.Logger = o.serverLogger()
			analytics, running := c.Analytics.Key, settingsOf(cmd)
			again := func(apply func(edge.Limits)) error {
				origins, err := reapply(cmd, o.origins)
				if err != nil {
					return err
				}
				if err := checkNumbers(cmd, origins); err != nil {
					return err
				}
				if s.dev {
					developer(cmd, &s.c)
				}
				now, err := s.config()
				if err != nil {
					return err
				}
				now.Analytics.Key = analytics
				if err := now.Check(); err != nil {
					return err
				}
				apply(now.Limits)
				running.take(settingsOf(cmd), c.Logger)
				return nil
			}
			return o.serve(cmd.Context(), c, s.dev, again)
		},
	}
	s.register(cmd.Flags())
	return cmd
}

func (s *serveFlags) register(f *pflag.FlagSet) {
	c, l := &s.c, &s.c.Limits
	f.BoolVar(&s.dev, "dev", false, "for trying out: loopback only, and this machine's lrok is logged in")
	f.StringVar(&c.Domain, "domain", "localhost", "tunnels are <name>.<domain>, the API api.<domain>")
	f.StringVar(&c.PublicURL, "public-url", "", "what the public side uses when a proxy stands in front: https, or https://*.<domain>:8443")
	f.StringVar(&c.HTTP, "http", ":8080", "public HTTP; empty for none")
	f.StringVar(&c.HTTPS, "https", "", "public HTTPS, with HTTP/2, ended here, and TLS passed through to tunnels of lrok tls")
	f.StringVar(&c.Control, "control", ":7000", "where agents connect")
	f.StringVar(&s.tcpPorts, "tcp-ports", "30000-30099", "ports of TCP tunnels; empty for none")
	f.StringVar(&c.TCPHost, "tcp-host", "", "the address that TCP tunnels are listened on; empty for every one")
	f.StringVar(&c.Internal, "internal", "127.0.0.1:7080", "health, readiness, metrics, Traefik's document; empty for none")
	f.StringVar(&c.AcmeJSON, "acme-json", "", "Traefik's acme.json, whose certificates are used")
	f.StringVar(&c.TLSCert, "tls-cert", "", "certificate chain in PEM, for control port and HTTPS")
	f.StringVar(&c.TLSKey, "tls-key", "", "private key in PEM")
	f.StringVar(&c.TLSDir, "tls-dir", "", "a directory with certificates and keys in PEM, as certbot, lego, Caddy and mkcert keep them")
	f.StringVar(&c.DataDir, "data-dir", "", "users, keys, names and the development CA (default: XDG data directory)")
	f.StringSliceVar(&s.proxies, "trusted-proxies", nil, "addresses or networks whose X-Forwarded-* and PROXY protocol are believed")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 30*time.Second, "how long requests in flight may take after SIGTERM")
	f.DurationVar(&c.HelloTimeout, "hello-timeout", tunnel.HelloTimeout, "how long an agent may take to say who it is")
	f.DurationVar(&c.HeaderTimeout, "header-timeout", 10*time.Second, "how long a request's head may take once it has begun")
	f.DurationVar(&c.IdleTimeout, "idle-timeout", 2*time.Minute, "how long a connection may wait for its next request")
	f.DurationVar(&c.BodyTimeout, "body-timeout", 5*time.Minute, "how long a request may stand still in both directions")
	f.StringSliceVar(&c.Admins, "admin-user-ids", nil, "the users who may administer (default: the first one)")
	f.StringVar(&c.Resolver, "resolver", "", "the DNS server that custom domains are looked up at, HOST:PORT (default: the system's)")
	f.DurationVar(&c.DomainGrace, "domain-grace", 72*time.Hour, "how long a custom domain is served after its proof has gone from the DNS")
	f.StringVar(&c.Traefik.Service, "traefik-service", "", "the URL under which Traefik reaches --http: makes http://<internal>/traefik.json a document for its HTTP provider")
	f.StringVar(&c.Traefik.Passthrough, "traefik-passthrough", "", "HOST:PORT at which Traefik reaches --https: it passes the TLS of custom domains through once there is a certificate")
	f.StringVar(&c.Traefik.EntryPoint, "traefik-entrypoint", "websecure", "Traefik's entry point for custom domains")
	f.StringVar(&c.Traefik.CertResolver, "traefik-resolver", "letsencrypt", "Traefik's certificate resolver for custom domains")

	f.StringVar(&s.captureBody, "capture-body", "1MiB", "how much of each body is kept, 16MiB at most; of a stream half of it is for what came last")
	f.StringVar(&s.captureTunnel, "capture-tunnel", "32MiB", "how much memory a tunnel's captures may take")
	f.StringVar(&s.captureTotal, "capture-total", "512MiB", "how much memory all captures may take")
	f.IntVar(&l.Streams, "max-streams", 2048, "streams open at once in one agent's session")
	f.IntVar(&s.bulk, "bulk-connections", tunnel.DefaultBulk, "further connections of an agent, for what moves much; 0 for none")
	f.IntVar(&l.EdgeStreams, "max-edge-streams", 100_000, "streams open at once in all agents' sessions")
	f.IntVar(&l.Tunnels, "max-tunnels", 16, "tunnels in one agent's session")
	f.IntVar(&l.UserTunnels, "max-user-tunnels", 0, "tunnels of one user; 0 for no limit")
	f.IntVar(&l.Reservations, "max-reservations", 25, "reserved names of one user")
	f.IntVar(&l.Domains, "max-domains", 20, "custom domains of one user")
	f.IntVar(&l.Agents, "max-agents", 10_000, "agents connected at once")
	f.IntVar(&l.Strangers, "max-strangers", 2048, "connections to the control port whose key is not yet accepted")
	f.IntVar(&l.StrangersPer, "max-strangers-per-address", 256, "of these from one address")
	f.IntVar(&l.Header, "max-header", 64<<10, "bytes of a request's head")
	f.IntVar(&l.Conns, "max-connections", 20_000, "public connections open at once")
	f.IntVar(&l.ConnsPer, "max-connections-per-address", 1024, "of these from one address")
	f.IntVar(&l.TCPPer, "max-tcp-per-address", 64, "connections to TCP tunnels from one address")
	f.IntVar(&l.TCPTunnel, "max-tcp-per-tunnel", 1024, "connections to one TCP or TLS tunnel")
	f.IntVar(&l.Concurrent, "max-concurrent", 256, "requests at once on one HTTP/2 connection")

	f.StringVar(&s.analytics, "analytics", "off", "on sends anonymous events to the PostHog project of LROK_POSTHOG_KEY; without both nothing is ever sent")
	f.StringVar(&c.Analytics.Host, "posthog-host", "", "where PostHog is, when it is your own")
	f.BoolVar(&c.Pprof, "pprof", false, "serve Go's profiles on the internal address")
}

// config is what the flags say, as far as it can be said without touching
// anything.
func (s *serveFlags) config() (edge.Config, error) {
	c := s.c
	var err error
	if c.TrustedProxies, err = parsePrefixes(s.proxies); err != nil {
		return c, usage("--trusted-proxies: %w", err)
	}
	if c.TCPPorts, err = parsePorts(s.tcpPorts); err != nil {
		return c, err
	}
	switch s.analytics {
	case "on":
		c.Analytics.On = true
	case "off", "":
	default:
		return c, usage("--analytics is on or off, not %q", s.analytics)
	}
	for _, size := range []struct {
		flag, text string
		to         *int64
	}{
		{"capture-body", s.captureBody, &c.CaptureBody},
		{"capture-tunnel", s.captureTunnel, &c.Limits.CaptureTunnel},
		{"capture-total", s.captureTotal, &c.Limits.CaptureEdge},
	} {
		if *size.to, err = parseSize(size.text); err != nil {
			return c, usage("--%s: %w", size.flag, err)
		}
	}
	if c.Bulk = s.bulk; c.Bulk == 0 {
		c.Bulk = -1
	}
	return c, nil
}

// secret is the value of a variable, or of the file that the variable with
// _FILE behind its name points to.
func secret(variable string) (string, error) {
	if v := os.Getenv(variable); v != "" {
		return strings.TrimSpace(v), nil
	}
	path := os.Getenv(variable + "_FILE")
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", usage("%s_FILE: %w", variable, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return "", usage("%s_FILE: %w", variable, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// reapply reads environment and configuration file once more, for a process
// that was told to. What the command line says stays.
func reapply(cmd *cobra.Command, origins map[string]origin) (map[string]origin, error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if strings.HasPrefix(origins[f.Name].from, "--") {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			_ = list.Replace(nil)
		} else {
			_ = f.Value.Set(f.DefValue)
		}
		f.Changed = false
	})
	return applySettings(cmd)
}

// parsePorts reads "30000-30099", one port, or nothing.
func parsePorts(s string) ([2]int, error) {
	if s = strings.TrimSpace(s); s == "" {
		return [2]int{}, nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.Atoi(strings.TrimSpace(from))
	last, err2 := strconv.Atoi(strings.TrimSpace(to))
	if err1 != nil || err2 != nil {
		return [2]int{}, usage("--tcp-ports is a range like 30000-30099, not %q", s)
	}
	return [2]int{first, last}, nil
}

// developer makes an edge that only this machine reaches. Addresses that were
// asked for stay.
func developer(cmd *cobra.Command, c *edge.Config) {
	for _, l := range []struct {
		flag, addr string
		to         *string
	}{{"http", "127.0.0.1:8080", &c.HTTP}, {"control", "127.0.0.1:7000", &c.Control}, {"tcp-host", "127.0.0.1", &c.TCPHost}} {
		if !cmd.Flags().Changed(l.flag) {
			*l.to = l.addr
		}
	}
}

// serve runs an edge until ctx ends. On SIGHUP it reads certificates again, and
// settings, of which again applies the limits.
func (o *options) serve(ctx context.Context, c edge.Config, dev bool, again func(apply func(edge.Limits)) error) error {
	// The process manager is told not to try again what is a mistake in a setting,
	// and that only: a disk has room again, and a lock goes.
	if err := c.Check(); err != nil {
		return usage("%w", err)
	}
	systemd := newNotifier()
	c.Ready = func() {
		if err := systemd.ready(); err != nil {
			c.Logger.Warn("tell systemd that the edge is ready", "err", err)
		}
	}
	e, err := edge.New(c)
	if err != nil {
		return err
	}
	if err := e.Listen(); err != nil {
		return err
	}
	hide, err := writeRunning(c.DataDir, e)
	if err != nil {
		e.Close()
		return err
	}
	defer hide()
	if dev {
		forget, err := logInLocally(e)
		if err != nil {
			e.Close()
			return err
		}
		defer forget()
	}
	o.announceEdge(c, e, dev)
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	defer close(ended)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	wg.Go(func() {
		for {
			select {
			case <-hangups:
			case <-ended:
				return
			}
			_ = systemd.reloading() // nobody may listen
			e.Reload()
			if err := again(e.SetLimits); err != nil {
				c.Logger.Error("read the settings again; the old limits stay", "err", err)
			} else {
				c.Logger.Info("limits read again")
			}
			_ = systemd.ready()
		}
	})
	defer context.AfterFunc(ctx, func() { _ = systemd.stopping() })()
	return e.Run(ctx, second(ctx))
}

// announceEdge says on standard error what runs and where.
func (o *options) announceEdge(c edge.Config, e *edge.Edge, dev bool) {
	say := func(format string, a ...any) { _, _ = fmt.Fprintf(o.stderr, format+"\n", a...) }
	say("lrok %s: edge for *.%s", versionName(), c.Domain)
	tcp := ""
	if c.TCPPorts[0] != 0 {
		tcp = fmt.Sprintf("%s:%d-%d", e.TCPHost(), c.TCPPorts[0], c.TCPPorts[1])
	}
	for _, l := range []struct{ what, addr string }{
		{"public HTTP", e.HTTPAddr()},
		{"public HTTPS", e.HTTPSAddr()},
		{"TCP tunnels", tcp},
		{"agents", e.ControlAddr()},
		{"health", e.InternalAddr()},
		{"data", c.DataDir},
	} {
		if l.addr != "" {
			say("  %-13s %s", l.what, l.addr)
		}
	}
	if e.Fingerprint() != "" {
		say("  %-13s a development CA of its own, which only this edge's agents should trust", "certificate")
		say("  %-13s %s", "", filepath.Join(c.DataDir, "ca.pem"))
		say("  %-13s SHA-256 %s", "", e.Fingerprint())
	}
	if names := e.Uncovered(); len(names) > 0 {
		say("\nNo certificate covers %s yet: TLS to it fails until one does.", strings.Join(names, ", "))
	}
	key, unused := e.AdminKey()
	if unused && o.logsToTerminal() {
		say("\nThe first key, shown until it is used and kept in %s:\n\n  %s", filepath.Join(c.DataDir, "admin.key"), key)
	} else if unused { // a log is no place for a key
		say("\nThe first key, which nobody has used yet: %s", filepath.Join(c.DataDir, "admin.key"))
	}
	if dev {
		say("\nThis machine is logged in while the edge runs. Open a tunnel:\n\n  lrok http 3000\n")
		return
	}
	ca := ""
	if e.Fingerprint() != "" {
		ca = " --edge-ca ca.pem"
	}
	say("\nOpen a tunnel from anywhere:\n\n  LROK_API_KEY=… lrok http 3000 --edge %s%s\n", controlHost(c, e), ca)
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
	opts.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String()) // 30s, as in text, instead of nanoseconds
		}
		return a
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

// captureFlag is for commands that may run an edge inside this process.
func (o *options) captureFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.captureBody, "capture-body", "1MiB", "how much of each body is kept, 16MiB at most, where the edge is inside this lrok; any other edge has its own limit")
}

// captureElsewhere refuses a limit given in this call that would mean nothing: the
// edge at r keeps what it was told to. In environment or file it is for the tunnels
// without one.
func (o *options) captureElsewhere(r *reach) error {
	if o.origins["capture-body"].from != "--capture-body" {
		return nil
	}
	return usageError{&tunnel.Error{
		Code: tunnel.CodeInvalid, Message: "how much of each body is kept is up to the edge at " + r.Edge,
		Hint: "leave --capture-body out here, and give it to lrok serve there",
	}}
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
		TCPPorts: [2]int{30000, 30099}, TCPHost: "127.0.0.1",
		Limits:  edge.Limits{Conns: 1000}, // one laptop's, whatever its limit on open files
		DataDir: filepath.Join(base, "local"), Software: software(), Logger: log, DrainTimeout: 2 * time.Second,
	}
	if o.captureBody != "" {
		if c.CaptureBody, err = parseSize(o.captureBody); err != nil {
			return nil, nil, nil, usage("%s: %w", o.settingAt("capture-body"), err)
		}
		c.Limits.CaptureTunnel = max(32<<20, 8*c.CaptureBody) // or two bodies would be all it keeps
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
