package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
)

func newReserve(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "reserve <name>",
		Short:             "Reserve a name: nobody else gets it, online or not",
		Example:           "  lrok reserve shop-dev\n  lrok http 3000 --hint shop-dev",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeTunnels,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				r, err := api.Reserve(ctx, args[0])
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(o.stdout, r)
				}
				_, err = fmt.Fprintf(o.stdout, "%s is reserved for you; use it: lrok http 3000 --hint %s\n", r.Subdomain, r.Subdomain)
				return err
			})
		},
	}
}

func newReservations(o *options) *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the names that are reserved for you",
		Example: "  lrok reservations list\n  lrok reservations list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				rs, err := api.Reservations(ctx)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(o.stdout, rs)
				}
				if len(rs) == 0 {
					_, err = fmt.Fprintln(o.stdout, "no name is reserved for you; reserve one: lrok reserve NAME")
					return err
				}
				t := o.table("NAME", "RESERVED")
				for _, r := range rs {
					t.row(r.Subdomain, when(&r.CreatedAt))
				}
				return t.write(o.stdout)
			})
		},
	}
	del := &cobra.Command{
		Use:               "delete <name>",
		Aliases:           []string{"rm", "remove"},
		Short:             "Let go of a reserved name; a tunnel that has it goes on",
		Example:           "  lrok reservations delete shop-dev",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeReservations,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				if err := api.Unreserve(ctx, args[0]); err != nil {
					return err
				}
				return o.done(map[string]any{"subdomain": args[0], "deleted": true}, "%s is anybody's again", args[0])
			})
		},
	}
	return group("reservations", "List your reserved names, and let go of them", "", list, del)
}

func (o *options) completeReservations(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() != "delete" {
		args = nil // the value of a flag
	}
	return o.complete(cmd, args, func(ctx context.Context, api *client.Client) ([]string, error) {
		rs, err := api.Reservations(ctx)
		var out []string
		for _, r := range rs {
			out = append(out, r.Subdomain)
		}
		return out, err
	})
}
