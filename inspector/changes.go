package inspector

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Changes says how a replay differs from its original. The zero value repeats
// it byte for byte.
type Changes struct {
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Header, when not nil, replaces all header lines.
	Header []Field `json:"header,omitempty"`
	// Set replaces or appends single header lines after Header was applied;
	// Remove drops lines by name before that.
	Set    []Field  `json:"set,omitempty"`
	Remove []string `json:"remove,omitempty"`
	// Body, when not nil, replaces the body. Content-Length follows it.
	Body *[]byte `json:"body,omitempty"`

	// Latin1 says that each character of the texts above is one byte, for those
	// that are not UTF-8: JSON has no place for such bytes. See [Changes.ForJSON].
	Latin1 bool `json:"latin1,omitempty"`
}

// None reports whether c changes nothing.
func (c Changes) None() bool {
	return c.Method == "" && c.Path == "" && c.Header == nil && c.Set == nil && c.Remove == nil && c.Body == nil
}

// ForJSON is c as JSON carries it without a loss. [Changes.FromJSON] undoes it.
func (c Changes) ForJSON() Changes {
	valid := true
	c.each(func(s string) string {
		valid = valid && utf8.ValidString(s)
		return s
	})
	if valid || c.Latin1 {
		return c
	}
	c = c.each(func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteRune(rune(s[i]))
		}
		return b.String()
	})
	c.Latin1 = true
	return c
}

// FromJSON is c as it is meant. It fails for a text that cannot be Latin-1.
func (c Changes) FromJSON() (Changes, error) {
	if !c.Latin1 {
		return c, nil
	}
	var err error
	c = c.each(func(s string) string {
		b := make([]byte, 0, len(s))
		for _, r := range s {
			if r > 0xff {
				err = errors.New("there is a character in it that is not Latin-1: " + string(r))
			}
			b = append(b, byte(r))
		}
		return string(b)
	})
	c.Latin1 = false
	return c, err
}

// each returns c with f applied to its texts. A method and the name of a header
// line are ASCII, or they are refused.
func (c Changes) each(f func(string) string) Changes {
	fields := func(list []Field) []Field {
		list = slices.Clone(list)
		for i := range list {
			list[i].Value = f(list[i].Value)
		}
		return list
	}
	c.Path, c.Header, c.Set = f(c.Path), fields(c.Header), fields(c.Set)
	return c
}

// AsJSON is s as JSON gives it to those who read it: bytes that are not UTF-8 have
// become replacement characters, each one.
func AsJSON(s string) string { return string([]rune(s)) }
