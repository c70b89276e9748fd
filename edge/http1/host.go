package http1

import (
	"bytes"
	"net/netip"
	"slices"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// AppendHost appends the canonical form of host to dst: lower case, without
// port and without the dot at the end, IDNA names in ASCII, IP literals in
// their shortest form, IPv6 in brackets. It is the one function that decides
// what a host is called: routing, authorisation, captures and logs all use its
// result, so that what was checked is what is used.
//
// It refuses with ErrHost what is not a name of letters, digits, '-', '_' and
// dots with labels of 1 to 63 bytes and 253 in all, or an IP literal. For a
// name that is ASCII it needs no memory but dst's.
func AppendHost[S []byte | string](dst []byte, host S) ([]byte, error) {
	return appendHost(dst, []byte(host))
}

// CanonicalHost is AppendHost as a string.
func CanonicalHost[S []byte | string](host S) (string, error) {
	var buf [maxHost]byte
	b, err := appendHost(buf[:0], []byte(host))
	if err != nil {
		return "", err
	}
	return string(b), nil
}

const maxHost = 253

func appendHost(dst, b []byte) ([]byte, error) {
	name, _, ok := splitHost(b)
	if !ok {
		return dst, ErrHost
	}
	if name[0] == '[' {
		// splitHost made sure that it parses and has no zone.
		addr, _ := netip.ParseAddr(string(name[1 : len(name)-1]))
		dst = append(dst, '[')
		dst = addr.AppendTo(dst)
		return append(dst, ']'), nil
	}
	for _, c := range name {
		if c >= 0x80 {
			return appendIDNA(dst, name)
		}
	}
	return appendName(dst, name)
}

func appendIDNA(dst, name []byte) ([]byte, error) {
	// Each character of the name becomes at least a byte of the result; longer
	// input is refused before idna works on it.
	if len(name) > 4*maxHost || !utf8.Valid(name) {
		return dst, ErrHost
	}
	// The dots of other scripts become '.', one at the end among them, which
	// idna would refuse to see there.
	ascii, err := idna.Lookup.ToASCII(string(name))
	if err != nil {
		return dst, ErrHost
	}
	return appendName(dst, []byte(ascii))
}

func appendName(dst, name []byte) ([]byte, error) {
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) == 0 || len(name) > maxHost {
		return dst, ErrHost
	}
	dst = slices.Grow(dst, len(name))
	start, label := len(dst), 0
	for _, c := range name {
		if c == '.' {
			if label == 0 {
				return dst[:start], ErrHost
			}
			label = 0
		} else if label++; label > 63 || class[c]&isHost == 0 || c >= 0x80 {
			return dst[:start], ErrHost
		}
		dst = append(dst, lower(c))
	}
	if label == 0 {
		return dst[:start], ErrHost
	}
	return dst, nil
}

// splitHost splits a host from its port, either of which may not be there, and
// reports whether they have the right shape: a bracketed IPv6 literal or bytes
// that a name may have, and a port of digits up to 65535. The brackets stay.
func splitHost(b []byte) (name, port []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return nil, nil, false
		}
		addr, err := netip.ParseAddr(string(b[1:end]))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return nil, nil, false
		}
		name, port = b[:end+1], b[end+1:]
		if len(port) == 0 {
			return name, nil, true
		}
		if port[0] != ':' {
			return nil, nil, false
		}
		port = port[1:]
	} else {
		colon := len(b)
		for i, c := range b {
			if c == ':' {
				colon = i
				break
			}
			if class[c]&isHost == 0 || c == '[' || c == ']' {
				return nil, nil, false
			}
		}
		if colon == 0 {
			return nil, nil, false
		}
		name = b[:colon]
		if colon == len(b) {
			return name, nil, true
		}
		port = b[colon+1:]
	}
	n := 0
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, nil, false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return nil, nil, false
		}
	}
	return name, port, true
}
