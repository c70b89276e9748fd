package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

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
	var strict bool
	cmd := &cobra.Command{
		Use:   "diff <id> <id>",
		Short: "Compare two captures; exit 0 when they are equal, 1 when they differ",
		Long: `Compare two captures: what changed in the start line, the headers, and the
body by its structure. Timestamps and ids that change every time are ignored, and
shown as ignored. A side may be a file: capture.har or capture.har#3.`,
		Example: `  lrok diff '#1265' '#1279'
  lrok diff req_01JD… last --side response --json
  lrok diff before.har#1 last --ignore .data.updated_at`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := diff.Options{Strict: strict, Done: cmd.Context().Done()}
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
	f.StringArrayVar(&ignore, "ignore", nil, "ignore a path, as .data.id or .items[*].updated_at")
	f.BoolVar(&strict, "strict", false, "ignore nothing: timestamps and ids count too")
	return cmd
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
	xs, err := export.ParseHAR(data)
	if err != nil {
		return inspector.Exchange{}, fmt.Errorf("%s: %w", path, err)
	}
	if n > len(xs) {
		return inspector.Exchange{}, usage("%s has %d entries", path, len(xs))
	}
	return xs[n-1], nil
}
