package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/internal/crash"
	"github.com/lrok-dev/lrok/tui"
)

// screenOf is the screen as the settings want it, on what api tells, which may be
// nil.
func (o *options) screenOf(api *client.Client, r *reach) tui.Config {
	rules, _ := o.diffRules() // a mistake in it was told before
	sources, err := o.secrets(o.warnSecret)
	if err != nil {
		o.warnSecret(err.Error()) // the screen does without
	}
	c := tui.Config{
		Ignore: rules.Ignore, Strict: rules.Strict, LocalOnly: r.Local, SendTest: r.sendTest, Secrets: sources, SendTo: sendToAddress, Version: versionName(),
		Theme: o.theme, Color: o.color, ASCII: o.ascii, ReduceMotion: said("LROK_REDUCE_MOTION"),
	}
	if api != nil {
		c.API = api
	}
	return c
}

// show shows the screen and leaves the terminal as it was, also when this process
// is killed meanwhile.
func (o *options) show(ctx context.Context, c tui.Config) (tui.Summary, error) {
	terminal, ok := o.stdout.(*os.File)
	stderr, too := o.stderr.(*os.File)
	if ok && too {
		defer crash.Watch(terminal, stderr)()
	}
	return tui.Run(ctx, c)
}

// said reports whether a variable is set to something that is not no.
func said(name string) bool {
	switch strings.ToLower(os.Getenv(name)) {
	case "", "0", "false", "no", "off":
		return false
	}
	return true
}

// What becomes of captures when the screen is left.
type afterwards int

const (
	capturesStay afterwards = iota // their tunnel goes on
	capturesGone                   // with their tunnel
	capturesLeft                   // an edge out of reach could not be told that the tunnel has ended
)

// farewell is what stays on the terminal after the screen: the addresses, what
// was seen, and how to get it again. Each line is worded to fit the terminal; what
// is there to be copied is whole however long it is.
func (o *options) farewell(s tui.Summary, r *reach, captures afterwards, again string) {
	var b strings.Builder
	width := 80
	if out, ok := o.stdout.(term.File); ok {
		if w, _, err := term.GetSize(out.Fd()); err == nil && w > 0 {
			width = w
		}
	}
	say := func(wordings ...string) {
		fits := slices.IndexFunc(wordings, func(s string) bool { return ansi.StringWidth(s) <= width })
		if fits < 0 {
			fits = len(wordings) - 1
		}
		b.WriteString(wordings[fits] + "\n")
	}
	s.Tunnels = slices.DeleteFunc(slices.Clone(s.Tunnels), func(t tui.Tunnel) bool { return t.URL == "" }) // was never live
	for _, t := range s.Tunnels {
		url := format.Sanitize(t.URL)
		say(url+" -> "+format.Sanitize(t.Local), url)
	}
	var seen []string
	if slices.ContainsFunc(s.Tunnels, isHTTP) {
		seen = append(seen, plural(s.Seen, "request"))
	}
	if s.Connections > 0 || len(seen) == 0 && len(s.Tunnels) > 0 {
		seen = append(seen, plural(s.Connections, "connection"))
	}
	if len(seen) > 0 {
		n := strings.Join(seen, " and ")
		switch {
		case !slices.ContainsFunc(s.Tunnels, isHTTP):
			say(n + " seen")
		case captures == capturesLeft:
			kept := plural(int(registry.Grace.Minutes()), "minute")
			where := ""
			if len(s.Tunnels) == 1 {
				where = ": lrok logs " + format.Sanitize(s.Tunnels[0].Name)
			}
			say(n+" seen; the edge may keep the captures for "+kept+where, n+" seen; captures may be kept for "+kept, n+" seen")
		case captures == capturesGone:
			say(n+" seen; the captures were in memory and are gone with the tunnel", n+" seen; the captures are gone", n+" seen, captures gone", n+" seen")
		default:
			say(n+" seen; the captures stay at the edge while the tunnel is up", n+" seen; the captures stay with the tunnel", n+" seen, captures kept", n+" seen")
		}
	}
	say("again: " + format.Sanitize(again))
	if captures != capturesStay && r.Local {
		say("for a public URL: run lrok serve on a server, then add --edge HOST", "public URL: lrok serve, then --edge HOST")
	}
	_, _ = fmt.Fprint(o.stdout, b.String())
}

// commandLine is how lrok was called, to be pasted into a shell.
func commandLine() string {
	words := []string{"lrok"}
	for _, a := range os.Args[1:] {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=./:,@%+", r))
		}) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
