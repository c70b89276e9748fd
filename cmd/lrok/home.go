package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

func newInspect(o *options) *cobra.Command {
	var tunnelName string
	cmd := &cobra.Command{
		Use:   "inspect [name]",
		Short: "Open the inspector on a tunnel that runs elsewhere",
		Example: `  lrok inspect
  lrok inspect shop-dev --edge tunnel.lrok.example.com`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeTunnels,
		RunE: func(cmd *cobra.Command, args []string) error {
			tunnelName, err := oneName(tunnelName, args)
			if err != nil {
				return err
			}
			r, err := o.reachOf(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			api, done, err := o.apiOf(cmd.Context(), r)
			if err != nil {
				return err
			}
			defer done()
			t, err := pickTunnel(cmd.Context(), api, tunnelName)
			if err != nil {
				return whichTunnel(cmd, args, err)
			}
			if !o.interactive() {
				return api.Stream(cmd.Context(), t.Subdomain, client.StreamOptions{}, o.lines(o.stdout).event)
			}
			return o.inspect(cmd.Context(), api, r, t)
		},
	}
	tunnelFlag(cmd, &tunnelName)
	return cmd
}

// inspect shows the screen for ts.
func (o *options) inspect(ctx context.Context, api *client.Client, r *reach, ts ...client.Tunnel) error {
	c := o.screenOf(api, r)
	for _, t := range ts {
		c.Tunnels = append(c.Tunnels, tui.Tunnel{Kind: t.Kind, Name: t.Subdomain, URL: t.PublicURL, Direct: t.DirectURL, Local: t.Local})
	}
	sum, err := o.show(ctx, c)
	if err != nil {
		return unreachable(r, err)
	}
	o.farewell(sum, r, capturesStay, commandLine())
	return nil
}

// home is bare lrok: the live tunnels of the key, wherever they run, and unless the
// person named an edge those of the edges inside other lroks of this machine.
func (o *options) home(ctx context.Context) error {
	r, err := o.findReach()
	if err != nil && !errors.Is(err, errNoEdge) {
		return err
	}
	if o.interactive() {
		return o.homeScreen(ctx, r)
	}
	if err != nil {
		if o.json {
			return err
		}
		_, err = fmt.Fprint(o.stdout, firstSteps)
		return err
	}
	var ts []client.Tunnel
	if !r.embedded() {
		if ts, err = o.tunnelsOf(ctx, r); err != nil {
			return err
		}
	}
	if r.embedded() || isLogin(r) {
		for _, r := range runningEdges() {
			if more, err := o.tunnelsOf(ctx, r); err == nil {
				ts = append(ts, more...)
			}
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
		passed := plural(int(t.Requests), "request")
		if t.Kind == tunnel.TCP || t.Kind == tunnel.TLS {
			passed = plural(int(t.Connections), "connection")
		}
		if _, err := fmt.Fprintf(o.stdout, "%s -> %s  %s, %s\n", format.Sanitize(t.PublicURL), format.Sanitize(t.Local), state, passed); err != nil {
			return err
		}
	}
	return nil
}

// homeScreen shows the list of tunnels. r is nil when no edge is known.
func (o *options) homeScreen(ctx context.Context, r *reach) error {
	quiet := *o
	quiet.stderr = io.Discard // a line on the terminal would ruin the screen
	near := neighbours{o: &quiet}
	defer near.close()
	own := starter{o: &quiet, near: &near}
	defer own.end()
	var c tui.Config
	if r == nil || r.embedded() {
		c = o.screenOf(nil, &reach{})
		c.Edges = near.find
	} else {
		api, done, err := quiet.apiOf(ctx, r)
		if err != nil {
			return err
		}
		defer done()
		c = o.screenOf(api, r)
		own.r = r
		if isLogin(r) {
			c.Edges = near.find
		}
	}
	c.Start = own.start
	sum, err := o.show(ctx, c)
	if err != nil {
		if r != nil {
			err = unreachable(r, err)
		}
		return err
	}
	if r == nil {
		r = &reach{Local: true}
	}
	captures := capturesStay
	if sum.Own > 0 && sum.Own == len(sum.Tunnels) {
		captures = capturesGone
	}
	o.farewell(sum, r, captures, commandLine())
	return nil
}

// neighbours are the edges inside other lroks of this machine, and the one inside
// this, as the screen reaches them.
type neighbours struct {
	o *options

	mu    sync.Mutex
	known map[string]*tui.Edge
	ends  []func()
}

// find returns the edges that there are now.
func (n *neighbours) find(ctx context.Context) []*tui.Edge {
	var out []*tui.Edge
	for _, r := range runningEdges() {
		if e, err := n.edge(ctx, r); err == nil {
			out = append(out, e)
		}
	}
	return out
}

// edge returns that of r, the same each time.
func (n *neighbours) edge(ctx context.Context, r *reach) (*tui.Edge, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := fmt.Sprintf("%s %d", r.Edge, r.Process)
	if e := n.known[id]; e != nil {
		return e, nil
	}
	api, done, err := n.o.apiOf(ctx, r)
	if err != nil {
		return nil, err
	}
	if n.known == nil {
		n.known = make(map[string]*tui.Edge)
	}
	e := &tui.Edge{ID: id, API: api, LocalOnly: r.Local}
	n.known[id], n.ends = e, append(n.ends, done)
	return e, nil
}

func (n *neighbours) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, end := range n.ends {
		end()
	}
	n.ends = nil
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
  lrok tcp 5432       give a port that is not HTTP a public one
  lrok login HOST     keep an edge and a key for all commands
  lrok serve          be the edge, on a server of your own
  lrok --help         all commands

No edge is known yet: lrok http starts one on this machine, and its URL works
here only. For a public URL log in to your edge: lrok login HOST.
`
