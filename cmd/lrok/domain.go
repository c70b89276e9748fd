package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

func newDomain(o *options) *cobra.Command {
	return group("domain", "Serve tunnels on domains of your own", `Serve tunnels on domains of your own.

lrok domain add shows two DNS records to set: a CNAME that brings callers to the
edge, and a TXT record that proves whose the domain is. Once lrok domain verify has
found both, lrok http --domain HOST serves on it. The proof is looked at again each
day; one that is gone is told here and in lrok status, with the day on which the
domain stops to be served.`,
		newDomainAdd(o), newDomainVerify(o), newDomainList(o), newDomainRemove(o))
}

func newDomainAdd(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "add <host>",
		Short:             "Ask for a domain, and show the DNS records to set",
		Example:           "  lrok domain add hooks.example.org\n  lrok domain add hooks.example.org --json | jq '.records'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				d, err := api.AddDomain(ctx, args[0])
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(o.stdout, d)
				}
				if err := o.showRecords(d); err != nil {
					return err
				}
				_, _ = fmt.Fprintf(o.stderr, "\nset these at the DNS of the domain, then: lrok domain verify %s --wait\n", format.Sanitize(d.Domain))
				return nil
			})
		},
	}
}

// showRecords prints what has to be in the DNS, so that it can be copied: on a
// terminal that is too narrow each part has a line of its own.
func (o *options) showRecords(d client.Domain) error {
	t := o.table("TYPE", "NAME", "VALUE", "?FOUND")
	width := 0
	for _, r := range d.Records {
		found := dash(r.Found)
		if r.OK {
			found = "ok"
		}
		t.row(r.Type, r.Name, r.Value, found)
		width = max(width, len("CNAME  ")+len(r.Name)+len("  ")+len(r.Value))
	}
	if t.most == 0 || width <= t.most {
		return t.write(o.stdout)
	}
	for _, row := range t.rows {
		if _, err := fmt.Fprintf(o.stdout, "%s\n  name   %s\n  value  %s\n  found  %s\n", row[0], format.Sanitize(row[1]), format.Sanitize(row[2]), format.Sanitize(row[3])); err != nil {
			return err
		}
	}
	return nil
}

// verifyEvery is how often the DNS is looked at for somebody who waits.
const verifyEvery = 5 * time.Second

func newDomainVerify(o *options) *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "verify <host>",
		Short: "Look for the DNS records; exit 0 when the domain is verified",
		Example: `  lrok domain verify hooks.example.org
  lrok domain verify hooks.example.org --wait --timeout 30m`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeDomains,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				end := time.Now().Add(timeout)
				last := ""
				for {
					d, err := api.VerifyDomain(ctx, args[0])
					if err == nil && d.State == stateVerified {
						return o.done(d, "%s is verified; serve on it: lrok http 3000 --domain %s", d.Domain, d.Domain)
					}
					// The edge looks each domain up so often and not more.
					busy := isCode(err, tunnel.CodeLimit) || isCode(err, tunnel.CodeUnavailable)
					if err != nil && (!wait || !busy) {
						return err
					}
					if !wait || time.Now().After(end) {
						return o.notVerified(d)
					}
					if err == nil && d.Problem != last {
						last = d.Problem
						_, _ = fmt.Fprintf(o.stderr, "waiting: %s\n", format.Sanitize(last))
					}
					if !sleep(ctx, verifyEvery) {
						return ctx.Err()
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "look again until the records are there")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait")
	onlyFlags(cmd, "wait", "timeout")
	return cmd
}

// The states of a domain, as the API names them.
const (
	stateVerified = "verified"
	stateFailing  = "failing"
	stateLapsed   = "lapsed"
)

func isCode(err error, code string) bool {
	e := (*tunnel.Error)(nil)
	return errors.As(err, &e) && e.Code == code
}

func (o *options) notVerified(d client.Domain) error {
	if o.json {
		if err := printJSON(o.stdout, d); err != nil {
			return err
		}
	} else if err := o.showRecords(d); err != nil {
		return err
	}
	message := d.Domain + " is not verified"
	if d.Problem != "" {
		message += ": " + d.Problem
	}
	// Not CodeDomain: that is for a name that a tunnel cannot have.
	return &tunnel.Error{Code: "not_verified_yet", Message: message, Hint: "set the records, and give the DNS some minutes: lrok domain verify " + d.Domain + " --wait"}
}

func newDomainList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your domains, and what is wrong with them",
		Example: "  lrok domain list\n  lrok domain list --json | jq -r '.[] | select(.state==\"failing\").domain'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				ds, err := api.Domains(ctx)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(o.stdout, ds)
				}
				if len(ds) == 0 {
					_, err = fmt.Fprintln(o.stdout, "no domain of yours is known; add one: lrok domain add HOST")
					return err
				}
				t := o.table("DOMAIN", "STATE", "?CHECKED", "PROBLEM")
				for _, d := range ds {
					t.row(d.Domain, domainState(d), when(d.CheckedAt), dash(d.Problem))
				}
				return t.write(o.stdout)
			})
		},
	}
}

// domainState says how a domain is, and when that ends.
func domainState(d client.Domain) string {
	if d.State == stateFailing && d.GraceEnds != nil {
		return "failing, ends " + when(d.GraceEnds)
	}
	return d.State
}

func newDomainRemove(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "rm <host>",
		Aliases:           []string{"remove", "delete"},
		Short:             "Let go of a domain; a tunnel on it ends",
		Example:           "  lrok domain rm hooks.example.org",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeDomains,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.sure(cmd.Context(), yes, fmt.Sprintf("Let go of %s? A tunnel on it ends.", args[0])); err != nil {
				return err
			}
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				if err := api.RemoveDomain(ctx, args[0]); err != nil {
					return err
				}
				return o.done(map[string]any{"domain": args[0], "deleted": true}, "%s is not served here any more; its DNS records can go", args[0])
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	onlyFlags(cmd, "yes")
	return cmd
}

// completeDomains completes the user's domains, as an argument or as the value
// of a flag.
func (o *options) completeDomains(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.HasParent() && cmd.Parent().Name() != "domain" {
		args = nil // the value of a flag
	}
	return o.complete(cmd, args, func(ctx context.Context, api *client.Client) ([]string, error) {
		ds, err := api.Domains(ctx)
		var out []string
		for _, d := range ds {
			out = append(out, d.Domain+"\t"+d.State)
		}
		return out, err
	})
}
