package forward

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/edge/registry"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/tunnel"
)

// certificate returns a self-signed certificate for names and a pool that
// trusts it.
func certificate(t testing.TB, names ...string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// A tlsRig is a forwarder on an HTTPS port with a TLS tunnel pass.tun.test and
// an HTTP tunnel web.tun.test, and certificates for *.tun.test only.
type tlsRig struct {
	f    *Forwarder
	reg  *registry.Registry
	pass *registry.Tunnel
	addr string
	pool *x509.CertPool // trusts the edge
}

func startTLS(t testing.TB, local, web string, listen ...func(net.Listener) net.Listener) *tlsRig {
	t.Helper()
	reg := registry.New(registry.Config{Domain: "tun.test"})
	for name, c := range map[string]struct {
		kind  tunnel.Kind
		local string
	}{"pass": {tunnel.TLS, local}, "web": {tunnel.HTTP, web}} {
		claim := tunnel.Claim{Kind: c.kind, Name: name, Local: c.local}
		if _, err := reg.Claim(t.Context(), &direct{addr: c.local}, "u", "i-"+name, "m", []tunnel.Claim{claim}); err != nil {
			t.Fatal(err)
		}
	}
	cert, pool := certificate(t, "tun.test", "*.tun.test")
	f := New(Config{Registry: reg, Domain: "tun.test", HeaderTimeout: 5 * time.Second, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "api")
	})})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	for _, w := range listen {
		l = w(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(ctx) })
	wg.Go(func() {
		_ = f.Serve(l, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" && cert.Leaf.VerifyHostname(hello.ServerName) != nil {
				return nil, errors.New("no certificate")
			}
			return cert, nil
		}})
	})
	t.Cleanup(func() {
		reg.CloseTunnel("u", "pass")
		reg.CloseTunnel("u", "web")
		stop, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		_ = f.Shutdown(stop)
		cancel()
		wg.Wait()
	})
	r := &tlsRig{f: f, reg: reg, addr: addr, pool: pool}
	r.pass, _ = reg.Tunnel("pass")
	return r
}

func (r *tlsRig) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// ownTLS is a service that ends TLS itself and echoes.
func ownTLS(t testing.TB) (local string, pool *x509.CertPool) {
	cert, pool := certificate(t, "pass.tun.test")
	config := &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "lrok-test"}}
	return tcpService(t, func(c *net.TCPConn) {
		tc := tls.Server(c, config)
		_, _ = io.Copy(tc, tc)
		_ = tc.Close()
	}), pool
}

// pieces writes in pieces of n bytes.
type pieces struct {
	net.Conn
	n int
}

func (p *pieces) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += p.n {
		if _, err := p.Conn.Write(b[i:min(i+p.n, len(b))]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// records splits the first TLS record into records of n bytes each.
type records struct {
	net.Conn
	n    int
	done bool
}

func (r *records) Write(b []byte) (int, error) {
	if r.done || b[0] != 22 {
		return r.Conn.Write(b)
	}
	r.done = true
	end := 5 + int(binary.BigEndian.Uint16(b[3:]))
	out := append(split(b[:end], r.n), b[end:]...)
	if _, err := r.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func split(record []byte, n int) (out []byte) {
	for body := record[5:]; len(body) > 0; {
		k := min(n, len(body))
		out = append(out, record[0], record[1], record[2], byte(k>>8), byte(k))
		out = append(out, body[:k]...)
		body = body[k:]
	}
	return out
}

// TestTLSPassThrough: a client and a service agree on TLS end to end, whatever
// pieces the ClientHello comes in.
func TestTLSPassThrough(t *testing.T) {
	local, pool := ownTLS(t)
	r := startTLS(t, local, local)
	for _, test := range []struct {
		name    string
		through func(net.Conn) net.Conn
		config  *tls.Config
		alpn    string
	}{
		{"whole", func(c net.Conn) net.Conn { return c }, &tls.Config{NextProtos: []string{"h2"}}, "h2"},
		{"own protocol", func(c net.Conn) net.Conn { return c }, &tls.Config{NextProtos: []string{"lrok-test"}}, "lrok-test"},
		{"TLS 1.2", func(c net.Conn) net.Conn { return c }, &tls.Config{MaxVersion: tls.VersionTLS12}, ""},
		{"single bytes", func(c net.Conn) net.Conn { return &pieces{c, 1} }, &tls.Config{NextProtos: []string{"h2"}}, "h2"},
		{"records of one byte", func(c net.Conn) net.Conn { return &records{Conn: c, n: 1} }, &tls.Config{}, ""},
		{"records of seven bytes in pieces", func(c net.Conn) net.Conn { return &records{Conn: &pieces{c, 3}, n: 7} }, &tls.Config{}, ""},
		{"upper case", func(c net.Conn) net.Conn { return c }, &tls.Config{ServerName: "PASS.tun.test"}, ""},
		{"long hello", func(c net.Conn) net.Conn { return c }, &tls.Config{NextProtos: append(manyProtos(60), "h2")}, "h2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := test.config.Clone()
			config.RootCAs = pool
			if config.ServerName == "" {
				config.ServerName = "pass.tun.test"
			}
			tc := tls.Client(test.through(r.dial(t)), config)
			if err := tc.Handshake(); err != nil {
				t.Fatalf("handshake: %v", err)
			}
			if got := tc.ConnectionState().NegotiatedProtocol; got != test.alpn {
				t.Errorf("protocol = %q, want %q", got, test.alpn)
			}
			_, _ = io.WriteString(tc, "hello")
			_ = tc.CloseWrite()
			if b, err := io.ReadAll(tc); err != nil || string(b) != "hello" {
				t.Errorf("read %q, %v, want the echo", b, err)
			}
			_ = tc.Close()
			var x inspector.Exchange
			until(t, "the connection ends", func() bool {
				xs := r.pass.Ring.List(1, 0)
				if len(xs) == 0 || xs[0].State != inspector.Done {
					return false
				}
				x = xs[0]
				return true
			})
			if x.Kind != inspector.TLS || x.Host != "pass.tun.test" || x.Request.Body.Size == 0 || x.Response.Body.Size == 0 {
				t.Errorf("exchange = %+v, want a TLS connection to pass.tun.test", x)
			}
		})
	}
}

func manyProtos(n int) (protos []string) {
	for i := range n {
		protos = append(protos, fmt.Sprintf("%s-%d", strings.Repeat("x", 200), i))
	}
	return protos
}

// TestTLSEnded: for every other name TLS ends at the edge, HTTP/2 included, and
// what crossed the peek is not lost.
func TestTLSEnded(t *testing.T) {
	web := service(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	r := startTLS(t, "127.0.0.1:1", web)
	for _, test := range []struct {
		name, sni, host, alpn, want string
		n                           int
	}{
		{"tunnel", "web.tun.test", "web.tun.test", "http/1.1", "HTTP/1.1", 1 << 20},
		{"tunnel in single bytes", "web.tun.test", "web.tun.test", "http/1.1", "HTTP/1.1", 1},
		{"HTTP/2", "web.tun.test", "web.tun.test", "h2", "HTTP/1.1", 1 << 20},
		{"API", "api.tun.test", "api.tun.test", "http/1.1", "api", 1 << 20},
		{"no name", "", "web.tun.test", "http/1.1", "HTTP/1.1", 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := &tls.Config{RootCAs: r.pool, ServerName: test.sni, NextProtos: []string{test.alpn}}
			if test.sni == "" {
				config.InsecureSkipVerify = true // a client without a name has none to verify
			}
			tr := &http.Transport{
				ForceAttemptHTTP2: test.alpn == "h2", TLSClientConfig: config,
				DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
					tc := tls.Client(&pieces{r.dial(t), test.n}, config)
					return tc, tc.Handshake()
				},
			}
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("https://" + test.host + "/")
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(b) != test.want || res.StatusCode != 200 {
				t.Errorf("answer = %d %q, want 200 %q", res.StatusCode, b, test.want)
			}
			if wantMajor := map[string]int{"h2": 2, "http/1.1": 1}[test.alpn]; res.ProtoMajor != wantMajor {
				t.Errorf("the edge speaks HTTP/%d, want %d", res.ProtoMajor, wantMajor)
			}
		})
	}
}

// TestTLSUnrecognizedName: a name without a certificate is refused by the alert
// that says so, never with another name's certificate.
func TestTLSUnrecognizedName(t *testing.T) {
	r := startTLS(t, "127.0.0.1:1", "127.0.0.1:1")
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
		tc := tls.Client(r.dial(t), config)
		err := tc.Handshake()
		var alert tls.AlertError
		if !errors.As(err, &alert) && !strings.Contains(fmt.Sprint(err), "unrecognized name") {
			t.Errorf("%s: handshake = %v, want the alert unrecognized_name", tls.VersionName(version), err)
		}
		if n := len(tc.ConnectionState().PeerCertificates); n != 0 {
			t.Errorf("%s: the edge showed %d certificates, want none", tls.VersionName(version), n)
		}
		if n := r.f.Counts().Unrecognized; n != int64(i+1) {
			t.Errorf("Unrecognized = %d, want %d", n, i+1)
		}
	}
	// The alert on the wire: fatal, 112.
	c := r.dial(t)
	_, _ = c.Write(clientHello(t, "shop.example", nil))
	b, _ := io.ReadAll(c)
	if len(b) != 7 || b[0] != 21 || !bytes.Equal(b[3:], []byte{0, 2, 2, 112}) {
		t.Errorf("the edge answers % x, want a fatal alert 112 and nothing else", b)
	}
}

// clientHello returns the bytes of a ClientHello for name with an extension
// added.
func clientHello(t testing.TB, name string, extension []byte) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	defer func() { _ = a.Close(); _ = b.Close() }()
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	if len(extension) > 0 {
		at := 4 + 2 + 32
		at += 1 + int(body[at])                           // session id
		at += 2 + int(binary.BigEndian.Uint16(body[at:])) // cipher suites
		at += 1 + int(body[at])                           // compression
		n := int(binary.BigEndian.Uint16(body[at:])) + len(extension)
		binary.BigEndian.PutUint16(body[at:], uint16(n))
		body = append(body, extension...)
		n = len(body) - 4
		body[1], body[2], body[3] = byte(n>>16), byte(n>>8), byte(n)
	}
	binary.BigEndian.PutUint16(head[3:], uint16(len(body)))
	return append(head, body...)
}

// TestTLSGrease: an extension for encrypted ClientHellos that means nothing, as
// browsers send it, changes nothing.
func TestTLSGrease(t *testing.T) {
	grease := []byte{0xfe, 0x0d, 0, 0, 0, 0, 1, 0, 1, 7, 0, 4, 'e', 'n', 'c', '!', 0, 16}
	grease = append(grease, bytes.Repeat([]byte{0x5a}, 16)...)
	binary.BigEndian.PutUint16(grease[2:], uint16(len(grease)-4))
	got := make(chan []byte, 1)
	local := tcpService(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	r := startTLS(t, local, local)
	hello := clientHello(t, "pass.tun.test", grease)
	c := r.dial(t)
	_, _ = c.Write(hello)
	_ = c.CloseWrite()
	if b := <-got; !bytes.Equal(b, hello) {
		t.Errorf("the service got %d bytes, want the hello's %d as they came", len(b), len(hello))
	}
	c = r.dial(t)
	_, _ = c.Write(clientHello(t, "web.tun.test", grease))
	b := make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || b[0] != 22 || b[5] != 2 {
		t.Errorf("where TLS ends here the answer begins % x, %v, want a ServerHello", b, err)
	}
}

// TestTLSNoHTTPS: a request without TLS is told what is wrong, and anything else
// that is no TLS is not answered.
func TestTLSNoHTTPS(t *testing.T) {
	r := startTLS(t, "127.0.0.1:1", "127.0.0.1:1")
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: web.tun.test\r\n\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"} {
		c := r.dial(t)
		_, _ = io.WriteString(c, request)
		_ = c.CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 400 ") || !strings.Contains(string(b), "https://") {
			t.Errorf("%q is answered %q, %v, want 400 and what to do", request, b, err)
		}
	}
	c := r.dial(t)
	_, _ = io.WriteString(c, "SSH-2.0-client\r\n")
	if b, _ := io.ReadAll(c); len(b) != 0 {
		t.Errorf("what is neither TLS nor HTTP is answered % x, want nothing", b)
	}
}

// TestTLSHelloLimit: a ClientHello that does not end is cut off, by size and by
// time.
func TestTLSHelloLimit(t *testing.T) {
	r := startTLS(t, "127.0.0.1:1", "127.0.0.1:1")
	began := time.Now()
	half := r.dial(t)
	_, _ = half.Write(clientHello(t, "pass.tun.test", nil)[:100])

	c := r.dial(t)
	record := append([]byte{22, 3, 1, 0x3f, 0xff}, make([]byte, 0x3fff)...)
	copy(record[5:], []byte{1, 0, 0xff, 0x00}) // a hello of 65,280 bytes
	_, _ = c.Write(append(record, record...))
	_, _ = io.ReadAll(c)
	// Time would end the older one first.
	_ = half.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := half.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a hello of more than %d bytes is read as long as one that does not go on (%v)", maxHello, err)
	}
	_ = half.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(half); len(b) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a hello is answered % x, %v, want the end", b, err)
	}
	if took := time.Since(began); took < helloTimeout {
		t.Errorf("half a hello was waited for %v, want %v", took, helloTimeout)
	}
	if n := r.pass.Counters.Connections.Load(); n != 0 {
		t.Errorf("%d connections reached the tunnel, want none", n)
	}
}

// TestTLSPassThroughRefused: without a certificate of its own the edge has only
// a reset to say that nobody is there.
func TestTLSPassThroughRefused(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	_ = free.Close()
	r := startTLS(t, nobody, nobody)
	hello := clientHello(t, "pass.tun.test", nil)
	c := r.dial(t)
	_, _ = c.Write(hello)
	wantReset(t, c, "")
	if xs := r.pass.Ring.List(1, 0); len(xs) != 1 || xs[0].Error != tunnel.CodeUpstreamRefused {
		t.Errorf("exchanges = %+v, want one with %q", xs, tunnel.CodeUpstreamRefused)
	}
	r.reg.Release(r.pass.Session())
	c = r.dial(t)
	_, _ = c.Write(hello)
	wantReset(t, c, "")
	if xs := r.pass.Ring.List(1, 0); len(xs) != 1 || xs[0].Error != tunnel.CodeAgentOffline {
		t.Errorf("exchanges = %+v, want one with %q", xs, tunnel.CodeAgentOffline)
	}
}

// TestTLSBehindProxyProtocol: rules and captures see the client that the header
// names.
func TestTLSBehindProxyProtocol(t *testing.T) {
	local, pool := ownTLS(t)
	r := startTLS(t, local, local, func(l net.Listener) net.Listener { return ProxyListener(l, onLoopback, 5*time.Second) })
	c := r.dial(t)
	_, _ = io.WriteString(c, "PROXY TCP4 203.0.113.9 198.51.100.1 5000 443\r\n")
	tc := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "pass.tun.test"})
	_, _ = io.WriteString(tc, "x")
	_ = tc.CloseWrite()
	if b, err := io.ReadAll(tc); string(b) != "x" {
		t.Fatalf("read %q, %v, want the echo", b, err)
	}
	if xs := r.pass.Ring.List(1, 0); len(xs) != 1 || xs[0].Remote != "203.0.113.9:5000" {
		t.Errorf("exchanges = %+v, want one from 203.0.113.9:5000", xs)
	}
}

// FuzzHello: whatever a client begins with, the edge does not fall over, and a
// tunnel gets the bytes as they came or none.
func FuzzHello(f *testing.F) {
	hello := clientHello(f, "pass.tun.test", nil)
	f.Add(hello)
	f.Add(split(hello, 9))
	f.Add(clientHello(f, "web.tun.test", nil))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 0, 22, 3, 1, 0, 0})
	var mu sync.Mutex
	var got []byte
	local := tcpService(f, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		mu.Lock()
		got = b
		mu.Unlock()
	})
	r := startTLS(f, local, local)
	f.Fuzz(func(t *testing.T, in []byte) {
		before := r.pass.Counters.Connections.Load()
		c := r.dial(t)
		go func() {
			_, _ = c.Write(in)
			_ = c.CloseWrite()
		}()
		_, _ = io.ReadAll(c)
		if r.pass.Counters.Connections.Load() == before {
			return
		}
		until(t, "the connection ends", func() bool { return r.pass.Counters.Open.Load() == 0 })
		mu.Lock()
		defer mu.Unlock()
		if !bytes.Equal(got, in) {
			t.Errorf("the service got %d bytes of %d", len(got), len(in))
		}
	})
}

// BenchmarkHandshake is the cost of a connection on which TLS ends here, with
// the look at its hello and without.
func BenchmarkHandshake(b *testing.B) {
	cert, pool := certificate(b, "web.tun.test")
	f := New(Config{Registry: registry.New(registry.Config{Domain: "tun.test"}), Domain: "tun.test"})
	plain := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }}
	client := &tls.Config{RootCAs: pool, ServerName: "web.tun.test"}
	for _, bench := range []struct {
		name string
		wrap func(net.Conn) *tls.Conn
	}{
		{"plain", func(c net.Conn) *tls.Conn { return tls.Server(c, plain) }},
		{"sorted", func(c net.Conn) *tls.Conn { return tls.Server(&helloConn{Conn: c}, f.endTLS(plain)) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				near, far := newPipe(addr("test"))
				go func() { _ = tls.Client(near, client).Handshake() }()
				s := bench.wrap(far)
				if err := s.Handshake(); err != nil {
					b.Fatal(err)
				}
				_ = near.Close()
				_ = far.Close()
			}
		})
	}
}
