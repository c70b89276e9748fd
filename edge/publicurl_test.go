package edge

import (
	"fmt"
	"net"
	"testing"

	"github.com/lrok-dev/lrok/tunnel"
)

// A TLS tunnel's address leads to a port where names of TLS connections are read.
func TestAddressOfTLSTunnels(t *testing.T) {
	https, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer https.Close()
	own := fmt.Sprintf("tls://shop.tun.test:%d", https.Addr().(*net.TCPAddr).Port)
	for _, c := range []struct{ public, want string }{
		{"", own},
		{"http", own},
		{"http://*.tun.test:8080", own},
		{"https", "tls://shop.tun.test"},
		{"https://*.tun.test:8443", "tls://shop.tun.test:8443"},
	} {
		e := &Edge{cfg: Config{Domain: "tun.test", PublicURL: c.public}, https: https}
		scheme, port, err := e.public()
		if err != nil {
			t.Fatal(err)
		}
		if got := e.publicURL(scheme, port)("shop.tun.test", tunnel.TLS); got != c.want {
			t.Errorf("with the public URL %q: %s, want %s", c.public, got, c.want)
		}
	}
}
