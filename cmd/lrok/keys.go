package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
)

func newKeys(o *options) *cobra.Command {
	return group("keys", "Make, list and revoke your API keys", "",
		newKeysCreate(o), newKeysList(o), newKeysRevoke(o))
}

func newKeysCreate(o *options) *cobra.Command {
	var expires string
	cmd := &cobra.Command{
		Use:     "create [name]",
		Aliases: []string{"add"},
		Short:   "Make a key: it is printed this once, alone on standard output",
		Example: `  lrok keys create laptop
  lrok keys create ci --expires 90d > key && chmod 600 key
  lrok keys create --expires 2027-01-31 --json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				k, err := api.CreateKey(ctx, client.KeyRequest{Name: arg(args, 0), ExpiresAt: until})
				if err != nil {
					return err
				}
				return o.showNewKey(k)
			})
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "", "when it stops to work: 90d, 12h, or a day like 2027-01-31; default: never")
	onlyFlags(cmd, "expires")
	return cmd
}

// showNewKey prints the key alone on standard output, so that it can go into a
// file, and the words about it beside that.
func (o *options) showNewKey(k client.NewKey) error {
	if o.json {
		return printJSON(o.stdout, k)
	}
	_, _ = fmt.Fprintf(o.stderr, "key %s%s, %s; it is shown this once\n", k.ID, named(k.Name), expiry(k.ExpiresAt))
	_, err := fmt.Fprintln(o.stdout, k.Secret)
	return err
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

func expiry(t *time.Time) string {
	if t == nil {
		return "does not expire"
	}
	return "expires " + when(t)
}

// parseExpiry reads 90d, 12h or 2027-01-31; empty is never. A day counts to its
// end.
func parseExpiry(s string, now time.Time) (*time.Time, error) {
	var t time.Time
	days, isDays := strings.CutSuffix(s, "d")
	n, err := strconv.Atoi(days)
	if s == "" || s == "never" {
		return nil, nil
	}
	if isDays && err == nil {
		t = now.AddDate(0, 0, n)
	} else if d, err := time.ParseDuration(s); err == nil {
		t = now.Add(d)
	} else if day, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		t = day.AddDate(0, 0, 1).Add(-time.Second)
	} else if t, err = time.Parse(time.RFC3339, s); err != nil {
		return nil, usage("--expires %q is neither a time like 90d or 12h nor a day like 2027-01-31", s)
	}
	if !t.After(now) {
		return nil, usage("--expires %s has passed already", s)
	}
	t = t.UTC().Truncate(time.Second)
	return &t, nil
}

func newKeysList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List your keys, the one in use marked",
		Example: "  lrok keys list\n  lrok keys list --json | jq -r '.[].id'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				ks, err := api.Keys(ctx)
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(o.stdout, ks)
				}
				me, err := api.Me(ctx)
				if err != nil {
					return err
				}
				return o.showKeys(ks, me.Key.ID, nil)
			})
		},
	}
}

// showKeys prints keys as a table; users, if not nil, are the names of their
// owners by id.
func (o *options) showKeys(ks []client.Key, own string, users map[string]string) error {
	head := []string{"ID", "NAME", "KEY", "STATE", "?CREATED", "?LAST USED"}
	if users != nil {
		head = append([]string{"USER"}, head...)
	}
	t := o.table(head...)
	for _, k := range ks {
		state := keyState(k)
		if k.ID == own {
			state += ", in use here"
		}
		row := []string{k.ID, dash(k.Name), k.Prefix + "…" + k.Last4, state, when(&k.CreatedAt), when(k.LastUsed)}
		if users != nil {
			row = append([]string{userName(users, k.User)}, row...)
		}
		t.row(row...)
	}
	return t.write(o.stdout)
}

func keyState(k client.Key) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked " + when(k.RevokedAt)
	case k.ExpiresAt != nil && !k.ExpiresAt.After(time.Now()):
		return "expired " + when(k.ExpiresAt)
	case k.ExpiresAt != nil:
		return "expires " + when(k.ExpiresAt)
	}
	return "works"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newKeysRevoke(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "revoke <id>",
		Aliases: []string{"rm", "remove", "delete"},
		Short:   "End a key; what is connected with it is cut within seconds",
		Example: `  lrok keys revoke key_8f3a1c
  lrok keys revoke laptop --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.withAPI(cmd, func(ctx context.Context, api *client.Client) error {
				ks, err := api.Keys(ctx)
				if err != nil {
					return err
				}
				k, err := pickKey(ks, args[0])
				if err != nil {
					return err
				}
				me, err := api.Me(ctx)
				if err != nil {
					return err
				}
				if k.ID == me.Key.ID {
					if err := o.sureOfOwn(ctx, yes, k); err != nil {
						return err
					}
				}
				r, err := api.RevokeKey(ctx, k.ID)
				if err != nil {
					return err
				}
				return o.showRevoked(r)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask when it is the key in use: without a terminal this is needed")
	onlyFlags(cmd, "yes")
	return cmd
}

func (o *options) showRevoked(r client.Revoked) error {
	if o.json {
		return printJSON(o.stdout, r)
	}
	_, err := fmt.Fprintf(o.stdout, "%s%s is revoked; what is connected with it ends within seconds\n", r.ID, named(r.Name))
	return err
}

// pickKey finds the key that has the id ref, or is the only one that works and
// is called that.
func pickKey(ks []client.Key, ref string) (client.Key, error) {
	var found []client.Key
	for _, k := range ks {
		if k.ID == ref {
			return k, nil
		}
		if k.Name == ref && k.RevokedAt == nil {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return client.Key{}, &tunnel.Error{Code: tunnel.CodeNotFound, Message: fmt.Sprintf("there is no key %q", ref), Hint: "see those that there are: lrok keys list"}
	}
	return client.Key{}, usage("%s are called %q: say the id", plural(len(found), "key"), ref)
}

func (o *options) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.complete(cmd, args, func(ctx context.Context, api *client.Client) ([]string, error) {
		ks, err := api.Keys(ctx)
		return keyWords(ks), err
	})
}

func keyWords(ks []client.Key) []string {
	var out []string
	for _, k := range ks {
		if k.RevokedAt == nil {
			out = append(out, k.ID+"\t"+dash(k.Name))
		}
	}
	return out
}
