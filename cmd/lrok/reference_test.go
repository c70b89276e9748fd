package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/self-hosting/settings.md anew")

// TestSettingsAreDocumented holds docs/self-hosting/settings.md to the flags of
// lrok serve: each is there, with its default.
func TestSettingsAreDocumented(t *testing.T) {
	serve, _, err := newRoot().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`# Settings of an edge

Each is a flag of ` + "`lrok serve`" + `, a variable and a line of ` + "`/etc/lrok/edge.yaml`" + `: ` + "`--max-tunnels`" + ` is also
` + "`LROK_MAX_TUNNELS`" + ` and ` + "`max_tunnels:`" + `. A flag counts more than a variable, that more than the file. A name that is no
setting is an error. ` + "`lrok config show serve --origin`" + ` shows what is in force and where it was said.

This table is generated: ` + "`go test ./cmd/lrok -run TestSettingsAreDocumented -update`" + `. SIGHUP (` + "`systemctl reload lrok`" + `) reads
those that begin with ` + "`max_`" + ` or ` + "`capture_`" + ` again, all but ` + "`max_streams`" + `, ` + "`max_header`" + `,
` + "`max_concurrent`" + ` and ` + "`capture_body`" + `, and the certificates; everything else takes a restart.

| setting | default | says |
|---|---|---|
`)
	serve.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !isSetting(f) || f.Hidden || serve.Root().PersistentFlags().Lookup(f.Name) != nil {
			return
		}
		value := f.DefValue
		switch value {
		case "", "[]", "false":
			value = ""
		default:
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(f.Name, "-", "_"), value, strings.NewReplacer("<", "&lt;", "|", "\\|").Replace(f.Usage))
	})
	file := filepath.Join("..", "..", "docs", "self-hosting", "settings.md")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the flags say; run this test with -update. Want\n%s", file, b.String())
	}
}

const docs = "../../docs"

// TestGuideIsUnderstood parses the calls of lrok in docs/self-hosting.md, reads
// the settings that it shows, and looks for the files that it names.
func TestGuideIsUnderstood(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(docs, "self-hosting.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)

	calls := 0
	call := regexp.MustCompile(`(?:^|[|] |-- |` + "`" + `)(lrok [a-z][^|#<>` + "`" + `…]*)`)
	for _, m := range regexp.MustCompile("(?m)^.*lrok .*$").FindAllString(page, -1) {
		for _, c := range call.FindAllStringSubmatch(m, -1) {
			if strings.Contains(c[1], "=") { // a setting of another program's
				continue
			}
			calls++
			words := splitWords(c[1])
			found, rest, err := newRoot().Find(words[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil && found.Args != nil && len(found.Flags().Args()) > 0 { // else the name of a command
				err = found.Args(found, found.Flags().Args())
			}
			if err != nil {
				t.Errorf("%q: %v", c[1], err)
			}
		}
	}
	if calls < 25 {
		t.Errorf("the page has %d calls of lrok, want many: is this test looking at it?", calls)
	}

	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(docs, m[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		headings[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))] = true
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		if !headings[m[1]] {
			t.Errorf("there is no heading for #%s", m[1])
		}
	}

	settings := map[string]string{}
	for _, name := range []string{"edge.yaml", "edge-behind-traefik.yaml"} {
		settings[name] = filepath.Join(docs, "self-hosting", name)
	}
	for i, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1) {
		name := fmt.Sprintf("block %d", i+1)
		settings[name] = filepath.Join(t.TempDir(), "edge.yaml")
		if err := os.WriteFile(settings[name], []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(settings) != 4 {
		t.Errorf("there are %d files and blocks of settings, want 4", len(settings))
	}
	for name, file := range settings {
		t.Setenv("LROK_CONFIG", file)
		serve, _, err := newRoot().Find([]string{"serve"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := applySettings(serve); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	example, err := os.ReadFile(settings["edge.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	if _, lines, _ := strings.Cut(string(example), "\n"); !strings.Contains(page, "```yaml\n"+lines+"```") {
		t.Errorf("the page does not show edge.yaml as it is:\n%s", lines)
	}
}

// TestUnitWaitsForTheDrain holds that systemd and Docker kill no edge before its
// requests had their time.
func TestUnitWaitsForTheDrain(t *testing.T) {
	serve, _, err := newRoot().Find([]string{"serve"})
	if err != nil {
		t.Fatal(err)
	}
	drain, err := time.ParseDuration(serve.Flag("drain-timeout").DefValue)
	if err != nil {
		t.Fatal(err)
	}
	for file, line := range map[string]string{"lrok.service": `TimeoutStopSec=(\d+)\n`, "compose.yaml": `stop_grace_period: (\d+)s`} {
		b, err := os.ReadFile(filepath.Join(docs, "self-hosting", file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(line).FindSubmatch(b)
		if m == nil {
			t.Errorf("%s has no %s", file, line)
			continue
		}
		// Ending sessions and the store takes its time as well.
		if s, _ := strconv.Atoi(string(m[1])); time.Duration(s)*time.Second < drain+10*time.Second {
			t.Errorf("%s waits %d s, want 10 s more than the %v of drain-timeout", file, s, drain)
		}
	}
}

// TestModesAreDocumented holds docs/modes.md to the flags and the variables that
// there are.
func TestModesAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(docs, "modes.md"))
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	known := map[string]bool{"LROK_REDUCE_MOTION": true}
	eachFlag(root, func(*cobra.Command) bool { return true }, func(f *pflag.Flag) {
		known["--"+f.Name] = true
		if isSetting(f) {
			known[variable(f.Name)] = true
		}
	})
	named := map[string]bool{}
	for _, name := range regexp.MustCompile(`--[a-z][a-z-]+|LROK_[A-Z_]+`).FindAllString(string(b), -1) {
		if named[name] = true; !known[name] {
			t.Errorf("docs/modes.md names %s, which there is not", name)
		}
	}
	for _, name := range []string{"--theme", "--color", "--ascii", "--plain", "--json", "--url-file", "--ready-fd", "LROK_THEME", "LROK_COLOR", "LROK_ASCII", "LROK_REDUCE_MOTION"} {
		if !named[name] {
			t.Errorf("docs/modes.md does not name %s", name)
		}
	}
}
