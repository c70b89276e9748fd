package forward

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/lrok-dev/lrok/edge/http1"
	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
)

// appendHead appends the head that goes to the local service: the client's
// lines as they came and in their order, less those that end here, and then who
// the client is. The tunnel is nil for the API.
func (c *conn) appendHead(out []byte, t *registry.Tunnel) []byte {
	req := &c.req
	out = append(out, req.Method...)
	out = append(out, ' ')
	out = append(out, req.Path...)
	out = append(out, " HTTP/1.1\r\n"...)

	host := req.Host
	if t != nil {
		switch h := t.Claim.HostHeader; h {
		case "":
		case "rewrite":
			host = []byte(localHost(t.Claim.Local))
		default:
			host = []byte(h)
		}
	}
	hosted := false
	var forwardedFor []byte
	var gaveProto, gaveHost bool
	for i := range req.Fields {
		f := &req.Fields[i]
		switch {
		case f.Kind == http1.KindHost:
			hosted = true
			if bytes.Equal(host, req.HostField) {
				out = append(out, f.Line...)
				break
			}
			out = appendField(out, string(f.Name), host)
		case f.Kind == http1.KindConnection && req.Upgrade != nil:
			out = append(out, "Connection: Upgrade\r\n"...)
		case f.Kind == http1.KindUpgrade && req.Upgrade != nil:
			out = append(out, f.Line...)
		case f.Hop:
		case f.Kind == http1.KindSpoofable:
		case f.Kind == http1.KindAuthorization && c.isChecked(t, f.Value):
		case f.Kind.Forwarding():
			if !c.isTrusted {
				break
			}
			switch f.Kind {
			case http1.KindXForwardedFor:
				if len(forwardedFor) > 0 {
					forwardedFor = append(forwardedFor, ", "...)
				}
				forwardedFor = append(forwardedFor, f.Value...)
				continue
			case http1.KindXForwardedProto:
				gaveProto = true
			case http1.KindXForwardedHost:
				gaveHost = true
			}
			out = append(out, f.Line...)
		default:
			out = append(out, f.Line...)
		}
	}
	if !hosted {
		out = appendField(out, "Host", host)
	}
	out = append(out, "X-Forwarded-For: "...)
	if len(forwardedFor) > 0 {
		out = append(out, forwardedFor...)
		out = append(out, ", "...)
	}
	if c.peerIP.IsValid() {
		out = c.peerIP.AppendTo(out)
	} else {
		out = append(out, "unknown"...)
	}
	out = append(out, "\r\n"...)
	if !gaveHost {
		out = appendField(out, "X-Forwarded-Host", req.Host)
	}
	if !gaveProto {
		out = appendField(out, "X-Forwarded-Proto", []byte(c.scheme))
	}
	return append(out, "\r\n"...)
}

func appendField(out []byte, name string, value []byte) []byte {
	out = append(out, name...)
	out = append(out, ": "...)
	out = append(out, value...)
	return append(out, "\r\n"...)
}

// localHost is the host and port of a local service as "http://host:port/..."
// names it.
func localHost(local string) string {
	if _, rest, ok := strings.Cut(local, "://"); ok {
		local = rest
	}
	host, _, _ := strings.Cut(local, "/")
	if host == "" || strings.HasPrefix(host, "unix:") {
		return "localhost"
	}
	return host
}

// appendAnswer appends the head of c.resp as the client gets it.
func (c *conn) appendAnswer(out []byte, closing bool) []byte {
	resp := &c.resp
	out = append(out, "HTTP/1.1 "...)
	out = append(out, byte('0'+resp.Status/100), byte('0'+resp.Status/10%10), byte('0'+resp.Status%10), ' ')
	out = append(out, resp.Reason...)
	out = append(out, "\r\n"...)
	decode := resp.Framing == http1.Chunked && c.req.Minor == 0
	for i := range resp.Fields {
		f := &resp.Fields[i]
		switch {
		case resp.Status == 101 && f.Kind == http1.KindConnection:
			out = append(out, "Connection: Upgrade\r\n"...)
		case resp.Status == 101 && f.Kind == http1.KindUpgrade:
			out = append(out, f.Line...)
		case f.Hop:
		case f.Kind == http1.KindSetCookie && c.fenced && reachesOut(f.Value, c.f.cfg.Domain):
			c.withheld++
			c.f.cookies.Add(1)
		case decode && (f.Kind == http1.KindTransferEncoding || f.Kind == http1.KindTrailer):
		default:
			out = append(out, f.Line...)
		}
	}
	if closing && resp.Status >= 200 {
		out = append(out, "Connection: close\r\n"...)
	}
	return append(out, "\r\n"...)
}

// client is the address of who sent the request: the peer, or, when the peer is
// a trusted proxy, the last address in X-Forwarded-For that is none. It is the
// one that captures and logs show, and that a tunnel's rules are about.
func (c *conn) client() (text string, ip netip.Addr) {
	if c.replay != nil {
		return c.replay.remote, c.peerIP
	}
	if !c.isTrusted {
		return c.remote, c.peerIP
	}
	return c.f.clientOf(c.remote, c.peerIP, func(yield func(string) bool) {
		for i := len(c.req.Fields) - 1; i >= 0; i-- {
			if f := &c.req.Fields[i]; f.Kind == http1.KindXForwardedFor && !yield(string(f.Value)) {
				return
			}
		}
	})
}

// clientOf walks X-Forwarded-For values, last line first, from right to left.
// What is no address ends the walk: the last that was one is who is known.
func (f *Forwarder) clientOf(peer string, peerIP netip.Addr, lines func(func(string) bool)) (text string, client netip.Addr) {
	text, client = peer, peerIP
	lines(func(line string) bool {
		for line != "" {
			i := strings.LastIndexByte(line, ',')
			last := strings.TrimSpace(line[i+1:])
			line = line[:max(i, 0)]
			ip, err := netip.ParseAddr(last)
			if err != nil {
				ap, err := netip.ParseAddrPort(last)
				if err != nil {
					return false
				}
				ip = ap.Addr()
			}
			client = ip.Unmap()
			text = client.String()
			if !f.trusted(client) {
				return false
			}
		}
		return true
	})
	return text, client
}

// clientScheme is what the client spoke.
func (c *conn) clientScheme() string {
	if c.replay != nil {
		return c.replay.scheme
	}
	if c.isTrusted {
		for i := range c.req.Fields {
			if f := &c.req.Fields[i]; f.Kind == http1.KindXForwardedProto {
				switch string(f.Value) {
				case "http":
					return "http"
				case "https":
					return "https"
				}
			}
		}
	}
	return c.scheme
}

// trailerFields splits a raw trailer block; nil when it is empty.
func trailerFields(raw []byte) []inspector.Field {
	var out []inspector.Field
	for line := range bytes.Lines(raw) {
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte{':'})
		if ok {
			out = append(out, inspector.Field{Name: string(name), Value: string(bytes.Trim(value, " \t"))})
		}
	}
	return out
}

func firstLabel(host []byte) string {
	label, _, _ := strings.Cut(string(host), ".")
	return label
}
