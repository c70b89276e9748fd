package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/edge/store"
	"github.com/lrok-dev/lrok/inspector/format"
	"github.com/lrok-dev/lrok/tunnel"
)

func newLogin(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "login [host]",
		Short: "Keep an edge and a key for all further commands",
		Long: `Keep an edge and a key for all further commands, in a file that only you can read.

The host is the edge's control address, tunnel.<domain>. The key is asked for on the
terminal, or comes from LROK_API_KEY, LROK_API_KEY_FILE or standard input. Both are
tried before they are kept.

An edge with an authority of its own is trusted when you give that: --edge-ca ca.pem,
or --edge-ca sha256:FINGERPRINT with the fingerprint that lrok serve printed.`,
		Example: `  lrok login tunnel.lrok.example.com
  lrok login 203.0.113.7 --edge-ca ca.pem
  lrok login tunnel.lrok.example.com < key`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return unfinished(cmd.Context(), o.login(cmd.Context(), arg(args, 0)))
		},
	}
}

func (o *options) login(ctx context.Context, host string) error {
	path, err := loginPath()
	if err != nil {
		return err
	}
	old, err := readReach(path)
	if err == nil && old.Process != 0 && old.alive() {
		return usage("an edge for trying out runs on this machine and is logged in to (lrok serve --dev): end it first")
	}
	r := &reach{from: path}
	switch {
	case host != "":
		r.Edge = host
	case o.edge != "":
		r.Edge = o.edge
	case old != nil && old.Edge != "" && old.Process == 0:
		r.Edge, r.CA = old.Edge, old.CA
	default:
		return usage("say which edge: lrok login tunnel.<domain>")
	}
	if strings.Contains(r.Edge, "/") {
		return usage("%q is no host: an edge is reached at its control address, as tunnel.lrok.example.com", r.Edge)
	}
	r.Edge = withPort(r.Edge)
	if err := o.trust(ctx, r); err != nil {
		return err
	}
	if r.Key, err = o.loginKey(ctx, r); err != nil {
		return err
	}
	api, done, err := o.apiOf(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	me, err := api.Me(ctx)
	if err != nil {
		return err
	}
	if err := r.write(path); err != nil {
		return err
	}
	if o.json {
		return printJSON(o.stdout, me)
	}
	if o.edge != "" && host != "" && o.origins["edge"].from != "default" && withPort(o.edge) != r.Edge {
		_, _ = fmt.Fprintf(o.stderr, "note: %s says another edge, %s, and counts more than this login\n", o.origins["edge"].from, o.edge)
	}
	_, err = fmt.Fprintf(o.stdout, "logged in to %s as %s\nkept in %s\n", r.Edge, format.Sanitize(me.Name), path)
	return err
}

// fingerprintPrefix begins an --edge-ca that is no file.
const fingerprintPrefix = "sha256:"

// trust finds out, before any key is sent, whether the edge's certificate is
// believed, and completes r with an authority that was asked for.
func (o *options) trust(ctx context.Context, r *reach) error {
	print, byPrint := strings.CutPrefix(o.edgeCA, fingerprintPrefix)
	if o.edgeCA != "" && !byPrint {
		pem, err := os.ReadFile(o.edgeCA)
		if err != nil {
			return usage("--edge-ca: %w", err)
		}
		r.CA = string(pem)
	}
	if byPrint {
		r.CA = ""
	}
	config, err := r.tls()
	if err != nil {
		return err
	}
	chain, err := handshake(ctx, r.Edge, config)
	if err == nil && !byPrint {
		return nil
	}
	if unknown := (x509.UnknownAuthorityError{}); err == nil || errors.As(err, &unknown) {
		ca := authority(chain)
		if ca == nil {
			if err == nil {
				return nil // a fingerprint was given for an edge that needs none
			}
			return unvouched(r, chain, err, byPrint)
		}
		sum := sha256.Sum256(ca.Raw)
		seen := hex.EncodeToString(sum[:])
		if byPrint && plainHex(print) == seen {
			r.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
			return nil
		}
		e := &tunnel.Error{
			Code:    codeUnreachable,
			Message: fmt.Sprintf("this machine does not know who vouches for %s: %s, SHA-256 %s", r.Edge, ca.Subject.CommonName, seen),
			Hint:    "compare that with what lrok serve printed on the edge, and only if it is the same: lrok login " + r.Edge + " --edge-ca sha256:" + seen,
		}
		if byPrint {
			e.Message = fmt.Sprintf("%s is not vouched for by the authority you named: it shows %s, SHA-256 %s", r.Edge, ca.Subject.CommonName, seen)
			e.Hint = "look again at what lrok serve printed; if that is not this, somebody may be in between"
		}
		return e
	}
	return unreachable(r, err)
}

// unvouched explains an edge that does not show the authority behind its
// certificate: a fingerprint cannot be looked for in what is not sent.
func unvouched(r *reach, chain []*x509.Certificate, err error, byPrint bool) error {
	if len(chain) == 0 {
		return unreachable(r, err)
	}
	issuer := format.Sanitize(chain[len(chain)-1].Issuer.CommonName)
	e := &tunnel.Error{
		Code:    codeUnreachable,
		Message: fmt.Sprintf("this machine does not know the authority %q, which vouches for %s", issuer, r.Edge),
		Hint:    "copy the certificate of that authority to here, and name the file: lrok login " + r.Edge + " --edge-ca ca.pem",
	}
	if byPrint {
		e.Message += ", and the edge does not send its certificate, whose fingerprint you gave"
	}
	return e
}

// plainHex is a fingerprint without what people put between its digits.
func plainHex(s string) string {
	return strings.ToLower(strings.NewReplacer(":", "", " ", "", "-", "").Replace(s))
}

// handshake connects to see the certificate, and says nothing. The chain is
// there as well when it was not believed.
func handshake(ctx context.Context, addr string, config *tls.Config) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var chain []*x509.Certificate
	config = config.Clone()
	config.MinVersion, config.NextProtos = tls.VersionTLS13, []string{tunnel.ALPN}
	d := tls.Dialer{Config: config}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		chain = c.(*tls.Conn).ConnectionState().PeerCertificates
		return chain, c.Close()
	}
	if bad := (*tls.CertificateVerificationError)(nil); errors.As(err, &bad) {
		chain = bad.UnverifiedCertificates
	}
	return chain, err
}

// authority is the certificate that the others of a chain hang on, if the edge
// sent it and it did sign the first one.
func authority(chain []*x509.Certificate) *x509.Certificate {
	if len(chain) < 2 {
		return nil
	}
	ca := chain[len(chain)-1]
	for i := range len(chain) - 1 {
		if chain[i].CheckSignatureFrom(chain[i+1]) != nil {
			return nil
		}
	}
	if !ca.IsCA || ca.CheckSignatureFrom(ca) != nil {
		return nil
	}
	return ca
}

// loginKey is the key to log in with: from the settings, from a pipe, or from
// somebody who types it.
func (o *options) loginKey(ctx context.Context, r *reach) (string, error) {
	key, err := o.key()
	if err != nil || key != "" {
		return key, err
	}
	if o.canAsk() {
		key, err = o.askSecret(ctx, "API key for "+r.Edge+" (it does not show): ")
	} else {
		key, err = readSecret(o.stdin, "key")
	}
	if err != nil {
		return "", err
	}
	if key = strings.TrimSpace(key); key == "" {
		return "", &tunnel.Error{Code: tunnel.CodeKey, Message: "no key was given", Hint: "set LROK_API_KEY, LROK_API_KEY_FILE, or pipe it in: lrok login HOST < key"}
	}
	_, err = store.ParseKey(key) // a slip of the finger is told before anything is sent
	return key, err
}

func newLogout(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "Forget the edge and the key that lrok login kept",
		Example: "  lrok logout",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := loginPath()
			if err != nil {
				return err
			}
			if r, err := readReach(path); err == nil && r.Process != 0 && r.alive() {
				return usage("this login is of an edge for trying out, and goes with it: end lrok serve --dev")
			}
			if err := os.Remove(path); errors.Is(err, os.ErrNotExist) {
				return o.done(map[string]any{"loggedOut": false}, "nobody was logged in")
			} else if err != nil {
				return fmt.Errorf("forget the login: %w", err)
			}
			return o.done(map[string]any{"loggedOut": true}, "logged out: the key is gone from this machine and still works; revoke it with lrok keys revoke where you are logged in")
		},
	}
}

func newWhoami(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Say whose key is in use, and at which edge",
		Example: "  lrok whoami\n  lrok whoami --json | jq -r .id",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := o.findReach()
			if err != nil {
				return err
			}
			api, done, err := o.apiOf(cmd.Context(), r)
			if err != nil {
				return err
			}
			defer done()
			me, err := api.Me(cmd.Context())
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(o.stdout, me)
			}
			role := ""
			if me.Admin {
				role = ", administrator"
			}
			_, err = fmt.Fprintf(o.stdout, "%s (%s%s) with key %s at %s\n", format.Sanitize(me.Name), me.ID, role, describeKey(me.Key), r.Edge)
			return err
		},
	}
}

func describeKey(k client.Key) string {
	s := format.Sanitize(cmp.Or(k.Name, k.ID))
	if k.Prefix != "" {
		s += " (" + k.Prefix + "…" + k.Last4 + ")"
	}
	return s
}
