package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

// An office is where an edge is administered: its API, or on its own machine
// its data directory.
type office interface {
	AdminUsers(ctx context.Context) ([]client.User, error)
	AdminAddUser(ctx context.Context, u client.UserRequest) (client.User, error)
	AdminRemoveUser(ctx context.Context, id string) error
	AdminSetLimits(ctx context.Context, id string, l client.UserLimits) (client.User, error)
	AdminKeys(ctx context.Context, user string) ([]client.Key, error)
	AdminCreateKey(ctx context.Context, k client.KeyRequest) (client.NewKey, error)
	AdminRevokeKey(ctx context.Context, id string) (client.Revoked, error)
	AdminStats(ctx context.Context, hours int) (client.Stats, error)
	AdminAudit(ctx context.Context, before int64, limit int) (client.Entries, error)
}

// admin is the command group with the directory that it may work on.
type admin struct {
	*options
	dataDir string
}

func newAdmin(o *options) *cobra.Command {
	a := &admin{options: o}
	cmd := group("admin", "Administer an edge: users, keys, limits, tunnels, counters, the audit log",
		`Administer an edge: users, keys, limits, tunnels, counters, the audit log.

On the edge's own machine --data-dir names its data, whether it runs or not. From
elsewhere the key of an administrator does, through the edge's API.`,
		group("user", "Make, list and remove users", "", a.userAdd(), a.userList(), a.userRemove()),
		group("key", "Make, list and revoke keys of any user", "", a.keyAdd(), a.keyList(), a.keyRevoke()),
		group("limit", "Say how much a user may have", "", a.limitSet()),
		group("tunnel", "List and close tunnels of any user", "", a.tunnelList(), a.tunnelClose()),
		a.stats(), a.audit(),
		group("certs", "The certificates that the edge serves", "", a.certsReload()),
	)
	cmd.PersistentFlags().StringVar(&a.dataDir, "data-dir", "", "the edge's data directory, on its own machine; without it the API is used")
	return cmd
}

// in calls fn with the office.
func (a *admin) in(cmd *cobra.Command, fn func(context.Context, office) error) error {
	if a.dataDir == "" {
		api, done, err := a.remote(cmd.Context())
		if err != nil {
			return unfinished(cmd.Context(), err)
		}
		defer done()
		return unfinished(cmd.Context(), fn(cmd.Context(), api))
	}
	b, err := openBooks(a.dataDir)
	if err != nil {
		return err
	}
	defer b.close()
	// Counters and live tunnels only the edge itself knows.
	if api, done, err := a.running(cmd.Context()); err == nil {
		defer done()
		b.edge = api
	}
	return unfinished(cmd.Context(), fn(cmd.Context(), b))
}

// remote is the admin API of the edge that the settings or the login name.
func (a *admin) remote(ctx context.Context) (*client.Client, func(), error) {
	api, done, err := a.api(ctx, "")
	if errors.Is(err, errNoEdge) {
		err = &tunnel.Error{
			Code: codeUnreachable, Message: errNoEdge.Message,
			Hint: "on the edge's own machine give its data directory with --data-dir; elsewhere log in as an administrator: lrok login HOST",
		}
	}
	return api, done, err
}

// running is the admin API of the edge that runs on the data directory.
func (a *admin) running(ctx context.Context) (*client.Client, func(), error) {
	r, err := readRunning(a.dataDir)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, &tunnel.Error{
			Code: tunnel.CodeUnavailable, Message: "no edge runs on " + a.dataDir,
			Hint: "only a running edge knows of this; is it the directory that lrok serve names as data?",
		}
	}
	return a.apiOf(ctx, r)
}

// live calls fn with the admin API, for what only a running edge can do.
func (a *admin) live(cmd *cobra.Command, fn func(context.Context, *client.Client) error) error {
	ask := a.remote
	if a.dataDir != "" {
		ask = a.running
	}
	api, done, err := ask(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	return unfinished(cmd.Context(), fn(cmd.Context(), api))
}

// pickUser finds a user by id or name.
func pickUser(ctx context.Context, of office, ref string) (client.User, error) {
	us, err := of.AdminUsers(ctx)
	if err != nil {
		return client.User{}, err
	}
	var known []string
	for _, u := range us {
		if u.ID == ref || u.Name == ref {
			return u, nil
		}
		known = append(known, u.Name)
	}
	return client.User{}, &tunnel.Error{
		Code: tunnel.CodeNotFound, Message: fmt.Sprintf("there is no user %q%s", ref, didYouMean(ref, known)),
		Hint: "see those that there are: lrok admin user list",
	}
}

// userNames are the users' names by id.
func userNames(ctx context.Context, of office) (map[string]string, error) {
	us, err := of.AdminUsers(ctx)
	names := map[string]string{}
	for _, u := range us {
		names[u.ID] = u.Name
	}
	return names, err
}

func (a *admin) userAdd() *cobra.Command {
	var tunnels, reservations string
	cmd := &cobra.Command{
		Use:     "add <name>",
		Aliases: []string{"create"},
		Short:   "Make a user, who has no key yet; the id is printed",
		Example: `  lrok admin user add ann --tunnels 5
  lrok admin user add ann --data-dir /var/lib/lrok
  lrok admin key add ann > ann.key`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := client.UserRequest{Name: args[0]}
			if err := setLimits(&req.Limits, tunnels, reservations); err != nil {
				return err
			}
			return a.in(cmd, func(ctx context.Context, of office) error {
				u, err := of.AdminAddUser(ctx, req)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, u)
				}
				ref := u.Name
				if strings.Trim(strings.ToLower(ref), "abcdefghijklmnopqrstuvwxyz0123456789._-@") != "" {
					ref = u.ID // what a shell takes for one word
				}
				_, _ = fmt.Fprintf(a.stderr, "user %s was made; a key: lrok admin key add %s\n", format.Sanitize(u.Name), ref)
				_, err = fmt.Fprintln(a.stdout, u.ID)
				return err
			})
		},
	}
	limitFlags(cmd, &tunnels, &reservations)
	return cmd
}

func limitFlags(cmd *cobra.Command, tunnels, reservations *string) {
	cmd.Flags().StringVar(tunnels, "tunnels", "", "how many tunnels at once: a number, unlimited, or default")
	cmd.Flags().StringVar(reservations, "reservations", "", "how many reserved names: a number, unlimited, or default")
	onlyFlags(cmd, "tunnels", "reservations")
	words := cobra.FixedCompletions([]string{"default", "unlimited"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("tunnels", words)
	_ = cmd.RegisterFlagCompletionFunc("reservations", words)
}

// setLimits changes those of l that were named.
func setLimits(l *client.UserLimits, tunnels, reservations string) error {
	for _, f := range []struct {
		flag, value string
		to          **int
	}{{"--tunnels", tunnels, &l.Tunnels}, {"--reservations", reservations, &l.Reservations}} {
		switch f.value {
		case "":
		case "default":
			*f.to = nil
		case "unlimited":
			*f.to = new(int)
		default:
			n, err := strconv.Atoi(f.value)
			if err != nil || n < 1 {
				return usage("%s is a number from 1, unlimited, or default, not %q", f.flag, f.value)
			}
			*f.to = &n
		}
	}
	return nil
}

func limit(n *int) string {
	switch {
	case n == nil:
		return "default"
	case *n == 0:
		return "unlimited"
	}
	return strconv.Itoa(*n)
}

func (a *admin) userList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List users, their limits and what they used",
		Example: "  lrok admin user list\n  lrok admin user list --json --data-dir /var/lib/lrok",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.in(cmd, func(ctx context.Context, of office) error {
				us, err := of.AdminUsers(ctx)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, us)
				}
				t := a.table("ID", "NAME", "ROLE", ">KEYS", ">TUNNELS", ">MAX", ">MAX NAMES", "?CREATED", "?>REQUESTS", "?>IN", "?>OUT")
				for _, u := range us {
					role := "user"
					if u.Admin {
						role = "admin"
					}
					t.row(u.ID, u.Name, role, strconv.Itoa(u.Keys), strconv.Itoa(u.Tunnels), limit(u.Limits.Tunnels), limit(u.Limits.Reservations),
						u.CreatedAt.Local().Format(time.DateOnly), format.Count(u.Usage.Requests), format.Size(u.Usage.BytesIn), format.Size(u.Usage.BytesOut))
				}
				return t.write(a.stdout)
			})
		},
	}
}

func (a *admin) userRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "rm <id | name>",
		Aliases:           []string{"remove", "delete"},
		Short:             "Remove a user with all keys, names, domains and tunnels",
		Example:           "  lrok admin user rm ann",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.in(cmd, func(ctx context.Context, of office) error {
				u, err := pickUser(ctx, of, args[0])
				if err != nil {
					return err
				}
				if err := a.sure(ctx, yes, fmt.Sprintf("Remove %s (%s) with %s and all names, domains and tunnels?", u.Name, u.ID, plural(u.Keys, "key"))); err != nil {
					return err
				}
				if err := of.AdminRemoveUser(ctx, u.ID); err != nil {
					return err
				}
				return a.done(map[string]any{"id": u.ID, "name": u.Name, "deleted": true}, "%s is removed", u.Name)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	onlyFlags(cmd, "yes")
	return cmd
}

func (a *admin) keyAdd() *cobra.Command {
	var name, expires string
	cmd := &cobra.Command{
		Use:     "add <user>",
		Aliases: []string{"create"},
		Short:   "Make a key for a user: it is printed this once, alone on standard output",
		Example: `  lrok admin key add ann --name laptop > ann.key
  lrok admin key add ann --expires 90d --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			return a.in(cmd, func(ctx context.Context, of office) error {
				u, err := pickUser(ctx, of, args[0])
				if err != nil {
					return err
				}
				k, err := of.AdminCreateKey(ctx, client.KeyRequest{User: u.ID, Name: name, ExpiresAt: until})
				if err != nil {
					return err
				}
				return a.showNewKey(k)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the key is for")
	cmd.Flags().StringVar(&expires, "expires", "", "when it stops to work: 90d, 12h, or a day like 2027-01-31; default: never")
	onlyFlags(cmd, "name", "expires")
	return cmd
}

func (a *admin) keyList() *cobra.Command {
	return &cobra.Command{
		Use:               "list [user]",
		Aliases:           []string{"ls"},
		Short:             "List the keys of all users, or of one",
		Example:           "  lrok admin key list\n  lrok admin key list ann --json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.in(cmd, func(ctx context.Context, of office) error {
				user := ""
				if len(args) > 0 {
					u, err := pickUser(ctx, of, args[0])
					if err != nil {
						return err
					}
					user = u.ID
				}
				ks, err := of.AdminKeys(ctx, user)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, ks)
				}
				names, err := userNames(ctx, of)
				if err != nil {
					return err
				}
				return a.showKeys(ks, "", names)
			})
		},
	}
}

func (a *admin) keyRevoke() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "revoke <id>",
		Aliases:           []string{"rm", "remove", "delete"},
		Short:             "End anybody's key; what is connected with it is cut within seconds",
		Example:           "  lrok admin key revoke key_8f3a1c",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.in(cmd, func(ctx context.Context, of office) error {
				ks, err := of.AdminKeys(ctx, "")
				if err != nil {
					return err
				}
				k, err := pickKey(ks, args[0])
				if err != nil {
					return err
				}
				if api, ok := of.(*client.Client); ok {
					if me, err := api.Me(ctx); err == nil && me.Key.ID == k.ID {
						if err := a.sureOfOwn(ctx, yes, k); err != nil {
							return err
						}
					}
				}
				r, err := of.AdminRevokeKey(ctx, k.ID)
				if err != nil {
					return err
				}
				return a.showRevoked(r)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask when it is the key in use: without a terminal this is needed")
	onlyFlags(cmd, "yes")
	return cmd
}

func (a *admin) limitSet() *cobra.Command {
	var tunnels, reservations string
	cmd := &cobra.Command{
		Use:   "set <user>",
		Short: "Set a user's limits; those that are not named stay",
		Example: `  lrok admin limit set ann --tunnels 5 --reservations 10
  lrok admin limit set ann --tunnels unlimited
  lrok admin limit set ann --tunnels default`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if tunnels == "" && reservations == "" {
				return usage("say which limit: --tunnels, --reservations\nsee lrok admin limit set --help")
			}
			if err := setLimits(&client.UserLimits{}, tunnels, reservations); err != nil {
				return err
			}
			return a.in(cmd, func(ctx context.Context, of office) error {
				u, err := pickUser(ctx, of, args[0])
				if err != nil {
					return err
				}
				_ = setLimits(&u.Limits, tunnels, reservations) // checked above
				if u, err = of.AdminSetLimits(ctx, u.ID, u.Limits); err != nil {
					return err
				}
				return a.done(u, "%s: %s tunnels, %s reserved names", u.Name, limit(u.Limits.Tunnels), limit(u.Limits.Reservations))
			})
		},
	}
	limitFlags(cmd, &tunnels, &reservations)
	return cmd
}

func (a *admin) tunnelList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the live tunnels of all users",
		Example: "  lrok admin tunnel list\n  lrok admin tunnel list --data-dir /var/lib/lrok --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.live(cmd, func(ctx context.Context, api *client.Client) error {
				all, err := api.AdminTunnels(ctx)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, all)
				}
				if len(all) == 0 {
					_, err = fmt.Fprintln(a.stdout, "no tunnel is live")
					return err
				}
				names, err := userNames(ctx, api)
				if err != nil {
					return err
				}
				var ts []client.Tunnel
				var owners []string
				for _, t := range all {
					ts, owners = append(ts, t.Tunnel), append(owners, t.User)
				}
				return a.showTunnels(ts, owners, names)
			})
		},
	}
}

func (a *admin) tunnelClose() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "close <name>",
		Aliases:           []string{"rm", "remove", "delete"},
		Short:             "Close anybody's tunnel and forget its captures",
		Example:           "  lrok admin tunnel close shop-dev",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTunnels,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.live(cmd, func(ctx context.Context, api *client.Client) error {
				if err := a.sure(ctx, yes, fmt.Sprintf("Close the tunnel %s and forget its captures?", args[0])); err != nil {
					return err
				}
				if err := api.AdminCloseTunnel(ctx, args[0]); err != nil {
					return err
				}
				return a.done(map[string]any{"subdomain": args[0], "closed": true}, "%s is closed", args[0])
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	onlyFlags(cmd, "yes")
	return cmd
}

func (a *admin) stats() *cobra.Command {
	hours := 24
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Show the operator's counters: agents, tunnels, usage by hour, user and tunnel",
		Example: "  lrok admin stats --hours 48\n  lrok admin stats --json | jq .total",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if hours < 1 {
				return usage("--hours %d: at least one", hours)
			}
			return a.in(cmd, func(ctx context.Context, of office) error {
				s, err := of.AdminStats(ctx, hours)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, s)
				}
				names, err := userNames(ctx, of)
				if err != nil {
					return err
				}
				return a.showStats(s, names)
			})
		},
	}
	cmd.Flags().IntVar(&hours, "hours", hours, "how many hours back")
	onlyFlags(cmd, "hours")
	return cmd
}

func (a *admin) showStats(s client.Stats, names map[string]string) error {
	var b strings.Builder
	say := func(what, text string) { _, _ = fmt.Fprintf(&b, "%-12s %s\n", what, text) }
	if s.StartedAt.IsZero() {
		say("running", "no")
	} else {
		say("running", "since "+when(&s.StartedAt))
		say("agents", format.Count(int64(s.Agents)))
		say("tunnels", format.Count(int64(s.Tunnels)))
	}
	say("users", format.Count(int64(s.Users)))
	say("in all", fmt.Sprintf("%s, %s, %s in, %s out", plural(int(s.Total.Requests), "request"), plural(int(s.Total.Connections), "connection"), format.Bytes(s.Total.BytesIn), format.Bytes(s.Total.BytesOut)))
	if _, err := fmt.Fprint(a.stdout, b.String()); err != nil {
		return err
	}
	cells := func(u client.Usage) []string {
		return []string{format.Count(u.Requests), format.Count(u.Connections), format.Size(u.BytesIn), format.Size(u.BytesOut)}
	}
	hours := a.table("HOUR", ">REQUESTS", ">CONNECTIONS", ">IN", ">OUT")
	for _, h := range s.Hours {
		hours.row(append([]string{h.Hour.Local().Format("2006-01-02 15:04")}, cells(h.Usage)...)...)
	}
	users := a.table("USER", ">REQUESTS", ">CONNECTIONS", ">IN", ">OUT")
	for _, u := range s.ByUser {
		users.row(append([]string{userName(names, u.User)}, cells(u.Usage)...)...)
	}
	tunnels := a.table("USER", "TUNNEL", ">REQUESTS", ">CONNECTIONS", ">IN", ">OUT")
	for _, t := range s.ByTunnel {
		tunnels.row(append([]string{userName(names, t.User), t.Tunnel}, cells(t.Usage)...)...)
	}
	for _, t := range []*table{hours, users, tunnels} {
		if len(t.rows) == 0 {
			continue
		}
		_, _ = fmt.Fprintln(a.stdout)
		if err := t.write(a.stdout); err != nil {
			return err
		}
	}
	return nil
}

func (a *admin) audit() *cobra.Command {
	var before int64
	limit := 50
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Show the audit log, newest first",
		Example: "  lrok admin audit --limit 200\n  lrok admin audit --json | jq '.entries[] | select(.action==\"key.revoke\")'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || before < 0 {
				return usage("--limit is at least one, and --before an id")
			}
			return a.in(cmd, func(ctx context.Context, of office) error {
				page := client.Entries{Entries: []client.Entry{}, Next: before}
				for len(page.Entries) < limit {
					p, err := of.AdminAudit(ctx, page.Next, limit-len(page.Entries))
					if err != nil {
						return err
					}
					page.Entries, page.Next = append(page.Entries, p.Entries...), p.Next
					if p.Next == 0 {
						break
					}
				}
				if a.json {
					return printJSON(a.stdout, page)
				}
				names, err := userNames(ctx, of)
				if err != nil {
					return err
				}
				t := a.table("TIME", "WHO", "ACTION", "WHAT", "?DETAIL")
				for _, e := range page.Entries {
					t.row(whenExactly(e.Time), userName(names, e.Actor), e.Action, e.Object, dash(e.Detail))
				}
				if err := t.write(a.stdout); err != nil || page.Next == 0 {
					return err
				}
				_, _ = fmt.Fprintf(a.stderr, "there is more: --before %d\n", page.Next)
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "at most so many entries")
	cmd.Flags().Int64Var(&before, "before", 0, "only entries older than the one with this id")
	onlyFlags(cmd, "limit", "before")
	return cmd
}

func (a *admin) certsReload() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Have the edge read its certificates again, and show them",
		Example: "  lrok admin certs reload --data-dir /var/lib/lrok",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.live(cmd, func(ctx context.Context, api *client.Client) error {
				r, err := api.AdminReloadCerts(ctx)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(a.stdout, r)
				}
				t := a.table("NAMES", "VALID UNTIL", "?ISSUER", "?SOURCE")
				for _, c := range r.Certificates {
					t.row(strings.Join(c.Names, " "), when(&c.NotAfter), c.Issuer, c.Source)
				}
				if err := t.write(a.stdout); err != nil {
					return err
				}
				for _, p := range r.Problems {
					_, _ = fmt.Fprintf(a.stderr, "problem: %s\n", format.Sanitize(p))
				}
				_, _ = fmt.Fprintln(a.stderr, map[bool]string{true: "read again, and other than before", false: "read again, and as before"}[r.Changed])
				return nil
			})
		},
	}
}

// words completes an argument with what the office knows.
func (a *admin) words(cmd *cobra.Command, args []string, get func(context.Context, office) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.stdin, a.stdout, a.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	var err error
	if a.origins, err = applySettings(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd.SetContext(ctx)
	var out []string
	_ = a.in(cmd, func(ctx context.Context, of office) (err error) {
		out, err = get(ctx, of)
		return err
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *admin) completeUsers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.words(cmd, args, func(ctx context.Context, of office) ([]string, error) {
		us, err := of.AdminUsers(ctx)
		var out []string
		for _, u := range us {
			out = append(out, u.Name+"\t"+u.ID)
		}
		return out, err
	})
}

func (a *admin) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.words(cmd, args, func(ctx context.Context, of office) ([]string, error) {
		ks, err := of.AdminKeys(ctx, "")
		return keyWords(ks), err
	})
}

func (a *admin) completeTunnels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.words(cmd, args, func(ctx context.Context, of office) ([]string, error) {
		api, ok := of.(*client.Client)
		if b, local := of.(*books); local {
			api, ok = b.edge, b.edge != nil
		}
		if !ok {
			return nil, nil
		}
		ts, err := api.AdminTunnels(ctx)
		var out []string
		for _, t := range ts {
			out = append(out, t.Subdomain+"\t"+t.Local)
		}
		return out, err
	})
}
