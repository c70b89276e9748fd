package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// A local certificate is how processes of the edge's machine know the edge,
// whatever certificates it serves to others: none that fits yet, an expired
// one, or those of an authority that this machine does not know. Its key is in
// memory only, its name nobody guesses, and it is shown at the control port to
// those who ask for that name.
type local struct {
	name string
	cert tls.Certificate
	pem  []byte
}

func newLocal() (*local, error) {
	l := &local{name: strings.ToLower(rand.Text()) + ".invalid"}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the local certificate: %w", err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    now.AddDate(-1, 0, 0), // a clock may be set while it runs
		NotAfter:     now.AddDate(100, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{l.name},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the local certificate: %w", err)
	}
	l.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	l.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return l, nil
}

// beside returns c with the local certificate for its name.
func (l *local) beside(c *tls.Config) *tls.Config {
	others := c.GetCertificate
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == l.name {
			return &l.cert, nil
		}
		return others(hello)
	}
	return c
}
