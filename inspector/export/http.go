package export

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lrok-dev/lrok/inspector"
)

// base64Comment says how the body of an .http file is written.
const base64Comment = "# body: base64"

// escapesComment says that in the head of an .http file a byte that is no text, as
// in a header line of Latin-1, is written as four characters. Editors would take the
// whole file for Latin-1, or replace the byte.
const escapesComment = "# head: escaped"

// HTTP writes the request of x as an .http file for an editor: comment lines,
// method and target, header lines, an empty line, the body. A body that is not
// text is written in base64, such bytes in the head as \xE9, and comments say so. For another address the target
// is the whole URL. [ParseHTTP] is its inverse.
func HTTP(x *inspector.Exchange, o Options) []byte {
	r := newRequest(x, o)
	target := r.target
	if o.URL != "" {
		target = r.url()
	}
	var b bytes.Buffer
	b.WriteString("# Content-Length follows the body by itself. An empty file sends nothing.\n")
	if r.cut != "" {
		b.WriteString("# Mind: " + r.cut + ".\n")
	}
	text := isText(r.body)
	if !text {
		b.WriteString(base64Comment + ", because it is not text; remove this line to write text\n")
	}
	var head bytes.Buffer
	if r.method[0] == '#' {
		head.WriteByte(' ') // or it would be a comment
	}
	head.WriteString(r.method + " " + target + "\n")
	if !r.has("Host") && x.Host != "" && o.URL == "" {
		head.WriteString("Host: " + r.host + "\n")
	}
	for _, f := range r.header {
		head.WriteString(strings.TrimRight(f.Name+": "+f.Value, " ") + "\n")
	}
	if utf8.Valid(head.Bytes()) {
		b.Write(head.Bytes())
	} else {
		b.WriteString(escapesComment + `, \xE9 is one byte; without this line it is what it looks like` + "\n")
		b.WriteString(escape(head.String()))
	}
	b.WriteByte('\n')
	switch {
	case len(r.body) == 0:
	case text:
		b.Write(r.body)
		b.WriteByte('\n')
	default:
		coded := base64.StdEncoding.EncodeToString(r.body)
		for len(coded) > 76 {
			b.WriteString(coded[:76] + "\n")
			coded = coded[76:]
		}
		b.WriteString(coded + "\n")
	}
	return b.Bytes()
}

// escape writes the bytes of s that are not UTF-8 as \xE9, and a backslash where it
// would be taken for the beginning of that. unescape is its inverse.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		if c := s[i]; c >= utf8.RuneSelf && n == 1 || escaped(s[i:]) {
			fmt.Fprintf(&b, `\x%02X`, c)
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; escaped(s[i:]) {
			n, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
			b.WriteByte(byte(n))
			i += 3
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escaped reports whether s begins with one byte as escape writes it.
func escaped(s string) bool {
	const digits = "0123456789abcdefABCDEF"
	return len(s) >= 4 && s[:2] == `\x` && strings.IndexByte(digits, s[2]) >= 0 && strings.IndexByte(digits, s[3]) >= 0
}

// isText reports whether an editor gives body back as it got it.
func isText(body []byte) bool {
	if !utf8.Valid(body) || bytes.HasPrefix(body, []byte("\ufeff")) {
		return false
	}
	for i, c := range body {
		if c < ' ' && c != '\n' && c != '\t' && (c != '\r' || i+1 == len(body) || body[i+1] != '\n') || c == 0x7f {
			return false
		}
	}
	return true
}

// A Request is what an .http file says.
type Request struct {
	Method string
	URL    string // as written: a request target or a whole URL
	Header []inspector.Field
	Body   []byte
}

// ErrEmpty says that an .http file holds nothing but comments: the user gave up.
var ErrEmpty = errors.New("the file is empty")

// A SyntaxError says what is wrong with an .http file and where.
type SyntaxError struct {
	Line    int // from 1
	Message string
}

// Error says the line and what is wrong there.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

// ParseHTTP reads an .http file. Its error is [ErrEmpty] or a [*SyntaxError]. The
// body's last line feed is not part of it, because editors end files with one.
func ParseHTTP(data []byte) (Request, error) {
	p := httpParser{rest: bytes.TrimPrefix(data, []byte("\ufeff"))}
	var r Request
	coded, escapes := false, false
	plain := func(s string) string {
		if escapes {
			return unescape(s)
		}
		return s
	}
	for r.Method == "" {
		line, ok := p.next()
		switch {
		case !ok:
			return Request{}, ErrEmpty
		case strings.HasPrefix(line, "#"):
			coded = coded || strings.HasPrefix(line, base64Comment)
			escapes = escapes || strings.HasPrefix(line, escapesComment)
			continue
		case strings.Trim(line, " \t") == "":
			continue
		}
		method, url, found := strings.Cut(strings.Trim(line, " \t"), " ")
		url = strings.TrimLeft(url, " ")
		if before, version, ok := cutLast(url, " "); ok && strings.HasPrefix(version, "HTTP/") {
			url = strings.TrimRight(before, " ")
		}
		spaced := strings.ContainsAny(url, " \t")
		url = plain(url)
		switch {
		case !isToken(method):
			return Request{}, p.errorf("%q is not a method", method)
		case !found || url == "":
			return Request{}, p.errorf("the target is missing: write %s /path", method)
		case spaced:
			return Request{}, p.errorf("the target has a space in it: write %%20")
		case cleanTarget(url) != url:
			return Request{}, p.errorf("the target has a control character in it")
		}
		r.Method, r.URL = method, url
	}
	for {
		line, ok := p.next()
		if !ok {
			return r, nil
		}
		if line == "" {
			break
		}
		name, value, found := strings.Cut(line, ":")
		value = plain(value)
		switch {
		case !found:
			return Request{}, p.errorf("a header line needs a colon, and an empty line goes before the body")
		case !isToken(name):
			return Request{}, p.errorf("%q is not a header name", name)
		case strings.ContainsAny(value, "\x00\r\n"):
			return Request{}, p.errorf("the value of %s has a control character in it", name)
		}
		r.Header = append(r.Header, inspector.Field{Name: name, Value: strings.Trim(value, " \t")})
	}
	body := p.rest
	if coded {
		// Decoded line by line to say which one is wrong, but a group of four may
		// be spread over two.
		var all []byte
		for {
			line, ok := p.next()
			if !ok {
				break
			}
			line = strings.Join(strings.Fields(line), "")
			if i := strings.IndexFunc(line, func(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) }); i >= 0 {
				return Request{}, p.errorf("this is not base64")
			}
			all = append(all, line...)
		}
		decoded, err := base64.StdEncoding.DecodeString(string(all))
		if err != nil {
			return Request{}, p.errorf("the base64 ends early or goes on after its end")
		}
		if len(decoded) > 0 {
			r.Body = decoded
		}
		return r, nil
	}
	if bytes.HasSuffix(body, []byte("\r\n")) && p.crlf {
		body = body[:len(body)-2]
	} else {
		body = bytes.TrimSuffix(body, []byte("\n"))
	}
	if len(body) > 0 {
		r.Body = body
	}
	return r, nil
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

type httpParser struct {
	rest []byte
	line int
	crlf bool // the last line ended so
}

func (p *httpParser) next() (string, bool) {
	if len(p.rest) == 0 {
		return "", false
	}
	p.line++
	line, rest, _ := bytes.Cut(p.rest, []byte{'\n'})
	p.rest = rest
	p.crlf = bytes.HasSuffix(line, []byte{'\r'})
	return string(bytes.TrimSuffix(line, []byte{'\r'})), true
}

func (p *httpParser) errorf(text string, args ...any) error {
	return &SyntaxError{Line: p.line, Message: fmt.Sprintf(text, args...)}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Changes says how r differs from the request of x, for a replay. The zero
// value means not at all. A whole URL in r changes the target and, where it names
// another host, the Host line; the scheme is the tunnel's own affair.
func (r Request) Changes(x *inspector.Exchange) inspector.Changes {
	var c inspector.Changes
	was, err := ParseHTTP(HTTP(x, Options{}))
	if err != nil {
		was = Request{}
	}
	if r.Method != was.Method {
		c.Method = r.Method
	}
	if r.URL != was.URL {
		scheme, host, target := splitURL(r.URL)
		if target != was.URL {
			c.Path = target
		}
		if scheme != "" && host != x.Host {
			c.Set = []inspector.Field{{Name: "Host", Value: host}}
		}
	}
	if !slices.Equal(r.Header, was.Header) {
		c.Header = append([]inspector.Field{}, r.Header...)
	}
	if !bytes.Equal(r.Body, was.Body) {
		body := append([]byte{}, r.Body...)
		c.Body = &body
	}
	return c
}
