package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/format"
)

func newReplay(o *options) *cobra.Command {
	var tunnelName, body string
	var set []string
	var edit, compare bool
	var times int
	cmd := &cobra.Command{
		Use:   "replay <id>...",
		Short: "Send captured requests again, through the tunnel to the local service",
		Long: `Send captured requests again, through the tunnel to the local service.

A capture is named by its id, by its number (#1279) or as last. What is printed
is the new answer and what changed against the first one. The exit code is 1
when an answer is an error.`,
		Example: `  lrok replay last
  lrok replay '#1279' --set-header 'X-Debug: 1' --diff
  lrok replay req_01JD… --edit
  lrok replay last --body @payload.json --times 5`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := parseChanges(set, body, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if times < 1 || times > 1000 {
				return usage("--times %d is not between 1 and 1000", times)
			}
			api, done, err := o.api(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			defer done()
			failed := false
			out := o.lines(cmd.OutOrStdout())
			for _, ref := range args {
				x, err := findExchange(cmd.Context(), api, tunnelName, ref)
				if err != nil {
					return whichTunnel(cmd, args, err)
				}
				ch := changes
				if edit {
					edited, ok, err := editRequest(cmd.Context(), &x)
					if err != nil {
						return err
					}
					if !ok {
						_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "nothing was changed, nothing was sent")
						return nil
					}
					ch = edited
				}
				for range times {
					y, err := api.Replay(cmd.Context(), x.ID, ch)
					if err != nil {
						return err
					}
					y, err = api.Exchange(cmd.Context(), y.ID)
					if err != nil {
						return err
					}
					failed = failed || y.Status >= 400 || y.Failed()
					r := diff.Exchanges(&x, &y, diff.Response, diff.Options{})
					if err := out.replayed(&y, r, compare); err != nil {
						return err
					}
				}
			}
			if failed {
				return errDiffers
			}
			return nil
		},
	}
	f := cmd.Flags()
	tunnelFlag(cmd, &tunnelName)
	f.StringArrayVar(&set, "set-header", nil, "replace or add a header, as 'Name: value'; 'Name:' removes it")
	f.StringVar(&body, "body", "", "another body: text, @file, or @- for standard input")
	f.BoolVar(&edit, "edit", false, "change the request in $EDITOR first")
	f.BoolVar(&compare, "diff", false, "show in full how the answer differs from the first one")
	f.IntVar(&times, "times", 1, "send it so many times, one after the other")
	return cmd
}

// maxBodyFile bounds what --body reads.
const maxBodyFile = 64 << 20

func parseChanges(set []string, body string, stdin io.Reader) (inspector.Changes, error) {
	var ch inspector.Changes
	for _, s := range set {
		name, value, ok := strings.Cut(s, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || name == "":
			return ch, usage("--set-header %q is not 'Name: value'", s)
		case value == "":
			ch.Remove = append(ch.Remove, name)
		default:
			ch.Set = append(ch.Set, inspector.Field{Name: name, Value: value})
		}
	}
	if body == "" {
		return ch, nil
	}
	data := []byte(body)
	if path, ok := strings.CutPrefix(body, "@"); ok {
		r := stdin
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return ch, usage("--body: %w", err)
			}
			defer func() { _ = f.Close() }()
			r = f
		}
		var err error
		if data, err = io.ReadAll(io.LimitReader(r, maxBodyFile+1)); err != nil {
			return ch, fmt.Errorf("read --body: %w", err)
		}
		if len(data) > maxBodyFile {
			return ch, usage("--body: more than %s", format.Bytes(maxBodyFile))
		}
	}
	ch.Body = &data
	return ch, nil
}

// editRequest lets a person change x in their editor. It returns false when
// nothing was changed.
func editRequest(ctx context.Context, x *inspector.Exchange) (inspector.Changes, bool, error) {
	var none inspector.Changes
	dir, err := os.MkdirTemp("", "lrok-")
	if err != nil {
		return none, false, fmt.Errorf("make a place for the editor: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "lrok-"+x.ID+".http")
	before := export.HTTP(x)
	content := before
	for {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return none, false, fmt.Errorf("write for the editor: %w", err)
		}
		if err := runEditor(ctx, path); err != nil {
			return none, false, err
		}
		after, err := os.ReadFile(path)
		if err != nil {
			return none, false, fmt.Errorf("read from the editor: %w", err)
		}
		if len(bytes.TrimSpace(after)) == 0 || bytes.Equal(after, before) {
			return none, false, nil
		}
		req, err := export.ParseHTTP(after)
		if err == nil {
			return req.Changes(x), true, nil
		}
		content = append(fmt.Appendf(nil, "# %v\n", err), after...)
	}
}

