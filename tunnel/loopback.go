package tunnel

import (
	"net/netip"
	"strings"
)

// Loopback reports whether host, a name or an address, is this machine for whoever
// asks. All names below localhost are (RFC 6761), which many resolvers do not know.
func Loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
