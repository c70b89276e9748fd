package main

import (
	"context"
	"errors"
	"fmt"

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

// inspect shows the screen for t, or for the list of tunnels when it has no
// name.
func (o *options) inspect(ctx context.Context, api *client.Client, r *reach, ts ...client.Tunnel) error {
	c := o.screenOf(api, r)
	own := starter{o: o, r: r}
	defer own.end()
	if len(ts) == 0 {
		c.Start = own.start
	}
	for _, t := range ts {
		c.Tunnels = append(c.Tunnels, tui.Tunnel{Kind: t.Kind, Name: t.Subdomain, URL: t.PublicURL, Direct: t.DirectURL, Local: t.Local})
	}
	sum, err := tui.Run(ctx, c)
	if err != nil {
		return unreachable(r, err)
	}
	o.farewell(sum, r, own.has(sum.Tunnels), commandLine())
	return nil
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
