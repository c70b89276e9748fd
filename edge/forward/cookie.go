package forward

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/lrok-dev/lrok/edge/http1"
)

// A cookie whose Domain is the edge's would be sent to everybody's tunnels and
// to the API: one tunnel could log its visitors into an account of its own
// there, or push their sessions out. This is the one thing that is not passed on
// of an answer.

// fences reports whether the tunnel that answers for host shares its parent
// domain with others. A custom domain is its owner's own.
func (f *Forwarder) fences(host []byte) bool {
	d := f.cfg.Domain
	n := len(host) - len(d)
	return n > 1 && host[n-1] == '.' && string(host[n:]) == d
}

// reachesOut reports whether a Set-Cookie value names domain, or what is above
// it, as where the cookie is to be sent. It reads the value as RFC 6265, 5.2
// does, and where programs read more leniently, as they do: quotes, several dots
// in front, one behind, and what stands after a comma do not help.
func reachesOut(value []byte, domain string) bool {
	_, attributes, _ := bytes.Cut(value, []byte(";"))
	var last []byte
	for len(attributes) > 0 {
		var a []byte
		a, attributes, _ = bytes.Cut(attributes, []byte(";"))
		name, v, _ := bytes.Cut(a, []byte("="))
		if !bytes.EqualFold(bytes.Trim(name, " \t"), []byte("domain")) {
			continue
		}
		v, _, _ = bytes.Cut(v, []byte(","))
		if v = bytes.TrimLeft(bytes.Trim(v, " \t\"'"), "."); len(v) > 0 {
			last = v // of several the last one counts, and an empty one does not
		}
	}
	if last == nil {
		return false
	}
	var buf [256]byte
	host, err := http1.AppendHost(buf[:0], last)
	if err != nil {
		return false // no browser takes it for a domain either
	}
	return string(host) == domain || strings.HasSuffix(domain, "."+string(host))
}

// withheld is what the capture says of an answer that lost n cookies.
func withheld(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "a cookie for the edge's whole domain was not passed on"
	}
	return strconv.Itoa(n) + " cookies for the edge's whole domain were not passed on"
}
