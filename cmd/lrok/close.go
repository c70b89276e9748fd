package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

func newClose(o *options) *cobra.Command {
	var tunnelName string
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "close <id>... | --all",
		Short: "Close open connections of a TCP or TLS tunnel, at both ends",
		Example: `  lrok close last
  lrok close '#12' '#13' --tunnel db
  lrok close --all --tunnel db`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage("say which connections: ids, numbers or last, or --all")
			}
			ctx := cmd.Context()
			api, done, err := o.api(ctx, tunnelName)
			if err != nil {
				return err
			}
			defer done()
			if all {
				t, err := pickTunnel(ctx, api, tunnelName)
				if err != nil {
					return whichTunnel(cmd, []string{"--all"}, err)
				}
				if t.Kind == tunnel.HTTP {
					return usage("%s is an HTTP tunnel: its requests end by themselves", t.Subdomain)
				}
				if err := o.sure(ctx, yes, fmt.Sprintf("Close all open connections of %s?", t.Subdomain)); err != nil {
					return err
				}
				n, err := api.CloseConnections(ctx, t.Subdomain)
				if err != nil {
					return err
				}
				return o.done(map[string]any{"closed": n}, "%s closed", plural(n, "connection"))
			}
			var xs []inspector.Exchange
			for _, ref := range args {
				x, err := findExchange(ctx, api, tunnelName, ref)
				switch {
				case err != nil:
					return whichTunnel(cmd, args, err)
				case x.Kind != inspector.TCP && x.Kind != inspector.TLS:
					return usage("%s is a request, which ends by itself", ref)
				}
				xs = append(xs, x)
			}
			for _, x := range xs {
				if err := api.CloseConnection(ctx, x.Tunnel, x.ID); err != nil {
					return fmt.Errorf("#%d: %w", x.Number, err)
				}
				if err := o.done(map[string]any{"id": x.ID, "number": x.Number, "tunnel": x.Tunnel, "closed": true}, "#%d from %s closed", x.Number, format.Sanitize(x.Remote)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	tunnelFlag(cmd, &tunnelName)
	cmd.Flags().BoolVar(&all, "all", false, "all that are open")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	onlyFlags(cmd, "all", "yes")
	return cmd
}
