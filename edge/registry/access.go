package registry

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
)

// Access is who may use a tunnel from the public side. A nil one lets everybody
// in.
type Access struct {
	User string            // empty: no login is asked for
	Hash [sha256.Size]byte // of the password
	// Allow and Deny are the rules in the order of the claim. Addresses are
	// prefixes of full length.
	Allow, Deny []netip.Prefix
}

// Admits reports whether a client at ip may come in: no rule of Deny holds it
// and, where there are rules in Allow, one of those does. An address that is
// not known is let in only where there are no rules at all.
func (a *Access) Admits(ip netip.Addr) bool {
	if a == nil || len(a.Allow) == 0 && len(a.Deny) == 0 {
		return true
	}
	if ip = ip.Unmap().WithZone(""); !ip.IsValid() {
		return false
	}
	for _, p := range a.Deny {
		if p.Contains(ip) {
			return false
		}
	}
	for _, p := range a.Allow {
		if p.Contains(ip) {
			return true
		}
	}
	return len(a.Allow) == 0
}

// Login reports whether these are the user and the password that the tunnel
// asks for, which anything is when it asks for none. It takes the same time
// whatever is wrong.
func (a *Access) Login(user, password string) bool {
	if a == nil || a.User == "" {
		return true
	}
	wanted, given, hash := sha256.Sum256([]byte(a.User)), sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(wanted[:], given[:])&subtle.ConstantTimeCompare(a.Hash[:], hash[:]) == 1
}
