package http1

import "encoding/binary"

// What a byte may be part of.
const (
	isToken = 1 << iota // RFC 9110, 5.6.2
	isUnder             // the underscore, to notice a name that holds one
	isHost              // of a host with port, before it is looked at closely
	isHex
)

var class = func() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		alnum := '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z' && b < 0x80
		switch {
		case alnum:
			t[c] |= isToken | isHost
		case b == '!' || b == '#' || b == '$' || b == '%' || b == '&' || b == '\'' || b == '*' ||
			b == '+' || b == '-' || b == '.' || b == '^' || b == '_' || b == '`' || b == '|' || b == '~':
			t[c] |= isToken
		}
		if b == '_' {
			t[c] |= isUnder
		}
		if b == '-' || b == '.' || b == '_' || b == ':' || b == '[' || b == ']' || b >= 0x80 {
			t[c] |= isHost
		}
		if '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' && b < 0x80 {
			t[c] |= isHex
		}
	}
	return t
}()

func token(b []byte) bool {
	for _, c := range b {
		if class[c]&isToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// suspects has a high bit set if one of the eight bytes of w is below floor
// (which is at most 0x80) or is DEL. Bytes from 0x80 on are none.
func suspects(w uint64, floor byte) uint64 {
	del := w ^ ones*0x7f
	return ((w-ones*uint64(floor))&^w | (del-ones)&^del) & highs
}

// plain reports whether b holds no control character but, where tab is allowed,
// HTAB. Bytes from 0x80 on pass: they are Latin-1 to some and UTF-8 to others.
func plain(b []byte, tab bool) bool {
	for len(b) >= 8 {
		if suspects(binary.LittleEndian.Uint64(b), ' ') != 0 {
			for _, c := range b[:8] {
				if c < ' ' && (c != '\t' || !tab) || c == 0x7f {
					return false
				}
			}
		}
		b = b[8:]
	}
	for _, c := range b {
		if c < ' ' && (c != '\t' || !tab) || c == 0x7f {
			return false
		}
	}
	return true
}

// visible reports whether b holds neither a control character nor a space.
func visible(b []byte) bool {
	for len(b) >= 8 {
		if suspects(binary.LittleEndian.Uint64(b), '!') != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// is reports whether b equals lower in any case. It folds by setting a bit, so
// b must hold no control characters and lower only a-z, 0-9, '-' and '/'.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// fold reports whether the tokens a and b are equal in any case.
func fold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// HasToken reports whether the comma-separated list holds token, which is given
// in lower case, in any case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var t []byte
		if t, list = cutElement(list); is(t, token) {
			return true
		}
	}
	return false
}

// cutElement splits the first element off a comma-separated list.
func cutElement(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}
