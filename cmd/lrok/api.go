package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
)

// withAPI calls fn with a client of the edge's API.
func (o *options) withAPI(cmd *cobra.Command, fn func(context.Context, *client.Client) error) error {
	api, done, err := o.api(cmd.Context(), "")
	if err != nil {
		return unfinished(cmd.Context(), err)
	}
	defer done()
	return unfinished(cmd.Context(), fn(cmd.Context(), api))
}

// done says that something was done, in words or as JSON.
func (o *options) done(v any, words string, a ...any) error {
	if o.json {
		return printJSON(o.stdout, v)
	}
	_, err := fmt.Fprintln(o.stdout, format.Sanitize(fmt.Sprintf(words, a...)))
	return err
}

// complete asks the edge for the words that may come next. It never complains:
// what cannot be completed is typed.
func (o *options) complete(cmd *cobra.Command, args []string, words func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	o.stdin, o.stdout, o.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	var err error
	if o.origins, err = applySettings(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	api, done, err := o.api(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer done()
	out, err := words(ctx, api)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeTunnels completes the names of live tunnels.
func (o *options) completeTunnels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(cmd, args, func(ctx context.Context, api *client.Client) ([]string, error) {
		ts, err := api.Tunnels(ctx)
		var out []string
		for _, t := range ts {
			out = append(out, t.Subdomain+"\t"+t.Local)
		}
		return out, err
	})
}
