// Package lrok holds no code: this file keeps the house in order. It fails when
// a package imports what it must not, and when a new package has no line here.
package lrok

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lrok-dev/lrok"

// mayImport says which of our packages each of our packages may import. A name
// that ends in "/..." stands for the package and all below it.
//
// Data travels one way, from the protocol and the captured exchange up to the
// screen and the commands. When this table complains, the code is usually in
// the wrong room.
var mayImport = map[string][]string{
	".": {},

	"tunnel":       {"internal/crash"},
	"tunnel/agent": {"tunnel", "internal/crash"},

	// What is shown about an exchange is pure: it knows the exchange and nothing
	// of the edge, the screen or the ring it came from.
	"inspector":           {},
	"inspector/diff":      {"inspector", "inspector/format"},
	"inspector/export":    {"inspector", "inspector/format"},
	"inspector/filter":    {"inspector"},
	"inspector/format":    {"inspector"},
	"inspector/signature": {"inspector"},

	// HTTP/1 is the most exposed code: it stands alone, without a dependency.
	"edge/http1":    {},
	"edge/registry": {"edge/http1", "tunnel", "inspector"},
	"edge/store":    {"tunnel", "inspector"},
	"edge/certs":    {"tunnel", "inspector"},
	// Whose a domain is lies in the store; the registry learns it through an
	// interface of its own. What a host is called, only http1 says.
	"edge/domains": {"edge/http1", "edge/store", "tunnel"},
	// The operator's counters: read from the tunnels, kept in the store, shown as
	// metrics, and sent away only when that was asked for.
	"edge/stats": {"edge/registry", "edge/store", "tunnel"},
	// forward sends what the inspector recorded; the inspector never sends. The
	// stream pool lies beside the tunnel in the registry.
	"edge/forward": {"edge/http1", "edge/registry", "tunnel", "inspector"},
	"edge/control": {"edge/registry", "edge/store", "edge/certs", "edge/domains", "tunnel", "inspector"},
	// The client declares the shapes of the API's JSON, the server speaks them.
	"edge/api":       {"edge/client", "edge/registry", "edge/store", "edge/certs", "edge/domains", "edge/forward", "edge/stats", "tunnel", "inspector", "inspector/filter", "inspector/format"},
	"edge/dashboard": {"edge/registry", "edge/store", "edge/certs", "edge/domains", "edge/forward", "tunnel", "inspector", "inspector/filter"},
	"edge/client":    {"tunnel", "inspector", "internal/crash"},
	"edge":           {"edge/...", "tunnel", "inspector", "internal/trim"},

	// The screen is a client of the API; of the agent it sees status values.
	"tui": {"inspector/...", "edge/client", "tunnel", "tunnel/agent", "internal/crash", "internal/draft"},

	"cmd/lrok": {"..."},

	"internal/e2e":       {"..."},
	"internal/e2e/node":  {},
	"internal/costcheck": {"..."},
	"internal/trim":      {},
	"internal/crash":     {"internal/trim"},
	"internal/draft":     {},
}

// doors names the one part of the house that may import a dependency, tests
// included.
var doors = map[string]string{
	"github.com/spf13/cobra":             "cmd/...",
	"charm.land/bubbletea/v2":            "tui/...",
	"charm.land/bubbles/v2":              "tui/...",
	"github.com/hashicorp/yamux":         "tunnel",
	"github.com/itchyny/gojq":            "tui",
	"github.com/fsnotify/fsnotify":       "edge/certs",
	"modernc.org/sqlite":                 "edge/store",
	"github.com/pires/go-proxyproto":     "edge/forward",
	"github.com/posthog/posthog-go":      "edge/stats",
	"github.com/VictoriaMetrics/metrics": "edge/stats",

	// A template may call any exported method, so the linker would have to keep
	// all of them: a tenth of the program.
	"html/template": "nobody",
	"text/template": "nobody",
}

// alone are packages that import the standard library only, and what is named here.
var alone = map[string][]string{
	"edge/http1": {"golang.org/x/net/idna"}, // host names have one canonical form
}

type pkg struct {
	name        string   // below the module, "." for the root
	imports     []string // by the package
	testImports []string // by its tests
}

// packages lists what go builds on the systems that lrok is released for: an
// import may hide in a file for one of them.
func packages(t *testing.T) []pkg {
	t.Helper()
	var ps []pkg
	for _, goos := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-e", "-f", `{{.ImportPath}}|{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`, "./...")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, &stderr)
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSpace(line), "|")
			if len(f) != 3 {
				t.Fatalf("go list said %q", line)
			}
			p := pkg{name: inside(f[0]), imports: strings.Fields(f[1]), testImports: strings.Fields(f[2])}
			if i := slices.IndexFunc(ps, func(q pkg) bool { return q.name == p.name }); i >= 0 {
				ps[i].imports = union(ps[i].imports, p.imports)
				ps[i].testImports = union(ps[i].testImports, p.testImports)
				continue
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func union(a, b []string) []string {
	both := slices.Concat(a, b)
	slices.Sort(both)
	return slices.Compact(both)
}

// inside turns an import path of ours into the name used above.
func inside(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == base || strings.HasPrefix(name, base+"/")
	}
	return pattern == name
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		row, ok := mayImport[p.name]
		if !ok {
			t.Errorf("package %s has no row in mayImport: say what it may import", p.name)
			continue
		}
		for _, path := range p.imports {
			if ours(path) && !slices.ContainsFunc(row, func(pattern string) bool { return matches(pattern, inside(path)) }) {
				t.Errorf("%s imports %s, want only %v", p.name, inside(path), row)
			}
		}
	}
}

func TestOneDoorForEachDependency(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range union(p.imports, p.testImports) {
			for dependency, door := range doors {
				if matches(dependency+"/...", path) && !matches(door, p.name) {
					t.Errorf("%s imports %s, which only %s may", p.name, path, door)
				}
			}
		}
		also, ok := alone[p.name]
		if !ok {
			continue
		}
		for _, path := range p.imports {
			if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") && !ours(path) && !slices.Contains(also, path) {
				t.Errorf("%s imports %s, want only the standard library and %v", p.name, path, also)
			}
		}
	}
}

// TestNothingRefersOutside holds that a clone is whole: no file speaks of a
// path that only the machine it was written on has.
func TestNothingRefersOutside(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	outside := [][]byte{[]byte(".." + "/shared"), []byte(root + "/")}
	skip := []string{".git", "bin", "dist", "node_modules"}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skip, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, o := range outside {
			if i := bytes.Index(text, o); i >= 0 {
				t.Errorf("%s:%d refers to %s", path, 1+bytes.Count(text[:i], []byte("\n")), o)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
