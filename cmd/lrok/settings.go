package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/lrok-dev/lrok/tunnel"
)

// Settings come from flags, then from LROK_* variables, then from the
// configuration file, then from defaults. Every flag is a setting: --edge-ca is
// LROK_EDGE_CA in the environment and edge_ca in the file. A name that is no
// setting is an error: a typing mistake must not open what was to be closed.

// variables that are settings without being flags.
var ownVariables = []string{
	"LROK_API_KEY", "LROK_BASIC_AUTH", "LROK_REDUCE_MOTION",
	// The edge's: nothing is sent anywhere unless both are set.
	"LROK_ANALYTICS", "LROK_POSTHOG_KEY", "LROK_POSTHOG_KEY_FILE",
}

// An origin says what a setting is and where that came from.
type origin struct {
	value string
	from  string
}

// usageError is a mistake in how lrok was called: exit code 2.
type usageError struct{ error }

// Unwrap lets the hint of what is inside be seen.
func (e usageError) Unwrap() error { return e.error }

func usage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// configPath is where the configuration file is looked for; the second value is
// false when the user named it, so that it must exist.
func configPath(cmd *cobra.Command) (path string, optional bool) {
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		return f.Value.String(), false
	}
	if p := os.Getenv("LROK_CONFIG"); p != "" {
		return p, false
	}
	if isServe(cmd) {
		return edgeConfig, true
	}
	dir, err := configDir()
	if err != nil {
		return "", true
	}
	return filepath.Join(dir, "config.yaml"), true
}

// edgeConfig is where an edge looks for its configuration file.
const edgeConfig = "/etc/lrok/edge.yaml"

// configDir is the user's configuration directory of lrok.
func configDir() (string, error) {
	if d := os.Getenv("XDG_CONFIG_HOME"); d != "" {
		return filepath.Join(d, "lrok"), nil
	}
	if d, err := os.UserConfigDir(); err == nil && os.PathSeparator == '\\' {
		return filepath.Join(d, "lrok"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration directory: %w", err)
	}
	return filepath.Join(home, ".config", "lrok"), nil
}

// dataDir is where an edge keeps its state unless --data-dir says otherwise.
func dataDir() (string, error) {
	if d := os.Getenv("STATE_DIRECTORY"); d != "" { // systemd
		return d, nil
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "lrok"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the data directory: %w (say --data-dir)", err)
	}
	return filepath.Join(home, ".local", "share", "lrok"), nil
}

// applySettings fills the flags of cmd that were not given from the environment
// and the configuration file. It returns where each value came from.
func applySettings(cmd *cobra.Command) (map[string]origin, error) {
	origins, err := applyEnvironment(cmd)
	if err != nil {
		return nil, err
	}
	return origins, applyFile(cmd, origins)
}

func applyEnvironment(cmd *cobra.Command) (map[string]origin, error) {
	origins := map[string]origin{}
	flags := cmd.Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		origins[f.Name] = origin{f.Value.String(), "default"}
		if f.Changed {
			origins[f.Name] = origin{f.Value.String(), "--" + f.Name}
		}
	})
	if err := checkEnvironment(cmd.Root()); err != nil {
		return nil, err
	}
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !isSetting(f) || failed != nil || f.Name == "basic-auth" {
			return
		}
		name := variable(f.Name)
		if v, ok := os.LookupEnv(name); ok {
			if err := flags.Set(f.Name, v); err != nil {
				failed = usage("%s: %s", name, wrongValue(f, v))
			}
			origins[f.Name] = origin{f.Value.String(), name}
		}
	})
	if failed != nil {
		return nil, failed
	}
	return origins, nil
}

func applyFile(cmd *cobra.Command, origins map[string]origin) error {
	flags := cmd.Flags()
	path, optional := configPath(cmd)
	if path == "" {
		return nil
	}
	file, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return nil
	}
	if err != nil {
		return usage("%w", err)
	}
	known := fileKeys(cmd)
	for _, s := range file {
		if !slices.Contains(known, s.key) {
			return usage("%s:%d: %s", path, s.line, unknownSetting(cmd, s.key, known))
		}
		if s.key == diffKey {
			if _, err := parseDiff(s.node); err != nil {
				return usage("%s:%w", path, err)
			}
			continue
		}
		if s.key == tunnelsKey || s.key == secretsKey {
			continue // for who needs them
		}
		f := flags.Lookup(strings.ReplaceAll(s.key, "_", "-"))
		if s.values == nil {
			return usage("%s:%d: %s is one value or a list", path, s.line, s.key)
		}
		if f == nil || !isSetting(f) || origins[f.Name].from != "default" {
			continue // another command's, or said more strongly
		}
		for _, v := range s.values {
			if err := flags.Set(f.Name, v); err != nil {
				return usage("%s:%d: %s: %s", path, s.line, s.key, wrongValue(f, v))
			}
		}
		origins[f.Name] = origin{f.Value.String(), fmt.Sprintf("%s:%d", path, s.line)}
	}
	return nil
}

// unknownSetting says of a line in cmd's file that it means nothing there: an
// edge has a file of its own, and taking one for the other is easy.
func unknownSetting(cmd *cobra.Command, key string, known []string) string {
	if serve, _, err := cmd.Root().Find([]string{"serve"}); err == nil && !isServe(cmd) && slices.Contains(fileKeys(serve), key) {
		return fmt.Sprintf("%s is a setting of lrok serve, which has a file of its own", key)
	}
	return fmt.Sprintf("unknown setting %q%s", key, didYouMean(key, known))
}

// wrongValue says why v is nothing for f.
func wrongValue(f *pflag.Flag, v string) string {
	wanted := f.Value.Type()
	switch wanted {
	case "int", "int64":
		wanted = "a number"
	case "bool":
		wanted = "true or false"
	case "duration":
		wanted = "a time like 30s or 2m"
	case "stringSlice":
		wanted = "a list with commas"
	}
	return fmt.Sprintf("%q is not %s", v, wanted)
}

// isSetting reports whether a flag may also come from environment and file.
func isSetting(f *pflag.Flag) bool {
	switch f.Name {
	case "help", "config", "json", "version":
		return false
	}
	return f.Annotations[onlyFlag] == nil
}

// onlyFlag marks flags that belong to one call. A --yes out of the environment
// would answer a question that nobody has read.
const onlyFlag = "lrok_only_flag"

func onlyFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.Flags().SetAnnotation(name, onlyFlag, []string{}); err != nil {
			panic(err) // the flag is defined a line above
		}
	}
}

// eachFlag calls fn for every flag of the commands that accept takes.
func eachFlag(root *cobra.Command, accept func(*cobra.Command) bool, fn func(*pflag.Flag)) {
	if accept(root) {
		root.Flags().VisitAll(fn)
		root.PersistentFlags().VisitAll(fn)
	}
	for _, c := range root.Commands() {
		eachFlag(c, accept, fn)
	}
}

// isServe reports whether cmd is the edge, whose settings have a file of their
// own.
func isServe(cmd *cobra.Command) bool {
	return cmd.Name() == "serve" && cmd.Parent() == cmd.Root()
}

func variable(flag string) string {
	return "LROK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fileKeys are the settings a file may hold: the edge's for serve, all the
// others' for everything else.
func fileKeys(cmd *cobra.Command) []string {
	var keys []string
	add := func(f *pflag.Flag) {
		if key := strings.ReplaceAll(f.Name, "-", "_"); isSetting(f) && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if isServe(cmd) {
		cmd.Flags().VisitAll(add)
		return keys
	}
	eachFlag(cmd.Root(), func(c *cobra.Command) bool { return !isServe(c) }, add)
	keys = append(keys, diffKey)
	return append(keys, tunnelsKey, secretsKey)
}

// checkEnvironment refuses LROK_* variables that mean nothing.
func checkEnvironment(root *cobra.Command) error {
	known := slices.Concat([]string{"LROK_CONFIG"}, ownVariables, secretVariables())
	eachFlag(root, func(*cobra.Command) bool { return true }, func(f *pflag.Flag) {
		if isSetting(f) {
			known = append(known, variable(f.Name))
		}
	})
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "LROK_") && !slices.Contains(known, name) {
			return usage("unknown setting %s in the environment%s", name, didYouMean(name, known))
		}
	}
	return nil
}

// didYouMean names the known word nearest to word, if one is near.
func didYouMean(word string, known []string) string {
	best, distance := "", 4
	for _, k := range known {
		if d := editDistance(word, k); 2*d > max(len(word), len(k)) {
			continue // what has less than half in common is another word
		} else if d < distance || d == distance && best != "" && k < best {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// tunnelsKey is the part of the file that lrok start reads.
const tunnelsKey = "tunnels"

// A fileSetting is one top-level line of a configuration file. It has no values
// when it is the tunnels or the secrets.
type fileSetting struct {
	key    string
	line   int
	values []string
	node   *yaml.Node
}

const maxConfig = 1 << 20

func readFile(path string) ([]fileSetting, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err == nil && st.Size() > maxConfig {
		return nil, fmt.Errorf("%s: %d bytes are no configuration", path, st.Size())
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(f).Decode(&doc); err != nil {
		if err.Error() == "EOF" {
			return nil, nil
		}
		return nil, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: settings are lines of the form name: value", path, root.Line)
	}
	var out []fileSetting
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		s := fileSetting{key: k.Value, line: k.Line, node: v}
		switch v.Kind {
		case yaml.ScalarNode:
			s.values = []string{v.Value}
		case yaml.SequenceNode:
			for _, item := range v.Content {
				if item.Kind != yaml.ScalarNode {
					return nil, fmt.Errorf("%s:%d: %s holds more than a list of values", path, item.Line, k.Value)
				}
				s.values = append(s.values, item.Value)
			}
		default:
			if k.Value == diffKey && v.Kind == yaml.MappingNode {
				break
			}
			if (k.Value == tunnelsKey || k.Value == secretsKey) && v.Kind == yaml.MappingNode {
				break
			}
			return nil, fmt.Errorf("%s:%d: %s is one value or a list", path, v.Line, k.Value)
		}
		out = append(out, s)
	}
	return out, nil
}

// exitCode is what lrok ends with for err.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if errors.As(err, new(usageError)) {
		return 2
	}
	var e *tunnel.Error
	if !errors.As(err, &e) {
		return 1
	}
	switch e.Code {
	case tunnel.CodeInvalid, tunnel.CodeNameInvalid:
		return 2
	case tunnel.CodeKey, tunnel.CodeForbidden:
		return 3
	case tunnel.CodeName, tunnel.CodePort, tunnel.CodeDomain:
		return 4
	case tunnel.CodeLimit:
		return 5
	case tunnel.CodeVersion:
		return 6
	case codeUnreachable:
		return 7
	}
	return 1
}

// codeUnreachable is the code of an edge that could not be reached at all.
const codeUnreachable = "edge_unreachable"
