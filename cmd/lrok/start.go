package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lrok-dev/lrok/tunnel"
)

func newStart(o *options) *cobra.Command {
	var quiet, takeover bool
	cmd := &cobra.Command{
		Use:   "start [name...]",
		Short: "Start tunnels of the configuration file, all or those named, in one screen",
		Long: `Start tunnels of the configuration file, all or those named, in one screen.

Each is a line below tunnels: with what it leads to (http, tcp or tls) and, as in the
flags of those commands, hint, domain, host_header, upstream_proto, basic_auth,
basic_auth_file, allow, deny, remote_port, proxy_protocol and inspect:

  tunnels:
    shop: {http: 3000, hint: shop-dev}
    db:   {tcp: 5432, remote_port: 30007, allow: [203.0.113.0/24]}

The name asked for is the hint, or without one what the line is called: db. What
cannot be a name, as with capitals, is for this file alone, and the edge chooses one.

On the screen a tunnel that the edge refuses says why in its tab, and the others work.
It is asked for again every 30 seconds when the reason can pass, as of a name that is
taken, and with the key a at once. Without the screen lrok starts all of them, or
none and says why.`,
		Example: "  lrok start\n  lrok start shop db --plain",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			s, _, err := tunnelSection(cmd)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := slices.DeleteFunc(keysOf(s.node), func(n string) bool { return slices.Contains(args, n) })
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ws, err := o.configured(cmd.Context(), cmd, args)
			if err != nil {
				return err
			}
			for i := range ws {
				ws[i].quiet, ws[i].claim.Takeover = quiet, takeover
			}
			return (&up{o: o, wishes: ws}).run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no screen and no line for each request: the URLs, and what happens to the connection")
	cmd.Flags().BoolVar(&takeover, "takeover", false, "take the names from another lrok of yours")
	o.handover.flags(cmd)
	o.captureFlag(cmd)
	return cmd
}

// configured reads the tunnels called names, or all, from the file.
func (o *options) configured(ctx context.Context, cmd *cobra.Command, names []string) ([]wish, error) {
	s, path, err := tunnelSection(cmd)
	if err != nil {
		return nil, err
	}
	known := keysOf(s.node)
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, usage("%s has no tunnel %q%s", path, n, didYouMean(n, known))
		}
	}
	var ws []wish
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		k, v := s.node.Content[i], s.node.Content[i+1]
		if len(names) > 0 && !slices.Contains(names, k.Value) {
			continue
		}
		w, service, err := parseWish(v)
		if err == nil {
			err = w.resolve(ctx, o, service)
		}
		if err != nil {
			return nil, usage("%s:%d: tunnel %s: %w", path, k.Line, k.Value, err)
		}
		// What the tunnel is called here is what it is to be called there; a key that
		// cannot be a name is one for this file alone.
		if w.claim.Name == "" && w.claim.Domain == "" {
			switch err := tunnel.CheckName(k.Value); {
			case err == nil:
				w.claim.Name = k.Value
			case tunnel.ReservedName(k.Value): // somebody who reads it expects that name
				return nil, usageError{&tunnel.Error{
					Code: tunnel.CodeNameInvalid, Message: fmt.Sprintf("%s:%d: tunnel %s: %s", path, k.Line, k.Value, err),
					Hint: "ask for another name in that line, as in hint: my-" + k.Value,
				}}
			}
		}
		// The place in the file, and not the directory that lrok was started in,
		// makes the name that the edge chooses.
		w.claim.Project = project(filepath.Clean(path) + "\x00" + k.Value)
		ws = append(ws, w)
	}
	return ws, nil
}

func keysOf(n *yaml.Node) []string {
	var out []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, n.Content[i].Value)
	}
	return out
}

// parseWish reads {http: 3000, hint: shop}.
func parseWish(n *yaml.Node) (w wish, service string, err error) {
	w.fromFile = true
	if n.Kind != yaml.MappingNode {
		return w, "", errors.New("say what it leads to, as in {http: 3000}")
	}
	c := &w.claim
	texts := map[string]*string{
		"hint": &c.Name, "domain": &c.Domain, "host_header": &c.HostHeader, "upstream_proto": &c.UpstreamProto,
		"basic_auth": &c.BasicUser, "basic_auth_file": &w.passwordFile, "proxy_protocol": &c.ProxyProtocol,
	}
	lists := map[string]*[]string{"allow": &c.Allow, "deny": &c.Deny}
	onlyHTTP := []string{"host_header", "upstream_proto", "basic_auth", "basic_auth_file"}
	keys := keysOf(n)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i].Value, n.Content[i+1]
		switch {
		case lists[k] != nil && v.Kind == yaml.SequenceNode:
			err = v.Decode(lists[k])
		case v.Kind != yaml.ScalarNode:
			err = errors.New("is one value")
		case lists[k] != nil:
			*lists[k] = strings.Split(v.Value, ",")
		case texts[k] != nil:
			*texts[k] = v.Value
		case k == "http" || k == "tcp" || k == "tls":
			if service != "" {
				return w, "", errors.New("it leads to one service: http, tcp or tls")
			}
			c.Kind, service = tunnel.Kind(k), v.Value
		case k == "remote_port":
			c.RemotePort, err = strconv.Atoi(v.Value)
		case k == "inspect":
			var inspect bool
			inspect, err = strconv.ParseBool(v.Value)
			c.NoInspect = !inspect
		default:
			known := []string{"http", "tcp", "tls", "remote_port", "inspect", "allow", "deny"}
			for name := range texts {
				known = append(known, name)
			}
			return w, "", fmt.Errorf("line %d: unknown setting %q%s", n.Content[i].Line, k, didYouMean(k, known))
		}
		if err != nil {
			return w, "", fmt.Errorf("line %d: %s: %w", n.Content[i].Line, k, err)
		}
	}
	if service == "" {
		return w, "", errors.New("say what it leads to: http, tcp or tls")
	}
	for _, k := range keys {
		switch {
		case slices.Contains(onlyHTTP, k) && c.Kind != tunnel.HTTP,
			k == "proxy_protocol" && c.Kind == tunnel.HTTP,
			k == "remote_port" && c.Kind != tunnel.TCP,
			k == "domain" && c.Kind == tunnel.TCP:
			return w, "", fmt.Errorf("%s is not for %s tunnels", k, c.Kind)
		}
	}
	return w, service, nil
}

// tunnelSection is the part of the configuration file that holds the tunnels.
func tunnelSection(cmd *cobra.Command) (fileSetting, string, error) {
	path, optional := configPath(cmd)
	file, err := readFile(path)
	if err != nil && !(optional && errors.Is(err, fs.ErrNotExist)) {
		return fileSetting{}, path, usage("%w", err)
	}
	for _, s := range file {
		if s.key == tunnelsKey && s.values == nil && len(s.node.Content) > 0 {
			return s, path, nil
		}
	}
	return fileSetting{}, path, usage("no tunnels are configured; put them into %s:\n\ntunnels:\n  shop: {http: 3000, hint: shop-dev}\n  db: {tcp: 5432}", path)
}
