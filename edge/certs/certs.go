package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Source yields certificates. Certificate may be called from any goroutine,
// before Run as well.
type Source interface {
	// Certificate returns the certificate for a handshake, or ErrNoCertificate.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Run keeps the certificates fresh until ctx ends.
	Run(ctx context.Context) error
}

// ErrNoCertificate says that no certificate covers the name that the client
// asked for. Another name's is never given instead.
var ErrNoCertificate = errors.New("no certificate for this name")

// Config returns a server's TLS configuration that takes its certificates from
// s. The caller sets the protocols.
func Config(s Source) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Certificate}
}

// A set is an immutable collection of certificates.
type set struct {
	certs []*tls.Certificate // each with its Leaf
	names map[string][]*tls.Certificate
}

func newSet(certs []*tls.Certificate) *set {
	s := &set{certs: certs, names: make(map[string][]*tls.Certificate)}
	for _, c := range certs {
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			s.names[name] = append(s.names[name], c)
		}
		for _, ip := range c.Leaf.IPAddresses {
			s.names[ip.String()] = append(s.names[ip.String()], c)
		}
	}
	return s
}

// find returns the best certificate for a handshake. A client that names no
// server is one that dialled an address: it gets a certificate for that address
// or, when all of the set's certificates are one, that.
func (s *set) find(hello *tls.ClientHelloInfo, now time.Time) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	var candidates []*tls.Certificate
	if name == "" {
		if hello.Conn != nil {
			candidates = s.names[hostOf(hello.Conn.LocalAddr())]
		}
		if len(candidates) == 0 && len(s.certs) > 0 {
			candidates = s.certs[:1]
		}
	} else {
		candidates = slices.Clone(s.names[name])
		if _, parent, ok := strings.Cut(name, "."); ok {
			candidates = append(candidates, s.names["*."+parent]...)
		}
	}
	var best *tls.Certificate
	for _, c := range candidates {
		if name != "" && c.Leaf.VerifyHostname(name) != nil || hello.SupportsCertificate(c) != nil {
			continue
		}
		if best == nil || better(c, best, name, now) {
			best = c
		}
	}
	if best == nil {
		return nil, ErrNoCertificate
	}
	return best, nil
}

// better reports whether a is to be preferred to b: valid now, naming the host
// itself, valid for longer, ECDSA, and then always the same of two.
func better(a, b *tls.Certificate, name string, now time.Time) bool {
	for _, test := range []func(*x509.Certificate) bool{
		func(c *x509.Certificate) bool { return !now.Before(c.NotBefore) && now.Before(c.NotAfter) },
		func(c *x509.Certificate) bool { return slices.Contains(c.DNSNames, name) },
	} {
		if x, y := test(a.Leaf), test(b.Leaf); x != y {
			return x
		}
	}
	if x, y := a.Leaf.NotAfter, b.Leaf.NotAfter; !x.Equal(y) {
		return x.After(y)
	}
	if x, y := a.Leaf.PublicKeyAlgorithm, b.Leaf.PublicKeyAlgorithm; x != y {
		return x == x509.ECDSA
	}
	return bytes.Compare(a.Leaf.Raw, b.Leaf.Raw) < 0
}

// pair parses a certificate chain and its key, both PEM.
func pair(chain, key []byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
	}
	if len(c.Leaf.DNSNames)+len(c.Leaf.IPAddresses) == 0 {
		return nil, errors.New("the certificate names no host (no subject alternative name)")
	}
	return &c, nil
}
