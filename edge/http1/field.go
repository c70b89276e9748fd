package http1

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
