package http1

import "bytes"

// A Response is the head of a response. ParseResponse fills it; its slices
// alias the parsed buffer (or the Response's own memory where a sloppy head had
// to be put straight) until the next parse.
type Response struct {
	Raw    []byte // the head as it came, status line to blank line
	Minor  int
	Status int
	Reason []byte // verbatim, may be empty

	Fields []Field // in order; reused by the next parse

	Framing Framing
	Length  int64 // what Content-Length says, also where no body follows (HEAD, 304); -1 without

	Close bool // the local service ends the connection after this response
	// KeepAlive is how many seconds the service keeps the idle connection
	// (Keep-Alive: timeout=N), 0 when it does not say.
	KeepAlive   int
	Upgrade     []byte // value of Upgrade in a 101, else nil
	EventStream bool   // Content-Type is text/event-stream
	// Pinned is set when WWW-Authenticate offers NTLM or Negotiate.
	Pinned bool

	scan  scan
	fixed []byte
}

// Interim reports whether another response follows this one to the same
// request: every 1xx but 101.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Reset forgets a head that came in part, for a buffer that starts anew.
func (r *Response) Reset() { r.scan = scan{} }

// ParseResponse parses the head at the start of b, the answer to a request with
// the given method, into r. It returns as ParseRequest does. The method decides
// with the status whether a body follows: none does after HEAD, 1xx, 204 and
// 304. After an error the connection is of no more use.
func ParseResponse(r *Response, b []byte, l Limits, reqMethod []byte) (n int, err error) {
	n, err = r.scan.head(b, l, true)
	if n == 0 && err == nil {
		return 0, nil
	}
	loose := r.scan.loose
	r.scan = scan{}
	if err != nil {
		return 0, err
	}
	head := b[:n:n]
	*r = Response{Raw: head, Fields: r.Fields[:0], fixed: r.fixed[:0]}
	if loose {
		if r.fixed, err = straighten(r.fixed, head); err != nil {
			return 0, err
		}
		head = r.fixed
	}
	if err := r.parse(head, reqMethod); err != nil {
		return 0, err
	}
	// A service that sloppy is not asked twice over one connection.
	r.Close = r.Close || loose
	return n, nil
}

func (r *Response) parse(head, reqMethod []byte) error {
	eol := bytes.IndexByte(head, '\n') + 1
	if err := r.statusLine(head[:eol-2]); err != nil {
		return err
	}
	var f facts
	var err error
	if r.Fields, err = parseFields(r.Fields, head[eol:len(head)-2], &f, true); err != nil {
		return err
	}
	framing, length, ok, err := f.framing(r.Minor)
	if err != nil {
		return err
	}
	r.Framing, r.Length = framing, length
	if !ok {
		r.Framing, r.Length = UntilClose, -1
	}
	switch {
	case r.Status < 200 || r.Status == 204:
		// These may carry neither field (RFC 9110, 8.6 and RFC 9112, 6.1), and a
		// client that believed them would wait for a body.
		r.Framing, r.Length = None, -1
		for i := range r.Fields {
			if k := r.Fields[i].Kind; k == KindContentLength || k == KindTransferEncoding {
				r.Fields[i].Hop = true
			}
		}
	case r.Status == 304 || string(reqMethod) == "HEAD":
		r.Framing = None
	}
	r.Close = f.close || f.ends || r.Minor == 0 && !f.keepAlive || r.Framing == UntilClose
	r.KeepAlive, r.EventStream, r.Pinned = f.timeout, f.eventStream, f.pinned
	if r.Status == 101 {
		r.Upgrade = f.protocols
	}
	return nil
}

// statusLine parses the status line, given without its line end. The space
// before an empty reason may be missing, as it often is.
func (r *Response) statusLine(line []byte) error {
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return ErrStatusLine
	}
	minor, err := version(line[:8])
	if err != nil {
		return ErrStatusLine
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return ErrStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return ErrStatusLine
	}
	r.Minor = minor
	if len(line) > 13 {
		r.Reason = line[13:]
	}
	if !plain(r.Reason, true) {
		return ErrStatusLine
	}
	return nil
}
