// Package export writes a captured exchange as something to use elsewhere: a
// curl command, an .http file to edit and send again, an HTTP archive, a Go
// program.
//
// What was captured came from strangers. Every writer here quotes it for where
// it goes, so that pasting the command or building the program sends the bytes
// that were captured and does nothing else.
package export

import (
	"bytes"
	"strings"

	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// Options say how to write an exchange. The zero value writes it as captured.
type Options struct {
	// Redact leaves out credentials, cookies and signatures in header lines and
	// query parameters. Bodies are written as they were captured.
	Redact bool
	// URL, when not empty, replaces scheme and host of the address, as
	// "http://localhost:3000"; a path it has goes before the captured one. The
	// Host header follows it.
	URL string
}

// A request is the request of an exchange with the options applied and with
// nothing left in it that HTTP/1 cannot carry.
type request struct {
	method string
	scheme string // http or https
	host   string // with port
	target string
	proto  string
	header []inspector.Field
	body   []byte
	cut    string // says so when only a part of the body was captured
}

func newRequest(x *inspector.Exchange, o Options) request {
	r := request{
		method: cleanMethod(x.Method),
		scheme: "http",
		host:   cleanHost(x.Host),
		target: cleanTarget(x.Path),
		proto:  x.Proto,
		header: cleanHeader(x.Request.Header),
		body:   x.Request.Body.Data,
		cut:    cutNote(x.Request.Body),
	}
	if strings.EqualFold(x.Scheme, "https") {
		r.scheme = "https"
	}
	if o.URL != "" {
		scheme, host, path := splitURL(o.URL)
		if _, _, origin := splitURL(r.target); origin != "" && !strings.HasPrefix(r.target, "/") {
			r.target = origin
		}
		r.scheme, r.host = "http", cleanHost(host)
		if strings.EqualFold(scheme, "https") {
			r.scheme = "https"
		}
		if strings.HasPrefix(r.target, "/") {
			r.target = strings.TrimRight(cleanTarget(path), "/") + r.target
		}
		r.proto = "HTTP/1.1"
		r.header = without(r.header, "host")
	}
	if o.Redact {
		r.target = format.RedactTarget(r.target)
		redactHeader(r.header)
	}
	return r
}

// url is the address in one piece.
func (r request) url() string {
	if strings.HasPrefix(r.target, "/") {
		return r.scheme + "://" + r.host + r.target
	}
	if scheme, _, _ := splitURL(r.target); scheme != "" {
		return r.target
	}
	return r.scheme + "://" + r.host + "/"
}

func (r request) has(name string) bool {
	for _, f := range r.header {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

func (r request) get(name string) string {
	return inspector.Message{Header: r.header}.Get(name)
}

func (r request) http2() bool { return strings.HasPrefix(r.proto, "HTTP/2") }

func (r request) chunked() bool {
	return strings.EqualFold(strings.TrimSpace(r.get("Transfer-Encoding")), "chunked") && !r.http2()
}

func without(header []inspector.Field, name string) []inspector.Field {
	var out []inspector.Field
	for _, f := range header {
		if !strings.EqualFold(f.Name, name) {
			out = append(out, f)
		}
	}
	return out
}

func redactHeader(header []inspector.Field) {
	for i, f := range header {
		header[i].Value = format.RedactHeader(f.Name, f.Value)
	}
}

func cutNote(b inspector.Body) string {
	switch {
	case !b.Truncated():
		return ""
	case len(b.Data) == 0:
		return "the body of " + format.Bytes(b.Size) + " was not captured"
	}
	return "the body is captured in part only: the first " + format.Bytes(b.Captured) + " of " + format.Bytes(b.Size)
}

// splitURL takes an absolute http or https URL apart without changing a byte;
// scheme is empty if it is none.
func splitURL(u string) (scheme, host, target string) {
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", "", u
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return scheme, rest, "/"
	}
	host, target = rest[:end], rest[end:]
	if target[0] != '/' {
		target = "/" + target
	}
	return scheme, host, target
}

func isTokenByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?={}`, c) < 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func cleanMethod(method string) string {
	if !isToken(method) {
		return "GET"
	}
	return method
}

// cleanHost drops what cannot be part of an authority: a capture may come from
// a file that somebody else wrote.
func cleanHost(host string) string {
	var b []byte
	for i := range len(host) {
		c := host[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._:[]", c) >= 0 {
			b = append(b, c)
		}
	}
	if len(b) == 0 {
		return "localhost"
	}
	return string(b)
}

// cleanTarget escapes the few bytes that would end a request target.
func cleanTarget(target string) string {
	if target == "" {
		return "/"
	}
	if !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return target
	}
	var b bytes.Buffer
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			b.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// cleanHeader copies the lines that can be sent as they are or nearly so: a line
// end within a value becomes a space, as in net/http.
func cleanHeader(header []inspector.Field) []inspector.Field {
	out := make([]inspector.Field, 0, len(header))
	for _, f := range header {
		if !isToken(f.Name) {
			continue
		}
		f.Value = strings.Trim(strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(f.Value), " \t")
		out = append(out, f)
	}
	return out
}
