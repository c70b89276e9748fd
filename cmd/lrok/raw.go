package main

import (
	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/tunnel"
)

// Raw tunnels carry bytes that the edge does not understand: those of a TCP
// port, and those of TLS connections that end at the local service.

func newTCP(o *options) *cobra.Command {
	var t wish
	cmd := &cobra.Command{
		Use:   "tcp <port | host:port | unix:/path>",
		Short: "Give a local TCP service a public port",
		Long: `Give a local TCP service a public port, for databases, SSH and everything that is
not HTTP.

The port is one of the edge's range and stays the same for a key and a name. On
standard output the address comes first, then a line for each connection that is
opened and closed. With --proxy-protocol the service learns who calls.`,
		Example: `  lrok tcp 5432
  lrok tcp 22 --remote-port 30007 --allow 203.0.113.0/24
  lrok tcp localhost:5432 --hint db --proxy-protocol v2
  lrok tcp 6379 --json | jq 'select(.type=="connection_closed")'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.claim.Kind = tunnel.TCP
			if err := t.resolve(cmd.Context(), o, args[0]); err != nil {
				return err
			}
			return (&up{o: o, wishes: []wish{t}}).run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.IntVar(&t.claim.RemotePort, "remote-port", 0, "the public port to ask for, one of the edge's range")
	t.rawFlags(o, cmd)
	onlyFlags(cmd, "remote-port")
	return cmd
}

func newTLS(o *options) *cobra.Command {
	var t wish
	cmd := &cobra.Command{
		Use:   "tls <port | host:port | unix:/path>",
		Short: "Give a local TLS service a public name, without ending its TLS",
		Long: `Give a local TLS service a public name, without ending its TLS.

The service has the certificate and the key. The edge reads the name that a client
asks for (SNI), passes the connection on as it is, and sees only ciphertext: it
has no part in the certificate and can show no requests.`,
		Example: `  lrok tls 8443
  lrok tls 8443 --hint vault
  lrok tls localhost:8443 --domain secure.example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.claim.Kind = tunnel.TLS
			if err := t.resolve(cmd.Context(), o, args[0]); err != nil {
				return err
			}
			return (&up{o: o, wishes: []wish{t}}).run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&t.claim.Domain, "domain", "", "a verified domain of yours to serve on, instead of a name under the edge's domain")
	t.rawFlags(o, cmd)
	onlyFlags(cmd, "domain")
	_ = cmd.RegisterFlagCompletionFunc("domain", o.completeDomains)
	return cmd
}

// rawFlags are those of both kinds.
func (w *wish) rawFlags(o *options, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.claim.Name, "hint", "", "the name to ask for; without it the edge chooses one that stays the same for this directory and port")
	f.StringVar(&w.claim.ProxyProtocol, "proxy-protocol", "", "begin each connection to the service with a PROXY header that names the caller: v1 or v2")
	w.accessFlags(cmd)
	f.BoolVar(&w.claim.Takeover, "takeover", false, "take the name from another lrok of yours")
	f.BoolVarP(&w.quiet, "quiet", "q", false, "no screen and no line for each connection: the address, and what happens to the link")
	f.BoolVar(&w.claim.NoInspect, "no-inspect", false, "keep no list of connections")
	o.handover.flags(cmd)
	onlyFlags(cmd, "proxy-protocol")
	_ = cmd.RegisterFlagCompletionFunc("proxy-protocol", cobra.FixedCompletions([]string{"v1", "v2"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("hint", o.completeReservations)
}
