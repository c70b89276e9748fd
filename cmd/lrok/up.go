package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/internal/trim"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
	"github.com/lrok-dev/lrok/tunnel/agent"
)

func newHTTP(o *options) *cobra.Command {
	var t wish
	cmd := &cobra.Command{
		Use:   "http <port | host:port | URL | unix:/path>",
		Short: "Give a local HTTP service a public URL and show every request",
		Long: `Give a local HTTP service a public URL and show every request.

The service is a port on this machine, host:port, an http:// or https:// URL, or
unix:/path. localhost and every name below it, as in https://shop.localhost, are
this machine, whose certificates are not checked.

On a terminal the inspector opens; otherwise, or with --plain or --json, the URL
comes first on standard output and then a line for each request.

--basic-auth asks callers for a name and a password. The password comes from
LROK_BASIC_AUTH, LROK_BASIC_AUTH_FILE or --basic-auth-file, or is asked for on the
terminal; never from an argument, which every user of this machine could read.`,
		Example: `  lrok http 3000
  lrok http 3000 --hint shop-dev --edge tunnel.lrok.example.com
  lrok http 3000 --domain hooks.example.org
  lrok http 3000 --allow 203.0.113.0/24 --basic-auth ann --basic-auth-file pw
  lrok http https://localhost:8443 --host-header rewrite
  lrok http 50051 --upstream-proto h2c
  lrok http 3000 --json | jq -r 'select(.type=="request").path'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.claim.Kind = tunnel.HTTP
			if err := t.resolve(cmd.Context(), o, args[0]); err != nil {
				return err
			}
			return (&up{o: o, wishes: []wish{t}}).run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.claim.Name, "hint", "", "the name to ask for; without it the edge chooses one that stays the same for this directory and port")
	f.StringVar(&t.claim.Domain, "domain", "", "a verified domain of yours to serve on, instead of a name under the edge's domain")
	f.StringVar(&t.claim.HostHeader, "host-header", "", "the Host the local service sees: rewrite (its own address) or a host; default: the public one")
	f.StringVar(&t.claim.UpstreamProto, "upstream-proto", "h1", "what the local service speaks: h1, or h2c for gRPC and HTTP/2 without TLS")
	f.StringVar(&t.claim.BasicUser, "basic-auth", "", "ask callers for this user and a password")
	f.StringVar(&t.passwordFile, "basic-auth-file", "", "a file with the password for --basic-auth (or set LROK_BASIC_AUTH)")
	t.accessFlags(cmd)
	f.BoolVar(&t.claim.Takeover, "takeover", false, "take the name from another lrok of yours")
	f.BoolVarP(&t.quiet, "quiet", "q", false, "no screen and no line for each request: the URL, and what happens to the connection")
	f.BoolVar(&t.claim.NoInspect, "no-inspect", false, "capture nothing")
	o.handover.flags(cmd)
	o.captureFlag(cmd)
	onlyFlags(cmd, "domain")
	_ = cmd.RegisterFlagCompletionFunc("upstream-proto", cobra.FixedCompletions([]string{"h1", "h2c"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("hint", o.completeReservations)
	_ = cmd.RegisterFlagCompletionFunc("domain", o.completeDomains)
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

// up runs tunnels with the screen, or lines, in front of them.
type up struct {
	o      *options
	wishes []wish
	own    bool // on an edge of this process's own, whatever else is known

	// background runs beside the tunnel once it is live. With endsAlone the
	// tunnel ends when it returns.
	background func(ctx context.Context, url, direct string) error
	endsAlone  bool
}

func (u *up) run(ctx context.Context) error {
	o := u.o
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screen := o.interactive() && !slices.ContainsFunc(u.wishes, func(w wish) bool { return w.quiet })
	log := o.logger()
	pipe, err := o.handover.check()
	if err != nil {
		return err
	}
	if screen {
		log = slog.New(slog.DiscardHandler) // a line on the terminal would ruin the screen
	}

	mine := false // the edge is this process's own
	r, err := o.findReach()
	if u.own || errors.Is(err, errNoEdge) || r != nil && r.embedded() {
		if err := u.needsEdge(); err != nil {
			return err
		}
		// An edge inside another lrok ends with it: a tunnel wants its own.
		_, own, stop, err := o.ownEdge(ctx, log)
		if err != nil {
			return err
		}
		defer stop()
		r, mine = own, true
	} else if err != nil {
		return err
	} else if err := o.captureElsewhere(r); err != nil {
		return err
	}
	a, err := newAgent(r, u.wishes, log, screen)
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
	crash.Go(&wg, func() {
		ended <- a.Run(life)
		cancel()
	})
	crash.Go(&wg, func() {
		if sleep(ctx, 2*time.Second) { // long enough for the link and the first screen
			trim.Memory()
		}
	})
	told := make(chan error, 1)
	crash.Go(&wg, func() {
		forget, err := o.handover.tell(ctx, a, pipe)
		if err != nil {
			cancel()
		}
		told <- err
		<-ctx.Done()
		forget()
	})
	if u.background != nil {
		crash.Go(&wg, func() {
			s, ok := live(ctx, a)
			if !ok {
				return
			}
			g := s.Welcome.Grants[0]
			if err := u.background(ctx, g.URL, g.Direct); err != nil && ctx.Err() == nil {
				log.Error("demo", "err", err)
			}
			if u.endsAlone {
				u.settle(ctx, api, g.Name)
				cancel()
			}
		})
	}
	var shown *tui.Summary
	switch {
	case !screen:
		err = u.plain(ctx, a, api, r)
	case settled(ctx, a, o.stderr, r.Edge):
		shown, err = u.screen(ctx, a, api, r)
	}
	cancel()
	if terr := <-told; terr != nil {
		err = terr
	}
	over := a.Status().State == agent.Closed // by the edge, which knows then
	released := release(life, a)
	closed := released == nil
	if shown != nil {
		captures := capturesGone
		if e := (*tunnel.Error)(nil); errors.As(released, &e) && e.Code == tunnel.CodeAgentOffline && !over && !mine {
			captures = capturesLeft
		}
		o.farewell(*shown, r, captures, commandLine())
	}
	end()
	if aerr := <-ended; aerr != nil && !closed && !errors.Is(aerr, context.Canceled) {
		return unreachable(r, aerr)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// newAgent makes the agent for what is wished. Who watches it sees which tunnel of
// several fails, and why; a script wants all of them or to know.
func newAgent(r *reach, wishes []wish, log *slog.Logger, watched bool) (*agent.Agent, error) {
	config, err := r.tls()
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	var instance [16]byte
	_, _ = rand.Read(instance[:])
	c := agent.Config{
		Edge: r.Edge, TLS: config, Key: r.Key, Instance: hex.EncodeToString(instance[:]),
		Host: host, Software: software(), Logger: log, FirstTries: firstTries(watched), Partial: watched,
	}
	for _, w := range wishes {
		c.Claims, c.Targets = append(c.Claims, w.claim), append(c.Targets, w.target)
	}
	return agent.New(c)
}

// release gives the names back and has the captures forgotten: the edge would
// keep both for a while, for an agent that lost its connection. Without an error
// it has let go of them.
func release(ctx context.Context, a *agent.Agent) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return a.ReleaseAll(ctx)
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

// screen shows the inspector, and returns nothing when there is nothing to say of it.
func (u *up) screen(ctx context.Context, a *agent.Agent, api *client.Client, r *reach) (*tui.Summary, error) {
	var ts []tui.Tunnel
	for _, w := range u.wishes {
		ts = append(ts, tui.Tunnel{Kind: w.claim.Kind, Name: w.claim.Name, Local: w.claim.Local})
	}
	c := u.o.screenOf(api, r)
	c.Agent, c.Tunnels = a, ts
	sum, err := u.o.show(ctx, c)
	if err != nil {
		return nil, err
	}
	if never := !slices.ContainsFunc(sum.Tunnels, func(t tui.Tunnel) bool { return t.URL != "" }); never && a.Status().State == agent.Closed {
		return nil, nil // refused: why is all there is to say
	}
	return &sum, nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func isHTTP(t tui.Tunnel) bool { return t.Kind == "" || t.Kind == tunnel.HTTP }

// sendTest calls a tunnel from the public side.
func (r *reach) sendTest(ctx context.Context, t tui.Tunnel) error {
	if !isHTTP(t) {
		return fmt.Errorf("a test request is HTTP, and this tunnel carries %s", t.Kind)
	}
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
	if host := req.URL.Hostname(); req.URL.Scheme == "http" && strings.HasSuffix(host, ".localhost") {
		// Every such name is this machine (RFC 6761), which not every resolver knows.
		req.URL.Host = net.JoinHostPort("127.0.0.1", cmp.Or(req.URL.Port(), "80"))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", software())
	config := tlsTo(req.URL.Hostname())
	config.RootCAs = r.roots()
	c := http.Client{
		Transport: &http.Transport{DialContext: dial, TLSClientConfig: config, DisableKeepAlives: true, Proxy: func(req *http.Request) (*url.URL, error) {
			if tunnel.Loopback(req.URL.Hostname()) {
				return nil, nil
			}
			return http.ProxyFromEnvironment(req)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := c.Do(req)
	switch e := (*url.Error)(nil); {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in 30 seconds")
	case errors.As(err, &e):
		return e.Err // the screen says what failed, in a row that a URL would fill
	case err != nil:
		return err
	}
	return res.Body.Close()
}
