// Command lrok gives a local port a public URL and shows every request that
// comes in; as `lrok serve` it is the edge that such tunnels end at.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tui"
	"github.com/lrok-dev/lrok/tunnel"
)

// version is set by the linker for releases.
var version = ""

// software is what lrok calls itself towards the other side.
func software() string { return "lrok " + versionName() }

func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return "dev"
}

func main() {
	if crash.Watcher() {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == tui.JQCommand {
		tui.JQ(os.Stdin, os.Stdout, os.Stderr)
		return
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is lrok without the process around it; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ends := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) { // as it is for what a script runs in the background
		ends = append(ends, os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// A second signal ends lrok at once.
	context.AfterFunc(ctx, stop)
	// Whoever reads the lines may leave, as head does: then writing fails, and
	// the tunnel is closed in order. Without this the signal would end lrok.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, syscall.EPIPE) {
		return 0 // who reads has had enough, as in lrok http 3000 | head -1
	}
	if errors.Is(err, context.Canceled) {
		return 0 // by a signal: nothing else cancels
	}
	if err != nil && err.Error() != "" {
		printError(stderr, err)
	}
	return exitCode(err)
}

// printError says what happened and what to do.
func printError(w io.Writer, err error) {
	text := format.SanitizeLines(err.Error())
	_, _ = fmt.Fprintf(w, "lrok: %s\n", text)
	var e *tunnel.Error
	if errors.As(err, &e) && e.Hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", format.SanitizeLines(e.Hint))
	}
}

// options are the flags that every command has.
type options struct {
	edge       string
	edgeCA     string
	apiKeyFile string
	config     string
	json       bool
	plain      bool
	color      string
	theme      string
	ascii      bool
	verbose    bool

	captureBody string // of an edge inside this process

	handover handover
	known    []signature.Source // secrets that a command brings itself
	origins  map[string]origin  // of the settings, by flag

	stdin          io.Reader
	stdout, stderr io.Writer
}

func newRoot() *cobra.Command {
	o := &options{}
	var onlyVersion bool
	root := &cobra.Command{
		Use:   "lrok",
		Short: "Give a local port a public URL and see every request",
		Long: `lrok gives a local port a public URL and shows every request in the terminal,
with replay, editing and a diff that knows what matters.

Without an edge of your own (lrok serve on a server, then lrok login HOST) an edge
is started on this machine: the inspector works, the URL is local only.`,
		Example: `  lrok http 3000
  lrok demo
  lrok serve --domain lrok.example.com`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			o.stdin, o.stdout, o.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			// To an edge it says: read certificates again. Under nohup it says nothing,
			// unless there is a screen, which is nothing without its terminal.
			if !isServe(cmd) && (o.interactive() || !signal.Ignored(syscall.SIGHUP)) {
				ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
				context.AfterFunc(ctx, stop)
				cmd.SetContext(ctx)
			}
			if onlyVersion {
				return nil // whatever the settings are
			}
			switch cmd.Name() {
			case "completion", "bash", "zsh", "fish", "powershell", "help", "version", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
				return nil
			}
			var err error
			if showsServe(cmd, args) { // which reads the file as serve does
				o.origins, err = applyEnvironment(cmd)
			} else {
				o.origins, err = applySettings(cmd)
			}
			if err != nil {
				return err
			}
			return errors.Join(o.choice("color", &o.color, "auto", "always", "never"), o.choice("theme", &o.theme, tui.Themes...))
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if onlyVersion {
				return o.printVersion()
			}
			return o.home(cmd.Context())
		},
	}
	root.Flags().BoolVar(&onlyVersion, "version", false, "print the version")
	o.captureFlag(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = fmt.Errorf("--%s: %s", e.GetFlag().Name, wrongValue(e.GetFlag(), e.GetValue()))
		}
		return usage("%w\nsee %s --help", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&o.edge, "edge", "", "the edge's control address, HOST[:PORT]")
	f.StringVar(&o.edgeCA, "edge-ca", "", "a file with the certificate authority of the edge, when it is a private one")
	f.StringVar(&o.apiKeyFile, "api-key-file", "", "a file with the API key (or set LROK_API_KEY)")
	f.StringVar(&o.config, "config", "", "the configuration file")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.plain, "plain", false, "no screen: one line per event, also for screen readers")
	f.StringVar(&o.color, "color", "auto", "colours: auto, always or never")
	f.StringVar(&o.theme, "theme", "auto", "of the screen: "+oneOf(tui.Themes))
	f.BoolVar(&o.ascii, "ascii", false, "draw the screen with ASCII characters only, as a locale without UTF-8 does")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more to standard error")
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"tunnels", "Tunnels:", []*cobra.Command{newHTTP(o), newTCP(o), newTLS(o), newStart(o), newDemo(o)}},
		{"captures", "Captures:", []*cobra.Command{newInspect(o), newLogs(o), newReplay(o), newVerify(o), newDiff(o), newExport(o), newClose(o)}},
		{"account", "Your account at an edge:", []*cobra.Command{
			newLogin(o), newLogout(o), newWhoami(o), newStatus(o), newKeys(o), newReserve(o), newReservations(o), newDomain(o),
		}},
		{"edge", "An edge of your own:", []*cobra.Command{newServe(o), newAdmin(o)}},
		{"more", "More:", []*cobra.Command{newConfig(o), newVersion(o)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
		}
		root.AddCommand(g.commands...)
	}
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.InitDefaultCompletionCmd("completion") // now, to be among the commands below
	wrapArgs(root)
	root.InitDefaultHelpCmd()
	helpOf(root)
	return root
}

// helpOf lets lrok help fail where there is no such command. Cobra's own shows the
// help of the last word that is one, as if that had been asked for.
func helpOf(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			continue
		}
		show := c.Run
		c.RunE = func(cmd *cobra.Command, args []string) error {
			of, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				return noCommand(of, rest[0])
			}
			show(cmd, args)
			return nil
		}
	}
}

// noCommand says that c has none called word.
func noCommand(c *cobra.Command, word string) error {
	if !c.HasSubCommands() {
		return usage("%s has no commands below it\nsee %s --help", c.CommandPath(), c.CommandPath())
	}
	meant := didYouMean(word, commandNames(c))
	switch {
	case meant != "":
	case c.HasParent():
		meant = ": it is " + oneOf(commandNames(c))
	default:
		meant = "\nsee lrok --help"
	}
	return usage("%s has no command %q%s", c.CommandPath(), word, meant)
}

// choice checks a setting that is one of a few words; "" is the first of them.
func (o *options) choice(name string, value *string, words ...string) error {
	*value = cmp.Or(*value, words[0])
	if slices.Contains(words, *value) {
		return nil
	}
	return usage("%s is %s, not %q", o.settingAt(name), oneOf(words), *value)
}

// settingAt is where the setting name was given, for a sentence about it.
func (o *options) settingAt(name string) string {
	from := o.origins[name].from
	if from != "--"+name && from != variable(name) {
		from += ": " + name // a line of the file
	}
	return from
}

// group is a command that only holds others.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs}
	var examples []string
	for _, sub := range commands {
		first, _, _ := strings.Cut(sub.Example, "\n")
		examples = append(examples, first)
	}
	c.Example = strings.Join(examples, "\n")
	c.AddCommand(commands...)
	return c
}

// wrapArgs makes a wrong number of arguments, and a word that is no command,
// wrong usage.
func wrapArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
	if c.HasSubCommands() && c.HasParent() {
		c.Args = cobra.NoArgs
		c.RunE = func(cmd *cobra.Command, _ []string) error {
			return usage("say what: %s %s\nsee %s --help", cmd.CommandPath(), oneOf(commandNames(cmd)), cmd.CommandPath())
		}
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			if cmd.HasSubCommands() && len(args) > 0 {
				return noCommand(cmd, args[0])
			}
			return usage("%s is called as: %s\nsee %s --help", cmd.CommandPath(), cmd.UseLine(), cmd.CommandPath())
		}
		return nil
	}
}

func commandNames(c *cobra.Command) []string {
	var out []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			out = append(out, sub.Name())
		}
	}
	return out
}

// oneOf lists words as a choice: "create, list or revoke".
func oneOf(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

func newVersion(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  lrok version --json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return o.printVersion() },
	}
}

func (o *options) printVersion() error {
	if o.json {
		return printJSON(o.stdout, map[string]any{"version": versionName(), "protocol": tunnel.Version})
	}
	_, err := fmt.Fprintf(o.stdout, "lrok %s (protocol %d)\n", versionName(), tunnel.Version)
	return err
}

// interactive reports whether the screen can be shown.
func (o *options) interactive() bool {
	if o.plain || o.json || said("CI") || dumb() {
		return false
	}
	out, ok := o.stdout.(*os.File)
	return ok && term.IsTerminal(out.Fd()) && hasTerminal(o.stdin)
}

// dumb reports whether the terminal can do no more than print lines, or does not
// say what it can do. Those of Windows never do.
func dumb() bool {
	name := os.Getenv("TERM")
	return name == "dumb" || name == "" && runtime.GOOS != "windows"
}

// hasTerminal reports whether keys can be read: from stdin, or, when that is a
// pipe, from the terminal itself.
func hasTerminal(stdin io.Reader) bool {
	if in, ok := stdin.(*os.File); ok && term.IsTerminal(in.Fd()) {
		return true
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// words reports whether lines are for somebody who listens to them.
func (o *options) words() bool { return o.plain && !o.json }

// colors reports whether lines may be coloured.
func (o *options) colors() bool {
	switch o.color {
	case "always":
		return true
	case "never":
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	if os.Getenv("NO_COLOR") != "" || o.plain || said("CI") || dumb() {
		return false
	}
	out, ok := o.stdout.(*os.File)
	return ok && term.IsTerminal(out.Fd())
}

func (o *options) lines(w io.Writer) *lines {
	return &lines{w: w, json: o.json, color: o.colors(), done: map[string]bool{}, opened: map[string]bool{}}
}
