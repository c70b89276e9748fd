package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/inspector/signature"
)

// The secrets of webhook senders are read here and stay on this machine: the
// edge keeps what was captured, this side checks it and signs anew. They come
// from LROK_SECRET_STRIPE and its like, from files, and from the secrets of the
// configuration file; never from an argument.

// secretsKey is the part of the configuration file with the secrets.
const secretsKey = "secrets"

// secretVariable is the variable with the secret of a provider. An HMAC needs
// more than a secret, and the configuration file for it.
func secretVariable(provider string) string { return "LROK_SECRET_" + strings.ToUpper(provider) }

func secretVariables() []string {
	var out []string
	for _, p := range signature.Providers {
		if p != signature.HMAC {
			out = append(out, secretVariable(p), secretVariable(p)+"_FILE")
		}
	}
	return out
}

// secrets reads all that is known. What cannot be read is told to warn, and is
// left out: it may belong to a sender that this call has nothing to do with.
func (o *options) secrets(warn func(string)) ([]signature.Source, error) {
	out := slices.Clone(o.known)
	for _, p := range signature.Providers {
		s := signature.Source{Name: p, Provider: p}
		name := secretVariable(p)
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			s.Secrets = []signature.Secret{{Value: v, From: name}}
		} else if path := os.Getenv(name + "_FILE"); path != "" {
			list, err := secretFile(path, warn)
			if err != nil {
				warn(fmt.Sprintf("%s_FILE: %v", name, err))
			}
			s.Secrets = list
		}
		if len(s.Secrets) > 0 {
			out = append(out, s)
		}
	}
	more, err := o.configuredSecrets(warn)
	if err != nil {
		return nil, err
	}
	for _, s := range more {
		// The environment counts more than the file.
		if !slices.ContainsFunc(out, func(known signature.Source) bool { return known.Name == s.Name }) {
			out = append(out, s)
		}
	}
	return out, nil
}

// warnSecret prints what is wrong with a secret on standard error.
func (o *options) warnSecret(text string) {
	_, _ = fmt.Fprintln(o.stderr, "warning: "+format.Sanitize(text))
}

func (o *options) configuredSecrets(warn func(string)) ([]signature.Source, error) {
	path, optional := cmp.Or(o.config, os.Getenv("LROK_CONFIG")), false
	if path == "" {
		dir, err := configDir()
		if err != nil {
			return nil, nil //nolint:nilerr // no home, no file
		}
		path, optional = filepath.Join(dir, "config.yaml"), true
	}
	file, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return nil, nil
	}
	if err != nil {
		return nil, usage("%w", err)
	}
	var out []signature.Source
	for _, s := range file {
		if s.key != secretsKey {
			continue
		}
		if s.node.Kind != yaml.MappingNode {
			return nil, usage("%s:%d: secrets are lines of the form name: {env: VARIABLE} or name: {file: PATH}", path, s.line)
		}
		for i := 0; i+1 < len(s.node.Content); i += 2 {
			k, v := s.node.Content[i], s.node.Content[i+1]
			src, err := parseSecret(k.Value, v, path, warn)
			if err != nil {
				return nil, usage("%s:%d: secret %s: %w", path, k.Line, k.Value, err)
			}
			out = append(out, src)
		}
	}
	return out, nil
}

// parseSecret reads {provider: stripe, path: /hooks, env: VARIABLE}.
func parseSecret(name string, n *yaml.Node, path string, warn func(string)) (signature.Source, error) {
	src := signature.Source{Name: name, Provider: name}
	if n.Kind != yaml.MappingNode {
		return src, errors.New("say where it is, as in {env: VARIABLE} or {file: PATH}")
	}
	var env, files, values []string
	c := &src.Scheme
	texts := map[string]*string{
		"provider": &src.Provider, "path": &src.Path, "header": &c.Header, "algorithm": &c.Algorithm, "encoding": &c.Encoding,
		"prefix": &c.Prefix, "timestamp": &c.Timestamp, "template": &c.Template,
	}
	lists := map[string]*[]string{"env": &env, "file": &files, "value": &values}
	ofHMAC := ""
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case lists[k.Value] != nil && v.Kind == yaml.SequenceNode:
			if err := v.Decode(lists[k.Value]); err != nil {
				return src, fmt.Errorf("line %d: %s is one value or a list", v.Line, k.Value) // and not what yaml says: that may quote a secret
			}
		case lists[k.Value] == nil && texts[k.Value] == nil:
			known := []string{"env", "file", "value"}
			for t := range texts {
				known = append(known, t)
			}
			return src, fmt.Errorf("line %d: unknown setting %q%s", k.Line, k.Value, didYouMean(k.Value, known))
		case v.Kind != yaml.ScalarNode:
			return src, fmt.Errorf("line %d: %s is one value", v.Line, k.Value)
		case lists[k.Value] != nil:
			*lists[k.Value] = []string{v.Value}
		default:
			*texts[k.Value] = v.Value
			if k.Value != "provider" && k.Value != "path" {
				ofHMAC = k.Value
			}
		}
	}
	if !slices.Contains(signature.Providers, src.Provider) {
		return src, fmt.Errorf("provider is %s, not %q", oneOf(signature.Providers), src.Provider)
	}
	switch {
	case src.Provider == signature.HMAC:
		if err := c.Check(); err != nil {
			return src, err
		}
	case ofHMAC != "":
		return src, fmt.Errorf("%s is for provider: hmac; how %s signs is known", ofHMAC, src.Provider)
	}
	if len(env)+len(files)+len(values) == 0 {
		return src, errors.New("say where it is: env, file or value")
	}
	for _, e := range env {
		if v := strings.TrimSpace(os.Getenv(e)); v != "" {
			src.Secrets = append(src.Secrets, signature.Secret{Value: v, From: e})
		}
	}
	for _, f := range files {
		list, err := secretFile(f, warn)
		if err != nil {
			warn(fmt.Sprintf("secret %s: %v", name, err))
		}
		src.Secrets = append(src.Secrets, list...)
	}
	for _, v := range values {
		src.Secrets = append(src.Secrets, signature.Secret{Value: strings.TrimSpace(v), From: path})
	}
	if len(src.Secrets) == 0 && len(env) > 0 {
		warn(fmt.Sprintf("secret %s: %s is not set", name, strings.Join(env, " or ")))
	}
	if st, err := os.Stat(path); len(values) > 0 && err == nil {
		warnReadable(st, path, warn)
	}
	return src, nil
}

// secretFile reads a file with one secret a line, the newest first.
func secretFile(path string, warn func(string)) ([]signature.Secret, error) {
	name := path
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		name = filepath.Join(home, rest)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err == nil {
		warnReadable(st, path, warn)
	}
	data, err := io.ReadAll(io.LimitReader(f, 16*maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(data) > 16*maxSecret {
		return nil, fmt.Errorf("%s is too large for secrets, one a line", path)
	}
	var out []signature.Secret
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		if line := strings.TrimSpace(sc.Text()); line != "" {
			out = append(out, signature.Secret{Value: line, From: path})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return out, nil
}

func warnReadable(st fs.FileInfo, path string, warn func(string)) {
	if os.PathSeparator == '/' && st.Mode().IsRegular() && st.Mode().Perm()&0o044 != 0 {
		warn(fmt.Sprintf("%s holds a secret and can be read by others (mode %04o): chmod 600 %s", path, st.Mode().Perm(), path))
	}
}

func newVerify(o *options) *cobra.Command {
	var tunnelName, provider string
	cmd := &cobra.Command{
		Use:   "verify <id>...",
		Short: "Say whether webhooks are signed with your secret, and if not, why",
		Long: `Say whether captured webhooks are signed with your secret, and if not, why:
the secret is another one, the body was altered, the timestamp has run out, a digest
or secret is in the wrong encoding, a header is missing or malformed.

Stripe, GitHub, Slack, Shopify and Standard Webhooks are known; any other HMAC is
described in the configuration file. Secrets are read on this machine, from variables
such as LROK_SECRET_STRIPE, from files, and from the secrets in the configuration
file, and never reach the edge. The exit code is 1 unless all signatures are valid.`,
		Example: `  lrok verify last
  lrok verify '#1279' --provider github --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := o.secrets(o.warnSecret)
			if err != nil {
				return err
			}
			if err := knownSource(provider, sources); err != nil {
				return err
			}
			api, done, err := o.api(cmd.Context(), tunnelName)
			if err != nil {
				return err
			}
			defer done()
			bad := false
			for _, ref := range args {
				x, err := findExchange(cmd.Context(), api, tunnelName, ref)
				if err != nil {
					return whichTunnel(cmd, args, err)
				}
				var original *inspector.Exchange
				if x.ReplayOf != "" {
					if was, err := api.Exchange(cmd.Context(), x.ReplayOf); err == nil {
						original = &was // it may be gone: then less is known
					}
				}
				v, ok := signature.Judge(&x, sources, provider, original)
				if !ok {
					v = signature.Verdict{Cause: "unsigned", Detail: "it carries no signature that is known here; say with --provider whose it is to carry"}
				}
				bad = bad || !v.Valid
				if err := o.lines(cmd.OutOrStdout()).verdict(&x, v); err != nil {
					return err
				}
			}
			if bad {
				return errDiffers
			}
			return nil
		},
	}
	tunnelFlag(cmd, &tunnelName)
	cmd.Flags().StringVar(&provider, "provider", "", oneOf(signature.Providers)+", or a name in secrets: whose signature it is to be")
	onlyFlags(cmd, "provider")
	return cmd
}

// knownSource refuses a name that is neither a provider nor configured.
func knownSource(name string, sources []signature.Source) error {
	known := slices.Clone(signature.Providers)
	for _, s := range sources {
		known = append(known, s.Name)
	}
	if name != "" && name != resignDetected && !slices.Contains(known, name) {
		return usage("%q is no provider, and no secret is called so%s", name, didYouMean(name, known))
	}
	return nil
}

func (l *lines) verdict(x *inspector.Exchange, v signature.Verdict) error {
	if l.json {
		return l.encode(struct {
			V       int               `json:"v"`
			Type    string            `json:"type"`
			ID      string            `json:"id"`
			Number  uint64            `json:"number"`
			Method  string            `json:"method"`
			Path    string            `json:"path"`
			Verdict signature.Verdict `json:"verdict"`
		}{1, "verdict", x.ID, x.Number, x.Method, x.Path, v})
	}
	text := format.Sanitize(v.Text())
	if v.Provider == "" {
		text = v.Detail
	}
	if l.color && v.Valid {
		text = "\x1b[32m" + text + "\x1b[0m"
	} else if l.color {
		text = "\x1b[31m" + text + "\x1b[0m"
	}
	_, err := fmt.Fprintf(l.w, "#%d %s %s\n    %s\n", x.Number, format.Sanitize(x.Method), pathOf(x), text)
	return err
}
