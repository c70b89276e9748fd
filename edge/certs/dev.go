package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Files of the development authority in the data directory.
const (
	CAFile    = "ca.pem"
	caKeyFile = "ca.key"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is below the 825 days that Apple's systems allow a certificate
	// of a private authority.
	leafLife = 397 * 24 * time.Hour
	// renewBefore is what is left of a certificate when the next one is made.
	renewBefore = 30 * 24 * time.Hour
	// backdate makes up for clocks that are slow.
	backdate = time.Hour
)

// Dev is the edge's own authority, for machines without certificates. It
// vouches for the edge's domain and the names below it, for localhost and for
// the loopback addresses. Nobody trusts it who was not told to.
type Dev struct {
	log   *slog.Logger
	now   func() time.Time
	hosts []string
	ips   []net.IP

	ca  *x509.Certificate
	key *ecdsa.PrivateKey
	set atomic.Pointer[set]

	mu     sync.Mutex
	single map[string]*tls.Certificate // by host, see one
}

// OpenDev opens the authority in the directory dir, which it makes with a new
// authority in it the first time, and issues a certificate for domain. A nil
// logger discards.
func OpenDev(dir, domain string, log *slog.Logger) (*Dev, error) {
	return openDev(dir, domain, log, time.Now)
}

func openDev(dir, domain string, log *slog.Logger, now func() time.Time) (*Dev, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Dev{log: log, now: now, ips: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	for _, host := range []string{"localhost", domain} {
		if host != "" && !slices.Contains(d.hosts, host) {
			d.hosts = append(d.hosts, host, "*."+host)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := d.load(dir); err != nil {
		return nil, fmt.Errorf("open development CA: %w", err)
	}
	if err := d.issue(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return d, nil
}

// Certificate implements [Source].
func (d *Dev) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c, ok := d.one(hello.ServerName); ok {
		return c, nil
	}
	return d.set.Load().find(hello, d.now())
}

// maxSingle bounds the certificates for single hosts that are kept.
const maxSingle = 256

// one returns a certificate for one host below a domain without a dot, such as
// shop.localhost: OpenSSL, and with it curl, does not take *.localhost for it.
func (d *Dev) one(name string) (*tls.Certificate, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	label, domain, ok := strings.Cut(name, ".")
	if !ok || strings.Contains(domain, ".") || !slices.Contains(d.hosts, domain) || !validLabel(label) {
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.single[name]; c != nil && c.Leaf.NotAfter.Sub(d.now()) > renewBefore {
		return c, true
	}
	c, err := d.leaf([]string{name}, nil)
	if err != nil {
		d.log.Error("certificate not issued", "err", err)
		return nil, false
	}
	if len(d.single) >= maxSingle {
		clear(d.single) // whoever asks for so many names gets no better service
	}
	if d.single == nil {
		d.single = make(map[string]*tls.Certificate)
	}
	d.single[name] = c
	return c, true
}

func validLabel(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// current is the leaf that is served for all hosts.
func (d *Dev) current() *x509.Certificate { return d.set.Load().entries[0].cert.Leaf }

// Run makes a new certificate when the one in use comes near its end.
func (d *Dev) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := d.Reload(); err != nil {
				d.log.Error("certificate not renewed", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Reload implements [Source]: it makes a new certificate if the one in use comes
// near its end.
func (d *Dev) Reload() (changed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current().NotAfter.Sub(d.now()) > renewBefore {
		return false, nil
	}
	if err := d.issue(); err != nil {
		return false, fmt.Errorf("issue certificate: %w", err)
	}
	d.log.Info("certificate renewed", "expires", d.current().NotAfter)
	return true, nil
}

// Status implements [Source].
func (d *Dev) Status() Status {
	return Status{Certificates: d.set.Load().infos(), at: d.now()}
}

// Fingerprint returns the SHA-256 of the authority's certificate, in hex.
func (d *Dev) Fingerprint() string {
	sum := sha256.Sum256(d.ca.Raw)
	return hex.EncodeToString(sum[:])
}

// Pool returns a pool with the authority alone: what a client of this edge
// trusts.
func (d *Dev) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(d.ca)
	return p
}

// CA returns the authority's certificate as PEM.
func (d *Dev) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.ca.Raw})
}

// load reads the authority, or makes it when there is none or it is about to
// run out.
func (d *Dev) load(dir string) error {
	certFile, keyFile := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	key, err := readSettled(keyFile, maxPEM, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return d.create(certFile, keyFile)
	} else if err != nil {
		return err
	}
	if info, err := os.Stat(keyFile); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it, or move it away for a new one", keyFile, info.Mode().Perm())
	}
	cert, err := readSettled(certFile, maxPEM, 0)
	if err != nil {
		return err
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w (move both away for a new one)", certFile, keyFile, err)
	}
	ca, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	k, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !ca.IsCA {
		return fmt.Errorf("%s is not a development CA of lrok (move it away for a new one)", certFile)
	}
	why := ""
	switch {
	case ca.NotAfter.Sub(d.now()) < leafLife:
		why = "it runs out on " + ca.NotAfter.Format(time.DateOnly)
	case !covers(ca.PermittedDNSDomains, d.constraint()):
		why = "it was made for another domain"
	}
	if why != "" {
		d.log.Warn("development CA is replaced, agents need the new one", "why", why, "file", certFile)
		return d.create(certFile, keyFile)
	}
	d.ca, d.key = ca, k
	return nil
}

func (d *Dev) create(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{"lrok development CA"}, CommonName: strings.TrimSpace("lrok development CA " + host)},
		NotBefore:             d.now().Add(-backdate),
		NotAfter:              d.now().Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		// Somebody who put the authority into a machine's trust store has not
		// handed all of the web to whoever reads the key.
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         d.constraint(),
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if d.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	d.key = key
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key comes last: a crash before it is a start without an authority.
	if err := writeFile(certFile, d.CA(), 0o644); err != nil {
		return err
	}
	return writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}

// constraint returns the domains that the authority may vouch for, with all
// below them.
func (d *Dev) constraint() []string {
	var domains []string
	for _, host := range d.hosts {
		if !strings.HasPrefix(host, "*.") {
			domains = append(domains, host)
		}
	}
	return domains
}

// covers reports whether each of domains is one of permitted or below it.
func covers(permitted, domains []string) bool {
	for _, domain := range domains {
		if !slices.ContainsFunc(permitted, func(p string) bool {
			return domain == p || strings.HasSuffix(domain, "."+p)
		}) {
			return false
		}
	}
	return true
}

// issue makes the certificate for all hosts and puts it to use.
func (d *Dev) issue() error {
	c, err := d.leaf(d.hosts, d.ips)
	if err != nil {
		return err
	}
	d.set.Store(newSet([]*entry{newEntry(c, "development CA", "")}))
	return nil
}

func (d *Dev) leaf(hosts []string, ips []net.IP) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{Organization: []string{"lrok development certificate"}},
		NotBefore:    d.now().Add(-backdate),
		NotAfter:     d.now().Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     hosts,
		IPAddresses:  ips,
	}, d.ca, key.Public(), d.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// With the authority in the chain a person who logs in can compare its
	// fingerprint with the one that the edge printed.
	return &tls.Certificate{Certificate: [][]byte{der, d.ca.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 1   // positive, and never zero
	return new(big.Int).SetBytes(b[:])
}

// writeFile puts a file in place in one step.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ca-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
