package certs

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// What is wrong with a key or a chain. The texts hold nothing of what was read:
// they reach logs.
var (
	errNoCert    = errors.New("it holds no PEM certificate")
	errNoKey     = errors.New("it holds no PEM private key")
	errEncrypted = errors.New("the private key is encrypted: store it without a passphrase")
	errBadKey    = errors.New("the private key cannot be read")
	errNoName    = errors.New("the certificate names no host (no subject alternative name)")
)

// pemCerts parses all certificates of a PEM text, in its order.
func pemCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs, nil
		}
		if block.Type != "CERTIFICATE" {
			clear(block.Bytes)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in it cannot be read", len(certs)+1)
		}
		certs = append(certs, c)
	}
}

// pemKeys parses the private keys of a PEM text. The error tells of one that
// cannot be used; the others are returned with it.
func pemKeys(data []byte) (keys []crypto.Signer, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return keys, err
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.HasSuffix(block.Type, "PRIVATE KEY") && block.Headers["DEK-Info"] != "":
			err = errEncrypted
		case block.Type == "PRIVATE KEY" || block.Type == "RSA PRIVATE KEY" || block.Type == "EC PRIVATE KEY":
			key, kerr := parseKey(block.Bytes)
			if kerr != nil {
				err = kerr
			} else {
				keys = append(keys, key)
			}
		}
		clear(block.Bytes)
	}
}

// parseKey parses what programs write under all three headings, whichever of
// them it stands under.
func parseKey(der []byte) (crypto.Signer, error) {
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if key, err = x509.ParseECPrivateKey(der); err != nil {
			if key, err = x509.ParsePKCS1PrivateKey(der); err != nil {
				return nil, errBadKey
			}
		}
	}
	if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() < 1024 {
		return nil, errors.New("the RSA key is too short to be used")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errBadKey
	}
	return signer, nil
}

// belongs reports whether key is the one of the certificate.
func belongs(c *x509.Certificate, key crypto.Signer) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}

// pair parses a certificate chain, leaf first, and its key, both PEM.
func pair(chain, key []byte) (*tls.Certificate, error) {
	certs, err := pemCerts(chain)
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errNoCert
	}
	keys, err := pemKeys(key)
	switch {
	case len(keys) == 0 && err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, errNoKey
	}
	for _, k := range keys {
		if belongs(certs[0], k) {
			return serve(certs, k)
		}
	}
	for _, c := range certs[1:] {
		if belongs(c, keys[0]) {
			return nil, errors.New("the private key does not match the first certificate but a later one: the host's own comes first")
		}
	}
	return nil, errors.New("the private key does not match the first certificate")
}

// pairUnordered is pair for a chain in any order.
func pairUnordered(chain, key []byte) (*tls.Certificate, error) {
	certs, err := pemCerts(chain)
	if err != nil {
		return nil, err
	}
	keys, err := pemKeys(key)
	for _, k := range keys {
		for i, c := range certs {
			if belongs(c, k) {
				return serve(chainOf(i, certs, nil), k)
			}
		}
	}
	switch {
	case len(certs) == 0:
		return nil, errNoCert
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, errNoKey
	}
	return nil, errors.New("the private key does not match the certificate")
}

// maxChain bounds a chain that is put together.
const maxChain = 8

// chainOf returns the chain of certs[i], leaf first. Where it stands first in
// its file the file's order is taken as it is. Otherwise the issuers are looked
// for in the file and then in others, which go by their subject; a root is left out, as clients have it.
func chainOf(i int, certs []*x509.Certificate, others map[string][]*x509.Certificate) []*x509.Certificate {
	if i == 0 && len(certs) > 1 {
		return certs
	}
	chain := certs[i : i+1 : i+1]
	for len(chain) < maxChain {
		last := chain[len(chain)-1]
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			break
		}
		next := issuer(last, certs)
		if next == nil {
			next = issuer(last, others[string(last.RawIssuer)])
		}
		if next == nil || bytes.Equal(next.RawIssuer, next.RawSubject) {
			break
		}
		chain = append(chain, next)
	}
	return chain
}

// issuer returns the one of certs that signed c, of several the one that lasts
// longest.
func issuer(c *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	var best *x509.Certificate
	for _, x := range certs {
		if x.IsCA && bytes.Equal(x.RawSubject, c.RawIssuer) && (best == nil || x.NotAfter.After(best.NotAfter)) &&
			c.CheckSignatureFrom(x) == nil {
			best = x
		}
	}
	return best
}

// serve makes a certificate for handshakes of a chain and the leaf's key.
func serve(chain []*x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	leaf := chain[0]
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		return nil, errNoName
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}

// isPEM reports whether a file can be one that holds certificates or keys.
func isPEM(data []byte) bool { return bytes.Contains(data, []byte("-----BEGIN ")) }
