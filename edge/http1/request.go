package http1

import "bytes"

// A TargetForm is one of the four shapes of a request target (RFC 9112, 3.2).
type TargetForm uint8

const (
	Origin    TargetForm = iota // /path?query
	Absolute                    // http://host/path?query
	Authority                   // host:port, with CONNECT only
	Asterisk                    // *, with OPTIONS only
)

// A Request is the head of a request. ParseRequest fills it; its slices alias
// the parsed buffer. A Request is used again for the next head, and then costs
// no memory.
type Request struct {
	Raw    []byte // the head as it came, request line to blank line
	Method []byte
	Target []byte // byte for byte
	Minor  int    // of the version: 0 or 1, or more for a client from the future

	Fields []Field // in order; reused by the next parse

	Form   TargetForm
	Scheme []byte // of an absolute target, as it came
	// Path is the target to send to an origin server: Target itself, or the part
	// of an absolute target after the authority ("/" when empty, "*" for
	// OPTIONS). It is nil with CONNECT.
	Path []byte

	// Host is whom the request is for: the authority of an absolute target, else
	// the Host field; with port, as it came, and not yet canonical (see
	// AppendHost). It is empty only for HTTP/1.0 without Host.
	Host []byte
	// HostField is the Host line's value. When Form is Absolute it may differ
	// from Host; what is passed on must then say Host (RFC 9112, 3.2.2).
	HostField []byte

	Framing Framing
	Length  int64 // of a Fixed body; 0 for None, -1 for Chunked

	Close     bool   // the client wants no further exchange on this connection
	Expect100 bool   // the client waits for 100 Continue before it sends the body
	Trailers  bool   // TE says that the client accepts trailers
	Upgrade   []byte // value of Upgrade when Connection lists it, else nil
	// Pinned is set when Authorization speaks NTLM or Negotiate, which
	// authenticate a connection and not a request.
	Pinned bool

	scan scan
	path []byte
}

// Reset forgets a head that came in part, for a buffer that starts anew.
func (r *Request) Reset() { r.scan = scan{} }

// ParseRequest parses the head at the start of b into r and returns its length,
// an empty line before it included: what follows in b is the body. It returns 0
// and no error while the head is incomplete; call it again with the same bytes
// and more behind them (in another place of memory if need be), and only the
// new ones are looked at. An error is always an *Error, and the connection is
// to be closed after it was answered, because nobody knows where the next
// request would start.
func ParseRequest(r *Request, b []byte, l Limits) (n int, err error) {
	n, err = r.scan.head(b, l, false)
	if n == 0 && err == nil {
		return 0, nil
	}
	start := r.scan.start
	r.scan = scan{}
	if err != nil {
		return 0, err
	}
	if err := r.parse(b[start:n:n]); err != nil {
		return 0, err
	}
	return n, nil
}

func (r *Request) parse(head []byte) error {
	*r = Request{Raw: head, Fields: r.Fields[:0], path: r.path[:0]}
	eol := bytes.IndexByte(head, '\n') + 1
	if err := r.requestLine(head[:eol-2]); err != nil {
		return err
	}
	var f facts
	var err error
	if r.Fields, err = parseFields(r.Fields, head[eol:len(head)-2], &f, false); err != nil {
		return err
	}
	if err := r.resolveHost(&f); err != nil {
		return err
	}
	if r.Framing, r.Length, _, err = f.framing(r.Minor); err != nil {
		return err
	}
	r.Close = f.close || r.Minor == 0 && !f.keepAlive
	r.Trailers, r.Pinned = f.trailers, f.pinned
	if r.Minor > 0 {
		r.Expect100 = f.expect
		if f.upgrade && len(f.protocols) > 0 {
			r.Upgrade = f.protocols
		}
	}
	return nil
}

// requestLine parses the request line, given without its line end.
func (r *Request) requestLine(line []byte) error {
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first < 0 || last <= first+1 {
		return ErrRequestLine
	}
	r.Method, r.Target = line[:first:first], line[first+1:last:last]
	if !token(r.Method) {
		return ErrMethod
	}
	minor, err := version(line[last+1:])
	if err != nil {
		return err
	}
	r.Minor = minor
	if !visible(r.Target) {
		return ErrTargetByte
	}
	return r.target()
}

// version parses HTTP/1.x. A minor version from the future is still 1.1 to us
// (RFC 9110, 2.5).
func version(b []byte) (minor int, err error) {
	if len(b) != 8 || string(b[:5]) != "HTTP/" || b[6] != '.' ||
		b[5] < '0' || b[5] > '9' || b[7] < '0' || b[7] > '9' {
		return 0, ErrRequestLine
	}
	if b[5] != '1' {
		return 0, ErrVersion
	}
	return int(b[7] - '0'), nil
}

// target tells the four forms apart and finds what to send on.
func (r *Request) target() error {
	t := r.Target
	if string(r.Method) == "CONNECT" {
		_, port, ok := splitHost(t)
		if !ok || len(port) == 0 {
			return ErrTarget
		}
		r.Form, r.Host = Authority, t
		return nil
	}
	switch {
	case t[0] == '/':
		r.Form, r.Path = Origin, t
		return nil
	case len(t) == 1 && t[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return ErrTarget
		}
		r.Form, r.Path = Asterisk, t
		return nil
	}
	// Other schemes mean a proxy, which the edge is not.
	switch {
	case len(t) > 7 && is(t[:7], "http://"):
		r.Scheme = t[:4:4]
	case len(t) > 8 && is(t[:8], "https://"):
		r.Scheme = t[:5:5]
	default:
		return ErrTarget
	}
	r.Form = Absolute
	t = t[len(r.Scheme)+3:]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	r.Host = t[:end:end]
	// User information and fragments fail here too: neither '@' nor '#' is part
	// of a host.
	if _, _, ok := splitHost(r.Host); !ok {
		return ErrHost
	}
	switch rest := t[end:]; {
	case len(rest) == 0 && string(r.Method) == "OPTIONS":
		r.Path = append(r.path, '*')
	case len(rest) == 0:
		r.Path = append(r.path, '/')
	case rest[0] == '?':
		// The one place where the target has to be written anew (RFC 9112, 3.2.1).
		r.Path = append(append(r.path, '/'), rest...)
	default:
		r.Path = rest
		return nil
	}
	r.path = r.Path
	return nil
}

func (r *Request) resolveHost(f *facts) error {
	if f.hosts == 0 {
		if r.Minor > 0 {
			return ErrNoHost
		}
		return nil
	}
	if _, _, ok := splitHost(f.host); !ok {
		return ErrHost
	}
	r.HostField = f.host
	if r.Host == nil {
		r.Host = f.host
	}
	return nil
}
