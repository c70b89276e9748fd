package main

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A setting is one line of lrok config show.
type setting struct {
	Name   string `json:"name"` // as in a file
	Value  string `json:"value"`
	Origin string `json:"origin"` // a flag, a variable, file:line, or default
}

func newConfig(o *options) *cobra.Command {
	var origins bool
	show := &cobra.Command{
		Use:   "show [command]",
		Short: "Show each setting and its value; secrets are masked",
		Long: `Show each setting and its value; secrets are masked. A flag counts more than a
variable, that more than the file, and that more than the default.

With a command its own settings are shown too, serve's with the file that serve
reads.`,
		Example: "  lrok config show\n  lrok config show http --origin\n  lrok config show serve --json",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return commandNames(cmd.Root()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := o.settings(cmd, args)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(o.stdout, all)
			}
			head := []string{"SETTING", "VALUE"}
			if origins {
				head = append(head, "FROM")
			}
			t := o.table(head...)
			for _, s := range all {
				t.row(append([]string{s.Name, dash(s.Value)}, s.Origin)[:len(head)]...)
			}
			return t.write(o.stdout)
		},
	}
	show.Flags().BoolVar(&origins, "origin", false, "say where each value comes from")
	onlyFlags(show, "origin")
	return group("config", "Show the settings", "", show)
}

// showsServe reports whether cmd is lrok config show serve.
func showsServe(cmd *cobra.Command, args []string) bool {
	if cmd.Name() != "show" || cmd.Parent().Name() != "config" || len(args) == 0 {
		return false
	}
	of, rest, err := cmd.Root().Find(args)
	return err == nil && len(rest) == 0 && isServe(of)
}

// settings are those that every command has, and those of one command.
func (o *options) settings(cmd *cobra.Command, path []string) ([]setting, error) {
	of := cmd
	if len(path) > 0 {
		found, rest, err := cmd.Root().Find(path)
		if err != nil || found == cmd.Root() || len(rest) > 0 {
			return nil, usage("lrok has no command %q%s", strings.Join(path, " "), didYouMean(path[0], commandNames(cmd.Root())))
		}
		of = found
	}
	origins := o.origins
	if of != cmd {
		// What this command was given stands for that one as well.
		if err := of.ParseFlags(nil); err != nil {
			return nil, err
		}
		own, err := applySettings(of)
		if err != nil {
			return nil, err
		}
		origins = own
		cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
			if given := o.origins[f.Name]; !isServe(of) || given.from != "default" { // serve reads a file of its own
				origins[f.Name] = given
			}
		})
	}
	var out []setting
	add := func(f *pflag.Flag) {
		if or := origins[f.Name]; isSetting(f) {
			out = append(out, setting{strings.ReplaceAll(f.Name, "-", "_"), strings.Trim(or.value, "[]"), or.from})
		}
	}
	of.Flags().VisitAll(add)
	slices.SortFunc(out, func(a, b setting) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range slices.Concat(ownVariables, secretVariables()) {
		if v, ok := os.LookupEnv(name); ok {
			s := setting{strings.ToLower(strings.TrimPrefix(name, "LROK_")), mask(name, v), name}
			if name == "LROK_BASIC_AUTH" {
				s.Name = "(password)" // basic_auth is the user
			}
			out = append(out, s)
		}
	}
	if file, _ := configPath(of); file != "" {
		found := "read"
		if _, err := os.Stat(file); err != nil {
			found = "not there"
		}
		out = append(out, setting{"(config)", file, found})
	}
	if !isServe(of) {
		out = append(out, o.whereTo()...)
	}
	return out, nil
}

// mask hides a secret but for what tells it from another.
func mask(name, v string) string {
	if strings.HasSuffix(name, "_FILE") {
		return v
	}
	for _, word := range []string{"KEY", "AUTH", "SECRET"} {
		if strings.Contains(name, word) && v != "" {
			if len(v) < 30 || !strings.HasPrefix(v, "lrok_") {
				return "****"
			}
			return v[:9] + "…" + v[len(v)-4:] // as lrok keys list shows it
		}
	}
	return v
}

// whereTo says what the login and running edges add to the settings.
func (o *options) whereTo() []setting {
	if o.edge != "" {
		return nil
	}
	r, err := o.findReach()
	if err != nil {
		return nil
	}
	out := []setting{{"(edge)", r.Edge, r.from}}
	if os.Getenv("LROK_API_KEY") == "" && o.apiKeyFile == "" {
		out = append(out, setting{"(api_key)", mask("KEY", r.Key), r.from})
	}
	return out
}
