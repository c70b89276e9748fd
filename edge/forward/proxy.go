package forward

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

// The PROXY protocol names the client of a connection that somebody else
// accepted, in a header before its first byte. [ProxyListener] reads it from
// proxies in front of the edge, appendProxy writes it for local services behind
// it.

func init() {
	// nginx writes an IPv4 address into a line for IPv6 when the families of its
	// two sides differ.
	proxyproto.V1AcceptIPv4InTCP6 = true
}

// ProxyListener returns l for peers that may say in the PROXY protocol, version
// 1 or 2, for whom they speak: then that is the connection's RemoteAddr. Only
// trusted peers may, and none needs to. What others send is not looked at.
//
// Accept does not wait for a header. RemoteAddr, Read and Write of a trusted
// peer's connection do, for as long as timeout.
func ProxyListener(l net.Listener, trusted []netip.Prefix, timeout time.Duration) net.Listener {
	if len(trusted) == 0 {
		return l
	}
	return &proxyListener{proxyproto.Listener{
		Listener: l, ReadHeaderTimeout: timeout, ValidateHeader: checkHeader,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			ip := addrOf(o.Upstream)
			if slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) }) {
				return proxyproto.USE, nil
			}
			return proxyproto.SKIP, nil
		},
	}}
}

type proxyListener struct{ proxyproto.Listener }

func (l *proxyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if pc, ok := nc.(*proxyproto.Conn); ok {
		return &proxyConn{pc}, err
	}
	return nc, err
}

var errNoTCP = errors.New("the PROXY header is for something else than TCP")

// checkHeader refuses what cannot be true of a TCP connection.
func checkHeader(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		return nil
	}
	if _, _, ok := h.TCPAddrs(); !ok {
		return errNoTCP
	}
	return nil
}

// A proxyConn is a connection that may have begun with a PROXY header. It can
// do what the TCP connection below can.
type proxyConn struct{ *proxyproto.Conn }

// RemoteAddr is the client's address when the header named one.
func (c *proxyConn) RemoteAddr() net.Addr { return unmapped(c.Conn.RemoteAddr()) }

// LocalAddr is the address that the client connected to.
func (c *proxyConn) LocalAddr() net.Addr { return unmapped(c.Conn.LocalAddr()) }

// CloseWrite ends the direction towards the client.
func (c *proxyConn) CloseWrite() error {
	if cw, ok := c.Raw().(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn is for the options of the socket.
func (c *proxyConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Raw().(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func unmapped(a net.Addr) net.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
	}
	return a
}

// addrPortOf returns a peer's address and port, invalid when it has none.
func addrPortOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// proxySignature begins every header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// appendProxy appends a PROXY header of that version, "v1" or "v2", for a
// connection from client to server; any other version appends nothing. When one
// of them is IPv6 the other is written as an address mapped into it.
func appendProxy(b []byte, version string, client, server netip.AddrPort) []byte {
	known := client.IsValid() && server.IsValid()
	from, to := client.Addr().WithZone("").Unmap(), server.Addr().WithZone("").Unmap()
	four := from.Is4() && to.Is4()
	switch version {
	case "v1":
		if !known {
			return append(b, "PROXY UNKNOWN\r\n"...)
		}
		family := "TCP4"
		if !four {
			family = "TCP6"
		}
		return fmt.Appendf(b, "PROXY %s %s %s %d %d\r\n", family, inFamily(from, four), inFamily(to, four), client.Port(), server.Port())
	case "v2":
		b = append(b, proxySignature...)
		switch {
		case !known:
			return append(b, 0x20, 0x00, 0, 0) // LOCAL: nobody's
		case four:
			b = append(b, 0x21, 0x11, 0, 12)
		default:
			b = append(b, 0x21, 0x21, 0, 36)
		}
		b = append(b, inFamily(from, four).AsSlice()...)
		b = append(b, inFamily(to, four).AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, client.Port())
		return binary.BigEndian.AppendUint16(b, server.Port())
	}
	return b
}

func inFamily(ip netip.Addr, four bool) netip.Addr {
	if four || ip.Is6() {
		return ip
	}
	return netip.AddrFrom16(ip.As16())
}
