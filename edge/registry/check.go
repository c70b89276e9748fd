package registry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/tunnel"
)

// Most that a claim may say. What it says is kept for as long as its tunnel.
const (
	maxProject = 1024
	maxLocal   = 512
	maxHost    = 253
	maxLogin   = 255 // of the user and of the password
	maxRules   = 64  // of Allow and Deny together
)

// A wish is a claim that makes sense, with what was read from it.
type wish struct {
	tunnel.Claim // without the password
	access       *Access

	// place is the port that was opened for it, before the grant. avoid holds
	// the ports that could not be opened.
	place *place
	avoid map[int]bool
}

// check reads the claims and refuses what no state of the registry could grant.
func (r *Registry) check(claims []tunnel.Claim) ([]*wish, *tunnel.Error) {
	wishes := make([]*wish, len(claims))
	for i, c := range claims {
		w := &wish{Claim: c}
		for _, check := range []func(*wish) *tunnel.Error{checkLengths, r.checkKind, checkOptions, r.checkName, r.checkDomain, readAccess} {
			if err := check(w); err != nil {
				return nil, err.About(i + 1)
			}
		}
		wishes[i] = w
	}
	return wishes, nil
}

func invalid(message, hint string) *tunnel.Error {
	return &tunnel.Error{Code: tunnel.CodeInvalid, Message: message, Hint: hint}
}

func checkLengths(w *wish) *tunnel.Error {
	for _, text := range []struct {
		what, value string
		limit       int
	}{
		{"project", w.Project, maxProject},
		{"local service", w.Local, maxLocal},
		{"domain", w.Domain, maxHost},
		{"host header", w.HostHeader, maxHost},
		{"basic-auth user", w.BasicUser, maxLogin},
		{"basic-auth password", w.BasicPassword, maxLogin},
	} {
		if len(text.value) > text.limit {
			return invalid(fmt.Sprintf("the %s is longer than %d bytes", text.what, text.limit), "choose a shorter one")
		}
	}
	if n := len(w.Allow) + len(w.Deny); n > maxRules {
		return invalid(fmt.Sprintf("%d rules of --allow and --deny, and a tunnel may have %d", n, maxRules), "put networks together, as in 10.0.0.0/8")
	}
	return nil
}

func (r *Registry) checkKind(w *wish) *tunnel.Error {
	unsupported := func(message, hint string) *tunnel.Error {
		return &tunnel.Error{Code: tunnel.CodeUnsupported, Message: message, Hint: hint}
	}
	first, last := r.cfg.Ports[0], r.cfg.Ports[1]
	switch {
	case w.Kind == tunnel.HTTP:
		return nil
	case w.Kind == tunnel.TLS:
		if r.cfg.URL("name."+r.cfg.Domain, tunnel.TLS) == "" {
			return unsupported("this edge takes no TLS connections", "ask whoever runs the edge for --https, or use lrok http")
		}
		return nil
	case w.Kind != tunnel.TCP:
		return unsupported(fmt.Sprintf("this edge does not know tunnels of kind %q", clip(string(w.Kind))), "update the edge, or use lrok http")
	case last == 0:
		return unsupported("this edge has no ports for TCP", "ask whoever runs the edge for --tcp-ports, or use lrok http")
	case w.RemotePort != 0 && (w.RemotePort < first || w.RemotePort > last):
		return invalid(fmt.Sprintf("port %d is not one of this edge's, which are %d to %d", w.RemotePort, first, last),
			"ask for one of these with --remote-port, or leave it out")
	}
	return nil
}

// checkOptions refuses options that would do nothing: their owner would believe
// that they do.
func checkOptions(w *wish) *tunnel.Error {
	web, raw := w.Kind == tunnel.HTTP, w.Kind != tunnel.HTTP
	for _, option := range []struct {
		flag    string
		given   bool
		foreign bool // to tunnels of this kind
		why     string
	}{
		{"domain", w.Domain != "", w.Kind == tunnel.TCP, "a TCP port has no host name"},
		{"remote-port", w.RemotePort != 0, w.Kind != tunnel.TCP, "only TCP tunnels have a port of their own"},
		{"host-header", w.HostHeader != "", raw, "the edge does not read what passes"},
		{"upstream-proto", w.UpstreamProto != "", raw, "the edge does not read what passes"},
		{"basic-auth", w.BasicUser != "" || w.BasicPassword != "", raw, "only HTTP can ask for a password; use --allow"},
		{"proxy-protocol", w.ProxyProtocol != "", web, "the local service finds the client in X-Forwarded-For"},
	} {
		if option.given && option.foreign {
			return invalid(fmt.Sprintf("--%s is not for tunnels of kind %s: %s", option.flag, w.Kind, option.why), "leave --"+option.flag+" out")
		}
	}
	switch w.ProxyProtocol {
	case "", "v1", "v2":
	default:
		return invalid(fmt.Sprintf("--proxy-protocol is v1 or v2, not %q", clip(w.ProxyProtocol)), "use v2 unless the local service wants v1")
	}
	switch w.UpstreamProto {
	case "", "h1", "h2c":
	default:
		return invalid(fmt.Sprintf("--upstream-proto is h1 or h2c, not %q", clip(w.UpstreamProto)), "leave it out unless the local service speaks HTTP/2 without TLS")
	}
	if h := w.HostHeader; h != "" && h != "rewrite" {
		if _, err := http1.CanonicalHost(h); err != nil {
			return invalid(fmt.Sprintf("--host-header: %q is no host", clip(h)), "say rewrite, or a host such as localhost:3000")
		}
	}
	return nil
}

// clip makes a text of a claim short enough for a message.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}

func (r *Registry) checkName(w *wish) *tunnel.Error {
	switch {
	case w.Name == "":
		return nil
	case r.reserved[w.Name]:
		return &tunnel.Error{
			Code:    tunnel.CodeName,
			Message: fmt.Sprintf("name %q is reserved", w.Name),
			Hint:    "choose another: --hint my-" + w.Name,
		}
	}
	var e *tunnel.Error
	if errors.As(tunnel.CheckName(w.Name), &e) && e.Hint == "" {
		return &tunnel.Error{Code: e.Code, Message: e.Message, Hint: "leave --hint out for a name that the edge chooses"}
	}
	return e
}

// checkDomain gives the domain its canonical form. Whose it is, is decided
// under the lock.
func (r *Registry) checkDomain(w *wish) *tunnel.Error {
	if w.Domain == "" {
		return nil
	}
	host, err := http1.CanonicalHost(w.Domain)
	if err != nil || strings.ContainsAny(w.Domain, ":[]") {
		return &tunnel.Error{
			Code:    tunnel.CodeDomain,
			Message: fmt.Sprintf("%q is no domain", clip(w.Domain)),
			Hint:    "say a host name without scheme, port and path, such as shop.example.com",
		}
	}
	if host == r.cfg.Domain || strings.HasSuffix(host, "."+r.cfg.Domain) {
		return &tunnel.Error{
			Code:    tunnel.CodeDomain,
			Message: fmt.Sprintf("%q is the edge's own domain", host),
			Hint:    "ask for a name on it with --hint",
		}
	}
	w.Domain = host
	return nil
}

// readAccess takes the rules out of the claim, and the password, of which only
// the hash is kept.
func readAccess(w *wish) *tunnel.Error {
	user, password := w.BasicUser, w.BasicPassword
	w.BasicPassword = ""
	switch {
	case user == "" && password != "":
		return invalid("a basic-auth password without a user", "say --basic-auth USER as well")
	case user != "" && password == "":
		return invalid("--basic-auth needs a password", "set LROK_BASIC_AUTH")
	case strings.Contains(user, ":"):
		return invalid("a basic-auth user has no colon", "choose another user for --basic-auth")
	case strings.ContainsFunc(user+password, unicode.IsControl):
		return invalid("the basic-auth user or password has a control character", "choose others")
	}
	a := &Access{User: user}
	if user != "" {
		a.Hash = sha256.Sum256([]byte(password))
	}
	for _, rules := range []struct {
		flag string
		from []string
		to   *[]netip.Prefix
	}{
		{"allow", w.Allow, &a.Allow},
		{"deny", w.Deny, &a.Deny},
	} {
		for _, rule := range rules.from {
			p, ok := readRule(rule)
			if !ok {
				return invalid(fmt.Sprintf("--%s: %q is no address and no network", rules.flag, clip(rule)), "write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32")
			}
			*rules.to = append(*rules.to, p)
		}
	}
	if user != "" || len(a.Allow)+len(a.Deny) > 0 {
		w.access = a
	}
	return nil
}

// readRule reads an address or a network. Those of IPv4 that are written as
// IPv6 become IPv4, as clients do: they would never match otherwise.
func readRule(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, false
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false // half of it would be IPv6
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
