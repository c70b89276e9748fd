package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/filter"
	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tunnel"
)

// tunnelFlag is how the commands that work on captures are told the tunnel.
func tunnelFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "tunnel", "", "the tunnel, when several are live: last and numbers mean its captures")
}

// whichTunnel completes what a command that ran without --tunnel says when
// there are several: the call that works.
func whichTunnel(cmd *cobra.Command, args []string, err error) error {
	var several *severalError
	if !errors.As(err, &several) {
		return err
	}
	call := cmd.CommandPath()
	for _, a := range args {
		if strings.ContainsAny(a, "# '\"") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		call += " " + a
	}
	such := several.live[0]
	for _, t := range several.live {
		if t.Kind == tunnel.HTTP { // of which there are requests to replay, compare and export
			such = t
			break
		}
	}
	return usageError{&tunnel.Error{
		Code: tunnel.CodeInvalid, Message: several.Error(),
		Hint: "say which: " + call + " --tunnel " + such.Subdomain,
	}}
}

// A severalError means that a tunnel has to be named.
type severalError struct{ live []client.Tunnel }

func (e *severalError) Error() string { return "several tunnels are live: " + names(e.live) }

// pickTunnel returns the tunnel called name, or the only one.
func pickTunnel(ctx context.Context, api *client.Client, name string) (client.Tunnel, error) {
	ts, err := api.Tunnels(ctx)
	if err != nil {
		return client.Tunnel{}, err
	}
	if name == "" {
		live := slices.DeleteFunc(slices.Clone(ts), func(t client.Tunnel) bool { return !t.Online })
		if len(live) == 0 {
			live = ts
		}
		switch len(live) {
		case 0:
			return client.Tunnel{}, &tunnel.Error{Code: tunnel.CodeTunnelNotFound, Message: "no tunnel of yours is live", Hint: "start one: lrok http 3000"}
		case 1:
			return live[0], nil
		}
		return client.Tunnel{}, usageError{&severalError{live}}
	}
	for _, t := range ts {
		if t.Subdomain == name {
			return t, nil
		}
	}
	e := &tunnel.Error{Code: tunnel.CodeTunnelNotFound, Message: fmt.Sprintf("no tunnel of yours is called %q", name)}
	if len(ts) > 0 {
		e.Hint = "yours: " + names(ts)
	}
	return client.Tunnel{}, e
}

// pickTunnels returns the tunnel called name, or all that are live.
func pickTunnels(ctx context.Context, api *client.Client, name string) ([]client.Tunnel, error) {
	t, err := pickTunnel(ctx, api, name)
	if several := (*severalError)(nil); errors.As(err, &several) {
		return several.live, nil
	}
	return []client.Tunnel{t}, err
}

func names(ts []client.Tunnel) string {
	var out []string
	for _, t := range ts {
		out = append(out, t.Subdomain)
	}
	return strings.Join(out, ", ")
}

// findExchange resolves what a person calls a capture: an id, a number as the
// screen shows it (#1279), or "last".
func findExchange(ctx context.Context, api *client.Client, tunnelName, ref string) (inspector.Exchange, error) {
	if strings.HasPrefix(ref, "req_") {
		return api.Exchange(ctx, ref)
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(ref, "#"), 10, 64)
	if ref != "last" && err != nil {
		return inspector.Exchange{}, usage("%q is no capture: say an id (req_…), a number (#1279) or last", ref)
	}
	t, err := pickTunnel(ctx, api, tunnelName)
	if err != nil {
		return inspector.Exchange{}, err
	}
	q := client.Query{Limit: 1}
	if ref != "last" {
		q.Before = number + 1
	}
	xs, err := api.Requests(ctx, t.Subdomain, q)
	if err != nil {
		return inspector.Exchange{}, err
	}
	if len(xs) == 0 || ref != "last" && xs[0].Number != number {
		return inspector.Exchange{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: fmt.Sprintf("tunnel %s keeps no capture %s", t.Subdomain, ref), Hint: "see what it keeps: lrok logs " + t.Subdomain}
	}
	return api.Exchange(ctx, xs[0].ID)
}

func newLogs(o *options) *cobra.Command {
	var follow bool
	var tunnelName, query string
	var limit int
	cmd := &cobra.Command{
		Use:   "logs [name]",
		Short: "Print captured requests as lines, or NDJSON with --json",
		Long: `Print captured requests as lines, or NDJSON with --json.

Without a name they are those of all tunnels that are live, each line with the name
of its own where there are several.`,
		Example: `  lrok logs
  lrok logs shop -f --filter 'status>=500 or path:/webhooks'
  lrok logs --json | jq .path`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeTunnels,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := filter.Parse(query)
			if err != nil {
				return usage("--filter: %w", err)
			}
			if limit < 0 {
				return usage("--lines %d: a number of lines is not negative", limit)
			}
			if tunnelName, err = oneName(tunnelName, args); err != nil {
				return err
			}
			api, done, err := o.api(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			defer done()
			ts, err := pickTunnels(cmd.Context(), api, tunnelName)
			if err != nil {
				return err
			}
			out := o.lines(cmd.OutOrStdout())
			if len(ts) > 1 {
				out.many, out.mu = true, &sync.Mutex{}
			}
			var kept []inspector.Exchange
			since := make([]uint64, len(ts))
			for i, t := range ts {
				page, err := api.Page(cmd.Context(), t.Subdomain, client.Query{Limit: limit, Filter: f.String()})
				if err != nil {
					return err
				}
				kept, since[i] = append(kept, page.Requests...), page.Version
			}
			if len(ts) > 1 { // each page has its own newest first
				slices.SortStableFunc(kept, func(a, b inspector.Exchange) int { return b.Timing.Accepted.Compare(a.Timing.Accepted) })
				if limit > 0 {
					kept = kept[:min(limit, len(kept))]
				}
			}
			for _, x := range slices.Backward(kept) {
				if err := out.request(&x); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			ctx, cancel := context.WithCancelCause(cmd.Context())
			var wg, streams sync.WaitGroup
			defer wg.Wait()
			defer cancel(nil)
			crash.Go(&wg, func() {
				if unread(ctx, out.w) {
					cancel(syscall.EPIPE)
				}
			})
			for i, t := range ts {
				crash.Go(&streams, func() {
					if err := api.Stream(ctx, t.Subdomain, client.StreamOptions{Filter: f.String(), Since: since[i]}, out.event); err != nil {
						cancel(err)
					}
				})
			}
			streams.Wait()
			return context.Cause(ctx)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with requests as they end")
	cmd.Flags().StringVar(&query, "filter", "", "show only what matches, as status>=500 or path:/webhooks")
	cmd.Flags().IntVarP(&limit, "lines", "n", 0, "at most so many of those that are kept")
	tunnelFlag(cmd, &tunnelName)
	return cmd
}

// oneName is the tunnel's name, said as an argument or as --tunnel.
func oneName(flag string, args []string) (string, error) {
	name := arg(args, 0)
	if flag != "" && name != "" && flag != name {
		return "", usage("%s and --tunnel %s are two tunnels: say one", name, flag)
	}
	return cmp.Or(name, flag), nil
}

func newExport(o *options) *cobra.Command {
	var tunnelName, as, to string
	var redact bool
	cmd := &cobra.Command{
		Use:   "export <id>...",
		Short: "Print captures as curl commands, a HAR file, .http files or Go programs",
		Example: `  lrok export last --as curl
  lrok export '#12' '#13' --as har > webhooks.har
  lrok export last --as go --url http://localhost:3000`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"curl", "har", "http", "go"}, as) {
				return usage("--as is curl, har, http or go, not %q", as)
			}
			if to != "" {
				u, err := parseTo(to)
				if err != nil {
					return err
				}
				if to = u.String(); u.RawQuery != "" {
					return usage("--url %s: the query is that of the request", to)
				}
			}
			api, done, err := o.api(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			defer done()
			opts := export.Options{Redact: redact, URL: to}
			var xs []inspector.Exchange
			for _, ref := range args {
				x, err := findExchange(cmd.Context(), api, tunnelName, ref)
				if err != nil {
					return whichTunnel(cmd, args, err)
				}
				xs = append(xs, x)
			}
			var out []byte
			switch as {
			case "har":
				if out, err = export.HAR(xs, opts); err != nil {
					return fmt.Errorf("write HAR: %w", err)
				}
			default:
				for i := range xs {
					switch as {
					case "curl":
						out = append(out, export.Curl(&xs[i], opts)...)
					case "http":
						out = append(out, export.HTTP(&xs[i], opts)...)
					case "go":
						out = append(out, export.Go(&xs[i], opts)...)
					}
					if len(out) > 0 && out[len(out)-1] != '\n' && as != "http" {
						out = append(out, '\n')
					}
				}
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	f := cmd.Flags()
	tunnelFlag(cmd, &tunnelName)
	f.StringVar(&as, "as", "curl", "curl, har, http or go")
	f.StringVar(&to, "url", "", "send to this address instead, as http://localhost:3000")
	f.BoolVar(&redact, "redact", false, "leave credentials, cookies and signatures out")
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions([]string{"curl", "har", "http", "go"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func arg(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
