package http1

import (
	"bytes"
	"math"
)

// A Field is one header line. Its slices alias the buffer that was parsed and
// live as long as the bytes in it stay.
type Field struct {
	Name  []byte // as it came
	Value []byte // as it came, without the whitespace around it
	Line  []byte // the whole line as it came, with CR LF
	Kind  FieldKind
	// Hop marks a line that ends here and is not passed on: Connection and what
	// it lists, Keep-Alive, Proxy-Connection, Upgrade, TE other than trailers.
	// Content-Length and Transfer-Encoding are no hop fields here, because the
	// body passes in the framing it came in; they are marked only where a
	// response must not carry them.
	Hop bool
}

// A FieldKind names the header fields that the edge treats by name.
type FieldKind uint8

// The kinds. Everything else is KindOther.
const (
	KindOther FieldKind = iota
	KindHost
	KindConnection
	KindContentLength
	KindTransferEncoding
	KindUpgrade
	KindTE
	KindTrailer
	KindKeepAlive
	KindProxyConnection
	KindExpect
	KindContentType
	KindContentEncoding
	KindAccept
	KindAuthorization
	KindWWWAuthenticate
	KindCookie
	KindSetCookie
	KindLocation
	KindUserAgent
	KindDate
	KindServer

	// From here on: what proxies say about the client. See Forwarding.

	KindXForwardedFor
	KindXForwardedProto
	KindXForwardedHost
	KindXForwardedPort
	KindXForwardedClientCert
	KindXForwardedOther // any other X-Forwarded-*, and X-Forwarded itself
	KindForwarded
	KindXRealIP
	KindXOriginal // any X-Original-*

	// KindSpoofable is the twin with underscores of one of the forwarding fields
	// or of a framing field (x_forwarded_for, Content_Length): CGI and WSGI read
	// both as the same variable. It is dropped, whoever sent it.
	KindSpoofable
)

// Forwarding reports whether k is a field in which proxies describe the client:
// X-Forwarded-*, Forwarded, X-Real-Ip and X-Original-*, which only a trusted
// peer may send, and their underscore twins, which nobody may.
func (k FieldKind) Forwarding() bool { return k >= KindXForwardedFor }

// Trails reports whether a field of kind k may stand in a trailer (RFC 9110,
// 6.5.1): not if it frames, routes, authenticates or describes the client,
// since there are servers that merge trailers into the header.
func (k FieldKind) Trails() bool {
	switch k {
	case KindHost, KindConnection, KindContentLength, KindTransferEncoding, KindUpgrade, KindTE, KindTrailer,
		KindKeepAlive, KindProxyConnection, KindExpect, KindContentType, KindContentEncoding,
		KindAuthorization, KindWWWAuthenticate, KindCookie, KindSetCookie:
		return false
	}
	return !k.Forwarding()
}

// KindOf returns the kind of a field that did not come through this package,
// such as one of HTTP/2. A name that is not a token is KindOther.
func KindOf[S []byte | string](name S) FieldKind {
	b := []byte(name)
	under := false
	for _, c := range b {
		if class[c]&isToken == 0 {
			return KindOther
		}
		under = under || c == '_'
	}
	switch {
	case len(b) == 0:
		return KindOther
	case under:
		return twin(b)
	}
	return kind(b)
}

// A Framing says how the end of a body is found.
type Framing uint8

const (
	None       Framing = iota // there is no body
	Fixed                     // Content-Length bytes
	Chunked                   // chunks, then trailers
	UntilClose                // everything until the connection ends; responses only
)

func (f Framing) String() string {
	switch f {
	case None:
		return "none"
	case Fixed:
		return "fixed"
	case Chunked:
		return "chunked"
	case UntilClose:
		return "until close"
	}
	return "unknown"
}

// Limits bounds a head. A zero field means its default.
type Limits struct {
	Head   int // bytes, start line to blank line; 64 KiB
	Fields int // header lines; 256
}

// facts is what the header lines say about the message as a whole.
type facts struct {
	host    []byte
	hosts   int
	length  int64
	digits  []byte // of length, as it came
	lengths int
	coding  []byte
	codings int

	close, keepAlive, upgrade bool // listed by Connection
	listed                    int  // names that Connection lists beside these and TE

	protocols   []byte // Upgrade
	upgrades    int
	timeout     int  // Keep-Alive
	ends        bool // Keep-Alive says that nothing is kept
	expect      bool
	trailers    bool
	smuggles    bool // Trailer announces framing
	pinned      bool
	eventStream bool
}

// parseFields parses the lines of b, which ends before the blank line, to the
// end of fields. A message is a response or a request; only the former may
// repeat its Content-Length.
func parseFields(fields []Field, b []byte, f *facts, response bool) ([]Field, error) {
	if fields == nil {
		// The first head of a connection, which is often the only one.
		fields = make([]Field, 0, min(bytes.Count(b, []byte{'\n'}), 32))
	}
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		fields = append(fields, Field{})
		x := &fields[len(fields)-1]
		x.Line = b[:n:n]
		b = b[n:]
		if err := x.parse(); err != nil {
			return fields, err
		}
		if x.Kind == KindOther {
			continue
		}
		if err := f.note(x, response); err != nil {
			return fields, err
		}
	}
	if f.listed > 0 {
		dropListed(fields)
	}
	return fields, nil
}

// parse fills x from its Line, which ends in CR LF.
func (x *Field) parse() error {
	line := x.Line[:len(x.Line)-2]
	colon, seen := 0, uint8(0)
	for ; colon < len(line); colon++ {
		c := class[line[colon]]
		if c&isToken == 0 {
			break
		}
		seen |= c
	}
	switch {
	case colon < len(line) && line[colon] == ':' && colon > 0:
	case colon < len(line) && (line[colon] == ' ' || line[colon] == '\t'):
		if colon == 0 {
			return ErrFold
		}
		return ErrFieldSpace
	default:
		return ErrFieldName
	}
	x.Name, x.Value = line[:colon:colon], trim(line[colon+1:])
	if !plain(x.Value, true) {
		return ErrFieldValue
	}
	if seen&isUnder != 0 {
		x.Kind = twin(x.Name)
	} else {
		x.Kind = kind(x.Name)
	}
	return nil
}

// note adds what x says to f.
func (f *facts) note(x *Field, response bool) error {
	switch x.Kind {
	case KindHost:
		f.hosts++
		f.host = x.Value
		if f.hosts > 1 && !response {
			return ErrHosts
		}
	case KindContentLength:
		n, ok := parseLength(x.Value)
		switch {
		case !ok:
			return ErrLength
		case f.lengths > 0 && (!response || !bytes.Equal(x.Value, f.digits)):
			return ErrLengths
		case f.lengths > 0:
			// RFC 9112, 6.3 allows one to be kept of several that agree.
			x.Hop = true
		}
		f.length, f.digits = n, x.Value
		f.lengths++
	case KindTransferEncoding:
		f.coding = x.Value
		f.codings++
	case KindConnection:
		x.Hop = true
		return f.connection(x.Value)
	case KindKeepAlive:
		x.Hop = true
		f.keep(x.Value)
	case KindProxyConnection:
		x.Hop = true
	case KindUpgrade:
		x.Hop = true
		if f.upgrades++; f.upgrades > 1 && !response {
			return ErrUpgrades
		}
		if f.upgrades == 1 {
			f.protocols = x.Value
		}
	case KindTE:
		f.trailers = f.trailers || HasToken(x.Value, "trailers")
		x.Hop = !is(x.Value, "trailers")
	case KindExpect:
		f.expect = f.expect || is(x.Value, "100-continue")
	case KindAuthorization, KindWWWAuthenticate:
		// Several challenges may share a line.
		for list := x.Value; len(list) > 0; {
			var scheme []byte
			scheme, list = cutElement(list)
			scheme, _, _ = bytes.Cut(scheme, []byte(" "))
			f.pinned = f.pinned || is(scheme, "ntlm") || is(scheme, "negotiate")
		}
	case KindTrailer:
		f.smuggles = f.smuggles || HasToken(x.Value, "content-length") ||
			HasToken(x.Value, "transfer-encoding") || HasToken(x.Value, "trailer")
	case KindContentType:
		mediaType, _, _ := bytes.Cut(x.Value, []byte(";"))
		f.eventStream = is(trim(mediaType), "text/event-stream")
	}
	return nil
}

// maxListed bounds the names in Connection, because each is looked for among
// all lines.
const maxListed = 64

func (f *facts) connection(list []byte) error {
	for len(list) > 0 {
		var t []byte
		t, list = cutElement(list)
		switch {
		case len(t) == 0 || is(t, "te"):
		case is(t, "close"):
			f.close = true
		case is(t, "keep-alive"):
			f.keepAlive = true
		case is(t, "upgrade"):
			f.upgrade = true
		default:
			if f.listed++; f.listed > maxListed {
				return ErrConnection
			}
		}
	}
	return nil
}

// keep reads Keep-Alive: timeout=5, max=1000.
func (f *facts) keep(list []byte) {
	for len(list) > 0 {
		var t []byte
		t, list = cutElement(list)
		name, value, ok := bytes.Cut(t, []byte("="))
		if !ok || !is(trim(name), "timeout") {
			continue
		}
		if n, ok := parseLength(trim(value)); ok {
			f.timeout, f.ends = int(min(n, math.MaxInt32)), n == 0
		}
	}
}

// dropListed marks every line that a Connection line lists. What says where a
// message goes and where it ends is never dropped on a client's word: whoever
// lists Content-Length wants the next hop to see another message than we do.
func dropListed(fields []Field) {
	for i := range fields {
		if fields[i].Kind != KindConnection {
			continue
		}
		for list := fields[i].Value; len(list) > 0; {
			var t []byte
			t, list = cutElement(list)
			for j := range fields {
				switch x := &fields[j]; x.Kind {
				case KindHost, KindContentLength, KindTransferEncoding, KindTE, KindExpect:
				default:
					x.Hop = x.Hop || fold(x.Name, t)
				}
			}
		}
	}
}

// framing decides how the body ends as far as the header says, for requests
// and responses alike; ok is false when it says nothing.
func (f *facts) framing(minor int) (framing Framing, length int64, ok bool, err error) {
	switch {
	case f.codings > 0 && minor == 0:
		// RFC 9112, 6.1: such a message must be taken for faulty.
		return 0, 0, false, ErrCodingVersion
	case f.codings > 0 && f.lengths > 0:
		return 0, 0, false, ErrLengthAndCoding
	case f.codings > 1 || f.codings == 1 && len(f.coding) == 0:
		return 0, 0, false, ErrCodings
	case f.codings == 1:
		if is(f.coding, "chunked") {
			if f.smuggles {
				return 0, 0, false, ErrTrailerName
			}
			return Chunked, -1, true, nil
		}
		if t, rest := cutElement(f.coding); is(t, "chunked") && HasToken(rest, "chunked") {
			return 0, 0, false, ErrCodings
		}
		return 0, 0, false, ErrCoding
	case f.lengths > 0:
		return Fixed, f.length, true, nil
	}
	return None, 0, false, nil
}

// parseLength parses 1*DIGIT below 2^63.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n <= math.MaxInt64
}

// kind finds the kind of a name without underscores.
func kind(name []byte) FieldKind {
	switch len(name) {
	case 2:
		if is(name, "te") {
			return KindTE
		}
	case 4:
		switch name[0] | 0x20 {
		case 'h':
			if is(name, "host") {
				return KindHost
			}
		case 'd':
			if is(name, "date") {
				return KindDate
			}
		}
	case 6:
		switch name[0] | 0x20 {
		case 'a':
			if is(name, "accept") {
				return KindAccept
			}
		case 'c':
			if is(name, "cookie") {
				return KindCookie
			}
		case 'e':
			if is(name, "expect") {
				return KindExpect
			}
		case 's':
			if is(name, "server") {
				return KindServer
			}
		}
	case 7:
		switch name[0] | 0x20 {
		case 'u':
			if is(name, "upgrade") {
				return KindUpgrade
			}
		case 't':
			if is(name, "trailer") {
				return KindTrailer
			}
		}
	case 8:
		if is(name, "location") {
			return KindLocation
		}
	case 9:
		switch name[0] | 0x20 {
		case 'f':
			if is(name, "forwarded") {
				return KindForwarded
			}
		case 'x':
			if is(name, "x-real-ip") {
				return KindXRealIP
			}
		}
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			if is(name, "connection") {
				return KindConnection
			}
		case 'k':
			if is(name, "keep-alive") {
				return KindKeepAlive
			}
		case 's':
			if is(name, "set-cookie") {
				return KindSetCookie
			}
		case 'u':
			if is(name, "user-agent") {
				return KindUserAgent
			}
		}
	case 12:
		if is(name, "content-type") {
			return KindContentType
		}
	case 13:
		if is(name, "authorization") {
			return KindAuthorization
		}
	case 14:
		if is(name, "content-length") {
			return KindContentLength
		}
	case 16:
		switch name[0] | 0x20 {
		case 'c':
			if is(name, "content-encoding") {
				return KindContentEncoding
			}
		case 'w':
			if is(name, "www-authenticate") {
				return KindWWWAuthenticate
			}
		case 'p':
			if is(name, "proxy-connection") {
				return KindProxyConnection
			}
		}
	case 17:
		if is(name, "transfer-encoding") {
			return KindTransferEncoding
		}
	}
	if name[0]|0x20 == 'x' && len(name) >= 11 && name[1] == '-' {
		return forwardedKind(name[2:])
	}
	return KindOther
}

// forwardedKind finds the kind of a name of which "X-" was cut off.
func forwardedKind(rest []byte) FieldKind {
	switch {
	case is(rest[:9], "original-"):
		return KindXOriginal
	case !is(rest[:9], "forwarded"):
		return KindOther
	}
	switch rest = rest[9:]; {
	case is(rest, "-for"):
		return KindXForwardedFor
	case is(rest, "-proto"):
		return KindXForwardedProto
	case is(rest, "-host"):
		return KindXForwardedHost
	case is(rest, "-port"):
		return KindXForwardedPort
	case is(rest, "-client-cert"):
		return KindXForwardedClientCert
	case len(rest) == 0 || rest[0] == '-':
		return KindXForwardedOther
	}
	return KindOther
}

// twin finds out whether a name with underscores is what CGI would make of a
// forwarding or framing field.
func twin(name []byte) FieldKind {
	var buf [64]byte
	n := copy(buf[:], name)
	for i, c := range buf[:n] {
		if c == '_' {
			buf[i] = '-'
		}
	}
	switch k := kind(buf[:n]); {
	case k.Forwarding(), k == KindContentLength, k == KindTransferEncoding:
		return KindSpoofable
	}
	return KindOther
}
