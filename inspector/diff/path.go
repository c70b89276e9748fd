package diff

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A step is one step of a path, as rules see it.
type step struct {
	key   []byte // decoded; nil for an element of an array
	index int32
	name  string // id=42 for an element that has one
}

// appendKey writes the step to an object's value the way people read it: .key,
// or ["some key"] where the key is no plain word.
func appendKey(path, key []byte, occurrence int) []byte {
	if word(key) {
		path = append(path, '.')
		path = append(path, key...)
	} else {
		if len(path) == 0 {
			path = append(path, '.')
		}
		path = append(path, '[')
		path = strconv.AppendQuote(path, string(key))
		path = append(path, ']')
	}
	if occurrence > 0 {
		path = fmt.Appendf(path, "#%d", occurrence+1)
	}
	return path
}

func appendIndex(path []byte, index int32, name string) []byte {
	if len(path) == 0 {
		path = append(path, '.')
	}
	path = append(path, '[')
	if name != "" {
		path = append(path, name...)
	} else {
		path = strconv.AppendInt(path, int64(index), 10)
	}
	return append(path, ']')
}

func word(key []byte) bool {
	if len(key) == 0 || '0' <= key[0] && key[0] <= '9' || key[0] == '-' {
		return false
	}
	for _, c := range key {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '$') {
			return false
		}
	}
	return true
}

// appendToken writes a step of a pointer; see Change.Pointer.
func appendToken(ptr, key []byte, occurrence int) []byte {
	ptr = append(ptr, '/')
	for i := 0; i < len(key); {
		c := key[i]
		switch {
		case c == '~':
			ptr = append(ptr, "~0"...)
		case c == '/':
			ptr = append(ptr, "~1"...)
		case c < utf8.RuneSelf:
			ptr = append(ptr, c)
		default:
			r, n := utf8.DecodeRune(key[i:])
			if r == utf8.RuneError && n == 1 {
				ptr = fmt.Appendf(ptr, "~3%02x", c)
			} else {
				ptr = append(ptr, key[i:i+n]...)
			}
			i += n
			continue
		}
		i++
	}
	if occurrence > 0 {
		ptr = fmt.Appendf(ptr, "~2%d", occurrence)
	}
	return ptr
}

var errPointer = errors.New("not a pointer of this package")

// parseToken is the reverse of appendToken, without the slash.
func parseToken(token string) (key string, occurrence int, err error) {
	if strings.IndexByte(token, '~') < 0 {
		return token, 0, nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '~' {
			b.WriteByte(token[i])
			continue
		}
		i++
		switch {
		case i == len(token):
			return "", 0, errPointer
		case token[i] == '0':
			b.WriteByte('~')
		case token[i] == '1':
			b.WriteByte('/')
		case token[i] == '2':
			n, err := strconv.Atoi(token[i+1:])
			if err != nil || n < 0 {
				return "", 0, errPointer
			}
			return b.String(), n, nil
		case token[i] == '3' && i+2 < len(token):
			c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
			if err != nil {
				return "", 0, errPointer
			}
			b.WriteByte(byte(c))
			i += 2
		default:
			return "", 0, errPointer
		}
	}
	return b.String(), 0, nil
}

// Generalize turns the path of a change into one for a rule:
// .items[id=42].updated_at becomes .items[*].updated_at, and the second of a
// name that repeats, .tag#2, all of that name.
func Generalize(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		if path[i] == '#' {
			for i++; i < len(path) && '0' <= path[i] && path[i] <= '9'; i++ {
			}
			continue
		}
		if path[i] != '[' {
			b.WriteByte(path[i])
			i++
			continue
		}
		end := bracketEnd(path, i)
		if strings.HasPrefix(path[i:], `["`) {
			b.WriteString(path[i:end])
		} else {
			b.WriteString("[*]")
		}
		i = end
	}
	return b.String()
}

// bracketEnd returns where the bracket that opens at i ends, quotes respected.
func bracketEnd(path string, i int) int {
	quoted := false
	for i++; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			return i + 1
		}
	}
	return len(path)
}
