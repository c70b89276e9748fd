package domains

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/tunnel"
)

// maxHost leaves room for the label of the proof in front.
const maxHost = 253 - len(proofLabel)

// canonical returns the form in which host is kept, or why it cannot be
// anybody's domain here. What a host is called is decided by the edge's one
// function for it; what is added here only refuses.
func (d *Domains) canonical(host string) (string, error) {
	refuse := func(message, hint string) (string, error) {
		return "", &tunnel.Error{Code: tunnel.CodeInvalid, Message: message, Hint: hint}
	}
	c, err := hostname(host)
	if err != nil {
		return "", err
	}
	if c == d.cfg.Domain || strings.HasSuffix(c, "."+d.cfg.Domain) {
		return refuse(fmt.Sprintf("%s belongs to the edge itself", c), "for a name below it: lrok reserve NAME")
	}
	if c == "localhost" || strings.HasSuffix(c, ".localhost") {
		return refuse(c+" is each machine's own name for itself", "give a host of a domain that is yours")
	}
	if !strings.Contains(c, ".") {
		return refuse(fmt.Sprintf("%q is a single word, not a host on the Internet", c), "give the whole host, such as "+c+".example.com")
	}
	// One suffix is kept by the registries, the other by hosts such as github.io:
	// a certificate for either would be somebody else's.
	if suffix, _ := publicsuffix.PublicSuffix(c); suffix == c {
		return refuse(c+" is a public suffix: everybody registers domains below it", "give a host below it that is yours")
	}
	return c, nil
}

// hostname returns the canonical form of a host that may stand in the DNS and
// in a certificate.
func hostname(host string) (string, error) {
	invalid := &tunnel.Error{
		Code:    tunnel.CodeInvalid,
		Message: fmt.Sprintf("%q is not a host name", shorten(host)),
		Hint:    "give the host alone, such as shop.example.com",
	}
	if strings.ContainsAny(host, ":[]/@") { // a port is cut off by CanonicalHost
		return "", invalid
	}
	c, err := http1.CanonicalHost(host)
	if err != nil || len(c) > maxHost {
		return "", invalid
	}
	if _, err := netip.ParseAddr(c); err == nil {
		return "", &tunnel.Error{
			Code:    tunnel.CodeInvalid,
			Message: c + " is an address, not a host name",
			Hint:    "give a host such as shop.example.com",
		}
	}
	labels := strings.Split(c, ".")
	for _, l := range labels {
		// No certificate is issued for a name with an underscore.
		if strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") || strings.Contains(l, "_") {
			return "", invalid
		}
	}
	// Browsers take a name that ends in a number for an IPv4 address.
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", invalid
	}
	// Punycode that is not what its characters would be encoded as is a second
	// name for another host.
	if ascii, err := idna.Lookup.ToASCII(c); err != nil || ascii != c {
		return "", invalid
	}
	return c, nil
}

func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
