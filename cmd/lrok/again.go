package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector/format"
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
		Ignore: rules.Ignore, Strict: rules.Strict, LocalOnly: r.Local, SendTest: sendTest, Secrets: sources, SendTo: sendToAddress, Version: versionName(),
		Theme: o.theme, Color: o.color, ASCII: o.ascii, ReduceMotion: said("LROK_REDUCE_MOTION"),
	}
	if api != nil {
		c.API = api
	}
	return c
}

// said reports whether a variable is set to something that is not no.
func said(name string) bool {
	switch strings.ToLower(os.Getenv(name)) {
	case "", "0", "false", "no", "off":
		return false
	}
	return true
}

// farewell is what stays on the terminal after the screen: the addresses, what
// was seen, and how to get it again.
func (o *options) farewell(s tui.Summary, r *reach, gone bool, again string) {
	var b strings.Builder
	s.Tunnels = slices.DeleteFunc(slices.Clone(s.Tunnels), func(t tui.Tunnel) bool { return t.URL == "" }) // was never live
	for _, t := range s.Tunnels {
		fmt.Fprintf(&b, "%s -> %s\n", format.Sanitize(t.URL), format.Sanitize(t.Local))
	}
	var seen []string
	if slices.ContainsFunc(s.Tunnels, isHTTP) {
		seen = append(seen, plural(s.Seen, "request"))
	}
	if s.Connections > 0 || len(seen) == 0 && len(s.Tunnels) > 0 {
		seen = append(seen, plural(s.Connections, "connection"))
	}
	if len(seen) > 0 {
		what := "; the captures stay at the edge while the tunnel is up"
		if gone {
			what = "; the captures were in memory and are gone with the tunnel"
		}
		if !slices.ContainsFunc(s.Tunnels, isHTTP) {
			what = ""
		}
		fmt.Fprintf(&b, "%s seen%s\n", strings.Join(seen, " and "), what)
	}
	fmt.Fprintf(&b, "again: %s\n", format.Sanitize(again))
	if gone && r.Local {
		b.WriteString("for a public URL: run lrok serve on a server, then add --edge HOST\n")
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
