package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handshake dials a listener that takes its certificates from s as name and
// returns the leaf that it was shown.
func handshake(t *testing.T, s Source, pool *x509.CertPool, name string) (*x509.Certificate, error) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", Config(s))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.(*tls.Conn).Handshake()
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: pool, ServerName: name})
	if err == nil {
		defer c.Close()
	}
	<-done
	if err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestDevNames(t *testing.T) {
	d, err := OpenDev(t.TempDir(), "lrok.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"lrok.example", "shop.lrok.example", "api.lrok.example", "tunnel.lrok.example", "tcp.lrok.example", "SHOP.lrok.example",
		"localhost", "shop.localhost", "api.localhost", "tunnel.localhost", "127.0.0.1", "::1",
	} {
		if _, err := handshake(t, d, d.Pool(), name); err != nil {
			t.Errorf("handshake as %s: %v, want a certificate", name, err)
		}
	}
	for _, name := range []string{"example.com", "a.b.lrok.example", "lrok.example.evil.example", "a.b.localhost"} {
		_, err := handshake(t, d, d.Pool(), name)
		if err == nil {
			t.Errorf("handshake as %s succeeded, want none", name)
		}
	}
}

// TestDevSingleName is about clients that do not take *.localhost for
// shop.localhost, OpenSSL among them.
func TestDevSingleName(t *testing.T) {
	d, err := OpenDev(t.TempDir(), "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := handshake(t, d, d.Pool(), "shop.localhost")
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "shop.localhost" {
		t.Errorf("names of the certificate = %v, want [shop.localhost]", leaf.DNSNames)
	}
	again, err := handshake(t, d, d.Pool(), "shop.localhost")
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.Equal(again) {
		t.Error("the second handshake got a new certificate, want the first one again")
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	ca, cert := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	for path, data := range map[string][]byte{ca: d.CA(), cert: pemOf(leaf)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", ca, "-verify_hostname", "shop.localhost", cert).CombinedOutput(); err != nil {
		t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func TestDevKeepsAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	a, err := OpenDev(dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenDev(dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Fingerprint() != b.Fingerprint() {
		t.Errorf("fingerprint after a restart = %s, want %s", b.Fingerprint(), a.Fingerprint())
	}
	if len(a.Fingerprint()) != 64 {
		t.Errorf("fingerprint has %d characters, want 64", len(a.Fingerprint()))
	}
	c, err := OpenDev(dir, "other.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, c, c.Pool(), "shop.other.example"); err != nil {
		t.Errorf("handshake after the domain changed: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, caKeyFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %04o, want %04o", path, got, want)
		}
	}
	if err := os.Chmod(filepath.Join(dir, caKeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDev(dir, "other.example", nil); err == nil || !strings.Contains(err.Error(), "0644") {
		t.Errorf("open with a key that others can read: %v, want an error that names the mode", err)
	}
}

func TestDevDamagedAuthority(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenDev(dir, "localhost", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, CAFile), []byte("not a certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDev(dir, "localhost", nil); err == nil || !strings.Contains(err.Error(), "move both away") {
		t.Errorf("open a damaged authority: %v, want an error that says what to do", err)
	}
}

func TestDevRenews(t *testing.T) {
	now := time.Now()
	d, err := openDev(t.TempDir(), "localhost", nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	renew := func() {
		t.Helper()
		if _, err := d.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	first := d.set.Load().entries[0].cert
	renew()
	if d.set.Load().entries[0].cert != first {
		t.Error("a fresh certificate was renewed")
	}
	now = now.Add(leafLife - renewBefore + time.Hour)
	renew()
	second := d.set.Load().entries[0].cert
	if second == first {
		t.Fatal("a certificate near its end was not renewed")
	}
	if left := second.Leaf.NotAfter.Sub(now); left < leafLife-time.Minute {
		t.Errorf("the new certificate lasts %v, want %v", left, leafLife)
	}
}

// TestDevRenewsWhileRunning lets more than a year pass.
func TestDevRenewsWhileRunning(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d, err := OpenDev(dir, "lrok.example", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- d.Run(ctx) }()
		first := d.current()
		time.Sleep(leafLife - renewBefore - 3*time.Hour)
		if d.current() != first {
			t.Error("the certificate was renewed too early")
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if left := time.Until(d.current().NotAfter); left < leafLife-24*time.Hour {
			t.Errorf("the certificate lasts %v more, want it renewed", left)
		}
		if !d.Status().Covers("tcp.lrok.example") {
			t.Error("the certificate does not cover tcp.lrok.example")
		}
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// issued returns PEM files of a certificate that d vouches for.
func issued(t *testing.T, d *Dev, hosts ...string) (chain, key []byte) {
	t.Helper()
	c, err := d.leaf(hosts, nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(c.Leaf), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesReload(t *testing.T) {
	d, err := OpenDev(t.TempDir(), "lrok.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	chain, key := issued(t, d, "*.lrok.example")
	write(t, p.Cert, chain)
	write(t, p.Key, key)
	f, err := NewFiles(Options{}, p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- f.Run(ctx) }()

	first, err := handshake(t, f, d.Pool(), "shop.lrok.example")
	if err != nil {
		t.Fatal(err)
	}
	// Half of the change is there: the old pair serves on.
	chain2, key2 := issued(t, d, "*.lrok.example")
	write(t, p.Cert, chain2)
	half, err := handshake(t, f, d.Pool(), "shop.lrok.example")
	if err != nil {
		t.Fatal(err)
	}
	if !half.Equal(first) {
		t.Error("a certificate without its key was served")
	}
	write(t, p.Key, key2)
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := handshake(t, f, d.Pool(), "shop.lrok.example")
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(first) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new pair is not served after 10 s")
		}
	}
	// Gone and truncated files change nothing.
	write(t, p.Cert, nil)
	if err := os.Remove(p.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, f, d.Pool(), "shop.lrok.example"); err != nil {
		t.Errorf("handshake without files: %v", err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestFilesRefused(t *testing.T) {
	d, err := OpenDev(t.TempDir(), "lrok.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := Pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	chain, key := issued(t, d, "lrok.example")
	_, other := issued(t, d, "lrok.example")
	nameless, namelessKey := issued(t, d)
	for _, test := range []struct {
		name       string
		chain, key []byte
	}{
		{"empty", nil, nil},
		{"key of another", chain, other},
		{"swapped", key, chain},
		{"no name", nameless, namelessKey},
		{"too large", append(chain, make([]byte, maxPEM)...), key},
	} {
		write(t, p.Cert, test.chain)
		write(t, p.Key, test.key)
		if _, err := NewFiles(Options{}, p); err == nil {
			t.Errorf("%s: accepted, want an error", test.name)
		} else if strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the error shows key material: %v", test.name, err)
		}
	}
	if _, err := NewFiles(Options{}); err == nil {
		t.Error("no files: accepted, want an error")
	}
	if _, err := NewFiles(Options{}, Pair{filepath.Join(dir, "absent"), p.Key}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v, want one that is os.ErrNotExist", err)
	}
}

func TestFindPrefers(t *testing.T) {
	now := time.Now()
	d, err := openDev(t.TempDir(), "lrok.example", nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(at time.Time, hosts ...string) *tls.Certificate {
		saved := now
		now = at
		defer func() { now = saved }()
		c, err := d.leaf(hosts, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wildcard := leaf(now, "*.lrok.example")
	exact := leaf(now.Add(-30*24*time.Hour), "shop.lrok.example")
	expired := leaf(now.Add(-2*leafLife), "shop.lrok.example")
	newer := leaf(now.Add(-time.Hour), "shop.lrok.example")
	for _, test := range []struct {
		name  string
		certs []*tls.Certificate
		want  *tls.Certificate
	}{
		{"exact before wildcard", []*tls.Certificate{wildcard, exact}, exact},
		{"valid before exact", []*tls.Certificate{expired, wildcard}, wildcard},
		{"longest", []*tls.Certificate{exact, newer, wildcard}, newer},
		{"expired is better than none", []*tls.Certificate{expired}, expired},
	} {
		for range 2 {
			hello := &tls.ClientHelloInfo{
				ServerName:        "shop.lrok.example",
				SupportedVersions: []uint16{tls.VersionTLS13},
				SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			}
			got, err := newSet(entriesOf(test.certs...)).find(hello, now)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if got != test.want {
				t.Errorf("%s: got the certificate of %v until %v", test.name, got.Leaf.DNSNames, got.Leaf.NotAfter)
			}
			test.certs[0], test.certs[len(test.certs)-1] = test.certs[len(test.certs)-1], test.certs[0]
		}
	}
}

func entriesOf(certs ...*tls.Certificate) []*entry {
	var entries []*entry
	for _, c := range certs {
		entries = append(entries, newEntry(c, "test", "test"))
	}
	return entries
}

func TestHostOf(t *testing.T) {
	for _, test := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 1}, "::1"},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, "127.0.0.1"},
		{&net.UnixAddr{Name: "/x"}, ""},
		{nil, ""},
	} {
		if got := hostOf(test.addr); got != test.want {
			t.Errorf("hostOf(%v) = %q, want %q", test.addr, got, test.want)
		}
	}
}
