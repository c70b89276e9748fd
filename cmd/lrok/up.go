package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func newHTTP(o *options) *cobra.Command {
	u := &up{o: o, claim: tunnel.Claim{Kind: tunnel.HTTP}}
	cmd := &cobra.Command{
		Use:   "http <port | host:port | URL | unix:/path>",
		Short: "Give a local HTTP service a public URL and show every request",
		Long: `Give a local HTTP service a public URL and show every request.

The service is a port on this machine, host:port, an http:// or https:// URL, or
unix:/path. On a terminal the inspector opens; otherwise, or with --plain or
--json, the URL comes first on standard output and then a line for each request.`,
		Example: `  lrok http 3000
  lrok http 3000 --hint shop-dev --edge tunnel.lrok.example.com
  lrok http https://localhost:8443 --host-header rewrite
  lrok http 50051 --upstream-proto h2c
  lrok http 3000 --json | jq -r 'select(.type=="request").path'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if u.target, err = agent.ParseTarget(args[0]); err != nil {
				return usage("%w", err)
			}
			switch u.claim.UpstreamProto {
			case "h1", "h2c":
			default:
				return usage("--upstream-proto is h1 or h2c, not %q", u.claim.UpstreamProto)
			}
			u.claim.Local = u.target.String()
			u.claim.Project = project(args[0])
			return u.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&u.claim.Name, "hint", "", "the name to ask for; without it the edge chooses one that stays the same for this directory and port")
	f.StringVar(&u.claim.HostHeader, "host-header", "", "the Host the local service sees: rewrite (its own address) or a host; default: the public one")
	f.StringVar(&u.claim.UpstreamProto, "upstream-proto", "h1", "what the local service speaks: h1, or h2c for gRPC and HTTP/2 without TLS")
	f.BoolVar(&u.claim.Takeover, "takeover", false, "take the name from another lrok of yours")
	f.BoolVarP(&u.quiet, "quiet", "q", false, "no screen and no line for each request: the URL, and what happens to the connection")
	f.BoolVar(&u.claim.NoInspect, "no-inspect", false, "capture nothing")
	return cmd
}

// project names what a tunnel is for without telling the edge: the directory
// and the port, hashed. The edge makes the same name of it each time.
func project(target string) string {
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	sum := sha256.Sum256([]byte(dir + "\x00" + target))
	return hex.EncodeToString(sum[:12])
}

// up runs one tunnel with the screen, or lines, in front of it.
type up struct {
	o      *options
	claim  tunnel.Claim
	target agent.Target
	own    bool // on an edge of this process's own, whatever else is known
	quiet  bool

	// background runs beside the tunnel once it is live. With endsAlone the
	// tunnel ends when it returns.
	background func(ctx context.Context, url, direct string) error
	endsAlone  bool
}

func (u *up) run(ctx context.Context) error {
	o := u.o
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screen := o.interactive() && !u.quiet
	log := o.logger()
	if screen {
		log = slog.New(slog.DiscardHandler) // a line on the terminal would ruin the screen
	}

	r, err := o.findReach()
	if u.own || errors.Is(err, errNoEdge) || r != nil && r.Process != 0 && r.Local && r.from != "" && !isLogin(r) {
		// An edge inside another lrok ends with it: a tunnel wants its own.
		_, own, stop, err := o.ownEdge(ctx, log)
		if err != nil {
			return err
		}
		defer stop()
		r = own
	} else if err != nil {
		return err
	}
	config, err := r.tls()
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	var instance [16]byte
	_, _ = rand.Read(instance[:])
	a, err := agent.New(agent.Config{
		Edge: r.Edge, TLS: config, Key: r.Key, Instance: hex.EncodeToString(instance[:]),
		Host: host, Software: software(), Logger: log,
		Claims: []tunnel.Claim{u.claim}, Targets: []agent.Target{u.target},
		FirstTries: firstTries(screen),
	})
	if err != nil {
		return err
	}
	api := client.Over(a.DialAPI, r.Key)
	defer api.Close()

	// The agent outlives ctx by what it takes to close the tunnel.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	defer cancel()
	ended := make(chan error, 1)
	wg.Go(func() {
		ended <- a.Run(life)
		cancel()
	})
	if u.background != nil {
		wg.Go(func() {
			g, ok := u.live(ctx, a)
			if !ok {
				return
			}
			if err := u.background(ctx, g.URL, g.Direct); err != nil && ctx.Err() == nil {
				log.Error("demo", "err", err)
			}
			if u.endsAlone {
				u.settle(ctx, api, g.Name)
				cancel()
			}
		})
	}
	if screen {
		err = u.screen(ctx, a, api, r)
	} else {
		err = u.plain(ctx, a, api, r)
	}
	cancel()
	closed := closeTunnels(life, a, api)
	end()
	if aerr := <-ended; aerr != nil && !closed && !errors.Is(aerr, context.Canceled) {
		return unreachable(r, aerr)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// closeTunnels gives the names back and has the captures forgotten: the edge
// would keep both for a while, for an agent that lost its connection. It
// reports whether there was something to close.
func closeTunnels(ctx context.Context, a *agent.Agent, api *client.Client) bool {
	s := a.Status()
	if s.State != agent.Online {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, g := range s.Welcome.Grants {
		_ = api.CloseTunnel(ctx, g.Name) // the session ends with the last one, perhaps before the answer
	}
	return true
}

// firstTries is how often the first connection is tried. Somebody who watches
// can see what is wrong and end it; a script wants to know.
func firstTries(watched bool) int {
	if watched {
		return 0
	}
	return 3
}

func isLogin(r *reach) bool {
	path, err := loginPath()
	return err == nil && r.from == path
}

// live waits until the tunnel is.
func (u *up) live(ctx context.Context, a *agent.Agent) (tunnel.Grant, bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := a.Status(); s.State == agent.Online && len(s.Welcome.Grants) > 0 {
			return s.Welcome.Grants[0], true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return tunnel.Grant{}, false
		}
	}
}

// settle waits until every request that was sent has ended and been printed.
func (u *up) settle(ctx context.Context, api *client.Client, name string) {
	for range 100 {
		xs, err := api.Requests(ctx, name, client.Query{Filter: "is:inflight"})
		if err != nil || len(xs) == 0 {
			break
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
	sleep(ctx, 300*time.Millisecond) // the event stream is a few frames behind
}

// screen shows the inspector.
func (u *up) screen(ctx context.Context, a *agent.Agent, api *client.Client, r *reach) error {
	t := tui.Tunnel{Kind: tunnel.HTTP, Name: u.claim.Name, Local: u.claim.Local}
	sum, err := tui.Run(ctx, tui.Config{
		API: api, Agent: a, Tunnels: []tui.Tunnel{t}, LocalOnly: r.Local,
		SendTest: sendTest, Version: versionName(),
		Theme: os.Getenv("LROK_THEME"), ReduceMotion: os.Getenv("LROK_REDUCE_MOTION") != "",
	})
	if err != nil {
		return err
	}
	u.o.farewell(sum, r)
	return nil
}

// farewell is what stays on the terminal after the screen.
func (o *options) farewell(s tui.Summary, r *reach) {
	for _, t := range s.Tunnels {
		_, _ = fmt.Fprintf(o.stdout, "%s -> %s\n", t.URL, t.Local)
	}
	_, _ = fmt.Fprintf(o.stdout, "%s seen; captures were in memory and are gone with the tunnel\n", plural(s.Seen, "request"))
	if r != nil && r.Local {
		_, _ = fmt.Fprintln(o.stdout, "local only so far; for a public URL run lrok serve on a server, then lrok http <port> --edge HOST")
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// sendTest calls a tunnel from the public side.
func sendTest(ctx context.Context, t tui.Tunnel) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	addr := t.URL
	if t.Direct != "" {
		addr = t.Direct // needs no DNS
	}
	body := []byte(`{"hello":"from lrok","sent":"` + time.Now().UTC().Format(time.RFC3339) + `"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, addr+"/lrok-test", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = hostOf(t.URL)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", software())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send a test request: %w", err)
	}
	return res.Body.Close()
}

// plain prints the tunnel's life as lines: the URL and the requests on standard
// output, what happens to the connection on standard error. With --json all of
// it is NDJSON on standard output.
func (u *up) plain(ctx context.Context, a *agent.Agent, api *client.Client, r *reach) error {
	o := u.o
	var mu sync.Mutex // two goroutines print
	out := o.lines(o.stdout)
	out.mu = &mu
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
		cancel()
	}
	following := false
	last := newNotices(o, out, u.claim.Local)
	for {
		s := a.Status()
		if s.State == agent.Online && !following && len(s.Welcome.Grants) > 0 {
			following = true
			g := s.Welcome.Grants[0]
			if err := out.ready(g, u.claim.Local); err != nil {
				return err
			}
			if r.Local && !o.json {
				_, _ = fmt.Fprintf(o.stderr, "local only: this URL works on this machine%s\nfor a public URL run lrok serve on a server, then lrok http <port> --edge HOST\n", also(g.Direct))
			}
			if u.quiet {
				continue
			}
			wg.Go(func() {
				if err := api.Stream(ctx, g.Name, client.StreamOptions{}, out.event); err != nil && ctx.Err() == nil {
					fail(err)
				}
			})
		}
		if err := last.tell(s); err != nil {
			fail(err)
		}
		select {
		case <-a.Changed():
		case <-ctx.Done():
			select {
			case err := <-failed:
				return err
			default:
				return ctx.Err()
			}
		}
	}
}

func also(direct string) string {
	if direct == "" {
		return ""
	}
	return ", also as " + direct
}

// notices tells what happens to the connection, once each.
type notices struct {
	o     *options
	out   *lines
	local string
	state agent.State
	try   int
	gone  time.Time // when the connection was lost
	down  bool
}

func newNotices(o *options, out *lines, local string) *notices {
	return &notices{o: o, out: out, local: local}
}

func (n *notices) tell(s agent.Status) error {
	if s.State == agent.Reconnecting && (n.state != s.State || n.try != s.Attempt) {
		why := "the connection ended"
		if s.Err != nil {
			why = s.Err.Error()
		}
		if err := n.say("reconnecting", fmt.Sprintf("reconnecting, attempt %d: %s", s.Attempt, why), map[string]any{"attempt": s.Attempt, "error": why}); err != nil {
			return err
		}
	}
	if s.State == agent.Online && n.state == agent.Reconnecting {
		gone := time.Since(n.gone).Round(time.Second)
		if err := n.say("reconnected", fmt.Sprintf("online again after %s; requests in that time were not captured", gone), map[string]any{"seconds": gone.Seconds()}); err != nil {
			return err
		}
	}
	if s.State == agent.Reconnecting && n.state != s.State {
		n.gone = s.OfflineSince
	}
	n.state, n.try = s.State, s.Attempt
	down, why := false, ""
	for _, up := range s.Upstreams {
		if up.Down {
			down, why = true, up.Err
		}
	}
	if down != n.down {
		n.down = down
		if down {
			return n.say("upstream_down", fmt.Sprintf("%s does not answer: %s", n.local, why), map[string]any{"local": n.local, "error": why})
		}
		return n.say("upstream_up", n.local+" answers again", map[string]any{"local": n.local})
	}
	return nil
}

func (n *notices) say(kind, text string, fields map[string]any) error {
	if n.o.json {
		fields["v"], fields["type"] = 1, kind
		return n.out.encode(fields)
	}
	_, err := fmt.Fprintln(n.o.stderr, format.Sanitize(text))
	return err
}

func newInspect(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [name]",
		Short: "Open the inspector on a tunnel that runs elsewhere",
		Example: `  lrok inspect
  lrok inspect shop-dev --edge tunnel.lrok.example.com`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeTunnels,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := o.reachOf(cmd.Context(), arg(args, 0))
			if err != nil {
				return err
			}
			api, done, err := o.apiOf(cmd.Context(), r)
			if err != nil {
				return err
			}
			defer done()
			t, err := pickTunnel(cmd.Context(), api, arg(args, 0))
			if err != nil {
				return err
			}
			if !o.interactive() {
				return api.Stream(cmd.Context(), t.Subdomain, client.StreamOptions{}, o.lines(o.stdout).event)
			}
			return o.inspect(cmd.Context(), api, r, t)
		},
	}
}

// inspect shows the screen for t, or for the list of tunnels when it has no
// name.
func (o *options) inspect(ctx context.Context, api *client.Client, r *reach, ts ...client.Tunnel) error {
	c := tui.Config{
		API: api, LocalOnly: r.Local, SendTest: sendTest, Version: versionName(),
		Theme: os.Getenv("LROK_THEME"), ReduceMotion: os.Getenv("LROK_REDUCE_MOTION") != "",
	}
	for _, t := range ts {
		c.Tunnels = append(c.Tunnels, tui.Tunnel{Kind: t.Kind, Name: t.Subdomain, URL: t.PublicURL, Direct: t.DirectURL, Local: t.Local})
	}
	_, err := tui.Run(ctx, c)
	return err
}

// home is bare lrok: the key's live tunnels.
func (o *options) home(ctx context.Context) error {
	r, err := o.findReach()
	if errors.Is(err, errNoEdge) && !o.json {
		_, err = fmt.Fprint(o.stdout, firstSteps)
		return err
	}
	if err != nil {
		return err
	}
	api, done, err := o.apiOf(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	if o.interactive() {
		return o.inspect(ctx, api, r)
	}
	ts, err := api.Tunnels(ctx)
	if err != nil {
		return err
	}
	for _, other := range runningEdges() { // each lrok with an edge of its own
		if r.Process == 0 || isLogin(r) || other.Edge == r.Edge {
			continue
		}
		if more, err := o.tunnelsOf(ctx, other); err == nil {
			ts = append(ts, more...)
		}
	}
	if o.json {
		return printJSON(o.stdout, ts)
	}
	if len(ts) == 0 {
		_, err = fmt.Fprintln(o.stdout, "no tunnel of yours is live; start one: lrok http 3000")
		return err
	}
	for _, t := range ts {
		state := "online"
		if !t.Online {
			state = "away"
		}
		if _, err := fmt.Fprintf(o.stdout, "%s -> %s  %s, %s\n", format.Sanitize(t.PublicURL), format.Sanitize(t.Local), state, plural(int(t.Requests), "request")); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) tunnelsOf(ctx context.Context, r *reach) ([]client.Tunnel, error) {
	api, done, err := o.apiOf(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	return api.Tunnels(ctx)
}

const firstSteps = `lrok gives a local port a public URL and shows every request.

  lrok demo           try everything at once, with sample webhooks
  lrok http 3000      open a tunnel to port 3000 and inspect it
  lrok serve          be the edge, on a server of your own
  lrok --help         all commands

No edge is known yet: lrok http starts one on this machine, and its URL works
here only. For a public URL name your edge with --edge HOST.
`
