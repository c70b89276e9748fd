package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
those that begin with ` + "`max_`" + ` or ` + "`capture_`" + ` again, all but ` + "`max_streams`" + `, ` + "`max_header`" + ` and ` + "`capture_body`" + `, and the
certificates; everything else takes a restart.

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
