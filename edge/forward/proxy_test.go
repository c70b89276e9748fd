package forward

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

func TestAppendProxy(t *testing.T) {
	for _, test := range []struct {
		name, version, client, server string
		v1                            string
		from, to                      string // what a reader of the header learns; empty is LOCAL
	}{
		{"IPv4", "v1", "203.0.113.9:5000", "198.51.100.1:30007", "PROXY TCP4 203.0.113.9 198.51.100.1 5000 30007\r\n", "203.0.113.9:5000", "198.51.100.1:30007"},
		{"IPv4", "v2", "203.0.113.9:5000", "198.51.100.1:30007", "", "203.0.113.9:5000", "198.51.100.1:30007"},
		{"IPv6", "v1", "[2001:db8::9]:5000", "[2001:db8::1]:443", "PROXY TCP6 2001:db8::9 2001:db8::1 5000 443\r\n", "[2001:db8::9]:5000", "[2001:db8::1]:443"},
		{"IPv6", "v2", "[2001:db8::9]:65535", "[2001:db8::1]:1", "", "[2001:db8::9]:65535", "[2001:db8::1]:1"},
		{"mapped", "v1", "[::ffff:203.0.113.9]:5000", "[::ffff:198.51.100.1]:1", "PROXY TCP4 203.0.113.9 198.51.100.1 5000 1\r\n", "203.0.113.9:5000", "198.51.100.1:1"},
		{"mapped", "v2", "[::ffff:203.0.113.9]:5000", "198.51.100.1:1", "", "203.0.113.9:5000", "198.51.100.1:1"},
		{"zone", "v1", "[fe80::1%eth0]:5000", "[fe80::2%eth0]:1", "PROXY TCP6 fe80::1 fe80::2 5000 1\r\n", "[fe80::1]:5000", "[fe80::2]:1"},
		{"mixed", "v1", "203.0.113.9:5000", "[2001:db8::1]:443", "PROXY TCP6 ::ffff:203.0.113.9 2001:db8::1 5000 443\r\n", "203.0.113.9:5000", "[2001:db8::1]:443"},
		{"mixed", "v2", "[2001:db8::9]:5000", "198.51.100.1:1", "", "[2001:db8::9]:5000", "198.51.100.1:1"},
		{"unknown", "v1", "", "198.51.100.1:1", "PROXY UNKNOWN\r\n", "", ""},
		{"unknown", "v2", "203.0.113.9:5000", "", "", "", ""},
	} {
		t.Run(test.name+" "+test.version, func(t *testing.T) {
			var client, server netip.AddrPort
			if test.client != "" {
				client = netip.MustParseAddrPort(test.client)
			}
			if test.server != "" {
				server = netip.MustParseAddrPort(test.server)
			}
			b := appendProxy([]byte("x"), test.version, client, server)[1:]
			if test.v1 != "" && string(b) != test.v1 {
				t.Errorf("header = %q, want %q", b, test.v1)
			}
			br := bufio.NewReader(strings.NewReader(string(b) + "rest"))
			h, err := proxyproto.Read(br)
			if err != nil {
				t.Fatalf("read %q: %v", b, err)
			}
			if rest, _ := io.ReadAll(br); string(rest) != "rest" {
				t.Errorf("after the header comes %q, want %q", rest, "rest")
			}
			if want := map[string]byte{"v1": 1, "v2": 2}[test.version]; h.Version != want {
				t.Errorf("Version = %d, want %d", h.Version, want)
			}
			if test.from == "" {
				if !h.Command.IsLocal() {
					t.Errorf("Command = %v, want LOCAL", h.Command)
				}
				return
			}
			if from, to := unmapped(h.SourceAddr).String(), unmapped(h.DestinationAddr).String(); from != test.from || to != test.to {
				t.Errorf("header says %s to %s, want %s to %s", from, to, test.from, test.to)
			}
		})
	}
	if b := appendProxy(nil, "", netip.AddrPort{}, netip.AddrPort{}); len(b) != 0 {
		t.Errorf("a header of %q was written for a tunnel that asks for none", b)
	}
}

var (
	onLoopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere  = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

// proxied returns both ends of a connection that a ProxyListener accepted.
func proxied(t testing.TB, trusted []netip.Prefix, timeout time.Duration) (client *net.TCPConn, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ProxyListener(l, trusted, timeout).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = s.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = s.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn), s
}

func v2(command, family byte, body string) string {
	return proxySignature + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

func TestProxyListener(t *testing.T) {
	ipv4 := "\xcb\x00\x71\x09\xc6\x33\x64\x01\x13\x88\x01\xbb" // 203.0.113.9:5000 to 198.51.100.1:443
	for _, test := range []struct {
		name    string
		trusted []netip.Prefix
		in      string
		remote  string // "peer" is the peer's own address, empty an error
		out     string
	}{
		{"v1", onLoopback, "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nhello", "203.0.113.9:5000", "hello"},
		{"v1 IPv6", onLoopback, "PROXY TCP6 2001:db8::9 2001:db8::1 5000 443\r\nhello", "[2001:db8::9]:5000", "hello"},
		{"v1 mixed as nginx writes it", onLoopback, "PROXY TCP6 203.0.113.9 2001:db8::1 5000 443\r\nhello", "203.0.113.9:5000", "hello"},
		{"v1 unknown", onLoopback, "PROXY UNKNOWN\r\nhello", "peer", "hello"},
		{"v2", onLoopback, v2(0x21, 0x11, ipv4) + "hello", "203.0.113.9:5000", "hello"},
		{"v2 with TLVs", onLoopback, v2(0x21, 0x11, ipv4+"\x04\x00\x03abc") + "hello", "203.0.113.9:5000", "hello"},
		{"v2 local", onLoopback, v2(0x20, 0x00, "") + "hello", "peer", "hello"},
		{"v2 local with addresses", onLoopback, v2(0x20, 0x11, ipv4) + "hello", "peer", "hello"},
		{"no header", onLoopback, "GET / HTTP/1.1\r\n", "peer", "GET / HTTP/1.1\r\n"},
		{"like a header", onLoopback, "PROPFIND / HTTP/1.1\r\n", "peer", "PROPFIND / HTTP/1.1\r\n"},

		{"untrusted v1", elsewhere, "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nhello", "peer", "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nhello"},
		{"untrusted v2", elsewhere, v2(0x21, 0x11, ipv4) + "hello", "peer", v2(0x21, 0x11, ipv4) + "hello"},
		{"nobody trusted", nil, "PROXY UNKNOWN\r\nhello", "peer", "PROXY UNKNOWN\r\nhello"},

		{"v1 with a name", onLoopback, "PROXY TCP4 example.com 198.51.100.1 5000 443\r\nhello", "", ""},
		{"v1 without end", onLoopback, "PROXY TCP4 " + strings.Repeat("1", 200), "", ""},
		{"v2 UDP", onLoopback, v2(0x21, 0x12, ipv4) + "hello", "", ""},
		{"v2 unix", onLoopback, v2(0x21, 0x31, strings.Repeat("x", 216)) + "hello", "", ""},
		{"v2 too short", onLoopback, v2(0x21, 0x11, "abc") + "hello", "", ""},
		{"v2 unknown command", onLoopback, v2(0x2f, 0x11, ipv4) + "hello", "", ""},
		{"v2 endless TLVs", onLoopback, v2(0x21, 0x11, ipv4+strings.Repeat("\x04\x00\x01a", 4000)) + "hello", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, s := proxied(t, test.trusted, 5*time.Second)
			if _, err := io.WriteString(c, test.in); err != nil {
				t.Fatal(err)
			}
			_ = c.CloseWrite()
			out, err := io.ReadAll(s)
			if test.remote == "" {
				if err == nil || len(out) > 0 {
					t.Fatalf("read %q, %v, want an error and nothing", out, err)
				}
				if got := s.RemoteAddr().String(); got != c.LocalAddr().String() {
					t.Errorf("RemoteAddr = %s after a broken header, want the peer's", got)
				}
				return
			}
			if err != nil || string(out) != test.out {
				t.Errorf("read %q, %v, want %q", out, err, test.out)
			}
			want := test.remote
			if want == "peer" {
				want = c.LocalAddr().String()
			}
			if got := s.RemoteAddr().String(); got != want {
				t.Errorf("RemoteAddr = %s, want %s", got, want)
			}
		})
	}
}

// TestProxyListenerSlowPeer: a trusted peer that says nothing holds up nobody but
// itself, and not for ever.
func TestProxyListenerSlowPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	pl := ProxyListener(l, onLoopback, 50*time.Millisecond)
	for range 3 { // each silent
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	accepted := make(chan net.Conn, 3)
	go func() {
		for range 3 {
			c, err := pl.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}
	}()
	for range 3 {
		select {
		case c := <-accepted:
			defer func() { _ = c.Close() }()
			if got := c.RemoteAddr(); got == nil {
				t.Error("RemoteAddr is nil")
			}
		case <-time.After(patience):
			t.Fatal("Accept waits for a peer that says nothing")
		}
	}
}

// TestProxyConnAbilities: what the edge does to a TCP connection can be done to
// one behind the PROXY protocol.
func TestProxyConnAbilities(t *testing.T) {
	c, s := proxied(t, onLoopback, time.Second)
	if _, err := io.WriteString(c, "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nhello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.(syscall.Conn); !ok {
		t.Error("the socket's options are out of reach")
	}
	if err := s.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read = %d, %v after CloseWrite, want the end", n, err)
	}
	reset(s)
	if err := becomesReset(c); err != nil {
		t.Error(err)
	}
}

// becomesReset writes to c until that fails with a reset.
func becomesReset(c net.Conn) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if _, err := c.Write([]byte("x")); err != nil {
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
				return nil
			}
			return err
		}
	}
	return errors.New("the connection was not reset")
}

// TestForwardedBehindProxyProtocol: the peer of a connection that began with a
// PROXY header is the client, so what it says about itself is believed only when
// the client is trusted too.
func TestForwardedBehindProxyProtocol(t *testing.T) {
	local := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
	for _, test := range []struct {
		name, header, want string
	}{
		{"client", "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n", "203.0.113.9"},
		{"trusted proxy as the client", "PROXY TCP4 127.0.0.7 198.51.100.1 5000 443\r\n", "10.1.1.1, 127.0.0.7"},
		{"trusted proxy without a header", "", "10.1.1.1, 127.0.0.1"},
		{"health check", v2(0x20, 0x00, ""), "10.1.1.1, 127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, local, func(c *Config) { c.TrustedProxies = onLoopback })
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = r.f.Serve(ProxyListener(l, onLoopback, 5*time.Second), nil)
			}()
			t.Cleanup(func() { _ = l.Close(); <-done })
			r.addr = l.Addr().String()
			c, br := r.dial(t)
			if _, err := io.WriteString(c, test.header); err != nil {
				t.Fatal(err)
			}
			_, body := ask(t, c, br, "GET / HTTP/1.1\r\nHost: a.tun.test\r\nX-Forwarded-For: 10.1.1.1\r\nConnection: close\r\n\r\n")
			if body != test.want {
				t.Errorf("the local service is told %q, want %q", body, test.want)
			}
		})
	}
}

// TestProxyHeaderFromStranger: to the HTTP side it is a line that is no request.
func TestProxyHeaderFromStranger(t *testing.T) {
	r := start(t, service(t, func(http.ResponseWriter, *http.Request) { t.Error("the request came through") }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.f.Serve(ProxyListener(l, elsewhere, 5*time.Second), nil)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	r.addr = l.Addr().String()
	c, br := r.dial(t)
	res, _ := ask(t, c, br, "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nGET / HTTP/1.1\r\nHost: a.tun.test\r\n\r\n")
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("status = %d, want %d", res.StatusCode, http.StatusBadRequest)
	}
}

// FuzzProxyListener: whatever a trusted peer sends, what is read is a suffix of
// it or an error, and the addresses are never nil.
func FuzzProxyListener(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\nhello"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(0x21, 0x11, "\xcb\x00\x71\x09\xc6\x33\x64\x01\x13\x88\x01\xbb") + "hello"))
	f.Add([]byte(v2(0x20, 0x13, "") + "hello"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		c, s := proxied(t, onLoopback, time.Second)
		go func() {
			_, _ = c.Write(in)
			_ = c.CloseWrite()
		}()
		out, err := io.ReadAll(s)
		if len(out) > 0 && !bytes.HasSuffix(in, out) {
			t.Errorf("read %q of %q", out, in)
		}
		if err == nil && len(out) < len(in) && !bytes.HasPrefix(in, []byte("PROXY ")) && !bytes.HasPrefix(in, []byte(proxySignature)) {
			t.Errorf("%q was taken away, which is no header", in[:len(in)-len(out)])
		}
		if s.RemoteAddr() == nil || s.LocalAddr() == nil {
			t.Error("an address is nil")
		}
		_ = s.RemoteAddr().String()
	})
}
