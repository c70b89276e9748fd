package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/export"
)

// errDiffers makes `lrok diff` end with 1 and says nothing.
var errDiffers = errors.New("")

func newDiff(o *options) *cobra.Command {
	var tunnelName, side string
	var ignore []string
	var strict, plain bool
	cmd := &cobra.Command{
		Use:   "diff <id> <id>",
		Short: "Compare two captures; exit 0 when they are equal, 1 when they differ",
		Long: `Compare two captures: what changed in the start line, the headers, and the
body by its structure. Timestamps and ids that change every time are ignored, and
shown as ignored; what else is noise stands below diff: in the configuration file.
A side may be a file: capture.har or capture.har#3.

The exit code is 0 when they are equal but for what is ignored, 1 when they differ
or not enough of a body was captured to know, and 2 or more when they could not be
compared.`,
		Example: `  lrok diff '#1265' '#1279'
  lrok diff req_01JD… last --side response --json
  lrok diff before.har#1 last --ignore .data.updated_at --ignore header:x-build
  lrok diff golden.har last --side response --plain-text`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			defer func() { err = trouble(err) }()
			opts, err := o.diffRules()
			if err != nil {
				return err
			}
			if strict {
				opts = diff.Options{Strict: true}
			}
			opts.Plain, opts.Done = plain, cmd.Context().Done()
			for _, s := range ignore {
				rule, err := diff.ParseRule(s)
				if err != nil {
					return usage("--ignore %q: %w", s, err)
				}
				opts.Ignore = append(opts.Ignore, rule)
			}
			if !slices.Contains([]string{"request", "response", "both"}, side) {
				return usage("--side is request, response or both, not %q", side)
			}
			var xs [2]inspector.Exchange
			var api *client.Client
			for i, ref := range args {
				var err error
				if xs[i], err = fileExchange(ref); err == nil {
					continue
				} else if !errors.Is(err, errNotAFile) {
					return err
				}
				if api == nil {
					var done func()
					if api, done, err = o.api(cmd.Context(), tunnelName); err != nil {
						return err
					}
					defer done()
				}
				if xs[i], err = findExchange(cmd.Context(), api, tunnelName, ref); err != nil {
					return whichTunnel(cmd, args, err)
				}
			}
			r := diff.Exchanges(&xs[0], &xs[1], diff.Side(side), opts)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), r); err != nil {
					return err
				}
			} else if err := diff.WriteText(cmd.OutOrStdout(), r); err != nil {
				return err
			}
			if !r.Equal() {
				return errDiffers
			}
			return nil
		},
	}
	f := cmd.Flags()
	tunnelFlag(cmd, &tunnelName)
	f.StringVar(&side, "side", "both", "request, response or both")
	f.StringArrayVar(&ignore, "ignore", nil, "ignore a path, as .items[*].updated_at or ..trace_id, header:NAME, query.NAME or status")
	f.BoolVar(&strict, "strict", false, "ignore nothing but what --ignore says: timestamps and ids count too")
	f.BoolVar(&plain, "plain-text", false, "compare bodies line by line, JSON indented first")
	onlyFlags(cmd, "side", "ignore", "strict", "plain-text")
	return cmd
}

// trouble keeps the exit codes of lrok diff apart: 1 says that the two differ,
// and nothing else does.
func trouble(err error) error {
	switch {
	case err == nil, errors.Is(err, errDiffers):
		return err
	case errors.Is(err, context.Canceled):
		return usageError{errors.New("interrupted: the captures were not compared to their end")}
	case exitCode(err) == 1:
		return usageError{err}
	}
	return err
}

// diffKey is the part of the configuration file that says what comparisons
// ignore: on the screen, in lrok diff, and in lrok replay.
const diffKey = "diff"

// diffRules reads it.
func (o *options) diffRules() (diff.Options, error) {
	path, optional := o.config, false
	if path == "" {
		path = os.Getenv("LROK_CONFIG")
	}
	if path == "" {
		dir, err := configDir()
		if err != nil {
			return diff.Options{}, nil // there is no file either
		}
		path, optional = filepath.Join(dir, "config.yaml"), true
	}
	file, err := readFile(path)
	if err != nil && !(optional && errors.Is(err, fs.ErrNotExist)) {
		return diff.Options{}, usage("%w", err)
	}
	for _, s := range file {
		if s.key != diffKey {
			continue
		}
		opts, err := parseDiff(s.node)
		if err != nil {
			return opts, usage("%s:%w", path, err)
		}
		return opts, nil
	}
	return diff.Options{}, nil
}

// parseDiff reads {ignore: [.data.id], headers: [x-build], strict: true}. An
// error begins with its line.
func parseDiff(n *yaml.Node) (diff.Options, error) {
	var o diff.Options
	if n.Kind != yaml.MappingNode {
		return o, fmt.Errorf("%d: diff: holds ignore, headers and strict", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		list := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			list = v.Content
		}
		switch k.Value {
		case "ignore", "headers":
			for _, item := range list {
				if item.Kind != yaml.ScalarNode {
					return o, fmt.Errorf("%d: diff.%s is a list of texts", item.Line, k.Value)
				}
				s := item.Value
				if k.Value == "headers" {
					s = "header:" + s
				}
				rule, err := diff.ParseRule(s)
				if err != nil {
					return o, fmt.Errorf("%d: diff.%s: %w", item.Line, k.Value, err)
				}
				o.Ignore = append(o.Ignore, rule)
			}
		case "strict":
			strict, err := strconv.ParseBool(v.Value)
			if err != nil || v.Kind != yaml.ScalarNode {
				return o, fmt.Errorf("%d: diff.strict: %q is not true or false", v.Line, v.Value)
			}
			o.Strict = strict
		default:
			return o, fmt.Errorf("%d: unknown setting %q in diff%s", k.Line, k.Value, didYouMean(k.Value, []string{"ignore", "headers", "strict"}))
		}
	}
	return o, nil
}

var errNotAFile = errors.New("not a file")

const maxHAR = 256 << 20

// fileExchange reads an exchange from a HAR file: file.har or file.har#3.
func fileExchange(ref string) (inspector.Exchange, error) {
	path, number, _ := strings.Cut(ref, "#")
	if !strings.HasSuffix(path, ".har") {
		return inspector.Exchange{}, errNotAFile
	}
	n := 1
	if number != "" {
		var err error
		if n, err = strconv.Atoi(number); err != nil || n < 1 {
			return inspector.Exchange{}, usage("%q: the part after # counts entries from 1", ref)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return inspector.Exchange{}, usage("%w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxHAR))
	if err != nil {
		return inspector.Exchange{}, fmt.Errorf("read %s: %w", path, err)
	}
	a, err := export.ParseHAR(data)
	if err != nil {
		return inspector.Exchange{}, fmt.Errorf("%s: %w", path, err)
	}
	if n > a.Len() {
		return inspector.Exchange{}, usage("%s has %d entries", path, a.Len())
	}
	x, err := a.Exchange(n)
	if err != nil {
		return inspector.Exchange{}, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}
