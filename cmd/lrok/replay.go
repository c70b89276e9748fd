package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/diff"
	"github.com/lrok-dev/lrok/inspector/export"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/inspector/signature"
	"github.com/lrok-dev/lrok/internal/draft"
	"github.com/lrok-dev/lrok/tunnel"
)

func newReplay(o *options) *cobra.Command {
	var tunnelName, body string
	var set []string
	var edit, compare, keepHost, yes bool
	var times int
	var resign, to string
	var delay time.Duration
	cmd := &cobra.Command{
		Use:   "replay <id>...",
		Short: "Send captured requests again, through the tunnel to the local service",
		Long: `Send captured requests again, through the tunnel to the local service.

A capture is named by its id, by its number (#1279) or as last. What is printed
is the new answer and what changed against the first one. The exit code is 1
when an answer is an error.

With --resign the request carries a fresh signature and timestamp, made on this
machine with a secret that stays here: see lrok verify --help for where it is read.

With --to the request goes from this machine, not through the edge, to another
address. It takes along what was captured, cookies and keys included, so the address
is shown and asked about first.`,
		Example: `  lrok replay last
  lrok replay '#1279' --set-header 'X-Debug: 1' --diff
  lrok replay req_01JD… --edit
  lrok replay last --body @payload.json --times 5
  lrok replay last --resign --edit
  lrok replay last --to http://localhost:4000`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			another := cmd.Flags().Changed("body")
			changes, err := parseChanges(set, body, another, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if edit && !changes.None() {
				return usage("--edit is where headers and body are changed: leave --set-header and --body out")
			}
			if times < 1 || times > 1000 {
				return usage("--times %d is not between 1 and 1000", times)
			}
			var sources []signature.Source
			if resign != "" {
				if sources, err = o.secrets(o.warnSecret); err != nil {
					return err
				}
				args, resign = resignName(args, resign, sources)
				if err := knownSource(resign, sources); err != nil {
					return err
				}
				if len(args) == 0 {
					return usage("say which capture: lrok replay last --resign=%s", resign)
				}
			}
			var target *url.URL
			switch {
			case to != "":
				if target, err = parseTo(to); err == nil {
					err = o.sureOfTo(cmd.Context(), yes, len(args)*times, target)
				}
				if err != nil {
					return err
				}
			case keepHost:
				return usage("--keep-host goes with --to; what goes through the tunnel keeps its Host")
			}
			api, done, err := o.api(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			defer done()
			rules, err := o.diffRules()
			if err != nil {
				return err
			}
			failed := false
			out := o.lines(cmd.OutOrStdout())
			for _, ref := range args {
				x, err := findExchange(cmd.Context(), api, tunnelName, ref)
				if err != nil {
					return whichTunnel(cmd, args, err)
				}
				ch := changes
				if edit {
					edited, ok, err := o.editRequest(cmd.Context(), &x)
					if err != nil {
						return unfinished(cmd.Context(), err)
					}
					if !ok {
						_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "nothing was changed, nothing was sent")
						return nil
					}
					ch = edited
				}
				for i := range times {
					if i > 0 && delay > 0 && !sleep(cmd.Context(), delay) {
						return unfinished(cmd.Context(), cmd.Context().Err())
					}
					signed := ch
					if resign != "" {
						if signed, err = resigned(&x, ch, sources, resign); err != nil {
							return err
						}
					}
					var y inspector.Exchange
					if target != nil {
						y, err = sendTo(cmd.Context(), target, &x, signed, keepHost)
					} else if y, err = api.Replay(cmd.Context(), x.ID, signed); err == nil {
						y, err = api.Exchange(cmd.Context(), y.ID)
					}
					if err != nil {
						return unfinished(cmd.Context(), err)
					}
					failed = failed || y.Status >= 400 || y.Erred()
					r := diff.Exchanges(&x, &y, diff.Response, rules)
					if target != nil && !o.json {
						if err := out.sentTo(&y, r, compare, target); err != nil {
							return err
						}
					} else if err := out.replayed(&y, r, compare); err != nil {
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
	f.StringVar(&body, "body", "", "another body: text, which may be '', @file, or @- for standard input")
	f.BoolVar(&edit, "edit", false, "change the request in $EDITOR first")
	f.BoolVar(&compare, "diff", false, "show in full how the answer differs from the first one")
	f.IntVar(&times, "times", 1, "send it so many times, one after the other")
	f.DurationVar(&delay, "delay", 0, "wait so long between them")
	f.StringVar(&resign, "resign", "", "sign again, as "+oneOf(signature.Providers)+" or a name in secrets; alone: as whose signature it has")
	f.Lookup("resign").NoOptDefVal = resignDetected
	f.StringVar(&to, "to", "", "send to this address, from this machine; without a path it is that of the request")
	f.BoolVar(&keepHost, "keep-host", false, "with --to: leave the Host header as it was")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask before sending to the address of --to")
	onlyFlags(cmd, "delay", "resign", "to", "keep-host", "yes")
	return cmd
}

// resignDetected is --resign without a name.
const resignDetected = "detected"

// resignName takes "--resign stripe" for what it means: no capture is called so.
func resignName(args []string, name string, sources []signature.Source) ([]string, string) {
	if name != resignDetected {
		return args, name
	}
	for i, a := range args {
		if slices.Contains(signature.Providers, a) || slices.ContainsFunc(sources, func(s signature.Source) bool { return s.Name == a }) {
			return slices.Delete(slices.Clone(args), i, i+1), a
		}
	}
	return args, name
}

// resigned is ch with a signature of now.
func resigned(x *inspector.Exchange, ch inspector.Changes, sources []signature.Source, name string) (inspector.Changes, error) {
	if name == resignDetected {
		name = ""
	}
	src, err := signature.Pick(x, sources, name)
	if err == nil {
		ch, err = signature.Sign(x, ch, src, time.Now())
	}
	if err != nil {
		hint := "see lrok verify --help for where secrets are read"
		if p := cmp.Or(name, signature.Detect(x)); slices.Contains(signature.Providers, p) && p != signature.HMAC && src.Name == "" {
			hint = "set " + secretVariable(p) + " or " + secretVariable(p) + "_FILE, or put it into secrets in the configuration file"
		}
		return ch, usageError{&tunnel.Error{Code: tunnel.CodeInvalid, Message: "cannot sign: " + err.Error(), Hint: hint}}
	}
	return ch, nil
}

// sureOfTo asks before requests, and the secrets in them, go elsewhere. A script
// has to say that it means it.
func (o *options) sureOfTo(ctx context.Context, yes bool, n int, to *url.URL) error {
	what := "send " + plural(n, "request") + " from this machine to " + format.Sanitize(to.String())
	if !yes && !o.canAsk() {
		return usage("this would %s; to do so, add --yes", what)
	}
	return o.sure(ctx, yes, strings.ToUpper(what[:1])+what[1:]+", cookies and keys included?")
}

// maxBodyFile bounds what --body reads.
const maxBodyFile = 64 << 20

// parseChanges reads what is to be changed; another says that there is to be
// another body, which may be an empty one.
func parseChanges(set []string, body string, another bool, stdin io.Reader) (inspector.Changes, error) {
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
	if !another {
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

// editMark begins the line that tells in the file what is wrong with it.
const editMark = "# lrok: "

// editRequest lets a person change x in their editor. It returns false when
// nothing was changed, or nothing was left in the file.
func (o *options) editRequest(ctx context.Context, x *inspector.Exchange) (inspector.Changes, bool, error) {
	var none inspector.Changes
	draft.Sweep(time.Now())
	d, err := draft.New(x.ID, export.HTTP(x, export.Options{}))
	if err != nil {
		return none, false, err
	}
	defer d.Remove()
	for {
		if err := runEditor(ctx, d); err != nil {
			return none, false, err
		}
		after, err := os.ReadFile(d.Path)
		if err != nil {
			return none, false, fmt.Errorf("read from the editor: %w", err)
		}
		after = bytes.TrimPrefix(after, []byte("\ufeff")) // of Windows
		for bytes.HasPrefix(after, []byte(editMark)) {
			_, after, _ = bytes.Cut(after, []byte("\n"))
		}
		file := after
		if o.canAsk() { // lines are counted as they will be with the mark above them
			file = append([]byte(editMark+"\n"), after...)
		}
		req, wrong := export.ParseHTTP(file)
		if errors.Is(wrong, export.ErrEmpty) {
			return none, false, nil
		}
		if wrong == nil {
			ch := req.Changes(x)
			if x.Request.Body.Missing != "" && ch.Body == nil && !ch.None() {
				ch.Body = &req.Body // what is in the file is what is meant, though it did not come whole
			}
			return ch, !ch.None(), nil
		}
		if !o.canAsk() {
			return none, false, usage("the edited request, %w; nothing was sent", wrong)
		}
		if err := o.sure(ctx, false, wrong.Error()+"\nEdit again?"); err != nil {
			return none, false, err
		}
		if err := os.WriteFile(d.Path, append(fmt.Appendf(nil, "%s%v\n", editMark, wrong), after...), 0o600); err != nil {
			return none, false, fmt.Errorf("write for the editor: %w", err)
		}
	}
}

// sentTo prints what came of a request that went elsewhere.
func (l *lines) sentTo(y *inspector.Exchange, r diff.Report, full bool, to *url.URL) error {
	where := format.Sanitize(to.Scheme+"://"+to.Host) + pathOf(y)
	answer := format.Sanitize(strings.TrimSpace(fmt.Sprintf("%d %s", y.Status, y.Reason)))
	_, err := fmt.Fprintf(l.w, "#%d to %s  %s  %s  %s\n    %s\n", y.Number, where, answer,
		format.Duration(y.Timing.Done), format.Bytes(y.Response.Body.Size), r.Summary())
	if err == nil && full {
		err = diff.WriteText(l.w, r)
	}
	return err
}
