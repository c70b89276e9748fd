package certs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// An entry is a certificate that can be served, with its key and Leaf.
type entry struct {
	cert   *tls.Certificate
	print  [sha256.Size]byte // of the leaf
	names  []string          // of the leaf, in canonical form
	source string            // for people: which file, which part of it
	origin string            // for merging: where in the source it stands
}

func newEntry(c *tls.Certificate, source, origin string) *entry {
	e := &entry{cert: c, print: sha256.Sum256(c.Leaf.Raw), source: source, origin: origin}
	for _, name := range c.Leaf.DNSNames {
		e.names = append(e.names, canonical(name))
	}
	for _, ip := range c.Leaf.IPAddresses {
		e.names = append(e.names, ip.String())
	}
	return e
}

func (e *entry) valid(now time.Time) bool {
	return !now.Before(e.cert.Leaf.NotBefore) && now.Before(e.cert.Leaf.NotAfter)
}

// canonical is the form that names are compared in: lower case, no dot at the
// end, ASCII.
func canonical(name string) string {
	name = strings.TrimSuffix(name, ".")
	for _, c := range []byte(name) {
		if c < 0x80 {
			continue
		}
		if ascii, err := idna.Lookup.ToASCII(name); err == nil {
			name = ascii
		}
		break
	}
	return strings.ToLower(name)
}

// A set is an immutable collection of certificates.
type set struct {
	entries []*entry
	prints  map[[sha256.Size]byte]bool
	names   map[string][]*entry
	lone    bool // all of them have the same names
}

func newSet(entries []*entry) *set {
	s := &set{prints: make(map[[sha256.Size]byte]bool), names: make(map[string][]*entry), lone: true}
	for _, e := range entries {
		if s.prints[e.print] {
			continue
		}
		s.prints[e.print] = true
		s.entries = append(s.entries, e)
		s.lone = s.lone && slices.Equal(e.names, s.entries[0].names)
		for _, name := range e.names {
			if at := s.names[name]; len(at) == 0 || at[len(at)-1] != e {
				s.names[name] = append(at, e)
			}
		}
	}
	return s
}

// same reports whether two sets hold the same certificates.
func (s *set) same(t *set) bool {
	return maps.Equal(s.prints, t.prints)
}

// find returns the best certificate for a handshake. A client that names no
// server is one that dialled an address: it gets a certificate for that address
// or, when all of the set's certificates are for the same names, one of these.
func (s *set) find(hello *tls.ClientHelloInfo, now time.Time) (*tls.Certificate, error) {
	name := canonical(hello.ServerName)
	if name != hello.ServerName {
		// SupportsCertificate compares with the name as it was sent.
		h := *hello
		h.ServerName = name
		hello = &h
	}
	var exact, wildcard []*entry
	if name == "" {
		if hello.Conn != nil {
			exact = s.names[hostOf(hello.Conn.LocalAddr())]
		}
		if len(exact) == 0 && s.lone {
			exact = s.entries
		}
	} else {
		exact = s.names[name]
		if _, parent, ok := strings.Cut(name, "."); ok {
			wildcard = s.names["*."+parent]
		}
	}
	best := choose(choose(nil, exact, hello, now), wildcard, hello, now)
	if best == nil {
		return nil, ErrNoCertificate
	}
	return best.cert, nil
}

// choose returns the best of entries, or best when none of them is better. Of
// two that are equally good in time, best stands: exact names come first.
func choose(best *entry, entries []*entry, hello *tls.ClientHelloInfo, now time.Time) *entry {
	given := best
	for _, e := range entries {
		if best != nil && !better(e, best, best == given, now) {
			continue
		}
		if hello.ServerName != "" && e.cert.Leaf.VerifyHostname(hello.ServerName) != nil || hello.SupportsCertificate(e.cert) != nil {
			continue
		}
		best = e
	}
	return best
}

// better reports whether a is to be preferred to b: valid now, naming the host
// itself where a does not and b does, valid for longer, ECDSA, and then always
// the same of two.
func better(a, b *entry, exact bool, now time.Time) bool {
	if x, y := a.valid(now), b.valid(now); x != y {
		return x
	}
	if exact {
		return false
	}
	if n := a.cert.Leaf.NotAfter.Compare(b.cert.Leaf.NotAfter); n != 0 {
		return n > 0
	}
	if x, y := a.cert.Leaf.PublicKeyAlgorithm, b.cert.Leaf.PublicKeyAlgorithm; x != y {
		return x == x509.ECDSA
	}
	return bytes.Compare(a.print[:], b.print[:]) < 0
}

// naming returns the certificates that cover a host, a wildcard or an address.
func (s *set) naming(name string) []*entry {
	_, parent, ok := strings.Cut(name, ".")
	if !ok || strings.HasPrefix(name, "*.") || net.ParseIP(name) != nil || len(s.names["*."+parent]) == 0 {
		return s.names[name]
	}
	return slices.Concat(s.names[name], s.names["*."+parent])
}

// covered reports whether a certificate of the set has name among its own, and
// whether one that covers it is valid now.
func (s *set) covered(name string, now time.Time) (named, valid bool) {
	valid = slices.ContainsFunc(s.naming(name), func(e *entry) bool { return e.valid(now) })
	return len(s.names[name]) > 0, valid
}

// infos describes the certificates, by name.
func (s *set) infos() []Info {
	infos := make([]Info, 0, len(s.entries))
	for _, e := range s.entries {
		leaf := e.cert.Leaf
		issuer := leaf.Issuer.CommonName
		if issuer == "" {
			issuer = leaf.Issuer.String()
		}
		infos = append(infos, Info{
			Names: slices.Clone(e.names), Issuer: issuer, NotAfter: leaf.NotAfter,
			Source: e.source, notBefore: leaf.NotBefore,
		})
	}
	slices.SortStableFunc(infos, func(a, b Info) int {
		return cmp.Or(slices.Compare(a.Names, b.Names), b.NotAfter.Compare(a.NotAfter))
	})
	return infos
}

// hostOf returns an address without its port.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return host
}
