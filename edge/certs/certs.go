package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Source yields certificates. Its methods may be called from any goroutine,
// before Run as well.
type Source interface {
	// Certificate returns the certificate for a handshake, or ErrNoCertificate.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Run keeps the certificates fresh until ctx ends. It is called once.
	Run(ctx context.Context) error
	// Reload looks now whether there are other certificates, as Run does by
	// itself, and reports whether others are served since. With an error the old
	// ones stay.
	Reload() (changed bool, err error)
	// Status says what is served and what is wrong.
	Status() Status
}

// Status is what a source serves at one moment.
type Status struct {
	Certificates []Info
	// Problems are sentences for the operator. No key material is in them.
	Problems []string

	at time.Time
}

// Info describes a certificate without its key.
type Info struct {
	Names    []string // hosts, wildcards and addresses
	Issuer   string
	NotAfter time.Time
	Source   string // the file that it came from

	notBefore time.Time
}

// Covers reports whether a certificate that is valid now names the host. A name
// such as *.example.com asks for a wildcard.
func (s Status) Covers(name string) bool {
	name, at := canonical(name), s.at
	if at.IsZero() {
		at = time.Now()
	}
	_, parent, _ := strings.Cut(name, ".")
	return slices.ContainsFunc(s.Certificates, func(c Info) bool {
		return !at.Before(c.notBefore) && at.Before(c.NotAfter) &&
			(slices.Contains(c.Names, name) || slices.Contains(c.Names, "*."+parent))
	})
}

// Options are what sources that read files have in common. The zero value works.
type Options struct {
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now

	pace pace // zero fields are the defaults; tests hurry
}

// ErrNoCertificate says that no certificate covers the name that the client
// asked for. Another name's is never given instead.
var ErrNoCertificate = errors.New("no certificate for this name")

var unrecognized atomic.Int64

// Unrecognized returns how many handshakes of this process were refused, since
// no certificate covers the name that the client asked for.
func Unrecognized() int64 { return unrecognized.Load() }

// Config returns a server's TLS configuration that takes its certificates from
// s. A client that asks for a name without a certificate gets the alert
// unrecognized_name. The caller sets the protocols and leaves Certificates
// empty.
func Config(s Source) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := s.Certificate(hello)
			if errors.Is(err, ErrNoCertificate) {
				unrecognized.Add(1)
				// An error from here becomes the alert internal_error. No error and no
				// certificate is the one way by which crypto/tls sends
				// unrecognized_name: it looks in Certificates and finds nothing.
				return nil, nil
			}
			return c, err
		},
	}
}
